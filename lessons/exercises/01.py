"""Exercises of lesson 01, chain of thought.

Fill in what raises NotImplementedError or is None, then run `jaxreason check 01`.
"""

import numpy as np


def last_answer(text: str) -> int | None:
    """1. The whole number that a text states last.

    A number is stated behind `####`, `=`, `is` or `are`, with blanks or a `$` in between. It may
    have a sign and commas between thousands. Of several the last one counts. Numbers that are only
    mentioned, as in "3 bags", do not count.

    Returns:
      The number, such as -5 or 1234; None if none is stated.
    """
    raise NotImplementedError


def tempered_softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """2. Probabilities of the next token, at a temperature, for each row.

    At temperature 0 the most probable token has probability 1. Logits may be as large as 1000,
    where exp overflows: only their differences matter.

    Args:
      logits: `[B, V]`.
      temperature: 0 or more.

    Returns:
      `[B, V]`; every row sums to 1.
    """
    raise NotImplementedError


def top_p(probabilities: np.ndarray, p: float) -> np.ndarray:
    """3. Nucleus sampling (Holtzman et al. 2020): the tail of a distribution is cut off.

    Keep the smallest set of most probable tokens whose sum reaches p. The others get 0, and those
    that are kept are scaled to sum to 1.

    Args:
      probabilities: `[V]`, all different.
      p: more than 0, at most 1.

    Returns:
      `[V]`, in the order given.
    """
    raise NotImplementedError


def completion_logprob(logits: np.ndarray, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """4. log p(completion | prompt), the sum over the tokens of the completion.

    Args:
      logits: `[B, T, V]`; those at place t are about the token at place t + 1.
      tokens: `[B, T]`, prompt, completion and padding.
      mask: `[B, T]` bool, True on the tokens of the completion. The first token is never one.

    Returns:
      `[B]` log-probabilities in nats.
    """
    raise NotImplementedError


# 5. Predict. At six operations, 75% of the chains are right. Suppose that every line is right with
# the same probability, whatever the other lines are, and that a chain is right if all its lines
# are. How often are chains of twelve operations right? (A number between 0 and 1, right to 0.03.)
TWELVE_OPERATIONS = None
