"""What ``lm_mcts`` must know of a kind of texts, on the device.

A :class:`Text` is a batch of texts as tokens. A :class:`TextTask` says which texts are complete,
what these are worth, and which lines count as the same. What an unfinished text is worth, an
evaluator says (``lm_evaluators``).
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
    logprob: jax.Array  # [R] float32: log p(lines so far | prompt), untempered, in nats


class TextTask(NamedTuple):
    """What the search must know of a kind of texts: pure functions of R texts."""

    is_terminal: Callable[[Text], jax.Array]  # [R] bool: is the text complete?
    # [R] float32, what a complete text is worth; None if the evaluator says so
    reward: Callable[[Text], jax.Array] | None
    # [R] bool: is the last line right in form? and [R, W] int32: texts with equal rows are the same
    identity: Callable[[Text], tuple[jax.Array, jax.Array]]


def append(text: Text, line: jax.Array, length: jax.Array, logprob: jax.Array) -> Text:
    """The texts with one more line behind each; what no longer fits is lost in front.

    Args:
      line: tokens ``[R, T]``, of which ``length[R]`` count.
      logprob: of the line, ``[R]``, in nats.
    """
    width = text.tokens.shape[1]
    columns = length[:, None] + jnp.arange(width)  # the last P columns behind the line's end
    tokens = jnp.concatenate([text.tokens, line], 1)
    mask = jnp.concatenate([text.mask, jnp.ones_like(line, bool)], 1)
    return Text(
        tokens=jnp.take_along_axis(tokens, columns, 1),
        mask=jnp.take_along_axis(mask, columns, 1),
        logprob=text.logprob + logprob,
    )


def append_each(text: Text, lines: jax.Array, lengths: jax.Array, logprobs: jax.Array) -> Text:
    """R * N texts: each of R texts with each of its N lines behind it.

    Args:
      lines: tokens ``[R, N, T]``, of which ``lengths[R, N]`` count.
      logprobs: of the lines, ``[R, N]``, in nats.
    """
    _, num_lines, max_line = lines.shape
    repeated = jax.tree.map(lambda x: jnp.repeat(x, num_lines, axis=0), text)
    return append(repeated, lines.reshape(-1, max_line), lengths.reshape(-1), logprobs.reshape(-1))


# ---- tasks


def game24(abc: g24.Alphabet, *, check: bool = True, board: bool = False) -> TextTask:
    """Texts that begin with ``24: 4 6 8 2``; lines that leave the same numbers are the same.

    Args:
      abc: the tokens of the game, see ``game24_tokens.alphabet``.
      check: a leaf is worth 1 if it passes the solution test (every move right, 24 left), the test
        that BFS and DFS stop by. False: if it *says* that 24 is left.
      board: lines with a wrong move are dropped.
    """

    def read(text: Text) -> g24.Trace:
        return g24.read_trace(abc, text.tokens, text.mask)

    def is_terminal(text: Text) -> jax.Array:
        return read(text).moves == 3

    def reward(text: Text) -> jax.Array:
        trace = read(text)
        says_24 = (trace.moves == 3) & (g24.numbers_left(trace)[:, -1] == 24)
        passes = g24.is_right(trace) if check else True
        return (says_24 & passes).astype(jnp.float32)

    def identity(text: Text) -> tuple[jax.Array, jax.Array]:
        trace = read(text)
        is_right = g24.is_right(trace) if board else True
        return (trace.moves > 0) & is_right, g24.numbers_left(trace)

    return TextTask(is_terminal=is_terminal, reward=reward, identity=identity)


def reasoning_lines(eos_ids: Sequence[int], *, judged: bool = False) -> TextTask:
    """Any text; it is complete when its last line ends with an end-of-text token.

    Args:
      eos_ids: the end-of-text tokens.
      judged: True: a complete text is worth what the evaluator says. False: its probability.
    """

    def is_terminal(text: Text) -> jax.Array:
        return (text.tokens[:, -1:] == jnp.array(list(eos_ids))).any(-1)

    def probability(text: Text) -> jax.Array:
        return jnp.exp(text.logprob)

    def identity(text: Text) -> tuple[jax.Array, jax.Array]:
        return text.mask[:, -1], text.tokens

    reward = None if judged else probability
    return TextTask(is_terminal=is_terminal, reward=reward, identity=identity)
