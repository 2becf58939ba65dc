"""Reasoning models from scratch in JAX. The public names are listed in :mod:`jaxreason.api`.

They are there from the start, as in ``from jaxreason import complete``, and imported when the first
of them is asked for (PEP 562): with JAX that takes seconds, which a misspelt option need not wait
for.
"""

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault(
    "TRANSFORMERS_NO_ADVISORY_WARNINGS", "1"
)  # on import it would say that PyTorch is missing

if TYPE_CHECKING:  # for editors and type checkers
    from jaxreason.api import *  # noqa: F403  # it is the list of what is exported


def __getattr__(name: str) -> Any:
    """A module of the package, or a public name."""
    if importlib.util.find_spec(f"jaxreason.{name}"):
        return importlib.import_module(f"jaxreason.{name}")
    api = importlib.import_module("jaxreason.api")
    if name == "__all__" or name in api.__all__:
        return getattr(api, name)
    raise AttributeError(f"module 'jaxreason' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *importlib.import_module("jaxreason.api").__all__])
