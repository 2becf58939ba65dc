"""The tables of docs/scaling.md: ``python docs/scaling.py`` rewrites them in place, from
jaxreason/decoding/memory.py. No device is needed.
"""

import itertools
import math
from pathlib import Path
from typing import NamedTuple

from jax.sharding import AbstractMesh

from jaxreason.mesh import num_row_parts
from jaxreason.models.decoder import DecoderConfig
from jaxreason.training.memory import Memory, Workload, grpo_memory

PAGE = Path(__file__).parent / "scaling.md"
START, END = "<!-- {} -->\n", "<!-- end of {} -->\n"
GIB = 2**30
USABLE = 0.9  # of a device's memory: XLA's own buffers and fragments take the rest


def qwen(
    width: int, wide: int, layers: int, heads: int, kv: int, head_dim: int, vocab: int, tied: bool
) -> DecoderConfig:
    """A Qwen2.5, from its config.json; with layers recomputed in the backward pass."""
    return DecoderConfig(
        vocab_size=vocab,
        hidden_size=width,
        intermediate_size=wide,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        head_dim=head_dim,
        max_position_embeddings=32768,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        attention_bias=True,
        tie_word_embeddings=tied,
        remat=True,
    )


MODELS = {
    "Qwen2.5-0.5B": qwen(896, 4864, 24, 14, 2, 64, 151_936, True),
    "Qwen2.5-1.5B": qwen(1536, 8960, 28, 12, 2, 128, 151_936, True),
    "Qwen2.5-7B": qwen(3584, 18944, 28, 28, 4, 128, 152_064, False),
}
TRAINING = {  # dtype, LoRA rank
    "full, float32": ("float32", 0),
    "full, bfloat16": ("bfloat16", 0),
    "LoRA 16, bfloat16": ("bfloat16", 16),
}
# Memory of one device in GiB, number of devices, and meshes from the least communication to the
# most.
OF_EIGHT = (
    "data=8",
    "data=4,model=2",
    "data=2,model=4",
    "data=4,fsdp=2",
    "fsdp=4,model=2",
    "fsdp=8",
    "fsdp=2,model=4",
    "model=8",
)
HARDWARE = {
    "TPU v5e-1": (16, ("data=1",)),
    "TPU v5e-8": (16, OF_EIGHT),
    "H100": (80e9 / GIB, ("data=1",)),
    "8 x H100": (80e9 / GIB, OF_EIGHT),
}
WORKLOAD = Workload(prompts=8, chains=8, prompt_tokens=256, new_tokens=512)


class Choice(NamedTuple):
    """A mesh, and how the update is split."""

    spec: str
    workload: Workload
    memory: Memory


def abstract(spec: str) -> AbstractMesh:
    """``make_mesh`` without devices."""
    names, sizes = zip(*(part.split("=") for part in spec.split(",")), strict=True)
    return AbstractMesh(tuple(map(int, sizes)), names)


def choose(
    cfg: DecoderConfig, dtype: str, lora_rank: int, memory: float, specs: tuple[str, ...]
) -> tuple[Choice, bool]:
    """The first mesh with the fewest microbatches that fits, and True; else the one that takes the
    least, and False.
    """
    found = []
    for spec, chunk, microbatches in itertools.product(specs, (1024, 256), (1, 2, 4, 8)):
        mesh = abstract(spec)
        if WORKLOAD.prompts // microbatches % num_row_parts(mesh):
            continue  # every part takes part in each
        workload = WORKLOAD._replace(microbatches=microbatches, chunk=chunk)
        found.append(
            Choice(
                spec, workload, grpo_memory(cfg, workload, mesh, dtype=dtype, lora_rank=lora_rank)
            )
        )
    fitting = [choice for choice in found if choice.memory.peak <= USABLE * memory * GIB]
    return (
        (fitting[0], True)
        if fitting
        else (min(found, key=lambda choice: choice.memory.peak), False)
    )


def table(name: str) -> str:
    """Of one kind of hardware, GiB on each device."""
    memory, specs = HARDWARE[name]
    rows = [
        "| model | training | mesh | M | chunk | weights | reference | optimiser | cache "
        "| rollout in all | gradients | "
        "activations | update in all | peak | fits |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: "
        "| ---: | --- |",
    ]
    for (model, cfg), (training, (dtype, rank)) in itertools.product(
        MODELS.items(), TRAINING.items()
    ):
        (spec, workload, m), fits = choose(cfg, dtype, rank, memory, specs)
        sizes = (
            m.weights,
            m.reference,
            m.optimiser,
            m.cache,
            m.rollout,
            m.gradients,
            m.activations,
            m.update,
            m.peak,
        )
        shown = " | ".join(f"{size / GIB:.1f}" for size in sizes)
        mesh = "none" if math.prod(abstract(spec).shape.values()) == 1 else f"`{spec}`"
        rows.append(
            f"| {model} | {training} | {mesh} | {workload.microbatches} | {workload.chunk} "
            f"| {shown} | {'yes' if fits else '**no**'} |"
        )
    return "\n".join(rows) + "\n"


def insert(page: str) -> str:
    """The page with its tables as they would be computed now."""
    for name in HARDWARE:
        start, end = START.format(name), END.format(name)
        before, rest = page.split(start)
        page = f"{before}{start}\n{table(name)}\n{end}{rest.split(end)[1]}"
    return page


if __name__ == "__main__":
    PAGE.write_text(insert(PAGE.read_text()))
    print(PAGE)
