"""Exercises that check themselves: ``jaxreason check 02``.

Every lesson has three files: ``lessons/exercises/02.py`` is what the reader fills in,
``solutions/02.py`` is ours, and ``checks/02.py`` holds one function ``check_NAME(answers)`` for
each exercise. A check says what it saw and what it expected. It does not say how to get there.
"""

import importlib.util
import shutil
import traceback
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from jaxreason.errors import InputError, did_you_mean


class NotYetError(Exception):
    """An answer is not right yet; its text is a hint."""


class Verdict(NamedTuple):
    """The outcome of one exercise."""

    exercise: str
    hint: str | None  # None where it passed


def expect(holds: bool, hint: str) -> None:
    """Lets a check go on if something holds.

    Args:
      holds: whether the answer is right so far.
      hint: what the reader is told if not.

    Raises:
      NotYetError: it does not hold.
    """
    if not holds:
        raise NotYetError(hint)


def expect_close(found, expected, of: str, atol: float = 1e-5) -> None:
    """Lets a check go on if an array has the right shape and values.

    Args:
      found: what the reader's function returned.
      expected: an array, or a number.
      of: what was asked for, such as "the advantages of rewards [1, 0, 0, 1]".
      atol: largest difference.

    Raises:
      NotYetError: it has other values, and the hint says where.
    """
    expect(found is not None, f"{of}: got None; is there a return?")
    found, expected = np.asarray(found), np.asarray(expected)
    expect(
        found.shape == expected.shape,
        f"{of}: got shape {list(found.shape)}, expected shape {list(expected.shape)}",
    )
    wrong = ~np.isclose(found, expected, atol=atol, rtol=0, equal_nan=True)
    if wrong.any():
        at = tuple(int(i[0]) for i in np.nonzero(wrong))
        place = f" at {list(at)}" if at else ""
        raise NotYetError(
            f"{of}: {wrong.sum()} of {wrong.size} values differ, the first{place}: got {found[at]}"
        )


def run_checks(lesson: str, file: Path) -> list[Verdict]:
    """Checks a file against the exercises of a lesson.

    Args:
      lesson: two digits, such as "02".
      file: with the reader's answers.

    Raises:
      InputError: the file cannot be run at all.
    """
    answers = _load(file)
    checks = _load(folder() / "checks" / f"{lesson}.py")
    names = [name for name in vars(checks) if name.startswith("check_")]
    return [
        Verdict(name.removeprefix("check_"), _hint(getattr(checks, name), answers, file))
        for name in names
    ]


def _hint(check, answers: ModuleType, file: Path) -> str | None:
    try:
        check(answers)
    except NotYetError as error:
        return str(error)
    except NotImplementedError:
        return "not written yet"
    except AttributeError as error:
        if error.obj is answers:
            return f"{error.name} is missing from {file.name}"
        return _place(error, file)
    except Exception as error:  # whatever the reader's code raises is the reader's to see
        return _place(error, file)
    return None


def _place(error: Exception, file: Path) -> str:
    """The error and the line of the reader's file in which it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file]
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}: {error}"


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"exercises_{file.stem}", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{file} does not run: {_place(error, file)}") from error
    return module


def folder() -> Path:
    """Where the exercises lie, in a checkout or an installed wheel.

    Raises:
      InputError: this installation has none.
    """
    package = Path(__file__).parent.parent
    for root in (package / "lessons", package.parent / "lessons"):
        if (root / "exercises").is_dir():
            return root / "exercises"
    raise InputError(
        "no exercises found: this installation has none; install a wheel of jaxreason or run in a "
        "checkout"
    )


def check(lesson: str, file: Path | None, solution: bool) -> bool:
    """Checks the reader's file and prints what it found, or prints our solution.

    If there is no file yet, one is made for the reader to fill in.

    Args:
      lesson: number of the lesson, such as "02" or "2"; "03b" and "03c" share those of "03".
      file: with the answers; by default ``exercises_02.py`` in the current folder.
      solution: whether to print ours in place of that.

    Returns:
      Whether all exercises passed; True too where there was nothing to check.

    Raises:
      InputError: the lesson has no exercises, the file is missing or does not run, or the first one
        cannot be written.
    """
    known = {path.stem: path for path in sorted(folder().glob("[0-9][0-9].py"))}
    number = lesson.rstrip("bc").zfill(2)
    if number not in known:
        raise InputError(
            f"no exercises for lesson {lesson!r}: expected one of {', '.join(known)}"
            f"{did_you_mean(lesson, known)}"
        )
    if solution:
        print((folder() / "solutions" / f"{number}.py").read_text(encoding="utf-8"))
        return True
    file = _file_of(number, file, known[number])
    if file is None:
        return True
    verdicts = run_checks(number, file)
    width = max(len(verdict.exercise) for verdict in verdicts)
    for verdict in verdicts:
        print(f"{verdict.exercise:<{width}}  {verdict.hint or 'passed'}")
    passed = sum(verdict.hint is None for verdict in verdicts)
    print(f"\n{passed} of {len(verdicts)} passed")
    return passed == len(verdicts)


def _file_of(number: str, given: Path | None, stub: Path) -> Path | None:
    """The reader's file; None if one was made just now."""
    file = (given or Path(f"exercises_{number}.py")).resolve()
    if file.is_file():
        return file
    if given is not None:
        raise InputError(f"{given} not found: expected a file with your answers")
    try:
        shutil.copyfile(stub, file)
    except OSError as error:
        raise InputError(
            f"{str(file)!r} cannot be written: {error.strerror or error}; run this in a folder of "
            "your own"
        ) from error
    print(f"wrote {file.name}: fill it in, then run jaxreason check {number} again")
    return None
