"""Checks of lessons 08, 08b and 08c."""

import numpy as np

from jaxreason.course.exercises import expect, expect_close

# As in the exercises.
RATIOS = [1.0, 1.3, 1.3, 0.7, 0.7, 1.1]
ADVANTAGES = [1.0, 1.0, -1.0, 1.0, -1.0, -1.0]
GOLD = "7"


def check_group_advantages(answers):
    rewards = np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    expected = [[3**0.5, -(3**-0.5), -(3**-0.5), -(3**-0.5)], [1, -1, 1, -1]]
    found = answers.group_advantages(rewards.copy())
    expect_close(found, expected, f"the advantages of {rewards.tolist()}", atol=1e-3)
    equal = np.array([[0.7, 0.7, 0.7], [0.0, 0.0, 0.0]])  # the mean of equal numbers is rounded
    found = answers.group_advantages(equal.copy())
    expect_close(found, np.zeros((2, 3)), f"the advantages of equal rewards {equal.tolist()}")
    shifted = answers.group_advantages(10 * rewards - 3)
    expect_close(shifted, expected, "the advantages of rewards 7 and -3", atol=1e-3)


def check_clipped_loss(answers):
    old = np.log(np.full((2, 3), 0.5))
    mask = np.array([[1, 1, 1], [1, 0, 0]], bool)
    new = np.log([[0.5, 0.8, 0.25], [0.4, 0.9, 0.9]])  # ratios 1, 1.6, 0.5 and 0.8

    def loss(logprobs, advantages, reference=old, beta=0.0, clip=0.2):
        given = (logprobs.copy(), old.copy(), reference.copy(), np.array(advantages), mask.copy())
        return answers.clipped_loss(*given, clip, beta)

    first = loss(old, [1.0, -2.0])
    expect_close(first, 0.5, "at the first update, advantages 1 and -2")
    rising = loss(new, [1.0, 1.0])
    expect_close(rising, -((1 + 1.2 + 0.5) / 3 + 0.8) / 2, "ratios 1, 1.6, 0.5 | 0.8, advantages 1")
    falling = loss(new, [-1.0, -1.0])
    expect_close(falling, ((1 + 1.6 + 0.8) / 3 + 0.8) / 2, "the same ratios, advantages -1")
    kl = np.array([0, 0.5 / 0.8 - np.log(0.5 / 0.8) - 1, 2 - np.log(2) - 1])
    with_kl = (kl.mean() + 0.5 / 0.4 - np.log(0.5 / 0.4) - 1) / 2
    found = loss(new, [0.0, 0.0], beta=1.0)
    expect_close(found, with_kl, "advantages 0, beta 1: the KL term alone")
    behind = np.where(mask, new, 50.0)
    expect_close(loss(behind, [1.0, 1.0]), rising, "with other numbers behind the end of a chain")


def check_leave_one_out(answers):
    for rewards, expected in (
        ([[1.0, 0.0, 0.0, 0.0]], [[1, -1 / 3, -1 / 3, -1 / 3]]),
        ([[1.0, 0.0], [2.0, 2.0], [0.0, 4.0]], [[1, -1], [0, 0], [-4, 4]]),
    ):
        found = answers.leave_one_out(np.array(rewards))
        expect_close(found, expected, f"rewards {rewards}")


def check_clipped_tokens(answers):
    expect(answers.CLIPPED_TOKENS is not None, "no prediction yet")
    found, zero = set(answers.CLIPPED_TOKENS), set()
    for i, (ratio, advantage) in enumerate(zip(RATIOS, ADVANTAGES, strict=True)):
        step = 1e-6  # the slope of min(ratio A, clip(ratio) A)
        gains = [
            min(r * advantage, min(max(r, 0.8), 1.2) * advantage) for r in (ratio - step, ratio)
        ]
        if gains[0] == gains[1]:
            zero.add(i)
    expect(not found - zero, f"a gradient flows through {sorted(found - zero)}")
    expect(found == zero, f"{len(zero - found)} tokens are missing from {sorted(found)}")


def check_cheat(answers):
    expect(answers.CHEAT is not None, "no chain yet")
    lines = answers.CHEAT.strip().split("\n")
    said = lines[-1].removeprefix("#### ")
    expect(
        len(lines) <= 3 and lines[-1].startswith("#### ") and said.removeprefix("-").isdecimal(),
        f"{answers.CHEAT!r} is not of the form that is asked for",
    )
    expect(GOLD in answers.CHEAT, f"the careless reward does not find {GOLD}")
    expect(int(said) != int(GOLD), "that chain is right: nobody is cheated")


def check_vote_reward(answers):
    for said, expected in (
        ([7, 5, 7, 3], [1, 0, 1, 0]),
        ([5, 7, 7, 5], [1, 0, 0, 1]),
        ([3, 9, 9, 3, 9], [0, 1, 1, 0, 1]),
        ([None, None, 4, None], [0, 0, 1, 0]),
        ([None, None], [0, 0]),
        ([0, 0, 1], [1, 1, 0]),
    ):
        found = answers.vote_reward(list(said))
        expect_close(found, expected, f"the answers {said}")
