"""The puzzles of the Game of 24: which are trained on, and which are held out.

Of the 1,820 puzzles (four numbers in 1..13) 100 are the published test puzzles, `paper_test`. A
hash of the numbers gives every other one to train, validation or test. A second hash keeps states
on the way to 24 out of training: they are `unseen`.
"""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path

from jaxreason.errors import InputError
from jaxreason.tasks.game24 import moves, parse_numbers, solvable

SPLITS = ("train", "validation", "test", "paper_test")

# Ranks 901-1000 of 24.csv, the test puzzles of Yao et al. 2023, one hexadecimal digit a number.
# From github.com/princeton-nlp/tree-of-thought-llm (MIT licence, copyright 2023 Shunyu Yao).
PAPER_TEST: tuple[tuple[int, ...], ...] = tuple(
    tuple(int(digit, 16) for digit in puzzle)
    for puzzle in """
    456a 1247 258b 344d 6789 1bbd 18ab 2369 1359 337c
    4579 128d 4669 1448 15ab 346b 2489 145d 227c 3367
    159d 567d 558a 246c 678b 799d 369c 69cd 479d 568c
    2467 25aa 667c 699b 58bc 568a 6bcd 2288 27cd 268c
    349d 45ac 127b 4568 6acd 1399 144b 239a 123d 1666
    1229 136b 5acd 2366 67ac 788c 3468 179b 236d 225c
    268d 88ac 138d 447a 17ad 19ad 334b 2577 39ad 2347
    448c 126a 15cc 5668 778b 137a 339c 357a 4acd 23ac
    3466 5888 688c 2349 267b 59cc 127c 2456 558d 233a
    348c 246b 2289 1567 58ab 449c 2566 249c 48bd 49ad
    """.split()
)
_PAPER_TEST = frozenset(PAPER_TEST)


def _hash(purpose: str, state: tuple[int, ...]) -> int:
    """The same on every machine, unlike Python's hash."""
    digest = hashlib.sha256(f"{purpose}: {_join(state)}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def _join(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def split_of(numbers: Sequence[int]) -> str:
    """The split of a puzzle, one of SPLITS, by its numbers in any order.

    The published test puzzles are `paper_test`; a hash makes 10% of the others validation and 25%
    test.

    Raises:
      InputError: the puzzle is not four integers in 1..13.
    """
    state = tuple(sorted(numbers))
    if len(state) != 4 or not all(1 <= n <= 13 for n in state):
        raise InputError(f"puzzle {_join(numbers)!r}: expected four integers in 1..13")
    if state in _PAPER_TEST:
        return "paper_test"
    percent = _hash("split", state) % 100
    if percent < 10:
        return "validation"
    return "test" if percent < 35 else "train"


@cache
def substate_split(state: tuple[int, ...]) -> str:
    """`unseen` (15% by hash) or `seen`, for a state of two or three numbers.

    Training shows no unseen state of three numbers, and values no unseen one of two, so that a
    value can be measured on states a model cannot remember.

    Raises:
      InputError: the state has another count of numbers.
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
    """The solvable puzzles of a split in a fixed order: shuffled, those of paper_test as published.

    Raises:
      InputError: the split is none of SPLITS.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    if split == "paper_test":
        return list(PAPER_TEST)  # all of them are solvable
    return [puzzle for puzzle in _multisets(split) if solvable(puzzle)]


def held_out(n: int) -> list[tuple[int, ...]]:
    """The first n of the 100 test puzzles of the paper, then the 306 of the test split."""
    return [*PAPER_TEST, *puzzles("test")][:n]


def substates(roots: Iterable[tuple[int, ...]], size: int) -> list[tuple[int, ...]]:
    """The different states of two or three numbers that moves reach from the puzzles, in order.

    A value is measured on them.
    """
    states = set(roots)
    while len(next(iter(states), ())) > size:
        states = {move.left for state in states for move in moves(state)}
    return sorted(states)


@cache
def train_states() -> dict[int, list[tuple[int, ...]]]:
    """size -> the states of 4, 3 and 2 numbers that moves reach from train puzzles through seen
    states, each as often as moves reach it.
    """
    states = {4: _multisets("train")}
    for size in (3, 2):
        reached = (move.left for state in states[size + 1] for move in moves(state))
        states[size] = [state for state in reached if substate_split(state) == "seen"]
    return states


@cache
def _train_sets() -> dict[int, frozenset[tuple[int, ...]]]:
    return {size: frozenset(states) for size, states in train_states().items()}


def in_training(state: tuple[int, ...]) -> bool:
    """Whether values and traces of training are drawn from this state: it is in `train_states`."""
    return state in _train_sets()[len(state)]


def load_ranked(path: str | Path) -> list[tuple[int, ...]]:
    """The puzzles of a csv file with the columns Rank and Puzzles, by rank.

    The published file is 24.csv of github.com/princeton-nlp/tree-of-thought-llm.

    Raises:
      InputError: the file cannot be read, lacks a column, or has a row that is no puzzle.
    """
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
