"""Trains `tiny-24-value`, which thinks before it values a state of the Game of 24, from `tiny-24`:
``python checkpoints/train_value.py``.

`tiny-24` says a value at a glance, and remembers more than it computes: on states that training
left out it is hardly better than chance. This model writes a search from both ends first
(``tasks/game24_value``), every list of which is one operation away from what stands before it.
Deterministic; after Ctrl-C the same command goes on where it stopped.
"""

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
import optax
import tyro
from train import Piece, documents, result_rows, training_seconds, working_folder, write_card

from jaxreason.errors import clean_exit
from jaxreason.evaluation.intervals import Interval, auc, mean_interval
from jaxreason.models.hf import LanguageModel, load_model, save_model
from jaxreason.search import evaluators, game24_rules, tree_of_thoughts
from jaxreason.tasks import game24, game24_puzzles, game24_training, game24_value
from jaxreason.training import loop, sft

BASE, NAME = "tiny-24", "tiny-24-value"
ROWS, ROW_LENGTH, LEARNING_RATE, STEPS = 16, 256, 1e-2, 3000
CONTEXT = 256


def draw(rng: np.random.Generator) -> list[Piece]:
    """One document."""
    example = game24_value.value_example(rng)
    return [Piece(example.prompt, 0.0), Piece(example.completion, 1.0)]


def train_model(model: LanguageModel, seed: int, work: Path) -> LanguageModel:
    """Fine-tunes, or goes on where an earlier run stopped."""

    def batch_fn(step: int) -> sft.Batch:
        rng = np.random.default_rng([seed, step])
        return sft.pack(
            documents(model.tokenizer, functools.partial(draw, rng)),
            ROWS,
            ROW_LENGTH,
            model.tokenizer.pad_token_id,
        )

    schedule = optax.warmup_cosine_decay_schedule(
        0.0, LEARNING_RATE, 100, STEPS, end_value=LEARNING_RATE / 50
    )
    tx = loop.muon(schedule)
    update = loop.make_update(functools.partial(sft.sft_loss, cfg=model.cfg), tx, ROWS // 2)
    state = loop.fit(
        loop.init_state(model.params, tx), update, batch_fn, STEPS, work, description=NAME
    )
    return model._replace(
        params=state.params, cfg=dataclasses.replace(model.cfg, max_position_embeddings=CONTEXT)
    )


def measure(model: LanguageModel, split: str) -> dict[str, Interval]:
    """AUC of the values on the states under held-out puzzles, and what they cost."""
    puzzles = game24_puzzles.held_out(406) if split == "test" else game24_puzzles.puzzles(split)
    results = {}
    for size in (3, 2):
        states = game24_puzzles.substates(puzzles, size)
        scores, costs = evaluators.value_replies(
            functools.partial(
                evaluators.replies, model, jax.random.key(0), max_new_tokens=game24_value.MAX_TOKENS
            ),
            [tree_of_thoughts.State(s) for s in states],
            prompt=game24_rules.moves_value_prompt,
            values=evaluators.VALUES,
        )
        can = np.array([game24.solvable(s) for s in states])
        parts = {
            "seen": np.array([game24_puzzles.in_training(s) for s in states]),
            "unseen": np.array([game24_puzzles.substate_split(s) == "unseen" for s in states]),
        }
        for name, rows in parts.items():
            results[f"game24, value AUC/{size} numbers, {name}"] = auc(scores[rows], can[rows])
        results[f"tokens/{size} numbers"] = mean_interval(costs.astype(float))
    return results


def card(
    model: LanguageModel, base: LanguageModel, seed: int, results, validation, seconds: float
) -> str:
    """The model card, in Markdown."""
    shown = draw(np.random.default_rng([seed, STEPS]))
    chosen = validation["game24, value AUC/3 numbers, unseen"]
    return f"""# {NAME}

`{BASE}` ({model.num_params:,} parameters), fine-tuned to think before it values a state of the Game
of 24 by

    python checkpoints/train_value.py --seed {seed}

in {seconds / 60:.0f} minutes of training on one core of a two-core CPU shared with other work. It
values states of two and three numbers, and does nothing else.

| recipe | |
| --- | --- |
| seed | {seed} |
| start | `{base.name}`, sha256 of model.safetensors `{base.sha256}` |
| set | value chains of `jaxreason/tasks/game24_value.py`, half of solvable states, \
{game24_value.SIZES[3]:.0%} of three numbers; {game24_value.WIDE_SHARE:.0%} of the states have any \
numbers of 1..{game24_training.WIDE_NUMBERS}, the others lie under training puzzles; none that \
`substate_split` calls unseen |
| training | Muon on the layers' matrices, Adam on the rest, {STEPS} steps of {ROWS * ROW_LENGTH} \
tokens, one cosine from a peak learning rate of {LEARNING_RATE:g} |
| weights | stored as float16, sha256 of model.safetensors `{model.sha256}` |

Held-out results (the states that legal moves reach from 306 test puzzles and the 100 of the paper;
greedy; 95% intervals; tokens are those of the prompt and of the chain). The recipe was tried on the
states under the 137 validation puzzles, where the AUC on unseen states of three numbers is
{chosen.value:.3f} [{chosen.low:.3f}, {chosen.high:.3f}].

| measurement | value | 95% interval | n |
| --- | --- | --- | --- |
{result_rows(results)}

Data format, one document:

```
{"".join(piece.text for piece in shown)}
```
"""


def main(seed: int = 0, out: Path | None = None) -> None:
    """Fine-tune, write the model with its card.

    Args:
      seed: of the batches.
      out: model directory; by default checkpoints/tiny-24-value for seed 0, and
        outputs/train/NAME-SEED-.../model for others.
    """
    base = load_model(BASE)
    work = working_folder(f"{NAME}-{seed}-{base.sha256[:8]}", globals())
    model = train_model(base, seed, work)
    out = out or (Path(__file__).parent / NAME if seed == 0 else work / "model")
    save_model(out, model.params, model.cfg, model.tokenizer, dtype="float16")
    model = load_model(str(out))._replace(name=NAME)
    validation, results = measure(model, "validation"), measure(model, "test")
    write_card(out, card(model, base, seed, results, validation, training_seconds(work)), results)


if __name__ == "__main__":
    with clean_exit():
        tyro.cli(main)
