"""What a node of ``lm_mcts`` holds, and how the language model expands it.

An action above 0 *appends* one of the K lines of a node: the new node is *fresh*, its text has a
value but no lines yet. Action 0 *writes*: the new node has the same text, with K new lines to
choose from. Nodes of both kinds are made for all problems, and each problem takes the one it needs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxreason.decoding.rollout import generate
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import Prompt
from jaxreason.search import mcts
from jaxreason.search.lm_evaluators import EvaluateFn, Evaluation, Weights
from jaxreason.search.lm_tasks import Text, TextTask, append, append_each

KNOWN = 64  # lines of a text that are remembered to tell repeats


class LineNode(NamedTuple):
    """The embedding of B nodes."""

    text: Text  # [B, P]
    lines: jax.Array  # [B, K, T] int32, what actions 1..K append; 0 at a fresh node
    lengths: jax.Array  # [B, K] int32, tokens of each line
    logprobs: jax.Array  # [B, K] float32, -inf for a line that cannot be chosen
    known: jax.Array  # [B, KNOWN] uint32: hashes of the lines written at this text so far
    mass: jax.Array  # [B] float32: the probability of all these lines together
    written: jax.Array  # [B] bool: made by writing; else fresh
    value: jax.Array  # [B] float32, of the text
    rollout: jax.Array  # [B, T'] int32, the end of the text that a rollout wrote
    rollout_length: jax.Array  # [B] int32, its tokens; 0 if it solved nothing
    cost: jax.Array  # [B] int32: tokens this node took, for its lines or its value


class Lines(NamedTuple):
    """K lines written behind each of R texts."""

    tokens: jax.Array  # [R, K, T] int32
    lengths: jax.Array  # [R, K] int32
    logprobs: jax.Array  # [R, K] float32, -inf for a repeat and for what is no line
    hashes: jax.Array  # [R, K] uint32, equal for lines that count as the same
    cost: jax.Array  # [R] int32, tokens written


def make_expand_fn(
    model: LanguageModel,
    task: TextTask,
    evaluate: EvaluateFn,
    *,
    num_lines: int,
    widen: float,
    sampler: Sampler,
    max_line: int,
    at_once: int,
) -> mcts.ExpandFn:
    """The ``expand_fn`` of :func:`jaxreason.search.mcts.search`, whose params are ``Weights``.

    Arguments are those of :func:`jaxreason.search.lm_mcts.searcher`.
    """
    write = _writer(model, task, num_lines=num_lines, sampler=sampler, max_line=max_line)

    def expand_fn(
        weights: Weights, keys: jax.Array, parent: LineNode, action: jax.Array
    ) -> mcts.Node:
        appends = action > 0  # [B]; the others write
        text = _select(appends, _append_chosen(parent, action), parent.text)
        terminal = task.is_terminal(text)
        # A terminal text has a reward and no value, unless the evaluator is to say its reward.
        needs_value = appends if task.reward is None else appends & ~terminal
        needs_lines = ~appends & ~terminal
        evaluation = map_where(needs_value, partial(evaluate, weights), (keys, text), at_once)
        lines = map_where(needs_lines, partial(write, weights), (keys, text, parent.known), at_once)

        fresh = fresh_node(text, evaluation, num_lines, max_line)
        node = _select(appends, fresh, _written_node(parent, text, lines))
        reward = evaluation.value if task.reward is None else task.reward(text)
        return mcts.Node(
            embedding=node,
            prior_logits=_prior_logits(node, widen),
            value=jnp.where(appends, node.value, node.value * (1.0 - parent.mass)),
            reward=jnp.where(terminal, reward, 0.0),
            discount=jnp.where(terminal, 0.0, 1.0),
        )

    return expand_fn


# ---- the two kinds of nodes


def fresh_node(text: Text, evaluation: Evaluation, num_lines: int, max_line: int) -> LineNode:
    """Nodes whose texts have been valued and have no lines yet."""
    batch = len(text.tokens)
    return LineNode(
        text=text,
        lines=jnp.zeros((batch, num_lines, max_line), jnp.int32),
        lengths=jnp.zeros((batch, num_lines), jnp.int32),
        logprobs=jnp.full((batch, num_lines), -jnp.inf),
        known=jnp.zeros((batch, KNOWN), jnp.uint32),
        mass=jnp.zeros(batch),
        written=jnp.zeros(batch, bool),
        value=evaluation.value,
        rollout=evaluation.rollout,
        rollout_length=evaluation.length,
        cost=evaluation.cost,
    )


def _written_node(parent: LineNode, text: Text, new: Lines) -> LineNode:
    """Nodes of their parents' texts with new lines."""
    probability = jnp.exp(new.logprobs).sum(-1)
    return LineNode(
        text=text,
        lines=new.tokens,
        lengths=new.lengths,
        logprobs=new.logprobs,
        known=jnp.concatenate([parent.known, new.hashes], 1)[:, -KNOWN:],
        mass=jnp.minimum(parent.mass + probability, 1.0),
        written=jnp.ones_like(parent.written),
        value=parent.value,
        rollout=jnp.zeros_like(parent.rollout),
        rollout_length=jnp.zeros_like(parent.rollout_length),
        cost=new.cost,
    )


def _prior_logits(node: LineNode, widen: float) -> jax.Array:
    """log P ``[B, 1 + K]``, not normalised: of writing, then of each line; see ``lm_mcts``."""
    unseen = jnp.maximum(1.0 - node.mass, 1e-3)  # writing stays possible
    return jnp.concatenate([jnp.log(widen * unseen)[:, None], node.logprobs], 1)


def _append_chosen(parent: LineNode, action: jax.Array) -> Text:
    """The texts with line ``action - 1`` behind them; without meaning for action 0."""
    row, line = jnp.arange(len(action)), jnp.maximum(action - 1, 0)
    return append(
        parent.text,
        parent.lines[row, line],
        parent.lengths[row, line],
        parent.logprobs[row, line],
    )


def _select(condition: jax.Array, yes: Any, no: Any) -> Any:
    """``jnp.where`` by rows, for two pytrees of ``[B, ...]``."""

    def choose(x, y):
        return jnp.where(condition.reshape(-1, *[1] * (y.ndim - 1)), x, y)

    return jax.tree.map(choose, yes, no)


# ---- writing


def _writer(
    model: LanguageModel, task: TextTask, *, num_lines: int, sampler: Sampler, max_line: int
) -> Callable[[Weights, jax.Array, Text, jax.Array], Lines]:
    """``(weights, keys [R], texts, known [R, KNOWN]) -> Lines``."""
    stop = compile_stop(model.tokenizer, ("\n",), model.eos_ids)

    def write(weights: Weights, keys: jax.Array, text: Text, known: jax.Array) -> Lines:
        drawn = generate(
            weights.lm,
            jax.vmap(lambda key: jax.random.split(key, num_lines))(keys),
            Prompt(text.tokens, text.mask),
            stop,
            cfg=model.cfg,
            sampler=sampler,
            max_new_tokens=max_line,
            num_samples=num_lines,
        )
        lengths, logprobs = drawn.mask.sum(-1), drawn.logprobs.sum(-1)  # [R, K]
        is_right, identity = task.identity(append_each(text, drawn.tokens, lengths, logprobs))
        is_line = is_right.reshape(-1, num_lines) & drawn.finished
        hashes = _hash(identity).reshape(-1, num_lines)
        is_new = ~_is_repeat(hashes, known)
        return Lines(
            tokens=drawn.tokens,
            lengths=lengths,
            logprobs=jnp.where(is_line & is_new, logprobs, -jnp.inf),
            hashes=hashes,
            cost=lengths.sum(-1),
        )

    return write


def _is_repeat(hashes: jax.Array, known: jax.Array) -> jax.Array:
    """Which lines ``[R, K]`` equal an earlier one of the same row or a known one."""
    equal = hashes[:, :, None] == hashes[:, None, :]  # [R, K, K]
    earlier = jnp.tril(equal, -1).any(-1)
    return earlier | (hashes[:, :, None] == known[:, None, :]).any(-1)


def _hash(identity: jax.Array) -> jax.Array:
    """uint32 ``[R]`` of int32 ``[R, W]``, never 0, which stands for no line."""
    odd = 2 * jax.random.bits(jax.random.key(0), identity.shape[-1:]) + 1
    mixed = (identity.astype(jnp.uint32) + 1) * odd
    mixed ^= mixed >> 15
    return jnp.maximum((mixed * odd[::-1]).sum(-1).astype(jnp.uint32), 1)


# ---- only the rows that need it


def map_where(need: jax.Array, fn: Callable[..., Any], args: tuple, at_once: int) -> Any:
    """``fn(*args)`` for the rows with ``need[B]``, zeros for the others.

    Only rows in need are computed, ``at_once`` of them in a call of ``fn``. So under jit the time
    depends on how many there are.

    Args:
      fn: a function of pytrees of ``[R, ...]`` to a pytree of ``[R, ...]``, row by row.
      args: its arguments, pytrees of ``[B, ...]``.
      at_once: R, the rows of one call; B if that is less.

    Returns:
      a pytree of ``[B, ...]``.
    """
    batch = len(need)
    size = min(at_once, batch)
    num_needed = need.sum()
    num_calls = (num_needed + size - 1) // size
    order = jnp.argsort(~need, stable=True)  # the rows in need first
    order = jnp.pad(order, (0, -batch % size), constant_values=batch)  # every call gets R rows

    def call(i: jax.Array, results: Any) -> Any:
        rows = jax.lax.dynamic_slice(order, (i * size,), (size,))
        answers = fn(*jax.tree.map(lambda x: x[jnp.minimum(rows, batch - 1)], args))
        is_needed = i * size + jnp.arange(size) < num_needed
        target = jnp.where(is_needed, rows, batch)  # row B does not exist: its answer is dropped
        return jax.tree.map(
            lambda old, new: old.at[target].set(new.astype(old.dtype), mode="drop"),
            results,
            answers,
        )

    return jax.lax.fori_loop(0, num_calls, call, _blank_results(fn, args, batch, size))


def _blank_results(fn: Callable[..., Any], args: tuple, batch: int, size: int) -> Any:
    """Zeros of the shapes that ``fn`` has for ``size`` rows, with ``batch`` rows."""
    part = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), args)
    shapes = jax.eval_shape(fn, *part)
    return jax.tree.map(lambda s: jnp.zeros((batch, *s.shape[1:]), s.dtype), shapes)
