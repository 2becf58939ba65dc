"""Particle filtering: against exact enumeration of a toy, then the lines of a model."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from jaxreason import Sampler, load_model
from jaxreason.decoding.prompts import zero_shot_cot
from jaxreason.decoding.sampling import sample
from jaxreason.errors import InputError
from jaxreason.models.decoder import forward
from jaxreason.rewards.reward_model import aggregate, load_reward_model, step_scores
from jaxreason.search.lm_particles import filter_lines
from jaxreason.search.particles import (
    Particles,
    effective_size,
    log_evidence,
    multinomial,
    normalise,
    particle_filter,
    resample,
    systematic,
)
from jaxreason.tasks import arithmetic

# ---- a toy: words of three letters; what a letter's probability and potential are depends on all
# letters before it. All 64 words can be enumerated.

LENGTH, LETTERS = 3, 4
WORDS = list(itertools.product(range(LETTERS), repeat=LENGTH))
RNG = np.random.default_rng(0)
PRIOR = RNG.dirichlet(np.ones(LETTERS), size=(LENGTH, LETTERS ** (LENGTH - 1)))  # [T, prefix, 4]
POTENTIAL = RNG.uniform(0.05, 1.0, size=(LENGTH, LETTERS**LENGTH))  # [T, prefix with the letter]
POTENTIAL[1, 5] = 0.0  # a prefix that nothing may begin with


def place(prefix):
    """The number of a prefix: its letters as digits."""
    return functools.reduce(lambda number, letter: LETTERS * number + letter, prefix, 0)


def unnormalised(word):
    """p(word) times its potentials, by definition."""
    value = 1.0
    for t, letter in enumerate(word):
        value *= PRIOR[t, place(word[:t]), letter] * POTENTIAL[t, place(word[: t + 1])]
    return value


MASS = np.array([unnormalised(word) for word in WORDS])
Z = MASS.sum()


def advance(keys, state):
    prefix, t = state  # [B, N], []
    logits = jnp.log(jnp.asarray(PRIOR))[t, prefix]
    letter = jax.vmap(jax.random.categorical)(keys, logits)
    prefix = LETTERS * prefix + letter.astype(jnp.int32)
    return (prefix, t + 1), jnp.log(jnp.asarray(POTENTIAL))[t, prefix]


@functools.partial(jax.jit, static_argnames=("runs", "n", "scheme", "threshold"))
def filtered(key, *, runs, n, scheme, threshold=1.0):
    """``runs`` independent filters of the toy."""
    return particle_filter(
        jax.random.split(key, runs),
        (jnp.zeros((runs, n), jnp.int32), jnp.int32(0)),
        advance,
        num_particles=n,
        num_steps=LENGTH,
        scheme=scheme,
        threshold=threshold,
    )


@pytest.mark.parametrize("scheme", [multinomial, systematic])
def test_particles_are_distributed_as_the_posterior(scheme):
    """One particle of each of 1,000 runs, drawn by its weight, ten times: chi-square."""
    draw_one = jax.jit(jax.vmap(multinomial))
    for seed in range(10):
        key = jax.random.key(seed)
        found = filtered(key, runs=1000, n=32, scheme=scheme)
        drawn = draw_one(jax.random.split(key, 1000), found.log_weights)[:, 0]
        words = np.asarray(found.state[0])[np.arange(1000), drawn]
        counts, expected = np.bincount(words, minlength=len(WORDS)), 1000 * MASS / Z
        rare = expected < 5
        observed = [*counts[~rare], counts[rare].sum()]
        assert chisquare(observed, [*expected[~rare], expected[rare].sum()]).pvalue > 0.01
        assert not counts[expected == 0].any()


@pytest.mark.parametrize(
    ("scheme", "threshold"), [(multinomial, 1.0), (systematic, 1.0), (systematic, 0.5)]
)
def test_the_estimate_of_z_is_unbiased(scheme, threshold):
    """With three particles the weighted mean is biased; Z, and Z times the mean, are not."""
    runs = 20_000
    found = filtered(jax.random.key(0), runs=runs, n=3, scheme=scheme, threshold=threshold)
    z = np.exp(np.asarray(log_evidence(found), np.float64))
    begins_with_0 = (np.asarray(found.state[0]) < LETTERS ** (LENGTH - 1)).astype(float)
    share = (np.asarray(normalise(found.log_weights)) * begins_with_0).sum(1)
    for estimate, exact in ((z, Z), (z * share, MASS[: LETTERS ** (LENGTH - 1)].sum())):
        error = estimate.std() / np.sqrt(runs)
        assert error < 0.01 * Z and abs(estimate.mean() - exact) < 2.5 * error


def test_resampling_by_hand():
    @jax.jit
    def run(log_weights, z):
        state = {"x": jnp.arange(8).reshape(2, 4), "shared": jnp.array([7, 8])}
        before = Particles(state=state, log_weights=log_weights, log_z=jnp.log(z))
        after = resample(jax.random.split(jax.random.key(0), 2), before, systematic)
        return effective_size(log_weights), log_evidence(before), after, log_evidence(after)

    weights = np.array([[0.5, 0.5, 0.5, 0.5], [1e-30, 0.9, 1e-30, 0.3]])
    size, log_z, after, log_z_after = jax.device_get(run(np.log(weights), np.array([1.0, 0.5])))
    np.testing.assert_allclose(size, [4.0, 1 / (0.75**2 + 0.25**2)], rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_z), [0.5, 0.5 * 0.3], rtol=1e-6)
    # Equal weights stay as they are. Of the others three of four particles are the second.
    assert after.state["x"].tolist() == [[0, 1, 2, 3], [5, 5, 5, 7]]
    assert after.state["shared"].tolist() == [7, 8]
    np.testing.assert_allclose(np.exp(after.log_weights), [[0.5] * 4, [1.0] * 4])
    np.testing.assert_allclose(log_z_after, log_z, rtol=1e-6)


@pytest.mark.parametrize("scheme", [multinomial, systematic])
def test_a_particle_is_drawn_in_proportion_to_its_weight(scheme):
    weights = np.array([0.0, 0.1, 0.45, 0.0, 0.25, 0.2, 0.0])
    draw = jax.jit(jax.vmap(scheme, (0, None)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(1), 4000), jnp.log(weights)))
    counts = np.stack([np.bincount(row, minlength=7) for row in drawn])
    assert (counts.sum(1) == 7).all() and not counts[:, weights == 0].any()
    error = counts.std(0) / np.sqrt(len(counts))
    assert (abs(counts.mean(0) - 7 * weights) <= 4 * error + 1e-9).all()
    if scheme is systematic:
        assert ((counts == np.floor(7 * weights)) | (counts == np.ceil(7 * weights))).all()
    none = draw(jax.random.split(jax.random.key(1), 1), jnp.full(7, -jnp.inf))
    assert 0 <= none.min() and none.max() < 7  # all dead: any will do


@pytest.mark.parametrize("bad", [{"n": 0}, {"threshold": 1.5}, {"threshold": float("nan")}])
def test_bad_sizes_are_refused(bad):
    with pytest.raises(InputError, match="expected"):
        filtered(jax.random.key(0), **{"runs": 1, "n": 2, "scheme": systematic, **bad})


# ---- lines of a model


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


@pytest.fixture(scope="module")
def prm(tiny):
    """The first two layers of the shipped one: it compiles faster, and its scores differ more."""
    whole = load_reward_model("tiny-prm", tiny)
    layers = jax.tree.map(lambda x: x[:2], whole.params["backbone"]["layers"])
    backbone = {**whole.params["backbone"], "layers": layers}
    cfg = dataclasses.replace(whole.cfg, num_hidden_layers=2)
    return whole._replace(params={**whole.params, "backbone": backbone}, cfg=cfg)


@pytest.fixture(scope="module")
def prompts():
    problems = arithmetic.problems("validation", 3, seed=2, operations=(4, 5, 6))
    return [zero_shot_cot(problem.question) for problem in problems]


@pytest.fixture(scope="module")
def three_lines(tiny, prm, prompts):
    """No chain is done after three lines, and resampling has moved their caches twice."""
    return filter_lines(tiny, prm, jax.random.key(3), prompts, num_particles=4, max_lines=3)


def test_a_chain_is_worth_the_product_of_its_scores(three_lines, prm, prompts):
    alive = three_lines.log_weights > -np.inf
    assert alive.sum() > 6 and not three_lines.finished.any()
    scores = aggregate(step_scores(prm, prompts, three_lines.texts), "prod")
    np.testing.assert_allclose(np.exp(three_lines.worth)[alive], scores[alive], rtol=2e-3)


def test_the_last_line_is_what_the_model_draws_behind_all_before_it(three_lines, tiny, prompts):
    """From its key, by the full forward pass over prompt and chain: the caches went with them."""
    read = jax.jit(functools.partial(forward, cfg=tiny.cfg))
    for b, n in ((0, 0), (1, 3), (2, 1)):
        lines = three_lines.texts[b][n].splitlines(keepends=True)
        before = prompts[b] + "".join(lines[:2])
        ids = tiny.tokenizer(before, add_special_tokens=False).input_ids
        key = jax.random.split(jax.random.fold_in(jax.random.fold_in(jax.random.key(3), b), 2))[1]
        key = jax.random.split(key, 4)[n]
        new = []
        for t in range(12):
            row = np.zeros((1, 160), np.int32)
            row[0, : len(ids + new)] = ids + new
            logits, _ = read(tiny.params, row, np.arange(160)[None])
            at = logits[0, len(ids + new) - 1]
            new.append(int(sample(jax.random.fold_in(key, t), at, Sampler())))
            if tiny.tokenizer.decode(new[-1:]) == "\n":
                break
        assert tiny.tokenizer.decode(new) == "".join(lines[2:])


def test_bad_options_of_lines_are_refused(tiny, prm, prompts):
    run = functools.partial(filter_lines, tiny, prm, jax.random.key(0), prompts)
    for bad in ({"weigh": "sum"}, {"max_line": 0}, {"rows": 0}, {"max_lines": 100}):
        with pytest.raises(InputError, match="expected|shorten"):
            run(**{"num_particles": 2, **bad})
