"""Scalar heads on a decoder: a critic's value of every token, and a verifier's judgement.

A verifier has to notice that a token is not what the model itself would have written. That is known
only at the top of the network, one token too late to be compared with anything further down, and a
head on the state alone learned little in the same training. So a verifier's head reads, beside the
state, how likely the least likely token of the chain so far was.
"""

import jax
import jax.numpy as jnp

from jaxreason.models.decoder import DecoderConfig, Params, hidden_states, output_head


def score_tokens(
    params: Params, states: jax.Array, targets: jax.Array, chunk: int = 1024
) -> jax.Array:
    """log p of tokens from the states before them, in nats.

    Args:
      params: of the decoder.
      states: ``[..., E]``.
      targets: ``[...]`` int32.
      chunk: tokens whose logits are formed together, here and again in the backward pass.

    Returns:
      float32 ``[...]``.
    """
    head = output_head(params)

    @jax.checkpoint
    def score(state: jax.Array, target: jax.Array) -> jax.Array:
        logits = head(state)
        return logits[target] - jax.nn.logsumexp(logits)

    flat = states.reshape(-1, states.shape[-1]), targets.reshape(-1)
    return jax.lax.map(lambda pair: score(*pair), flat, batch_size=chunk).reshape(targets.shape)


def init_head(num_inputs: int) -> Params:
    """A head of zeros, ``{"kernel": [num_inputs], "bias": []}``.

    It says 0, and at first leaves what is below undisturbed.
    """
    return {"kernel": jnp.zeros(num_inputs), "bias": jnp.zeros(())}


def init_verifier_head(hidden_size: int) -> Params:
    """The head of :func:`reward_logits`, of zeros."""
    return init_head(hidden_size + 2)


def reward_logits(
    params: Params,
    tokens: jax.Array,
    positions: jax.Array,
    judged: jax.Array,
    *,
    cfg: DecoderConfig,
    segment_ids: jax.Array,
) -> jax.Array:
    """One logit for each token, float32 ``[B, T]``; what it sees is all up to that token.

    The head reads the state, and log p and p of the least likely of the judged tokens so far.

    Args:
      params: ``{"backbone": parameters of a decoder, "head": of init_verifier_head}``.
      tokens, positions, cfg, segment_ids: as for ``decoder.forward``.
      judged: ``[B, T]`` bool, the tokens of the chain; False on its prompt.
    """
    states, _ = hidden_states(
        params["backbone"], tokens, positions, cfg=cfg, segment_ids=segment_ids
    )
    return judge_states(params, states, jnp.zeros_like(states[:, 0]), tokens, judged, segment_ids)


def judge_states(
    params: Params,
    states: jax.Array,
    state_before: jax.Array,
    tokens: jax.Array,
    judged: jax.Array,
    segment_ids: jax.Array,
) -> jax.Array:
    """The logits ``[B, T]`` of :func:`reward_logits`, from the backbone's states.

    Args:
      params, tokens, judged, segment_ids: as there.
      states: ``[B, T, E]``, at the tokens.
      state_before: ``[B, E]``, before the first of them.
    """
    before = jnp.concatenate([state_before[:, None], states[:, :-1]], 1)
    logprobs = score_tokens(params["backbone"], before, tokens)
    lowest = _running_min(jnp.where(judged, logprobs, 0.0), segment_ids)
    return verifier_logits(params["head"], states, lowest)


def verifier_logits(head: Params, states: jax.Array, lowest: jax.Array) -> jax.Array:
    """The verifier's head alone: float32 ``[...]``.

    Args:
      head: of :func:`init_verifier_head`.
      states: ``[..., E]``, at the judged tokens.
      lowest: ``[...]``, log p of the least likely token of the chain so far.
    """
    inputs = jnp.concatenate(
        [states.astype(jnp.float32), lowest[..., None], jnp.exp(lowest)[..., None]], -1
    )
    return inputs @ head["kernel"].astype(jnp.float32) + head["bias"].astype(jnp.float32)


def _running_min(x: jax.Array, segments: jax.Array) -> jax.Array:
    """The minimum of ``x [B, T]`` so far in its segment."""

    def earlier_and_later(a, b):
        return jnp.where(a[1] == b[1], jnp.minimum(a[0], b[0]), b[0]), b[1]

    return jax.lax.associative_scan(earlier_and_later, (x, segments), axis=1)[0]
