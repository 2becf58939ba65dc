"""Proximal policy optimisation with a small critic (Schulman et al. 2017), to compare GRPO with:
GAE, and a value loss.

The critic is a scalar head on the policy's own states (``heads``): ``params = {"policy": decoder,
"critic": head}``. The policy's loss is :func:`jaxreason.training.grpo.policy_loss`; only the
advantages come from elsewhere.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxreason.decoding.logprobs import completion_logprobs, completion_states
from jaxreason.decoding.rollout import Rollout
from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig, Params
from jaxreason.models.heads import init_head, score_tokens
from jaxreason.models.tokens import Prompt
from jaxreason.training.grpo import GroupBatch, Objective, make_batch, policy_loss
from jaxreason.training.grpo_device import Step, make_device_step

PPO = Objective(average="token")  # the clip of GRPO; advantages are made here


class PPOBatch(NamedTuple):
    """What the policy and the critic learn from in one update."""

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
    behind the end.
    """

    def back(later, now):
        advantage, value = later
        reward, here, real = now
        advantage = jnp.where(
            real, reward + discount * value - here + discount * trace * advantage, 0.0
        )
        return (advantage, jnp.where(real, here, 0.0)), advantage

    over_time = [jnp.moveaxis(x, -1, 0) for x in (rewards, values, mask)]
    nothing = jnp.zeros(values.shape[:-1])
    _, advantages = jax.lax.scan(back, (nothing, nothing), tuple(over_time), reverse=True)
    advantages = jnp.moveaxis(advantages, 0, -1)
    return advantages, jnp.where(mask, advantages + values, 0.0)


def standardised(advantages: jax.Array, mask: jax.Array) -> jax.Array:
    """Advantages ``[B, N, T]`` with mean 0 and standard deviation 1 over the tokens of the mask;
    exactly 0 where all are equal.
    """
    mean = (advantages * mask).sum() / mask.sum()
    spread = jnp.sqrt((((advantages - mean) * mask) ** 2).sum() / mask.sum())
    high = jnp.max(advantages, where=mask, initial=-jnp.inf)
    equal = high == jnp.min(
        advantages, where=mask, initial=jnp.inf
    )  # else their mean, rounded, would be a signal
    return jnp.where(equal, 0.0, (advantages - mean) / (spread + 1e-8) * mask)


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
    """The policy's loss plus ``value_coef`` times half the squared error of the critic, which is
    clipped as in the reference code.
    """
    given = batch.policy
    states = completion_states(params["policy"], given.prompt, given.tokens, cfg=cfg)
    loss, metrics = policy_loss(
        score_tokens(params["policy"], states, given.tokens), given, objective=objective
    )
    values = state_values(params["critic"], states)
    clipped = batch.values + jnp.clip(values - batch.values, -value_clip, value_clip)
    worst = jnp.maximum((values - batch.returns) ** 2, (clipped - batch.returns) ** 2)
    value_loss = 0.5 * (given.weights / len(given.tokens) * worst).sum()
    return loss + value_coef * value_loss, metrics | {
        "loss": loss + value_coef * value_loss,
        "value_loss": value_loss,
    }


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
    """:func:`jaxreason.training.grpo_device.make_device_step` of PPO, on ``{"policy", "critic"}``
    of :func:`init_critic`.

    The reward stands at the last token of a chain. Advantages are standardised over the tokens of
    the batch.

    Raises:
      InputError: the objective has a KL term and there is no reference, or what would change
        rewards: "k1", overlong.
    """
    if objective.kl_coef and reference is None:
        raise InputError(
            f"kl_coef is {objective.kl_coef} and there is no reference: expected its parameters"
        )
    if objective.overlong or (objective.kl_coef and objective.kl == "k1"):
        raise InputError(
            f"overlong is {objective.overlong}, kl {objective.kl!r}: PPO's advantages come from the critic; expected 0 and 'k3'"
        )

    def learn_fn(params: Any, prompt: Prompt, rollout: Rollout, rewards: jax.Array):
        mask = rollout.mask
        scores = (
            completion_logprobs(reference, prompt, rollout.tokens, cfg=cfg)
            if objective.kl_coef
            else None
        )
        batch, metrics = make_batch(prompt, rollout, rewards, scores, objective=objective)
        states = completion_states(params["policy"], prompt, rollout.tokens, cfg=cfg)
        values = jnp.where(mask, state_values(params["critic"], states), 0.0)
        last = mask & ~jnp.pad(mask, ((0, 0), (0, 0), (0, 1)))[..., 1:]
        advantages, returns = gae(
            rewards[..., None] * last, values, mask, discount=discount, trace=trace
        )
        batch = batch._replace(advantages=standardised(advantages, mask))
        around = ((returns - (returns * mask).sum() / mask.sum()) * mask) ** 2
        explained = 1 - ((returns - values) ** 2).sum() / jnp.maximum(around.sum(), 1e-8)
        return PPOBatch(batch, values, returns), metrics | {"value_explained": explained}

    loss_fn = functools.partial(ppo_loss, cfg=cfg, objective=objective, value_coef=value_coef)
    return make_device_step(
        cfg=cfg,
        learn_fn=learn_fn,
        loss_fn=loss_fn,
        policy=lambda params: params["policy"],
        **options,
    )
