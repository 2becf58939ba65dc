"""Checks of lesson 01."""

import numpy as np

from jaxreason.course.exercises import expect, expect_close


def check_last_answer(answers):
    for text, number in (
        ("18+29=47\n47-26=21\n#### 21", 21),
        ("80 - 25 = 55, then 55 + 40 = 95 chickens in 3 barns.", 95),
        ("The answer is -5.", -5),
        ("There are 1,234 of them.", 1234),
        ("It costs 7 dollars. So the total is $12,000,000", 12000000),
        ("This 9 is no answer", None),
        ("She buys 3 bags of 7.", None),
        ("", None),
    ):
        found = answers.last_answer(text)
        expect(found == number, f"{text!r} gave {found!r}")


def check_tempered_softmax(answers):
    odds = np.log([[1.0, 2.0, 1.0], [4.0, 1.0, 5.0]])
    for temperature, expected in (
        (1.0, [[0.25, 0.5, 0.25], [0.4, 0.1, 0.5]]),
        (0.5, [[1 / 6, 4 / 6, 1 / 6], [16 / 42, 1 / 42, 25 / 42]]),
        (0.0, [[0, 1, 0], [0, 0, 1]]),
    ):
        found = answers.tempered_softmax(odds.copy(), temperature)
        expect_close(found, expected, f"logits with odds 1:2:1 and 4:1:5 at T = {temperature}")
    with np.errstate(all="ignore"):
        found = answers.tempered_softmax(np.array([[1000.0, 999.0], [0.0, 1.0]]), 1.0)
    expect_close(found, [[0.731059, 0.268941], [0.268941, 0.731059]], "logits [1000, 999], [0, 1]")


def check_top_p(answers):
    probabilities = np.array([0.05, 0.4, 0.15, 0.3, 0.1])
    for p, expected in (
        (0.2, [0, 1, 0, 0, 0]),
        (0.5, [0, 4 / 7, 0, 3 / 7, 0]),
        (0.75, [0, 8 / 17, 3 / 17, 6 / 17, 0]),
        (1.0, probabilities),
    ):
        found = answers.top_p(probabilities.copy(), p)
        expect_close(found, expected, f"{probabilities.tolist()} with p = {p}")


def check_completion_logprob(answers):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(5), size=(2, 4))  # [B, T, V]
    tokens = np.array([[1, 2, 3, 0], [4, 0, 2, 2]])
    mask = np.array([[0, 0, 1, 1], [0, 1, 1, 0]], bool)
    expected = np.log(
        [
            probabilities[0, 1, 3] * probabilities[0, 2, 0],
            probabilities[1, 0, 0] * probabilities[1, 1, 2],
        ]
    )
    for shift, of in ((0.0, "two texts"), (3.0, "the same texts, with 3 added to all logits")):
        found = answers.completion_logprob(np.log(probabilities) + shift, tokens, mask)
        expect_close(found, expected, f"the log-probabilities of {of}")


def check_twelve_operations(answers):
    expect(answers.TWELVE_OPERATIONS is not None, "no prediction yet")
    expect(
        abs(answers.TWELVE_OPERATIONS - 0.75**2) <= 0.03,
        f"{answers.TWELVE_OPERATIONS} is not it: cut the twelve lines into two halves",
    )
