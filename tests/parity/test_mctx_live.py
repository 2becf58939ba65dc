"""Against mctx: the same tables give the same tree, node by node."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_mdp import C_BASE, C, muzero_tree, random_mdp

from jaxreason.search.mcts import action_values, search
from jaxreason.search.toy_mdp import expand_table, table_root


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("q_range", [None, (-4.0, 4.0)])
@pytest.mark.parametrize("ending, invalid", [(0.0, 0.0), (0.2, 0.3)])
def test_the_tree_is_that_of_muzero_policy(seed, q_range, ending, invalid):
    mdp = jax.tree.map(jnp.asarray, random_mdp(seed, 60, 8, ending=ending, invalid=invalid))
    states = jnp.arange(8)
    theirs = jax.jit(muzero_tree, static_argnums=(3, 4))(
        mdp, jax.random.key(seed), states, 128, q_range
    )
    ours = search(
        mdp,
        jax.random.key(seed),
        table_root(mdp, states),
        expand_fn=expand_table,
        num_simulations=128,
        c=C,
        c_base=C_BASE,
        q_range=q_range,
    )
    visits, q = action_values(ours)
    np.testing.assert_array_equal(visits, theirs.summary().visit_counts)
    np.testing.assert_allclose(
        np.where(visits > 0, q, 0),
        np.where(visits > 0, theirs.summary().qvalues, 0),
        rtol=1e-5,
        atol=1e-6,
    )
    # mctx goes on below terminal nodes; what it creates there is unused in our tree, all else is
    # the same.
    used = np.asarray(ours.visits > 0)
    assert used.all() == (ending == 0)
    for field, other in (
        ("parents", "parents"),
        ("actions", "action_from_parent"),
        ("visits", "node_visits"),
    ):
        np.testing.assert_array_equal(
            np.asarray(getattr(ours, field))[used], np.asarray(getattr(theirs, other))[used]
        )
    inner = used & ~np.asarray(ours.terminal)
    np.testing.assert_allclose(
        np.asarray(ours.values)[inner], np.asarray(theirs.node_values)[inner], rtol=1e-5, atol=1e-6
    )
