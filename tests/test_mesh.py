"""Meshes. What needs several devices runs in tests/mesh, on eight virtual ones in a process of
their own.
"""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import with_devices

from jaxreason.errors import InputError
from jaxreason.hosts import initialize
from jaxreason.mesh import (
    gather,
    make_mesh,
    map_rows,
    mesh_of,
    round_to_mesh,
    shard_batch,
    shard_params,
)

TESTS = Path(__file__).parent


def test_on_eight_devices():
    environment = with_devices(8) | {"PYTHONPATH": str(TESTS.parent)}
    command = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", str(TESTS / "mesh")]
    done = subprocess.run(
        command, env=environment, cwd=TESTS.parent, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-8000:]


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("", "expected each of data, fsdp, model"),
        ("rows=2", "expected each of data, fsdp, model"),
        ("data=2,data=2", "at most once"),
        ("data", "expected a number of devices"),
        ("data=0", "expected a number of devices"),
        ("data=-1", "expected a number of devices"),
        ("data=1.5,model=2", "expected a number of devices"),
        ("data=4000,model=2", "has 8000 devices, and there are"),
    ],
)
def test_a_bad_mesh_is_one_line(spec, named):
    with pytest.raises(InputError, match=named) as error:
        make_mesh(spec)
    assert repr(spec) in str(error.value) and "\n" not in str(error.value)


def test_one_device_is_a_mesh_that_changes_nothing():
    mesh = make_mesh("data = 1, model = 1")
    params = shard_params({"q": {"kernel": np.ones((2, 4))}}, mesh)
    assert mesh_of(params) is None
    batch = {"rows": np.ones(3)}
    assert shard_batch(batch, mesh_of(params)) is batch
    assert shard_params(batch, None) is batch
    np.testing.assert_array_equal(gather(jax.numpy.arange(3)), [0, 1, 2])


@pytest.mark.parametrize("num_rows", [0, 1, 3, 4, 5, 8, 9])
def test_rows_are_mapped_in_batches_of_one_size(num_rows):
    """The last batch repeats its first row; of the repeats nothing is seen."""
    rows, seen = np.arange(num_rows)[::-1] * 10, []

    def fn(chosen):
        seen.append(chosen.tolist())
        return {"row": jax.numpy.asarray(chosen), "columns": np.stack([chosen, -chosen], 1)}

    found = list(map_rows(fn, rows, 4))
    assert [len(batch) for batch in seen] == [4] * -(-num_rows // 4)
    for (chosen, result), batch in zip(found, seen, strict=True):
        repeats = 4 - len(chosen)
        assert batch == [*chosen, *[chosen[0]] * repeats]
        assert all(type(x) is np.ndarray for x in result.values())
        np.testing.assert_array_equal(result["row"], chosen)
        np.testing.assert_array_equal(result["columns"], np.stack([chosen, -chosen], 1))
    assert [row for chosen, _ in found for row in chosen] == rows.tolist()


def test_without_a_mesh_a_batch_may_have_any_size():
    assert [round_to_mesh(size, None) for size in (1, 2, 7)] == [1, 2, 7]


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (("localhost:1", 2, 2), {}, "process 2 of 2: expected one from 0 to 1"),
        (("localhost", 2, 0), {}, "expected HOST:PORT"),
        ((), {"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES is 'two': expected a number"),
        ((), {"JAX_COORDINATOR_ADDRESS": "here:there"}, "expected HOST:PORT"),
    ],
)
def test_bad_settings_of_several_hosts_are_one_line(monkeypatch, arguments, environment, named):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=named):
        initialize(*arguments)
