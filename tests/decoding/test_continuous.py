"""Continuous batching: a chain is what it would be alone, whenever and wherever it runs; every
prompt is read once; no row is left empty.
"""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import assert_same_bits, random_params

from jaxreason.decoding import continuous
from jaxreason.decoding.continuous import CHUNK, generate_queue
from jaxreason.decoding.rollout import generate
from jaxreason.decoding.sampling import Sampler
from jaxreason.decoding.stop import Stop
from jaxreason.models.cache import unstack
from jaxreason.models.tokens import pad_left

T, N = 21, 4  # no multiple of CHUNK
LENGTHS = (5, 11, 2, 9, 30, 3, 7)


@pytest.fixture(scope="module")
def cfg(cfg):
    """One layer: how deep the model is does not matter here."""
    return dataclasses.replace(cfg, num_hidden_layers=1)


@pytest.fixture(scope="module")
def params(cfg):
    return random_params(cfg)


@pytest.fixture(scope="module")
def prompts(cfg):
    rng = np.random.default_rng(0)
    return [rng.integers(2, cfg.vocab_size, n).astype(np.int32) for n in LENGTHS]


@pytest.fixture(scope="module")
def stop(cfg):
    """Stops at every 13th token id, so that chains end at different times."""
    next_state = np.zeros((cfg.vocab_size, 2), np.int32)
    next_state[::13], next_state[:, 1] = 1, 1
    return Stop(next_state)


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(5), (len(LENGTHS), N))


@pytest.fixture(scope="module")
def options(cfg):
    return {"cfg": cfg, "sampler": Sampler(1.5), "max_new_tokens": T}


@pytest.fixture(scope="module")
def together(params, keys, prompts, stop, options):
    """All chains in one batch that ends with the longest."""
    found = generate(params, keys, pad_left(prompts, 0), stop, num_samples=N, **options)
    found = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), jax.device_get(found))
    lengths = found.mask.sum(-1)
    assert lengths.min() < CHUNK < lengths.max() == T and 0 < found.finished.mean() < 1
    return found


@pytest.fixture(scope="module")
def queue(params, keys, prompts, stop, options):
    """All chains in the order of their numbers, as they come out of the queue."""

    def run(keys=keys, prompts=prompts, rows=6, **more):
        number, parts = [], []
        for chains, rollout in generate_queue(
            params,
            keys,
            prompts,
            stop,
            rows=rows,
            layers=unstack(params)["layers"],
            **{**options, "multiple": 8, **more},
        ):
            number.append(chains)
            parts.append(rollout)
        order = np.argsort(np.concatenate(number))
        assert len(set(np.concatenate(number))) == len(order)
        return jax.tree.map(lambda *x: np.concatenate(x)[order], *parts)

    return run


def assert_same_chains(found, expected):
    for name in ("tokens", "mask", "finished"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 6, 100])
def test_chains_are_those_of_one_batch_whatever_the_rows(queue, together, rows):
    assert_same_chains(queue(rows=rows), together)


@pytest.mark.parametrize("multiple", [8, 32])
def test_a_chain_is_the_same_whenever_it_runs(queue, prompts, keys, multiple):
    """With the prompts in another order, and with half of the chains left out, a chain runs beside
    others, at another time and in another row. Where all rows keep their width, 32 + T slots, its
    log-probabilities are the same bit for bit; narrower rows sum in another order.
    """
    same = assert_same_bits if multiple == 32 else assert_same_chains
    first = queue(multiple=multiple)
    order = np.array([3, 6, 0, 5, 4, 2, 1])
    other = queue(keys=keys[order], prompts=[prompts[g] for g in order], multiple=multiple)
    of_other = (order[:, None] * N + np.arange(N)).reshape(-1)
    same(other, jax.tree.map(lambda x: x[of_other], first))
    half = queue(chains=np.arange(1, len(of_other), 2), multiple=multiple)
    same(half, jax.tree.map(lambda x: x[1::2], first))


@pytest.mark.parametrize("limit", [1, CHUNK])
def test_any_limit(queue, together, limit):
    cut = jax.tree.map(lambda x: x[:, :limit] if x.ndim > 1 else x, together)
    found = queue(max_new_tokens=limit)
    np.testing.assert_array_equal(found.tokens, cut.tokens)
    np.testing.assert_array_equal(found.mask, cut.mask)
    np.testing.assert_array_equal(
        found.finished, together.finished & ~together.mask[:, limit:].any(1)
    )


def test_every_prompt_is_read_once_and_programs_are_few(queue, monkeypatch):
    """Though its four chains are admitted one by one. When the long prompt is done, rows narrow."""
    read, widths = [], []
    prefill, drop = continuous.prefill, continuous.drop_slots

    def counted(params, prompt, **options):
        read.extend(np.asarray(prompt.tokens)[prompt.mask].tolist())
        return prefill(params, prompt, **options)

    def dropped(rows, count):
        widths.append(rows.cache.prefix_mask.shape[1] - count)
        return drop(rows, count)

    monkeypatch.setattr(continuous, "prefill", counted)
    monkeypatch.setattr(continuous, "drop_slots", dropped)
    before = continuous.draw_chunk._cache_size()
    queue(rows=7)
    assert len(read) == sum(LENGTHS)
    assert widths == [16 + 24]  # 32 of prompts at first; 8 fewer in the end are not worth a program
    assert continuous.draw_chunk._cache_size() == before + 1 + len(widths)


def test_no_row_waits_for_the_longest_chain(queue, together, monkeypatch):
    """28 chains in 7 rows: the chunks drawn are little more than those that the chains need."""
    calls, draw_chunk = [], continuous.draw_chunk
    monkeypatch.setattr(
        continuous, "draw_chunk", lambda *a, **k: calls.append(1) or draw_chunk(*a, **k)
    )
    queue(rows=7)
    chunks = -(-together.mask.sum(-1) // CHUNK)
    by_batch = chunks.reshape(-1, 7).max(1).sum()  # one batch of 7 after the other
    assert chunks.sum() / 7 <= len(calls) <= chunks.sum() / 7 + chunks.max() < by_batch + 4


def test_the_last_chains_go_on_in_a_quarter_of_the_rows(queue, together, monkeypatch):
    monkeypatch.setattr(continuous, "SHRINK_FROM", T)
    rows, draw_chunk = [], continuous.draw_chunk

    def counted(params, state, *more, **options):
        rows.append(len(state.age))
        return draw_chunk(params, state, *more, **options)

    monkeypatch.setattr(continuous, "draw_chunk", counted)
    assert_same_chains(queue(rows=28), together)
    assert rows[0] == 28 and rows[-1] == 7
