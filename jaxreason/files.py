"""Where results go: a folder that can take them, and files that are either whole or not there."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from jaxreason.errors import InputError

# Bytes that --out should have left; the figures and results of a lesson take under a tenth.
ROOM = 2**26


def check_folder(out: Path, name: str) -> None:
    """That the folder OUT/NAME can be made and written to, and has room. Makes nothing.

    Args:
      out: the value of --out.
      name: of the folder in it.

    Raises:
      InputError: something else is in the way, it may not be written to, or the disk is full.
    """
    there = out / name
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    reason = None
    if not os.path.isdir(there):
        reason = f"{str(there)!r} is no folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        reason = f"{str(there)!r} may not be written to"
    elif (free := shutil.disk_usage(there).free) < ROOM:
        reason = f"{free / 2**20:.0f} MiB are free on its disk, and {ROOM / 2**20:.0f} are needed"
    if reason:
        raise InputError(f"--out {str(out)!r} cannot be written to: {reason}; name another folder")


def cache_folder() -> Path | None:
    """``~/.cache/jaxreason``, for what later runs need not find out again; it is made.

    None where the home folder cannot be written to.
    """
    folder = Path(os.path.expanduser("~/.cache/jaxreason"))
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder if os.access(folder, os.W_OK) else None


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turns what the file system refuses into one line.

    Raises:
      InputError: in place of an OSError; the message names the folder.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"--out: {str(folder)!r} cannot be written to: {error.strerror or error}"
        ) from error


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to; it takes the place of ``path`` once it is whole.

    After an error the old file is still there, and nothing of the new one. A kill may leave the new
    one, under its hidden name.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
