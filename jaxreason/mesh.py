"""Many devices: a mesh, where parameters and rows lie on it, and work that takes rows in batches.

A mesh has up to three axes. Rows of a batch are cut along "data" and "fsdp", parameters along
"fsdp" and "model"; XLA finds the shardings of all that is computed from them, and the communication
(Xu et al. 2021, GSPMD). Along "model" a layer is cut by heads and by features (Shoeybi et al. 2019,
Megatron-LM, section 3); along "fsdp" a matrix is only stored in parts, and put together where it is
used (Rajbhandari et al. 2020, ZeRO, stage 3).
"""

import contextlib
import functools
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from jaxreason.errors import InputError

AXES = ("data", "fsdp", "model")
ROWS = ("data", "fsdp")  # the axes that cut the rows of a batch

# The axis of a matrix that is cut along "model": by output before the nonlinearity, heads or
# SwiGLU, and by input behind it, so that a block needs two sums across devices. "fsdp" cuts the
# other one.
CUT = {
    "q": -1,
    "k": -1,
    "v": -1,
    "gate": -1,
    "up": -1,
    "o": -2,
    "down": -2,
    "embed": -2,
    "head": -1,
}


def make_mesh(spec: str) -> Mesh:
    """The mesh that a text such as ``data=4,model=2`` names, on as many devices.

    Args:
      spec: each of "data", "fsdp" and "model" at most once, with its number of devices.

    Raises:
      InputError: it cannot be read, or there are fewer devices.
    """
    parts = [part.partition("=") for part in spec.replace(" ", "").split(",")]
    names, sizes = [name for name, _, _ in parts], [size for _, _, size in parts]
    if not set(names) <= set(AXES) or len(set(names)) < len(names):
        raise InputError(
            f"mesh {spec!r}: expected each of {', '.join(AXES)} at most once, "
            "such as 'data=4,model=2'"
        )
    if not all(re.fullmatch("[1-9][0-9]{0,5}", size) for size in sizes):
        raise InputError(
            f"mesh {spec!r}: expected a number of devices along each axis, such as 'data=4,model=2'"
        )
    shape, devices = tuple(map(int, sizes)), jax.devices()
    needed, hosts = math.prod(shape), jax.process_count()
    if needed > len(devices) or (hosts > 1 and needed < len(devices)):
        of_hosts = f" of {hosts} processes, all of which must take part" if hosts > 1 else ""
        raise InputError(
            f"mesh {spec!r} has {needed} devices, and there are {len(devices)} "
            f"({devices[0].platform}){of_hosts}: choose sizes whose product is {len(devices)}"
        )
    return jax.make_mesh(
        shape, tuple(names), (AxisType.Auto,) * len(names), devices=devices[:needed]
    )


def divide_cpu(num_devices: int) -> str | None:
    """Divides the CPU into devices, and returns the text of a mesh over them, such as ``data=2``;
    before JAX is asked for a device.

    Small models keep one core busy, since their matrices are too small to be cut; rows are cut
    among devices instead.

    Returns None where it does not apply: on accelerators, with fewer cores, where JAX has started
    with other devices, or where the number is chosen already, by ``XLA_FLAGS`` or by several hosts.
    """
    chosen = (
        "device_count" in os.environ.get("XLA_FLAGS", "") or "JAX_COORDINATOR_ADDRESS" in os.environ
    )
    if num_devices == 1 or (os.cpu_count() or 1) < num_devices or chosen:
        return None
    # JAX raises where its devices are made already: some other number of them, perhaps.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", num_devices)
    divided = jax.default_backend() == "cpu" and jax.device_count() == num_devices
    return f"data={num_devices}" if divided else None


def mesh_of(tree: Any) -> Mesh | None:
    """The mesh that the arrays of a tree lie on; None on a single device, of numpy, and while JAX
    traces.
    """
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer):
            placed = leaf.sharding
            spread = isinstance(placed, NamedSharding) and placed.mesh.size > 1
            return placed.mesh if spread else None
    return None


def num_row_parts(mesh: Mesh | None) -> int:
    """Into how many parts the rows of a batch are cut; 1 without a mesh."""
    if mesh is None:
        return 1
    return math.prod(mesh.shape[axis] for axis in ROWS if axis in mesh.axis_names)


def sharding(path: tuple[str, ...], shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Where a parameter lies, by :func:`partition`."""
    # XLA finds the shardings of all that is computed; axes as jax.make_mesh may have them would
    # want each spelt out.
    return NamedSharding(_automatic(mesh), partition(path, shape, mesh))


def partition(
    path: tuple[str, ...], shape: tuple[int, ...], mesh: Mesh | AbstractMesh
) -> PartitionSpec:
    """How a parameter is cut: along "model" and "fsdp" by :data:`CUT`, whole on every device along
    "data".

    What an axis cannot cut evenly is whole along it, and so are norms and what has no rule.

    Args:
      path: names of dicts, as in ``("layers", "attention", "q", "kernel")``.
    """
    spec: list[str | None] = [None] * len(shape)
    cuts = {}
    if path[-1] == "bias":  # of q, k and v: as their outputs
        cuts = {"model": -1}
    elif path[-1] == "scale":  # of int8, one for every output
        cuts = {"model": -1} if CUT.get(path[-2]) == -1 else {}
    elif len(shape) > 1 and (cut := CUT.get(path[-2])) is not None:
        cuts = {"model": cut, "fsdp": -3 - cut}
    for axis, cut in cuts.items():
        if shape and axis in mesh.axis_names and shape[cut] % mesh.shape[axis] == 0:
            spec[cut] = axis
    while spec and spec[-1] is None:  # as jit writes it, so that the same places compare as equal
        spec.pop()
    return PartitionSpec(*spec)


@functools.lru_cache
def _automatic(mesh: Mesh) -> Mesh:
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def names_of(path) -> tuple[str, ...]:
    """The names of dicts on a path of ``jax.tree_util``, behind an empty one."""
    return "", *(key.key for key in path if isinstance(key, jax.tree_util.DictKey))


def shardings(tree: Any, mesh: Mesh) -> Any:
    """:func:`sharding` of every leaf by the dicts around it: of parameters, of an optimiser's
    moments, of a training state.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, x: sharding(names_of(path), x.shape, mesh), tree
    )


def shard_params(tree: Any, mesh: Mesh | None) -> Any:
    """Puts parameters, or a whole training state, onto a mesh; without one it is returned as it is.

    On several hosts each of them must hold the same values.
    """
    return tree if mesh is None else jax.tree.map(put, tree, shardings(tree, mesh))


def constrain(tree: Any, mesh: Mesh | None) -> Any:
    """:func:`shard_params` inside of jit: an update's result lies where its arguments lay."""
    return tree if mesh is None else jax.lax.with_sharding_constraint(tree, shardings(tree, mesh))


def row_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Arrays cut along ``axis``, their rows."""
    return NamedSharding(_automatic(mesh), _rows(mesh, axis))


def in_mesh(mesh: Mesh | None) -> contextlib.AbstractContextManager:
    """What is traced inside may ask where it runs; nothing without a mesh."""
    if mesh is None:
        return contextlib.nullcontext()
    enter = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh  # jax 0.7.0
    return enter(_automatic(mesh))


def constrain_rows(x: jax.Array) -> jax.Array:
    """Keeps activations cut by rows inside :func:`in_mesh`, as in an update.

    Else XLA may cut them by features along "fsdp", as the weights are, and hold all rows on every
    device.
    """
    mesh = jax.sharding.get_abstract_mesh()
    cuts_rows = not mesh.empty and bool(set(ROWS) & set(mesh.axis_names))
    if not cuts_rows or mesh.manual_axes:  # inside shard_map rows are a device's own
        return x
    return jax.lax.with_sharding_constraint(x, _rows(mesh))


def _rows(mesh: Mesh | AbstractMesh, axis: int = 0) -> PartitionSpec:
    cut_by = tuple(name for name in ROWS if name in mesh.axis_names)
    return PartitionSpec(*[None] * axis, cut_by or None)


def shard_batch(batch: Any, mesh: Mesh | None, *, local: bool = False) -> Any:
    """Cuts the rows, axis 0, of all arrays of a batch along "data" and "fsdp"; without a mesh the
    batch is returned as it is.

    Args:
      local: False: every process gives the same whole batch. True: each gives rows of its own,
        equally many, and the batch is all of them, in the order of the processes.

    Raises:
      InputError: the rows do not come out even.
    """
    if mesh is None:
        return batch
    parts, hosts = num_row_parts(mesh), jax.process_count() if local else 1

    def put_rows(x):
        if not np.ndim(x):
            return put(x, NamedSharding(_automatic(mesh), PartitionSpec()))
        if len(x) * hosts % parts:
            raise InputError(
                f"a batch of {len(x) * hosts} rows does not divide among the {parts} parts of mesh "
                f"{describe(mesh)}: expected a multiple of {parts}"
            )
        place = row_sharding(mesh)
        if local:
            return jax.make_array_from_process_local_data(place, np.asarray(x))
        return put(x, place)

    return jax.tree.map(put_rows, batch)


def put(x: Any, place: NamedSharding) -> jax.Array:
    """``jax.device_put``; of several processes each gives the whole of ``x``, the same, and keeps
    what lies on its devices.
    """
    if isinstance(x, jax.Array) and x.sharding == place:
        return x
    if place.is_fully_addressable or (isinstance(x, jax.Array) and not x.is_fully_addressable):
        return jax.device_put(x, place)
    whole = jax.random.key_data(x) if (keys := _is_key(x)) else x
    whole = np.asarray(whole)  # of this host; every device here takes its part of it
    made = jax.make_array_from_callback(whole.shape, place, lambda index: whole[index])
    return jax.random.wrap_key_data(made, impl=jax.random.key_impl(x)) if keys else made


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def gather(tree: Any) -> Any:
    """``jax.device_get``, on every process, whatever process holds the parts."""

    def whole(x):
        if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
            return x
        return _replicate(x.sharding.mesh)(x)

    return jax.device_get(jax.tree.map(whole, tree))


@functools.lru_cache
def _replicate(mesh: Mesh):
    return jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, PartitionSpec()))


def describe(mesh: Mesh | None) -> str:
    """``data=4,model=2``; ``one device`` without a mesh."""
    if mesh is None:
        return "one device"
    return ",".join(f"{name}={size}" for name, size in mesh.shape.items())


# ---- rows, a batch at a time


def round_to_mesh(size: int, mesh: Mesh | None) -> int:
    """The least number of rows from ``size`` on that divides evenly among a mesh."""
    parts = num_row_parts(mesh)
    return -(-size // parts) * parts


def map_rows(
    fn: Callable[[np.ndarray], Any], rows: np.ndarray, size: int
) -> Iterator[tuple[np.ndarray, Any]]:
    """Runs a function on ``size`` rows at a time, and yields what it gave for each batch.

    Every batch has the same size, so that one program is compiled: the last one repeats its first
    row, and what the function gave for the repeats is cut off. As in::

        for chosen, scores in map_rows(score, np.arange(len(texts)), size=64):
            found[chosen] = scores

    Args:
      fn: numbers of rows, int ``[size]`` -> a tree of arrays ``[size, ...]``, on any devices.
      rows: int ``[R]``, the numbers of the rows in the order in which they are taken.
      size: rows in a batch; from :func:`round_to_mesh` where ``fn`` calls :func:`shard_batch`.

    Yields:
      ``[r]``, the numbers of a batch's rows, and what ``fn`` gave for them: arrays of numpy
      ``[r, ...]``. r is ``size``, in the last batch perhaps less.
    """
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        repeats = np.repeat(chosen[:1], size - len(chosen))
        result = gather(fn(np.concatenate([chosen, repeats])))
        yield chosen, _first_rows(result, len(chosen))


def _first_rows(tree: Any, count: int) -> Any:
    return jax.tree.map(lambda x: x[:count], tree)
