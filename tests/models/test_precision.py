"""Products in bfloat16 and int8: formulas by hand, and what a decoder gives with them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_params

from jaxreason.decoding.continuous import generate_queue
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import Stop
from jaxreason.errors import InputError
from jaxreason.models import decoder
from jaxreason.models.cache import fork, unstack
from jaxreason.models.hf import save_model
from jaxreason.models.lora import init_lora
from jaxreason.models.precision import lower, matmul, matmul_transposed, quantise
from jaxreason.training.loop import init_state


def test_int8_by_hand():
    """x = (1, -2) has the scale 2 / 127 and the values 64 (63.5, to even) and -127."""
    values, scale = quantise(jnp.array([[1.0, -2.0]]), axis=-1)
    assert values.tolist() == [[64, -127]] and values.dtype == jnp.int8
    np.testing.assert_allclose(scale, [[2 / 127]], rtol=1e-6)
    kernel, of_output = jnp.array([[3, 0], [1, -5]], jnp.int8), jnp.array([0.5, 2.0])
    expected = np.array([[64 * 3 - 127, 127 * 5]]) * (2 / 127) * np.array([0.5, 2.0])
    x = jnp.array([[1.0, -2.0]])
    np.testing.assert_allclose(matmul(x, kernel, of_output), expected, rtol=1e-6)
    np.testing.assert_allclose(matmul_transposed(x, kernel.T, of_output), expected, rtol=1e-6)


def test_a_row_of_zeros_is_zero():
    values, scale = quantise(jnp.zeros((2, 3)), axis=-1)
    assert (values == 0).all() and (scale > 0).all()


def test_every_value_is_within_half_a_step():
    x = np.random.default_rng(0).normal(size=(50, 33)).astype(np.float32) ** 3
    values, scale = quantise(jnp.asarray(x), axis=-1)
    assert (np.abs(values * scale - x) <= 0.5001 * np.asarray(scale)).all()
    assert (np.abs(values).max(-1) == 127).all()


def test_sums_of_bfloat16_are_float32():
    """256 + 1 is no bfloat16."""
    x, kernel = jnp.ones((1, 257)), jnp.ones((257, 2), jnp.bfloat16)
    found = matmul(x, kernel)
    assert found.dtype == jnp.float32 and found.tolist() == [[257.0, 257.0]]


@pytest.fixture(scope="module")
def cfg(cfg):
    """One layer: the products of all layers are alike."""
    return dataclasses.replace(cfg, num_hidden_layers=1)


@pytest.fixture(scope="module")
def params(cfg):
    return random_params(cfg)


@pytest.fixture(scope="module", params=["tied", "head", "qwen3"])
def some(request, cfg):
    """A config and random parameters of each kind of head, and with norms of queries and keys."""
    flags = {
        "tied": {"attention_bias": True},
        "head": {"tie_word_embeddings": False},
        "qwen3": {"qk_norm": True},
    }[request.param]
    changed = dataclasses.replace(cfg, **flags)
    return changed, decoder.init(jax.random.key(0), changed)


def test_float32_is_what_it_was(some):
    cfg, params = some
    same, unchanged = lower(params, cfg, "float32")
    assert unchanged == cfg
    jax.tree.map(np.testing.assert_array_equal, same, params)


@pytest.mark.parametrize(("kind", "apart"), [("bfloat16", 0.02), ("int8", 0.05)])
def test_logits_are_near_and_those_with_a_cache_too(some, kind, apart):
    cfg, params = some
    low, low_cfg = lower(params, cfg, kind)
    tokens = np.random.default_rng(0).integers(1, cfg.vocab_size, (3, 12)).astype(np.int32)
    at = np.broadcast_to(np.arange(12), tokens.shape)
    forward = jax.jit(decoder.forward, static_argnames="cfg")
    expected = forward(params, tokens, at, cfg=cfg)[0]
    found, _ = forward(low, tokens, at, cfg=low_cfg)
    assert found.dtype == jnp.float32
    assert 0 < np.abs(found - expected).max() < apart * np.abs(expected).max()

    _, cache = forward(low, tokens[:, :8], at[:, :8], cfg=low_cfg)
    cached, _ = forward(low, tokens[:, 8:], at[:, 8:], fork(cache, 1, 4), cfg=low_cfg)
    np.testing.assert_allclose(cached, found[:, 8:], atol=apart * np.abs(expected).max())


def test_int8_takes_a_quarter_of_the_memory(cfg):
    wide = dataclasses.replace(cfg, hidden_size=128, intermediate_size=512)
    params = random_params(wide)
    sizes = {
        kind: sum(x.nbytes for x in jax.tree.leaves(lower(params, wide, kind)[0]))
        for kind in ("float32", "bfloat16", "int8")
    }
    assert sizes["bfloat16"] < 0.52 * sizes["float32"] and sizes["int8"] < 0.28 * sizes["float32"]


def test_chains_in_int8_do_not_depend_on_what_runs_beside_them(params, cfg):
    low, low_cfg = lower(params, cfg, "int8")
    next_state = np.zeros((cfg.vocab_size, 2), np.int32)
    next_state[::13], next_state[:, 1] = 1, 1
    rng = np.random.default_rng(0)
    prompts = [rng.integers(2, cfg.vocab_size, n).astype(np.int32) for n in (5, 9, 2, 7, 3)]
    keys = jax.random.split(jax.random.key(5), (5, 3))

    def run(keys, prompts):
        parts = generate_queue(
            low,
            keys,
            prompts,
            Stop(next_state),
            cfg=low_cfg,
            sampler=Sampler(1.5),
            max_new_tokens=20,
            rows=4,
            layers=unstack(low)["layers"],
        )
        chains, rollouts = zip(*parts, strict=True)
        order = np.argsort(np.concatenate(chains))
        return np.concatenate([rollout.tokens for rollout in rollouts])[order].reshape(5, 3, -1)

    order = np.array([3, 0, 4, 2, 1])
    tokens, other = run(keys, prompts), run(keys[order], [prompts[g] for g in order])
    np.testing.assert_array_equal(other, tokens[order])


def test_what_int8_cannot_do_is_refused(params, cfg, tokenizer, tmp_path):
    low, low_cfg = lower(params, cfg, "int8")
    with pytest.raises(InputError, match="int8.*float32 or bfloat16"):
        init_state(low, optax.sgd(0.1))
    with pytest.raises(InputError, match="int8.*float32 or bfloat16"):
        init_lora(jax.random.key(0), low, 2)
    with pytest.raises(InputError, match="int8.*float32 or bfloat16"):
        save_model(tmp_path / "model", low, low_cfg, tokenizer)
    with pytest.raises(InputError, match="'int4' is unknown: expected one of float32"):
        lower(params, cfg, "int4")
