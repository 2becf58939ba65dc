"""Solutions of lesson 02."""

import numpy as np


def majority(answers):
    counts = {}
    for answer in answers:
        if answer is not None:
            counts[answer] = counts.get(answer, 0) + 1
    return max(counts, key=counts.get) if counts else None  # max keeps the first of equals


def weighted_vote(answers, logprobs, mask):
    mean_logprob = np.where(mask, logprobs, 0.0).sum(1) / mask.sum(1)
    weights = {}
    for answer, weight in zip(answers, np.exp(mean_logprob), strict=True):
        if answer is not None:
            weights[answer] = weights.get(answer, 0.0) + weight
    return max(weights, key=weights.get) if weights else None


def accuracy_of_votes(ids, gold, n):
    sets = ids.reshape(len(ids), -1, n)  # [G, N / n, n]
    right = [
        [majority([i if i >= 0 else None for i in votes]) == answer for votes in sets_of_problem]
        for sets_of_problem, answer in zip(sets.tolist(), gold, strict=True)
    ]
    return np.mean(right, axis=1)


# The right answer needs more votes than each wrong one, not more than half. It expects 26 of 65
# votes and each other 13. Their difference has a standard deviation of 6: sqrt(65 (0.6 - 0.2^2)).
PLURALITY = 0.96

# One wrong answer that is more probable than the right one: all wrong chains agree.
WRONG_ANSWERS = [0.6]


def least_sure_group(confidence, mask, window):
    lowest = []
    for row, of_chain in zip(confidence, mask, strict=True):
        chain = row[of_chain]
        starts = range(len(chain) - window + 1)
        lowest.append(min(chain[start : start + window].mean() for start in starts))
    return np.array(lowest)


def acceptance(logp_now, logq_now, logp_new, logq_new, alpha):
    # Each chain's weight is p^alpha / q. The kept beginning is part of both, and cancels.
    log_weight_now = alpha * logp_now.sum() - logq_now.sum()
    log_weight_new = alpha * logp_new.sum() - logq_new.sum()
    # The place was one of T; on the way back it would be one of T'.
    ratio = np.exp(log_weight_new - log_weight_now) * len(logp_now) / len(logp_new)
    return min(1.0, float(ratio))
