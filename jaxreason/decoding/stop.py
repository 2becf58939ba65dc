"""When a chain ends: an automaton over tokens that finds stop strings and end-of-text tokens inside
jit.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from jaxreason.errors import InputError
from jaxreason.models.tokens import token_bytes


class Stop(NamedTuple):
    """When a chain ends: an automaton over tokens whose last state is final (see
    :func:`compile_stop`).
    """

    # [V + 1, S] int32: state after a token; the last row is of ids the tokenizer does not have
    next_state: np.ndarray


def compile_stop(
    tokenizer: PreTrainedTokenizerBase, strings: Sequence[str] = (), eos_ids: Sequence[int] = ()
) -> Stop:
    """Stops on the tokenizer's end-of-text token, on ``eos_ids``, and as soon as the completion
    contains a string.

    Strings are matched on bytes by an Aho-Corasick automaton (Aho & Corasick 1975) whose steps are
    composed per token, so a string is found inside a token and across the borders of any number of
    tokens.

    Raises:
      InputError: a string is empty.
    """
    if any(not s for s in strings):
        raise InputError("stop string is empty: expected at least one character")
    # The trie: states are the distinct prefixes of the strings, by length; a match moves to the
    # final state, for good.
    patterns = [s.encode() for s in strings]
    prefixes = sorted({p[:n] for p in patterns for n in range(len(p))} | {b""}, key=len)
    state_of = {prefix: state for state, prefix in enumerate(prefixes)}
    final = len(prefixes)
    by_byte = np.full((final + 1, 256), final, np.int32)
    for prefix, state in state_of.items():
        for byte in range(256):
            text = prefix + bytes([byte])
            if not any(text.endswith(p) for p in patterns):
                by_byte[state, byte] = next(
                    state_of[text[i:]] for i in range(len(text) + 1) if text[i:] in state_of
                )
    pieces = token_bytes(tokenizer)
    # Embeddings may be padded beyond the tokenizer: JAX reads the last row for those ids, and it
    # changes nothing.
    ends = {tokenizer.eos_token_id, *eos_ids} - {None}
    next_state = np.tile(
        np.arange(final + 1, dtype=np.int32), (max(len(pieces), *(i + 1 for i in ends), 0) + 1, 1)
    )
    for token, piece in enumerate(pieces):
        for byte in piece if patterns else b"":
            next_state[token] = by_byte[next_state[token], byte]
    next_state[list(ends)] = final
    return Stop(next_state)
