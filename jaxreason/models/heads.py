"""A scalar head on the decoder's hidden states: the reward at every token, read by whoever knows where a step ends."""

import jax
import jax.numpy as jnp

from jaxreason.models.decoder import Cache, DecoderConfig, Params, hidden_states


def init_head(hidden_size: int) -> Params:
    """``{"kernel": [E], "bias": []}`` of zeros: an untrained head says 1/2 to everything, and the backbone starts undisturbed."""
    return {"kernel": jnp.zeros(hidden_size), "bias": jnp.zeros(())}


def reward_logits(
    params: Params,
    tokens: jax.Array,
    positions: jax.Array,
    cache: Cache | None = None,
    *,
    cfg: DecoderConfig,
    segment_ids: jax.Array | None = None,
) -> tuple[jax.Array, Cache]:
    """One logit for each token, float32 ``[B, T]``, and the cache; what it sees is all up to that token.

    Args:
      params: ``{"backbone": parameters of a decoder, "head": of init_head}``.
      tokens, positions, cache, cfg, segment_ids: as for ``decoder.forward``.
    """
    states, cache = hidden_states(params["backbone"], tokens, positions, cache, cfg=cfg, segment_ids=segment_ids)
    head = params["head"]
    logits = states.astype(jnp.float32) @ head["kernel"].astype(jnp.float32) + head["bias"].astype(jnp.float32)
    return logits, cache
