"""Proposers: which thoughts may come next, for the searches of ``tree_of_thoughts``.

:func:`sample_thoughts` and :func:`propose_thoughts` become a ``propose(states) -> Proposals`` when
``functools.partial`` binds their other arguments (Yao et al. 2023, section 3, item 2).
:func:`continuations` is the decoding that they share with ``evaluators``.
"""

import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from jaxreason.decoding.completions import Completions, complete
from jaxreason.decoding.sampling import Sampler
from jaxreason.errors import InputError
from jaxreason.models.hf import LanguageModel
from jaxreason.search.tree_of_thoughts import Proposals, State, Thought


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
    store: Path | None = None,
) -> Proposals:
    """k independent thoughts of one line from each state, z ~ p(z | s) (section 3, item 2a).

    Every state is prefilled once. Its draws depend on the key and its text alone, not on the batch
    or the search that asks: two searches that reach one state see the same thoughts.

    Args:
      prompt: writes the text that the next thought continues.
      num_samples: k, the thoughts drawn from each state.
      sampler: of the thoughts.
      max_new_tokens: a thought that does not end (newline or end of text) in time is left out.
      least: the fewest states in a batch; a smaller batch is filled up, so that fewer shapes are
        compiled.
      rows: chains decoded at a time.
      store: a folder in which every line is kept, as in
        :func:`jaxreason.decoding.completions.complete`.

    Returns:
      thoughts for each state, repeats included, and the tokens generated for it.
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
        store=store,
    )
    thoughts = []
    for s in range(len(states)):
        chains = zip(drawn.texts[s], drawn.logprobs[s], drawn.finished[s], strict=True)
        thoughts.append(
            [Thought(text.rstrip("\n"), float(logprob)) for text, logprob, done in chains if done]
        )
    return Proposals(thoughts, drawn.num_tokens[: len(states)].sum(1))


def propose_thoughts(
    model: LanguageModel, key: jax.Array, states: list[State], *, num_thoughts: int, **options
) -> Proposals:
    """Up to k *different* thoughts from each state, the most probable first (section 3, item 2b).

    The paper asks for all k in one prompt so that they differ, which needs a model that follows
    instructions. Here they are the k most probable of the different ones among ``num_samples``
    draws, which works with any model.

    Args:
      num_thoughts: k, at least 1.
      options: of :func:`sample_thoughts`.

    Returns:
      thoughts for each state, and the tokens generated for it, repeats included.

    Raises:
      InputError: ``num_thoughts`` below 1.
    """
    if num_thoughts < 1:
        raise InputError(f"num_thoughts is {num_thoughts}: expected at least 1")
    drawn = sample_thoughts(model, key, states, **options)
    thoughts = []
    for row in drawn.thoughts:
        different = {thought.text: thought for thought in row}.values()
        ranked = sorted(different, key=lambda thought: -thought.logprob)
        thoughts.append(ranked[:num_thoughts])
    return Proposals(thoughts, drawn.tokens)


def continuations(
    model: LanguageModel, key: jax.Array, texts: list[str], least: int = 1, **options
) -> Completions:
    """Completions of each text, drawn from a key that depends on the text alone.

    The first text is repeated at the end until the batch has one of a few sizes, so that few shapes
    are compiled; callers drop what was drawn for the repeats.

    Args:
      least: the fewest texts in a batch.
      options: of :func:`jaxreason.decoding.completions.complete`.
    """
    missing = max(least, _bucket(len(texts))) - len(texts)
    texts = texts + texts[:1] * missing
    hashes = np.array([zlib.crc32(text.encode()) for text in texts], np.uint32)
    return complete(model, _text_keys(key, hashes), texts, **options)


@jax.jit
def _text_keys(key: jax.Array, hashes: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, hashes)


def _bucket(count: int) -> int:
    """The next power of two up to 64, then the next multiple of 64."""
    return 1 << (count - 1).bit_length() if count <= 64 else -(-count // 64) * 64
