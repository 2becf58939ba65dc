"""Training runs of policies on word problems, validated as they go, of lessons 08 to 08c.

The steps come from ``grpo_device`` or ``ppo`` and the loop from ``loop.fit_best``. Here are the
questions, the optimiser, the validation, and what is kept of a run.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxreason import resume
from jaxreason.answers.verify import grade
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.errors import InputError
from jaxreason.mesh import mesh_of, num_row_parts
from jaxreason.models.decoder import Params
from jaxreason.models.hf import LanguageModel
from jaxreason.tasks import arithmetic
from jaxreason.training import grpo_device, loop

MAX_NEW_TOKENS = 64  # of a chain
VALIDATION_CHAINS = 4  # of each problem


class Recipe(NamedTuple):
    """How long a policy is trained, and on how much."""

    num_steps: int = 200  # of the whole schedule of the learning rate
    every: int = 25  # steps between validations
    num_prompts: int = 112  # questions of a step
    num_samples: int = 8  # chains of each question
    keep: int = 64  # questions that a step learns from
    max_new_tokens: int = MAX_NEW_TOKENS
    num_questions: int = 16_384  # to train on, drawn with the seed of the run
    num_held_out: int = 200  # to validate on, the same for all runs
    rollout_parts: int = 7  # on a CPU, as in grpo_device.make_device_step
    widths: tuple[tuple[int, int], ...] = ((48, 24), (64, 40), (80, 56))  # likewise


SMOKE = Recipe(
    num_steps=4,
    every=2,
    num_prompts=8,
    num_samples=4,
    keep=4,
    num_questions=64,
    num_held_out=20,
    rollout_parts=1,
    widths=(),
)


class Trained(NamedTuple):
    """What a training run ended with."""

    params: Params  # of the policy that was best on the validation problems
    last: Params  # of the last one
    scores: np.ndarray  # [V, G] share of right chains of each validation problem, V times
    seconds_a_step: np.ndarray  # [] the median


def check_mesh(recipe: Recipe, mesh: Mesh | None) -> None:
    """Refuses a mesh among whose devices the questions of a step cannot be dealt out evenly.

    Raises:
      InputError: the number of devices does not divide them.
    """
    parts = num_row_parts(mesh)
    if recipe.num_prompts % parts or recipe.keep % (2 * parts):
        raise InputError(
            f"--mesh has {parts} devices: expected a number that divides "
            f"{recipe.num_prompts} questions and {recipe.keep // 2}"
        )


def make_optimizer(
    recipe: Recipe, learning_rate: float, mesh: Mesh | None = None
) -> optax.GradientTransformation:
    """Adam with clipped gradients; the rate rises over ten steps and falls to a tenth of its peak.

    Args:
      recipe: the rate falls up to its last step.
      learning_rate: the peak.
      mesh: devices whose gradients are averaged.
    """
    up = optax.linear_schedule(0, learning_rate, 10)
    down = optax.linear_schedule(learning_rate, learning_rate / 10, recipe.num_steps)
    schedule = optax.join_schedules([up, down], [10])
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.95))
    return optax.chain(grpo_device.mean_over_devices(), clipped) if mesh else clipped


def compile_step(
    make_step: Callable[..., grpo_device.Step],
    model: LanguageModel,
    recipe: Recipe,
    tx: optax.GradientTransformation,
    **options,
) -> grpo_device.Step:
    """A jitted step, on all devices of the model's mesh, each with its part of the questions.

    Args:
      make_step: ``grpo_device.make_grpo_step`` or ``ppo.make_ppo_step``.
      model: whose policy learns.
      recipe: its sizes.
      tx: from :func:`make_optimizer`.
      options: of ``make_step``, such as the reward.
    """
    mesh = mesh_of(model.params)
    keep = recipe.keep // num_row_parts(mesh)
    if jax.default_backend() == "cpu":  # few chains at a time, of similar length, stay in a cache
        options |= {
            "microbatches": keep // 2,
            "rollout_parts": recipe.rollout_parts,
            "widths": recipe.widths,
        }
    step = make_step(
        cfg=model.cfg,
        tx=tx,
        stop=compile_stop(model.tokenizer),
        num_samples=recipe.num_samples,
        max_new_tokens=recipe.max_new_tokens,
        keep=keep,
        **options,
    )
    return jax.jit(grpo_device.data_parallel(step, mesh) if mesh else step, donate_argnums=0)


def validate(model: LanguageModel, recipe: Recipe) -> np.ndarray:
    """``[G]`` share of right chains, at temperature 1, for each validation problem."""
    held_out = arithmetic.problems("validation", recipe.num_held_out)
    written = complete(
        model,
        jax.random.key(1),
        [prompts.zero_shot_cot(problem.question) for problem in held_out],
        sampler=Sampler(),
        max_new_tokens=recipe.max_new_tokens,
        num_samples=VALIDATION_CHAINS,
    )
    return grade(written.texts, [problem.answer for problem in held_out]).mean(1)


def train_policy(
    model: LanguageModel,
    recipe: Recipe,
    step: grpo_device.Step,
    tx: optax.GradientTransformation,
    folder: Path,
    *,
    seed: int,
    problems: grpo_device.Problems | None = None,
    num_steps: int | None = None,
    params: Any = None,
    policy: Callable[[Any], Params] = lambda params: params,
    **options,
) -> Trained:
    """Trains a policy and keeps what an interrupted run needs to go on.

    The questions and the key of a step are functions of its number. So a run that goes on from its
    checkpoint ends with the same bits.

    Args:
      model: the policy that training begins with.
      recipe: the sizes.
      step, tx: from :func:`compile_step` and :func:`make_optimizer`.
      folder: of this run alone.
      seed: of the questions and of the chains.
      problems: what is trained on; None is :func:`questions` of the seed.
      num_steps: fewer than the recipe has; None is all of them.
      params: what is trained, if it is more than the policy.
      policy: the part of it that writes.
      options: of ``loop.fit``, such as ``check``.

    Returns:
      The best and the last policy, with the score of every validation.
    """
    num_steps = num_steps or recipe.num_steps
    start = model.params if params is None else params

    def score(params) -> float:
        path = folder / "scores.jsonl"  # a line for each validation before this one
        place = len(path.read_text().splitlines()) if path.exists() else 0
        of_problems = validate(model._replace(params=policy(params)), recipe)
        resume.save(folder / "validated" / f"{place}.npz", of_problems)
        return float(of_problems.mean())

    fitted = loop.fit_best(
        loop.init_state(jax.tree.map(jnp.copy, start), tx),  # a copy: steps consume their state
        step,
        grpo_device.problem_batches(
            questions(model, recipe, seed) if problems is None else problems,
            jax.random.key(seed),
            recipe.num_prompts,
        ),
        num_steps,
        folder,
        validate=score,
        every=recipe.every,
        log_every=1,
        **options,
    )
    passed = np.diff(read_log(folder)["seconds"])  # a clock that starts again at every validation
    files = [folder / "validated" / f"{place}.npz" for place in range(len(fitted.scores))]
    return Trained(
        params=policy(fitted.best.params),
        last=policy(fitted.last.params),
        scores=np.array([resume.load(file, np.zeros(0)) for file in files]),
        seconds_a_step=np.array(np.median(passed[passed > 0])),
    )


def questions(model: LanguageModel, recipe: Recipe, seed: int) -> grpo_device.Problems:
    """Training questions and their answers as tokens; no reasoning."""
    asked = arithmetic.problems("train", recipe.num_questions, seed=1000 + seed)
    return grpo_device.encode_problems(
        model.tokenizer,
        [prompts.zero_shot_cot(problem.question) for problem in asked],
        [f" {problem.answer}" for problem in asked],
        max_tokens=96,
    )


def read_log(folder: Path) -> dict[str, np.ndarray]:
    """The metrics of a run: name -> ``[S]``, one of each step.

    A run that was killed may have logged steps that it took once more: the last time counts.
    """
    logged = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    rows = list({row["step"]: row for row in logged}.values())
    return {name: np.array([row[name] for row in rows]) for name in rows[-1]}
