"""When a chain ends: an automaton that finds stop strings and end-of-text tokens inside jit."""

from collections.abc import Container, Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from jaxreason.errors import InputError
from jaxreason.models.tokens import token_bytes


class Stop(NamedTuple):
    """An automaton over tokens, from :func:`compile_stop`: it starts in state 0, and a chain ends
    when it comes to the last state.
    """

    # [V + 1, S] int32: state after a token; the last row is of ids the tokenizer does not have
    next_state: np.ndarray

    @property
    def final(self) -> int:
        """The state in which a chain has ended."""
        return self.next_state.shape[1] - 1


def compile_stop(
    tokenizer: PreTrainedTokenizerBase, strings: Sequence[str] = (), eos_ids: Sequence[int] = ()
) -> Stop:
    """Stops at an end-of-text token, and as soon as the completion contains one of the strings.

    The strings are matched on bytes, and the steps over the bytes of a token are composed to one
    step: so a string is found inside a token and across the borders of any number of tokens. The
    automaton over bytes is that of Aho & Corasick 1975.

    Args:
      tokenizer: of the model; its own end-of-text token ends a chain too.
      strings: what else ends a chain.
      eos_ids: further tokens that end one.

    Raises:
      InputError: a string is empty.
    """
    if any(not s for s in strings):
        raise InputError("stop string is empty: expected at least one character")
    after_byte = _byte_automaton([s.encode() for s in strings])
    num_states = len(after_byte)
    pieces = token_bytes(tokenizer)
    ends = {tokenizer.eos_token_id, *eos_ids} - {None}
    # Embeddings may be padded beyond the tokenizer: JAX reads the last row for those ids, and it
    # changes nothing.
    num_ids = max([len(pieces), *(i + 1 for i in ends)])
    next_state = np.tile(np.arange(num_states, dtype=np.int32), (num_ids + 1, 1))
    if strings:
        for token, piece in enumerate(pieces):
            for byte in piece:
                next_state[token] = after_byte[next_state[token], byte]
    next_state[list(ends)] = num_states - 1
    return Stop(next_state)


def _byte_automaton(patterns: Sequence[bytes]) -> np.ndarray:
    """State after a byte, int32 ``[S, 256]`` (Aho & Corasick 1975).

    A state stands for the longest prefix of a pattern that the bytes so far end with; state 0 is
    the empty one. The last state is reached when a pattern is complete, and never left.
    """
    prefixes = sorted({p[:n] for p in patterns for n in range(len(p))} | {b""})
    state_of = {prefix: state for state, prefix in enumerate(prefixes)}
    final = len(prefixes)
    after_byte = np.full((final + 1, 256), final, np.int32)
    for prefix, state in state_of.items():
        for byte in range(256):
            read = prefix + bytes([byte])
            if not read.endswith(tuple(patterns)):
                after_byte[state, byte] = state_of[_longest_suffix(read, state_of)]
    return after_byte


def _longest_suffix(text: bytes, known: Container[bytes]) -> bytes:
    """The longest suffix of a text that is known; the empty one always is."""
    suffixes = (text[i:] for i in range(len(text) + 1))
    return next(suffix for suffix in suffixes if suffix in known)
