"""The options of a lesson: read, and checked as far as that takes no time.

No JAX is imported here. A lesson reads its options before it imports what takes seconds, so that a
misspelt one, or a model that it cannot use, is refused at once.
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
    """Options that all lessons take."""

    model: str = "tiny"  # a shipped model, a directory, a .gguf file, or a Hugging Face id
    task: str | None = None  # arithmetic[:LOW-HIGH], gsm8k[:FILE], math500[:FILE] or gym:FAMILY
    problems: int = 500  # number of held-out problems
    seed: int = 0  # of the problems and of the sampling
    chains: int | None = None  # sampled chains per problem
    seeds: int | None = None  # training runs, of as many seeds
    # longest chain; if unset 96 of shipped models, 512 of others, 2048 if they think
    max_new_tokens: int | None = None
    rows: int | None = (
        # chains decoded at a time; if unset 512 of shipped models, 64 of others; fewer save memory
        None
    )
    # auto: bfloat16 where the device is fast in it
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    mesh: str | None = (
        # devices to spread over, such as data=4,model=2: prompts along data and fsdp, matrices
        # along fsdp and model
        None
    )
    chat: bool = True  # use the chat template of a model that has one
    out: Path = Path("outputs")  # results and figures go to OUT/NN_name/
    quick: bool = False  # a smoke run on a few problems: seconds, wide intervals


class Given(NamedTuple):
    """What a lesson starts from; made by :func:`read_options`."""

    name: str  # of the lesson and its folder
    options: Options
    task: str | None  # the lesson's own

    @property
    def num_problems(self) -> int:
        """Held-out problems: fewer in a smoke run."""
        return (
            min(self.options.problems, QUICK_PROBLEMS)
            if self.options.quick
            else self.options.problems
        )


def in_notebook() -> bool:
    """Whether this runs inside a Jupyter kernel, where there is no command line."""
    return "ipykernel" in sys.modules


# in a notebook: the options, as on the command line; if empty, those of JAXREASON_OPTIONS
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
) -> Given:
    """The options on the command line, or in a notebook those in ``notebook_options`` or in
    ``JAXREASON_OPTIONS``.

    Bad ones end the program with one line and exit status 2; in a notebook they raise.

    Args:
      name: of the lesson and its folder.
      problems, task, chains, model, seeds: defaults; without a task, chains or seeds the lesson has
        no such option.
      halved: the chains are halved again and again.
      reward_models: kinds of reward models, such as ``prm``, that the lesson takes from beside the
        model.
      student: a model that has to read the same tokens.

    Raises:
      InputError: in a notebook only.
    """
    own = Options(model=model, problems=problems, task=task, chains=chains, seeds=seeds)
    if in_notebook():
        return _checked(name, _of_notebook(name, own), own, halved, reward_models, student)
    with clean_exit():
        options = tyro.cli(Options, default=own, prog=name, description=f"Lesson {name}")
        return _checked(name, options, own, halved, reward_models, student)


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
) -> Given:
    if options.problems < 1:
        raise InputError(f"--problems is {options.problems}: expected at least 1")
    for option in ("task", "chains", "seeds"):
        if getattr(options, option) is not None and getattr(own, option) is None:
            raise InputError(
                f"--{option} is {getattr(options, option)!r}: this lesson has no such option, leave it out"
            )
    for option in ("chains", "seeds", "max_new_tokens", "rows"):
        value = getattr(options, option)
        if value is not None and value < 1:
            raise InputError(f"--{option.replace('_', '-')} is {value}: expected at least 1")
    if halved and (options.chains < 4 or options.chains & (options.chains - 1)):
        raise InputError(
            f"--chains is {options.chains}: expected 4, 8, 16, ..., since they are halved again and again"
        )
    if options.task is not None:
        check_task(options.task)
    names.check_name(options.model)
    if options.model != own.model:
        _check_model(options.model, reward_models, student)
    check_folder(options.out, name)
    return Given(name, options, own.task)


def _check_model(model: str, reward_models: tuple[str, ...], student: str | None) -> None:
    """That a lesson can use another model than its own."""
    if model.endswith(".gguf") and importlib.util.find_spec("gguf") is None:
        raise InputError("GGUF files need the gguf package: pip install 'jaxreason[gguf]'")
    for kind in reward_models:
        names.find_reward_model(f"{model}-{kind}")
    if student is not None:
        names.check_same_vocabulary(model, student)
