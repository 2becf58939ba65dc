"""Training examples of the Game of 24: thought traces and values, drawn from the train split only.

A trace starts from a puzzle, or from a state under one, and either solves it or makes random legal
moves. A value is the exact one of `game24`. No unseen state of three numbers occurs in either.
"""

from collections.abc import Sequence
from functools import cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

from jaxreason.tasks.game24 import (
    LABELS,
    format_puzzle,
    format_trace,
    format_value,
    random_moves,
    solve,
    value_label,
)
from jaxreason.tasks.game24_puzzles import substate_split, train_states

VALUE_SHARE = 0.35  # value examples; the rest are thought traces
RANDOM_SHARE = 0.60  # traces of random legal moves: they teach legality and diverse proposals
START_SIZES = {4: 0.80, 3: 0.15, 2: 0.05}  # numbers a trace starts from: search resumes anywhere
VALUE_SIZES = {4: 0.10, 3: 0.75, 2: 0.15}  # numbers in a valued state: search mostly values three
WIDE_NUMBERS = 60  # the wide pool has all states of 1..60, whether a puzzle leads to them or not


class Example(NamedTuple):
    prompt: str
    completion: str  # without the end-of-text token


def training_example(
    rng: np.random.Generator, value_share: float = VALUE_SHARE, wide_share: float = 0.0
) -> Example:
    """A thought trace or a value, mixed by the constants above; the three values are equally
    frequent.

    Args:
      rng: source of all choices.
      value_share: of the examples that are values.
      wide_share: of the valued states of two and three numbers that are drawn from all seen ones
        with numbers of 1..60. Puzzles lead to a few hundred solvable states, which a model can
        remember; the wide pool has thousands, which it has to compute.
    """
    if rng.random() < value_share:
        return _value(rng, wide_share)
    return _trace(rng)


def _value(rng: np.random.Generator, wide_share: float) -> Example:
    wide = wide_share > 0 and rng.random() < wide_share
    state = draw_state(rng, VALUE_SIZES, (LABELS[rng.integers(3)],), wide)
    return Example(format_value(state), value_label(state))


def _trace(rng: np.random.Generator) -> Example:
    walk = rng.random() < RANDOM_SHARE
    while True:
        state = draw_state(rng, START_SIZES, LABELS if walk else ("sure", "likely"))
        trace = random_moves(state, rng) if walk else solve(state, rng)
        if len(state) < 4 or substate_split(trace[0].left) == "seen":
            return Example(format_puzzle(rng.permutation(state)), format_trace(trace))


def draw_state(
    rng: np.random.Generator, shares: dict[int, float], labels: Sequence[str], wide: bool = False
) -> tuple[int, ...]:
    """A state of the train split with one of the labels.

    Args:
      rng: source of all choices.
      shares: size -> chance of a state of so many numbers. A size that has no state with one of the
        labels (two numbers are never `likely`) is drawn again.
      labels: of the states wanted, some of `game24.LABELS`.
      wide: states of two and three numbers are drawn from all seen ones with numbers of 1..60.
    """
    sizes, chances = list(shares), list(shares.values())
    while True:
        size = int(rng.choice(sizes, p=chances))
        pool_of = _wide_pool if wide and size < 4 else _train_pool
        pool = pool_of(size, tuple(labels))
        if pool:
            return pool[rng.integers(len(pool))]


@cache
def _train_pool(size: int, labels: tuple[str, ...]) -> list[tuple[int, ...]]:
    return [state for state in train_states()[size] if value_label(state) in labels]


@cache
def _wide_pool(size: int, labels: tuple[str, ...]) -> list[tuple[int, ...]]:
    every = combinations_with_replacement(range(1, WIDE_NUMBERS + 1), size)
    return [
        state for state in every if substate_split(state) == "seen" and value_label(state) in labels
    ]
