"""docs/scaling.md holds what its script computes."""

import importlib.util
import math
from pathlib import Path

import jax
import pytest

from jaxreason.models.decoder import init

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def scaling():
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "docs" / "scaling.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def num_params(cfg) -> int:
    """Numbers in all parameters; a tied embedding counts once."""
    shapes = jax.eval_shape(lambda: init(jax.random.key(0), cfg))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_the_tables_are_those_of_the_calculator(scaling):
    page = scaling.PAGE.read_text()
    assert scaling.insert(page) == page, "run: python docs/scaling.py"


def test_models_have_their_published_sizes(scaling):
    counts = [num_params(cfg) for cfg in scaling.MODELS.values()]
    assert counts == [494_032_768, 1_543_714_304, 7_615_616_512]  # of the safetensors on the hub


@pytest.mark.parametrize(
    ("name", "devices"), [("TPU v5e-1", 1), ("TPU v5e-8", 8), ("H100", 1), ("8 x H100", 8)]
)
def test_every_mesh_uses_all_devices(scaling, name, devices):
    assert {
        math.prod(scaling.abstract(spec).shape.values()) for spec in scaling.HARDWARE[name][1]
    } == {devices}


def test_what_training_needs_by_hand(scaling):
    """Full training in float32 of n parameters: 4 bytes each of weights, of a reference, of
    gradients, and 8 of moments.
    """
    cfg = scaling.MODELS["Qwen2.5-0.5B"]
    memory = scaling.grpo_memory(cfg, scaling.WORKLOAD)
    assert (memory.weights, memory.reference, memory.optimiser, memory.gradients) == tuple(
        n * num_params(cfg) for n in (4, 4, 8, 4)
    )
    # Keys and values of 24 layers, 2 heads of 64: 8 prompts of 256 tokens, read once, and 64 chains
    # of 512; and a prefill.
    assert (
        memory.cache >= 2 * 4 * 24 * 2 * 64 * (8 * 256 + 64 * 512)
        and memory.cache < 1.25 * 2 * 4 * 24 * 2 * 64 * 34816
    )
    halved = scaling.grpo_memory(cfg, scaling.WORKLOAD, scaling.abstract("data=2"))
    assert halved.weights == memory.weights and halved.cache == memory.cache // 2
