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

    # Of the policy, its adapter included.
    weights: int
    # The frozen copy that the KL term asks; none with LoRA, whose base it is.
    reference: int
    # Two moments of what is trained (AdamW).
    optimiser: int
    # Of the rollout: the weights of the layers once more, each in one piece, whole along fsdp.
    layers: int
    # Of the rollout: keys and values, and what the prompts' prefill holds.
    cache: int
    # Of the rollout: the logits of the next token of each chain.
    rollout_logits: int
    # Of the update, and their sum over microbatches; with LoRA the merged matrices and their
    # gradients as well.
    gradients: int
    # Of the update: the inputs of all layers, what one layer's backward pass holds, its weights in
    # several layouts.
    activations: int
    # Of the update: the logits of a chunk of tokens.
    update_logits: int

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

    def of_leaf(path, leaf) -> int:
        whole = math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize
        if mesh is None:
            return whole
        spec = partition(names_of(path), leaf.shape, mesh)
        return whole // math.prod(mesh.shape[axis] for axis in spec if axis)

    return sum(of_leaf(*found) for found in jax.tree_util.tree_leaves_with_path(tree))


@functools.lru_cache
def _shapes(
    cfg: DecoderConfig, dtype: str, lora_rank: int, lora_targets: tuple[str, ...]
) -> tuple[Any, Any]:
    """Of the parameters and of an adapter, None without one."""

    def make_params():
        return jax.tree.map(lambda x: x.astype(dtype), init(jax.random.key(0), cfg))

    def make_lora(params):
        return init_lora(jax.random.key(0), params, lora_rank, lora_targets)

    params = jax.eval_shape(make_params)
    return params, jax.eval_shape(make_lora, params) if lora_rank else None


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
    """An estimate of the bytes on each device; that of weights and optimiser is exact.

    Args:
      cfg: with ``remat``, as large models are trained.
      workload: one step.
      mesh: of devices, or abstract: no device is needed. None is one device.
      dtype: of the parameters, and so of their moments and of the activations. A LoRA adapter is
        float32.
      lora_rank: 0 trains all parameters.
      lora_targets: the matrices that an adapter is of.
      reference: whether there is a KL term.
    """
    num_layers = cfg.num_hidden_layers
    size = jnp.dtype(dtype).itemsize
    by_model = 1 if mesh is None else dict(mesh.shape).get("model", 1)
    by_head = by_model if cfg.num_key_value_heads % by_model == 0 else 1

    # Parameters. Along fsdp weights are put together to be used: of all layers, for XLA may do so
    # ahead of its loops.
    params, lora = _shapes(cfg, jnp.dtype(dtype).name, lora_rank, lora_targets)
    weights = bytes_on_device(params, mesh)
    without_fsdp = AbstractMesh((by_model,), ("model",))
    gathered = bytes_on_device(params, without_fsdp) - weights
    layer_weights = bytes_on_device({"layers": params["layers"]}, without_fsdp) // num_layers
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

    # Sizes of the step, on a device.
    prompts = -(-workload.prompts // num_row_parts(mesh))
    rows = prompts * workload.chains
    length = workload.prompt_tokens + workload.new_tokens
    part = -(-rows // workload.microbatches)  # chains of a microbatch
    row_logits = 4 * -(-cfg.vocab_size // by_model)  # bytes of one token's, float32

    # How many arrays are held at a time is XLA's choice; the numbers were fitted to its own
    # account, see tests/mesh/test_memory.py.
    def of_layer(rows: int, length: int, *, scores: int, wide: int, narrow: int) -> int:
        """Of so many arrays of attention scores (float32), as wide as the MLP, and as the residual
        stream.
        """
        of_scores = 4 * cfg.num_attention_heads // by_head * length
        of_wide = size * cfg.intermediate_size // by_model
        of_narrow = size * cfg.hidden_size
        return rows * length * (scores * of_scores + wide * of_wide + narrow * of_narrow)

    # The rollout.
    slots = prompts * workload.prompt_tokens + rows * workload.new_tokens
    keys_and_values = cache_bytes(cfg, slots, size) // by_head
    prefill = of_layer(prompts, workload.prompt_tokens, scores=2, wide=2, narrow=2)

    # The update. Logits are gone before the first layer's backward pass.
    layer = of_layer(part, length, scores=4, wide=3, narrow=4)
    inputs = num_layers * part * length * cfg.hidden_size * size
    activations = inputs + layer if cfg.remat else num_layers * layer
    chunk = min(workload.chunk, part * length)
    return Memory(
        weights=weights + (trained if lora_rank else 0),
        reference=weights if reference and not lora_rank else 0,
        optimiser=2 * trained,
        layers=layer_weights * num_layers,
        cache=keys_and_values + prefill,
        rollout_logits=2 * rows * row_logits,
        gradients=(1 if workload.microbatches == 1 else 2) * trained + merged,
        activations=activations + (3 if lora_rank else 7) * layer_weights + gathered,
        update_logits=max(0, 4 * chunk * row_logits - layer),
    )
