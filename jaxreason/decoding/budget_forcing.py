r"""Budget forcing: how long a model thinks is decided for it, inside the compiled decode loop.

Muennighoff et al. 2025 (s1: Simple test-time scaling), section 3.1. Thinking ends where the model
writes the end of thinking: ``</think>``, the ``####`` before an answer, or the end of its turn.

- *Minimum*: the token that would end it is suppressed, and a continuation string such as ``Wait``
  written in its place, up to k times in a chain. The model goes on from there.
- *Maximum*: after so many tokens of thinking the answer's prefix, such as ``\n#### ``, is written,
  and the model answers.

Both are a pure rule that :func:`jaxreason.decoding.rollout.generate` applies to every token drawn,
with a state for each chain.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.decoding.completions import Completions, complete
from jaxreason.decoding.rollout import Rule
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import Stop, compile_stop
from jaxreason.errors import InputError
from jaxreason.models.hf import LanguageModel

UNLIMITED = np.iinfo(np.int32).max


class Strings(NamedTuple):
    """What a budget watches for, and what it writes."""

    end: Stop  # final behind the end of thinking
    # [1 + S, F] int32: the answer's prefix, then S continuation strings; -1 behind the end of each
    tokens: np.ndarray


class Budget(NamedTuple):
    """What is left of each chain's budget, and where it is.

    Arrays of one shape: ``[G, N]`` outside of the decode loop, ``[R]`` inside.
    """

    waits: np.ndarray  # int32, how many more ends of thinking are suppressed
    thinking: np.ndarray  # int32, how many more tokens of thinking before the answer is forced
    used: np.ndarray  # int32, waits so far
    state: np.ndarray  # int32, of the automaton `end`
    string: np.ndarray  # int32, the string being written
    offset: np.ndarray  # int32, its next token


def start(
    waits: int | np.ndarray, at_most: int | np.ndarray | None, shape: tuple[int, ...]
) -> Budget:
    """Budgets before the first token.

    Args:
      waits: ends of thinking that are suppressed, a number or an array that broadcasts to
        ``shape``.
      at_most: tokens of thinking, the continuation strings included; None is no limit.
      shape: ``[G, N]``.

    Raises:
      InputError: a negative number, one that is no integer, or an array of another shape.
    """
    zeros = np.zeros(shape, np.int32)
    return Budget(
        waits=_broadcast("waits", waits, shape),
        thinking=_broadcast("at_most", UNLIMITED if at_most is None else at_most, shape),
        used=zeros,
        state=zeros,
        string=zeros,
        offset=zeros + UNLIMITED,
    )


def _broadcast(name: str, value: int | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The value of a setting for every chain, int32 of that shape."""
    value = np.asarray(value)
    if value.dtype.kind not in "iu" or (value < 0).any():
        raise InputError(f"{name} is {value.tolist()}: expected integers, 0 or more")
    try:
        return np.broadcast_to(value, shape).astype(np.int32)
    except ValueError:
        raise InputError(
            f"{name} has shape {list(value.shape)}: expected one number, or what broadcasts to "
            f"{list(shape)}, chains of prompts"
        ) from None


def force(strings: Strings, budget: Budget, token: jax.Array) -> tuple[Budget, jax.Array]:
    """The rule: ``token [R]`` as drawn -> the budgets that are left, and ``token [R]`` to write."""
    next_state, tokens = jnp.asarray(strings.end.next_state), jnp.asarray(strings.tokens)
    final, lengths = strings.end.final, (tokens >= 0).sum(-1)
    under_way = budget.state != final
    writing = budget.offset < lengths[budget.string]

    answer = under_way & (budget.thinking == 0)
    ends = under_way & ~writing & (next_state[token, budget.state] == final)
    wait = ends & ~answer & (budget.waits > 0)
    continuation = 1 + budget.used % (len(tokens) - 1)
    string = jnp.where(answer, 0, jnp.where(wait, continuation, budget.string))
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
    """The rule of :func:`jaxreason.decoding.rollout.generate`; its state is from :func:`start`.

    Args:
      tokenizer: of the model.
      ends: strings that end thinking, beside the end-of-text token and ``eos_ids``. Only the token
        that completes one is suppressed, so of a string of several tokens the first ones stay: give
        one that the vocabulary has as a token.
      continuations: S strings; the i-th wait of a chain writes number ``i mod S``.
      answer: written when the tokens of thinking are spent.
      eos_ids: of the model.

    Raises:
      InputError: a string is empty, or a continuation would itself end thinking.
    """
    given = {
        "answer": [answer],
        "end of thinking": ends,
        "continuation string": continuations or [""],
    }
    for name, texts in given.items():
        if not all(texts):
            raise InputError(f"{name} is empty: expected at least one character")
    end = compile_stop(tokenizer, ends, eos_ids)
    encoded = tokenizer([answer, *continuations], add_special_tokens=False).input_ids
    for text, ids in zip(continuations, encoded[1:], strict=True):
        state = 0
        for token in ids:
            state = end.next_state[token, state]
        if state == end.final:
            raise InputError(
                f"continuation string {text!r} holds an end of thinking: expected one that goes on"
            )
    tokens = np.full((len(encoded), max(map(len, encoded))), -1, np.int32)
    for row, ids in enumerate(encoded):
        tokens[row, : len(ids)] = ids
    return jax.tree_util.Partial(force, Strings(end, tokens))


def complete_within(
    model: LanguageModel,
    key: jax.Array,
    prompts: Sequence[str],
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
    store: Path | None = None,
) -> Completions:
    """:func:`jaxreason.decoding.completions.complete` under a budget of thinking.

    Without waits or a limit it is ``complete``, bit for bit. What is written for the model counts
    among its tokens, and has the log-probability that the model gives it.

    Args:
      model, prompts, key, sampler, max_new_tokens, num_samples: as there.
      stop_strings: as there; what stops a chain ends its thinking, too.
      rows, description, store: as there.
      waits: ends of thinking that are suppressed: a number, or one for each prompt ``[G, 1]`` or
        chain ``[G, N]``.
      at_most: tokens of thinking before the answer is forced, likewise; None is no limit.
      ends, continuations, answer: as in :func:`compile_rule`.

    Returns:
      Completions, whose ``rule_state.used [G, N]`` is how many waits each chain was given.

    Raises:
      InputError: as :func:`start`, :func:`compile_rule` and ``complete``.
    """
    rule = compile_rule(
        model.tokenizer,
        ends=[*ends, *stop_strings],
        continuations=continuations,
        answer=answer,
        eos_ids=model.eos_ids,
    )
    return complete(
        model,
        key,
        prompts,
        sampler=sampler,
        max_new_tokens=max_new_tokens,
        num_samples=num_samples,
        stop_strings=stop_strings,
        rows=rows,
        description=description,
        store=store,
        rule=rule,
        rule_state=start(waits, at_most, (len(prompts), num_samples)),
    )
