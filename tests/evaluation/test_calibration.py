"""Calibration: a score that keeps its word has no error, another one the gap that it was given."""

import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.evaluation.calibration import CENTRES, calibration_error, reliability
from jaxreason.evaluation.intervals import wilson


def cases(shares):
    """100 cases in each of ten bins, and how many of them are right."""
    scores = np.repeat(CENTRES, 100)
    right = np.concatenate([np.arange(100) < share for share in shares])
    return scores, right


def test_a_score_that_keeps_its_word_has_no_error():
    scores, right = cases(range(5, 100, 10))
    assert calibration_error(scores, right).value == pytest.approx(0, abs=1e-12)
    shares = reliability(scores, right)
    assert shares == [wilson(n, 100) for n in range(5, 100, 10)]


def test_the_error_is_the_mean_gap_over_cases():
    scores, right = cases([50] * 10)
    assert calibration_error(scores, right).value == pytest.approx(0.25)  # 0.45 0.35 ... 0.45
    few = np.r_[scores, 1.0], np.r_[right, True]  # one more in the last bin, at 1
    assert calibration_error(*few).n == 1001
    assert reliability(*few)[9] == wilson(51, 101)
    assert reliability(*few, least=101)[:9] == [None] * 9


@pytest.mark.parametrize(
    ("scores", "right"),
    [([0.5, 1.5], [0, 1]), ([0.5, np.nan], [0, 1]), ([0.5, 0.5], [1]), ([[0.5]], [[1]])],
)
def test_what_is_no_score_is_refused(scores, right):
    with pytest.raises(InputError, match=r"expected scores in 0\.\.1"):
        calibration_error(scores, right)
