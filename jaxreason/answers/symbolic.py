"""Equality of two mathematical expressions by the optional package math-verify.

math-verify reads the LaTeX; the difference of what it read is then compared with zero exactly. Its
own comparison rounds to a number of decimals, so that 2^-99 equals 2^-98 (math-verify 0.9.0).

sympy can hang inside one call (9^9^9), where neither a thread nor a Python signal handler stops it.
So a process of its own, started on first use, does the work, and the system kills it after a second
of the processor's time. A second by the clock would grade by how busy the machine is.
"""

import atexit
import functools
import importlib.util
import json
import subprocess
import sys
import threading

_WORKER = r"""
import json, signal, sys
import sympy
from math_verify import LatexExtractionConfig, parse
latex = [LatexExtractionConfig()]
def read(text):
    found = parse(f"${text}$", latex, fallback_mode="no_fallback", parsing_timeout=9)
    return found[0] if found and isinstance(found[0], sympy.Basic) else None
def is_zero(difference):
    return difference == 0 or sympy.simplify(difference) == 0 or difference.equals(0) is True
def same(a, b):
    if isinstance(a, sympy.Eq) and isinstance(b, sympy.Eq):  # of one curve: multiples
        ratio = sympy.simplify((a.lhs - a.rhs) / (b.lhs - b.rhs))
        return bool(ratio.is_number and ratio.is_finite and ratio != 0)
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        return bool(is_zero(a - b))
    return False
same(read("x+1"), read(r"1+\sqrt{x}"))  # the first call builds the parser
print("ready", flush=True)
def allow(seconds):
    if hasattr(signal, "setitimer"):  # not on Windows, where _ask ends it
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
for line in sys.stdin:
    allow(1.0)
    try:
        gold, answer = map(read, json.loads(line))
        equal = gold is not None and answer is not None and same(gold, answer)
    except Exception:
        equal = False
    allow(0.0)
    print(int(equal), flush=True)
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
    """Whether two LaTeX expressions are equal by math-verify.

    False where it is not installed, or takes over a second.
    """
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
        return _ask(json.dumps([gold, answer]) + "\n", seconds=10.0) == "1"
