"""What a type checker makes of the public interface: checked by mypy, never run."""

from typing import assert_type

import jax
import numpy as np
import optax

import jaxreason
from jaxreason import (
    GRPO,
    Answer,
    Completions,
    Interval,
    LabelledChain,
    LanguageModel,
    Problem,
    RewardModel,
    Sampler,
    TrainState,
    Tree,
    accuracy,
    answer_ids,
    bfs,
    complete,
    extract_answer,
    fit,
    grade,
    init_state,
    load_model,
    load_problems,
    make_text_update,
    monte_carlo_labels,
    step_scores,
    zero_shot_cot,
)


def self_consistency() -> Interval:
    """Lesson 02 in a few lines."""
    model = assert_type(load_model("tiny"), LanguageModel)
    problems = assert_type(load_problems("arithmetic", "test", 100), list[Problem])
    texts = [zero_shot_cot(problem.question) for problem in problems]
    written = assert_type(
        complete(
            model,
            jax.random.key(0),
            texts,
            sampler=Sampler(temperature=0.7),
            max_new_tokens=96,
            num_samples=16,
        ),
        Completions,
    )
    assert_type(extract_answer(written.texts[0][0]), Answer | None)
    assert_type(
        answer_ids([[extract_answer(text) for text in row] for row in written.texts]), np.ndarray
    )
    correct = grade(written.texts, [problem.gold for problem in problems])
    return accuracy(correct[:, 0])


def train(model: LanguageModel, prompts: list[str]) -> TrainState:
    """Lesson 08 in a few lines."""
    tx = optax.adam(1e-4)
    update = make_text_update(
        model,
        prompts,
        lambda i, text: float(len(text)),
        tx=tx,
        objective=GRPO,
        num_samples=8,
        max_new_tokens=64,
    )
    key = jax.random.key(0)
    batches = jaxreason.text_batches(len(prompts), key, 8)
    return fit(init_state(model.params, tx), update, batches, 100, "outputs/run")


def verify(model: LanguageModel, reward: RewardModel, prompts: list[str]) -> np.ndarray:
    """Lesson 04 in a few lines."""
    chains = complete(
        model, jax.random.key(0), prompts, sampler=Sampler(), max_new_tokens=64, num_samples=4
    ).texts
    labels, cost = monte_carlo_labels(
        model, jax.random.key(1), prompts, chains, ["1"] * len(chains)
    )
    assert_type(labels, list[LabelledChain])
    assert_type(cost, jaxreason.Cost)
    return step_scores(reward, prompts, chains)


def search(
    roots: list[jaxreason.State],
    propose: jaxreason.Propose,
    evaluate: jaxreason.Evaluate,
    rules: jaxreason.Rules,
) -> list[Tree]:
    """Lesson 03 in a few lines."""
    return bfs(roots, propose, evaluate, rules, beam=5, max_depth=3)
