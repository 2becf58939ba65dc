"""Exercises of lesson 00, on JAX: see lessons/00b_jax_primer.

Fill in what raises NotImplementedError, then run `jaxreason check 00`.
"""

import jax
import jax.numpy as jnp


def set_token(tokens: jax.Array, row: int, place: int, token: int) -> jax.Array:
    """1. The tokens with one of them replaced, as by `tokens[row, place] = token` in PyTorch.

    Args:
      tokens: `[B, T]` integers. They must not change.
      row, place: where; under `jit` both are tracers.
      token: what to put there.
    """
    raise NotImplementedError


def draw_uniforms(key: jax.Array, count: int) -> jax.Array:
    """2. `[count]` uniform random numbers. Number t depends on the key and on t alone.

    Number t is drawn with the key that `jax.random.fold_in` makes of `key` and t. So the first
    numbers are the same however many are asked for. (Use `jax.vmap` over t.)
    """
    raise NotImplementedError


def count_params(params: dict) -> int:
    """3. The number of parameters in a nested dict of arrays. (Use `jax.tree`.)"""
    raise NotImplementedError


def discounted_returns(rewards: jax.Array, gamma: float) -> jax.Array:
    """4. What is still to come at each step, `R_t = r_t + gamma R_{t+1}`, and 0 behind the end.

    Use `jax.lax.scan`, so that the program is as short for a thousand steps as for three. It has an
    option to go from the last step to the first.

    Args:
      rewards: `[T]` floats.
      gamma: the discount.

    Returns:
      `[T]` returns.
    """
    raise NotImplementedError
