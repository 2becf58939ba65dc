"""Writes tests/search/mctx.npz: python tests/parity/make_mcts_golden.py"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from toy_mdp import muzero_tree, random_mdp

GOLDEN = Path(__file__).parent.parent / "search" / "mctx.npz"

if __name__ == "__main__":
    mdp = jax.tree.map(jnp.asarray, random_mdp(0, num_states=40, num_actions=5))
    states = jnp.arange(4)
    tree = jax.jit(muzero_tree, static_argnums=3)(mdp, jax.random.key(0), states, 96)
    np.savez_compressed(
        GOLDEN,
        **{f"mdp/{name}": np.asarray(table) for name, table in mdp._asdict().items()},
        states=np.asarray(states),
        visits=np.asarray(tree.node_visits),
        values=np.asarray(tree.node_values),
        parents=np.asarray(tree.parents),
        actions=np.asarray(tree.action_from_parent),
        root_visits=np.asarray(tree.summary().visit_counts),
    )
    print(GOLDEN.stat().st_size, "bytes")
