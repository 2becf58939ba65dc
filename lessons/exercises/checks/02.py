"""Checks of lesson 02."""

import numpy as np

from jaxreason.course.exercises import expect, expect_close


def check_majority(answers):
    for votes, winner in (
        (["7", "8", "8"], "8"),
        (["7", "8", "8", "7"], "7"),
        (["8", None, None, None], "8"),
        (["3", "5", "5", "3", "3"], "3"),
        ([None, None], None),
    ):
        found = answers.majority(list(votes))
        expect(found == winner, f"the vote of {votes} gave {found!r}")


def check_weighted_vote(answers):
    logprobs = np.log([[0.9, 0.9, 0.9], [0.2, 0.2, 0.5], [0.3, 0.3, 0.5], [0.9, 0.5, 0.5]])
    mask = np.array([[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 0, 0]], bool)
    for votes, winner, why in (
        (["1", "2", "2", None], "1", "two improbable chains weigh less than a probable one"),
        (["1", "2", "1", "2"], "1", "0.9 + 0.3 against 0.2 + 0.9, if only the chain counts"),
        ([None, "2", "2", "3"], "3", "a chain with no answer casts no vote"),
    ):
        found = answers.weighted_vote(list(votes), logprobs.copy(), mask.copy())
        expect(found == winner, f"answers {votes} gave {found!r}: {why}")
    behind = np.where(mask, logprobs, 5.0)  # whatever stands behind the end
    found = answers.weighted_vote(["1", "2", "1", "2"], behind, mask.copy())
    expect(found == "1", f"with other numbers behind the end of the chains it gave {found!r}")
    long = np.full((3, 9), np.log(0.7))
    of_long = np.array([[1] * 9, [1] + [0] * 8, [1] + [0] * 8], bool)
    long[1:] = np.log(0.3)
    found = answers.weighted_vote(["long", "short", "short"], long, of_long)
    expect(found == "long", f"nine tokens at 0.7 against two chains of one at 0.3 gave {found!r}")


def check_accuracy_of_votes(answers):
    ids = np.array([[0, 0, 1, 1, 1, 1], [0, 1, 2, 2, 2, -1]])
    gold = np.array([1, 2])
    for n, expected in (
        (1, [4 / 6, 3 / 6]),
        (2, [2 / 3, 2 / 3]),
        (3, [0.5, 0.5]),
        (6, [1.0, 1.0]),
    ):
        found = answers.accuracy_of_votes(ids.copy(), gold.copy(), n)
        expect_close(found, expected, f"votes of {n} among {ids.tolist()}, golds {gold.tolist()}")
    found = answers.accuracy_of_votes(np.array([[-1, -1, 0]]), np.array([0]), 3)
    expect_close(found, [1.0], "the vote of [-1, -1, 0], gold 0")


def check_plurality(answers):
    expect(answers.PLURALITY is not None, "no prediction yet")
    right = _share_right([0.2, 0.2, 0.2])
    expect(
        abs(answers.PLURALITY - right) <= 0.03,
        f"{answers.PLURALITY} is not it: who has to be beaten, all wrong chains together?",
    )


def check_wrong_answers(answers):
    expect(answers.WRONG_ANSWERS is not None, "no probabilities yet")
    wrong = np.asarray(answers.WRONG_ANSWERS, float)
    expect(
        wrong.ndim == 1 and (wrong >= 0).all() and abs(wrong.sum() - 0.6) < 1e-6,
        f"{wrong.tolist()} are no probabilities that sum to 0.6",
    )
    right = _share_right(wrong)
    expect(right < 0.4, f"with {wrong.tolist()} the vote is right {right:.0%} of the time")


def check_least_sure_group(answers):
    confidence = np.array([[4.0, 2.0, 9.0, 1.0, 1.0], [3.0, 5.0, 4.0, 0.0, 0.0]])
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)
    for window, expected in ((1, [1, 3]), (2, [1, 4]), (3, [11 / 3, 4])):
        found = answers.least_sure_group(confidence.copy(), mask.copy(), window)
        of = f"groups of {window} in {confidence.tolist()}, chain 1 has three tokens"
        expect_close(found, expected, of)


def check_acceptance(answers):
    now, new = np.log([0.5, 0.4]), np.log([0.5, 0.6])
    flat = np.log([0.5, 0.5])
    longer = np.log([0.5, 0.6, 0.9])
    for logs, alpha, expected, why in (
        ((now, flat, new, flat), 2.0, 1.0, "a likelier candidate is always accepted"),
        ((new, flat, now, flat), 2.0, (0.4 / 0.6) ** 2, "p falls from 0.30 to 0.20"),
        ((new, new, now, now), 1.0, 1.0, "the proposal is the model, and alpha 1"),
        ((new, new, now, now), 3.0, (0.4 / 0.6) ** 2, "the proposal is the model, and alpha 3"),
        ((longer, longer, new, new), 1.0, 1.0, "the candidate is shorter by a token"),
        ((new, new, longer, longer), 1.0, 2 / 3, "the candidate is longer by a token"),
    ):
        found = answers.acceptance(*(x.copy() for x in logs), alpha)
        expect_close(found, expected, f"acceptance: {why}")


def _share_right(wrong, num_chains=65, trials=20_000):
    """How often the vote is right, by simulation; a tie goes to a random one of the tied."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(num_chains, [0.4, *wrong], size=trials)
    return ((counts + rng.random(counts.shape)).argmax(1) == 0).mean()
