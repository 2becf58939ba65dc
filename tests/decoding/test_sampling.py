"""Sampling: the filters against numpy, the draws against their probabilities."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxreason.decoding.sampling import GREEDY, Sampler, filter_logits, sample
from jaxreason.errors import InputError

kept_logits = jax.jit(filter_logits, static_argnums=1)
draw = jax.jit(sample, static_argnums=2)
draw_each = jax.jit(jax.vmap(sample, (0, None, None)), static_argnums=2)  # one for each key


def numpy_kept(logits, sampler):
    """The set of token ids a sampler keeps: filters one after the other on a sorted list, in
    float64.
    """
    probs = special.softmax(np.asarray(logits, np.float64) / sampler.temperature)
    kept = list(np.argsort(-probs, kind="stable"))
    if sampler.top_k:
        kept = kept[: sampler.top_k]
    if sampler.top_p < 1:
        total, mass, best = probs[kept].sum(), 0.0, []
        for token in kept:
            best.append(token)
            mass += probs[token] / total
            if mass >= sampler.top_p:
                break
        kept = best
    return {token for token in kept if probs[token] >= sampler.min_p * probs.max()}


SAMPLERS = [
    Sampler(),
    Sampler(0.5),
    Sampler(top_k=1),
    Sampler(0.7, top_k=5),
    Sampler(top_k=1000),
    Sampler(top_p=0.9),
    Sampler(2.0, top_p=0.3),
    Sampler(top_p=1e-6),
    Sampler(min_p=0.1),
    Sampler(0.7, min_p=1.0),
    Sampler(0.7, top_k=8, top_p=0.8),
    Sampler(1.5, top_k=20, min_p=0.05),
    Sampler(top_p=0.95, min_p=0.05),
    Sampler(0.6, top_k=20, top_p=0.95, min_p=0.02),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_filters_keep_what_numpy_keeps(sampler):
    logits = np.random.default_rng(0).normal(size=(40, 23)).astype(np.float32) * 2
    filtered = np.asarray(kept_logits(logits, sampler))
    for row, out in zip(logits, filtered, strict=True):
        assert set(np.flatnonzero(out > -np.inf)) == numpy_kept(row, sampler)
        np.testing.assert_allclose(
            out[out > -np.inf], row[out > -np.inf] / sampler.temperature, rtol=1e-6
        )


def test_filters_by_hand():
    """Probabilities 0.5, 0.25, 0.125, 0.125: the last two tie."""
    logits = np.log(np.float32([0.125, 0.5, 0.125, 0.25]))

    def kept(**options):
        filtered = np.asarray(kept_logits(logits, Sampler(**options)))
        return np.flatnonzero(filtered > -np.inf).tolist()

    assert kept() == [0, 1, 2, 3]
    assert kept(top_k=2) == [1, 3]
    assert kept(top_k=3) == [0, 1, 2, 3]  # what ties with the last one kept is kept
    assert kept(top_p=0.5) == [1]  # the mass reaches p with the first
    assert kept(top_p=0.51) == [1, 3]
    assert kept(top_p=0.76) == [0, 1, 2, 3]
    assert kept(top_k=2, top_p=0.66) == [1]  # top-k first: the two have 2/3 and 1/3
    assert kept(top_k=2, top_p=0.67) == [1, 3]
    assert kept(min_p=0.4) == [1, 3]
    assert kept(min_p=0.2) == [0, 1, 2, 3]
    assert kept(temperature=0.5, min_p=0.2) == [1, 3]  # tempered: 16, 4, 1, 1


def test_impossible_tokens_stay_impossible():
    logits = np.full((40, 23), -np.inf, np.float32)  # the shape of the programs above
    logits[:, 1], logits[:, 3] = 1.0, 0.0
    for sampler in SAMPLERS:
        out = np.asarray(kept_logits(logits, sampler))
        impossible = np.isneginf(logits)
        assert np.isneginf(out[impossible]).all()
        assert (out[:, 1] == np.float32(1.0) / np.float32(sampler.temperature)).all()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 10, 17, 100])
def test_draws_follow_the_probabilities(size):
    """Chi-square on 20,000 draws; a third of the tokens have probability 0 and are never drawn."""
    rng = np.random.default_rng(size)
    logits = rng.normal(size=size).astype(np.float32)
    logits[rng.permutation(size)[: size // 3]] = -np.inf
    keys = jax.random.split(jax.random.key(size), 20_000)
    draws = np.asarray(draw_each(keys, logits, Sampler(0.8)))
    assert draws.dtype == np.int32 and draws.min() >= 0 and draws.max() < size
    counts = np.bincount(draws, minlength=size)
    probs = special.softmax(logits.astype(np.float64) / 0.8)
    assert (counts[probs == 0] == 0).all()
    if size > 1:
        possible = probs > 0
        assert stats.chisquare(counts[possible], 20_000 * probs[possible]).pvalue > 1e-3


@pytest.mark.parametrize("size, possible", [(300, 20), (5_000, 40), (151_936, 3_000)])
def test_rounding_never_draws_a_token_of_probability_0(size, possible, monkeypatch):
    """Uniform numbers at and beside every border between blocks; XLA's long running sums are not
    even monotone.
    """
    rng = np.random.default_rng(size)
    logits = np.full(size, -np.inf, np.float32)
    logits[np.sort(rng.permutation(size - size // 10)[:possible])] = rng.normal(size=possible)
    side = int(np.ceil(np.sqrt(size)))
    mass = np.pad(np.exp(logits - logits.max()), (0, side**2 - size)).reshape(side, side)
    borders = np.asarray(jnp.cumsum(jnp.asarray(mass).sum(-1)))
    borders = (borders / borders[-1]).astype(np.float32)
    borders = np.concatenate(
        [borders, *(np.nextafter(borders, np.float32(x)) for x in (0, 1)), [0.0, 1.0]]
    )
    borders = jnp.asarray(np.clip(borders, 0, 1 - 2**-24), jnp.float32)
    monkeypatch.setattr(jax.random, "uniform", lambda key: key)  # the "key" is the number itself
    draws = np.asarray(
        jax.jit(jax.vmap(lambda u: sample(u, jnp.asarray(logits), Sampler())))(borders)
    )
    assert draws.max() < size and (logits[draws] > -np.inf).all()


def test_greedy_takes_the_best_whatever_the_key():
    logits, keys = np.float32([0.0, 3.0, 1.0, 3.0]), jax.random.split(jax.random.key(0), 30)
    assert {int(draw(key, logits, GREEDY)) for key in keys[:5]} == {1}
    assert set(draw_each(keys, logits, Sampler(top_k=1)).tolist()) == {1, 3}  # a tie


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("options", [{}, {"top_p": 0.9}, {"top_k": 150}, {"min_p": 0.001}], ids=str)
def test_half_precision_draws_what_float32_draws(options, dtype):
    """One token of 85% and a tail of 99 that have 15% together: it is drawn, and in 15% of the
    draws.
    """
    probs = np.full(100, 0.15 / 99)
    probs[60] = 0.85
    logits, sampler = np.log(np.float32(probs)).astype(jnp.dtype(dtype)), Sampler(**options)
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = np.asarray(draw_each(keys, logits, sampler))
    np.testing.assert_array_equal(draws, draw_each(keys, logits.astype(np.float32), sampler))
    filtered = kept_logits(logits, sampler)
    assert filtered.dtype == jnp.float32
    kept = special.softmax(np.float64(filtered))
    counts = np.bincount(draws, minlength=100)
    assert 0.145 < 1 - kept[60] < 0.155 and abs(1 - counts[60] / 20_000 - (1 - kept[60])) < 0.01
    assert stats.chisquare(counts, 20_000 * kept / kept.sum()).pvalue > 1e-3
    assert draw(keys[0], logits, GREEDY) == 60


def test_same_key_same_token():
    logits = np.random.default_rng(0).normal(size=50).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 64)
    draws = draw_each(keys, logits, Sampler())
    np.testing.assert_array_equal(draw_each(keys, logits, Sampler()), draws)
    assert [int(draw(key, logits, Sampler())) for key in keys] == draws.tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_p": float("nan")},
        {"min_p": -0.5},
        {"min_p": 1.5},
    ],
    ids=str,
)
def test_a_value_outside_its_range_is_named(options):
    (name, value), *_ = options.items()
    with pytest.raises(InputError, match=name) as error:
        Sampler(**options)
    assert str(value) in str(error.value) and "\n" not in str(error.value)


def test_a_sampler_is_hashable_and_frozen():
    assert hash(Sampler(0.7)) == hash(Sampler(0.7)) and Sampler(0.7) == Sampler(0.7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sampler().temperature = 1.0
