"""What a lesson measured and claims: :class:`Results` collects it and writes ``results.json``."""

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

VERDICTS = {True: "holds", False: "NOT SEEN", None: "not testable here"}  # of Results.claim


class Results:
    """Collects a lesson's measurements and claims; :meth:`write` puts them in ``results.json``.

    Args:
      lesson: the lesson's name, such as "02_self_consistency".
      model: ``{"name": str, "params": int, "sha256": str or None}``.
      seed: the lesson's seed.
      problems: number of held-out problems.
      settings: what else the figures depend on, such as the task and the dtype.

    Raises:
      InputError: ``model`` has other keys.
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
        self.header: dict[str, Any] = {
            "lesson": lesson,
            "model": {**model, "params": int(model["params"])},
            "seed": int(seed),
            "problems": int(problems),
        }
        if settings:
            self.header["settings"] = dict(settings)
        self.measurements: list[dict[str, Any]] = []
        self.claims: list[dict[str, Any]] = []
        self._start = time.perf_counter()

    def measure(self, name: str, interval: Interval, tokens: float | None = None) -> None:
        """Records what was measured.

        Args:
          name: such as "accuracy/greedy".
          interval: its value and limits.
          tokens: mean tokens generated per problem to get it, if they were counted.

        Raises:
          InputError: the interval is not finite.
        """
        value, low, high = _finite(name, interval)
        self.measurements.append(
            {
                "name": name,
                "value": value,
                "low": low,
                "high": high,
                "n": int(interval.n),
                "tokens": None if tokens is None else float(tokens),
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
        """Records a claim, and returns whether it holds: None if it cannot be tested here.

        It holds if the *value* keeps its bounds. With ``excludes_zero`` the *interval* has to lie
        on the bounded side of zero as well: low > 0 for ``at_least``, high < 0 for ``at_most``.

        A claim that nothing could refute is not testable. A method cannot lose more than its
        baseline has, so "loses at most 1 point" says nothing if the baseline is at 0%.

        Args:
          claim: in words.
          interval: what was measured.
          at_least, at_most: the bounds of the value; one of them may be left out.
          excludes_zero: use it for a difference, not for an accuracy; it takes exactly one bound.
          worst: the value if all had gone against the claim, given the baseline. If even this value
            keeps the bounds, the claim is recorded as not testable.

        Raises:
          InputError: no bound, ``excludes_zero`` with two, or an interval that is not finite.
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
        """Writes ``folder/results.json``; a reader finds the old file or the new one, whole."""
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
    value, low, high = float(interval.value), float(interval.low), float(interval.high)
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
