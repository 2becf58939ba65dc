"""GGUF files written here by the gguf package: the same logits as the weights they were made of,
and hostile ones.
"""

import dataclasses
import json
import tracemalloc
from pathlib import Path

import gguf
import jax
import numpy as np
import pytest
from test_families import GOLDEN, assert_golden

from jaxreason.decoding.completions import decode
from jaxreason.decoding.prompts import chat
from jaxreason.decoding.stop import compile_stop
from jaxreason.errors import InputError
from jaxreason.models.families import FAMILIES
from jaxreason.models.gguf import load_gguf
from jaxreason.models.gguf_tokenizer import DIGITS, LLAMA3, QWEN2, SPLITS
from jaxreason.models.hf import load_model
from jaxreason.models.tokens import encode_prompts, token_bytes

ARCHITECTURES = {name: architecture for architecture, name in gguf.MODEL_ARCH_NAMES.items()}
# llama.cpp has no windows in these, and Llama 3's scaling has a test of its own.
NOT_IN_GGUF = ("mistral", "qwen2-window", "llama3-rope")
TEMPLATE = "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
TEMPLATE += "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
BYTES = sorted(
    set("abcdefghinost0123456789.,?!") | {"\u0120", "\u010a"}
)  # G-dot is a space, C-dot a new line
VOCAB = [
    "<|end|>",
    "<|start|>",
    *BYTES,
    "th",
    "at",
    "\u0120th",
    "\u0120that",
    "12",
    "<think>",
    "e!",
]
TYPES = [3, 3] + [1] * (len(VOCAB) - 4) + [4, 1]


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """As llama.cpp's convert_hf_to_gguf.py orders the rows of q and k."""
    return (
        weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1)
        .swapaxes(1, 2)
        .reshape(weight.shape)
    )


def as_llama_cpp(weight: np.ndarray, part: str, architecture: str, config: dict) -> np.ndarray:
    """What convert_hf_to_gguf.py makes of a tensor of Hugging Face's."""
    if architecture in ("llama", "smollm3") and part in ("attn_q", "attn_k"):
        queries = part == "attn_q"
        return permuted(weight, config[f"num_{'attention' if queries else 'key_value'}_heads"])
    if architecture == "gemma3" and part.endswith("norm"):
        weight = weight + 1
        if part == "attn_q_norm":  # a file says nothing of another scale than that of head_dim
            weight *= (config["head_dim"] / config["query_pre_attn_scalar"]) ** 0.5
    return weight


def write(
    path: Path, name: str, kind=gguf.GGMLQuantizationType.F16, drop: str = "", **changes
) -> dict[str, np.ndarray]:
    """A fixture of tests/golden as a GGUF file; changes are metadata, None removes."""
    golden = dict(np.load(GOLDEN[name]))
    config = json.loads(golden["config"].tobytes())
    architecture = FAMILIES[config["architectures"][0]].gguf.architecture
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    rope = config["rope_parameters"].get("full_attention", config["rope_parameters"])
    metadata = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "rope.dimension_count": int(head_dim * rope.get("partial_rotary_factor", 1)),
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.freq_base": float(rope["rope_theta"]),
    }
    if rope["rope_type"] == "linear":
        metadata |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(rope["factor"])}
    if architecture in ("gemma3", "phi3"):
        metadata["attention.sliding_window"] = config["sliding_window"]
    if architecture == "gemma3":
        local = config["rope_parameters"]["sliding_attention"]
        metadata["rope.freq_base_swa"] = local["rope_theta"]
        period = config["layer_types"].index("full_attention") + 1
        metadata["attention.sliding_window_pattern"] = period
    metadata = {f"{architecture}.{key}": found for key, found in metadata.items()} | {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": VOCAB,
        "tokenizer.ggml.token_type": TYPES,
        "tokenizer.ggml.merges": ["t h", "a t", "\u0120 th", "\u0120th at", "1 2", "e !"],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.eot_token_id": 1,
        "tokenizer.chat_template": TEMPLATE,
    }
    metadata |= {key.replace("__", "."): found for key, found in changes.items()}
    writer = gguf.GGUFWriter(path, architecture)
    for key, found in metadata.items():
        if isinstance(found, list):
            writer.add_array(key, found)
        elif found is not None:
            add = {
                bool: writer.add_bool,
                int: writer.add_uint32,
                float: writer.add_float32,
                str: writer.add_string,
            }
            add[type(found)](key, found)
    names = gguf.get_tensor_name_map(ARCHITECTURES[architecture], config["num_hidden_layers"])
    stored = {key.removeprefix("weights/"): x for key, x in golden.items() if "weights/" in key}
    for name, weight in stored.items():
        target, weight = names.get_name(name, (".weight", ".bias")), weight.astype(np.float32)
        if target == drop:
            continue
        weight = as_llama_cpp(weight, target.split(".")[-2], architecture, config)
        if weight.ndim == 1:
            writer.add_tensor(target, weight)
        else:
            writer.add_tensor(target, gguf.quants.quantize(weight, kind), raw_dtype=kind)
    if rope["rope_type"] == "llama3":  # as convert_hf_to_gguf.py
        frequencies = rope["rope_theta"] ** (-np.arange(0, head_dim, 2) / head_dim)
        turns = rope["original_max_position_embeddings"] * frequencies / (2 * np.pi)
        keep = np.clip((turns - 1.0) / 3.0, 0, 1)
        writer.add_tensor(
            "rope_freqs.weight", (1 / ((1 - keep) / rope["factor"] + keep)).astype(np.float32)
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return golden


def message_of(path: Path) -> str:
    with pytest.raises(InputError) as error:
        load_gguf(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "llama.gguf"
    write(path, "llama")
    return path


@pytest.mark.parametrize(
    "kind", [gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16], ids=lambda k: k.name
)
@pytest.mark.parametrize("name", [n for n in GOLDEN if n not in NOT_IN_GGUF])
def test_logits_equal_transformers(tmp_path, name, kind):
    path = tmp_path / "model.gguf"
    golden = write(path, name, kind)
    model = load_model(str(path))
    assert_golden(model.params, model.cfg, golden)
    assert model.eos_ids == (0, 1) and model.name == "model.gguf" and len(model.sha256) == 64


def test_llama3_scaling_is_recognised_by_what_it_comes_to(tmp_path):
    """Only the settings of Llama 3 itself: those of the fixture, an original context of 32, are
    refused.
    """
    from jaxreason.models.decoder import DecoderConfig
    from jaxreason.models.gguf import with_llama3_scaling
    from jaxreason.models.rope import RopeScaling, rope_frequencies

    path = tmp_path / "model.gguf"
    write(path, "llama3-rope")
    assert "rope_freqs.weight" in message_of(path)
    for factor in (8.0, 32.0):
        plain = DecoderConfig(8, 8, 8, 1, 2, 1, 64, 8192, rope_theta=5e5)
        scaling = RopeScaling("llama3", factor)
        frequencies, scaled = (
            np.asarray(rope_frequencies(64, 5e5, kind)) for kind in (None, scaling)
        )
        assert with_llama3_scaling(plain, frequencies / scaled) == dataclasses.replace(
            plain, rope_scaling=scaling
        )


@pytest.mark.parametrize("kind", ["BF16", "Q8_0", "Q4_1", "Q5_0"])
def test_quantised_tensors_are_what_the_gguf_package_makes_of_them(tmp_path, kind):
    from jaxreason.models.gguf_file import read_header, read_tensor

    kind, path = gguf.GGMLQuantizationType[kind], tmp_path / "model.gguf"
    weight = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
    blocks = gguf.quants.quantize(weight, kind)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("w", blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    _, stored = read_header(path, gguf)
    assert stored["w"].shape == (6, 64)
    found = read_tensor(stored["w"], gguf)
    np.testing.assert_array_equal(found, gguf.quants.dequantize(blocks, kind))
    assert found.dtype == np.float32 and np.abs(found - weight).max() < 0.3


def test_tokenizer_and_chat_template_come_along(file):
    tokenizer = load_gguf(file).tokenizer
    ids = tokenizer("that 12 that<think><|end|>").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == [
        *("th", "at", "\u0120", "1", "2", "\u0120that", "<think>", "<|end|>"),
    ]  # digits are single although "12" is a token
    assert b"".join(token_bytes(tokenizer)[i] for i in ids) == b"that 12 that<think><|end|>"
    assert tokenizer.decode(ids, skip_special_tokens=True) == "that 12 that<think>"
    assert tokenizer.eos_token == tokenizer.pad_token == "<|end|>"
    assert chat(tokenizer, "hi") == "<|start|>user\nhi<|end|>\n<|start|>assistant\n"


def test_a_file_without_chat_template_is_named_when_one_is_needed(tmp_path):
    path = tmp_path / "model.gguf"
    write(path, "llama", tokenizer__chat_template=None)
    with pytest.raises(InputError, match="no chat template") as error:
        chat(load_gguf(path).tokenizer, "hi")
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("smollm", ["that", "\u0120", "1", "2", "3", "4", "!!\u010a"]),
        ("gpt-2", ["that", "\u01201234", "!!", "\u010a"]),
        ("llama-bpe", ["that", "\u0120", "123", "4", "!!\u010a"]),
        ("qwen2", ["that", "\u0120", "1", "2", "3", "4", "!!\u010a"]),
    ],
)
def test_text_is_cut_as_the_file_says(tmp_path, pre, pieces):
    path = tmp_path / "model.gguf"
    write(path, "llama", tokenizer__ggml__pre=pre)
    cut = load_gguf(path).tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(
        "that 1234!!\n"
    )
    if pre in DIGITS:
        pieces = pieces[:-1] + ["!!", "\u010a"]
    assert [piece for piece, _ in cut] == pieces
    assert set(SPLITS.values()) == {LLAMA3, QWEN2}


def test_the_beginning_of_text_is_added_once_where_the_file_asks_for_it(tmp_path):
    path = tmp_path / "model.gguf"
    for add, pre, first in (
        (True, "smollm", [1]),
        (False, "smollm", []),
        (None, "smollm", []),
        (None, "llama-bpe", [1]),
        (False, "llama-bpe", []),
    ):
        changes = {"tokenizer__ggml__add_bos_token": add, "tokenizer__ggml__pre": pre}
        write(path, "llama", tokenizer__ggml__bos_token_id=1, **changes)
        tokenizer = load_gguf(path).tokenizer
        plain = tokenizer("that", add_special_tokens=False).input_ids
        assert encode_prompts(tokenizer, ["that"], 9)[0].tolist() == first + plain
        assert encode_prompts(tokenizer, ["<|start|>that"], 9)[0].tolist() == [1, *plain]


def test_sentencepiece_vocabulary(tmp_path):
    path = tmp_path / "model.gguf"
    byte_tokens = [f"<0x{b:02X}>" for b in (0x0A, 0xC3, 0xA9)]
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *byte_tokens,
        "\u2581that",
        "\u2581th",
        "th",
        "at",
        "\u2581",
        "t",
        "h",
        "a",
    ]
    write(
        path,
        "llama",
        tokenizer__ggml__model="llama",
        tokenizer__ggml__tokens=tokens,
        tokenizer__ggml__token_type=[2, 3, 3, 6, 6, 6] + [1] * 8,
        tokenizer__ggml__scores=[0.0] * 6 + [-float(i) for i in range(8)],
        tokenizer__ggml__merges=None,
        tokenizer__ggml__eot_token_id=None,
        tokenizer__ggml__eos_token_id=2,
        tokenizer__ggml__bos_token_id=1,
        tokenizer__ggml__unknown_token_id=0,
    )
    tokenizer = load_gguf(path).tokenizer
    ids = tokenizer("that that\n\u00e9").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>", "\u2581that", "\u2581that", *byte_tokens]
    assert b"".join(token_bytes(tokenizer)[i] for i in ids[1:]) == " that that\n\u00e9".encode()
    assert tokenizer.decode(ids, skip_special_tokens=True) == "that that\n\u00e9"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"general__architecture": "mamba"},
            "'mamba' is not supported: expected one of llama, qwen2, qwen3, gemma3, olmo2",
        ),
        ({"llama__expert_count": 8}, "llama.expert_count is 8"),
        ({"llama__attention__sliding_window": 4096}, "sliding_window is 4096"),
        ({"llama__rope__scaling__type": "yarn"}, "'yarn' is not supported"),
        (
            {"llama__rope__dimension_count": 2},
            "rope.dimension_count is 2: expected the head size, 6",
        ),
        ({"llama__block_count": None}, "lacks the metadata key llama.block_count"),
        ({"llama__block_count": 2**31}, "num_hidden_layers is 2147483648"),
        ({"llama__block_count": 2**31 - 1}, "num_hidden_layers is 2147483647"),
        ({"llama__block_count": 3}, "blk.2.attn_q.weight is missing"),
        ({"llama__embedding_length": 2**31 - 1}, "token_embd.weight has shape"),
        ({"llama__attention__head_count": 0}, "num_attention_heads is 0"),
        ({"llama__attention__head_count_kv": 3}, "multiple of num_key_value_heads"),
        ({"drop": "blk.1.ffn_up.weight"}, "blk.1.ffn_up.weight is missing"),
        ({"drop": "token_embd.weight"}, "token_embd.weight"),
        (
            {"tokenizer__ggml__model": "bert"},
            "tokenizer 'bert' is not supported: expected 'gpt2' or 'llama'",
        ),
        (
            {"tokenizer__ggml__pre": "viking"},
            "'viking' is not supported: expected one of gpt-2, llama-bpe",
        ),
        ({"tokenizer__ggml__merges": None}, "tokenizer.ggml.merges"),
        ({"tokenizer__ggml__merges": ["t zz"]}, ""),
        ({"tokenizer__ggml__merges": ["t"]}, ""),
        ({"tokenizer__ggml__tokens": None}, "tokenizer.ggml.tokens"),
        ({"tokenizer__ggml__tokens": ["a", "a"]}, "distinct"),
        ({"tokenizer__ggml__tokens": [str(i) for i in range(99)]}, "at most 48"),
        ({"tokenizer__ggml__token_type": [1]}, "token_type has 1 entries"),
        ({"tokenizer__ggml__eos_token_id": 10**6}, "eos_token_id is 1000000"),
        ({"tokenizer__ggml__eot_token_id": 10**6}, "eot_token_id is 1000000"),
        ({"tokenizer__chat_template": 3}, "chat_template"),
        ({"general__alignment": 0}, "alignment"),
    ],
    ids=str,
)
def test_other_models_are_refused(tmp_path, changes, named):
    path = tmp_path / "model.gguf"
    if architecture := changes.get("general__architecture"):
        write(path, "llama")
        path.write_bytes(
            path.read_bytes().replace(
                b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0" + architecture.encode()
            )
        )
    else:
        alignment = changes.pop("general__alignment", None)
        write(path, "llama", **changes)
        if alignment is not None:
            writer = path.read_bytes()
            key = b"general.alignment"
            entry = (
                len(key).to_bytes(8, "little")
                + key
                + (4).to_bytes(4, "little")
                + alignment.to_bytes(4, "little")
            )
            count = int.from_bytes(writer[16:24], "little") + 1
            path.write_bytes(writer[:16] + count.to_bytes(8, "little") + entry + writer[24:])
    assert named in message_of(path)


def mutants(data: bytes):
    """Every kind of damage: cut short, bytes changed or lost in the header, counts and lengths out
    of all bounds.
    """
    rng = np.random.default_rng(0)
    header = data.index(b"blk.1.ffn_up.weight") + 60
    for cut in [*range(0, 40, 4), *rng.integers(40, len(data), 60)]:
        yield data[:cut]
    for _ in range(120):
        changed = bytearray(data)
        for position in rng.integers(0, header, rng.integers(1, 6)):
            changed[position] = rng.integers(256)
        yield bytes(changed)
    for _ in range(40):
        position = rng.integers(4, header)
        yield data[:position] + data[position + rng.integers(1, 9) :]
    extremes = [2**64 - 1, 2**63, 2**40, 2**31, 0]
    for position in [8, 16, 24, *rng.integers(24, header - 8, 40)]:
        for extreme in extremes:
            yield data[:position] + extreme.to_bytes(8, "little") + data[position + 8 :]
    yield b"GGUF" + bytes(10_000)
    yield b"\x80\x04" + bytes(100)


def test_hostile_files_are_one_line_and_cost_nothing(tmp_path, file):
    """Damage that still is a model (a changed letter of a token) may load; all else is refused, in
    bounded memory.
    """
    path, refused, total = tmp_path / "mutant.gguf", 0, 0
    for data in mutants(file.read_bytes()):
        path.write_bytes(data)
        tracemalloc.start()
        try:
            load_gguf(path)
        except InputError as error:
            assert "\n" not in str(error) and str(path) in str(error) and len(str(error)) < 1000
            refused += 1
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 50e6
        total += 1
    assert total > 400 and refused > 300


@pytest.mark.parametrize(
    "make",
    [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_bytes(b"")],
    ids=["none", "dir", "empty"],
)
def test_what_is_no_file_is_named(tmp_path, make):
    path = tmp_path / "model.gguf"
    make(path)
    with pytest.raises(InputError, match=f"{str(path)!r}"):
        load_model(str(path))


def test_without_the_package_the_line_says_what_to_install(monkeypatch, file):
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(InputError, match=r"pip install 'jaxreason\[gguf\]'"):
        load_model(str(file))


# ---- scales


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"llama__attention__scale": 0.5},
            "llama.attention.scale is 0.5, which is not supported: expected 0 or 0.408",
        ),
        ({"llama__logit_scale": 0.0625}, "llama.logit_scale is 0.0625"),
        ({"llama__residual_scale": 0.22}, "llama.residual_scale is 0.22"),
        ({"llama__embedding_scale": 12.0}, "llama.embedding_scale is 12"),
        ({"llama__attention__clamp_kqv": 8.0}, "llama.attention.clamp_kqv is 8"),
        ({"llama__attn_logit_softcapping": 50.0}, "llama.attn_logit_softcapping is 50"),
        ({"llama__final_logit_softcapping": 30.0}, "llama.final_logit_softcapping is 30"),
        ({"llama__attention__causal": False}, "llama.attention.causal is 0"),
        ({"llama__rope__scaling__attn_factor": 1.2}, "llama.rope.scaling.attn_factor is 1.2"),
    ],
    ids=str,
)
def test_scales_that_are_not_computed_are_refused(tmp_path, changes, named):
    path = tmp_path / "model.gguf"
    write(path, "llama", **changes)
    assert named in message_of(path)


def test_scales_that_change_nothing_are_accepted(tmp_path):
    path = tmp_path / "model.gguf"
    idle = {
        "logit_scale": 1.0,
        "residual_scale": 1.0,
        "attention__scale": 6**-0.5,
        "attention__causal": True,
    }
    idle |= {"rope__scale_linear": 1.0, "rope__scaling__attn_factor": 1.0, "expert_count": 0}
    golden = write(path, "llama", **{f"llama__{key}": found for key, found in idle.items()})
    model = load_gguf(path)
    assert_golden(model.params, model.cfg, golden)


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"scale_linear": 4.0}, 4.0),
        ({"scaling__factor": 2.0}, 2.0),  # llama.cpp: without a type it is linear
        ({"scaling__type": "linear", "scaling__factor": 8.0}, 8.0),
        ({"scaling__factor": 2.0, "scale_linear": 4.0}, 2.0),
        ({"scaling__type": "none", "scale_linear": 4.0}, None),
        ({"scale_linear": 0.0}, None),
        ({}, None),
    ],
    ids=str,
)
def test_linear_scaling_under_its_old_and_new_name(tmp_path, changes, factor):
    path = tmp_path / "model.gguf"
    write(path, "llama", **{f"llama__rope__{key}": found for key, found in changes.items()})
    scaling = load_gguf(path).cfg.rope_scaling
    assert (scaling and (scaling.rope_type, scaling.factor)) == (factor and ("linear", factor))


# ---- ends of turn


@pytest.mark.parametrize(
    "name",
    ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "</s>"],
)
def test_a_turn_ends_with_the_token_known_for_it(tmp_path, name):
    """As Llama 3's <|eot_id|>, where the file names another token as the end of text; also where it
    is no control token.
    """
    path = tmp_path / "model.gguf"
    for kind in (3, 4):
        write(
            path,
            "llama",
            tokenizer__ggml__tokens=["<|end_of_text|>", "<|start|>", *VOCAB[2:-2], name, "e!"],
            tokenizer__ggml__token_type=[3, 3] + [1] * (len(VOCAB) - 4) + [kind, 1],
            tokenizer__ggml__eot_token_id=None,
        )
        model = load_gguf(path)
        assert model.eos_ids == (0, len(VOCAB) - 2)
        stop = compile_stop(model.tokenizer, (), model.eos_ids).next_state
        assert [i for i in range(len(VOCAB)) if stop[i, 0] == stop.shape[1] - 1] == [
            0,
            len(VOCAB) - 2,
        ]
        row = np.array([[5, len(VOCAB) - 2]])
        assert decode(model.tokenizer, row, np.ones(row.shape, bool)) == [VOCAB[5]]


@pytest.mark.parametrize(
    "name", ["<|python_tag|>", "<|start|>x", "<tool_call>", "<|eot|>", "<think>", "</think>"]
)
def test_other_control_tokens_end_nothing(tmp_path, name):
    path = tmp_path / "model.gguf"
    write(
        path,
        "llama",
        tokenizer__ggml__tokens=[*VOCAB[:-2], name, "e!"],
        tokenizer__ggml__eot_token_id=None,
        tokenizer__ggml__token_type=[3, 3] + [1] * (len(VOCAB) - 4) + [3, 1],
    )
    model = load_gguf(path)
    assert model.eos_ids == (0,)
    row = np.array([[5, len(VOCAB) - 2, 0]])
    kept = name if "think" in name else ""  # tags stay, though they are control tokens
    assert decode(model.tokenizer, row, np.ones(row.shape, bool)) == [VOCAB[5] + kept]


# ---- split files


def split(path: Path, folder: Path, count: int, changes=()) -> list[Path]:
    """As llama-gguf-split does: the metadata in the first part, tensors in all."""
    folder.mkdir(exist_ok=True)
    reader, files = gguf.GGUFReader(path), []
    for part in range(count):
        files.append(folder / f"model-{part + 1:05d}-of-{count:05d}.gguf")
        writer = gguf.GGUFWriter(files[-1], "llama")
        for key, field in reader.fields.items():
            if part == 0 and not key.startswith("GGUF.") and key != "general.architecture":
                sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
                writer.add_key_value(key, field.contents(), field.types[0], sub_type)
        numbers = {
            "split.no": part,
            "split.count": count,
            "split.tensors.count": len(reader.tensors),
        }
        for key, number in (numbers | dict(changes)).items():
            writer.add_uint16(key, number)
        for tensor in reader.tensors[part::count]:
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return files


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_split_file_is_read_whole(tmp_path, file, count):
    files = split(file, tmp_path / "parts", count)
    whole, parts = load_gguf(file), load_gguf(files[0])
    jax.tree.map(np.testing.assert_array_equal, whole.params, parts.params)
    assert parts.cfg == whole.cfg and parts.eos_ids == whole.eos_ids
    assert parts.tokenizer.get_vocab() == whole.tokenizer.get_vocab()
    assert load_model(str(files[0])).sha256 == load_gguf(str(files[0])).sha256 == parts.sha256


def test_parts_that_are_missing_or_others_are_named(tmp_path, file):
    files = split(file, tmp_path / "parts", 3)
    assert f"is part 2 of a model split into 3: load the first, {str(files[0])!r}" in message_of(
        files[1]
    )
    renamed = files[0].rename(tmp_path / "model.gguf")
    assert "expected the name to end in -00001-of-00003.gguf" in message_of(renamed)
    renamed.rename(files[0])
    content = files[2].read_bytes()
    files[2].write_bytes(content[:-100])
    assert "part 3 of the model, is truncated" in message_of(files[0])
    files[2].write_bytes(b"")
    assert "part 3 of the model" in message_of(files[0])
    files[2].write_bytes(files[1].read_bytes())
    assert "is not part 3 of 3" in message_of(files[0])
    files[2].unlink()
    assert "part 3 is missing" in message_of(files[0])
    others = split(file, tmp_path / "others", 2, {"split.tensors.count": 99})
    assert "expected 99" in message_of(others[0])
