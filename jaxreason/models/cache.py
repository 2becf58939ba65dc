"""What a decode loop carries: the keys and values of the tokens so far, and the layers one by one.

Shapes as in :mod:`jaxreason.models.decoder`: b prompts, B rows, K key-value heads, D head_dim, P
prefix tokens, S cached tokens, L layers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class KV(NamedTuple):
    """Keys and values of one layer, laid out so that attention is two plain matrix products.

    Batch and heads are one axis, and keys are transposed: XLA on CPU would else transpose a copy of
    them at every token.
    """

    k: jax.Array  # [B * K, D, S]
    v: jax.Array  # [B * K, S, D]


class Cache(NamedTuple):
    """Keys and values in two parts: a prompt's, shared by N = B / b rows, and each row's own.

    All rows grow in step, so one scalar ``length`` says how many of the S slots are filled. Layers
    are a tuple and not one stacked array: XLA updates each in place, where it would copy a slice of
    a stack at every token.
    """

    prefix: tuple[KV, ...]  # L of [b * K, ...], P slots
    prefix_mask: jax.Array  # [b, P] bool, False on padding
    own: tuple[KV, ...]  # L of [B * K, ...], S slots
    length: jax.Array  # [] int32
    # [B, S] bool, False on own slots that hold no token of the row; None: all up to length do
    own_mask: jax.Array | None = None


def fork(cache: Cache, num_rows: int, max_new_tokens: int) -> Cache:
    """A cache with room for ``num_rows`` continuations of every prompt.

    Args:
      cache: of b prompts, from ``hidden_states`` or ``forward`` without a cache.
      num_rows: N, continuations of each prompt.
      max_new_tokens: S, slots of each continuation.
    """

    def room(prefix: KV) -> KV:
        heads, head_dim, _ = prefix.k.shape
        rows, dtype = heads * num_rows, prefix.k.dtype
        return KV(
            k=jnp.zeros((rows, head_dim, max_new_tokens), dtype),
            v=jnp.zeros((rows, max_new_tokens, head_dim), dtype),
        )

    return cache._replace(own=tuple(map(room, cache.prefix)), length=jnp.int32(0))


def visible(cache: Cache, rows: int, length: int) -> jax.Array:
    """Which slots T new tokens of B rows see: those of the prompt, then the own that are filled.

    Returns:
      Bool ``[B, 1, T, P + S]``.
    """
    num_samples = rows // len(cache.prefix_mask)
    of_prompt = jnp.repeat(cache.prefix_mask, num_samples, axis=0)[:, None, None]
    slots = jnp.arange(cache.own[0].v.shape[1])
    of_row = slots <= cache.length + jnp.arange(length)[:, None]  # [T, S]
    if cache.own_mask is not None:
        of_row = of_row & cache.own_mask[:, None, None]  # [B, 1, T, S]
    parts = [
        jnp.broadcast_to(mask, (rows, 1, length, mask.shape[-1])) for mask in (of_prompt, of_row)
    ]
    return jnp.concatenate(parts, axis=-1)


def unstack(params: dict) -> dict:
    """A decoder's parameters with "layers" as a tuple of L dicts in place of one stack.

    Do it once before a decode loop, which would else slice the stack at every token. Of arrays on
    one CPU, outside of jit, the layers are views: they take no time and no memory of their own.
    """
    stack = params["layers"]
    first = jax.tree.leaves(stack)[0]
    if _on_one_cpu(first):
        layers = tuple(jax.tree.map(lambda x, i=i: _view(x, i), stack) for i in range(len(first)))
    else:
        layers = _slices(stack)
    return {**params, "layers": layers}


@jax.jit
def _slices(stack: dict) -> tuple[dict, ...]:
    """All layers in one program.

    One by one, a hundred slices over several devices take longer than a short decode loop.
    """
    num_layers = len(jax.tree.leaves(stack)[0])
    return tuple(jax.tree.map(lambda x, i=i: x[i], stack) for i in range(num_layers))


def _on_one_cpu(x: jax.Array) -> bool:
    if isinstance(x, jax.core.Tracer) or not isinstance(x, jax.Array):
        return False
    device, *others = x.devices()
    return not others and device.platform == "cpu"


def _view(x: jax.Array, i: int) -> jax.Array:
    """``x[i]``, without a copy where it is aligned to 64 bytes, as JAX wants its memory.

    It is bound to its device only if x is: a program is compiled again for arguments that are.
    """
    return jax.device_put(np.asarray(x)[i], *x.devices() if x.committed else ())
