"""Gemma 3, text only (Gemma Team 2025, "Gemma 3 Technical Report").

Five layers of a short sliding window follow each other before one with full attention and a longer
RoPE base. A block has four norms, and its MLP is GeGLU.
"""

import numpy as np
from transformers import Gemma3TextConfig, PretrainedConfig

from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.families import llama, qwen
from jaxreason.models.families.family import Family, Gguf, expect, window_options, windows
from jaxreason.models.weights import Tensors

KEYS = llama.KEYS | qwen.NORMS
KEYS |= {
    "model.layers.{}.post_attention_layernorm.weight": ("layers", "attention_out_norm", "scale"),
    "model.layers.{}.pre_feedforward_layernorm.weight": ("layers", "mlp_norm", "scale"),
    "model.layers.{}.post_feedforward_layernorm.weight": ("layers", "mlp_out_norm", "scale"),
}
GGUF_KEYS = llama.GGUF_KEYS | qwen.GGUF_NORMS
GGUF_KEYS |= {
    "blk.{}.post_attention_norm.weight": ("layers", "attention_out_norm", "scale"),
    "blk.{}.post_ffw_norm.weight": ("layers", "mlp_out_norm", "scale"),
}
FLAGS = {"qk_norm": True, "post_norm": True, "scale_embeddings": True}


def flags(hf: PretrainedConfig) -> dict:
    """The fields of DecoderConfig that differ from a Llama's."""
    for softcapping in ("attn_logit_softcapping", "final_logit_softcapping"):
        expect(softcapping, getattr(hf, softcapping, None), None)
    bidirectional = getattr(hf, "use_bidirectional_attention", None) or False
    expect("use_bidirectional_attention", bidirectional, False)
    local = (getattr(hf, "rope_parameters", None) or {}).get("sliding_attention")
    local = local or {"rope_theta": hf.rope_local_base_freq}  # of transformers 4
    expect("rope type of sliding layers", local.get("rope_type", "default"), "default")
    return {
        **FLAGS,
        **windows(hf),
        "sliding_rope_theta": float(local["rope_theta"]),
        "query_pre_attn_scalar": hf.query_pre_attn_scalar,
    }


def options(cfg: DecoderConfig) -> dict:
    """And back."""
    return {
        **window_options(cfg),
        "hidden_activation": cfg.hidden_act,
        "query_pre_attn_scalar": cfg.query_pre_attn_scalar or cfg.head_dim,
    }


def unpack(tensors: Tensors, cfg: DecoderConfig) -> Tensors:
    """Adds 1 to the norms: Hugging Face stores w and multiplies by 1 + w; GGUF files hold 1 + w."""

    def read(name: str) -> np.ndarray:
        array = tensors.read(name)
        return array.astype(np.float32) + 1 if name.endswith("norm.weight") else array

    return tensors._replace(read=read)


def pack(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """And takes it off again."""
    return {
        name: array.astype(np.float32) - 1 if name.endswith("norm.weight") else array
        for name, array in tensors.items()
    }


def gguf_flags(get) -> dict:
    """As llama.cpp has them (src/llama-model.cpp, LLM_ARCH_GEMMA3)."""
    layers, width, heads = (
        int(get(name)) for name in ("block_count", "embedding_length", "attention.head_count")
    )
    period = int(get("attention.sliding_window_pattern", 6))
    layer_types = [
        "full_attention" if i % period == 0 else "sliding_attention" for i in range(1, layers + 1)
    ]
    of_27b = layers == 62
    return {
        **FLAGS,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_types": tuple(layer_types),
        "sliding_window": int(get("attention.sliding_window")),
        "sliding_rope_theta": float(get("rope.freq_base_swa", 10_000.0)),
        "query_pre_attn_scalar": width // heads if of_27b else int(get("attention.key_length")),
    }


GEMMA3 = Family(
    config_class=Gemma3TextConfig,
    keys=KEYS,
    flags=flags,
    options=options,
    unpack=unpack,
    pack=pack,
    gguf=Gguf(
        architecture="gemma3",
        keys=GGUF_KEYS,
        flags=gguf_flags,
        reads=("attention.sliding_window",),
    ),
)
