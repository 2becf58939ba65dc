"""The Game of 24 read from token ids, as pure JAX: for a search that never leaves the device.

The same rules as in ``game24``, on texts such as ``24: 4 6 8 2\\n8-6=2 left 2 2 4\\n``, for any
tokenizer in which digits, operators and `` left`` are single tokens. A trace of right form has a
fixed layout, so that numbers are told by their count:

    puzzle 4 | a b result, 3 left | a b result, 2 left | a b result, 1 left

which makes 4, 10, 15 or 19 numbers in all.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.errors import InputError
from jaxreason.tasks import game24

OPERATORS = "+-*/"
COUNTS = (4, 10, 15, 19)  # numbers after 0..3 moves
# Where, in the layout, what is left after 0..3 moves begins; the a of move j is at OFFSETS[j] - 3.
OFFSETS = (0, 7, 13, 18)
# Tokens of the numbers left and the line's end at most: " 13 13 13 13\n", " 999 999 999\n".
WIDTH = 13


class Alphabet(NamedTuple):
    """What single tokens mean; hashable by identity, so keep one for each tokenizer."""

    digit: np.ndarray  # [V] int32: 0..9, -1 for other tokens
    operator: np.ndarray  # [V] int32: the place in OPERATORS, -1 for other tokens
    left: int
    colon: int
    newline: int
    value: np.ndarray  # tokens of "Value:"
    labels: np.ndarray  # [3], the first tokens of game24.LABELS


def alphabet(tokenizer) -> Alphabet:
    """The tokens of the game.

    Raises:
      InputError: the tokenizer writes a digit, an operator or `` left`` in more than one token, or
        glues them together.
    """

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False).input_ids

    line = ids("24: 8-6=2 left 2\n")
    pieces = ["2", "4", ":", " ", "8", "-", "6", "=", "2", " left", " ", "2", "\n"]
    singles = [*"0123456789", *OPERATORS, ":", " left", "\n"]
    apart = [i for piece in pieces for i in ids(piece)]
    if any(len(ids(s)) != 1 for s in singles) or line != apart:
        raise InputError(
            "tokenizer: expected digits, + - * / : and ' left' as single tokens; "
            "use a shipped model"
        )
    digit, operator = np.full((2, len(tokenizer)), -1, np.int32)
    for table, symbols in ((digit, "0123456789"), (operator, OPERATORS)):
        for value, symbol in enumerate(symbols):
            table[ids(symbol)[0]] = value
    labels = np.array([ids(label)[0] for label in game24.LABELS], np.int32)
    (colon,), (left,), (newline,) = ids(":"), ids(" left"), ids("\n")
    return Alphabet(
        digit=digit,
        operator=operator,
        left=left,
        colon=colon,
        newline=newline,
        value=np.array(ids("Value:"), np.int32),
        labels=labels,
    )


class Trace(NamedTuple):
    """R texts as numbers."""

    # [R, 20] int32 in the order of the text, 0 beyond the end; -1 for one of more than three digits
    numbers: jax.Array
    operators: jax.Array  # [R, 3] int32, -1 beyond the end
    moves: jax.Array  # [R] int32: 0..3, -1 if the text has not the layout of a trace


def read_trace(abc: Alphabet, tokens: jax.Array, mask: jax.Array) -> Trace:
    """The numbers of puzzle and moves, read from the colon of ``24:`` on.

    Args:
      abc: what the tokens mean.
      tokens: ``[R, P]`` int32, a text a row.
      mask: ``[R, P]`` bool, False for padding.
    """
    tokens = jnp.where(mask, tokens, 0)
    inside = jnp.cumsum(tokens == abc.colon, -1) > 0
    digit = jnp.where(inside, jnp.asarray(abc.digit)[tokens], -1)
    operator = jnp.where(inside, jnp.asarray(abc.operator)[tokens], -1)

    def before(n: int) -> jax.Array:  # the digit n places before
        return jnp.pad(digit, ((0, 0), (n, 0)), constant_values=-1)[:, : digit.shape[1]]

    ends = (digit >= 0) & (jnp.pad(digit, ((0, 0), (0, 1)), constant_values=-1)[:, 1:] < 0)
    one, two, three = (before(n) >= 0 for n in (1, 2, 3))
    value = digit + jnp.where(one, 10 * before(1) + jnp.where(two, 100 * before(2), 0), 0)
    value = jnp.where(one & two & three, -1, value)
    order = jnp.where(ends, jnp.cumsum(ends, -1) - 1, -1)
    numbers = (value[..., None] * (order[..., None] == jnp.arange(20))).sum(1)
    which = jnp.where(operator >= 0, jnp.cumsum(operator >= 0, -1) - 1, -1)
    operators = ((operator[..., None] + 1) * (which[..., None] == jnp.arange(3))).sum(1) - 1
    moves = (operator >= 0).sum(-1)
    numbers_fit = ends.sum(-1) == jnp.array([*COUNTS, -1])[jnp.minimum(moves, 4)]
    lines_fit = ((tokens == abc.left) & inside).sum(-1) == moves
    laid_out = numbers_fit & lines_fit
    return Trace(numbers, operators, jnp.where(laid_out, moves, -1))


def is_right(trace: Trace) -> jax.Array:
    """Whether the layout and every move are right, ``[R]``.

    That is what ``game24.check_steps`` says of complete lines.
    """
    right = trace.moves >= 0
    for j in range(3):
        right &= _is_legal(trace, j) | (trace.moves <= j)
    return right


def _is_legal(trace: Trace, j: int) -> jax.Array:
    """Whether move j is legal, its result right and its ``left`` what it leaves, ``[R]``."""
    size = 4 - j
    had = trace.numbers[:, OFFSETS[j] : OFFSETS[j] + size]
    a, b, result = trace.numbers[:, OFFSETS[j + 1] - 3 : OFFSETS[j + 1]].T
    left = trace.numbers[:, OFFSETS[j + 1] : OFFSETS[j + 1] + size - 1]
    results = jnp.stack([a + b, a - b, a * b, jnp.where(b > 0, a // jnp.maximum(b, 1), -1)], -1)
    divides = (trace.operators[:, j] != 3) | ((b > 0) & (a % jnp.maximum(b, 1) == 0))
    operator = jnp.maximum(trace.operators[:, j : j + 1], 0)
    computed = jnp.take_along_axis(results, operator, 1)[:, 0] == result
    there = ((had == a[:, None]).sum(-1) >= 1 + (a == b)) & (had == b[:, None]).any(-1)
    kept = jnp.sort(jnp.c_[had, result]) == jnp.sort(jnp.c_[left, a, b])
    in_range = (result >= 0) & (result <= game24.MAX_NUMBER)
    return computed & divides & there & kept.all(-1) & in_range


def numbers_left(trace: Trace) -> jax.Array:
    """What the text says is left, ascending, ``[R, 4]``, padded in front with -1."""
    moves = jnp.maximum(trace.moves, 0)[:, None]
    place = jnp.arange(4)
    left = jnp.take_along_axis(trace.numbers, jnp.array(OFFSETS)[moves] + place, 1)
    return jnp.sort(jnp.where(place < 4 - moves, left, -1))


def is_solvable(numbers: jax.Array) -> jax.Array:
    """Whether legal moves lead from ``[..., n]`` numbers to 24 alone, ``[...]``.

    ``game24.solvable`` for arrays, by trying everything.
    """
    n = numbers.shape[-1]
    if n == 1:
        return numbers[..., 0] == game24.TARGET
    after = []
    for i in range(n):
        for j in range(i + 1, n):
            a, b = numbers[..., i], numbers[..., j]
            low, high = jnp.minimum(a, b), jnp.maximum(a, b)
            quotients = [
                jnp.where((y > 0) & (x % jnp.maximum(y, 1) == 0), x // jnp.maximum(y, 1), -1)
                for x, y in ((high, low), (low, high))
            ]
            results = jnp.stack([a + b, high - low, a * b, *quotients], -1)  # [..., 5]
            rest = numbers[..., [k for k in range(n) if k not in (i, j)]]
            rest = jnp.broadcast_to(rest[..., None, :], (*results.shape, n - 2))
            after.append(jnp.concatenate([rest, results[..., None]], -1))
    after = jnp.stack(after, -3)  # [..., pairs, 5, n - 1]
    legal = (after[..., -1] >= 0) & (after[..., -1] <= game24.MAX_NUMBER)
    return (legal & is_solvable(after)).any((-1, -2))
