"""Where to spend a given compute: a budget for each problem, or a method for each bin of
difficulty.
"""

from collections.abc import Sequence

import numpy as np

from jaxreason.errors import InputError


def allocate(difficulty: np.ndarray, mean: float, *, least: int, most: int) -> np.ndarray:
    """Chains or waits for each problem, more where it is harder: int32 ``[G]``, ``mean`` of them a
    problem on average or just under.

    n_g = least + floor(s d_g), at most ``most``, with the largest s that the mean allows. It is
    measured difficulty that decides, such as the entropy of a few votes
    (:func:`jaxreason.answers.vote.entropy`): where they all agree, a problem gets the least.

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

    def at(scale: float) -> np.ndarray:
        return np.minimum(least + np.floor(scale * difficulty), most).astype(np.int32)

    low, high = 0.0, (most - least + 1) / min(difficulty[difficulty > 0], default=1.0)
    if at(high).mean() <= mean:
        return at(high)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).mean() <= mean else (low, middle)
    return at(low)


def compute_optimal(right: np.ndarray, cost: np.ndarray, budgets: Sequence[float]) -> np.ndarray:
    """For each budget the best choice of a method in every difficulty bin: int ``[len(budgets),
    B]``, -1 where none is affordable.

    Snell et al. 2024, section 3: the strategy that is best for a question's difficulty at a given
    compute, found on other problems than those it is used on. They give every question the same
    compute; here it is the mean that is given, so what easy bins save, hard bins may spend. The
    answer is exact: the Pareto fronts of the bins are added up one by one.

    Args:
        right: ``[C, B]`` problems that each of C methods solves in each of B bins, in shares of all
          problems.
        cost: ``[C, B]`` what it costs there, likewise, so that both add up to means over all
          problems.
        budgets: mean cost of a problem at most.

    Of equally good choices the cheapest is taken.

    Raises:
        InputError: arrays of different shapes, or what is not finite.
    """
    right, cost = np.asarray(right, np.float64), np.asarray(cost, np.float64)
    if (
        right.shape != cost.shape
        or right.ndim != 2
        or not (np.isfinite(right).all() and np.isfinite(cost).all())
    ):
        raise InputError(
            f"right {list(right.shape)}, cost {list(cost.shape)}: expected finite numbers [C, B] "
            "both"
        )
    front: list[tuple[float, float, tuple[int, ...]]] = [
        (0.0, 0.0, ())
    ]  # cost, right, the choices so far
    for r, c in zip(right.T, cost.T, strict=True):
        every = sorted(
            ((a + c[i], b + r[i], (*chosen, i)) for a, b, chosen in front for i in range(len(r))),
            key=lambda point: (point[0], -point[1]),
        )
        front = []
        for point in every:
            if not front or point[1] > front[-1][1] + 1e-12:
                front.append(point)
    chosen = [[f[2] for f in front if f[0] <= budget] for budget in budgets]
    return np.array([row[-1] if row else (-1,) * right.shape[1] for row in chosen])
