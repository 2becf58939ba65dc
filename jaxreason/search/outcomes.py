"""How the searches of ``tree_of_thoughts`` ended, as arrays: what they found, and their tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.search.tree_of_thoughts import Tree


class Outcomes(NamedTuple):
    """How the searches of G problems ended."""

    found: np.ndarray  # [G] bool, whether there is an answer; with a solution test, a solution
    tokens: np.ndarray  # [G] int, see Tree.tokens


def outcomes(trees: Sequence[Tree]) -> Outcomes:
    """What was found and spent, for each tree."""
    return Outcomes(
        found=np.array([tree.answer >= 0 for tree in trees], bool),
        tokens=np.array([tree.tokens for tree in trees], int),
    )
