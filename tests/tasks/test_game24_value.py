"""Values that are thought through: the chain against the exact solver, and what training may show."""

import itertools

import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.tasks import game24
from jaxreason.tasks.game24_value import made, needed, value_chain, value_example


def test_a_chain_by_hand():
    assert value_chain((12, 4, 8)) == "4: 20 28 96 6, 8 12: 20\nsure"
    assert value_chain((1, 41)) == "1 41: 42 40 41\nimpossible"
    assert value_chain((10, 14)) == "10 14: 24\nsure"
    assert (
        value_chain((1, 1, 1)) == "1: 23 25 24, 1 1: 2 0 1\nimpossible"
    )  # equal numbers are tried once


def test_what_is_needed_beside_a_number_is_what_the_solver_accepts():
    for number in range(200):
        accepted = [n for n in range(1000) if game24.solvable(tuple(sorted((n, number))))]
        assert sorted(needed(number)) == accepted


def test_what_is_made_of_two_numbers_is_what_moves_make():
    for a, b in itertools.combinations_with_replacement(range(30), 2):
        assert sorted(made(a, b)) == sorted({move.result for move in game24.moves((a, b))})


@pytest.mark.parametrize("size, most", [(2, 80), (3, 30)])
def test_the_last_line_is_what_the_solver_says(size, most):
    for state in itertools.combinations_with_replacement(range(most), size):
        assert (value_chain(state).split("\n")[-1] == "sure") == game24.solvable(state)


def test_only_two_or_three_numbers_have_a_chain():
    with pytest.raises(InputError, match="state '1 2 3 4': expected two or three numbers"):
        value_chain((1, 2, 3, 4))


def test_training_shows_no_unseen_state_and_both_words_alike():
    rng = np.random.default_rng(0)
    examples = [value_example(rng) for _ in range(1000)]
    states = [tuple(map(int, e.prompt.removeprefix("Value: ").split())) for e in examples]
    assert {game24.substate_split(s) for s in states} == {"seen"}
    assert {len(s) for s in states} == {2, 3}
    sure = np.mean([e.completion.endswith("sure") for e in examples])
    assert abs(sure - 0.5) < 4 * 0.5 / np.sqrt(1000)
