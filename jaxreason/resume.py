"""What an interrupted run leaves behind so that the next one goes on: arrays in files that are
whole or not there, in folders whose names are made of all that determines them. A run with other
options finds another folder, and begins at its beginning.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Tree = TypeVar("Tree")


def digest(*values: Any) -> str:
    """Ten hexadecimal digits, others where any of the values is another: arrays by their bytes, all
    else by its ``repr``.
    """
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
    """What a script is set to, given its ``globals()``: the names in capitals with their values,
    for :func:`digest`.
    """
    return repr(sorted((name, repr(value)) for name, value in module.items() if name.isupper()))


def sources() -> str:
    """The digest of this package's source: a run does not go on with what other code began."""
    package = Path(__file__).parent
    return digest(*(path.read_bytes() for path in sorted(package.rglob("*.py"))))


def save(path: Path, tree: Any) -> None:
    """Writes a tree of numbers and arrays of numpy's own types; a kill leaves the old file or the
    new one, and no half.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, *map(np.asarray, jax.tree.leaves(tree)))
    part.replace(path)


def load(path: Path, like: Tree) -> Tree:
    """What :func:`save` wrote, in the structure of ``like``; arrays of JAX where that has them,
    else of numpy.
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
    """``make()``, or what it returned in the run that was interrupted; it is kept at ``path``, if
    one is given.

    Of several processes none reads, since not all might find the file.
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
