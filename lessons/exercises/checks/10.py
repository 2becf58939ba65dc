"""Checks of lessons 10 and 10b."""

import numpy as np

from jaxreason.course.exercises import expect, expect_close


def check_chain_flops(answers):
    for prompt, lengths, tokens, contexts in (
        (1, [1], 1, 1),
        (3, [1], 3, 6),
        (2, [3], 4, 3 + 3 + 4),
        (2, [3, 1, 2], 5, 3 + 3 + 4 + 3),
    ):
        asked = f"a prompt of {prompt}, chains of {lengths}"
        found = answers.chain_flops(100, 0, 8, prompt, list(lengths))
        expect_close(found, 200 * tokens, f"{asked}, 100 weights, no attention")
        found = answers.chain_flops(0, 3, 8, prompt, list(lengths))
        expect_close(
            found, 4 * 3 * 8 * contexts, f"{asked}, attention of 3 layers of width 8 alone"
        )


def check_pareto_front(answers):
    for cost, right, expected in (
        ([1, 2, 3], [0.5, 0.7, 0.6], [1, 1, 0]),
        ([3, 1, 2], [0.9, 0.4, 0.9], [1, 1, 1]),
        ([2, 2, 1], [0.8, 0.7, 0.6], [1, 0, 1]),
        ([5, 4, 3, 2], [0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1]),
    ):
        found = answers.pareto_front(np.array(cost), np.array(right))
        expect_close(found, np.array(expected, bool), f"costs {cost}, right {right}")


def check_best_plan(answers):
    solved = np.array([[0.4, 0.1], [0.45, 0.3]])
    cost = np.array([[1.0, 1.0], [4.0, 5.0]])
    for budget, expected in ((1, None), (2, [0, 0]), (5, [1, 0]), (6, [0, 1]), (9, [1, 1])):
        found = answers.best_plan(solved.copy(), cost.copy(), budget)
        found = None if found is None else [int(method) for method in found]
        expect(found == expected, f"{solved.tolist()} at {cost.tolist()} for {budget}: got {found}")
    equal = np.array([[0.5, 0.5], [0.5, 0.5]])
    found = answers.best_plan(equal, np.array([[3.0, 1.0], [1.0, 3.0]]), 9)
    expect(list(found) == [1, 0], f"all solve equally many: {list(found)} is not the cheapest plan")


def check_num_chains(answers):
    expect(answers.NUM_CHAINS is not None, "no prediction yet")
    n = answers.NUM_CHAINS
    expect(n == int(n), f"{n} is no whole number")
    large, small = 13 * (60 + 35), 3 * (60 + 35 * n)
    expect(small <= large, f"{n} chains and their reading cost {small}, the large model {large}")
    expect(small + 3 * 35 > large, f"{n} chains cost {small} of {large}: one more fits")


def check_splits(answers):
    expect(answers.SPLITS is not None, "no shares yet")
    validation, test = np.array(answers.SPLITS, float)
    expect(validation.shape == (2, 2), f"got {validation.shape}, expected two methods and two bins")
    allowed = (np.array([validation, test]) >= 0).all() and (
        np.array([validation, test]) <= 0.5
    ).all()
    expect(allowed, "a share is not between 0 and 0.5")
    expect(np.abs(validation - test).max() <= 0.1 + 1e-9, "a share differs by more than 0.1")
    by_bin, alone = validation.argmax(0), validation.sum(1).argmax()
    gain = validation.max(0).sum() - validation.sum(1).max()
    expect(gain > 1e-9, "on validation the choice by bin is no better than one method")
    on_test = test[by_bin, [0, 1]].sum()
    expect(on_test < test[alone].sum() - 1e-9, f"on the test the choice by bin has {on_test:.2f}")
