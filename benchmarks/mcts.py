"""``python -m benchmarks.mcts``: our search and mctx's on one toy decision process, and what a simulation costs in large trees."""

import re
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import mctx
import numpy as np

from jaxreason.mcts import SearchResult, TableMDP, expand_table, search, table_root

BATCH, NUM_ACTIONS = 32, 16
C, C_BASE = 1.25, 19652.0


def layered_mdp(horizon: int | None, states_per_layer: int = 512, seed: int = 0) -> TableMDP:
    """Random values; step ``horizon`` ends the episode. ``None``: one layer that leads to itself, without an end."""
    rng = np.random.default_rng(seed)
    layers = horizon or 1
    shape = layers * states_per_layer, NUM_ACTIONS
    layer = np.arange(shape[0])[:, None] // states_per_layer
    following = (layer + 1) % layers * states_per_layer + rng.integers(0, states_per_layer, shape)
    tables = (
        following.astype(np.int32),
        rng.normal(scale=0.1, size=shape),
        np.where((layer + 1 == horizon) if horizon else False, 0.0, np.full(shape, 0.97)),
        rng.normal(size=shape),
        rng.uniform(size=shape[0]),
    )
    return TableMDP(*(jnp.asarray(x, jnp.int32 if x.dtype == np.int32 else jnp.float32) for x in tables))


@partial(jax.jit, static_argnames="num_simulations")
def ours(mdp: TableMDP, key: jax.Array, states: jax.Array, num_simulations: int) -> SearchResult:
    root = table_root(mdp, states)
    return search(mdp, key, root, expand_fn=expand_table, num_simulations=num_simulations, c=C, c_base=C_BASE)


@partial(jax.jit, static_argnames="num_simulations")
def theirs(mdp: TableMDP, key: jax.Array, states: jax.Array, num_simulations: int) -> mctx.Tree:
    def recurrent_fn(mdp, key, action, state):
        node = expand_table(mdp, key, state, action)
        output = mctx.RecurrentFnOutput(
            reward=node.reward, discount=node.discount, prior_logits=node.prior_logits, value=node.value
        )
        return output, node.embedding

    root = mctx.RootFnOutput(prior_logits=mdp.prior_logits[states], value=mdp.values[states], embedding=states)
    policy = partial(mctx.muzero_policy, dirichlet_fraction=0.0, pb_c_init=C, pb_c_base=C_BASE)
    return policy(mdp, key, root, recurrent_fn, num_simulations).search_tree


def seconds(function: Callable, *args, repeats: int = 15) -> float:
    """The fastest of several calls after one that compiles: on a shared core the others say what else was running."""
    jax.block_until_ready(function(*args))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - began)
    return min(times)


def mean_depth(tree: SearchResult) -> float:
    """Mean over simulations of the longest path in the batch: the steps a simulation takes, down and up again."""
    tree = jax.device_get(tree)
    depth, rows = np.zeros(tree.parents.shape, int), np.arange(tree.parents.shape[0])
    for i in range(1, depth.shape[1]):
        depth[:, i] = np.where(tree.parents[:, i] >= 0, depth[rows, tree.parents[:, i]] + 1, 0)
    return depth.max(0)[1:].mean()


def tree_copies(mdp: TableMDP, states: jax.Array, num_simulations: int) -> int:
    """Copies of whole tree arrays, [B, N, ...], that the compiled loop makes in every simulation."""
    compiled = ours.lower(mdp, jax.random.key(0), states, num_simulations).compile().as_text()
    loops = compiled.split("\nENTRY ")[0]  # what is outside the loop runs once
    return len(re.findall(rf"\[{BATCH},{num_simulations + 1}(?:,\d+)*\]\S* copy\(", loops))


def mcts() -> list[tuple[str, float, str]]:
    """A row for each search: what, seconds, note."""
    rows, key, states = [], jax.random.key(0), jnp.arange(BATCH)
    for horizon, name in ((8, "episodes of 8 steps"), (None, "no end")):
        mdp = layered_mdp(horizon)
        what = f"MCTS, batch {BATCH}, {NUM_ACTIONS} actions, {name}"
        time_theirs = seconds(theirs, mdp, key, states, 256, repeats=5)
        rates = {}
        for n in (64, 256, 1024):
            time_ours = seconds(ours, mdp, key, states, n)
            rates[n] = BATCH * n / time_ours
            depth = mean_depth(ours(mdp, key, states, n))
            note = (
                f"{rates[n]:,.0f} simulations/s, {rates[n] / rates[64]:.0%} of the rate at 64; longest path {depth:.1f}"
            )
            rows.append((f"{what}, {n} simulations", time_ours, note))
            if n == 256:
                tree, other = ours(mdp, key, states, n), theirs(mdp, key, states, n)
                same = bool(jnp.where(tree.visits > 0, tree.visits == other.node_visits, True).all())
                note = f"{time_theirs / time_ours:.1f} times ours; visit counts {'equal' if same else 'DIFFER'}"
                rows.append((f"{what}, {n} simulations: mctx", time_theirs, note))
        rows.append(
            (f"{what}: copies of tree arrays per simulation", tree_copies(mdp, states, 256), "in the compiled loop")
        )
    return rows


if __name__ == "__main__":
    for what, value, note in mcts():
        print(f"{what:75} {value:8.4f}  {note}")
