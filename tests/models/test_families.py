"""Models on disk: every family against transformers' logits (golden fixtures of tests/parity), and
what is refused.
"""

import json
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_params
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from jaxreason.errors import InputError
from jaxreason.models import decoder
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.families import FAMILIES
from jaxreason.models.hf import (
    hf_config,
    load_config,
    load_eos_ids,
    load_family,
    load_model,
    save_model,
)
from jaxreason.models.rope import RopeScaling, rope_frequencies
from jaxreason.models.weights import assemble, open_safetensors

forward = jax.jit(decoder.forward, static_argnames="cfg")

GOLDEN = {path.stem: path for path in sorted((Path(__file__).parent / "golden").glob("*.npz"))}
LONGROPE = {
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "partial_rotary_factor": 0.75,
        "short_factor": [1.0, 1.0],
        "long_factor": [1.0, 4.0],
    }
}


def unpack(name: str, directory: Path) -> dict[str, np.ndarray]:
    """Writes config.json and two shards of float16 weights; returns all of the fixture."""
    golden = dict(np.load(GOLDEN[name]))
    (directory / "config.json").write_bytes(golden["config"].tobytes())
    tensors = {k.removeprefix("weights/"): v for k, v in golden.items() if k.startswith("weights/")}
    shard_of = {key: f"model-{i % 2}.safetensors" for i, key in enumerate(tensors)}
    for shard in set(shard_of.values()):
        save_file(
            {k: np.ascontiguousarray(v) for k, v in tensors.items() if shard_of[k] == shard},
            directory / shard,
        )
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shard_of}))
    return golden


def load(directory: Path, dtype=jnp.float32):
    family, cfg = load_family(directory), load_config(directory)
    stored = family.unpack(open_safetensors(directory), cfg)
    return assemble(stored, family.keys, cfg, jnp.dtype(dtype)), cfg


def assert_golden(params, cfg, golden) -> None:
    mask = golden["mask"]
    positions = np.maximum(np.cumsum(mask, -1) - 1, 0).astype(np.int32)
    logits, _ = forward(
        params, golden["tokens"], positions, cfg=cfg, segment_ids=mask.astype(np.int32)
    )
    np.testing.assert_allclose(np.asarray(logits)[mask], golden["logits"][mask], atol=1e-4)


@pytest.fixture
def llama(tmp_path):
    unpack("llama", tmp_path)
    return tmp_path


def edit_config(directory: Path, **changes) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def message_of(directory: Path) -> str:
    with pytest.raises(InputError) as error:
        load(directory)
    assert "\n" not in str(error.value) and str(directory) in str(error.value)
    return str(error.value)


def test_there_is_a_fixture_for_every_flag():
    configs = [json.loads(np.load(path)["config"].tobytes()) for path in GOLDEN.values()]
    assert {c["architectures"][0] for c in configs} == set(FAMILIES)
    assert {c["tie_word_embeddings"] for c in configs} == {True, False}
    ropes = [c["rope_parameters"] for c in configs]
    assert {rope["rope_type"] for rope in ropes if "rope_type" in rope} == {
        "default",
        "linear",
        "llama3",
    }
    assert any(c["num_key_value_heads"] == c["num_attention_heads"] for c in configs)


@pytest.mark.parametrize("name", GOLDEN)
def test_logits_of_a_left_padded_batch_equal_transformers(tmp_path, name):
    golden = unpack(name, tmp_path)
    params, cfg = load(tmp_path)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    assert_golden(params, cfg, golden)


@pytest.fixture
def few_tokens():
    """A tokenizer with fewer ids than the golden models have rows."""
    words = WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2, "Tom": 3}, unk_token="<unk>")
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), **names)


@pytest.mark.parametrize("name", GOLDEN)
def test_save_and_load_change_no_bit(tmp_path, few_tokens, name):
    (tmp_path / "theirs").mkdir()
    unpack(name, tmp_path / "theirs")
    params, cfg = load(tmp_path / "theirs")
    save_model(tmp_path / "ours", params, cfg, few_tokens, eos_ids=(5,))
    model = load_model(str(tmp_path / "ours"))
    assert model.cfg == cfg
    assert model.eos_ids == (1, 5)
    jax.tree.map(np.testing.assert_array_equal, model.params, params)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_computes_in_the_dtype_asked_for_whatever_is_stored(
    tmp_path, params, cfg, tokenizer, dtype
):
    save_model(tmp_path, params, cfg, tokenizer, dtype=jnp.dtype(dtype))
    half, full = load_model(str(tmp_path), dtype=dtype), load_model(str(tmp_path))
    # On a CPU bfloat16 is the arithmetic of the products; norms and biases stay in float32.
    rest = {"float32"} if dtype == "bfloat16" and jax.default_backend() == "cpu" else {dtype}
    found = {True: set(), False: set()}
    for path, leaf in jax.tree_util.tree_leaves_with_path(half.params):
        found[path[-1].key in ("kernel", "embedding")].add(leaf.dtype.name)
    assert found == {True: {dtype}, False: rest}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(full.params)} == {"float32"}
    jax.tree.map(
        lambda h, f: np.testing.assert_array_equal(np.asarray(h).astype(np.float32), f),
        half.params,
        full.params,
    )
    jax.tree.map(
        lambda h, p: np.testing.assert_array_equal(
            np.asarray(h).astype(np.float32), np.asarray(p).astype(jnp.dtype(dtype))
        ),
        half.params,
        params,
    )
    tokens = np.arange(6, dtype=np.int32)[None]
    logits, cache = forward(half.params, tokens, tokens, cfg=cfg)
    assert logits.dtype == jnp.float32
    assert {cache.prefix[0].k.dtype.name} == rest


@pytest.mark.parametrize("dtype", ["int4", "float64", "half-ish"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(InputError, match=f"{dtype}.*auto or one of float32, bfloat16, float16"):
        load_model("tiny", dtype=dtype)


def test_llama3_scaling_by_hand():
    """With theta = 1e4 and a head of 4, one wave per radian and one per 100: 8192 / 2 pi and 82 / 2
    pi turns.
    """
    for context, slow, rtol in (
        (8192, 0.01, 1e-6),  # 13 turns are more than 4
        (64, 0.01 / 8, 1e-6),  # 10 turns and 0.1
        (1571, 0.01 * (0.5 / 8 + 0.5), 1e-3),  # 2.5003 turns: half way from 1 to 4
    ):
        frequencies = rope_frequencies(4, 1e4, RopeScaling("llama3", 8.0, 1.0, 4.0, context))
        np.testing.assert_allclose(frequencies, [1.0, slow], rtol=rtol)


def test_loading_takes_little_more_memory_than_the_weights(tmp_path, tokenizer):
    cfg = DecoderConfig(len(tokenizer), 256, 1024, 8, 4, 4, 64, 64)
    save_model(tmp_path, random_params(cfg), cfg, tokenizer)
    load(tmp_path)  # what the first call allocates for good
    tracemalloc.start()
    try:
        params, _ = load(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    assert size > 30e6 and peak < 1.3 * size


def test_all_problems_with_the_tensors_come_in_one_error(llama):
    path = llama / "model-0.safetensors"
    tensors = load_file(path)
    first, second, *_ = sorted(tensors)
    del tensors[first]
    tensors[second] = np.zeros((3, 5), np.float32)
    save_file({**tensors, "model.layers.7.extra": np.zeros(2, np.float32)}, path)
    message = message_of(llama)
    assert f"{first} is missing" in message
    assert f"{second} has shape (3, 5), expected (" in message
    assert "model.layers.7.extra is unexpected" in message


def test_a_long_list_of_problems_is_cut(llama):
    edit_config(llama, hidden_size=16)
    message = message_of(llama)
    assert message.count("expected") <= 6 and "more" in message


def test_an_old_llamas_rope_buffers_and_a_tied_models_copy_of_the_head_are_ignored(llama):
    before, _ = load(llama)
    path = llama / "model-0.safetensors"
    extra = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(3, np.float32),
        "lm_head.weight": np.ones(2, np.float32),
    }
    save_file({**load_file(path), **extra}, path)
    jax.tree.map(np.testing.assert_array_equal, load(llama)[0], before)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"architectures": ["MambaForCausalLM"]},
            "'MambaForCausalLM' is not supported: expected one of LlamaForCausalLM",
        ),
        ({"architectures": ["Qwen3MoeForCausalLM"]}, "Qwen2ForCausalLM, Qwen3ForCausalLM"),
        ({"architectures": None}, "'unknown'"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config"),
        ({"hidden_act": "gelu"}, "hidden_act is gelu, which is not supported: expected silu"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}},
            "'yarn' is not supported",
        ),
        (
            {"rope_parameters": {"rope_type": "spiral", "rope_theta": 1e4}},
            "'default', 'linear' or 'llama3'",
        ),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers is 1000000000000"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": "two"}, "'two'"),
        ({"num_hidden_layers": 9999}, "9999 layers"),
        ({"num_key_value_heads": 3}, "multiple of num_key_value_heads"),
        ({"vocab_size": -1}, "vocab_size is -1"),
        ({"hidden_size": None}, "config.json"),
    ],
    ids=str,
)
def test_other_models_are_refused_by_their_config(llama, changes, named):
    edit_config(llama, **changes)
    assert named in message_of(llama)


def test_windows_begin_at_a_layer(tmp_path):
    unpack("qwen2", tmp_path)
    edit_config(
        tmp_path, use_sliding_window=True, sliding_window=4, max_window_layers=2, layer_types=None
    )
    assert load_config(tmp_path).layer_types == ()  # there are two layers
    edit_config(tmp_path, max_window_layers=1)
    assert load_config(tmp_path).layer_types == ("full_attention", "sliding_attention")


def test_a_window_as_long_as_the_context_is_none(tmp_path):
    unpack("mistral", tmp_path)
    assert load_config(tmp_path).sliding_window == 5
    edit_config(tmp_path, sliding_window=128)
    assert load_config(tmp_path).layer_types == ()


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("llama", {"layer_types": ["sliding_attention"] * 2}, "layer_types is sliding_attention"),
        ("qwen3", {"layer_types": ["chunked_attention"] * 2}, "'chunked_attention' is not"),
        ("qwen2-window", {"layer_types": ["sliding_attention"]}, "cannot be read"),
        ("qwen2-window", {"sliding_window": 0}, "sliding_window is 0: expected at least 1"),
        ("gemma3", {"final_logit_softcapping": 30.0}, "final_logit_softcapping is 30.0"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ("gemma3", {"hidden_activation": "gelu"}, "hidden_act is gelu, which is not supported"),
        ("olmo2", {"attention_bias": True}, "attention_bias is True"),
        ("smollm3", {"use_sliding_window": True}, "use_sliding_window is True"),
        ("phi3", {"original_max_position_embeddings": 32, **LONGROPE}, "rope type 'longrope'"),
    ],
    ids=str,
)
def test_variants_of_a_family_that_are_not_computed_are_refused(tmp_path, name, changes, named):
    unpack(name, tmp_path)
    edit_config(tmp_path, **changes)
    assert named in message_of(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"architectures": 3}', "\x00\xff", "[" * 100_000], ids=repr
)
def test_a_config_that_is_none_is_one_line(llama, content):
    (llama / "config.json").write_text(content)
    assert "config.json" in message_of(llama)


def test_the_names_before_transformers_5_mean_the_same(llama):
    new = load_config(llama)
    raw = json.loads((llama / "config.json").read_text())
    del raw["rope_parameters"]
    (llama / "config.json").write_text(json.dumps({**raw, "rope_theta": 500.0}))
    assert load_config(llama).rope_theta == 500.0
    edit_config(llama, rope_scaling={"type": "linear", "factor": 2.0})
    assert load_config(llama).rope_scaling == RopeScaling("linear", 2.0)
    assert new.rope_scaling is None


def test_nothing_is_executed(llama, few_tokens, monkeypatch):
    """A model that asks for code of its own is read as data or not at all."""
    few_tokens.save_pretrained(llama)
    (llama / "evil.py").write_text("raise SystemExit('executed')")
    auto_map = {
        "AutoConfig": "evil.Evil",
        "AutoTokenizer": ["evil.Evil", None],
        "AutoModelForCausalLM": "evil.Evil",
    }
    edit_config(llama, auto_map=auto_map)
    settings = json.loads((llama / "tokenizer_config.json").read_text())
    (llama / "tokenizer_config.json").write_text(json.dumps({**settings, "auto_map": auto_map}))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked the user"))
    assert load_model(str(llama)).cfg.hidden_size == 24


def test_missing_and_damaged_shards_are_named(llama):
    path = llama / "model-1.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:20], b"", b"\xff" * 64, whole[:8] + b"[" + whole[9:]):
        path.write_bytes(damaged)
        assert str(path) in message_of(llama)
    path.unlink()
    assert f"{str(path)!r} is missing" in message_of(llama)
    index = llama / "model.safetensors.index.json"
    for content in ("{", "{}", '{"weight_map": {"a": "../elsewhere"}}', '{"weight_map": {"a": 3}}'):
        index.write_text(content)
        assert str(index) in message_of(llama)
    index.unlink()
    (llama / "pytorch_model.bin").write_bytes(b"\x80\x04.")  # a pickle: never opened
    assert "safetensors" in message_of(llama)


def test_quantised_tensors_are_refused(llama):
    path = llama / "model-0.safetensors"
    tensors = load_file(path)
    first = sorted(tensors)[0]
    save_file({**tensors, first: tensors[first].astype(np.int8)}, path)
    assert f"{first} is stored as I8: quantised weights are not supported" in message_of(llama)


def test_end_tokens_of_the_generation_config(llama):
    cfg = load_config(llama)
    assert load_eos_ids(llama, cfg) == (1,)  # of config.json
    path = llama / "generation_config.json"
    for value, ids in ((7, (7,)), ([7, 9], (7, 9)), (None, (1,))):
        path.write_text(json.dumps({"eos_token_id": value}))
        assert load_eos_ids(llama, cfg) == ids
    for wrong in ("x", [1, None], [10**6], -1, True):
        path.write_text(json.dumps({"eos_token_id": wrong}))
        with pytest.raises(InputError, match="generation_config.json.*eos_token_id"):
            load_eos_ids(llama, cfg)


def test_no_family_has_both_biases_and_norms(cfg, tokenizer):
    import dataclasses

    with pytest.raises(InputError, match="attention_bias and qk_norm"):
        hf_config(dataclasses.replace(cfg, attention_bias=True, qk_norm=True), tokenizer, "float32")
