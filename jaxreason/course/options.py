"""The options of a lesson: it reads them and checks all that takes no time to check.

This module does not import JAX. A lesson reads its options before its slow imports, so a misspelt
option, or a model that the lesson cannot use, is refused at once.
"""

import dataclasses
import importlib.util
import os
import shlex
import sys
from pathlib import Path
from typing import Literal, NamedTuple

import tyro

from jaxreason.errors import InputError, clean_exit
from jaxreason.files import check_folder
from jaxreason.models import names
from jaxreason.tasks import check_task

QUICK_PROBLEMS = 24


@dataclasses.dataclass(frozen=True)
class Options:
    """Options that all lessons take.

    Args:
      model: A shipped model, a directory, a .gguf file, or a Hugging Face id.
      task: Problems to solve: arithmetic[:LOW-HIGH], gsm8k[:FILE], math500[:FILE] or gym:FAMILY.
      problems: Number of held-out problems.
      seed: Seed of the problems and of the sampling.
      chains: Sampled chains per problem.
      seeds: Training runs, each with its own seed.
      max_new_tokens: Longest chain in tokens. If unset: 96 for shipped models, 2048 for models that
        think, 512 for others.
      rows: Chains decoded at a time; fewer save memory. If unset: 64, and 512 for shipped models
        on a GPU or TPU.
      dtype: Numbers it computes in. With auto, bfloat16 if this machine is faster in it, else
        float32, as shipped models and, on a CPU, lessons that train. int8 is less exact.
      mesh: Devices to spread over, such as data=4,model=2. Prompts are split along data and fsdp,
        matrices along fsdp and model.
      chat: Use the chat template of a model that has one.
      out: Results and figures go to OUT/NN_name/.
      quick: A smoke run on a few problems: it takes seconds, and the intervals are wide.
    """

    model: str = "tiny"
    task: str | None = None
    problems: int = 500
    seed: int = 0
    chains: int | None = None
    seeds: int | None = None
    max_new_tokens: int | None = None
    rows: int | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    mesh: str | None = None
    chat: bool = True
    out: Path = Path("outputs")
    quick: bool = False


class Given(NamedTuple):
    """What a lesson starts from; made by :func:`read_options`."""

    name: str  # of the lesson and its folder
    options: Options
    task: str | None  # the lesson's own
    trains: bool = False  # the model, which then has to be in float

    @property
    def num_problems(self) -> int:
        """Held-out problems: fewer in a smoke run."""
        most = QUICK_PROBLEMS if self.options.quick else self.options.problems
        return min(self.options.problems, most)


def in_notebook() -> bool:
    """Whether this runs inside a Jupyter kernel, where there is no command line."""
    return "ipykernel" in sys.modules


# A notebook sets its options here, as on the command line; if empty, JAXREASON_OPTIONS has them.
notebook_options = ""


def read_options(
    name: str,
    problems: int = 500,
    task: str | None = None,
    chains: int | None = None,
    model: str = "tiny",
    seeds: int | None = None,
    *,
    halved: bool = False,
    reward_models: tuple[str, ...] = (),
    student: str | None = None,
    trains: bool = False,
) -> Given:
    """Reads the options from the command line.

    A notebook has none: there they are ``notebook_options`` or else ``JAXREASON_OPTIONS``. Bad
    options end the program with one line and exit status 2; in a notebook they raise.

    Args:
      name: of the lesson and its folder.
      problems, task, chains, model, seeds: defaults. A lesson with no default for task, chains or
        seeds has no such option.
      halved: the lesson halves the number of chains again and again, so it has to be a power of 2.
      reward_models: kinds of reward models that the lesson needs, such as ``prm``; they lie beside
        the model.
      student: a model that has to read the same tokens as ``model``.
      trains: the lesson trains ``model``.

    Raises:
      InputError: in a notebook only.
    """
    own = Options(model=model, problems=problems, task=task, chains=chains, seeds=seeds)
    if in_notebook():
        return _checked(name, _of_notebook(name, own), own, halved, reward_models, student, trains)
    with clean_exit():
        options = tyro.cli(Options, default=own, prog=name, description=f"Lesson {name}")
        return _checked(name, options, own, halved, reward_models, student, trains)


def _of_notebook(name: str, own: Options) -> Options:
    given = notebook_options or os.environ.get("JAXREASON_OPTIONS", "")
    try:
        return tyro.cli(Options, default=own, prog=name, args=shlex.split(given))
    except SystemExit as end:
        raise InputError(
            f"options {given!r}: expected those of the command line, such as '--quick'"
        ) from end


def _checked(
    name: str,
    options: Options,
    own: Options,
    halved: bool,
    reward_models: tuple[str, ...],
    student: str | None,
    trains: bool,
) -> Given:
    _check_known(options, own)
    if trains and options.dtype == "int8":
        raise InputError(
            "--dtype is 'int8': this lesson trains the model, which needs float32 or bfloat16"
        )
    _check_numbers(options, halved)
    if options.task is not None:
        check_task(options.task)
    names.check_name(options.model)
    if options.model != own.model:
        _check_model(options.model, reward_models, student)
    check_folder(options.out, name)
    return Given(name, options, own.task, trains)


def _check_known(options: Options, own: Options) -> None:
    """Refuses options that other lessons have and this one does not."""
    for option in ("task", "chains", "seeds"):
        value = getattr(options, option)
        if value is not None and getattr(own, option) is None:
            raise InputError(
                f"--{option} is {value!r}: this lesson has no such option, leave it out"
            )


def _check_numbers(options: Options, halved: bool) -> None:
    for option in ("problems", "chains", "seeds", "max_new_tokens", "rows"):
        value = getattr(options, option)
        if value is not None and value < 1:
            raise InputError(f"--{option.replace('_', '-')} is {value}: expected at least 1")
    chains = options.chains
    if halved and chains is not None and (chains < 4 or chains & (chains - 1)):
        raise InputError(
            f"--chains is {chains}: expected 4, 8, 16, ..., "
            "because the lesson halves it again and again"
        )


def _check_model(model: str, reward_models: tuple[str, ...], student: str | None) -> None:
    """Refuses a model other than the lesson's own if the lesson cannot use it."""
    if model.endswith(".gguf") and importlib.util.find_spec("gguf") is None:
        raise InputError("GGUF files need the gguf package: pip install 'jaxreason[gguf]'")
    for kind in reward_models:
        names.find_reward_model(f"{model}-{kind}")
    if student is not None:
        names.check_same_vocabulary(model, student)
