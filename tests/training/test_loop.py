"""Training: resumed equals uninterrupted bit for bit, and what can go wrong leaves the older
checkpoint whole.
"""

import functools
import gc
import json
import multiprocessing
import os
import shutil
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROOT, random_params

from jaxreason.errors import InputError
from jaxreason.training import sft
from jaxreason.training.checkpoint import Checkpoints
from jaxreason.training.loop import TrainState, fit, init_state, make_update

# Where a load fails, reads that are still under way in orbax's threads end in a closed event loop,
# or are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", autouse=True)
def what_is_there_already_is_not_looked_through():
    """A collection then takes milliseconds, and there is one after every load."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def leftovers_end_here():
    yield
    gc.collect()


STEPS = 11
TX = optax.adamw(optax.cosine_decay_schedule(0.1, STEPS))


def loss_fn(params, batch):
    x, y = batch
    loss = jnp.mean((jnp.tanh(x @ params["w"]) + params["b"] - y) ** 2)
    return loss, {"loss": loss}


def batch_fn(step):
    rng = np.random.default_rng([7, step])
    x = rng.normal(size=(16, 3)).astype(np.float32)
    return x, np.tanh(x @ np.array([1.0, -2.0, 0.5], np.float32))


UPDATE = make_update(loss_fn, TX)


def fresh(size=3):
    return init_state({"w": jnp.full(size, 0.1), "b": jnp.float32(0.5)}, TX)


def run(directory, batch_fn=batch_fn, num_steps=STEPS, update=UPDATE, **options):
    return fit(
        fresh(),
        update,
        batch_fn,
        num_steps,
        directory,
        **{"save_every": 4, "log_every": 3, **options},
    )


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    return jax.device_get(run(directory)), directory


def steps_on_disk(directory):
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


def test_an_update_is_the_optimisers():
    params, batch = fresh().params, batch_fn(0)

    @jax.jit
    def by_hand(params, batch):
        (loss, _), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params, batch)
        updates, opt_state = TX.update(gradient, TX.init(params), params)
        squares = sum((g**2).sum() for g in jax.tree.leaves(gradient))
        after = TrainState(optax.apply_updates(params, updates), opt_state, jnp.int32(1))
        return after, loss, jnp.sqrt(squares)

    expected, loss, norm = by_hand(params, batch)
    state, metrics = UPDATE(fresh(), batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), state, expected
    )
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-5)


def test_microbatches_of_equal_weight_give_the_gradient_of_the_whole_batch():
    whole, metrics = UPDATE(fresh(), batch_fn(0))
    parts, of_parts = make_update(loss_fn, TX, num_microbatches=4)(fresh(), batch_fn(0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), parts, whole)
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(of_parts[name], metrics[name], rtol=1e-5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, uninterrupted, number):
    def interrupting(step):
        if step == 5:
            os.kill(os.getpid(), number)
        return batch_fn(step)

    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt, match="stopped at step 6"):
        run(tmp_path, interrupting)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert steps_on_disk(tmp_path)[-1] == 6
    asked = []
    state = run(tmp_path, lambda step: asked.append(step) or batch_fn(step))
    assert asked == [6, 7, 8, 9, 10]
    assert_same_bits(jax.device_get(state), uninterrupted[0])

    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    whole = [
        json.loads(line) for line in (uninterrupted[1] / "metrics.jsonl").read_text().splitlines()
    ]
    assert [row["step"] for row in rows] == [3, 4, 6, 8, 9, 11] == [row["step"] for row in whole]
    assert [row["loss"] for row in rows] == [row["loss"] for row in whole]


@pytest.mark.parametrize("at, stopped", [(3, 4), (11, 11)])
def test_a_signal_while_metrics_are_awaited_saves_before_it_ends(
    tmp_path, uninterrupted, at, stopped
):
    class Awaited:
        def __float__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            return 0.0

    def update(state, batch):
        state, metrics = UPDATE(state, batch)
        return state, metrics | ({"awaited": Awaited()} if int(state.step) == at else {})

    options = {"save_every": 4, "log_every": 3}
    with pytest.raises(KeyboardInterrupt, match=f"stopped at step {stopped}"):
        fit(fresh(), update, batch_fn, 11, tmp_path, **options)
    assert steps_on_disk(tmp_path)[-1] == stopped
    assert_same_bits(jax.device_get(run(tmp_path)), uninterrupted[0])


def test_a_crash_goes_on_from_the_last_checkpoint(tmp_path, uninterrupted):
    def crashing(step):
        if step == 6:
            raise RuntimeError("power cut")
        return batch_fn(step)

    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path, crashing)
    assert steps_on_disk(tmp_path) == [4]
    assert_same_bits(jax.device_get(run(tmp_path)), uninterrupted[0])


KILLED_STEPS = 300


def slow_batch_fn(step):
    time.sleep(0.01)
    return batch_fn(step)


def test_killed_at_ten_random_moments_it_reaches_the_same_bits(tmp_path, monkeypatch):
    """SIGKILL, which no program can catch, some of them in the middle of writing a checkpoint."""
    directory, rng, saved = tmp_path / "killed", np.random.default_rng(0), 0
    folders = ROOT, ROOT / "tests", ROOT / "tests" / "training"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, folders)))
    # All ten are forked from one process that has imported everything, and computed nothing yet.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for _ in range(10):
        process = context.Process(target=run, args=(directory, slow_batch_fn, KILLED_STEPS))
        process.start()
        while process.is_alive() and not any(
            int(path.name) > saved for path in checkpoints_in(directory)
        ):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        saved = max(int(path.name) for path in checkpoints_in(directory))
    assert saved < KILLED_STEPS
    resumed, whole = (
        run(folder, num_steps=KILLED_STEPS, save_every=KILLED_STEPS)
        for folder in (directory, tmp_path / "whole")
    )
    assert_same_bits(resumed, whole)


def checkpoints_in(directory):
    """The folders of whole checkpoints, which bear the number of their step."""
    return [path for path in directory.glob("*") if path.name.isdecimal()]


def test_a_finished_run_is_not_repeated(uninterrupted):
    def never(step):
        raise AssertionError("no batch is needed")

    state, directory = uninterrupted
    assert_same_bits(jax.device_get(run(directory, never)), state)


def test_at_most_two_checkpoints_are_kept(uninterrupted):
    assert steps_on_disk(uninterrupted[1]) == [8, 11]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_older_checkpoint(tmp_path, uninterrupted):
    def poisoned(step):
        x, y = batch_fn(step)
        return x, y if step < 6 else y * np.nan

    with pytest.raises(FloatingPointError, match=r"loss is nan at step 8: .*step 4 is saved"):
        run(tmp_path, poisoned, log_every=100)
    assert steps_on_disk(tmp_path) == [4]
    assert_same_bits(jax.device_get(run(tmp_path)), uninterrupted[0])


def test_a_gradient_that_is_not_finite_is_not_saved(tmp_path):
    """At x = 0 the loss, the root of p^2 x, is 0 and finite; its slope is not."""
    update = make_update(
        lambda p, x: (loss := jnp.sqrt(p * p * x).sum(), {"loss": loss}), tx := optax.sgd(0.1)
    )
    for _ in range(2):  # run again, it goes on from what was saved
        with pytest.raises(
            FloatingPointError, match=r"grad_norm is nan at step 4: .*step 2 is saved"
        ):
            fit(
                init_state(jnp.ones(1), tx),
                update,
                lambda step: jnp.float32(step != 3),
                6,
                tmp_path,
                save_every=2,
            )
    assert steps_on_disk(tmp_path) == [2]


def test_no_checkpoint_is_an_input_error(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest_step is None
    with pytest.raises(InputError, match="no checkpoint in") as error:
        checkpoints.restore(fresh())
    assert str(tmp_path) in str(error.value)
    checkpoints.close()


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, fresh())
    checkpoints.save(2, fresh()._replace(step=jnp.int32(2)))
    checkpoints.close()
    return tmp_path


def refused(directory, like):
    with pytest.raises(InputError) as error:
        fit(like, UPDATE, batch_fn, STEPS, directory)
    message = str(error.value)
    assert (
        "\n" not in message and str(directory / "2") in message and "cannot be restored" in message
    )


def test_a_checkpoint_restores_bit_for_bit_random_keys_included(tmp_path):
    state = {
        "params": random_array(0),
        "half": random_array(1).astype(jnp.bfloat16),
        "key": jax.random.key(3),
    }
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, state)
    restored = checkpoints.restore(
        jax.tree.map(jnp.zeros_like, state | {"key": None}) | {"key": jax.random.key(0)}
    )
    checkpoints.close()
    assert (jax.random.key_data(restored.pop("key")) == jax.random.key_data(state.pop("key"))).all()
    assert_same_bits(restored, state)


def random_array(seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(4, 5)), jnp.float32)


def test_a_truncated_file_is_refused_or_was_not_needed(saved):
    """Every file of a checkpoint in turn, cut to half: never a wrong number, and the arrays' own
    file is refused.
    """
    refusals = []
    for file in [path for path in (saved / "2").rglob("*") if path.is_file()]:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        checkpoints = Checkpoints(saved)
        try:
            assert_same_bits(checkpoints.restore(fresh()), fresh()._replace(step=jnp.int32(2)))
        except InputError as error:
            assert "\n" not in str(error) and str(saved / "2") in str(error)
            refusals.append(file.parent.relative_to(saved).as_posix())
        checkpoints.close()
        file.write_bytes(content)
    assert "2/state/d" in refusals and len(refusals) >= 3


def test_the_older_checkpoint_takes_over_when_the_damaged_one_is_deleted(saved):
    shutil.rmtree(saved / "2")
    checkpoints = Checkpoints(saved)
    assert checkpoints.latest_step == 1
    assert_same_bits(checkpoints.restore(fresh()), fresh())
    checkpoints.close()


def test_a_checkpoint_of_another_model_is_refused(saved):
    refused(saved, fresh(size=4))


def test_a_checkpoint_of_another_optimiser_is_refused(saved):
    params = fresh().params
    refused(saved, init_state(params, optax.sgd(0.1)))


def test_the_tiny_decoder_learns_what_is_predictable(cfg, tmp_path):
    """The next token is the last one plus one: 60 steps take the loss from above log(20) to below
    0.1.
    """
    cfg = cfg.__class__(**{**cfg.__dict__, "vocab_size": 20})
    tx = optax.adam(1e-2)

    def batch_fn(step):
        starts = np.random.default_rng(step).integers(0, 20, 16)
        documents = [
            sft.Document((start + np.arange(8)) % 20, np.ones(8, np.float32)) for start in starts
        ]
        return sft.pack(documents, rows=8, length=16, pad_id=0)

    update = make_update(functools.partial(sft.sft_loss, cfg=cfg), tx)
    fit(
        init_state(random_params(cfg), tx),
        update,
        batch_fn,
        60,
        tmp_path,
        save_every=100,
        log_every=1,
    )
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert (
        rows[0]["loss"] > np.log(20) and rows[-1]["loss"] < 0.1 and rows[-1]["token_accuracy"] == 1
    )
