"""Problems by depth: how many steps of each follow from one another."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tasks.problem import Problem


class ByDepth(NamedTuple):
    """G problems by depth."""

    depth: np.ndarray  # [G] int
    groups: dict[int, np.ndarray]  # depth -> [G] bool, in order; two problems or more in each


def by_depth(problems: Sequence[Problem], deepest: int) -> ByDepth:
    """Groups problems by depth. Without depths, all form one group.

    Args:
      problems: G of them.
      deepest: deeper ones count as this deep.

    Raises:
      InputError: no depth occurs twice, so there is no group with an interval.
    """
    depth = np.array([min(problem.depth or 0, deepest) for problem in problems])
    groups = {k: depth == k for k in np.unique(depth).tolist()}
    groups = {k: rows for k, rows in groups.items() if rows.sum() > 1}
    if not groups:
        raise InputError(f"--problems is {len(problems)}: too few, no depth occurs twice")
    return ByDepth(depth, groups)
