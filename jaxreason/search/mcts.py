"""Monte Carlo tree search over a batch of problems, the whole search inside one jit.

One simulation selects a path from the root, expands one node at its end, evaluates it, and backs
its value up the path:

    select     a = argmax_a Q(s, a) + U(s, a), until an action that has no child yet, or a terminal
    node expand     the child's embedding, priors, value, reward and discount come from
    ``expand_fn``, one call for the batch back up    G <- r + gamma G;  V(s) <- V(s) + (G - V(s)) /
    (N(s) + 1);  N(s) <- N(s) + 1, from the leaf to the root

The tree is a few arrays of fixed size, updated in place: the node that simulation i creates is node
i, the root is node 0. Every quantity is stored once, at the node it belongs to, and N(s, a) and
Q(s, a) are read from the child, so a simulation costs the same however large the tree is, but for
the length of its path.

What a node holds and what an action does is up to ``expand_fn``: here are no words and no models. A
language model may keep the tokens of a partial solution and the A steps it sampled from there as a
node's embedding, with the log-probabilities of these steps as its prior logits; action a then
appends step a, and the model samples anew.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.errors import InputError

RULES = ("puct", "uct")
# a prior logit of at most this is a mask: -inf, or what is written for it, -1e9 or finfo.min
NEVER = -1e8


class Node(NamedTuple):
    """What the search must know of B nodes, one of each problem: the root, and what ``expand_fn``
    returns.
    """

    embedding: Any  # pytree of [B, ...]: all that expand_fn needs to go on from here
    # [B, A], at most NEVER for an action that does not exist here, as -inf is; nor does one whose
    # prior is 0 in float32. A node without any action is terminal.
    prior_logits: jax.Array
    value: jax.Array  # [B], the return to expect from here on
    reward: jax.Array | float = 0.0  # [B], of the step into the node
    # [B], what the node's value counts for its parent; 0: the node is terminal
    discount: jax.Array | float = 1.0


ExpandFn = Callable[
    [Any, jax.Array, Any, jax.Array], Node
]  # (params, keys [B], embedding, action [B]) -> Node


class SearchResult(NamedTuple):
    """The tree of each problem: N = num_simulations + 1 nodes, in the order of the simulations that
    created them.

    A simulation that ends at a terminal node creates none: its node stays unused (``visits`` 0,
    ``parents`` -1, and an embedding without meaning).
    """

    # [B, N] int32: simulations through or to here; the root's evaluation counts as one
    visits: jax.Array
    # [B, N] float32: V(s), the mean of the returns from here on, its own evaluation included
    values: jax.Array
    rewards: jax.Array  # [B, N] float32, of the step into the node
    discounts: jax.Array  # [B, N] float32
    terminal: jax.Array  # [B, N] bool: never expanded further
    parents: jax.Array  # [B, N] int32, -1 for the root
    actions: jax.Array  # [B, N] int32: the parent's action that leads here, -1 for the root
    children: jax.Array  # [B, N, A] int32: the node an action leads to, -1 if it was never tried
    priors: jax.Array  # [B, N, A] float32: P(s, a), -1 for an action that does not exist
    embedding: Any  # pytree of [B, N, ...]


def search(
    params: Any,
    key: jax.Array,
    root: Node,
    *,
    expand_fn: ExpandFn,
    num_simulations: int,
    rule: str = "puct",
    c: float = 1.25,
    c_base: float | None = None,
    q_range: tuple[float, float] | None = None,
) -> SearchResult:
    """Runs ``num_simulations`` simulations for each of B problems.

    Args:
      params: handed to ``expand_fn``.
      key: one key, or keys ``[B]``. Simulation i of problem b passes ``fold_in(keys[b], i)`` to
        ``expand_fn``; the search itself draws nothing.
      root: B root nodes; their reward is not used. To explore at random from the root, mix noise
        into its priors.
      expand_fn: ``(params, keys, embedding, action) -> Node``, the node behind an action of B
        nodes. Called once in a simulation for all problems; where a problem's path ended at a
        terminal node the answer is not used. Static: pass the same function again, or the search
        compiles again.
      num_simulations: static.
      rule: how an action is selected, see :func:`action_scores`; static.
      c: exploration constant of either rule.
      c_base: lets PUCT's constant grow with the visits: c + log((N(s) + c_base + 1) / c_base),
        Schrittwieser et al. 2020 (MuZero), appendix B, equation 2, where c = 1.25 and c_base =
        19652.
      q_range: smallest and largest possible Q, for scaling it to [0, 1]; by default the range seen
        around the node.

    Of actions with equal scores the one of the lowest index is selected. (mctx adds noise of up to
    1e-7 to the scores: where no two are that close, its ``muzero_policy`` without Dirichlet noise
    visits the same nodes in the same order.) A problem whose root is terminal keeps its root alone.

    Raises:
      InputError: a number of simulations below one, an unknown rule, a constant that is negative or
        not finite, an empty q_range, or shapes that do not agree.
    """
    if (
        isinstance(num_simulations, bool)
        or not isinstance(num_simulations, int)
        or num_simulations < 1
    ):
        raise InputError(
            f"num_simulations is {num_simulations!r}: expected a whole number, at least 1"
        )
    if rule not in RULES:
        raise InputError(f"selection rule is {rule!r}: expected one of {', '.join(RULES)}")
    for name, value, least in (("c", c, 0.0), ("c_base", c_base, np.finfo(np.float32).tiny)):
        # A traced one, as under vmap over constants, has no value to look at.
        if (
            value is not None
            and not isinstance(value, jax.core.Tracer)
            and not least <= value < np.inf
        ):
            raise InputError(
                f"{name} is {value}: expected a finite number, {'0 or more' if not least else 'above 0'}"
            )
    if q_range is not None and not q_range[0] < q_range[1]:
        raise InputError(
            f"q_range is {q_range}: expected the smallest and the largest Q, in this order"
        )
    if jnp.ndim(root.prior_logits) != 2:
        raise InputError(
            f"prior logits of the root have shape {jnp.shape(root.prior_logits)}: expected [B, A]"
        )
    batch, num_actions = root.prior_logits.shape
    root = _checked(root, batch, num_actions, "root")
    if key.shape not in ((), (batch,)):
        raise InputError(
            f"keys have shape {key.shape}: expected one key, or one for each of the {batch} problems"
        )
    keys = jax.random.split(key, batch) if key.ndim == 0 else key
    return _search(
        params,
        keys,
        root,
        c,
        c_base,
        q_range,
        expand_fn=expand_fn,
        num_simulations=num_simulations,
        rule=rule,
    )


@partial(jax.jit, static_argnames=("expand_fn", "num_simulations", "rule"))
def _search(params, keys, root, c, c_base, q_range, *, expand_fn, num_simulations, rule):
    batch, num_actions = root.prior_logits.shape

    def select(tree: SearchResult) -> tuple[jax.Array, jax.Array]:
        """The node a path ends at, and its action to expand (without meaning if the node is
        terminal).
        """

        def descend(carry):
            node, action, walking = carry
            scores = action_scores(tree, node, rule=rule, c=c, c_base=c_base, q_range=q_range)
            best = _first_argmax(scores)
            child = _rows(tree.children, node)[jnp.arange(batch), best]
            action = jnp.where(walking, best, action)
            walking &= child >= 0
            node = jnp.where(walking, child, node)
            return node, action, walking & ~_rows(tree.terminal, node)

        root = jnp.zeros(batch, jnp.int32)
        carry = root, root, ~tree.terminal[:, 0]
        node, action, _ = jax.lax.while_loop(lambda carry: carry[2].any(), descend, carry)
        return node, action

    def back_up(tree: SearchResult, leaf: jax.Array) -> SearchResult:
        def ascend(carry):
            node, target, visits, values = carry
            on_path = node >= 0
            node = jnp.maximum(node, 0)  # a finished problem rewrites what its root holds
            n, v = _rows(visits, node), _rows(values, node)
            visits = _set_rows(visits, node, n + on_path)
            values = _set_rows(values, node, jnp.where(on_path, (v * n + target) / (n + 1.0), v))
            target = _rows(tree.rewards, node) + _rows(tree.discounts, node) * target
            return jnp.where(on_path, _rows(tree.parents, node), -1), target, visits, values

        carry = leaf, _rows(tree.values, leaf), tree.visits, tree.values
        *_, visits, values = jax.lax.while_loop(lambda carry: (carry[0] >= 0).any(), ascend, carry)
        return tree._replace(visits=visits, values=values)

    def simulate(i: jax.Array, tree: SearchResult) -> SearchResult:
        parent, action = select(tree)
        new = ~_rows(tree.terminal, parent)
        embedding = jax.tree.map(lambda x: _rows(x, parent), tree.embedding)
        node = expand_fn(
            params, jax.vmap(jax.random.fold_in, (0, None))(keys, i), embedding, action
        )
        node = _checked(Node(*node), batch, num_actions, "expand_fn")
        link = jnp.where(
            new[:, None] & (jnp.arange(num_actions) == action[:, None]),
            i,
            _rows(tree.children, parent),
        )
        tree = tree._replace(children=_set_rows(tree.children, parent, link))
        tree = _insert(tree, i, node, new, jnp.where(new, parent, -1), jnp.where(new, action, -1))
        return back_up(tree, jnp.where(new, i, parent))

    root_only, no_node = jnp.ones(batch, bool), jnp.full(batch, -1, jnp.int32)
    tree = _insert(_empty(root, num_simulations + 1), 0, root, root_only, no_node, no_node)
    tree = tree._replace(visits=tree.visits.at[:, 0].set(1))
    return jax.lax.fori_loop(1, num_simulations + 1, simulate, tree)


def action_scores(
    tree: SearchResult,
    node: jax.Array,
    *,
    rule: str = "puct",
    c: float = 1.25,
    c_base: float | None = None,
    q_range: tuple[float, float] | None = None,
) -> jax.Array:
    """The scores ``[B, A]`` whose largest is selected at ``node[B]``, -inf for actions that do not
    exist.

    N(s) counts the evaluation of s itself, so N(s) = 1 + sum_a N(s, a), and the priors decide at
    the first visit too.

    - ``puct``: Q(s, a) + c P(s, a) sqrt(N(s)) / (1 + N(s, a)). Silver et al. 2017 (AlphaGo Zero),
      Methods, "Select"; the idea of a prior in the bound is of Rosin 2011, "Multi-armed bandits
      with episode context". An untried action has the Q of the lower end of the range.
    - ``uct``: Q(s, a) + c sqrt(ln N(s) / N(s, a)). Kocsis & Szepesvari 2006, section 2.2, with c =
      2 C_p; sqrt(2) is the constant of UCB1 for returns in [0, 1]. Untried actions come first, in
      the order of their priors.

    Q is scaled to [0, 1] by ``q_range``, or else by the smallest and largest of V(s) and the Q of
    the tried actions: the normalisation of mctx's ``muzero_policy`` (MuZero, appendix B, equation
    5, takes the range of the whole tree).
    """
    visits, q = action_values(tree, node)
    prior = _rows(tree.priors, node)
    tried, exists = visits > 0, prior >= 0
    n, value = (
        _rows(tree.visits, node).astype(jnp.float32)[:, None],
        _rows(tree.values, node)[:, None],
    )
    if q_range is None:
        known = jnp.where(tried, q, value)
        low = jnp.minimum(known.min(-1, keepdims=True), value)
        high = jnp.maximum(known.max(-1, keepdims=True), value)
    else:
        low, high = q_range
    q = jnp.where(tried, (q - low) / jnp.maximum(high - low, 1e-8), 0.0)
    if rule == "uct":
        fresh = exists & ~tried
        bound = q + c * jnp.sqrt(jnp.log(n) / jnp.maximum(visits, 1))
        score = jnp.where(fresh.any(-1, keepdims=True), jnp.where(fresh, prior, -jnp.inf), bound)
    else:
        growth = 0.0 if c_base is None else jnp.log((n + c_base + 1) / c_base)
        score = q + (c + growth) * prior * jnp.sqrt(n) / (visits + 1)
    return jnp.where(exists, score, -jnp.inf)


def action_values(tree: SearchResult, node: jax.Array | int = 0) -> tuple[jax.Array, jax.Array]:
    """N(s, a) and Q(s, a) = r + gamma V(s') ``[B, A]`` at ``node[B]``, the root by default; 0 where
    never tried.
    """
    children = _rows(tree.children, jnp.broadcast_to(node, tree.visits.shape[0]))
    tried, problem, child = (
        children >= 0,
        jnp.arange(children.shape[0])[:, None],
        jnp.maximum(children, 0),
    )

    def of_child(x):
        return jnp.asarray(x).at[problem, child].get(mode="promise_in_bounds")

    visits = jnp.where(tried, of_child(tree.visits), 0)
    q = jnp.where(
        tried, of_child(tree.rewards) + of_child(tree.discounts) * of_child(tree.values), 0.0
    )
    return visits, q


def visit_distribution(tree: SearchResult, temperature: float = 1.0) -> jax.Array:
    """What the search recommends at the root, ``[B, A]``: pi(a) proportional to N(s, a)^(1 /
    temperature).

    Silver et al. 2017, Methods, "Play". All zero for a problem whose root is terminal.

    Raises:
      InputError: a temperature that is not positive.
    """
    if not temperature > 0:
        raise InputError(f"temperature is {temperature}: expected a positive number")
    visits, _ = action_values(tree)
    logits = jnp.where(visits > 0, jnp.log(jnp.maximum(visits, 1)) / temperature, -jnp.inf)
    return jnp.where(
        visits > 0,
        jax.nn.softmax(jnp.where(visits.any(-1, keepdims=True), logits, 0.0), axis=-1),
        0.0,
    )


def principal_variation(tree: SearchResult, problem: int = 0) -> list[int]:
    """The nodes of one problem from the root on, the most visited child each time (of equals the
    one with the higher Q).
    """
    tree = _problem(tree, problem)
    path = [0]
    while (children := tree.children[path[-1]])[children >= 0].size:
        children = children[children >= 0]
        q = tree.rewards[children] + tree.discounts[children] * tree.values[children]
        path.append(int(children[np.lexsort((q, tree.visits[children]))[-1]]))
    return path


def format_tree(
    tree: SearchResult,
    problem: int = 0,
    *,
    label: Callable[[int], str] | None = None,
    max_depth: int = 3,
    min_visits: int = 1,
) -> str:
    """One problem's tree as text, a node a line: N(s, a), Q(s, a), P(s, a), and ``*`` at terminal
    nodes.

    Args:
      label: what to call node i, by default the action that leads to it.
      max_depth, min_visits: leave out deeper and less visited nodes; an ellipsis counts them.
    """
    tree = _problem(tree, problem)
    lines = [
        f"{label(0) if label else 'root'}  N={tree.visits[0]} V={tree.values[0]:.3f}{'*' * int(tree.terminal[0])}"
    ]

    def add(node, depth, indent):
        children = tree.children[node][tree.children[node] >= 0]
        children = children[np.argsort(-tree.visits[children], kind="stable")].tolist()
        shown = [i for i in children if tree.visits[i] >= min_visits] if depth < max_depth else []
        for i in shown:
            last = i == children[-1]
            name = label(i) if label else f"action {tree.actions[i]}"
            q = tree.rewards[i] + tree.discounts[i] * tree.values[i]
            prior = tree.priors[node, tree.actions[i]]
            end = "*" * int(tree.terminal[i])
            lines.append(
                f"{indent}{'└─' if last else '├─'} {name}  N={tree.visits[i]} Q={q:.3f} P={prior:.3f}{end}"
            )
            add(i, depth + 1, indent + ("   " if last else "│  "))
        if len(shown) < len(children):
            lines.append(f"{indent}└─ … {len(children) - len(shown)} more")

    add(0, 0, "")
    return "\n".join(lines)


def _checked(node: Node, batch: int, num_actions: int, name: str) -> Node:
    """The node with every field an array ``[B, ...]``."""
    if jnp.shape(node.prior_logits) != (batch, num_actions):
        raise InputError(
            f"prior logits of {name} have shape {jnp.shape(node.prior_logits)}: expected {(batch, num_actions)}"
        )
    for field in ("value", "reward", "discount"):
        if (shape := jnp.shape(getattr(node, field))) not in ((), (batch,)):
            raise InputError(f"{field} of {name} has shape {shape}: expected {(batch,)}")
    for leaf in jax.tree.leaves(node.embedding):
        if jnp.shape(leaf)[:1] != (batch,):
            raise InputError(
                f"embedding of {name} has a leaf of shape {jnp.shape(leaf)}: expected ({batch}, ...)"
            )
    scalars = (jnp.broadcast_to(jnp.asarray(x, jnp.float32), batch) for x in node[2:])
    return Node(
        jax.tree.map(jnp.asarray, node.embedding),
        jnp.asarray(node.prior_logits, jnp.float32),
        *scalars,
    )


def _empty(root: Node, num_nodes: int) -> SearchResult:
    batch, num_actions = root.prior_logits.shape

    def full(value, dtype, *shape):
        return jnp.full((batch, num_nodes, *shape), value, dtype)

    return SearchResult(
        visits=full(0, jnp.int32),
        values=full(0, jnp.float32),
        rewards=full(0, jnp.float32),
        discounts=full(0, jnp.float32),
        terminal=full(False, bool),
        parents=full(-1, jnp.int32),
        actions=full(-1, jnp.int32),
        children=full(-1, jnp.int32, num_actions),
        priors=full(-1, jnp.float32, num_actions),
        embedding=jax.tree.map(lambda x: full(0, x.dtype, *x.shape[1:]), root.embedding),
    )


def _insert(
    tree: SearchResult, i, node: Node, new: jax.Array, parent: jax.Array, action: jax.Array
) -> SearchResult:
    """Node i of every problem, blank where it is not ``new``.

    Every row depends on ``new``, and so on what selection has read: were it not so (a constant
    discount, say), XLA might write before selection reads, and would copy the whole array in each
    simulation to do so.
    """

    def write(x, row):
        return jax.lax.dynamic_update_index_in_dim(x, row.astype(x.dtype), i, axis=1)

    exists = node.prior_logits > NEVER  # not for NaN either
    priors = jax.nn.softmax(jnp.where(exists, node.prior_logits, -jnp.inf), axis=-1)
    exists &= (
        priors > 0
    )  # UCT tries every action once: not one whose probability is 0, as behind a mask of -1e4
    return tree._replace(
        values=write(tree.values, jnp.where(new, node.value, 0)),
        rewards=write(tree.rewards, jnp.where(new, node.reward, 0)),
        discounts=write(tree.discounts, jnp.where(new, node.discount, 0)),
        terminal=write(tree.terminal, new & ((node.discount == 0) | ~exists.any(-1))),
        parents=write(tree.parents, parent),
        actions=write(tree.actions, action),
        priors=write(tree.priors, jnp.where(new[:, None] & exists, priors, -1)),
        embedding=jax.tree.map(write, tree.embedding, node.embedding),
    )


def _rows(x: jax.Array, node: jax.Array) -> jax.Array:
    """``x[b, node[b]]`` for every problem b."""
    return jnp.asarray(x).at[jnp.arange(x.shape[0]), node].get(mode="promise_in_bounds")


def _set_rows(x: jax.Array, node: jax.Array, rows: jax.Array) -> jax.Array:
    return x.at[jnp.arange(x.shape[0]), node].set(
        rows, mode="promise_in_bounds", unique_indices=True
    )


def _first_argmax(scores: jax.Array) -> jax.Array:
    """``argmax(-1)``, which takes three times as long on XLA's CPU: it reduces pairs, one by one.
    """
    last = scores.shape[-1] - 1
    index = jnp.where(
        scores == scores.max(-1, keepdims=True), jnp.arange(last + 1, dtype=jnp.int32), last
    )
    return index.min(-1)


def _problem(tree: SearchResult, problem: int) -> SearchResult:
    """One problem's tree on the host, its embedding left out."""
    return jax.tree.map(lambda x: np.asarray(x[problem]), tree._replace(embedding=None))
