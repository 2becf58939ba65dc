"""Solutions of lessons 06, 06b and 06c."""

import numpy as np


def puct_scores(q, prior, visits, c):
    n = 1 + visits.sum()
    scores = np.where(visits > 0, q, 0.0) + c * prior * np.sqrt(n) / (1 + visits)
    return np.where(prior > 0, scores, -np.inf)


def back_up(visits, values, rewards, discounts, path, leaf_value):
    visits, values = visits.copy(), values.astype(float)
    target = leaf_value
    for node in reversed(path):
        values[node] += (target - values[node]) / (visits[node] + 1)
        visits[node] += 1
        target = rewards[node] + discounts[node] * target  # the return of the node above
    return visits, values


def bandit(returns, num_simulations, c):
    visits = np.zeros(len(returns), int)
    prior = np.full(len(returns), 1 / len(returns))
    for _ in range(num_simulations):
        best = puct_scores(returns, prior, visits, c).argmax()
        visits[best] += 1
    return visits


# The worse action is chosen when 0.625 sqrt(N) / (1 + n) > 1 + 0.625 sqrt(N) / (1 + N - n): at
# N = 64 that needs n below 4.
WORSE = 4

# With next to no bonus the search stays with action 0: it pays 0.3, and an untried action counts 0.
EXPLORATION = 0.01
