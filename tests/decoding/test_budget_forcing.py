"""Budget forcing: the compiled rule does what a plain loop over tokens does, and nothing where
there is no budget.
"""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest
from conftest import assert_same_bits, random_params

from jaxreason.answers.extract import last_attempt
from jaxreason.decoding import budget_forcing
from jaxreason.decoding.completions import complete
from jaxreason.decoding.continuous import generate_queue
from jaxreason.decoding.logprobs import token_logprobs
from jaxreason.decoding.rollout import generate
from jaxreason.decoding.sampling import Sampler, sample
from jaxreason.decoding.stop import Stop
from jaxreason.errors import InputError
from jaxreason.evaluation import compute_optimal
from jaxreason.models import decoder
from jaxreason.models.cache import unstack
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import pad_left

T, LENGTH = 24, 48
SAMPLER = Sampler(0.9)
WAIT, HMM, ANSWER = [5, 9, 11], [8], [17, 20]  # token ids
WAITS = np.array([[0, 1, 2, 8, 3, 8, 1, 8], [8, 8, 0, 3, 8, 2, 8, 1], [2, 1, 8, 8, 0, 8, 3, 8]])
AT_MOST = np.array(
    [[99, 99, 99, 99, 12, 8, 99, 3], [99, 0, 6, 10, 99, 99, 2, 15], [9, 5, 4, 99, 99, 1, 99, 7]]
)


def every(n: int, size: int) -> Stop:
    """Final after every n-th token id."""
    next_state = np.zeros((size, 2), np.int32)
    next_state[::n], next_state[:, 1] = 1, 1
    return Stop(next_state)


@pytest.fixture(scope="module")
def model(cfg, tokenizer):
    """One layer: how deep the model is, is no matter of budgets."""
    cfg = dataclasses.replace(cfg, num_hidden_layers=1)
    return LanguageModel(random_params(cfg), cfg, tokenizer, "shallow", "")


@pytest.fixture(scope="module")
def prompts(cfg):
    rng = np.random.default_rng(0)
    return [rng.integers(2, cfg.vocab_size, n).astype(np.int32) for n in (5, 11, 2)]


@pytest.fixture(scope="module")
def rule(cfg):
    tokens = np.full((3, 3), -1, np.int32)
    for row, ids in enumerate((ANSWER, WAIT, HMM)):
        tokens[row, : len(ids)] = ids
    return jax.tree_util.Partial(
        budget_forcing.force, budget_forcing.Strings(every(6, cfg.vocab_size), tokens)
    )


@pytest.fixture(scope="module")
def keys():
    """Of the chains, as numbers."""
    return np.asarray(jax.random.key_data(jax.random.split(jax.random.key(5), (3, 8))))


@pytest.fixture(scope="module")
def arguments(model, prompts, keys):
    options = {"cfg": model.cfg, "sampler": SAMPLER, "max_new_tokens": T, "num_samples": 8}
    stop = every(13, model.cfg.vocab_size)
    return (model.params, jax.random.wrap_key_data(keys), pad_left(prompts, 0), stop), options


@pytest.fixture(scope="module")
def rollout(arguments, rule):
    state = budget_forcing.start(WAITS, AT_MOST, (3, 8))
    return jax.device_get(generate(*arguments[0], **arguments[1], rule=rule, rule_state=state))


def test_every_chain_is_what_a_plain_loop_writes(rollout, model, prompts, keys):
    """Drawn token by token from the full forward pass, with the budget kept by hand."""

    @jax.jit
    def next_token(params, row, last, key_data, t):
        positions = np.arange(LENGTH, dtype=np.int32)[None]
        logits = decoder.forward(params, row, positions, cfg=model.cfg)[0][0, last]
        key = jax.random.fold_in(jax.random.wrap_key_data(key_data), t)
        return sample(key, logits, SAMPLER), jax.nn.log_softmax(logits)

    forced = answers = 0
    for b, prompt in enumerate(prompts):
        for n in range(8):
            ids, logprobs, queue, used, thought, thinking = list(prompt), [], [], 0, 0, True
            for t in range(T):
                row = np.zeros((1, LENGTH), np.int32)
                row[0, : len(ids)] = ids
                drawn, scores = next_token(model.params, row, len(ids) - 1, keys[b, n], t)
                token = int(drawn)
                if thinking and thought == AT_MOST[b, n]:
                    queue, thinking, answers = list(ANSWER), False, answers + 1
                elif thinking and not queue and token % 6 == 0 and used < WAITS[b, n]:
                    queue, used = list((WAIT, HMM)[used % 2]), used + 1
                if queue:
                    token, forced = queue.pop(0), forced + 1
                thought += thinking
                thinking = thinking and token % 6 != 0
                ids.append(token)
                logprobs.append(np.asarray(scores)[token])
                if token % 13 == 0:
                    break
            count = len(logprobs)
            assert rollout.tokens[b, n, :count].tolist() == ids[len(prompt) :]
            assert rollout.mask[b, n].sum() == count
            assert rollout.rule_state.used[b, n] == used <= WAITS[b, n]
            np.testing.assert_allclose(rollout.logprobs[b, n, :count], logprobs, atol=1e-4)
    assert (
        forced > 20 and answers > 2 and (rollout.rule_state.used > 1).any()
    )  # all of it occurred above


def test_logprobs_of_forced_tokens_are_the_models_own(rollout, model, prompts):
    rows = [(b, n) for b in range(3) for n in range(8)]
    tokens, segments = np.zeros((2, 24, LENGTH), np.int32)
    for row, (b, n) in enumerate(rows):
        ids = [*prompts[b], *rollout.tokens[b, n][rollout.mask[b, n]]]
        tokens[row, : len(ids)], segments[row, : len(ids)] = ids, 1
    positions = np.broadcast_to(np.arange(LENGTH, dtype=np.int32), tokens.shape)
    scores = np.asarray(token_logprobs(model.params, tokens, positions, segments, cfg=model.cfg))
    for row, (b, n) in enumerate(rows):
        start, count = len(prompts[b]), rollout.mask[b, n].sum()
        np.testing.assert_allclose(
            rollout.logprobs[b, n, :count], scores[row, start : start + count], atol=1e-4
        )


def test_a_chain_does_not_depend_on_its_batch(rollout, arguments, rule, prompts, keys):
    (params, _, _, stop), options = arguments
    for order in ([1, 1, 1], [2, 0, 2]):
        state = budget_forcing.start(WAITS[order], AT_MOST[order], (3, 8))
        other = jax.device_get(
            generate(
                params,
                jax.random.wrap_key_data(keys[order]),
                pad_left([prompts[b] for b in order], 0),
                stop,
                **options,
                rule=rule,
                rule_state=state,
            )
        )
        np.testing.assert_array_equal(other.tokens, rollout.tokens[order])
        np.testing.assert_array_equal(other.rule_state.used, rollout.rule_state.used[order])


def test_without_a_budget_it_is_generate_bit_for_bit(arguments, rule):
    plain = jax.device_get(generate(*arguments[0], **arguments[1]))
    state = budget_forcing.start(0, None, (3, 8))
    ruled = jax.device_get(generate(*arguments[0], **arguments[1], rule=rule, rule_state=state))
    for name in ("tokens", "logprobs", "mask", "finished"):
        assert_same_bits(getattr(ruled, name), getattr(plain, name))
    assert plain.rule_state is None and not ruled.rule_state.used.any()


def test_chains_of_a_queue_keep_their_budgets(arguments, prompts, rule):
    """24 chains, five at a time, each with its own waits and limit, whichever row it gets."""
    (params, _, prompt, stop), options = arguments
    keys = jax.random.split(jax.random.key(1), (3, 8))
    options = options | {"rule": rule}
    state = budget_forcing.start(
        np.arange(24).reshape(3, 8) % 5, np.arange(24).reshape(3, 8) + 4, (3, 8)
    )
    whole = jax.device_get(generate(params, keys, prompt, stop, **options, rule_state=state))
    del options["num_samples"]
    parts = generate_queue(
        params,
        keys,
        prompts,
        stop,
        **options,
        rule_state=state,
        layers=unstack(params)["layers"],
        rows=5,
    )
    for chains, found in parts:
        expected = jax.tree.map(lambda x, of=chains: x.reshape(24, *x.shape[2:])[of], whole)
        for name in ("tokens", "mask", "finished"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
        jax.tree.map(np.testing.assert_array_equal, found.rule_state, expected.rule_state)
    assert whole.rule_state.used.max() > 1


def test_thinking_is_at_most_its_budget(arguments, rule, cfg):
    """With more waits than fit, nothing but the limit ends the thinking: the answer stands exactly
    there.
    """
    (params, keys, prompt, _), options = arguments
    never = Stop(np.tile(np.arange(2, dtype=np.int32), (cfg.vocab_size, 1)))
    at_most = np.arange(24).reshape(3, 8) % 12 * 2
    state = budget_forcing.start(50, at_most, (3, 8))
    rollout = jax.device_get(
        generate(params, keys, prompt, never, **options, rule=rule, rule_state=state)
    )
    for offset, token in enumerate(ANSWER):
        assert (np.take_along_axis(rollout.tokens, at_most[..., None] + offset, -1) == token).all()
    assert rollout.rule_state.used.max() > 2


# ---- text to text

QUESTIONS = ["Tom has 12", "ab", "Tom has 7 apples and caf\u00e9"]
ENDS = [*"bcdefghjklm", "Tom", " has"]  # so many that a random model writes one soon


@pytest.fixture(scope="module")
def within(model):
    return functools.partial(
        budget_forcing.complete_within,
        model,
        jax.random.key(2),
        QUESTIONS,
        ends=ENDS,
        continuations=["Wait\n", "12 "],
        sampler=Sampler(1.0),
        max_new_tokens=60,
        num_samples=3,
    )


def test_no_budget_is_complete(model, within):
    plain = complete(
        model, jax.random.key(2), QUESTIONS, sampler=Sampler(1.0), max_new_tokens=60, num_samples=3
    )
    result = within()
    assert result.texts == plain.texts
    assert_same_bits(result.logprobs, plain.logprobs)
    np.testing.assert_array_equal(result.num_tokens, plain.num_tokens)


def test_waits_are_written_where_thinking_would_have_ended(model, within):
    """Up to the first wait a chain is the chain without; there, instead of an end, stands the
    continuation.
    """
    plain, waits = within(), np.array([[1], [3], [0]])
    result = within(waits=waits)
    used = result.rule_state.used
    assert (used <= waits).all() and used[:2].sum() > 6
    for g in range(3):
        for n in range(3):
            text, before = result.texts[g][n], plain.texts[g][n]
            if not used[g, n]:
                assert text == before
                continue
            head = text[: text.index("Wait\n")]
            assert before.startswith(head) and not any(end in head for end in ENDS)
            assert not used[g, n] > 1 or "12 " in text[len(head) :]


def test_the_end_of_the_turn_is_an_end_of_thinking(tokenizer):
    """By hand: end of text is drawn again and again; two waits of two tokens take its place, then
    it stands.
    """
    rule = budget_forcing.compile_rule(tokenizer, continuations=["Wait\n"])
    state = jax.tree.map(lambda x: x[0], budget_forcing.start(2, None, (1, 1)))
    end, (wait, newline) = (
        tokenizer.eos_token_id,
        tokenizer("Wait\n", add_special_tokens=False).input_ids,
    )
    written = []
    for _ in range(6):
        state, token = rule(state, np.int32([end]))
        written.append(int(token[0]))
    assert written == [wait, newline, wait, newline, end, end] and int(state.used[0]) == 2


def test_bad_budgets_are_one_line(model, within):
    def refuse(message, **options):
        with pytest.raises(InputError, match=message) as error:
            within(**options)
        assert "\n" not in str(error.value)

    refuse("waits is -1: expected integers, 0 or more", waits=-1)
    refuse("at_most is -3", at_most=-3)
    refuse("waits is 1.5", waits=1.5)
    refuse(r"waits has shape \[2\]", waits=np.ones(2, int))
    refuse("continuation string is empty", continuations=["Wait", ""])
    refuse("continuation string is empty", continuations=[])
    refuse("end of thinking is empty", ends=[""])
    refuse("answer is empty", answer="")
    refuse("'Tom waits' holds an end of thinking", continuations=["Tom waits"])


def test_the_last_attempt_by_hand():
    assert last_attempt("a\nb\n#### 3") == "a\nb\n#### 3"
    assert last_attempt("a\nWait\nb\n#### 3") == "b\n#### 3"
    assert last_attempt("a\nWait\nb\nWait\nWait\n#### 3") == "b\n#### 3"  # it stood by b
    assert last_attempt("a\nHmm\nb\nWait\n#### 3", ["Wait\n", "Hmm\n"]) == "b\n#### 3"
    assert last_attempt("a\nWait\n") == "a\n" and last_attempt("") == ""
    assert (
        last_attempt("a=1\n\nb=2\n#### 2", ["\n"]) == "b=2\n#### 2"
    )  # a wait that is nothing but a newline


# ---- adaptive budgets


def test_allocation_by_hand():
    assert compute_optimal.allocate(
        np.array([0.0, 1.0, 2.0, 1.0]), 3, least=1, most=9
    ).tolist() == [1, 3, 5, 3]
    assert compute_optimal.allocate(np.array([0.0, 1.0, 8.0]), 3, least=2, most=4).tolist() == [
        2,
        3,
        4,
    ]
    assert compute_optimal.allocate(np.zeros(3), 5, least=4, most=16).tolist() == [
        4,
        4,
        4,
    ]  # all agree: nothing to spend it on
    assert compute_optimal.allocate(np.array([1.0, 2.0]), 16, least=4, most=16).tolist() == [16, 16]


def test_allocation_spends_what_there_is_and_follows_difficulty():
    difficulty = np.random.default_rng(0).exponential(size=500) * (np.arange(500) % 3 > 0)
    given = compute_optimal.allocate(difficulty, 8, least=4, most=32)
    assert 7.9 < given.mean() <= 8 and given.min() == 4 and given.max() <= 32
    order = np.argsort(difficulty)
    assert (np.diff(given[order]) >= 0).all() and (given[difficulty == 0] == 4).all()


@pytest.mark.parametrize(
    "wrong", [{"mean": 3}, {"mean": 40}, {"difficulty": [-1.0, 0.0]}, {"difficulty": [np.nan, 0.0]}]
)
def test_bad_allocations_are_one_line(wrong):
    options = {"difficulty": [1.0, 0.0], "mean": 8} | wrong
    with pytest.raises(InputError, match="expected"):
        compute_optimal.allocate(**options, least=4, most=32)


# ---- the compute-optimal choice


def test_the_optimal_choice_by_hand():
    right = np.array(
        [[0.4, 0.1], [0.45, 0.3], [0.45, 0.4]]
    )  # methods x an easy and a hard bin, of half the problems each
    cost = np.array([[1, 1], [2, 2], [4, 4]]) / 2
    chosen = compute_optimal.compute_optimal(right, cost, [0.9, 1.0, 1.5, 2.5, 3.0, 100.0])
    assert chosen.tolist() == [[-1, -1], [0, 0], [0, 1], [0, 2], [1, 2], [1, 2]]


def test_the_optimal_choice_is_that_of_trying_all():
    rng = np.random.default_rng(0)
    for _ in range(20):
        right, cost = rng.random((5, 3)), rng.random((5, 3))
        every = np.array(list(itertools.product(range(5), repeat=3)))
        values, spent = right[every, range(3)].sum(1), cost[every, range(3)].sum(1)
        for limit, chosen in zip(
            (0.8, 1.5), compute_optimal.compute_optimal(right, cost, (0.8, 1.5)), strict=True
        ):
            if (spent <= limit).any():
                assert (
                    chosen.tolist() == every[np.where(spent <= limit, values, -1).argmax()].tolist()
                )
            else:
                assert chosen.tolist() == [-1, -1, -1]


def test_the_optimal_choice_refuses_other_shapes():
    with pytest.raises(InputError, match=r"right \[2, 2\], cost \[2, 3\]"):
        compute_optimal.compute_optimal(np.ones((2, 2)), np.ones((2, 3)), [1.0])
