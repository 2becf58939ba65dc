"""Problems with exact verifiers, made here or read from published sets, all of one shape."""

from jaxreason.errors import InputError, did_you_mean
from jaxreason.tasks import arithmetic, gsm8k, gym, math500
from jaxreason.tasks.problem import Problem, find_source

TASKS = "arithmetic[:LOW-HIGH], gsm8k[:FILE], math500[:FILE] or gym:FAMILY"
NAMES = ("arithmetic", "gsm8k", "math500", "gym")


def check_task(task: str) -> None:
    """Checks a task's name and what stands behind the colon, without reading problems.

    Raises:
      InputError: there is no such task, file or package.
    """
    name, _, detail = task.partition(":")
    if name == "arithmetic":
        _operations(task, detail)
    elif name in ("gsm8k", "math500"):
        find_source(name, detail or None)
    elif name == "gym" and detail:
        gym.find_package(detail)
    else:
        raise _unknown(task)


def _unknown(task: str) -> InputError:
    name = task.partition(":")[0]
    return InputError(
        f"task {task!r} is unknown: expected {TASKS}{did_you_mean(name, set(NAMES) - {name})}"
    )


def load_problems(task: str, split: str, n: int, seed: int = 0) -> list[Problem]:
    """``n`` problems of a task, drawn by ``seed``.

    Args:
      task: ``arithmetic`` (2 to 6 operations; ``arithmetic:1-3``: 1 to 3), ``gsm8k`` and
        ``math500`` (from the hub; ``gsm8k:/path/test.jsonl``: from a file), or ``gym:chain_sum``,
        any family of reasoning-gym.
      split: train, validation or test.
      n: how many.
      seed: which ones.

    Raises:
      InputError: there is no such task, split, file or package, or there are not so many problems.
    """
    name, _, detail = task.partition(":")
    if name == "arithmetic":
        return _arithmetic(split, n, seed, _operations(task, detail))
    if name == "gsm8k":
        return gsm8k.problems(split, n, seed, detail or None)
    if name == "math500":
        if split != "test":
            raise InputError(f"split {split!r}: MATH-500 has only 'test'")
        return math500.problems(n, seed, detail or None)
    if name == "gym" and detail:
        return gym.problems(detail, split, n, seed)
    raise _unknown(task)


def load_examples(task: str, n: int = 2, seed: int = 0) -> list[Problem]:
    """``n`` short problems for a few-shot prompt, with their solutions where the task has any.

    They are of the training split; those of MATH-500, which has none, are ours.

    Raises:
      InputError: as :func:`load_problems`.
    """
    name, _, detail = task.partition(":")
    if name == "arithmetic":
        return _arithmetic("train", n, seed, (2, 3))
    if name == "gsm8k":
        return gsm8k.problems("train", n, seed, detail or None, max_depth=3)
    if name == "math500":
        return math500.EXAMPLES[:n]
    return load_problems(task, "train", n, seed)


def _arithmetic(split: str, n: int, seed: int, operations: tuple[int, ...]) -> list[Problem]:
    return [
        Problem(
            question=made.question,
            answer=made.answer,
            steps=tuple(arithmetic.solve(made)),
            depth=made.num_operations,
        )
        for made in arithmetic.problems(split, n, seed, operations)
    ]


def _operations(task: str, detail: str) -> tuple[int, ...]:
    """The numbers of operations that ``2-6``, ``3`` or nothing asks for."""
    most = arithmetic.MAX_OPERATIONS
    if not detail:
        return tuple(range(2, most + 1))
    low, _, high = detail.partition("-")
    ends = [low, high or low]
    if not all(map(str.isdecimal, ends)) or not 1 <= int(ends[0]) <= int(ends[1]) <= most:
        raise InputError(
            f"task {task!r}: expected numbers of operations from 1 to {most}, "
            "such as arithmetic:2-6"
        )
    return tuple(range(int(ends[0]), int(ends[1]) + 1))
