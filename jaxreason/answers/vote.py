"""Choosing among N sampled chains: votes, weights, filters, early stopping and best-of-N.

Answers are integer ids, ``answer_ids[g, i]`` for chain i of problem g. Equal ids are equal answers
within one problem; a negative id means "no answer", which never wins. Every function is pure, works
under ``jit`` and ``vmap``, and takes any leading axes: ``[G, N]`` below may as well be ``[N]``.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.scipy.special import betainc

from jaxreason.errors import InputError


class Vote(NamedTuple):
    """The outcome of a vote, for each of G problems."""

    winner: jax.Array  # [G] int32, the winning answer id, -1 where no chain cast a vote
    confidence: jax.Array  # [G] float32, its share of all weight, unanswered chains included
    counts: jax.Array  # [G, N] float32, the votes for each chain's answer, 0 where it has none


@jax.jit
def vote(answer_ids: jax.Array, weights: jax.Array | None = None) -> Vote:
    """Plurality vote over chains: the answer with the largest total weight.

    It is argmax_a sum_i w_i 1[a_i = a] of Wang et al. 2023 (Self-Consistency), section 2.
    ``confidence`` is the share of chains that agree with the winner, their measure of consistency.

    A tie goes to the answer that appeared first among the chains that cast a vote. Counting
    compares all pairs of chains: O(G N^2) time and a ``[G, N, N]`` float32 temporary (262 MB at G =
    1000, N = 256).

    Args:
      answer_ids: ``[G, N]`` integers, negative for "no answer".
      weights: ``[G, N]`` numbers or booleans, ones by default. A weight that is not positive (or
        is NaN) casts no vote, so a mask is a weight: the vote is among the chains it keeps.

    Raises:
      InputError: ids that are not integers, or weights of another shape.
    """
    ids = _check_ids(answer_ids)
    if weights is None:
        weights = jnp.ones(ids.shape)
    weights = _same_shape(ids, weights, "weights").astype(jnp.float32)
    weights = jnp.where(weights > 0, weights, 0.0)
    ballots = jnp.where(ids >= 0, weights, 0.0)

    same = ids[..., :, None] == ids[..., None, :]
    counts = jnp.where(same, ballots[..., None, :], 0.0).sum(-1)
    # argmax takes the first maximum, which is the tie rule; a chain without a ballot must not lend
    # its place.
    first = jnp.argmax(jnp.where(ballots > 0, counts, -1.0), axis=-1, keepdims=True)
    top = jnp.take_along_axis(counts, first, axis=-1)[..., 0]
    winner = jnp.where(top > 0, jnp.take_along_axis(ids, first, axis=-1)[..., 0], -1)
    total = weights.sum(-1)
    return Vote(winner, top / jnp.where(total > 0, total, 1.0), counts)


def majority(answer_ids: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The winning answer id ``[G]`` of :func:`vote`; it needs no absolute majority.

    Args:
      answer_ids, weights: ``[G, N]``, as for :func:`vote`.
    """
    return vote(answer_ids, weights).winner


@jax.jit
def entropy(answer_ids: jax.Array) -> jax.Array:
    """Entropy ``[G]`` of the votes in nats, a measure of a problem's difficulty.

    -sum_a p_a log p_a with p_a the share of the N chains that answer a; "no answer" is an answer
    here. It is 0 where all chains agree, and log N where none do.

    Args:
      answer_ids: ``[G, N]`` integers, negative for "no answer".

    Raises:
      InputError: ids that are not integers.
    """
    ids = jnp.maximum(_check_ids(answer_ids), -1)
    share = (ids[..., :, None] == ids[..., None, :]).mean(-1)  # [G, N], of each chain's answer
    return -jnp.log(share).mean(-1)


def logprob_weights(
    logprobs_sum: jax.Array, lengths: jax.Array, length_normalise: bool = True
) -> jax.Array:
    """Vote weights ``[G, N]`` from the model's probability of each chain; they sum to one.

    Wang et al. 2023, section 2, equation 1: P(chain) = exp((1/K) sum_k log p(t_k)), the "normalized
    weighted sum", or the plain product of token probabilities without ``length_normalise``. Scaling
    all weights of a problem changes no vote, so the largest log-probability is taken out before
    ``exp``: the plain product of a long chain would underflow to zero.

    Args:
      logprobs_sum: ``[G, N]`` nats, summed over the generated tokens and **untempered**:
        log-softmax of the raw logits, not of logits divided by the sampling temperature. -inf
        gives weight 0: set it for chains without an answer, lest a short one dwarf the rest
        when lengths are not normalised.
      lengths: ``[G, N]`` generated tokens per chain; an empty chain gets weight 0.
      length_normalise: static, whether to take the mean log-probability of a token.

    Raises:
      InputError: lengths of another shape.
    """
    logprobs = jnp.asarray(logprobs_sum, jnp.float32)
    lengths = _same_shape(logprobs, lengths, "lengths")
    if length_normalise:
        logprobs = logprobs / jnp.maximum(lengths, 1)
    return jax.nn.softmax(logprobs, axis=-1, where=(lengths > 0) & (logprobs > -jnp.inf))


def filtered_majority(answer_ids: jax.Array, scores: jax.Array, keep: int) -> jax.Array:
    """Majority ``[G]`` among the ``keep`` chains with the highest scores (Cobbe et al. 2021,
    section 5.1).

    Chains without an answer are dropped before any other, then the lowest scores, NaN lowest of
    all; of equal scores the earlier chain stays. A tied vote still goes to the kept answer that
    appeared first, not to the best scored.

    Args:
      answer_ids: ``[G, N]`` integers, negative for "no answer".
      scores: ``[G, N]`` a verifier's scores, higher is better.
      keep: static, at least 1; N or more keeps every chain.

    Raises:
      InputError: a ``keep`` below one, ids that are not integers, or scores of another shape.
    """
    if keep < 1:
        raise InputError(f"keep is {keep}: expected at least 1 chain; raise keep")
    return _majority_of_the_best(answer_ids, scores, keep)


@jax.jit
def _majority_of_the_best(answer_ids: jax.Array, scores: jax.Array, keep: int) -> jax.Array:
    """:func:`filtered_majority`; another ``keep`` compiles nothing anew."""
    ids = _check_ids(answer_ids)
    order = _best_first(_same_shape(ids, scores, "scores"), ids)
    rank = jnp.argsort(order, axis=-1)  # the inverse permutation
    return majority(ids, rank < keep)


@jax.jit
def best_of_n(scores: jax.Array, answer_ids: jax.Array | None = None) -> jax.Array:
    """Index ``[G]`` of the chain with the highest score ``[G, N]``; the first of equal scores, NaN
    last.

    Given ``answer_ids`` ``[G, N]``, a chain without an answer is chosen only where no chain has
    one.

    Raises:
      InputError: ids that are not integers or have another shape than the scores.
    """
    scores = jnp.asarray(scores)
    ids = jnp.zeros(scores.shape, jnp.int32) if answer_ids is None else _check_ids(answer_ids)
    return _best_first(_same_shape(ids, scores, "scores"), ids)[..., 0]


@partial(jax.jit, static_argnames=("threshold", "min_samples"))
def early_stop(
    answer_ids: jax.Array, *, threshold: float = 0.95, min_samples: int = 1
) -> jax.Array:
    """Chains drawn ``[G]`` int32 before adaptive consistency stops, N where it never does.

    Aggarwal et al. 2023 (Let's Sample Step by Step: Adaptive-Consistency), the Beta stopping
    criterion. With v1 and v2 votes for the two leading answers and a uniform prior, the leader's
    share p of the two is Beta(v1+1, v2+1); stop after the first chain at which P(p > 1/2) =
    I_{1/2}(v2+1, v1+1) >= threshold. At 0.95, four equal answers stop it. The decision is then the
    vote over the chains drawn::

        used = early_stop(answer_ids)
        answer = majority(answer_ids, jnp.arange(N) < used[:, None])

    Memory is a few ``[G, N, N]`` int32, the counts of each answer after each chain.

    Args:
      answer_ids: ``[G, N]`` in the order drawn; a chain without an answer is drawn but casts no
        vote.
      threshold: static, between 0.5 and 1.
      min_samples: static, never stop before this many chains.

    Raises:
      InputError: a threshold outside (0.5, 1), ``min_samples`` below one, or ids that are not
        integers.
    """
    if not 0.5 < threshold < 1:
        raise InputError(
            f"threshold is {threshold}: expected a probability in (0.5, 1), such as 0.95"
        )
    if min_samples < 1:
        raise InputError(
            f"min_samples is {min_samples}: expected at least 1 chain; raise min_samples"
        )
    ids = _check_ids(answer_ids)
    num_chains = ids.shape[-1]
    first = jnp.argmax(ids[..., :, None] == ids[..., None, :], axis=-1)  # [G, N] names an answer
    # one_hot of -1 is all zeros; the extra class is always zero, so that N = 1 has a runner-up too.
    named = jnp.where(ids >= 0, first, -1)
    ballots = jax.nn.one_hot(named, num_chains + 1, dtype=jnp.int32)  # [G, N, N + 1]
    leaders = jax.lax.top_k(ballots.cumsum(-2), 2)[0]  # [G, N, 2], v1 and v2 after each chain
    # The rule depends on two small integers: decide it in a float64 table, float32 betainc is off
    # by 3e-4.
    v1, v2 = np.ogrid[: num_chains + 1, : num_chains + 1]
    rule = jnp.asarray(scipy.special.betainc(v2 + 1, v1 + 1, 0.5) >= threshold)
    stop = rule[leaders[..., 0], leaders[..., 1]] & (jnp.arange(1, num_chains + 1) >= min_samples)
    return jnp.where(stop.any(-1), jnp.argmax(stop, axis=-1) + 1, num_chains).astype(jnp.int32)


def pass_at_k(num_correct: jax.Array, num_samples: int, k: int) -> jax.Array:
    """Unbiased chance ``[G]`` that at least one of k chains is right.

    With c right ones among n sampled it is 1 - C(n-c, k) / C(n, k), Chen et al. 2021 (Codex),
    equation 1. The product of (1 - k/i) over i = n-c+1 .. n computes it without large binomials,
    and is exactly 1 once fewer than k chains are wrong.

    Args:
      num_correct: ``[G]`` integers in 0..n, the right chains of each problem.
      num_samples: n, static.
      k: static, 1..n.

    Raises:
      InputError: k outside 1..num_samples.
    """
    if not 1 <= k <= num_samples:
        raise InputError(
            f"k is {k}: expected 1 to num_samples = {num_samples}; sample more or lower k"
        )
    i = jnp.arange(1, num_samples + 1)
    wrong = num_samples - jnp.asarray(num_correct)
    return 1.0 - jnp.where(i > wrong[..., None], 1.0 - k / i, 1.0).prod(-1)


@jax.jit
def binomial_majority(p: jax.Array, n: int | jax.Array) -> jax.Array:
    """Chance that more than half of n independent chains are right, each with chance p.

    A tie counts half.

    Condorcet's jury theorem (1785): P(2X > n) + P(2X = n)/2 of X ~ Binomial(n, p). With m =
    ceil(n/2) it equals the regularised incomplete beta function I_p(m, m), so an even n is worth no
    more than n - 1. It is the plurality's chance if all wrong chains agree, and a lower bound
    otherwise: wrong chains that disagree let the right answer win with far less than half.
    It is computed in float32, to about 1e-4 at n = 256.

    Args:
      p: probabilities in [0, 1], any shape.
      n: chains, at least 1; an array broadcasts against p.
    """
    half = (jnp.asarray(n) + 1) // 2
    return betainc(half.astype(jnp.float32), half.astype(jnp.float32), jnp.asarray(p, jnp.float32))


def _best_first(scores: jax.Array, ids: jax.Array) -> jax.Array:
    """Chains in order of preference: answered, then high score, then early.

    The stable sort puts NaN last.
    """
    return jnp.lexsort((-scores.astype(jnp.float32), ids < 0), axis=-1)


def _check_ids(answer_ids: jax.Array) -> jax.Array:
    ids = jnp.asarray(answer_ids)
    if not jnp.issubdtype(ids.dtype, jnp.signedinteger) or ids.ndim == 0 or ids.shape[-1] == 0:
        raise InputError(
            f"answer_ids is {ids.dtype}{list(ids.shape)}: expected signed integers [..., N] with "
            "N >= 1; number the answers of each problem, -1 for none"
        )
    return ids.astype(jnp.int32)


def _same_shape(reference: jax.Array, values: jax.Array, name: str) -> jax.Array:
    values = jnp.asarray(values)
    if values.shape != reference.shape:
        raise InputError(
            f"{name} has shape {list(values.shape)}: expected {list(reference.shape)}, "
            "one number per chain"
        )
    return values
