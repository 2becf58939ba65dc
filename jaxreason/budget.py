r"""Budget forcing: how long a model thinks is decided for it, inside the compiled decode loop.

Muennighoff et al. 2025 (s1: Simple test-time scaling), section 3.1. Thinking ends where the model writes the end of thinking:
``</think>``, the ``####`` before an answer, or the end of its turn.

- *Minimum*: the token that would end it is suppressed, and a continuation string such as ``Wait`` written in its place, up to
  k times in a chain. The model goes on from there.
- *Maximum*: after so many tokens of thinking the answer's prefix, such as ``\n#### ``, is written, and the model answers.

Both are a pure rule that :func:`jaxreason.rollout.generate` applies to every token drawn, with a state for each chain.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.errors import InputError
from jaxreason.models.hf import LanguageModel
from jaxreason.rollout import Completions, Rule, Stop, compile_stop, complete
from jaxreason.sampling import Sampler

UNLIMITED = np.iinfo(np.int32).max


class Strings(NamedTuple):
    """What a budget watches for, and what it writes."""

    end: Stop  # final behind the end of thinking
    tokens: np.ndarray  # [1 + S, F] int32: the answer's prefix, then S continuation strings; -1 behind the end of each


class Budget(NamedTuple):
    """What is left of a chain's budget, and where it is; arrays of one shape, ``[G, N]`` outside of the loop and ``[R]`` inside."""

    waits: np.ndarray  # int32, how many more ends of thinking are suppressed
    thinking: np.ndarray  # int32, how many more tokens of thinking before the answer is forced
    used: np.ndarray  # int32, waits so far
    state: np.ndarray  # int32, of the automaton `end`
    string: np.ndarray  # int32, the string being written
    offset: np.ndarray  # int32, its next token


def start(waits: int | np.ndarray, at_most: int | np.ndarray | None, shape: tuple[int, ...]) -> Budget:
    """Budgets before the first token.

    Args:
      waits: ends of thinking that are suppressed, a number or an array that broadcasts to ``shape``.
      at_most: tokens of thinking, the continuation strings included; None is no limit.
      shape: ``[G, N]``.

    Raises:
      InputError: a negative number, one that is no integer, or an array of another shape.
    """
    columns = []
    for name, value in (("waits", waits), ("at_most", UNLIMITED if at_most is None else at_most)):
        value = np.asarray(value)
        if value.dtype.kind not in "iu" or (value < 0).any():
            raise InputError(f"{name} is {value.tolist()}: expected integers, 0 or more")
        try:
            columns.append(np.broadcast_to(value, shape).astype(np.int32))
        except ValueError:
            raise InputError(
                f"{name} has shape {list(value.shape)}: expected one number, or what broadcasts to {list(shape)}, chains of prompts"
            ) from None
    zeros = np.zeros(shape, np.int32)
    return Budget(*columns, zeros, zeros, zeros, zeros + UNLIMITED)


def force(strings: Strings, budget: Budget, token: jax.Array) -> tuple[Budget, jax.Array]:
    """The rule: ``token [R]`` as drawn -> the token to be written ``[R]``, and what is left of the budgets."""
    next_state, tokens = jnp.asarray(strings.end.next_state), jnp.asarray(strings.tokens)
    final, lengths = next_state.shape[1] - 1, (tokens >= 0).sum(-1)
    under_way = budget.state != final
    writing = budget.offset < lengths[budget.string]

    answer = under_way & (budget.thinking == 0)
    ends = under_way & ~writing & (next_state[token, budget.state] == final)
    wait = ends & ~answer & (budget.waits > 0)
    string = jnp.where(answer, 0, jnp.where(wait, 1 + budget.used % (len(tokens) - 1), budget.string))
    offset = jnp.where(answer | wait, 0, budget.offset)
    writing = offset < lengths[string]
    token = jnp.where(writing, tokens[string, jnp.minimum(offset, tokens.shape[1] - 1)], token)
    return (
        Budget(
            waits=budget.waits - wait,
            thinking=budget.thinking - (under_way & ~answer),
            used=budget.used + wait,
            state=jnp.where(answer, final, next_state[token, budget.state]),
            string=string,
            offset=jnp.where(writing, offset + 1, budget.offset),
        ),
        token,
    )


def compile_rule(
    tokenizer,
    *,
    ends: Sequence[str] = (),
    continuations: Sequence[str] = ("Wait\n",),
    answer: str = "\n#### ",
    eos_ids: Sequence[int] = (),
) -> Rule:
    """The rule of :func:`jaxreason.rollout.generate`; its state is from :func:`start`.

    Args:
      tokenizer: of the model.
      ends: strings that end thinking, beside the end-of-text token and ``eos_ids``. Only the token that completes one is
        suppressed, so of a string of several tokens the first ones stay: give one that the vocabulary has as a token.
      continuations: S strings; the i-th wait of a chain writes number ``i mod S``.
      answer: written when the tokens of thinking are spent.
      eos_ids: of the model.

    Raises:
      InputError: a string is empty, or a continuation would itself end thinking.
    """
    if not continuations or not all((answer, *ends, *continuations)):
        empty = "answer" if not answer else "end of thinking" if not all(ends) else "continuation string"
        raise InputError(f"{empty} is empty: expected at least one character")
    end = compile_stop(tokenizer, ends, eos_ids)
    encoded = tokenizer([answer, *continuations], add_special_tokens=False).input_ids
    for text, ids in zip(continuations, encoded[1:], strict=True):
        state = 0
        for token in ids:
            state = end.next_state[token, state]
        if state == end.next_state.shape[1] - 1:
            raise InputError(f"continuation string {text!r} holds an end of thinking: expected one that goes on")
    tokens = np.full((len(encoded), max(map(len, encoded))), -1, np.int32)
    for row, ids in enumerate(encoded):
        tokens[row, : len(ids)] = ids
    return jax.tree_util.Partial(force, Strings(end, tokens))


def complete_within(
    model: LanguageModel,
    prompts: Sequence[str],
    key: jax.Array,
    *,
    waits: int | np.ndarray = 0,
    at_most: int | np.ndarray | None = None,
    ends: Sequence[str] = (),
    continuations: Sequence[str] = ("Wait\n",),
    answer: str = "\n#### ",
    sampler: Sampler,
    max_new_tokens: int,
    num_samples: int = 1,
    stop_strings: Sequence[str] = (),
    rows: int = 512,
    description: str | None = None,
    folder: Path | None = None,
) -> Completions:
    """:func:`jaxreason.rollout.complete` under a budget; ``rule_state.used [G, N]`` of the result are the waits written.

    Without waits or a limit it is ``complete``, bit for bit. What is written for the model counts among its tokens, and has the
    log-probability that the model gives it.

    Args:
      model, prompts, key, sampler, max_new_tokens, num_samples, stop_strings, rows, description, folder: as there. What stops a
        chain ends its thinking, too.
      waits: ends of thinking that are suppressed: a number, or one for each prompt ``[G, 1]`` or chain ``[G, N]``.
      at_most: tokens of thinking before the answer is forced, likewise; None is no limit.
      ends, continuations, answer: as in :func:`compile_rule`.

    Raises:
      InputError: as :func:`start`, :func:`compile_rule` and ``complete``.
    """
    rule = compile_rule(
        model.tokenizer, ends=[*ends, *stop_strings], continuations=continuations, answer=answer, eos_ids=model.eos_ids
    )
    return complete(
        model, prompts, key, sampler=sampler, max_new_tokens=max_new_tokens, num_samples=num_samples,
        stop_strings=stop_strings, rows=rows, description=description, folder=folder, rule=rule,
        rule_state=start(waits, at_most, (len(prompts), num_samples)),
    )  # fmt: skip


def allocate(difficulty: np.ndarray, mean: float, *, least: int, most: int) -> np.ndarray:
    """Chains or waits for each problem, more where it is harder: int32 ``[G]``, ``mean`` of them a problem on average or just under.

    n_g = least + floor(s d_g), at most ``most``, with the largest s that the mean allows. It is measured difficulty that decides,
    such as the entropy of a few votes (:func:`jaxreason.vote.entropy`): where they all agree, a problem gets the least.

    Raises:
      InputError: a difficulty that is negative or not finite, or limits that do not hold least <= mean <= most.
    """
    difficulty = np.asarray(difficulty, np.float64)
    if not (np.isfinite(difficulty).all() and (difficulty >= 0).all()):
        raise InputError("difficulty is not finite or negative somewhere: expected numbers of 0 or more")
    if not 0 <= least <= mean <= most:
        raise InputError(f"mean is {mean}: expected 0 <= least = {least} <= mean <= most = {most}")

    def at(scale: float) -> np.ndarray:
        return np.minimum(least + np.floor(scale * difficulty), most).astype(np.int32)

    low, high = 0.0, (most - least + 1) / min(difficulty[difficulty > 0], default=1.0)
    if at(high).mean() <= mean:
        return at(high)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).mean() <= mean else (low, middle)
    return at(low)


def compute_optimal(right: np.ndarray, cost: np.ndarray, budgets: Sequence[float]) -> np.ndarray:
    """For each budget the best choice of a method in every difficulty bin: int ``[len(budgets), B]``, -1 where none is affordable.

    Snell et al. 2024, section 3: the strategy that is best for a question's difficulty at a given compute, found on other problems
    than those it is used on. They give every question the same compute; here it is the mean that is given, so what easy bins
    save, hard bins may spend. The answer is exact: the Pareto fronts of the bins are added up one by one.

    Args:
        right: ``[C, B]`` problems that each of C methods solves in each of B bins, in shares of all problems.
        cost: ``[C, B]`` what it costs there, likewise, so that both add up to means over all problems.
        budgets: mean cost of a problem at most.

    Of equally good choices the cheapest is taken.

    Raises:
        InputError: arrays of different shapes, or what is not finite.
    """
    right, cost = np.asarray(right, np.float64), np.asarray(cost, np.float64)
    if right.shape != cost.shape or right.ndim != 2 or not (np.isfinite(right).all() and np.isfinite(cost).all()):
        raise InputError(f"right {list(right.shape)}, cost {list(cost.shape)}: expected finite numbers [C, B] both")
    front: list[tuple[float, float, tuple[int, ...]]] = [(0.0, 0.0, ())]  # cost, right, the choices so far
    for r, c in zip(right.T, cost.T, strict=True):
        every = sorted(
            ((a + c[i], b + r[i], (*chosen, i)) for a, b, chosen in front for i in range(len(r))),
            key=lambda point: (point[0], -point[1]),
        )
        front = []
        for point in every:
            if not front or point[1] > front[-1][1] + 1e-12:
                front.append(point)
    chosen = [[f[2] for f in front if f[0] <= budget] for budget in budgets]
    return np.array([row[-1] if row else (-1,) * right.shape[1] for row in chosen])


def last_attempt(text: str, continuations: Sequence[str] = ("Wait\n",), end: str = "####") -> str:
    """What a text's answer rests on: the last piece between waits with any reasoning in it, and the answer itself.

    Earlier attempts are what the model itself went back on. A wait upon which the model at once answers starts no new attempt.
    Continuation strings count where they begin a line.
    """
    thought, marker, answer = text.partition(end)
    waits = "|".join(map(re.escape, continuations))
    pieces = [piece for piece in re.split(f"(?m)^(?:{waits})", thought) if piece.strip()]
    return (pieces[-1] if pieces else "") + marker + answer
