"""What lessons 08, 08b and 08c share: how a policy is trained by GRPO, kept, and measured."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax

from jaxreason import resume
from jaxreason.answers import vote
from jaxreason.answers.verify import grade
from jaxreason.course.machine import device
from jaxreason.course.policy_runs import (
    MAX_NEW_TOKENS,
    Recipe,
    Trained,
    compile_step,
    make_optimizer,
    train_policy,
)
from jaxreason.course.run import Run
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.evaluation.intervals import Interval, mean_interval
from jaxreason.evaluation.outcomes import over_seeds
from jaxreason.mesh import mesh_of, shard_params
from jaxreason.models.decoder import Params
from jaxreason.tasks.arithmetic import Problem
from jaxreason.training.grpo import DAPO, Objective
from jaxreason.training.grpo_device import Step, make_grpo_step
from jaxreason.training.token_rewards import RewardFn, exact_match
from jaxreason.training.watch import Watch

# What lesson 08 trains with, and 08b compares with.
OBJECTIVE = dataclasses.replace(DAPO, advantages="least_variance")
LEARNING_RATE = 1e-3


class Measured(NamedTuple):
    """A policy on G held-out problems, with N chains at temperature 1 and a greedy one."""

    greedy: np.ndarray  # [G] bool
    sampled: np.ndarray  # [G, N] bool
    one: np.ndarray  # [G] share of the chains that are right
    any_of: dict[int, np.ndarray]  # k -> [G] chance that any of k chains is right
    texts: list[list[str]]  # [G][N]


def measure_policy(run: Run, name: str, params: Params, problems: list[Problem]) -> Measured:
    """Writes the chains of a policy, and records and prints how many are right."""
    model = run.model._replace(params=params)
    texts = [prompts.zero_shot_cot(problem.question) for problem in problems]
    golds = [problem.answer for problem in problems]

    def write(sampler: Sampler, num_samples: int, what: str):
        return complete(
            model,
            run.key,
            texts,
            sampler=sampler,
            max_new_tokens=MAX_NEW_TOKENS,
            num_samples=num_samples,
            description=f"{name}, {what}",
            store=run.store,
        )

    n = run.chains or 1
    greedy, sampled = write(GREEDY, 1, "greedy"), write(Sampler(), n, f"{n} chains")
    right = grade(sampled.texts, golds)
    sizes = [k for k in (1, 2, 4, 8, 16) if k < n] + [n]
    policy = Measured(
        greedy=grade(greedy.texts, golds)[:, 0],
        sampled=right,
        one=right.mean(1),
        any_of={k: np.asarray(vote.pass_at_k(right.sum(1), n, k)) for k in sizes},
        texts=sampled.texts,
    )
    tokens = sampled.num_tokens.mean()
    run.measure(f"{name}/greedy", policy.greedy, greedy.num_tokens.mean())
    run.measure(f"{name}/pass@1, T=1", policy.one, tokens)
    run.measure(f"{name}/pass@{n}", policy.any_of[n], n * tokens)
    print(
        f"{name}: greedy {policy.greedy.mean():.3f}, pass@1 {policy.one.mean():.3f}, "
        f"pass@{n} {policy.any_of[n].mean():.3f}"
    )
    return policy


def compile_grpo(
    run: Run,
    recipe: Recipe,
    *,
    objective: Objective = OBJECTIVE,
    learning_rate: float = LEARNING_RATE,
    reward_fn: RewardFn | None = None,
    **options,
) -> tuple[Step, optax.GradientTransformation]:
    """A compiled step of GRPO from the model of the run, and its optimiser.

    Args:
      run: of one of these lessons; its model is the frozen reference as well.
      recipe: the sizes.
      objective, learning_rate: those of lesson 08 by default.
      reward_fn: by default 1 for the exact answer, else 0.
      options: of ``grpo_device.make_device_step``, such as ``epochs``.

    Returns:
      The step and the optimiser, for ``policy_runs.train_policy``.
    """
    tx = make_optimizer(recipe, learning_rate, run.mesh)
    reference = jax.device_get(run.model.params)  # on no device, and so on each
    step = compile_step(
        make_grpo_step,
        run.model,
        recipe,
        tx,
        reward_fn=reward_fn or exact_match(run.model.tokenizer),
        objective=objective,
        reference=reference,
        **options,
    )
    return step, tx


def train_grpo(
    run: Run, recipe: Recipe, step: Step, tx: optax.GradientTransformation, seed: int
) -> Trained:
    """Lesson 08's policy of a seed, which is saved for lesson 08b.

    Args:
      run: of lesson 08 or 08b.
      recipe: the sizes.
      step, tx: from :func:`compile_grpo`, with its defaults.
      seed: of the questions and of the chains.

    Returns:
      What ``policy_runs.train_policy`` does.
    """
    trained = train_policy(
        run.model,
        recipe,
        step,
        tx,
        training_folder(run, recipe, seed),
        seed=seed,
        description=f"GRPO, seed {seed}",
        check=Watch(),
    )
    resume.save(_policy_file(run, recipe, seed), trained)
    return trained


def training_folder(run: Run, recipe: Recipe, seed: int) -> Path:
    """Where the log and the checkpoints of :func:`train_grpo` lie until the lesson is finished."""
    return run.kept(f"GRPO, seed {seed}", OBJECTIVE, LEARNING_RATE, recipe)


def saved_policy(run: Run, recipe: Recipe, seed: int) -> Trained | None:
    """What lesson 08 trained with this seed, on the devices of the run; None if it did not."""
    path, params = _policy_file(run, recipe, seed), run.model.params
    if not path.exists():
        return None
    like = Trained(params=params, last=params, scores=np.zeros(0), seconds_a_step=np.zeros(()))
    found, mesh = resume.load(path, like), mesh_of(params)
    return found._replace(
        params=shard_params(found.params, mesh), last=shard_params(found.last, mesh)
    )


def _policy_file(run: Run, recipe: Recipe, seed: int) -> Path:
    """Other code, another device, start or recipe have another file."""
    made_by = resume.sources(), device(), run.options.mesh, run.model.sha256, recipe
    name = f"seed-{seed}-{resume.digest(made_by, OBJECTIVE, LEARNING_RATE)}.npz"
    return run.options.out / "08_grpo" / "policies" / name


def learning_curve(runs: Sequence[Trained]) -> list[Interval]:
    """pass@1 on the validation problems at every validation.

    Of one run it has the interval over problems; of several their mean, the lowest and the highest.
    """
    if len(runs) == 1:
        return [mean_interval(scores) for scores in runs[0].scores]
    means = np.array([trained.scores.mean(1) for trained in runs])  # [S, V]
    return list(map(over_seeds, means.T))


def logged_curve(logs: Sequence[dict[str, np.ndarray]], name: str, every: int) -> list[Interval]:
    """The means of a metric over each ``every`` steps.

    Of one run they have the interval over its steps; of several the lowest and the highest run.

    Args:
      logs: of the runs, from ``policy_runs.read_log``.
      name: of the metric.
      every: a divisor of the number of steps.
    """
    parts = [log[name].reshape(-1, every) for log in logs]
    if len(logs) == 1:
        return list(map(mean_interval, parts[0]))
    return list(map(over_seeds, np.mean(parts, axis=2).T))
