"""A value of the Game of 24 that is thought through: a chain of thought for the evaluator.

Whether 24 can be made of two numbers takes four sums; of three it takes a search that no small
model does at a glance, as ``Value: 4 8 12`` of ``game24`` asks. This chain searches from both ends.
The last move joins one of the numbers with what the first move made of the other two, so for each
number it lists what would be needed beside it, then what the others make:

    Value: 4 8 12
    4: 20 28 96 6, 8 12: 20       beside 4 one of 20, 28, 96, 6 makes 24; 8 and 12 make 20
    sure

Every list is one operation away from what stands before it. The chain ends at the first match, else
with ``impossible``.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tasks.game24 import MAX_NUMBER, TARGET, format_value, moves
from jaxreason.tasks.game24_training import Example, draw_state

SIZES = {3: 0.85, 2: 0.15}  # numbers in a state that training values
MAX_TOKENS = 120  # of a chain, in the tokens of the shipped models
WIDE_SHARE = 0.9  # of the states are drawn from all seen ones with numbers of 1..60


def needed(number: int) -> list[int]:
    """What makes 24 together with the number n.

    In the order of 24-n or n-24, 24+n, 24*n, 24/n, n/24, up to MAX_NUMBER and without repeats.
    """
    found = [abs(TARGET - number), TARGET + number]
    if number:
        found.append(TARGET * number)
        if TARGET % number == 0:
            found.append(TARGET // number)
        if number % TARGET == 0:
            found.append(number // TARGET)
    return [n for n in dict.fromkeys(found) if n <= MAX_NUMBER]


def made(a: int, b: int) -> list[int]:
    """What one move makes of two ascending numbers: sum, difference, product, quotients."""
    return list(dict.fromkeys(move.result for move in moves((a, b))))


def value_chain(state: Sequence[int]) -> str:
    """The reply to the prompt of a value; its last line is ``sure`` or ``impossible``.

    Raises:
      InputError: the state has another count of numbers than two or three.
    """
    state = tuple(sorted(state))
    if len(state) not in (2, 3):
        raise InputError(f"state {_join(state)!r}: expected two or three numbers")
    lines = []
    for beside, (a, b), targets in _last_moves(state):
        results = made(a, b)
        matches = [i for i, result in enumerate(results) if result in targets]
        if matches:
            results = results[: matches[0] + 1]
        lines.append(f"{beside}{a} {b}: {_join(results)}")
        if matches:
            return "\n".join([*lines, "sure"])
    return "\n".join([*lines, "impossible"])


def _last_moves(state: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...], list[int]]]:
    """What is needed beside each number, in words; the two other numbers; what they have to make.

    Nothing stands beside two numbers: they have to make 24 themselves.
    """
    if len(state) == 2:
        yield "", state, [TARGET]
        return
    for number in dict.fromkeys(state):
        at = state.index(number)
        targets = needed(number)
        yield f"{number}: {_join(targets)}, ", state[:at] + state[at + 1 :], targets


def _join(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def value_example(rng: np.random.Generator) -> Example:
    """A valued state for training, solvable or not with equal chance; never an unseen state."""
    labels = ("sure", "likely") if rng.random() < 0.5 else ("impossible",)
    state = draw_state(rng, SIZES, labels, wide=rng.random() < WIDE_SHARE)
    return Example(format_value(state), value_chain(state))
