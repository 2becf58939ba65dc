"""``jaxreason solve``: it asks a model one question and prints the answer of its chains."""

import sys
from collections import Counter
from collections.abc import Sequence

import jax
import numpy as np

from jaxreason.answers.extract import extract_answer
from jaxreason.answers.verify import answer_ids, chosen
from jaxreason.answers.vote import vote
from jaxreason.course.chains import chain_length, failed_prompt
from jaxreason.course.machine import keep_compiled
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.errors import InputError
from jaxreason.models.fastest import explain
from jaxreason.models.hf import LanguageModel, load_model


def solve(
    question: str,
    *,
    method: str,
    model: str,
    samples: int,
    temperature: float,
    max_new_tokens: int | None,
    dtype: str,
    seed: int,
    prompt: str | None,
    system: str | None,
) -> None:
    """Loads the model, asks it and prints the answer; the arguments are those of the command line.

    Raises:
      InputError: the prompt has no place for the question, the model cannot be loaded, or a system
        turn was given and it has no chat template.
    """
    wording = None if prompt is None else prompts.fill(prompt, question)
    keep_compiled()
    voting = method == "majority"
    rows = samples if voting else 1
    language_model = load_model(model, dtype, rows=rows)
    if dtype == "auto" and (explained := explain(language_model.cfg, rows)):
        print(f"arithmetic: {explained}", file=sys.stderr)
    if system is not None and not prompts.has_template(language_model.tokenizer):
        raise InputError(
            f"--system is for chat models, and {model!r} has no chat template: "
            "leave it out, or use an instruct model"
        )
    asked = _ask(language_model, question, method, wording, system)
    written = complete(
        language_model,
        jax.random.key(seed),
        [asked],
        sampler=Sampler(temperature) if voting else GREEDY,
        max_new_tokens=max_new_tokens or chain_length(language_model),
        num_samples=rows,
    )
    failed = None if method == "direct" else failed_prompt(language_model, written)
    if failed:
        print(f"note: {failed}", file=sys.stderr)
    _print_answer([prompts.opening(asked) + text for text in written.texts[0]], voting)


def _ask(
    model: LanguageModel, question: str, method: str, wording: str | None, system: str | None
) -> str:
    """The prompt: the reader's own wording or the method's, through a chat model's template."""
    if wording is None:
        ask = prompts.direct if method == "direct" else prompts.zero_shot_cot
        return ask(question, model.tokenizer, system)
    if prompts.has_template(model.tokenizer):
        return prompts.chat(model.tokenizer, wording, system)
    return wording


def _print_answer(texts: Sequence[str], voting: bool) -> None:
    """Prints the first chain with the winning answer, the votes, and the share that agrees."""
    answers = [extract_answer(text) for text in texts]
    ids = answer_ids([answers])
    outcome = vote(ids)
    (text,) = chosen([texts], ids, outcome.winner)
    (answer,) = chosen([answers], ids, outcome.winner)
    if text is None:
        print(f"{texts[0].strip()}\n\nno answer found in {len(answers)} chain(s)")
        return
    print(text.strip())
    if voting:
        share = float(outcome.confidence[0])
        print(f"\n{_counts(answers, ids[0])}")
        print(f"{answer}  ({share:.0%} of {len(texts)} chains agree)")


def _counts(answers: Sequence[str | None], ids: np.ndarray, most: int = 5) -> str:
    """The most frequent answers and their numbers of chains, as ``votes: 66 x 30, 64 x 2``.

    Args:
      answers: N of them.
      ids: ``[N]``, equal for equal answers, -1 where there is none.
      most: answers that are named.
    """
    first: dict[int, str] = {}
    for answer, i in zip(answers, ids.tolist(), strict=True):
        first.setdefault(i, answer or "no answer")
    ranked = Counter(ids.tolist()).most_common()
    named = [f"{first[i]} x {count}" for i, count in ranked[:most]]
    if ranked[most:]:
        named.append(f"others x {sum(count for _, count in ranked[most:])}")
    return "votes: " + ", ".join(named)
