"""Reasoning models from scratch in JAX. The public names are listed in :mod:`jaxreason.api`.

``from jaxreason import complete`` imports JAX, which takes seconds; ``import jaxreason`` alone does
not (PEP 562), so a misspelt option is refused at once.
"""

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

# When imported, transformers would say that PyTorch is missing.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

if TYPE_CHECKING:  # for editors and type checkers
    from jaxreason.api import *


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
