"""LoRA: the adapter is differentiated alone, merges by its formula, and is saved under peft's
names.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxreason.errors import InputError
from jaxreason.models.decoder import forward
from jaxreason.models.lora import MATRICES, init_lora, merge_lora, save_lora


@pytest.fixture(scope="module")
def lora(params):
    return init_lora(jax.random.key(0), params, rank=3, targets=("q", "down"))


def loss_of(params, cfg):
    tokens = jnp.arange(10, dtype=jnp.int32).reshape(2, 5)
    positions = jnp.broadcast_to(jnp.arange(5, dtype=jnp.int32), (2, 5))
    return jnp.square(forward(params, tokens, positions, cfg=cfg)[0]).mean()


def test_a_fresh_adapter_changes_nothing(params, lora):
    jax.tree.map(np.testing.assert_array_equal, merge_lora(params, lora, 2.0), params)


def test_shapes_and_targets(params, cfg, lora):
    assert jax.tree.map(np.shape, lora) == {
        "q": {"a": (2, 32, 3), "b": (2, 3, 32)},
        "down": {"a": (2, 48, 3), "b": (2, 3, 32)},
    }
    assert list(MATRICES) == ["q", "k", "v", "o", "gate", "up", "down"]
    assert 0.9 * 32**-0.5 < np.abs(lora["q"]["a"]).max() < 32**-0.5


def test_merge_by_its_formula(params, lora):
    lora = jax.tree.map(lambda x: np.asarray(x) + np.float32(0.1), lora)
    merged = merge_lora(params, lora, 0.5)
    w, a, b = params["layers"]["attention"]["q"]["kernel"], lora["q"]["a"], lora["q"]["b"]
    for layer in range(2):
        np.testing.assert_allclose(
            np.asarray(merged["layers"]["attention"]["q"]["kernel"])[layer],
            np.asarray(w)[layer] + 0.5 * a[layer] @ b[layer],
            atol=1e-6,
        )
    assert (
        merged["layers"]["attention"]["k"]["kernel"] is params["layers"]["attention"]["k"]["kernel"]
    )
    assert merged["embed"] is params["embed"]


def test_merging_into_half_precision_keeps_the_dtype(params, lora):
    half = jax.tree.map(lambda x: np.asarray(x).astype(jnp.bfloat16), params)
    merged = merge_lora(half, lora, 1.0)
    assert {leaf.dtype for leaf in jax.tree.leaves(merged)} == {jnp.dtype(jnp.bfloat16)}


def test_files_have_pefts_names(tmp_path, lora):
    save_lora(tmp_path, lora, scale=2.0, base="some/model")
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    prefix = "base_model.model.model.layers.1.self_attn.q_proj"
    assert len(tensors) == 2 * 2 * 2
    np.testing.assert_array_equal(tensors[f"{prefix}.lora_A.weight"], lora["q"]["a"][1].T)
    np.testing.assert_array_equal(tensors[f"{prefix}.lora_B.weight"], lora["q"]["b"][1].T)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["target_modules"] == ["down_proj", "q_proj"]
    assert (config["r"], config["lora_alpha"] / config["r"]) == (3, 2.0)
    assert config["base_model_name_or_path"] == "some/model"


def test_a_path_may_be_a_str(tmp_path, lora, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_lora("out/adapter", lora, scale=2.0, base="some/model")
    assert len(load_file("out/adapter/adapter_model.safetensors")) == 8


@pytest.mark.parametrize(("rank", "targets"), [(0, ("q",)), (2, ()), (2, ("q", "norm"))])
def test_bad_adapters_are_refused(params, rank, targets):
    with pytest.raises(InputError, match="LoRA"):
        init_lora(jax.random.key(0), params, rank, targets)


def test_the_adapter_learns_alone(params, cfg, lora):
    loss_fn = jax.jit(jax.value_and_grad(lambda x: loss_of(merge_lora(params, x, 1.0), cfg)))
    before, gradients = jax.device_get(loss_fn(lora))  # a fresh adapter: the loss of params
    assert jax.tree.structure(gradients) == jax.tree.structure(lora)
    for factors in gradients.values():
        # B learns first: A has no influence while B is zero.
        assert np.abs(factors["b"]).max() > 0
        assert np.abs(factors["a"]).max() == 0
    step = jax.tree.map(lambda x, g: np.asarray(x) - np.float32(1e-3) * g, lora, gradients)
    assert loss_fn(step)[0] < before
