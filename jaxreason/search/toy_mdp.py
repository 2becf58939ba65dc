"""A small Markov decision process in tables, on which a search can be checked by hand."""

from typing import NamedTuple

import jax

from jaxreason.search.mcts import Node


class TableMDP(NamedTuple):
    """A Markov decision process of S states given as tables: the plainest thing to search."""

    next_states: jax.Array  # [S, A] int32
    rewards: jax.Array  # [S, A]
    discounts: jax.Array  # [S, A], 0 for a step that ends the episode
    prior_logits: jax.Array  # [S, A], -inf for an action that does not exist
    values: jax.Array  # [S]


def table_root(mdp: TableMDP, state: jax.Array) -> Node:
    """Root nodes at ``state[B]``."""
    return Node(state, mdp.prior_logits[state], mdp.values[state])


def expand_table(mdp: TableMDP, keys: jax.Array, state: jax.Array, action: jax.Array) -> Node:
    """The ``expand_fn`` of a :class:`TableMDP`, which is its ``params``; a node's embedding is its
    state ``[B]``.
    """
    step = state, action
    return table_root(mdp, mdp.next_states[step])._replace(
        reward=mdp.rewards[step], discount=mdp.discounts[step]
    )
