"""Which wording makes a chat model reason: ``python -m benchmarks.prompts --model MODEL``.

Every wording asks the same problems, greedily. One is chosen on training problems (``--split
train``, the default). The chosen one is then run once on test problems (``--split test --wordings
NAME``), on which nothing may be chosen.

The chains are kept in ``OUT/WORDING.jsonl``, a batch at a time: a run that was stopped goes on
after its last whole batch. At the end ``results.json`` and a table, ``table.md``, are written
beside them.
"""

import dataclasses
import json
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import tyro

from jaxreason.answers.verify import grade
from jaxreason.course.chains import REASONED_TOKENS
from jaxreason.course.machine import keep_compiled
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY
from jaxreason.errors import InputError, clean_exit
from jaxreason.evaluation.intervals import accuracy
from jaxreason.evaluation.results import Results
from jaxreason.models.hf import LanguageModel, load_model
from jaxreason.models.precision import arithmetic
from jaxreason.tasks import load_problems
from jaxreason.tasks.problem import Problem

INSTRUCTIONS = {  # what follows the question
    "dictated": 'Let\'s think step by step. At the end, write "The answer is" and the answer.',
    "question_alone": "",
    "step_by_step": prompts.STEP_BY_STEP,  # of zero_shot_cot
    "reason_boxed": "Please reason step by step, and put your final answer within \\boxed{}.",
}
WORDINGS = {name: f"{{question}}\n\n{said}".rstrip() for name, said in INSTRUCTIONS.items()}


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be chosen."""

    model: str  # of a chat model: a directory, a .gguf file, or a Hugging Face id
    task: str = "gsm8k"  # as in the lessons
    split: Literal["train", "test"] = "train"  # choose on train, never on test
    wordings: tuple[str, ...] = tuple(WORDINGS)
    problems: int = 128  # all batches are full if this is a multiple of rows
    max_new_tokens: int = 400  # longest chain
    rows: int = 64  # chains decoded at a time
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    seed: int = 0  # of the draw of problems
    out: Path = Path("outputs/prompts")


def write_chains(
    model: LanguageModel,
    asked: list[str],
    path: Path,
    rows: int,
    max_new_tokens: int,
) -> list[dict]:
    """The greedy chain of each prompt: those in ``path`` are read, the others are appended to it.

    Raises:
      InputError: ``path`` holds chains of other prompts.
    """
    chains = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    order = np.argsort([len(text) for text in asked], kind="stable")
    for chain, i in zip(chains, order, strict=False):
        if chain["prompt"] != asked[i] or chain["max_new_tokens"] != max_new_tokens:
            raise InputError(f"{str(path)!r} holds chains of another run: name another --out")
    for start in range(len(chains), len(asked), rows):
        batch = order[start : start + rows]
        written = complete(
            model,
            jax.random.key(0),
            [asked[i] for i in batch],
            sampler=GREEDY,
            max_new_tokens=max_new_tokens,
            rows=rows,
            description=f"{path.stem}, from {start}",
        )
        new = [
            {
                "problem": int(i),
                "prompt": asked[i],
                "text": written.texts[row][0],
                "tokens": int(written.num_tokens[row, 0]),
                "finished": bool(written.finished[row, 0]),
                "max_new_tokens": max_new_tokens,
            }
            for row, i in enumerate(batch)
        ]
        with path.open("a") as file:
            file.write("".join(f"{json.dumps(chain)}\n" for chain in new))
        chains += new
    return sorted(chains, key=lambda chain: chain["problem"])


def measure(results: Results, name: str, chains: list[dict], problems: list[Problem]) -> str:
    """Records what the chains of a wording came to; its row of the table."""
    tokens = np.array([chain["tokens"] for chain in chains])
    right = grade([[chain["text"]] for chain in chains], [p.gold for p in problems])
    correct = accuracy(right[:, 0])
    short = accuracy(tokens < REASONED_TOKENS)
    finished = accuracy([chain["finished"] for chain in chains])
    results.measure(f"accuracy/{name}", correct, tokens=tokens.mean())
    results.measure(f"under_{REASONED_TOKENS}_tokens/{name}", short)
    results.measure(f"finished/{name}", finished)
    said = f"`{INSTRUCTIONS[name]}`" if INSTRUCTIONS[name] else "nothing"
    return (
        f"| {name} | {said} | {correct.value:.1%} | {correct.low:.1%} to {correct.high:.1%} "
        f"| {tokens.mean():.0f} | {short.value:.1%} | {finished.value:.1%} |\n"
    )


def main() -> None:
    options = tyro.cli(Options, prog="benchmarks.prompts", description=__doc__)
    if unknown := set(options.wordings) - set(WORDINGS):
        raise InputError(f"wordings {sorted(unknown)}: expected some of {', '.join(WORDINGS)}")
    problems = load_problems(options.task, options.split, options.problems, options.seed)
    keep_compiled()
    model = load_model(options.model, options.dtype, rows=options.rows)
    dtype = arithmetic(model.params)["weights"]
    options.out.mkdir(parents=True, exist_ok=True)
    results = Results(
        "prompts",
        model={"name": model.name, "params": model.num_params, "sha256": model.sha256},
        seed=options.seed,
        problems=len(problems),
        settings={
            "task": options.task,
            "split": options.split,
            "arithmetic": arithmetic(model.params),
            "max_new_tokens": options.max_new_tokens,
        },
    )
    table = (
        f"{model.name}, {len(problems)} {options.split} problems of "
        f"{options.task.partition(':')[0]}, greedy, at most {options.max_new_tokens} tokens, "
        f"{dtype}.\n\n"
        f"| | after the question | right | 95% interval | tokens | under {REASONED_TOKENS} "
        "| ended |\n"
        "| --- | --- | ---: | :---: | ---: | ---: | ---: |\n"
    )
    for name in options.wordings:
        filled = [prompts.fill(WORDINGS[name], p.question) for p in problems]
        asked = [prompts.chat(model.tokenizer, text) for text in filled]
        path = options.out / f"{name}.jsonl"
        chains = write_chains(model, asked, path, options.rows, options.max_new_tokens)
        table += measure(results, name, chains, problems)
    results.write(options.out)
    (options.out / "table.md").write_text(table)
    print(f"\n{table}")


if __name__ == "__main__":
    with clean_exit():
        main()
