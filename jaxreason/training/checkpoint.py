"""Training checkpoints with orbax: atomic, a bounded number on disk, restored bit for bit."""

import contextlib
import gc
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from orbax.checkpoint import v1 as ocp

from jaxreason.errors import InputError

State = TypeVar("State")


class Checkpoints:
    """The training checkpoints under one directory.

    Args:
      directory: made if it is not there.
      keep: so many of the latest stay on disk.
    """

    def __init__(self, directory: str | Path, keep: int = 2):
        self.directory = Path(directory).absolute()
        self._orbax = ocp.training.Checkpointer(
            self.directory, preservation_policy=ocp.training.preservation_policies.LatestN(keep)
        )

    @property
    def latest_step(self) -> int | None:
        """The step of the latest checkpoint, None if there is none."""
        latest = self._orbax.latest
        return None if latest is None else latest.step

    def save(self, step: int, state) -> None:
        """Writes ``state``, any tree of arrays, keys included.

        A crash while writing leaves the older checkpoints whole. One of this step that is there
        already stays.
        """
        if step != self.latest_step:
            self._orbax.save(step, state, force=True)

    def restore(self, like: State) -> State:
        """The latest checkpoint, in the structure, shapes and dtypes of ``like``.

        Raises:
          InputError: there is none, it is damaged, or it belongs to another model or optimiser.
        """
        step = self.latest_step
        if step is None:
            raise InputError(
                f"no checkpoint in {str(self.directory)!r}: expected one written by this trainer"
            )
        with _quiet():
            try:
                return self._orbax.load(step, like)
            except Exception as error:
                # orbax and tensorstore raise many kinds; the user needs one line.
                reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"checkpoint {str(self.directory / str(step))!r} cannot be restored: it is damaged or "
            f"of another model; delete it to fall back to an older one ({reason})"
        )

    def close(self) -> None:
        """Waits until everything is written."""
        self._orbax.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is logged and no unawaited coroutine is warned of.

    A failed load logs tracebacks, and leaves coroutines that warn when they are collected; our
    error says it all.
    """
    level = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
            gc.collect()
    finally:
        logging.disable(level)
