import itertools
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxreason.answers.vote import (
    best_of_n,
    binomial_majority,
    early_stop,
    entropy,
    filtered_majority,
    logprob_weights,
    majority,
    pass_at_k,
    vote,
)
from jaxreason.errors import InputError

weights_of = jax.jit(logprob_weights, static_argnums=2)


def random_ids(seed, shape, num_answers=4):
    return np.random.default_rng(seed).integers(-1, num_answers, shape)


def counted_vote(ids, weights):
    """The vote by a dictionary, in order of appearance; max keeps the first of equal counts."""
    counts = {}
    for answer, weight in zip(ids, weights, strict=True):
        if answer >= 0 and weight > 0:
            counts[answer] = counts.get(answer, 0) + weight
    return max(counts, key=counts.get) if counts else -1


# --- vote -----------------------------------------------------------------------------------------


def test_vote_by_hand():
    result = vote(np.array([[5, 7, 7, -1], [3, 3, 3, 3], [-1, -1, -1, -1], [9, 4, 4, 9]]))
    np.testing.assert_array_equal(
        result.winner, [7, 3, -1, 9]
    )  # the last is a tie: 9 appeared first
    np.testing.assert_array_equal(result.confidence, [0.5, 1.0, 0.0, 0.5])
    np.testing.assert_array_equal(
        result.counts, [[1, 2, 2, 0], [4, 4, 4, 4], [0, 0, 0, 0], [2, 2, 2, 2]]
    )
    assert result.winner.dtype == np.int32


def test_two_votes_of_five_win_when_the_others_disagree():
    result = vote(np.array([1, 8, 1, 2, 3]))
    assert (int(result.winner), float(result.confidence)) == (1, pytest.approx(0.4))


def test_weights_flip_a_vote():
    ids = np.array([[1, 1, 2]])
    assert majority(ids)[0] == 1
    assert majority(ids, np.array([[0.2, 0.2, 0.5]]))[0] == 2


def test_no_answer_never_outvotes_an_answer():
    result = vote(np.array([-1, -1, -1, 6]), np.array([9.0, 9.0, 9.0, 1.0]))
    assert (int(result.winner), float(result.confidence)) == (6, pytest.approx(1 / 28))


@pytest.mark.parametrize("useless", [0.0, -3.0, math.nan])
def test_a_weight_that_is_not_positive_removes_the_chain(useless):
    # The first 5 casts no vote, so the tie of 7 and 5 goes to 7, as without that chain.
    ids, weights = np.array([5, 7, 5]), np.array([useless, 1.0, 1.0])
    assert majority(ids, weights) == majority(ids[1:]) == 7
    assert majority(ids, np.full(3, useless)) == -1


def test_vote_equals_a_dictionary_count():
    ids = random_ids(0, (200, 9))
    weights = np.random.default_rng(1).integers(
        0, 4, ids.shape
    )  # whole numbers, so that ties are exact
    expected = [counted_vote(*row) for row in zip(ids.tolist(), weights.tolist(), strict=True)]
    np.testing.assert_array_equal(majority(ids, weights), expected)


def test_jit_equals_eager_and_a_batch_equals_its_rows():
    ids, weights = random_ids(2, (20, 7)), np.random.default_rng(3).random((20, 7), np.float32)
    batch = vote(ids, weights)
    with jax.disable_jit():
        eager = vote(ids, weights)
    mapped = jax.vmap(vote)(ids, weights)
    rows = [vote(*row) for row in zip(ids, weights, strict=True)]
    for other in (eager, mapped, jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), batch, other)


def test_permuting_chains_changes_only_ties():
    ids = random_ids(4, (300, 9), num_answers=3)
    permuted = np.random.default_rng(5).permuted(ids, axis=1)
    before, after = vote(ids), vote(permuted)
    np.testing.assert_array_equal(before.confidence, after.confidence)
    top_two = [[*(n for _, n in Counter(row[row >= 0]).most_common(2)), 0, 0][:2] for row in ids]
    untied = np.array([a != b for a, b in top_two])
    assert 0 < untied.sum() < len(ids)
    np.testing.assert_array_equal(before.winner[untied], after.winner[untied])


@pytest.mark.parametrize(
    "ids", [np.zeros((2, 3)), np.zeros((2, 0), int), np.zeros(3, np.uint8), np.int32(1)]
)
def test_ids_that_are_no_answers_are_refused(ids):
    with pytest.raises(InputError, match="answer_ids"):
        vote(ids)


def test_weights_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"weights has shape \[3\]: expected \[2, 3\]"):
        vote(np.zeros((2, 3), int), np.ones(3))


# --- log-probability weights ----------------------------------------------------------------------


def test_logprob_weights_are_proportional_to_equation_1():
    logprobs, lengths = np.array([[-2.0, -6.0, -1.5]]), np.array([[4, 6, 3]])
    for normalise, expected in ((True, np.exp(logprobs / lengths)), (False, np.exp(logprobs))):
        weights = weights_of(logprobs, lengths, normalise)
        np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-6)


def test_long_chains_do_not_underflow():
    weights = weights_of(np.array([-1000.0, -1001.0]), np.array([900, 900]), False)
    np.testing.assert_allclose(weights, [1 / (1 + math.exp(-1)), 1 / (1 + math.e)], rtol=1e-5)


def test_empty_and_impossible_chains_have_no_weight():
    logprobs = np.array([[0.0, -1.0, -np.inf], [-np.inf, -np.inf, -np.inf]])
    weights = weights_of(logprobs, np.array([[0, 2, 2], [2, 2, 2]]), True)
    np.testing.assert_array_equal(weights, [[0, 1, 0], [0, 0, 0]])


# --- filtered vote and best-of-N ------------------------------------------------------------------


def test_filtered_majority_by_hand():
    ids = np.array([[1, 1, 1, 2, 2]])
    scores = np.array([[0.1, 0.2, 0.9, 0.8, 0.7]])
    winners = [int(filtered_majority(ids, scores, keep)[0]) for keep in (1, 2, 3, 5, 9)]
    # keep 2 leaves one vote each, and 1 came first; 3 leaves {1, 2, 2}; 5 and more leave all
    assert winners == [1, 1, 2, 1, 1]


def test_filtering_never_prefers_a_chain_without_an_answer():
    ids, scores = np.array([-1, 4, -1, 5]), np.array([9.0, -np.inf, 8.0, np.nan])
    assert filtered_majority(ids, scores, 1) == 4
    assert best_of_n(scores, ids) == 1
    assert best_of_n(scores[2:], ids[2:]) == 1  # an unscored answer still beats none
    assert best_of_n(scores) == 0


def test_best_of_n_takes_the_first_of_equal_scores():
    np.testing.assert_array_equal(best_of_n(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, -1.0]])), [1, 0])


def test_best_of_n_is_argmax_and_the_filtered_vote_of_one_chain():
    ids, scores = (
        random_ids(6, (50, 8)),
        np.random.default_rng(7).integers(0, 5, (50, 8)).astype(float),
    )
    np.testing.assert_array_equal(best_of_n(scores), scores.argmax(-1))
    chosen = np.take_along_axis(ids, np.asarray(best_of_n(scores, ids))[:, None], 1)[:, 0]
    np.testing.assert_array_equal(chosen, filtered_majority(ids, scores, 1))


def test_filter_refuses_bad_arguments():
    with pytest.raises(InputError, match="keep is 0"):
        filtered_majority(np.zeros((1, 3), int), np.zeros((1, 3)), 0)
    with pytest.raises(InputError, match="scores has shape"):
        filtered_majority(np.zeros((1, 3), int), np.zeros(3), 1)


# --- early stopping -------------------------------------------------------------------------------


def drawn_one_by_one(ids, threshold, min_samples):
    """Adaptive consistency as in its paper: a loop over draws with a Beta distribution."""
    counts = Counter()
    for drawn, answer in enumerate(ids, start=1):
        if answer >= 0:
            counts[answer] += 1
        v1, v2 = [*sorted(counts.values(), reverse=True), 0, 0][:2]
        if drawn >= min_samples and stats.beta(v1 + 1, v2 + 1).sf(0.5) >= threshold:
            return drawn
    return len(ids)


@pytest.mark.parametrize(("threshold", "min_samples"), [(0.95, 1), (0.8, 1), (0.9, 6), (0.99, 1)])
def test_early_stop_equals_a_loop_over_draws(threshold, min_samples):
    ids = random_ids(8, (25, 24), num_answers=3)
    ids[:8] = np.where(
        np.random.default_rng(9).random((8, 24)) < 0.8, 2, ids[:8]
    )  # some easy problems
    used = early_stop(ids, threshold=threshold, min_samples=min_samples)
    expected = [drawn_one_by_one(row, threshold, min_samples) for row in ids.tolist()]
    np.testing.assert_array_equal(used, expected)
    assert used.min() < 24


def test_early_stop_by_hand():
    # One draw: P = 1 - 0.5^2; four equal ones: 1 - 0.5^5 = 0.969 is the first above 0.95.
    assert early_stop(np.array([1] * 9)) == 4
    assert early_stop(np.array([1] * 9), threshold=0.75) == 1
    assert early_stop(np.array([1] * 9), min_samples=6) == 6
    assert early_stop(np.array([-1, 1, 1, -1, 1, 1, 1])) == 6  # silent chains are drawn too
    assert early_stop(np.array([1, 2, 1, 2])) == 4  # never sure
    assert early_stop(np.array([[3], [-1]])).tolist() == [1, 1]


def test_the_vote_after_stopping_ignores_later_chains():
    ids = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 2, 2], [1, 2, 1, 2, 1, 2, 1, 2, 2, 2]])
    used = early_stop(ids)
    np.testing.assert_array_equal(used, [4, 10])
    np.testing.assert_array_equal(majority(ids, np.arange(10) < used[:, None]), [1, 2])


@pytest.mark.parametrize("bad", [{"threshold": 0.5}, {"threshold": 1.0}, {"min_samples": 0}])
def test_early_stop_refuses_bad_arguments(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        early_stop(np.zeros((1, 3), int), **bad)


# --- pass@k and the binomial majority -------------------------------------------------------------


@pytest.mark.parametrize("k", range(1, 7))
def test_pass_at_k_equals_the_share_of_subsets_with_a_right_chain(k):
    expected = [
        np.mean(
            [any(i < correct for i in subset) for subset in itertools.combinations(range(6), k)]
        )
        for correct in range(7)
    ]
    np.testing.assert_allclose(pass_at_k(np.arange(7), 6, k), expected, rtol=1e-6)


def test_pass_at_k_of_many_samples_stays_finite():
    exact = 1 - math.comb(9990, 100) / math.comb(10_000, 100)
    np.testing.assert_allclose(
        pass_at_k(np.array([0, 10, 10_000]), 10_000, 100), [0, exact, 1], rtol=1e-5
    )


@pytest.mark.parametrize("k", [0, 7])
def test_pass_at_k_refuses_k_outside_the_samples(k):
    with pytest.raises(InputError, match="expected 1 to num_samples = 6"):
        pass_at_k(np.array([1]), 6, k)


@pytest.mark.parametrize("n", range(1, 8))
def test_binomial_majority_equals_enumeration(n):
    p = np.array([0.0, 0.2, 0.5, 0.7, 1.0])
    expected = 0.0
    for right in itertools.product((0, 1), repeat=n):
        share = sum(right) / n
        won = 1.0 if share > 0.5 else 0.5 if share == 0.5 else 0.0
        expected = expected + won * p ** sum(right) * (1 - p) ** (n - sum(right))
    np.testing.assert_allclose(binomial_majority(p, n), expected, atol=1e-5)


def test_binomial_majority_broadcasts_over_n():
    curve = binomial_majority(0.6, np.arange(1, 258))
    exact = [
        stats.binom.sf(n / 2, n, 0.6) + stats.binom.pmf(n / 2, n, 0.6) / 2 for n in range(1, 258)
    ]
    np.testing.assert_allclose(curve, exact, atol=1e-4)


@pytest.mark.parametrize("n", range(1, 8))
def test_the_plurality_is_at_least_the_binomial_majority(n):
    """Every outcome of n chains with one right answer (p = 0.4) and one or two wrong ones."""
    for wrong in ([0.6, 0.0], [0.3, 0.3]):
        chances = np.array([0.4, *wrong])
        outcomes = np.array(list(itertools.product(range(len(chances)), repeat=n)))
        plurality = float(chances[outcomes].prod(-1) @ (np.asarray(majority(outcomes)) == 0))
        bound = float(binomial_majority(0.4, n))
        if 0.0 in wrong:  # all wrong chains agree: the two are the same, ties included
            assert plurality == pytest.approx(bound, abs=1e-5)
        else:
            assert plurality > bound - 1e-5 and (n < 3 or plurality > bound + 0.01)


def test_the_plurality_wins_where_the_binomial_majority_is_hopeless():
    """Right with p = 0.4, twelve wrong answers at 0.05 each: a vote of 255 chains never fails."""
    ids = np.random.default_rng(0).choice(13, (200, 255), p=[0.4] + [0.05] * 12)
    assert (np.asarray(majority(ids)) == 0).all()
    assert binomial_majority(0.4, 255) < 0.001


def test_entropy_of_the_votes_by_hand():
    """All agree: 0. Two and two: log 2. No answer is one more answer."""
    ids = np.array([[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 2, -1], [-1, -2, 0, 0], [0, 0, 0, 1]])
    quarter = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    np.testing.assert_allclose(
        entropy(ids), [0, np.log(2), np.log(4), np.log(2), quarter], atol=1e-6
    )
