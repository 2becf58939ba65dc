"""Against torch: logits, export and adapters equal those of transformers and peft."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from families import FAMILIES, batch, build, reference_logits
from peft import PeftModel
from transformers import AutoModelForCausalLM

from jaxreason.models import decoder
from jaxreason.models.hf import load_config, load_family, save_model
from jaxreason.models.lora import MATRICES, init_lora, merge_lora, save_lora
from jaxreason.models.tokens import build_tokenizer
from jaxreason.models.weights import assemble, open_safetensors

of_every_family = pytest.mark.parametrize("name", FAMILIES)
forward = jax.jit(decoder.forward, static_argnames="cfg")


def load(directory, dtype=jnp.float32):
    family, cfg = load_family(directory), load_config(directory)
    stored = family.unpack(open_safetensors(directory), cfg)
    return assemble(stored, family.keys, cfg, jnp.dtype(dtype)), cfg


def logits_of(params, cfg, tokens, mask):
    tokens, mask = tokens.numpy().astype(np.int32), mask.numpy().astype(np.int32)
    positions = np.maximum(np.cumsum(mask, -1) - 1, 0).astype(np.int32)
    return forward(params, tokens, positions, cfg=cfg, segment_ids=mask)[0]


def assert_same(ours, theirs, mask, atol=1e-4):
    real = mask.numpy().astype(bool)
    assert np.abs(theirs.numpy()[real]).max() > 1  # not a comparison of zeros
    np.testing.assert_allclose(np.asarray(ours)[real], theirs.numpy()[real], atol=atol)


@of_every_family
def test_logits_of_a_left_padded_batch(tmp_path, name):
    model, (tokens, mask) = build(name), batch()
    model.save_pretrained(tmp_path)
    params, cfg = load(tmp_path)
    assert_same(logits_of(params, cfg, tokens, mask), reference_logits(model, tokens, mask), mask)


@of_every_family
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16], ids=str)
def test_sharded_and_stored_in_half_precision(tmp_path, name, stored):
    build(name).to(stored).save_pretrained(tmp_path, max_shard_size="8kB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    (params, cfg), (tokens, mask) = load(tmp_path), batch()
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32
    )  # not .float(): RoPE was rounded too
    assert_same(logits_of(params, cfg, tokens, mask), reference_logits(model, tokens, mask), mask)


@of_every_family
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=str)
def test_half_precision_computes_nearly_the_same(tmp_path, name, dtype):
    model, (tokens, mask) = build(name), batch()
    model.save_pretrained(tmp_path)
    params, cfg = load(tmp_path, dtype)
    # On a CPU bfloat16 is that of the matrices: sums and norms stay float32.
    of_rest = jnp.float32 if dtype == jnp.bfloat16 else dtype
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        assert leaf.dtype == (dtype if path[-1].key in ("kernel", "embedding") else of_rest)
    theirs = reference_logits(model, tokens, mask)
    ours = logits_of(params, cfg, tokens, mask)
    real = mask.numpy().astype(bool)
    error = (
        np.abs(np.asarray(ours) - theirs.numpy())[real].mean() / np.abs(theirs.numpy()[real]).mean()
    )
    assert error < (0.05 if dtype == jnp.bfloat16 else 0.01)


@of_every_family
def test_an_export_loads_in_transformers_with_the_same_logits(tmp_path, name):
    model, (tokens, mask) = build(name), batch()
    model.save_pretrained(tmp_path / "theirs")
    params, cfg = load(tmp_path / "theirs")
    save_model(tmp_path / "ours", params, cfg, build_tokenizer([]), eos_ids=(7, 9))
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert type(exported) is type(model) and exported.dtype == torch.float32
    assert exported.generation_config.eos_token_id == [1, 7, 9]
    for a, b in zip(model.parameters(), exported.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    theirs = reference_logits(exported, tokens, mask)
    torch.testing.assert_close(theirs, reference_logits(model, tokens, mask), rtol=0, atol=0)
    assert load_config(tmp_path / "ours") == cfg
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # in peft
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "phi3"])
@pytest.mark.parametrize("targets", [("q", "v"), tuple(MATRICES)], ids=["qv", "all"])
def test_peft_loads_an_adapter_with_the_same_logits(tmp_path, name, targets):
    model, (tokens, mask) = build(name), batch()
    model.save_pretrained(tmp_path / "base")
    params, cfg = load(tmp_path / "base")
    lora = noisy_lora(params, targets)
    save_lora(tmp_path / "adapter", lora, scale=0.7, base=str(tmp_path / "base"))
    plain = reference_logits(model, tokens, mask)
    theirs = reference_logits(PeftModel.from_pretrained(model, tmp_path / "adapter"), tokens, mask)
    assert (plain - theirs).abs().max() > 0.1
    assert_same(logits_of(merge_lora(params, lora, 0.7), cfg, tokens, mask), theirs, mask)


def noisy_lora(params, targets):
    lora = init_lora(jax.random.key(0), params, rank=3, targets=targets)
    noise = iter(jax.random.split(jax.random.key(1), 100))
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(next(noise), x.shape), lora)


def test_a_merged_adapter_is_in_the_export_of_fused_matrices(tmp_path):
    """Where q, k and v are one matrix in transformers, and an adapter of q alone has no name."""
    model, (tokens, mask) = build("phi3"), batch()
    model.save_pretrained(tmp_path / "base")
    params, cfg = load(tmp_path / "base")
    merged = merge_lora(params, noisy_lora(params, tuple(MATRICES)), 0.7)
    save_model(tmp_path / "merged", merged, cfg, build_tokenizer([]))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert type(theirs) is type(model)
    theirs = reference_logits(theirs, tokens, mask)
    assert (reference_logits(model, tokens, mask) - theirs).abs().max() > 0.1
    assert_same(logits_of(merged, cfg, tokens, mask), theirs, mask)
