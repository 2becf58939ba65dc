"""What every task gives, problems of one shape, and how published sets are read."""

import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from jaxreason.errors import InputError, one_line

EXTRA = 'pip install "jaxreason[tasks]"'
T = TypeVar("T")


class Problem(NamedTuple):
    """A question and its answer, from whatever task."""

    question: str
    answer: int | str | None  # as a reader is shown it; None where only a judge knows
    steps: tuple[str, ...] = ()  # a worked solution, one step each; () where the task gives none
    depth: int | None = None  # operations or steps in a row, or a level; None where not said
    judge: Callable[[str], bool] | None = None  # of an answer, for tasks with many right ones

    @property
    def gold(self) -> int | str | Callable[[str], bool]:
        """What ``verify.grade`` compares with: the answer or, where one is given, the judge."""
        return self.judge or self.answer  # either is there


def find_source(name: str, path: str | None) -> None:
    """Checks that the source of a published set is there.

    Args:
      name: of the set, for the message.
      path: a JSONL file; None stands for the hub, whose reader has to be installed.

    Raises:
      InputError: the file or the package ``datasets`` is missing.
    """
    if path is None and importlib.util.find_spec("datasets") is None:  # optional
        raise InputError(
            f"{name!r} is read from the hub by the package datasets: {EXTRA}, or name a file"
        )
    if path is not None and not os.path.isfile(os.path.expanduser(path)):
        reason = "it is a folder" if os.path.isdir(os.path.expanduser(path)) else "there is none"
        raise InputError(f"{path!r} cannot be read ({reason}): expected a JSONL file")


def rows(path: str | None, hub_id: str, config: str, split: str) -> list[dict]:
    """The rows of a JSONL file or, where ``path`` is None, of a data set on the Hugging Face hub.

    Raises:
      InputError: the file is missing or a line of it is no JSON object (the message names the
        line), ``datasets`` is not installed, or the hub cannot be reached.
    """
    if path is not None:
        return _read_jsonl(Path(os.path.expanduser(path)))
    find_source(hub_id, None)
    import datasets  # slow to import

    try:
        return list(datasets.load_dataset(hub_id, config, split=split))
    except Exception as error:  # the hub client raises many kinds; the user needs one line
        raise InputError(
            f"{hub_id!r} cannot be fetched from the Hugging Face hub ({one_line(error)}): "
            "name a JSONL file instead"
        ) from error


def _read_jsonl(path: Path) -> list[dict]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(
            f"{str(path)!r} cannot be read ({error.strerror}): expected a JSONL file"
        ) from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{str(path)!r} line {number} is not JSON ({one_line(error)})"
            ) from error
        if not isinstance(row, dict):
            raise InputError(
                f"{str(path)!r} line {number} is a JSON {type(row).__name__}: expected an object"
            )
        found.append({**row, "": f"{str(path)!r} line {number}"})  # where it stands, for messages
    return found


def text_field(row: dict, name: str, source: str) -> str:
    """A field of a row that has to be text.

    Raises:
      InputError: it is missing or something else; names the line or the data set.
    """
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InputError(
            f"{row.get('', source)} has no text in {name!r}: found {str(value)[:40]!r}"
        )
    return value


def choose(found: Sequence[T], n: int, seed: int, what: str) -> list[T]:
    """``n`` of the found problems, in an order drawn from ``seed``.

    Raises:
      InputError: ``n`` is not positive, or there are not so many.
    """
    if n < 1:
        raise InputError(f"number of problems is {n}: expected at least 1")
    if seed < 0:
        raise InputError(f"seed is {seed}: expected 0 or more")
    if n > len(found):
        raise InputError(f"{n} problems of {what}: it has only {len(found)}; ask for fewer")
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))[:n]]
