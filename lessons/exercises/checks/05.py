"""Checks of lesson 05."""

import numpy as np

from jaxreason.course.exercises import expect, expect_close


def check_best_of_n(answers):
    scores = np.array([[0.1, 0.9, 0.9, 0.3], [0.2, 0.4, 0.8, 0.1], [-3.0, -1.0, -2.0, -5.0]])
    ids = np.array([[0, 1, 1, 2], [0, 1, -1, 1], [-1, -1, -1, -1]])
    found = answers.best_of_n(scores.copy(), ids.copy())
    expect_close(found, [1, 1, 1], f"the best of scores {scores.tolist()}, ids {ids.tolist()}")
    found = answers.best_of_n(np.array([[-9.0, -4.0]]), np.array([[0, -1]]))
    expect_close(found, [0], "the best of scores [-9, -4], ids [0, -1]")


def check_weighted_vote(answers):
    ids = np.array([[0, 1, 1, 2], [0, 0, 0, 1], [-1, -1, 0, -1], [-1, -1, -1, -1], [0, 0, 1, 1]])
    scores = np.array(
        [
            [0.5, 0.3, 0.3, 0.4],
            [0.2, 0.2, 0.2, 0.5],
            [0.9, 0.9, 0.1, 0.9],
            [0.5, 0.5, 0.5, 0.5],
            [0.6, 0.1, 0.4, 0.4],
        ]
    )
    found = answers.weighted_vote(ids.copy(), scores.copy())
    expect_close(
        found, [1, 0, 0, -1, 1], f"the winners of ids {ids.tolist()}, scores {scores.tolist()}"
    )


def check_pass_at_k(answers):
    for num_right, n, k, expected in (
        (1, 4, 1, 1 / 4),
        (1, 4, 2, 1 / 2),
        (2, 4, 2, 5 / 6),
        (3, 4, 2, 1.0),
        (0, 4, 4, 0.0),
        (4, 4, 1, 1.0),
    ):
        found = answers.pass_at_k(num_right, n, k)
        expect_close(found, expected, f"pass@{k}, {num_right} of {n} chains are right")
    for num_right, k, expected in ((1, 5000, 0.5), (10, 5000, 0.999024), (3, 100, 0.029703)):
        found = answers.pass_at_k(num_right, 10_000, k)
        expect_close(found, expected, f"pass@{k}, {num_right} of 10,000 chains are right")


def check_mixed(answers):
    expect(answers.MIXED is not None, "no prediction yet")
    right = ((1 - 0.5**10) + (1 - 0.99**10)) / 2
    expect(
        abs(answers.MIXED - right) <= 0.02,
        f"{answers.MIXED} is not it: is every problem of the average difficulty?",
    )


def check_fooled(answers):
    expect(answers.FOOLED is not None, "no scores yet")
    right = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]], bool)
    scores = np.asarray(answers.FOOLED, float)
    expect(scores.shape == (4, 4), f"scores have shape {list(scores.shape)}, expected [4, 4]")
    best = right[np.arange(4), scores.argmax(1)]
    expect(not best.any(), f"the best of 4 is right on problems {np.flatnonzero(best).tolist()}")
    up, down = scores[right][:, None], scores[~right]
    pairs = (up > down).mean() + (up == down).mean() / 2
    expect(pairs >= 0.7, f"a right chain outscores a wrong one in only {pairs:.0%} of the pairs")


def check_systematic(answers):
    for weights, u, expected in (
        ([0.5, 0.25, 0.125, 0.125], 0.25, [0, 0, 1, 2]),
        ([0.5, 0.25, 0.125, 0.125], 0.75, [0, 0, 1, 3]),
        ([1.0, 1.0, 1.0, 1.0], 0.0, [0, 1, 2, 3]),
        ([0.0, 6.0, 0.0, 2.0], 0.5, [1, 1, 1, 3]),
        ([0.0, 3.0, 0.0, 1.0], 0.0, [1, 1, 1, 3]),
    ):
        found = answers.systematic(np.array(weights), u)
        expect_close(found, expected, f"the particles drawn by weights {weights}, u = {u}")
