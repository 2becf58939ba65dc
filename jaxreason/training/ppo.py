"""Proximal policy optimisation with a small critic (Schulman et al. 2017), to compare GRPO with.

The critic is a scalar head on the policy's own states (``models.heads``): ``params = {"policy":
decoder, "critic": head}``. The policy's loss is that of GRPO. Two things are new: advantages come
from the critic (:func:`gae`), and the critic has a loss of its own (:func:`ppo_loss`).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreason.decoding.logprobs import completion_logprobs, completion_states
from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig, Params
from jaxreason.models.heads import init_head, score_tokens
from jaxreason.training.grpo import Objective
from jaxreason.training.grpo_batch import GroupBatch, batch_loss, make_batch
from jaxreason.training.grpo_device import Learner, Rewarded, Step, make_device_step

PPO = Objective(average="token")  # the clip of GRPO; advantages are made here


class PPOBatch(NamedTuple):
    """What a policy wrote, and what the critic said and should have said."""

    policy: GroupBatch
    values: jax.Array  # [B, N, T] float32, of the critic before the update
    returns: jax.Array  # [B, N, T] float32, what it should have said


def init_critic(params: Params) -> Params:
    """``{"policy", "critic"}``; the critic says 0 to everything."""
    return {"policy": params, "critic": init_head(params["embed"]["embedding"].shape[1])}


def gae(
    rewards: jax.Array,
    values: jax.Array,
    mask: jax.Array,
    *,
    discount: float = 1.0,
    trace: float = 0.95,
) -> tuple[jax.Array, jax.Array]:
    """Generalised advantage estimates and returns (Schulman et al. 2016, equation 16).

    Arguments and results are all ``[..., T]``.

    delta_t = r_t + discount V_{t+1} - V_t and A_t = delta_t + discount trace A_{t+1}; V and A are 0
    behind the end. The return is A_t + V_t, what the critic should have said.

    Args:
      rewards: at each token.
      values: the critic's, of the text before each token.
      mask: bool, the tokens.
      discount: gamma in the paper.
      trace: lambda in the paper.

    Returns:
      Advantages and returns, float32, 0 outside the mask.
    """

    def back(later, now):
        next_advantage, next_value = later
        reward, value, real = now
        delta = reward + discount * next_value - value
        advantage = jnp.where(real, delta + discount * trace * next_advantage, 0.0)
        return (advantage, jnp.where(real, value, 0.0)), advantage

    over_time = [jnp.moveaxis(x, -1, 0) for x in (rewards, values, mask)]
    nothing = jnp.zeros(values.shape[:-1])
    _, advantages = jax.lax.scan(back, (nothing, nothing), tuple(over_time), reverse=True)
    advantages = jnp.moveaxis(advantages, 0, -1)
    return advantages, jnp.where(mask, advantages + values, 0.0)


def standardised(advantages: jax.Array, mask: jax.Array) -> jax.Array:
    """Advantages ``[B, N, T]`` with mean 0 and standard deviation 1 over the tokens of the mask.

    They are exactly 0 where all are equal.
    """
    mean = (advantages * mask).sum() / mask.sum()
    spread = jnp.sqrt((((advantages - mean) * mask) ** 2).sum() / mask.sum())
    highest = jnp.max(advantages, where=mask, initial=-jnp.inf)
    lowest = jnp.min(advantages, where=mask, initial=jnp.inf)
    scaled = (advantages - mean) / (spread + 1e-8) * mask
    # The mean of equal numbers is rounded, and divided by their spread the error would look like a
    # signal.
    return jnp.where(highest == lowest, 0.0, scaled)


def state_values(critic: Params, states: jax.Array) -> jax.Array:
    """The critic's value of the text before each token, ``[..., E]`` -> ``[...]``."""
    return states.astype(jnp.float32) @ critic["kernel"] + critic["bias"]


def ppo_loss(
    params: Params,
    batch: PPOBatch,
    *,
    cfg: DecoderConfig,
    objective: Objective,
    value_coef: float,
    value_clip: float = 0.2,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The policy's loss plus ``value_coef`` times half the squared error of the critic.

    Args:
      params: ``{"policy", "critic"}``.
      batch: what was written, and the critic before the update.
      cfg: of the policy.
      objective: the clip, the average over tokens, and the KL term.
      value_coef: c_1 in the paper (equation 9).
      value_clip: as in the reference code, a value gains nothing by moving further than this from
        ``batch.values``.

    Returns:
      The loss ``[]``, and the metrics of ``grpo.policy_loss`` with "value_loss".
    """
    given = batch.policy
    states = completion_states(params["policy"], given.prompt, given.tokens, cfg=cfg)
    logprobs = score_tokens(params["policy"], states, given.tokens)
    policy_part, metrics = batch_loss(logprobs, given, objective=objective)
    values = state_values(params["critic"], states)
    clipped = batch.values + jnp.clip(values - batch.values, -value_clip, value_clip)
    worst = jnp.maximum((values - batch.returns) ** 2, (clipped - batch.returns) ** 2)
    value_loss = 0.5 * (given.weights / len(given.tokens) * worst).sum()
    loss = policy_part + value_coef * value_loss
    return loss, metrics | {"loss": loss, "value_loss": value_loss}


def make_ppo_step(
    *,
    cfg: DecoderConfig,
    objective: Objective = PPO,
    reference: Params | None = None,
    value_coef: float = 0.1,
    discount: float = 1.0,
    trace: float = 0.95,
    **options,
) -> Step:
    """``grpo_device.make_device_step`` of PPO, on the ``{"policy", "critic"}`` of
    :func:`init_critic`.

    The reward stands at the last token of a chain. Advantages are standardised over the tokens of
    the batch.

    Args:
      cfg, options: as there.
      objective: of the policy's loss.
      reference: parameters of the frozen reference; None if ``objective.kl_coef`` is 0.
      value_coef: of :func:`ppo_loss`.
      discount, trace: of :func:`gae`.

    Raises:
      InputError: the objective has a KL term and there is no reference, or it would change rewards:
        "k1", overlong.
    """
    if objective.kl_coef and reference is None:
        raise InputError(
            f"kl_coef is {objective.kl_coef} and there is no reference: expected its parameters"
        )
    if objective.overlong or (objective.kl_coef and objective.kl == "k1"):
        raise InputError(
            f"overlong is {objective.overlong}, kl {objective.kl!r}: PPO's advantages come from "
            "the critic; expected 0 and 'k3'"
        )

    def batch_of(params: Params, drawn: Rewarded):
        prompt, rollout, mask = drawn.prompt, drawn.rollout, drawn.rollout.mask
        scores = None
        if objective.kl_coef:
            scores = completion_logprobs(reference, prompt, rollout.tokens, cfg=cfg)
        batch, metrics = make_batch(prompt, rollout, drawn.rewards, scores, objective=objective)

        states = completion_states(params["policy"], prompt, rollout.tokens, cfg=cfg)
        values = jnp.where(mask, state_values(params["critic"], states), 0.0)
        last = mask & ~jnp.pad(mask, ((0, 0), (0, 0), (0, 1)))[..., 1:]
        rewards = drawn.rewards[..., None] * last  # [B, N, T]
        advantages, returns = gae(rewards, values, mask, discount=discount, trace=trace)
        batch = batch._replace(advantages=standardised(advantages, mask))
        metrics["value_explained"] = _explained(returns, values, mask)
        return PPOBatch(batch, values, returns), metrics

    loss_fn = functools.partial(ppo_loss, cfg=cfg, objective=objective, value_coef=value_coef)
    learner = Learner(policy=lambda params: params["policy"], make_batch=batch_of, loss_fn=loss_fn)
    return make_device_step(learner, cfg=cfg, **options)


def _explained(returns: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    """The share of the returns' variance that the values explain, ``[]``; both are 0 outside the
    mask.
    """
    mean = (returns * mask).sum() / mask.sum()
    variance = (((returns - mean) * mask) ** 2).sum()
    return 1 - ((returns - values) ** 2).sum() / jnp.maximum(variance, 1e-8)
