"""Generation: prefill every prompt once, then decode many continuations from it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxreason.decoding.sampling import Sampler, sample
from jaxreason.decoding.stop import Stop
from jaxreason.models.cache import Cache, fork, unstack
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
    ended = _decode(params, prefilled, stop, rule, cfg=cfg, sampler=sampler)
    by_row = _written(ended, stop)
    return jax.tree.map(lambda x: x.reshape(b, num_samples, *x.shape[1:]), by_row)


class Drawn(NamedTuple):
    """The next token of R chains, and the states behind it."""

    token: jax.Array  # [R] int32, 0 where a chain has ended
    logprob: jax.Array  # [R] float32, untempered; 0 where a chain has ended
    state: jax.Array  # [R] int32, of the stop automaton
    rule_state: Any  # [R] arrays, or None


def draw(
    keys: jax.Array,
    t: jax.Array,
    logits: jax.Array,
    state: jax.Array,
    rule_state: Any,
    alive: jax.Array,
    stop: Stop,
    rule: Rule | None,
    sampler: Sampler,
) -> Drawn:
    """Token ``t`` of every chain, from its own key and logits.

    Args:
      keys: ``[R]``, of the chains; token t is drawn with ``fold_in(key, t)``.
      t: int32 ``[]`` or ``[R]``, tokens a chain has so far.
      logits: ``[R, V]`` float32.
      state, rule_state: ``[R]``, of the stop automaton and of the rule.
      alive: ``[R]`` bool: only these chains go on.
      stop, rule, sampler: as in :func:`generate`.
    """

    def draw_one(key: jax.Array, t: jax.Array, logits: jax.Array) -> jax.Array:
        return sample(jax.random.fold_in(key, t), logits, sampler)

    token = jax.vmap(draw_one)(keys, jnp.broadcast_to(t, keys.shape), logits)
    ruled = rule_state
    if rule is not None:
        ruled, token = rule(rule_state, token)
        ruled = jax.tree.map(lambda new, old: jnp.where(alive, new, old), ruled, rule_state)
    logit = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
    logprob = logit - jax.nn.logsumexp(logits, axis=-1)
    token = jnp.where(alive, token, 0)
    return Drawn(
        token=token,
        logprob=jnp.where(alive, logprob, 0.0),
        state=jnp.where(alive, jnp.asarray(stop.next_state)[token, state], state),
        rule_state=ruled,
    )


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
    rule: Rule | None = None,
    *,
    cfg: DecoderConfig,
    sampler: Sampler,
) -> _Chains:
    """Draws until every chain has ended or has T tokens; ``params`` are from :func:`unstack`."""
    steps = chains.tokens.shape[1]

    def unfinished(c: _Chains):
        return (c.t < steps) & (c.state != stop.final).any()

    def step(c: _Chains) -> _Chains:
        t, alive = c.t, c.state != stop.final
        drawn = draw(c.keys, t, c.logits, c.state, c.rule_state, alive, stop, rule, sampler)
        states, cache = hidden_states(
            params, drawn.token[:, None], (c.lengths + t)[:, None], c.cache, cfg=cfg
        )
        return c._replace(
            t=t + 1,
            state=drawn.state,
            rule_state=drawn.rule_state,
            logits=output_head(params)(states[:, 0]),
            cache=cache,
            tokens=c.tokens.at[:, t].set(drawn.token),
            logprobs=c.logprobs.at[:, t].set(drawn.logprob),
            mask=c.mask.at[:, t].set(alive),
        )

    return jax.lax.while_loop(unfinished, step, chains)
