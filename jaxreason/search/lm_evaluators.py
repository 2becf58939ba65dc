"""Evaluators that run on the device, inside the search: what a text is worth."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.decoding.rollout import generate
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig, hidden_states, output_head
from jaxreason.models.heads import reward_logits
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import Prompt
from jaxreason.search.evaluators import VALUES
from jaxreason.search.lm_tasks import Text, TextTask, append
from jaxreason.tasks import game24_tokens as g24


class Evaluation(NamedTuple):
    """What an evaluator says of R texts, and what that took."""

    value: jax.Array  # [R] float32
    cost: jax.Array  # [R] int32, tokens read and written
    # [R, T] int32, the end of the text that a rollout wrote; T = 0 for other evaluators
    rollout: jax.Array
    length: jax.Array  # [R] int32


class Weights(NamedTuple):
    """``params`` of the search."""

    lm: Any
    value: Any = None  # of a reward model


EvaluateFn = Callable[[Weights, jax.Array, Text], Evaluation]  # (params, keys [R], texts)


def _evaluation(value: jax.Array, cost: jax.Array) -> Evaluation:
    none = jnp.zeros(len(value), jnp.int32)
    return Evaluation(
        value.astype(jnp.float32), none + cost, jnp.zeros((len(value), 0), jnp.int32), none
    )


def value_words(abc: g24.Alphabet, cfg: DecoderConfig) -> EvaluateFn:
    """The model's own value of the numbers left, as :func:`jaxreason.search.evaluators.value_words`
    reads it off the logits.

    The prompt ``Value: 4 8 12`` is put together on the device: the text ends with the numbers left,
    so they stay in their columns, and everything between them and ``Value:`` is masked; positions
    count what is not.
    """
    worth = np.array([VALUES[word] for word in g24.game24.LABELS], np.float32)

    def evaluate(weights: Weights, keys: jax.Array, text: Text) -> Evaluation:
        tokens, mask = text.tokens[:, -g24.WIDTH :], text.mask[:, -g24.WIDTH :]
        marks = mask & ((tokens == abc.left) | (tokens == abc.colon))
        mask &= jnp.cumsum(marks[:, ::-1], -1)[:, ::-1] == 0  # behind the last mark
        head = jnp.broadcast_to(abc.value, (len(tokens), len(abc.value)))
        tokens = jnp.concatenate([head, tokens], 1)
        mask = jnp.concatenate([jnp.ones_like(head, bool), mask], 1)
        positions = jnp.maximum(jnp.cumsum(mask, -1) - 1, 0)
        states, _ = hidden_states(
            weights.lm, tokens, positions, cfg=cfg, segment_ids=mask.astype(jnp.int32)
        )
        logits = output_head(weights.lm, abc.labels)(states[:, -1])
        return _evaluation(jax.nn.softmax(logits) @ worth, mask.sum(-1) + 1)

    return evaluate


def rollouts(
    model: LanguageModel,
    task: TextTask,
    *,
    num: int = 1,
    max_tokens: int = 48,
    sampler: Sampler = Sampler(),
) -> EvaluateFn:
    """The mean reward of ``num`` chains written to the end, a solution that one of them finds
    included in the tree.

    A chain is cut before ``####``, so that its reward is that of its last line: for tasks such as
    :func:`game24`, whose texts are finished there.

    Raises:
      InputError: the task leaves the worth of a finished text to the evaluator.
    """
    if task.reward is None:
        raise InputError(
            "the task has no reward of its own: rollouts cannot be judged by themselves"
        )
    stop = compile_stop(model.tokenizer, ("####",), model.eos_ids)

    def evaluate(weights: Weights, keys: jax.Array, text: Text) -> Evaluation:
        keys = jax.vmap(lambda key: jax.random.split(key, num))(keys)
        drawn = generate(
            weights.lm,
            keys,
            Prompt(text.tokens, text.mask),
            stop,
            cfg=model.cfg,
            sampler=sampler,
            max_new_tokens=max_tokens,
            num_samples=num,
        )
        lengths = jnp.maximum(
            drawn.mask.sum(-1) - drawn.finished, 0
        )  # [R, N], without the mark that ends a chain
        before = jax.tree.map(lambda x: jnp.repeat(x, num, axis=0), text)
        flat = (
            drawn.tokens.reshape(-1, max_tokens),
            lengths.reshape(-1),
            drawn.logprobs.sum(-1).reshape(-1),
        )
        after = append(before, *flat)
        reward = jnp.where(task.is_terminal(after), task.reward(after), 0.0).reshape(-1, num)
        best, rows = reward.argmax(-1), jnp.arange(len(reward))
        return Evaluation(
            reward.mean(-1),
            drawn.mask.sum((1, 2)),
            drawn.tokens[rows, best],
            jnp.where(reward.max(-1) > 0, lengths[rows, best], 0),
        )

    return evaluate


def process_reward(cfg: DecoderConfig, newline: int, *, prompt_lines: int) -> EvaluateFn:
    """The minimum of a process reward model over the lines behind the prompt; its parameters are
    ``weights.value``.

    The cost is that of the last line: what stands before it a cache would know.

    Args:
      cfg: of the reward model (``heads.reward_logits``).
      newline: the token that ends a line; an end-of-text token at the end of a text is read as one.
      prompt_lines: of the prompt, which are not judged.
    """

    def evaluate(weights: Weights, keys: jax.Array, text: Text) -> Evaluation:
        tokens = text.tokens.at[:, -1].set(newline)
        positions = jnp.maximum(jnp.cumsum(text.mask, -1) - 1, 0)
        ends = (tokens == newline) & text.mask
        lines = jnp.cumsum(ends, -1)
        judged = text.mask & (lines - ends >= prompt_lines)
        segments = text.mask.astype(jnp.int32)
        logits = reward_logits(
            weights.value, tokens, positions, judged, cfg=cfg, segment_ids=segments
        )
        score = jax.nn.sigmoid(logits).min(-1, where=ends & judged, initial=1.0)
        last_line = text.mask & (lines - ends == lines[:, -1:] - 1)
        return _evaluation(score, last_line.sum(-1))

    return evaluate


def likelihood(weights: Weights, keys: jax.Array, text: Text) -> Evaluation:
    """p(lines | prompt), at no cost; ``keys`` ``[R]`` are not used."""
    return _evaluation(jnp.exp(text.logprob), jnp.int32(0))


def oracle(abc: g24.Alphabet) -> EvaluateFn:
    """The exact value of the Game of 24: every move right and 24 within reach.

    An upper bound, not a method.
    """

    def evaluate(weights: Weights, keys: jax.Array, text: Text) -> Evaluation:
        trace = g24.read_trace(abc, text.tokens, text.mask)
        left, cases = g24.numbers_left(trace), [jnp.zeros(len(text.tokens), bool)] * 4
        for moves in (1, 2, 3):  # at the root it is not asked for
            cases[moves] = g24.is_solvable(left[:, moves:])
        can = jnp.select([trace.moves == moves for moves in (1, 2, 3)], cases[1:], False)
        return _evaluation((can & g24.is_right(trace)).astype(jnp.float32), jnp.int32(0))

    return evaluate
