"""The command line: ``jaxreason solve "..."`` and ``jaxreason lesson 02``."""

import runpy
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxreason.errors import InputError, clean_exit, did_you_mean
from jaxreason.models.names import check_name


def solve(
    question: tyro.conf.Positional[str],
    method: Literal["direct", "cot", "majority"] = "majority",
    model: str = "tiny",
    samples: int = 32,
    temperature: float = 0.7,
    max_new_tokens: int | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    seed: int = 0,
    prompt: str | None = None,
    system: str | None = None,
) -> None:
    """Answer a question.

    Args:
      question: the problem, in words.
      method: at once, by one greedy chain of thought, or by a vote over sampled chains.
      model: a shipped model, a directory, a .gguf file, or a Hugging Face id.
      samples: chains to vote over.
      temperature: of the sampled chains.
      max_new_tokens: longest chain, by default 96 of shipped models, 512 of others, 2048 if they
        think.
      dtype: auto is bfloat16 where the device is fast in it, else float32.
      seed: of the sampling.
      prompt: what cot and majority ask, in your own words, with {question} where the question goes:
        "{question} Think first, then answer in one word."
      system: the system turn of a chat model; if unset, the model's own default.
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

    # What takes seconds to import is imported when all that takes no time has been checked.
    import jax

    from jaxreason.answers.extract import extract_answer
    from jaxreason.answers.verify import answer_ids
    from jaxreason.answers.vote import vote
    from jaxreason.course.lesson import chain_length, failed_prompt, keep_compiled
    from jaxreason.decoding import prompts
    from jaxreason.decoding.completions import complete
    from jaxreason.decoding.sampling import GREEDY, Sampler
    from jaxreason.models.hf import default_dtype, load_model

    asked = None if prompt is None else prompts.fill(prompt, question)
    keep_compiled()
    language_model = load_model(model, default_dtype(model) if dtype == "auto" else dtype)
    if system is not None and not prompts.has_template(language_model.tokenizer):
        raise InputError(
            f"--system is for chat models, and {model!r} has no chat template: leave it out, or use an instruct model"
        )
    if asked is None:
        ask = prompts.direct if method == "direct" else prompts.zero_shot_cot
        asked = ask(question, language_model.tokenizer, system)
    elif prompts.has_template(language_model.tokenizer):
        asked = prompts.chat(language_model.tokenizer, asked, system)
    voting = method == "majority"
    written = complete(
        language_model,
        jax.random.key(seed),
        [asked],
        sampler=Sampler(temperature) if voting else GREEDY,
        max_new_tokens=max_new_tokens or chain_length(language_model),
        num_samples=samples if voting else 1,
    )
    if method != "direct" and (failed := failed_prompt(language_model, written)):
        print(f"note: {failed}", file=sys.stderr)
    texts = [prompts.opening(asked) + text for text in written.texts[0]]
    answers = [extract_answer(text) for text in texts]
    ids = answer_ids([answers])
    outcome = vote(ids)
    winner = int(outcome.winner[0])
    if winner < 0:
        print(f"{texts[0].strip()}\n\nno answer found in {len(answers)} chain(s)")
        return
    chosen = ids[0].tolist().index(winner)
    print(texts[chosen].strip())
    if voting:
        print(
            f"\n{answers[chosen]}  ({float(outcome.confidence[0]):.0%} of {samples} chains agree)"
        )


def find_lesson(name: str) -> Path:
    """The script of lesson ``02``, ``2`` or ``02_self_consistency``, in a checkout or an installed
    wheel.

    Raises:
      InputError: there is no such lesson.
    """
    package = Path(str(resources.files("jaxreason")))
    for root in (package / "lessons", package.parent / "lessons"):
        scripts = {path.stem: path for path in sorted(root.glob("[0-9][0-9]_*.py"))}
        if scripts:
            for stem, path in scripts.items():
                if name == stem or name.zfill(2) == stem[:2]:
                    return path
            numbers = ", ".join(stem[:2] for stem in scripts)
            raise InputError(
                f"lesson {name!r} not found: expected one of {numbers}{did_you_mean(name, scripts)}"
            )
    raise InputError(f"lesson {name!r} not found: no lessons are installed with this package")


def lesson(
    number: tyro.conf.Positional[str],
    options: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
) -> None:
    """Run a lesson, for instance ``jaxreason lesson 02 --quick``; ``lesson 02 --help`` lists its
    options.

    Args:
      number: 00 to 10.
      options: passed on to the lesson.
    """
    script = find_lesson(number)
    sys.argv = [str(script), *options]
    runpy.run_path(str(script), run_name="__main__")


def main() -> None:
    """Entry point; bad input is one line on stderr and exit status 2."""
    with clean_exit():
        arguments = sys.argv[1:]
        if arguments[:1] == ["lesson"] and len(arguments) > 1 and not arguments[1].startswith("-"):
            lesson(
                arguments[1], tuple(arguments[2:])
            )  # its options are the lesson's own, not ours to parse
        else:
            app = tyro.extras.SubcommandApp()
            app.command(solve)
            app.command(lesson)
            app.cli(prog="jaxreason", description="Reasoning with small language models in JAX.")


if __name__ == "__main__":
    main()
