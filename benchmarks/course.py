"""``python -m benchmarks.course``: wall time of every lesson with its defaults, each as a process;
writes docs/course.md.

The lessons' results go to a temporary folder. Nothing is compiled or drawn before, but a lesson
finds the programs and the chains of the lessons before it.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from tqdm.auto import tqdm

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "docs" / "course.md"


def seconds(number: str, home: str) -> float:
    """The wall time of a lesson."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "jaxreason.course.cli", "lesson", number, "--out", home]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"HOME": home}
    )
    if done.returncode:
        raise RuntimeError(
            f"lesson {number} ended with status {done.returncode}:\n{done.stderr[-2000:]}"
        )
    return time.perf_counter() - began


def main() -> None:
    numbers = sorted(
        path.stem.partition("_")[0] for path in (ROOT / "lessons").glob("[0-9][0-9]*_*.py")
    )
    with tempfile.TemporaryDirectory() as home:  # where lessons keep what they compile
        took = {number: seconds(number, home) for number in tqdm(numbers, desc="lessons")}
    report = (
        "# How long the lessons take\n\n"
        "Written by one run of `python -m benchmarks.course`: each lesson with its defaults, "
        "a process of its own, imports and compilation included. A lesson that needs chains of an "
        "earlier one reads them: alone, 02b, 02c and 10b take about as long as 02 and 10.\n\n"
        f"{os.cpu_count()} cores of {platform.machine()}, "
        f"Python {platform.python_version()}, jax {version('jax')}.\n\n"
        "| lesson | seconds |\n| --- | ---: |\n"
        + "".join(f"| {number} | {value:.0f} |\n" for number, value in took.items())
        + f"| all | {sum(took.values()):.0f} |\n"
    )
    REPORT.write_text(report)
    print(report)


if __name__ == "__main__":
    main()
