"""A toy decision process, and mctx's search of it."""

from functools import partial

import jax
import jax.numpy as jnp
import mctx
import numpy as np

from jaxreason.search.toy_mdp import TableMDP, expand_table

C, C_BASE = 1.25, 19652.0


def random_mdp(
    seed: int, num_states: int, num_actions: int, *, ending: float = 0.1, invalid: float = 0.2
) -> TableMDP:
    """Continuous random values, so that scores do not tie; some steps end the episode, some actions
    do not exist.
    """
    rng = np.random.default_rng(seed)
    shape = num_states, num_actions
    exists = (rng.uniform(size=shape) >= invalid) | (np.arange(num_actions) == 0)
    return TableMDP(
        next_states=rng.integers(0, num_states, shape).astype(np.int32),
        rewards=rng.normal(scale=0.2, size=shape).astype(np.float32),
        discounts=np.where(rng.uniform(size=shape) < ending, 0, rng.uniform(0.8, 1, shape)).astype(
            np.float32
        ),
        prior_logits=np.where(exists, rng.normal(size=shape), -np.inf).astype(np.float32),
        values=rng.normal(size=num_states).astype(np.float32),
    )


def muzero_tree(
    mdp: TableMDP, key: jax.Array, states: jax.Array, num_simulations: int, q_range=None
) -> mctx.Tree:
    """The tree of ``mctx.muzero_policy`` without noise, which knows no terminal nodes: it goes on
    below them.
    """

    def recurrent_fn(mdp, key, action, state):
        node = expand_table(mdp, key, state, action)
        return mctx.RecurrentFnOutput(
            reward=node.reward,
            discount=node.discount,
            prior_logits=node.prior_logits,
            value=node.value,
        ), node.embedding

    qtransform = mctx.qtransform_by_parent_and_siblings
    if q_range is not None:
        qtransform = partial(mctx.qtransform_by_min_max, min_value=q_range[0], max_value=q_range[1])
    logits = mdp.prior_logits[states]
    output = mctx.muzero_policy(
        mdp,
        key,
        mctx.RootFnOutput(prior_logits=logits, value=mdp.values[states], embedding=states),
        recurrent_fn,
        num_simulations,
        invalid_actions=(logits == -jnp.inf).astype(jnp.float32),
        qtransform=qtransform,
        dirichlet_fraction=0.0,
        pb_c_init=C,
        pb_c_base=C_BASE,
    )
    return output.search_tree
