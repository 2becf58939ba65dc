"""The generators of reasoning-gym, over a hundred families, each graded by its own rule.

Source: Stojanovski et al. 2025.

A generator has no end and no splits: every (split, seed) reads a million of its indices of its own.
Families of few different problems repeat themselves all the same, within a split and across them.

Two things of such a package cannot be taken on trust:

- *The same seed gives the same problems.* Some generators draw from a set of strings, whose order
  Python chooses anew in every process, or from Python's own generator. So problems are made in a
  process of their own, in which ``PYTHONHASHSEED`` is 0 and that generator is seeded.
- *What a rule pays is right.* :func:`find_fault` tries answers that are wrong on a few problems of
  a family, and the family is refused if most of them are paid.
"""

import contextlib
import functools
import importlib.util
import os
import pickle
import random
import subprocess
import sys
import time
from typing import Any, NamedTuple

from jaxreason.errors import InputError, did_you_mean, one_line
from jaxreason.tasks.problem import EXTRA, Problem

SPLITS = ("train", "validation", "test")
BLOCK = 1_000_000  # item i of seed s is drawn from s + i, so seeds have to lie apart
MAX_DRAWS = 20  # for each problem asked for, before a family counts as exhausted

# Problems on which a rule is tried. Some families take a second to make one: after PROBE_SECONDS
# the first four are enough.
PROBES, FEWEST_PROBES, PROBE_SECONDS = 16, 4, 1.0
CONSTANTS = ("", "0", "1", "-1", "0.5", "banana", "True", "False", "yes", "No", "None", "[]", "{}")


def problems(family: str, split: str, n: int, seed: int = 0) -> list[Problem]:
    """``n`` different problems of a family such as ``chain_sum``, with its default options.

    Raises:
      InputError: reasoning-gym is not installed or does not know the family, no such split, the
        family has not ``n`` different problems, or its rule pays wrong answers.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r}: expected 'train', 'validation' or 'test'")
    if n < 1:
        raise InputError(f"number of problems is {n}: expected at least 1")
    if not 0 <= seed <= 1000:
        raise InputError(f"seed is {seed}: expected 0 to 1000")
    find_package(family)
    first = (len(SPLITS) * seed + SPLITS.index(split)) * BLOCK
    entries = _made_apart(family, first, n)
    data = _dataset(family)
    return [Problem(e["question"], _stated(e), judge=_judge(data, e)) for e in entries]


def find_package(family: str) -> None:
    """Checks that reasoning-gym, which is optional, is installed, not that it has the family.

    Raises:
      InputError: it is not installed.
    """
    if importlib.util.find_spec("reasoning_gym") is None:
        raise InputError(f"the task gym:{family} needs the package reasoning-gym: {EXTRA}")


def _stated(entry: dict) -> str | None:
    """The answer in a problem's entry; None for a puzzle that is given without a solution."""
    return None if entry["answer"] is None else str(entry["answer"])


def _judge(data: Any, entry: dict):
    """The family's own rule on one problem; what it does not score in full is wrong."""

    def judge(answer: str) -> bool:
        try:
            return data.score_answer(answer, entry) >= 1.0
        except Exception:  # some rules fail on texts that are no answer at all
            return False

    return judge


@functools.lru_cache
def _dataset(family: str) -> Any:
    """Grades the family's problems, whatever their seed."""
    import reasoning_gym  # optional, and slow to import

    return reasoning_gym.create_dataset(family, size=1, seed=0)


# ---- a rule that cannot be trusted ---------------------------------------------------------------


class Trial(NamedTuple):
    """Wrong answers of one kind."""

    kind: str  # completes "its own rule pays ..."
    wrong: list[tuple[str, dict]]  # an answer, and the entry of a problem that it does not solve


def find_fault(data: Any) -> str | None:
    """What makes the rule of a data set unfit for grading, or None.

    A rule is unfit if it does not pay its own stated answers, or if it pays most of the wrong
    answers of one kind: the same answer to every problem, numbers of the wrong sign, or two answers
    at once. One that accepts many solutions may well pay a wrong answer now and then, as when an
    arrangement of queens happens to solve another board.
    """
    began, entries = time.process_time(), []
    while len(entries) < PROBES:
        if len(entries) >= FEWEST_PROBES and time.process_time() - began > PROBE_SECONDS:
            break
        entries.append(data[len(entries)])
    stated = [(_stated(e), e) for e in entries if e["answer"] is not None]
    if stated and 2 * _num_paid(data, stated) <= len(stated):
        return "its own rule does not pay the answers that it states"
    for trial in _trials(entries, stated):
        if _num_paid(data, trial.wrong[:FEWEST_PROBES]) < FEWEST_PROBES // 2:
            continue  # some rules are slow, and nearly all trials end here
        paid = _num_paid(data, trial.wrong)
        if paid >= FEWEST_PROBES - 1 and 2 * paid > len(trial.wrong):
            return f"its own rule pays {trial.kind}, on {paid} of {len(trial.wrong)} problems"
    return None


def _num_paid(data: Any, answers: list[tuple[str, dict]]) -> int:
    return sum(_judge(data, entry)(answer) for answer, entry in answers)


def _trials(entries: list[dict], stated: list[tuple[str, dict]]) -> list[Trial]:
    golds = [answer for answer, _ in stated]
    trials = []
    for same in dict.fromkeys((*CONSTANTS, *golds[:3])):
        wrong = [(same, e) for e in entries if not _alike(same, _stated(e))]
        trials.append(Trial(f"the wrong answer {same[:40]!r}", wrong))
    flipped = [(_flip(gold), e) for gold, e in stated if _number(gold)]
    hedges = []
    for (gold, entry), other in zip(stated, golds[1:] + golds[:1], strict=True):
        if not _alike(gold, other):
            hedges += [(f"{gold} or {other}", entry), (f"{other} or {gold}", entry)]
    return [
        *trials,
        Trial("numbers of the wrong sign", flipped),
        Trial("two answers at once", hedges),
    ]


def _flip(number: str) -> str:
    return number[1:] if number.startswith("-") else f"-{number}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _alike(answer: str, gold: str | None) -> bool:
    """Whether a rule may well take the two for the same."""
    if gold is None:
        return False
    first, second = answer.strip().casefold(), gold.strip().casefold()
    if first == second:
        return True
    return _number(first) is not None and _number(first) == _number(second)


# ---- a process of its own ------------------------------------------------------------------------


def _made_apart(family: str, first: int, n: int) -> list[dict]:
    """:func:`_make` in a process whose sets are in the same order every time.

    Raises:
      InputError: what it raised there, or anything else that it ended with.
    """
    search_path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from jaxreason.tasks import gym; gym.child()"],
        input=pickle.dumps((family, first, n)),
        capture_output=True,
        env=os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": search_path},
    )
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip() or "no message").splitlines()[-1]
        raise InputError(f"gym:{family} gives no problems ({last}): choose another family")
    made = pickle.loads(done.stdout)  # written by our own process
    if isinstance(made, str):
        raise InputError(made)
    return made


def child() -> None:
    """The process of its own: reads what to make from stdin, writes entries or a message."""
    task = pickle.load(sys.stdin.buffer)
    with contextlib.redirect_stdout(sys.stderr):  # some families print
        try:
            made: list[dict] | str = _make(*task)
        except InputError as error:
            made = str(error)
    pickle.dump(made, sys.stdout.buffer)


def _make(family: str, first: int, n: int) -> list[dict]:
    """Entries of ``n`` different questions, if the family's rule passes :func:`find_fault`."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if family not in DATASETS:
        raise InputError(
            f"gym:{family} gives no problems: expected a family of reasoning-gym's gallery"
            f"{did_you_mean(family, DATASETS)}"
        )
    try:
        fault = find_fault(reasoning_gym.create_dataset(family, size=PROBES, seed=0))
        if fault:
            raise InputError(f"gym:{family} cannot be graded: {fault}; choose another family")
        data = reasoning_gym.create_dataset(family, size=MAX_DRAWS * n, seed=first)
        found: dict[str, dict] = {}
        for index in range(MAX_DRAWS * n):
            random.seed(first + index)  # list_functions of 0.1.25 draws from Python's own generator
            entry = data[index]
            found.setdefault(entry["question"], entry)
            if len(found) == n:
                return list(found.values())
    except InputError:
        raise
    except Exception as error:  # options a family cannot do without, and what generators raise
        raise InputError(
            f"gym:{family} gives no problems ({one_line(error)}): choose another family"
        ) from error
    raise InputError(
        f"{n} different problems of gym:{family}: {MAX_DRAWS * n} draws gave {len(found)}; "
        "ask for fewer"
    )
