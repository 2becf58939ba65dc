"""Where to spend a given compute: a cap for all problems, a budget for each, or a method for each.

within_budget     one cap for all problems, so that a method spends a given mean
until_solved      chains that are tested one by one, up to the first that is right
paid_for          the chains that a problem's tokens pay for
allocate          a budget for each problem, more where it is harder
compute_optimal   a method for each bin of difficulty

numpy, on the host.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.errors import InputError


class Capped(NamedTuple):
    """What a method does within a cap."""

    solved: np.ndarray  # [G] bool, whether it solved the problem by then
    tokens: np.ndarray  # [G] float64, what it had spent by then


def within_budget(solved: np.ndarray, tokens: np.ndarray, mean_tokens: float) -> Capped:
    """What a method that stops at its solution would have solved with fewer tokens.

    Every problem gets the same cap: the largest one under which all problems together spend no
    more than ``mean_tokens`` on average.

    Args:
      solved: ``[G]`` bool, whether the method solved the problem at all.
      tokens: ``[G]``, what it spent up to its solution, or before it gave up.
      mean_tokens: tokens that a problem may cost on average.

    Raises:
      InputError: not one bool and one number for each problem, or no problems.
    """
    solved, tokens = np.asarray(solved, bool), np.asarray(tokens, float)
    if solved.shape != tokens.shape or solved.ndim != 1 or not len(solved):
        raise InputError(
            f"solved has shape {solved.shape} and tokens {tokens.shape}: expected [G] both"
        )
    # What all spend together is piecewise linear in the cap, with a corner at each problem's
    # tokens. At corner i the problems before it have ended, and the `left[i]` others spend the cap.
    ordered = np.sort(tokens)
    left = len(ordered) - np.arange(len(ordered))
    ended = np.concatenate([[0.0], np.cumsum(ordered)])[:-1]
    budget = mean_tokens * len(ordered)
    i = np.searchsorted(ended + ordered * left, budget, side="right")
    cap = np.inf if i == len(ordered) else (budget - ordered[:i].sum()) / left[i]
    return Capped(solved & (tokens <= cap), np.minimum(tokens, cap))


def until_solved(solved: np.ndarray, num_tokens: np.ndarray) -> Capped:
    """What chains solve and spend if each is tested when it ends, and the first right one is the
    last.

    Args:
      solved: ``[G, N]`` bool, which chains are right.
      num_tokens: ``[G, N]``, their tokens.

    Raises:
      InputError: other shapes, or no chains.
    """
    solved, num_tokens = np.asarray(solved, bool), np.asarray(num_tokens, float)
    if solved.shape != num_tokens.shape or solved.ndim != 2 or not solved.size:
        raise InputError(
            f"solved has shape {solved.shape} and num_tokens {num_tokens.shape}: expected [G, N] "
            "both, with at least one chain"
        )
    any_right = np.asarray(solved.any(1))
    last = np.where(any_right, solved.argmax(1), solved.shape[1] - 1)
    spent = np.take_along_axis(num_tokens.cumsum(1), last[:, None], axis=1)[:, 0]
    return Capped(any_right, spent)


def paid_for(num_tokens: np.ndarray, budget: np.ndarray) -> np.ndarray:
    """Which chains, written one after another, the tokens of their problem pay for.

    The first chain is always paid for: a method that writes nothing has no answer to compare.

    Args:
      num_tokens: ``[G, N]`` tokens of the chains.
      budget: ``[G]`` tokens of each problem.

    Returns:
      ``[G, N]`` bool.

    Raises:
      InputError: not one budget for each problem.
    """
    num_tokens, budget = np.asarray(num_tokens), np.asarray(budget)
    if num_tokens.ndim != 2 or budget.shape != num_tokens.shape[:1]:
        raise InputError(
            f"num_tokens has shape {num_tokens.shape} and budget {budget.shape}: expected [G, N] "
            "and [G]"
        )
    is_first = np.arange(num_tokens.shape[1]) == 0
    return (num_tokens.cumsum(1) <= budget[:, None]) | is_first


def allocate(difficulty: np.ndarray, mean: float, *, least: int, most: int) -> np.ndarray:
    """A number of chains, or of waits, for each problem: more where it is harder.

    Problem g gets n_g = least + floor(s d_g), at most ``most``, with the largest s that the mean
    allows. The difficulty d_g is measured, for instance by the entropy of a few votes
    (:func:`jaxreason.answers.vote.entropy`): a problem on which they all agree gets the least.

    Args:
      difficulty: ``[G]`` numbers of 0 or more.
      mean: what a problem may get on average.
      least, most: limits for one problem.

    Returns:
      int32 ``[G]``, whose mean is ``mean`` or just below.

    Raises:
      InputError: a difficulty that is negative or not finite, or limits that do not hold least <=
        mean <= most.
    """
    difficulty = np.asarray(difficulty, np.float64)
    if not (np.isfinite(difficulty).all() and (difficulty >= 0).all()):
        raise InputError(
            "difficulty is not finite or negative somewhere: expected numbers of 0 or more"
        )
    if not 0 <= least <= mean <= most:
        raise InputError(f"mean is {mean}: expected 0 <= least = {least} <= mean <= most = {most}")

    def given(scale: float) -> np.ndarray:
        return np.minimum(least + np.floor(scale * difficulty), most).astype(np.int32)

    # At the highest scale every problem with any difficulty gets the most.
    low, high = 0.0, (most - least + 1) / min(difficulty[difficulty > 0], default=1.0)
    if given(high).mean() <= mean:
        return given(high)
    for _ in range(60):  # bisection, down to the precision of float64
        middle = (low + high) / 2
        if given(middle).mean() <= mean:
            low = middle
        else:
            high = middle
    return given(low)


class _Plan(NamedTuple):
    """A choice of methods for the bins so far."""

    cost: float
    right: float
    methods: tuple[int, ...]


def compute_optimal(right: np.ndarray, cost: np.ndarray, budgets: Sequence[float]) -> np.ndarray:
    """For each budget the best choice of a method in every bin of difficulty.

    Snell et al. 2024, section 3: the strategy that is best for a question's difficulty at a given
    compute, found on other problems than those it is used on. They give every question the same
    compute. Here only the mean is given, so hard bins may spend what easy bins save. The answer is
    exact: the Pareto fronts of the bins are added up one by one. Of equally good choices the
    cheapest is taken.

    Args:
      right: ``[C, B]`` problems that each of C methods solves in each of B bins, as shares of all
        problems.
      cost: ``[C, B]`` what it costs there, likewise, so that both add up to means over all
        problems.
      budgets: what a problem may cost on average.

    Returns:
      int ``[len(budgets), B]``, the method of each bin, -1 where none is affordable.

    Raises:
      InputError: arrays of different shapes, or numbers that are not finite.
    """
    right, cost = np.asarray(right, np.float64), np.asarray(cost, np.float64)
    finite = np.isfinite(right).all() and np.isfinite(cost).all()
    if right.shape != cost.shape or right.ndim != 2 or not finite:
        raise InputError(
            f"right {list(right.shape)}, cost {list(cost.shape)}: "
            "expected finite numbers [C, B] both"
        )
    front = [_Plan(cost=0.0, right=0.0, methods=())]
    for right_here, cost_here in zip(right.T, cost.T, strict=True):
        longer = [
            _Plan(plan.cost + c, plan.right + r, (*plan.methods, method))
            for plan in front
            for method, (r, c) in enumerate(zip(right_here, cost_here, strict=True))
        ]
        front = _pareto_front(longer)
    unaffordable = (-1,) * right.shape[1]
    return np.array([_best(front, budget, unaffordable) for budget in budgets])


def _pareto_front(plans: list[_Plan]) -> list[_Plan]:
    """The plans that no cheaper one matches, from the cheapest to the dearest."""
    front: list[_Plan] = []
    for plan in sorted(plans, key=lambda plan: (plan.cost, -plan.right)):
        if not front or plan.right > front[-1].right + 1e-12:
            front.append(plan)
    return front


def _best(front: list[_Plan], budget: float, unaffordable: tuple[int, ...]) -> tuple[int, ...]:
    affordable = [plan.methods for plan in front if plan.cost <= budget]
    return affordable[-1] if affordable else unaffordable
