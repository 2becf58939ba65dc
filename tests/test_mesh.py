"""Loading onto a mesh, on four virtual devices in a process of their own: parts on each, and the same tokens as on one."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import jax, numpy as np
from jax.sharding import Mesh
from jaxreason import GREEDY, complete, load_model

assert jax.device_count() == 4
mesh = jax.make_mesh((2, 2), ("data", "model"))
one, spread = load_model("tiny"), load_model("tiny", mesh=mesh)
assert one.cfg.vocab_size % 2  # which two devices cannot share evenly
for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one.params), jax.tree.leaves(spread.params), strict=True):
    assert a.devices() == {jax.devices()[0]} and b.devices() == set(jax.devices())
    np.testing.assert_array_equal(a, b)
    for shard in b.addressable_shards:
        np.testing.assert_array_equal(shard.data, np.asarray(a)[shard.index])
    name = jax.tree_util.keystr(path)
    parts = 1 if "norm" in name or "embed" in name else 2
    assert b.addressable_shards[0].data.size * parts == b.size, name
questions = ["Tom has 45 apples. Tom buys 3 bags of 7. How many apples does Tom have now?", "Ann has 2 pens."]
texts = [complete(m, questions, jax.random.key(0), sampler=GREEDY, max_new_tokens=24).texts for m in (one, spread)]
assert texts[0] == texts[1] and len(texts[0][0][0]) > 10

whole = load_model("tiny", mesh=Mesh(jax.devices(), "data"))
assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(whole.params))
print("ok")
"""


def test_every_device_gets_its_part_and_the_tokens_are_those_of_one_device():
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("ok\n"), done.stderr
