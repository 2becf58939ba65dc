"""Checks of lesson 07."""

import numpy as np

from jaxreason.course.exercises import expect, expect_close


def check_think(answers):
    def model(words):
        """Thinks two words, then ends; behind the end two words of an answer."""
        if "####" in words:
            behind = len(words) - words.index("####") - 1
            return ("2", "4", "<eos>")[min(behind, 2)]
        since = len(words) - max((i + 1 for i, w in enumerate(words) if w == "Wait"), default=0)
        return ("a", "b", "####")[min(since, 2)]

    for waits, at_most, max_tokens, expected in (
        (0, None, 50, "a b #### 2 4"),
        (1, None, 50, "a b Wait a b #### 2 4"),
        (2, None, 50, "a b Wait a b Wait a b #### 2 4"),
        (0, 1, 50, "a #### 2 4"),
        (0, 0, 50, "#### 2 4"),
        (0, 2, 50, "a b #### 2 4"),
        (0, 3, 50, "a b #### 2 4"),
        (3, 4, 50, "a b Wait a #### 2 4"),
        (3, 3, 50, "a b Wait #### 2 4"),
        (9, 2, 50, "a b #### 2 4"),
        (1, None, 4, "a b Wait a"),
    ):
        found = answers.think(model, waits, at_most, max_tokens)
        told = f"waits {waits}, at_most {at_most}, max_tokens {max_tokens}"
        expect(found is not None, f"{told}: got None; is there a return?")
        expect(list(found) == expected.split(), f"{told}: the chain is {' '.join(found)!r}")


def check_equal_tokens(answers):
    right = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    for budget, expected in (
        (10.0, [1 / 4, 1 / 2, 0, 1]),
        (20.0, [1 / 2, 5 / 6, 0, 1]),
        (25.0, [5 / 8, 11 / 12, 0, 1]),
        (40.0, [1, 1, 0, 1]),
        (3.0, [1 / 4, 1 / 2, 0, 1]),
        (500.0, [1, 1, 0, 1]),
    ):
        found = answers.equal_tokens(right.copy(), 10.0, budget)
        expect_close(found, expected, f"tries {right.astype(int).tolist()}, budget {budget:.0f}")


def check_allocate(answers):
    drawn = [["7"] * 4, ["7", "7", "7", "9"], ["7", "9", "9", "7"], ["1", "2", "3", "4"]]
    for factor, least, most, expected in (
        (7.0, 4, 16, [4, 7, 8, 13]),
        (7.0, 0, 8, [0, 3, 4, 8]),
        (0.0, 4, 16, [4, 4, 4, 4]),
    ):
        found = answers.allocate([list(row) for row in drawn], factor, least, most)
        of = f"answers {drawn}, factor {factor:.0f}, least {least}, most {most}"
        expect_close(found, expected, of)


def check_nine_tries(answers):
    expect(answers.NINE_TRIES is not None, "no prediction yet")
    expect(
        abs(answers.NINE_TRIES - (1 - 0.83**9)) <= 0.02,
        f"{answers.NINE_TRIES} is not it: what has to happen for none to solve it?",
    )


def check_next(answers):
    expect(answers.NEXT is not None, "no model yet")
    missing = {"start", "Wait"} - set(answers.NEXT)
    expect(not missing, f"keys are missing: {sorted(missing)}")

    def ends(word, waits):
        for _ in range(1000 if waits else 10):
            word = answers.NEXT.get(word, "####")
            if word == "####":
                if not waits:
                    return True
                word, waits = "Wait", waits - 1
        return False

    expect(ends("start", 0), "without a wait the chain does not end within ten words")
    expect(not ends("start", 1), "with a wait the chain still ends")
