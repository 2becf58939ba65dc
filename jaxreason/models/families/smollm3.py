"""SmolLM3: a Llama in which every fourth layer knows no positions (NoPE, Yang et al. 2025, "RoPE to
NoPE and back again").
"""

from transformers import PretrainedConfig, SmolLM3Config

from jaxreason.models.families import llama
from jaxreason.models.families.family import Family, Gguf, expect


def types(turns: list[bool]) -> dict:
    """Flags, from which layers turn their queries and keys by RoPE; where all do, it is a Llama."""
    names = tuple("full_attention" if turn else "nope_attention" for turn in turns)
    return {"layer_types": () if all(turns) else names}


def flags(hf: PretrainedConfig) -> dict:
    """The fields of DecoderConfig that differ from a Llama's."""
    expect("use_sliding_window", hf.use_sliding_window, False)
    return types([bool(turn) for turn in hf.no_rope_layers[: hf.num_hidden_layers]])


SMOLLM3 = Family(
    config_class=SmolLM3Config,
    keys=llama.KEYS,
    flags=flags,
    options=lambda cfg: {
        "no_rope_layers": [int(kind != "nope_attention") for kind in cfg.layer_types] or None
    },
    gguf=Gguf(
        architecture="smollm3",
        keys=llama.GGUF_KEYS,
        flags=lambda get: types([i % 4 != 0 for i in range(1, int(get("block_count")) + 1)]),
        unpack=llama.halves_of_heads,
    ),
)
