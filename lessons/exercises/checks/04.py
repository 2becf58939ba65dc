"""Checks of lesson 04."""

import re

import numpy as np

from jaxreason.course.exercises import expect, expect_close
from jaxreason.tasks import arithmetic


def check_labels(answers):
    rollouts = [["7", "7", "8", None], ["8", "8", "8", "7"], [None, "8", "9", "8"]]
    found = answers.labels([list(row) for row in rollouts], "7")
    expect(
        isinstance(found, tuple) and len(found) == 2, f"expected two arrays, soft and hard: {found}"
    )
    expect_close(found[0], [0.5, 0.25, 0.0], f"the soft labels of {rollouts}, gold 7")
    expect_close(found[1], [1.0, 1.0, 0.0], f"the hard labels of {rollouts}, gold 7")


def check_loss(answers):
    logits = np.array([[0.0, 2.0, -1.0], [3.0, 0.5, 9.0]])
    targets = np.array([[1.0, 1.0, 0.0], [0.0, np.nan, np.nan]])
    p = 1 / (1 + np.exp(-logits))
    losses = [-np.log(p[0, 0]), -np.log(p[0, 1]), -np.log(1 - p[0, 2]), -np.log(1 - p[1, 0])]
    of = f"logits {logits.tolist()}, targets {targets.tolist()}"
    expect_close(answers.loss(logits.copy(), targets.copy()), np.mean(losses), of)
    other = np.where(np.isnan(targets), -50.0, logits)
    found = answers.loss(other, targets.copy())
    expect_close(found, np.mean(losses), "other logits where there is no target")
    soft = answers.loss(np.array([[1.0]]), np.array([[0.25]]))
    q = 1 / (1 + np.exp(-1.0))
    expect_close(soft, -0.25 * np.log(q) - 0.75 * np.log(1 - q), "logit 1, target 0.25")
    for logit, target, value in ((1000.0, 1.0, 0.0), (1000.0, 0.0, 1000.0), (-1000.0, 1.0, 1000.0)):
        found = answers.loss(np.array([[logit]]), np.array([[target]]))
        expect_close(found, value, f"logit {logit:.0f}, target {target:.0f}")


def check_first_error(answers):
    nan = np.nan
    scores = np.array(
        [[0.9, 0.4, 0.8, 0.1], [0.9, 0.8, nan, nan], [0.2, nan, nan, nan], [0.5, 0.5, 0.5, 0.49]]
    )
    found = answers.first_error(scores.copy())
    expect_close(found, [1, -1, 0, 3], f"the first errors of {scores.tolist()}")


def check_missed(answers):
    expect(answers.MISSED is not None, "no prediction yet")
    expect(
        abs(answers.MISSED - 0.8**4) <= 0.02,
        f"{answers.MISSED} is not it: what has to happen for the label to be 0?",
    )


def check_lucky(answers):
    expect(answers.LUCKY is not None, "no solution yet")
    lines = answers.LUCKY.strip().split("\n")
    expect(lines[-1] == "#### 40", f"the last line is {lines[-1]!r}: expected '#### 40'")
    expect(len(lines) > 1, "there is no line of reasoning")
    for line in lines[:-1]:
        is_equation = re.fullmatch(r"-?\d+[-+*/]-?\d+=-?\d+", line)
        expect(is_equation is not None, f"{line!r} is no line such as 45-12=33")
    terms = (arithmetic.Term(-1, 12), arithmetic.Term(1, 7))
    problem = arithmetic.Problem(question="", start=45, terms=terms)
    verdicts = arithmetic.check_steps(problem, answers.LUCKY)
    expect(not all(verdicts), "the exact checker accepts every line of it: where is the slip?")
