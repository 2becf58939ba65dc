"""From a rollout and its rewards to the arrays of the GRPO losses, and the loss of a model."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxreason.decoding.logprobs import completion_logprobs
from jaxreason.decoding.rollout import Rollout
from jaxreason.models.decoder import DecoderConfig, Params
from jaxreason.models.tokens import Prompt
from jaxreason.training.grpo import (
    Objective,
    group_advantages,
    informative,
    kl_k3,
    overlong_penalty,
    policy_loss,
    rollout_weights,
    squared_norms,
    token_weights,
)


class GroupBatch(NamedTuple):
    """What a policy wrote, and what it was worth."""

    prompt: Prompt  # [B, P]
    tokens: jax.Array  # [B, N, T] int32
    mask: jax.Array  # [B, N, T] bool
    logprobs: jax.Array  # [B, N, T] float32, pi_old: of the weights that wrote it
    # [B, N, T] float32, log-probabilities of the frozen reference; of no account if kl_coef is 0
    reference: jax.Array
    advantages: jax.Array  # [B, N, T] float32; GRPO's is one for all tokens of a chain
    # [B, N, T] float32, w times B, so that parts of the batch average to the whole
    weights: jax.Array


def make_batch(
    prompt: Prompt,
    rollout: Rollout,
    rewards: jax.Array,
    reference: jax.Array | None,
    *,
    objective: Objective,
    limit: int | None = None,
    logprobs: jax.Array | None = None,
) -> tuple[GroupBatch, dict[str, jax.Array]]:
    """The batch of a rollout, and the metrics that need no gradient.

    Args:
      prompt: B prompts.
      rollout: N chains of each, of at most T tokens.
      rewards: ``[B, N]`` float.
      reference: ``[B, N, T]``, the tokens' log-probabilities by the frozen reference, in nats; None
        if ``objective.kl_coef`` is 0.
      objective: which variant.
      limit: the most tokens a chain may have; None is T.
      logprobs: ``[B, N, T]``, the tokens' log-probabilities in the arithmetic of the update, in
        nats, where the rollout's is another; None are those of the rollout.

    Returns:
      The batch, and metrics ``[]``: "reward", "zero_variance" (the share of groups that teach
      nothing), "truncated", "length" in tokens, and "entropy" in nats a token, estimated from the
      tokens drawn as the mean of -log p. With ``logprobs`` also "rollout_kl", that of the
      policy as it wrote from the policy as it learns, in nats a token.
    """
    mask = rollout.mask
    lengths = mask.sum(-1)
    chex.assert_equal_shape([rewards, lengths])
    if reference is None:
        reference = rollout.logprobs
    shaped = rewards + overlong_penalty(lengths, limit or mask.shape[-1], objective.overlong)
    worth = shaped
    if objective.kl == "k1" and objective.kl_coef:
        worth = shaped - objective.kl_coef * ((rollout.logprobs - reference) * mask).sum(-1)
    norms = squared_norms(rollout.logprobs, mask)
    advantages = group_advantages(worth, kind=objective.advantages, squared_norms=norms)
    advantages = jnp.broadcast_to(advantages[..., None], mask.shape)
    if logprobs is not None and objective.rollout_cap:
        advantages *= rollout_weights(logprobs, rollout.logprobs, objective.rollout_cap)
    counted, teaches = None, informative(shaped)
    if objective.drop_truncated:
        counted = rollout.finished
        teaches &= counted.any(-1)
    batch = GroupBatch(
        prompt=prompt,
        tokens=rollout.tokens,
        mask=mask,
        logprobs=rollout.logprobs if logprobs is None else logprobs,
        reference=reference,
        advantages=advantages,
        weights=token_weights(mask, objective.average, limit, counted),
    )
    num_tokens = jnp.maximum(lengths.sum(), 1)
    metrics = {
        "reward": rewards.mean(),
        "zero_variance": 1 - teaches.mean(),
        "truncated": 1 - rollout.finished.mean(),
        "length": lengths.mean(),
        "entropy": -(rollout.logprobs * mask).sum() / num_tokens,
    }
    if logprobs is not None:
        apart = (kl_k3(rollout.logprobs, logprobs) * mask).sum()
        metrics["rollout_kl"] = apart / num_tokens
    return batch, metrics


def batch_loss(
    logprobs: jax.Array, batch: GroupBatch, *, objective: Objective
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """``grpo.policy_loss`` of a batch whose tokens have the policy's ``logprobs [B, N, T]``."""
    return policy_loss(
        logprobs,
        batch.logprobs,
        reference=batch.reference,
        advantages=batch.advantages,
        mask=batch.mask,
        weights=batch.weights,
        objective=objective,
    )


def grpo_loss(
    params: Params,
    batch: GroupBatch,
    *,
    cfg: DecoderConfig,
    objective: Objective,
    chunk: int = 1024,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss ``[]`` of a model, and the metrics of ``grpo.policy_loss``: equation 3 of Shao et
    al. 2024 (DeepSeekMath) and its variants.

    For LoRA, differentiate it through ``merge_lora(params, lora, scale)``.

    Args:
      params, cfg: the policy.
      batch: from :func:`make_batch`.
      objective: which variant.
      chunk: tokens whose logits exist at a time.
    """
    logprobs = completion_logprobs(params, batch.prompt, batch.tokens, cfg=cfg, chunk=chunk)
    return batch_loss(logprobs, batch, objective=objective)
