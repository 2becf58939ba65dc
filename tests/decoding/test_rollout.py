"""Generation: a batch equals one chain at a time, stops are exact, texts and keys are what the
docstrings say.
"""

import dataclasses
import functools
import random

import jax
import numpy as np
import pytest
from conftest import random_params
from scipy import special

from jaxreason.decoding import rows
from jaxreason.decoding.completions import complete, decode
from jaxreason.decoding.rollout import generate
from jaxreason.decoding.sampling import GREEDY, Sampler, sample
from jaxreason.decoding.stop import Stop, compile_stop
from jaxreason.errors import InputError
from jaxreason.models import decoder
from jaxreason.models.cache import unstack
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import pad_left

T = 12
LENGTH = 32  # prompt and continuation of every reference chain
PICKY = Sampler(0.7, top_k=40, min_p=0.01)
SAMPLER = Sampler(0.9)


@pytest.fixture(scope="module")
def prompts(cfg):
    """Token ids of three prompts of different lengths."""
    rng = np.random.default_rng(0)
    return [rng.integers(2, cfg.vocab_size, n).astype(np.int32) for n in (5, 11, 2)]


@pytest.fixture(scope="module")
def stop(cfg):
    """Stops at every 13th token id, so that chains end at different times."""
    next_state = np.zeros((cfg.vocab_size, 2), np.int32)
    next_state[::13], next_state[:, 1] = 1, 1
    return Stop(next_state)


@pytest.fixture(scope="module")
def shallow(cfg, tokenizer):
    """One layer: how deep the model is, is no matter of batches, widths and texts."""
    cfg = dataclasses.replace(cfg, num_hidden_layers=1)
    return LanguageModel(random_params(cfg), cfg, tokenizer, "shallow", "")


@pytest.fixture(scope="module")
def run(params, cfg, stop):
    return functools.partial(generate, params, stop=stop, cfg=cfg, max_new_tokens=T)


@pytest.fixture(scope="module")
def chains(run, prompts):
    """Four of every prompt, of one key or with other options."""
    return functools.partial(run, prompt=pad_left(prompts, 0), sampler=PICKY, num_samples=4)


@pytest.fixture(scope="module")
def rollout(chains):
    return jax.device_get(chains(key=jax.random.key(5)))


@pytest.fixture(scope="module")
def keys():
    """Of the chains of the rollout, as numbers."""
    return np.asarray(jax.random.key_data(jax.random.split(jax.random.key(5), (3, 4))))


@pytest.fixture(scope="module")
def next_logits(params, cfg):
    """Logits after a sequence, from one full forward pass without cache, padding or batch."""
    forward = jax.jit(decoder.forward, static_argnames="cfg")

    def run(ids):
        row = np.zeros((1, LENGTH), np.int32)
        row[0, : len(ids)] = ids
        logits, _ = forward(params, row, np.arange(LENGTH, dtype=np.int32)[None], cfg=cfg)
        return np.asarray(logits)[0, : len(ids)]

    return run


def test_every_chain_is_what_a_plain_loop_draws(rollout, prompts, keys, stop, next_logits):
    """Token t of a chain comes from ``fold_in(chain key, t)`` and the full forward pass over all
    before it. One key is split into one for each chain.
    """

    @jax.jit
    def draw(key_data, t, logits):
        return sample(jax.random.fold_in(jax.random.wrap_key_data(key_data), t), logits, PICKY)

    for b, prompt in enumerate(prompts):
        for n in range(4):
            ids, logprobs, ended = list(prompt), [], False
            for t in range(T):
                logits = next_logits(ids)[-1]
                ids.append(int(draw(keys[b, n], t, logits)))
                logprobs.append(special.log_softmax(np.asarray(logits, np.float64))[ids[-1]])
                if ended := ids[-1] % 13 == 0:
                    break
            count = len(logprobs)
            assert rollout.tokens[b, n, :count].tolist() == ids[len(prompt) :]
            assert rollout.mask[b, n].tolist() == [True] * count + [False] * (T - count)
            assert rollout.finished[b, n] == ended
            np.testing.assert_allclose(rollout.logprobs[b, n, :count], logprobs, atol=1e-4)
            assert (rollout.tokens[b, n, count:] == 0).all() and (
                rollout.logprobs[b, n, count:] == 0
            ).all()
    assert rollout.finished.any() and not rollout.finished.all()  # both kinds occurred above


def test_logprobs_are_teacher_forced_and_untempered(rollout, prompts, next_logits):
    for b, prompt in enumerate(prompts):
        for n in range(4):
            new = rollout.tokens[b, n][rollout.mask[b, n]]
            logits = np.asarray(next_logits([*prompt, *new]), np.float64)[len(prompt) - 1 : -1]
            expected = special.log_softmax(logits, axis=-1)[np.arange(len(new)), new]
            np.testing.assert_allclose(
                rollout.logprobs[b, n][rollout.mask[b, n]], expected, atol=1e-4
            )


def test_the_ending_token_belongs_to_the_chain_and_nothing_after_it(rollout):
    tokens, mask = rollout.tokens.reshape(-1, T), rollout.mask.reshape(-1, T)
    for row, keep, finished in zip(tokens, mask, rollout.finished.reshape(-1), strict=True):
        ends = np.flatnonzero(row[keep] % 13 == 0)
        assert ends.tolist() == ([keep.sum() - 1] if finished else [])
        assert finished or keep.all()


def test_a_chain_does_not_depend_on_its_batch_its_padding_and_the_other_chains(
    run, rollout, prompts, keys
):
    """Pairs of chains, each the only one of its prompt, with the same keys."""
    for first, second in [((2, 0), (0, 3)), ((1, 2), (2, 1)), ((0, 0), (1, 3)), ((2, 2), (2, 3))]:
        pair = [first, second]
        wider = pad_left([prompts[b] for b, _ in pair], pad_id=7, multiple=40)
        chosen = jax.random.wrap_key_data(np.stack([keys[chain] for chain in pair])[:, None])
        alone = jax.device_get(run(chosen, wider, sampler=PICKY))
        for row, chain in enumerate(pair):
            np.testing.assert_array_equal(alone.tokens[row, 0], rollout.tokens[chain])
            np.testing.assert_array_equal(alone.mask[row, 0], rollout.mask[chain])
            np.testing.assert_array_equal(alone.finished[row, 0], rollout.finished[chain])
            np.testing.assert_allclose(alone.logprobs[row, 0], rollout.logprobs[chain], atol=1e-5)


def test_the_same_seed_gives_the_same_bits_and_no_two_chains_share_a_key(chains, rollout):
    jax.tree.map(np.testing.assert_array_equal, chains(key=jax.random.key(5)), rollout)
    assert (chains(key=jax.random.key(6)).tokens != rollout.tokens).any()
    long = [
        tuple(chain)
        for chain, keep in zip(
            rollout.tokens.reshape(-1, T), rollout.mask.reshape(-1, T), strict=True
        )
        if keep.sum() > 2
    ]
    assert len(set(long)) == len(long) > 5


def test_greedy_is_the_argmax_of_the_full_forward_pass(run, prompts, next_logits):
    greedy = jax.device_get(run(jax.random.key(0), pad_left(prompts, 0), sampler=GREEDY))
    for b, prompt in enumerate(prompts):
        new = greedy.tokens[b, 0][greedy.mask[b, 0]]
        logits = next_logits([*prompt, *new])[len(prompt) - 1 : -1]
        assert new.tolist() == logits.argmax(-1).tolist()


def test_a_chain_cut_short_is_not_finished(cfg, chains):
    never = Stop(np.tile(np.arange(2, dtype=np.int32), (cfg.vocab_size, 1)))
    result = chains(key=jax.random.key(0), stop=never)
    assert result.tokens.shape == (3, 4, T) and result.mask.all() and not result.finished.any()


# ---- stopping


STOPS = [
    [],
    ["\n"],
    ["aab"],
    ["ab", "aab"],
    ["aba", "bab", "aabb"],
    ["abab"],
    ["b", "abc"],
    ["caf\u00e9", "\u00e9a"],
    ["\u4f60\u597d", "\U0001f34e"],
    ["Tom has", " Tom"],
    ["12", "211"],
]


@pytest.mark.parametrize("strings", STOPS, ids=ascii)
def test_the_automaton_agrees_with_a_search_in_the_text(tokenizer, strings):
    """On random pieces of the strings and single bytes: it stops at the first token after which one
    is in the text.
    """
    next_state = compile_stop(tokenizer, strings).next_state
    final = next_state.shape[1] - 1
    alphabet = [
        "a",
        "b",
        "aab",
        "ab",
        " ",
        "\n",
        "Tom",
        " Tom",
        "has",
        " has",
        "1",
        "2",
        "\u00e9",
        "\u4f60",
        "\u597d",
    ]
    encoded = tokenizer(
        [*alphabet, "caf\u00e9", "\U0001f34e", *strings], add_special_tokens=False
    ).input_ids
    pool = sorted(
        {i for ids in encoded for i in ids}
    )  # characters of several bytes come in several tokens
    rng, found = random.Random(0), 0
    for _ in range(300):
        ids = []
        while len(ids) < 12:
            ids += rng.choice(encoded) if rng.random() < 0.6 else [rng.choice(pool)]
        state = 0
        for t, token in enumerate(ids):
            state = next_state[token, state]
            text = tokenizer.decode(ids[: t + 1])
            assert (state == final) == any(s in text for s in strings), text
            if state == final:
                found += 1
                break
    assert found > 20 or not strings


def test_overlapping_matches_by_hand(tokenizer):
    def stopped(text, strings):
        next_state = compile_stop(tokenizer, strings).next_state
        state = 0
        for char in text:
            (token,) = tokenizer(char, add_special_tokens=False).input_ids
            state = next_state[token, state]
        return state == next_state.shape[1] - 1

    assert stopped("aaab", ["aab"]) and not stopped("aaa", ["aab"])
    assert stopped("ababac", ["abac"])  # falls back to the longest suffix that is still a prefix
    assert stopped("xab", ["abcd", "b"]) and not stopped("xac", ["abcd", "b"])


def test_the_end_of_text_token_ends_and_an_end_is_final(tokenizer):
    for strings in ([], ["ab", "1"]):
        next_state = compile_stop(tokenizer, strings).next_state
        final = next_state.shape[1] - 1
        assert next_state.shape[0] == len(tokenizer) + 1 and next_state.dtype == np.int32
        assert (next_state[tokenizer.eos_token_id] == final).all() and (
            next_state[:, final] == final
        ).all()


def test_the_automaton_does_not_depend_on_the_order_of_the_strings(tokenizer):
    """Nor on that of a set, which is another in every process: what is kept is named by it."""
    strings = ["ab", "ba", "1a", "a1", "b1"]
    tables = [compile_stop(tokenizer, order).next_state for order in (strings, strings[::-1])]
    np.testing.assert_array_equal(*tables)
    first = [token for token in range(len(tokenizer)) if tables[0][token, 0] == 1]
    assert tokenizer.convert_ids_to_tokens(first) == ["1"]  # in the order of the bytes


def test_an_empty_stop_string_is_refused(tokenizer):
    with pytest.raises(InputError, match="stop string is empty"):
        compile_stop(tokenizer, ["a", ""])


def test_decode_cuts_behind_the_first_stop_and_drops_special_tokens(tokenizer):
    ids = tokenizer("Tom has 12, Tom has 3", add_special_tokens=False).input_ids
    tokens = np.array([[*ids, tokenizer.eos_token_id, 0, 0]])
    mask = np.arange(tokens.shape[1])[None] <= len(ids)
    assert decode(tokenizer, tokens, mask) == ["Tom has 12, Tom has 3"]
    assert decode(tokenizer, tokens, mask, ["has 1", "2"]) == ["Tom has 1"]
    assert decode(tokenizer, tokens, mask, ["3", " has"]) == ["Tom has"]
    assert decode(tokenizer, tokens, mask & (np.arange(tokens.shape[1]) < 2), ["zzz"]) == [
        "Tom has"
    ]


# ---- text to text

QUESTIONS = ["Tom has 12", "ab", "Wait, Tom has 7 apples and caf\u00e9", "#### 3", "aab aab"]


@pytest.fixture(scope="module")
def ask(shallow):
    """Three chains of every prompt."""
    return functools.partial(
        complete,
        shallow,
        sampler=SAMPLER,
        max_new_tokens=T,
        num_samples=3,
        stop_strings=["a", "1"],
    )


@pytest.fixture(scope="module")
def completions(ask):
    return ask(jax.random.key(2), QUESTIONS)


def test_complete_follows_its_contract(shallow, completions):
    """Chain n of prompt g draws from ``split(fold_in(key, g), N)[n]``: prompt by prompt, without
    any batching.
    """
    stop, layers = compile_stop(shallow.tokenizer, ["a", "1"]), unstack(shallow.params)["layers"]
    for g, question in enumerate(QUESTIONS):
        ids = np.array(shallow.tokenizer(question, add_special_tokens=False).input_ids)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(2), g), 3)[None]
        alone = jax.device_get(
            generate(
                shallow.params,
                keys,
                pad_left([ids], 0),
                stop,
                cfg=shallow.cfg,
                sampler=SAMPLER,
                max_new_tokens=T,
                num_samples=3,
                layers=layers,
            )
        )
        assert completions.texts[g] == decode(
            shallow.tokenizer, alone.tokens[0], alone.mask[0], ["a", "1"]
        )
        assert completions.num_tokens[g].tolist() == alone.mask[0].sum(-1).tolist()
        assert completions.finished[g].tolist() == alone.finished[0].tolist()
        np.testing.assert_allclose(completions.logprobs[g], alone.logprobs[0].sum(-1), atol=1e-4)
    for texts, finished in zip(completions.texts, completions.finished, strict=True):
        for text, done in zip(texts, finished, strict=True):
            stops = [text.index(s) for s in ("a", "1") if s in text]
            assert min(stops, default=len(text) - 1) == len(text) - 1 and (done or not stops)


@pytest.mark.parametrize("rows", [1, 6, 7])
def test_texts_do_not_depend_on_the_batches(ask, completions, rows):
    again = ask(jax.random.key(2), QUESTIONS, rows=rows)
    assert again.texts == completions.texts
    np.testing.assert_array_equal(again.num_tokens, completions.num_tokens)


def test_a_key_for_each_prompt_makes_its_chains_independent_of_the_other_prompts(ask):
    texts, key = ["Tom has", "Tom", "has apples Tom"], jax.random.key(9)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, np.arange(3))
    together = ask(keys, texts, rows=6)
    assert together.texts == ask(key, texts, rows=6).texts  # one key stands for these
    assert ask(keys[2:], texts[2:]).texts == together.texts[2:]
    assert ask(keys[::-1], texts[::-1], rows=6).texts == together.texts[::-1]


def test_the_number_of_compilations_is_bounded_and_a_prompt_may_fill_the_context(shallow):
    """58 prompts of 58 lengths need two programs: widths 32 and 128. The longest fills the context
    to the last token.
    """
    questions = ["7" * n for n in (*range(1, 31), *range(97, 125))]
    jax.clear_caches()  # programs of the tests before
    for seed in range(2):
        result = complete(
            shallow, jax.random.key(seed), questions, sampler=GREEDY, max_new_tokens=4, rows=4
        )
    assert rows.prefill._cache_size() == rows.draw_chunk._cache_size() == 2
    assert len(result.texts) == 58 and all(len(texts) == 1 for texts in result.texts)


def test_bad_requests_are_one_line(model):
    def refuse(prompts, message, **options):
        options = {"sampler": GREEDY, "max_new_tokens": 4} | options
        with pytest.raises(InputError, match=message) as error:
            complete(model, jax.random.key(0), prompts, **options)
        assert "\n" not in str(error.value)

    refuse(["Tom", ""], "prompt is empty")
    refuse(
        ["7" * 125],
        "125 tokens and max_new_tokens is 4: at most 128 fit .* ask for at most 3 new tokens",
    )
    refuse(["7" * 128], "at most 128 fit into the context")
    refuse(
        ["Tom"],
        "max_new_tokens is 130: at most 128 fit .* ask for at most 127 new tokens",
        max_new_tokens=130,
    )
    refuse(["Tom"], "number of chains is 0", num_samples=0)
    with pytest.raises(
        InputError, match=r"keys of shape \(2,\): expected one, or one for each of 3 prompts"
    ):
        complete(
            model,
            jax.random.split(jax.random.key(0)),
            ["Tom"] * 3,
            sampler=GREEDY,
            max_new_tokens=4,
        )
    refuse(["Tom"], "stop string is empty", stop_strings=[""])


def test_no_prompts_no_texts(model):
    result = complete(model, jax.random.key(0), [], sampler=GREEDY, max_new_tokens=4)
    assert result.texts == [] and result.finished.shape == (0, 1)
