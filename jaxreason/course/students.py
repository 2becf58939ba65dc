"""Students that learn until a budget of FLOPs is spent, so that ways of learning can be compared.

A step *draws* what it learns from and says what that costs. :func:`from_texts` takes written
examples; :func:`from_rewards` and :func:`from_own_texts` let the student write. :func:`learn_all`
trains a student of each method and keeps what an interrupted run needs to go on.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm.auto import tqdm

from jaxreason import resume
from jaxreason.decoding.rollout import Rollout, generate
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.evaluation.flops import forward_flops, rollout_flops, training_flops
from jaxreason.models.decoder import Params
from jaxreason.models.hf import LanguageModel
from jaxreason.training import distill, loop, sft
from jaxreason.training.grpo import Objective
from jaxreason.training.grpo_batch import GroupBatch, make_batch
from jaxreason.training.grpo_device import Problems, take
from jaxreason.training.token_rewards import exact_match

# (params, step) -> (what the step learns from, FLOPs of drawing it and learning from it)
Draw = Callable[[Params, int], tuple[Any, float]]
ROWS, LENGTH = 8, 256  # of a packed batch of texts
GROUPS = 16  # problems that the student writes to in a step


def from_texts(
    student: LanguageModel,
    traces: Sequence[distill.Trace],
    *,
    read_by: LanguageModel | None = None,
) -> Callable[[int], Draw]:
    """By seed: written examples, eight packed rows of 256 tokens a step.

    Args:
      student: who learns.
      traces: prompts and completions; the loss is on the completions.
      read_by: a teacher that reads them too.
    """
    prompts, completions = zip(*traces, strict=True)
    documents = sft.encode_pairs(student.tokenizer, prompts, completions, LENGTH)
    pad_id = student.tokenizer.pad_token_id

    def of_seed(seed: int) -> Draw:
        batch_fn = distill.trace_batches(documents, ROWS, LENGTH, pad_id, seed=seed)

        def draw(params: Params, step: int) -> tuple[sft.Batch, float]:
            batch = batch_fn(step)
            context = np.asarray(batch.positions + 1)[batch.segment_ids > 0]  # that each token sees
            flops = training_flops(student.cfg, context)
            if read_by is not None:
                flops = flops + float(np.sum(forward_flops(read_by.cfg, context)))
            return batch, flops

        return draw

    return of_seed


def from_rewards(
    student: LanguageModel, problems: Problems, objective: Objective, max_new_tokens: int
) -> Callable[[int], Draw]:
    """By seed: eight chains of the student to each of 16 problems, rewarded for the exact answer.

    Args:
      student: who writes and learns.
      problems: from ``grpo_device.encode_problems``.
      objective: of GRPO.
      max_new_tokens: of a chain.
    """
    reward = jax.jit(exact_match(student.tokenizer))

    def rewarded(some: Problems, rollout: Rollout) -> GroupBatch:
        rewards = reward(rollout, some.answer)
        return make_batch(some.prompt, rollout, rewards, None, objective=objective)[0]

    return functools.partial(
        _own_draw, student, problems, rewarded, chains=8, max_new_tokens=max_new_tokens
    )


def from_own_texts(
    student: LanguageModel, problems: Problems, teacher: LanguageModel, max_new_tokens: int
) -> Callable[[int], Draw]:
    """By seed: two chains of the student to each of 16 problems, as it wrote them.

    Args:
      student, problems, max_new_tokens: as for :func:`from_rewards`.
      teacher: that reads the chains.
    """

    def as_written(some: Problems, rollout: Rollout) -> distill.Samples:
        return distill.Samples(some.prompt, rollout.tokens, rollout.mask)

    return functools.partial(
        _own_draw,
        student,
        problems,
        as_written,
        chains=2,
        max_new_tokens=max_new_tokens,
        read_by=teacher,
    )


def _own_draw(
    student: LanguageModel,
    problems: Problems,
    make: Callable[[Problems, Rollout], Any],
    seed: int,
    *,
    chains: int,
    max_new_tokens: int,
    read_by: LanguageModel | None = None,
) -> Draw:
    """Chains cost one pass to draw and three to learn from; a teacher may read them too."""
    stop = compile_stop(student.tokenizer)
    order = np.random.default_rng(seed).permutation(len(problems.answer))
    shuffled = jax.tree.map(lambda x: x[order], problems)

    def draw(params: Params, step: int) -> tuple[Any, float]:
        some = take(shuffled, step, GROUPS)
        rollout = generate(
            params,
            jax.random.fold_in(jax.random.key(seed), step),
            some.prompt,
            stop,
            cfg=student.cfg,
            sampler=Sampler(),
            max_new_tokens=max_new_tokens,
            num_samples=chains,
        )
        prompt_tokens = some.prompt.mask.sum(-1)
        chain_tokens = np.asarray(rollout.mask.sum(-1))
        flops = 4 * float(np.sum(rollout_flops(student.cfg, prompt_tokens, chain_tokens)))
        if read_by is not None:
            flops += float(np.sum(rollout_flops(read_by.cfg, prompt_tokens, chain_tokens)))
        return make(some, rollout), flops

    return draw


class Method(NamedTuple):
    """A way to learn."""

    draw: Callable[[int], Draw]  # by seed, such as from_texts makes it
    update: Callable  # (state, batch) -> (state, metrics), with the optimiser of make_optimizer
    peak: float  # learning rate


class Learning(NamedTuple):
    """A student on its way: all that is needed to go on."""

    state: loop.TrainState
    quarters: tuple  # the parameters after each quarter; those of the start where it is yet to come
    spent: np.ndarray  # [4] FLOPs at each quarter, 0 before
    flops: np.ndarray  # [] so far
    seconds: np.ndarray  # [] so far


def make_optimizer() -> optax.GradientTransformation:
    """Adam with clipped gradients, whose learning rate is set before every step."""
    make = optax.inject_hyperparams(
        lambda learning_rate: optax.chain(
            optax.clip_by_global_norm(1.0), optax.adam(learning_rate, b2=0.95)
        )
    )
    return make(learning_rate=0.0)


def learn_all(
    student: LanguageModel,
    methods: Mapping[str, Method],
    seeds: list[int],
    optimizer: optax.GradientTransformation,
    budget: float,
    folder: Path,
) -> dict[tuple[str, int], Learning]:
    """A student of every method and seed, each with its whole budget spent.

    The learning rate follows the share of the budget: up within the first twentieth, then down to a
    tenth. Two students learn at a time: such small matrices keep one core busy each. At every
    quarter, and when Ctrl-C stops it, a student is saved, and goes on from there in the next run.

    Args:
      student: where all of them begin.
      methods: by name.
      seeds: of a student of each.
      optimizer: from :func:`make_optimizer`.
      budget: FLOPs of each student.
      folder: where they are kept.

    Returns:
      ``(name, seed)`` -> the student.

    Raises:
      KeyboardInterrupt: Ctrl-C or SIGTERM; all students are saved.
    """
    students = [(name, seed) for name in methods for seed in seeds]

    def learn(of: tuple[str, int]) -> Learning | None:
        name, seed = of
        return _learn(
            _begin(student, optimizer),
            methods[name],
            methods[name].draw(seed),
            budget,
            folder / f"{name}-{seed}.npz",
            bar,
            stopped_by,
        )

    with (
        loop.stopping() as stopped_by,
        tqdm(
            total=len(students) * budget / 1e9,
            desc="students",
            unit="GFLOP",
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}",
        ) as bar,
        ThreadPoolExecutor(2) as two,
    ):
        learned = dict(zip(students, two.map(learn, students), strict=True))
    if stopped_by:
        raise KeyboardInterrupt(f"stopped; {resume.again(folder)}")
    return {of: at for of, at in learned.items() if at is not None}


def _begin(student: LanguageModel, optimizer: optax.GradientTransformation) -> Learning:
    params = jax.tree.map(jnp.copy, student.params)  # a copy: updates consume their state
    return Learning(
        state=loop.init_state(params, optimizer),
        quarters=(student.params,) * 4,
        spent=np.zeros(4),
        flops=np.zeros(()),
        seconds=np.zeros(()),
    )


def _learn(
    at: Learning,
    method: Method,
    draw: Draw,
    budget: float,
    path: Path,
    bar: tqdm,
    stopped_by: list[int],
) -> Learning | None:
    """The student with its whole budget spent; None if it was stopped."""
    if path.exists():
        at = resume.load(path, at)
        bar.update(min(float(at.flops), budget) / 1e9)
    step, began = int(at.state.step), time.perf_counter() - float(at.seconds)
    while not at.spent[-1]:
        if stopped_by:
            resume.save(path, at._replace(seconds=np.array(time.perf_counter() - began)))
            return None
        left = max(0.0, budget - float(at.flops))
        done = float(at.flops) / budget  # share of the budget
        rate = method.peak * min(0.1 + 20 * done, 1 - 0.9 * done)
        batch, cost = draw(at.state.params, step)
        state, _ = method.update(_at_rate(at.state, rate), batch)
        bar.update(min(cost, left) / 1e9)
        at, step = at._replace(state=state, flops=at.flops + cost), step + 1
        if at.flops >= budget * (np.count_nonzero(at.spent) + 1) / 4:
            at = _end_quarter(at)._replace(seconds=np.array(time.perf_counter() - began))
            resume.save(path, at)
    return at


def _at_rate(state: loop.TrainState, learning_rate: float) -> loop.TrainState:
    """The state with this learning rate for its next update."""
    rate = {"learning_rate": jnp.float32(learning_rate)}
    return state._replace(opt_state=state.opt_state._replace(hyperparams=rate))


def _end_quarter(at: Learning) -> Learning:
    """Keeps a copy of the student, and what it has cost so far."""
    quarter = np.count_nonzero(at.spent)
    quarters, spent = list(at.quarters), at.spent.copy()
    quarters[quarter] = jax.tree.map(jnp.copy, at.state.params)
    spent[quarter] = at.flops
    return at._replace(quarters=tuple(quarters), spent=spent)
