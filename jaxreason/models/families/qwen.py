"""Qwen2, Qwen2.5 and Qwen3: Llamas with a bias, or with a norm, on queries and keys.

Some have a sliding window in their upper layers (``use_sliding_window``).
"""

from transformers import Qwen2Config, Qwen3Config

from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.families import llama
from jaxreason.models.families.family import Family, Gguf, window_options, windows

BIASES = {
    "model.layers.{}.self_attn.q_proj.bias": ("layers", "attention", "q", "bias"),
    "model.layers.{}.self_attn.k_proj.bias": ("layers", "attention", "k", "bias"),
    "model.layers.{}.self_attn.v_proj.bias": ("layers", "attention", "v", "bias"),
}
GGUF_BIASES = {
    "blk.{}.attn_q.bias": ("layers", "attention", "q", "bias"),
    "blk.{}.attn_k.bias": ("layers", "attention", "k", "bias"),
    "blk.{}.attn_v.bias": ("layers", "attention", "v", "bias"),
}
NORMS = {
    "model.layers.{}.self_attn.q_norm.weight": ("layers", "attention", "q_norm", "scale"),
    "model.layers.{}.self_attn.k_norm.weight": ("layers", "attention", "k_norm", "scale"),
}
GGUF_NORMS = {
    "blk.{}.attn_q_norm.weight": ("layers", "attention", "q_norm", "scale"),
    "blk.{}.attn_k_norm.weight": ("layers", "attention", "k_norm", "scale"),
}


def options(cfg: DecoderConfig) -> dict:
    """Where there are windows, that they are used."""
    found = window_options(cfg)
    return found | {"use_sliding_window": True} if found else {}


QWEN2 = Family(
    config_class=Qwen2Config,
    keys=llama.KEYS | BIASES,
    flags=lambda hf: {"attention_bias": True, **windows(hf)},
    options=options,
    gguf=Gguf("qwen2", llama.GGUF_KEYS | GGUF_BIASES, flags=lambda get: {"attention_bias": True}),
)
QWEN3 = Family(
    config_class=Qwen3Config,
    keys=llama.KEYS | NORMS,
    flags=lambda hf: {"qk_norm": True, **windows(hf)},
    options=options,
    gguf=Gguf("qwen3", llama.GGUF_KEYS | GGUF_NORMS, flags=lambda get: {"qk_norm": True}),
)
