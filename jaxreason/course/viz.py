"""Every figure of the course: labelled axes, intervals, and a title that states the finding."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from jaxreason.evaluation.intervals import Interval
from jaxreason.search.mcts import SearchResult
from jaxreason.search.tree_of_thoughts import Tree
from jaxreason.search.tree_text import outline, principal_variation

# Colour-blind readers tell these apart too.
COLORS = ("#3b6fb6", "#d1603d", "#4f9d69", "#8e6bbf", "#c9a227", "#5c5c5c")
GREY = "#999999"
TOKENS = (50, 100, 200, 400, 800, 1600, 3200)  # where an axis of tokens is labelled


def _axes(title: str, xlabel: str, ylabel: str, width: float = 6.4) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(width, 4.2), layout="constrained")
    _set_title(axes, title)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def _set_title(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", wrap=True)


def _errors(intervals: Sequence[Interval]) -> np.ndarray:
    """``[2, N]``: how far each interval reaches below and above its value."""
    below = [i.value - i.low for i in intervals]
    above = [i.high - i.value for i in intervals]
    return np.array([below, above]).clip(min=0)


def bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Interval]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
) -> Figure:
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


def points(series: Mapping[str, Sequence[tuple[float, Interval]]], **options) -> Figure:
    """Lines through points (x, interval); each series has an x of its own.

    Args:
      series: name -> its points.
      options: of :func:`curves`.
    """
    x = sorted({at for pairs in series.values() for at, _ in pairs})
    known = {name: dict(pairs) for name, pairs in series.items()}
    return curves(
        x, {name: [pairs.get(at) for at in x] for name, pairs in known.items()}, **options
    )


def curves(
    x: Sequence[float],
    series: Mapping[str, Sequence[Interval | None]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    log2: bool = False,
    ticks: Sequence[float] | None = None,
) -> Figure:
    """Lines with shaded 95% intervals over ``x``.

    Args:
      x: where the points are.
      series: name -> an interval for each x; None leaves the point out. A series whose name ends
        in ``(theory)`` is dashed.
      title, xlabel, ylabel: what stands around it.
      log2: whether the x axis is logarithmic, to base 2.
      ticks: where that axis is labelled; by default at every x.
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
    labels: Sequence[str],
    values: Sequence[float],
    right: Sequence[bool],
    *,
    title: str,
    xlabel: str,
) -> Figure:
    """Horizontal bars of shares, those of right answers coloured."""
    figure, axes = _axes(title, xlabel, "answer", width=5.6)
    colors = [COLORS[2] if is_right else COLORS[5] for is_right in right]
    axes.barh(range(len(labels)), values, color=colors)
    # Whatever a model wrote may stand here, so a dollar sign begins no formula.
    axes.set_yticks(range(len(labels)), [_drawable(label) for label in labels], parse_math=False)
    axes.invert_yaxis()
    return figure


def _drawable(text: str, longest: int = 40) -> str:
    """The text, cut, with ``?`` for characters that the font of figures does not have."""
    font = get_font(findfont(FontProperties()))
    return "".join(c if font.get_char_index(ord(c)) else "?" for c in text[:longest])


def thoughts(search: Tree, *, max_children: int, **options) -> Figure:
    """The part of a tree of thoughts that is worth showing, as :func:`tree` draws it.

    Args:
      search: a finished search.
      max_children: of a node, beside those on the way to the answer.
      options: of :func:`tree`.
    """
    shown = outline(search, max_children=max_children)  # the root first
    place = {index: row for row, index in enumerate(shown)}
    nodes = [search.nodes[index] for index in shown]
    problem = " ".join(map(str, nodes[0].state.problem))
    return tree(
        parents=[-1] + [place[node.parent] for node in nodes[1:]],
        labels=[problem] + [node.state.thoughts[-1] for node in nodes[1:]],
        scores=[node.score for node in nodes],
        expanded=[index in search.expanded for index in shown],
        path=[place[index] for index in search.path(search.answer)],
        **options,
    )


def simulations(search: SearchResult, **options) -> Figure:
    """All nodes of the first tree of a Monte Carlo search, as :func:`tree` draws it.

    Args:
      search: the trees; node 0 is the root.
      options: of :func:`tree`.
    """
    parents = np.asarray(search.parents[0]).tolist()
    nodes = [0] + [i for i, parent in enumerate(parents) if parent >= 0]
    place = {index: row for row, index in enumerate(nodes)}
    visits, actions = search.visits[0], search.actions[0]
    q = np.array(search.rewards[0] + search.discounts[0] * search.values[0])
    q[0] = search.values[0, 0]  # no step leads to the root
    return tree(
        parents=[-1] + [place[parents[i]] for i in nodes[1:]],
        labels=[f"root, N={visits[0]}"]
        + [f"action {actions[i]}, N={visits[i]}" for i in nodes[1:]],
        scores=q[nodes].tolist(),
        expanded=[not search.terminal[0, i] for i in nodes],
        path=[place[i] for i in principal_variation(search)],
        label="mean return Q",
        **options,
    )


def tree(
    parents: Sequence[int],
    labels: Sequence[str],
    scores: Sequence[float],
    expanded: Sequence[bool],
    path: Sequence[int],
    *,
    title: str,
    label: str = "score of the evaluator",
) -> Figure:
    """A search tree from left to right: colour is the score, a filled node was expanded, the thick
    path is the answer.

    Args:
      parents: of each node, -1 for the root, which comes first; a parent comes before its children.
      labels, scores, expanded: of each node; a score that is not finite is drawn grey.
      path: indices of the nodes on the way to the answer; empty if there is none.
      label: what the colour is.
    """
    depth, rows = _layout(parents)
    size = 3.0 * (max(depth) + 1), max(2.5, 0.24 * max(rows) + 1.24)
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    finite = [score for score in scores if np.isfinite(score)]
    scale = Normalize(min(finite, default=0.0), max(finite, default=1.0))
    for i in _from_the_top(parents):
        near = i in path
        color = plt.cm.viridis_r(scale(scores[i])) if np.isfinite(scores[i]) else GREY
        if i:
            x, y = (depth[i] - 1, depth[i]), (rows[parents[i]], rows[i])
            line, width = (COLORS[2], 2.6) if near else ("#cccccc", 0.9)
            axes.plot(x, y, color=line, lw=width, zorder=1)
        fill = color if expanded[i] or near else "white"
        axes.scatter(depth[i], rows[i], s=34, facecolor=fill, edgecolor=color, zorder=2)
        _label(axes, labels[i], (depth[i], rows[i]), bold=near)
    _set_title(axes, title)
    axes.set_xlim(-0.1, max(depth) + 0.75)
    axes.invert_yaxis()
    axes.axis("off")
    colors = plt.cm.ScalarMappable(scale, "viridis_r")
    figure.colorbar(colors, ax=axes, label=label, shrink=0.6, pad=0.01)
    return figure


def _layout(parents: Sequence[int]) -> tuple[list[int], list[float]]:
    """The depth of each node, and its row: a leaf has its own, a parent is amid its children."""
    depth = [0] * len(parents)
    for i, parent in enumerate(parents[1:], 1):
        depth[i] = depth[parent] + 1
    children = _children(parents)
    order = _from_the_top(parents)
    rows = [0.0] * len(parents)
    leaves = [i for i in order if not children[i]]
    for row, i in enumerate(leaves):
        rows[i] = float(row)
    for i in reversed(order):
        if children[i]:
            rows[i] = (rows[children[i][0]] + rows[children[i][-1]]) / 2
    return depth, rows


def _from_the_top(parents: Sequence[int]) -> list[int]:
    """The nodes in the order they are drawn: each before its children, the first child first."""
    children = _children(parents)
    order, stack = [], [0]
    while stack:
        order.append(stack.pop())
        stack += reversed(children[order[-1]])
    return order


def _children(parents: Sequence[int]) -> list[list[int]]:
    children: list[list[int]] = [[] for _ in parents]
    for i, parent in enumerate(parents[1:], 1):
        children[parent].append(i)
    return children


def _label(axes: Axes, text: str, at: tuple[float, float], bold: bool) -> None:
    """The text of a node, right beside it."""
    axes.annotate(
        text,
        at,
        (5, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        fontweight="bold" if bold else "normal",
        bbox={"fc": "white", "ec": "none", "pad": 0.6, "alpha": 0.8},
    )


def heat_map(
    lines: Sequence[str], scores: Mapping[str, Sequence[float]], *, title: str, xlabel: str
) -> Figure:
    """A row for each line of a text and a column for each judge, from red (0) to blue (1).

    Args:
      lines: of the text.
      scores: judge -> its score of each line; NaN stays white.
      title, xlabel: what stands around it.
    """
    values = np.array(list(scores.values()), float).T  # [lines, judges]
    figure, axes = plt.subplots(figsize=(6.4, 1.6 + 0.38 * len(lines)), layout="constrained")
    image = axes.imshow(np.ma.masked_invalid(values), cmap="RdYlBu", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "white" if abs(value - 0.5) > 0.4 else "black"  # on a dark cell, or a light one
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)
    axes.set_yticks(range(len(lines)), lines, family="monospace")
    axes.set_xticks(range(len(scores)), list(scores))
    _set_title(axes, title)
    axes.set(xlabel=xlabel, ylabel="step")
    figure.colorbar(image, ax=axes, label="score", shrink=0.8)
    return figure
