"""Monte Carlo tree search over a batch of problems, the whole search inside one jit.

One simulation takes one path from the root to a new node:

    select    a = argmax_a Q(s, a) + U(s, a), down to an action that has no child yet or to a
              terminal node; U is the exploration bonus, see ``puct`` and ``uct``
    expand    the new node's embedding, priors, value, reward and discount come from ``expand_fn``,
              which is called once for the whole batch
    back up   from the new node to the root:
              G <- r + gamma G;  V(s) <- V(s) + (G - V(s)) / (N(s) + 1);  N(s) <- N(s) + 1

The tree is a few arrays of fixed size, updated in place: the root is node 0, and simulation i
creates node i. N(s, a) and Q(s, a) are read from the child, so a simulation costs as much as its
path is long, however large the tree.

The search knows no words and no models: ``expand_fn`` decides what a node holds and what an action
does. For a language model, a node may hold the tokens of a partial solution and A steps sampled
there, whose log-probabilities are the prior logits; action a then appends step a.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.errors import InputError

RULES = ("puct", "uct")
NEVER = -1e8  # a prior logit of at most this is a mask: -inf, -1e9 or finfo.min


class Node(NamedTuple):
    """What the search must know of B nodes, one for each problem."""

    embedding: Any  # pytree of [B, ...]: all that expand_fn needs to go on from here
    # [B, A]; at most NEVER, such as -inf, for an action that does not exist. An action whose prior
    # is 0 in float32 does not exist either. A node without any action is terminal.
    prior_logits: jax.Array
    value: jax.Array  # [B], the return to expect from here on
    reward: jax.Array | float = 0.0  # [B], of the step into the node
    discount: jax.Array | float = 1.0  # [B], gamma of the step; a node with gamma 0 is terminal


# (params, keys [B], embedding, action [B]) -> Node
ExpandFn = Callable[[Any, jax.Array, Any, jax.Array], Node]


class SearchResult(NamedTuple):
    """The tree of each of B problems, with N = num_simulations + 1 nodes.

    Node i was created by simulation i. A simulation that ends at a terminal node creates none: its
    node stays unused (``visits`` 0, ``parents`` -1, and an embedding without meaning).
    """

    visits: jax.Array  # [B, N] int32: N(s); the root's own evaluation counts as one
    values: jax.Array  # [B, N] float32: V(s), the mean return, its own evaluation included
    rewards: jax.Array  # [B, N] float32: r, of the step into the node
    discounts: jax.Array  # [B, N] float32: gamma
    terminal: jax.Array  # [B, N] bool: never expanded further
    parents: jax.Array  # [B, N] int32, -1 for the root
    actions: jax.Array  # [B, N] int32: the parent's action that leads here, -1 for the root
    children: jax.Array  # [B, N, A] int32: the node an action leads to, -1 if it was never tried
    priors: jax.Array  # [B, N, A] float32: P(s, a), -1 for an action that does not exist
    embedding: Any  # pytree of [B, N, ...]


class ActionValues(NamedTuple):
    """The actions of B nodes."""

    visits: jax.Array  # [B, A] int32: N(s, a), 0 for an action that was never tried
    q: jax.Array  # [B, A] float32: Q(s, a) = r + gamma V(s'), 0 for an action that was never tried


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

    Of equal scores the lowest index is selected. (mctx adds noise of up to 1e-7; where no two
    scores are that close, its ``muzero_policy`` without Dirichlet noise visits the same nodes in
    the same order.) A problem whose root is terminal keeps its root alone.

    Args:
      params: passed on to ``expand_fn``.
      key: one key, or keys ``[B]``. Simulation i of problem b passes ``fold_in(keys[b], i)`` to
        ``expand_fn``; the search itself draws nothing.
      root: B roots; their reward is not used. To explore at random, mix noise into the priors.
      expand_fn: gives the node behind an action of B nodes; called once in a simulation. Its
        answer is not used for a problem whose path ended at a terminal node. Static: a new function
        compiles a new search.
      num_simulations: at least 1; static.
      rule: how an action is selected, "puct" or "uct", see :func:`action_scores`; static.
      c: exploration constant of either rule, c_puct in :func:`puct`.
      c_base: makes PUCT's constant grow with the visits: c + log((N(s) + c_base + 1) / c_base);
        1.25 and 19652 in Schrittwieser et al. 2020 (MuZero), appendix B, equation 2.
      q_range: smallest and largest possible Q, for scaling it to [0, 1]; by default the range seen
        around the node.

    Raises:
      InputError: no simulation, an unknown rule, a constant that is negative or not finite, an
        empty q_range, or shapes that do not agree.
    """
    _check_options(num_simulations, rule, c, c_base, q_range)
    shape = jnp.shape(root.prior_logits)
    if len(shape) != 2:
        raise InputError(f"prior logits of the root have shape {shape}: expected [B, A]")
    batch, num_actions = shape
    root = _checked(root, batch, num_actions, "root")
    if key.shape not in ((), (batch,)):
        expected = f"expected one key, or one for each of the {batch} problems"
        raise InputError(f"keys have shape {key.shape}: {expected}")
    keys = jax.random.split(key, batch) if key.ndim == 0 else key
    return _search(params, keys, root, c, c_base, q_range, expand_fn, num_simulations, rule)


@partial(jax.jit, static_argnames=("expand_fn", "num_simulations", "rule"))
def _search(params, keys, root, c, c_base, q_range, expand_fn, num_simulations, rule):
    batch, num_actions = root.prior_logits.shape
    scores = partial(action_scores, rule=rule, c=c, c_base=c_base, q_range=q_range)

    def simulate(i: jax.Array, tree: SearchResult) -> SearchResult:
        parent, action = _select(tree, scores)
        embedding = jax.tree.map(lambda x: _rows(x, parent), tree.embedding)
        node_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, i)
        node = expand_fn(params, node_keys, embedding, action)
        node = _checked(node, batch, num_actions, "expand_fn")
        is_new = ~_rows(tree.terminal, parent)
        tree = _link(tree, parent, action, jnp.where(is_new, i, -1))
        parents, actions = jnp.where(is_new, parent, -1), jnp.where(is_new, action, -1)
        tree = _insert(tree, i, node, is_new, parents, actions)
        return _back_up(tree, jnp.where(is_new, i, parent))

    all_new, none = jnp.ones(batch, bool), jnp.full(batch, -1, jnp.int32)
    tree = _empty(root, num_simulations + 1)
    tree = tree._replace(visits=tree.visits.at[:, 0].set(1))
    tree = _insert(tree, 0, root, all_new, none, none)
    return jax.lax.fori_loop(1, num_simulations + 1, simulate, tree)


def _select(tree: SearchResult, scores: Callable) -> tuple[jax.Array, jax.Array]:
    """The node ``[B]`` where each path ends, and its action ``[B]`` to expand.

    Args:
      scores: ``(tree, node [B]) -> [B, A]``.
    """

    def descend(carry):
        node, action, walking = carry
        best = _first_argmax(scores(tree, node))
        child = _rows(tree.children, node)[jnp.arange(len(best)), best]
        action = jnp.where(walking, best, action)
        walking &= child >= 0
        node = jnp.where(walking, child, node)
        return node, action, walking & ~_rows(tree.terminal, node)

    root = jnp.zeros(tree.visits.shape[0], jnp.int32)
    start = root, root, ~tree.terminal[:, 0]
    node, action, _ = jax.lax.while_loop(lambda carry: carry[2].any(), descend, start)
    return node, action


def puct(q: jax.Array, prior: jax.Array, n: jax.Array, n_a: jax.Array, c: float) -> jax.Array:
    """Q(s, a) + U(s, a), where U(s, a) = c_puct P(s, a) sqrt(N(s)) / (1 + N(s, a)).

    Silver et al. 2017 (AlphaGo Zero), Methods, "Select". A prior in the bound is the idea of Rosin
    2011, "Multi-armed bandits with episode context".

    Args:
      q, prior, n_a: Q(s, a), P(s, a) and N(s, a), ``[B, A]``.
      n: N(s), ``[B, 1]``.
      c: c_puct, a number or ``[B, 1]``.
    """
    return q + c * prior * jnp.sqrt(n) / (n_a + 1)


def uct(q: jax.Array, n: jax.Array, n_a: jax.Array, c: float) -> jax.Array:
    """Q(s, a) + U(s, a), where U(s, a) = c sqrt(ln N(s) / N(s, a)).

    For actions that were tried; ``q [B, A]``, ``n [B, 1]``, ``n_a [B, A]`` as in :func:`puct`.
    Kocsis & Szepesvari 2006, section 2.2, where c = 2 C_p; UCB1 has sqrt(2) for returns in [0, 1].
    """
    return q + c * jnp.sqrt(jnp.log(n) / jnp.maximum(n_a, 1))


def action_scores(
    tree: SearchResult,
    node: jax.Array,
    *,
    rule: str = "puct",
    c: float = 1.25,
    c_base: float | None = None,
    q_range: tuple[float, float] | None = None,
) -> jax.Array:
    """The scores ``[B, A]`` whose largest is selected at ``node[B]``; options as in :func:`search`.

    An action that does not exist scores -inf. An untried one has the lowest Q of the range under
    :func:`puct`; under :func:`uct` untried actions come first, in the order of their priors. N(s)
    counts the evaluation of s itself, so the priors decide at the first visit too.

    Q is scaled to [0, 1] by ``q_range``, by default the range of V(s) and the Q of the tried
    actions, as in mctx's ``muzero_policy``. (MuZero, appendix B, equation 5: of the whole tree.)
    """
    n_a, q = action_values(tree, node)
    prior = _rows(tree.priors, node)
    n = _rows(tree.visits, node).astype(jnp.float32)[:, None]
    exists, tried = prior >= 0, n_a > 0
    low, high = q_range or _q_range(q, tried, _rows(tree.values, node)[:, None])
    q = jnp.where(tried, (q - low) / jnp.maximum(high - low, 1e-8), 0.0)
    if rule == "uct":
        fresh = exists & ~tried
        fresh_first = jnp.where(fresh, prior, -jnp.inf)
        scores = jnp.where(fresh.any(-1, keepdims=True), fresh_first, uct(q, n, n_a, c))
    else:
        growth = 0.0 if c_base is None else jnp.log((n + c_base + 1) / c_base)
        scores = puct(q, prior, n, n_a, c + growth)
    return jnp.where(exists, scores, -jnp.inf)


def _q_range(q: jax.Array, tried: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The smallest and largest ``[B, 1]`` of V(s) and the Q of the tried actions."""
    known = jnp.where(tried, q, value)
    lowest, highest = known.min(-1, keepdims=True), known.max(-1, keepdims=True)
    return jnp.minimum(lowest, value), jnp.maximum(highest, value)


def _first_argmax(scores: jax.Array) -> jax.Array:
    """``argmax(-1)``; XLA's own takes three times as long on a CPU: it reduces pairs one by one."""
    last = scores.shape[-1] - 1
    is_best = scores == scores.max(-1, keepdims=True)
    return jnp.where(is_best, jnp.arange(last + 1, dtype=jnp.int32), last).min(-1)


def _link(tree: SearchResult, parent: jax.Array, action: jax.Array, child: jax.Array):
    """Makes ``child[B]`` the node behind an action of its parent; -1 changes nothing."""
    children = _rows(tree.children, parent)  # [B, A]
    linked = (child[:, None] >= 0) & (jnp.arange(children.shape[1]) == action[:, None])
    children = jnp.where(linked, child[:, None], children)
    return tree._replace(children=_set_rows(tree.children, parent, children))


def _insert(
    tree: SearchResult, i, node: Node, new: jax.Array, parent: jax.Array, action: jax.Array
) -> SearchResult:
    """Node i of every problem, blank where it is not ``new``.

    Every row depends on ``new``, and so on what selection has read. Otherwise (a constant discount,
    say) XLA might write before selection reads, and copy the whole array in each simulation.
    """

    def write(x, row):
        return jax.lax.dynamic_update_index_in_dim(x, row.astype(x.dtype), i, axis=1)

    exists = node.prior_logits > NEVER  # not for NaN either
    priors = jax.nn.softmax(jnp.where(exists, node.prior_logits, -jnp.inf), axis=-1)
    exists &= priors > 0  # a mask of -1e4 leaves a prior of 0; UCT would try that action too
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


def _back_up(tree: SearchResult, leaf: jax.Array) -> SearchResult:
    """Adds the value of ``leaf[B]`` to the means of all nodes from there to the root."""

    def ascend(carry):
        node, target, visits, values = carry  # target: G, the return from this node on
        on_path = node >= 0
        node = jnp.maximum(node, 0)  # a finished problem rewrites what its root holds
        n, v = _rows(visits, node), _rows(values, node)
        mean = (v * n + target) / (n + 1.0)
        visits = _set_rows(visits, node, n + on_path)
        values = _set_rows(values, node, jnp.where(on_path, mean, v))
        target = _rows(tree.rewards, node) + _rows(tree.discounts, node) * target
        return jnp.where(on_path, _rows(tree.parents, node), -1), target, visits, values

    start = leaf, _rows(tree.values, leaf), tree.visits, tree.values
    _, _, visits, values = jax.lax.while_loop(lambda carry: (carry[0] >= 0).any(), ascend, start)
    return tree._replace(visits=visits, values=values)


def action_values(tree: SearchResult, node: jax.Array | int = 0) -> ActionValues:
    """N(s, a) and Q(s, a) at ``node[B]``, the root by default."""
    children = _rows(tree.children, jnp.broadcast_to(node, tree.visits.shape[0]))
    problem, child = jnp.arange(children.shape[0])[:, None], jnp.maximum(children, 0)

    def of_child(x):
        return jnp.asarray(x).at[problem, child].get(mode="promise_in_bounds")

    q = of_child(tree.rewards) + of_child(tree.discounts) * of_child(tree.values)
    return ActionValues(
        visits=jnp.where(children >= 0, of_child(tree.visits), 0),
        q=jnp.where(children >= 0, q, 0.0),
    )


def visit_distribution(tree: SearchResult, temperature: float = 1.0) -> jax.Array:
    """The search's policy at the root, ``[B, A]``: pi(a) ~ N(s, a)^(1 / temperature).

    All zero for a problem whose root is terminal. Source: Silver et al. 2017, Methods, "Play".

    Raises:
      InputError: a temperature that is not positive.
    """
    if not temperature > 0:
        raise InputError(f"temperature is {temperature}: expected a positive number")
    visits, _ = action_values(tree)
    logits = jnp.where(visits > 0, jnp.log(jnp.maximum(visits, 1)) / temperature, -jnp.inf)
    logits = jnp.where(visits.any(-1, keepdims=True), logits, 0.0)  # a terminal root has no visits
    return jnp.where(visits > 0, jax.nn.softmax(logits, axis=-1), 0.0)


def _check_options(num_simulations, rule, c, c_base, q_range) -> None:
    is_whole = isinstance(num_simulations, int) and not isinstance(num_simulations, bool)
    if not is_whole or num_simulations < 1:
        expected = "expected a whole number, at least 1"
        raise InputError(f"num_simulations is {num_simulations!r}: {expected}")
    if rule not in RULES:
        raise InputError(f"selection rule is {rule!r}: expected one of {', '.join(RULES)}")
    # A traced constant, as under vmap over constants, has no value to look at.
    if not isinstance(c, jax.core.Tracer) and not 0 <= c < np.inf:
        raise InputError(f"c is {c}: expected a finite number, 0 or more")
    has_base = c_base is not None and not isinstance(c_base, jax.core.Tracer)
    if has_base and not np.finfo(np.float32).tiny <= c_base < np.inf:
        raise InputError(f"c_base is {c_base}: expected a finite number, above 0")
    if q_range is not None and not q_range[0] < q_range[1]:
        expected = "expected the smallest and the largest Q, in this order"
        raise InputError(f"q_range is {q_range}: {expected}")


def _checked(node: Node, batch: int, num_actions: int, name: str) -> Node:
    """The node with every field an array ``[B, ...]``; InputError for a field of another shape."""
    shape = jnp.shape(node.prior_logits)
    if shape != (batch, num_actions):
        raise InputError(
            f"prior logits of {name} have shape {shape}: expected {(batch, num_actions)}"
        )
    scalars = {field: getattr(node, field) for field in ("value", "reward", "discount")}
    for field, x in scalars.items():
        if jnp.shape(x) not in ((), (batch,)):
            raise InputError(f"{field} of {name} has shape {jnp.shape(x)}: expected {(batch,)}")
    for leaf in jax.tree.leaves(node.embedding):
        if jnp.shape(leaf)[:1] != (batch,):
            shape = jnp.shape(leaf)
            raise InputError(
                f"embedding of {name} has a leaf of shape {shape}: expected ({batch}, ...)"
            )
    return Node(
        embedding=jax.tree.map(jnp.asarray, node.embedding),
        prior_logits=jnp.asarray(node.prior_logits, jnp.float32),
        **{k: jnp.broadcast_to(jnp.asarray(x, jnp.float32), batch) for k, x in scalars.items()},
    )


def _rows(x: jax.Array, node: jax.Array) -> jax.Array:
    """``x[b, node[b]]`` for every problem b."""
    return jnp.asarray(x).at[jnp.arange(x.shape[0]), node].get(mode="promise_in_bounds")


def _set_rows(x: jax.Array, node: jax.Array, rows: jax.Array) -> jax.Array:
    return x.at[jnp.arange(x.shape[0]), node].set(
        rows, mode="promise_in_bounds", unique_indices=True
    )
