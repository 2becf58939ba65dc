"""Generation: prefill every prompt once, then decode many continuations from it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.decoding.sampling import Sampler, sample
from jaxreason.decoding.stop import Stop
from jaxreason.mesh import gather, mesh_of, num_row_parts
from jaxreason.models.cache import KV, Cache, fork, unstack
from jaxreason.models.decoder import DecoderConfig, Params, hidden_states, output_head
from jaxreason.models.tokens import Prompt


class Rollout(NamedTuple):
    """N continuations of each of B prompts, of at most T tokens.

    The token that ends a chain belongs to it.
    """

    tokens: jax.Array  # [B, N, T] int32, 0 after the end
    # [B, N, T] float32 in nats, of the model itself, neither tempered nor filtered; 0 after the end
    logprobs: jax.Array
    mask: jax.Array  # [B, N, T] bool, False after the end
    finished: jax.Array  # [B, N] bool, False where T tokens were not enough
    rule_state: Any = None  # [B, N] arrays: the state in which the rule ended, if there was one


# (state, token drawn) -> (state, token written), pure, over rows [R]. A ``jax.tree_util.Partial``
# makes its tables arguments of the compiled program: others of the same shape compile nothing anew.
Rule = Callable[[Any, jax.Array], tuple[Any, jax.Array]]


@functools.partial(jax.jit, static_argnames=("cfg", "sampler", "max_new_tokens", "num_samples"))
def generate(
    params: Params,
    key: jax.Array,
    prompt: Prompt,
    stop: Stop,
    *,
    cfg: DecoderConfig,
    sampler: Sampler,
    max_new_tokens: int,
    num_samples: int = 1,
    layers: tuple[Params, ...] | None = None,
    rule: Rule | None = None,
    rule_state: Any = None,
) -> Rollout:
    """Draws ``num_samples`` chains from every prompt in one compiled loop.

    A prompt is prefilled once and its keys and values are shared by its chains. Every chain draws
    from its own key, so it does not depend on what else is in the batch.

    Args:
      params, cfg: the model.
      key: one key, or keys ``[B, N]``, one for each chain.
      prompt: B prompts, padded on the left.
      stop: from :func:`jaxreason.decoding.stop.compile_stop`.
      sampler: how a token is drawn; static, as the two numbers that follow.
      max_new_tokens: T, tokens of a chain at most.
      num_samples: N, chains of every prompt.
      layers: the layers of ``params`` one by one, from :func:`jaxreason.models.cache.unstack`.
        Outside of jit that costs nothing on a CPU; without them they are copied out of the stack
        here.
      rule: may write something else than what was drawn, such as a budget
        (:mod:`jaxreason.decoding.budget_forcing`).
      rule_state: of the rule, arrays ``[B, N]``.
    """
    b, rows = len(prompt.tokens), len(prompt.tokens) * num_samples
    keys = (jax.random.split(key, (b, num_samples)) if key.ndim == 0 else key).reshape(rows)
    rule_state = jax.tree.map(lambda x: jnp.asarray(x).reshape(rows), rule_state)
    prefilled = _prefill(params, keys, prompt, rule_state, cfg=cfg, max_new_tokens=max_new_tokens)
    if layers is None:  # once, outside the loop: the layers' weights, each in one piece
        params = jax.lax.optimization_barrier(unstack(params))
    else:
        params = {**params, "layers": layers}
    ended = _decode(params, prefilled, stop, 0, rule, cfg=cfg, sampler=sampler)
    by_row = _written(ended, stop)
    return jax.tree.map(lambda x: x.reshape(b, num_samples, *x.shape[1:]), by_row)


class _Chains(NamedTuple):
    """R chains under way."""

    t: jax.Array  # [] int32, tokens drawn of each
    keys: jax.Array  # [R]
    lengths: jax.Array  # [R] int32, of the prompts
    state: jax.Array  # [R] int32, of the stop automaton
    rule_state: Any  # [R] arrays, or None
    logits: jax.Array  # [R, V] float32, of the next token
    cache: Cache
    tokens: jax.Array  # [R, T] int32; this and what follows as in Rollout
    logprobs: jax.Array  # [R, T] float32
    mask: jax.Array  # [R, T] bool


def _written(chains: _Chains, stop: Stop) -> Rollout:
    """What R chains wrote so far, arrays ``[R, ...]``."""
    return Rollout(
        tokens=chains.tokens,
        logprobs=chains.logprobs,
        mask=chains.mask,
        finished=chains.state == stop.final,
        rule_state=chains.rule_state,
    )


def _prefill(
    params: Params,
    keys: jax.Array,
    prompt: Prompt,
    rule_state: Any = None,
    *,
    cfg: DecoderConfig,
    max_new_tokens: int,
) -> _Chains:
    """R / B chains of every prompt, before their first token."""
    rows, shape = len(keys), (len(keys), max_new_tokens)
    positions = jnp.maximum(jnp.cumsum(prompt.mask, axis=-1) - 1, 0)
    states, cache = hidden_states(
        params, prompt.tokens, positions, cfg=cfg, segment_ids=prompt.mask.astype(jnp.int32)
    )
    num_samples = rows // len(prompt.tokens)
    lengths = prompt.mask.sum(-1).astype(jnp.int32)
    logits = output_head(params)(states[:, -1])
    return _Chains(
        t=jnp.int32(0),
        keys=keys,
        lengths=jnp.repeat(lengths, num_samples, axis=0),
        state=jnp.zeros(rows, jnp.int32),
        rule_state=rule_state,
        logits=jnp.repeat(logits, num_samples, axis=0),
        cache=fork(cache, num_samples, max_new_tokens),
        tokens=jnp.zeros(shape, jnp.int32),
        logprobs=jnp.zeros(shape),
        mask=jnp.zeros(shape, bool),
    )


def _decode(
    params: Params,
    chains: _Chains,
    stop: Stop,
    retire: int | jax.Array,
    rule: Rule | None = None,
    *,
    cfg: DecoderConfig,
    sampler: Sampler,
) -> _Chains:
    """Draws until at most ``retire`` of the chains are left, or each has T tokens.

    ``params`` are from :func:`unstack`.
    """
    next_state, steps = jnp.asarray(stop.next_state), chains.tokens.shape[1]

    def unfinished(c: _Chains):
        return (c.t < steps) & ((c.state != stop.final).sum() > retire)

    def draw(key: jax.Array, logits: jax.Array, t: jax.Array) -> jax.Array:
        return sample(jax.random.fold_in(key, t), logits, sampler)

    def step(c: _Chains) -> _Chains:
        t, alive = c.t, c.state != stop.final
        token = jax.vmap(draw, (0, 0, None))(c.keys, c.logits, t)
        rule_state = c.rule_state
        if rule is not None:
            rule_state, token = rule(rule_state, token)
            rule_state = jax.tree.map(
                lambda new, old: jnp.where(alive, new, old), rule_state, c.rule_state
            )
        logit = jnp.take_along_axis(c.logits, token[:, None], axis=-1)[:, 0]
        logprob = logit - jax.nn.logsumexp(c.logits, axis=-1)
        token = jnp.where(alive, token, 0)
        states, cache = hidden_states(
            params, token[:, None], (c.lengths + t)[:, None], c.cache, cfg=cfg
        )
        return c._replace(
            t=t + 1,
            state=jnp.where(alive, next_state[token, c.state], c.state),
            rule_state=rule_state,
            logits=output_head(params)(states[:, 0]),
            cache=cache,
            tokens=c.tokens.at[:, t].set(token),
            logprobs=c.logprobs.at[:, t].set(jnp.where(alive, logprob, 0.0)),
            mask=c.mask.at[:, t].set(alive),
        )

    return jax.lax.while_loop(unfinished, step, chains)


_prefill_jit = jax.jit(_prefill, static_argnames=("cfg", "max_new_tokens"))
_decode_jit = jax.jit(_decode, static_argnames=("cfg", "sampler"), donate_argnums=1)


@jax.jit
def _select(chains: _Chains, rows: jax.Array) -> _Chains:
    """The chains ``rows [r]`` alone, each with the keys and values of its prompt for itself."""
    cache, num_rows = chains.cache, len(chains.keys)
    num_prompts, prompt_width = cache.prefix_mask.shape
    width = -(-prompt_width // 128) * 128  # few shapes, so that few programs are compiled
    of_prompt = rows // (num_rows // num_prompts)

    def pad(x: jax.Array, axis: int) -> jax.Array:
        return jnp.pad(x, [(0, width - x.shape[axis] if i == axis else 0) for i in range(x.ndim)])

    def take(x: jax.Array, count: int, chosen: jax.Array) -> jax.Array:
        """Of ``[count * K, ...]`` the K rows of each of those chosen."""
        return x.reshape(count, -1, *x.shape[1:])[chosen].reshape(-1, *x.shape[1:])

    def take_prefix(kv: KV) -> KV:
        return KV(
            k=pad(take(kv.k, num_prompts, of_prompt), axis=2),
            v=pad(take(kv.v, num_prompts, of_prompt), axis=1),
        )

    cache = Cache(
        prefix=tuple(map(take_prefix, cache.prefix)),
        prefix_mask=pad(cache.prefix_mask[of_prompt], axis=1),
        own=jax.tree.map(lambda x: take(x, num_rows, rows), cache.own),
        length=cache.length,
    )
    by_row = {name: x for name, x in chains._asdict().items() if name not in ("t", "cache")}
    return _Chains(t=chains.t, cache=cache, **jax.tree.map(lambda x: x[rows], by_row))


RETIRE_FROM = 128  # new tokens; a shorter tail is over before another program is compiled


def generate_retiring(
    params: Params,
    keys: jax.Array,
    prompt: Prompt,
    stop: Stop,
    *,
    cfg: DecoderConfig,
    sampler: Sampler,
    max_new_tokens: int,
    num_samples: int = 1,
    layers: tuple[Params, ...],
    rule: Rule | None = None,
    rule_state: Any = None,
) -> Rollout:
    """:func:`generate`, but whenever a quarter of the chains is left, that quarter goes on alone.

    Few chains are much longer than the others, and a step costs what its rows cost, finished or
    not. A chain draws from its own key and so writes the same tokens. Runs on the host, around
    compiled loops. Arguments as there, with ``keys [B, N]`` and ``layers``; the result is of numpy.
    """
    shape, parts = keys.shape, num_row_parts(mesh_of(params))
    rule_state = jax.tree.map(lambda x: x.reshape(-1), rule_state)
    chains = _prefill_jit(
        params, keys.reshape(-1), prompt, rule_state, cfg=cfg, max_new_tokens=max_new_tokens
    )
    params = {**params, "layers": layers}
    rows = np.arange(keys.size)  # those still in ``chains``
    written = None
    while True:
        retire = len(rows) // 4 // parts * parts if len(rows) >= 16 else 0
        chains = _decode_jit(params, chains, stop, retire, rule, cfg=cfg, sampler=sampler)
        t, now = gather((chains.t, _written(chains, stop)))
        if written is None:
            written = jax.tree.map(lambda x: np.zeros((keys.size, *x.shape[1:]), x.dtype), now)
        for whole, part in zip(jax.tree.leaves(written), jax.tree.leaves(now), strict=True):
            whole[rows] = part
        if t == max_new_tokens or now.finished.all():
            break
        kept = np.argsort(now.finished, kind="stable")[:retire]  # the unfinished first
        rows, chains = rows[kept], _select(chains, kept)
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), written)
