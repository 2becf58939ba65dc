"""Mistral: a Llama whose layers see a sliding window (Jiang et al. 2023, "Mistral 7B").

From version 0.2 on there is no window, and so no difference. GGUF files call both a llama.
"""

from transformers import MistralConfig

from jaxreason.models.families import llama
from jaxreason.models.families.family import Family, one_window

MISTRAL = Family(
    config_class=MistralConfig,
    keys=llama.KEYS,
    flags=one_window,
    options=lambda cfg: {"sliding_window": cfg.sliding_window},
)
