"""Game of 24: its moves, an exact solver, its text and an exact step checker.

A state is the ascending tuple of the numbers that are left. A move takes two of them and puts one
back: a+b, a-b (a >= b), a*b or a/b (b > 0, no remainder), every result in 0..999. So 3 3 8 8, which
needs a fraction, counts as unsolvable; of the 1,820 puzzles (four numbers in 1..13) 1,346 are
solvable, with fractions 1,362. What a model reads and writes (the caller appends the end-of-text
token):

    24: 4 6 8 2             the prompt of a puzzle
    8-6=2 left 2 2 4        a thought: the move, then what is left, ascending
    2*2=4 left 4 4
    4+4=8 left 8
    #### 8                  the number left at the end: a failed attempt is visible in the text

    Value: 4 8 12           the prompt of a value, answered by one of `sure`, `likely`, `impossible`

`game24_puzzles` says which puzzles are trained on and which are held out; `game24_training` draws
examples; `game24_answer` reads answers as people write them.

Source: Yao et al. 2023, "Tree of Thoughts", section 4.1 (propose and value prompts; fractions are
allowed).
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tasks import game24_answer

TARGET = 24
MAX_NUMBER = 999  # three digits bound a line's length; no puzzle needs more
LABELS = ("sure", "likely", "impossible")
SURE_SHARE = 0.15  # makes `sure` and `likely` equally common (46%, 54%) among solvable threes


class Move(NamedTuple):
    a: int
    op: str  # one of + - * /
    b: int
    result: int
    left: tuple[int, ...]  # ascending, `result` included


# ---- the solver ----------------------------------------------------------------------------------


@cache
def moves(state: tuple[int, ...]) -> tuple[Move, ...]:
    """The distinct legal moves on a state.

    A sum or a product is listed once, its smaller number first.
    """
    found = {}  # keeps the order, drops what equal numbers repeat
    for i, j in combinations(range(len(state)), 2):
        low, high = sorted((state[i], state[j]))
        rest = state[:i] + state[i + 1 : j] + state[j + 1 :]
        tries = (
            (low, "+", high),
            (high, "-", low),
            (low, "*", high),
            (high, "/", low),
            (low, "/", high),
        )
        for a, op, b in tries:
            result = _apply(a, op, b)
            if result is not None:
                found[Move(a, op, b, result, tuple(sorted((*rest, result))))] = None
    return tuple(found)


def _apply(a: int, op: str, b: int) -> int | None:
    """The result of a whole-number move, None where it is not allowed."""
    if op == "/":
        return a // b if b and a % b == 0 else None
    result = {"+": a + b, "-": a - b, "*": a * b}[op]
    return result if 0 <= result <= MAX_NUMBER else None


@cache
def solvable(state: tuple[int, ...]) -> bool:
    """Whether whole-number moves lead from the state to 24 alone."""
    if len(state) == 1:
        return state[0] == TARGET
    return any(solvable(move.left) for move in moves(state))


@cache
def winning_moves(state: tuple[int, ...]) -> tuple[Move, ...]:
    """The moves after which 24 is still within reach."""
    return tuple(move for move in moves(state) if solvable(move.left))


@cache
def num_solutions(state: tuple[int, ...]) -> int:
    """How many distinct sequences of moves end at 24: a measure of ease."""
    if len(state) == 1:
        return int(state[0] == TARGET)
    return sum(num_solutions(move.left) for move in winning_moves(state))


def solve(state: Sequence[int], rng: np.random.Generator | None = None) -> list[Move] | None:
    """A solution, None if there is none: the first found or, given `rng`, random winning moves."""
    state = tuple(sorted(state))
    if not solvable(state):
        return None
    solution = []
    while len(state) > 1:
        winning = winning_moves(state)
        solution.append(winning[0 if rng is None else int(rng.integers(len(winning)))])
        state = solution[-1].left
    return solution


def random_moves(state: Sequence[int], rng: np.random.Generator) -> list[Move]:
    """Uniformly random legal moves down to one number."""
    state, trace = tuple(sorted(state)), []
    while len(state) > 1:
        legal = moves(state)
        trace.append(legal[int(rng.integers(len(legal)))])
        state = trace[-1].left
    return trace


@cache
def value_label(state: tuple[int, ...]) -> str:
    """The exact value of a state, one of LABELS.

    `impossible`: no way leads to 24. `sure`: it is 24, or at least SURE_SHARE of its distinct moves
    keep 24 within reach. `likely`: 24 is within reach, but by fewer moves.
    """
    if not solvable(state):
        return "impossible"
    return "sure" if len(winning_moves(state)) >= SURE_SHARE * len(moves(state)) else "likely"


# ---- text ----------------------------------------------------------------------------------------


def format_puzzle(numbers: Iterable[int]) -> str:
    """The prompt of a puzzle, the numbers in the order given."""
    return f"24: {_join(numbers)}\n"


def format_move(move: Move) -> str:
    """The line of a thought, with its newline."""
    return f"{move.a}{move.op}{move.b}={move.result} left {_join(move.left)}\n"


def format_trace(trace: Sequence[Move]) -> str:
    """The completion of a puzzle: the thoughts, then `#### ` and the number left."""
    return "".join(map(format_move, trace)) + f"#### {trace[-1].left[0]}"


def format_value(state: Iterable[int]) -> str:
    """The prompt of a value, the numbers ascending."""
    return f"Value: {_join(sorted(state))}\n"


def _join(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


_NUMBER = "([0-9]{1,3})"  # at most three digits: MAX_NUMBER
# Also takes the paper's spelling, `8 - 6 = 2 (left: 2 2 4)`, and commas.
_MOVE = re.compile(
    rf"\s*{_NUMBER} ?([-+*/]) ?{_NUMBER} ?= ?{_NUMBER},?"  # 8 - 6 = 2
    r" \(?left:? ([0-9]{1,3}(?:(?: |, ?)[0-9]{1,3})*)\)?\s*"  # (left: 2 2 4)
)


def parse_line(line: str) -> Move | None:
    """The move that a line states, right or wrong, `left` in ascending order; None without one."""
    match = _MOVE.fullmatch(game24_answer.plain(line))
    if not match:
        return None
    a, op, b, result, left = match.groups()
    left = tuple(sorted(int(number) for number in left.replace(",", " ").split()))
    return Move(a=int(a), op=op, b=int(b), result=int(result), left=left)


def parse_numbers(text: str, min_count: int = 4) -> tuple[int, ...]:
    """The numbers of a puzzle, in the order given.

    Raises:
      InputError: the text is not `min_count` to 4 integers in 1..13.
    """
    words = text.replace(",", " ").split()
    numbers = tuple(int(word) if re.fullmatch("[0-9]{1,2}", word) else 0 for word in words)
    if not min_count <= len(numbers) <= 4 or not all(1 <= n <= 13 for n in numbers):
        count = "four" if min_count == 4 else f"{min_count} to 4"
        raise InputError(
            f"puzzle {text!r}: expected {count} integers in 1..13; write it like '4 6 8 2'"
        )
    return numbers


def check_steps(numbers: Sequence[int], text: str) -> list[bool]:
    """For every thought line whether it and all before it are right.

    A right line makes a legal move on what is left, computes it correctly and states the right
    `left`. Lines end at the answer. Blank lines and `Steps:` are no steps; any other text is a
    wrong one.

    Args:
      numbers: of the puzzle.
      text: the completion of its prompt.
    """
    return _replay(numbers, text)[0]


def is_solved(numbers: Sequence[int], text: str) -> bool:
    """Whether every step is right and so is the first answer; lines behind it are ignored.

    The answer is a line that begins with `####` or `Answer:`. It is right if it says 24 and the
    steps leave 24 alone, or if it is an expression that makes 24
    (:func:`game24_answer.is_answer`).

    Args:
      numbers: of the puzzle.
      text: the completion of its prompt.
    """
    steps, state = _replay(numbers, text)
    answer = game24_answer.ANSWER.search(text)
    if answer is None or not all(steps):
        return False
    return game24_answer.is_answer(answer[1], numbers, state, TARGET)


def _replay(numbers: Sequence[int], text: str) -> tuple[list[bool], tuple[int, ...]]:
    """The checks of the lines, and what is left after the last right one."""
    state, right, steps = tuple(sorted(numbers)), True, []
    answer = game24_answer.ANSWER.search(text)
    for line in text[: answer.start() if answer else None].split("\n"):
        if line.strip() in ("", "Steps:"):
            continue
        move = parse_line(line)
        right = right and move is not None and _legal(state, move)
        state = move.left if right else state
        steps.append(right)
    return steps, state


def _legal(state: tuple[int, ...], move: Move) -> bool:
    if move.op in "+*" and move.a > move.b:  # either order is right
        move = move._replace(a=move.b, b=move.a)
    return move in moves(state)


def expression(numbers: Sequence[int], trace: Sequence[Move]) -> str:
    """The moves as one expression, such as `(8-6)*(2+10)`.

    Raises:
      InputError: the moves do not fit the numbers, or leave more than one.
    """
    pool = [(n, str(n)) for n in numbers]  # every number left and how it came about
    for move in trace:
        a, b = _take(pool, move.a), _take(pool, move.b)
        if a is None or b is None or _apply(move.a, move.op, move.b) != move.result:
            line = format_move(move)[:-1]
            raise InputError(
                f"{line!r}: no legal move on the way from {_join(numbers)}; see check_steps"
            )
        pool.append((move.result, f"({a}{move.op}{b})"))
    if len(pool) != 1:
        raise InputError(f"{len(trace)} moves: expected {len(numbers) - 1} for {_join(numbers)}")
    return pool[0][1][1:-1] if trace else pool[0][1]


def _take(pool: list[tuple[int, str]], number: int) -> str | None:
    """Takes a number out of the pool: how it came about, or None where it is not there."""
    for i, (left, written) in enumerate(pool):
        if left == number:
            del pool[i]
            return written
    return None
