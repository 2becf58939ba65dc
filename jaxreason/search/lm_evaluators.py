"""Evaluators on the device, inside the search of ``lm_mcts``: how promising a text is.

An evaluator is a function ``(weights, keys [R], texts) -> Evaluation``. :func:`value_words`,
:func:`rollouts`, :func:`process_reward` and :func:`oracle` build one, :func:`likelihood` is one.
They are the device twins of ``value_words``, ``rollouts``, ``reward_values`` and ``likelihood`` in
``evaluators``, and of ``game24_rules.moves_oracle``: the same quantities, computed from tokens.
"""

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
from jaxreason.search.lm_tasks import Text, TextTask, append_each
from jaxreason.tasks import game24
from jaxreason.tasks import game24_tokens as g24


class Evaluation(NamedTuple):
    """How promising R texts are."""

    value: jax.Array  # [R] float32, in 0..1
    cost: jax.Array  # [R] int32, tokens read and written
    # [R, T] int32, the end of the text that the best rollout wrote; T = 0 for other evaluators
    rollout: jax.Array
    length: jax.Array  # [R] int32, tokens of the rollout that count; 0 if it earned nothing


class Weights(NamedTuple):
    """The ``params`` of the search."""

    lm: Any  # parameters of the language model
    value: Any = None  # parameters of a reward model


EvaluateFn = Callable[[Weights, jax.Array, Text], Evaluation]  # (weights, keys [R], texts)


def value_words(abc: g24.Alphabet, cfg: DecoderConfig) -> EvaluateFn:
    """The model's own value of the numbers left: the device twin of
    :func:`jaxreason.search.evaluators.value_words`.

    The prompt ``Value: 4 8 12`` is put together on the device. The text ends with the numbers left,
    so they stay in their columns; everything between ``Value:`` and them is masked, and positions
    count only what is not masked.

    Args:
      abc: the tokens of the game, see ``game24_tokens.alphabet``.
      cfg: of the language model.
    """
    worth = np.array([VALUES[word] for word in game24.LABELS], np.float32)

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
    num_samples: int = 1,
    max_new_tokens: int = 48,
    sampler: Sampler = Sampler(),
) -> EvaluateFn:
    """The mean reward of ``num_samples`` chains written to the end: the device twin of
    :func:`jaxreason.search.evaluators.rollouts`.

    A chain is cut before ``####``, so that its reward is that of its last line: for tasks such as
    ``lm_tasks.game24``, whose texts are complete there. The best chain is kept if it earned a
    reward, so the tree holds the solutions that rollouts find.

    Args:
      task: rewards the complete texts.
      num_samples: chains of each text.
      max_new_tokens: of a chain at most.
      sampler: of the chains.

    Raises:
      InputError: the task leaves the worth of a finished text to the evaluator.
    """
    if task.reward is None:
        raise InputError(
            "the task has no reward of its own: expected one, since rollouts cannot be judged by "
            "themselves; use another evaluator"
        )
    stop = compile_stop(model.tokenizer, ("####",), model.eos_ids)

    def evaluate(weights: Weights, keys: jax.Array, text: Text) -> Evaluation:
        drawn = generate(
            weights.lm,
            jax.vmap(lambda key: jax.random.split(key, num_samples))(keys),
            Prompt(text.tokens, text.mask),
            stop,
            cfg=model.cfg,
            sampler=sampler,
            max_new_tokens=max_new_tokens,
            num_samples=num_samples,
        )
        # [R, N], without the mark that ends a chain
        lengths = jnp.maximum(drawn.mask.sum(-1) - drawn.finished, 0)
        after = append_each(text, drawn.tokens, lengths, drawn.logprobs.sum(-1))
        rewards = jnp.where(task.is_terminal(after), task.reward(after), 0.0).reshape(
            -1, num_samples
        )
        best, rows = rewards.argmax(-1), jnp.arange(len(rewards))
        return Evaluation(
            value=rewards.mean(-1),
            cost=drawn.mask.sum((1, 2)),
            rollout=drawn.tokens[rows, best],
            length=jnp.where(rewards.max(-1) > 0, lengths[rows, best], 0),
        )

    return evaluate


def process_reward(cfg: DecoderConfig, newline: int, *, prompt_lines: int) -> EvaluateFn:
    """The minimum of a process reward model over the lines behind the prompt: the device twin of
    :func:`jaxreason.search.evaluators.reward_values`.

    The parameters of the reward model are ``weights.value``. The cost is that of the last line: a
    cache would know what stands before it.

    Args:
      cfg: of the reward model (``heads.reward_logits``).
      newline: the token that ends a line; an end-of-text token at the end of a text is read as one.
      prompt_lines: how many lines the prompt has; they are not judged.
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
    """p(lines | prompt), at no cost: the device twin of
    :func:`jaxreason.search.evaluators.likelihood`, which gives its logarithm.

    Args:
      weights, keys: not used; keys are ``[R]``.
      text: R texts.
    """
    return _evaluation(jnp.exp(text.logprob), jnp.int32(0))


def oracle(abc: g24.Alphabet) -> EvaluateFn:
    """The exact value of the Game of 24, 1 if every move is right and 24 within reach: the device
    twin of :func:`jaxreason.search.game24_rules.moves_oracle`.

    An upper bound, not a method. Texts without a move get 0: the search does not ask at the root.
    """

    def evaluate(weights: Weights, keys: jax.Array, text: Text) -> Evaluation:
        trace = g24.read_trace(abc, text.tokens, text.mask)
        left = g24.numbers_left(trace)  # [R, 4], padded in front
        can_solve = jnp.select(
            [trace.moves == moves for moves in (1, 2, 3)],
            [g24.is_solvable(left[:, moves:]) for moves in (1, 2, 3)],
            False,
        )
        return _evaluation(can_solve & g24.is_right(trace), jnp.int32(0))

    return evaluate


def _evaluation(value: jax.Array, cost: jax.Array) -> Evaluation:
    """Without a rollout; the cost is one for all or ``[R]``."""
    none = jnp.zeros(len(value), jnp.int32)
    return Evaluation(
        value=value.astype(jnp.float32),
        cost=none + cost,
        rollout=jnp.zeros((len(value), 0), jnp.int32),
        length=none,
    )
