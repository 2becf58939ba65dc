"""Rows of chains on the device, for continuous batching: what is kept of them, and the compiled
functions that admit chains, draw their tokens and let rows go.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxreason.decoding.rollout import Rule, draw
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import Stop
from jaxreason.mesh import row_sharding
from jaxreason.models.cache import KV, Cache
from jaxreason.models.decoder import DecoderConfig, Params, hidden_states, output_head
from jaxreason.models.tokens import Prompt

CHUNK = 8  # tokens between two visits of the host: a finished row waits for half of that


class Rows(NamedTuple):
    """R rows, each with a chain under way or free. P slots of prompts, T of new tokens."""

    keys: jax.Array  # [R], of the chains
    age: jax.Array  # [R] int32, tokens drawn of each
    lengths: jax.Array  # [R] int32, of the prompts
    state: jax.Array  # [R] int32, of the stop automaton; the final one where a row is free
    rule_state: Any  # [R] arrays, or None
    last: jax.Array  # [R, E], the hidden state of which the next token is drawn
    # prefix: [R * K] rows of P + T slots, the prompt and all tokens before this chunk;
    # own: CHUNK slots, the tokens of this chunk
    cache: Cache


class Prefilled(NamedTuple):
    """m prompts, read."""

    lengths: jax.Array  # [m] int32
    last: jax.Array  # [m, E]
    cache: Cache


class Written(NamedTuple):
    """What the rows wrote in a chunk, and where that left them."""

    tokens: jax.Array  # [R, CHUNK] int32
    logprobs: jax.Array  # [R, CHUNK] float32
    mask: jax.Array  # [R, CHUNK] bool
    state: jax.Array  # [R] int32
    rule_state: Any  # [R] arrays, or None


def padded(length: int, multiple: int) -> int:
    """The least multiple that is not below ``length``."""
    return -(-length // multiple) * multiple


@functools.partial(jax.jit, static_argnames="cfg")
def prefill(params: Params, prompt: Prompt, *, cfg: DecoderConfig) -> Prefilled:
    """Reads m prompts; ``params`` are stacked."""
    positions = jnp.maximum(jnp.cumsum(prompt.mask, axis=-1) - 1, 0)
    states, cache = hidden_states(
        params, prompt.tokens, positions, cfg=cfg, segment_ids=prompt.mask.astype(jnp.int32)
    )
    lengths = prompt.mask.sum(-1).astype(jnp.int32)
    return Prefilled(lengths=lengths, last=states[:, -1], cache=cache)


def empty_rows(
    read: Prefilled,
    rule_state: Any,
    final: int,
    impl: str,
    shape: tuple[int, int],
    mesh: Mesh | None,
) -> Rows:
    """R rows that are all free, of P + T slots each: ``shape``."""
    if mesh is None:
        return _make_empty(read, rule_state, final, impl, shape)
    make = functools.partial(_make_empty, final=final, impl=impl, shape=shape)
    by_row = row_sharding(mesh)
    whole = NamedSharding(by_row.mesh, PartitionSpec())
    shapes = jax.eval_shape(make, read, rule_state)
    places = jax.tree.map(lambda x: by_row if x.ndim else whole, shapes)
    return jax.jit(make, out_shardings=places)(read, rule_state)


@functools.partial(jax.jit, static_argnames=("final", "impl", "shape"))
def _make_empty(
    read: Prefilled, rule_state: Any, final: int, impl: str, shape: tuple[int, int]
) -> Rows:
    (num_rows, width), num_prompts = shape, len(read.lengths)

    def room(kv: KV, slots: int) -> KV:
        heads, head_dim, _ = kv.k.shape
        rows = heads // num_prompts * num_rows
        return KV(
            k=jnp.zeros((rows, head_dim, slots), kv.k.dtype),
            v=jnp.zeros((rows, slots, head_dim), kv.v.dtype),
        )

    prefix = read.cache.prefix
    return Rows(
        keys=jnp.repeat(jax.random.key(0, impl=impl)[None], num_rows),
        age=jnp.zeros(num_rows, jnp.int32),
        lengths=jnp.zeros(num_rows, jnp.int32),
        state=jnp.full(num_rows, final, jnp.int32),
        rule_state=jax.tree.map(lambda x: jnp.zeros(num_rows, x.dtype), rule_state),
        last=jnp.zeros((num_rows, read.last.shape[1]), read.last.dtype),
        cache=Cache(
            prefix=tuple(room(kv, width) for kv in prefix),
            prefix_mask=jnp.zeros((num_rows, width), bool),
            own=tuple(room(kv, CHUNK) for kv in prefix),
            length=jnp.int32(0),
        ),
    )


@functools.partial(jax.jit, static_argnames=("cfg", "limit"), donate_argnums=0)
def admit_chains(
    rows: Rows,
    read: Prefilled,
    into: jax.Array,
    source: jax.Array,
    keys: jax.Array,
    rule_state: Any,
    *,
    cfg: DecoderConfig,
    limit: int,
) -> Rows:
    """Puts F new chains into the rows ``into [F]``, of the prompts ``source [F]``."""
    heads, cache = cfg.num_key_value_heads, rows.cache
    end = cache.prefix_mask.shape[1] - padded(limit, CHUNK)
    begin = end - read.cache.prefix_mask.shape[1]

    def put(whole: KV, new: KV) -> KV:
        k, v = (x.reshape(-1, heads, *x.shape[1:])[source] for x in new)
        of_rows = KV(*(x.reshape(-1, heads, *x.shape[1:]) for x in whole))
        filled = KV(
            k=of_rows.k.at[into, :, :, begin:end].set(k),
            v=of_rows.v.at[into, :, begin:end].set(v),
        )
        return jax.tree.map(lambda x, like: x.reshape(like.shape), filled, whole)

    visible = jnp.zeros((len(into), cache.prefix_mask.shape[1]), bool)
    visible = visible.at[:, begin:end].set(read.cache.prefix_mask[source])
    return Rows(
        keys=rows.keys.at[into].set(keys),
        age=rows.age.at[into].set(0),
        lengths=rows.lengths.at[into].set(read.lengths[source]),
        state=rows.state.at[into].set(0),
        rule_state=jax.tree.map(lambda x, new: x.at[into].set(new), rows.rule_state, rule_state),
        last=rows.last.at[into].set(read.last[source]),
        cache=cache._replace(
            prefix=tuple(map(put, cache.prefix, read.cache.prefix)),
            prefix_mask=cache.prefix_mask.at[into].set(visible),
        ),
    )


@functools.partial(jax.jit, static_argnames=("cfg", "sampler", "limit"), donate_argnums=1)
def draw_chunk(
    params: Params,
    rows: Rows,
    stop: Stop,
    rule: Rule | None,
    *,
    cfg: DecoderConfig,
    sampler: Sampler,
    limit: int,
) -> tuple[Rows, Written]:
    """Up to ``CHUNK`` tokens of every row; ``params`` are from :func:`unstack`."""
    head, shape = output_head(params), (len(rows.age), CHUNK)

    def is_alive(rows: Rows, j: jax.Array) -> jax.Array:
        return (rows.state != stop.final) & (rows.age + j < limit)

    def unfinished(carry):
        j, rows, _ = carry
        return (j < CHUNK) & is_alive(rows, j).any()

    def step(carry):
        j, rows, written = carry
        t, alive = rows.age + j, is_alive(rows, j)
        drawn = draw(
            rows.keys, t, head(rows.last), rows.state, rows.rule_state, alive, stop, rule, sampler
        )
        states, cache = hidden_states(
            params, drawn.token[:, None], (rows.lengths + t)[:, None], rows.cache, cfg=cfg
        )
        rows = rows._replace(
            state=drawn.state, rule_state=drawn.rule_state, last=states[:, 0], cache=cache
        )
        tokens, logprobs, mask = (
            whole.at[:, j].set(new)
            for whole, new in zip(written, (drawn.token, drawn.logprob, alive), strict=True)
        )
        return j + 1, rows, (tokens, logprobs, mask)

    nothing = jnp.zeros(shape, jnp.int32), jnp.zeros(shape), jnp.zeros(shape, bool)
    _, rows, (tokens, logprobs, mask) = jax.lax.while_loop(
        unfinished, step, (jnp.int32(0), rows, nothing)
    )
    written = Written(
        tokens=tokens,
        logprobs=logprobs,
        mask=mask,
        state=rows.state,
        rule_state=rows.rule_state,
    )
    # A row that ended before the chunk did has seen its own zeros behind the end: nobody reads on.
    kept = _keep_chunk(rows.cache, rows.age, limit)
    return rows._replace(age=rows.age + CHUNK, cache=kept), written


def _keep_chunk(cache: Cache, age: jax.Array, limit: int) -> Cache:
    """The tokens of a chunk take their places behind all before, from slot P + age on."""
    num_rows, width = cache.prefix_mask.shape
    at = width - padded(limit, CHUNK) + age

    def put(whole: jax.Array, new: jax.Array, axis: int) -> jax.Array:
        def of_row(whole: jax.Array, new: jax.Array, at: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(whole, new, at, axis)

        by_row = [x.reshape(num_rows, -1, *x.shape[1:]) for x in (whole, new)]
        return jax.vmap(of_row)(*by_row, at).reshape(whole.shape)

    prefix = tuple(
        KV(k=put(before.k, new.k, axis=2), v=put(before.v, new.v, axis=1))
        for before, new in zip(cache.prefix, cache.own, strict=True)
    )
    seen = jax.vmap(jax.lax.dynamic_update_slice_in_dim, (0, None, 0, None))(
        cache.prefix_mask, jnp.ones(CHUNK, bool), at, 0
    )
    return cache._replace(prefix=prefix, prefix_mask=seen, length=jnp.int32(0))


@functools.partial(jax.jit, static_argnums=1)
def drop_slots(rows: Rows, count: int) -> Rows:
    """Without the first slots of all rows."""
    cache = rows.cache._replace(
        prefix=tuple(KV(k=kv.k[:, :, count:], v=kv.v[:, count:]) for kv in rows.cache.prefix),
        prefix_mask=rows.cache.prefix_mask[:, count:],
    )
    return rows._replace(cache=cache)


@jax.jit
def select_rows(rows: Rows, kept: jax.Array) -> Rows:
    """The rows ``kept [r]`` alone."""
    num_rows = len(rows.age)

    def take(x: jax.Array) -> jax.Array:
        if not x.ndim:
            return x
        return x.reshape(num_rows, -1, *x.shape[1:])[kept].reshape(-1, *x.shape[1:])

    return jax.tree.map(take, rows)
