"""The families of models that the one decoder computes, one file each."""

from jaxreason.models.families.family import Family
from jaxreason.models.families.gemma3 import GEMMA3
from jaxreason.models.families.llama import LLAMA
from jaxreason.models.families.mistral import MISTRAL
from jaxreason.models.families.olmo2 import OLMO2
from jaxreason.models.families.phi3 import PHI3
from jaxreason.models.families.qwen import QWEN2, QWEN3
from jaxreason.models.families.smollm3 import SMOLLM3

# By the architecture that config.json names. A model is saved as the first one that can express it.
FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": LLAMA,
    "Qwen2ForCausalLM": QWEN2,
    "Qwen3ForCausalLM": QWEN3,
    "Gemma3ForCausalLM": GEMMA3,
    "MistralForCausalLM": MISTRAL,
    "Olmo2ForCausalLM": OLMO2,
    "SmolLM3ForCausalLM": SMOLLM3,
    "Phi3ForCausalLM": PHI3,
}
# By the architecture that a GGUF file names.
GGUF_FAMILIES = {
    family.gguf.architecture: family.gguf for family in FAMILIES.values() if family.gguf
}
