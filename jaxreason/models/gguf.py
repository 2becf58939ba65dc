"""Models in one GGUF file: weights dequantised, config and tokenizer rebuilt from its metadata.

The format itself is in :mod:`jaxreason.models.gguf_file`, the tokenizer in
:mod:`jaxreason.models.gguf_tokenizer`. What the metadata mean is defined by llama.cpp.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxreason.errors import InputError, one_line
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.families import GGUF_FAMILIES
from jaxreason.models.fastest import ROWS
from jaxreason.models.gguf_file import Stored, read_model, read_tensor
from jaxreason.models.gguf_tokenizer import load_tokenizer
from jaxreason.models.rope import RopeScaling, rope_frequencies
from jaxreason.models.tokens import end_of_turn_ids
from jaxreason.models.weights import LanguageModel, Tensors, assemble_in, digest

# Metadata that would change what is computed, and the values at which they do not.
IDLE = {
    "expert_count": (0,),
    "attention.sliding_window": (0,),
    "attention.causal": (1,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attn_logit_softcapping": (0,),
    "final_logit_softcapping": (0,),
    "logit_scale": (0, 1),
    "residual_scale": (0, 1),
    "embedding_scale": (0, 1),
    "rope.scaling.attn_factor": (0, 1),
}
ROPE_FREQS = "rope_freqs.weight"  # how llama3 scaling is stored: what every frequency is divided by


def load_gguf(
    path: str | Path, dtype: str = "auto", mesh: Mesh | None = None, rows: int = ROWS
) -> LanguageModel:
    """Loads a model from a GGUF file.

    Args:
      path: the file; of a model split into several, the first, with the others beside it.
      dtype, rows: as in :func:`jaxreason.models.hf.load_model`; the weights are dequantised.
      mesh: devices to spread them over; None is the default device.

    Raises:
      InputError: not there, damaged, or of a model this decoder does not implement.
    """
    try:
        import gguf
    except ImportError as error:
        raise InputError(
            "GGUF files need the gguf package: pip install 'jaxreason[gguf]'"
        ) from error
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise InputError(f"{str(path)!r} not found: expected a GGUF file")
    try:
        metadata, stored, files = read_model(path, gguf)
        cfg = load_config(metadata, stored, gguf)
        family = GGUF_FAMILIES[metadata["general.architecture"]]
        tensors = family.unpack(open_tensors(files, stored, gguf), cfg)
        params, cfg = assemble_in(tensors, family.keys, cfg, dtype, mesh, rows)
        tokenizer = load_tokenizer(metadata, cfg)
        tokenizer.name_or_path = str(path)  # for messages
        eos_ids = (*load_eos_ids(metadata, cfg), *end_of_turn_ids(tokenizer))
    except InputError as error:  # may quote what the file says, which may be long
        line = one_line(error)[:500]
        raise InputError(line if str(path) in line else f"{str(path)!r}: {line}") from error
    except Exception as error:  # a hostile file has many ways to be wrong; the user needs one line
        raise InputError(
            f"{str(path)!r} is damaged or not a GGUF file ({one_line(error)[:500]})"
        ) from error
    return LanguageModel(
        params=params,
        cfg=cfg,
        tokenizer=tokenizer,
        name=path.name,
        sha256=digest(files),
        eos_ids=tuple(dict.fromkeys(eos_ids)),
    )


def load_config(metadata: dict[str, Any], stored: dict[str, Stored], gguf) -> DecoderConfig:
    """The config from metadata and shapes; takes the tensor of frequencies out of ``stored``.

    Raises:
      InputError: incomplete, or of a model this decoder does not implement.
    """
    architecture = metadata.get("general.architecture")
    if architecture not in GGUF_FAMILIES:
        raise InputError(
            f"architecture {architecture!r} is not supported: "
            f"expected one of {', '.join(GGUF_FAMILIES)}"
        )

    def get(name: str, default: Any = None) -> Any:
        found = metadata.get(f"{architecture}.{name}", default)
        if found is None:
            raise InputError(f"lacks the metadata key {architecture}.{name}")
        return found

    family = GGUF_FAMILIES[architecture]
    if "token_embd.weight" not in stored:
        raise InputError("lacks the tensor token_embd.weight")
    if not 1 <= (layers := int(get("block_count"))) <= 10_000:
        raise InputError(f"num_hidden_layers is {layers}: expected 1 to 10000")
    heads = int(get("attention.head_count"))
    head_dim = int(get("attention.key_length", int(get("embedding_length")) // max(heads, 1)))
    for name in ("attention.value_length", "rope.dimension_count"):
        if name not in family.reads and int(get(name, head_dim)) != head_dim:
            raise InputError(
                f"{architecture}.{name} is {get(name)}: expected the head size, {head_dim}"
            )
    idle = IDLE | {"attention.scale": (0, head_dim**-0.5)}
    for name, neutral in idle.items():
        if name in family.reads:
            continue
        if not np.isclose(found := float(get(name, neutral[0])), neutral, rtol=1e-5).any():
            raise InputError(
                f"{architecture}.{name} is {found:g}, which is not supported: expected "
                f"{' or '.join(f'{x:g}' for x in neutral)} "
                "(dense models without such scales are)"
            )
    # llama.cpp takes a factor without a type as linear; files of 2023 have rope.scale_linear in its
    # place.
    factor = float(get("rope.scaling.factor", get("rope.scale_linear", 0.0))) or 1.0
    rope_type = get("rope.scaling.type", "linear" if factor != 1.0 else "none")
    scaling = None if rope_type == "none" else RopeScaling(rope_type, factor)
    if ROPE_FREQS in stored and scaling is not None and factor != 1.0:
        raise InputError(
            f"has {ROPE_FREQS} and a rope scaling factor of {factor:g}: expected one of the two"
        )
    epsilon = get("attention.layer_norm_rms_epsilon")
    cfg = DecoderConfig(
        vocab_size=stored["token_embd.weight"].shape[0],
        hidden_size=int(get("embedding_length")),
        intermediate_size=int(get("feed_forward_length")),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=int(get("attention.head_count_kv", heads)),
        head_dim=head_dim,
        max_position_embeddings=int(get("context_length")),
        rope_theta=float(get("rope.freq_base", 10_000.0)),
        rope_scaling=scaling,
        rms_norm_eps=float(str(np.float32(epsilon))),  # 1e-05, not 9.99999974e-06
        tie_word_embeddings="output.weight" not in stored,
        **family.flags(get),
    )
    if ROPE_FREQS in stored:
        return with_llama3_scaling(cfg, read_tensor(stored.pop(ROPE_FREQS), gguf))
    return cfg


def with_llama3_scaling(cfg: DecoderConfig, divisors: np.ndarray) -> DecoderConfig:
    """The config with the llama3 scaling that the file's divisors of the frequencies come from.

    The file does not have its settings: those that are in use are tried.

    Args:
      cfg: without scaling.
      divisors: ``[D / 2]``, what each frequency is divided by.

    Raises:
      InputError: the divisors come from other settings.
    """
    scaling = RopeScaling("llama3", float(divisors.max()))
    plain, scaled = (
        np.asarray(rope_frequencies(cfg.head_dim, cfg.rope_theta, kind)) for kind in (None, scaling)
    )
    if divisors.shape != plain.shape or not np.allclose(plain / scaled, divisors, rtol=1e-3):
        raise InputError(
            f"{ROPE_FREQS} is not that of Llama 3: no other scaling of single frequencies is "
            "supported"
        )
    return dataclasses.replace(cfg, rope_scaling=scaling)


def open_tensors(files: list[Path], stored: dict[str, Stored], gguf) -> Tensors:
    """The weights, dequantised as they are read."""
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    return Tensors(shapes, lambda name: read_tensor(stored[name], gguf), files)


def load_eos_ids(metadata: dict[str, Any], cfg: DecoderConfig) -> tuple[int, ...]:
    """The tokens that end a text: end of text and end of turn, where the file names them.

    Raises:
      InputError: one is not an id of the vocabulary.
    """
    found = {key: metadata.get(f"tokenizer.ggml.{key}") for key in ("eos_token_id", "eot_token_id")}
    found = {key: int(i) for key, i in found.items() if i is not None}
    for key, i in found.items():
        if not 0 <= i < cfg.vocab_size:
            raise InputError(f"tokenizer.ggml.{key} is {i}: expected less than {cfg.vocab_size}")
    return tuple(found.values())
