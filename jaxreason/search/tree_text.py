"""Trees as text: what ``tree_of_thoughts`` and ``mcts`` have found, to be read or drawn."""

from collections.abc import Callable

import jax
import numpy as np

from jaxreason.search.mcts import SearchResult
from jaxreason.search.tree_of_thoughts import Tree, best_first

# ---- of tree_of_thoughts


def outline(tree: Tree, max_children: int = 4) -> list[int]:
    """The nodes worth showing, a parent before its children, siblings best first.

    These are the expanded nodes, the path to the answer, and each node's best ``max_children``.
    """
    important = {*tree.expanded, *tree.path(tree.answer)}
    children: dict[int, list[int]] = {}  # parent -> its children
    for i, node in enumerate(tree.nodes):
        children.setdefault(node.parent, []).append(i)
    shown, stack = [], [0]
    while stack:
        shown.append(stack.pop())
        ranked = best_first(tree, children.get(shown[-1], []))
        kept = [i for rank, i in enumerate(ranked) if i in important or rank < max_children]
        stack += reversed(kept)
    return shown


def format_tree(tree: Tree, max_children: int = 4) -> str:
    """The tree as text, one node a line: its score, its last thought and ``[n]`` if it was expanded
    as the n-th node.

    A star marks the path to the answer.

    Args:
      max_children: as for :func:`outline`.
    """
    order = {i: n for n, i in enumerate(tree.expanded, 1)}
    to_answer = tree.path(tree.answer)
    lines = []
    for i in outline(tree, max_children):
        node = tree.nodes[i]
        star = "*" if i in to_answer else " "
        indent = "    " * len(node.state.thoughts)
        text = f"{node.score:.2f}  {node.state.thoughts[-1]}" if i else "problem"
        when = f"  [{order[i]}]" if i in order else ""
        lines.append(f"{star} {indent}{text}{when}")
    return "\n".join(lines)


# ---- of mcts


def principal_variation(tree: SearchResult, problem: int = 0) -> list[int]:
    """The nodes of one problem that the search prefers, from the root to where its tree ends.

    Each next node is the most visited child; of equally visited ones that with the higher Q.
    """
    tree = _one_problem(tree, problem)
    q = tree.rewards + tree.discounts * tree.values  # [N]
    path = [0]
    while True:
        children = _children(tree, path[-1])
        if not children.size:
            return path
        order = np.lexsort((q[children], tree.visits[children]))  # by visits, then by Q
        path.append(int(children[order[-1]]))


def format_search(
    tree: SearchResult,
    problem: int = 0,
    *,
    label: Callable[[int], str] | None = None,
    max_depth: int = 3,
    min_visits: int = 1,
) -> str:
    """One problem's tree as text, one node a line: N(s, a), Q(s, a), P(s, a), and ``*`` at terminal
    nodes.

    Args:
      label: (index of a node) -> its name; by default the action that leads to it.
      max_depth, min_visits: leave out deeper and less visited nodes; an ellipsis counts them.
    """
    tree = _one_problem(tree, problem)
    q = tree.rewards + tree.discounts * tree.values  # [N]

    def describe(i: int) -> str:
        star = "*" if tree.terminal[i] else ""
        if i == 0:
            name = label(0) if label else "root"
            return f"{name}  N={tree.visits[0]} V={tree.values[0]:.3f}{star}"
        name = label(i) if label else f"action {tree.actions[i]}"
        prior = tree.priors[tree.parents[i], tree.actions[i]]
        return f"{name}  N={tree.visits[i]} Q={q[i]:.3f} P={prior:.3f}{star}"

    lines = [describe(0)]

    def add_children(parent: int, depth: int, indent: str) -> None:
        children = _children(tree, parent)
        children = children[np.argsort(-tree.visits[children], kind="stable")].tolist()
        shown = [i for i in children if tree.visits[i] >= min_visits] if depth < max_depth else []
        for i in shown:
            is_last = i == children[-1]
            lines.append(f"{indent}{'└─' if is_last else '├─'} {describe(i)}")
            add_children(i, depth + 1, indent + ("   " if is_last else "│  "))
        if len(shown) < len(children):
            lines.append(f"{indent}└─ … {len(children) - len(shown)} more")

    add_children(0, 0, "")
    return "\n".join(lines)


def _one_problem(tree: SearchResult, problem: int) -> SearchResult:
    """One problem's tree on the host, arrays ``[N, ...]``, without its embedding."""
    return jax.tree.map(lambda x: np.asarray(x[problem]), tree._replace(embedding=None))


def _children(tree: SearchResult, node: int) -> np.ndarray:
    """The indices of a node's children, in the order of their actions."""
    children = tree.children[node]
    return children[children >= 0]
