"""Thoughts: lines a model may write next, and how promising the states they lead to look (Yao et
al. 2023, section 3).

Two kinds of plain functions drive every search, so that any generator meets any evaluator:

    propose(states)  -> (thoughts, tokens)   for each state some next thoughts, and how many tokens
    they cost evaluate(states) -> (scores, tokens)     for each state how promising it is (higher is
    better), and the cost

Here they are, :func:`sample_thoughts` and :func:`propose_thoughts`, :func:`value_words`,
:func:`rollouts`, :func:`votes` and :func:`likelihood`, with arguments of their own before the
states: ``functools.partial`` binds those. A reward model or a value head needs no more than to be
such a function.
"""

import zlib
from collections.abc import Callable

import jax
import numpy as np

from jaxreason.decoding.completions import Completions, complete
from jaxreason.decoding.sampling import Sampler
from jaxreason.errors import InputError
from jaxreason.models.hf import LanguageModel
from jaxreason.search.tree_of_thoughts import State, Thought

# ---- generators: propose(states) after their other arguments are bound by functools.partial
# --------------------


def sample_thoughts(
    model: LanguageModel,
    key: jax.Array,
    states: list[State],
    *,
    prompt: Callable[[State], str],
    num_samples: int,
    sampler: Sampler = Sampler(),
    max_new_tokens: int = 24,
    least: int = 1,
    rows: int = 512,
) -> tuple[list[list[Thought]], np.ndarray]:
    """k independent thoughts of one line from each state, z ~ p(z | s) (section 3, item 2a).

    Every state is prefilled once. Its draws depend on the key and its text alone, not on the batch
    or the search that asks: two searches that reach one state see the same thoughts.

    Args:
      prompt: writes the text that the next thought continues.
      num_samples, sampler, max_new_tokens: a thought that does not end (newline or end of text) in
        time is left out.
      least: states that go through the model at least, some twice if need be, and ``rows`` chains
        at a time: fewer shapes are compiled.

    Returns:
      thoughts for each state, repeats included, and the tokens generated for it ``[S]``.
    """
    drawn = continuations(
        model,
        key,
        list(map(prompt, states)),
        least,
        sampler=sampler,
        max_new_tokens=max_new_tokens,
        num_samples=num_samples,
        stop_strings=("\n",),
        multiple=64,
        rows=rows,
    )
    thoughts = [
        [Thought(t.rstrip("\n"), float(lp)) for t, lp, done in zip(*row, strict=True) if done]
        for row in zip(drawn.texts, drawn.logprobs, drawn.finished, strict=True)
    ]
    return thoughts[: len(states)], drawn.num_tokens[: len(states)].sum(1)


def continuations(
    model: LanguageModel, key: jax.Array, texts: list[str], least: int = 1, **options
) -> Completions:
    """Those of each text, drawn from a key of its own; of the first one again and again behind
    them, so that few shapes are compiled.
    """
    texts = texts + texts[:1] * (max(least, _bucket(len(texts))) - len(texts))
    hashes = np.array([zlib.crc32(text.encode()) for text in texts], np.uint32)
    return complete(model, _text_keys(key, hashes), texts, **options)


@jax.jit
def _text_keys(key: jax.Array, hashes: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, hashes)


def _bucket(count: int) -> int:
    """The next power of two up to 64, then the next multiple of 64."""
    return 1 << (count - 1).bit_length() if count <= 64 else -(-count // 64) * 64


def propose_thoughts(
    model: LanguageModel, key: jax.Array, states: list[State], *, num_thoughts: int, **options
) -> tuple[list[list[Thought]], np.ndarray]:
    """Up to k *different* thoughts from each state, the most probable first (section 3, item 2b).

    The paper asks for all k in one prompt so that they differ, which needs a model that follows
    instructions. Here they are the k most probable of the different ones among ``num_samples``
    draws: same end, any model.

    Args:
      num_thoughts: k, at least 1.
      options: of :func:`sample_thoughts`.

    Raises:
      InputError: ``num_thoughts`` below 1.
    """
    if num_thoughts < 1:
        raise InputError(f"num_thoughts is {num_thoughts}: expected at least 1")
    thoughts, tokens = sample_thoughts(model, key, states, **options)
    different = [{thought.text: thought for thought in row}.values() for row in thoughts]
    return [
        sorted(row, key=lambda thought: -thought.logprob)[:num_thoughts] for row in different
    ], tokens
