"""GSM8K: grade-school word problems in people's own words.

Source: Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems.

A row has a ``question`` and an ``answer``: solution lines with calculator marks, then the number
behind ``####``::

    Natalia sold 48/2 = <<48/2=24>>24 clips in May.
    Natalia sold 48+24 = <<48+24=72>>72 clips altogether.
    #### 72

The published sets are ``train`` (7,473) and ``test`` (1,319). Nothing may be chosen on the test
problems, so the last tenth of ``train`` is kept apart as ``validation``.
"""

import re
from pathlib import Path

from jaxreason.errors import InputError
from jaxreason.tasks.problem import Problem, choose, rows, text_field

HUB_ID = "openai/gsm8k"
_MARK = re.compile(r"<<[^<>]*>>")


def problems(
    split: str, n: int, seed: int = 0, path: str | None = None, max_depth: int | None = None
) -> list[Problem]:
    """``n`` problems of ``split``, drawn by ``seed``; depth is the number of solution lines.

    Args:
      split: train, validation or test.
      n: how many.
      seed: which ones, and their order.
      path: a JSONL file of test problems, with ``train.jsonl`` beside it for the other splits; None
        reads the hub.
      max_depth: only problems of at most so many solution lines.

    Raises:
      InputError: no such split or file, a malformed line (it is named), or fewer problems than
        ``n``.
    """
    if split not in ("train", "validation", "test"):
        raise InputError(f"split {split!r}: expected 'train', 'validation' or 'test'")
    stored = "test" if split == "test" else "train"
    if path is not None and stored == "train":
        path = str(Path(path).with_name("train.jsonl"))
    found = [parse(row) for row in rows(path, HUB_ID, "main", stored)]
    if stored == "train":
        border = len(found) - len(found) // 10
        found = found[:border] if split == "train" else found[border:]
    if max_depth is not None:
        found = [problem for problem in found if problem.depth <= max_depth]
    return choose(found, n, seed, f"{split} split of GSM8K" if path is None else repr(path))


def parse(row: dict) -> Problem:
    """A row as a problem.

    The calculator marks, which models do not write, are taken out of its solution.

    Raises:
      InputError: the question or the answer is missing, or the answer has no ``####``.
    """
    question, solution = text_field(row, "question", HUB_ID), text_field(row, "answer", HUB_ID)
    worked, mark, answer = solution.rpartition("####")
    if not mark or not answer.strip():
        raise InputError(
            f"{row.get('', HUB_ID)} states no answer: expected a number behind '####' in 'answer'"
        )
    steps = tuple(line.strip() for line in _MARK.sub("", worked).splitlines() if line.strip())
    return Problem(
        question=question.strip(),
        answer=answer.strip().replace(",", ""),
        steps=steps,
        depth=len(steps),
    )
