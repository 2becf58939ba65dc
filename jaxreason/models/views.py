"""What attention does with positions: which keys a token sees, and how queries and keys turn.

Layers of one type share it. A model with layers of several types, such as Gemma 3, has one view for
each type, made once in a forward pass, and every layer picks its own.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreason.models.config import DecoderConfig
from jaxreason.models.rope import rope_frequencies, rotation


class View(NamedTuple):
    """What the layers of one type share."""

    turn: tuple[jax.Array, jax.Array]  # of queries and keys, [B, T, 1, 2, D / 2] each, by rotation
    mask: jax.Array  # [B, 1, T, S] bool, which keys a token sees


def make_views(positions: jax.Array, mask: jax.Array, cfg: DecoderConfig) -> list[View]:
    """One view for each of ``cfg.kinds``.

    Args:
      positions: ``[B, T]`` int32, of the queries and of the keys that come with them.
      mask: ``[B, 1, T, S]`` bool, which keys a token sees in a layer that sees all earlier tokens.
      cfg: static.
    """
    views = []
    for kind in cfg.kinds:
        theta, scaling, seen = cfg.rope_theta, cfg.rope_scaling, mask
        if kind == "sliding_attention":
            seen = within_window(mask, cfg.sliding_window)
            if cfg.sliding_rope_theta is not None:
                theta, scaling = cfg.sliding_rope_theta, None
        frequencies = rope_frequencies(cfg.rotary_dim, theta, scaling)
        if kind == "nope_attention":
            frequencies = jnp.zeros_like(frequencies)
        views.append(View(turn=rotation(positions, frequencies), mask=seen))
    return views


def causal(segment_ids: jax.Array) -> jax.Array:
    """Which tokens see which, of segments ``[B, T]``: bool ``[B, 1, T, T]``."""
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return (same & jnp.tril(jnp.ones(same.shape[1:], bool)))[:, None]


def within_window(mask: jax.Array, window: int) -> jax.Array:
    """Of the keys that a token sees, the last ``window``, itself among them: a sliding window.

    Args:
      mask: ``[..., S]`` bool, which keys a token sees, in their order. Padding and free slots
        between them do not count.
      window: at least 1.
    """
    from_here = jax.lax.cumsum(mask.astype(jnp.int32), axis=mask.ndim - 1, reverse=True)
    return mask & (from_here <= window)


def kind_of_layers(cfg: DecoderConfig) -> list[int]:
    """The place of each layer's type in ``cfg.kinds``."""
    layer_types = cfg.layer_types or cfg.kinds * cfg.num_hidden_layers
    return [cfg.kinds.index(layer_type) for layer_type in layer_types]


def scanned_kinds(cfg: DecoderConfig) -> jax.Array | None:
    """The same as an array ``[L]``, to be scanned with the weights; None if there is one type."""
    return jnp.array(kind_of_layers(cfg)) if len(cfg.kinds) > 1 else None


def select_view(views: list[View], kind: jax.Array | None) -> View:
    """The view of a layer inside the scan, by its element of :func:`scanned_kinds`."""
    if kind is None:
        return views[0]
    return jax.tree.map(lambda *each: jax.lax.select_n(kind, *each), *views)
