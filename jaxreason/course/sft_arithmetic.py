"""Supervised training on arithmetic: the batches that the weak model ``tiny-start`` was made of."""

from collections.abc import Callable, Iterator

import numpy as np
from transformers import PreTrainedTokenizerBase

from jaxreason.decoding import prompts
from jaxreason.tasks import arithmetic
from jaxreason.training.sft import Batch, encode_pairs, pack

NUM_SOLUTIONS = 2000  # worked word problems, again and again
ROWS, LENGTH = 8, 256  # of a packed batch


def solution_batches(tokenizer: PreTrainedTokenizerBase, seed: int) -> Callable[[int], Batch]:
    """``batch_fn(step)`` for ``loop.fit``: 24 of the worked solutions, 40 expressions, 16 drills.

    The solutions are always the same. Expressions and drills are new in every batch, and all are
    shuffled and packed. A batch is a function of the step alone.

    Args:
      tokenizer: of the model.
      seed: of the batches.
    """
    asked, chains = [], []
    for problem, lines in arithmetic.solutions(NUM_SOLUTIONS):
        asked.append(problem.question)
        chains.append(prompts.chain(lines, problem.answer))
    worked = encode_pairs(tokenizer, list(map(prompts.zero_shot_cot, asked)), chains, LENGTH)

    def batch_fn(step: int) -> Batch:
        rng = np.random.default_rng([seed, step])
        asked, chains = zip(*_bare_pairs(rng), strict=True)
        bare = encode_pairs(tokenizer, list(map(prompts.zero_shot_cot, asked)), chains, LENGTH)
        pool = [*bare, *(worked[i] for i in rng.integers(len(worked), size=24))]
        rng.shuffle(pool)
        return pack(pool, ROWS, LENGTH, tokenizer.pad_token_id)

    return batch_fn


def _bare_pairs(rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Questions and chains of expressions of one to six operations, and of drills."""
    expressions = [
        arithmetic.sample_problem(rng, int(rng.integers(1, 7)), as_equation=True) for _ in range(40)
    ]
    drills = [arithmetic.drill(rng) for _ in range(16)]
    for problem in expressions:
        yield problem.question, prompts.chain(arithmetic.solve(problem, rng), problem.answer)
    for question, line in drills:
        yield question, prompts.chain([line], line.split("=")[1])
