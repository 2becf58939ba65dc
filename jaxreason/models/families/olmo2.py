"""OLMo 2: norms behind attention and MLP, and over all heads of queries and keys (OLMo Team 2024,
"2 OLMo 2 Furious", section 2.1).
"""

from transformers import Olmo2Config

from jaxreason.models.families import llama, qwen
from jaxreason.models.families.family import Family, Gguf

FLAGS = {"qk_norm_whole": True, "pre_norm": False, "post_norm": True}
KEYS = llama.KEYS | qwen.NORMS
KEYS |= {
    "model.layers.{}.post_attention_layernorm.weight": ("layers", "attention_out_norm", "scale"),
    "model.layers.{}.post_feedforward_layernorm.weight": ("layers", "mlp_out_norm", "scale"),
}
GGUF_KEYS = llama.GGUF_KEYS | qwen.GGUF_NORMS
GGUF_KEYS |= {
    "blk.{}.post_attention_norm.weight": ("layers", "attention_out_norm", "scale"),
    "blk.{}.post_ffw_norm.weight": ("layers", "mlp_out_norm", "scale"),
}

OLMO2 = Family(
    config_class=Olmo2Config,
    keys=KEYS,
    flags=lambda hf: FLAGS,
    gguf=Gguf("olmo2", GGUF_KEYS, flags=lambda get: FLAGS),
)
