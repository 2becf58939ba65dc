"""What float32, bfloat16 and int8 cost and give: ``python -m benchmarks.arithmetic --model MODEL``.

Each of them writes the greedy chains of the same test problems, and the differences of their
accuracies are paired by problem. Then it writes sampled chains with natural ends, and tokens a
second are counted: the median of some runs, compilation left out.

The greedy chains are kept in ``OUT/chains``: a run that was stopped goes on from there. At the end
``results.json`` and a table, ``table.md``, are written to ``OUT``.
"""

import dataclasses
import statistics
import time
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import tyro

from benchmarks.prompts import WORDINGS
from jaxreason.answers.verify import grade
from jaxreason.course.machine import device, keep_compiled
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import Completions, complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.errors import clean_exit
from jaxreason.evaluation.intervals import accuracy, paired_difference
from jaxreason.evaluation.results import Results
from jaxreason.models.hf import LanguageModel, load_model
from jaxreason.models.precision import KINDS, arithmetic
from jaxreason.tasks import load_problems


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen."""

    model: str  # a chat model: a directory, a .gguf file, or a Hugging Face id
    task: str = "gsm8k"  # as in the lessons
    problems: int = 200  # whose greedy chains are graded
    max_new_tokens: int = 400  # longest chain
    rows: int = 64  # chains decoded at a time
    timed: int = 32  # problems whose sampled chains are timed
    chains: int = 4  # of each of these
    repeats: int = 3  # of the timing
    kinds: tuple[Literal["float32", "bfloat16", "int8"], ...] = KINDS  # float32 goes first
    seed: int = 0  # of the draw of problems, and of the chains
    out: Path = Path("outputs/arithmetic")


def write(model: LanguageModel, asked: list[str], options: Options, **how) -> Completions:
    """Chains of prompts, as many at a time as the options say."""
    return complete(
        model,
        jax.random.key(options.seed),
        asked,
        max_new_tokens=options.max_new_tokens,
        rows=options.rows,
        **how,
    )


def tokens_per_second(model: LanguageModel, asked: list[str], options: Options) -> float:
    """The median of some runs, the first of which, with compilation, is left out."""
    rates = []
    for _ in range(options.repeats + 1):
        began = time.perf_counter()
        how = {"sampler": Sampler(0.7), "num_samples": options.chains}
        written = write(model, asked[: options.timed], options, **how)
        rates.append(written.num_tokens.sum() / (time.perf_counter() - began))
    return statistics.median(rates[1:])


def main() -> None:
    options = tyro.cli(Options, prog="benchmarks.arithmetic", description=__doc__)
    problems = load_problems(options.task, "test", options.problems, options.seed)
    filled = [prompts.fill(WORDINGS["reason_boxed"], p.question) for p in problems]
    keep_compiled()
    correct: dict[str, np.ndarray] = {}  # bool [G]
    table = (
        "| | weights | sums | cache | right | 95% interval | against the first | 95% interval "
        "| tokens | ended | tokens/s |\n| --- | --- | --- | --- | ---: | :---: | ---: | :---: "
        "| ---: | ---: | ---: |\n"
    )
    results = None
    for kind in options.kinds:
        model = load_model(options.model, kind)
        asked = [prompts.chat(model.tokenizer, text) for text in filled]
        results = results or Results(
            "arithmetic",
            model={"name": model.name, "params": model.num_params, "sha256": model.sha256},
            seed=options.seed,
            problems=len(problems),
            settings={"task": options.task, "rows": options.rows, "device": device()},
        )
        how = {"sampler": GREEDY, "store": options.out / "chains", "description": kind}
        greedy = write(model, asked, options, **how)
        correct[kind] = grade(greedy.texts, [p.gold for p in problems])[:, 0]
        right = accuracy(correct[kind])
        apart = paired_difference(correct[kind], correct[options.kinds[0]])
        rate = tokens_per_second(model, asked, options)
        results.measure(f"accuracy/{kind}", right, tokens=greedy.num_tokens.mean())
        results.measure(f"difference/{kind}", apart)
        numbers = arithmetic(model.params)
        table += (
            f"| {kind} | {numbers['weights']} | {numbers['sums']} | {numbers['cache']} "
            f"| {right.value:.1%} | {right.low:.1%} to {right.high:.1%} "
            f"| {apart.value:+.1%} | {apart.low:+.1%} to {apart.high:+.1%} "
            f"| {greedy.num_tokens.mean():.0f} | {greedy.finished.mean():.0%} | {rate:,.1f} |\n"
        )
        print(table.splitlines()[-1], flush=True)
        del model  # before the next one is loaded
    header = (
        f"{options.model}, {len(problems)} test problems of {options.task.partition(':')[0]}, "
        f"greedy, at most {options.max_new_tokens} tokens. Tokens a second: {options.timed} "
        f"problems x {options.chains} chains at T=0.7, {options.rows} rows, {device()}.\n\n"
    )
    results.write(options.out)
    (options.out / "table.md").write_text(header + table)
    print(f"\n{header}{table}")


if __name__ == "__main__":
    with clean_exit():
        main()
