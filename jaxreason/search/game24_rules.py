"""The Game of 24 for ``tree_of_thoughts``: a thought is a move, a state the numbers left.

Here are the puzzles as states, the prompts of proposers and evaluators, the solution test, and the
rules ``GAME24`` and ``GAME24_BOARD``. Yao et al. 2023, section 4.1.
"""

from collections.abc import Sequence

import numpy as np

from jaxreason.search.tree_of_thoughts import Rules, Scores, State, Tree
from jaxreason.tasks import game24


def puzzle(numbers: str | Sequence[int]) -> State:
    """The root of a puzzle.

    Args:
      numbers: such as ``"4 6 8 2"`` or ``(4, 6, 8, 2)``.

    Raises:
      InputError: it is not four integers in 1..13.
    """
    text = numbers if isinstance(numbers, str) else " ".join(map(str, numbers))
    return State(game24.parse_numbers(text))


def numbers_left(state: State) -> tuple[int, ...]:
    """What the last thought says is left, ascending."""
    if not state.thoughts:
        return tuple(sorted(state.problem))
    return game24.parse_line(state.thoughts[-1]).left


# ---- prompts


def moves_prompt(state: State) -> str:
    """The puzzle and the thoughts so far: what the next thought continues."""
    lines = "".join(f"{thought}\n" for thought in state.thoughts)
    return game24.format_puzzle(state.problem) + lines


def moves_value_prompt(state: State) -> str:
    """Asks for the value of the numbers left."""
    return game24.format_value(numbers_left(state))


def left_prompt(state: State) -> str:
    """The numbers left, as a puzzle of its own."""
    return game24.format_puzzle(numbers_left(state))


# ---- an evaluator


def moves_oracle(states: list[State]) -> Scores:
    """The exact value: 1 if every move so far is right and 24 can still be reached, else 0.

    An upper bound, not a method.
    """
    right = [
        all(game24.check_steps(s.problem, "\n".join(s.thoughts)))
        and game24.solvable(numbers_left(s))
        for s in states
    ]
    return Scores(np.array(right, float), np.zeros(len(states), int))


# ---- solution tests and rules


def moves_solved(state: State, text: str) -> bool:
    """Whether the text makes 24 of the numbers left; the test of ``evaluators.rollouts``."""
    return game24.is_solved(numbers_left(state), text)


def _is_move(state: State, thought: str) -> bool:
    move = game24.parse_line(thought)
    return move is not None and len(move.left) == len(numbers_left(state)) - 1


def _is_legal(state: State, thought: str) -> bool:
    return _is_move(state, thought) and all(game24.check_steps(numbers_left(state), thought))


def _has_one_number(state: State) -> bool:
    return len(numbers_left(state)) == 1


def _makes_24(state: State) -> bool:
    answer = f"#### {numbers_left(state)[0]}"
    return game24.is_solved(state.problem, "\n".join([*state.thoughts, answer]))


# A thought has to look like a move. As in the paper, only the solution test asks if it is right.
GAME24 = Rules(accept=_is_move, is_leaf=_has_one_number, identity=numbers_left, is_solved=_makes_24)

# The same on a board that refuses wrong moves, as a chess program makes legal ones only.
GAME24_BOARD = GAME24._replace(accept=_is_legal)


# ---- in words


def verdict(tree: Tree) -> str:
    """One line on how the search of a puzzle ended: its solution, or that none exists, or that none
    was found.
    """
    problem = tree.nodes[0].state.problem
    spent = f"{len(tree.expanded)} states expanded, {tree.tokens} tokens"
    if tree.answer >= 0:
        trace = [game24.parse_line(thought) for thought in tree.nodes[tree.answer].state.thoughts]
        return f"solved: {game24.expression(problem, trace)} = 24 ({spent})"
    if not game24.solvable(tuple(sorted(problem))):
        numbers = " ".join(map(str, problem))
        return f"not solved: {numbers} cannot make 24 in whole numbers ({spent})"
    return f"not solved, though a solution exists ({spent})"
