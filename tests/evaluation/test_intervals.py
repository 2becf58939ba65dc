"""Intervals against textbook formulas, known truths, and what they refuse."""

import math

import numpy as np
import pytest
from scipy import stats

from jaxreason.errors import InputError
from jaxreason.evaluation.intervals import (
    Interval,
    accuracy,
    auc,
    detectable,
    mean_interval,
    paired_difference,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "confidence"), [(0, 10, 0.95), (7, 10, 0.95), (430, 500, 0.99)]
)
def test_wilson_is_the_textbook_formula(successes, n, confidence):
    p, z = successes / n, stats.norm.ppf((1 + confidence) / 2)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    interval = wilson(successes, n, confidence)
    assert interval == pytest.approx((p, centre - half, centre + half, n))


def test_accuracy_is_wilson_of_the_right_problems():
    assert accuracy(np.arange(20) < 13) == wilson(13, 20)


@pytest.mark.parametrize(
    "correct", [np.ones((3, 2), bool), np.array([0.5, 1.0]), np.array([1.0, np.nan])]
)
def test_accuracy_refuses_anything_but_one_outcome_per_problem(correct):
    with pytest.raises(InputError, match="expected one bool per problem"):
        accuracy(correct)


def test_a_detectable_difference_is_seen_as_often_as_it_says():
    """Two methods of which one alone is right on a fifth of 150 problems, mostly the better one."""
    n, disagree = 150, 0.2
    difference = detectable(n, disagree)
    assert difference == pytest.approx(2.8016 * math.sqrt(disagree / n), rel=1e-4)
    rng = np.random.default_rng(0)
    better = rng.binomial(n, (disagree + difference) / 2, 20_000) / n
    worse = rng.binomial(n, (disagree - difference) / 2, 20_000) / n
    error = np.sqrt((better + worse - (better - worse) ** 2) / n)
    seen = (better - worse > 1.96 * error).mean()
    assert 0.78 < seen < 0.88  # the approximation asks for a little too much


def test_detectable_refuses_what_is_no_share():
    for bad in ({"n": 0}, {"n": 9, "disagree": 0.0}, {"n": 9, "power": 1.0}):
        with pytest.raises(InputError, match="expected n >= 1"):
            detectable(**bad)


@pytest.mark.parametrize("arguments", [(1, 0), (3, 2), (-1, 2), (1.5, 2), (1, 2, 1.0), (1, 2, 95)])
def test_wilson_refuses_impossible_counts(arguments):
    with pytest.raises(InputError):
        wilson(*arguments)


def test_bootstrap_agrees_with_the_normal_interval_of_a_large_sample():
    values = np.random.default_rng(0).random(1000)
    interval = mean_interval(values)
    half = 1.96 * values.std() / math.sqrt(1000)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.05 * half)
    assert interval.n == 1000


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    # pass@1 of 80 problems from 8 chains
    samples = np.random.default_rng(1).binomial(8, 0.3, (300, 80)) / 8
    intervals = [mean_interval(values, confidence=0.9, num_resamples=500) for values in samples]
    covered = np.mean([low <= 0.3 <= high for _, low, high, _ in intervals])
    assert 0.85 < covered < 0.95  # 0.9, three standard errors of 300 trials being 0.052


def test_bootstrap_is_reproducible_and_does_not_depend_on_the_chunks():
    values = np.random.default_rng(2).random(5000)  # 209 resamples fill a chunk
    interval = mean_interval(values, num_resamples=500, seed=3)
    assert interval == mean_interval(values, num_resamples=500, seed=3)
    assert interval != mean_interval(values, num_resamples=500, seed=4)
    rng = np.random.default_rng(3)
    means = [values[rng.integers(0, 5000, 5000, np.int32)].mean() for _ in range(500)]
    low, high = np.quantile(means, [0.025, 0.975])
    assert interval[1:3] == pytest.approx((low, high), rel=1e-12)


def test_identical_methods_differ_by_exactly_zero():
    a = np.random.default_rng(4).random(50) < 0.5
    assert paired_difference(a, a) == Interval(0.0, 0.0, 0.0, 50)


def test_equally_good_methods_give_an_interval_around_zero():
    a = np.arange(100) % 2 == 0
    interval = paired_difference(a, ~a)
    assert interval.value == 0 and interval.low < 0 < interval.high


def test_pairing_makes_the_interval_tighter():
    rng = np.random.default_rng(5)
    difficulty = rng.random(400)
    a, b = difficulty < 0.6, difficulty < 0.5  # a solves whatever b solves
    paired = paired_difference(a, b)
    unpaired = paired_difference(a, rng.permutation(b))
    assert 0 < paired.low and paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)
    swapped = paired_difference(b, a)
    assert swapped[:3] == pytest.approx((-paired.value, -paired.high, -paired.low))


def test_bootstrap_refuses_what_is_not_one_number_per_problem():
    for values in (np.ones((3, 2)), np.ones(1), np.array([1.0, np.nan])):
        with pytest.raises(InputError, match="expected finite numbers"):
            mean_interval(values)
    with pytest.raises(InputError, match="same problems"):
        paired_difference(np.ones(3), np.ones(4))
    with pytest.raises(InputError, match="num_resamples"):
        mean_interval(np.ones(3), num_resamples=0)


def test_auc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, 80) / 6  # with ties
    positive = rng.random(80) < 0.4
    pairs = scores[positive][:, None] - scores[~positive][None]
    assert auc(scores, positive).value == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert auc(-scores, positive).value == pytest.approx(1 - auc(scores, positive).value)
    assert auc(np.exp(scores), positive) == pytest.approx(
        auc(scores, positive)
    )  # ranks are all that counts


def test_auc_interval_is_that_of_delong_written_out():
    up, down = np.array([0.9, 0.4, 0.8, 0.6]), np.array([0.5, 0.1, 0.3])
    win = (up[:, None] > down).astype(float)
    error = 1.959964 * np.sqrt(win.mean(1).var(ddof=1) / 4 + win.mean(0).var(ddof=1) / 3)
    got = auc(np.r_[up, down], np.arange(7) < 4)
    assert got[:3] == pytest.approx(
        (win.mean(), max(0, win.mean() - error), min(1, win.mean() + error)), abs=1e-6
    )
    assert auc(np.array([2.0, 3, 0, 1]), np.array([True, True, False, False])) == Interval(
        1.0, 1.0, 1.0, 4
    )


def test_auc_interval_covers_the_truth():
    truth, rng = 0.76024994, np.random.default_rng(1)  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt(2))
    positive = np.arange(120) < 40
    runs = [auc(rng.normal(size=120) + positive, positive) for _ in range(400)]
    assert 0.92 <= np.mean([r.low <= truth <= r.high for r in runs]) <= 0.98


@pytest.mark.parametrize(
    ("scores", "positive"),
    [([1.0, 2.0], [1, 0]), ([1.0, np.nan, 2, 3], [1, 1, 0, 0]), ([1.0], [1, 0])],
)
def test_auc_needs_two_of_each_kind(scores, positive):
    with pytest.raises(InputError):
        auc(np.array(scores), np.array(positive, bool))
