"""Two processes of four devices each, on loopback: what they compute, how they stop, and what is
left when one is killed.
"""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_params, with_devices

from jaxreason import GREEDY, complete, load_model, save_model
from jaxreason.hosts import HostLost, initialize
from jaxreason.mesh import make_mesh, shard_batch
from jaxreason.training.loop import fit, init_state, make_update
from jaxreason.training.sft import Document, pack, sft_loss

ROOT = Path(__file__).parent.parent
STEPS, STOP_AT, KILL_AT = 13, 3, 11
QUESTIONS = [
    f"Tom has {n} apples. Tom buys 3 bags of 7. How many apples does Tom have now?"
    for n in range(40, 45)
]
TX = optax.adamw(1e-3)

# Imports take longer than what the hosts do: they are forked when those are over.
PROGRAM = """
import sys
import test_distributed as t
t.fork_hosts(sys.argv[1])
"""


def batch_fn(step: int, rows: slice = slice(None)):
    """16 rows; all have the same number of weights, so that the mean over a part of them has a
    meaning.
    """
    rng = np.random.default_rng([5, step])
    documents = (
        Document(rng.integers(1, 9, 24).astype(np.int32), np.ones(24, np.float32))
        for _ in range(16)
    )
    return jax.tree.map(lambda x: x[rows], pack(documents, 16, 24, 0))


@functools.lru_cache
def update_of(cfg):
    return make_update(functools.partial(sft_loss, cfg=cfg), TX)


def train(model, directory, batch_fn=batch_fn):
    state = init_state(model.params, TX)
    return fit(state, update_of(model.cfg), batch_fn, STEPS, directory, save_every=5, log_every=1)


def fork_hosts(directory: str) -> None:
    """Runs :func:`host` in two processes; leaves the stderr and the exit status of each."""
    pids = []
    for i in range(2):
        pid = os.fork()
        if pid == 0:
            error = os.open(f"{directory}/error{i}.txt", os.O_WRONLY | os.O_CREAT)
            os.dup2(error, sys.stderr.fileno())
            os.environ["JAX_PROCESS_ID"] = str(i)
            initialize(heartbeat_seconds=10)
            host(directory, make_mesh("data=4,model=2"))
            return
        pids.append(pid)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    Path(directory, "statuses.json").write_text(json.dumps(statuses))


def host(directory: str, mesh) -> None:
    """What each of the processes runs: chains, training until one is told to stop, training again
    until one is killed.
    """
    me, model = jax.process_index(), load_model(f"{directory}/model", mesh=mesh)
    assert jax.process_count() == 2 and jax.device_count() == 8 and len(jax.local_devices()) == 4
    texts = complete(model, jax.random.key(0), QUESTIONS, sampler=GREEDY, max_new_tokens=24).texts
    Path(directory, f"texts{me}.json").write_text(json.dumps(texts))

    def stopped(step):
        if step == STOP_AT - 1 and me == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if step >= STOP_AT:
            time.sleep(
                0.5
            )  # a step takes milliseconds, news of the signal more than that on a busy machine
        return shard_batch(batch_fn(step, slice(8 * me, 8 * me + 8)), mesh, local=True)

    def killed(step):
        if step == KILL_AT - 1 and me == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch_fn(step)  # the whole, cut by the update

    fresh = jax.tree.map(jnp.copy, model.params)  # training takes over what it is given
    try:
        train(model, f"{directory}/run", batch_fn=stopped)
    except KeyboardInterrupt as interrupt:
        Path(directory, f"stopped{me}.txt").write_text(str(interrupt))
    train(model._replace(params=fresh), f"{directory}/run", batch_fn=killed)


@contextlib.contextmanager
def hosts(directory: Path) -> Iterator[Callable[[], list[tuple[int, str]]]]:
    """Starts both processes; the function waits for them: exit status and stderr of each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = with_devices(4) | {
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(directory)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )

    def ended() -> list[tuple[int, str]]:
        process.wait(timeout=600)
        errors = [(directory / f"error{i}.txt").read_text() for i in range(2)]
        statuses = json.loads((directory / "statuses.json").read_text())
        return list(zip(statuses, errors, strict=True))

    try:
        yield ended
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def model(cfg, tokenizer, tmp_path):
    """Of one layer, saved where the processes find it."""
    shallow = dataclasses.replace(cfg, num_hidden_layers=1)
    save_model(tmp_path / "model", random_params(shallow), shallow, tokenizer)
    return load_model(str(tmp_path / "model"))


def losses(directory: Path) -> list[float]:
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(
        range(rows[0]["step"], rows[0]["step"] + len(rows))
    )  # none twice
    return [row["loss"] for row in rows]


def test_two_hosts_are_one_device_and_one_goes_on_without_the_other(tmp_path, model):
    with hosts(tmp_path) as ended:  # which wait for one another, for heartbeats even in seconds
        train(model._replace(params=jax.tree.map(jnp.copy, model.params)), tmp_path / "whole")
        alone = complete(
            model, jax.random.key(0), QUESTIONS, sampler=GREEDY, max_new_tokens=24
        ).texts
        (status, error), (killed, _) = ended()
    one_device, run = losses(tmp_path / "whole"), tmp_path / "run"
    texts = [json.loads((tmp_path / f"texts{i}.json").read_text()) for i in range(2)]
    assert texts[0] == texts[1] == alone

    # One was told to stop: both did, at the same step, and saved.
    messages = [(tmp_path / f"stopped{i}.txt").read_text() for i in range(2)]
    assert (
        messages[0] == messages[1] and STOP_AT <= int(messages[0].split()[3].rstrip(";")) < KILL_AT
    ), messages

    # They went on, up to where one was killed. The other waits for it in the middle of a step,
    # where only JAX's heartbeat can end it.
    assert killed == -signal.SIGKILL
    assert (
        status != 0
        and "indicates that another task died" in error
        and "stopped sending heartbeats" in error
    ), error
    together = losses(run)
    assert KILL_AT - 1 <= len(together) < STEPS
    np.testing.assert_allclose(together, one_device[: len(together)], rtol=1e-5)

    # This process goes on alone, from the parts that both wrote.
    train(model, run)
    rows = {
        row["step"]: row["loss"]
        for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    }
    assert sorted(rows) == list(range(1, STEPS + 1))
    np.testing.assert_allclose([rows[step] for step in range(1, STEPS + 1)], one_device, rtol=1e-5)


def test_an_error_of_the_way_to_another_process_says_how_to_go_on(monkeypatch, tmp_path):
    """Where the network tells at once, there is no need to wait for a heartbeat."""

    def update(state, batch):
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        raise jax.errors.JaxRuntimeError("INTERNAL: connection closed by peer")

    with pytest.raises(
        HostLost,
        match="process 0 of 2 lost another one after step 0.*run again to go on.*connection closed",
    ):
        fit(init_state({"w": np.ones(2)}, TX), update, lambda step: None, 3, tmp_path)
