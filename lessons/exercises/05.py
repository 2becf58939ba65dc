"""Exercises of lesson 05, best of N.

Fill in what raises NotImplementedError or is None, then run `jaxreason check 05`. An id is the
number of an answer: equal ids are equal answers of the same problem, -1 is no answer.
"""

import numpy as np


def best_of_n(scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """1. The index of the best-scored chain of each problem, the first of equals.

    A chain without an answer is chosen only where no chain has one.

    Args:
      scores: `[G, N]`, any numbers.
      ids: `[G, N]` integers, -1 is no answer.

    Returns:
      `[G]` integers.
    """
    raise NotImplementedError


def weighted_vote(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """2. The id with the largest sum of scores, for each problem; -1 where no chain has an answer.

    Args:
      ids: `[G, N]` integers, -1 is no answer.
      scores: `[G, N]` positive numbers.

    Returns:
      `[G]` integers.
    """
    raise NotImplementedError


def pass_at_k(num_right: int, n: int, k: int) -> float:
    """3. The chance that at least one of k chains is right, drawn from n without putting back.

    It has to be right for n = 10,000 too.

    Args:
      num_right: how many of the n chains are right.
      n: chains.
      k: from 1 to n.
    """
    raise NotImplementedError


# 4. Predict. On half of the problems a chain is right with probability 0.5, on the other half with
# probability 0.01. What is pass@10 over all of them? (A number between 0 and 1, right to 0.02.)
MIXED = None

# 5. Break it. Four problems with four chains each; RIGHT says which chains are right. Choose scores
# `[4][4]` so that a right chain outscores a wrong one in at least 70% of all pairs, over all
# problems (an AUC of 0.7), and yet the best of 4 is wrong on every problem.
RIGHT = [[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
FOOLED = None


def systematic(weights: np.ndarray, u: float) -> np.ndarray:
    """6. Systematic resampling of particles (lesson 05c).

    The particles divide 0..1 among them, in their order, each in proportion to its weight. N points
    stand at (0 + u) / N, (1 + u) / N, ... Each point draws the particle in whose share it lies; a
    share has its beginning, but not its end.

    Args:
      weights: `[N]` numbers of 0 or more, not all 0. They need not sum to 1.
      u: from 0 to 1, without 1.

    Returns:
      `[N]` integers, the particles drawn, in ascending order.
    """
    raise NotImplementedError
