"""The GGUF format: metadata and where the tensors lie, in one file or in the parts of a split one.

Each size is checked against the file before it is believed: the reader of the ``gguf`` package
loops and allocates as a damaged file tells it to. That package knows the number formats. The
format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxreason.errors import InputError

# Metadata value types of fixed size; 8 is a string, 9 an array.
SCALARS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
STRING, ARRAY = 8, 9


class Stored(NamedTuple):
    """Where a tensor lies."""

    path: Path  # the file
    shape: tuple[int, ...]  # as in Hugging Face, [out, in]; the file has it reversed
    kind: Any  # gguf.GGMLQuantizationType
    offset: int  # bytes from the start of the file
    size: int  # bytes


def read_model(path: Path, gguf) -> tuple[dict[str, Any], dict[str, Stored], list[Path]]:
    """Metadata, the places of all tensors, and the files: one, or the parts of a split model.

    ``llama-gguf-split`` names the parts ``NAME-00001-of-00003.gguf`` and so on; the metadata stand
    in the first.

    Raises:
      InputError: a file is damaged, not the first of its parts, or one of the others is missing.
    """
    metadata, stored = read_header(path, gguf)
    count, place = int(metadata.get("split.count", 1)), int(metadata.get("split.no", 0))
    if count <= 1:
        return metadata, stored, [path]
    if not re.search(f"-{place + 1:05d}-of-{count:05d}.gguf$", path.name):
        raise InputError(
            f"is part {place + 1} of a model split into {count}: expected the name to end in "
            f"-{place + 1:05d}-of-{count:05d}.gguf, so that the other parts can be found"
        )
    stem = path.name[: -len("-00001-of-00003.gguf")]
    files = [path.with_name(f"{stem}-{i + 1:05d}-of-{count:05d}.gguf") for i in range(count)]
    if place:
        raise InputError(
            f"is part {place + 1} of a model split into {count}: load the first, {str(files[0])!r}"
        )
    for i, file in enumerate(files[1:], 2):
        if not file.is_file():
            raise InputError(
                f"is split into {count} parts, and part {i} is missing: expected {str(file)!r}"
            )
        try:
            of_part, tensors = read_header(file, gguf)
        except InputError as error:
            raise InputError(f"{str(file)!r}, part {i} of the model, {error}") from error
        if (int(of_part.get("split.no", 0)), int(of_part.get("split.count", 1))) != (i - 1, count):
            raise InputError(
                f"{str(file)!r} is not part {i} of {count}: expected parts of one model"
            )
        if twice := stored.keys() & tensors.keys():
            raise InputError(
                f"{str(file)!r} has tensor {min(twice)[:80]!r}, which an earlier part has, too"
            )
        stored |= tensors
    if (total := int(metadata.get("split.tensors.count", len(stored)))) != len(stored):
        raise InputError(f"has {len(stored)} tensors in {count} parts: expected {total}")
    return metadata, stored, files


def read_header(path: Path, gguf) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Metadata and the places of the tensors; reads no weights.

    Raises:
      InputError: a size or type in the file cannot be true.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if take(file, 4, size) != b"GGUF":
            raise InputError("is not a GGUF file: it does not begin with 'GGUF'")
        if (version := number(file, size, "<u4")) not in (2, 3):
            raise InputError(f"has GGUF version {version}: expected 2 or 3")
        num_tensors, num_keys = number(file, size), number(file, size)
        metadata: dict[str, Any] = {}
        for _ in range(num_keys):  # ends with an error at the end of the file at the latest
            key = string(file, size)
            if key in metadata:
                raise InputError(f"has {key[:80]!r} twice")
            metadata[key] = value(file, size, number(file, size, "<u4"))
        found = []
        for _ in range(num_tensors):
            name = string(file, size)
            if (rank := number(file, size, "<u4")) > 4:
                raise InputError(f"tensor {name[:80]!r} has {rank} dimensions: expected at most 4")
            shape = tuple(number(file, size) for _ in range(rank))[::-1]
            found.append((name, shape, number(file, size, "<u4"), number(file, size)))
        alignment = int(metadata.get("general.alignment", 32))
        if not 1 <= alignment <= 2**20:
            raise InputError(f"has alignment {alignment}: expected a small power of two")
        start = -(-file.tell() // alignment) * alignment
    stored = {}
    for name, shape, kind, offset in found:
        kind = gguf.GGMLQuantizationType(kind)
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        if not shape or min(shape) < 1 or shape[-1] % block:
            raise InputError(
                f"tensor {name[:80]!r} has shape {shape}: expected rows of whole blocks of {block}"
            )
        num_bytes = math.prod(shape) // block * block_bytes
        if start + offset + num_bytes > size:
            raise InputError(
                f"is truncated: tensor {name[:80]!r} ends at byte {start + offset + num_bytes}, "
                f"the file at {size}"
            )
        if name in stored:
            raise InputError(f"has tensor {name[:80]!r} twice")
        stored[name] = Stored(
            path=path, shape=shape, kind=kind, offset=start + offset, size=num_bytes
        )
    return metadata, stored


def take(file: BinaryIO, count: int, size: int) -> bytes:
    """The next ``count`` bytes, or an InputError: never more memory than the file is long."""
    if count > size - file.tell():
        raise InputError(
            f"is truncated or damaged: {count} bytes expected at byte {file.tell()} of {size}"
        )
    return file.read(count)


def number(file: BinaryIO, size: int, kind: str = "<u8") -> Any:
    """The next number, of numpy's type ``kind``."""
    return np.frombuffer(take(file, np.dtype(kind).itemsize, size), kind)[0].item()


def string(file: BinaryIO, size: int) -> str:
    """The next text: its length in bytes, then UTF-8."""
    return take(file, int.from_bytes(take(file, 8, size), "little"), size).decode()


def value(file: BinaryIO, size: int, kind: int) -> Any:
    """One metadata value: a number, text, a list of texts, or an array of numbers."""
    if kind in SCALARS:
        return number(file, size, SCALARS[kind])
    if kind == STRING:
        return string(file, size)
    if kind != ARRAY:
        raise InputError(f"has a value of unknown type {kind} before byte {file.tell()}")
    kind, count = number(file, size, "<u4"), number(file, size)
    if kind == STRING:
        return [string(file, size) for _ in range(count)]
    if kind not in SCALARS:
        raise InputError(f"has an array of unknown type {kind} before byte {file.tell()}")
    return np.frombuffer(take(file, count * np.dtype(SCALARS[kind]).itemsize, size), SCALARS[kind])


def read_tensor(tensor: Stored, gguf) -> np.ndarray:
    """One tensor, dequantised to float32, in the shape that is stored.

    Raises:
      InputError: it is quantised in a way that the gguf package cannot undo.
    """
    with tensor.path.open("rb") as file:
        file.seek(tensor.offset)
        data = np.frombuffer(file.read(tensor.size), np.uint8)
    rows = data.reshape(*tensor.shape[:-1], -1)
    plain = {gguf.GGMLQuantizationType.F32: "<f4", gguf.GGMLQuantizationType.F16: "<f2"}
    if tensor.kind in plain:
        return rows.view(plain[tensor.kind]).astype(np.float32)
    try:
        return gguf.quants.dequantize(rows, tensor.kind)
    except NotImplementedError as error:
        raise InputError(
            f"tensors stored as {tensor.kind.name} are not supported: "
            "expected F32, F16, Q8_0, Q4_K..."
        ) from error
