"""Solutions of lesson 05."""

import math

import numpy as np


def best_of_n(scores, ids):
    answered = ids >= 0
    usable = np.where(answered | ~answered.any(1, keepdims=True), scores, -np.inf)
    return usable.argmax(1)  # argmax takes the first of equals


def weighted_vote(ids, scores):
    weights = np.where(ids >= 0, scores, 0.0)
    same = ids[:, :, None] == ids[:, None, :]  # [G, N, N]
    totals = (same * weights[:, None, :]).sum(2)  # [G, N] for the answer of each chain
    return np.take_along_axis(ids, totals.argmax(1)[:, None], 1)[:, 0]


def pass_at_k(num_right, n, k):
    # Python's integers are exact, however large; their quotient is a float between 0 and 1.
    return 1 - math.comb(n - num_right, k) / math.comb(n, k)


# (1 - 0.5^10) / 2 + (1 - 0.99^10) / 2. From the average p of 0.255 one would expect 0.95.
MIXED = 0.547

# The scores say which problem is easy. Within a problem they put a wrong chain first.
RIGHT = [[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
FOOLED = [[0.8, 0.8, 0.8, 0.9], [0.7, 0.7, 0.7, 0.75], [0.2, 0.25, 0.1, 0.1], [0.2, 0.25, 0.1, 0.1]]


def systematic(weights, u):
    ends = np.cumsum(weights) / np.sum(weights)
    points = (np.arange(len(weights)) + u) / len(weights)
    return np.searchsorted(ends, points, side="right")
