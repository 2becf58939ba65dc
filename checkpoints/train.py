"""Trains the models that ship with this repository, from scratch: ``python checkpoints/train.py tiny``.

One mixture teaches one set of weights every behaviour of the course, so that the *prompt* decides which is shown. Runs
are deterministic, save every 200 steps, and go on where they stopped.
"""

import functools
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax

from jaxreason import prompts, sft, train
from jaxreason.models import decoder
from jaxreason.tasks import arithmetic, game24
from jaxreason.tokens import build_tokenizer

ROW_LENGTH = 256


class Recipe(NamedTuple):
    """What differs between the shipped models."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_steps: int
    learning_rate: float
    rows: int = 16  # of 256 tokens each

    def config(self, vocab_size: int) -> decoder.DecoderConfig:
        return decoder.DecoderConfig(
            vocab_size=vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            num_key_value_heads=self.num_heads,
            head_dim=self.hidden_size // self.num_heads,
            max_position_embeddings=512,
        )

    def optimizer(self) -> optax.GradientTransformation:
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, self.learning_rate, 100, self.num_steps, end_value=self.learning_rate / 50
        )
        return optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.adamw(schedule, b2=0.95, weight_decay=0.05, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
        )


RECIPES = {
    "tiny": Recipe(96, 256, 3, 2, num_steps=8000, learning_rate=3e-3),
    "tiny-l": Recipe(288, 768, 5, 6, num_steps=2600, learning_rate=1.5e-3),
}

# Share of documents. Direct answers are mostly of one operation, which a forward pass can do, so that the lesson's gap
# is about depth and not about starved training; their few tokens are weighted up against the long chains.
SHARES = {"cot": 0.42, "direct": 0.22, "few_shot": 0.08, "recheck": 0.05, "equation": 0.08, "game24": 0.15}
DIRECT_WEIGHT = 4.0
COT_DEPTHS = np.array([1, 2, 2, 3, 3, 3]) / 14  # share of 1..6 operations
DIRECT_DEPTHS = np.array([10, 2, 2, 2, 2, 2]) / 20
SHORT_DEPTHS = np.array([2, 2, 1]) / 5


class Piece(NamedTuple):
    """A stretch of a document's text and the weight of the loss on it."""

    text: str
    weight: float


def chain(rng: np.random.Generator, problem: arithmetic.Problem) -> list[str]:
    """Reasoning lines, in the question's order or in a random one, half each."""
    return arithmetic.solve(problem, rng if rng.random() < 0.5 else None)


def depth(rng: np.random.Generator, shares: np.ndarray) -> int:
    return 1 + int(rng.choice(len(shares), p=shares))


def wrong_chain(rng: np.random.Generator, problem: arithmetic.Problem) -> list[str]:
    """A chain with one slip and all that follows from it: a term dropped, repeated or misread."""
    terms = list(problem.terms)
    i = int(rng.integers(len(terms)))
    slip = rng.integers(3)
    if slip == 0 and len(terms) > 1:
        del terms[i]
    elif slip == 1:
        terms.insert(i, terms[i])
    else:
        terms[i] = terms[i]._replace(a=max(1, terms[i].a + int(rng.choice([-2, -1, 1, 2, 10]))))
    return arithmetic.solve(problem._replace(terms=tuple(terms)))


def document(rng: np.random.Generator) -> list[Piece]:
    """One document of the mixture; only problems of the train split occur."""
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    if kind == "game24":
        example = game24.training_example(rng)
        return [Piece(example.prompt, 0.0), Piece(example.completion, 1.0)]

    if kind == "few_shot":
        reasons = rng.random() < 0.6
        pieces = []
        for last in (False, False, True):
            shares = COT_DEPTHS if last and reasons else SHORT_DEPTHS
            problem = arithmetic.sample_problem(rng, depth(rng, shares))
            pieces.append(Piece(f"Q: {problem.question}\nA:", 0.0))
            if reasons:
                pieces.append(Piece(prompts.cot_answer(chain(rng, problem), problem.answer), 1.0))
            else:
                pieces.append(Piece(prompts.direct_answer(problem.answer), DIRECT_WEIGHT))
            if not last:
                pieces.append(Piece("\n\n", 1.0))
        return pieces

    direct = kind == "direct" or (kind == "equation" and rng.random() < 0.5)
    num_operations = depth(rng, DIRECT_DEPTHS if direct else COT_DEPTHS)
    problem = arithmetic.sample_problem(rng, num_operations, as_equation=kind == "equation")
    if direct:
        answer = prompts.direct_answer(problem.answer)
        return [Piece(prompts.direct(problem.question), 0.0), Piece(answer, DIRECT_WEIGHT)]
    prompt = Piece(prompts.zero_shot_cot(problem.question), 0.0)
    answer = Piece(prompts.chain(chain(rng, problem), problem.answer), 1.0)
    if kind == "recheck":  # what is re-checked is not imitated, only what comes after "Wait"
        first = wrong_chain(rng, problem) if rng.random() < 0.6 else chain(rng, problem)
        return [prompt, Piece("\n".join([*first, prompts.WAIT, ""]), 0.0), answer]
    return [prompt, answer]


def words() -> list[str]:
    """Every word the tasks and prompts are made of, sorted."""
    templates = [getattr(arithmetic, name) for name in "START GAIN LOSS GAIN_GROUPS LOSS_GROUPS QUESTION".split()]
    text = " ".join([*itertools.chain(*templates), prompts.STEP_BY_STEP, prompts.WAIT])
    text = re.sub(r"{\w}", " ", text) + " Q A Then What is Answer left Value sure likely impossible #### 's"
    found = re.findall(r"'s|[A-Za-z]+|####", text)
    return sorted({*found, *arithmetic.NAMES, *arithmetic.ITEMS, "He", "She", "he", "she"})


def documents(tokenizer, rng: np.random.Generator) -> Iterator[sft.Sequence]:
    """Endless tokenised documents, each closed by the end-of-text token."""
    while True:
        pieces = document(rng)
        pieces[-1] = pieces[-1]._replace(text=pieces[-1].text + tokenizer.eos_token)
        ids = tokenizer([p.text for p in pieces], add_special_tokens=False).input_ids
        weights = np.repeat([p.weight for p in pieces], [len(i) for i in ids]).astype(np.float32)
        yield sft.Sequence(np.concatenate(ids).astype(np.int32), weights)


def main(name: str, seed: int = 0, work: Path = Path("outputs/train")) -> None:
    recipe, tokenizer = RECIPES[name], build_tokenizer(words())
    cfg = recipe.config(len(tokenizer))

    def batch_fn(step: int) -> sft.Batch:
        rng = np.random.default_rng([seed, step])
        return sft.pack(documents(tokenizer, rng), recipe.rows, ROW_LENGTH, tokenizer.pad_token_id)

    tx = recipe.optimizer()
    state = train.init_state(decoder.init(jax.random.key(seed), cfg), tx)
    update = train.make_update(functools.partial(sft.sft_loss, cfg=cfg), tx)
    state = train.fit(state, update, batch_fn, recipe.num_steps, work / f"{name}-{seed}", description=name)


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
