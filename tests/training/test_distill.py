"""Distillation: what is filtered and counted, what is masked, and the losses against formulas
worked out apart.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_params
from scipy import special

from jaxreason import InputError, sft_loss
from jaxreason.decoding.completions import Completions
from jaxreason.models.decoder import forward
from jaxreason.models.tokens import Prompt, build_tokenizer
from jaxreason.training import distill
from jaxreason.training.distill import (
    Samples,
    Trace,
    divergence,
    filter_traces,
    kd_loss,
    on_policy_loss,
)
from jaxreason.training.sft import Batch, Document, encode_pairs, pack

STATIC = ("cfg", "teacher_cfg", "temperature", "kind", "vocab_size", "chunk")
kd = jax.jit(kd_loss, static_argnames=(*STATIC, "alpha"))
diverge = jax.jit(divergence, static_argnames=("kind", "temperature"))
on_policy = jax.jit(on_policy_loss, static_argnames=STATIC)


# --- filters
# ------------------------------------------------------------------------------------------------


def completions(texts, num_tokens, finished):
    return Completions(
        texts, np.zeros((len(texts), len(texts[0]))), np.array(num_tokens), np.array(finished)
    )


def test_every_filter_is_counted_and_the_first_that_applies_counts():
    texts = [
        [
            "1+2=3\n#### 3",
            "2+1=3\n#### 3",
            "1+2=3\n#### 3",
            "#### 3",
            "1+1=2\n#### 2",
            "1+2=3\n#### 3",
        ],
        ["#### 13", "3", "a long way\n#### 3", "#### 4", "so\n#### 3", "#### -3"],
    ]
    written = completions(
        texts,
        [[5, 5, 5, 2, 5, 5], [2, 1, 99, 2, 3, 2]],
        [[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 1, 1]],
    )
    kept, removed = filter_traces(["p", "q"], written, [3, 3], max_tokens=10, max_per_prompt=2)
    assert kept == [
        Trace("p", texts[0][0]),
        Trace("p", texts[0][1]),
        Trace("q", "3"),
        Trace("q", "so\n#### 3"),
    ]
    # unfinished: the last of p, "#### 4" (wrong too); wrong: 2, 13, -3; too long: one; duplicate:
    # one; surplus: "#### 3" of p.
    assert removed == {"unfinished": 2, "wrong": 3, "too long": 1, "duplicate": 1, "surplus": 1}
    assert len(kept) + sum(removed.values()) == 12

    unlimited = filter_traces(["p", "q"], written, [3, 3])
    assert unlimited.removed == {
        "unfinished": 2,
        "wrong": 3,
        "too long": 0,
        "duplicate": 1,
        "surplus": 0,
    }


def test_the_same_text_for_another_prompt_is_no_duplicate():
    written = completions([["#### 3"], ["#### 3"]], [[2], [2]], [[True], [True]])
    assert len(filter_traces(["p", "q"], written, [3, 3]).traces) == 2


def test_filters_refuse_what_does_not_fit_together():
    written = completions([["#### 3"]], [[2]], [[True]])
    with pytest.raises(InputError, match="2 prompts, 1 groups of completions and 1 answers"):
        filter_traces(["p", "q"], written, [3])
    with pytest.raises(InputError, match="max_per_prompt is 0"):
        filter_traces(["p"], written, [3], max_per_prompt=0)


# --- examples
# -----------------------------------------------------------------------------------------------


def test_the_prompt_is_masked_and_the_end_of_text_is_not(tokenizer):
    traces = [Trace("Q: Tom has apples", "1+2=3\n#### 3"), Trace("Tom", "Wait")]
    for trace, document in zip(
        traces, encode_pairs(tokenizer, *zip(*traces, strict=True), 64), strict=True
    ):
        learned = document.weights > 0
        assert set(document.weights.tolist()) == {0.0, 1.0}
        assert tokenizer.decode(document.tokens[~learned]) == trace.prompt
        assert tokenizer.decode(document.tokens[learned]) == trace.completion + tokenizer.eos_token
        assert document.tokens[-1] == tokenizer.eos_token_id and learned[-1]
        assert (np.diff(learned.astype(int)) >= 0).all()  # one border


def test_examples_that_do_not_fit_are_refused(tokenizer):
    assert encode_pairs(tokenizer, [], [], 8) == []
    with pytest.raises(InputError, match="an example has 7 tokens: expected at most 6"):
        encode_pairs(tokenizer, ["123"], ["123"], 6)


def test_answers_alone_are_what_the_direct_prompt_asks_for():
    tokenizer = build_tokenizer(["Tom"])
    assert distill.answer_traces(["How many?"], [54]) == [Trace("Q: How many?\nAnswer:", " 54")]
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    (trace,) = distill.answer_traces(["How many?"], [54], tokenizer)
    assert (
        trace.prompt.endswith("The answer is") and trace.completion == " 54."
    )  # said once, not twice


def test_batches_are_a_function_of_the_step_and_see_every_document():
    documents = [Document(np.full(4, i), np.ones(4, np.float32)) for i in range(10)]
    batch_fn = distill.trace_batches(documents, rows=2, length=8, pad_id=99)
    np.testing.assert_equal(batch_fn(3), batch_fn(3))
    seen = [set(batch_fn(step).tokens.ravel().tolist()) for step in range(40)]
    assert all(
        len(one) == 4 for one in seen
    )  # without replacement: four different documents fill two rows
    assert set.union(*seen) == set(range(10))
    assert len(set(map(frozenset, seen))) > 20
    with pytest.raises(InputError, match="the longest of 4 tokens: expected some, of at most 3"):
        distill.trace_batches(documents, rows=2, length=3, pad_id=99)
    with pytest.raises(InputError, match="0 examples"):
        distill.trace_batches([], rows=2, length=3, pad_id=99)


# --- divergences
# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_divergences_by_definition(temperature):
    s, t = np.random.default_rng(0).normal(size=(2, 4, 3, 7))
    p, q = (special.softmax(x / temperature, axis=-1) for x in (s, t))
    forward_kl = diverge(s, t, kind="forward", temperature=temperature)
    reverse_kl = diverge(s, t, kind="reverse", temperature=temperature)
    np.testing.assert_allclose(forward_kl, special.rel_entr(q, p).sum(-1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(reverse_kl, special.rel_entr(p, q).sum(-1), rtol=1e-4, atol=1e-6)


def test_reverse_kl_of_two_tokens():
    """With p = sigmoid(x) and q = sigmoid(y), d/dx KL(p || q) = p (1 - p) (x - y); d/dx KL(q || p)
    = p - q.
    """
    x, y = 0.7, -1.2
    slope = {
        kind: jax.grad(diverge)(np.float32([x, 0.0]), np.float32([y, 0.0]), kind=kind)[0]
        for kind in ("forward", "reverse")
    }
    p, q = special.expit([x, y])
    np.testing.assert_allclose(slope["reverse"], p * (1 - p) * (x - y), rtol=1e-5)
    np.testing.assert_allclose(slope["forward"], p - q, rtol=1e-5)


def test_reverse_kl_is_policy_gradient_with_the_log_ratio_as_reward():
    """The expectation over drawn tokens a of (log p_a - log q_a) grad log p_a is the gradient of
    KL(p || q).
    """
    s, t = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)
    log_p, log_q = special.log_softmax(s), special.log_softmax(t)
    scores = np.eye(5) - np.exp(log_p)  # [a, :] is grad log p_a
    estimate = (np.exp(log_p) * (log_p - log_q)) @ scores
    np.testing.assert_allclose(jax.grad(diverge)(s, t, kind="reverse"), estimate, atol=1e-6)


def test_forward_covers_and_reverse_chooses():
    """A student with one knob (a bump of fixed width) against a teacher with two peaks, one
    slightly higher.
    """
    places = np.arange(21)
    teacher = np.log(
        0.55 * np.exp(-((places - 4) ** 2) / 4) + 0.45 * np.exp(-((places - 16) ** 2) / 4) + 1e-6
    )
    students = np.array([-((places - centre) ** 2) / 8.0 for centre in places])
    teachers = np.broadcast_to(teacher, students.shape)
    best = {
        kind: int(np.argmin(diverge(students, teachers, kind=kind)))
        for kind in ("forward", "reverse")
    }
    assert best["reverse"] == 4 and 8 <= best["forward"] <= 11


# --- the losses
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables():
    """Bigram tables in place of two decoders: the logits after token a are row a."""
    return np.random.default_rng(0).normal(size=(2, 5, 5)).astype(np.float32)


@pytest.fixture
def bigrams(monkeypatch):
    def states(params, tokens, positions, **_):
        return jax.nn.one_hot(tokens, len(params)), None

    monkeypatch.setattr(distill, "hidden_states", states)
    monkeypatch.setattr(
        distill, "output_head", lambda params, tokens: lambda states: states @ params[:, tokens]
    )


@dataclasses.dataclass(frozen=True)
class Five:
    vocab_size: int = 5


BIGRAM = {"cfg": Five(), "teacher_cfg": Five()}
TWO_DOCUMENTS = Batch(
    tokens=np.array([[1, 2, 3, 4, 0, 2, 0, 0]]),
    positions=np.array([[0, 1, 2, 0, 1, 2, 0, 0]]),
    segment_ids=np.array([[1, 1, 1, 2, 2, 2, 0, 0]]),
    weights=np.float32([[1.0, 0.0, 2.0, 3.0, 4.0, 1.0, 0.0, 0.0]]),
)
PAIRS = ((2, 3, 2), (4, 0, 4), (0, 2, 1))  # token before, token, weight: all that the loss is about


@pytest.mark.parametrize(
    ("temperature", "alpha", "kind"),
    [(1, 0.5, "forward"), (2.5, 0.3, "forward"), (2, 1, "reverse")],
)
def test_kd_loss_by_hand(tables, bigrams, temperature, alpha, kind):
    loss, metrics = kd(
        tables[0],
        TWO_DOCUMENTS,
        tables[1],
        temperature=temperature,
        alpha=alpha,
        kind=kind,
        **BIGRAM,
    )
    s, t = tables.astype(np.float64)
    expected = 0.0
    for before, token, weight in PAIRS:
        p, q = special.softmax(s[before] / temperature), special.softmax(t[before] / temperature)
        kl = special.rel_entr(q, p).sum() if kind == "forward" else special.rel_entr(p, q).sum()
        nll = -special.log_softmax(s[before])[token]
        expected += weight / 7 * (alpha * temperature**2 * kl + (1 - alpha) * nll)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], loss)


def test_only_predictions_of_completion_tokens_get_a_gradient(tables, bigrams):
    grad = jax.jit(jax.grad(lambda s: kd_loss(s, TWO_DOCUMENTS, tables[1], **BIGRAM)[0]))
    gradient = grad(tables[0])
    assert np.flatnonzero(np.abs(gradient).sum(-1)).tolist() == [
        0,
        2,
        4,
    ]  # rows 1 and 3 predict no completion token


def packed(cfg, seed=0, lengths=(9, 6, 12)):
    rng = np.random.default_rng(seed)
    documents = [
        Document(
            rng.integers(2, cfg.vocab_size, n).astype(np.int32),
            (np.arange(n) >= 3).astype(np.float32),
        )
        for n in lengths
    ]
    return pack(documents, 2, 24, 0)


@pytest.fixture(scope="module")
def teacher(cfg):
    return random_params(cfg, seed=5)


def test_a_student_like_its_teacher_has_nothing_to_learn(params, cfg):
    grad = jax.jit(
        jax.grad(lambda p: kd_loss(p, packed(cfg), params, cfg=cfg, teacher_cfg=cfg, alpha=1.0)[0])
    )
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(grad(params))) < 1e-6
    other = jax.tree.map(lambda x: np.float32(1.1) * np.asarray(x), params)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(grad(other))) > 1e-3


def test_alpha_0_is_fine_tuning_and_knows_no_teacher(params, teacher, cfg):
    expected, _ = jax.jit(sft_loss, static_argnames="cfg")(params, packed(cfg), cfg=cfg)
    for by in (teacher, params):
        loss, _ = kd(params, packed(cfg), by, cfg=cfg, teacher_cfg=cfg, alpha=0.0, temperature=3.0)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_at_high_temperature_logits_are_matched(tables, bigrams):
    """T^2 KL -> half the variance of z_s - z_t over the vocabulary (Hinton et al. 2015, section
    2.1).
    """
    loss, _ = kd(tables[0], TWO_DOCUMENTS, tables[1], temperature=100.0, alpha=1.0, **BIGRAM)
    gap = (tables[0] - tables[1]).astype(np.float64)
    expected = sum(weight / 7 * gap[before].var() / 2 for before, _, weight in PAIRS)
    np.testing.assert_allclose(loss, expected, rtol=0.02)


def test_kd_is_a_mean_over_tokens(params, teacher, cfg):
    """The same text twice, in one row or in two, is the same loss; "batchmean" would double it."""
    document = Document(np.arange(4, 16, dtype=np.int32), (np.arange(12) >= 4).astype(np.float32))
    losses = [
        kd(params, pack([document] * n, 2, 24, 0), teacher, cfg=cfg, teacher_cfg=cfg)[0]
        for n in (1, 2, 4)
    ]
    np.testing.assert_allclose(losses, losses[:1] * 3, rtol=1e-5)


def test_chunks_change_nothing(params, teacher, cfg):
    losses = [
        kd(params, packed(cfg), teacher, cfg=cfg, teacher_cfg=cfg, chunk=n)[0] for n in (5, 1024)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_a_batch_of_padding_has_loss_0(params, teacher, cfg):
    assert kd(params, pack([], 2, 24, 0), teacher, cfg=cfg, teacher_cfg=cfg)[0] == 0


# --- on the student's own texts
# -----------------------------------------------------------------------------


def drawn(cfg, seed=3):
    rng = np.random.default_rng(seed)
    lengths, t = np.array([[1, 5], [4, 2]]), 5
    prompt = Prompt(
        rng.integers(2, cfg.vocab_size, (2, 6)).astype(np.int32),
        np.arange(6) >= np.array([[2], [0]]),
    )
    tokens = rng.integers(2, cfg.vocab_size, (2, 2, t)).astype(np.int32)
    return Samples(prompt, tokens, np.arange(t) < lengths[..., None])


def test_on_policy_loss_is_the_mean_over_drawn_tokens(params, teacher, cfg):
    samples = drawn(cfg)
    values = []
    run = jax.jit(forward, static_argnames="cfg")
    for b in range(2):
        head = samples.prompt.tokens[b][samples.prompt.mask[b]]
        for n in range(2):
            own = samples.tokens[b, n][samples.mask[b, n]]
            text = np.zeros(
                (1, 11), np.int32
            )  # what stands behind a token does not change its prediction
            text[0, : len(head) + len(own)] = [*head, *own]
            both = [
                np.asarray(run(p, text, np.arange(11)[None], cfg=cfg)[0][0], np.float64)
                for p in (params, teacher)
            ]
            p, q = (
                special.softmax(x[len(head) - 1 : len(head) + len(own) - 1], axis=-1) for x in both
            )
            values += special.rel_entr(p, q).sum(-1).tolist()
    assert len(values) == 12
    loss, metrics = on_policy(params, samples, teacher, cfg=cfg, teacher_cfg=cfg)
    np.testing.assert_allclose(loss, np.mean(values), rtol=1e-4)
    np.testing.assert_allclose(metrics["kl"], loss)


def test_what_stands_behind_the_end_of_a_chain_does_not_count(params, teacher, cfg):
    samples = drawn(cfg)
    other = samples._replace(tokens=np.where(samples.mask, samples.tokens, 7).astype(np.int32))
    assert (other.tokens != samples.tokens).any()
    losses = [on_policy(params, s, teacher, cfg=cfg, teacher_cfg=cfg)[0] for s in (samples, other)]
    np.testing.assert_allclose(*losses, rtol=1e-6)


def test_on_policy_in_a_two_token_language_finds_the_teacher(monkeypatch):
    """Each token is drawn from sigmoid(x): whatever was drawn, the loss is KL(p || q), lowest where
    x is the teacher's logit.
    """
    monkeypatch.setattr(
        distill,
        "completion_states",
        lambda params, prompt, tokens, cfg: jnp.ones((*tokens.shape, 1)),
    )
    monkeypatch.setattr(
        distill, "output_head", lambda params, tokens: lambda states: states @ params[None, tokens]
    )
    two, wanted = Five(2), np.float32([0.0, 1.5])
    samples = Samples(None, np.array([[[0, 1, 1]]]), np.array([[[True, True, False]]]))
    loss_fn = jax.jit(
        jax.value_and_grad(
            lambda x: on_policy_loss(x, samples, wanted, cfg=two, teacher_cfg=two)[0]
        )
    )
    x, p, q = np.float32([1.0, 0.0]), special.expit(1.0), special.expit(-1.5)
    np.testing.assert_allclose(
        loss_fn(x)[0], p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)), rtol=1e-5
    )
    for _ in range(200):
        x = x - np.float32(2.0) * np.asarray(loss_fn(x)[1])
    np.testing.assert_allclose(x[1] - x[0], 1.5, atol=1e-3)


# --- vocabularies
# -------------------------------------------------------------------------------------------


def test_other_vocabularies_are_refused(model, params, cfg):
    other = build_tokenizer(["Tom", "has", "pears"])
    stranger = model._replace(
        tokenizer=other, name="stranger", cfg=dataclasses.replace(cfg, vocab_size=len(other))
    )
    with pytest.raises(
        InputError, match="'random' .* and teacher 'stranger' .* differ in .* one tokenizer"
    ):
        distill.shared_vocabulary(model, stranger)
    with pytest.raises(InputError, match="vocab_size of the student is .* same vocabulary"):
        kd_loss(params, packed(cfg), params, cfg=cfg, teacher_cfg=stranger.cfg)
    with pytest.raises(InputError, match="vocab_size of the student is .* same vocabulary"):
        on_policy_loss(params, drawn(cfg), params, cfg=cfg, teacher_cfg=stranger.cfg)


def test_padded_embeddings_of_one_tokenizer_agree_on_its_tokens(model, params, teacher, cfg):
    padded_cfg = dataclasses.replace(cfg, vocab_size=cfg.vocab_size + 8)
    padded = random_params(padded_cfg, seed=9)
    table = np.array(padded["embed"]["embedding"])
    table[: cfg.vocab_size] = teacher["embed"]["embedding"]
    padded = {**teacher, "embed": {"embedding": table}}
    assert distill.shared_vocabulary(model, model._replace(cfg=padded_cfg)) == cfg.vocab_size
    expected, _ = kd(params, packed(cfg), teacher, cfg=cfg, teacher_cfg=cfg)
    loss, _ = kd(
        params, packed(cfg), padded, cfg=cfg, teacher_cfg=padded_cfg, vocab_size=cfg.vocab_size
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"alpha": 1.5}, "alpha 1.5"),
        ({"kind": "both"}, "kind is 'both'"),
        ({"vocab_size": 10**6}, "vocab_size is 1000000"),
    ],
)
def test_options_out_of_range_are_refused(params, cfg, options, named):
    with pytest.raises(InputError, match=named):
        kd_loss(params, packed(cfg), params, cfg=cfg, teacher_cfg=cfg, **options)
