"""Game of 24: puzzles, an exact solver, an exact step checker and training text, with whole-number
moves.

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

Source: Yao et al. 2023, "Tree of Thoughts", section 4.1 (propose and value prompts; fractions are
allowed).
"""

import csv
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations, combinations_with_replacement
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tasks import game24_answer

TARGET = 24
MAX_NUMBER = 999  # three digits bound a line's length; no puzzle needs more
LABELS = ("sure", "likely", "impossible")
# `sure` and `likely` are then equally common (46% and 54%) among solvable states of three
SURE_SHARE = 0.15
SPLITS = ("train", "validation", "test", "paper_test")

# Ranks 901-1000 of 24.csv, the test puzzles of Yao et al. 2023, one hexadecimal digit a number.
# From github.com/princeton-nlp/tree-of-thought-llm (MIT licence, copyright 2023 Shunyu Yao).
PAPER_TEST: tuple[tuple[int, ...], ...] = tuple(
    tuple(int(digit, 16) for digit in puzzle)
    for puzzle in """
    456a 1247 258b 344d 6789 1bbd 18ab 2369 1359 337c 4579 128d 4669 1448 15ab 346b 2489 145d 227c 3367
    159d 567d 558a 246c 678b 799d 369c 69cd 479d 568c 2467 25aa 667c 699b 58bc 568a 6bcd 2288 27cd 268c
    349d 45ac 127b 4568 6acd 1399 144b 239a 123d 1666 1229 136b 5acd 2366 67ac 788c 3468 179b 236d 225c
    268d 88ac 138d 447a 17ad 19ad 334b 2577 39ad 2347 448c 126a 15cc 5668 778b 137a 339c 357a 4acd 23ac
    3466 5888 688c 2349 267b 59cc 127c 2456 558d 233a 348c 246b 2289 1567 58ab 449c 2566 249c 48bd 49ad
    """.split()
)
_PAPER_TEST = frozenset(PAPER_TEST)

# The training mixture.
VALUE_SHARE = 0.35  # value examples; the rest are thought traces
# of the traces are random legal moves: they teach legality and diverse proposals
RANDOM_SHARE = 0.60
START_SIZES = {
    4: 0.80,
    3: 0.15,
    2: 0.05,
}  # numbers a trace starts from: search may resume from any state
VALUE_SIZES = {4: 0.10, 3: 0.75, 2: 0.15}  # numbers in a valued state: search mostly values three
# the wide pool of valued states has numbers of 1..60, whether a puzzle leads to them or not
WIDE_NUMBERS = 60


class Move(NamedTuple):
    a: int
    op: str  # one of + - * /
    b: int
    result: int
    left: tuple[int, ...]  # ascending, `result` included


class Example(NamedTuple):
    prompt: str
    completion: str  # without the end-of-text token


# ---- the solver
# --------------------------------------------------------------------------------------------


@cache
def moves(state: tuple[int, ...]) -> tuple[Move, ...]:
    """The distinct legal moves on a state; a sum or product is listed once, smaller number first.
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
    result = a + b if op == "+" else a - b if op == "-" else a * b
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
    """A solution, None if there is none: the first one found, or random winning moves if `rng` is
    given.
    """
    state = tuple(sorted(state))
    if not solvable(state):
        return None
    solution = []
    while len(state) > 1:
        winning = winning_moves(state)
        solution.append(winning[0 if rng is None else int(rng.integers(len(winning)))])
        state = solution[-1].left
    return solution


@cache
def value_label(state: tuple[int, ...]) -> str:
    """The exact value: `impossible` (no way to 24), `sure` (24 itself, or at least SURE_SHARE of
    the distinct moves keep it solvable) or `likely` (solvable, but by fewer moves)."""
    if not solvable(state):
        return "impossible"
    return "sure" if len(winning_moves(state)) >= SURE_SHARE * len(moves(state)) else "likely"


# ---- text
# --------------------------------------------------------------------------------------------------


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


# Also takes the paper's spelling, `8 - 6 = 2 (left: 2 2 4)`, and commas. At most three digits:
# MAX_NUMBER.
_MOVE = re.compile(
    r"\s*([0-9]{1,3}) ?([-+*/]) ?([0-9]{1,3}) ?= ?([0-9]{1,3}),? \(?left:? ([0-9]{1,3}(?:(?: |, ?)[0-9]{1,3})*)\)?\s*"
)


def parse_line(line: str) -> Move | None:
    """The move a line states, right or wrong, its `left` put in ascending order; None if it states
    none.
    """
    match = _MOVE.fullmatch(game24_answer.plain(line))
    if not match:
        return None
    a, op, b, result, left = match.groups()
    return Move(
        int(a), op, int(b), int(result), tuple(sorted(map(int, left.replace(",", " ").split())))
    )


def parse_numbers(text: str, min_count: int = 4) -> tuple[int, ...]:
    """The numbers of a puzzle, in the order given: `min_count` to 4 integers in 1..13, else
    InputError.
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
    """For every thought line whether it and all before it are right: a legal move on what is left,
    right arithmetic, the right `left`. Lines end at the answer. A blank one and `Steps:` are no
    steps, other text is a wrong one."""
    return _replay(numbers, text)[0]


def is_solved(numbers: Sequence[int], text: str) -> bool:
    """Whether every step is right and so is the first answer, a line that begins with `####` or
    `Answer:`: 24, if the steps leave 24 alone, or an expression that makes 24
    (:func:`game24_answer.is_answer`). Lines behind it are ignored."""
    steps, state = _replay(numbers, text)
    answer = game24_answer.ANSWER.search(text)
    return (
        all(steps)
        and answer is not None
        and game24_answer.is_answer(answer[1], numbers, state, TARGET)
    )


def _replay(numbers: Sequence[int], text: str) -> tuple[list[bool], tuple[int, ...]]:
    """The checks of the lines, and what is left after the last right one."""
    state, right, steps = tuple(sorted(numbers)), True, []
    answer = game24_answer.ANSWER.search(text)
    for line in text[: answer.start() if answer else None].split("\n"):
        if line.strip() not in ("", "Steps:"):
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
    """The moves as one expression, such as `(8-6)*(2+10)`; InputError if they don't fit the
    numbers.
    """
    pool = [(n, str(n)) for n in numbers]  # every number left and how it came about
    for move in trace:
        parts = []
        for n in (move.a, move.b):
            part = next((item for item in pool if item[0] == n), None)
            if part is None or _apply(move.a, move.op, move.b) != move.result:
                line = format_move(move)[:-1]
                raise InputError(
                    f"{line!r}: no legal move on the way from {_join(numbers)}; see check_steps"
                )
            pool.remove(part)
            parts.append(part[1])
        pool.append((move.result, f"({parts[0]}{move.op}{parts[1]})"))
    if len(pool) != 1:
        raise InputError(f"{len(trace)} moves: expected {len(numbers) - 1} for {_join(numbers)}")
    return pool[0][1][1:-1] if trace else pool[0][1]


# ---- splits
# ------------------------------------------------------------------------------------------------


def _hash(purpose: str, state: tuple[int, ...]) -> int:
    """The same on every machine, unlike Python's hash."""
    return int.from_bytes(hashlib.sha256(f"{purpose}: {_join(state)}".encode()).digest()[:8], "big")


def split_of(numbers: Sequence[int]) -> str:
    """The split of a puzzle by its multiset of numbers: paper_test, else by hash validation (10%),
    test (25%) or train. InputError if it is not four integers in 1..13."""
    state = tuple(sorted(numbers))
    if len(state) != 4 or not all(1 <= n <= 13 for n in state):
        raise InputError(f"puzzle {_join(numbers)!r}: expected four integers in 1..13")
    if state in _PAPER_TEST:
        return "paper_test"
    percent = _hash("split", state) % 100
    return "validation" if percent < 10 else "test" if percent < 35 else "train"


@cache
def substate_split(state: tuple[int, ...]) -> str:
    """`unseen` (15% by hash) or `seen`, for a state of two or three numbers.

    Training shows no unseen state of three numbers, and values no unseen one of two, so that a
    value can be measured on states a model cannot remember. InputError for any other count.
    """
    if len(state) not in (2, 3):
        raise InputError(
            f"state {_join(state)!r}: expected two or three numbers; puzzles have split_of"
        )
    return "unseen" if _hash("substate", tuple(sorted(state))) % 100 < 15 else "seen"


def _multisets(split: str) -> list[tuple[int, ...]]:
    """Every puzzle of a split, solvable or not, in a fixed shuffled order."""
    every = combinations_with_replacement(range(1, 14), 4)
    return sorted((p for p in every if split_of(p) == split), key=lambda p: _hash("order", p))


def puzzles(split: str) -> list[tuple[int, ...]]:
    """The solvable puzzles of train, validation or test in a fixed shuffled order; of paper_test
    all 100 (all are solvable) in the published order. InputError for any other split."""
    if split not in SPLITS:
        raise InputError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    return (
        list(PAPER_TEST) if split == "paper_test" else [p for p in _multisets(split) if solvable(p)]
    )


def held_out(n: int) -> list[tuple[int, ...]]:
    """The 100 test puzzles of the paper, then those of the test split (306): the first n of them.
    """
    return [*PAPER_TEST, *puzzles("test")][:n]


def substates(roots: Iterable[tuple[int, ...]], size: int) -> list[tuple[int, ...]]:
    """The different states of two or three numbers that moves reach from the puzzles, in order:
    what a value is measured on.
    """
    states = set(roots)
    while len(next(iter(states), ())) > size:
        states = {move.left for state in states for move in moves(state)}
    return sorted(states)


def in_training(state: tuple[int, ...]) -> bool:
    """Whether the state is among those under training puzzles, from which values and traces are
    drawn.
    """
    return state in _train_pool()[len(state)]


@cache
def _train_pool() -> dict[int, frozenset[tuple[int, ...]]]:
    return {size: frozenset(states) for size, states in _train_states().items()}


def load_ranked(path: str | Path) -> list[tuple[int, ...]]:
    """The puzzles of a csv file with the columns Rank and Puzzles, by rank (the published file is
    24.csv of github.com/princeton-nlp/tree-of-thought-llm). InputError if it can't be read or a row
    is no puzzle."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: not a readable csv file ({error}); give the path of 24.csv"
        ) from error
    if not rows or not {"Rank", "Puzzles"} <= rows[0].keys():
        raise InputError(
            f"{path}: expected rows under the columns Rank and Puzzles; give the path of 24.csv"
        )
    ranked = []
    for number, row in enumerate(rows, start=2):
        try:
            ranked.append((int(row["Rank"] or ""), parse_numbers(row["Puzzles"] or "")))
        except ValueError as error:  # InputError is one
            raise InputError(f"{path}, row {number}: {error}") from error
    return [numbers for _, numbers in sorted(ranked)]


# ---- training
# ----------------------------------------------------------------------------------------------


@cache
def _train_states() -> dict[int, list[tuple[int, ...]]]:
    """size -> the states reached from the train split through seen states, as often as moves reach
    them.
    """
    states = {4: _multisets("train")}
    for size in (3, 2):
        reached = (move.left for state in states[size + 1] for move in moves(state))
        states[size] = [state for state in reached if substate_split(state) == "seen"]
    return states


@cache
def _pool(size: int, labels: tuple[str, ...]) -> list[tuple[int, ...]]:
    return [state for state in _train_states()[size] if value_label(state) in labels]


@cache
def _wide_pool(size: int, labels: tuple[str, ...]) -> list[tuple[int, ...]]:
    every = combinations_with_replacement(range(1, WIDE_NUMBERS + 1), size)
    return [
        state for state in every if substate_split(state) == "seen" and value_label(state) in labels
    ]


def draw_state(
    rng: np.random.Generator, shares: dict[int, float], labels: Sequence[str], wide: bool = False
) -> tuple[int, ...]:
    """A train state with one of the labels; a size that has none (2, likely) is drawn again."""
    while True:
        size = int(rng.choice(list(shares), p=list(shares.values())))
        pool_fn = _wide_pool if wide and size < 4 else _pool
        if pool := pool_fn(size, tuple(labels)):
            return pool[rng.integers(len(pool))]


def training_example(
    rng: np.random.Generator, value_share: float = VALUE_SHARE, wide_share: float = 0.0
) -> Example:
    """A thought trace or a value, mixed by the constants above, from puzzles of the train split
    only.

    No unseen state of three numbers occurs in it. The three values are equally frequent.

    Args:
      rng: source of all choices.
      value_share: of the examples that are values.
      wide_share: of the valued states of two and three numbers that are drawn from all seen ones
        with numbers of 1..60. Puzzles lead to a few hundred solvable states, which a model can
        remember; the wide pool has thousands, which it has to compute.
    """
    if rng.random() < value_share:
        wide = bool(wide_share) and rng.random() < wide_share
        state = draw_state(rng, VALUE_SIZES, (LABELS[rng.integers(3)],), wide)
        return Example(format_value(state), value_label(state))
    walk = rng.random() < RANDOM_SHARE
    while True:
        state = draw_state(rng, START_SIZES, LABELS if walk else ("sure", "likely"))
        trace = random_moves(state, rng) if walk else solve(state, rng)
        if len(state) < 4 or substate_split(trace[0].left) == "seen":
            return Example(format_puzzle(rng.permutation(state)), format_trace(trace))


def random_moves(state: Sequence[int], rng: np.random.Generator) -> list[Move]:
    """Uniformly random legal moves down to one number."""
    state, trace = tuple(sorted(state)), []
    while len(state) > 1:
        legal = moves(state)
        trace.append(legal[int(rng.integers(len(legal)))])
        state = trace[-1].left
    return trace
