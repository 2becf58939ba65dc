"""Phi-3 and Phi-4-mini: a Llama stored with q, k and v in one matrix, and gate and up in another.

Phi-4-mini turns a part of each head only; it needs "longrope", which is refused as yet.
"""

import itertools

import numpy as np
from transformers import Phi3Config, PretrainedConfig

from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.families import llama
from jaxreason.models.families.family import Family, Gguf, one_window, rope_parameters
from jaxreason.models.weights import Tensors

# Stored matrix -> those that are rows of it, one after the other.
FUSED = {
    "self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "mlp.gate_up_proj": ("mlp.gate_proj", "mlp.up_proj"),
}
GGUF_FUSED = {"attn_qkv": ("attn_q", "attn_k", "attn_v"), "ffn_up": ("ffn_gate", "ffn_up")}


def split(tensors: Tensors, cfg: DecoderConfig, fused: dict[str, tuple[str, ...]]) -> Tensors:
    """The matrices as a Llama has them, read as rows of the stored ones."""
    queries, keys = cfg.num_attention_heads * cfg.head_dim, cfg.num_key_value_heads * cfg.head_dim
    shapes, places = dict(tensors.shapes), {}
    for whole, parts in fused.items():
        sizes = (queries, keys, keys) if len(parts) == 3 else (cfg.intermediate_size,) * 2
        for name, shape in tensors.shapes.items():
            if not name.endswith(f".{whole}.weight") or shape[0] != sum(sizes):
                continue
            del shapes[name]
            for part, size, stop in zip(parts, sizes, itertools.accumulate(sizes), strict=True):
                of_part = name.replace(whole, part)
                shapes[of_part] = (size, *shape[1:])
                places[of_part] = name, slice(stop - size, stop)

    def read(name: str) -> np.ndarray:
        if name not in places:
            return tensors.read(name)
        stored, rows = places[name]
        return tensors.read(stored)[rows]

    return Tensors(shapes, read, tensors.files)


def pack(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The parts put together again."""
    packed = dict(tensors)
    for whole, parts in FUSED.items():
        for name in tensors:
            if parts[0] in name:
                rows = [packed.pop(name.replace(parts[0], part)) for part in parts]
                packed[name.replace(parts[0], whole)] = np.concatenate(rows)
    return packed


def flags(hf: PretrainedConfig) -> dict:
    """The fields of DecoderConfig that differ from a Llama's."""
    factor = rope_parameters(hf).get("partial_rotary_factor")
    factor = factor or getattr(hf, "partial_rotary_factor", None) or 1.0  # of transformers 4
    return {"partial_rotary_factor": float(factor), **one_window(hf)}


def gguf_flags(get) -> dict:
    """The part that turns is counted in dimensions there."""
    width, heads = int(get("embedding_length")), int(get("attention.head_count"))
    head_dim = int(get("attention.key_length", width // heads))
    turning, window = (
        int(get("rope.dimension_count", head_dim)),
        int(get("attention.sliding_window", 0)),
    )
    found = {"partial_rotary_factor": turning / head_dim}
    if 0 < window < int(get("context_length")):
        layer_types = ("sliding_attention",) * int(get("block_count"))
        found |= {"layer_types": layer_types, "sliding_window": window}
    return found


PHI3 = Family(
    config_class=Phi3Config,
    keys=llama.KEYS,
    flags=flags,
    options=lambda cfg: {"sliding_window": cfg.sliding_window},
    unpack=lambda tensors, cfg: split(tensors, cfg, FUSED),
    pack=pack,
    gguf=Gguf(
        architecture="phi3",
        keys=llama.GGUF_KEYS,
        flags=gguf_flags,
        reads=("attention.sliding_window", "rope.dimension_count"),
        unpack=lambda tensors, cfg: split(tensors, cfg, GGUF_FUSED),
    ),
)
