"""Trains `tiny-24-wait`, the model of lesson 07, from `tiny-24`: ``python
checkpoints/train_wait.py``.

The set is small, one example for each training puzzle, as in s1 (Muennighoff et al. 2025: 1,000
examples), and holds nothing but what `tiny-24` wrote itself: failed attempts joined by ``Wait`` up
to a success, a search in one text (Gandhi et al. 2024, Stream of Search). Behind a wait the puzzle
is read once more, as `tiny-24` only knows attempts that stand right behind it. Deterministic; after
Ctrl-C the same command goes on where it stopped.
"""

import dataclasses
import functools
import itertools
import json
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
import tyro
from train import result_rows, training_seconds, working_folder, write_card

from jaxreason.answers.extract import last_attempt
from jaxreason.decoding import budget_forcing
from jaxreason.decoding.completions import complete
from jaxreason.decoding.prompts import WAIT
from jaxreason.decoding.sampling import Sampler
from jaxreason.errors import clean_exit
from jaxreason.evaluation.intervals import Interval, mean_interval
from jaxreason.models.hf import LanguageModel, load_model, save_model
from jaxreason.tasks import game24, game24_puzzles, game24_training
from jaxreason.training import loop, sft

BASE, NAME = "tiny-24", "tiny-24-wait"
TRIES = 32  # attempts drawn at every training puzzle
HAZARD, MOST_WAITS = 0.25, 8
# of the documents in a batch are traces of the mixture of `tiny-24`, lest it forget how to move
REPLAY = 0.5
ROWS, ROW_LENGTH, LEARNING_RATE, STEPS = 4, 576, 3e-3, 320
CONTEXT, ROOM = 640, 560  # nine attempts, eight readings
CONTINUATION = f"{WAIT}\n"


class Attempts(NamedTuple):
    """What the model wrote on one puzzle, each attempt once and without its answer."""

    puzzle: tuple[int, ...]  # in the order of the prompt
    failures: list[str]  # every step is right, but what is left is not 24
    successes: list[str]


def draw_attempts(model: LanguageModel, seed: int, path: Path) -> list[Attempts]:
    """Attempts at every training puzzle, at temperature 1, kept in a file; puzzles never solved are
    left out.
    """
    if path.exists():
        return [
            Attempts(tuple(puzzle), failures, successes)
            for puzzle, failures, successes in json.loads(path.read_text())
        ]
    rng = np.random.default_rng(seed)
    puzzles = [tuple(map(int, rng.permutation(p))) for p in game24_puzzles.puzzles("train")]
    written = complete(
        model,
        jax.random.key(seed),
        [game24.format_puzzle(p) for p in puzzles],
        sampler=Sampler(1.0),
        max_new_tokens=64,
        num_samples=TRIES,
        description="attempts",
    )
    drawn = []
    for puzzle, row in zip(puzzles, written.texts, strict=True):
        right = [
            text
            for text in dict.fromkeys(row)
            if "####" in text and all(game24.check_steps(puzzle, text))
        ]
        solved = [game24.is_solved(puzzle, text) for text in right]
        bodies = [text.partition("####")[0] for text in right]
        drawn.append(
            Attempts(
                puzzle,
                [body for body, good in zip(bodies, solved, strict=True) if not good],
                [body for body, good in zip(bodies, solved, strict=True) if good],
            )
        )
    drawn = [a for a in drawn if a.successes and a.failures]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".part").write_text(json.dumps(drawn))
    path.with_suffix(".part").rename(path)
    return drawn


def example(rng: np.random.Generator, attempts: Attempts) -> list[tuple[str, float]]:
    """One text as pieces with the weight of the loss on each: failures, a success, the answer.

    An attempt succeeds with the same chance wherever it stands: were the last one always right, a
    model would learn to *claim* a 24 late in a text. So a text may also give up. Behind a success
    stand as many waits as the budget may still hold, and the model stays with its answer. ``Wait``
    itself is never imitated: it is the budget that says it, and the natural stop stays what it was.
    """
    failures = min(int(rng.geometric(HAZARD)) - 1, MOST_WAITS + 1, len(attempts.failures))
    bodies = [str(body) for body in rng.permutation(attempts.failures)[:failures]]
    solved = failures <= MOST_WAITS
    if solved:
        bodies.append(attempts.successes[int(rng.integers(len(attempts.successes)))])
    pieces = []
    for body in bodies:
        pieces += [
            (game24.format_puzzle(attempts.puzzle), float(bool(pieces))),
            (body, 1.0),
            (CONTINUATION, 0.0),
        ]
    pieces.pop()
    if solved:
        pieces += [(CONTINUATION, 0.0)] * int(rng.integers(MOST_WAITS - failures + 1))
    left = game24.parse_line(bodies[-1].rstrip().rpartition("\n")[2]).left[0]
    return [*pieces, (f"#### {left}", 1.0)]


def tokenise(tokenizer, pieces: list[tuple[str, float]]) -> sft.Document:
    """A text, closed by the end-of-text token."""
    pieces = [*pieces, (tokenizer.eos_token, 1.0)]
    ids = tokenizer([text for text, _ in pieces], add_special_tokens=False).input_ids
    weights = np.repeat([weight for _, weight in pieces], [len(i) for i in ids])
    return sft.Document(np.concatenate(ids).astype(np.int32), weights.astype(np.float32))


def replayed(rng: np.random.Generator) -> list[tuple[str, float]]:
    """A trace as `tiny-24` was trained on."""
    trace = game24_training.training_example(rng, value_share=0.0)
    return [(trace.prompt, 0.0), (trace.completion, 1.0)]


def train_model(
    model: LanguageModel, docs: list[sft.Document], seed: int, work: Path
) -> LanguageModel:
    """Fine-tunes on the set, or goes on where an earlier run stopped."""

    def batch_fn(step: int) -> sft.Batch:
        rng = np.random.default_rng([seed, 2, step])
        old = (tokenise(model.tokenizer, replayed(rng)) for _ in itertools.count())
        mixed = (
            next(old) if rng.random() < REPLAY else docs[i]
            for i in itertools.cycle(rng.permutation(len(docs)))
        )
        return sft.pack(mixed, ROWS, ROW_LENGTH, model.tokenizer.pad_token_id)

    schedule = optax.warmup_cosine_decay_schedule(
        0.0, LEARNING_RATE, 40, STEPS, end_value=LEARNING_RATE / 20
    )
    decayed = functools.partial(jax.tree.map, lambda x: x.ndim > 1)
    tx = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(schedule, b2=0.95, weight_decay=0.05, mask=decayed),
    )
    update = loop.make_update(functools.partial(sft.sft_loss, cfg=model.cfg), tx, ROWS)
    state = loop.fit(
        loop.init_state(model.params, tx),
        update,
        batch_fn,
        STEPS,
        work,
        save_every=80,
        description=NAME,
    )
    return model._replace(
        params=state.params, cfg=dataclasses.replace(model.cfg, max_position_embeddings=CONTEXT)
    )


def measure(model: LanguageModel, split: str, chains: int = 2) -> dict[str, Interval]:
    """Share solved by the number of waits, at temperature 1; a chain counts by its last attempt
    alone.
    """
    puzzles = game24_puzzles.held_out(406) if split == "test" else game24_puzzles.puzzles(split)
    results = {}
    for waits in (0, 1, 2, 4, 8):
        written = budget_forcing.complete_within(
            model,
            jax.random.key(0),
            [game24.format_puzzle(p) for p in puzzles],
            waits=waits,
            ends=["####"],
            continuations=[CONTINUATION],
            sampler=Sampler(1.0),
            max_new_tokens=ROOM,
            num_samples=chains,
            description=f"{waits} waits",
        )
        solved = [
            np.mean(
                [
                    game24.is_solved(
                        p, last_attempt(text, [CONTINUATION]).removeprefix(game24.format_puzzle(p))
                    )
                    for text in row
                ]
            )
            for p, row in zip(puzzles, written.texts, strict=True)
        ]
        results[f"game24, T=1/{waits} waits"] = mean_interval(np.array(solved))
        results[f"tokens/{waits} waits"] = mean_interval(written.num_tokens.mean(1))
    return results


def card(
    model: LanguageModel,
    base: LanguageModel,
    seed: int,
    docs: list[sft.Document],
    results,
    validation,
    seconds,
    shown,
) -> str:
    """The model card, in Markdown."""
    tokens = sum(len(d.tokens) for d in docs)
    rows = result_rows(results)
    chosen = ", ".join(
        f"{i.value:.3f}" for key, i in validation.items() if key.startswith("game24")
    )
    return f"""# {NAME}

`{BASE}` ({model.num_params:,} parameters), fine-tuned to go on after a `{WAIT}` by

    python checkpoints/train_wait.py --seed {seed}

in {seconds / 60:.0f} minutes of training, beside the sampling of attempts, on one core of a
two-core CPU shared with other work. It plays the Game of 24, and does nothing else: it gave up the
values (`Value: 4 6`) of `tiny-24`. Lesson 07 says `{WAIT}` for it, where it would have stopped.

| recipe | |
| --- | --- |
| seed | {seed} |
| start | `{base.name}`, sha256 of model.safetensors `{base.sha256}` |
| set | {len(docs)} texts, {tokens} tokens, one for each training puzzle: {TRIES} attempts drawn \
from `{BASE}` at temperature 1; failed ones joined by `{WAIT}`, up to {MOST_WAITS} of them, then a \
success (chance {HAZARD} at every attempt), or giving up |
| loss | on the attempts, the puzzle read once more behind a `{WAIT}`, and the answer; none on the \
prompt and on `{WAIT}` |
| replay | {REPLAY:.0%} of the documents of a batch are single traces of the mixture of `{BASE}` |
| training | AdamW, {STEPS} steps of {ROWS * ROW_LENGTH} tokens, one cosine from a peak learning \
rate of {LEARNING_RATE:g} |
| weights | stored as float16, sha256 of model.safetensors `{model.sha256}` |

Held-out results (306 test puzzles and the 100 of the paper, 2 chains each at temperature 1; 95%
intervals, bootstrapped over puzzles; a chain counts by its last attempt alone). The recipe was
chosen on the 137 validation puzzles, where 0, 1, 2, 4 and 8 waits solve {chosen}.

| measurement | value | 95% interval | n |
| --- | --- | --- | --- |
{rows}

Data format, one text:

```
{shown}
```
"""


def main(seed: int = 0, out: Path | None = None) -> None:
    """Draw attempts, fine-tune on them, write the model with its card.

    Args:
      seed: of the attempts, the texts and the batches.
      out: model directory; by default checkpoints/tiny-24-wait for seed 0, and
        outputs/train/NAME-SEED-.../model for others.
    """
    base = load_model(BASE)
    work = working_folder(f"{NAME}-{seed}-{base.sha256[:8]}", globals())
    drawn = draw_attempts(base, seed, work.with_name(f"{work.name}.json"))
    rng = np.random.default_rng([seed, 1])
    docs = [tokenise(base.tokenizer, example(rng, attempts)) for attempts in drawn]
    print(
        f"{len(docs)} texts, {sum(len(d.tokens) for d in docs)} tokens, at most "
        f"{max(len(d.tokens) for d in docs)}"
    )
    model = train_model(base, docs, seed, work)
    out = out or (Path(__file__).parent / NAME if seed == 0 else work / "model")
    save_model(out, model.params, model.cfg, model.tokenizer, dtype="float16")
    model = load_model(str(out))._replace(name=NAME)
    validation, results = measure(model, "validation"), measure(model, "test")
    shown = "".join(text for text, _ in example(np.random.default_rng([seed, 3]), drawn[0]))
    seconds = training_seconds(work)
    write_card(out, card(model, base, seed, docs, results, validation, seconds, shown), results)


if __name__ == "__main__":
    with clean_exit():
        tyro.cli(main)
