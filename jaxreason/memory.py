"""How much memory decoding and GRPO take on each device, before they are started.

Decoding: cache and logits. GRPO: weights, optimiser and activations as well.
"""

import contextlib
import functools
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from jaxreason.errors import InputError
from jaxreason.mesh import names_of, num_row_parts, partition
from jaxreason.models.decoder import DecoderConfig, init
from jaxreason.models.lora import init_lora

TEXT_BYTES = 250  # of a chain on the host beside its characters: its text, answer, key and numbers


def check_decoding(
    cfg: DecoderConfig,
    *,
    rows: int,
    chains: int,
    total: int,
    prompt_tokens: int,
    new_tokens: int,
    dtype: Any,
    mesh: Mesh | None = None,
) -> None:
    """That there is memory for chains: those under way on the devices, and the texts of all on the host.

    An estimate, of what certainly does not fit; no check where the free memory is not known.

    Args:
      rows: chains at a time, of several prompts.
      chains: of one prompt, which are under way together, however few the rows.
      total: of all prompts.
      prompt_tokens, new_tokens: of a chain, at most.
      dtype: of the cache.

    Raises:
      InputError: it is not enough; the message says how many chains or rows fit.
    """
    of_prompt, of_row = _decoding_bytes(cfg, prompt_tokens, new_tokens, dtype, mesh)
    free = free_on_device()
    if free is not None:
        free *= num_row_parts(mesh)
        at_a_time = max(chains, rows)
        needed = at_a_time * (of_row + of_prompt / chains)
        fit = max(0, int((free - of_prompt) / of_row))  # of one prompt
        if needed > free and chains > fit:
            raise InputError(_too_much(f"{chains} chains", new_tokens, needed, free, f"{fit} chains"))
        if needed > free:
            fit = int(free / (of_row + of_prompt / chains))
            raise InputError(_too_much(f"{rows} rows", new_tokens, needed, free, f"{fit} rows"))
    free = free_on_host()
    of_chain = TEXT_BYTES + new_tokens
    if free is not None and total * of_chain > free:
        raise InputError(
            f"the texts of {total} chains, {chains} of each prompt, take about {_gib(total * of_chain)} of memory, and "
            f"{_gib(free)} are free: at most {int(free / of_chain * chains / total)} chains of a prompt fit; ask for fewer"
        )


def _too_much(asked: str, new_tokens: int, needed: float, free: float, fit: str) -> str:
    return (
        f"{asked} at a time of up to {new_tokens} new tokens take about {_gib(needed)} of cache and logits, and "
        f"{_gib(free)} are free: at most {fit} fit; ask for fewer"
    )


def _decoding_bytes(
    cfg: DecoderConfig, prompt_tokens: int, new_tokens: int, dtype: Any, mesh: Mesh | None
) -> tuple[float, float]:
    """Of a prompt: its keys and values. Of a chain under way: its own, its logits twice, and what is kept of each token."""
    by_model = 1 if mesh is None else dict(mesh.shape).get("model", 1)
    by_head = by_model if cfg.num_key_value_heads % by_model == 0 else 1
    of_prompt, of_chain = (
        cache_bytes(cfg, n, jnp.dtype(dtype).itemsize) / by_head for n in (prompt_tokens, new_tokens)
    )
    return of_prompt, of_chain + 2 * 4 * cfg.vocab_size / by_model + new_tokens * (4 + 4 + 1)


def cache_bytes(cfg: DecoderConfig, slots: float, itemsize: int) -> float:
    """Keys and values of so many tokens, in all layers."""
    return 2 * cfg.num_hidden_layers * cfg.num_key_value_heads * cfg.head_dim * slots * itemsize


def free_on_device() -> float | None:
    """Bytes that the default device has left, or None where it does not say; a CPU has the memory of its host."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        free = free_on_host()
        return None if free is None else free / jax.local_device_count()
    stats = device.memory_stats() or {}
    return stats["bytes_limit"] - stats["bytes_in_use"] if {"bytes_limit", "bytes_in_use"} <= set(stats) else None


def free_on_host() -> int | None:
    """Bytes that this machine, or the container that this is, has left, on Linux; None elsewhere."""
    try:
        free = 1024 * int(re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[1])
    except (OSError, TypeError):
        return None
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError, TypeError):  # without a limit it says "max"
        limit = int((group / "memory.max").read_text())
        free = min(free, limit - int(re.search(r"^anon (\d+)", (group / "memory.stat").read_text(), re.M)[1]))
    return free


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"


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
    layers: int  # of the rollout: the weights of the layers once more, each in one piece, whole along fsdp
    cache: int  # of the rollout: keys and values, and what the prompts' prefill holds
    rollout_logits: int
    gradients: (
        int  # of the update, and their sum over microbatches; with LoRA the merged matrices and their gradients as well
    )
    activations: int  # of the update: the inputs of all layers, what one layer's backward pass holds, its weights in several layouts
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
        total += math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize // math.prod(mesh.shape[a] for a in spec if a)
    return total


@functools.lru_cache
def _shapes(cfg: DecoderConfig, dtype: str, lora_rank: int, lora_targets: tuple[str, ...]) -> tuple[Any, Any]:
    """Of the parameters and of an adapter, if there is one."""
    params = jax.eval_shape(lambda: jax.tree.map(lambda x: x.astype(dtype), init(jax.random.key(0), cfg)))
    if not lora_rank:
        return params, None
    return params, jax.eval_shape(lambda p: init_lora(jax.random.key(0), p, lora_rank, lora_targets), params)


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
      dtype: of the parameters, and so of their moments and of the activations. A LoRA adapter is float32.
      lora_rank: 0 trains all parameters.
    """
    sizes = {} if mesh is None else dict(mesh.shape)
    size, by_model = jnp.dtype(dtype).itemsize, sizes.get("model", 1)
    params, lora = _shapes(cfg, jnp.dtype(dtype).name, lora_rank, lora_targets)
    weights = bytes_on_device(params, mesh)
    trained, merged = weights, 0
    if lora_rank:
        trained = bytes_on_device(lora, mesh)
        matrices = {name: x for group in params["layers"].values() for name, x in group.items() if name in lora_targets}
        merged = 2 * bytes_on_device(matrices, mesh)  # and as much of gradients

    by_head = by_model if cfg.num_key_value_heads % by_model == 0 else 1
    prompts = -(-workload.prompts // num_row_parts(mesh))  # on a device
    rows, length = prompts * workload.chains, workload.prompt_tokens + workload.new_tokens
    row_logits = 4 * -(-cfg.vocab_size // by_model)  # bytes, float32

    def of_layer(rows: int, length: int, scores: int, wide: int, narrow: int) -> int:
        """Of attention scores (float32), of arrays as wide as the MLP, and as the residual stream."""
        each = (
            4 * cfg.num_attention_heads // by_head * length,
            size * cfg.intermediate_size // by_model,
            size * cfg.hidden_size,
        )
        return rows * length * (scores * each[0] + wide * each[1] + narrow * each[2])

    # How many arrays are held at a time is XLA's choice; the numbers were fitted to its own account, see tests/test_memory.py.
    slots = prompts * workload.prompt_tokens + rows * workload.new_tokens
    keys_and_values = cache_bytes(cfg, slots, size) // by_head
    part = -(-rows // workload.microbatches)
    chunk = min(workload.chunk, part * length)
    # Along fsdp weights are put together to be used: of all layers, for XLA may do so ahead of its loops.
    without_fsdp = AbstractMesh((by_model,), ("model",))
    gathered = bytes_on_device(params, without_fsdp) - weights
    one = bytes_on_device({"layers": params["layers"]}, without_fsdp) // cfg.num_hidden_layers
    layer, kept = of_layer(part, length, 4, 3, 4), cfg.num_hidden_layers * part * length * cfg.hidden_size * size
    activations = kept + layer if cfg.remat else cfg.num_hidden_layers * layer
    logits = max(0, 4 * chunk * row_logits - layer)  # they are gone before the first layer's backward pass
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
