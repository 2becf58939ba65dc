"""Progress bars that say so while JAX compiles."""

import functools
import weakref
from collections.abc import Iterable
from typing import Any

import jax
from tqdm.auto import tqdm

# JAX records it twice: as a scalar when a compilation starts, as a duration when it ends.
COMPILATION = "/jax/core/compile/backend_compile_duration"

_descriptions: weakref.WeakKeyDictionary[tqdm, str] = weakref.WeakKeyDictionary()


def progress_bar(
    iterable: Iterable | None = None, *, description: str | None, unit: str, **options: Any
) -> tqdm:
    """A tqdm bar. While JAX compiles, it reads ``greedy (compiling)`` in place of ``greedy``.

    The first step of a loop compiles and takes seconds, the others do not.

    Args:
      iterable: what to go through; None for a bar that is moved by ``update``.
      description: what is under way; None for no bar at all.
      unit: of one step, such as "chain".
      options: of tqdm.
    """
    hidden = options.pop("disable", False) or description is None
    bar = tqdm(iterable, desc=description, unit=unit, disable=hidden, **options)
    if not hidden:
        _listen()
        _descriptions[bar] = description
    return bar


@functools.cache
def _listen() -> None:
    """Once a process: JAX then calls both functions in the thread that compiles."""

    def began(event: str, value: float, **about: Any) -> None:
        if event == COMPILATION:
            _describe("{} (compiling)")

    def ended(event: str, seconds: float, **about: Any) -> None:
        if event == COMPILATION:
            _describe("{}")

    jax.monitoring.register_scalar_listener(began)
    jax.monitoring.register_event_duration_secs_listener(ended)


def _describe(form: str) -> None:
    for bar, description in list(_descriptions.items()):
        if not bar.disable:  # as a closed one is
            bar.set_description(form.format(description))
