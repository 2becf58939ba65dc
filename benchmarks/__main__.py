"""``python -m benchmarks``: runs every benchmark on this machine and writes docs/benchmarks.md;
needs the ``bench`` extra.

Each is a program of its own, ``python -m benchmarks.sampling`` for instance, and runs in a process
of its own, so that none is slowed by what another left behind. ``benchmarks.course`` measures how
long lessons take, and itself takes longer than all of these: docs/course.md.

Compilation is measured on its own: the first call on a shape compiles, the second does not.
"""

import os
import platform
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from benchmarks import chains, grpo, mcts, memory, particles, sampling

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "docs" / "benchmarks.md"
SECTIONS = {
    "Chains, and a first result": chains.compare,
    "Sampling, against transformers": sampling.compare,
    "GRPO, against TRL": grpo.compare,
    "Memory": memory.compare,
    "Search, against mctx": mcts.compare,
    "Particle filtering, against chains": particles.compare,
}


def main() -> None:
    report = (
        "# Benchmarks\n\nWritten by one run of `python -m benchmarks`.\n\n"
        f"{os.cpu_count()} cores of {platform.machine()}, "
        f"Python {platform.python_version()}, jax {version('jax')}.\n"
    )
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for title, compare in SECTIONS.items():
            report += f"\n## {title}\n\n{pool.submit(compare).result().strip()}\n"
            REPORT.write_text(report)  # what was measured is kept, should a later part fail
    print(report)


if __name__ == "__main__":
    main()
