"""Evaluators: how promising a state is.

``evaluate(states)`` after their other arguments are bound.
"""

import itertools
import re
import zlib
from collections.abc import Callable, Sequence

import jax
import numpy as np

from jaxreason.decoding.logprobs import choice_logprobs
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.models.hf import LanguageModel
from jaxreason.rewards.reward_model import RewardModel, aggregate, step_scores
from jaxreason.search.proposers import continuations
from jaxreason.search.tree_of_thoughts import State
from jaxreason.tasks import game24

VALUES = {"sure": 1.0, "likely": 0.5, "impossible": 0.0}


def value_words(
    model: LanguageModel,
    states: list[State],
    *,
    prompt: Callable[[State], str],
    values: dict[str, float] = VALUES,
    batch_size: int = 512,
) -> tuple[np.ndarray, np.ndarray]:
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
      values ``[S]`` and the tokens of each pass ``[S]``: the prompt read and one word.
    """
    texts = [prompt(state) for state in states]
    logprobs = choice_logprobs(model, texts, list(values), batch_size)
    p = np.exp(logprobs - logprobs.max(1, keepdims=True))
    lengths = [len(ids) for ids in model.tokenizer(texts, add_special_tokens=False).input_ids]
    return (p / p.sum(1, keepdims=True)) @ np.array(list(values.values())), np.array(lengths) + 1


Ask = Callable[
    [list[str]], tuple[list[list[str]], Sequence[int]]
]  # prompts -> replies [G][n], tokens [G]


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
) -> tuple[list[list[str]], np.ndarray]:
    """n written replies to each prompt, for evaluators that reason before they judge; tokens: the
    prompt, and all that was written.

    The draws depend on the key and the text of the prompt alone.

    Args:
      least: prompts that go through the model at least, and ``rows`` chains at a time: fewer shapes
        are compiled.
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
    )
    read = np.array(
        [len(ids) for ids in model.tokenizer(texts, add_special_tokens=False).input_ids]
    )
    return drawn.texts[: len(texts)], drawn.num_tokens[: len(texts)].sum(1) + read


def value_replies(
    ask: Ask, states: list[State], *, prompt: Callable[[State], str], values: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the values of n written replies, as in the paper; for models that reason before
    they judge.
    """
    replies, tokens = ask([prompt(state) for state in states])
    words = [[parse_value(reply, values) for reply in row] for row in replies]
    return np.array([sum(values[w] for w in row if w) for row in words], float), np.asarray(tokens)


def parse_value(reply: str, words: Sequence[str] = game24.LABELS) -> str | None:
    """The value word that the last line of a reply *is*, None if it is none: "unlikely" is not
    "likely".
    """
    lines = reply.strip().split("\n")
    word = re.sub(r"[\s.!*:]+$|^[\s*]+", "", lines[-1]).lower()
    return word if word in words else None


def votes(
    ask: Ask, states: list[State], *, prompt: Callable[[list[State]], str]
) -> tuple[np.ndarray, np.ndarray]:
    """V(s) = share of the votes for s among the states of its problem (section 3, item 3b).

    Args:
      ask: writes n replies to each prompt; each is one vote.
      prompt: shows all the states of one problem, numbered from 1, and asks to end with "the best
        choice is N".

    Returns:
      shares ``[S]`` and tokens ``[S]``; a problem's cost is booked on the first of its states.
    """
    groups = [
        list(group) for _, group in itertools.groupby(states, key=lambda state: state.problem)
    ]
    replies, costs = ask([prompt(group) for group in groups])
    shares, tokens = [], []
    for group, row, cost in zip(groups, replies, costs, strict=True):
        chosen = [parse_choice(reply, len(group)) for reply in row]
        shares += [chosen.count(n) / len(row) for n in range(1, len(group) + 1)]
        tokens += [cost] + [0] * (len(group) - 1)
    return np.array(shares), np.array(tokens)


def parse_choice(reply: str, count: int) -> int | None:
    """The number in the last "best choice is N" of a reply, None unless it is in 1..count: 12 is
    not 2.
    """
    found = re.findall(
        r"best choice is:?\s+\**(?:choice\s+)?([0-9]+)(?![0-9])", reply, re.IGNORECASE
    )
    return int(found[-1]) if found and 1 <= int(found[-1]) <= count else None


def likelihood(states: list[State]) -> tuple[np.ndarray, np.ndarray]:
    """log p(thoughts | problem), at no cost: with it, BFS is the beam search of machine
    translation, over lines.
    """
    return np.array([state.logprob for state in states]), np.zeros(len(states), int)


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
) -> tuple[np.ndarray, np.ndarray]:
    """The share of k continuations to the end that pass the solution test: a value that tries
    instead of judging at a glance.

    It knows no more than the search does, which asks the same test of its leaves. The draws depend
    on the key and the text of the prompt alone.

    Args:
      prompt: writes the text that a continuation goes on from.
      is_solved: the test of a state and the text that continues it.
      num_samples, sampler, max_new_tokens: of the continuations, k for each state.
      least: states that go through the model at least, and ``rows`` chains at a time: fewer shapes
        are compiled.

    Returns:
      values ``[S]`` in 0..1, and the tokens written for each ``[S]``.
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
    )
    solved = [
        np.mean([is_solved(state, text) for text in row])
        for state, row in zip(states, drawn.texts, strict=False)
    ]
    return np.array(solved), drawn.num_tokens[: len(states)].sum(1)


def random_scores(states: list[State], *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Uniform scores that know nothing, the control: one for each text, whatever the batch."""
    texts = [f"{seed} {state.problem} {state.thoughts}".encode() for state in states]
    return np.array([zlib.crc32(text) / 2**32 for text in texts]), np.zeros(len(states), int)


def reward_values(
    reward: RewardModel, states: list[State], *, prompt: Callable[[State], str], how: str = "min"
) -> tuple[np.ndarray, np.ndarray]:
    """An evaluator of states for the searches of ``tree_of_thoughts``: the aggregated score of a
    state's thoughts.

    Args:
      prompt: writes what stands before the first thought, from the root.

    Returns:
      scores ``[S]``, and the tokens of the thought that is new to the reward model in each ``[S]``.
    """
    groups: dict[str, list[int]] = {}
    for i, state in enumerate(states):
        groups.setdefault(prompt(state._replace(thoughts=())), []).append(i)
    widest = max(map(len, groups.values()))
    texts = ["".join(f"{thought}\n" for thought in state.thoughts) for state in states]
    rows = [[texts[i] for i in where] + [""] * (widest - len(where)) for where in groups.values()]
    scores = aggregate(step_scores(reward, list(groups), rows), how)
    found = np.zeros(len(states))
    for row, where in zip(scores, groups.values(), strict=True):
        found[where] = row[: len(where)]
    read = reward.tokenizer(
        [state.thoughts[-1] for state in states], add_special_tokens=False
    ).input_ids
    return found, np.array([len(ids) + 1 for ids in read])
