"""How sure a model was of each chain, from the confidence of its tokens, and votes that use it.

DeepConf (Fu et al. 2025, "Deep Think with Confidence") scores a chain by its least confident
stretch and not by its mean, because one slip is enough to spoil a chain. Self-certainty (Kang et
al. 2025) takes the mean, and votes by rank. Arrays ``[..., T]`` hold one number for each token, of
any chains; ``decoding.confidence`` computes them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreason.errors import InputError


def group_confidence(confidence: jax.Array, mask: jax.Array, window: int) -> jax.Array:
    """Mean confidence ``[..., T]`` of the last ``window`` tokens up to each token.

    DeepConf, section 3.1. The first tokens of a chain have shorter groups.

    Args:
      confidence: ``[..., T]``, one number for each token.
      mask: bool ``[..., T]``, True on the tokens of the chain, which are its first ones.
      window: static, tokens of a group, at least 1.

    Raises:
      InputError: a window below 1.
    """
    if window < 1:
        raise InputError(f"window is {window}: expected at least 1 token")
    total = jnp.cumsum(jnp.where(mask, confidence, 0.0), axis=-1)
    before = jnp.pad(total, [(0, 0)] * (total.ndim - 1) + [(window, 0)])[..., : total.shape[-1]]
    count = jnp.minimum(jnp.arange(1, total.shape[-1] + 1), window)
    return (total - before) / count


def lowest_group(confidence: jax.Array, mask: jax.Array, window: int) -> jax.Array:
    """Confidence ``[...]`` of a chain's least confident group (DeepConf, section 3.1).

    Args:
      confidence, mask, window: as for :func:`group_confidence`. Groups shorter than the window
        count only in chains that are shorter.
    """
    groups = group_confidence(confidence, mask, window)
    length = mask.sum(-1, keepdims=True)
    whole = jnp.arange(mask.shape[-1]) >= jnp.minimum(window, length) - 1
    return jnp.where(mask & whole, groups, jnp.inf).min(-1)


def tail_confidence(confidence: jax.Array, mask: jax.Array, window: int) -> jax.Array:
    """Mean confidence ``[...]`` of a chain's last tokens (DeepConf, section 3.1).

    Args:
      confidence, mask, window: as for :func:`group_confidence`.
    """
    groups = group_confidence(confidence, mask, window)
    last = jnp.maximum(mask.sum(-1) - 1, 0)
    return jnp.take_along_axis(groups, last[..., None], axis=-1)[..., 0]


def mean_confidence(confidence: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean confidence ``[...]`` of a chain's tokens (DeepConf, section 3.1; self-certainty).

    Args:
      confidence, mask: as for :func:`group_confidence`.
    """
    return jnp.where(mask, confidence, 0.0).sum(-1) / jnp.maximum(mask.sum(-1), 1)


def confident_weights(scores: jax.Array, keep: float) -> jax.Array:
    """Weights ``[G, N]`` for :func:`jaxreason.answers.vote.vote`: the most confident chains vote
    with their confidence (DeepConf, section 3.2).

    Args:
      scores: ``[G, N]`` positive confidences.
      keep: static, the share of the chains of a problem that votes, in (0, 1]; at least one does.

    Raises:
      InputError: a share outside (0, 1].
    """
    if not 0 < keep <= 1:
        raise InputError(f"keep is {keep}: expected a share of the chains in (0, 1]")
    num_kept = max(1, round(keep * scores.shape[-1]))
    rank = _ranks(scores)
    return jnp.where(rank < num_kept, scores, 0.0)


def borda_weights(scores: jax.Array, power: float) -> jax.Array:
    """Weights ``[G, N]`` by rank: (N - rank)^power, so N^power for the most confident chain and 1
    for the least (Kang et al. 2025).

    Args:
      scores: ``[G, N]``.
      power: 0 is the plain vote; with a large one the best chain decides.
    """
    return (scores.shape[-1] - _ranks(scores)).astype(jnp.float32) ** power


class Stopped(NamedTuple):
    """What is drawn of chains that end early."""

    num_tokens: jax.Array  # [G, N] int32, drawn of each chain
    kept: jax.Array  # [G, N] bool, the chains that came to their end


def stop_unsure(
    confidence: jax.Array, mask: jax.Array, window: int, warmup: int, keep: float
) -> Stopped:
    """Which tokens are drawn if unsure chains are stopped (DeepConf online, section 3.3).

    The first ``warmup`` chains run to their end. Their lowest groups set a threshold that the share
    ``keep`` of them passes. A later chain stops at the first whole group below it.

    Args:
      confidence, mask, window: ``[G, N, T]``, as for :func:`group_confidence`.
      warmup: static, chains, at least 1 and at most N.
      keep: static, a share in (0, 1).

    Raises:
      InputError: ``warmup``, ``keep`` or ``window`` outside its range.
    """
    if not 1 <= warmup <= mask.shape[1] or not 0 < keep < 1:
        raise InputError(
            f"warmup is {warmup} of {mask.shape[1]} chains and keep {keep}: expected 1 to N chains "
            "and a share between 0 and 1"
        )
    lowest = lowest_group(confidence, mask, window)
    threshold = jnp.quantile(lowest[:, :warmup], 1 - keep, axis=1)[:, None, None]
    groups = group_confidence(confidence, mask, window)
    whole = jnp.arange(mask.shape[-1]) >= window - 1
    later = (jnp.arange(mask.shape[1]) >= warmup)[:, None]
    below = mask & whole & later & (groups < threshold)
    length = mask.sum(-1)
    stopped = below.any(-1)
    num_tokens = jnp.where(stopped, below.argmax(-1) + 1, length)
    warm_kept = lowest >= threshold[..., 0]
    kept = jnp.where(later[:, 0], ~stopped, warm_kept)
    return Stopped(num_tokens=num_tokens.astype(jnp.int32), kept=kept)


def _ranks(scores: jax.Array) -> jax.Array:
    """0 for the highest score; of equal ones the earlier is higher."""
    return jnp.argsort(jnp.argsort(-scores, axis=-1, stable=True), axis=-1)
