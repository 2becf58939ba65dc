"""Confidence of chains against plain loops, and rules checked by hand."""

import jax
import numpy as np
import pytest
from conftest import random_params

from jaxreason.answers import confidence
from jaxreason.decoding.confidence import text_confidence
from jaxreason.errors import InputError
from jaxreason.models.decoder import forward

WINDOW = 3


@pytest.fixture(scope="module")
def chains():
    """Confidence of tokens ``[4, 6]``, with anything at all behind the end of chains."""
    rng = np.random.default_rng(0)
    lengths = np.array([6, 4, 3, 1])
    mask = np.arange(6) < lengths[:, None]
    return np.where(mask, rng.random((4, 6)), 99.0).astype(np.float32), mask


def test_groups_are_means_of_the_last_tokens(chains):
    values, mask = chains
    groups = np.asarray(confidence.group_confidence(values, mask, WINDOW))
    lowest = np.asarray(confidence.lowest_group(values, mask, WINDOW))
    tail = np.asarray(confidence.tail_confidence(values, mask, WINDOW))
    mean = np.asarray(confidence.mean_confidence(values, mask))
    for i, row in enumerate(values):
        chain = row[mask[i]]
        plain = [chain[max(0, t - WINDOW + 1) : t + 1].mean() for t in range(len(chain))]
        np.testing.assert_allclose(groups[i, : len(chain)], plain, rtol=1e-5)
        assert lowest[i] == pytest.approx(min(plain[min(WINDOW, len(chain)) - 1 :]), rel=1e-5)
        assert tail[i] == pytest.approx(plain[-1], rel=1e-5)
        assert mean[i] == pytest.approx(chain.mean(), rel=1e-5)


def test_weights_by_confidence_and_by_rank():
    scores = np.array([[3.0, 5.0, 1.0, 5.0]])
    np.testing.assert_array_equal(confidence.confident_weights(scores, 0.5), [[0, 5, 0, 5]])
    np.testing.assert_array_equal(confidence.confident_weights(scores, 0.1), [[0, 5, 0, 0]])
    np.testing.assert_array_equal(confidence.borda_weights(scores, 2.0), [[4, 16, 1, 9]])
    np.testing.assert_array_equal(confidence.borda_weights(scores, 0.0), np.ones((1, 4)))


def test_unsure_chains_stop_at_their_first_group_below_the_threshold():
    """Two chains warm up; the threshold at keep = 0.5 is the mean of their lowest groups, 3."""
    values = np.array(
        [[[2, 2, 2, 2], [4, 4, 4, 4], [5, 5, 0, 5], [3, 3, 3, 3], [0, 9, 0, 0]]], np.float32
    )
    mask = np.ones(values.shape, bool)
    mask[0, 4, 1:] = False  # shorter than a group: never stopped
    stopped = confidence.stop_unsure(values, mask, window=2, warmup=2, keep=0.5)
    np.testing.assert_array_equal(stopped.num_tokens, [[4, 4, 3, 4, 1]])
    np.testing.assert_array_equal(stopped.kept, [[False, True, False, True, True]])


def test_bad_options_are_named():
    ones = np.ones((1, 4, 3))
    for call in (
        lambda: confidence.group_confidence(ones, ones > 0, 0),
        lambda: confidence.confident_weights(ones[0], 0.0),
        lambda: confidence.stop_unsure(ones, ones > 0, 1, 5, 0.5),
        lambda: confidence.stop_unsure(ones, ones > 0, 1, 2, 1.0),
    ):
        with pytest.raises(InputError, match="expected"):
            call()


def test_text_confidence_is_that_of_the_models_own_probabilities(model):
    """Against the logits of each whole text, read alone without a cache."""
    model = model._replace(params=random_params(model.cfg))
    prompts, texts = ["Q: 1+2", "Q: 11+4+3"], [["3\n#### 3", "4"], ["15", "1\n2"]]
    found = text_confidence(model, prompts, texts, k=5)
    read = jax.jit(lambda ids: forward(model.params, ids, np.arange(32)[None], cfg=model.cfg)[0])
    for g, prompt in enumerate(prompts):
        for n, text in enumerate(texts[g]):
            head, tail = (
                model.tokenizer(t, add_special_tokens=False).input_ids
                for t in (prompt, text + model.tokenizer.eos_token)
            )
            ids = np.zeros((1, 32), np.int32)
            ids[0, : len(head + tail)] = head + tail
            logits = np.asarray(read(ids))[0, len(head) - 1 : len(head + tail) - 1]
            logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            top = np.sort(logprobs)[:, -5:]
            mask = found.mask[g, n]
            assert mask.sum() == len(tail) and mask[: len(tail)].all()
            np.testing.assert_allclose(found.top_k[g, n][mask], -top.mean(-1), atol=1e-4)
            kl = (-np.log(logits.shape[-1]) - logprobs).mean(-1)  # sum of u log(u / p)
            np.testing.assert_allclose(found.self_certainty[g, n][mask], kl, atol=1e-4)
