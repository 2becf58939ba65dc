"""``python -m benchmarks.course``: wall time of every lesson with its defaults, each as a process; results go to ``outputs/``."""

import subprocess
import sys
import time
from pathlib import Path

from tqdm.auto import tqdm

ROOT = Path(__file__).parent.parent
BOUND = 1800  # seconds, the whole course


def main() -> None:
    total = 0.0
    print("| lesson | seconds, imports and compilation included |\n| --- | ---: |")
    for number in tqdm(sorted(path.name[:2] for path in (ROOT / "lessons").glob("[0-9]*.py")), desc="lessons"):
        began = time.perf_counter()
        command = [sys.executable, "-m", "jaxreason.cli", "lesson", number]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"lesson {number} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
        total += time.perf_counter() - began
        print(f"| {number} | {time.perf_counter() - began:.0f} |", flush=True)
    print(f"| all (bound: {BOUND}) | {total:.0f} |")


if __name__ == "__main__":
    main()
