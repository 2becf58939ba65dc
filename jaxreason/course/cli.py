"""The command line: ``jaxreason solve "..."``, ``jaxreason lesson 02``, ``jaxreason check 02``."""

import runpy
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxreason.errors import InputError, clean_exit, did_you_mean
from jaxreason.models.names import check_name

FIRST = """\
How reasoning models work, in JAX. Start with

  jaxreason lesson 00         the first lesson: one problem, four methods (seconds)
  jaxreason lesson 00b        JAX for people from PyTorch
  jaxreason lesson 02 --help  a lesson's options; lessons are numbered 00 to 10
  jaxreason check 02          its exercises: writes a file to fill in, then checks it
  jaxreason solve "..."       your own problem, by a vote of 32 chains

jaxreason --help lists all commands."""


def solve(
    question: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="QUESTION")],
    method: Literal["direct", "cot", "majority"] = "majority",
    model: str = "tiny",
    samples: int = 32,
    temperature: float = 0.7,
    max_new_tokens: int | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto",
    seed: int = 0,
    prompt: str | None = None,
    system: str | None = None,
) -> None:
    """Answer a question in words.

    Args:
      question: The problem, in words.
      method: Answer at once, by one greedy chain of thought, or by a vote of sampled chains.
      model: A shipped model, a directory, a .gguf file, or a Hugging Face id.
      samples: Number of chains that vote.
      temperature: Temperature of the chains that vote.
      max_new_tokens: Longest chain. If unset: 96 (shipped models), 2048 (that think), 512 (others).
      dtype: Numbers it computes in. With auto, bfloat16 if this machine is faster in it, else
        float32, as shipped models. int8 is less exact.
      seed: Seed of the sampling.
      prompt: Your own wording for cot and majority, such as "{question} Answer in one word."
      system: System turn for a chat model. If unset: the model's own.

    Raises:
      InputError: an option has no use or no meaning, or there is no such model.
    """
    if not question.strip():
        raise InputError("question is empty: expected a problem in words")
    if max_new_tokens is not None and max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}: expected at least 1")
    if prompt is not None and method == "direct":
        raise InputError(
            "--prompt goes with --method cot or majority: the direct method has its own wording"
        )
    check_name(model)

    # Its imports take seconds, so they come after the checks, which take no time.
    from jaxreason.course.solve import solve as solve_with_model

    solve_with_model(
        question,
        method=method,
        model=model,
        samples=samples,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        dtype=dtype,
        seed=seed,
        prompt=prompt,
        system=system,
    )


def find_lesson(name: str) -> Path:
    """The script of a lesson, in a checkout or an installed wheel.

    Args:
      name: ``02``, ``2`` or ``02_self_consistency``; ``03b`` goes on where 03 ends.

    Raises:
      InputError: there is no such lesson.
    """
    package = Path(str(resources.files("jaxreason")))
    for root in (package / "lessons", package.parent / "lessons"):
        scripts = {path.stem: path for path in sorted(root.glob("[0-9][0-9]*_*.py"))}
        if scripts:
            return _choose(name, scripts)
    raise InputError(
        f"lesson {name!r} not found: this installation has no lessons; "
        "install a wheel of jaxreason or run in a checkout"
    )


def _choose(name: str, scripts: dict[str, Path]) -> Path:
    numbers = {stem.partition("_")[0]: path for stem, path in scripts.items()}
    for number, path in numbers.items():
        if name in (path.stem, number, number.removeprefix("0")):
            return path
    raise InputError(
        f"lesson {name!r} not found: expected one of {', '.join(numbers)}"
        f"{did_you_mean(name, scripts)}"
    )


def lesson(
    number: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NUMBER")],
    options: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[OPTIONS ...]")
    ] = (),
) -> None:
    """Run a lesson, such as 'lesson 02 --quick'. Its options: 'lesson 02 --help'.

    Args:
      number: Number of the lesson, 00 to 10; a long one goes on in others, such as 03b.
      options: Options of the lesson.

    Raises:
      InputError: there is no such lesson, or it refuses its options.
    """
    script = find_lesson(number)
    sys.argv = [str(script), *options]
    runpy.run_path(str(script), run_name="__main__")


def check(
    number: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NUMBER")],
    file: Path | None = None,
    solution: bool = False,
) -> None:
    """Check your answers to a lesson's exercises.

    The first time it writes the file to fill in. The exit status is 1 while an exercise is open.

    Args:
      number: Number of the lesson, 00 to 10.
      file: Your answers. If unset: exercises_NN.py in the current folder.
      solution: Print our solutions instead.

    Raises:
      InputError: the lesson has no exercises, or the file is missing or does not run.
    """
    from jaxreason.course import exercises

    if not exercises.check(number, file, solution):
        raise SystemExit(1)


def main() -> None:
    """Entry point; bad input is one line on stderr and exit status 2."""
    if len(sys.argv) < 2:
        print(FIRST)
        return
    with clean_exit():
        command, *rest = sys.argv[1:]
        if command == "lesson" and rest and not rest[0].startswith("-"):
            # What follows the number are the lesson's own options: it parses them, not we.
            lesson(rest[0], tuple(rest[1:]))
            return
        app = tyro.extras.SubcommandApp()
        app.command(solve)
        app.command(lesson)
        app.command(check)
        app.cli(prog="jaxreason", description="Reasoning with small language models in JAX.")


if __name__ == "__main__":
    main()
