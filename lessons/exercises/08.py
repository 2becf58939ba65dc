"""Exercises of lessons 08, 08b and 08c, GRPO.

Fill in what raises NotImplementedError or is None, then run `jaxreason check 08`. B questions have
N chains each, of at most T tokens.
"""

import numpy as np


def group_advantages(rewards: np.ndarray) -> np.ndarray:
    """1. How many standard deviations a reward lies above the mean of its group.

    Where all rewards of a group are equal, its advantages are 0.

    Args:
      rewards: `[B, N]`, a group in each row.

    Returns:
      `[B, N]`.
    """
    raise NotImplementedError


def clipped_loss(
    logprobs: np.ndarray,
    old_logprobs: np.ndarray,
    reference: np.ndarray,
    advantages: np.ndarray,
    mask: np.ndarray,
    clip: float,
    beta: float,
) -> float:
    """2. The loss of GRPO for one group: a mean over each chain's tokens, then over the chains.

    Args:
      logprobs, old_logprobs, reference: `[N, T]` log-probabilities of the tokens by the policy, by
        the one that wrote them, and by the frozen reference. Anything may stand behind the end.
      advantages: `[N]`.
      mask: `[N, T]` bool, True on the tokens of the chain.
      clip, beta: epsilon, and the weight of the KL term.
    """
    raise NotImplementedError


def leave_one_out(rewards: np.ndarray) -> np.ndarray:
    """3. Improve the baseline: a reward minus the mean of the *other* rewards of its group (RLOO).

    A chain that is part of its own baseline pulls the baseline to itself.

    Args:
      rewards: `[B, N]`, N at least 2.

    Returns:
      `[B, N]`.
    """
    raise NotImplementedError


# 4. Predict. These tokens have the ratios and the advantages below, and epsilon is 0.2. Through
# which of them does no gradient flow (without the KL term)? (A set of indices, such as {0, 5}.)
RATIOS = [1.0, 1.3, 1.3, 0.7, 0.7, 1.1]
ADVANTAGES = [1.0, 1.0, -1.0, 1.0, -1.0, -1.0]
CLIPPED_TOKENS = None

# 5. Break it. A careless reward pays a chain if the right answer stands anywhere in its text. Write
# a chain that it pays though its answer, behind the last ####, is wrong. (The chain has three lines
# at most, and the last one is "#### " and a number.)
QUESTION, GOLD = "Tom has 3 boxes with 4 pens each. He loses 5 pens. How many pens are left?", 7
CHEAT = None


def vote_reward(answers: list[int | None]) -> np.ndarray:
    """6. The reward without labels: 1 for chains that give the group's most frequent answer.

    Of equally frequent answers, the one that was given first counts. A chain without an answer has
    no vote and earns 0. (Lesson 08c.)

    Args:
      answers: of the N chains of one question, None where a chain has no answer.

    Returns:
      `[N]`, 0 or 1.
    """
    raise NotImplementedError
