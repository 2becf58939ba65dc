"""Weights on disk: what is saved comes back bit for bit, and every damaged directory is refused in
one line.
"""

import copy
import dataclasses
import fnmatch
import hashlib
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_params
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig

from jaxreason.errors import InputError
from jaxreason.models import hf, names
from jaxreason.models.families.llama import KEYS
from jaxreason.models.hf import find_gguf, find_model, load_config, load_model, save_model
from jaxreason.models.rope import RopeScaling
from jaxreason.models.tokens import build_tokenizer
from jaxreason.models.weights import Tensors, assemble


@pytest.fixture(scope="module")
def saved(tmp_path_factory, params, cfg, tokenizer):
    directory = tmp_path_factory.mktemp("saved") / "model"
    save_model(directory, params, cfg, tokenizer)
    return directory


@pytest.fixture
def directory(saved, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(saved, tmp_path / "model")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def snapshot_download(name, **_):
        raise LocalEntryNotFoundError(
            f"{name} is not in the cache\nand outgoing traffic has been disabled."
        )

    monkeypatch.setattr(hf, "snapshot_download", snapshot_download)


def edit_config(directory, **changes):
    config = json.loads((directory / "config.json").read_text()) | changes
    (directory / "config.json").write_text(json.dumps(config))


def edit_tensors(directory, edit):
    tensors = load_file(directory / "model.safetensors")
    edit(tensors)
    save_file(tensors, directory / "model.safetensors")


def refused(call, *parts):
    with pytest.raises(InputError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    assert all(str(part) in message for part in parts), message
    return message


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes()


# ---- round trip


def test_a_saved_model_comes_back_bit_for_bit(saved, params, cfg, tokenizer):
    model = load_model(str(saved))
    assert_same_bits(model.params, params)
    assert model.cfg == cfg and model.name == str(saved)
    assert model.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert model.sha256 == hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(model.params))


def test_an_untied_model_comes_back_with_its_head(tmp_path, cfg, tokenizer):
    cfg = dataclasses.replace(
        cfg, tie_word_embeddings=False, rope_theta=5e5, head_dim=6, num_key_value_heads=4
    )
    params = random_params(cfg)
    save_model(tmp_path, params, cfg, tokenizer)
    model = load_model(str(tmp_path))
    assert model.cfg == cfg
    assert_same_bits(model.params, params)


def test_half_precision_is_rounded_once(tmp_path, params, cfg, tokenizer):
    save_model(tmp_path, params, cfg, tokenizer, dtype=np.float16)
    rounded = jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), params)
    assert_same_bits(load_model(str(tmp_path)).params, rounded)


def test_the_directory_is_hugging_faces(saved, params, cfg):
    """Names and layout of a Llama: matrices [out, in], one tensor a layer, a config transformers
    reads.
    """
    tensors = load_file(saved / "model.safetensors")
    assert len(tensors) == 2 + 9 * cfg.num_hidden_layers
    np.testing.assert_array_equal(
        tensors["model.layers.1.self_attn.k_proj.weight"],
        params["layers"]["attention"]["k"]["kernel"][1].T,
    )
    assert tensors["model.layers.0.mlp.down_proj.weight"].shape == (
        cfg.hidden_size,
        cfg.intermediate_size,
    )
    np.testing.assert_array_equal(
        tensors["model.embed_tokens.weight"], params["embed"]["embedding"]
    )
    config = AutoConfig.from_pretrained(saved)
    assert config.architectures == ["LlamaForCausalLM"] and config.vocab_size == cfg.vocab_size


def test_a_tied_checkpoint_may_repeat_its_head(directory, params):
    edit_tensors(directory, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"]}))
    assert_same_bits(load_model(str(directory)).params, params)


def test_a_stored_head_of_its_own_is_used_whatever_the_config_says(directory, params, cfg):
    """transformers 5 does so too; 4 drops it."""
    head = (
        np.random.default_rng(0).normal(size=params["embed"]["embedding"].shape).astype(np.float32)
    )
    for stored in (
        head,
        np.float32(params["embed"]["embedding"]) + np.eye(*head.shape, dtype=np.float32),
    ):
        edit_tensors(directory, lambda t, stored=stored: t.update({"lm_head.weight": stored}))
        model = load_model(str(directory))
        assert model.cfg == dataclasses.replace(cfg, tie_word_embeddings=False)
        np.testing.assert_array_equal(model.params["head"]["kernel"], stored.T)
    edit_tensors(directory, lambda t: t.update({"lm_head.weight": head[:-1]}))
    refused(lambda: load_model(str(directory)), "lm_head.weight has shape")


# ---- for both versions of transformers


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rope_theta": 5e5},
        {"rope_theta": 1e6, "rope_scaling": RopeScaling("linear", 4.0, 1.0, 4.0, 8192)},
        {"rope_theta": 5e5, "rope_scaling": RopeScaling("llama3", 8.0, 1.0, 4.0, 32)},
        {"rope_theta": 1e6, "attention_bias": True, "tie_word_embeddings": False},
        {"rope_theta": 777.0, "qk_norm": True},
        {"rope_theta": 123.5, "attention_bias": True},
    ],
    ids=str,
)
def test_both_versions_of_transformers_read_the_same_rope_and_tokenizer(
    tmp_path, cfg, tokenizer, changes
):
    """4 reads rope_theta and rope_scaling, 5 rope_parameters; neither name of the other's tokenizer
    class.
    """
    cfg = dataclasses.replace(cfg, **changes)
    save_model(str(tmp_path / "model"), random_params(cfg), cfg, tokenizer)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    scaling = config.get("rope_scaling") or {"rope_type": "default"}
    assert config["rope_theta"] == cfg.rope_theta
    assert config["rope_parameters"] == {**scaling, "rope_theta": cfg.rope_theta}
    assert (cfg.rope_scaling is None) == (config.get("rope_scaling") is None)
    kept = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert kept["tokenizer_class"] == "PreTrainedTokenizerFast"
    model = load_model(tmp_path / "model")
    assert model.cfg == cfg and model.tokenizer.get_vocab() == tokenizer.get_vocab()
    ids = tokenizer("Tom has 45 apples.").input_ids
    assert model.tokenizer("Tom has 45 apples.").input_ids == ids


def test_special_tokens_of_the_user_come_back(tmp_path, cfg):
    tokenizer = build_tokenizer(["Tom"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    cfg = dataclasses.replace(cfg, vocab_size=len(tokenizer))
    save_model(tmp_path, random_params(cfg), cfg, tokenizer)
    kept = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert kept["additional_special_tokens"] == [
        "<think>",
        "</think>",
    ]  # 4 fails on the list's name in 5
    assert "extra_special_tokens" not in kept
    assert {"<think>", "</think>"} <= set(load_model(tmp_path).tokenizer.all_special_tokens)


@pytest.mark.parametrize("name", [*sorted(hf.shipped()), "tiny-prm/backbone", "tiny-orm/backbone"])
def test_shipped_files_are_for_both_versions(name):
    directory = Path(__file__).parents[2] / "checkpoints" / name
    config = json.loads((directory / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10_000.0
    kept = json.loads((directory / "tokenizer_config.json").read_text())
    assert kept["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_a_tokenizer_of_more_tokens_than_rows_is_refused(tmp_path, cfg, params, tokenizer):
    larger = copy.deepcopy(tokenizer)
    larger.add_tokens(["<beyond>"])
    save_model(tmp_path, params, cfg, larger)
    message = refused(
        lambda: load_model(tmp_path), tmp_path, "'<beyond>'", f"{cfg.vocab_size} rows"
    )
    assert f"the id {cfg.vocab_size}" in message
    wider = dataclasses.replace(cfg, vocab_size=cfg.vocab_size + 9)  # padded, as many are
    save_model(tmp_path, random_params(wider), wider, larger)
    assert load_model(tmp_path).cfg == wider


def test_ends_of_turn_end_chains_whatever_the_generation_config_says(tmp_path, cfg, tokenizer):
    larger = copy.deepcopy(tokenizer)
    larger.add_special_tokens({"additional_special_tokens": ["<|eot_id|>", "<|start|>"]})
    cfg = dataclasses.replace(cfg, vocab_size=len(larger))
    save_model(tmp_path, random_params(cfg), cfg, larger)
    assert load_model(tmp_path).eos_ids == (1, len(tokenizer))


# ---- finding


def test_shipped_models_come_first_then_directories_then_the_hub(saved, monkeypatch, tmp_path):
    monkeypatch.setattr(hf, "shipped", lambda: {"tiny": saved})
    assert find_model("tiny") == saved
    assert find_model(str(tmp_path)) == tmp_path
    monkeypatch.setattr(hf, "snapshot_download", lambda name, **_: f"/cache/{name}")
    assert str(find_model("someone/model")) == "/cache/someone/model"


def test_shipped_models_are_the_directories_with_a_config(tmp_path, monkeypatch):
    (tmp_path / "jaxreason").mkdir()
    for name in ("a", "b"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "checkpoints" / "b" / "config.json").write_text("{}")
    monkeypatch.setattr(names.resources, "files", lambda _: tmp_path / "jaxreason")
    assert names.shipped() == {"b": tmp_path / "checkpoints" / "b"}
    (tmp_path / "jaxreason" / "checkpoints" / "c").mkdir(parents=True)  # as in a wheel
    (tmp_path / "jaxreason" / "checkpoints" / "c" / "config.json").write_text("{}")
    assert names.shipped() == {"c": tmp_path / "jaxreason" / "checkpoints" / "c"}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tyni",
        "no/such/directory",
        "./nowhere",
        "/no/such",
        "~no-such-user/x",
        "x" * 400,
        "a\0b",
    ],
    ids=ascii,
)
def test_an_unknown_name_is_refused(name):
    refused(lambda: load_model(name), repr(name), "not found", "hub id")


def test_a_hub_model_that_cannot_be_fetched_is_refused():
    refused(
        lambda: load_model("someone/model"),
        "'someone/model'",
        "cannot be fetched",
        "not in the cache",
    )


def hub(monkeypatch, folder: Path, *files: str) -> None:
    """A hub whose repositories are all this one; what matches no pattern is not downloaded."""

    def download(name, allow_patterns):
        for file in files:
            if any(fnmatch.fnmatch(file, pattern) for pattern in allow_patterns):
                (folder / file).parent.mkdir(exist_ok=True)
                (folder / file).write_bytes(b"GGUF")
        return str(folder)

    monkeypatch.setattr(hf, "snapshot_download", download)


def test_a_file_of_a_hub_repository_is_named_by_its_kind(tmp_path, monkeypatch):
    hub(monkeypatch, tmp_path, "m-q4_k_m.gguf", "m-q4_k_m-v2.gguf", "m-iq4_k_m.gguf", "m-Q8_0.gguf")
    assert find_gguf("someone/m-GGUF", "q4_k_m") == tmp_path / "m-q4_k_m.gguf"
    assert find_gguf("someone/m-GGUF", "q8_0") == tmp_path / "m-Q8_0.gguf"
    assert {path.name for path in tmp_path.iterdir()} == {"m-q4_k_m.gguf", "m-Q8_0.gguf"}
    refused(lambda: load_model("someone/m-GGUF:q8_0"), tmp_path / "m-Q8_0.gguf", "truncated")
    refused(lambda: load_model("someone/m-GGUF:q2_k"), "'someone/m-GGUF:q2_k'", "found none")


def test_of_a_split_file_of_the_hub_the_first_part_is_loaded(tmp_path, monkeypatch):
    hub(monkeypatch, tmp_path, *(f"Q6_K/m-Q6_K-0000{i}-of-00002.gguf" for i in (1, 2)))
    assert find_gguf("someone/m", "q6_k") == tmp_path / "Q6_K" / "m-Q6_K-00001-of-00002.gguf"
    assert len(list((tmp_path / "Q6_K").iterdir())) == 2
    hub(monkeypatch, tmp_path, "a-f16.gguf", "b-f16.gguf")
    refused(lambda: find_gguf("someone/m", "f16"), "a-f16.gguf, b-f16.gguf")


# ---- damaged directories


def test_no_config(directory):
    (directory / "config.json").unlink()
    refused(lambda: load_model(str(directory)), directory, "config.json")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"model_type": "no-such-type"}', "{}"], ids=str
)
def test_an_unreadable_config(directory, content):
    (directory / "config.json").write_text(content)
    refused(lambda: load_model(str(directory)), directory / "config.json")


@pytest.mark.parametrize(
    "changes",
    [{"hidden_size": "wide"}, {"num_attention_heads": 0}, {"hidden_size": -3, "head_dim": None}],
    ids=str,
)
def test_impossible_sizes(directory, changes):
    edit_config(directory, **changes)
    refused(lambda: load_model(str(directory)), directory)


def test_an_architecture_that_is_not_supported(directory):
    edit_config(directory, architectures=["GPT2LMHeadModel"])
    refused(lambda: load_model(str(directory)), "'GPT2LMHeadModel'", "LlamaForCausalLM")
    edit_config(directory, architectures=None)
    refused(lambda: load_model(str(directory)), "'unknown'")


def test_a_rope_that_is_not_supported(directory):
    rope = {
        "rope_type": "yarn",
        "factor": 4.0,
        "rope_theta": 1e4,
        "original_max_position_embeddings": 128,
    }
    edit_config(directory, rope_parameters=rope)
    refused(lambda: load_model(str(directory)), "rope type 'yarn'")


def test_the_older_key_of_rope_theta_is_read(directory, cfg):
    config = json.loads((directory / "config.json").read_text())
    config.pop("rope_parameters", None)
    (directory / "config.json").write_text(json.dumps(config | {"rope_theta": 123.0}))
    assert load_config(directory) == dataclasses.replace(cfg, rope_theta=123.0)


def test_no_weights(directory):
    (directory / "model.safetensors").unlink()
    refused(lambda: load_model(str(directory)), directory / "model.safetensors", "missing")


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights(directory, keep):
    path = directory / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    refused(lambda: load_model(str(directory)), path, "truncated")


def test_weights_that_are_another_file(directory):
    (directory / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    refused(lambda: load_model(str(directory)), directory / "model.safetensors", "damaged")


def test_all_tensors_that_do_not_fit_are_in_one_error(directory):
    def damage(tensors):
        del tensors["model.norm.weight"]
        del tensors["model.layers.1.mlp.up_proj.weight"]
        tensors["extra.weight"] = np.zeros(3, np.float32)
        tensors["model.layers.0.self_attn.q_proj.weight"] = np.zeros((32, 31), np.float32)

    edit_tensors(directory, damage)
    refused(
        lambda: load_model(str(directory)),
        directory / "model.safetensors",
        "model.norm.weight is missing",
        "model.layers.1.mlp.up_proj.weight is missing",
        "extra.weight is unexpected",
        "model.layers.0.self_attn.q_proj.weight has shape",
    )


def test_a_long_list_of_problems_is_counted(cfg):
    nothing = Tensors({}, {}.get, [Path("here")])
    message = refused(lambda: assemble(nothing, KEYS, cfg, np.float32), "'here'", "and 15 more")
    assert message.count("is missing") == 5  # of 20


def test_weights_of_another_size(directory, cfg):
    edit_config(directory, intermediate_size=cfg.intermediate_size + 1)
    refused(lambda: load_model(str(directory)), "mlp.gate_proj.weight has shape", "expected")
    edit_config(directory, intermediate_size=cfg.intermediate_size, num_hidden_layers=3)
    refused(lambda: load_model(str(directory)), "model.layers.2.")
    edit_config(directory, num_hidden_layers=1)
    refused(lambda: load_model(str(directory)), "model.layers.1.", "is unexpected")


def test_biases_are_not_dropped_in_silence(directory):
    edit_tensors(
        directory,
        lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": np.zeros(32, np.float32)}),
    )
    refused(
        lambda: load_model(str(directory)), "model.layers.0.self_attn.q_proj.bias is unexpected"
    )


def test_no_tokenizer(directory):
    for path in directory.glob("tokenizer*"):
        path.unlink()
    refused(lambda: load_model(str(directory)), directory, "tokenizer")
