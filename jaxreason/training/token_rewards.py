"""Rewards read off the tokens of a rollout, on the device: no text is made."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from transformers import PreTrainedTokenizerBase

from jaxreason.decoding.rollout import Rollout
from jaxreason.errors import InputError

MARK = "####"  # the answer follows it

# (rollout [B, N, T], answer [B, A] int32 with -1 behind it) -> [B, N] float32
RewardFn = Callable[[Rollout, jax.Array], jax.Array]


def exact_match(tokenizer: PreTrainedTokenizerBase) -> RewardFn:
    """The reward that is 1 where the chain ends and nothing but the answer stands behind its last
    ``####``, else 0.

    Raises:
      InputError: to this tokenizer ``####`` is not one token, so that rewards have to read text
        (``grpo_text``).
    """
    marks = tokenizer(MARK, add_special_tokens=False).input_ids
    if len(marks) != 1 or tokenizer.eos_token_id is None:
        raise InputError(
            f"{MARK} is {len(marks)} tokens of {tokenizer.name_or_path!r}: expected 1, and a token "
            "that ends a text; use rewards of texts (grpo_text)"
        )
    mark, eos = marks[0], tokenizer.eos_token_id

    def reward(rollout: Rollout, answer: jax.Array) -> jax.Array:
        width, slots = rollout.tokens.shape[-1], jnp.arange(answer.shape[1] + 1)  # [A + 1]
        marks = rollout.mask & (rollout.tokens == mark)
        last = jnp.where(marks, jnp.arange(width), -1).max(-1, keepdims=True)  # [B, N, 1]

        # What the chain says behind its last mark, [B, N, A + 1].
        places = last + 1 + slots
        inside = jnp.minimum(places, width - 1)
        said = jnp.take_along_axis(rollout.tokens, inside, axis=-1)
        is_said = jnp.take_along_axis(rollout.mask, inside, axis=-1) & (places < width)

        # What it should say: the answer, then the end, [B, A + 1].
        lengths = (answer >= 0).sum(-1, keepdims=True)
        padded = jnp.pad(answer, ((0, 0), (0, 1)), constant_values=-1)
        expected = jnp.where(slots == lengths, eos, padded)

        same = is_said & (said == expected[:, None])
        same |= (slots > lengths)[:, None]
        return (same.all(-1) & (last[..., 0] >= 0) & rollout.finished).astype(jnp.float32)

    return reward


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
