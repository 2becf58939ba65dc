"""Which arithmetic multiplies a model's matrices fastest on this machine: found by measuring.

Nothing else tells. A CPU with units for bfloat16 or int8 multiplies up to nine times as fast in
them as in float32, one without is slower in them than in float32, and the version of jax decides
which units it uses.
"""

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxreason.files import atomic_file, cache_folder
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.precision import KINDS, matmul, quantised

# What "auto" may choose, from fine to coarse. int8 is not among them: at 1,773 tokens of GSM8K
# solutions the most likely token of SmolLM2-135M is that of float32 in 99.7% of cases in bfloat16,
# and in 91.7% in int8.
SOUND = ("float32", "bfloat16")
ROWS = 64  # chains decoded at a time, where nothing else is said
GAIN = 1.2  # a coarser arithmetic has to be so much faster than the next finer one
SMALL = 20_000_000  # parameters: products of smaller models take less time than all that is around
SECONDS = 1.0  # of measuring, behind the compilation
# Most rows, and most features of a matrix, that are measured: beyond these nothing new is learned.
MOST_ROWS, WIDEST = 512, 4096
STREAMED = 2**27  # bytes of float32 weights that are read in turn: a model leaves the caches, too
MOST_LAYERS = 32


def default_dtype(cfg: DecoderConfig, rows: int = ROWS) -> str:
    """The arithmetic that ``dtype="auto"`` stands for on this device.

    float32 for small models. Else on a CPU the fastest of :func:`measure` that is worth what it
    loses, by :func:`choose`, and on a GPU or TPU that of :func:`fast_dtype`.

    Args:
      cfg: of the model, before it is lowered.
      rows: chains decoded at a time.
    """
    if _is_measured(cfg):
        return choose(measure(cfg, rows))
    device = jax.devices()[0]
    if _is_small(cfg) or device.platform == "cpu":
        return "float32"
    return fast_dtype(device.platform, getattr(device, "compute_capability", ""))


def fast_dtype(platform: str, compute_capability: str = "") -> str:
    """bfloat16 where an accelerator multiplies in it, else float32.

    Args:
      platform: "tpu" or "gpu"; a TPU does.
      compute_capability: of an NVIDIA GPU; those of "8.0" (Ampere) and later do.
    """
    major = compute_capability.partition(".")[0]
    ampere = platform == "gpu" and major.isdecimal() and int(major) >= 8
    return "bfloat16" if platform == "tpu" or ampere else "float32"


def choose(seconds: dict[str, float]) -> str:
    """The arithmetic of ``SOUND`` that is worth what it loses, from the seconds of each: one is
    taken if it is ``GAIN`` times as fast as what would be taken without it.
    """
    chosen = SOUND[0]
    for kind in SOUND[1:]:
        if seconds[chosen] >= GAIN * seconds[kind]:
            chosen = kind
    return chosen


def explain(cfg: DecoderConfig, rows: int = ROWS) -> str | None:
    """What :func:`default_dtype` chose by measuring, such as "bfloat16 (2.1x float32 here)"; None
    where it did not measure.
    """
    if not _is_measured(cfg):
        return None
    seconds = measure(cfg, rows)
    times = {kind: f"{seconds['float32'] / seconds[kind]:.1f}x" for kind in KINDS}
    chosen = choose(seconds)
    if chosen == "float32":
        line = f"float32 (bfloat16 is {times['bfloat16']} as fast here)"
    else:
        line = f"{chosen} ({times[chosen]} float32 here)"
    if seconds[chosen] >= GAIN * seconds["int8"]:
        line += f"; --dtype int8 is {times['int8']}, and less exact"
    return line


def _is_measured(cfg: DecoderConfig) -> bool:
    """On a CPU, for large models; of several processes none measures, for they would not agree."""
    return jax.default_backend() == "cpu" and jax.process_count() == 1 and not _is_small(cfg)


def _is_small(cfg: DecoderConfig) -> bool:
    of_mlps = 3 * cfg.num_hidden_layers * cfg.hidden_size * cfg.intermediate_size
    return of_mlps + cfg.vocab_size * cfg.hidden_size < SMALL


def measure(cfg: DecoderConfig, rows: int = ROWS) -> dict[str, float]:
    """Seconds that a layer's two widest products take in each of ``KINDS``.

    The first call on a machine takes some seconds. What it found is kept in ``arithmetic.json``
    beside the compiled programs of :func:`jaxreason.course.machine.keep_compiled`, by machine, jax
    version and shapes: the choice is to stay the same.
    """
    sizes = (min(size, WIDEST) for size in (cfg.hidden_size, cfg.intermediate_size))
    return _measure_once((min(rows, MOST_ROWS), *sizes))


@functools.lru_cache
def _measure_once(shape: tuple[int, int, int]) -> dict[str, float]:
    name, kept = f"{machine()}, {' x '.join(map(str, shape))}", _kept_file()
    stored = {}
    if kept is not None:
        with contextlib.suppress(OSError, ValueError):  # none yet, or damaged: measured anew
            stored = json.loads(kept.read_text(encoding="utf-8"))
    found = stored.get(name) if isinstance(stored, dict) else None
    if _is_measurement(found):
        return found
    found = time_products(*shape)
    if kept is not None:
        with contextlib.suppress(OSError), atomic_file(kept) as path:
            stored = stored if isinstance(stored, dict) else {}
            path.write_text(json.dumps(stored | {name: found}, indent=1), encoding="utf-8")
    return found


def _is_measurement(found: object) -> bool:
    return (
        isinstance(found, dict)
        and set(found) == set(KINDS)
        and all(isinstance(x, float) and x > 0 for x in found.values())
    )


def _kept_file() -> Path | None:
    """Where measurements are kept, or None where nothing is to be kept."""
    if not jax.config.jax_enable_compilation_cache:
        return None
    folder = jax.config.jax_compilation_cache_dir or cache_folder()
    return Path(folder) / "arithmetic.json" if folder and os.path.isdir(folder) else None


def machine() -> str:
    """What decides how fast products are: the CPU, its units and cores, and the version of jax."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # of Linux alone
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        names = dict.fromkeys(re.findall(r"^model name\s*: (.*)$", text, re.M))
        units = dict.fromkeys(re.findall(r"^(?:flags|Features)\s*: (.*)$", text, re.M))
        digest = hashlib.sha256("".join(units).encode()).hexdigest()[:8]
        cpu = f"{' and '.join(names) or cpu} with units {digest}"
    return f"{cpu}, {os.cpu_count()} cores, jax {jax.__version__}"


def time_products(rows: int, hidden: int, inner: int) -> dict[str, float]:
    """Seconds of ``x [rows, hidden] @ [hidden, inner] @ [inner, hidden]`` in each of ``KINDS``.

    The weights are those of one layer after the other, as a decode step reads them.

    The least of several runs, and those of all kinds take turns: whatever else the machine does
    slows all of them.
    """
    num_layers = min(MOST_LAYERS, -(-STREAMED // (8 * hidden * inner)))
    make = {
        "float32": lambda w: {"kernel": w},
        "bfloat16": lambda w: {"kernel": w.astype(jnp.bfloat16)},
        "int8": lambda w: quantised("kernel", w),
    }
    shapes = (hidden, inner), (inner, hidden)
    layers = {
        kind: [[make[kind](jnp.full(shape, 0.01)) for shape in shapes] for _ in range(num_layers)]
        for kind in KINDS
    }

    @jax.jit
    def two_products(x: jax.Array, weights: list[dict[str, jax.Array]]) -> jax.Array:
        for w in weights:
            x = matmul(x, w["kernel"], w.get("scale"))
        return x

    def timed(kind: str) -> float:
        x = jnp.ones((rows, hidden))
        began = time.perf_counter()
        for weights in layers[kind]:
            x = two_products(x, weights)
        x.block_until_ready()
        return (time.perf_counter() - began) / num_layers

    for kind in KINDS:
        timed(kind)  # compiles
    end, rounds = time.perf_counter() + SECONDS, []
    while len(rounds) < 5 or time.perf_counter() < end:
        rounds.append([timed(kind) for kind in KINDS])
    return dict(zip(KINDS, map(min, zip(*rounds, strict=True)), strict=True))
