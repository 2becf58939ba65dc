r"""Group relative policy optimisation: advantages, the clipped loss and its variants, and why
nothing is learned.

N completions $o_1 .. o_N$ of one prompt are each other's baseline, so there is no critic (Shao et
al. 2024, DeepSeekMath, section 4.1.1). With $\rho_t = \pi_\theta(o_t) / \pi_{old}(o_t)$, the loss
is

$$-\sum_{i,t} w_{i,t} \min\big(\rho_{i,t} A_i,\ \mathrm{clip}(\rho_{i,t}, 1-\epsilon_{low}, 1+\epsilon_{high}) A_i\big)
  + \beta \sum_{i,t} w_{i,t} D_{i,t},$$

and the variants differ in $A$, in $w$, in the clip, and in whether $\rho$ is one of a token or of
the sequence: options of :class:`Objective`. Chains are drawn at temperature 1 without filters:
$\pi_{old}$ is then the model itself.
"""

import dataclasses
import warnings
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxreason.decoding.logprobs import completion_logprobs
from jaxreason.decoding.rollout import Rollout
from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig, Params
from jaxreason.models.tokens import Prompt

KNOWN = {
    "advantages": ("standardised", "centred", "leave_one_out", "least_variance"),
    "ratio": ("token", "sequence"),
    "average": ("sequence", "token", "constant"),
    "kl": ("k3", "k1"),
}


def _check_known(name: str, value: str) -> None:
    if value not in KNOWN[name]:
        raise InputError(f"{name} is {value!r}: expected one of {', '.join(KNOWN[name])}")


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is optimised; the defaults are GRPO without a KL term.

    Attributes: advantages: "standardised" (r - mean) / std (Shao et al. 2024, section 4.1.2; the
      variance is a mean over N, where TRL's is over
        N - 1: a constant factor); "centred" r - mean (Dr. GRPO, Liu et al. 2025, section 3.2: a
        division by std favours problems that are too easy or too hard); "leave_one_out" r - mean of
        the others (RLOO, Ahmadian et al. 2024, section 2.2; Kool et al. 2019), which is N / (N - 1)
        of "centred"; "least_variance" (r - b) / std, b the mean weighted by the squared norm of a
        chain's gradient, the baseline of least variance (Greensmith et al. 2004, section 4; Hao et
        al. 2025, OPO, equation 5, who take the length for it). Chains that hesitate have large
        gradients, and are
        wrong more often than others: b lies below the mean.
      ratio: of a "token", or of the "sequence", the geometric mean over its tokens (GSPO, Zheng et
        al. 2025, equation 7).
      average: over tokens, w: "sequence" 1 / (N |o_i|) (GRPO, equation 3), in which a token of a
        long chain counts less; "token" 1 / sum |o_i| (DAPO, Yu et al. 2025, equation 8); "constant"
        1 / (N T), T the most tokens a chain may have (Dr. GRPO).
      clip_low, clip_high: the ratio is clipped to [1 - low, 1 + high] (Schulman et al. 2017,
        equation 7); DAPO's "clip-higher" leaves unlikely tokens more room to rise.
      kl: "k3" is ref/p - log(ref/p) - 1 in the loss (GRPO, equation 4): never negative, and low in
        variance (Schulman 2020). "k1" is log(p/ref), taken from the reward of the chain (Ouyang et
        al. 2022, equation 2): in the loss its gradient is 0 on average.
      kl_coef: beta; 0 is no reference.
      overlong: DAPO's soft punishment of chains that end within so many tokens of the limit; 0 is
        none.
      drop_truncated: leave chains that were cut off at the limit out of the loss: overlong
        filtering (DAPO, Yu et al. 2025, arXiv 2503.14476, section 3.4). The averages are then over
        the other chains, as if those had not been drawn; their rewards stay in the baseline, as in
        the paper, which masks their loss.

    Raises:
      InputError: a value is outside its range.
    """

    advantages: Literal["standardised", "centred", "leave_one_out", "least_variance"] = (
        "standardised"
    )
    ratio: Literal["token", "sequence"] = "token"
    average: Literal["sequence", "token", "constant"] = "sequence"
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl: Literal["k3", "k1"] = "k3"
    kl_coef: float = 0.0
    overlong: int = 0
    drop_truncated: bool = False

    def __post_init__(self):
        for name in KNOWN:
            _check_known(name, getattr(self, name))
        if not 0 < self.clip_low <= 1 or not self.clip_high > 0:
            raise InputError(
                f"clip_low is {self.clip_low}, clip_high {self.clip_high}: expected 0 < low <= 1, 0 < high"
            )
        if self.kl_coef < 0 or self.overlong < 0:
            raise InputError(
                f"kl_coef is {self.kl_coef}, overlong {self.overlong}: expected 0 or more"
            )


# Under the names and with the constants of the papers; learning rates and sizes are the user's.
GRPO = Objective(kl_coef=0.04)
DR_GRPO = Objective(advantages="centred", average="constant")
DAPO = Objective(average="token", clip_high=0.28)  # and :func:`informative` groups only
RLOO = Objective(advantages="leave_one_out", average="constant", kl="k1", kl_coef=0.05)
GSPO = Objective(ratio="sequence", clip_low=3e-4, clip_high=4e-4)


class GroupBatch(NamedTuple):
    """What a policy wrote, and what it was worth."""

    prompt: Prompt  # [B, P]
    tokens: jax.Array  # [B, N, T] int32
    mask: jax.Array  # [B, N, T] bool
    logprobs: jax.Array  # [B, N, T] float32, of the policy that wrote it
    # [B, N, T] float32, log-probabilities of the frozen reference; of no account if kl_coef is 0
    reference: jax.Array
    advantages: jax.Array  # [B, N, T] float32; GRPO's is one for all tokens of a chain
    # [B, N, T] float32, w times B, so that parts of the batch average to the whole
    weights: jax.Array


def group_advantages(
    rewards: jax.Array, *, kind: str = "standardised", squared_norms: jax.Array | None = None
) -> jax.Array:
    """How much better a completion is than the others of its prompt: rewards ``[G, N]`` -> ``[G,
    N]``.

    The kinds are those of :class:`Objective`; "least_variance" needs :func:`squared_norms`. Where
    all N rewards are equal all advantages are exactly 0: nothing is learned there.

    Raises:
      InputError: an unknown kind, or "least_variance" without the norms.
    """
    chex.assert_rank(rewards, 2)
    _check_known("advantages", kind)
    if kind == "least_variance" and squared_norms is None:
        raise InputError(
            "squared_norms is None: expected those of the chains, for advantages of least variance"
        )
    weights = jnp.ones_like(rewards) if kind != "least_variance" else squared_norms
    chex.assert_equal_shape([rewards, weights])
    centred = rewards - (weights * rewards).sum(-1, keepdims=True) / weights.sum(-1, keepdims=True)
    if kind in ("standardised", "least_variance"):
        centred = centred / (rewards.std(-1, keepdims=True) + 1e-4)
    elif kind == "leave_one_out":
        centred = centred * (rewards.shape[-1] / max(rewards.shape[-1] - 1, 1))
    # The mean of equal numbers is rounded, and divided by their std the error would look like a
    # signal.
    equal = rewards.max(-1, keepdims=True) == rewards.min(-1, keepdims=True)
    return jnp.where(equal, 0.0, centred)


def squared_norms(logprobs: jax.Array, mask: jax.Array) -> jax.Array:
    """About the squared norm of the gradient of a chain's log p by its logits, ``[..., T]`` ->
    ``[...]``.

    Of one token it is (1 - p)^2 and the squares of the other probabilities, here left out. What the
    layers below make of it is taken to be the same factor for all chains.
    """
    return (jnp.square(-jnp.expm1(logprobs)) * mask).sum(-1) + 1e-3


def informative(rewards: jax.Array) -> jax.Array:
    """``[G, N]`` -> bool ``[G]``: groups whose rewards differ; DAPO samples until a batch has no
    others (section 3.2).
    """
    return rewards.max(-1) > rewards.min(-1)


def overlong_penalty(lengths: jax.Array, limit: int, buffer: int) -> jax.Array:
    """0 up to ``limit - buffer`` tokens, from there falling to -1 at the limit (DAPO, equation 13).
    """
    return (
        -jnp.clip((lengths - (limit - buffer)) / max(buffer, 1), 0.0, 1.0)
        if buffer
        else jnp.zeros(lengths.shape)
    )


def token_weights(
    mask: jax.Array,
    average: str = "sequence",
    limit: int | None = None,
    counted: jax.Array | None = None,
) -> jax.Array:
    """B times the weight of every token, as in :class:`Objective`; ``[B, N, T]`` bool -> float32.

    Args:
      mask: the tokens.
      average: over them.
      limit: T of "constant", the width of the mask if None.
      counted: bool ``[B, N]``, the chains that the average is over; None is all. The others weigh
        nothing.

    Raises:
      InputError: an unknown average.
    """
    _check_known("average", average)
    b, n, width = mask.shape
    if counted is not None:
        mask, n = (
            mask & counted[..., None],
            jnp.maximum(counted.sum(), 1) / b,
        )  # n of a group, on average
    lengths = mask.sum(-1, keepdims=True)
    if average == "token":
        return mask * (b / jnp.maximum(lengths.sum(), 1))
    return mask / (n * (jnp.maximum(lengths, 1) if average == "sequence" else limit or width))


def make_batch(
    prompt: Prompt,
    rollout: Rollout,
    rewards: jax.Array,
    reference: jax.Array | None,
    *,
    objective: Objective,
    limit: int | None = None,
) -> tuple[GroupBatch, dict[str, jax.Array]]:
    """The batch of a rollout and its rewards ``[B, N]``, and the metrics that need no gradient.

    ``reference [B, N, T]`` are the log-probabilities of the frozen reference, ``limit`` the most
    tokens a chain may have, if that is not T. ``entropy`` is estimated from the tokens drawn, as
    the mean of -log p.
    """
    mask, lengths = rollout.mask, rollout.mask.sum(-1)
    chex.assert_equal_shape([rewards, lengths])
    reference = rollout.logprobs if reference is None else reference
    worth = shaped = rewards + overlong_penalty(
        lengths, limit or mask.shape[-1], objective.overlong
    )
    if objective.kl == "k1" and objective.kl_coef:
        worth = shaped - objective.kl_coef * ((rollout.logprobs - reference) * mask).sum(-1)
    norms = squared_norms(rollout.logprobs, mask)
    advantages = group_advantages(worth, kind=objective.advantages, squared_norms=norms)
    counted, teaches = None, informative(shaped)
    if objective.drop_truncated:
        counted = rollout.finished
        teaches &= counted.any(-1)
    metrics = {
        "reward": rewards.mean(),
        "zero_variance": 1 - teaches.mean(),
        "truncated": 1 - rollout.finished.mean(),
        "length": lengths.mean(),
        "entropy": -(rollout.logprobs * mask).sum() / jnp.maximum(lengths.sum(), 1),
    }
    batch = GroupBatch(
        prompt,
        rollout.tokens,
        mask,
        rollout.logprobs,
        reference,
        jnp.broadcast_to(advantages[..., None], mask.shape),
        token_weights(mask, objective.average, limit, counted),
    )
    return batch, metrics


def policy_loss(
    logprobs: jax.Array, batch: GroupBatch, *, objective: Objective
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss in the head of this module, from the policy's ``logprobs [B, N, T]`` of the batch's
    tokens.
    """
    chex.assert_equal_shape([logprobs, batch.tokens])
    mask, weights = batch.mask, batch.weights / len(batch.tokens)
    # Padding is scored too, by whatever the model thinks of it: 0, so that no infinity comes near a
    # gradient.
    log_ratio = jnp.where(mask, logprobs - batch.logprobs, 0.0)
    if objective.ratio == "sequence":
        log_ratio = jnp.broadcast_to(
            log_ratio.sum(-1, keepdims=True) / jnp.maximum(mask.sum(-1, keepdims=True), 1),
            mask.shape,
        )
    ratio = jnp.exp(_bounded(log_ratio))
    clipped = jnp.clip(ratio, 1 - objective.clip_low, 1 + objective.clip_high)
    gain, clipped_gain = ratio * batch.advantages, clipped * batch.advantages
    loss = -(weights * jnp.minimum(gain, clipped_gain)).sum()

    k3 = kl_k3(jnp.where(mask, logprobs, 0.0), jnp.where(mask, batch.reference, 0.0))
    if objective.kl == "k3" and objective.kl_coef:
        loss += objective.kl_coef * (weights * k3).sum()
    tokens = jnp.maximum(mask.sum(), 1)
    metrics = {
        "loss": loss,
        "kl": k3.sum() / tokens,
        "clip_fraction": ((clipped_gain < gain) & mask).sum() / tokens,
        "ratio_max": jnp.where(mask, ratio, 0.0).max(),
    }
    return loss, metrics


def kl_k3(logprobs: jax.Array, reference: jax.Array) -> jax.Array:
    """KL(policy || reference) of each token, estimated at a token that the policy drew: never
    negative (Schulman 2020).
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


def grpo_loss(
    params: Params,
    batch: GroupBatch,
    *,
    cfg: DecoderConfig,
    objective: Objective,
    chunk: int = 1024,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """:func:`policy_loss` of a model.

    For LoRA, differentiate it through ``merge_lora(params, lora, scale)``.
    """
    logprobs = completion_logprobs(params, batch.prompt, batch.tokens, cfg=cfg, chunk=chunk)
    return policy_loss(logprobs, batch, objective=objective)


class NothingToLearn(RuntimeError):
    """Training goes on without a signal; the message says why and what to change."""


class Watch:
    """Looks at the metrics of the steps that ``train.fit(check=...)`` logs: warns once of each
    symptom, stops after ``patience``.
    """

    def __init__(self, patience: int = 20):
        self.patience = patience
        self.silent = 0
        self.warned: set[str] = set()

    def __call__(self, metrics: dict[str, float]) -> None:
        """Raises NothingToLearn after ``patience`` logged steps in a row in which no reward
        differed from its neighbours'.
        """
        cause = self._cause(metrics)
        self.silent = self.silent + 1 if metrics["zero_variance"] >= 1 else 0
        if self.silent >= self.patience:
            raise NothingToLearn(
                f"{self.silent} logged steps in a row had no group with different rewards: {cause}"
            )
        symptoms = {"nothing to learn from": cause} if self.silent else {}
        if metrics.get("clip_fraction", 0.0) > 0.3:
            symptoms["clipped"] = (
                "over 30% of the tokens are clipped: lower the learning rate, or take fewer updates of a rollout"
            )
        if metrics["truncated"] > 0.5 and not self.silent:
            symptoms["truncated"] = (
                "over half of the chains are cut off: raise max_new_tokens, or shape overlong rewards"
            )
        for name in symptoms.keys() - self.warned:
            self.warned.add(name)
            warnings.warn(symptoms[name], RuntimeWarning, stacklevel=2)

    @staticmethod
    def _cause(metrics: dict[str, float]) -> str:
        if metrics["truncated"] >= 1:
            return "every chain is cut off before its answer; raise max_new_tokens"
        if metrics["reward"] <= 0:
            return "no chain is right; take easier problems, more chains of each, or a better start"
        if metrics["entropy"] < 1e-3:
            return "all chains of a problem are the same; the policy has no entropy left: raise kl_coef or clip_high"
        return "all chains of every problem are worth the same; take harder problems or more chains of each"
