"""Tiny random models of every family, made by transformers: config and weights that exercise each
flag.
"""

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

SIZES = {
    "vocab_size": 48,
    "hidden_size": 24,
    "intermediate_size": 28,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
}
# Of the 8 waves of a head of 16, one turns too often in 32 positions to be stretched, two are
# stretched in part.
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
# Other bases than those in use, so that even 16 positions tell them apart.
GEMMA3 = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    "full_attention": {"rope_type": "linear", "rope_theta": 1_000.0, "factor": 4.0},
}
PARTIAL = {"rope_type": "default", "rope_theta": 1_000.0, "partial_rotary_factor": 0.75}

# name -> (config class, model class, what differs from SIZES)
FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "llama-untied-mha": (
        LlamaConfig,
        LlamaForCausalLM,
        {"tie_word_embeddings": False, "num_key_value_heads": 4, "rms_norm_eps": 1e-2},
    ),
    "llama3-rope": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": LLAMA3, "head_dim": 16}),
    "linear-rope": (
        LlamaConfig,
        LlamaForCausalLM,
        {"rope_parameters": LINEAR, "num_key_value_heads": 1},
    ),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {"rms_norm_eps": 1e-6}),
    "qwen2-untied": (
        Qwen2Config,
        Qwen2ForCausalLM,
        {"tie_word_embeddings": False, "num_key_value_heads": 4},
    ),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 10, "num_key_value_heads": 1}),
    "qwen3-untied": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8, "tie_word_embeddings": False}),
    "qwen2-window": (  # in the second layer
        Qwen2Config,
        Qwen2ForCausalLM,
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "gemma3": (
        Gemma3TextConfig,
        Gemma3ForCausalLM,
        {
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "sliding_window": 4,
            "head_dim": 8,
            "query_pre_attn_scalar": 12,
            "rope_parameters": GEMMA3,
        },
    ),
    "mistral": (
        MistralConfig,
        MistralForCausalLM,
        {"sliding_window": 5, "tie_word_embeddings": False},
    ),
    "olmo2": (Olmo2Config, Olmo2ForCausalLM, {"tie_word_embeddings": False}),
    "smollm3": (SmolLM3Config, SmolLM3ForCausalLM, {"num_hidden_layers": 4}),
    "phi3": (Phi3Config, Phi3ForCausalLM, {"sliding_window": 7, "rope_parameters": PARTIAL}),
}


def build(name: str, seed: int = 0) -> torch.nn.Module:
    """A model of :data:`FAMILIES`, filled by :func:`fill`."""
    config_class, model_class, changes = FAMILIES[name]
    return fill(model_class(config_class(**{**SIZES, **changes})).eval(), seed)


def fill(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Puts noise on every parameter, biases and norm scales included; in steps of 1/64, which
    compress well.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            around = 1.0 if "norm" in parameter_name else 0.0
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(torch.round((around + 0.3 * noise) * 64) / 64)
    return model


def batch(vocab_size: int = 48, lengths: tuple[int, ...] = (16, 9, 3), seed: int = 1):
    """Left-padded tokens and mask, both [B, T] int64 tensors; padding is a token like any other."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, vocab_size, (len(lengths), max(lengths)), generator=generator)
    mask = torch.stack([torch.arange(max(lengths)) >= max(lengths) - n for n in lengths]).long()
    return tokens, mask


@torch.no_grad()
def reference_logits(
    model: torch.nn.Module, tokens: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Logits [B, T, V] of transformers for a left-padded batch."""
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return model(input_ids=tokens, attention_mask=mask, position_ids=positions).logits
