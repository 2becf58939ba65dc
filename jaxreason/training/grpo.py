r"""The losses of GRPO and its variants: pure functions of rewards, log-probabilities and masks.

N completions $o_1 .. o_N$ of one prompt are each other's baseline, so there is no critic (Shao et
al. 2024, DeepSeekMath, section 4.1.1). With $\rho_t = \pi_\theta(o_t) / \pi_{old}(o_t)$, the loss
is

$$-\sum_{i,t} w_{i,t}
  \min\big(\rho_{i,t} A_i,\ \mathrm{clip}(\rho_{i,t}, 1-\epsilon_{low}, 1+\epsilon_{high}) A_i\big)
  + \beta \sum_{i,t} w_{i,t} D_{i,t}.$$

In the order of the data: :func:`group_advantages` makes $A$ from rewards, :func:`token_weights`
makes $w$, :func:`kl_k3` estimates $D$, and :func:`policy_loss` is the sum above. The variants
differ in $A$, in $w$, in the clip, in whether $\rho$ is one of a token or of the sequence, and in
the term that stands for the minimum: options of :class:`Objective`.

B prompts have N completions of at most T tokens each; every array of tokens is ``[B, N, T]``. The
losses know no model: ``grpo_batch`` makes their arrays from a rollout, ``grpo_minimal`` writes one
variant out in full. Chains are drawn at temperature 1 without filters: $\pi_{old}$ is then the
model itself.
"""

import dataclasses
import math
from typing import Literal

import chex
import jax
import jax.numpy as jnp

from jaxreason.errors import InputError

KNOWN = {
    "advantages": ("standardised", "centred", "leave_one_out", "least_variance"),
    "ratio": ("token", "sequence"),
    "surrogate": ("ppo", "cispo"),
    "average": ("sequence", "token", "constant"),
    "kl": ("k3", "k1"),
}


def _check_known(name: str, value: str) -> None:
    if value not in KNOWN[name]:
        raise InputError(f"{name} is {value!r}: expected one of {', '.join(KNOWN[name])}")


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is optimised; the defaults are GRPO without a KL term.

    Attributes:
      advantages: how a reward r compares with the others of its group.
        "standardised": (r - mean) / std (Shao et al. 2024, section 4.1.2). The variance is a mean
        over N, where TRL's is over N - 1: a constant factor.
        "centred": r - mean (Dr. GRPO, Liu et al. 2025, section 3.2: dividing by the std favours
        problems that are too easy or too hard).
        "leave_one_out": r - mean of the others (RLOO, Ahmadian et al. 2024, section 2.2; Kool et
        al. 2019). It is N / (N - 1) times "centred".
        "least_variance": (r - b) / std, where b is the mean of the rewards weighted by the squared
        norm of each chain's gradient: the baseline of least variance (Greensmith et al. 2004,
        section 4; Hao et al. 2025, OPO, equation 5, who take the length for it). Chains that
        hesitate have large gradients and are wrong more often than others, so b lies below the
        mean.
      ratio: of a "token", or of the "sequence", the geometric mean over its tokens (GSPO, Zheng et
        al. 2025, equation 7).
      surrogate: what is maximised at a token; sg is `stop_gradient`.
        "ppo": min(rho A, clip(rho) A). A token that has already moved beyond the clip, in the
        direction that A asks for, has no gradient (Schulman et al. 2017, equation 7).
        "cispo": sg(clip(rho)) A log pi (MiniMax-M1, Chen et al. 2025, arXiv 2506.13585, equations 4
        and 5). The ratio is a weight and the clip bounds it, so no token loses its gradient. Where
        all ratios are 1, both have the same gradient.
      average: over tokens, w.
        "sequence": ``1/(N |o_i|)`` (GRPO, equation 3): a token of a long chain counts less.
        "token": ``1/sum |o_i|`` (DAPO, Yu et al. 2025, equation 8).
        "constant": 1 / (N T), T the most tokens a chain may have (Dr. GRPO).
      clip_low, clip_high: the ratio is clipped to [1 - low, 1 + high] (Schulman et al. 2017,
        equation 7); DAPO's "clip-higher" leaves unlikely tokens more room to rise. With a
        low of 1 there is no lower bound.
      kl: which estimate of KL(policy || reference) is used, and where.
        "k3": ref/p - log(ref/p) - 1 in the loss (GRPO, equation 4): never negative, and low in
        variance (Schulman 2020).
        "k1": log(p/ref), taken from the reward of the chain (Ouyang et al. 2022, equation 2): in
        the loss its gradient is 0 on average.
      kl_coef: beta; 0 is no reference.
      overlong: DAPO's soft punishment of chains that end within so many tokens of the limit; 0 is
        none.
      drop_truncated: leave chains that were cut off at the limit out of the loss: overlong
        filtering (DAPO, Yu et al. 2025, arXiv 2503.14476, section 3.4). The averages are then over
        the other chains, as if those had not been drawn; their rewards stay in the baseline, as in
        the paper, which masks their loss.
      rollout_cap: C of truncated importance sampling (:func:`rollout_weights`), for chains written
        in a lower arithmetic than that of the update; 0 is none.

    Raises:
      InputError: a value is outside its range.
    """

    advantages: Literal["standardised", "centred", "leave_one_out", "least_variance"] = (
        "standardised"
    )
    ratio: Literal["token", "sequence"] = "token"
    surrogate: Literal["ppo", "cispo"] = "ppo"
    average: Literal["sequence", "token", "constant"] = "sequence"
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl: Literal["k3", "k1"] = "k3"
    kl_coef: float = 0.0
    overlong: int = 0
    drop_truncated: bool = False
    rollout_cap: float = 0.0

    def __post_init__(self):
        for name in KNOWN:
            _check_known(name, getattr(self, name))
        if not 0 < self.clip_low <= 1 or not self.clip_high > 0:
            raise InputError(
                f"clip_low is {self.clip_low}, clip_high {self.clip_high}: "
                "expected 0 < low <= 1, 0 < high"
            )
        for name in ("kl_coef", "overlong", "rollout_cap"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is {getattr(self, name)}: expected 0 or more")


# Under the names and with the constants of the papers; learning rates and sizes are the user's.
GRPO = Objective(kl_coef=0.04)
DR_GRPO = Objective(advantages="centred", average="constant")
DAPO = Objective(average="token", clip_high=0.28)  # and :func:`informative` groups only
RLOO = Objective(advantages="leave_one_out", average="constant", kl="k1", kl_coef=0.05)
GSPO = Objective(ratio="sequence", clip_low=3e-4, clip_high=4e-4)
# No lower bound, as in the paper. It does not give its upper one; TRL recommends weights of at most
# 5, after Khatri et al. 2025 (ScaleRL).
CISPO = Objective(surrogate="cispo", average="token", clip_low=1.0, clip_high=4.0)


def group_advantages(
    rewards: jax.Array, *, kind: str = "standardised", squared_norms: jax.Array | None = None
) -> jax.Array:
    """How much better a completion is than the others of its prompt.

    Where all N rewards are equal all advantages are exactly 0: nothing is learned there.

    Args:
      rewards: ``[B, N]`` float.
      kind: one of ``Objective.advantages``.
      squared_norms: ``[B, N]`` float from :func:`squared_norms`; only "least_variance" uses them.

    Returns:
      ``[B, N]`` float.

    Raises:
      InputError: an unknown kind, or "least_variance" without the norms.
    """
    chex.assert_rank(rewards, 2)
    _check_known("advantages", kind)
    if kind == "least_variance" and squared_norms is None:
        raise InputError(
            "squared_norms is None: expected those of the chains, for advantages of least variance"
        )
    weights = squared_norms if kind == "least_variance" else jnp.ones_like(rewards)
    chex.assert_equal_shape([rewards, weights])
    baseline = (weights * rewards).sum(-1, keepdims=True) / weights.sum(-1, keepdims=True)
    advantages = rewards - baseline
    if kind in ("standardised", "least_variance"):
        advantages = advantages / (rewards.std(-1, keepdims=True) + 1e-4)
    elif kind == "leave_one_out":
        n = rewards.shape[-1]
        advantages = advantages * (n / max(n - 1, 1))
    # The mean of equal numbers is rounded, and divided by their std the error would look like a
    # signal.
    equal = rewards.max(-1, keepdims=True) == rewards.min(-1, keepdims=True)
    return jnp.where(equal, 0.0, advantages)


def squared_norms(logprobs: jax.Array, mask: jax.Array) -> jax.Array:
    """About the squared norm of the gradient of a chain's log p by its logits, ``[..., T]`` ->
    ``[...]``.

    Of one token it is (1 - p)^2 and the squares of the other probabilities, here left out. What the
    layers below make of it is taken to be the same factor for all chains.
    """
    return (jnp.square(-jnp.expm1(logprobs)) * mask).sum(-1) + 1e-3


def informative(rewards: jax.Array) -> jax.Array:
    """Which groups have different rewards, ``[B, N]`` -> bool ``[B]``.

    DAPO samples until a batch has no other groups (section 3.2).
    """
    return rewards.max(-1) > rewards.min(-1)


def overlong_penalty(lengths: jax.Array, limit: int, buffer: int) -> jax.Array:
    """What is added to the reward of a chain of so many tokens (DAPO, equation 13).

    0 up to ``limit - buffer`` tokens, from there falling to -1 at the limit. A buffer of 0 is no
    penalty.
    """
    if buffer == 0:
        return jnp.zeros(lengths.shape)
    excess = lengths - (limit - buffer)
    return -jnp.clip(excess / buffer, 0.0, 1.0)


def rollout_weights(logprobs: jax.Array, rollout: jax.Array, cap: float) -> jax.Array:
    """min(pi_old / pi_rollout, C) of every token, which its advantage is multiplied by.

    The same weights give other probabilities in int8 than in float32, so chains that int8 wrote are
    not drawn from the policy that learns from them. Importance sampling corrects the expectation,
    and the cap bounds its variance (Yao et al. 2025, "Your efficient RL framework secretly brings
    you off-policy RL training"; "On the rollout-training mismatch in modern RL systems").

    Args:
      logprobs: ``[..., T]``, of the tokens at the weights that wrote them, in the arithmetic of the
        update, in nats.
      rollout: ``[..., T]``, as they were drawn.
      cap: C, more than 0; the paper has 2.
    """
    return jnp.exp(jnp.minimum(logprobs - rollout, math.log(cap)))


def token_weights(
    mask: jax.Array,
    average: str = "sequence",
    limit: int | None = None,
    counted: jax.Array | None = None,
) -> jax.Array:
    """B times the weight w of every token, so that parts of a batch average to the whole.

    Args:
      mask: bool ``[B, N, T]``, the tokens.
      average: one of ``Objective.average``.
      limit: T of "constant"; None is the width of the mask.
      counted: bool ``[B, N]``, the chains that the average is over; None is all. The others weigh
        nothing.

    Returns:
      float32 ``[B, N, T]``, 0 outside the mask.

    Raises:
      InputError: an unknown average.
    """
    _check_known("average", average)
    b, n, width = mask.shape
    if counted is not None:
        mask = mask & counted[..., None]
        n = jnp.maximum(counted.sum(), 1) / b  # chains of a group, on average
    lengths = mask.sum(-1, keepdims=True)
    if average == "token":
        return mask * (b / jnp.maximum(lengths.sum(), 1))
    if average == "sequence":
        return mask / (n * jnp.maximum(lengths, 1))
    return mask / (n * (limit or width))


def policy_loss(
    logprobs: jax.Array,
    old_logprobs: jax.Array,
    *,
    reference: jax.Array,
    advantages: jax.Array,
    mask: jax.Array,
    weights: jax.Array,
    objective: Objective,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss in the head of this module. All arrays are ``[B, N, T]``.

    With the surrogate "cispo", sg(clip(rho)) A log pi stands in place of the minimum.

    Args:
      logprobs: of the tokens, by the policy that is learning, in nats.
      old_logprobs: by the policy that wrote them.
      reference: by the frozen reference; of no account if ``kl_coef`` is 0.
      advantages: A; GRPO's is one for all tokens of a chain.
      mask: bool, the tokens that were written.
      weights: from :func:`token_weights`.
      objective: which variant.

    Returns:
      The loss ``[]``, and the metrics "loss", "kl" in nats a token, "clip_fraction" and
      "ratio_max", each ``[]``. The fraction counts tokens without a gradient, or for CISPO those
      whose weight is clipped.
    """
    chex.assert_equal_shape([logprobs, old_logprobs, reference, advantages, mask, weights])
    weights = weights / len(mask)
    # Padding is scored too, by whatever the model thinks of it: 0, so that no infinity comes near a
    # gradient.
    log_ratio = jnp.where(mask, logprobs - old_logprobs, 0.0)
    if objective.ratio == "sequence":
        lengths = jnp.maximum(mask.sum(-1, keepdims=True), 1)
        log_ratio = jnp.broadcast_to(log_ratio.sum(-1, keepdims=True) / lengths, mask.shape)
    ratio = jnp.exp(_bounded(log_ratio))
    clipped = jnp.clip(ratio, 1 - objective.clip_low, 1 + objective.clip_high)
    gain, clipped_gain = ratio * advantages, clipped * advantages
    if objective.surrogate == "cispo":
        log_p = jnp.where(mask, logprobs, 0.0)
        loss = -(weights * jax.lax.stop_gradient(clipped_gain) * log_p).sum()
        is_clipped = clipped != ratio
    else:
        loss = -(weights * jnp.minimum(gain, clipped_gain)).sum()
        is_clipped = clipped_gain < gain

    k3 = kl_k3(jnp.where(mask, logprobs, 0.0), jnp.where(mask, reference, 0.0))
    if objective.kl == "k3" and objective.kl_coef:
        loss += objective.kl_coef * (weights * k3).sum()
    num_tokens = jnp.maximum(mask.sum(), 1)
    metrics = {
        "loss": loss,
        "kl": k3.sum() / num_tokens,
        "clip_fraction": (is_clipped & mask).sum() / num_tokens,
        "ratio_max": jnp.where(mask, ratio, 0.0).max(),
    }
    return loss, metrics


def kl_k3(logprobs: jax.Array, reference: jax.Array) -> jax.Array:
    """KL(policy || reference) at each token, in nats, ``[...]`` and ``[...]`` -> ``[...]``.

    Estimated at a token that the policy drew: ref/p - log(ref/p) - 1, never negative (Schulman
    2020; GRPO, equation 4).
    """
    log_ratio = _bounded(reference - logprobs)
    return jnp.expm1(log_ratio) - log_ratio


@jax.custom_jvp
def _bounded(log_ratio: jax.Array) -> jax.Array:
    """The logarithm of a ratio, at most 30, so that neither the ratio nor its sums and squares are
    infinite.

    e^30 lies beyond every clip, so min() in the loss decides as it would without the bound. Where
    it takes the clipped ratio the gradient is 0. Where it takes the other, A < 0, the gradient goes
    through the bound as if that were not there, or such a token would never be mended.
    """
    return jnp.minimum(log_ratio, 30.0)


@_bounded.defjvp
def _(primals, tangents):
    return _bounded(*primals), tangents[0]
