"""Chains under a budget, against a loop over them."""

import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.evaluation.compute_optimal import paid_for, until_solved

RNG = np.random.default_rng(0)
SOLVED = RNG.random((40, 6)) < 0.25
TOKENS = RNG.integers(5, 60, (40, 6))


def test_chains_end_at_the_first_that_is_right():
    assert not SOLVED.any(1).all()  # some problems are never solved, and spend everything
    solved, tokens = until_solved(SOLVED, TOKENS)
    for g in range(40):
        spent = 0
        for is_right, cost in zip(SOLVED[g], TOKENS[g], strict=True):
            spent += cost
            if is_right:
                break
        assert (solved[g], tokens[g]) == (SOLVED[g].any(), spent)


def test_a_budget_pays_for_chains_one_after_another():
    budget = RNG.integers(0, 200, 40)
    paid = paid_for(TOKENS, budget)
    for g in range(40):
        for n in range(6):
            assert paid[g, n] == (n == 0 or TOKENS[g, : n + 1].sum() <= budget[g])
    assert (paid_for(TOKENS, TOKENS.sum(1)).all(), paid_for(TOKENS, np.zeros(40)).sum()) == (
        True,
        40,
    )


@pytest.mark.parametrize(
    ("function", "first", "second"),
    [
        (until_solved, SOLVED, TOKENS[:, :5]),
        (until_solved, SOLVED[0], TOKENS[0]),
        (until_solved, SOLVED[:, :0], TOKENS[:, :0]),
        (paid_for, TOKENS, np.zeros(6)),
        (paid_for, TOKENS[0], np.zeros(40)),
    ],
)
def test_other_shapes_are_refused(function, first, second):
    with pytest.raises(InputError, match="shape"):
        function(first, second)
