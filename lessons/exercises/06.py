"""Exercises of lessons 06, 06b and 06c, Monte Carlo tree search.

Fill in what raises NotImplementedError or is None, then run `jaxreason check 06`.
"""

import numpy as np


def puct_scores(q: np.ndarray, prior: np.ndarray, visits: np.ndarray, c: float) -> np.ndarray:
    """1. The scores of all actions of a node: Q(s, a) + c P(s, a) sqrt(N(s)) / (1 + N(s, a)).

    N(s) is the visits of the actions, and one more for the node's own evaluation. An untried action
    has Q = 0, and one with a prior of 0 does not exist: it scores minus infinity.

    Args:
      q: `[A]` mean returns, and anything at all for actions that were not tried.
      prior: `[A]` P(s, a).
      visits: `[A]` N(s, a).
      c: the exploration constant.
    """
    raise NotImplementedError


def back_up(
    visits: np.ndarray,
    values: np.ndarray,
    rewards: np.ndarray,
    discounts: np.ndarray,
    path: list[int],
    leaf_value: float,
) -> tuple[np.ndarray, np.ndarray]:
    """2. The new visits and mean returns, after one simulation.

    Args:
      visits: `[N]` N(s) of all nodes, before.
      values: `[N]` V(s), the mean returns, before.
      rewards, discounts: `[N]` r and gamma of the step into each node.
      path: the nodes from the root to the new one.
      leaf_value: the value of the new node, its return.
    """
    raise NotImplementedError


def bandit(returns: np.ndarray, num_simulations: int, c: float) -> np.ndarray:
    """3. How often each action of a root is chosen.

    Each action ends the episode with the same return every time. All priors are equal. Of equal
    scores the first action is chosen.

    Args:
      returns: `[A]` between 0 and 1.
      num_simulations: how many actions are chosen, one after another.
      c: the exploration constant.

    Returns:
      `[A]` visits.
    """
    raise NotImplementedError


# 4. Predict. One action of a root always returns 1, the other always 0. Both have a prior of 1/2,
# and c = 1.25. How many of 64 simulations choose the worse one? (A whole number, right to 2.)
WORSE = None

# 5. Break it. In the first tree of lesson 06 the best leaf lies behind actions that the value
# dislikes. Choose a constant c above 0 with which 64 simulations never reach it.
EXPLORATION = None
