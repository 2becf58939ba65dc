"""Training: a state, an update made from any loss, and a loop that logs, saves and resumes."""

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm.auto import tqdm

from jaxreason.checkpoint import Checkpoints


class TrainState(NamedTuple):
    """All that training needs to go on; batches are a function of ``step``, so this is the data cursor too."""

    params: Any
    opt_state: optax.OptState
    step: jax.Array  # [] int32


def init_state(params, tx: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(params, tx.init(params), jnp.int32(0))


def make_step(loss_fn: Callable, tx: optax.GradientTransformation, num_microbatches: int = 1) -> Callable:
    """``step(state, batch) -> (state, metrics)``, to be jitted, alone or inside of something larger.

    Args:
      loss_fn: ``(params, batch) -> (loss, metrics)``.
      tx: any optax optimiser.
      num_microbatches: M; the rows of the batch are split into M equal parts, one after the other, and gradients and metrics
        are the means over the parts. It bounds memory, and keeps the activations of small models in a CPU's cache.
    """
    grad_fn = jax.grad(loss_fn, has_aux=True)

    def mean_grads(params, batch):
        if num_microbatches == 1:
            return grad_fn(params, batch)
        parts = jax.tree.map(lambda x: x.reshape(num_microbatches, -1, *x.shape[1:]), batch)
        first = jax.eval_shape(grad_fn, params, jax.tree.map(lambda x: x[0], parts))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), first)
        total, _ = jax.lax.scan(
            lambda total, part: (jax.tree.map(jnp.add, total, grad_fn(params, part)), None), zeros, parts
        )
        return jax.tree.map(lambda x: x / num_microbatches, total)

    def step(state: TrainState, batch) -> tuple[TrainState, dict[str, jax.Array]]:
        grads, metrics = mean_grads(state.params, batch)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = metrics | {"grad_norm": optax.tree.norm(grads)}
        return TrainState(params, opt_state, state.step + 1), metrics

    return step


def make_update(loss_fn: Callable, tx: optax.GradientTransformation, num_microbatches: int = 1) -> Callable:
    """:func:`make_step`, jitted, the old state donated."""
    return jax.jit(make_step(loss_fn, tx, num_microbatches), donate_argnums=0)


def fit(
    state: TrainState,
    update: Callable,
    batch_fn: Callable[[int], Any],
    num_steps: int,
    directory: str | Path,
    *,
    save_every: int = 200,
    log_every: int = 20,
    description: str = "train",
    check: Callable[[dict[str, float]], None] | None = None,
) -> TrainState:
    """Runs ``update`` on ``batch_fn(step)`` up to ``num_steps``, resuming from ``directory`` if it holds a checkpoint.

    Ctrl-C and SIGTERM save before they end the program; running again goes on from there, and reaches the same bits as
    a run without the interruption. Metrics go to ``metrics.jsonl`` beside the checkpoints, and to ``check``, which may raise.

    Raises:
      FloatingPointError: the loss is not finite; the last checkpoint from before stays on disk.
      InputError: the checkpoint found cannot be restored.
    """
    directory = Path(directory)
    checkpoints = Checkpoints(directory)
    if checkpoints.latest_step not in (None, int(state.step)):  # else it is the state of an earlier call, at hand still
        state = checkpoints.restore(state)
    start = int(state.step)
    stopped_by: list[int] = []  # signals are acted on between steps, when the state is whole
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no signals
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, lambda number, _: stopped_by.append(number))
    try:
        with (
            (directory / "metrics.jsonl").open("a") as log,
            tqdm(total=num_steps, initial=start, desc=description, unit="step", mininterval=1.0) as bar,
        ):
            began = time.perf_counter()
            for step in range(start + 1, num_steps + 1):
                state, metrics = update(state, batch_fn(step - 1))
                bar.update()
                save = step % save_every == 0 or step == num_steps or bool(stopped_by)
                if save or step % log_every == 0:
                    row = {name: float(value) for name, value in metrics.items()}
                    if not np.isfinite(row["loss"]):
                        raise FloatingPointError(
                            f"loss is {row['loss']} at step {step}: lower the learning rate; "
                            f"step {checkpoints.latest_step} is saved in {directory}"
                        )
                    seconds = round(time.perf_counter() - began, 2)
                    log.write(json.dumps({"step": step, "seconds": seconds, **row}) + "\n")
                    log.flush()
                    if check is not None:
                        check(row)
                    bar.set_postfix(loss=f"{row['loss']:.3f}")
                if save:
                    checkpoints.save(step, state)
                if stopped_by:
                    raise KeyboardInterrupt(f"stopped at step {step}; run again to go on")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        checkpoints.close()
    return state


class Fitted(NamedTuple):
    best: TrainState  # that scored highest, the first of equals
    last: TrainState
    scores: list[tuple[int, float]]  # (step, score)


def fit_best(
    state: TrainState,
    update: Callable,
    batch_fn: Callable[[int], Any],
    num_steps: int,
    directory: str | Path,
    *,
    validate: Callable[[Any], float],
    every: int,
    **options,
) -> Fitted:
    """:func:`fit` with ``validate(params)`` before the first step and after every ``every`` steps.

    Interrupted and run again, it goes on: scores lie in ``scores.jsonl``, the best state under ``best/``.
    """
    directory, best = Path(directory), Checkpoints(Path(directory) / "best", keep=1)
    path = directory / "scores.jsonl"
    scores = [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
    try:
        for step in range(0, num_steps + 1, every):
            if step:
                state = fit(state, update, batch_fn, step, directory, save_every=every, **options)
            if step < len(scores) * every:
                continue
            score = validate(state.params)
            if not scores or score > max(value for _, value in scores):
                best.save(step, state)
            scores.append((step, score))
            with path.open("a") as file:
                file.write(json.dumps(scores[-1]) + "\n")
        return Fitted(best.restore(state), state, scores)
    finally:
        best.close()
