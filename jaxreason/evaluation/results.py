"""Measuring a claim: intervals, compute in FLOPs, and a lesson's ``results.json`` (numpy, on the
host).
"""

import json
import math
import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jaxreason.errors import InputError
from jaxreason.evaluation.intervals import Interval
from jaxreason.files import atomic_file

# --- results.json
# -------------------------------------------------------------------------------------------


VERDICTS = {True: "holds", False: "NOT SEEN", None: "not testable here"}  # of Results.claim


class Results:
    """Collects a lesson's measurements and claims; :meth:`write` puts them in ``results.json``.

    Args:
        lesson: the lesson's name, such as "02_self_consistency".
        model: ``{"name": str, "params": int, "sha256": str or None}``.
        seed: the lesson's seed.
        problems: number of held-out problems.
        settings: what else the figures depend on, such as the task and the dtype.
    """

    def __init__(
        self,
        lesson: str,
        *,
        model: dict[str, Any],
        seed: int,
        problems: int,
        settings: dict[str, Any] | None = None,
    ):
        if set(model) != {"name", "params", "sha256"}:
            raise InputError(
                f"model has the keys {sorted(model)}: expected name, params and sha256"
            )
        self.header = {
            "lesson": lesson,
            "model": {**model, "params": int(model["params"])},
            "seed": int(seed),
            "problems": int(problems),
        } | ({"settings": dict(settings)} if settings else {})
        self.measurements: list[dict[str, Any]] = []
        self.claims: list[dict[str, Any]] = []
        self._start = time.perf_counter()

    def measure(self, name: str, interval: Interval, tokens: float | None = None) -> None:
        """Record an interval and, if given, the mean number of tokens generated per problem to get
        it.
        """
        value, low, high = _finite(name, interval)
        tokens = None if tokens is None else float(tokens)
        self.measurements.append(
            {
                "name": name,
                "value": value,
                "low": low,
                "high": high,
                "n": int(interval.n),
                "tokens": tokens,
            }
        )

    def claim(
        self,
        claim: str,
        interval: Interval,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        excludes_zero: bool = False,
        worst: float | None = None,
    ) -> bool | None:
        """Record and return whether a claim holds; None if it cannot be tested here.

        It holds if the *value* is at least ``at_least`` and at most ``at_most`` (those given) and,
        with
        ``excludes_zero``, the *interval* lies on the bounded side of zero: low > 0 for
        ``at_least``, high < 0 for ``at_most``. Say ``excludes_zero`` for a difference, not for an
        accuracy.

        A claim that nothing could refute is not testable: a method cannot lose more than its
        baseline has, so "loses at most 1 point" says nothing of a baseline at 0%. ``worst`` is the
        value that the claim would have had if all had gone against it, given the baseline; where
        even that keeps the bound, the claim is recorded as not testable.

        Raises:
            InputError: no bound, ``excludes_zero`` with two, or limits that are not finite.
        """
        if (at_least is None) == (at_most is None) and (at_least is None or excludes_zero):
            raise InputError(
                f"claim {claim!r}: expected at_least or at_most (exactly one with excludes_zero); "
                "say what would refute it"
            )
        value, low, high = _finite(claim, interval)

        def kept(value: float) -> bool:
            return (at_least is None or value >= at_least) and (at_most is None or value <= at_most)

        holds: bool | None = kept(value)
        if worst is not None and kept(worst):
            holds = None
        elif excludes_zero:
            holds = holds and (low > 0 if at_most is None else high < 0)
        self.claims.append(
            {"claim": claim, "value": value, "low": low, "high": high, "holds": holds}
        )
        return holds

    def table(self) -> str:
        """The measurements and claims as aligned text."""
        width = max((len(m["name"]) for m in self.measurements), default=0)
        lines = [
            f"{m['name']:<{width}}  {m['value']:8.4g} [{m['low']:.4g}, {m['high']:.4g}]  n={m['n']}"
            + ("" if m["tokens"] is None else f"  {m['tokens']:.1f} tokens")
            for m in self.measurements
        ]
        lines += [f"{VERDICTS[c['holds']]}: {c['claim']}" for c in self.claims]
        return "\n".join(lines)

    def write(self, folder: str | Path) -> Path:
        """Write ``folder/results.json`` atomically: a reader finds the old file or the new one."""
        path = Path(folder) / "results.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        device = jax.devices()[0]
        record = {
            **self.header,
            "device": {
                "platform": device.platform,
                "kind": device.device_kind,
                "cpus": os.cpu_count(),
            },
            "versions": _versions(),
            "seconds": round(time.perf_counter() - self._start, 3),
            "measurements": self.measurements,
            "claims": self.claims,
        }
        with atomic_file(path) as temporary:
            temporary.write_text(
                json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8"
            )
        return path


def _finite(name: str, interval: Interval) -> tuple[float, float, float]:
    value, low, high = map(float, interval[:3])
    if not all(map(math.isfinite, (value, low, high))):
        raise InputError(
            f"{name!r} is {value} [{low}, {high}]: expected finite numbers, which JSON can hold"
        )
    return value, low, high


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("jax", "flax", "numpy", "jaxreason"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree
            versions[package] = None
    return versions
