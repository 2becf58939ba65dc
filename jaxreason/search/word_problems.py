"""Word problems for ``tree_of_thoughts``: a thought is a line of reasoning.

Here are the prompt, two evaluators that check the lines, and the rules ``LINES``. A state's problem
is an ``arithmetic.Problem``.
"""

import numpy as np

from jaxreason.decoding import prompts
from jaxreason.search.evaluators import likelihood
from jaxreason.search.tree_of_thoughts import Rules, Scores, State, Tree
from jaxreason.tasks import arithmetic


def lines_prompt(state: State) -> str:
    """The question after the zero-shot trigger, and the reasoning lines so far."""
    lines = "".join(f"{thought}\n" for thought in state.thoughts)
    return prompts.zero_shot_cot(state.problem.question) + lines


# ---- evaluators


def calculator(states: list[State]) -> Scores:
    """The likelihood, or negative infinity once a line states a wrong sum or product.

    It checks the arithmetic alone, so it needs no solution.
    """
    return _likelihood_where([all(map(arithmetic.is_true, s.thoughts)) for s in states], states)


def lines_oracle(states: list[State]) -> Scores:
    """The likelihood, or negative infinity once a line is no step to the answer.

    An upper bound, not a method.
    """
    return _likelihood_where([_is_right(state) for state in states], states)


def _likelihood_where(right: list[bool], states: list[State]) -> Scores:
    """log p(thoughts | problem) ``[S]`` of the states that are right, -inf of the others."""
    logprobs, tokens = likelihood(states)
    return Scores(np.where(right, logprobs, -np.inf), tokens)


def _is_right(state: State) -> bool:
    """Whether every line is a step to the answer, and the last one states it if it is an answer."""
    steps = arithmetic.check_steps(state.problem, "\n".join(state.thoughts))
    is_answered = not _is_complete(state) or state.thoughts[-1] == f"#### {state.problem.answer}"
    return all(steps) and is_answered


# ---- rules


def _is_complete(state: State) -> bool:
    """Whether the last line is an answer such as `#### 54`."""
    return bool(state.thoughts) and state.thoughts[-1].startswith("####")


# No test can say whether the answer is right.
LINES = Rules(
    accept=lambda _, thought: bool(thought.strip()),
    is_leaf=_is_complete,
    identity=lambda state: state.thoughts,
)


def answer_line(tree: Tree) -> str:
    """The last line of the leaf that a search submits; empty if it found none."""
    return tree.nodes[tree.answer].state.thoughts[-1] if tree.answer >= 0 else ""
