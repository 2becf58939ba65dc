"""How much memory a step of GRPO takes on each device, before it is started."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from jaxreason.decoding.memory import cache_bytes
from jaxreason.mesh import names_of, num_row_parts, partition
from jaxreason.models.decoder import DecoderConfig, init
from jaxreason.models.lora import init_lora


class Workload(NamedTuple):
    """One step: a rollout of N chains from each of B prompts, and an update on them."""

    prompts: int = 8  # B, on all devices together
    chains: int = 8  # N
    prompt_tokens: int = 256  # P
    new_tokens: int = 512  # T
    microbatches: int = 1  # M parts of the update, each of B / M prompts
    chunk: int = 1024  # tokens whose logits are formed at a time


class Memory(NamedTuple):
    """Bytes on one device."""

    weights: int  # of the policy, its adapter included
    reference: int  # the frozen copy that the KL term asks; none with LoRA, whose base it is
    optimiser: int  # two moments of what is trained (AdamW)
    # of the rollout: the weights of the layers once more, each in one piece, whole along fsdp
    layers: int
    cache: int  # of the rollout: keys and values, and what the prompts' prefill holds
    rollout_logits: int
    # of the update, and their sum over microbatches; with LoRA the merged matrices and their
    # gradients as well
    gradients: int
    # of the update: the inputs of all layers, what one layer's backward pass holds, its weights in
    # several layouts
    activations: int
    update_logits: int  # of a chunk of tokens

    @property
    def resident(self) -> int:
        """What is there all the time."""
        return self.weights + self.reference + self.optimiser

    @property
    def rollout(self) -> int:
        """What the rollout adds."""
        return self.layers + self.cache + self.rollout_logits

    @property
    def update(self) -> int:
        """What the update adds."""
        return self.gradients + self.activations + self.update_logits

    @property
    def peak(self) -> int:
        """The most at a time: what the rollout took is free when the update begins."""
        return self.resident + max(self.rollout, self.update)


def bytes_on_device(tree: Any, mesh: Mesh | AbstractMesh | None) -> int:
    """Of one device's part of a tree of arrays or shapes, by the rules of :mod:`jaxreason.mesh`."""
    total = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        spec = () if mesh is None else partition(names_of(path), leaf.shape, mesh)
        total += (
            math.prod(leaf.shape)
            * np.dtype(leaf.dtype).itemsize
            // math.prod(mesh.shape[a] for a in spec if a)
        )
    return total


@functools.lru_cache
def _shapes(
    cfg: DecoderConfig, dtype: str, lora_rank: int, lora_targets: tuple[str, ...]
) -> tuple[Any, Any]:
    """Of the parameters and of an adapter, if there is one."""
    params = jax.eval_shape(
        lambda: jax.tree.map(lambda x: x.astype(dtype), init(jax.random.key(0), cfg))
    )
    if not lora_rank:
        return params, None
    return params, jax.eval_shape(
        lambda p: init_lora(jax.random.key(0), p, lora_rank, lora_targets), params
    )


def grpo_memory(
    cfg: DecoderConfig,
    workload: Workload,
    mesh: Mesh | AbstractMesh | None = None,
    *,
    dtype: Any = jnp.float32,
    lora_rank: int = 0,
    lora_targets: tuple[str, ...] = ("q", "v"),
    reference: bool = True,
) -> Memory:
    """An estimate; that of weights and optimiser is exact.

    Args:
      cfg: with ``remat``, as large models are trained.
      mesh: of devices, or abstract: no device is needed. None is one device.
      dtype: of the parameters, and so of their moments and of the activations. A LoRA adapter is
        float32.
      lora_rank: 0 trains all parameters.
    """
    sizes = {} if mesh is None else dict(mesh.shape)
    size, by_model = jnp.dtype(dtype).itemsize, sizes.get("model", 1)
    params, lora = _shapes(cfg, jnp.dtype(dtype).name, lora_rank, lora_targets)
    weights = bytes_on_device(params, mesh)
    trained, merged = weights, 0
    if lora_rank:
        trained = bytes_on_device(lora, mesh)
        matrices = {
            name: x
            for group in params["layers"].values()
            for name, x in group.items()
            if name in lora_targets
        }
        merged = 2 * bytes_on_device(matrices, mesh)  # and as much of gradients

    by_head = by_model if cfg.num_key_value_heads % by_model == 0 else 1
    prompts = -(-workload.prompts // num_row_parts(mesh))  # on a device
    rows, length = prompts * workload.chains, workload.prompt_tokens + workload.new_tokens
    row_logits = 4 * -(-cfg.vocab_size // by_model)  # bytes, float32

    def of_layer(rows: int, length: int, scores: int, wide: int, narrow: int) -> int:
        """Of attention scores (float32), of arrays as wide as the MLP, and as the residual stream.
        """
        each = (
            4 * cfg.num_attention_heads // by_head * length,
            size * cfg.intermediate_size // by_model,
            size * cfg.hidden_size,
        )
        return rows * length * (scores * each[0] + wide * each[1] + narrow * each[2])

    # How many arrays are held at a time is XLA's choice; the numbers were fitted to its own
    # account, see tests/mesh/test_memory.py.
    slots = prompts * workload.prompt_tokens + rows * workload.new_tokens
    keys_and_values = cache_bytes(cfg, slots, size) // by_head
    part = -(-rows // workload.microbatches)
    chunk = min(workload.chunk, part * length)
    # Along fsdp weights are put together to be used: of all layers, for XLA may do so ahead of its
    # loops.
    without_fsdp = AbstractMesh((by_model,), ("model",))
    gathered = bytes_on_device(params, without_fsdp) - weights
    one = bytes_on_device({"layers": params["layers"]}, without_fsdp) // cfg.num_hidden_layers
    layer, kept = (
        of_layer(part, length, 4, 3, 4),
        cfg.num_hidden_layers * part * length * cfg.hidden_size * size,
    )
    activations = kept + layer if cfg.remat else cfg.num_hidden_layers * layer
    logits = max(
        0, 4 * chunk * row_logits - layer
    )  # they are gone before the first layer's backward pass
    return Memory(
        weights=weights + (trained if lora_rank else 0),
        reference=weights if reference and not lora_rank else 0,
        optimiser=2 * trained,
        layers=one * cfg.num_hidden_layers,
        cache=keys_and_values + of_layer(prompts, workload.prompt_tokens, 2, 2, 2),
        rollout_logits=2 * rows * row_logits,
        gradients=(1 if workload.microbatches == 1 else 2) * trained + merged,
        activations=activations + (3 if lora_rank else 7) * one + gathered,
        update_logits=logits,
    )
