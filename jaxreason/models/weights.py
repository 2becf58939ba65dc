"""Stored weights -> parameters: tensors of any names, renamed, transposed, cast and stacked."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerBase

from jaxreason.errors import InputError, one_line
from jaxreason.mesh import put, sharding
from jaxreason.models.decoder import DecoderConfig, Params, init
from jaxreason.models.fastest import default_dtype
from jaxreason.models.precision import MATRICES, quantised


class LanguageModel(NamedTuple):
    """Everything needed to use a model."""

    params: Params
    cfg: DecoderConfig
    tokenizer: PreTrainedTokenizerBase
    name: str
    sha256: str  # of the weights' file or, of several, of their digests
    # tokens that end a text beside the tokenizer's own, from generation_config.json
    eos_ids: tuple[int, ...] = ()

    @property
    def num_params(self) -> int:
        """Numbers in all parameters; a tied embedding counts once, and scales of int8 do not."""
        in_float = dataclasses.replace(self.cfg, int8=False)
        shapes = jax.eval_shape(lambda: init(jax.random.key(0), in_float))
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


class Tensors(NamedTuple):
    """Stored weights: all shapes at once, the values one tensor at a time."""

    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]
    files: list[Path]


def open_safetensors(directory: Path) -> Tensors:
    """model.safetensors, or the shards that model.safetensors.index.json names.

    Raises:
      InputError: missing, damaged or quantised.
    """
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    files = [single]
    if not single.is_file() and index.is_file():
        names = read_json(index).get("weight_map")
        if not isinstance(names, dict) or not all(
            isinstance(n, str) and Path(n).name == n for n in names.values()
        ):
            raise InputError(
                f"{str(index)!r} is damaged: expected a weight_map from tensors to file names"
            )
        files = [directory / name for name in sorted(set(names.values()))]
    file_of, shapes = {}, {}
    for path in files:
        if not path.is_file():
            raise InputError(
                f"{str(path)!r} is missing: expected the weights in safetensors format"
            )
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():
                    view = file.get_slice(name)
                    if view.get_dtype() not in ("F64", "F32", "F16", "BF16"):
                        raise InputError(
                            f"{str(path)!r}: {_escaped(name)} is stored as {view.get_dtype()}: "
                            "quantised weights are not supported, expected F32, F16 or BF16"
                        )
                    shapes[name], file_of[name] = tuple(view.get_shape()), path
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{str(path)!r} is damaged or truncated: restore or download it again "
                f"({one_line(error)})"
            ) from error

    def read(name: str) -> np.ndarray:
        # Opened anew each time: an open file keeps every page it ever read in memory.
        with safe_open(file_of[name], framework="np") as file:
            return file.get_tensor(name)

    return Tensors(shapes, read, files)


def assemble_in(
    tensors: Tensors,
    keys: dict[str, tuple[str, ...]],
    cfg: DecoderConfig,
    dtype: str,
    mesh: Mesh | None,
    rows: int,
) -> tuple[Params, DecoderConfig]:
    """Parameters in the arithmetic ``dtype``, and the config that computes with them; arguments as
    in :func:`assemble` and :func:`jaxreason.models.hf.load_model`.
    """
    if dtype == "auto":
        dtype = default_dtype(cfg, rows)
    params = assemble(tensors, keys, cfg, dtype, mesh)
    return params, dataclasses.replace(cfg, int8=dtype == "int8")


def assemble(
    tensors: Tensors,
    keys: dict[str, tuple[str, ...]],
    cfg: DecoderConfig,
    dtype: Any,
    mesh: Mesh | None = None,
) -> Params:
    """Casts, transposes and stacks, with one parameter in memory at a time.

    Args:
      tensors: what is stored.
      keys: stored name -> path, as in :mod:`jaxreason.models.families`.
      cfg: of the model, in float.
      dtype: of all parameters; in "int8", and in bfloat16 on a CPU, of the matrices alone, as
        :func:`jaxreason.models.precision.lower` has them.
      mesh: every device gets its own part, by :func:`jaxreason.mesh.sharding`, and none ever holds
        the whole; None is the default device.

    Raises:
      InputError: the tensors do not match the config; names all that are missing, unexpected or
        misshapen.
    """
    source = str(tensors.files[0] if len(tensors.files) == 1 else tensors.files[0].parent)
    if cfg.num_hidden_layers > max(len(tensors.shapes), 100):  # not to list a million as missing
        raise InputError(
            f"{source!r} does not match its config: {len(tensors.shapes)} tensors, "
            f"{cfg.num_hidden_layers} layers"
        )
    problems, plan = [], []
    # The frequencies of old Llamas are computed anew.
    left = {name for name in tensors.shapes if not name.endswith("rotary_emb.inv_freq")}
    left -= {name for name, path in keys.items() if cfg.tie_word_embeddings and path[0] == "head"}
    shapes = jax.eval_shape(lambda: init(jax.random.key(0), cfg))
    for template, path in keys.items():
        try:
            shape = get_path(shapes, path).shape
        except KeyError:
            continue  # a head where it is tied, biases, norms of queries and keys
        per_layer = path[0] == "layers"
        numbers = range(cfg.num_hidden_layers) if per_layer else [None]
        names = [template.format(i) for i in numbers]
        expected = shape[1:] if per_layer else shape
        expected = expected[::-1] if path[-1] == "kernel" else expected
        for name in names:
            found = tensors.shapes.get(name)
            if found is None:
                problems.append(f"{name} is missing")
            elif found != expected:
                problems.append(f"{name} has shape {found}, expected {expected}")
        left -= set(names)
        plan.append((path, names, shape))
    problems += [f"{_escaped(name)} is unexpected" for name in sorted(left)]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        shown = "; ".join(problems[:5])
        raise InputError(f"{source!r} does not match its config: {shown}{more}")
    params: Params = {}
    dtype = jnp.dtype(dtype)
    in_int8 = dtype == jnp.int8
    of_matrices = jnp.float32 if in_int8 else dtype  # in which they are read
    bfloat16_on_cpu = dtype == jnp.bfloat16 and jax.default_backend() == "cpu"
    of_rest = jnp.float32 if in_int8 or bfloat16_on_cpu else dtype
    for path, names, shape in plan:
        is_matrix = path[-1] in MATRICES
        stacked = _aligned_empty(shape, of_matrices if is_matrix else of_rest)
        for row, name in zip(stacked if path[0] == "layers" else [stacked], names, strict=True):
            row[...] = tensors.read(name).T if path[-1] == "kernel" else tensors.read(name)
        parts = {path[-1]: _place(stacked, path, mesh)}
        if is_matrix and in_int8:
            parts = jax.block_until_ready(quantised(path[-1], parts[path[-1]]))
        for name, array in parts.items():
            of_part = (*path[:-1], name)
            set_path(params, of_part, _place(array, of_part, mesh))
        del stacked, parts  # before the next one is made
    return params


def _place(x: np.ndarray | jax.Array, path: tuple[str, ...], mesh: Mesh | None) -> jax.Array:
    return jax.device_put(x) if mesh is None else put(x, sharding(path, x.shape, mesh))


def _aligned_empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An array that JAX on the CPU takes over without a copy.

    It asks for 64-byte alignment, and numpy gives 16.
    """
    count = math.prod(shape) * jnp.dtype(dtype).itemsize
    buffer = np.empty(count + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    return buffer[start : start + count].view(dtype).reshape(shape)


def _escaped(name: str) -> str:
    return name[:80].encode("unicode_escape").decode()  # a file may name its tensors as it likes


def digest(files: list[Path]) -> str:
    """sha256 of a file, or of the digests of several."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def read_json(path: Path) -> dict:
    """A JSON object.

    Raises:
      InputError: it is none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{str(path)!r} cannot be read: expected JSON ({one_line(error)})"
        ) from error
    if not isinstance(value, dict):
        raise InputError(
            f"{str(path)!r} cannot be read: expected a JSON object, got {type(value).__name__}"
        )
    return value


def get_path(tree: dict, path: tuple[str, ...]):
    """``tree[path[0]][path[1]]...``"""
    for name in path:
        tree = tree[name]
    return tree


def set_path(tree: dict, path: tuple[str, ...], value) -> None:
    """Sets ``tree[path[0]][path[1]]...`` and makes the dicts on the way."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
