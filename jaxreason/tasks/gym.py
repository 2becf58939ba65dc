"""The generators of reasoning-gym (Stojanovski et al. 2025), over a hundred families, each graded by its own rule.

A generator has no end and no splits: every (split, seed) reads a million of its indices of its own. Families of few
different problems repeat themselves all the same, within a split and across them.
"""

from jaxreason.errors import InputError, one_line
from jaxreason.tasks.problem import EXTRA, Problem

SPLITS = ("train", "validation", "test")
BLOCK = 1_000_000  # item i of seed s is drawn from s + i, so seeds have to lie apart
MAX_DRAWS = 20  # for each problem asked for, before a family counts as exhausted


def problems(family: str, split: str, n: int, seed: int = 0) -> list[Problem]:
    """``n`` different problems of a family such as ``chain_sum``, with its default options.

    Raises:
      InputError: reasoning-gym is not installed or does not know the family, no such split, or the family has not ``n``
        different problems.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r}: expected 'train', 'validation' or 'test'")
    if n < 1:
        raise InputError(f"number of problems is {n}: expected at least 1")
    if not 0 <= seed <= 1000:
        raise InputError(f"seed is {seed}: expected 0 to 1000")
    try:
        import reasoning_gym  # optional, and slow to import
    except ImportError as error:
        raise InputError(f"the task gym:{family} needs the package reasoning-gym: {EXTRA}") from error
    first = (len(SPLITS) * seed + SPLITS.index(split)) * BLOCK
    found: dict[str, Problem] = {}
    try:
        data = reasoning_gym.create_dataset(family, size=MAX_DRAWS * n, seed=first)
        for index in range(MAX_DRAWS * n):
            entry = data[index]
            question, answer = entry["question"], entry["answer"]
            answer = None if answer is None else str(answer)  # a puzzle may be given without a solution
            found.setdefault(question, Problem(question, answer, judge=_judge(data, entry)))
            if len(found) == n:
                return list(found.values())
    except Exception as error:  # unknown names, options a family cannot do without, and what generators raise
        raise InputError(
            f"gym:{family} gives no problems ({one_line(error)}): expected a family of reasoning-gym's gallery"
        ) from error
    raise InputError(f"{n} different problems of gym:{family}: {MAX_DRAWS * n} draws gave {len(found)}; ask for fewer")


def _judge(data, entry: dict):
    """The family's own rule on one problem; what it does not score in full is wrong."""

    def judge(answer: str) -> bool:
        try:
            return data.score_answer(answer, entry) >= 1.0
        except Exception:  # some rules fail on texts that are no answer at all
            return False

    return judge
