"""Thoughts: lines a model may write next, and how promising the states they lead to look (Yao et al. 2023, section 3).

Two kinds of plain functions drive every search, so that any generator meets any evaluator:

    propose(states)  -> (thoughts, tokens)   for each state some next thoughts, and how many tokens they cost
    evaluate(states) -> (scores, tokens)     for each state how promising it is (higher is better), and the cost

Here they are, :func:`sample_thoughts` and :func:`propose_thoughts`, :func:`value_words`, :func:`rollouts`,
:func:`votes` and :func:`likelihood`, with arguments of their own before the states: ``functools.partial`` binds those. A reward model or a value
head needs no more than to be such a function.
"""

import itertools
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason import prompts
from jaxreason.errors import InputError
from jaxreason.logprobs import choice_logprobs
from jaxreason.models.hf import LanguageModel
from jaxreason.rollout import Completions, complete
from jaxreason.sampling import GREEDY, Sampler
from jaxreason.tasks import arithmetic, game24


class State(NamedTuple):
    """A node's content, s = [x, z_1, ..., z_i] in section 3 of the paper."""

    problem: Any  # x: for the Game of 24 its numbers, for a word problem an arithmetic.Problem
    thoughts: tuple[str, ...] = ()  # z_1 .. z_i, without their newlines
    logprob: float = 0.0  # log p(z_1 .. z_i | x) of the model, in nats


class Thought(NamedTuple):
    text: str  # without its newline
    logprob: float = 0.0  # log p(thought | state), untempered, in nats


Propose = Callable[[list[State]], tuple[list[list[Thought]], Sequence[int]]]
Evaluate = Callable[[list[State]], tuple[Sequence[float], Sequence[int]]]


def remembered(function: Callable) -> Callable:
    """The same propose or evaluate function, which is asked for a state only once: for searches that share states.

    Only for functions whose answer depends on the state alone, as here. A search is still charged what it asked for.
    """
    known: dict[State, tuple] = {}

    def ask(states: list[State]) -> tuple[list, list]:
        new = list(dict.fromkeys(state for state in states if state not in known))
        if new:
            known.update(zip(new, zip(*function(new), strict=True), strict=True))
        answers = [known[state] for state in states]
        return [answer for answer, _ in answers], [cost for _, cost in answers]

    return ask


# ---- generators: propose(states) after their other arguments are bound by functools.partial --------------------


def sample_thoughts(
    model: LanguageModel,
    key: jax.Array,
    states: list[State],
    *,
    prompt: Callable[[State], str],
    num_samples: int,
    sampler: Sampler = Sampler(),
    max_new_tokens: int = 24,
    least: int = 1,
    rows: int = 512,
) -> tuple[list[list[Thought]], np.ndarray]:
    """k independent thoughts of one line from each state, z ~ p(z | s) (section 3, item 2a).

    Every state is prefilled once. Its draws depend on the key and its text alone, not on the batch or the search that
    asks: two searches that reach one state see the same thoughts.

    Args:
      prompt: writes the text that the next thought continues.
      num_samples, sampler, max_new_tokens: a thought that does not end (newline or end of text) in time is left out.
      least: states that go through the model at least, some twice if need be, and ``rows`` chains at a time: fewer shapes are
        compiled.

    Returns:
      thoughts for each state, repeats included, and the tokens generated for it ``[S]``.
    """
    drawn = _continuations(
        model, key, list(map(prompt, states)), least, sampler=sampler, max_new_tokens=max_new_tokens, num_samples=num_samples,
        stop_strings=("\n",), multiple=64, rows=rows,
    )  # fmt: skip
    thoughts = [
        [Thought(t.rstrip("\n"), float(lp)) for t, lp, done in zip(*row, strict=True) if done]
        for row in zip(drawn.texts, drawn.logprobs, drawn.finished, strict=True)
    ]
    return thoughts[: len(states)], drawn.num_tokens[: len(states)].sum(1)


def _continuations(model: LanguageModel, key: jax.Array, texts: list[str], least: int = 1, **options) -> Completions:
    """Those of each text, drawn from a key of its own; of the first one again and again behind them, so that few shapes are compiled."""
    texts = texts + texts[:1] * (max(least, _bucket(len(texts))) - len(texts))
    hashes = np.array([zlib.crc32(text.encode()) for text in texts], np.uint32)
    return complete(model, texts, _text_keys(key, hashes), **options)


@jax.jit
def _text_keys(key: jax.Array, hashes: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, hashes)


def _bucket(count: int) -> int:
    """The next power of two up to 64, then the next multiple of 64."""
    return 1 << (count - 1).bit_length() if count <= 64 else -(-count // 64) * 64


def propose_thoughts(
    model: LanguageModel, key: jax.Array, states: list[State], *, num_thoughts: int, **options
) -> tuple[list[list[Thought]], np.ndarray]:
    """Up to k *different* thoughts from each state, the most probable first (section 3, item 2b).

    The paper asks for all k in one prompt so that they differ, which needs a model that follows instructions. Here they
    are the k most probable of the different ones among ``num_samples`` draws: same end, any model.

    Args:
      num_thoughts: k, at least 1.
      options: of :func:`sample_thoughts`.

    Raises:
      InputError: ``num_thoughts`` below 1.
    """
    if num_thoughts < 1:
        raise InputError(f"num_thoughts is {num_thoughts}: expected at least 1")
    thoughts, tokens = sample_thoughts(model, key, states, **options)
    different = [{thought.text: thought for thought in row}.values() for row in thoughts]
    return [sorted(row, key=lambda thought: -thought.logprob)[:num_thoughts] for row in different], tokens


# ---- evaluators: evaluate(states) after their other arguments are bound ------------------------------------------


VALUES = {"sure": 1.0, "likely": 0.5, "impossible": 0.0}


def value_words(
    model: LanguageModel,
    states: list[State],
    *,
    prompt: Callable[[State], str],
    values: dict[str, float] = VALUES,
    batch_size: int = 512,
) -> tuple[np.ndarray, np.ndarray]:
    """The model's own value, V(s) = sum_w v(w) p(w | value prompt) over the words w (section 3, item 3a).

    The paper samples words, maps them to 20, 1 and 0.001 and adds up. Here their probabilities are read off the
    logits, exactly and in one forward pass for all states: the limit of infinitely many samples. Probabilities are normalised
    over the words.

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


Ask = Callable[[list[str]], tuple[list[list[str]], Sequence[int]]]  # prompts -> replies [G][n], tokens [G]


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
    """n written replies to each prompt, for evaluators that reason before they judge; tokens: the prompt, and all that was written.

    The draws depend on the key and the text of the prompt alone.

    Args:
      least: prompts that go through the model at least, and ``rows`` chains at a time: fewer shapes are compiled.
    """
    drawn = _continuations(
        model, key, texts, least, sampler=sampler, max_new_tokens=max_new_tokens, num_samples=num_samples, rows=rows
    )
    read = np.array([len(ids) for ids in model.tokenizer(texts, add_special_tokens=False).input_ids])
    return drawn.texts[: len(texts)], drawn.num_tokens[: len(texts)].sum(1) + read


def value_replies(
    ask: Ask, states: list[State], *, prompt: Callable[[State], str], values: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the values of n written replies, as in the paper; for models that reason before they judge."""
    replies, tokens = ask([prompt(state) for state in states])
    words = [[parse_value(reply, values) for reply in row] for row in replies]
    return np.array([sum(values[w] for w in row if w) for row in words], float), np.asarray(tokens)


def parse_value(reply: str, words: Sequence[str] = game24.LABELS) -> str | None:
    """The value word that the last line of a reply *is*, None if it is none: "unlikely" is not "likely"."""
    lines = reply.strip().split("\n")
    word = re.sub(r"[\s.!*:]+$|^[\s*]+", "", lines[-1]).lower()
    return word if word in words else None


def votes(ask: Ask, states: list[State], *, prompt: Callable[[list[State]], str]) -> tuple[np.ndarray, np.ndarray]:
    """V(s) = share of the votes for s among the states of its problem (section 3, item 3b).

    Args:
      ask: writes n replies to each prompt; each is one vote.
      prompt: shows all the states of one problem, numbered from 1, and asks to end with "the best choice is N".

    Returns:
      shares ``[S]`` and tokens ``[S]``; a problem's cost is booked on the first of its states.
    """
    groups = [list(group) for _, group in itertools.groupby(states, key=lambda state: state.problem)]
    replies, costs = ask([prompt(group) for group in groups])
    shares, tokens = [], []
    for group, row, cost in zip(groups, replies, costs, strict=True):
        chosen = [parse_choice(reply, len(group)) for reply in row]
        shares += [chosen.count(n) / len(row) for n in range(1, len(group) + 1)]
        tokens += [cost] + [0] * (len(group) - 1)
    return np.array(shares), np.array(tokens)


def parse_choice(reply: str, count: int) -> int | None:
    """The number in the last "best choice is N" of a reply, None unless it is in 1..count: 12 is not 2."""
    found = re.findall(r"best choice is:?\s+\**(?:choice\s+)?([0-9]+)(?![0-9])", reply, re.IGNORECASE)
    return int(found[-1]) if found and 1 <= int(found[-1]) <= count else None


def likelihood(states: list[State]) -> tuple[np.ndarray, np.ndarray]:
    """log p(thoughts | problem), at no cost: with it, BFS is the beam search of machine translation, over lines."""
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
    """The share of k continuations to the end that pass the solution test: a value that tries instead of judging at a glance.

    It knows no more than the search does, which asks the same test of its leaves. The draws depend on the key and the text of
    the prompt alone.

    Args:
      prompt: writes the text that a continuation goes on from.
      is_solved: the test of a state and the text that continues it.
      num_samples, sampler, max_new_tokens: of the continuations, k for each state.
      least: states that go through the model at least, and ``rows`` chains at a time: fewer shapes are compiled.

    Returns:
      values ``[S]`` in 0..1, and the tokens written for each ``[S]``.
    """
    drawn = _continuations(
        model, key, list(map(prompt, states)), least, sampler=sampler, max_new_tokens=max_new_tokens,
        num_samples=num_samples, rows=rows,
    )  # fmt: skip
    solved = [
        np.mean([is_solved(state, text) for text in row]) for state, row in zip(states, drawn.texts, strict=False)
    ]
    return np.array(solved), drawn.num_tokens[: len(states)].sum(1)


def random_scores(states: list[State], *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Uniform scores that know nothing, the control: one for each text, whatever the batch."""
    texts = [f"{seed} {state.problem} {state.thoughts}".encode() for state in states]
    return np.array([zlib.crc32(text) / 2**32 for text in texts]), np.zeros(len(states), int)


# ---- the Game of 24 ------------------------------------------------------------------------------------------


def puzzle(numbers: str | Sequence[int]) -> State:
    """The root of a puzzle.

    Raises:
      InputError: it is not four integers in 1..13.
    """
    return State(game24.parse_numbers(numbers if isinstance(numbers, str) else " ".join(map(str, numbers))))


def numbers_left(state: State) -> tuple[int, ...]:
    """What the last thought says is left, ascending."""
    return game24.parse_line(state.thoughts[-1]).left if state.thoughts else tuple(sorted(state.problem))


def moves_prompt(state: State) -> str:
    """The puzzle and the thoughts so far."""
    return game24.format_puzzle(state.problem) + "".join(f"{thought}\n" for thought in state.thoughts)


def moves_value_prompt(state: State) -> str:
    """Asks for the value of the numbers left."""
    return game24.format_value(numbers_left(state))


def left_prompt(state: State) -> str:
    """The numbers left, as a puzzle of its own."""
    return game24.format_puzzle(numbers_left(state))


def moves_solved(state: State, text: str) -> bool:
    """Whether the text makes 24 of the numbers left."""
    return game24.is_solved(numbers_left(state), text)


def moves_oracle(states: list[State]) -> tuple[np.ndarray, np.ndarray]:
    """The exact value: can 24 still be reached, every move so far being right? An upper bound, not a method."""
    right = [
        all(game24.check_steps(s.problem, "\n".join(s.thoughts))) and game24.solvable(numbers_left(s)) for s in states
    ]
    return np.array(right, float), np.zeros(len(states), int)


# ---- word problems: the problem of a state is an arithmetic.Problem ---------------------------------------------


def lines_prompt(state: State) -> str:
    """The question after the zero-shot trigger, and the reasoning lines so far."""
    return prompts.zero_shot_cot(state.problem.question) + "".join(f"{thought}\n" for thought in state.thoughts)


def calculator(states: list[State]) -> tuple[np.ndarray, np.ndarray]:
    """The likelihood, and negative infinity once a line states a wrong sum or product: needs no solution."""
    right = np.array([all(map(arithmetic.is_true, state.thoughts)) for state in states])
    return np.where(right, likelihood(states)[0], -np.inf), np.zeros(len(states), int)


def lines_oracle(states: list[State]) -> tuple[np.ndarray, np.ndarray]:
    """The likelihood, and negative infinity once a line is no step to the answer: an upper bound, not a method."""
    right = np.array([_is_right(state) for state in states])
    return np.where(right, likelihood(states)[0], -np.inf), np.zeros(len(states), int)


def _is_right(state: State) -> bool:
    ends = bool(state.thoughts) and state.thoughts[-1].startswith("####")
    steps = arithmetic.check_steps(state.problem, "\n".join(state.thoughts))
    return all(steps) and (not ends or state.thoughts[-1] == f"#### {state.problem.answer}")
