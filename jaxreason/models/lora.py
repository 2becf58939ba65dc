"""LoRA (Hu et al. 2022): a frozen matrix W [in, out] becomes W + scale A B, with A [in, r] and B
[r, out] trained.

The adapter is a dict of its own, ``{"q": {"a": [L, in, r], "b": [L, r, out]}, ...}``, so a loss of
it is differentiated alone: ``jax.grad(lambda lora: loss(merge_lora(params, lora, scale)))``.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from jaxreason.errors import InputError
from jaxreason.models.decoder import Params
from jaxreason.models.families.llama import KEYS
from jaxreason.models.precision import check_float
from jaxreason.models.weights import get_path

# Our name of a matrix -> (path in the layers, Hugging Face's name with {} for the layer), the same
# in all families but Phi-3.
MATRICES = {
    path[-2]: (path[1:], name)
    for name, path in KEYS.items()
    if path[0] == "layers" and path[-1] == "kernel"
}


def init_lora(
    key: jax.Array, params: Params, rank: int, targets: Sequence[str] = ("q", "v")
) -> Params:
    """A fresh adapter that changes nothing yet: A is uniform as in peft, B is zero; float32.

    Args:
      key: of A.
      params: of the model.
      rank: r.
      targets: any of q, k, v, o, gate, up and down; the paper's section 7.1 finds q and v to be a
        good pair.

    Raises:
      InputError: a target is unknown, or the rank below 1.
    """
    check_float(params, "LoRA")
    if rank < 1:
        raise InputError(f"LoRA rank is {rank}: expected at least 1")
    if not targets or not set(targets) <= set(MATRICES):
        raise InputError(
            f"LoRA targets are {list(targets)}: expected some of {', '.join(MATRICES)}"
        )
    lora, names = {}, sorted(set(targets))
    for name, a_key in zip(names, jax.random.split(key, len(names)), strict=True):
        layers, inputs, outputs = get_path(params["layers"], MATRICES[name][0]).shape
        bound = inputs**-0.5
        a = jax.random.uniform(a_key, (layers, inputs, rank), minval=-bound, maxval=bound)
        lora[name] = {"a": a, "b": jnp.zeros((layers, rank, outputs))}
    return lora


def merge_lora(params: Params, lora: Params, scale: float) -> Params:
    """The parameters with W + scale A B for W (the paper's equation 3, scale = alpha / r).

    The rest is shared: outside of jit no memory is taken but for the matrices that the adapter
    changes.
    """
    layers = {module: dict(matrices) for module, matrices in params["layers"].items()}
    for name, factors in lora.items():
        module, matrix, _ = MATRICES[name][0]
        kernel = layers[module][matrix]["kernel"]
        merged = _merge(kernel, factors["a"], factors["b"], scale)
        layers[module][matrix] = {**layers[module][matrix], "kernel": merged}
    return {**params, "layers": layers}


@jax.jit
def _merge(kernel: jax.Array, a: jax.Array, b: jax.Array, scale: float) -> jax.Array:
    return (kernel + scale * (a @ b)).astype(kernel.dtype)  # [L, in, out]


def save_lora(directory: str | Path, lora: Params, scale: float, base: str) -> None:
    """Writes adapter_model.safetensors and adapter_config.json, which peft loads onto the model
    named ``base``. A Phi-3 has other matrices there: merge the adapter and save the model.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, factors in lora.items():
        matrix = MATRICES[name][1].removesuffix(".weight")
        for layer, (a, b) in enumerate(
            zip(np.asarray(factors["a"]), np.asarray(factors["b"]), strict=True)
        ):
            prefix = f"base_model.model.{matrix.format(layer)}"
            tensors[f"{prefix}.lora_A.weight"] = np.ascontiguousarray(a.T)  # [r, in]
            tensors[f"{prefix}.lora_B.weight"] = np.ascontiguousarray(b.T)  # [out, r]
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    rank = next(iter(lora.values()))["a"].shape[-1]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": scale * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(MATRICES[name][1].split(".")[-2] for name in lora),
        "inference_mode": True,
    }
    (directory / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
