"""Exercises of lesson 02, self-consistency.

Fill in what raises NotImplementedError or is None, then run `jaxreason check 02`. An answer is a
string, or None where a chain has none.
"""

import numpy as np


def majority(answers: list[str | None]) -> str | None:
    """1. The most frequent answer. None never wins, unless no chain has an answer.

    Of answers that are equally frequent the one that appeared first wins.
    """
    raise NotImplementedError


def weighted_vote(answers: list[str | None], logprobs: np.ndarray, mask: np.ndarray) -> str | None:
    """2. The answer with the largest total weight.

    A chain weighs exp of the mean log-probability of its tokens.

    Args:
      answers: N of them.
      logprobs: `[N, T]` log-probabilities of the tokens, and anything at all behind the end.
      mask: `[N, T]` bool, True on the tokens of the chain.
    """
    raise NotImplementedError


def accuracy_of_votes(ids: np.ndarray, gold: np.ndarray, n: int) -> np.ndarray:
    """3. The share of votes of n chains that are right, for each problem.

    Cut the N chains of a problem into N // n sets of neighbours, and let each of them vote, by the
    rules of `majority`.

    Args:
      ids: `[G, N]` integers: equal ids are equal answers, -1 is no answer.
      gold: `[G]` the id of the right answer.
      n: chains of a set; it divides N.

    Returns:
      `[G]` numbers between 0 and 1.
    """
    raise NotImplementedError


# 4. Predict. One chain is right with probability 0.4. Otherwise it gives one of three wrong
# answers, each with probability 0.2. How often is the vote of 65 chains right? Guess first, then
# compute or simulate it. (A number between 0 and 1, right to 0.03.)
PLURALITY = None

# 5. Break it. The right answer keeps probability 0.4. Choose the probabilities of the wrong answers
# so that the vote of 65 chains is right less often than one chain. (A list that sums to 0.6.)
WRONG_ANSWERS = None


def least_sure_group(confidence: np.ndarray, mask: np.ndarray, window: int) -> np.ndarray:
    """6. The lowest mean confidence of `window` neighbouring tokens, for each chain (lesson 02c).

    Args:
      confidence: `[N, T]`, and anything at all behind the end of a chain.
      mask: `[N, T]` bool, True on the first tokens, those of the chain: at least `window` of them.
      window: tokens of a group.

    Returns:
      `[N]` numbers.
    """
    raise NotImplementedError


def acceptance(
    logp_now: np.ndarray,
    logq_now: np.ndarray,
    logp_new: np.ndarray,
    logq_new: np.ndarray,
    alpha: float,
) -> float:
    """7. The probability that a candidate replaces the current chain (lesson 02d).

    The chains are to follow p^alpha. The candidate keeps the beginning of the current chain, up to
    a token that is drawn uniformly among those of the current chain.

    Args:
      logp_now, logp_new: `[T]` and `[T']` log-probabilities of the tokens of the current chain and
        of the candidate, under the model.
      logq_now, logq_new: `[T]` and `[T']` the same under the proposal, which drew the candidate.
      alpha: the power.

    Returns:
      A number between 0 and 1.
    """
    raise NotImplementedError
