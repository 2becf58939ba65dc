"""What a lesson says of the machine it runs on, and the compiled programs it keeps there."""

import os

import jax

from jaxreason.files import cache_folder

CACHE_BYTES = 2**30


def device() -> str:
    """One line: the devices JAX runs on, how many, and their memory."""
    first = jax.local_devices()[0]
    stats = first.memory_stats() or {}
    memory = f", {stats['bytes_limit'] / 2**30:.0f} GiB each" if "bytes_limit" in stats else ""
    cores = f", {os.cpu_count()} cores" if first.platform == "cpu" else ""
    return f"{jax.device_count()} x {first.device_kind}{memory}{cores}, jax {jax.__version__}"


def keep_compiled() -> None:
    """Keeps compiled programs in ``~/.cache/jaxreason``, at most 1 GiB of them.

    Most of a short lesson is compilation. The next run, and other lessons with the same programs,
    start faster. ``JAX_COMPILATION_CACHE_DIR`` names another folder, and
    ``JAX_ENABLE_COMPILATION_CACHE=false`` keeps nothing. Nothing is kept either where the home
    folder cannot be written to.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return
    folder = cache_folder()
    if folder is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
