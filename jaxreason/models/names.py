"""What a model may be called: a shipped one's name, a directory, a .gguf file, or a hub id.

Nothing here reads weights or imports JAX, so a misspelt name is refused at once.
"""

import json
import os
import re
from importlib import resources
from pathlib import Path

from jaxreason.errors import InputError, did_you_mean

HUB_GGUF = "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF:q4_k_m"  # of a repository, one kind of file


def shipped() -> dict[str, Path]:
    """The models that come with the package: name -> directory."""
    return {path.parent.name: path.parent for path in sorted(_folder().glob("*/config.json"))}


def _folder() -> Path:
    """Where they lie: in a wheel inside the package, in a checkout beside it."""
    package = Path(str(resources.files("jaxreason")))
    inside = package / "checkpoints"
    return inside if inside.is_dir() else package.parent / "checkpoints"


def find_local(name: str) -> Path | None:
    """The directory of a model that is on this machine, or None."""
    if name in shipped():
        return shipped()[name]
    # Of os: Path's own raises for an unknown user, and for a name too long.
    path = Path(os.path.expanduser(name))
    return path if name and os.path.isdir(path) else None


def hub_gguf(name: str) -> tuple[str, str] | None:
    """The hub id and the kind of file of a name like :data:`HUB_GGUF`; None for other names."""
    match = re.fullmatch(r"(\w[\w.-]*/[\w.-]+):([\w.-]+)", name)
    return (match[1], match[2]) if match else None


def check_name(name: str) -> None:
    """That a model can have this name; neither the hub nor the files are asked.

    Raises:
      InputError: it is no shipped model, no directory of a model, no .gguf file, and no hub id.
    """
    path = Path(os.path.expanduser(name))
    if name.endswith(".gguf"):
        if not os.path.isfile(path):
            raise InputError(f"{str(path)!r} not found: expected a GGUF file")
    elif directory := find_local(name):
        if not (directory / "config.json").is_file():
            raise InputError(f"{str(directory)!r} is not a model directory: it has no config.json")
    elif hub_gguf(name) is None and not re.fullmatch(r"[^./~:][^/:]*/[^/:]+", name):
        raise InputError(
            f"model {name!r} not found: expected one of {', '.join(shipped())}, a directory, a "
            f".gguf file, or a hub id such as 'HuggingFaceTB/SmolLM2-135M-Instruct' or '{HUB_GGUF}'"
            f"{did_you_mean(name, shipped())}"
        )


def find_reward_model(name: str) -> Path:
    """The directory of a reward model.

    Args:
      name: a shipped one, or a directory that
        :func:`jaxreason.rewards.reward_model.save_reward_model` wrote.

    Raises:
      InputError: there is none.
    """
    for directory in (_folder() / name, Path(name)):
        if os.path.isfile(directory / "reward_model.json"):
            return directory
    raise InputError(
        f"reward model {name!r} not found: expected a shipped one or a directory with "
        "reward_model.json; checkpoints/train_rm.py makes tiny-prm and tiny-orm"
    )


def check_same_vocabulary(name: str, other: str) -> None:
    """That two models read the same tokens, as far as files on this machine tell.

    Raises:
      InputError: both have a tokenizer.json, and their vocabularies differ.
    """
    ours, theirs = (_vocabulary(find_local(model)) for model in (name, other))
    if None not in (ours, theirs) and ours != theirs:
        raise InputError(
            f"model {name!r} ({len(ours)} tokens) has another vocabulary than {other!r} "
            f"({len(theirs)}): expected the same tokenizer"
        )


def _vocabulary(directory: Path | None) -> dict[str, int] | None:
    """The tokens of a tokenizer.json and their ids, or None."""
    try:
        stored = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
        added = {token["content"]: token["id"] for token in stored["added_tokens"]}
        vocabulary = stored["model"]["vocab"]
        if isinstance(vocabulary, list):  # of Unigram: [token, score], in the order of the ids
            vocabulary = {token: i for i, (token, _) in enumerate(vocabulary)}
        return {**vocabulary, **added}
    except (AttributeError, OSError, ValueError, KeyError, TypeError):
        return None  # elsewhere, in another format, or damaged, which the loader will say
