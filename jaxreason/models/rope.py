"""Rotary position embedding, and how it is stretched to contexts longer than those of training."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class RopeScaling(NamedTuple):
    """How RoPE is stretched to a context longer than the one the model was first trained on."""

    rope_type: str  # "linear" or "llama3"
    factor: float  # new length / old length
    # llama3 leaves waves alone that turn more than high_freq_factor times in the original context,
    # and stretches by the whole factor those that turn less than low_freq_factor times.
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


def rope_frequencies(dim: int, theta: float, scaling: RopeScaling | None = None) -> jax.Array:
    """Radians per position of every pair, float32 ``[D / 2]`` (Su et al. 2021, eq. 15).

    Args:
      dim: D, of a head: those of its dimensions that turn, nearly always all.
      theta: the base of the powers.
      scaling: None, or of type "linear", which divides all by the factor (Chen et al. 2023,
        position interpolation), or "llama3", which divides slow waves only and blends between the
        two (Llama 3.1; the reference code's ``apply_scaling``).
    """
    half = dim // 2
    frequencies = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if scaling is None:
        return frequencies
    if scaling.rope_type == "linear":
        return frequencies / scaling.factor
    turns = scaling.original_max_position_embeddings * frequencies / (2 * jnp.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    keep = jnp.clip((turns - low) / (high - low), 0.0, 1.0)
    return frequencies * ((1.0 - keep) / scaling.factor + keep)


def rotation(positions: jax.Array, frequencies: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine of every pair's angle, the same for all heads and layers.

    Args:
      positions: ``[B, T]`` int32.
      frequencies: ``[D / 2]``, from :func:`rope_frequencies`.

    Returns:
      Two float32 arrays ``[B, T, 1, 2, D / 2]``.
    """
    angles = positions[..., None, None, None].astype(jnp.float32) * frequencies
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    # Behind the barrier they are computed once; XLA on CPU would compute them anew for every head
    # of every layer.
    return jax.lax.optimization_barrier(
        (jnp.concatenate([cos, cos], -2), jnp.concatenate([-sin, sin], -2))
    )


def rope(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotary position embedding (Su et al. 2021, eq. 34), halves rotated as in Hugging Face.

    Args:
      x: ``[B, T, h, D]``, queries or keys. Of a larger last axis the first D turn, and the rest
        stays as it is.
      cos, sin: from :func:`rotation`.
    """
    turning = 2 * cos.shape[-1]
    if turning < x.shape[-1]:
        turned = rope(x[..., :turning], cos, sin)
        return jnp.concatenate([turned, x[..., turning:]], axis=-1)
    halves = x.reshape(*x.shape[:-1], 2, -1).astype(jnp.float32)
    return (halves * cos + halves[..., ::-1, :] * sin).reshape(x.shape).astype(x.dtype)
