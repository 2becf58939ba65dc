"""Models on disk, in Hugging Face's format: config.json, *.safetensors, tokenizer.json.

The tiny models that ship with the package are ordinary Llama directories, so one loader serves them
and the hub.
"""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from huggingface_hub import snapshot_download
from jax.sharding import Mesh
from safetensors.numpy import save_file
from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from jaxreason.errors import InputError, one_line
from jaxreason.models.decoder import DecoderConfig, Params
from jaxreason.models.families import FAMILIES, Family
from jaxreason.models.families.family import (
    decoder_config,
    hugging_face_config,
    rope_settings,
)
from jaxreason.models.fastest import ROWS
from jaxreason.models.gguf import load_gguf
from jaxreason.models.names import HUB_GGUF, check_name, find_local, hub_gguf, shipped
from jaxreason.models.precision import check_float
from jaxreason.models.tokens import check_vocabulary, end_of_turn_ids, load_tokenizer
from jaxreason.models.weights import (
    LanguageModel,
    Tensors,
    assemble_in,
    digest,
    get_path,
    open_safetensors,
    read_json,
)

DTYPES = ("float32", "bfloat16", "float16", "int8")


def find_model(name: str | Path) -> Path:
    """The directory of a model.

    Args:
      name: a shipped model, a local directory, or a hub id, which is downloaded or taken from the
        hub's cache.

    Raises:
      InputError: there is no such model.
    """
    name = os.fspath(name)
    if name in shipped():
        return shipped()[name]
    if directory := find_local(name):
        return directory
    check_name(name)
    return _download(name, ["*.json", "*.safetensors", "*.model", "*.jinja"])


def find_gguf(repository: str, kind: str) -> Path:
    """The GGUF file of a hub repository; of a model split into several files the first.

    Args:
      repository: its hub id; it is downloaded or taken from the hub's cache.
      kind: of the weights, such as "q4_k_m", in any case: how the file's name ends.

    Raises:
      InputError: there is no such repository, or not one such file in it.
    """
    check_name(f"{repository}:{kind}")
    ends = [f"{kind.lower()}", f"{kind.upper()}"]
    patterns = [f"*[-._]{end}{part}.gguf" for end in ends for part in ("", "-*-of-*")]
    folder = _download(repository, patterns)
    ending = re.compile(rf"[-._]{re.escape(kind)}(-00001-of-\d+)?\.gguf$", re.IGNORECASE)
    found = sorted(path for path in folder.rglob("*.gguf") if ending.search(path.name))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(
            f"model '{repository}:{kind}': expected one file of that repository to end in "
            f"-{kind}.gguf, found {names}"
        )
    return found[0]


def _download(name: str, patterns: list[str]) -> Path:
    """The folder with the files of a hub repository that have such names."""
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub client raises many kinds; the user needs one line
        raise InputError(
            f"model {name!r} cannot be fetched from the Hugging Face hub ({one_line(error)})"
        ) from error


def load_model(
    name: str | Path, dtype: Any = "auto", mesh: Mesh | None = None, rows: int = ROWS
) -> LanguageModel:
    """Loads a model.

    Args:
      name: a shipped model, a directory, a GGUF file (of a split one the first part), a hub id,
        or the hub id of a repository with GGUF files and the kind of one, ``a/b-GGUF:q4_k_m``.
      dtype: in which numbers it computes, whatever is stored: "float32", "bfloat16", "float16",
        "int8" (less exact, and not for training), or "auto", which is float32 for shipped models,
        and for others what :func:`jaxreason.models.fastest.default_dtype` finds to be fast on this
        device. For training, name "float32".
      mesh: devices to spread the parameters over, by the rules of :mod:`jaxreason.mesh`; None is
        the default device.
      rows: chains that are to be decoded at a time, which "auto" depends on.

    Raises:
      InputError: not found, unsupported, or damaged; the message says which and names the file.
    """
    name, dtype = os.fspath(name), _known(dtype)
    if dtype == "auto" and name in shipped():
        dtype = "float32"
    if name.endswith(".gguf"):
        return load_gguf(name, dtype, mesh, rows)
    if not find_local(name) and (of_hub := hub_gguf(name)):
        return load_gguf(find_gguf(*of_hub), dtype, mesh, rows)._replace(name=name)
    directory = find_model(name)
    family, tensors = load_family(directory), open_safetensors(directory)
    cfg = untie_stored_head(load_config(directory), tensors)
    tokenizer = load_tokenizer(directory)
    try:
        check_vocabulary(tokenizer, cfg.vocab_size)
    except InputError as error:
        raise InputError(f"{str(directory)!r}: {error}") from error
    stored = family.unpack(tensors, cfg)
    params, cfg = assemble_in(stored, family.keys, cfg, dtype, mesh, rows)
    eos_ids = dict.fromkeys([*load_eos_ids(directory, cfg), *end_of_turn_ids(tokenizer)])
    return LanguageModel(
        params=params,
        cfg=cfg,
        tokenizer=tokenizer,
        name=name,
        sha256=digest(tensors.files),
        eos_ids=tuple(eos_ids),
    )


def _known(dtype: Any) -> str:
    """The name of a dtype, of jax, numpy or a string.

    Raises:
      InputError: a model cannot compute in it.
    """
    expected = f"expected auto or one of {', '.join(DTYPES)}"
    if isinstance(dtype, str) and dtype == "auto":
        return dtype
    try:
        name = jnp.dtype(dtype).name
    except TypeError as error:
        raise InputError(f"dtype {dtype!r} is unknown: {expected}") from error
    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is not supported: {expected}")
    return name


def untie_stored_head(cfg: DecoderConfig, tensors: Tensors) -> DecoderConfig:
    """The config, untied if the weights have an output head of their own, whatever it says.

    Many files store the embedding twice; that is no head of its own.
    """
    head, embedding = "lm_head.weight", "model.embed_tokens.weight"
    if not cfg.tie_word_embeddings or not {head, embedding} <= tensors.shapes.keys():
        return cfg
    same = np.array_equal(tensors.read(head), tensors.read(embedding))
    return cfg if same else dataclasses.replace(cfg, tie_word_embeddings=False)


def load_family(directory: Path) -> Family:
    """The family that config.json names.

    Raises:
      InputError: missing, unreadable or of a model this decoder does not implement.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise InputError(
            f"{str(directory)!r} is not a model directory: it has no config.json; of a hub "
            f"repository with GGUF files name one, such as {HUB_GGUF!r}"
        )
    architectures = read_json(path).get("architectures") or ["unknown"]
    architecture = architectures[0] if isinstance(architectures, list) else architectures
    if not isinstance(architecture, str) or architecture not in FAMILIES:
        raise InputError(
            f"{str(path)!r}: architecture {architecture!r} is not supported: "
            f"expected one of {', '.join(FAMILIES)}"
        )
    return FAMILIES[architecture]


def load_config(directory: Path) -> DecoderConfig:
    """Reads config.json.

    Raises:
      InputError: missing, unreadable or of a model this decoder does not implement.
    """
    family, path = load_family(directory), directory / "config.json"
    raw = read_json(path)
    if not isinstance(layers := raw.get("num_hidden_layers", 1), int) or not 1 <= layers <= 10_000:
        raise InputError(f"{str(path)!r}: num_hidden_layers is {layers!r}: expected 1 to 10000")
    try:
        return decoder_config(family.config_class.from_dict(raw), family)
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from error
    except Exception as error:  # transformers' own validation raises many kinds
        raise InputError(f"{str(path)!r} cannot be read ({one_line(error)})") from error


def load_eos_ids(directory: Path, cfg: DecoderConfig) -> tuple[int, ...]:
    """The tokens that end a text, by generation_config.json or else config.json; perhaps none.

    Raises:
      InputError: they are not token ids.
    """
    for path in (directory / "generation_config.json", directory / "config.json"):
        found = read_json(path).get("eos_token_id") if path.is_file() else None
        if found is not None:
            ids = found if isinstance(found, list) else [found]
            if not all(type(i) is int and 0 <= i < cfg.vocab_size for i in ids):
                raise InputError(
                    f"{str(path)!r}: eos_token_id is {found}: expected ids below {cfg.vocab_size}"
                )
            return tuple(ids)
    return ()


def save_model(
    directory: str | Path,
    params: Params,
    cfg: DecoderConfig,
    tokenizer: PreTrainedTokenizerBase,
    dtype: Any = np.float32,
    eos_ids: Iterable[int] = (),
) -> None:
    """Writes a directory that :func:`load_model` and transformers, 4.56 or later and 5, read alike.

    Args:
      directory: made if it is not there.
      params, cfg, tokenizer: of the model.
      dtype: in which the weights are stored.
      eos_ids: tokens that end a text beside the tokenizer's own.

    Raises:
      InputError: no family of transformers has this combination of flags.
    """
    check_float(params, "saving")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    config = hf_config(cfg, tokenizer, jnp.dtype(dtype).name, eos_ids)
    family, tensors = FAMILIES[config.architectures[0]], {}
    for name, path in family.keys.items():
        try:
            array = np.asarray(get_path(params, path))
        except KeyError:
            continue
        per_layer = "{}" in name
        for i, one in enumerate(array if per_layer else [array]):
            tensors[name.format(i)] = one.T if path[-1] == "kernel" else one
    stored = {
        name: np.ascontiguousarray(array, dtype) for name, array in family.pack(tensors).items()
    }
    save_file(stored, directory / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(directory)
    GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    ).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    edit_json(directory / "config.json", rope_settings(cfg))
    path = directory / "tokenizer_config.json"
    changes, special = {}, read_json(path).get("extra_special_tokens")
    if read_json(path).get("tokenizer_class") == "TokenizersBackend":
        changes["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(special, list):
        changes |= {"extra_special_tokens": None, "additional_special_tokens": special}
    edit_json(path, changes)


def edit_json(path: Path, changes: dict[str, Any]) -> None:
    """Sets keys of a JSON object in a file, in transformers' order and layout; None removes one."""
    edited = {
        k: v for k, v in (read_json(path) | changes).items() if v is not None or k not in changes
    }
    text = json.dumps(edited, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def hf_config(
    cfg: DecoderConfig, tokenizer: PreTrainedTokenizerBase, dtype: str, eos_ids: Iterable[int] = ()
) -> PretrainedConfig:
    """The transformers config of a model of ours, of the first family that can express it.

    Raises:
      InputError: no family has this combination of flags.
    """
    architecture = _find_architecture(cfg)
    eos = sorted({tokenizer.eos_token_id, *eos_ids} - {None})
    return hugging_face_config(
        cfg,
        FAMILIES[architecture],
        architectures=[architecture],
        dtype=dtype,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=eos if len(eos) > 1 else tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _find_architecture(cfg: DecoderConfig) -> str:
    """That of the first family whose config says all that ours does."""
    cfg = dataclasses.replace(cfg, remat=False, int8=False)
    for architecture, family in FAMILIES.items():
        with contextlib.suppress(Exception):  # of transformers, for what a family cannot have
            if decoder_config(hugging_face_config(cfg, family), family) == cfg:
                return architecture
    defaults = {field.name: field.default for field in dataclasses.fields(cfg)}
    flags = [name for name, default in defaults.items() if getattr(cfg, name) != default]
    raise InputError(
        f"a model with {' and '.join(flags[8:])} cannot be exported: no family of transformers "
        "has them all"
    )
