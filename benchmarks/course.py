"""``python -m benchmarks.course [NN ...]``: wall time of lessons with their defaults, each as a
process; writes docs/course.md. Rows of lessons that are not named stay as they are.

Nothing is compiled or drawn before, but a lesson finds the programs and the chains of the lessons
that ran before it. What the lessons report goes to a temporary folder.
"""

import os
import platform
import re
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
    before = dict(re.findall(r"^\| (\d\d[a-z]?) \| (\d+) \|$", REPORT.read_text(), re.MULTILINE))
    took = {number: float(before[number]) for number in numbers if number in before}
    with tempfile.TemporaryDirectory() as home:  # where lessons keep what they compile
        for number in tqdm(sys.argv[1:] or numbers, desc="lessons"):
            took[number] = seconds(number, home)
    rows = [f"| {number} | {took[number]:.0f} |\n" for number in numbers if number in took]
    report = (
        "# How long the lessons take\n\n"
        "Measured by `python -m benchmarks.course`: each lesson with its defaults, a process of "
        "its own, imports and compilation included. Lessons read chains that an earlier one drew. "
        "Alone, 10b takes as long as 10.\n\n"
        f"{os.cpu_count()} cores of {platform.machine()}, "
        f"Python {platform.python_version()}, jax {version('jax')}.\n\n"
        "| lesson | seconds |\n| --- | ---: |\n" + "".join(rows)
    )
    missing = [number for number in numbers if number not in took]
    if missing:
        report += f"\nNot timed since they were last changed: {', '.join(missing)}.\n"
    else:
        report += f"| all | {sum(took.values()):.0f} |\n"
    REPORT.write_text(report)
    print(report)


if __name__ == "__main__":
    main()
