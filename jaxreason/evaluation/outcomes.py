"""What methods got right and what they cost, problem by problem.

Outcome   of a method: right, FLOPs and tokens of every problem
Chains    N graded chains for each problem, with what verifiers say of them
choose    the outcome of choosing one answer among n of them

numpy, on the host.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxreason.answers import vote
from jaxreason.errors import InputError
from jaxreason.evaluation.flops import reading_flops, rollout_flops
from jaxreason.evaluation.intervals import Interval, accuracy, mean_interval

Choice = Literal["vote", "best", "early stop"]


class Outcome(NamedTuple):
    """Of a method, on every problem."""

    right: np.ndarray  # [G] in 0..1: the mean over disjoint sets of chains, where there are several
    flops: np.ndarray  # [G] policy and verifier
    tokens: np.ndarray  # [G] generated

    def of(self, rows: np.ndarray) -> "Outcome":
        """The outcome on some of the problems, by their indices or a mask."""
        return Outcome(right=self.right[rows], flops=self.flops[rows], tokens=self.tokens[rows])


def share(right: np.ndarray) -> Interval:
    """Share of problems ``[G]`` that are right.

    Wilson's interval of zeros and ones; the bootstrap where a problem's score is a mean over sets.
    """
    return accuracy(right) if np.isin(right, (0, 1)).all() else mean_interval(right)


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean, lowest and highest of the values of S seeds."""
    x = np.asarray(values, float)
    return Interval(float(x.mean()), float(x.min()), float(x.max()), len(x))


class Chains(NamedTuple):
    """N chains for each of G problems, and what the verifiers say of them."""

    right: np.ndarray  # [G, N] bool
    ids: np.ndarray  # [G, N] int, equal for equal answers, -1 is no answer
    gold: np.ndarray  # [G] int, the id of the right answer
    tokens: np.ndarray  # [G, N] int
    same: np.ndarray  # [G, N] int, equal for equal texts
    scores: dict[str, np.ndarray]  # verifier -> [G, N]


def choose(
    chains: Chains,
    prompt_tokens: np.ndarray,
    cfg: Any,
    n: int,
    how: Choice,
    *,
    scores: np.ndarray | None = None,
    verifier_cfg: Any = None,
) -> Outcome:
    """The vote, or the best chain, of each disjoint set of n chains.

    A method pays for all chains of its set. A verifier reads a text that came up twice only once.

    Args:
      chains: N for each of G problems.
      prompt_tokens: ``[G]`` int.
      cfg: of the model that wrote them, as for ``flops.forward_flops``.
      n: chains of a set; it divides N.
      how: "vote", weighted by the scores if there are any; "best", the chain with the highest score
        (:func:`jaxreason.answers.vote.best_of_n`); "early stop", a vote that stops when it is
        settled, and pays for the chains up to there.
      scores: ``[G, N]`` of a verifier.
      verifier_cfg: of the verifier, if reading costs anything.

    Returns:
      The outcome, a mean over the N / n sets of a problem.

    Raises:
      InputError: n does not divide N, or the best is asked for without scores.
    """
    if chains.ids.shape[1] % n:
        raise InputError(f"n is {n}: expected a divisor of {chains.ids.shape[1]}, the chains")
    if how == "best" and scores is None:
        raise InputError("how is 'best' and there are no scores: expected those of a verifier")

    def sets(x: np.ndarray) -> np.ndarray:
        """[G, N] -> [G, N / n, n]."""
        return x.reshape(len(x), -1, n)

    ids, tokens, gold = sets(chains.ids), sets(chains.tokens), chains.gold[:, None]
    score = None if scores is None else sets(scores)
    if how == "best":
        best = np.asarray(vote.best_of_n(score, ids))[..., None]
        right = np.take_along_axis(sets(chains.right), best, -1)[..., 0]
    elif how == "early stop":
        drawn = np.arange(n) < np.asarray(vote.early_stop(ids))[..., None]
        right = np.asarray(vote.majority(jnp.asarray(ids), jnp.asarray(drawn))) == gold
        tokens = tokens * drawn
    else:
        weights = None if score is None else jnp.asarray(score)
        right = np.asarray(vote.majority(jnp.asarray(ids), weights)) == gold

    asked = np.repeat(prompt_tokens[:, None], tokens.shape[1], 1)  # [G, N / n]
    flops = np.asarray(rollout_flops(cfg, asked, tokens))
    if verifier_cfg is not None:
        same = sets(chains.same)
        repeats = np.tril(same[..., :, None] == same[..., None, :], -1).any(-1)
        flops = flops + reading_flops(verifier_cfg, asked, tokens * ~repeats)
    return Outcome(right=right.mean(1), flops=flops.mean(1), tokens=tokens.sum(-1).mean(1))
