"""Training: a state, an update made from any loss, and a loop that logs, saves and resumes."""

import contextlib
import functools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from jax.sharding import Mesh
from tqdm.auto import tqdm

from jaxreason import resume
from jaxreason.errors import InputError
from jaxreason.hosts import check_lost, is_first, preempted
from jaxreason.mesh import constrain, in_mesh, mesh_of, row_sharding, shard_batch, shard_params
from jaxreason.models.precision import check_float
from jaxreason.progress import progress_bar
from jaxreason.training.checkpoint import Checkpoints


class TrainState(NamedTuple):
    """All that training needs to go on.

    Batches are a function of ``step``, so this says which data come next too.
    """

    params: Any
    opt_state: optax.OptState
    step: jax.Array  # [] int32


def init_state(params: Any, tx: optax.GradientTransformation) -> TrainState:
    """The state before the first step; on the mesh that the parameters lie on, cut as they are.

    Raises:
      InputError: the parameters are int8.
    """
    check_float(params, "training")
    mesh = mesh_of(params)
    if mesh is None:
        return TrainState(params, tx.init(params), jnp.int32(0))
    # Inside of jit the moments are never whole on one device.
    opt_state = jax.jit(lambda params: constrain(tx.init(params), mesh))(params)
    return TrainState(params, opt_state, shard_params(jnp.int32(0), mesh))


def muon(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024) on the layers' matrices, scaled to AdamW's size of update, Adam
    elsewhere; norm clipped at 1.
    """
    stacked = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)  # [L, in, out]

    def matrices(params):
        return jax.tree.map(lambda x: stacked if x.ndim == 3 else None, params)

    update = optax.contrib.muon(
        learning_rate,
        weight_decay=0.05,
        adam_b2=0.95,
        muon_weight_dimension_numbers=matrices,
        consistent_rms=0.2,
    )
    return optax.chain(optax.clip_by_global_norm(1.0), update)


def make_step(
    loss_fn: Callable,
    tx: optax.GradientTransformation,
    num_microbatches: int = 1,
    mesh: Mesh | None = None,
    grad_fn: Callable | None = None,
) -> Callable:
    """``step(state, batch, *frozen) -> (state, metrics)``, to be jitted, alone or inside of
    something larger.

    Args:
      loss_fn: ``(params, batch, *frozen) -> (loss, metrics)``, differentiated by ``params``.
      tx: any optax optimiser.
      num_microbatches: M; the rows of the batch are split into M equal parts, one after the other,
        and gradients and metrics are the means over the parts. It bounds memory, and keeps the
        activations of small models in a CPU's cache.
      mesh: where state and batch lie, if not on one device.
      grad_fn: a faster ``jax.grad(loss_fn, has_aux=True)``, if there is one.
    """
    grad_fn = grad_fn or jax.grad(loss_fn, has_aux=True)

    def mean_grads(params, batch, *frozen):
        if num_microbatches == 1:
            return grad_fn(params, batch, *frozen)
        parts = jax.tree.map(lambda x: x.reshape(num_microbatches, -1, *x.shape[1:]), batch)
        if mesh is not None:  # every device takes part in each of them
            parts = jax.lax.with_sharding_constraint(parts, row_sharding(mesh, axis=1))

        def add(total, part):
            return jax.tree.map(jnp.add, total, grad_fn(params, part, *frozen)), None

        first_part = jax.tree.map(lambda x: x[0], parts)
        shapes = jax.eval_shape(grad_fn, params, first_part, *frozen)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        total, _ = jax.lax.scan(add, zeros, parts)
        return jax.tree.map(lambda x: x / num_microbatches, total)

    def step(state: TrainState, batch, *frozen) -> tuple[TrainState, dict[str, jax.Array]]:
        grads, metrics = mean_grads(state.params, batch, *frozen)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = metrics | {"grad_norm": optax.tree.norm(grads)}
        return constrain(TrainState(params, opt_state, state.step + 1), mesh), metrics

    return step


def make_update(
    loss_fn: Callable, tx: optax.GradientTransformation, num_microbatches: int = 1, *frozen: Any
) -> Callable:
    """:func:`make_step`, jitted: ``update(state, batch) -> (state, metrics)``, the old state
    donated.

    Where the parameters lie on a mesh, the rows of the batch are cut among its devices; gradients
    and metrics are those of the whole batch.

    Args:
      loss_fn, tx, num_microbatches: as there.
      frozen: what the loss takes behind the batch, such as the weights under an adapter or a
        teacher's. A loss that closed over them would make them constants of the compiled program,
        which XLA copies several times over.
    """

    @functools.partial(jax.jit, static_argnames="mesh", donate_argnums=0)
    def jitted(state: TrainState, batch, *frozen, mesh: Mesh | None):
        return make_step(loss_fn, tx, num_microbatches, mesh)(state, batch, *frozen)

    def update(state: TrainState, batch) -> tuple[TrainState, dict[str, jax.Array]]:
        mesh = mesh_of(state.params)
        with in_mesh(mesh):
            return jitted(state, shard_batch(batch, mesh), *frozen, mesh=mesh)

    return update


@contextlib.contextmanager
def stopping() -> Iterator[list[int]]:
    """Collects Ctrl-C and SIGTERM in the list it yields, to be acted on when the state is whole.

    In other threads than the main one Python takes no signals. Of several processes JAX itself
    takes SIGTERM, so that all stop at one step.
    """
    stopped_by: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, lambda number, _: stopped_by.append(number))
    try:
        yield stopped_by
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


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
    """Trains up to ``num_steps``, going on from the checkpoint in ``directory`` if there is one.

    Ctrl-C and SIGTERM save before they end the program. Run again, it goes on from there and
    reaches the same bits as a run without the interruption.

    Several processes (:mod:`jaxreason.mesh`) all call it alike, with a directory that they share:
    each writes its part of a checkpoint. It can be resumed on another mesh, or on one device: the
    state lies where the one given lies.

    Args:
      state: from :func:`init_state`; its structure and place are those of what is restored.
      update: ``(state, batch) -> (state, metrics)``, from :func:`make_update`.
      batch_fn: the batch of step 0, 1, ...; a function of the step alone.
      num_steps: in all, those before a resume included.
      directory: of the checkpoints, with ``metrics.jsonl`` beside them.
      save_every, log_every: in steps.
      description: of the progress bar.
      check: is given the metrics of every step that is logged, and may raise.

    Returns:
      The state after ``num_steps``.

    Raises:
      FloatingPointError: the loss or the norm of its gradient is not finite; the last checkpoint
        from before stays on disk.
      HostLost: another process ended.
      InputError: the checkpoint found cannot be restored.
      KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved.
    """
    directory = Path(directory)
    checkpoints = Checkpoints(directory)
    # A checkpoint of this very step is the state of an earlier call, at hand still.
    if checkpoints.latest_step not in (None, int(state.step)):
        state = checkpoints.restore(state)
    start = int(state.step)
    lost = False
    try:
        with (
            stopping() as stopped_by,  # acted on between steps, when the state is whole
            _open_log(directory) as log,
            _progress(start, num_steps, description) as bar,
        ):
            began = time.perf_counter()
            for step in range(start + 1, num_steps + 1):
                state, metrics = update(state, batch_fn(step - 1))
                bar.update()
                if preempted(step):
                    stopped_by.append(signal.SIGTERM)
                # Asked once: waiting for the metrics takes most of a step, and a signal that comes
                # meanwhile is for the next one, or else the program would end without having saved.
                stop = bool(stopped_by)
                save = step % save_every == 0 or step == num_steps or stop
                if save or step % log_every == 0:
                    row = {name: float(value) for name, value in metrics.items()}
                    _check_finite(row, step, checkpoints)
                    seconds = round(time.perf_counter() - began, 2)
                    log.write(json.dumps({"step": step, "seconds": seconds, **row}) + "\n")
                    log.flush()
                    if check is not None:
                        check(row)
                    bar.set_postfix(loss=f"{row['loss']:.3f}")
                if save:
                    checkpoints.save(step, state)
                if stop or (stopped_by and step == num_steps):
                    raise KeyboardInterrupt(f"stopped at step {step}; {resume.again(directory)}")
    except jax.errors.JaxRuntimeError as error:
        lost = jax.process_count() > 1
        check_lost(
            error,
            f"after step {checkpoints.latest_step or 0} was saved in {directory}; run again to go "
            "on from there, on the hosts that are left if need be",
        )
        raise
    finally:
        if not lost:  # or else it would wait for the other process
            checkpoints.close()
    return state


def _open_log(directory: Path) -> TextIO:
    """``metrics.jsonl``, to append to; only the first process writes one."""
    return Path(directory / "metrics.jsonl" if is_first() else os.devnull).open("a")


def _progress(start: int, num_steps: int, description: str) -> tqdm:
    """A bar over the steps, shown by the first process."""
    return progress_bar(
        total=num_steps,
        initial=start,
        description=description,
        unit="step",
        mininterval=1.0,
        disable=not is_first(),
    )


def _check_finite(row: dict[str, float], step: int, checkpoints: Checkpoints) -> None:
    """Refuses to go on, and so to save, with weights that are no numbers.

    The loss is that of the parameters before the update; a gradient that is not finite spoils those
    after it.
    """
    for name in ("loss", "grad_norm"):
        if not np.isfinite(row.get(name, 0.0)):
            raise FloatingPointError(
                f"{name} is {row[name]} at step {step}: lower the learning rate; "
                f"step {checkpoints.latest_step} is saved in {checkpoints.directory}"
            )


class Fitted(NamedTuple):
    """What :func:`fit_best` found."""

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
    """:func:`fit` with a validation before the first step and after every ``every`` steps.

    Interrupted and run again, it goes on: scores lie in ``scores.jsonl``, the best state under
    ``best/``.

    Args:
      state, update, batch_fn, num_steps, directory, options: as there.
      validate: ``(params) -> score``, the higher the better.
      every: steps between validations; they are saved as often.

    Raises:
      InputError: ``num_steps`` is no multiple of ``every``; and what ``fit`` raises.
    """
    if every < 1 or num_steps % every:
        raise InputError(
            f"num_steps is {num_steps}, every {every}: expected a multiple, so that the last step "
            "is validated"
        )
    directory = Path(directory)
    best = Checkpoints(directory / "best", keep=1)
    path = directory / "scores.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    scores = [tuple(json.loads(line)) for line in lines]
    try:
        for step in range(0, num_steps + 1, every):
            if step > 0:
                state = fit(state, update, batch_fn, step, directory, save_every=every, **options)
            if step < len(scores) * every:  # scored before an interruption
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
