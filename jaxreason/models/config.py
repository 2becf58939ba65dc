"""The hyper-parameters of the decoder: sizes, and the flags by which families differ."""

import dataclasses

import jax

from jaxreason.errors import InputError
from jaxreason.models.rope import RopeScaling

# The kinds of layers: one sees all earlier tokens, one the last few, and one sees all and does not
# know their positions (NoPE, Kazemnejad et al. 2023).
LAYER_TYPES = ("full_attention", "sliding_attention", "nope_attention")
ACTIVATIONS = {"silu": jax.nn.silu, "gelu_pytorch_tanh": jax.nn.gelu}  # by tanh: jax's default


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Hyper-parameters under the names Hugging Face uses. Hashable: it can be a static argument.

    Raises:
      InputError: a size is below 1, or two do not fit together.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = True
    # What families do differently; the defaults are Llama.
    attention_bias: bool = False  # bias on q, k, v (Qwen2)
    qk_norm: bool = False  # RMSNorm on every query and key head (Qwen3, Gemma 3)
    qk_norm_whole: bool = False  # RMSNorm on all heads of a query or key together (OLMo 2)
    pre_norm: bool = True  # RMSNorm before attention and MLP (all but OLMo 2)
    post_norm: bool = False  # RMSNorm after attention and MLP (OLMo 2, Gemma 3)
    hidden_act: str = "silu"  # of ACTIVATIONS: "gelu_pytorch_tanh" (Gemma 3)
    scale_embeddings: bool = False  # times the square root of hidden_size (Gemma 3)
    query_pre_attn_scalar: int | None = None  # in place of head_dim in the scores (Gemma 3)
    partial_rotary_factor: float = 1.0  # the part of a head that RoPE turns (Phi-4-mini)
    # The type of each layer, of LAYER_TYPES; () is "full_attention" in all (Gemma 3, SmolLM3...).
    layer_types: tuple[str, ...] = ()
    sliding_window: int | None = None  # tokens that a sliding layer sees, itself among them
    sliding_rope_theta: float | None = None  # its RoPE base, unscaled; None: as in full layers
    # How it is computed: keep the input of each layer and compute the rest again in the backward
    # pass; products of int8, from jaxreason.models.precision.lower.
    remat: bool = False
    int8: bool = False

    def __post_init__(self) -> None:
        sizes = [f.name for f in dataclasses.fields(self) if f.type is int]
        for name in sizes:
            if not 1 <= getattr(self, name) < 2**31:
                raise InputError(
                    f"{name} is {getattr(self, name)}: expected at least 1 and less than 2^31"
                )
        if self.num_attention_heads % self.num_key_value_heads:
            raise InputError(
                f"num_attention_heads is {self.num_attention_heads}: expected a multiple of "
                f"num_key_value_heads, which is {self.num_key_value_heads}"
            )
        if self.head_dim % 2 or self.rotary_dim % 2 or not 0 < self.rotary_dim <= self.head_dim:
            factor = self.partial_rotary_factor
            part = f" and partial_rotary_factor {factor:g}" if factor != 1.0 else ""
            raise InputError(
                f"head_dim is {self.head_dim}{part}: expected an even number, for RoPE turns pairs"
            )
        rope_type = "default" if self.rope_scaling is None else self.rope_scaling.rope_type
        if rope_type not in ("default", "linear", "llama3"):
            raise InputError(
                f"rope type {rope_type!r} is not supported: "
                "expected 'default', 'linear' or 'llama3'"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise InputError(
                f"hidden_act is {self.hidden_act}, which is not supported: "
                f"expected {' or '.join(ACTIVATIONS)}"
            )
        self._check_layer_types()

    def _check_layer_types(self) -> None:
        for layer_type in self.layer_types:
            if layer_type not in LAYER_TYPES:
                raise InputError(
                    f"layer type {layer_type!r} is not supported: "
                    f"expected one of {', '.join(LAYER_TYPES)}"
                )
        if self.layer_types and len(self.layer_types) != self.num_hidden_layers:
            raise InputError(
                f"layer_types has {len(self.layer_types)} entries: "
                f"expected one for each of {self.num_hidden_layers} layers"
            )
        if "sliding_attention" in self.layer_types and (self.sliding_window or 0) < 1:
            raise InputError(
                f"sliding_window is {self.sliding_window}: expected at least 1, for there are "
                "layers of type sliding_attention"
            )

    @property
    def rotary_dim(self) -> int:
        """The dimensions of a head that RoPE turns; the others do not know the position."""
        return int(self.head_dim * self.partial_rotary_factor + 1e-6)  # n, of a factor n / head_dim

    @property
    def kinds(self) -> tuple[str, ...]:
        """The types that the layers have, each once, in the order of their first layers."""
        return tuple(dict.fromkeys(self.layer_types)) or LAYER_TYPES[:1]
