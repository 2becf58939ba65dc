"""Models on disk, in Hugging Face's format: config.json, *.safetensors, tokenizer.json.

The tiny models that ship with the package are ordinary Llama directories, so one loader serves them
and the hub.
"""

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from huggingface_hub import snapshot_download
from jax.sharding import Mesh
from safetensors.numpy import save_file
from transformers import (
    GenerationConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen3Config,
)

from jaxreason.errors import InputError, one_line
from jaxreason.models.decoder import DecoderConfig, Params
from jaxreason.models.fastest import ROWS
from jaxreason.models.gguf import load_gguf
from jaxreason.models.names import check_name, find_local, shipped
from jaxreason.models.precision import check_float
from jaxreason.models.rope import RopeScaling
from jaxreason.models.tokens import check_vocabulary, end_of_turn_ids, load_tokenizer
from jaxreason.models.weights import (
    LanguageModel,
    Tensors,
    assemble_in,
    digest,
    get_path,
    open_safetensors,
    read_json,
)

FAMILIES: dict[str, type[PretrainedConfig]] = {
    "LlamaForCausalLM": LlamaConfig,
    "Qwen2ForCausalLM": Qwen2Config,  # Qwen2.5 as well
    "Qwen3ForCausalLM": Qwen3Config,
}
DTYPES = ("float32", "bfloat16", "float16", "int8")

# Hugging Face name -> path in our params. A per-layer name has {} for the layer; its arrays are
# stacked on axis 0. Matrices are stored there as [out, in] and used here as [in, out].
KEYS = {
    "model.embed_tokens.weight": ("embed", "embedding"),
    "lm_head.weight": ("head", "kernel"),
    "model.norm.weight": ("norm", "scale"),
    "model.layers.{}.input_layernorm.weight": ("layers", "attention_norm", "scale"),
    "model.layers.{}.self_attn.q_proj.weight": ("layers", "attention", "q", "kernel"),
    "model.layers.{}.self_attn.k_proj.weight": ("layers", "attention", "k", "kernel"),
    "model.layers.{}.self_attn.v_proj.weight": ("layers", "attention", "v", "kernel"),
    "model.layers.{}.self_attn.q_proj.bias": ("layers", "attention", "q", "bias"),
    "model.layers.{}.self_attn.k_proj.bias": ("layers", "attention", "k", "bias"),
    "model.layers.{}.self_attn.v_proj.bias": ("layers", "attention", "v", "bias"),
    "model.layers.{}.self_attn.q_norm.weight": ("layers", "attention", "q_norm", "scale"),
    "model.layers.{}.self_attn.k_norm.weight": ("layers", "attention", "k_norm", "scale"),
    "model.layers.{}.self_attn.o_proj.weight": ("layers", "attention", "o", "kernel"),
    "model.layers.{}.post_attention_layernorm.weight": ("layers", "mlp_norm", "scale"),
    "model.layers.{}.mlp.gate_proj.weight": ("layers", "mlp", "gate", "kernel"),
    "model.layers.{}.mlp.up_proj.weight": ("layers", "mlp", "up", "kernel"),
    "model.layers.{}.mlp.down_proj.weight": ("layers", "mlp", "down", "kernel"),
}


def find_model(name: str | Path) -> Path:
    """The directory of a model.

    Args:
      name: a shipped model, a local directory, or a hub id, which is downloaded or taken from the
        hub's cache.

    Raises:
      InputError: there is no such model.
    """
    name = os.fspath(name)
    if name in shipped():
        return shipped()[name]
    if directory := find_local(name):
        return directory
    check_name(name)
    try:
        files = ["*.json", "*.safetensors", "*.model", "*.jinja"]
        return Path(snapshot_download(name, allow_patterns=files))
    except Exception as error:  # the hub client raises many kinds; the user needs one line
        raise InputError(
            f"model {name!r} cannot be fetched from the Hugging Face hub ({one_line(error)})"
        ) from error


def load_model(
    name: str | Path, dtype: Any = "auto", mesh: Mesh | None = None, rows: int = ROWS
) -> LanguageModel:
    """Loads a model.

    Args:
      name: a shipped model, a directory, a GGUF file (of a split one the first part), or a hub id.
      dtype: in which numbers it computes, whatever is stored: "float32", "bfloat16", "float16",
        "int8" (less exact, and not for training), or "auto", which is float32 for shipped models,
        and for others what :func:`jaxreason.models.fastest.default_dtype` finds to be fast on this
        device. For training, name "float32".
      mesh: devices to spread the parameters over, by the rules of :mod:`jaxreason.mesh`; None is
        the default device.
      rows: chains that are to be decoded at a time, which "auto" depends on.

    Raises:
      InputError: not found, unsupported, or damaged; the message says which and names the file.
    """
    name, dtype = os.fspath(name), _known(dtype)
    if dtype == "auto" and name in shipped():
        dtype = "float32"
    if name.endswith(".gguf"):
        return load_gguf(name, dtype, mesh, rows)
    directory = find_model(name)
    tensors = open_safetensors(directory)
    cfg = untie_stored_head(load_config(directory), tensors)
    tokenizer = load_tokenizer(directory)
    try:
        check_vocabulary(tokenizer, cfg.vocab_size)
    except InputError as error:
        raise InputError(f"{str(directory)!r}: {error}") from error
    params, cfg = assemble_in(tensors, KEYS, cfg, dtype, mesh, rows)
    eos_ids = dict.fromkeys([*load_eos_ids(directory, cfg), *end_of_turn_ids(tokenizer)])
    return LanguageModel(
        params=params,
        cfg=cfg,
        tokenizer=tokenizer,
        name=name,
        sha256=digest(tensors.files),
        eos_ids=tuple(eos_ids),
    )


def _known(dtype: Any) -> str:
    """The name of a dtype, of jax, numpy or a string.

    Raises:
      InputError: a model cannot compute in it.
    """
    expected = f"expected auto or one of {', '.join(DTYPES)}"
    if isinstance(dtype, str) and dtype == "auto":
        return dtype
    try:
        name = jnp.dtype(dtype).name
    except TypeError as error:
        raise InputError(f"dtype {dtype!r} is unknown: {expected}") from error
    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is not supported: {expected}")
    return name


def untie_stored_head(cfg: DecoderConfig, tensors: Tensors) -> DecoderConfig:
    """The config, untied if the weights have an output head of their own, whatever it says.

    Many files store the embedding twice; that is no head of its own.
    """
    head, embedding = "lm_head.weight", "model.embed_tokens.weight"
    if not cfg.tie_word_embeddings or not {head, embedding} <= tensors.shapes.keys():
        return cfg
    same = np.array_equal(tensors.read(head), tensors.read(embedding))
    return cfg if same else dataclasses.replace(cfg, tie_word_embeddings=False)


def load_config(directory: Path) -> DecoderConfig:
    """Reads config.json.

    Raises:
      InputError: missing, unreadable or of a model this decoder does not implement.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise InputError(f"{str(directory)!r} is not a model directory: it has no config.json")
    raw = read_json(path)
    architectures = raw.get("architectures") or ["unknown"]
    architecture = architectures[0] if isinstance(architectures, list) else architectures
    if not isinstance(architecture, str) or architecture not in FAMILIES:
        raise InputError(
            f"{str(path)!r}: architecture {architecture!r} is not supported: "
            f"expected one of {', '.join(FAMILIES)}"
        )
    if not isinstance(layers := raw.get("num_hidden_layers", 1), int) or not 1 <= layers <= 10_000:
        raise InputError(f"{str(path)!r}: num_hidden_layers is {layers!r}: expected 1 to 10000")
    try:
        hf = FAMILIES[architecture].from_dict(raw)
        rope = getattr(hf, "rope_parameters", None) or {
            "rope_theta": hf.rope_theta,
            **(hf.rope_scaling or {}),
        }
        refused = {
            "quantization_config": (getattr(hf, "quantization_config", None), None),
            "hidden_act": (hf.hidden_act, "silu"),
            "sliding attention": (
                "sliding_attention" in (getattr(hf, "layer_types", None) or ()),
                False,
            ),
            "attention_bias": (architecture != "Qwen2ForCausalLM" and hf.attention_bias, False),
            "mlp_bias": (getattr(hf, "mlp_bias", False), False),
            "partial_rotary_factor": (rope.get("partial_rotary_factor") or 1.0, 1.0),
        }
        for what, (found, expected) in refused.items():
            if found != expected:
                shown = str(found).splitlines()[0][:80]
                raise InputError(
                    f"{what} is {shown}, which is not supported: expected {expected} "
                    "(dense models with full attention and weights in F32, F16 or BF16 are)"
                )
        return DecoderConfig(
            vocab_size=hf.vocab_size,
            hidden_size=hf.hidden_size,
            intermediate_size=hf.intermediate_size,
            num_hidden_layers=hf.num_hidden_layers,
            num_attention_heads=hf.num_attention_heads,
            num_key_value_heads=hf.num_key_value_heads,
            head_dim=getattr(hf, "head_dim", None) or hf.hidden_size // hf.num_attention_heads,
            max_position_embeddings=hf.max_position_embeddings,
            rope_theta=float(rope.get("rope_theta") or 10_000.0),
            rope_scaling=_rope_scaling(rope, hf.max_position_embeddings),
            rms_norm_eps=hf.rms_norm_eps,
            attention_bias=architecture == "Qwen2ForCausalLM",
            qk_norm=architecture == "Qwen3ForCausalLM",
            tie_word_embeddings=hf.tie_word_embeddings,
        )
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from error
    except Exception as error:  # transformers' own validation raises many kinds
        raise InputError(f"{str(path)!r} cannot be read ({one_line(error)})") from error


def _rope_scaling(rope: dict, max_position_embeddings: int) -> RopeScaling | None:
    rope_type = rope.get("rope_type") or rope.get("type") or "default"
    if rope_type == "default":
        return None
    if rope_type != "llama3":  # linear, or one that DecoderConfig refuses
        return RopeScaling(rope_type, float(rope.get("factor", 1.0)))
    original = rope.get("original_max_position_embeddings") or max_position_embeddings
    return RopeScaling(
        rope_type=rope_type,
        factor=float(rope["factor"]),
        low_freq_factor=float(rope["low_freq_factor"]),
        high_freq_factor=float(rope["high_freq_factor"]),
        original_max_position_embeddings=int(original),
    )


def load_eos_ids(directory: Path, cfg: DecoderConfig) -> tuple[int, ...]:
    """The tokens that end a text, by generation_config.json or else config.json; perhaps none.

    Raises:
      InputError: they are not token ids.
    """
    for path in (directory / "generation_config.json", directory / "config.json"):
        found = read_json(path).get("eos_token_id") if path.is_file() else None
        if found is not None:
            ids = found if isinstance(found, list) else [found]
            if not all(type(i) is int and 0 <= i < cfg.vocab_size for i in ids):
                raise InputError(
                    f"{str(path)!r}: eos_token_id is {found}: expected ids below {cfg.vocab_size}"
                )
            return tuple(ids)
    return ()


def save_model(
    directory: str | Path,
    params: Params,
    cfg: DecoderConfig,
    tokenizer: PreTrainedTokenizerBase,
    dtype: Any = np.float32,
    eos_ids: Iterable[int] = (),
) -> None:
    """Writes a directory that :func:`load_model` and transformers, 4.56 or later and 5, read alike.

    Args:
      directory: made if it is not there.
      params, cfg, tokenizer: of the model.
      dtype: in which the weights are stored.
      eos_ids: tokens that end a text beside the tokenizer's own.

    Raises:
      InputError: no family of transformers has this combination of flags.
    """
    check_float(params, "saving")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    config = hf_config(cfg, tokenizer, jnp.dtype(dtype).name, eos_ids)
    tensors = {}
    for name, path in KEYS.items():
        try:
            array = np.asarray(get_path(params, path)).astype(dtype)
        except KeyError:
            continue
        per_layer = "{}" in name
        for i, one in enumerate(array if per_layer else [array]):
            tensors[name.format(i)] = np.ascontiguousarray(one.T if path[-1] == "kernel" else one)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(directory)
    GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    ).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    # Version 5 writes names that version 4 does not know, and takes a missing rope base for 10,000.
    scaling = _hf_rope_scaling(cfg.rope_scaling)
    rope = {"rope_type": "default", **(scaling or {}), "rope_theta": cfg.rope_theta}
    edit_json(
        directory / "config.json",
        {"rope_theta": cfg.rope_theta, "rope_scaling": scaling, "rope_parameters": rope},
    )
    path = directory / "tokenizer_config.json"
    changes, special = {}, read_json(path).get("extra_special_tokens")
    if read_json(path).get("tokenizer_class") == "TokenizersBackend":
        changes["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(special, list):
        changes |= {"extra_special_tokens": None, "additional_special_tokens": special}
    edit_json(path, changes)


def edit_json(path: Path, changes: dict[str, Any]) -> None:
    """Sets keys of a JSON object in a file, in transformers' order and layout; None removes one."""
    edited = {
        k: v for k, v in (read_json(path) | changes).items() if v is not None or k not in changes
    }
    text = json.dumps(edited, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def hf_config(
    cfg: DecoderConfig, tokenizer: PreTrainedTokenizerBase, dtype: str, eos_ids: Iterable[int] = ()
) -> PretrainedConfig:
    """The transformers config of a model of ours; its family follows from the flags.

    Raises:
      InputError: no family has both QKV bias and QK-norm.
    """
    if cfg.qk_norm and cfg.attention_bias:
        raise InputError(
            "a model with both attention_bias and qk_norm cannot be exported: no family has both"
        )
    architecture = "Qwen3" if cfg.qk_norm else "Qwen2" if cfg.attention_bias else "Llama"
    eos = sorted({tokenizer.eos_token_id, *eos_ids} - {None})
    return FAMILIES[f"{architecture}ForCausalLM"](
        architectures=[f"{architecture}ForCausalLM"],
        vocab_size=cfg.vocab_size,
        hidden_size=cfg.hidden_size,
        intermediate_size=cfg.intermediate_size,
        num_hidden_layers=cfg.num_hidden_layers,
        num_attention_heads=cfg.num_attention_heads,
        num_key_value_heads=cfg.num_key_value_heads,
        head_dim=cfg.head_dim,
        max_position_embeddings=cfg.max_position_embeddings,
        rope_theta=cfg.rope_theta,
        rope_scaling=_hf_rope_scaling(cfg.rope_scaling),
        rms_norm_eps=cfg.rms_norm_eps,
        tie_word_embeddings=cfg.tie_word_embeddings,
        dtype=dtype,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=eos if len(eos) > 1 else tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _hf_rope_scaling(scaling: RopeScaling | None) -> dict | None:
    if scaling is None:
        return None
    if scaling.rope_type == "llama3":
        return scaling._asdict()
    return {"rope_type": "linear", "factor": scaling.factor}
