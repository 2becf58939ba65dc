"""How much memory decoding takes on each device, before it is started.

Its cache and its logits; what training takes is counted in ``training/memory.py``.
"""

import contextlib
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.mesh import num_row_parts
from jaxreason.models.decoder import DecoderConfig

TEXT_BYTES = 250  # of a chain on the host beside its characters: its text, answer, key and numbers


def check_decoding(
    cfg: DecoderConfig,
    *,
    rows: int,
    total: int,
    prompt_tokens: int,
    new_tokens: int,
    dtype: Any,
    mesh: Mesh | None = None,
) -> None:
    """That there is memory for chains: on the devices for those under way, on the host for texts.

    An estimate that refuses what certainly does not fit. Where the free memory is not known,
    nothing is checked.

    Args:
      cfg: of the model.
      rows: chains at a time.
      total: of all prompts.
      prompt_tokens, new_tokens: of a chain, at most.
      dtype: of the cache.
      mesh: the devices, which share the rows.

    Raises:
      InputError: it is not enough; the message says how many chains or rows fit.
    """
    of_row = decoding_bytes(cfg, prompt_tokens, new_tokens, dtype, mesh)
    free = free_on_device()
    if free is not None:
        free *= num_row_parts(mesh)
        if rows * of_row > free:
            raise InputError(
                f"{rows} rows, chains of up to {prompt_tokens} + {new_tokens} tokens at a time, "
                f"take about {_gib(rows * of_row)} of cache and logits, and {_gib(free)} are free: "
                f"at most {int(free / of_row)} rows fit; ask for fewer"
            )
    free = free_on_host()
    of_chain = TEXT_BYTES + new_tokens
    if free is not None and total * of_chain > free:
        raise InputError(
            f"the texts of {total} chains take about {_gib(total * of_chain)} of memory, and "
            f"{_gib(free)} are free: at most {int(free / of_chain)} chains fit; ask for fewer"
        )


def decoding_bytes(
    cfg: DecoderConfig, prompt_tokens: int, new_tokens: int, dtype: Any, mesh: Mesh | None
) -> float:
    """Bytes of a chain under way: keys and values of its prompt and of its own tokens, and its
    logits twice.
    """
    by_model = 1 if mesh is None else dict(mesh.shape).get("model", 1)
    by_head = by_model if cfg.num_key_value_heads % by_model == 0 else 1
    of_cache = cache_bytes(cfg, prompt_tokens + new_tokens, jnp.dtype(dtype).itemsize)
    return of_cache / by_head + 2 * 4 * cfg.vocab_size / by_model


def cache_bytes(cfg: DecoderConfig, slots: float, itemsize: int) -> float:
    """Bytes of the keys and values of so many tokens, in all layers."""
    return 2 * cfg.num_hidden_layers * cfg.num_key_value_heads * cfg.head_dim * slots * itemsize


def free_on_device() -> float | None:
    """Bytes that the default device has left, or None where it does not say.

    A CPU has its part of the memory of the host.
    """
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        free = free_on_host()
        return None if free is None else free / jax.local_device_count()
    stats = device.memory_stats() or {}
    if not {"bytes_limit", "bytes_in_use"} <= set(stats):
        return None
    return stats["bytes_limit"] - stats["bytes_in_use"]


def free_on_host() -> int | None:
    """Bytes that this machine, or the container it is, has left, on Linux; None elsewhere."""
    try:
        free = 1024 * int(re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[1])
    except (OSError, TypeError):
        return None
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError, TypeError):  # without a limit it says "max"
        limit = int((group / "memory.max").read_text())
        free = min(
            free,
            limit - int(re.search(r"^anon (\d+)", (group / "memory.stat").read_text(), re.M)[1]),
        )
    return free


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"
