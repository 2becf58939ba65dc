"""A small Markov decision process in tables: ``mcts`` on it can be checked by hand."""

from typing import NamedTuple

import jax

from jaxreason.search.mcts import Node


class TableMDP(NamedTuple):
    """A Markov decision process of S states given as tables: the plainest thing to search."""

    next_states: jax.Array  # [S, A] int32
    rewards: jax.Array  # [S, A] float32
    discounts: jax.Array  # [S, A] float32, 0 for a step that ends the episode
    prior_logits: jax.Array  # [S, A] float32, -inf for an action that does not exist
    values: jax.Array  # [S] float32, the return to expect from a state


def table_root(mdp: TableMDP, state: jax.Array) -> Node:
    """Root nodes at ``state[B]`` int32."""
    return Node(embedding=state, prior_logits=mdp.prior_logits[state], value=mdp.values[state])


def expand_table(mdp: TableMDP, keys: jax.Array, state: jax.Array, action: jax.Array) -> Node:
    """The ``expand_fn`` of a search whose ``params`` are the tables.

    Args:
      keys: ``[B]``, not used: the tables leave nothing to chance.
      state: ``[B]`` int32, the embedding of the nodes.
      action: ``[B]`` int32.
    """
    step = state, action
    return table_root(mdp, mdp.next_states[step])._replace(
        reward=mdp.rewards[step], discount=mdp.discounts[step]
    )
