"""Checks of lessons 03, 03b and 03c."""

import numpy as np

from jaxreason.course.exercises import expect, expect_close

TREE = {
    "": ["a", "b", "c"],
    "a": ["ab", "ac"],
    "b": ["ab", "bc", "bd"],
    "c": ["ac", "cd"],
    "ac": ["acd"],
    "bd": ["bda", "bdc"],
}
VALUES = {"a": 0.6, "b": 0.4, "c": 0.5, "ab": 0.2, "ac": 0.5, "bc": 0.1, "bd": 0.9, "cd": 0.5}


def _children(state):
    return list(TREE.get(state, []))


def _value(state):
    return VALUES.get(state, 0.0)


def check_next_level(answers):
    for level, beam, expected in (
        ([""], 2, ["a", "c"]),
        ([""], 9, ["a", "c", "b"]),
        (["a", "c"], 2, ["ac", "cd"]),
        (["a", "b"], 1, ["bd"]),
        (["c", "a", "b"], 4, ["bd", "ac", "cd", "ab"]),
        (["ab"], 3, []),
    ):
        found = answers.next_level(list(level), _children, _value, beam)
        expect(
            found == expected,
            f"from {level} with a beam of {beam} it keeps {found}: look at {TREE}",
        )


def check_depth_first(answers):
    for solutions, threshold, expected, order in (
        ({"a"}, 0.45, ["", "a"], [""]),
        ({"cd"}, 0.45, ["", "c", "cd"], ["", "a", "ac", "c"]),
        ({"cd"}, 0.0, ["", "c", "cd"], ["", "a", "ac", "c"]),  # before b, which scores less
        ({"acd"}, 0.45, ["", "a", "ac", "acd"], ["", "a", "ac"]),
        ({"bda"}, 0.45, None, None),  # below b, which scores 0.4
        ({"bda"}, 0.39, ["", "b", "bd", "bda"], None),
        ({"bda"}, 0.4, None, None),  # at the threshold
        ({"cd"}, 0.5, None, ["", "a"]),
        ({"bc"}, 0.0, ["", "b", "bc"], None),
    ):
        visited = []

        def children(state, visited=visited):
            visited.append(state)
            return _children(state)

        found = answers.depth_first(
            "", children, _value, lambda s, all=solutions: s in all, threshold
        )
        case = f"solution {min(solutions)!r}, threshold {threshold}"
        expect(found == expected, f"{case}: the path is {found}; the tree is {TREE}")
        visited = [state for state in visited if state in TREE]
        wanted = order and [state for state in order if state in TREE]
        expect(wanted in (None, visited), f"{case}: it looked behind {visited}, in this order")


def check_chains_within(answers):
    solved = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]], bool)
    num_tokens = np.array([[10, 20, 30], [10, 20, 30], [10, 20, 30], [1, 1, 1], [30, 10, 10]])
    for budget, expected in (
        ([60, 30, 10, 9, 39], [1, 1, 1, 0, 0]),
        ([59, 29, 3, 0, 40], [0, 0, 1, 0, 1]),
        ([0, 0, 0, 0, 10], [0, 0, 1, 0, 0]),
    ):
        found = answers.chains_within(solved.copy(), num_tokens.copy(), np.array(budget))
        case = (
            f"solved {solved.astype(int).tolist()}, tokens {num_tokens.tolist()}, budget {budget}"
        )
        expect_close(found, np.array(expected, bool), case)


def check_expanded(answers):
    expect(answers.EXPANDED is not None, "no prediction yet")
    breadth, depth = answers.EXPANDED
    expect(breadth == 11, f"breadth first does not expand {breadth}: which levels are expanded?")
    expect(depth == 3, f"depth first does not expand {depth}: is the last state expanded too?")


def check_misleading(answers):
    expect(answers.MISLEADING is not None, "no values yet")
    values = dict(answers.MISLEADING)
    expect(
        sorted(values) == ["a", "a1", "a2", "b", "b1", "b2"]
        and all(0 <= v <= 1 for v in values.values()),
        f"{values} are no values between 0 and 1 of a, b, a1, a2, b1 and b2",
    )
    expect(values["a"] > values["b"], "a beam of 1 keeps b, or may keep it, and then sees b2")
    expect(
        values["b"] > 0.3,
        f"depth-first search prunes b, which scores {values['b']}: it is not found",
    )
