"""What a lesson reports: measurements, claims, and figures that show them with their intervals.

:class:`Report` is the part of :class:`jaxreason.course.run.Run` that writes. Values go in as one
number for each problem, so the interval is always that of the problems.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from jaxreason.course import viz
from jaxreason.course.options import in_notebook
from jaxreason.errors import InputError
from jaxreason.evaluation.intervals import Interval, accuracy, mean_interval, paired_difference
from jaxreason.evaluation.results import VERDICTS, Results
from jaxreason.files import atomic_file, writing_to
from jaxreason.hosts import is_first

ACCURACY = "accuracy (95% interval)"
# An interval, or one value for each problem: bools are right or wrong, numbers have a mean.
Measured = Interval | np.ndarray


def interval_of(values: Measured) -> Interval:
    """The share of problems that are right (Wilson), or the mean over problems (bootstrap).

    Args:
      values: ``[G]`` bool or numbers, one for each problem; an interval stays as it is.

    Raises:
      InputError: as :func:`jaxreason.evaluation.intervals.accuracy` and ``mean_interval``.
    """
    if isinstance(values, Interval):
        return values
    return accuracy(values) if np.asarray(values).dtype == bool else mean_interval(values)


@dataclasses.dataclass(frozen=True)
class Report:
    """Collects what a lesson measured and claims, and saves its figures."""

    folder: Path  # OUT/NN_name
    results: Results
    # a shipped model on the lesson's own task: claims may name the sizes of effects measured there
    as_measured: bool
    figures: list[Path] = dataclasses.field(default_factory=list, kw_only=True)  # those saved

    def measure(self, name: str, values: Measured, tokens: float | None = None) -> Interval:
        """Records a measurement.

        Args:
          name: such as "accuracy/greedy".
          values: an interval, or one value for each problem.
          tokens: mean tokens generated per problem to get it.
        """
        interval = interval_of(values)
        self.results.measure(name, interval, tokens)
        return interval

    def claim(self, text: str, values: Measured, **bounds) -> None:
        """Records a claim with its interval, and prints whether it holds.

        Args:
          text: the claim.
          values: what was measured: an interval, or one value for each problem.
          bounds: what would refute it, of :meth:`jaxreason.evaluation.results.Results.claim`.
        """
        interval = interval_of(values)
        holds = self.results.claim(text, interval, **bounds)
        shown = f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
        print(f"{VERDICTS[holds]:<8} {text}: {shown} (n={interval.n})")

    def claim_better(
        self, text: str, better: np.ndarray, worse: np.ndarray, *, points: int = 0
    ) -> None:
        """Claims that one method is right more often than another on the same problems.

        Args:
          text: the claim, without the size of the gain.
          better, worse: ``[G]`` bool or numbers, how right each of them is on each problem.
          points: percentage points that a shipped model gains at least on the lesson's own task. Of
            other models and tasks the claim names the direction alone.
        """
        points = points if self.as_measured else 0
        self.claim(
            f"{text} by >= {points} points" if points else text,
            paired_difference(better, worse),
            at_least=points / 100,
            excludes_zero=True,
        )

    def curves(
        self,
        name: str,
        x: Sequence[float],
        series: Mapping[str, Sequence[Measured | None]],
        **options,
    ) -> None:
        """Saves lines with intervals over ``x``.

        Args:
          name: of the file.
          x: where the points are.
          series: label -> what was measured at each x.
          options: of :func:`jaxreason.course.viz.curves`; the title states the finding.
        """
        self.figure(viz.curves(x, _intervals(series), **{"ylabel": ACCURACY, **options}), name)

    def points(
        self, name: str, series: Mapping[str, Sequence[tuple[float, Measured]]], **options
    ) -> None:
        """Saves lines with intervals, each of them over an x of its own.

        Args:
          name: of the file.
          series: label -> pairs of x and what was measured there.
          options: of :func:`jaxreason.course.viz.curves`; the title states the finding.
        """
        intervals = {
            label: [(x, interval_of(values)) for x, values in pairs]
            for label, pairs in series.items()
        }
        self.figure(viz.points(intervals, **{"ylabel": ACCURACY, **options}), name)

    def bars(
        self,
        name: str,
        groups: Sequence[str],
        series: Mapping[str, Sequence[Measured]],
        **options,
    ) -> None:
        """Saves a bar for each series in each group, with its interval.

        Args:
          name: of the file.
          groups: what stands under the bars.
          series: label -> what was measured in each group.
          options: of :func:`jaxreason.course.viz.bars`; the title states the finding.
        """
        self.figure(viz.bars(groups, _intervals(series), **{"ylabel": ACCURACY, **options}), name)

    def figure(self, figure: Figure, name: str) -> None:
        """Saves ``OUT/NN_name/name.png``, shows it in a notebook, and closes it.

        If it cannot be saved, as on a full disk, the lesson says so and goes on: its measurements
        are worth more than a figure.
        """
        if is_first():
            try:
                with writing_to(self.folder), atomic_file(self.folder / f"{name}.png") as path:
                    # The book's text for it.
                    title = figure.axes[0].get_title(loc="left") if figure.axes else name
                    figure.savefig(path, dpi=130, metadata={"Title": title})
                self.figures.append(self.folder / f"{name}.png")
            except InputError as error:
                print(f"no figure {name}: {error}", file=sys.stderr)
        if in_notebook():
            plt.show()
        plt.close(figure)


def _intervals(series: Mapping[str, Sequence[Measured | None]]) -> dict[str, list]:
    return {
        label: [None if values is None else interval_of(values) for values in row]
        for label, row in series.items()
    }
