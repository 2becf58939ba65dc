"""Weights on disk: directories in Hugging Face's format (config.json, model.safetensors, tokenizer.json).

The tiny models that ship with the package are ordinary Llama directories, so one loader serves them and the hub.
"""

import hashlib
import os
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig, LlamaConfig, PretrainedConfig, PreTrainedTokenizerBase

from jaxreason.errors import InputError
from jaxreason.models.decoder import DecoderConfig, Params, init
from jaxreason.tokens import load_tokenizer

ARCHITECTURES = ("LlamaForCausalLM",)

# Hugging Face name -> path in our params. A per-layer name has {} for the layer; its arrays are stacked on axis 0.
# Matrices are stored there as [out, in] and used here as [in, out].
KEYS = {
    "model.embed_tokens.weight": ("embed", "embedding"),
    "model.norm.weight": ("norm", "scale"),
    "lm_head.weight": ("head", "kernel"),
    "model.layers.{}.input_layernorm.weight": ("layers", "attention_norm", "scale"),
    "model.layers.{}.self_attn.q_proj.weight": ("layers", "attention", "q", "kernel"),
    "model.layers.{}.self_attn.k_proj.weight": ("layers", "attention", "k", "kernel"),
    "model.layers.{}.self_attn.v_proj.weight": ("layers", "attention", "v", "kernel"),
    "model.layers.{}.self_attn.o_proj.weight": ("layers", "attention", "o", "kernel"),
    "model.layers.{}.post_attention_layernorm.weight": ("layers", "mlp_norm", "scale"),
    "model.layers.{}.mlp.gate_proj.weight": ("layers", "mlp", "gate", "kernel"),
    "model.layers.{}.mlp.up_proj.weight": ("layers", "mlp", "up", "kernel"),
    "model.layers.{}.mlp.down_proj.weight": ("layers", "mlp", "down", "kernel"),
}


class LanguageModel(NamedTuple):
    """Everything needed to use a model."""

    params: Params
    cfg: DecoderConfig
    tokenizer: PreTrainedTokenizerBase
    name: str
    sha256: str  # of model.safetensors

    @property
    def num_params(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))


def shipped() -> dict[str, Path]:
    """The models that come with the package: name -> directory."""
    package = Path(str(resources.files("jaxreason")))
    # In a wheel they lie inside the package, in a checkout beside it.
    for root in (package / "checkpoints", package.parent / "checkpoints"):
        if root.is_dir():
            return {path.parent.name: path.parent for path in sorted(root.glob("*/config.json"))}
    return {}


def find_model(name: str) -> Path:
    """The directory of a shipped model, a local directory, or a hub id (downloaded, or taken from the hub's cache).

    Raises:
      InputError: there is no such model.
    """
    if name in shipped():
        return shipped()[name]
    path = Path(os.path.expanduser(name))  # of os: Path's own raises for an unknown user, and for a name too long
    if os.path.isdir(path) and name:
        return path
    if name.count("/") == 1 and not path.is_absolute() and not name.startswith((".", "~")):
        try:
            return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.model", "*.jinja"]))
        except Exception as error:  # the hub client raises many kinds; the user needs one line
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"model {name!r} cannot be fetched from the Hugging Face hub ({reason})") from error
    raise InputError(
        f"model {name!r} not found: expected one of {', '.join(shipped())}, a directory, or a hub id such as "
        "'HuggingFaceTB/SmolLM2-135M-Instruct'"
    )


def load_model(name: str) -> LanguageModel:
    """Loads a shipped model by name, a directory, or a hub id.

    Raises:
      InputError: not found, unsupported, or damaged; the message says which and names the file.
    """
    directory = find_model(name)
    cfg = load_config(directory)
    path = directory / "model.safetensors"
    if not path.is_file():
        raise InputError(f"{str(path)!r} is missing: expected the weights of model {name!r} in safetensors format")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{str(path)!r} is damaged or truncated: restore or download it again ({error})") from error
    params = from_hf(tensors, cfg, str(path))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return LanguageModel(jax.tree.map(jnp.asarray, params), cfg, load_tokenizer(directory), name, sha256)


def load_config(directory: Path) -> DecoderConfig:
    """Reads config.json.

    Raises:
      InputError: missing, unreadable or of an architecture this decoder does not implement.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise InputError(f"{str(directory)!r} is not a model directory: it has no config.json")
    try:
        hf = AutoConfig.from_pretrained(str(directory), local_files_only=True)
    except Exception as error:
        raise InputError(f"{str(path)!r} cannot be read ({(str(error) or 'invalid').splitlines()[0]})") from error
    architecture = (hf.architectures or ["unknown"])[0]
    if architecture not in ARCHITECTURES:
        raise InputError(f"architecture {architecture!r} is not supported: expected one of {', '.join(ARCHITECTURES)}")
    rope = getattr(hf, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") != "default":
        raise InputError(f"rope type {rope['rope_type']!r} is not supported: expected 'default'")
    return DecoderConfig(
        vocab_size=hf.vocab_size,
        hidden_size=hf.hidden_size,
        intermediate_size=hf.intermediate_size,
        num_hidden_layers=hf.num_hidden_layers,
        num_attention_heads=hf.num_attention_heads,
        num_key_value_heads=hf.num_key_value_heads,
        head_dim=getattr(hf, "head_dim", None) or hf.hidden_size // hf.num_attention_heads,
        max_position_embeddings=hf.max_position_embeddings,
        rope_theta=rope.get("rope_theta") or getattr(hf, "rope_theta", 10_000.0),
        rms_norm_eps=hf.rms_norm_eps,
        tie_word_embeddings=hf.tie_word_embeddings,
    )


def from_hf(tensors: dict[str, np.ndarray], cfg: DecoderConfig, source: str) -> Params:
    """Renames, transposes and stacks. All missing, unexpected and misshapen tensors go into one error.

    Raises:
      InputError: the tensors do not match the config.
    """
    left, problems, params = dict(tensors), [], {}
    shapes = jax.eval_shape(lambda: init(jax.random.key(0), cfg))
    if cfg.tie_word_embeddings:
        left.pop("lm_head.weight", None)
    for name, path in KEYS.items():
        try:
            expected = _get(shapes, path).shape
        except KeyError:
            continue  # a tied model has no head
        names = [name.format(i) for i in range(cfg.num_hidden_layers)] if "{}" in name else [name]
        arrays = [left.pop(n, None) for n in names]
        problems += [f"{n} is missing" for n, a in zip(names, arrays, strict=True) if a is None]
        if any(a is None for a in arrays):
            continue
        arrays = [a.astype(np.float32).T if path[-1] == "kernel" else a.astype(np.float32) for a in arrays]
        one = expected[1:] if "{}" in name else expected
        wrong = [
            f"{n} has shape {a.shape}, expected {one}" for n, a in zip(names, arrays, strict=True) if a.shape != one
        ]
        problems += wrong
        if not wrong:
            _set(params, path, np.stack(arrays) if "{}" in name else arrays[0])
    problems += [f"{n} is unexpected" for n in left]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise InputError(f"{source!r} does not match its config.json: {shown}")
    return params


def save_model(
    directory: Path, params: Params, cfg: DecoderConfig, tokenizer: PreTrainedTokenizerBase, dtype=np.float32
) -> None:
    """Writes a directory that :func:`load_model` and transformers both read."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, path in KEYS.items():
        try:
            array = np.asarray(_get(params, path)).astype(dtype)
        except KeyError:
            continue
        per_layer = "{}" in name
        for i, one in enumerate(array if per_layer else [array]):
            tensors[name.format(i)] = np.ascontiguousarray(one.T if path[-1] == "kernel" else one)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    hf_config(cfg, tokenizer, np.dtype(dtype).name).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def hf_config(cfg: DecoderConfig, tokenizer: PreTrainedTokenizerBase, dtype: str) -> PretrainedConfig:
    """The transformers config of a model of ours."""
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=cfg.vocab_size,
        hidden_size=cfg.hidden_size,
        intermediate_size=cfg.intermediate_size,
        num_hidden_layers=cfg.num_hidden_layers,
        num_attention_heads=cfg.num_attention_heads,
        num_key_value_heads=cfg.num_key_value_heads,
        head_dim=cfg.head_dim,
        max_position_embeddings=cfg.max_position_embeddings,
        rope_theta=cfg.rope_theta,
        rms_norm_eps=cfg.rms_norm_eps,
        tie_word_embeddings=cfg.tie_word_embeddings,
        dtype=dtype,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _get(tree: dict, path: tuple[str, ...]):
    for name in path:
        tree = tree[name]
    return tree


def _set(tree: dict, path: tuple[str, ...], value) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
