"""Rewards read off the tokens of a rollout, on the device: no text is made."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from transformers import PreTrainedTokenizerBase

from jaxreason.answers.vote import majority
from jaxreason.decoding.rollout import Rollout
from jaxreason.errors import InputError
from jaxreason.models.tokens import token_bytes

MARK = "####"  # the answer follows it

# (rollout [B, N, T], what Problems.answer has of the B problems, as a rule [B, A] int32 with -1
# behind the answer) -> [B, N] float32
RewardFn = Callable[[Rollout, Any], jax.Array]


def exact_match(tokenizer: PreTrainedTokenizerBase) -> RewardFn:
    """The reward that is 1 where the chain ends and nothing but the answer stands behind its last
    ``####``, else 0.

    Raises:
      InputError: to this tokenizer ``####`` is not one token, so that rewards have to read text
        (``grpo_text``).
    """
    mark, eos = _mark_and_end(tokenizer)

    def reward(rollout: Rollout, answer: jax.Array) -> jax.Array:
        said, marked = _behind_mark(rollout, mark, answer.shape[1] + 1)  # [B, N, A + 1]

        # What it should say: the answer, then the end, [B, A + 1].
        slots, lengths = jnp.arange(said.shape[-1]), (answer >= 0).sum(-1, keepdims=True)
        padded = jnp.pad(answer, ((0, 0), (0, 1)), constant_values=-1)
        expected = jnp.where(slots == lengths, eos, padded)

        same = (said == expected[:, None]) | (slots > lengths)[:, None]
        return (same.all(-1) & marked & rollout.finished).astype(jnp.float32)

    return reward


def same_answers(
    tokenizer: PreTrainedTokenizerBase, max_tokens: int = 8
) -> Callable[[Rollout], jax.Array]:
    """``ids(rollout) -> [B, N] int32``: which chains of a problem give the same answer.

    The answer of a chain is what stands between its last ``####`` and its end. Its id is the place
    of the first chain that says the same, so ids are equal where answers are, as in
    :mod:`jaxreason.answers.vote`. A chain that does not end, or has only blanks there, gives no
    answer: its id is -1.

    Args:
      tokenizer: of the model.
      max_tokens: of an answer; a longer one is none.

    Raises:
      InputError: as for :func:`exact_match`.
    """
    mark, eos = _mark_and_end(tokenizer)
    is_blank = np.array([not piece.strip() for piece in token_bytes(tokenizer)])  # [V]

    def ids(rollout: Rollout) -> jax.Array:
        said, marked = _behind_mark(rollout, mark, max_tokens + 1)  # [B, N, S], the end included
        ends = (said == eos).any(-1) & rollout.finished
        says = ((said >= 0) & (said != eos) & ~jnp.asarray(is_blank)[said]).any(-1)
        answered = marked & ends & says
        same = (said[:, :, None] == said[:, None]).all(-1)  # [B, N, N]
        return jnp.where(answered, same.argmax(-1), -1)

    return ids


def majority_vote(answer_ids: jax.Array) -> jax.Array:
    """The reward of a chain whose answer is the group's most frequent one: no label is needed.

    TTRL (Zuo et al. 2025, arXiv 2504.16084, section 2): the vote's winner y stands for the right
    answer, and the reward is 1 where y_i = y, else 0. The first of equally frequent answers wins.

    Args:
      answer_ids: ``[B, N]`` int, negative for "no answer", which earns nothing.

    Returns:
      ``[B, N]`` float32.
    """
    winner = majority(answer_ids)[:, None]
    return ((answer_ids == winner) & (answer_ids >= 0)).astype(jnp.float32)


def contains(rollout: Rollout, answer: jax.Array, skip: int = 1) -> jax.Array:
    """1 where the digits of the answer occur anywhere in the chain, ``[B, N]`` float32.

    A substring reward is a mistake: it finds 7 in 17. It is kept for the lesson about it.

    Args:
      rollout: N chains of each of B problems.
      answer: ``[B, A]`` int32, -1 behind the answer.
      skip: so many first tokens of the answer, the blank in front, need not be there.
    """
    width, digits = rollout.tokens.shape[-1], answer[:, skip:]
    places = jnp.arange(width)[:, None] + jnp.arange(digits.shape[1])  # [T, A - skip]
    written = jnp.where(rollout.mask, rollout.tokens, -2)
    windows = written[..., jnp.minimum(places, width - 1)]  # [B, N, T, A - skip]
    same = (windows == digits[:, None, None]) & (places < width)
    same |= (digits < 0)[:, None, None]
    return same.all(-1).any(-1).astype(jnp.float32)


def _mark_and_end(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """The tokens before and behind an answer."""
    marks = tokenizer(MARK, add_special_tokens=False).input_ids
    if len(marks) != 1 or tokenizer.eos_token_id is None:
        raise InputError(
            f"{MARK} is {len(marks)} tokens of {tokenizer.name_or_path!r}: expected 1, and a token "
            "that ends a text; use rewards of texts (grpo_text)"
        )
    return marks[0], tokenizer.eos_token_id


def _behind_mark(rollout: Rollout, mark: int, slots: int) -> tuple[jax.Array, jax.Array]:
    """The tokens that follow the last mark of each chain, and whether it has one.

    Returns:
      ``[B, N, slots]`` int32, -1 behind the chain's last token, and bool ``[B, N]``.
    """
    width = rollout.tokens.shape[-1]
    marks = rollout.mask & (rollout.tokens == mark)
    last = jnp.where(marks, jnp.arange(width), -1).max(-1, keepdims=True)  # [B, N, 1]
    places = last + 1 + jnp.arange(slots)
    inside = jnp.minimum(places, width - 1)
    said = jnp.take_along_axis(rollout.tokens, inside, axis=-1)
    is_said = jnp.take_along_axis(rollout.mask, inside, axis=-1) & (places < width)
    return jnp.where(is_said, said, -1), last[..., 0] >= 0
