"""Particle filtering: samples from a posterior, by drawing, weighing and resampling.

A *particle* is an unfinished sequence. Its steps are drawn from a model p, and a *potential* g_t
says how well step t fits. The posterior of a whole sequence is

    p(x_1..x_T) g_1(x_1) g_2(x_1, x_2) ... g_T(x_1..x_T) / Z

with an unknown Z. N particles approximate it. At every step of :func:`particle_filter` they

    resample   are drawn anew, with replacement, in proportion to their weights
    advance    each draws its next step from p
    weigh      each weight is multiplied by the potential of that step

For a language model a step is a line, and a process reward model gives the potentials (Puri et al.
2025, "A Probabilistic Inference Approach to Inference-Time Scaling of LLMs using Particle-Based
Monte Carlo Methods", section 3, equation 2): see ``lm_particles``.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxreason.errors import InputError

# (key, log weights [N]) -> the numbers of the particles that go on, int32 [N]
Scheme = Callable[[jax.Array, jax.Array], jax.Array]
# (keys [B], state) -> state after one more step, and log potentials of that step [B, N]
Advance = Callable[[jax.Array, Any], tuple[Any, jax.Array]]


class Particles(NamedTuple):
    """N weighted particles of each of B problems."""

    state: Any  # arrays [B, N, ...]: what each particle is; arrays with fewer axes are shared
    log_weights: jax.Array  # [B, N] float32, since the particles were last resampled
    log_z: jax.Array  # [B] float32, what was known of log Z then; see log_evidence


def particle_filter(
    keys: jax.Array,
    state: Any,
    advance: Advance,
    *,
    num_particles: int,
    num_steps: int,
    is_done: Callable[[Any], jax.Array] | None = None,
    scheme: Scheme,
    threshold: float = 1.0,
) -> Particles:
    """Filters all problems side by side (Algorithm 1 of Puri et al.); to be called inside jit.

    The particles are not resampled behind the last step: use their weights. The estimate of Z is
    unbiased, and so is its product with a weighted mean over particles (Del Moral 2004, section
    7.4). The weighted mean alone is biased by order 1/N.

    Args:
      keys: ``[B]``, one for each problem; what happens to one does not depend on the others.
      state: of the particles before their first step, a tree as in :class:`Particles`.
      advance: one step of all particles; a finished one stays, with log potential 0.
      num_particles: N, at least 1.
      num_steps: T, steps at most, at least 1.
      is_done: ``state -> [B, N]`` bool, which particles are finished; by default none is.
      scheme: :func:`systematic` or :func:`multinomial`.
      threshold: particles are resampled where their :func:`effective_size` is below this share of
        N. 1: wherever weights differ, as in the paper. 0: never (importance sampling).

    Raises:
      InputError: a number below 1, or a threshold outside 0..1.
    """
    for name, value in (("num_particles", num_particles), ("num_steps", num_steps)):
        if value < 1:
            raise InputError(f"{name} is {value}: expected at least 1")
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}: expected 0 (never resample) to 1")

    def unfinished(carry: tuple[jax.Array, Particles]) -> jax.Array:
        t, particles = carry
        return (t < num_steps) & (is_done is None or ~is_done(particles.state).all())

    def step(carry: tuple[jax.Array, Particles]) -> tuple[jax.Array, Particles]:
        t, particles = carry
        pairs = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, t)))(keys)
        particles = resample(pairs[:, 0], particles, scheme, threshold)
        state, log_potentials = advance(pairs[:, 1], particles.state)
        log_weights = particles.log_weights + log_potentials
        return t + 1, particles._replace(state=state, log_weights=log_weights)

    none = jnp.zeros((len(keys), num_particles))
    start = Particles(state=state, log_weights=none, log_z=none[:, 0])
    return jax.lax.while_loop(unfinished, step, (jnp.int32(0), start))[1]


def resample(
    keys: jax.Array, particles: Particles, scheme: Scheme, threshold: float = 1.0
) -> Particles:
    """Draws the particles anew in proportion to their weights, which are then equal again.

    Args:
      keys: ``[B]``.
      particles: N of each of B problems.
      scheme, threshold: as in :func:`particle_filter`.
    """
    num_particles = particles.log_weights.shape[-1]
    needed = effective_size(particles.log_weights) < threshold * num_particles  # [B]
    drawn = jax.vmap(scheme)(keys, particles.log_weights)
    ancestors = jnp.where(needed[:, None], drawn, jnp.arange(num_particles))

    def take(x: jax.Array) -> jax.Array:
        return x if x.ndim < 2 else jax.vmap(lambda rows, chosen: rows[chosen])(x, ancestors)

    return Particles(
        state=jax.tree.map(take, particles.state),
        log_weights=jnp.where(needed[:, None], 0.0, particles.log_weights),
        log_z=jnp.where(needed, log_evidence(particles), particles.log_z),
    )


def log_evidence(particles: Particles) -> jax.Array:
    """Log of the estimate of Z, ``[B]``: the product of the mean weights before each resampling."""
    num_particles = particles.log_weights.shape[-1]
    return particles.log_z + jax.nn.logsumexp(particles.log_weights, -1) - math.log(num_particles)


def normalise(log_weights: jax.Array) -> jax.Array:
    """Weights ``[..., N]`` that sum to 1, the softmax; all equal if every particle has weight 0."""
    highest = log_weights.max(-1, keepdims=True)
    return jax.nn.softmax(jnp.where(highest > -jnp.inf, log_weights, 0.0), -1)


def effective_size(log_weights: jax.Array) -> jax.Array:
    """How many equally weighted particles these are worth, 1 / sum of squared weights, ``[...]``
    (Kong et al. 1994): N if all of ``log_weights [..., N]`` are equal, 1 if one has it all.
    """
    return 1.0 / jnp.square(normalise(log_weights)).sum(-1)


# ---- resampling schemes: particle i is expected N W_i times


def multinomial(key: jax.Array, log_weights: jax.Array) -> jax.Array:
    """N independent draws, as in the paper: int32 ``[N]`` from log weights ``[N]``."""
    return _inverse_cdf(jax.random.uniform(key, log_weights.shape), log_weights)


def systematic(key: jax.Array, log_weights: jax.Array) -> jax.Array:
    """N draws at equal distances behind one random number (Kitagawa 1996): int32 ``[N]``.

    Particle i of log weights ``[N]`` is drawn N W_i times, rounded up or down, so that fewer
    particles are lost by chance.
    """
    n = len(log_weights)
    return _inverse_cdf((jnp.arange(n) + jax.random.uniform(key)) / n, log_weights)


def _inverse_cdf(u: jax.Array, log_weights: jax.Array) -> jax.Array:
    """The particle in whose share of 0..1 each of ``u [N]`` lies."""
    ends = jnp.cumsum(normalise(log_weights))
    below_one = jnp.minimum(u, 1 - 2**-23)  # 1, by rounding, would lie behind all shares
    return (ends <= below_one[:, None] * ends[-1]).sum(-1).astype(jnp.int32)
