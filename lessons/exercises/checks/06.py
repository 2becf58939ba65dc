"""Checks of lessons 06, 06b and 06c."""

import numpy as np

from jaxreason.course.exercises import expect, expect_close


def check_puct_scores(answers):
    for q, prior, visits, c, expected in (
        ([0.5, 0.2], [0.5, 0.5], [1, 2], 1.0, [0.5 + 0.5, 0.2 + 1 / 3]),
        ([9.0, -9.0], [0.75, 0.25], [0, 0], 2.0, [1.5, 0.5]),
        ([0.5, 9.0, 9.0], [0.5, 0.5, 0.0], [8, 0, 0], 1.0, [0.5 + 1.5 / 9, 1.5, -np.inf]),
    ):
        found = answers.puct_scores(np.array(q), np.array(prior), np.array(visits), c)
        case = f"q {q}, prior {prior}, visits {visits}, c {c}"
        expect_close(found, expected, case)


def check_back_up(answers):
    visits, values = np.array([3, 2, 0, 1]), np.array([0.5, 0.2, 0.0, 0.9])
    rewards, discounts = np.array([9.0, 0.0, 0.4, 0.0]), np.array([9.0, 0.5, 1.0, 1.0])
    before = visits.copy(), values.copy()
    new_visits, new_values = answers.back_up(visits, values, rewards, discounts, [0, 1, 2], 0.6)
    case = "path [0, 1, 2] of values [0.5, 0.2, 0, 0.9] and visits [3, 2, 0, 1], return 0.6"
    expect_close(new_visits, [4, 3, 1, 1], f"visits after {case}")
    # The return is 0.6 at node 2, 0.4 + 0.6 at node 1, and half of that at the root.
    expect_close(new_values, [0.5, 0.2 + 0.8 / 3, 0.6, 0.9], f"values after {case}")
    unchanged = (visits == before[0]).all() and (values == before[1]).all()
    expect(bool(unchanged), "it changed the arrays that it was given: copy them first")


def check_bandit(answers):
    for returns, n, c, expected in (
        ([0.5, 0.5], 10, 1.25, [5, 5]),
        ([0.0, 1.0], 64, 1.25, [_visits_of_worse(64), 64 - _visits_of_worse(64)]),
        ([0.2, 0.9, 0.4], 1, 1.25, [1, 0, 0]),
        ([0.2, 0.9, 0.4], 3, 30.0, [1, 1, 1]),
        ([0.2, 0.9, 0.4], 30, 1.25, _bandit([0.2, 0.9, 0.4], 30, 1.25)),
    ):
        found = answers.bandit(np.array(returns), n, c)
        expect_close(found, expected, f"visits of returns {returns} after {n}, c {c}")


def check_worse(answers):
    expect(answers.WORSE is not None, "no prediction yet")
    right = _visits_of_worse(64)
    expect(
        abs(answers.WORSE - right) <= 2,
        f"{answers.WORSE} is not it: when does its bonus outweigh a whole point of Q?",
    )


def check_exploration(answers):
    expect(answers.EXPLORATION is not None, "no constant yet")
    c = float(answers.EXPLORATION)
    expect(c > 0, f"{c} is not above 0")
    reached = _reaches_best(c)
    expect(not reached, f"with c = {c} the best leaf is reached in simulation {reached}")


def _bandit(returns, num_simulations, c):
    visits, total = [0] * len(returns), 0
    for _ in range(num_simulations):
        root = np.sqrt(total + 1) * c / len(returns)
        scores = [(r if n else 0.0) + root / (1 + n) for r, n in zip(returns, visits, strict=True)]
        visits[int(np.argmax(scores))] += 1
        total += 1
    return visits


def _visits_of_worse(num_simulations):
    return _bandit([0.0, 1.0], num_simulations, 1.25)[0]


def _reaches_best(c):
    """The first of 64 simulations in the tree of lesson 06 that reaches its best leaf, or 0."""
    leaves = {(0, 0, 0): 0.3, (0, 0, 1): 0.2, (0, 1, 0): 0.1, (1, 0, 0): 0.2, (1, 0, 1): 1.0}
    leaves[1, 1, 0] = 0.1
    value = {(): 0.5, (0,): 0.5, (0, 0): 0.5, (0, 1): 0.5}  # 0.2 on the other side
    visits, total = {(): 1}, {(): 0.5}  # path -> N, and the sum of its returns
    for i in range(1, 65):
        path = ()
        while len(path) < 3 and path in visits:
            seen = {a: visits.get((*path, a), 0) for a in (0, 1)}
            bonus = c * 0.5 * np.sqrt(visits[path])
            scores = [
                (total[*path, a] / seen[a] if seen[a] else 0.0) + bonus / (1 + seen[a])
                for a in (0, 1)
            ]
            path = (*path, int(np.argmax(scores)))
        found = leaves.get(path, 0.0) if len(path) == 3 else value.get(path, 0.2)
        for depth in range(len(path) + 1):
            visits[path[:depth]] = visits.get(path[:depth], 0) + 1
            total[path[:depth]] = total.get(path[:depth], 0.0) + found
        if path == (1, 0, 1):
            return i
    return 0
