"""``python -m benchmarks.mcts``: our search and mctx's on one toy decision process, and what a
simulation costs in large trees.
"""

import re
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import jax
import jax.numpy as jnp
import mctx
import numpy as np
from tqdm.auto import tqdm

from jaxreason.course.machine import device
from jaxreason.search.mcts import SearchResult, search
from jaxreason.search.toy_mdp import TableMDP, expand_table, table_root

BATCH, NUM_ACTIONS, SIZES, REPEATS = 32, 16, (64, 256, 1024), 5
ENDINGS = {"of 8 steps": 8, "without end": None}
C, C_BASE = 1.25, 19652.0


def layered_mdp(horizon: int | None, states_per_layer: int = 512, seed: int = 0) -> TableMDP:
    """Random values; step ``horizon`` ends the episode.

    ``None``: one layer that leads to itself, without an end.
    """
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
    return TableMDP(
        *(jnp.asarray(x, jnp.int32 if x.dtype == np.int32 else jnp.float32) for x in tables)
    )


@partial(jax.jit, static_argnames="num_simulations")
def ours(mdp: TableMDP, key: jax.Array, states: jax.Array, num_simulations: int) -> SearchResult:
    root = table_root(mdp, states)
    return search(
        mdp, key, root, expand_fn=expand_table, num_simulations=num_simulations, c=C, c_base=C_BASE
    )


@partial(jax.jit, static_argnames="num_simulations")
def theirs(mdp: TableMDP, key: jax.Array, states: jax.Array, num_simulations: int) -> mctx.Tree:
    def recurrent_fn(mdp, key, action, state):
        node = expand_table(mdp, key, state, action)
        output = mctx.RecurrentFnOutput(
            reward=node.reward,
            discount=node.discount,
            prior_logits=node.prior_logits,
            value=node.value,
        )
        return output, node.embedding

    root = mctx.RootFnOutput(
        prior_logits=mdp.prior_logits[states], value=mdp.values[states], embedding=states
    )
    policy = partial(mctx.muzero_policy, dirichlet_fraction=0.0, pb_c_init=C, pb_c_base=C_BASE)
    return policy(mdp, key, root, recurrent_fn, num_simulations).search_tree


def seconds(function: Callable, *args) -> float:
    """The median of a few calls of a compiled function."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def mean_depth(tree: SearchResult) -> float:
    """Mean over simulations of the longest path in the batch: the steps a simulation takes, down
    and up again.
    """
    tree = jax.device_get(tree)
    depth, rows = np.zeros(tree.parents.shape, int), np.arange(tree.parents.shape[0])
    for i in range(1, depth.shape[1]):
        depth[:, i] = np.where(tree.parents[:, i] >= 0, depth[rows, tree.parents[:, i]] + 1, 0)
    return depth.max(0)[1:].mean()


def tree_copies(mdp: TableMDP, states: jax.Array, num_simulations: int) -> int:
    """Copies of whole tree arrays `[B, N, ...]` that the compiled loop makes in a simulation."""
    compiled = ours.lower(mdp, jax.random.key(0), states, num_simulations).compile().as_text()
    loops = compiled.split("\nENTRY ")[0]  # what is outside the loop runs once
    return len(re.findall(rf"\[{BATCH},{num_simulations + 1}(?:,\d+)*\]\S* copy\(", loops))


def compare() -> str:
    """The comparison as a Markdown table."""
    rows, key, states = [], jax.random.key(0), jnp.arange(BATCH)
    cases = [(name, n) for name in ENDINGS for n in SIZES]
    for name, n in tqdm(cases, desc="search against mctx"):
        mdp = layered_mdp(ENDINGS[name])
        tree, other = ours(mdp, key, states, n), theirs(mdp, key, states, n)
        same = bool(jnp.where(tree.visits > 0, tree.visits == other.node_visits, True).all())
        time_ours, time_theirs = (
            seconds(ours, mdp, key, states, n),
            seconds(theirs, mdp, key, states, n),
        )
        rows.append(
            f"| {name} | {n} | {BATCH * n / time_ours:,.0f} | {BATCH * n / time_theirs:,.0f} "
            f"| {time_theirs / time_ours:.1f} | {'equal' if same else 'DIFFER'} "
            f"| {mean_depth(tree):.1f} | {tree_copies(mdp, states, n)} |"
        )
    return (
        f"{device()}; mctx {version('mctx')}. Batch {BATCH}, {NUM_ACTIONS} actions, "
        f"`muzero_policy` without noise; medians of {REPEATS} runs. *Copies*: whole tree arrays "
        "that our compiled loop copies in a simulation.\n\n"
        "| episodes | simulations | jaxreason, simulations/s | mctx, simulations/s | ratio "
        "| visit counts | longest path | copies |\n"
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |\n" + "\n".join(rows) + "\n"
    )


if __name__ == "__main__":
    print(compare())
