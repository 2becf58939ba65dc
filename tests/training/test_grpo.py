"""GRPO: formulas by hand, gradients against REINFORCE, clipping, rewards on the device,
known-answer problems, resume.
"""

import contextlib
import functools
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_params
from scipy import special

from jaxreason import InputError, compile_stop, fit, is_correct, make_update
from jaxreason.decoding.logprobs import completion_logprobs, token_logprobs
from jaxreason.decoding.rollout import Rollout, generate
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import Stop
from jaxreason.models import decoder
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.hf import LanguageModel
from jaxreason.models.lora import init_lora
from jaxreason.models.tokens import Prompt, pad_left, token_bytes
from jaxreason.training.grpo import (
    CISPO,
    DAPO,
    DR_GRPO,
    GRPO,
    GSPO,
    KNOWN,
    RLOO,
    Objective,
    _bounded,
    group_advantages,
    informative,
    kl_k3,
    overlong_penalty,
    rollout_weights,
    squared_norms,
    token_weights,
)
from jaxreason.training.grpo_batch import GroupBatch, batch_loss, grpo_loss, make_batch
from jaxreason.training.grpo_device import (
    Problems,
    encode_problems,
    make_grpo_step,
    problem_batches,
    run_steps,
    take,
)
from jaxreason.training.grpo_text import make_text_update, text_batches
from jaxreason.training.loop import fit_best, init_state, make_step
from jaxreason.training.padding import cut_grad
from jaxreason.training.ppo import gae, init_critic, make_ppo_step, standardised
from jaxreason.training.token_rewards import (
    contains,
    exact_match,
    majority_vote,
    same_answers,
)
from jaxreason.training.watch import NothingToLearn, Watch

# As training has them: eagerly each operation would be a program of its own.
batch_of = jax.jit(make_batch, static_argnames="objective")
loss_of = jax.jit(batch_loss, static_argnames="objective")
weights_of = jax.jit(token_weights, static_argnames=("average", "limit"))
gradient_of = jax.jit(jax.value_and_grad(batch_loss, has_aux=True), static_argnames="objective")

VARIANTS = {
    "GRPO": GRPO,
    "DR_GRPO": DR_GRPO,
    "DAPO": DAPO,
    "RLOO": RLOO,
    "GSPO": GSPO,
    "CISPO": CISPO,
}


def random_batch(rng, b=3, n=4, t=5, off_policy=0.0):
    """A batch, and log-probabilities of the policy that are ``off_policy`` away from those it was
    drawn with.
    """
    lengths = rng.integers(1, t + 1, (b, n))
    mask = np.arange(t) < lengths[..., None]
    old = -rng.exponential(size=(b, n, t)).astype(np.float32)
    now = (old + off_policy * rng.normal(size=old.shape)).astype(np.float32)
    advantages = rng.normal(size=(b, n, 1)).astype(np.float32) * np.ones((b, n, t), np.float32)
    reference = (old + 0.1 * rng.normal(size=old.shape)).astype(np.float32)
    tokens = np.ones((b, n, t), np.int32)
    prompt = Prompt(np.ones((b, 1), np.int32), np.ones((b, 1), bool))
    return now, GroupBatch(
        prompt, tokens, mask, old, reference, advantages, np.asarray(weights_of(mask))
    )


# ---- advantages, weights, penalties


def test_advantages_by_hand():
    rewards = jnp.array([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    centred = group_advantages(rewards, kind="centred")
    np.testing.assert_allclose(centred, [[0.75, -0.25, -0.25, -0.25], [0, 0, 0, 0]])
    std = np.sqrt(0.75 * 0.25)
    np.testing.assert_allclose(
        group_advantages(rewards)[0], np.array([0.75, -0.25, -0.25, -0.25]) / std, rtol=1e-3
    )
    np.testing.assert_allclose(
        group_advantages(rewards, kind="leave_one_out")[0], [1.0, -1 / 3, -1 / 3, -1 / 3], rtol=1e-6
    )


def test_the_baseline_of_least_variance_by_hand():
    """Weights 3 and 1: b = (3 * 0 + 1 * 1) / 4; and no other b has as small a second moment of (r -
    b) g.
    """
    advantages = group_advantages(
        jnp.array([[0.0, 1.0]]), kind="least_variance", squared_norms=jnp.array([[3.0, 1.0]])
    )
    np.testing.assert_allclose(advantages, [[-0.25 / 0.5, 0.75 / 0.5]], rtol=1e-3)
    rng = np.random.default_rng(0)
    rewards, norms = rng.random((1, 50)) < 0.4, rng.random((1, 50))
    centred = group_advantages(
        jnp.asarray(rewards, jnp.float32), kind="least_variance", squared_norms=jnp.asarray(norms)
    )
    b = float(rewards[0, 0] - centred[0, 0] * (rewards.std() + 1e-4))
    moment = [(norms * (rewards - b - shift) ** 2).sum() for shift in (-0.02, 0.0, 0.02)]
    assert moment[1] < moment[0] and moment[1] < moment[2]


def test_a_sure_token_adds_nothing_to_the_norm_and_padding_neither():
    logprobs = jnp.log(jnp.array([[1.0, 0.5, 0.25], [1.0, 1.0, 0.25]]))
    mask = jnp.array([[True, True, False], [True, True, True]])
    np.testing.assert_allclose(
        squared_norms(logprobs, mask), [0.25 + 1e-3, 0.75**2 + 1e-3], rtol=1e-5
    )


def test_leave_one_out_subtracts_the_mean_of_the_others():
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(5, 6)).astype(np.float32)
    others = [[r - np.delete(row, i).mean() for i, r in enumerate(row)] for row in rewards]
    np.testing.assert_allclose(
        group_advantages(jnp.asarray(rewards), kind="leave_one_out"), others, atol=1e-5
    )


def test_a_group_of_equal_rewards_teaches_nothing():
    for value in (0.0, 1.0, 0.3):
        for kind in ("standardised", "centred", "leave_one_out", "least_variance"):
            advantages = group_advantages(
                jnp.full((2, 8), value), kind=kind, squared_norms=jnp.arange(1.0, 17).reshape(2, 8)
            )
            np.testing.assert_array_equal(advantages, 0.0)
    assert informative(jnp.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])).tolist() == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("kind", KNOWN["advantages"])
def test_equal_rewards_have_no_advantage_whatever_they_are(kind):
    """Their mean is rounded: -1500.7 in a group of 15 would have -1.22, 100.3 in one of 32 -0.19.

    And nothing else changes.
    """
    rng = np.random.default_rng(0)
    values = [
        -1500.7,
        100.3,
        0.1,
        -0.3,
        1e-30,
        1e30,
        3e38,
        1 / 3,
        16777217.0,
        np.inf,
        *rng.normal(0, 1e3, 20),
    ]
    for size in (1, 15, 32):
        rewards = np.repeat(np.float32(values)[:, None], size, 1)
        norms = np.float32(rng.uniform(0.1, 9, rewards.shape))
        advantages = np.asarray(
            group_advantages(jnp.asarray(rewards), kind=kind, squared_norms=norms)
        )
        np.testing.assert_array_equal(advantages, 0.0)
        if size > 1:  # where one reward differs, if in its last bit only, the formula decides
            other = rewards[:4].copy()
            other[:, 0] = np.nextafter(other[:, 0], np.float32(np.inf))
            other, weights = (
                jnp.asarray(other),
                norms[:4] if kind == "least_variance" else jnp.ones((4, size)),
            )
            formula = other - (weights * other).sum(-1, keepdims=True) / weights.sum(
                -1, keepdims=True
            )
            if kind in ("standardised", "least_variance"):
                formula = formula / (other.std(-1, keepdims=True) + 1e-4)
            elif kind == "leave_one_out":
                formula = formula * (size / (size - 1))
            found = group_advantages(other, kind=kind, squared_norms=norms[:4])
            np.testing.assert_array_equal(found, formula)
    with_nan = jnp.array([[1.0, np.nan, 1.0], [np.nan] * 3, [2.0] * 3])
    found = group_advantages(with_nan, kind=kind, squared_norms=jnp.ones((3, 3)))
    assert jnp.isnan(found).all(-1).tolist() == [True, True, False]


def test_equal_advantages_of_ppo_are_no_signal():
    mask = jnp.arange(5) < jnp.array([5, 3, 1])[:, None]
    for value in (-1500.7, 100.3, 0.1):
        np.testing.assert_array_equal(standardised(jnp.full(mask.shape, value), mask), 0.0)
    found = standardised(jnp.array([[1.0, 3.0, 99.0]]), jnp.array([[True, True, False]]))
    np.testing.assert_allclose(found, [[-1.0, 1.0, 0.0]], atol=1e-6)


def test_weights_by_hand():
    mask = jnp.array(
        [[[1, 1, 0, 0], [1, 1, 1, 1]], [[1, 0, 0, 0], [1, 0, 0, 0]]], bool
    )  # B = N = 2, T = 4
    means = {name: token_weights(mask, name) / 2 for name in ("sequence", "token", "constant")}
    np.testing.assert_allclose(means["sequence"][0], [[1 / 8, 1 / 8, 0, 0], [1 / 16] * 4])
    np.testing.assert_allclose(means["token"], mask / 8)
    np.testing.assert_allclose(means["constant"], mask / 16)
    assert means["sequence"].sum() == means["token"].sum() == 1
    np.testing.assert_allclose(
        token_weights(mask, "constant", limit=8), token_weights(mask, "constant") / 2
    )


def test_weights_without_truncated_chains_by_hand():
    """The chains left out weigh nothing, and the others what they would if those had not been
    drawn.
    """
    mask = jnp.array(
        [[[1, 1, 0, 0], [1, 1, 1, 1]], [[1, 1, 1, 1], [1, 1, 1, 1]]], bool
    )  # B = N = 2, T = 4
    ended = jnp.array([[True, False], [False, True]])
    means = {
        name: token_weights(mask, name, counted=ended) / 2
        for name in ("sequence", "token", "constant")
    }
    zeros = [[0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(
        means["sequence"], [[[1 / 4, 1 / 4, 0, 0], zeros[0]], [zeros[0], [1 / 8] * 4]]
    )
    np.testing.assert_allclose(
        means["token"], [[[1 / 6, 1 / 6, 0, 0], zeros[0]], [zeros[0], [1 / 6] * 4]]
    )
    np.testing.assert_allclose(
        means["constant"], [[[1 / 8, 1 / 8, 0, 0], zeros[0]], [zeros[0], [1 / 8] * 4]]
    )
    for name in means:
        everything, nothing = jnp.ones((2, 2), bool), jnp.zeros((2, 2), bool)
        np.testing.assert_array_equal(
            token_weights(mask, name, counted=everything), token_weights(mask, name)
        )
        np.testing.assert_array_equal(token_weights(mask, name, counted=nothing), 0.0)
        one = token_weights(mask[:1, :1], name)  # the batch without them: a group of one
        half = token_weights(mask[:1], name, counted=ended[:1])
        np.testing.assert_allclose(half[:, :1], one)


@pytest.mark.parametrize("average", KNOWN["average"])
def test_truncated_chains_are_left_out_of_the_loss(average):
    """Loss and gradient are those of a batch that never had them, with the baseline of all."""
    rng = np.random.default_rng(0)
    now, of_all = random_batch(rng, b=2, n=4, off_policy=0.3)
    ended = np.array(
        [[True, False, True, False], [True, True, False, False]]
    )  # as many in each group
    rewards = np.float32(rng.normal(size=(2, 4)))
    rollout = Rollout(of_all.tokens, of_all.logprobs, of_all.mask, ended)
    objective = Objective(average=average, drop_truncated=True, kl_coef=0.1)

    @jax.jit
    def made(rollout, rewards):
        prompt, reference = of_all.prompt, of_all.reference
        batch, metrics = make_batch(prompt, rollout, rewards, reference, objective=objective)
        return batch, metrics, group_advantages(rewards)

    batch, metrics, advantages = made(rollout, rewards)
    loss_fn = functools.partial(gradient_of, objective=objective)
    (loss, _), gradient = loss_fn(now, batch)
    assert (np.asarray(gradient)[~ended] == 0).all() and metrics["truncated"] == 0.5

    def kept(x):
        return np.asarray(x)[ended].reshape(2, 2, -1)

    smaller = GroupBatch(batch.prompt, *map(kept, batch[1:]))
    smaller = smaller._replace(weights=weights_of(smaller.mask, average))
    (expected, _), of_kept = loss_fn(kept(now), smaller)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(kept(gradient), of_kept, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(batch.advantages[..., 0], advantages)


def test_groups_that_are_cut_off_altogether_teach_nothing():
    mask, rewards = np.ones((2, 2, 3), bool), np.float32([[0.0, 1.0], [0.0, 1.0]])
    rollout = Rollout(
        np.int32(mask), -np.float32(mask), mask, np.array([[False, False], [True, False]])
    )
    prompt = Prompt(np.ones((2, 1), np.int32), np.ones((2, 1), bool))
    for drop, share in ((False, 0.0), (True, 0.5)):
        objective = Objective(drop_truncated=drop)
        _, metrics = batch_of(prompt, rollout, rewards, None, objective=objective)
        assert metrics["zero_variance"] == share


def test_overlong_penalty_by_hand():
    lengths = jnp.array([10, 60, 70, 80, 100])
    np.testing.assert_allclose(overlong_penalty(lengths, 100, 40), [0, 0, -0.25, -0.5, -1])
    np.testing.assert_allclose(overlong_penalty(lengths, 100, 0), 0)


# ---- the loss


def reference_loss(now, batch, o):
    """The formulas of the papers and their gradients by log p, by hand, token by token: numpy."""
    now, batch = np.float64(now), jax.tree.map(np.asarray, batch)
    b, n, t = batch.mask.shape
    total, gradient, count = 0.0, np.zeros(now.shape), batch.mask.sum()
    for i, j in np.ndindex(b, n):
        length = int(batch.mask[i, j].sum())
        log_p = now[i, j, :length]
        log_ratio = log_p - batch.logprobs[i, j, :length]
        ratio = np.exp(np.full(length, log_ratio.mean()) if o.ratio == "sequence" else log_ratio)
        clipped = np.clip(ratio, 1 - o.clip_low, 1 + o.clip_high)
        a = np.float64(batch.advantages[i, j, :length])
        if o.surrogate == "cispo":  # the weight is a number, whatever it was made from
            terms, slopes = clipped * a * log_p, clipped * a
        else:
            terms = np.minimum(ratio * a, clipped * a)
            slopes = np.where(ratio * a <= clipped * a, ratio * a, 0.0)
            if o.ratio == "sequence":  # every token has a part in the ratio of each
                slopes = np.full(length, slopes.mean())
        if o.kl == "k3":
            d = np.float64(batch.reference[i, j, :length]) - log_p
            terms = terms - o.kl_coef * (np.exp(d) - d - 1)
            slopes = slopes - o.kl_coef * (1 - np.exp(d))
        weight = {
            "sequence": 1 / (b * n * length),
            "token": 1 / count,
            "constant": 1 / (b * n * t),
        }[o.average]
        total -= weight * terms.sum()
        gradient[i, j, :length] = -weight * slopes
    return total, gradient


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_its_formula(name):
    objective = VARIANTS[name]
    for seed in range(5):
        now, batch = random_batch(np.random.default_rng(seed), off_policy=0.3)
        batch = batch._replace(weights=weights_of(batch.mask, objective.average))
        (loss, _), gradient = gradient_of(now, batch, objective=objective)
        expected, by_hand = reference_loss(now, batch, objective)
        assert loss == pytest.approx(expected, rel=1e-5, abs=1e-6)
        np.testing.assert_allclose(gradient, by_hand, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("surrogate", KNOWN["surrogate"])
def test_overlong_filtering_and_truncated_sampling_by_hand(surrogate):
    """From rewards to gradients in numpy: chains cut off weigh nothing, but are in the baseline."""
    objective = Objective(
        surrogate=surrogate, average="token", clip_high=0.3, drop_truncated=True, rollout_cap=1.2
    )
    for seed in range(5):
        rng = np.random.default_rng(seed)
        now, random = random_batch(rng, off_policy=0.3)
        rewards, ended = np.float32(rng.normal(size=(3, 4))), rng.random((3, 4)) < 0.6
        drawn = random.logprobs + np.float32(0.2 * rng.normal(size=now.shape))  # in int8, say
        rollout = Rollout(random.tokens, drawn, random.mask, ended)
        batch, _ = batch_of(
            random.prompt, rollout, rewards, None, objective=objective, logprobs=random.logprobs
        )
        _, gradient = gradient_of(now, batch, objective=objective)

        centred = rewards - rewards.mean(1, keepdims=True)
        a = (centred / (rewards.std(1, keepdims=True) + 1e-4))[..., None]
        a = a * np.minimum(np.exp(random.logprobs - drawn), 1.2)
        ratio = np.exp(now - random.logprobs)
        clipped = np.clip(ratio, 0.8, 1.3)
        stopped = np.where(ratio * a > clipped * a, 0.0, ratio)  # what the minimum does
        counted = random.mask & ended[..., None]
        slope = (clipped if surrogate == "cispo" else stopped) * a
        np.testing.assert_allclose(gradient, -slope * counted / counted.sum(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_parts_of_a_batch_average_to_the_whole(name):
    objective = VARIANTS[name]
    now, batch = random_batch(np.random.default_rng(0), b=4, off_policy=0.3)
    batch = batch._replace(weights=np.asarray(weights_of(batch.mask, objective.average)))
    whole, _ = loss_of(now, batch, objective=objective)
    halves = [
        loss_of(now[rows], jax.tree.map(lambda x, rows=rows: x[rows], batch), objective=objective)[
            0
        ]
        for rows in (slice(2), slice(2, 4))
    ]
    assert whole == pytest.approx(np.mean(halves), rel=1e-5)


def test_on_policy_the_gradient_is_reinforce_with_a_baseline(small):
    """At ratio 1 the gradient is that of -mean_i A_i mean_t log p (Williams 1992), whatever the
    clip.
    """
    rng = np.random.default_rng(0)
    prompt = pad_left([rng.integers(2, 20, n).astype(np.int32) for n in (3, 5)], 0, multiple=8)
    tokens, everything = np.int32(rng.integers(2, 20, (2, 3, 4))), np.ones((2, 3, 4), bool)
    rewards = np.float32(rng.normal(size=(2, 3)))
    score = functools.partial(completion_logprobs, cfg=small.cfg)

    def reinforce(params):
        return -(group_advantages(rewards) * score(params, prompt, tokens).mean(-1)).mean()

    @jax.jit
    def both(params):
        rollout = Rollout(tokens, score(params, prompt, tokens), everything, everything[..., 0])
        batch, _ = make_batch(prompt, rollout, rewards, None, objective=Objective())
        ours, _ = jax.grad(grpo_loss, has_aux=True)(
            params, batch, cfg=small.cfg, objective=Objective()
        )
        return ours, jax.grad(reinforce)(params)

    ours, theirs = both(random_params(small.cfg))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), ours, theirs)
    assert max(np.abs(x).max() for x in jax.tree.leaves(theirs)) > 1e-2


def test_the_clip_stops_the_gradient_on_one_side_only():
    """A > 0: no gradient once the ratio is above 1 + high; A < 0: none once it is below 1 - low;
    else it flows.
    """
    objective = Objective(clip_low=0.2, clip_high=0.3)
    _, batch = random_batch(np.random.default_rng(0), b=1, n=1, t=1)

    def gradient(ratio, advantage):
        given = batch._replace(advantages=np.full((1, 1, 1), advantage, np.float32))
        now = np.float32(batch.logprobs + np.log(ratio))
        (_, metrics), gradient = gradient_of(now, given, objective=objective)
        return float(gradient.sum()), float(metrics["clip_fraction"])

    assert gradient(1.29, 1.0) == (pytest.approx(-1.29, rel=1e-4), 0.0)
    assert gradient(1.31, 1.0) == (0.0, 1.0)
    assert gradient(1.31, -1.0) == (pytest.approx(1.31, rel=1e-4), 0.0)
    assert gradient(0.79, -1.0) == (0.0, 1.0)
    assert gradient(0.79, 1.0) == (pytest.approx(-0.79, rel=1e-4), 0.0)


def test_cispo_clips_the_weight_and_stops_no_token():
    """Its gradient by log p is -A clip(ratio), with either sign of A."""
    objective = Objective(surrogate="cispo", clip_low=0.2, clip_high=0.3)
    _, batch = random_batch(np.random.default_rng(0), b=1, n=1, t=1)
    for ratio, weight, clipped in ((0.5, 0.8, 1.0), (1.1, 1.1, 0.0), (2.0, 1.3, 1.0)):
        for advantage in (1.0, -1.0):
            given = batch._replace(advantages=np.full((1, 1, 1), advantage, np.float32))
            now = np.float32(batch.logprobs + np.log(ratio))
            (_, metrics), gradient = gradient_of(now, given, objective=objective)
            assert float(gradient.sum()) == pytest.approx(-advantage * weight, rel=1e-4)
            assert metrics["clip_fraction"] == clipped


def test_truncated_importance_sampling_by_hand():
    """Drawn with q, learned by p: a token weighs min(p / q, 2), however far they are apart."""
    p, q = np.log([[[0.3, 0.8, 0.1, 1.0]]]), np.log([[[0.6, 0.2, 0.1, 1e-30]]])
    expected = [[[0.5, 2.0, 1.0, 2.0]]]
    np.testing.assert_allclose(rollout_weights(p, q, 2.0), expected, rtol=1e-6)

    rollout = Rollout(
        tokens=np.zeros((1, 2, 4), np.int32),
        logprobs=np.float32(np.repeat(q, 2, 1)),
        mask=np.ones((1, 2, 4), bool),
        finished=np.ones((1, 2), bool),
    )
    now = np.float32(np.repeat(p, 2, 1))

    def gradient(**options):
        objective = Objective(advantages="centred", **options)
        given = Prompt(np.ones((1, 1), np.int32), np.ones((1, 1), bool))
        rewards = np.array([[1.0, 0.0]])
        batch, metrics = make_batch(
            given, rollout, rewards, None, objective=objective, logprobs=now
        )
        assert metrics["rollout_kl"] > 0
        return gradient_of(now, batch, objective=objective)[1]

    # Each of 2 x 4 tokens weighs 1/8, and its advantage is +- 1/2; the ratio to p itself is 1.
    sign = np.array([[[1.0], [-1.0]]])
    np.testing.assert_allclose(gradient(), -sign * np.ones(4) / 16, rtol=1e-5)
    np.testing.assert_allclose(
        gradient(rollout_cap=2.0), -sign * np.repeat(expected, 2, 1) / 16, rtol=1e-5
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_ratios_of_any_size_leave_loss_and_gradient_finite(name):
    """The old log-probabilities are 100 nats and more away, at one token and at all: the clip
    decides.
    """
    objective = VARIANTS[name]
    for away in (35.0, 89.0, 100.0, 1e4, 1e9, -35.0, -100.0, -1e9):
        for everywhere in (False, True):
            now, batch = random_batch(np.random.default_rng(0), off_policy=0.3)
            at = batch.mask if everywhere else batch.mask & (np.cumsum(batch.mask, -1) == 1)
            batch = batch._replace(logprobs=np.where(at, now - away, batch.logprobs))
            (loss, metrics), gradient = jax.device_get(gradient_of(now, batch, objective=objective))
            assert np.isfinite([loss, *metrics.values(), (gradient**2).sum()]).all(), away
            if (
                objective.surrogate == "ppo"
                and objective.ratio == "token"
                and not objective.kl_coef
            ):
                decided = at & (
                    (batch.advantages > 0) == (away > 0)
                )  # clipped: no gain for going on
                assert (gradient[decided] == 0).all()
                if (
                    away > 0
                ):  # what became far too likely is pushed down, the clip lets that through
                    assert (gradient[at & (batch.advantages < 0)] > 0).all()


def test_a_reference_of_any_distance_leaves_the_kl_finite_and_pulls():
    away = np.float32([35.0, 89.0, 100.0, 1e4, -35.0, -100.0, -1e9])
    now = np.full(7, -1.0, np.float32)
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(kl_k3)))(now, now + away)
    assert np.isfinite(np.r_[value, slope]).all()
    np.testing.assert_array_equal(
        np.sign(slope), -np.sign(away)
    )  # the gradient of k3 by log p is 1 - ref/p
    np.testing.assert_allclose(value[4:], -away[4:] - 1, rtol=1e-6)
    np.testing.assert_array_equal(slope[4:], 1.0)


def test_ordinary_ratios_are_not_touched():
    rng = np.random.default_rng(0)
    log_ratio = jnp.asarray(np.r_[rng.normal(0, 1, 1000), rng.uniform(-80, 30, 1000)], jnp.float32)
    np.testing.assert_array_equal(_bounded(log_ratio), log_ratio)
    np.testing.assert_array_equal(
        kl_k3(-log_ratio[:1000], 0.0), jnp.expm1(log_ratio[:1000]) - log_ratio[:1000]
    )


def test_k3_is_never_negative_and_estimates_the_kl():
    logits = np.random.default_rng(0).normal(size=(2, 7))
    p, q = np.float32(special.log_softmax(logits, axis=-1))
    drawn = np.random.default_rng(1).choice(7, 200_000, p=special.softmax(logits[0]))
    estimate = jax.jit(kl_k3)
    k3 = np.asarray(estimate(p, q), np.float64)[drawn]
    assert k3.min() >= 0 and estimate(p, p).max() == 0
    exact = (np.exp(p) * (p - q)).sum()
    assert abs(k3.mean() - exact) < 4 * k3.std() / np.sqrt(len(drawn))


def test_k1_in_the_reward_pushes_towards_the_reference():
    """A chain that the reference finds likelier than the policy does is worth more."""
    logprobs = np.full((1, 2, 3), -1.0, np.float32)
    reference = logprobs + np.float32([[[0.5], [0.0]]])
    everything = np.ones((1, 2, 3), bool)
    rollout = Rollout(np.int32(everything), logprobs, everything, everything[..., 0])
    prompt = Prompt(np.ones((1, 1), np.int32), np.ones((1, 1), bool))
    objective = Objective(advantages="centred", kl="k1", kl_coef=0.1)
    rewards = np.zeros((1, 2), np.float32)
    batch, _ = batch_of(prompt, rollout, rewards, reference, objective=objective)
    np.testing.assert_allclose(batch.advantages[0, :, 0], [0.075, -0.075], rtol=1e-5)


def test_padding_has_no_influence():
    now, batch = random_batch(np.random.default_rng(1), off_policy=0.3)
    noise = np.where(batch.mask, 0.0, np.float32(-80.0))
    loss_fn = functools.partial(gradient_of, objective=Objective(kl_coef=0.1))
    (loss, _), gradient = loss_fn(now, batch)
    (with_noise, _), noisy_gradient = loss_fn(now + noise, batch)
    assert loss == with_noise
    np.testing.assert_array_equal(noisy_gradient, gradient)
    assert (np.asarray(gradient)[~batch.mask] == 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"advantages": "std"},
        {"average": "mean"},
        {"ratio": "word"},
        {"surrogate": "reinforce"},
        {"kl": "k2"},
        {"clip_low": 0.0},
        {"clip_high": -1.0},
        {"kl_coef": -1.0},
        {"rollout_cap": -2.0},
        {"rollout_cap": float("nan")},
    ],
)
def test_options_are_checked(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Objective(**options)


def test_an_unknown_kind_is_refused_where_it_is_used():
    with pytest.raises(InputError, match="standardized"):
        group_advantages(jnp.ones((1, 2)), kind="standardized")
    with pytest.raises(InputError, match="squared_norms"):
        group_advantages(jnp.ones((1, 2)), kind="least_variance")
    with pytest.raises(InputError, match="tokens"):
        token_weights(jnp.ones((1, 1, 2), bool), "tokens")


@pytest.mark.parametrize("width", [1, 5])
def test_logprobs_of_completions_are_those_of_the_whole_text(params, cfg, width):
    """Read once and shared, the prompt gives the same as prompt and completion in one row; and so
    does generation.
    """
    rng = np.random.default_rng(0)
    prompt = pad_left([rng.integers(2, 20, n).astype(np.int32) for n in (3, 6)], 0, multiple=8)
    stop = compile_stop(_NoText(cfg.vocab_size))
    rollout = generate(
        params,
        jax.random.key(0),
        prompt,
        stop,
        cfg=cfg,
        sampler=Sampler(),
        max_new_tokens=width,
        num_samples=3,
    )
    score = jax.jit(functools.partial(completion_logprobs, cfg=cfg, chunk=4))
    ours = np.asarray(score(params, prompt, rollout.tokens))
    np.testing.assert_allclose(ours * rollout.mask, rollout.logprobs, atol=1e-5)
    heads = [tokens[mask] for tokens, mask in zip(*prompt, strict=True) for _ in range(3)]
    tails = np.asarray(rollout.tokens).reshape(6, width)
    rows, real = np.zeros((2, 6, 6 + width), np.int32)  # padded on the right
    for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        rows[row, : len(head) + width] = [*head, *tail]
        real[row, : len(head) + width] = 1
    positions = np.broadcast_to(np.arange(6 + width), rows.shape)
    whole = np.asarray(token_logprobs(params, rows, positions, real, cfg=cfg))
    for ours_of_one, scores, head in zip(ours.reshape(6, width), whole, heads, strict=True):
        of_tail = scores[len(head) : len(head) + width]
        np.testing.assert_allclose(ours_of_one, of_tail, atol=1e-5)


class _NoText:
    """A tokenizer of ids alone, of which 1 ends a text."""

    eos_token_id, added_tokens_decoder = 1, {}

    class backend_tokenizer:
        decoder = "ByteLevel"

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def convert_ids_to_tokens(self, ids):
        return ["a" for _ in ids]


# ---- rewards on the device

ANSWERS = ["63", "7", "108", "0"]
TEXTS = [
    "{a}",
    "#### {a}",
    "40+23=63\n#### {a}",
    "#### {a}{a}",
    "#### 1{a}",
    "#### {a}0",
    "####{a}1",
    "#### {a} 5",
    "#### -{a}",
    "####",
    "#### 5\n#### {a}",
    "#### {a}\n#### 5",
    "Wait\n#### {a}",
    "{a}=5\n#### 5",
    "#### {a} apples 4",
    "#### ",
    "",
    "#### {a}.5",
    "Tom has 17 apples",
]


def rollout_of(tokenizer, texts, length=24, num_problems=1):
    """The same texts for every problem."""
    ids = [
        tokenizer(text, add_special_tokens=False).input_ids + [tokenizer.eos_token_id]
        for text in texts
    ]
    mask = np.array([[t < len(row) for t in range(length)] for row in ids])
    tokens = np.array([(row + [0] * length)[:length] for row in ids], np.int32)
    finished = np.array([len(row) <= length for row in ids])
    of_one = (tokens, np.zeros(mask.shape, np.float32), mask, finished)
    return Rollout(*(np.repeat(x[None], num_problems, 0) for x in of_one))


def test_the_device_grades_as_text_is_graded(tokenizer):
    """Where the last line is ``#### `` and a number, as models write it, exactly; elsewhere the
    device only ever refuses more.
    """
    numbers = {a for answer in ANSWERS for a in (answer, "12", "1" + answer, answer + "0")}
    texts = sorted({text.format(a=a) for text in TEXTS for a in numbers})
    answers = [f" {answer}" for answer in ANSWERS]
    problems = encode_problems(tokenizer, ["Tom has"] * len(answers), answers)
    written = rollout_of(tokenizer, texts, num_problems=len(answers))
    ours = np.asarray(jax.jit(exact_match(tokenizer))(written, problems.answer)) > 0
    as_text = np.array([[is_correct(text, answer) for text in texts] for answer in ANSWERS])
    usual = np.array([re.search(r"(^|\n)#### (0|-?[1-9]\d*)$", text) is not None for text in texts])
    np.testing.assert_array_equal(ours[:, usual], as_text[:, usual])
    assert (as_text | ~ours).all()
    right = ours.sum(-1)
    assert usual.sum() > 20 and (right >= 4).all() and (right < usual.sum()).all()


def test_no_answer_without_mark_or_end(tokenizer):
    answer = encode_problems(tokenizer, ["Tom has"], [" 63"]).answer
    reward = jax.jit(exact_match(tokenizer))
    assert reward(rollout_of(tokenizer, ["63", "#### 63"]), answer).tolist() == [[0.0, 1.0]]
    cut = rollout_of(tokenizer, ["40+23=63\n#### 63"] * 14, length=14)
    lengths = np.arange(1, 15)[:, None]
    short = cut._replace(
        mask=cut.mask & (np.arange(14) < lengths), finished=np.zeros((1, 14), bool)
    )
    assert reward(short, answer).tolist() == [[0.0] * 14]


def test_a_substring_reward_pays_for_17_where_7_is_right(tokenizer):
    texts = ["#### 17", "#### 7", "#### 71", "1+6=8\n#### 8", "7*2=14\n#### 14"]
    answer = encode_problems(tokenizer, ["Tom has"], [" 7"]).answer
    written, found = rollout_of(tokenizer, texts), jax.jit(contains)
    assert found(written, answer).tolist() == [[1.0, 1.0, 1.0, 0.0, 1.0]]
    exact = jax.jit(exact_match(tokenizer))
    assert exact(written, answer).tolist() == [[0.0, 1.0, 0.0, 0.0, 0.0]]
    both = encode_problems(tokenizer, ["Tom has"] * 2, [" 63", " 636"]).answer
    twice = rollout_of(tokenizer, ["16 3", "1636", "63"], num_problems=2)
    assert found(twice, both).tolist() == [[0, 1, 1], [0, 1, 0]]


def test_equal_ids_are_equal_answers(tokenizer):
    """What stands between the last mark and the end; and who has none, has no vote."""
    texts = {
        "40+23=63\n#### 63": 0,
        "63": -1,
        "#### 7": 2,
        "1+6=7\n#### 7": 2,
        "####": -1,
        "####  ": -1,
        "#### 63": 0,
        "#### 5\n#### 7": 2,
        "#### 7 ": 8,
        "#### 123456789": -1,  # too long
        " 63": -1,
    }
    written = rollout_of(tokenizer, texts)
    ids = jax.jit(same_answers(tokenizer))
    assert ids(written)[0].tolist() == list(texts.values())
    cut = written._replace(finished=np.zeros((1, len(texts)), bool))
    assert ids(cut)[0].tolist() == [-1] * len(texts)


def test_the_vote_pays_the_most_frequent_answer():
    ids = np.array([[0, -1, 2, 2, -1], [0, 1, 0, 1, 4], [-1, -1, -1, 3, -1], [-1] * 5])
    paid = jax.jit(majority_vote)(ids)  # of equals the first; and nobody for no answer
    assert paid.tolist() == [[0, 0, 1, 1, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0] * 5]


# ---- probes: what the answer is, is known

PROBES = VARIANTS | {
    "least variance": Objective(advantages="least_variance"),
    "GSPO": Objective(ratio="sequence", clip_low=0.2, clip_high=0.3),
}  # at its own clip hundreds of small steps


@pytest.fixture(scope="module")
def noise():
    """Of 250 steps: with it the largest logit is a draw from their softmax (Gumbel-max)."""
    return np.float32(np.random.default_rng(0).gumbel(size=(250, 4, 16, 2, 6)))


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.optimised
def test_every_variant_learns_a_bandit(name, noise):
    """Two tokens out of six each; rewarded is 2, then 5: by chance 1 in 36."""
    objective, tx = PROBES[name], optax.adam(5e-2)
    prompt = Prompt(np.ones((4, 1), np.int32), np.ones((4, 1), bool))

    def loss_fn(logits, batch):
        scores = jnp.take_along_axis(
            jax.nn.log_softmax(logits), batch.tokens.reshape(-1, 2).T, axis=-1
        )
        return batch_loss(scores.T.reshape(batch.tokens.shape), batch, objective=objective)

    update = make_step(loss_fn, tx)

    def step(state, noise):
        tokens = jnp.argmax(state.params + noise, axis=-1)
        scores = jax.nn.log_softmax(state.params)[jnp.arange(2), tokens]
        everything = jnp.ones(tokens.shape, bool)
        rewards = ((tokens[..., 0] == 2) & (tokens[..., 1] == 5)).astype(jnp.float32)
        reference = jnp.full(tokens.shape, -jnp.log(6.0))
        rollout = Rollout(tokens, scores, everything, everything[..., 0])
        batch, metrics = make_batch(prompt, rollout, rewards, reference, objective=objective)
        state, _ = jax.lax.scan(lambda state, _: update(state, batch), state, None, 2)
        return state, metrics

    @jax.jit
    def run(noise):
        return jax.lax.scan(step, init_state(jnp.zeros((2, 6)), tx), noise)

    metrics = jax.device_get(run(noise)[1])
    assert metrics["reward"][:5].mean() < 0.1
    assert metrics["reward"][-20:].mean() > (0.85 if objective.kl_coef else 0.95)
    assert metrics["entropy"][-20:].mean() < metrics["entropy"][0] / 2


# ---- loops

NAMES, ANSWERS_OF = ["Tom", "Wait", "has", "apples"] * 2, ["5", "7", "2", "9"] * 2


@jax.jit
def copied(params):
    return jax.tree.map(jnp.copy, params)


@pytest.fixture(scope="module")
def small(tokenizer):
    cfg = DecoderConfig(len(tokenizer), 16, 16, 1, 2, 2, 8, 64)
    return LanguageModel(decoder.init(jax.random.key(0), cfg), cfg, tokenizer, "small", "")


@pytest.fixture(scope="module")
def problems(small):
    """Which token is right depends on the name in the prompt."""
    return encode_problems(small.tokenizer, NAMES, ANSWERS_OF)


def near(rollout, answer):
    """1 for the right token, less for one further away, next to nothing for all but digits."""
    return jnp.exp(-0.5 * jnp.abs(rollout.tokens[..., 0] - answer[:, None, 0]))


ANSWER_TO = dict(zip(NAMES, ANSWERS_OF, strict=True))


def near_as_text(prompt, text):
    if not text or ord(text[0]) >= 128:
        return 0.0
    return float(np.exp(-0.5 * abs(ord(text[0]) - ord(ANSWER_TO[prompt]))))


def text_update(model, tx, **options):
    return make_text_update(
        model, NAMES, near_as_text, tx=tx, num_samples=16, max_new_tokens=2, **options
    )


@contextlib.contextmanager
def no_large_constants():
    """Of more than 1000 bytes in one program: JAX warns of them, and a warning is an error here.

    So rollout, reference, update and merge have to take the weights as arguments, of which the
    smallest matrix is larger. Of a 0.5B model the constants of update and merge took 20.7 GB, where
    4.2 are enough.
    """
    usual = jax.config.jax_captured_constants_warn_bytes
    jax.config.update("jax_captured_constants_warn_bytes", 1000)
    try:
        yield
    finally:
        jax.config.update("jax_captured_constants_warn_bytes", usual)


def device_options(model, **more):
    stop = compile_stop(model.tokenizer)
    return dict(cfg=model.cfg, stop=stop, reward_fn=near, num_samples=16, max_new_tokens=2) | more


@pytest.fixture(scope="module")
def loop(small, problems):
    """A step, the same jitted, and what it starts from: on a device by name, as what is resumed is,
    so that both are one program.
    """
    tx = optax.adam(1e-2)
    options = device_options(small, epochs=2, minibatches=2, microbatches=2)
    step = make_grpo_step(tx=tx, objective=GRPO, reference=small.params, **options)

    def start():
        return jax.device_put(init_state(copied(small.params), tx), jax.devices()[0])

    return step, jax.jit(step), start


@pytest.mark.optimised
def test_a_scan_learns_the_answer_from_rewards_alone(loop, problems):
    """Over eight keys: where one run ends depends on its key and on the last bits of its gradients
    (0.60 to 0.74).
    """
    step, _, start = loop
    run = jax.jit(functools.partial(run_steps, step, num_steps=100, size=8))
    ends = []
    for seed in range(8):
        state, metrics = jax.device_get(run(start(), problems, jax.random.key(seed)))
        assert metrics["reward"][:2].mean() < 0.2 and state.step == 100
        ends.append(metrics["reward"][-10:].mean())
    # No answer that ignores the prompt earns more than 0.46.
    assert np.mean(ends) > 0.6 and min(ends) > 0.46


def test_seeds_trained_together_in_one_scan_take_the_steps_of_each_alone(loop, problems):
    step, jitted, start = loop
    run = functools.partial(run_steps, step, num_steps=2, size=8)
    keys = jax.vmap(jax.random.key)(np.arange(2))
    together, metrics = jax.device_get(
        jax.jit(jax.vmap(run, (None, None, 0)))(start(), problems, keys)
    )
    for seed, key in enumerate(keys):
        alone, batch_fn = start(), problem_batches(problems, key, 8)
        for i in range(2):
            alone, row = jitted(alone, batch_fn(i))
            for name, value in row.items():
                assert metrics[name][seed, i] == pytest.approx(float(value), abs=1e-4), name
        jax.tree.map(
            lambda a, b, seed=seed: np.testing.assert_allclose(a[seed], b, atol=1e-5),
            together,
            alone,
        )


def test_training_resumes_to_the_same_bits(loop, problems, tmp_path):
    _, jitted, start = loop
    batch_fn = problem_batches(problems, jax.random.key(1), 8)
    whole = fit(start(), jitted, batch_fn, 6, tmp_path / "whole")
    fit(start(), jitted, batch_fn, 3, tmp_path / "parts")
    parts = fit(start(), jitted, batch_fn, 6, tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, parts, whole)


def test_ppo_learns_it_too_and_its_critic_the_value(small, problems):
    tx = optax.adam(2e-2)
    step = make_ppo_step(tx=tx, **device_options(small, widths=((2, 1),)))
    run = jax.jit(functools.partial(run_steps, step, num_steps=80, size=8))
    start = init_state(init_critic(small.params), tx)
    metrics = jax.device_get(run(start, problems, jax.random.key(0))[1])
    assert metrics["reward"][-10:].mean() > 0.6
    assert metrics["value_explained"][-10:].mean() > 0.2 > metrics["value_explained"][0]


def test_rewards_of_texts_teach_lora(small):
    lora = init_lora(jax.random.key(0), small.params, 4, ("q", "v", "o", "up", "down", "gate"))
    tx = optax.adam(5e-2)
    update = text_update(small, tx, objective=Objective(), microbatches=2, lora_scale=2.0)
    batch_fn = text_batches(len(NAMES), jax.random.key(0), 8)
    state, rewards = init_state(lora, tx), []
    for step in range(60):
        with no_large_constants():
            state, metrics = update(state, batch_fn(step))
        rewards.append(float(metrics["reward"]))
    assert np.mean(rewards[-5:]) > 5 * np.mean(rewards[:2])


def test_chains_may_be_written_in_a_lower_arithmetic(small):
    tx, objective = optax.sgd(0.1), Objective(rollout_cap=2.0)
    update = text_update(small, tx, objective=objective, rollout_dtype="int8")
    start = init_state(copied(small.params), tx)
    state, metrics = update(start, (np.arange(8), jax.random.key(0)))
    assert 0 < metrics["rollout_kl"] < 0.01
    assert {x.dtype.name for x in jax.tree.leaves(state.params)} == {"float32"}
    with pytest.raises(InputError, match="'int4' is unknown"):
        text_update(small, tx, objective=objective, rollout_dtype="int4")


def test_problems_are_dealt_to_devices_by_the_length_of_their_prompts():
    """Prompts of 1..8 tokens for two devices: 1 4 5 8 and 2 3 6 7 by turns, in each as they were
    given; for one, as they were given.
    """
    lengths = np.array([3, 8, 1, 6, 2, 7, 5, 4])
    mask = np.arange(8) >= 8 - lengths[:, None]
    problems = Problems(Prompt(mask.astype(np.int32), mask), lengths[:, None])
    dealt = take(problems, 0, 8, parts=2).answer[:, 0]
    assert dealt.tolist() == [8, 1, 5, 4, 3, 6, 2, 7]
    assert take(problems, 0, 8).answer[:, 0].tolist() == lengths.tolist()
    np.testing.assert_array_equal(take(problems, 0, 8, parts=2).prompt.mask.sum(1), dealt)


def test_gae_by_hand():
    rewards, values = jnp.array([0.0, 0.0, 1.0, 9.0]), jnp.array([0.5, 0.2, 0.6, 9.0])
    mask = jnp.array([True, True, True, False])
    advantages, returns = gae(rewards, values, mask, discount=0.9, trace=0.8)
    last = 1 - 0.6
    middle = 0.9 * 0.6 - 0.2 + 0.72 * last
    first = 0.9 * 0.2 - 0.5 + 0.72 * middle
    np.testing.assert_allclose(advantages, [first, middle, last, 0], rtol=1e-6)
    np.testing.assert_allclose(returns, [first + 0.5, middle + 0.2, 1.0, 0], rtol=1e-6)
    monte_carlo, _ = gae(rewards, values, mask, trace=1.0)
    np.testing.assert_allclose(monte_carlo[:3], 1 - values[:3], rtol=1e-6)


def test_dynamic_sampling_keeps_the_groups_that_differ(small, problems):
    """Of eight problems two have different rewards; with keep=2 only those are learned from.

    A reward may be told several arrays of each problem; what is observed is logged of all problems.
    """
    tx = optax.sgd(0.1)
    told = problems._replace(answer=(problems.answer, np.arange(8.0)))

    def reward(rollout, told):
        differs = jnp.arange(rollout.tokens.shape[1]) % 2.0
        return jnp.where(told[0][:, :1] == problems.answer[2, 0], differs, 1.0)

    def observe(rollout, told):
        return {"place": told[1].mean()}

    options = device_options(small, reward_fn=reward, observe=observe, keep=2)
    step = jax.jit(make_grpo_step(tx=tx, objective=Objective(), **options))
    _, metrics = step(init_state(small.params, tx), (take(told, 3, 8), jax.random.key(0)))
    assert metrics["place"] == 3.5
    assert metrics["zero_variance"] == 0 and metrics["reward"] == 0.5
    assert metrics["solved"] == pytest.approx((6 + 2 * 0.5) / 8)


def test_parts_and_widths_change_what_a_step_costs_and_nothing_else(small):
    """Prompts of 3 to 9 tokens, chains of 1 to 5, as every other token ends one. Two of the four
    microbatches are cut to narrower arrays.
    """
    tx, lengths = optax.sgd(1.0), []
    next_state = np.zeros((small.cfg.vocab_size, 2), np.int32)
    next_state[::2], next_state[:, 1] = 1, 1
    given = encode_problems(
        small.tokenizer, ["Tom has " + "apples " * n for n in (1, 6, 2, 5, 0, 3, 6, 0)], ["1"] * 8
    )

    def reward(rollout, answer):  # by the chain's first token and length, so that groups differ
        jax.debug.callback(lambda mask: lengths.append(mask.sum(-1)), rollout.mask)
        return (rollout.tokens[..., 0] % 3 + rollout.mask.sum(-1) % 2).astype(jnp.float32)

    def run(**options):
        common = dict(
            cfg=small.cfg,
            stop=Stop(next_state),
            reward_fn=reward,
            num_samples=4,
            max_new_tokens=6,
            microbatches=4,
        )
        step = make_grpo_step(tx=tx, objective=DAPO, **common, **options)
        return jax.jit(step)(init_state(small.params, tx), (sorted_problems, jax.random.key(3)))

    by_length = np.argsort(given.prompt.mask.sum(-1), kind="stable")
    sorted_problems = jax.tree.map(
        lambda x: np.asarray(x)[by_length], given
    )  # in parts they are sorted; here already
    state, metrics = run()
    quick, quick_metrics = run(rollout_parts=4, widths=((6, 3),))
    longest = np.sort(np.max(lengths[0], axis=1)).reshape(4, 2).max(1)
    assert longest[1] <= 3 < longest[2]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), quick.params, state.params
    )
    for name, value in metrics.items():
        assert quick_metrics[name] == pytest.approx(float(value), abs=1e-4), name
    assert metrics["grad_norm"] > 0.01


def test_a_batch_is_cut_to_the_first_width_that_holds_it():
    """Its prompts begin behind their padding, its chains end before theirs."""

    def loss_fn(params, batch):
        prompt, mask = batch
        return params * mask.sum(), (prompt.tokens.shape[1], mask.shape[2])

    grad_fn, tokens = jax.jit(cut_grad(loss_fn, ((2, 1), (3, 3)))), np.ones((2, 4), np.int32)
    for prompt, chain, widths in (
        (1, 1, (2, 1)),
        (2, 2, (3, 3)),
        (3, 1, (3, 3)),
        (4, 1, (4, 4)),
        (1, 4, (4, 4)),
    ):
        real = np.arange(4) >= 4 - np.array([[1], [prompt]])
        mask = np.arange(4) < np.array([[[1], [1]], [[1], [chain]]])
        gradient, found = grad_fn(1.0, (Prompt(tokens, real), mask))
        assert found == widths and gradient == 3 + chain


def test_the_best_state_by_validation_is_kept_and_resumed(tmp_path):
    update = make_update(lambda p, x: ((p * x).sum(), {"loss": p.sum()}), tx := optax.sgd(1.0))
    scores = {0: 1.0, 1: 2.0, 2: 5.0, 3: 3.0, 4: 5.0}

    def validate(params):
        return scores[round(-float(params[0]) / 2)]

    def run(steps):
        state = init_state(jnp.zeros(1), tx)
        return fit_best(
            state, update, lambda _: jnp.ones(1), steps, tmp_path, validate=validate, every=2
        )

    run(4)
    best, last, found = run(8)
    assert float(best.params[0]) == -4.0 and int(best.step) == 4
    assert int(last.step) == 8
    assert found == [(2 * k, v) for k, v in scores.items()]
    with pytest.raises(InputError, match="num_steps is 5, every 2"):
        run(5)


def test_rewards_of_texts_take_the_same_step_and_resume_to_the_same_bits(small, problems, tmp_path):
    """The same problems, key and rewards: the loop over texts and the one on the device reach the
    same weights.
    """
    tx = optax.sgd(0.1)
    by_text = text_update(small, tx, objective=GRPO, microbatches=2)
    tokens = [
        next(i for i, piece in enumerate(token_bytes(small.tokenizer)) if piece == answer.encode())
        for answer in ANSWERS_OF
    ]
    assert problems.answer[:, 0].tolist() == tokens
    values = np.array(
        [
            [
                near_as_text(NAMES[i], piece.decode("latin1"))
                for piece in token_bytes(small.tokenizer)
            ]
            for i in range(8)
        ]
    )
    values[:, [small.tokenizer.pad_token_id, small.tokenizer.eos_token_id]] = (
        0.0  # special tokens are no text
    )

    def by_token(rollout, answer):
        return jnp.asarray(values, jnp.float32)[jnp.arange(8)[:, None], rollout.tokens[..., 0]]

    options = device_options(small, reward_fn=by_token, microbatches=2)
    on_device = jax.jit(make_grpo_step(tx=tx, objective=GRPO, reference=small.params, **options))
    key = jax.random.key(5)

    def start():  # on a device by name, as what is resumed is
        return jax.device_put(init_state(copied(small.params), tx), jax.devices()[0])

    with no_large_constants():
        theirs, text_metrics = by_text(start(), (np.arange(8), key))
    ours, metrics = on_device(start(), (problems, key))
    assert metrics["reward"] > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), theirs, ours)
    for name in ("reward", "zero_variance", "entropy", "grad_norm", "kl", "clip_fraction"):
        assert text_metrics[name] == pytest.approx(float(metrics[name]), abs=1e-5)

    batch_fn = text_batches(8, jax.random.key(0), 8)
    whole = fit(start(), by_text, batch_fn, 4, tmp_path / "whole")
    fit(start(), by_text, batch_fn, 2, tmp_path / "parts")
    jax.tree.map(
        np.testing.assert_array_equal, fit(start(), by_text, batch_fn, 4, tmp_path / "parts"), whole
    )


def test_a_captured_matrix_is_seen():
    matrix = jnp.ones((16, 17))
    with no_large_constants(), pytest.raises(UserWarning, match="constants were captured"):
        jax.jit(lambda x: x @ matrix)(np.ones((2, 16), np.float32))


def test_weights_are_arguments_and_no_constants(small):
    """Of LoRA with a KL; other tests of rewards of texts see it of LoRA alone, and of all weights
    with a KL and without.
    """
    assert min(x.nbytes for x in jax.tree.leaves(small.params) if x.ndim > 2) >= 1024
    tx = optax.sgd(0.1)
    update = text_update(small, tx, objective=GRPO, lora_scale=2.0)
    lora = init_lora(jax.random.key(0), small.params, 2)
    with no_large_constants():
        _, metrics = update(init_state(lora, tx), (np.arange(8), jax.random.key(0)))
    assert "grad_norm" in metrics  # it was learned from


def test_each_pass_over_the_problems_sees_each_once():
    batch_fn = text_batches(10, jax.random.key(0), 4)
    drawn = np.concatenate([batch_fn(step)[0] for step in range(5)])
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10].tolist() != drawn[10:].tolist()


# ---- what goes wrong

FINE = {
    "zero_variance": 0.2,
    "truncated": 0.0,
    "reward": 0.5,
    "entropy": 0.3,
    "clip_fraction": 0.01,
}


@pytest.mark.parametrize(
    ("symptoms", "advice"),
    [
        ({"truncated": 1.0, "reward": 0.0}, "max_new_tokens"),
        ({"reward": 0.0}, "easier"),
        ({"reward": 1.0}, "harder"),
        ({"reward": 0.5, "entropy": 0.0}, "entropy"),
    ],
)
def test_training_without_a_signal_stops_and_says_why(symptoms, advice):
    watch = Watch(patience=3)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        watch(FINE | symptoms | {"zero_variance": 1.0})
        watch(FINE)  # a signal: counting starts anew
        watch(FINE | symptoms | {"zero_variance": 1.0})
        watch(FINE | symptoms | {"zero_variance": 1.0})
        with pytest.raises(NothingToLearn, match=advice):
            watch(FINE | symptoms | {"zero_variance": 1.0})


@pytest.mark.parametrize(
    ("symptoms", "advice"),
    [({"truncated": 0.8}, "cut off"), ({"clip_fraction": 0.5}, "learning rate")],
)
def test_a_bad_sign_is_said_once(symptoms, advice):
    watch = Watch()
    with pytest.warns(RuntimeWarning, match=advice):
        watch(FINE | symptoms)
    watch(FINE | symptoms)  # a second warning would be an error here


def test_a_loop_without_a_signal_is_stopped(tmp_path):
    def update(state, _):
        return state._replace(step=state.step + 1), FINE | {
            "loss": 0.0,
            "zero_variance": 1.0,
            "reward": 0.0,
        }

    state, watch = init_state(jnp.zeros(1), optax.sgd(0.1)), Watch(patience=4)
    with pytest.warns(RuntimeWarning), pytest.raises(NothingToLearn, match="no chain is right"):
        fit(state, update, lambda step: None, 10, tmp_path, log_every=1, check=watch)
    assert watch.silent == 4


def test_a_reward_that_is_no_number_is_refused(small):
    update = make_text_update(
        small,
        NAMES,
        lambda prompt, text: float("nan"),
        tx=optax.sgd(0.1),
        objective=Objective(),
        num_samples=16,
        max_new_tokens=2,
    )
    with pytest.raises(InputError, match="finite"):
        update(init_state(small.params, optax.sgd(0.1)), (np.arange(8), jax.random.key(0)))


def test_equal_rewards_of_different_lengths_teach_to_be_short(small):
    """All chains are worth nothing; one that is cut off is worth less, and the update is not
    skipped.
    """
    update = make_text_update(
        small,
        NAMES,
        lambda prompt, text: 0.0,
        tx=optax.sgd(0.1),
        objective=Objective(overlong=2),
        num_samples=16,
        max_new_tokens=2,
    )
    state = init_state(copied(small.params), optax.sgd(0.1))
    with no_large_constants():
        _, metrics = update(state, (np.arange(8), jax.random.key(2)))  # one chain ends at once
    assert metrics["zero_variance"] < 1 and metrics["grad_norm"] > 0


def test_a_kl_needs_a_reference(small):
    for make in (make_grpo_step, make_ppo_step):
        with pytest.raises(InputError, match="reference"):
            make(tx=optax.sgd(0.1), objective=GRPO, **device_options(small))


def test_what_ppo_would_leave_out_is_refused(small):
    for objective in (RLOO, Objective(overlong=4)):
        with pytest.raises(InputError, match="critic"):
            make_ppo_step(
                tx=optax.sgd(0.1),
                objective=objective,
                reference=small.params,
                **device_options(small),
            )


def test_a_step_that_cannot_be_taken_is_refused(small, problems):
    options = device_options(small, tx=optax.sgd(0.1), objective=Objective())
    with pytest.raises(InputError, match="minibatches"):
        make_grpo_step(**options, rollout_parts=2, minibatches=2)
    step = make_grpo_step(**options | {"max_new_tokens": 64})
    with pytest.raises(InputError, match="expected at most 64, the context"):
        step(init_state(small.params, optax.sgd(0.1)), (problems, jax.random.key(0)))
