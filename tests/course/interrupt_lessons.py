"""``python tests/course/interrupt_lessons.py [--whole OUT] [07 08 09]``: Ctrl-C at three moments of
a lesson's smoke run; it ends as without.

It takes some minutes, so the tests have the parts that the lessons share, and this the lessons
themselves.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMES = ("minutes of training",)  # measured with a clock


def start(script: Path, out: Path) -> subprocess.Popen:
    command = [sys.executable, str(script), "--quick", "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> str:
    """What it printed.

    Raises:
      RuntimeError: it failed.
    """
    printed, error = process.communicate()
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}: {error[-2000:]}")
    return printed


def num_kept(out: Path) -> int:
    """Files that an interrupted run would go on from."""
    return sum(1 for path in out.glob("*/unfinished/*/**/*") if path.suffix in (".npz", ".jsonl"))


def interrupt(script: Path, out: Path, more: int) -> None:
    """Ctrl-C when ``more`` files are kept than before."""
    before = num_kept(out)
    process = start(script, out)
    while process.poll() is None and num_kept(out) < before + more:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    last = error.strip().splitlines()[-1]
    assert process.returncode == 130 and "run the same command again to go on" in last, error[
        -2000:
    ]
    print(f"{script.stem}: {last}", flush=True)


def values(out: Path, name: str) -> dict[str, list]:
    record = json.loads((out / name / "results.json").read_text())
    rows = {
        row["name"]: list(row.values())
        for row in record["measurements"]
        if row["name"] not in TIMES
    }
    return rows | {row["claim"]: list(row.values()) for row in record["claims"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--whole", type=Path, help="the --out of undisturbed runs with --quick, if they are there"
    )
    parser.add_argument("lessons", nargs="*", default=["07", "08", "09"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, cut = options.whole or Path(folder) / "whole", Path(folder) / "cut"
        for number in options.lessons:
            (script,) = (ROOT / "lessons").glob(f"{number}_*.py")
            if options.whole is None:
                finish(start(script, whole))
            for more in (1, 2, 2):
                interrupt(script, cut, more)
            printed = finish(start(script, cut))
            assert "goes on where a run was interrupted" in printed
            assert values(cut, script.stem) == values(whole, script.stem)
            assert num_kept(cut) == 0  # it is finished: the next run begins anew
            print(
                f"{script.stem}: interrupted three times; the same values as undisturbed",
                flush=True,
            )


if __name__ == "__main__":
    main()
