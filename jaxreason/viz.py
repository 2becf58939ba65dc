"""Every figure of the course: labelled axes, intervals, and a title that states the finding."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from jaxreason.evaluate import Interval

COLORS = ("#3b6fb6", "#d1603d", "#4f9d69", "#8e6bbf", "#c9a227", "#5c5c5c")  # told apart by colour-blind readers too


def _axes(title: str, xlabel: str, ylabel: str, width: float = 6.4) -> tuple[plt.Figure, plt.Axes]:
    figure, axes = plt.subplots(figsize=(width, 4.2), layout="constrained")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", wrap=True)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def _errors(intervals: Sequence[Interval]) -> np.ndarray:
    return np.array([[i.value - i.low for i in intervals], [i.high - i.value for i in intervals]]).clip(min=0)


def bars(
    groups: Sequence[str], series: Mapping[str, Sequence[Interval]], *, title: str, xlabel: str, ylabel: str
) -> plt.Figure:
    """One bar for each series in each group, with its interval."""
    figure, axes = _axes(title, xlabel, ylabel, width=7.2)
    width = 0.8 / len(series)
    for index, (name, intervals) in enumerate(series.items()):
        offsets = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * width
        axes.bar(
            offsets, [i.value for i in intervals], 0.92 * width, yerr=_errors(intervals), label=name,
            color=COLORS[index % len(COLORS)], error_kw={"elinewidth": 1.2, "capsize": 2, "ecolor": "#222222"},
        )  # fmt: skip
    axes.set_xticks(np.arange(len(groups)), [textwrap.fill(group, 18) for group in groups])
    axes.set_ylim(0, 1.02)
    if len(series) > 1:
        axes.legend(
            frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=min(4, len(series))
        )
    return figure


def curves(
    x: Sequence[float],
    series: Mapping[str, Sequence[Interval | None]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    log2: bool = False,
) -> plt.Figure:
    """Lines with shaded 95% intervals over ``x``; None leaves a point out. A series named ``... (theory)`` is dashed."""
    figure, axes = _axes(title, xlabel, ylabel)
    for index, (name, intervals) in enumerate(series.items()):
        at = [value for value, i in zip(x, intervals, strict=True) if i is not None]
        known = [i for i in intervals if i is not None]
        color, theory = COLORS[index % len(COLORS)], name.endswith("(theory)")
        axes.plot(at, [i.value for i in known], "--" if theory else "o-", ms=4, color=color, label=name)
        if not theory:
            axes.fill_between(at, [i.low for i in known], [i.high for i in known], color=color, alpha=0.15, lw=0)
    if log2:
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(x), [f"{value:g}" for value in x])
        axes.minorticks_off()
    axes.legend(frameon=False, fontsize=9)
    return figure


def shares(labels: Sequence[str], values: Sequence[float], right: int | None, *, title: str, xlabel: str) -> plt.Figure:
    """Horizontal bars of shares, the right answer coloured."""
    figure, axes = _axes(title, xlabel, "answer", width=5.6)
    colors = [COLORS[2] if i == right else COLORS[5] for i in range(len(labels))]
    axes.barh(range(len(labels)), values, color=colors)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    return figure
