"""What a family of models is: how its config and its tensors are called, and what it computes.

Each of the files beside this one is a family, and :data:`jaxreason.models.families.FAMILIES` has
them all. There is one decoder: a family only says which of its flags are set.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from transformers import PretrainedConfig

from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.rope import RopeScaling
from jaxreason.models.weights import Tensors

# Stored name -> path in our parameters. A per-layer name has {} for the layer; its arrays are
# stacked on axis 0. Matrices are stored as [out, in] and used as [in, out].
Keys = dict[str, tuple[str, ...]]


def _as_stored(tensors: Tensors, cfg: DecoderConfig) -> Tensors:
    return tensors


class Gguf(NamedTuple):
    """A family in files of llama.cpp."""

    architecture: str  # general.architecture
    keys: Keys
    # The metadata as a function get(name, default) -> the fields of DecoderConfig that differ from
    # a Llama's.
    flags: Callable[[Callable], dict[str, Any]] = lambda get: {}
    reads: tuple[str, ...] = ()  # metadata that a Llama must not have, and flags understands
    unpack: Callable[[Tensors, DecoderConfig], Tensors] = _as_stored


class Family(NamedTuple):
    """A family in transformers and, where llama.cpp has it, in GGUF files."""

    config_class: type[PretrainedConfig]
    keys: Keys
    # A config of transformers -> the fields of DecoderConfig that differ from a Llama's.
    flags: Callable[[PretrainedConfig], dict[str, Any]] = lambda hf: {}
    # And back: the arguments of config_class beside those that all families have.
    options: Callable[[DecoderConfig], dict[str, Any]] = lambda cfg: {}
    # Where the stored numbers differ from a Llama's: to a Llama's, and back.
    unpack: Callable[[Tensors, DecoderConfig], Tensors] = _as_stored
    pack: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = lambda tensors: tensors
    gguf: Gguf | None = None


def expect(what: str, found: Any, expected: Any) -> None:
    """That a setting has the one value that the decoder computes.

    Raises:
      InputError: it has another.
    """
    if found != expected:
        shown = str(found).splitlines()[0][:80]
        raise InputError(
            f"{what} is {shown}, which is not supported: expected {expected} "
            "(dense text models with weights in F32, F16 or BF16 are)"
        )


def decoder_config(hf: PretrainedConfig, family: Family) -> DecoderConfig:
    """A config of transformers as one of ours.

    Raises:
      InputError: it has a setting that the decoder does not implement.
    """
    flags, rope = family.flags(hf), rope_parameters(hf)
    other_types = set(getattr(hf, "layer_types", None) or ()) - {"full_attention"}
    settings = {
        "quantization_config": (getattr(hf, "quantization_config", None), None),
        "attention_bias": (getattr(hf, "attention_bias", None), False),
        "mlp_bias": (getattr(hf, "mlp_bias", None), False),
        "partial_rotary_factor": (rope.get("partial_rotary_factor", 1.0), 1.0),
        "layer_types": (" and ".join(sorted(other_types)), "full_attention"),
    }
    for what, (found, expected) in settings.items():
        if found and what not in flags:
            expect(what, found, expected)
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
        hidden_act=getattr(hf, "hidden_activation", None) or hf.hidden_act,
        tie_word_embeddings=hf.tie_word_embeddings,
        **flags,
    )


def hugging_face_config(cfg: DecoderConfig, family: Family, **others: Any) -> PretrainedConfig:
    """The reverse of :func:`decoder_config`; ``others`` are further arguments of the class."""
    rope = rope_settings(cfg)
    del rope["rope_parameters"]  # transformers 5 makes them of the older names
    return family.config_class(
        vocab_size=cfg.vocab_size,
        hidden_size=cfg.hidden_size,
        intermediate_size=cfg.intermediate_size,
        num_hidden_layers=cfg.num_hidden_layers,
        num_attention_heads=cfg.num_attention_heads,
        num_key_value_heads=cfg.num_key_value_heads,
        head_dim=cfg.head_dim,
        max_position_embeddings=cfg.max_position_embeddings,
        rms_norm_eps=cfg.rms_norm_eps,
        hidden_act=cfg.hidden_act,
        tie_word_embeddings=cfg.tie_word_embeddings,
        **rope,
        **family.options(cfg),
        **others,
    )


# ---- rope


def rope_parameters(hf: PretrainedConfig) -> dict[str, Any]:
    """Those of layers with full attention, under the names of transformers 5."""
    found = getattr(hf, "rope_parameters", None) or {
        "rope_theta": hf.rope_theta,
        **(getattr(hf, "rope_scaling", None) or {}),
    }
    return found.get("full_attention", found)


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


def rope_settings(cfg: DecoderConfig) -> dict[str, Any]:
    """What a config.json says of RoPE: ``rope_parameters`` for transformers 5, the rest for 4.

    Version 5 writes names that version 4 does not know, and takes a missing base for 10,000.
    """
    scaling, part = None, {}
    if cfg.rope_scaling is not None:
        llama3 = cfg.rope_scaling.rope_type == "llama3"
        linear = {"rope_type": "linear", "factor": cfg.rope_scaling.factor}
        scaling = cfg.rope_scaling._asdict() if llama3 else linear
    if cfg.partial_rotary_factor != 1.0:
        part = {"partial_rotary_factor": cfg.partial_rotary_factor}
    old = {"rope_theta": cfg.rope_theta, "rope_scaling": scaling, **part}
    new = {"rope_type": "default", **(scaling or {}), "rope_theta": cfg.rope_theta, **part}
    if cfg.sliding_rope_theta is not None:
        old["rope_local_base_freq"] = cfg.sliding_rope_theta
        local = {"rope_type": "default", "rope_theta": cfg.sliding_rope_theta}
        new = {"full_attention": new, "sliding_attention": local}
    return {**old, "rope_parameters": new}


# ---- sliding windows


def windows(hf: PretrainedConfig) -> dict[str, Any]:
    """Flags of a config that names the type of each layer."""
    types = tuple(hf.layer_types)
    if set(types) <= {"full_attention"}:
        return {"layer_types": ()}
    return {"layer_types": types, "sliding_window": hf.sliding_window}


def window_options(cfg: DecoderConfig) -> dict[str, Any]:
    """The reverse of :func:`windows`."""
    if not cfg.layer_types:
        return {}
    return {"layer_types": list(cfg.layer_types), "sliding_window": cfg.sliding_window}


def one_window(hf: PretrainedConfig) -> dict[str, Any]:
    """Flags of a config with one window for all layers; one as long as the context is none."""
    window = hf.sliding_window
    if window is None or window >= hf.max_position_embeddings:
        return {}
    layer_types = ("sliding_attention",) * hf.num_hidden_layers
    return {"layer_types": layer_types, "sliding_window": window}
