"""``python -m benchmarks.particles``: tokens per second of the particle filter, against independent
chains of ``complete``; the same model, problems, sampler and process, each after a first run that
compiles.

The filter draws lines and has each line read by a reward model of five blocks, where ``tiny`` has
three. So there are two things to compare with: chains that are only drawn, and chains that are
drawn and then read by the same reward model, which is best-of-N.
"""

import statistics
import time
from collections.abc import Callable

import jax

from jaxreason.course.machine import device
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import Sampler
from jaxreason.mesh import divide_cpu, make_mesh
from jaxreason.models.hf import load_model
from jaxreason.rewards.reward_model import load_reward_model, step_scores
from jaxreason.search.lm_particles import filter_lines
from jaxreason.tasks import arithmetic

PROBLEMS, PARTICLES, REPEATS, BOUND = 100, 64, 3, 0.7


def timed(run: Callable[[], int]) -> tuple[float, float, float]:
    """Tokens a second, median seconds, and what the first run, which compiles, took on top."""
    seconds, tokens = [], []
    for _ in range(1 + REPEATS):
        began = time.perf_counter()
        tokens.append(run())
        seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds[1:])
    return tokens[-1] / median, median, seconds[0] - median


def compare() -> str:
    """The comparison as a Markdown table."""
    two = divide_cpu(2)
    model = load_model("tiny", mesh=two and make_mesh(two))
    prm = load_reward_model("tiny-prm", model)
    problems = arithmetic.problems("validation", PROBLEMS, operations=(4, 5, 6))
    texts = [prompts.zero_shot_cot(problem.question) for problem in problems]
    key, sampler = jax.random.key(0), Sampler(1.0)

    def draw():
        many = {"max_new_tokens": 96, "num_samples": PARTICLES, "sampler": sampler}
        return complete(model, key, texts, **many)

    def draw_and_read() -> int:
        chains = draw()
        step_scores(prm, texts, chains.texts)
        return int(chains.num_tokens.sum())

    def filter_particles() -> int:
        found = filter_lines(model, prm, key, texts, num_particles=PARTICLES, sampler=sampler)
        return int(found.num_tokens.sum())

    cases = {
        "chains, drawn": lambda: int(draw().num_tokens.sum()),
        "chains, drawn and read": draw_and_read,
        "particle filter": filter_particles,
    }
    found = {name: timed(run) for name, run in cases.items()}
    filter_speed = found["particle filter"][0]
    rows = "\n".join(
        f"| {name} | {speed:,.0f} | {median:.1f} | {compilation:.1f} | {filter_speed / speed:.2f} |"
        for name, (speed, median, compilation) in found.items()
    )
    return (
        f"{device()}. `tiny` and `tiny-prm`, {PROBLEMS} problems of 4 to 6 operations, {PARTICLES} "
        f"chains or particles each, temperature 1; medians of {REPEATS} runs. Tokens are those "
        "drawn, also by particles that are dropped. *Filter*: the speed of the particle filter "
        f"over that of the row; the bound for the first row is {BOUND}.\n\n"
        "| what | tokens/s | seconds | compilation, s | filter |\n"
        f"| --- | ---: | ---: | ---: | ---: |\n{rows}\n"
    )


if __name__ == "__main__":
    print(compare())
