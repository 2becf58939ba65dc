"""Tree of thoughts: search over the states that a model's thoughts lead to (Yao et al. 2023).

A thought is one line that may come next. A state is a problem and the thoughts so far. Two
functions drive every search (section 3, items 2 and 3), so any generator of thoughts works with any
evaluator of states:

    propose(states)  -> Proposals   the thoughts that may come next in each state
    evaluate(states) -> Scores      how promising each state is

There are three searches:

    bfs    breadth-first: the best states of each level go on (Algorithm 1)
    dvts   diverse verifier tree search: each of the best first thoughts goes on by itself
    dfs    depth-first: the best thought first, and back up from a dead end (Algorithm 2)

Each search grows one tree for every problem of a batch. All problems advance together: one step
calls ``propose`` once and ``evaluate`` once for all of them, so a model sees one large batch.
"""

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from jaxreason.errors import InputError


class State(NamedTuple):
    """A node's content, s = [x, z_1, ..., z_i] in section 3 of the paper."""

    problem: Any  # x, hashable: four numbers for the Game of 24, else an arithmetic.Problem
    thoughts: tuple[str, ...] = ()  # z_1 .. z_i, without their newlines
    logprob: float = 0.0  # log p(z_1 .. z_i | x) of the model, in nats


class Thought(NamedTuple):
    """A line that may come next, z_{i+1}."""

    text: str  # without its newline
    logprob: float = 0.0  # log p(thought | state), untempered, in nats


class Proposals(NamedTuple):
    """What may come next in each of S states."""

    thoughts: list[list[Thought]]  # S lists, of any length
    tokens: Sequence[int]  # [S], what the thoughts of each state cost


class Scores(NamedTuple):
    """How promising each of S states is."""

    scores: Sequence[float]  # [S], higher is better; no fixed range
    tokens: Sequence[int]  # [S], what judging each state cost: tokens read and written


# A search also takes functions that return plain pairs of the same content.
Propose = Callable[[list[State]], Proposals]
Evaluate = Callable[[list[State]], Scores]


class Rules(NamedTuple):
    """What a search knows about a kind of problem."""

    accept: Callable[[State, str], bool]  # may this text follow this state? others are dropped
    is_leaf: Callable[[State], bool]  # is this state a complete attempt?
    # States of equal identity are the same to the search: it keeps only the first one.
    identity: Callable[[State], Hashable]
    # Tests whether a leaf solves its problem. None if there is no such test; the best-scored leaf
    # is then the answer.
    is_solved: Callable[[State], bool] | None = None


class Node(NamedTuple):
    """A state in a tree."""

    state: State
    parent: int  # its index in Tree.nodes, -1 for the root
    score: float  # of the evaluator; 1 or 0 for a leaf that was tested; NaN for the root


@dataclasses.dataclass
class Tree:
    """The search of one problem; it grows while the search runs."""

    nodes: list[Node]  # the root first, a parent before its children
    seen: set[Hashable]  # identities of the nodes
    # indices of nodes, in the order in which their thoughts were generated
    expanded: list[int] = dataclasses.field(default_factory=list)
    # index of the leaf that passed the test, without a test of the best leaf; -1 if there is none
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


def memoize(function: Callable[[list[State]], tuple]) -> Callable[[list[State]], tuple]:
    """A propose or evaluate function that computes each state once: for searches that share states.

    The answer must depend on the state alone, as it does for the functions of this package. A
    search is still charged for everything it asks.
    """
    known: dict[State, tuple] = {}  # state -> its answer and its tokens

    def ask(states: list[State]) -> tuple[list, list]:
        new = list(dict.fromkeys(state for state in states if state not in known))
        if new:
            answers, tokens = function(new)
            known.update(zip(new, zip(answers, tokens, strict=True), strict=True))
        return [known[state][0] for state in states], [known[state][1] for state in states]

    return ask


# ---- the three searches


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
    """Breadth-first search with a beam (Algorithm 1): the ``beam`` best states of a level go on.

    A problem is done when a leaf passes the solution test. Without a test, leaves keep competing
    for the beam with their score, and the answer is the best leaf ever found.

    Args:
      roots: one state for each problem.
      propose, evaluate, rules: see the module and :class:`Rules`.
      beam: b, the number of states kept of a level, at least 1.
      max_depth: T, the most thoughts on a path, at least 1.
      description: label of a progress bar over levels; None shows none.

    Returns:
      one tree for each root.

    Raises:
      InputError: no root, a beam or depth below 1, or an evaluator that does not score every state.
    """
    _check_positive(beam=beam, max_depth=max_depth, roots=len(roots))
    trees = _plant(roots, rules)
    beams = [[0] for _ in trees]  # for each tree the nodes of this level that go on
    for _ in tqdm(range(max_depth), desc=description, unit="level", disable=description is None):
        chosen = [
            (t, i)
            for t, kept in enumerate(beams)
            for i in kept
            if not rules.is_leaf(trees[t].nodes[i].state)
        ]
        if not chosen:
            break
        for t, new in _expand(trees, chosen, propose, evaluate, rules).items():
            candidates = _candidates(trees[t], beams[t], new, rules)
            beams[t] = best_first(trees[t], candidates)[:beam]
    return _with_answers(trees, rules)


def _candidates(tree: Tree, kept: list[int], new: list[int], rules: Rules) -> list[int]:
    """The nodes that compete for the next beam, given the last beam and the new nodes."""
    if rules.is_solved is None:  # a finished path keeps competing
        return [i for i in kept if rules.is_leaf(tree.nodes[i].state)] + new
    if tree.answer >= 0:  # solved
        return []
    return [i for i in new if not rules.is_leaf(tree.nodes[i].state)]  # a leaf has failed the test


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
    """Diverse verifier tree search: the best ``subtrees`` first thoughts each go on greedily.

    In beam search the offspring of one thought can take the whole beam. Here every subtree keeps
    its own best state of each level, so a wrong favourite costs one subtree only. The answer is the
    best leaf of all. Source: Beeching et al. 2024, "Scaling test-time compute with open models".

    Args:
      roots, propose, evaluate, max_depth, description: as for :func:`bfs`.
      rules: as for :func:`bfs`, but without a solution test.
      subtrees: the number of first thoughts that go on, at least 1.

    Raises:
      InputError: as for :func:`bfs`; ``subtrees`` below 1, or rules with a solution test.
    """
    _check_positive(subtrees=subtrees, max_depth=max_depth)
    if rules.is_solved is not None:
        raise InputError(
            "rules have a solution test: expected none, since DVTS submits its best-scored leaf; "
            "use bfs"
        )
    trees = bfs(roots, propose, evaluate, rules, beam=subtrees, max_depth=1)
    first_thoughts = [
        (tree, i)
        for tree in trees
        for i in best_first(tree, range(1, len(tree.nodes)))[:subtrees]
        if not rules.is_leaf(tree.nodes[i].state)
    ]
    if first_thoughts and max_depth > 1:
        starts = [tree.nodes[i].state for tree, i in first_thoughts]
        greedy = {"beam": 1, "max_depth": max_depth - 1, "description": description}
        grown = bfs(starts, propose, evaluate, rules, **greedy)
        for (tree, i), subtree in zip(first_thoughts, grown, strict=True):
            _graft(tree, i, subtree)
    return _with_answers(trees, rules)


def _graft(tree: Tree, stem: int, subtree: Tree) -> None:
    """Adds to a tree what grew from its node ``stem``, which is the root of the subtree."""
    num_new = len(subtree.nodes) - 1
    places = [stem, *range(len(tree.nodes), len(tree.nodes) + num_new)]  # of the subtree's nodes
    for node in subtree.nodes[1:]:
        tree.nodes.append(node._replace(parent=places[node.parent]))
    tree.expanded += [places[i] for i in subtree.expanded]
    tree.generated += subtree.generated
    tree.evaluated += subtree.evaluated


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
    """Depth-first search (Algorithm 2): the best thought first; low-scored states are pruned.

    From a dead end the search backtracks to the best state left at the deepest level. All problems
    advance side by side, one expansion each, so that they share a batch. A problem is done when a
    leaf passes the solution test. Without a test it is done when nothing is left to expand, and the
    answer is the best-scored leaf, not the first one found.

    Args:
      roots, propose, evaluate, rules: as for :func:`bfs`.
      threshold: v_th; a child is visited if its score is *above* it. Negative infinity prunes
        nothing.
      max_depth: T, the most thoughts on a path, at least 1.
      max_expansions: the most states expanded for a problem, at least 1.
      max_tokens: a problem that has spent this many tokens expands no further state.
      description: label of a progress bar over problems; None shows none.

    Raises:
      InputError: no root, a depth or number of expansions below 1, a threshold that is not a
        number, or an evaluator that does not score every state.
    """
    _check_positive(max_depth=max_depth, max_expansions=max_expansions, roots=len(roots))
    if math.isnan(threshold):
        raise InputError(
            "threshold is nan: expected a number; children that score above it are visited"
        )

    def goes_on(state: State) -> bool:
        return not rules.is_leaf(state) and len(state.thoughts) < max_depth

    def is_done(tree: Tree) -> bool:
        out_of_budget = len(tree.expanded) >= max_expansions or tree.tokens >= max_tokens
        return tree.answer >= 0 or out_of_budget

    trees = _plant(roots, rules)
    stacks = [[0] if goes_on(root) else [] for root in roots]  # for each tree, the next node last
    with tqdm(
        total=len(roots), desc=description, unit="problem", disable=description is None
    ) as bar:
        while any(stacks):
            chosen = [(t, stack.pop()) for t, stack in enumerate(stacks) if stack]
            for t, new in _expand(trees, chosen, propose, evaluate, rules).items():
                nodes = trees[t].nodes
                promising = [i for i in new if nodes[i].score > threshold]
                visited = [i for i in promising if goes_on(nodes[i].state)]
                stacks[t] += reversed(best_first(trees[t], visited))
                if is_done(trees[t]):
                    stacks[t].clear()
            bar.update(stacks.count([]) - bar.n)
    return _with_answers(trees, rules)


# ---- one step of a search


def _plant(roots: Sequence[State], rules: Rules) -> list[Tree]:
    """Trees that hold their root alone."""
    return [Tree([Node(root, -1, math.nan)], {rules.identity(root)}) for root in roots]


def _expand(
    trees: list[Tree],
    chosen: list[tuple[int, int]],
    propose: Propose,
    evaluate: Evaluate,
    rules: Rules,
) -> dict[int, list[int]]:
    """Expands the chosen nodes (tree, node) of all trees in one batch.

    Returns:
      for each of these trees the indices of its new nodes.
    """
    children = _propose_children(trees, chosen, propose, rules)
    tested = [rules.is_solved is not None and rules.is_leaf(state) for _, _, state in children]
    judged = [state for (_, _, state), test in zip(children, tested, strict=True) if not test]
    scored = iter(_judge(judged, evaluate))
    new: dict[int, list[int]] = {t: [] for t, _ in chosen}
    for (t, parent, state), test in zip(children, tested, strict=True):
        tree, index = trees[t], len(trees[t].nodes)
        score, tokens = (float(rules.is_solved(state)), 0) if test else next(scored)
        if test and score and tree.answer < 0:
            tree.answer = index
        tree.nodes.append(Node(state, parent, score))
        tree.evaluated += tokens
        new[t].append(index)
    return new


def _propose_children(
    trees: list[Tree], chosen: list[tuple[int, int]], propose: Propose, rules: Rules
) -> list[tuple[int, int, State]]:
    """The acceptable states behind the chosen nodes that are new: (tree, parent, state)."""
    states = [trees[t].nodes[i].state for t, i in chosen]
    proposals, tokens = propose(states)
    children = []
    for (t, i), state, thoughts, cost in zip(chosen, states, proposals, tokens, strict=True):
        trees[t].expanded.append(i)
        trees[t].generated += int(cost)
        for thought in thoughts:
            if not rules.accept(state, thought.text):
                continue
            child = State(
                state.problem, (*state.thoughts, thought.text), state.logprob + thought.logprob
            )
            identity = rules.identity(child)
            if identity not in trees[t].seen:
                trees[t].seen.add(identity)
                children.append((t, i, child))
    return children


def _judge(states: list[State], evaluate: Evaluate) -> list[tuple[float, int]]:
    """The score of each state and its tokens; the evaluator is not called for no state."""
    if not states:
        return []
    scores, tokens = evaluate(states)
    if len(scores) != len(states):
        raise InputError(
            f"evaluator gave {len(scores)} scores for {len(states)} states: expected one for each"
        )
    return [(float(score), int(cost)) for score, cost in zip(scores, tokens, strict=True)]


def best_first(tree: Tree, indices: Iterable[int]) -> list[int]:
    """By score, the higher first; of equal scores the older node."""
    return sorted(indices, key=lambda i: (-tree.nodes[i].score, i))


def best_leaf(tree: Tree, rules: Rules) -> int:
    """The index of the best-scored leaf, -1 if there is no leaf."""
    leaves = [i for i, node in enumerate(tree.nodes) if rules.is_leaf(node.state)]
    return best_first(tree, leaves)[0] if leaves else -1


def _with_answers(trees: list[Tree], rules: Rules) -> list[Tree]:
    """Without a solution test the best-scored leaf is the answer."""
    if rules.is_solved is None:
        for tree in trees:
            tree.answer = best_leaf(tree, rules)
    return trees


def _check_positive(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} is {count}: expected at least 1")
