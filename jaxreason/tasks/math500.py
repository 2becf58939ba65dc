r"""MATH-500: competition mathematics, 500 problems of MATH.

Sources: MATH is by Hendrycks et al. 2021, the choice of 500 by Lightman et al. 2023.

A row has a ``problem``, an ``answer`` in LaTeX such as ``\frac{3}{4}``, and a ``level`` from 1 to
5. There is a test split only; the worked examples of the few-shot prompts are ours.
"""

from jaxreason.errors import InputError
from jaxreason.tasks.problem import Problem, choose, rows, text_field

HUB_ID = "HuggingFaceH4/MATH-500"

EXAMPLES = [
    Problem(
        question="Let $f(x) = 2x - 3$. What is $f(f(4))$?",
        answer="7",
        steps=("$f(4) = 2 \\cdot 4 - 3 = 5$", "$f(f(4)) = f(5) = 2 \\cdot 5 - 3 = 7$"),
        depth=2,
    ),
    Problem(
        question="A bag holds 3 red and 5 blue marbles. One marble is drawn at random. "
        "What is the probability that it is red? Write the answer as a common fraction.",
        answer="\\frac{3}{8}",
        steps=(
            "There are $3 + 5 = 8$ marbles.",
            "3 of them are red, so the probability is $\\frac{3}{8}$.",
        ),
        depth=1,
    ),
]


def problems(n: int, seed: int = 0, path: str | None = None) -> list[Problem]:
    """``n`` test problems, drawn by ``seed``; depth is the level.

    Args:
      n: how many.
      seed: which ones, and their order.
      path: a JSONL file; None reads the hub.

    Raises:
      InputError: no such file, a malformed line (it is named), or fewer problems than ``n``.
    """
    found = [parse(row) for row in rows(path, HUB_ID, "default", "test")]
    return choose(found, n, seed, "MATH-500" if path is None else repr(path))


def parse(row: dict) -> Problem:
    """A row as a problem.

    Raises:
      InputError: the problem or the answer is missing, or the level is not a number.
    """
    level = row.get("level")
    if level is not None and type(level) is not int:
        raise InputError(
            f"{row.get('', HUB_ID)} has the level {str(level)[:40]!r}: expected an integer, or none"
        )
    return Problem(
        text_field(row, "problem", HUB_ID), text_field(row, "answer", HUB_ID), depth=level
    )
