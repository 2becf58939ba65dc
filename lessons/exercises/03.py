"""Exercises of lessons 03, 03b and 03c, tree of thoughts.

Fill in what raises NotImplementedError or is None, then run `jaxreason check 03`. A state is a
string. `children(state)` lists the states behind it, and `value(state)` says how promising it is.
"""

from collections.abc import Callable

import numpy as np


def next_level(
    level: list[str],
    children: Callable[[str], list[str]],
    value: Callable[[str], float],
    beam: int,
) -> list[str]:
    """1. Breadth first: the states that go on, the best first.

    They are the `beam` best children of all states of this level together. Each state counts once.
    Of equally good ones the one that was found first comes first.
    """
    raise NotImplementedError


def depth_first(
    state: str,
    children: Callable[[str], list[str]],
    value: Callable[[str], float],
    is_solution: Callable[[str], bool],
    threshold: float,
) -> list[str] | None:
    """2. Depth first: the states from this one to a solution, both included. None if none is found.

    If a child is a solution, the search is over, whatever its value. Else it goes into the children
    that score above the threshold, the best first, and comes back from those that lead nowhere.
    """
    raise NotImplementedError


def chains_within(solved: np.ndarray, num_tokens: np.ndarray, budget: np.ndarray) -> np.ndarray:
    """3. Which problems are solved by the chains that their tokens pay for.

    Chains are written one after another. The first one is always paid for.

    Args:
      solved: `[G, N]` bool, which chains are right.
      num_tokens: `[G, N]` their tokens.
      budget: `[G]` tokens of each problem.

    Returns:
      `[G]` bool.
    """
    raise NotImplementedError


# 4. Predict. A puzzle needs three moves, and every state has dozens of children. How many states
# does breadth-first search with a beam of 5 expand, before it sees the leaves? And a depth-first
# search whose first path is right? (A pair of whole numbers.)
EXPANDED = None

# 5. Break it. The start leads to a and b, a to a1 and a2, b to b1 and b2, and only b2 is a
# solution. Choose values between 0 and 1 with which a beam of 1 fails, while depth-first search
# with a threshold of 0.3 still finds b2. (A dictionary: {"a": ..., "b": ..., "a1": ...}.)
MISLEADING = None
