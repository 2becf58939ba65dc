"""Texts that a search holds on the device, as tokens: what may follow them, and what they are
worth.

A :class:`TextTask` says which texts are complete, what these are worth, and which lines are one and
the same. An evaluator is a function ``(weights, keys [R], texts) -> Evaluation``; ``value_words``,
``rollouts``, ``process_reward`` and ``oracle`` build one, ``likelihood`` is one.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreason.tasks import game24_tokens as g24


class Text(NamedTuple):
    """R texts, ending at the last column."""

    tokens: jax.Array  # [R, P] int32
    mask: jax.Array  # [R, P] bool, False on the padding in front
    logprob: jax.Array  # [R] float32: log p(lines so far | prompt), untempered


class TextTask(NamedTuple):
    """What the search must know of a kind of texts; pure functions of R texts."""

    is_terminal: Callable[[Text], jax.Array]  # [R] bool
    # [R] float32, of terminal texts; None: what the evaluator says
    reward: Callable[[Text], jax.Array] | None
    identity: Callable[
        [Text], tuple[jax.Array, jax.Array]
    ]  # [R] bool: is it right in form; [R, W]: equal ones are one


def append(text: Text, line: jax.Array, length: jax.Array, logprob: jax.Array) -> Text:
    """The texts with ``length[R]`` tokens of ``line[R, T]`` behind them; what no longer fits is
    lost in front. ``logprob[R]`` is that of the line.
    """
    width = text.tokens.shape[1]
    shifted = length[:, None] + jnp.arange(width)
    tokens = jnp.take_along_axis(jnp.concatenate([text.tokens, line], 1), shifted, 1)
    mask = jnp.concatenate([text.mask, jnp.ones_like(line, bool)], 1)
    return Text(tokens, jnp.take_along_axis(mask, shifted, 1), text.logprob + logprob)


# ---- tasks
# ---------------------------------------------------------------------------------------------------


def game24(abc: g24.Alphabet, *, check: bool = True, board: bool = False) -> TextTask:
    """Texts that begin with ``24: 4 6 8 2``; lines that leave the same numbers are one.

    Args:
      check: a leaf is worth 1 if it passes the solution test (every move right, 24 left), the test
        that BFS and DFS stop by. False: if it *says* that 24 is left.
      board: lines with a wrong move are dropped.
    """

    def read(text):
        return g24.read_trace(abc, text.tokens, text.mask)

    def reward(text):
        trace = read(text)
        says_24 = g24.numbers_left(trace)[:, -1] == 24
        return ((trace.moves == 3) & says_24 & (g24.is_right(trace) | (not check))).astype(
            jnp.float32
        )

    def identity(text):
        trace = read(text)
        return (trace.moves > 0) & (g24.is_right(trace) | (not board)), g24.numbers_left(trace)

    return TextTask(lambda text: read(text).moves == 3, reward, identity)


def reasoning_lines(eos_ids: Sequence[int], *, judged: bool = False) -> TextTask:
    """Any text whose last line ends with the end-of-text token.

    Args:
      eos_ids: those tokens.
      judged: a finished text is worth what the evaluator says. False: its probability.
    """

    def is_terminal(text):
        return (text.tokens[:, -1:] == jnp.array(list(eos_ids))).any(-1)

    reward = None if judged else lambda text: jnp.exp(text.logprob)
    return TextTask(is_terminal, reward, lambda text: (text.mask[:, -1], text.tokens))
