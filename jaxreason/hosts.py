"""Several hosts that run one program: how their processes find each other, wait, and notice a loss.

Every process runs the same script on devices of its own; :mod:`jaxreason.mesh` spreads arrays over
the devices of all of them.
"""

import os
import re

import jax
from jax.experimental import multihost_utils

from jaxreason.errors import InputError, one_line


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_seconds: int = 60,
) -> None:
    """Joins this process to the others. Call it before anything else asks JAX for a device.

    What is not given comes from ``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES`` and
    ``JAX_PROCESS_ID``, and what is not there either from what JAX detects: a Cloud TPU slice,
    Slurm, Open MPI, Kubernetes.

    Args:
      coordinator: ``host:port`` of process 0.
      num_processes, process_id: how many there are, and which this is.
      heartbeat_seconds: a process that was silent for so long is taken for dead. JAX then ends the
        others, which would else wait for it in the middle of a step, and names it.

    Raises:
      InputError: the numbers make no sense, or the processes do not find each other.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    num_processes = _number("JAX_NUM_PROCESSES") if num_processes is None else num_processes
    process_id = _number("JAX_PROCESS_ID") if process_id is None else process_id
    if None not in (num_processes, process_id) and not 0 <= process_id < num_processes:
        raise InputError(
            f"process {process_id} of {num_processes}: expected one from 0 to {num_processes - 1}"
        )
    if coordinator and not re.fullmatch(r"[^\s]+:\d+", coordinator):
        raise InputError(
            f"coordinator {coordinator!r}: expected HOST:PORT of process 0, such as '10.0.0.2:8476'"
        )
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=heartbeat_seconds,
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"process {process_id} of {num_processes} cannot join the others at {coordinator!r} "
            f"({one_line(error)}): set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and "
            "JAX_PROCESS_ID on every host"
        ) from error


def _number(name: str) -> int | None:
    value = os.environ.get(name)
    if value is not None and not value.isdecimal():
        raise InputError(f"{name} is {value!r}: expected a number")
    return None if value is None else int(value)


def is_first() -> bool:
    """Whether this is the process that writes files which all would write alike."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Returns when every process has come here; at once if there is only one.

    Args:
      what: the name of this place, the same in every process.
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def preempted(step: int) -> bool:
    """Whether one of several processes was told to end (SIGTERM); all see it at the same step."""
    return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step)


class HostLost(RuntimeError):
    """Another process ended, or cannot be reached: the devices that are left cannot go on alone."""


def check_lost(error: Exception, where: str) -> None:
    """Raises HostLost from an error of JAX's runtime if another process may have caused it.

    Args:
      error: what JAX raised.
      where: what was done, and how to go on; the end of the message.

    Raises:
      HostLost: there are several processes.
    """
    if jax.process_count() > 1:
        raise HostLost(
            f"process {jax.process_index()} of {jax.process_count()} lost another one {where} "
            f"({one_line(error)[:200]})"
        ) from error
