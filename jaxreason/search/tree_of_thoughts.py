"""Tree of thoughts: search over the states that thoughts lead to (Yao et al. 2023, section 3, item
4).

A search is driven by two plain functions, ``propose(states)`` and ``evaluate(states)`` (see
``thoughts``). Both see what all *problems* of a batch expand at once, which is one batch on the
device.
"""

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from jaxreason.errors import InputError


class State(NamedTuple):
    """A node's content, s = [x, z_1, ..., z_i] in section 3 of the paper."""

    problem: Any  # x: for the Game of 24 its numbers, for a word problem an arithmetic.Problem
    thoughts: tuple[str, ...] = ()  # z_1 .. z_i, without their newlines
    logprob: float = 0.0  # log p(z_1 .. z_i | x) of the model, in nats


class Thought(NamedTuple):
    """One step that a proposer suggests."""

    text: str  # without its newline
    logprob: float = 0.0  # log p(thought | state), untempered, in nats


Propose = Callable[[list[State]], tuple[list[list[Thought]], Sequence[int]]]

Evaluate = Callable[[list[State]], tuple[Sequence[float], Sequence[int]]]


def memoize(function: Callable) -> Callable:
    """The same propose or evaluate function, which is asked for a state only once: for searches
    that share states.

    Only for functions whose answer depends on the state alone, as here. A search is still charged
    what it asked for.
    """
    known: dict[State, tuple] = {}

    def ask(states: list[State]) -> tuple[list, list]:
        new = list(dict.fromkeys(state for state in states if state not in known))
        if new:
            known.update(zip(new, zip(*function(new), strict=True), strict=True))
        answers = [known[state] for state in states]
        return [answer for answer, _ in answers], [cost for _, cost in answers]

    return ask


class Rules(NamedTuple):
    """What a search knows about a kind of problem."""

    accept: Callable[[State, str], bool]  # is this text a thought at all? others are dropped
    is_leaf: Callable[[State], bool]  # is it a complete attempt?
    identity: Callable[
        [State], Hashable
    ]  # states of equal identity are one: only the first is kept
    # the solution test of a leaf; None: the best-scored leaf is it
    is_solved: Callable[[State], bool] | None = None


class Node(NamedTuple):
    state: State
    parent: int  # its index in Tree.nodes, -1 for the root
    score: float  # of the evaluator; of a leaf that was tested 1 or 0; NaN for the root


@dataclasses.dataclass
class Tree:
    """The search of one problem; it grows while the search runs."""

    nodes: list[Node]  # the root first, a parent before its children
    seen: set[Hashable]  # identities of the nodes
    expanded: list[int] = dataclasses.field(
        default_factory=list
    )  # indices in the order their thoughts were generated
    # index of the leaf that passed the test, or without a test of the best one; -1: none
    answer: int = -1
    generated: int = 0  # tokens of thoughts, dropped and repeated ones included
    evaluated: int = 0  # tokens the evaluator read and wrote

    @property
    def tokens(self) -> int:
        """What the search cost: thoughts written and everything the evaluator processed."""
        return self.generated + self.evaluated

    def path(self, index: int) -> list[int]:
        """Node indices from the root to a node; empty for -1."""
        found = []
        while index >= 0:
            found.append(index)
            index = self.nodes[index].parent
        return found[::-1]


# ---- search
# ------------------------------------------------------------------------------------------------


def bfs(
    roots: Sequence[State],
    propose: Propose,
    evaluate: Evaluate,
    rules: Rules,
    *,
    beam: int,
    max_depth: int,
    description: str | None = None,
) -> list[Tree]:
    """Breadth-first search with a beam (Algorithm 1): of every level the ``beam`` best states go
    on.

    A problem is done when a leaf passes the solution test. Without a test, leaves compete for the
    beam with their score, and the answer is the best one that was found, in the last beam or not.

    Args:
      roots: one state for each problem.
      propose, evaluate, rules: see the module and :class:`Rules`.
      beam: b, the states kept of a level, at least 1.
      max_depth: T, the most thoughts on a path, at least 1.
      description: of a progress bar over levels; None shows none.

    Raises:
      InputError: no root, or a beam or depth below 1.
    """
    _check_positive(beam=beam, max_depth=max_depth, roots=len(roots))
    trees = [Tree([Node(root, -1, math.nan)], {rules.identity(root)}) for root in roots]
    beams: list[list[int]] = [[0] for _ in trees]
    for _ in tqdm(range(max_depth), desc=description, unit="level", disable=description is None):
        chosen = [
            (g, i)
            for g, kept in enumerate(beams)
            for i in kept
            if not rules.is_leaf(trees[g].nodes[i].state)
        ]
        if not chosen:
            break
        for g, new in _expand(trees, chosen, propose, evaluate, rules).items():
            leaves = {i for i in [*beams[g], *new] if rules.is_leaf(trees[g].nodes[i].state)}
            if rules.is_solved:  # a leaf has passed the test, or leads nowhere
                candidates = [i for i in new if i not in leaves] if trees[g].answer < 0 else []
            else:
                candidates = [*leaves.intersection(beams[g]), *new]
            beams[g] = _best_first(trees[g], candidates)[:beam]
    return _answered(trees, rules)


def dvts(
    roots: Sequence[State],
    propose: Propose,
    evaluate: Evaluate,
    rules: Rules,
    *,
    subtrees: int,
    max_depth: int,
    description: str | None = None,
) -> list[Tree]:
    """Diverse verifier tree search (Beeching et al. 2024): the best ``subtrees`` first thoughts
    each go on greedily, apart.

    Beam search lets the offspring of one thought take the whole beam. Here every subtree keeps its
    own best state of each level, so a wrong favourite costs one subtree; the best leaf of all is
    the answer. For rules without a solution test.

    Args:
      roots, propose, evaluate, rules, max_depth, description: as for :func:`bfs`.
      subtrees: at least 1.

    Raises:
      InputError: no root, subtrees or a depth below 1, or rules with a solution test.
    """
    _check_positive(subtrees=subtrees)
    if rules.is_solved is not None:
        raise InputError(
            "rules have a solution test: expected none, since DVTS submits its best-scored leaf; use bfs"
        )
    trees = bfs(roots, propose, evaluate, rules, beam=subtrees, max_depth=1)
    begun = [
        (g, i)
        for g, t in enumerate(trees)
        for i in _best_first(t, list(range(1, len(t.nodes))))[:subtrees]
    ]
    open_ = [(g, i) for g, i in begun if not rules.is_leaf(trees[g].nodes[i].state)]
    if open_ and max_depth > 1:
        grown = bfs(
            [trees[g].nodes[i].state for g, i in open_],
            propose,
            evaluate,
            rules,
            beam=1,
            max_depth=max_depth - 1,
            description=description,
        )
        for (g, i), subtree in zip(open_, grown, strict=True):
            tree, offset = trees[g], len(trees[g].nodes) - 1

            at = lambda n, i=i, offset=offset: n + offset if n else i
            tree.nodes += [
                Node(node.state, at(node.parent), node.score) for node in subtree.nodes[1:]
            ]
            tree.expanded += [at(n) for n in subtree.expanded]
            tree.generated += subtree.generated
            tree.evaluated += subtree.evaluated
    return _answered(trees, rules)


def dfs(
    roots: Sequence[State],
    propose: Propose,
    evaluate: Evaluate,
    rules: Rules,
    *,
    threshold: float,
    max_depth: int,
    max_expansions: int,
    max_tokens: float = math.inf,
    description: str | None = None,
) -> list[Tree]:
    """Depth-first search (Algorithm 2): the best thought first; what scores at or below the
    threshold is pruned.

    From a dead end it backtracks to the best state that is left at the deepest level. All problems
    go on side by side, one expansion each, so that they share a batch. A problem is done when a
    leaf passes the solution test, or without a test when nothing is left to expand; then the
    best-scored leaf is the answer, not the first one found.

    Args:
      roots, propose, evaluate, rules: as for :func:`bfs`.
      threshold: v_th; a child is visited if its score is *above* it. Negative infinity prunes
        nothing.
      max_depth: T, the most thoughts on a path, at least 1.
      max_expansions: states expanded at most in each problem, at least 1.
      max_tokens: a problem that has spent so many tokens expands no further state.
      description: of a progress bar over problems; None shows none.

    Raises:
      InputError: no root, a depth or number of expansions below 1, or a threshold that is not a
        number.
    """
    _check_positive(max_depth=max_depth, max_expansions=max_expansions, roots=len(roots))
    if math.isnan(threshold):
        raise InputError(
            "threshold is nan: expected a number; children that score above it are visited"
        )
    trees = [Tree([Node(root, -1, math.nan)], {rules.identity(root)}) for root in roots]

    def goes_on(state: State) -> bool:
        return not rules.is_leaf(state) and len(state.thoughts) < max_depth

    stacks: list[list[int]] = [[0] if goes_on(root) else [] for root in roots]  # the next one last
    with tqdm(
        total=len(roots), desc=description, unit="problem", disable=description is None
    ) as bar:
        while chosen := [(g, stack.pop()) for g, stack in enumerate(stacks) if stack]:
            for g, new in _expand(trees, chosen, propose, evaluate, rules).items():
                tree = trees[g]
                visited = [
                    i
                    for i in new
                    if tree.nodes[i].score > threshold and goes_on(tree.nodes[i].state)
                ]
                stacks[g] += _best_first(tree, visited)[::-1]
                solved = rules.is_solved and tree.answer >= 0
                if solved or len(tree.expanded) >= max_expansions or tree.tokens >= max_tokens:
                    stacks[g] = []
            bar.update(sum(not stack for stack in stacks) - bar.n)
    return _answered(trees, rules)


def _expand(
    trees: list[Tree],
    chosen: list[tuple[int, int]],
    propose: Propose,
    evaluate: Evaluate,
    rules: Rules,
) -> dict[int, list[int]]:
    """Grows the chosen nodes (tree, node) of all trees in one batch; returns the new nodes of each
    of these trees.
    """
    states = [trees[g].nodes[i].state for g, i in chosen]
    proposals, costs = propose(states)
    born: list[tuple[int, int, State]] = []  # tree, parent, child
    for (g, i), state, thoughts, cost in zip(chosen, states, proposals, costs, strict=True):
        tree = trees[g]
        tree.expanded.append(i)
        tree.generated += int(cost)
        for thought in thoughts:
            child = State(
                state.problem, (*state.thoughts, thought.text), state.logprob + thought.logprob
            )
            if (
                rules.accept(state, thought.text)
                and (identity := rules.identity(child)) not in tree.seen
            ):
                tree.seen.add(identity)
                born.append((g, i, child))
    tested = [rules.is_solved is not None and rules.is_leaf(child) for _, _, child in born]
    open_ = [child for (_, _, child), test in zip(born, tested, strict=True) if not test]
    scores, costs = evaluate(open_) if open_ else ((), ())
    if len(scores) != len(open_):
        raise InputError(
            f"evaluator gave {len(scores)} scores for {len(open_)} states: expected one for each"
        )
    scored = zip(scores, costs, strict=True)
    new: dict[int, list[int]] = {g: [] for g, _ in chosen}
    for (g, parent, child), test in zip(born, tested, strict=True):
        score, cost = (float(rules.is_solved(child)), 0) if test else next(scored)
        tree = trees[g]
        new[g].append(len(tree.nodes))
        if test and score and tree.answer < 0:
            tree.answer = len(tree.nodes)
        tree.nodes.append(Node(child, parent, float(score)))
        tree.evaluated += int(cost)
    return new


def _best_first(tree: Tree, indices: list[int]) -> list[int]:
    """By score, the higher first; of equal scores the older node."""
    return sorted(indices, key=lambda i: (-tree.nodes[i].score, i))


def _answered(trees: list[Tree], rules: Rules) -> list[Tree]:
    """Without a solution test the best-scored leaf is the answer."""
    for tree in trees if rules.is_solved is None else ():
        leaves = [i for i, node in enumerate(tree.nodes) if rules.is_leaf(node.state)]
        tree.answer = next(iter(_best_first(tree, leaves)), -1)
    return trees


def _check_positive(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} is {count}: expected at least 1")


# ---- print
# ---------------------------------------------------------------------------------------------------


def outline(tree: Tree, max_children: int = 4) -> list[int]:
    """The nodes worth showing, a parent before its children, siblings best first.

    These are the expanded ones, the path to the answer, and of each node the ``max_children`` best
    others.
    """
    important = {*tree.expanded, *tree.path(tree.answer)}
    children: dict[int, list[int]] = {}
    for i, node in enumerate(tree.nodes):
        children.setdefault(node.parent, []).append(i)
    shown, stack = [], [0]
    while stack:
        shown.append(stack.pop())
        ranked = _best_first(tree, children.get(shown[-1], []))
        stack += [i for rank, i in enumerate(ranked) if i in important or rank < max_children][::-1]
    return shown


def format_tree(tree: Tree, max_children: int = 4) -> str:
    """The tree as text, a node a line: its score, its thought and, in brackets, as which it was
    expanded.

    A star marks the path to the answer; ``max_children`` is that of :func:`outline`.
    """
    order, best = {i: n for n, i in enumerate(tree.expanded, 1)}, tree.path(tree.answer)
    lines = []
    for i in outline(tree, max_children):
        node = tree.nodes[i]
        text = f"{node.score:.2f}  {node.state.thoughts[-1]}" if i else "problem"
        when = f"  [{order[i]}]" if i in order else ""
        lines.append(f"{'*' if i in best else ' '} {'    ' * len(node.state.thoughts)}{text}{when}")
    return "\n".join(lines)
