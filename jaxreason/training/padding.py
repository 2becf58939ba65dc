"""Gradients of batches with much padding, at the cost of narrower arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.models.tokens import Prompt


def cut_grad(loss_fn: Callable, widths: Sequence[tuple[int, int]]) -> Callable:
    """``jax.grad(loss_fn, has_aux=True)``, of a batch cut to the narrowest width that holds it.

    The result is the same: what is cut away is padding.

    Args:
      loss_fn: ``(params, batch) -> (loss, metrics)``. The batch is a tree with one ``Prompt [B,
        P]`` and arrays ``[B, N, T]`` of its chains, the first bool one their mask; other leaves are
        left alone.
      widths: of prompts and chains, ascending. The first pair that holds the longest prompt and
        chain of the batch is taken, the whole batch if there is none.
    """
    grad_fn = jax.grad(loss_fn, has_aux=True)
    if not widths:
        return grad_fn

    def grad_of_cut(prompt_width: int, chain_width: int) -> Callable:
        return lambda params, batch: grad_fn(params, _cut(batch, prompt_width, chain_width))

    # The branches are gradients, not losses: of a loss with branches, the backward pass would keep
    # what all of them need.
    branches = [grad_of_cut(*pair) for pair in widths]

    def cut_grad_fn(params: Any, batch: Any):
        too_narrow = (_longest(batch) > jnp.array(widths)).any(-1).sum()
        return jax.lax.switch(too_narrow, [*branches, grad_fn], params, batch)

    return cut_grad_fn


def _is_prompt(x: Any) -> bool:
    return isinstance(x, Prompt)


def _longest(batch: Any) -> jax.Array:
    """Tokens of the longest prompt and of the longest chain, ``[2]``."""
    leaves = jax.tree.leaves(batch, is_leaf=_is_prompt)
    [prompt] = [x for x in leaves if _is_prompt(x)]
    chain_mask, *_ = [x for x in leaves if not _is_prompt(x) and x.dtype == bool]
    return jnp.stack([prompt.mask.any(0).sum(), chain_mask.any((0, 1)).sum()])


def _cut(batch: Any, prompt_width: int, chain_width: int) -> Any:
    """Prompts are padded on the left, chains on the right."""

    def cut_leaf(x: Any) -> Any:
        if _is_prompt(x):
            return Prompt(x.tokens[:, -prompt_width:], x.mask[:, -prompt_width:])
        return x[..., :chain_width] if x.ndim == 3 else x

    return jax.tree.map(cut_leaf, batch, is_leaf=_is_prompt)
