"""A value of the Game of 24 that is thought through before it is said: a chain of thought for the
evaluator.

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

from collections.abc import Sequence

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tasks.game24 import MAX_NUMBER, TARGET, Example, draw_state, format_value, moves

SIZES = {3: 0.85, 2: 0.15}  # numbers in a state that training values
MAX_TOKENS = 120  # of a chain, in the tokens of the shipped models
WIDE_SHARE = 0.9  # of the states are drawn from all seen ones with numbers of 1..60


def needed(number: int) -> list[int]:
    """What makes 24 together with the number, in the order of the sums: r+n, r-n or n-r, r/n, r*n
    or n/r.
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
    """What one move makes of two numbers, ascending ones: the sum, the difference, the product, the
    quotients.
    """
    return list(dict.fromkeys(move.result for move in moves((a, b))))


def value_chain(state: Sequence[int]) -> str:
    """The reply to the prompt of a value, for two or three numbers: its last line is ``sure`` or
    ``impossible``.

    Raises:
      InputError: another count of numbers.
    """
    state = tuple(sorted(state))
    if len(state) not in (2, 3):
        raise InputError(f"state {' '.join(map(str, state))!r}: expected two or three numbers")
    lines = []
    # For two numbers what is needed is 24 itself; for three it is written down for each of them,
    # and the other two are left.
    for n in dict.fromkeys(state) if len(state) == 3 else (None,):
        at = state.index(n) if n is not None else len(state)
        a, b = state[:at] + state[at + 1 :]
        targets = [TARGET] if n is None else needed(n)
        results = made(a, b)
        count = next(
            (i + 1 for i, result in enumerate(results) if result in targets), None
        )  # up to the first match
        before = "" if n is None else f"{n}: {' '.join(map(str, targets))}, "
        lines.append(f"{before}{a} {b}: {' '.join(map(str, results[:count]))}")
        if count:
            return "\n".join([*lines, "sure"])
    return "\n".join([*lines, "impossible"])


def value_example(rng: np.random.Generator) -> Example:
    """A valued state for training, solvable or not with equal chance; no unseen state of two or
    three numbers occurs.
    """
    labels = ("sure", "likely") if rng.random() < 0.5 else ("impossible",)
    state = draw_state(rng, SIZES, labels, wide=rng.random() < WIDE_SHARE)
    return Example(format_value(state), value_chain(state))
