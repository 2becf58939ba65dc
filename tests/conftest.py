"""Shared fixtures: a tiny random model, so that no test needs trained weights or a network.

The process that hands out the tests reads this file and runs none of them. So what takes seconds
to import is imported where it is used.
"""

import functools
import gc
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # nothing in a home folder decides a test
# Most of the time of these tests is compilation, and their programs are small: they, and the
# processes that tests start, compile without XLA's expensive passes. Tests marked `optimised`
# state facts of training and of published values: theirs are compiled as users' programs are. So
# are all with JAX_DISABLE_MOST_OPTIMIZATIONS=false, which CI asks for once.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
FAST = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "true"
# XLA's older emitters compile these programs twice as fast and in half the memory. jaxlib 0.7 to
# 0.11 have them; a later one ends the process at the flag.
OLD_EMITTERS = "--xla_cpu_use_fusion_emitters=false"
JAXLIB = tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2]))
if FAST and (0, 7) <= JAXLIB < (0, 12):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {OLD_EMITTERS}"
if FAST:
    # Usually XLA cuts a program into parts that several cores compile, and every part costs; here
    # the other core has another file to run.
    one_part = "--xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {one_part}"

ROOT = Path(__file__).parent.parent
COMPILED_FAST = pytest.StashKey[bool]()


def with_devices(count: int) -> dict[str, str]:
    """The environment of a process that sees so many CPU devices."""
    flags = os.environ.get("XLA_FLAGS", "")
    devices = f"--xla_force_host_platform_device_count={count}"
    return os.environ | {"XLA_FLAGS": f"{flags} {devices}", "JAX_PLATFORMS": "cpu"}


def assert_same_bits(found, expected) -> None:
    """Every leaf is the other's bit for bit, if compiled as users' programs are: CI asks that too.

    The older emitters sum in another order in a batch of another size: there floats may differ in
    their last bits.
    """
    import jax

    def same(a, b):
        if OLD_EMITTERS in os.environ.get("XLA_FLAGS", "") and np.asarray(a).dtype == np.float32:
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(a, b)

    jax.tree.map(same, found, expected)


def for_each(cases: Iterable):
    """``parametrize`` in one test, which names all cases that fail: to hand out thousands of small
    tests takes longer than to run them.
    """
    cases = list(cases)

    def decorate(check):
        @functools.wraps(check)
        def test():
            failed = []
            for case in cases:
                try:
                    check(*(case if isinstance(case, tuple) else (case,)))
                except AssertionError as error:
                    failed.append(f"{case!r}: {error}")
            assert not failed, "\n".join(failed)

        del test.__wrapped__  # or pytest takes the cases for fixtures
        return test

    return decorate


def random_params(cfg, seed: int = 0):
    """Random parameters, noise on every leaf: biases and norm scales are not 0 and 1."""
    import jax
    import jax.numpy as jnp

    from jaxreason.models import decoder

    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), cfg))

    def draw(path, leaf):
        around = 1.0 if path[-1].key == "scale" else 0.0
        return jnp.asarray(around + 0.3 * rng.normal(size=leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def run_cli(monkeypatch, *arguments: str) -> None:
    """``jaxreason arguments...`` in this process."""
    from jaxreason.course import cli

    monkeypatch.setattr(sys, "argv", ["jaxreason", *arguments])
    cli.main()


def failed_cli(monkeypatch, capsys, *arguments: str):
    """What it wrote to stdout and stderr before it ended with exit status 2."""
    with pytest.raises(SystemExit) as stop:
        run_cli(monkeypatch, *arguments)
    assert stop.value.code == 2
    return capsys.readouterr()


@pytest.fixture(scope="module", autouse=True)
def compiled_programs():
    """Drops them after every file: thousands of programs in one process use up the memory maps that
    Linux allows it (65,530).
    """
    import jax

    yield
    jax.clear_caches()


def pytest_collection_finish():
    """The millions of objects of imported packages are never garbage: no collection asks again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)  # traces make many objects, and few circles of them


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process ends long after the other. In a file the tests
    that are `optimised` come last: at every change between the two, all programs are dropped.
    """
    longest = ["mesh", "grpo", "shipped", "lesson", "lm_mcts", "decoder", "distributed"]
    longest += ["tree_of_thoughts", "mcts", "continuous", "rollout", "reward_model", "precision"]
    longest += ["grpo_minimal", "trl", "resume", "sampling"]
    rank = {f"test_{name}.py": place for place, name in enumerate(longest)}

    def place(item):
        of_file = rank.get(item.path.name, len(longest))
        return of_file, item.path, item.get_closest_marker("optimised") is not None

    items.sort(key=place)


def pytest_runtest_setup(item):
    """Before fixtures: those of a module are compiled as its first test is."""
    import jax

    fast = FAST and not item.get_closest_marker("optimised")
    if item.session.stash.get(COMPILED_FAST, FAST) != fast:
        jax.clear_caches()
        jax.config.update("jax_disable_most_optimizations", fast)
        item.session.stash[COMPILED_FAST] = fast


@pytest.fixture(scope="session")
def tokenizer():
    from jaxreason.models.tokens import build_tokenizer

    return build_tokenizer(["Tom", "has", "apples", "Wait", "####", "aab", "ab", "caf\u00e9"])


@pytest.fixture(scope="session")
def cfg(tokenizer):
    from jaxreason.models.decoder import DecoderConfig

    return DecoderConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=128,
    )


@pytest.fixture(scope="session")
def params(cfg):
    return random_params(cfg)


@pytest.fixture(scope="session")
def model(params, cfg, tokenizer):
    from jaxreason.models.hf import LanguageModel

    return LanguageModel(params, cfg, tokenizer, "random", "")


@pytest.fixture(scope="session")
def recipe():
    """The module that trains the shipped models."""
    spec = importlib.util.spec_from_file_location("recipe", ROOT / "checkpoints" / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
