"""Equality of mathematical expressions by the optional package math-verify, in a process of its own.

sympy can hang inside one call (9^9^9), where neither a thread nor a signal stops it, so a timer kills the process. It is
started on first use.
"""

import atexit
import functools
import importlib.util
import json
import subprocess
import sys
import threading

_WORKER = r"""
import json, sys
from math_verify import LatexExtractionConfig, parse, verify
def read(text):
    return parse(f"${text}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=9)
verify(read("x+1"), read("1+x"))  # the first call builds the parser
print("ready", flush=True)
for line in sys.stdin:
    try:
        gold, answer = map(read, json.loads(line))
        same = bool(gold and answer) and verify(gold, answer, float_rounding=12, timeout_seconds=9)
    except Exception:
        same = False
    print(int(same), flush=True)
"""
_lock = threading.Lock()
_process: subprocess.Popen | None = None


def _ask(line: str, seconds: float) -> str:
    """Sends a line to the worker and reads one; "" where it died or had to be killed."""
    timer = threading.Timer(seconds, _process.kill)
    timer.start()
    try:
        _process.stdin.write(line)
        _process.stdin.flush()
        reply = _process.stdout.readline().strip()
    except OSError:
        reply = ""
    timer.cancel()
    if not reply:
        _process.kill()
        _process.communicate()
    return reply


@functools.lru_cache(maxsize=4096)
def same_mathematics(answer: str, gold: str) -> bool:
    """Whether two LaTeX expressions are equal by math-verify; False where it is not installed, or takes over a second."""
    global _process
    if importlib.util.find_spec("math_verify") is None:
        return False
    with _lock:
        if _process is None or _process.poll() is not None:
            _process = subprocess.Popen(
                [sys.executable, "-c", _WORKER],
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            atexit.register(_process.communicate)  # closes its stdin, which ends it
            if _ask("", seconds=60.0) != "ready":  # the first import of sympy may be slow
                return False
        return _ask(json.dumps([gold, answer]) + "\n", seconds=1.0) == "1"
