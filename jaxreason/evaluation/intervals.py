"""Confidence intervals of what was measured: :class:`Interval` and the functions that return one.

wilson              a share, from counts (Wilson score interval)
accuracy            a share of right problems
mean_interval       a mean over problems (bootstrap)
paired_difference   how much better one method is than another on the same problems
detectable          how large a difference so many problems can show
auc                 how well a score tells positive cases from negative ones

numpy, on the host.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxreason.errors import InputError


class Interval(NamedTuple):
    """An estimate with its confidence limits."""

    value: float  # the estimate
    low: float  # lower confidence limit
    high: float  # upper confidence limit
    n: int  # independent observations behind it, as a rule problems


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927), good near 0 and 1 and for small n.

    Args:
      successes: how many of the n trials.
      n: trials, at least 1.
      confidence: a share between 0 and 1.

    Raises:
      InputError: no trials, successes outside 0..n, or a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    if n < 1 or not 0 <= successes <= n or int(successes) != successes or int(n) != n:
        raise InputError(
            f"{successes} successes of {n}: expected integers, n >= 1 and successes in 0..n"
        )
    interval = stats.binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return Interval(
        value=int(successes) / int(n),
        low=float(interval.low),
        high=float(interval.high),
        n=int(n),
    )


def accuracy(correct: np.ndarray, confidence: float = 0.95) -> Interval:
    """Share of right problems with its Wilson interval.

    Args:
      correct: ``[G]`` bool (or 0 and 1), one for each problem.
      confidence: a share between 0 and 1.

    Raises:
      InputError: ``correct`` is anything but one bool for each problem.
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
    """Mean over problems of a number that each of them has, such as pass@1 from its N chains.

    The percentile bootstrap over problems (Efron and Tibshirani 1993, section 13.3). It resamples
    problems because they are independent; the N chains of one problem are not. If all values are
    equal, the interval has width zero: use :func:`accuracy` for right-or-wrong outcomes.

    Args:
      values: ``[G]``, one number for each problem.
      confidence: a share between 0 and 1.
      num_resamples: bootstrap samples.
      seed: of the resampling.

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
    return Interval(value=float(values.mean()), low=float(low), high=float(high), n=values.size)


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean of ``a - b`` over the same problems: how much better method a is than method b.

    To resample problems in pairs is to resample their differences, so this is
    :func:`mean_interval` of a - b. What is hard for both methods cancels, so this interval is
    tighter than the difference of two separate ones.

    Args:
      a, b: ``[G]`` each, a number or a bool (0 or 1) for each problem.
      confidence, num_resamples, seed: as for :func:`mean_interval`.

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


def detectable(
    n: int, disagree: float = 0.2, power: float = 0.8, confidence: float = 0.95
) -> float:
    """The least paired difference of two accuracies that n problems show with a given power.

    (z_confidence + z_power) sqrt(disagree / n), the normal approximation of McNemar's test (Connor
    1987, equation 3, without its term of second order, so a little too large). Ask before a run:
    a smaller difference that is not seen says nothing.

    Args:
      n: problems, at least 1.
      disagree: share of the problems that exactly one of the two methods gets right.
      power: how often a difference of that size is seen.
      confidence: of the interval that has to exclude zero.

    Raises:
      InputError: n below 1, or a share outside (0, 1).
    """
    _check_confidence(confidence)
    if n < 1 or not 0 < disagree < 1 or not 0 < power < 1:
        raise InputError(
            f"n is {n}, disagree {disagree}, power {power}: expected n >= 1 and shares between 0 "
            "and 1"
        )
    z = stats.norm.ppf((1 + confidence) / 2) + stats.norm.ppf(power)
    return float(z * np.sqrt(disagree / n))


def auc(scores: np.ndarray, positive: np.ndarray, confidence: float = 0.95) -> Interval:
    """Chance that a positive case outscores a negative one; ties count half.

    The area under the ROC curve with the interval of DeLong et al. 1988. A score that knows nothing
    has 0.5, a perfect ranking 1, whatever the threshold and however common positives are.

    Args:
      scores: ``[G]`` finite numbers, one for each case.
      positive: ``[G]`` bool.
      confidence: a share between 0 and 1.

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
    # For each positive the share of negatives below it; for each negative that of positives above.
    wins = (ranks[: len(up)] - stats.rankdata(up)) / len(down)
    losses = 1 - (ranks[len(up) :] - stats.rankdata(down)) / len(up)
    variance = wins.var(ddof=1) / len(up) + losses.var(ddof=1) / len(down)
    error = float(stats.norm.ppf((1 + confidence) / 2) * np.sqrt(variance))
    value = float(wins.mean())
    return Interval(
        value=value, low=max(0.0, value - error), high=min(1.0, value + error), n=len(scores)
    )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(
            f"confidence is {confidence}: expected a share between 0 and 1, such as 0.95"
        )
