"""Exercises of lessons 10 and 10b, test-time compute.

Fill in what raises NotImplementedError or is None, then run `jaxreason check 10`.
"""

import numpy as np


def chain_flops(
    num_weights: int, num_layers: int, width: int, prompt: int, lengths: list[int]
) -> int:
    """1. What a prompt and its chains cost, with keys and values kept.

    A token that sees c positions, itself included, costs 2 FLOPs for each weight and
    4 * num_layers * width * c for attention. The prompt is read once for all chains. Its last token
    gives every chain its first token. Each further token of a chain costs one pass.

    Args:
      num_weights, num_layers, width: of the model; width is heads times head_dim.
      prompt: tokens of the prompt.
      lengths: tokens of each chain.
    """
    raise NotImplementedError


def pareto_front(cost: np.ndarray, right: np.ndarray) -> np.ndarray:
    """2. Which methods are on the front: none that costs as much or less is better.

    Args:
      cost, right: `[M]` of M methods.

    Returns:
      bool `[M]`.
    """
    raise NotImplementedError


def best_plan(solved: np.ndarray, cost: np.ndarray, budget: float) -> list[int] | None:
    """3. The method of every bin that solves most within the budget.

    Of plans that solve equally many the cheapest one is taken.

    Args:
      solved: `[C, B]` share of all problems that method c solves in bin b.
      cost: `[C, B]` what it costs there; costs of the bins add up.
      budget: what all bins together may cost.

    Returns:
      B methods, or None if no plan is affordable.
    """
    raise NotImplementedError


# 4. Predict. A token of the small model costs 1, of the large model 13, and of the verifier 2 to
# read. A prompt has 60 tokens and a chain 35. The verifier reads the prompt once and every chain.
# How many chains of the small model, all of them judged, cost no more than one chain of the large
# model? (Count every token once, and forget attention.)
NUM_CHAINS = None

# 5. Break it. Two methods cost the same, and each bin holds half of the problems. We choose a
# method for each bin, and one for both, on validation. Find shares for which the choice by bin
# looks better on validation and is worse on the test. (Two 2 x 2 lists, validation and test:
# [method][bin], each from 0 to 0.5, and no share differs by more than 0.1 between the splits.)
SPLITS = None
