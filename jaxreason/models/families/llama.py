"""Llama, and what is built like it: SmolLM2, Llama 3, Mistral from 0.2 on."""

from transformers import LlamaConfig

from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.families.family import Family, Gguf
from jaxreason.models.weights import Tensors

KEYS = {
    "model.embed_tokens.weight": ("embed", "embedding"),
    "lm_head.weight": ("head", "kernel"),
    "model.norm.weight": ("norm", "scale"),
    "model.layers.{}.input_layernorm.weight": ("layers", "attention_norm", "scale"),
    "model.layers.{}.self_attn.q_proj.weight": ("layers", "attention", "q", "kernel"),
    "model.layers.{}.self_attn.k_proj.weight": ("layers", "attention", "k", "kernel"),
    "model.layers.{}.self_attn.v_proj.weight": ("layers", "attention", "v", "kernel"),
    "model.layers.{}.self_attn.o_proj.weight": ("layers", "attention", "o", "kernel"),
    "model.layers.{}.post_attention_layernorm.weight": ("layers", "mlp_norm", "scale"),
    "model.layers.{}.mlp.gate_proj.weight": ("layers", "mlp", "gate", "kernel"),
    "model.layers.{}.mlp.up_proj.weight": ("layers", "mlp", "up", "kernel"),
    "model.layers.{}.mlp.down_proj.weight": ("layers", "mlp", "down", "kernel"),
}
GGUF_KEYS = {
    "token_embd.weight": ("embed", "embedding"),
    "output.weight": ("head", "kernel"),
    "output_norm.weight": ("norm", "scale"),
    "blk.{}.attn_norm.weight": ("layers", "attention_norm", "scale"),
    "blk.{}.attn_q.weight": ("layers", "attention", "q", "kernel"),
    "blk.{}.attn_k.weight": ("layers", "attention", "k", "kernel"),
    "blk.{}.attn_v.weight": ("layers", "attention", "v", "kernel"),
    "blk.{}.attn_output.weight": ("layers", "attention", "o", "kernel"),
    "blk.{}.ffn_norm.weight": ("layers", "mlp_norm", "scale"),
    "blk.{}.ffn_gate.weight": ("layers", "mlp", "gate", "kernel"),
    "blk.{}.ffn_up.weight": ("layers", "mlp", "up", "kernel"),
    "blk.{}.ffn_down.weight": ("layers", "mlp", "down", "kernel"),
}


def halves_of_heads(tensors: Tensors, cfg: DecoderConfig) -> Tensors:
    """Queries and keys of a GGUF file in Hugging Face's order.

    Here llama.cpp turns neighbouring dimensions together, and Hugging Face the two halves of a
    head.
    """
    heads = {"attn_q": cfg.num_attention_heads, "attn_k": cfg.num_key_value_heads}

    def read(name: str):
        array, matrix = tensors.read(name), name.removesuffix(".weight").split(".")[-1]
        if matrix not in heads:
            return array
        pairs = array.reshape(heads[matrix], -1, 2, array.shape[-1])
        return pairs.swapaxes(1, 2).reshape(array.shape)

    return tensors._replace(read=read)


LLAMA = Family(
    config_class=LlamaConfig,
    keys=KEYS,
    gguf=Gguf("llama", GGUF_KEYS, unpack=halves_of_heads),
)
