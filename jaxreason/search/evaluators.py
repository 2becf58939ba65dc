"""Evaluators: how promising a state is, for the searches of ``tree_of_thoughts``.

Each function here becomes an ``evaluate(states) -> Scores`` when ``functools.partial`` binds its
other arguments. Those of Yao et al. 2023, section 3, item 3, ask the model for its opinion:

    value_words     the probability of the words "sure", "likely" and "impossible"
    value_replies   the words at the end of written replies
    votes           written votes among the states of a problem

The others do not:

    likelihood      the model's probability of the thoughts so far
    rollouts        the share of tries that succeed from here
    reward_values   a reward model's score of the thoughts
    random_scores   the control
"""

import itertools
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from transformers import PreTrainedTokenizerBase

from jaxreason.decoding.logprobs import choice_logprobs
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.models.hf import LanguageModel
from jaxreason.rewards.reward_model import RewardModel, aggregate, step_scores
from jaxreason.search.proposers import continuations
from jaxreason.search.tree_of_thoughts import Scores, State
from jaxreason.tasks import game24

VALUES = {"sure": 1.0, "likely": 0.5, "impossible": 0.0}  # v(w), what each value word is worth


# ---- a value at a glance


def value_words(
    model: LanguageModel,
    states: list[State],
    *,
    prompt: Callable[[State], str],
    values: dict[str, float] = VALUES,
    batch_size: int = 512,
) -> Scores:
    """The model's own value, V(s) = sum_w v(w) p(w | value prompt) over the words w (section 3,
    item 3a).

    The paper samples words, maps them to 20, 1 and 0.001 and adds up. Here their probabilities are
    read off the logits, exactly and in one forward pass for all states: the limit of infinitely
    many samples. Probabilities are normalised over the words.

    Args:
      prompt: writes the text that a value word continues.
      values: v(w) of each word.
      batch_size: states in one pass.

    Returns:
      V(s) ``[S]``, and the tokens of each pass: the prompt read and one word.

    Raises:
      InputError: two words begin with the same token.
    """
    texts = [prompt(state) for state in states]
    logprobs = choice_logprobs(model, texts, list(values), batch_size)
    p = np.exp(logprobs - logprobs.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)  # [S, words]
    worth = np.array(list(values.values()))
    return Scores(p @ worth, _num_tokens(model.tokenizer, texts) + 1)


# ---- written opinions


class Replies(NamedTuple):
    """What a model wrote: n replies to each of G prompts."""

    texts: list[list[str]]  # G lists of n replies
    tokens: Sequence[int]  # [G], the prompt read and all replies written


Ask = Callable[[list[str]], Replies]  # prompts [G] -> n replies to each


def replies(
    model: LanguageModel,
    key: jax.Array,
    texts: list[str],
    *,
    max_new_tokens: int,
    sampler: Sampler = GREEDY,
    num_samples: int = 1,
    least: int = 1,
    rows: int = 512,
    store: Path | None = None,
) -> Replies:
    """n written replies to each prompt, for evaluators that reason before they judge.

    It becomes the ``ask`` of :func:`value_replies` and :func:`votes` when its other arguments are
    bound. The draws depend on the key and the text of the prompt alone.

    Args:
      texts: the prompts.
      max_new_tokens, sampler: of a reply.
      num_samples: n, the replies to each prompt.
      least: the fewest prompts in a batch; a smaller batch is filled up, so that fewer shapes are
        compiled.
      rows: chains decoded at a time.
      store: a folder in which they are kept, as in
        :func:`jaxreason.decoding.completions.complete`.
    """
    drawn = continuations(
        model,
        key,
        texts,
        least,
        sampler=sampler,
        max_new_tokens=max_new_tokens,
        num_samples=num_samples,
        rows=rows,
        store=store,
    )
    written = drawn.num_tokens[: len(texts)].sum(1)
    return Replies(drawn.texts[: len(texts)], written + _num_tokens(model.tokenizer, texts))


def value_replies(
    ask: Ask, states: list[State], *, prompt: Callable[[State], str], values: dict[str, float]
) -> Scores:
    """The sum of the values of n written replies, as in the paper (section 3, item 3a); for models
    that reason before they judge.

    Args:
      ask: writes n replies to each prompt.
      prompt: writes the text that asks for the value of a state.
      values: v(w) of each word; a reply that ends in none of them counts 0.

    Returns:
      the sums ``[S]``, and the tokens of ``ask``.
    """
    texts, tokens = ask([prompt(state) for state in states])
    words = [[parse_value(text, values) for text in row] for row in texts]
    sums = [sum(values[word] for word in row if word) for row in words]
    return Scores(np.array(sums, float), np.asarray(tokens))


def parse_value(reply: str, words: Sequence[str] = game24.LABELS) -> str | None:
    """The value word that the last line of a reply *is*, None if it is none of them.

    "unlikely" is not "likely".
    """
    last_line = reply.strip().split("\n")[-1]
    word = re.sub(r"[\s.!*:]+$|^[\s*]+", "", last_line).lower()
    return word if word in words else None


def votes(ask: Ask, states: list[State], *, prompt: Callable[[list[State]], str]) -> Scores:
    """V(s) = share of the votes for s among the states of its problem (section 3, item 3b).

    Args:
      ask: writes n replies to each prompt; each is one vote.
      states: those of one problem stand in a row.
      prompt: shows all the states of one problem, numbered from 1, and asks to end with "the best
        choice is N".

    Returns:
      shares ``[S]``, and tokens; the first state of a problem is charged for all of them.
    """
    groups = [list(group) for _, group in itertools.groupby(states, key=lambda s: s.problem)]
    texts, costs = ask([prompt(group) for group in groups])
    shares, tokens = [], []
    for group, row, cost in zip(groups, texts, costs, strict=True):
        chosen = [parse_choice(text, len(group)) for text in row]
        shares += [chosen.count(n) / len(row) for n in range(1, len(group) + 1)]
        tokens += [cost] + [0] * (len(group) - 1)
    return Scores(np.array(shares), np.array(tokens))


def parse_choice(reply: str, count: int) -> int | None:
    """The number in the last "best choice is N" of a reply, None unless it is in 1..count.

    12 is not 2.
    """
    pattern = r"best choice is:?\s+\**(?:choice\s+)?([0-9]+)(?![0-9])"
    found = re.findall(pattern, reply, re.IGNORECASE)
    return int(found[-1]) if found and 1 <= int(found[-1]) <= count else None


# ---- without an opinion


def likelihood(states: list[State]) -> Scores:
    """log p(thoughts | problem) in nats, at no cost.

    With it BFS is the beam search of machine translation, over lines.
    """
    logprobs = np.array([state.logprob for state in states])
    return Scores(logprobs, np.zeros(len(states), int))


def rollouts(
    model: LanguageModel,
    key: jax.Array,
    states: list[State],
    *,
    prompt: Callable[[State], str],
    is_solved: Callable[[State, str], bool],
    num_samples: int,
    sampler: Sampler = Sampler(),
    max_new_tokens: int = 64,
    least: int = 1,
    rows: int = 512,
    store: Path | None = None,
) -> Scores:
    """The share of k continuations to the end that pass the solution test: a value that tries
    instead of judging at a glance.

    It knows no more than the search does, which asks the same test of its leaves. The draws depend
    on the key and the text of the prompt alone. ``lm_evaluators.rollouts`` is its twin on the
    device.

    Args:
      prompt: writes the text that a continuation goes on from.
      is_solved: ``(state, continuation) -> bool``, the solution test.
      num_samples: k, the continuations of each state.
      sampler, max_new_tokens: of a continuation.
      least, rows, store: as for :func:`replies`.

    Returns:
      shares ``[S]`` in 0..1, and the tokens written for each state.
    """
    drawn = continuations(
        model,
        key,
        list(map(prompt, states)),
        least,
        sampler=sampler,
        max_new_tokens=max_new_tokens,
        num_samples=num_samples,
        rows=rows,
        store=store,
    )
    texts = drawn.texts[: len(states)]
    shares = [
        np.mean([is_solved(state, text) for text in row])
        for state, row in zip(states, texts, strict=True)
    ]
    return Scores(np.array(shares), drawn.num_tokens[: len(states)].sum(1))


def reward_values(
    reward: RewardModel, states: list[State], *, prompt: Callable[[State], str], how: str = "min"
) -> Scores:
    """The aggregated score that a reward model gives the thoughts of a state.

    Args:
      prompt: writes what stands before the first thought, from the root.
      how: aggregates the scores of the thoughts, see ``reward_model.aggregate``.

    Returns:
      scores ``[S]``, and the tokens of the last thought of each state: the reward model has read
      what stands before it.
    """
    groups: dict[str, list[int]] = {}  # prompt -> the states of its problem
    for i, state in enumerate(states):
        groups.setdefault(prompt(state._replace(thoughts=())), []).append(i)
    widest = max(map(len, groups.values()))
    texts = ["".join(f"{thought}\n" for thought in state.thoughts) for state in states]
    chains = [
        [texts[i] for i in members] + [""] * (widest - len(members)) for members in groups.values()
    ]
    scores = aggregate(step_scores(reward, list(groups), chains), how)  # [problems, widest]
    found = np.zeros(len(states))
    for row, members in zip(scores, groups.values(), strict=True):
        found[members] = row[: len(members)]
    last = [state.thoughts[-1] for state in states]
    return Scores(found, _num_tokens(reward.tokenizer, last) + 1)  # and the newline


def random_scores(states: list[State], *, seed: int = 0) -> Scores:
    """Uniform scores in 0..1 that know nothing, the control: one for each text, whatever the
    batch.
    """
    texts = [f"{seed} {state.problem} {state.thoughts}".encode() for state in states]
    scores = np.array([zlib.crc32(text) / 2**32 for text in texts])
    return Scores(scores, np.zeros(len(states), int))


def _num_tokens(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> np.ndarray:
    """The tokens of each text, ``[S]``."""
    return np.array([len(ids) for ids in tokenizer(texts, add_special_tokens=False).input_ids])
