"""Calibration: whether what a score calls 80% sure is right in 80 of 100 cases.

reliability         the share that is right in each bin of the score
calibration_error   how far score and share are apart on average

numpy, on the host.
"""

import numpy as np

from jaxreason.errors import InputError
from jaxreason.evaluation.intervals import Interval, accuracy, mean_interval

NUM_BINS = 10
# Where the bins of width 0.1 have their centres.
CENTRES = (np.arange(NUM_BINS) + 0.5) / NUM_BINS


def reliability(scores: np.ndarray, right: np.ndarray, least: int = 10) -> list[Interval | None]:
    """The share of right cases in each bin of the score, to be drawn over :data:`CENTRES`.

    A calibrated score lies on the diagonal (DeGroot and Fienberg 1983, the reliability diagram).

    Args:
      scores: ``[G]`` in 0..1, one for each case.
      right: ``[G]`` bool.
      least: a bin with fewer cases is None.

    Raises:
      InputError: not one score in 0..1 and one outcome for each case.
    """
    bins, right = _bins(scores, right), np.asarray(right)
    inside = [right[bins == b] for b in range(NUM_BINS)]
    return [accuracy(of_bin) if len(of_bin) >= least else None for of_bin in inside]


def calibration_error(scores: np.ndarray, right: np.ndarray) -> Interval:
    """Expected calibration error (Naeini et al. 2015): the mean over cases of the gap, in their
    bin, between the mean score and the share that is right. Its interval is bootstrapped over
    cases.

    Args:
      scores: ``[G]`` in 0..1, one for each case.
      right: ``[G]`` bool.

    Raises:
      InputError: not one score in 0..1 and one outcome for each case, or fewer than two cases.
    """
    bins, gap = _bins(scores, right), np.zeros(NUM_BINS)
    scores, right = np.asarray(scores), np.asarray(right)
    for b in np.unique(bins):
        gap[b] = abs(scores[bins == b].mean() - right[bins == b].mean())
    return mean_interval(gap[bins])


def _bins(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The bin of each score, int ``[G]``; a score of 1 belongs to the last one."""
    scores, right = np.asarray(scores), np.asarray(right)
    in_range = ((scores >= 0) & (scores <= 1)).all()  # NaN is not
    if scores.ndim != 1 or right.shape != scores.shape or not in_range:
        raise InputError(
            f"scores {list(scores.shape)}, right {list(right.shape)}: expected scores in 0..1 and "
            "bools [G], one of each for every case"
        )
    return np.minimum((scores * NUM_BINS).astype(int), NUM_BINS - 1)
