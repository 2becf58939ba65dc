"""What an interrupted run leaves behind so that the next one goes on.

It leaves arrays in files that are whole or not there, in folders named by a digest of all that
determines them. A run with other options finds another folder, and begins at its beginning.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.files import atomic_file

Tree = TypeVar("Tree")


def digest(*values: Any) -> str:
    """Ten hexadecimal digits that tell values apart: arrays by their bytes, others by ``repr``."""
    made = hashlib.sha256()
    for leaf in jax.tree.leaves(values, is_leaf=lambda x: x is None):
        if isinstance(leaf, np.ndarray | jax.Array):
            keys = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
                leaf.dtype, jax.dtypes.prng_key
            )
            leaf = np.asarray(jax.random.key_data(leaf) if keys else leaf)
            made.update(f"{leaf.dtype} {leaf.shape} ".encode() + leaf.tobytes())
        else:
            made.update(f"{leaf!r} ".encode())
    made.update(str(jax.tree.structure(values)).encode())
    return made.hexdigest()[:10]


def constants(module: Mapping[str, Any]) -> str:
    """The settings of a script, given its ``globals()``: its names in capitals and their values.

    For :func:`digest`.
    """
    return repr(sorted((name, repr(value)) for name, value in module.items() if name.isupper()))


def sources() -> str:
    """The digest of this package's source: a run does not go on with what other code began."""
    package = Path(__file__).parent
    return digest(*(path.read_bytes() for path in sorted(package.rglob("*.py"))))


def save(path: Path, tree: Any) -> None:
    """Writes a tree of numbers and arrays of numpy's own types, and the folder around it.

    A kill leaves the old file or the new one, never half a file (:func:`atomic_file`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, *map(np.asarray, jax.tree.leaves(tree)))


def load(path: Path, like: Tree) -> Tree:
    """What :func:`save` wrote, in the structure of ``like``.

    Args:
      path: the file.
      like: a tree of the same structure; where it has an array of JAX, so has the result, else one
        of numpy.
    """
    leaves, structure = jax.tree.flatten(like)
    with np.load(path) as found:
        stored = [found[f"arr_{i}"] for i in range(len(leaves))]
    made = [
        jnp.asarray(x) if isinstance(leaf, jax.Array) else x
        for x, leaf in zip(stored, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, made)


def once(path: Path | None, like: Tree, make: Callable[[], Tree]) -> Tree:
    """``make()``, or what it returned in the run that was interrupted.

    Of several processes none reads or keeps anything, since not all might find the file.

    Args:
      path: where it is kept; None keeps nothing.
      like: as for :func:`load`.
      make: what takes long.
    """
    if path is None or jax.process_count() > 1:
        return make()
    if path.exists():
        return load(path, like)
    made = make()
    save(path, made)
    return made


def again(folder: Path) -> str:
    """How an interrupted run goes on, for the end of its last line."""
    return f"run the same command again to go on (what is done is kept in {folder})"
