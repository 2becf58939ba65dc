"""Word problems as a tree of thoughts: a thought is a line of reasoning."""

import numpy as np

from jaxreason.decoding import prompts
from jaxreason.search.evaluators import likelihood
from jaxreason.search.tree_of_thoughts import Rules, State
from jaxreason.tasks import arithmetic


def lines_prompt(state: State) -> str:
    """The question after the zero-shot trigger, and the reasoning lines so far."""
    return prompts.zero_shot_cot(state.problem.question) + "".join(
        f"{thought}\n" for thought in state.thoughts
    )


def calculator(states: list[State]) -> tuple[np.ndarray, np.ndarray]:
    """The likelihood, and negative infinity once a line states a wrong sum or product: needs no
    solution.
    """
    right = np.array([all(map(arithmetic.is_true, state.thoughts)) for state in states])
    return np.where(right, likelihood(states)[0], -np.inf), np.zeros(len(states), int)


def lines_oracle(states: list[State]) -> tuple[np.ndarray, np.ndarray]:
    """The likelihood, and negative infinity once a line is no step to the answer: an upper bound,
    not a method.
    """
    right = np.array([_is_right(state) for state in states])
    return np.where(right, likelihood(states)[0], -np.inf), np.zeros(len(states), int)


def _is_right(state: State) -> bool:
    ends = bool(state.thoughts) and state.thoughts[-1].startswith("####")
    steps = arithmetic.check_steps(state.problem, "\n".join(state.thoughts))
    return all(steps) and (not ends or state.thoughts[-1] == f"#### {state.problem.answer}")


# A thought is a reasoning line; `#### 54` is the last. Whether the answer is right no test can say.
LINES = Rules(
    accept=lambda _, thought: bool(thought.strip()),
    is_leaf=lambda s: bool(s.thoughts) and s.thoughts[-1].startswith("####"),
    identity=lambda s: s.thoughts,
)
