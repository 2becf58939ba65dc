"""Every figure of the course: labelled axes, intervals, and a title that states the finding."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.font_manager import FontProperties, findfont, get_font

from jaxreason.evaluation.intervals import Interval

COLORS = (
    "#3b6fb6",
    "#d1603d",
    "#4f9d69",
    "#8e6bbf",
    "#c9a227",
    "#5c5c5c",
)  # told apart by colour-blind readers too


def _axes(title: str, xlabel: str, ylabel: str, width: float = 6.4) -> tuple[plt.Figure, plt.Axes]:
    figure, axes = plt.subplots(figsize=(width, 4.2), layout="constrained")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", wrap=True)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def _errors(intervals: Sequence[Interval]) -> np.ndarray:
    return np.array(
        [[i.value - i.low for i in intervals], [i.high - i.value for i in intervals]]
    ).clip(min=0)


def bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Interval]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
) -> plt.Figure:
    """One bar for each series in each group, with its interval."""
    figure, axes = _axes(title, xlabel, ylabel, width=7.2)
    width = 0.8 / len(series)
    for index, (name, intervals) in enumerate(series.items()):
        offsets = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * width
        axes.bar(
            offsets,
            [i.value for i in intervals],
            0.92 * width,
            yerr=_errors(intervals),
            label=name,
            color=COLORS[index % len(COLORS)],
            error_kw={"elinewidth": 1.2, "capsize": 2, "ecolor": "#222222"},
        )
    fitting = min(18, max(8, 90 // len(groups)))  # characters under a group
    axes.set_xticks(
        np.arange(len(groups)),
        ["\n".join(textwrap.fill(line, fitting) for line in group.split("\n")) for group in groups],
    )
    axes.set_ylim(0, 1.02)
    if len(series) > 1:
        figure.legend(
            frameon=False, fontsize=9, loc="outside lower center", ncols=min(4, len(series))
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
    ticks: Sequence[float] | None = None,
) -> plt.Figure:
    """Lines with shaded 95% intervals over ``x``; None leaves a point out. A series named ``...
    (theory)`` is dashed.

    With ``log2`` the axis is logarithmic and labelled at ``ticks``, by default at every x.
    """
    figure, axes = _axes(title, xlabel, ylabel)
    for index, (name, intervals) in enumerate(series.items()):
        at = [value for value, i in zip(x, intervals, strict=True) if i is not None]
        known = [i for i in intervals if i is not None]
        color, theory = COLORS[index % len(COLORS)], name.endswith("(theory)")
        axes.plot(
            at, [i.value for i in known], "--" if theory else "o-", ms=4, color=color, label=name
        )
        if not theory:
            axes.fill_between(
                at, [i.low for i in known], [i.high for i in known], color=color, alpha=0.15, lw=0
            )
    if log2:
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(ticks or x), [f"{value:g}" for value in ticks or x])
        axes.minorticks_off()
    axes.legend(frameon=False, fontsize=9)
    return figure


def shares(
    labels: Sequence[str], values: Sequence[float], right: int | None, *, title: str, xlabel: str
) -> plt.Figure:
    """Horizontal bars of shares, the right answer coloured."""
    figure, axes = _axes(title, xlabel, "answer", width=5.6)
    colors = [COLORS[2] if i == right else COLORS[5] for i in range(len(labels))]
    axes.barh(range(len(labels)), values, color=colors)
    # Whatever a model wrote may stand here, so a dollar sign begins no formula.
    axes.set_yticks(range(len(labels)), [_drawable(label) for label in labels], parse_math=False)
    axes.invert_yaxis()
    return figure


def _drawable(text: str, longest: int = 40) -> str:
    """The text, cut, with ``?`` for characters that the font of figures does not have."""
    font = get_font(findfont(FontProperties()))
    return "".join(c if font.get_char_index(ord(c)) else "?" for c in text[:longest])


def tree(
    parents: Sequence[int],
    labels: Sequence[str],
    scores: Sequence[float],
    expanded: Sequence[bool],
    path: Sequence[int],
    *,
    title: str,
    label: str = "score of the evaluator",
) -> plt.Figure:
    """A search tree from left to right: colour is the score, a filled node was expanded, the thick
    path is the answer.

    Args:
      parents: of each node, -1 for the root, which comes first; a parent comes before its children.
      labels, scores, expanded: of each node; a score that is not finite is drawn grey.
      path: indices of the nodes on the way to the answer; empty if there is none.
      label: what the colour is.
    """
    depth, rows, ends = [0] * len(parents), [0.0] * len(parents), 0
    children: list[list[int]] = [[] for _ in parents]
    for i, parent in enumerate(parents[1:], 1):
        depth[i] = depth[parent] + 1
        children[parent].append(i)
    stack, order = [0], []
    while stack:
        order.append(stack.pop())
        stack += children[order[-1]][::-1]
    for i in order:  # leaves one row each, from the top
        if not children[i]:
            rows[i], ends = float(ends), ends + 1
    for i in order[::-1]:  # a parent in the middle of its children
        if children[i]:
            rows[i] = (rows[children[i][0]] + rows[children[i][-1]]) / 2

    figure, axes = plt.subplots(
        figsize=(3.0 * (max(depth) + 1), max(2.5, 0.24 * ends + 1)), layout="constrained"
    )
    finite = [score for score in scores if np.isfinite(score)]
    scale = plt.Normalize(min(finite, default=0.0), max(finite, default=1.0))
    for i in order:
        color = plt.cm.viridis_r(scale(scores[i])) if np.isfinite(scores[i]) else "#999999"
        if i:
            near = i in path
            x, y = (depth[i] - 1, depth[i]), (rows[parents[i]], rows[i])
            axes.plot(
                x, y, color=COLORS[2] if near else "#cccccc", lw=2.6 if near else 0.9, zorder=1
            )
        axes.scatter(
            depth[i],
            rows[i],
            s=34,
            facecolor=color if expanded[i] or i in path else "white",
            edgecolor=color,
            zorder=2,
        )
        axes.annotate(
            labels[i],
            (depth[i], rows[i]),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            fontweight="bold" if i in path else "normal",
            bbox={"fc": "white", "ec": "none", "pad": 0.6, "alpha": 0.8},
        )
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", wrap=True)
    axes.set_xlim(-0.1, max(depth) + 0.75)
    axes.invert_yaxis()
    axes.axis("off")
    figure.colorbar(
        plt.cm.ScalarMappable(scale, "viridis_r"), ax=axes, label=label, shrink=0.6, pad=0.01
    )
    return figure


def heat_map(
    lines: Sequence[str], scores: Mapping[str, Sequence[float]], *, title: str, xlabel: str
) -> plt.Figure:
    """A row for each line of a text, a column for each judge, from red (0) to blue (1); NaN stays
    white.
    """
    values = np.array(list(scores.values()), float).T  # [lines, judges]
    figure, axes = plt.subplots(figsize=(6.4, 1.6 + 0.38 * len(lines)), layout="constrained")
    image = axes.imshow(np.ma.masked_invalid(values), cmap="RdYlBu", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = abs(value - 0.5) > 0.4
            axes.text(
                column,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                color="white" if dark else "black",
            )
    axes.set_yticks(range(len(lines)), lines, family="monospace")
    axes.set_xticks(range(len(scores)), list(scores))
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", wrap=True)
    axes.set(xlabel=xlabel, ylabel="step")
    figure.colorbar(image, ax=axes, label="score", shrink=0.8)
    return figure
