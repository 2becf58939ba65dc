"""Trains the student of lesson 09, from scratch: ``python checkpoints/train_student.py``.

It is to be weak but not helpless: it has seen no end of easy problems, of one and two operations, and only a few traces of harder ones.
Deterministic, saves every 200 steps, and goes on where it stopped.
"""

import functools
from pathlib import Path

import jax
import numpy as np
import tyro
from train import Piece, Recipe, chain, documents, result_rows, words, write_card

from jaxreason import prompts, sft, train
from jaxreason.evaluate import Interval, accuracy, mean_interval
from jaxreason.lesson import clean_exit
from jaxreason.models import decoder
from jaxreason.models.hf import LanguageModel, load_model, save_model
from jaxreason.rollout import complete
from jaxreason.sampling import GREEDY, Sampler
from jaxreason.tasks import arithmetic
from jaxreason.tokens import build_tokenizer
from jaxreason.verify import grade

NAME = "tiny-student"
RECIPE = Recipe(64, 172, 2, 2, num_steps=4000, learning_rate=1e-2, rows=8, muon=True, microbatches=4)
SHARES = {
    "direct answer, 1 operation": 0.2,
    "bare line": 0.1,
    "trace, 1-2 operations": 0.5,
    "trace, 3-6 operations": 0.2,
}
HARD_TRACES = 1000  # different ones, again and again
DIRECT_WEIGHT = 4.0


def trace(problem: arithmetic.Problem, rng: np.random.Generator) -> list[Piece]:
    """A word problem and a right chain of thought."""
    return [
        Piece(prompts.zero_shot_cot(problem.question), 0.0),
        Piece(prompts.chain(chain(rng, problem), problem.answer), 1.0),
    ]


@functools.cache
def hard_traces() -> list[list[Piece]]:
    """The same few whatever the seed."""
    rng = np.random.default_rng(77)
    return [trace(p, rng) for p in arithmetic.problems("train", HARD_TRACES, seed=77, operations=(3, 4, 5, 6))]


def document(rng: np.random.Generator) -> list[Piece]:
    """One document of the mixture; only problems of the train split occur."""
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    if kind.startswith("direct"):
        problem = arithmetic.sample_problem(rng, 1)
        return [
            Piece(prompts.direct(problem.question), 0.0),
            Piece(prompts.direct_answer(problem.answer), DIRECT_WEIGHT),
        ]
    if kind == "bare line":
        question, line = arithmetic.drill(rng)
        return [Piece(prompts.zero_shot_cot(question), 0.0), Piece(prompts.chain([line], line.split("=")[1]), 1.0)]
    if kind == "trace, 1-2 operations":
        return trace(arithmetic.sample_problem(rng, 1 + int(rng.random() < 2 / 3)), rng)
    return hard_traces()[rng.integers(HARD_TRACES)]


def train_model(seed: int, work: Path) -> LanguageModel:
    """Trains, or goes on where an earlier run stopped."""
    tokenizer = build_tokenizer(words())
    cfg = RECIPE.config(len(tokenizer))

    def batch_fn(step: int) -> sft.Batch:
        draw = functools.partial(document, np.random.default_rng([seed, step]))
        return sft.pack(documents(tokenizer, draw), RECIPE.rows, RECIPE.row_length, tokenizer.pad_token_id)

    tx = RECIPE.optimizer()
    state = train.init_state(decoder.init(jax.random.key(seed), cfg), tx)
    update = train.make_update(functools.partial(sft.sft_loss, cfg=cfg), tx, RECIPE.microbatches)
    state = train.fit(state, update, batch_fn, RECIPE.num_steps, work, description=NAME)
    return LanguageModel(state.params, cfg, tokenizer, NAME, "")


def measure(model: LanguageModel, n: int = 500) -> dict[str, Interval]:
    """Held-out results on the test split: the n problems of the lessons (2-6 operations), 300 of one operation."""
    problems = arithmetic.problems("test", n)
    operations = np.array([p.num_operations for p in problems])
    results = {}

    def run(ask, problems, sampler: Sampler = GREEDY, num_samples: int = 1) -> np.ndarray:
        written = complete(
            model, [ask(p.question) for p in problems], jax.random.key(0), sampler=sampler, max_new_tokens=96,
            num_samples=num_samples,
        )  # fmt: skip
        return grade(written.texts, [p.answer for p in problems])

    cot = run(prompts.zero_shot_cot, problems)[:, 0]
    results["cot"] = accuracy(cot)
    for k in range(2, 7):
        results[f"cot/{k} operations"] = accuracy(cot[operations == k])
    results["cot, T=1/pass@1"] = mean_interval(run(prompts.zero_shot_cot, problems, Sampler(1.0), 16).mean(1))
    results["direct"] = accuracy(run(prompts.direct, problems)[:, 0])
    results["direct/1 operation"] = accuracy(
        run(prompts.direct, arithmetic.problems("test", 300, operations=(1,)))[:, 0]
    )
    return results


def card(seed: int, model: LanguageModel, results: dict[str, Interval], example: str) -> str:
    """The model card, in Markdown."""
    mixture = ", ".join(f"{key} {share:.0%}" for key, share in SHARES.items())
    rows = result_rows(results)
    return f"""# {NAME}

The student of lesson 09: a Llama-style decoder with {model.num_params:,} parameters, trained from scratch for this course by

    python checkpoints/train_student.py --seed {seed}

It reads small arithmetic word problems and nothing else, and is meant to have room for a teacher: of problems with three and more
operations it has seen {HARD_TRACES} traces.

| recipe | |
| --- | --- |
| seed | {seed} |
| architecture | {RECIPE.num_layers} layers, width {RECIPE.hidden_size}, {RECIPE.num_heads} heads, SwiGLU {RECIPE.intermediate_size} |
| optimiser | Muon on the layers' matrices, Adam (b2 0.95) on the rest, weight decay 0.05 on the matrices |
| training | {RECIPE.num_steps} steps of {RECIPE.rows * RECIPE.row_length} tokens, one cosine from a peak learning rate of {RECIPE.learning_rate:g} |
| mixture (share of documents) | {mixture} |
| weights | stored as {RECIPE.stored_as}, sha256 of model.safetensors `{model.sha256}` |

Held-out results (test split, disjoint from training by a hash of the numbers; 95% intervals; greedy unless a temperature is named;
problems of 2 to 6 operations unless the row says otherwise):

| measurement | value | 95% interval | n |
| --- | --- | --- | --- |
{rows}

Data format, one document:

```
{example}
```
"""


def main(seed: int = 0, out: Path | None = None) -> None:
    """Train the student and write it with its card.

    Args:
      seed: of the initialisation and the data.
      out: model directory; by default checkpoints/tiny-student for seed 0, and outputs/train/tiny-student-SEED/model for others.
    """
    work = Path("outputs/train") / f"{NAME}-{seed}"
    out = out or (Path(__file__).parent / NAME if seed == 0 else work / "model")
    trained = train_model(seed, work)
    save_model(out, trained.params, trained.cfg, trained.tokenizer, dtype=RECIPE.stored_as)
    model = load_model(str(out))._replace(name=NAME)
    results = measure(model)
    example = "".join(piece.text for piece in hard_traces()[0])
    write_card(out, card(seed, model, results, example), results)


if __name__ == "__main__":
    with clean_exit():
        tyro.cli(main)
