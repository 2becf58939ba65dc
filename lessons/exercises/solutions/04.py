"""Solutions of lesson 04."""

import numpy as np


def labels(answers, gold):
    right = np.array([[answer == gold for answer in of_step] for of_step in answers])  # [S, K]
    return right.mean(1), right.any(1).astype(float)


def loss(logits, targets):
    counts = ~np.isnan(targets)
    y = np.where(counts, targets, 0.0)
    # -y log p - (1 - y) log(1 - p) with p = 1 / (1 + exp(-z)), without exp of a large number
    each = np.maximum(logits, 0) - y * logits + np.log1p(np.exp(-np.abs(logits)))
    return np.where(counts, each, 0.0).sum() / counts.sum()


def first_error(scores):
    below = scores < 0.5  # NaN is not below anything
    return np.where(below.any(1), below.argmax(1), -1)


# All four rollouts fail: 0.8 to the power of 4. That is why a PRM is trained on many steps.
MISSED = 0.41

# Two slips that cancel: 45 - 12 is 33, and 34 + 7 is 41. The checker refuses both lines.
LUCKY = "45-12=34\n34+7=40\n#### 40"
