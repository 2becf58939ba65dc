"""Measuring a claim: a share, a mean or a paired difference, each with its interval."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxreason.errors import InputError


class Interval(NamedTuple):
    value: float  # the estimate
    low: float  # lower confidence limit
    high: float  # upper confidence limit
    n: int  # independent observations behind it, as a rule problems


# --- intervals
# ----------------------------------------------------------------------------------------------


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927), good near 0 and 1 and for small n.

    Raises:
        InputError: no trials, successes outside 0..n, or a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    if n < 1 or not 0 <= successes <= n or int(successes) != successes or int(n) != n:
        raise InputError(
            f"{successes} successes of {n}: expected integers, n >= 1 and successes in 0..n"
        )
    interval = stats.binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return Interval(int(successes) / int(n), float(interval.low), float(interval.high), int(n))


def accuracy(correct: np.ndarray, confidence: float = 0.95) -> Interval:
    """Share of right problems with its Wilson interval; ``correct`` is ``[G]`` of bool (or 0/1),
    one per problem.

    Raises:
        InputError: anything but one bool for each problem.
    """
    correct = np.asarray(correct)
    if correct.ndim != 1 or not np.isin(correct, (0, 1)).all():
        raise InputError(
            f"correct is {correct.dtype}{list(correct.shape)}: expected one bool per problem [G]; "
            "for several chains of a problem average them and use mean_interval"
        )
    return wilson(int(correct.sum()), correct.size, confidence)


def mean_interval(
    values: np.ndarray, confidence: float = 0.95, num_resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Mean over problems of a per-problem number ``[G]``, such as pass@1 estimated from N chains.

    The percentile bootstrap over problems (Efron and Tibshirani 1993, section 13.3): the N chains
    of one problem are not independent, problems are. Values that are all equal give an interval of
    width zero: use :func:`accuracy` for right-or-wrong outcomes.

    Raises:
        InputError: fewer than two problems, values that are not finite, or a confidence outside (0,
          1).
    """
    _check_confidence(confidence)
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size < 2 or not np.isfinite(values).all():
        raise InputError(
            f"values has shape {list(values.shape)}: expected finite numbers [G], one per problem, "
            "G >= 2"
        )
    if num_resamples < 1:
        raise InputError(f"num_resamples is {num_resamples}: expected at least 1; 10000 is usual")
    rng = np.random.default_rng(seed)
    means = np.empty(num_resamples)
    rows = max(1, 2**20 // values.size)  # 8 MB of float64 at a time
    for start in range(0, num_resamples, rows):
        chunk = means[start : start + rows]
        chunk[:] = values[rng.integers(0, values.size, (chunk.size, values.size), np.int32)].mean(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high), values.size)


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean of ``a - b`` over the same problems, ``[G]`` each: how much better method a is than b.

    Resampling problems in pairs is resampling their differences, so this is :func:`mean_interval`
    of a - b (bools count as 0 and 1). What is hard for both methods cancels: it is tighter than two
    separate intervals.

    Raises:
        InputError: different shapes, or what :func:`mean_interval` refuses.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise InputError(
            f"a and b have shapes {list(a.shape)} and {list(b.shape)}: expected the same problems "
            "[G] in both"
        )
    return mean_interval(a - b, confidence, num_resamples, seed)


def within_budget(
    solved: np.ndarray, tokens: np.ndarray, mean_tokens: float
) -> tuple[np.ndarray, np.ndarray]:
    """What a method that stops at its solution would have solved with ``mean_tokens`` tokens a
    problem on average.

    Every problem gets the same cap: the largest one under which the mean of what is spent is no
    more than ``mean_tokens``.

    Args:
        solved: ``[G]`` bool, whether it solved the problem at all.
        tokens: ``[G]``, what it spent up to its solution, or before it gave up.

    Returns:
        solved within the cap ``[G]`` and tokens spent ``[G]``.
    """
    solved, tokens = np.asarray(solved, bool), np.asarray(tokens, float)
    if solved.shape != tokens.shape or solved.ndim != 1 or not len(solved):
        raise InputError(
            f"solved has shape {solved.shape} and tokens {tokens.shape}: expected [G] both"
        )
    # sum(min(tokens, cap)) is piecewise linear in the cap: walk through its corners.
    ordered = np.sort(tokens)
    left = len(ordered) - np.arange(
        len(ordered)
    )  # problems that spend the cap, once it has reached ordered[i]
    spent_at = np.concatenate([[0.0], np.cumsum(ordered)])[:-1] + ordered * left
    budget = mean_tokens * len(ordered)
    i = np.searchsorted(spent_at, budget, side="right")
    cap = np.inf if i == len(ordered) else (budget - ordered[:i].sum()) / left[i]
    return solved & (tokens <= cap), np.minimum(tokens, cap)


def auc(scores: np.ndarray, positive: np.ndarray, confidence: float = 0.95) -> Interval:
    """Chance that a positive case outscores a negative one, ties counting half; ``[G]`` each.

    The area under the ROC curve with the interval of DeLong et al. 1988: 0.5 knows nothing, 1 ranks
    perfectly, and neither depends on a threshold or on how common positives are.

    Raises:
        InputError: not one finite score and one bool for each case, or fewer than two cases of a
          kind.
    """
    _check_confidence(confidence)
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive)
    if scores.ndim != 1 or positive.shape != scores.shape or not np.isfinite(scores).all():
        raise InputError(
            f"scores {list(scores.shape)}, positive {list(positive.shape)}: expected finite "
            "numbers and bools [G]"
        )
    up, down = scores[positive.astype(bool)], scores[~positive.astype(bool)]
    if min(len(up), len(down)) < 2:
        raise InputError(
            f"{len(up)} positive and {len(down)} negative cases: expected at least two of each"
        )
    ranks = stats.rankdata(np.r_[up, down])
    wins = (ranks[: len(up)] - stats.rankdata(up)) / len(
        down
    )  # share of the negatives below each positive
    losses = 1 - (ranks[len(up) :] - stats.rankdata(down)) / len(
        up
    )  # share of the positives above each negative
    error = stats.norm.ppf((1 + confidence) / 2) * np.sqrt(
        wins.var(ddof=1) / len(up) + losses.var(ddof=1) / len(down)
    )
    value = float(wins.mean())
    return Interval(
        value, max(0.0, value - float(error)), min(1.0, value + float(error)), len(scores)
    )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(
            f"confidence is {confidence}: expected a share between 0 and 1, such as 0.95"
        )
