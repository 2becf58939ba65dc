"""The Game of 24 as a tree of thoughts: a thought is a move, a state the numbers left."""

from collections.abc import Sequence

import numpy as np

from jaxreason.search.tree_of_thoughts import Rules, State, Tree
from jaxreason.tasks import game24


def puzzle(numbers: str | Sequence[int]) -> State:
    """The root of a puzzle.

    Raises:
      InputError: it is not four integers in 1..13.
    """
    return State(
        game24.parse_numbers(numbers if isinstance(numbers, str) else " ".join(map(str, numbers)))
    )


def numbers_left(state: State) -> tuple[int, ...]:
    """What the last thought says is left, ascending."""
    return (
        game24.parse_line(state.thoughts[-1]).left
        if state.thoughts
        else tuple(sorted(state.problem))
    )


def moves_prompt(state: State) -> str:
    """The puzzle and the thoughts so far."""
    return game24.format_puzzle(state.problem) + "".join(
        f"{thought}\n" for thought in state.thoughts
    )


def moves_value_prompt(state: State) -> str:
    """Asks for the value of the numbers left."""
    return game24.format_value(numbers_left(state))


def left_prompt(state: State) -> str:
    """The numbers left, as a puzzle of its own."""
    return game24.format_puzzle(numbers_left(state))


def moves_solved(state: State, text: str) -> bool:
    """Whether the text makes 24 of the numbers left."""
    return game24.is_solved(numbers_left(state), text)


def moves_oracle(states: list[State]) -> tuple[np.ndarray, np.ndarray]:
    """The exact value: can 24 still be reached, every move so far being right? An upper bound, not
    a method.
    """
    right = [
        all(game24.check_steps(s.problem, "\n".join(s.thoughts)))
        and game24.solvable(numbers_left(s))
        for s in states
    ]
    return np.array(right, float), np.zeros(len(states), int)


def _is_move(state: State, thought: str) -> bool:
    move = game24.parse_line(thought)
    return move is not None and len(move.left) == len(numbers_left(state)) - 1


def _makes_24(state: State) -> bool:
    return game24.is_solved(
        state.problem, "\n".join([*state.thoughts, f"#### {numbers_left(state)[0]}"])
    )


def _is_legal(state: State, thought: str) -> bool:
    return _is_move(state, thought) and all(game24.check_steps(numbers_left(state), thought))


# A thought has to look like a move; whether it is a right one only the solution test asks, as in
# the paper.
GAME24 = Rules(_is_move, lambda s: len(numbers_left(s)) == 1, numbers_left, _makes_24)

# The same on a board that refuses wrong moves, as a chess program makes legal ones only.
GAME24_BOARD = GAME24._replace(accept=_is_legal)


def verdict(tree: Tree) -> str:
    """One line on how the search of a puzzle ended: its solution, or that there is none to be
    found, or none was found.
    """
    problem = tree.nodes[0].state.problem
    spent = f"{len(tree.expanded)} states expanded, {tree.tokens} tokens"
    if tree.answer >= 0:
        trace = [game24.parse_line(thought) for thought in tree.nodes[tree.answer].state.thoughts]
        return f"solved: {game24.expression(problem, trace)} = 24 ({spent})"
    if not game24.solvable(tuple(sorted(problem))):
        return (
            f"not solved: {' '.join(map(str, problem))} cannot make 24 in whole numbers ({spent})"
        )
    return f"not solved, though a solution exists ({spent})"
