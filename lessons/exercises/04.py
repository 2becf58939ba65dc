"""Exercises of lesson 04, process reward models.

Fill in what raises NotImplementedError or is None, then run `jaxreason check 04`.
"""

import numpy as np


def labels(answers: list[list[str | None]], gold: str) -> tuple[np.ndarray, np.ndarray]:
    """1. The soft and the hard labels of S steps, by rollouts from behind each of them.

    Args:
      answers: for each step the answers of its K rollouts; None is a rollout with no answer.
      gold: the right answer.

    Returns:
      soft `[S]`, the share of rollouts that are right, and hard `[S]`, 1.0 if any is right.
    """
    raise NotImplementedError


def loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """2. The binary cross-entropy in nats: the mean over the steps that have a target.

    It has to be right, and finite, for logits of 1000 and -1000 too.

    Args:
      logits: `[N, S]` scores of the steps of N chains.
      targets: `[N, S]` labels from 0 to 1, NaN where a step has none.
    """
    raise NotImplementedError


def first_error(scores: np.ndarray) -> np.ndarray:
    """3. The index of the first step of each chain that scores below 1/2, or -1 if none does.

    Args:
      scores: `[N, S]`, NaN behind the end of a chain.

    Returns:
      `[N]` integers.
    """
    raise NotImplementedError


# 4. Predict. From behind a right step the policy reaches the answer with probability 0.2. How often
# do four rollouts give that step the hard label 0? (A number between 0 and 1, right to 0.02.)
MISSED = None

# 5. Break it. "Tom has 45 apples. He eats 12. Then he buys 7." Its solution is 45-12=33, 33+7=40.
# Write a wrong solution that ends with the right answer. Its last label is 1, as labels know the
# answer alone. (A string of lines such as "45-12=33", the last one "#### 40".)
LUCKY = None
