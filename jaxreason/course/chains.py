"""A model's chains of thought: how long they may be, when a prompt failed, and what an attempt at
24 is worth.
"""

from collections.abc import Sequence

import numpy as np

from jaxreason.answers.extract import last_attempt
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import Completions
from jaxreason.models.hf import LanguageModel
from jaxreason.models.names import shipped
from jaxreason.tasks import game24

REASONED_TOKENS = 20  # a real model's shortest chain of thought; "The answer is 120." has 9


def chain_length(model: LanguageModel) -> int:
    """The most tokens of a chain of thought by default.

    96 for the shipped models, 512 for others, and 2048 for those that think before they answer.
    """
    if model.name in shipped():
        return 96
    return 2048 if prompts.thinks(model.tokenizer) else 512


def failed_prompt(model: LanguageModel, written: Completions) -> str | None:
    """A line for the reader if more than half of the chains answered without reasoning, else None.

    Some wordings make a real model answer at once. Its accuracy then says nothing about the model,
    and a vote over its chains is a vote over guesses. The shipped models are left out: their
    language is terse, and one operation takes them about ten tokens.
    """
    # Only chains that ended count: one that was cut off might have gone on to reason.
    at_once = written.finished & (written.num_tokens < REASONED_TOKENS)
    share = at_once.mean()
    if model.name in shipped() or share <= 0.5:
        return None
    return (
        f"{share:.0%} of the chains of thought have fewer than {REASONED_TOKENS} tokens: "
        "the prompt fails, not the model. It answers without reasoning; try another wording."
    )


def solves_24(
    puzzles: Sequence[Sequence[int]], texts: Sequence[Sequence[str]], wait: str = "Wait\n"
) -> np.ndarray:
    """Whether the *last* attempt of each chain is a right way to 24, bool ``[G, N]``.

    A chain that waits goes back on what it tried before. It may read its puzzle once more first.

    Args:
      puzzles: G of them, the numbers of each.
      texts: N chains for each.
      wait: what is written between two attempts.
    """
    solved = [
        [
            game24.is_solved(
                puzzle, last_attempt(text, [wait]).removeprefix(game24.format_puzzle(puzzle))
            )
            for text in row
        ]
        for puzzle, row in zip(puzzles, texts, strict=True)
    ]
    return np.array(solved)
