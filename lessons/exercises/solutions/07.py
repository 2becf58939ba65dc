"""Solutions of lesson 07."""

import math

import numpy as np


def think(draw, waits, at_most, max_tokens, end="####"):
    words, thought, thinking = [], 0, True
    while len(words) < max_tokens:
        word = draw(words)
        if thinking and thought == at_most:
            word = end
        elif thinking and word == end and waits > 0:
            word, waits = "Wait", waits - 1
        if word == "<eos>":
            break
        thinking = thinking and word != end
        thought += thinking
        words.append(word)
    return words


def equal_tokens(right, try_tokens, budget):
    tries = right.shape[1]
    wrong = tries - right.sum(1)

    def any_of(n):
        return np.array([1 - math.comb(int(w), n) / math.comb(tries, n) for w in wrong])

    count = min(max(budget / try_tokens, 1), tries)
    low = int(count)
    rest = count - low
    return (1 - rest) * any_of(low) + rest * any_of(min(low + 1, tries))


def allocate(answers, factor, least, most):
    given = []
    for of_problem in answers:
        _, counts = np.unique(of_problem, return_counts=True)
        shares = counts / counts.sum()
        entropy = -(shares * np.log(shares)).sum()
        given.append(min(most, least + int(factor * entropy)))
    return np.array(given)


# 1 - 0.83^9. Puzzles differ, and tries of a hard one fail together: measured, it is less.
NINE_TRIES = 0.81

# An untaught model: behind a "Wait" it never read in training it goes round in circles.
NEXT = {"start": "####", "Wait": "Wait"}
