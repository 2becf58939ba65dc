"""Power sampling: chains of probability proportional to p^alpha, by Metropolis-Hastings.

Karan & Du 2025, "Reasoning with Sampling: Your Base Model is Smarter Than You Think", section 4 and
Algorithm 1. A step keeps the beginning of a chain, up to a random token, and draws its end anew
from the proposal, which is the same model at another temperature. All rows step together, and a row
writes the tokens that it keeps again: so ends of any lengths share one compiled program.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreason.decoding.rollout import draw
from jaxreason.decoding.rows import Prefilled, prefill
from jaxreason.decoding.sampling import Sampler, filter_logits
from jaxreason.decoding.stop import Stop
from jaxreason.models.cache import Cache, fork, unstack
from jaxreason.models.decoder import DecoderConfig, Params, hidden_states, output_head
from jaxreason.models.tokens import Prompt


class Chains(NamedTuple):
    """One chain of at most T tokens for each of R prompts, and what it took to get there."""

    tokens: jax.Array  # [R, T] int32, 0 after the end
    length: jax.Array  # [R] int32, the ending token included
    finished: jax.Array  # [R] bool, False where the limit came first
    logprob: jax.Array  # [R] float32, log p(chain) in nats, untempered
    log_proposal: jax.Array  # [R] float32, log of the chance that the proposal draws it, in nats
    num_drawn: jax.Array  # [R] int32, all tokens drawn so far, in rejected ends too
    num_accepted: jax.Array  # [R] int32, steps whose candidate was accepted


# (keys [R], chains, start [R]) -> the chains with all but their first ``start`` tokens drawn anew
Redraw = Callable[[jax.Array, Chains, jax.Array], Chains]


def log_acceptance(current: Chains, candidate: Chains, alpha: float | jax.Array) -> jax.Array:
    """Log of the ratio in equation 9, ``[R]``; the candidate's chance is the ratio, at most 1.

    The ratio is p(x')^alpha / q(x') over p(x)^alpha / q(x), with the proposal q, times |x| / |x'|.
    What both chains keep adds the same to both sides. The lengths count because one of |x| places
    is chosen on the way there, and one of |x'| on the way back. The paper has one length for all.
    """
    log_ratio = alpha * (candidate.logprob - current.logprob)
    log_ratio -= candidate.log_proposal - current.log_proposal
    return log_ratio + jnp.log(current.length / candidate.length)


def move(redraw: Redraw, keys: jax.Array, chains: Chains, alpha: float | jax.Array) -> Chains:
    """One step of Metropolis-Hastings with every chain (Algorithm 1, lines 11 to 15).

    Args:
      redraw: the proposal, such as :func:`resample` with all but three arguments given.
      keys: ``[R]``.
      chains: where they are, with at least one token each.
      alpha: the power.
    """
    draws, places, luck = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(keys)
    start = jax.vmap(lambda key, length: jax.random.randint(key, (), 0, length))(
        places, chains.length
    )
    candidate = redraw(draws, chains, start)
    log_u = jnp.log(jax.vmap(jax.random.uniform)(luck))
    accepted = log_u < log_acceptance(chains, candidate, alpha)

    def choose(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(accepted[:, None] if new.ndim > 1 else accepted, new, old)

    return jax.tree.map(choose, candidate, chains)._replace(
        num_drawn=candidate.num_drawn, num_accepted=chains.num_accepted + accepted
    )


class _Writing(NamedTuple):
    """R chains that are being written."""

    t: jax.Array  # [] int32, the token that is next
    chains: Chains
    state: jax.Array  # [R] int32, of the stop automaton
    last: jax.Array  # [R, E], the hidden state of which the next token is drawn
    cache: Cache


def resample(
    params: Params,
    keys: jax.Array,
    chains: Chains,
    start: jax.Array,
    *,
    read: Prefilled,
    limit: jax.Array,
    stop: Stop,
    cfg: DecoderConfig,
    proposal: Sampler,
) -> Chains:
    """Draws all but the first ``start`` tokens of every chain (Algorithm 1, lines 8 and 13).

    Args:
      params, cfg: the model; its layers are from :func:`jaxreason.models.cache.unstack`.
      keys: ``[R]``; token t is drawn with ``fold_in(key, t)``.
      chains: where they are.
      start: int32 ``[R]``, tokens to keep; a chain that ended before stays as it is.
      read: the R prompts.
      limit: int32 ``[]``, tokens of a chain at most, T or fewer.
      stop: from :func:`jaxreason.decoding.stop.compile_stop`.
      proposal: how tokens are drawn; its temperature is above 0.
    """
    head = output_head(params)

    def unfinished(c: _Writing) -> jax.Array:
        return (c.t < limit) & ~c.chains.finished.all()

    def step(c: _Writing) -> _Writing:
        def keep(_: None, token: jax.Array) -> tuple[None, jax.Array]:
            return None, jnp.where(c.t < start, chains.tokens[:, c.t], token)

        logits, alive = head(c.last), ~c.chains.finished
        drawn = draw(keys, c.t, logits, c.state, None, alive, stop, keep, proposal)
        proposed = jax.nn.log_softmax(filter_logits(logits, proposal))
        log_proposal = jnp.take_along_axis(proposed, drawn.token[:, None], axis=-1)[:, 0]
        positions = (read.lengths + c.t)[:, None]
        states, cache = hidden_states(params, drawn.token[:, None], positions, c.cache, cfg=cfg)
        written = c.chains._replace(
            tokens=c.chains.tokens.at[:, c.t].set(drawn.token),
            length=c.chains.length + alive,
            finished=drawn.state == stop.final,
            logprob=c.chains.logprob + drawn.logprob,
            log_proposal=c.chains.log_proposal + jnp.where(alive, log_proposal, 0.0),
            num_drawn=c.chains.num_drawn + (alive & (c.t >= start)),
        )
        return _Writing(
            t=c.t + 1, chains=written, state=drawn.state, last=states[:, 0], cache=cache
        )

    empty = jax.tree.map(jnp.zeros_like, chains)
    begun = _Writing(
        t=jnp.int32(0),
        chains=empty._replace(num_drawn=chains.num_drawn, num_accepted=chains.num_accepted),
        state=jnp.zeros_like(chains.length),
        last=read.last,
        cache=fork(read.cache, 1, chains.tokens.shape[1]),
    )
    return jax.lax.while_loop(unfinished, step, begun).chains


@functools.partial(jax.jit, static_argnames=("cfg", "proposal", "max_new_tokens"))
def power_chains(
    params: Params,
    keys: jax.Array,
    prompt: Prompt,
    stop: Stop,
    *,
    cfg: DecoderConfig,
    alpha: float | jax.Array,
    proposal: Sampler,
    block: int | jax.Array,
    num_steps: int | jax.Array,
    max_new_tokens: int,
) -> Chains:
    """Algorithm 1 for R prompts at once, in one compiled program.

    Chains grow by a block at a time, and take ``num_steps`` steps at each length. One that ended
    goes on taking steps: p^alpha is about chains of all lengths up to T.

    Args:
      params, cfg: the model.
      keys: ``[R]``; block k has ``fold_in(key, k)``, of which 0 is folded in to grow and n to take
        step n.
      prompt: R prompts, padded on the left.
      stop: from :func:`jaxreason.decoding.stop.compile_stop`.
      alpha: the power.
      proposal: how tokens are drawn, static; the paper's has temperature 1 / alpha.
      block: B, tokens that a chain grows by.
      num_steps: N_MCMC, steps at each length.
      max_new_tokens: T, tokens of a chain at most, static.
    """
    read = prefill(params, prompt, cfg=cfg)
    params = jax.lax.optimization_barrier(unstack(params))  # once, outside the loops
    fold_in = jax.vmap(jax.random.fold_in, (0, None))

    def grow(k: jax.Array, chains: Chains) -> Chains:
        of_block, limit = fold_in(keys, k), jnp.minimum((k + 1) * block, max_new_tokens)
        redraw = functools.partial(
            resample, params, read=read, limit=limit, stop=stop, cfg=cfg, proposal=proposal
        )

        def step(n: jax.Array, chains: Chains) -> Chains:
            return move(redraw, fold_in(of_block, n), chains, alpha)

        longer = redraw(fold_in(of_block, 0), chains, chains.length)
        return jax.lax.fori_loop(1, num_steps + 1, step, longer)

    zero = jnp.zeros_like(read.lengths)
    nothing = Chains(
        tokens=jnp.zeros((len(zero), max_new_tokens), jnp.int32),
        length=zero,
        finished=zero > 0,
        logprob=zero.astype(jnp.float32),
        log_proposal=zero.astype(jnp.float32),
        num_drawn=zero,
        num_accepted=zero,
    )
    return jax.lax.fori_loop(0, -(-max_new_tokens // block), grow, nothing)
