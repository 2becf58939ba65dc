"""Exercises of lesson 07, budget forcing.

Fill in what raises NotImplementedError or is None, then run `jaxreason check 07`.
"""

import numpy as np


def think(draw, waits: int, at_most: int | None, max_tokens: int, end: str = "####") -> list[str]:
    """1. A chain of words, within a budget.

    Where the model draws ``end``, "Wait" is written in its place, up to ``waits`` times. Once
    ``at_most`` words of thinking are written, ``end`` is written whatever the model draws; None is
    no limit. Every "Wait" is a word of thinking, ``end`` is not. The chain goes on behind ``end``
    until the model draws "<eos>", which is not written, or until ``max_tokens`` words.

    Args:
      draw: ``draw(words) -> word``, the model: the next word behind those written so far.
      waits: how many ends are suppressed at most.
      at_most: words of thinking.
      max_tokens: of the chain.
      end: the end of thinking. The model does not draw "<eos>" before it.
    """
    raise NotImplementedError


def equal_tokens(right: np.ndarray, try_tokens: float, budget: float) -> np.ndarray:
    """2. The chance that any of the tries is right that a budget pays for, for each puzzle.

    The budget pays for n = budget / try_tokens tries, at least 1 and at most N. Between two whole
    numbers of tries interpolate their chances linearly.

    Args:
      right: `[G, N]` bool, N tries of G puzzles. The chance of n tries is over all sets of n.
      try_tokens: tokens of a try.
      budget: tokens of a puzzle.

    Returns:
      `[G]` numbers from 0 to 1.
    """
    raise NotImplementedError


def allocate(answers: list[list[str]], factor: float, least: int, most: int) -> np.ndarray:
    """3. A number of chains for each problem, by how much its first chains disagree.

    A problem gets ``least``, plus ``factor`` times the entropy of its answers (in nats, rounded
    down), but at most ``most``.

    Args:
      answers: for each of G problems the answers of a few chains.
      factor, least, most: of the rule.

    Returns:
      `[G]` integers.
    """
    raise NotImplementedError


# 4. Predict. One try solves a puzzle with probability 0.17, the same for every puzzle. How many do
# nine independent tries solve? (A number between 0 and 1, right to 0.02. On the puzzles of lesson
# 07, some of which are harder than others, we measured 0.70.)
NINE_TRIES = None

# 5. Break it. A model sees only the last word. It draws what NEXT says, such as {"a": "b"}. Choose
# NEXT so that its chain from "start" ends by itself, with "####", within ten words, but no longer
# ends once "Wait" is written in place of the first "####". (A dict with the keys "start" and
# "Wait" at least. A word without a key is followed by "####".)
NEXT = None
