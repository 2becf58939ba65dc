"""Supervised fine-tuning: packing loses nothing, and the loss is the formula."""

import jax
import numpy as np
import pytest
from scipy import special

from jaxreason.models import decoder
from jaxreason.training import sft
from jaxreason.training.sft import Document, pack, sft_loss


def sequences(seed, lengths, vocab=50):
    rng = np.random.default_rng(seed)
    return [
        Document(
            rng.integers(2, vocab, n).astype(np.int32),
            rng.choice([0.0, 1.0, 4.0], n).astype(np.float32),
        )
        for n in lengths
    ]


def unpack(batch):
    """Documents of a batch, read off the segment ids alone."""
    return [
        (
            row,
            ids[segment == s],
            weights[segment == s],
            positions[segment == s],
            np.flatnonzero(segment == s),
        )
        for row, (ids, segment, weights, positions) in enumerate(
            zip(batch.tokens, batch.segment_ids, batch.weights, batch.positions, strict=True)
        )
        for s in range(1, segment.max() + 1)
    ]


def test_pack_by_hand():
    documents = [Document(np.full(n, n), np.full(n, 0.5)) for n in (4, 3, 2, 7, 1, 6)]
    batch = pack(iter(documents), rows=2, length=6, pad_id=9)
    # 4 opens row 0, 3 opens row 1, 2 fills row 0, 7 is longer than a row, 1 joins row 1, 6 fits
    # nowhere: the end.
    assert batch.tokens.tolist() == [[4, 4, 4, 4, 2, 2], [3, 3, 3, 1, 9, 9]]
    assert batch.segment_ids.tolist() == [[1, 1, 1, 1, 2, 2], [1, 1, 1, 2, 0, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 0, 1], [0, 1, 2, 0, 0, 0]]
    assert batch.weights.tolist() == [[0.5] * 6, [0.5] * 4 + [0.0] * 2]


@pytest.mark.parametrize("seed", range(20))
def test_no_document_is_split_or_lost(seed):
    rng = np.random.default_rng(seed)
    documents = sequences(seed, rng.integers(1, 40, 60))
    taken = []

    def stream():
        for document in documents:
            taken.append(document)
            yield document

    batch = pack(stream(), rows=4, length=32, pad_id=0)
    found = unpack(batch)
    expected = [d for d in taken if len(d.tokens) <= 32]
    if len(taken) < len(documents):
        expected.pop()  # the one that fitted nowhere ended the batch
    tokens = sorted(ids.tolist() for _, ids, *_ in found)
    assert tokens == sorted(d.tokens.tolist() for d in expected)
    weight_of = {tuple(d.tokens): d.weights.tolist() for d in expected}
    for _, ids, weights, positions, where in found:
        assert weights.tolist() == weight_of[tuple(ids)]
        assert positions.tolist() == list(range(len(ids)))
        assert (np.diff(where) == 1).all()  # in one piece
    padding = batch.segment_ids == 0
    assert (batch.tokens[padding] == 0).all() and (batch.weights[padding] == 0).all()


def test_too_few_documents_leave_padding():
    batch = pack(sequences(0, [3]), rows=2, length=5, pad_id=0)
    assert batch.segment_ids.tolist() == [[1, 1, 1, 0, 0], [0] * 5]


def test_loss_by_hand(monkeypatch):
    """A bigram table instead of a decoder, two documents in one row; the first token of each is
    predicted by nothing.
    """
    table = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)
    monkeypatch.setattr(
        sft, "forward", lambda params, tokens, positions, **_: (params[tokens], None)
    )
    batch = sft.Batch(
        tokens=np.array([[1, 2, 3, 4, 0, 2, 0, 0]]),
        positions=np.array([[0, 1, 2, 0, 1, 2, 0, 0]]),
        segment_ids=np.array([[1, 1, 1, 2, 2, 2, 0, 0]]),
        weights=np.float32([[1.0, 0.0, 2.0, 3.0, 4.0, 1.0, 0.0, 0.0]]),
    )
    loss, metrics = jax.jit(sft_loss, static_argnames="cfg")(table, batch, cfg=None)
    logp = special.log_softmax(table.astype(np.float64), axis=-1)
    expected = -(2 * logp[2, 3] + 4 * logp[4, 0] + 1 * logp[0, 2]) / 7
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], loss)
    hits = [table[a].argmax() == b for a, b in ((2, 3), (4, 0), (0, 2))]
    np.testing.assert_allclose(metrics["token_accuracy"], np.mean(hits))


def test_prompt_tokens_are_no_targets(monkeypatch):
    """The gradient reaches the logits before completion tokens only, and equals (softmax - one-hot)
    weight / total.
    """
    logits = np.random.default_rng(1).normal(size=(1, 6, 4)).astype(np.float32)
    monkeypatch.setattr(sft, "forward", lambda params, tokens, positions, **_: (params, None))
    tokens = np.array([[1, 2, 3, 0, 1, 2]])
    weights = np.array([[0, 0, 0, 1, 1, 0]], np.float32)
    batch = sft.Batch(tokens, np.arange(6)[None], np.ones((1, 6), int), weights)
    gradient = jax.jit(jax.grad(lambda x: sft_loss(x, batch, cfg=None)[0]))(logits)
    expected = np.zeros_like(logits)
    for t in (2, 3):
        expected[0, t] = (special.softmax(logits[0, t]) - np.eye(4)[tokens[0, t + 1]]) / 2
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_loss_does_not_depend_on_the_packing(params, cfg):
    documents = sequences(3, [5, 9, 4, 6, 1, 8], vocab=cfg.vocab_size)
    loss = jax.jit(sft_loss, static_argnames="cfg")
    together = pack(documents, rows=2, length=24, pad_id=0)
    assert (together.segment_ids.max(-1) > 1).any()
    reverse = pack(documents[::-1], rows=2, length=24, pad_id=7)
    apart = [np.concatenate(x) for x in zip(*(pack([d], 1, 24, 0) for d in documents), strict=True)]
    np.testing.assert_allclose(
        [loss(params, b, cfg=cfg)[0] for b in (reverse, sft.Batch(*apart))],
        [loss(params, together, cfg=cfg)[0]] * 2,
        rtol=1e-5,
    )


def test_what_the_prompt_says_still_conditions_the_loss(params, cfg):
    tokens = np.arange(5, 11, dtype=np.int32)[None]
    batch = sft.Batch(
        tokens, np.arange(6)[None], np.ones((1, 6), int), np.array([[0, 0, 0, 1.0, 1.0, 1.0]])
    )
    other = batch._replace(tokens=np.where(np.arange(6) == 1, 40, tokens).astype(np.int32))
    losses = [
        jax.jit(sft_loss, static_argnames="cfg")(params, b, cfg=cfg)[0] for b in (batch, other)
    ]
    logits, _ = jax.jit(decoder.forward, static_argnames="cfg")(
        params, tokens, batch.positions, cfg=cfg
    )
    logp = special.log_softmax(np.asarray(logits[0], np.float64), axis=-1)
    np.testing.assert_allclose(
        losses[0], -np.mean([logp[t, tokens[0, t + 1]] for t in (2, 3, 4)]), rtol=1e-5
    )
    assert losses[0] != losses[1]


def test_a_batch_of_padding_has_loss_0(monkeypatch):
    monkeypatch.setattr(
        sft, "forward", lambda params, tokens, positions, **_: (params[tokens], None)
    )
    batch = pack([], rows=1, length=6, pad_id=0)
    loss_fn = jax.jit(jax.value_and_grad(lambda p: sft_loss(p, batch, cfg=None)[0]))
    value, gradient = loss_fn(np.ones((5, 5), np.float32))
    assert value == 0 and (gradient == 0).all()
