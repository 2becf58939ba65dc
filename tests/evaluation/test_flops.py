"""FLOPs against sums over tokens, and those that the compiler counts."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.evaluation.flops import forward_flops, reading_flops, rollout_flops, search_flops
from jaxreason.models.decoder import DecoderConfig, forward, init

TOY = SimpleNamespace(
    vocab_size=11,
    hidden_size=6,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=5,
    intermediate_size=7,
)


def matmul_flops(rows, inner, columns):
    return 2 * rows * inner * columns


def test_forward_flops_counts_every_matmul():
    context = 9
    layer = (
        matmul_flops(1, 6, 20)  # queries: 4 heads of 5
        + 2 * matmul_flops(1, 6, 10)  # keys and values: 2 heads of 5
        + 4 * matmul_flops(1, 5, context)  # scores, in each head
        + 4 * matmul_flops(1, context, 5)  # mixed values, in each head
        + matmul_flops(1, 20, 6)  # output
        + 2 * matmul_flops(1, 6, 7)  # gate and up
        + matmul_flops(1, 7, 6)  # down
    )
    assert forward_flops(TOY, context) == 3 * layer + matmul_flops(1, 6, 11)


def test_forward_flops_takes_arrays_and_does_not_overflow():
    contexts = np.array([[1, 2], [3, 4]])
    expected = [[forward_flops(TOY, int(context)) for context in row] for row in contexts]
    np.testing.assert_array_equal(forward_flops(TOY, contexts), expected)
    assert forward_flops(TOY, 10**18) == pytest.approx(3 * 4 * 20 * 1e18)


def test_rollout_flops_is_a_sum_over_tokens():
    logits = matmul_flops(1, 6, 11)
    prompts, lengths = np.array([4, 1]), np.array([[3, 1, 0], [2, 6, 1]])
    expected = []
    for prompt, chains in zip(prompts, lengths, strict=True):
        # one shared prefill with logits at its last token, which yields every chain's first token
        total = (
            sum(forward_flops(TOY, context) - logits for context in range(1, prompt + 1)) + logits
        )
        for length in chains:
            total += sum(forward_flops(TOY, prompt + step) for step in range(1, length))
        expected.append(total)
    np.testing.assert_allclose(rollout_flops(TOY, prompts, lengths), expected, rtol=1e-12)
    assert rollout_flops(TOY, 4, lengths[0]) == pytest.approx(expected[0], rel=1e-12)


def test_rollout_flops_refuses_lengths_that_do_not_match():
    with pytest.raises(InputError, match="last axis"):
        rollout_flops(TOY, np.array([3, 4]), np.array([5, 6]))
    with pytest.raises(InputError, match="shortest"):
        rollout_flops(TOY, 0, np.array([5]))


def test_reading_flops_is_a_sum_over_tokens_without_logits():
    def body(context):
        return forward_flops(TOY, context) - matmul_flops(1, 6, 11)

    prompts, lengths = np.array([4, 1]), np.array([[3, 0], [2, 6]])
    expected = [
        sum(map(body, range(1, prompt + 1)))
        + sum(body(prompt + t) for n in row for t in range(1, n + 1))
        for prompt, row in zip(prompts.tolist(), lengths.tolist(), strict=True)
    ]
    np.testing.assert_allclose(reading_flops(TOY, prompts, lengths), expected, rtol=1e-12)


def test_search_flops_bound_those_of_the_tree():
    """A root with two lines of 3 and 2 tokens, and one of 4 behind the first."""
    prompt, logits = 5, matmul_flops(1, 6, 11)
    segments = [(0, 3), (0, 2), (3, 4)]  # start behind the prompt, length
    prefill = sum(forward_flops(TOY, t) - logits for t in range(1, prompt + 1))
    exact = sum(
        forward_flops(TOY, prompt + start + t) for start, n in segments for t in range(1, n + 1)
    )
    ours = search_flops(TOY, prompt, 9, 7)
    assert ours == prefill + logits + 9 * forward_flops(
        TOY, prompt + 7
    )  # all at the end of the longest path
    assert prefill + exact < ours < 1.2 * (prefill + exact)
    assert search_flops(TOY, prompt, 9, 7, logits=False) == ours - 10 * logits
    assert search_flops(TOY, np.array([5, 6]), np.array([9, 9]), np.array([7, 7]))[0] == ours


def test_forward_flops_are_those_that_xla_counts():
    """Its own account of a compiled pass, in which every token attends to all columns; norms and
    rotations are the rest.
    """
    cfg = DecoderConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=128,
    )
    length = 96
    tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)
    params = jax.eval_shape(lambda: init(jax.random.key(0), cfg))
    compiled = (
        jax.jit(lambda p, t: forward(p, t, jnp.arange(length)[None], cfg=cfg)[0])
        .lower(params, tokens)
        .compile()
    )
    counted = compiled.cost_analysis()["flops"]
    assert length * forward_flops(cfg, length) == pytest.approx(counted, rel=0.06)
