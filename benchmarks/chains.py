"""``python -m benchmarks.chains``: many chains of the tiny model, and how long a learner waits for
the first result.
"""

import subprocess
import sys
import time
from pathlib import Path

import jax

from jaxreason.course.machine import device
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import Sampler
from jaxreason.mesh import divide_cpu, make_mesh
from jaxreason.models.hf import load_model
from jaxreason.tasks import arithmetic

ROOT = Path(__file__).parent.parent


def many_chains(num_problems: int = 500, num_chains: int = 32) -> list[tuple[str, float, str]]:
    """Wall time of chains from the tiny model, text in and text out, as in lesson 02; the first run
    includes compilation.
    """
    two = divide_cpu(2)
    model = load_model("tiny", mesh=two and make_mesh(two))
    texts = [
        prompts.zero_shot_cot(p.question) for p in arithmetic.problems("validation", num_problems)
    ]

    def run() -> tuple[float, int]:
        began = time.perf_counter()
        written = complete(
            model,
            jax.random.key(0),
            texts,
            sampler=Sampler(0.7),
            max_new_tokens=96,
            num_samples=num_chains,
        )
        return time.perf_counter() - began, int(written.num_tokens.sum())

    first, _ = run()
    times, tokens = zip(*(run() for _ in range(3)), strict=True)
    median = sorted(times)[1]
    what = f"{num_problems} problems x {num_chains} chains, `tiny`"
    return [
        (what, median, f"{tokens[0] / median:,.0f} tokens/s, median of 3"),
        (f"{what}: compilation", first - median, "first run minus median"),
    ]


def first_result() -> list[tuple[str, float, str]]:
    """Seconds from starting lesson 00 in a new process to its first row of results."""
    began = time.perf_counter()
    command = [sys.executable, "-u", "-m", "jaxreason.course.cli", "lesson", "00"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("direct answer"):
                break
        seconds = time.perf_counter() - began
        process.kill()
    return [
        ("lesson 00: first result from a cold start", seconds, "imports and compilation included")
    ]


def compare() -> str:
    """The measurements as a Markdown table."""
    rows = "\n".join(
        f"| {what} | {seconds:.1f} | {note} |"
        for what, seconds, note in [*many_chains(), *first_result()]
    )
    return f"{device()}.\n\n| what | seconds | note |\n| --- | ---: | --- |\n{rows}\n"


if __name__ == "__main__":
    print(compare())
