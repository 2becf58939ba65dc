import json
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxreason.errors import InputError
from jaxreason.evaluation.flops import forward_flops, reading_flops, rollout_flops, search_flops
from jaxreason.evaluation.intervals import (
    Interval,
    accuracy,
    auc,
    mean_interval,
    paired_difference,
    wilson,
)
from jaxreason.evaluation.results import Results
from jaxreason.models.decoder import DecoderConfig, forward, init

# --- intervals
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n", "confidence"), [(0, 10, 0.95), (7, 10, 0.95), (430, 500, 0.99)]
)
def test_wilson_is_the_textbook_formula(successes, n, confidence):
    p, z = successes / n, stats.norm.ppf((1 + confidence) / 2)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    interval = wilson(successes, n, confidence)
    assert interval == pytest.approx((p, centre - half, centre + half, n))


def test_accuracy_is_wilson_of_the_right_problems():
    assert accuracy(np.arange(20) < 13) == wilson(13, 20)


@pytest.mark.parametrize(
    "correct", [np.ones((3, 2), bool), np.array([0.5, 1.0]), np.array([1.0, np.nan])]
)
def test_accuracy_refuses_anything_but_one_outcome_per_problem(correct):
    with pytest.raises(InputError, match="expected one bool per problem"):
        accuracy(correct)


@pytest.mark.parametrize("arguments", [(1, 0), (3, 2), (-1, 2), (1.5, 2), (1, 2, 1.0), (1, 2, 95)])
def test_wilson_refuses_impossible_counts(arguments):
    with pytest.raises(InputError):
        wilson(*arguments)


def test_bootstrap_agrees_with_the_normal_interval_of_a_large_sample():
    values = np.random.default_rng(0).random(1000)
    interval = mean_interval(values)
    half = 1.96 * values.std() / math.sqrt(1000)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.05 * half)
    assert interval.n == 1000


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    # pass@1 of 80 problems from 8 chains
    samples = np.random.default_rng(1).binomial(8, 0.3, (300, 80)) / 8
    intervals = [mean_interval(values, confidence=0.9, num_resamples=500) for values in samples]
    covered = np.mean([low <= 0.3 <= high for _, low, high, _ in intervals])
    assert 0.85 < covered < 0.95  # 0.9, three standard errors of 300 trials being 0.052


def test_bootstrap_is_reproducible_and_does_not_depend_on_the_chunks():
    values = np.random.default_rng(2).random(5000)  # 209 resamples fill a chunk
    interval = mean_interval(values, num_resamples=500, seed=3)
    assert interval == mean_interval(values, num_resamples=500, seed=3)
    assert interval != mean_interval(values, num_resamples=500, seed=4)
    rng = np.random.default_rng(3)
    means = [values[rng.integers(0, 5000, 5000, np.int32)].mean() for _ in range(500)]
    low, high = np.quantile(means, [0.025, 0.975])
    assert interval[1:3] == pytest.approx((low, high), rel=1e-12)


def test_identical_methods_differ_by_exactly_zero():
    a = np.random.default_rng(4).random(50) < 0.5
    assert paired_difference(a, a) == Interval(0.0, 0.0, 0.0, 50)


def test_equally_good_methods_give_an_interval_around_zero():
    a = np.arange(100) % 2 == 0
    interval = paired_difference(a, ~a)
    assert interval.value == 0 and interval.low < 0 < interval.high


def test_pairing_makes_the_interval_tighter():
    rng = np.random.default_rng(5)
    difficulty = rng.random(400)
    a, b = difficulty < 0.6, difficulty < 0.5  # a solves whatever b solves
    paired = paired_difference(a, b)
    unpaired = paired_difference(a, rng.permutation(b))
    assert 0 < paired.low and paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)
    swapped = paired_difference(b, a)
    assert swapped[:3] == pytest.approx((-paired.value, -paired.high, -paired.low))


def test_bootstrap_refuses_what_is_not_one_number_per_problem():
    for values in (np.ones((3, 2)), np.ones(1), np.array([1.0, np.nan])):
        with pytest.raises(InputError, match="expected finite numbers"):
            mean_interval(values)
    with pytest.raises(InputError, match="same problems"):
        paired_difference(np.ones(3), np.ones(4))
    with pytest.raises(InputError, match="num_resamples"):
        mean_interval(np.ones(3), num_resamples=0)


# --- compute
# ------------------------------------------------------------------------------------------------

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


# --- results
# ------------------------------------------------------------------------------------------------


def make_results():
    return Results(
        "02_test", model={"name": "tiny", "params": 7, "sha256": "ab"}, seed=1, problems=500
    )


def test_results_have_the_schema_and_survive_a_round_trip(tmp_path):
    results = make_results()
    results.measure("one chain", Interval(0.5, 0.4, 0.6, 500), tokens=np.float32(32))
    results.measure("majority@8", Interval(np.float32(0.75), np.float64(0.7), 0.8, np.int64(500)))
    results.claim("voting helps", Interval(0.25, 0.2, 0.3, 500), at_least=0.12, excludes_zero=True)
    path = results.write(tmp_path / "new" / "folder")
    record = json.loads(path.read_text())
    assert path.name == "results.json"
    assert list(record) == [
        "lesson",
        "model",
        "seed",
        "problems",
        "device",
        "versions",
        "seconds",
        "measurements",
        "claims",
    ]
    assert record["lesson"] == "02_test"
    assert record["model"] == {"name": "tiny", "params": 7, "sha256": "ab"}
    assert (record["seed"], record["problems"]) == (1, 500)
    assert set(record["device"]) == {"platform", "kind", "cpus"}
    assert set(record["versions"]) == {"python", "jax", "flax", "numpy", "jaxreason"}
    assert record["versions"]["numpy"] == np.__version__
    assert record["seconds"] >= 0
    assert record["measurements"] == [
        {"name": "one chain", "value": 0.5, "low": 0.4, "high": 0.6, "n": 500, "tokens": 32.0},
        {"name": "majority@8", "value": 0.75, "low": 0.7, "high": 0.8, "n": 500, "tokens": None},
    ]
    assert record["claims"] == [
        {"claim": "voting helps", "value": 0.25, "low": 0.2, "high": 0.3, "holds": True}
    ]


@pytest.mark.parametrize(
    ("interval", "bounds", "holds"),
    [
        ((0.12, 0.02, 0.2), {"at_least": 0.12}, True),
        ((0.11, 0.02, 0.2), {"at_least": 0.12}, False),
        ((0.12, -0.01, 0.2), {"at_least": 0.12}, True),
        ((0.12, -0.01, 0.2), {"at_least": 0.12, "excludes_zero": True}, False),
        ((0.12, 0.01, 0.2), {"at_least": 0.12, "excludes_zero": True}, True),
        ((-0.12, -0.2, -0.01), {"at_most": -0.1, "excludes_zero": True}, True),
        ((-0.12, -0.2, 0.01), {"at_most": -0.1, "excludes_zero": True}, False),
        ((-0.01, -0.2, -0.001), {"at_most": -0.1, "excludes_zero": True}, False),
        ((0.01, -0.01, 0.03), {"at_least": -0.02, "at_most": 0.02}, True),
        ((0.03, -0.01, 0.03), {"at_least": -0.02, "at_most": 0.02}, False),
    ],
)
def test_a_claim_holds_by_its_bounds(interval, bounds, holds):
    results = make_results()
    assert results.claim("a claim", Interval(*interval, 100), **bounds) is holds
    assert results.claims[0]["holds"] is holds


@pytest.mark.parametrize(
    ("value", "bounds", "worst", "holds"),
    [
        (0.0, {"at_most": 0.01}, 0.0, None),  # a baseline at 0% has nothing to lose
        (0.0, {"at_most": 0.01}, 0.01, None),
        (0.0, {"at_most": 0.01}, 0.02, True),  # it had two points, and lost none
        (0.02, {"at_most": 0.01}, 0.02, False),
        (-0.3, {"at_most": 0.03}, 0.0, None),
        (0.0, {"at_least": -0.02}, 0.0, None),  # nobody is 2 points behind one who is at 0%
        (0.1, {"at_least": -0.02}, -0.02, None),
        (0.0, {"at_least": -0.02}, -0.5, True),
        (-0.1, {"at_least": -0.02}, -0.5, False),
        (0.2, {"at_least": 0.1, "excludes_zero": True}, 0.15, None),
        (0.2, {"at_least": 0.1, "excludes_zero": True}, -1.0, True),
        (0.0, {"at_least": -0.02, "at_most": 0.02}, 0.0, None),
        (0.0, {"at_most": 0.01}, None, True),  # nothing is said of the worst
    ],
)
def test_a_claim_that_nothing_could_refute_is_not_testable(tmp_path, value, bounds, worst, holds):
    results = make_results()
    assert (
        results.claim(
            "a claim", Interval(value, value - 0.01, value + 0.01, 24), **bounds, worst=worst
        )
        is holds
    )
    assert json.loads(results.write(tmp_path).read_text())["claims"][0]["holds"] is holds
    verdict = {True: "holds", False: "NOT SEEN", None: "not testable here"}[holds]
    assert results.table() == f"{verdict}: a claim"


def test_results_refuse_what_could_not_be_refuted_or_written():
    results = make_results()
    for bounds in ({}, {"at_least": 0.0, "at_most": 1.0, "excludes_zero": True}):
        with pytest.raises(InputError, match="refute"):
            results.claim("vague", Interval(0.1, 0.0, 0.2, 9), **bounds)
    with pytest.raises(InputError, match="finite"):
        results.measure("broken", Interval(math.nan, 0.0, 1.0, 9))
    with pytest.raises(InputError, match="sha256"):
        Results("x", model={"name": "tiny"}, seed=0, problems=1)


@pytest.mark.parametrize("broken", ["json.dumps", "os.replace", "pathlib.Path.write_text"])
def test_a_failed_write_leaves_the_previous_file_alone(tmp_path, monkeypatch, broken):
    results = make_results()
    path = results.write(tmp_path)
    before = path.read_text()
    results.measure("later", Interval(0.5, 0.4, 0.6, 10))

    def fail(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(broken, fail)
        with pytest.raises(OSError, match="disk full"):
            results.write(tmp_path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]
    results.write(tmp_path)
    assert json.loads(path.read_text())["measurements"][0]["name"] == "later"


def test_table_shows_each_measurement_and_verdict():
    results = make_results()
    results.measure("one chain", Interval(0.5, 0.4, 0.6, 500), tokens=32)
    results.measure("majority", Interval(0.75, 0.7, 0.8, 500))
    results.claim("it helps", Interval(0.25, 0.2, 0.3, 500), at_least=0.3)
    assert results.table().splitlines() == [
        "one chain       0.5 [0.4, 0.6]  n=500  32.0 tokens",
        "majority       0.75 [0.7, 0.8]  n=500",
        "NOT SEEN: it helps",
    ]


# ---- AUC


def test_auc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, 80) / 6  # with ties
    positive = rng.random(80) < 0.4
    pairs = scores[positive][:, None] - scores[~positive][None]
    assert auc(scores, positive).value == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert auc(-scores, positive).value == pytest.approx(1 - auc(scores, positive).value)
    assert auc(np.exp(scores), positive) == pytest.approx(
        auc(scores, positive)
    )  # ranks are all that counts


def test_auc_interval_is_that_of_delong_written_out():
    up, down = np.array([0.9, 0.4, 0.8, 0.6]), np.array([0.5, 0.1, 0.3])
    win = (up[:, None] > down).astype(float)
    error = 1.959964 * np.sqrt(win.mean(1).var(ddof=1) / 4 + win.mean(0).var(ddof=1) / 3)
    got = auc(np.r_[up, down], np.arange(7) < 4)
    assert got[:3] == pytest.approx(
        (win.mean(), max(0, win.mean() - error), min(1, win.mean() + error)), abs=1e-6
    )
    assert auc(np.array([2.0, 3, 0, 1]), np.array([True, True, False, False])) == Interval(
        1.0, 1.0, 1.0, 4
    )


def test_auc_interval_covers_the_truth():
    truth, rng = 0.76024994, np.random.default_rng(1)  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt(2))
    positive = np.arange(120) < 40
    runs = [auc(rng.normal(size=120) + positive, positive) for _ in range(400)]
    assert 0.92 <= np.mean([r.low <= truth <= r.high for r in runs]) <= 0.98


@pytest.mark.parametrize(
    ("scores", "positive"),
    [([1.0, 2.0], [1, 0]), ([1.0, np.nan, 2, 3], [1, 1, 0, 0]), ([1.0], [1, 0])],
)
def test_auc_needs_two_of_each_kind(scores, positive):
    with pytest.raises(InputError):
        auc(np.array(scores), np.array(positive, bool))
