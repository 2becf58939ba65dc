"""A small Markov decision process in tables: ``mcts`` on it can be checked by hand."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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


def complete_trees(leaves: np.ndarray, values: np.ndarray) -> TableMDP:
    """G complete trees as tables; rewards come with the steps into the leaves only.

    States are numbered level by level: 0 to G-1 are the roots, then their children, and so on. No
    action is preferred, and no step is discounted.

    Args:
      leaves: rewards ``[G, A, ..., A]`` of the leaves, with an axis for the action at each level.
      values: ``[S]``, what the search is told of each state, leaves included.
    """
    num_trees, *levels = leaves.shape
    num_actions = levels[-1]
    sizes = [num_trees * num_actions**level for level in range(len(levels) + 1)]
    num_states, num_inner = sum(sizes), sum(sizes[:-1])
    num_above = num_inner - sizes[-2]  # states whose children are no leaves

    # Level by level, the next children are always the next numbers.
    next_states = np.zeros((num_states, num_actions), np.int32)
    next_states[:num_inner] = np.arange(num_trees, num_states).reshape(-1, num_actions)
    rewards = np.zeros((num_states, num_actions), np.float32)
    rewards[num_above:num_inner] = leaves.reshape(-1, num_actions)
    discounts = np.zeros((num_states, num_actions), np.float32)
    discounts[:num_above] = 1.0  # the step into a leaf ends the episode
    return TableMDP(
        next_states=jnp.asarray(next_states),
        rewards=jnp.asarray(rewards),
        discounts=jnp.asarray(discounts),
        prior_logits=jnp.zeros((num_states, num_actions)),
        values=jnp.asarray(values, jnp.float32),
    )
