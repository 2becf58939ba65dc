"""Reward models: ends of steps, Monte Carlo labels, loss, scores, searches with them, files."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from conftest import random_params
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from jaxreason.answers.vote import pass_at_k
from jaxreason.decoding.completions import Completions
from jaxreason.decoding.sampling import Sampler
from jaxreason.errors import InputError
from jaxreason.models import decoder
from jaxreason.models.hf import LanguageModel, save_model
from jaxreason.models.tokens import build_tokenizer, token_bytes
from jaxreason.rewards import reward_model
from jaxreason.rewards import step_labels as sl
from jaxreason.search import evaluators, game24_rules, word_problems
from jaxreason.search import tree_of_thoughts as tot
from jaxreason.search.tree_of_thoughts import State, Thought
from jaxreason.training import loop, reward_training

CHAIN = "Tom has 4.\n4+5=9.\n\n9*2=18.\n#### 18"


@pytest.fixture(scope="module")
def bpe():
    """A byte-level BPE trained so that newlines merge with punctuation, as those of GPT-2's family
    do.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([".\n", ".\n\n", ".\n1"] * 50, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<eos>")


@pytest.fixture(scope="module")
def model(cfg, tokenizer):
    """Of one layer: depth changes nothing here."""
    shallow = dataclasses.replace(cfg, num_hidden_layers=1)
    return LanguageModel(random_params(shallow), shallow, tokenizer, "random", "")


@pytest.fixture(scope="module")
def reward(model):
    rng = np.random.default_rng(1)
    head = {
        "kernel": jnp.asarray(rng.normal(size=model.cfg.hidden_size + 2), jnp.float32),
        "bias": jnp.float32(0.3),
    }
    return reward_model.from_policy(model, "prm")._replace(
        params={"backbone": model.params, "head": head}
    )


# ---- steps


def ended(tokenizer, text):
    """The text up to and including each token that ends a step."""
    ids = tokenizer(text, add_special_tokens=False).input_ids
    return ended_ids(token_bytes(tokenizer), ids)


def ended_ids(pieces, ids):
    return [
        b"".join(pieces[t] for t in ids[: end + 1]).decode() for end in sl.step_ends(ids, pieces)
    ]


def test_newlines_merged_with_punctuation_end_steps(bpe):
    ids = bpe(CHAIN + "\n", add_special_tokens=False).input_ids
    newline = token_bytes(bpe).index(b"\n")
    assert ids.count(newline) < 2  # the lone newline token misses most of them
    heads = ended(bpe, CHAIN + "\n")
    assert [len(sl.split_steps(head)) for head in heads] == [1, 2, 3, 4]
    assert [head.rstrip("\n1").split("\n")[-1] for head in heads] == [
        "Tom has 4.",
        "4+5=9.",
        "9*2=18.",
        "#### 18".rstrip("1"),
    ]


def test_each_line_of_a_digit_tokenizer_ends_at_its_newline(tokenizer):
    assert ended(tokenizer, CHAIN + "\n") == [
        "Tom has 4.\n",
        "Tom has 4.\n4+5=9.\n",
        "Tom has 4.\n4+5=9.\n\n9*2=18.\n",
        CHAIN + "\n",
    ]


BLANKS = (
    "\n\n\n \t\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0"
    "\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"
)
NOT_BLANK = "a1.\x00\x7f\xad\u00e9\u180e\u200b\u200d\u2060\u4e2d\ufeff\U0001f600"


def test_steps_of_a_text_and_of_its_tokens_are_the_same(bpe, tokenizer):
    """Whatever the blanks, however many bytes they have, and wherever tokens end."""
    rng = np.random.default_rng(0)
    alphabet = list(BLANKS * 2 + NOT_BLANK)
    texts = [
        "\xa0\n",
        "\u3000\n",
        "\x85\n",
        "1\n\u3000\xa0\n2\n",
        "\u200b\n",
        "\ufeff\n",
        "\u4e2d\n\x1c\n",
    ]
    texts += ["".join(rng.choice(alphabet, rng.integers(1, 12))) + "\n" for _ in range(2000)]
    by_byte = [bytes([i]) for i in range(256)]
    pieces, of_bpe = token_bytes(bpe), bpe(texts, add_special_tokens=False).input_ids
    for text, ids in zip(texts, of_bpe, strict=True):
        steps = sl.split_steps(text)
        ends = sl.step_ends(list(text.encode()), by_byte)
        assert [text.encode()[: end + 1].decode() for end in ends] == [
            "".join(line + "\n" for line in text.split("\n")[: i + 1])
            for i, line in enumerate(text.split("\n"))
            if line.strip()
        ], ascii(text)
        assert len(steps) == len(ended_ids(pieces, ids)), ascii(text)
    for blank in BLANKS.replace("\n", ""):
        assert sl.split_steps(blank) == [] == ended(bpe, f"{blank}\n{blank}\n")


def test_blank_lines_are_no_steps(tokenizer):
    assert ended(tokenizer, "\n \n1\n\n") == ["\n \n1\n"]
    assert ended(tokenizer, "12") == []  # not ended
    assert sl.split_steps("\n1\n\n 2") == ["1\n", " 2\n"]


# ---- labels


def test_labels_are_the_success_rates_of_rollouts_from_each_different_prefix(monkeypatch, model):
    asked = []

    def fake(policy, key, prompts, *, num_samples, **_):
        asked.extend(prompts)
        # Behind a line "bad" one rollout of four recovers; else three do.
        texts = [
            ["#### 7" if n < (1 if "bad" in p else 3) else "#### 8" for n in range(num_samples)]
            for p in prompts
        ]
        shape = (len(prompts), num_samples)
        return Completions(texts, np.zeros(shape), np.full(shape, 5), np.ones(shape, bool))

    monkeypatch.setattr(sl, "complete", fake)
    chains = [["a\nb\n#### 7", "a\nbad\n#### 8", ""], ["a\n#### 1"]]
    labelled, cost = sl.monte_carlo_labels(
        model, jax.random.key(0), ["Q\n", "R\n"], chains, [7, 1], num_rollouts=4
    )
    assert asked == [
        "Q\na\n",
        "Q\na\nb\n",
        "Q\na\nbad\n",
        "R\na\n",
    ]  # the shared prefix once, whole chains never
    assert [c.success.tolist() for c in labelled] == [[0.75, 0.75, 1], [0.75, 0.25, 0], [0, 1]]
    assert [c.correct for c in labelled] == [True, False, True]
    assert cost == sl.Cost(steps=8, states=4, rollouts=16, tokens=80)
    with pytest.raises(InputError, match="num_rollouts is 0"):
        sl.monte_carlo_labels(model, jax.random.key(0), [], [], [], num_rollouts=0)


def test_rollouts_of_a_model_depend_on_the_key_alone(model):
    chains = [["1\n2\n3"], ["4\n5"]]

    def label(seed):
        return sl.monte_carlo_labels(
            model,
            jax.random.key(seed),
            ["1", "2"],
            chains,
            [lambda a: a is not None and "1" in a] * 2,
            num_rollouts=4,
            sampler=Sampler(2.0),
            max_new_tokens=6,
        )[0]

    rates = [[c.success.tolist() for c in label(seed)] for seed in (0, 0)]
    assert rates[0] == rates[1] and all(0 <= x <= 1 for row in rates[0] for x in row)


def test_targets():
    chain = sl.LabelledChain("", "", np.float32([1, 0.25, 0, 0.5, 0]), False)
    assert sl.step_targets(chain, "prm").tolist() == [1, 1, 0, 1, 0]
    assert sl.step_targets(chain, "prm", soft=True).tolist() == [1, 0.25, 0, 0.5, 0]
    np.testing.assert_array_equal(
        sl.step_targets(chain, "prm", mask_after_error=True), [1, 1, 0, np.nan, np.nan]
    )
    np.testing.assert_array_equal(sl.step_targets(chain, "orm"), [np.nan] * 4 + [0])


def test_labels_given_by_hand():
    """One for each line that is not blank; the last says whether the chain is right."""
    chain = sl.label_steps("Q\n", "a\n\n b\nc", [1, 0, 1])
    assert chain.prompt == "Q\n" and chain.text == "a\n b\nc\n" and chain.correct is True
    assert chain.success.tolist() == [1, 0, 1] and chain.success.dtype == np.float32
    assert sl.step_targets(chain, "prm").tolist() == [1, 0, 1]
    assert sl.label_steps("Q\n", "a\nb", [1, 0]).correct is False
    assert sl.label_steps("Q\n", "a\nb", [1, 0], correct=True).correct is True


def test_it_is_the_chain_that_rollouts_label(tokenizer):
    """Fed the same labels, training sees the same example."""
    by_hand = sl.label_steps("Tom has", "1+1=2\n#### 2", [1, 0.25], correct=False)
    found = sl.LabelledChain("Tom has", "1+1=2\n#### 2\n", np.float32([1, 0.25]), False)
    [ours], [theirs] = (reward_training.examples(tokenizer, [c], "prm") for c in (by_hand, found))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("text", "labels", "said"),
    [
        ("a\nb", [1], "2 steps and labels of shape"),
        ("\n", [], "0 steps"),
        ("a", [2], "expected 0 .wrong. to 1"),
        ("a", [float("nan")], "labels are"),
    ],
)
def test_labels_that_do_not_fit_are_refused(text, labels, said):
    with pytest.raises(InputError, match=said):
        sl.label_steps("Q\n", text, labels)


# ---- training


def chains_for(n=6):
    return [
        sl.LabelledChain(
            "Tom has", f"{i}+1={i + 1}\n#### {i + 1}\n", np.float32([i % 2, i % 2]), bool(i % 2)
        )
        for i in range(n)
    ]


@functools.partial(jax.jit, static_argnames="cfg")
def states_and_logprobs(backbone, tokens, cfg):
    positions = jnp.arange(tokens.shape[1])[None]
    states, _ = decoder.hidden_states(backbone, tokens, positions, cfg=cfg)
    logits, _ = decoder.forward(backbone, tokens, positions, cfg=cfg)
    return states[0], jax.nn.log_softmax(logits)[0]


def logits_by_hand(reward, tokens, judged):
    """Of one text, from the model's states and logits: the lowest log-probability of a judged token
    so far beside the state.
    """
    backbone, head = reward.params["backbone"], jax.tree.map(np.asarray, reward.params["head"])
    padded = np.zeros((1, 64), np.int32)  # one shape for all; no token sees what follows it
    padded[0, : len(tokens)] = tokens
    states, logprobs = map(np.asarray, states_and_logprobs(backbone, padded, reward.cfg))
    found = []
    for t in range(len(tokens)):
        lowest = min([0.0, *(logprobs[i - 1, tokens[i]] for i in range(1, t + 1) if judged[i])])
        found.append(
            np.concatenate([states[t], [lowest, np.exp(lowest)]]) @ head["kernel"] + head["bias"]
        )
    return np.array(found)


def test_the_loss_is_the_cross_entropy_at_step_ends_by_hand(model, reward, tokenizer):
    made = reward_training.examples(tokenizer, chains_for(), "prm", soft=True)
    batch = reward_training.pack_examples(made, 2, 64, tokenizer.pad_token_id)
    total, count = 0.0, 0
    for e in made:  # each alone, unpacked
        logits = logits_by_hand(reward, e.tokens, e.judged)
        at = ~np.isnan(e.targets)
        p = 1 / (1 + np.exp(-np.float64(logits)))[at]
        total -= (e.targets[at] * np.log(p) + (1 - e.targets[at]) * np.log(1 - p)).sum()
        count += at.sum()
    assert count == 12 == batch.weights.sum()
    loss, _ = jax.jit(functools.partial(reward_training.reward_loss, cfg=reward.cfg))(
        reward.params, batch
    )
    np.testing.assert_allclose(loss, total / count, rtol=1e-4)
    orm = reward_training.pack_examples(
        reward_training.examples(tokenizer, chains_for(), "orm"), 2, 64, tokenizer.pad_token_id
    )
    assert orm.weights.sum() == 6  # one label each


# ---- scores


def test_scores_are_those_of_each_text_alone(reward, tokenizer):
    prompts = ["Tom has 4", "apples"]
    texts = [["1+1=2\n#### 2", "1\n", ""], ["2\n3\n4\n5", "1+1=2\n#### 2", "2\n3\n4\n5\n"]]
    scores = reward_model.step_scores(reward, prompts, texts, rows=4)
    assert scores.shape == (2, 3, 4)
    pieces = token_bytes(tokenizer)
    for g, row in enumerate(texts):
        for n, text in enumerate(row):
            head = tokenizer(prompts[g]).input_ids
            tail = tokenizer("".join(sl.split_steps(text))).input_ids if text else []
            logits = logits_by_hand(reward, head + tail, [False] * len(head) + [True] * len(tail))
            alone = scipy.special.expit(logits)[len(head) :][sl.step_ends(tail, pieces)]
            np.testing.assert_allclose(scores[g, n, : len(alone)], alone, atol=1e-5)
            assert np.isnan(scores[g, n, len(alone) :]).all()
    np.testing.assert_array_equal(scores[1, 0], scores[1, 2])


def test_texts_without_a_step_have_no_scores(reward):
    """However few the rows; and so has no text at all."""
    for rows in (1, 256):
        scores = reward_model.step_scores(reward, ["1", "2"], [["", "\n \n"]] * 2, rows=rows)
        assert scores.shape == (2, 2, 1) and np.isnan(scores).all()
    assert reward_model.step_scores(reward, [], []).shape == (0, 0, 1)


def test_a_chain_beyond_the_context_is_one_line(reward):
    # of which a prompt takes one token, and a newline
    room = reward.cfg.max_position_embeddings - 2
    assert reward_model.step_scores(reward, ["1"], [["1" * room]]).shape == (1, 1, 1)
    with pytest.raises(
        InputError, match=f"have {room + 3} tokens, .* {room + 2}: score shorter chains"
    ):
        reward_model.step_scores(reward, ["1"], [["1" * (room + 1)]])


def test_aggregation():
    scores = np.float32([[0.5, 0.8, np.nan], [0.9, 0.2, 0.6], [np.nan] * 3])
    expected = {
        "min": [0.5, 0.2, 0],
        "prod": [0.4, 0.108, 0],
        "last": [0.8, 0.6, 0],
        "mean": [0.65, 1.7 / 3, 0],
    }
    for how in reward_model.AGGREGATIONS:
        np.testing.assert_allclose(reward_model.aggregate(scores, how), expected[how], rtol=1e-6)
    with pytest.raises(InputError, match="'max'"):
        reward_model.aggregate(scores, "max")
    assert reward_model.first_error(scores).tolist() == [-1, 1, -1]


def test_values_of_states_are_the_scores_of_their_thoughts(reward):
    states = [State("1", ("2+3=5",)), State("4", ("5",)), State("1", ("2+3=5", "6"))]
    values, cost = evaluators.reward_values(
        reward, states, prompt=lambda s: f"Tom has {s.problem}", how="prod"
    )
    for state, value in zip(states, values, strict=True):
        text = "\n".join(state.thoughts)
        alone = reward_model.aggregate(
            reward_model.step_scores(reward, [f"Tom has {state.problem}"], [[text]]), "prod"
        )
        np.testing.assert_allclose(value, alone[0, 0], atol=1e-5)
    assert cost.tolist() == [6, 2, 2]  # tokens of the last thought and its newline


def test_dvts_keeps_subtrees_apart_where_beam_search_does_not():
    tree = {"": "ab", "a": "pq", "b": "r", "ap": "#", "aq": "#", "br": "#"}
    values = {
        "a": 0.9,
        "b": 0.5,
        "ap": 0.8,
        "aq": 0.7,
        "br": 0.1,
        "ap#": 0.3,
        "aq#": 0.2,
        "br#": 1.0,
    }

    def path(state):
        return "".join(thought[0] for thought in state.thoughts)

    def propose(states):
        return [[Thought("####" if c == "#" else c) for c in tree[path(s)]] for s in states], [
            1
        ] * len(states)

    def evaluate(states):
        return [values[path(s)] for s in states], [2] * len(states)

    beam = tot.bfs([State(0)], propose, evaluate, word_problems.LINES, beam=2, max_depth=3)[0]
    apart = tot.dvts(
        [State(0), State(1)], propose, evaluate, word_problems.LINES, subtrees=2, max_depth=3
    )
    assert path(beam.nodes[beam.answer].state) == "ap#"
    for result in apart:
        assert path(result.nodes[result.answer].state) == "br#"
        assert [path(result.nodes[i].state) for i in result.path(result.answer)] == [
            "",
            "b",
            "br",
            "br#",
        ]
        # root, a, b, ap, br: five expansions; a, b, p, q, r, two leaves: seven evaluations
        assert (len(result.expanded), result.generated, result.evaluated) == (5, 5, 14)
    with pytest.raises(InputError, match="subtrees is 0"):
        tot.dvts([State(0)], propose, evaluate, word_problems.LINES, subtrees=0, max_depth=3)
    with pytest.raises(InputError, match="solution test"):
        tot.dvts(
            [State((1, 2, 3, 4))], propose, evaluate, game24_rules.GAME24, subtrees=1, max_depth=3
        )


def test_best_of_n_with_an_oracle_is_unbiased_pass_at_k_on_average():
    """All subsets of k of n chains: the share with a right one is the formula."""
    import itertools

    right = np.array([1, 0, 0, 1, 0, 0], bool)
    for k in range(1, 7):
        subsets = [right[list(s)].any() for s in itertools.combinations(range(6), k)]
        np.testing.assert_allclose(np.mean(subsets), pass_at_k(right.sum(), 6, k), rtol=1e-5)


# ---- files


def test_a_saved_model_scores_the_same(reward, tmp_path):
    reward_model.save_reward_model(tmp_path / "m", reward)
    again = reward_model.load_reward_model(str(tmp_path / "m"))
    assert again.kind == "prm" and len(again.sha256) == 64
    texts = [["1+1=2\n#### 2"]]
    np.testing.assert_array_equal(
        reward_model.step_scores(reward, ["1"], texts),
        reward_model.step_scores(again, ["1"], texts),
    )


def test_a_policy_that_it_was_not_made_for_is_one_line(reward, model, tmp_path):
    reward_model.save_reward_model(tmp_path / "m", reward)
    reward_model.load_reward_model(str(tmp_path / "m"), model)
    other = build_tokenizer(["Ann"])
    with pytest.raises(InputError, match="another tokenizer than other") as error:
        reward_model.load_reward_model(
            str(tmp_path / "m"), LanguageModel(model.params, model.cfg, other, "other", "")
        )
    assert "\n" not in str(error.value)
    wide = decoder.DecoderConfig(len(model.tokenizer), 64, 48, 1, 4, 2, 8, 128)
    with pytest.raises(InputError, match="width 32, and wide 64"):
        reward_model.check_matches(reward, LanguageModel({}, wide, model.tokenizer, "wide", ""))


def test_damaged_directories_are_one_line(reward, model, tmp_path):
    with pytest.raises(InputError, match="'nowhere' not found"):
        reward_model.load_reward_model("nowhere")
    with pytest.raises(InputError, match="not found"):
        save_model(tmp_path / "plain", model.params, model.cfg, model.tokenizer)
        reward_model.load_reward_model(str(tmp_path / "plain"))
    folder = tmp_path / "m"
    reward_model.save_reward_model(folder, reward)
    wrong = reward._replace(
        params=reward.params | {"head": {"kernel": jnp.zeros(5), "bias": jnp.zeros(())}}
    )
    reward_model.save_reward_model(tmp_path / "n", wrong)
    with pytest.raises(InputError, match="for a backbone of width 32"):
        reward_model.load_reward_model(str(tmp_path / "n"))
    (folder / "head.safetensors").write_bytes(b"xx")
    with pytest.raises(InputError, match="missing or damaged"):
        reward_model.load_reward_model(str(folder))
    (folder / "reward_model.json").write_text(json.dumps({"kind": "best"}))
    with pytest.raises(InputError, match="kind is 'best'"):
        reward_model.load_reward_model(str(folder))


# ---- learning: behind the others, for it drops their compiled programs


def test_training_learns_which_steps_are_right_and_keeps_the_lowest_held_out_loss(
    model, tokenizer, tmp_path
):
    start = reward_model.from_policy(model, "prm")
    batch = reward_training.pack_examples(
        reward_training.examples(tokenizer, chains_for(), "prm"), 2, 64, tokenizer.pad_token_id
    )
    loss = jax.jit(lambda params: reward_training.reward_loss(params, batch, cfg=start.cfg)[0])
    assert np.isclose(loss(start.params), np.log(2))  # a head of zeros says 1/2

    tx = optax.adam(3e-3)
    update = loop.make_update(lambda p, b: reward_training.reward_loss(p, b, cfg=start.cfg), tx)

    def run(directory, losses):
        state = loop.init_state(jax.tree.map(jnp.array, start.params), tx)
        seen = []

        def held_out(params):
            seen.append(params)
            return losses[len(seen) - 1] if losses else float(loss(params))

        best, found = reward_training.fit_early_stopping(
            state, update, lambda _: batch, held_out, directory, max_steps=60, every=10, patience=1
        )
        return best, found, seen

    best, found, _ = run(tmp_path / "a", None)
    assert len(found) == 6 and loss(best) == min(found) < 0.3
    best, found, seen = run(tmp_path / "b", [0.5, 0.3, 0.4, 0.6, 0.1])
    assert found == [0.5, 0.3, 0.4]  # one without a new low, and no more are asked for
    jax.tree.map(np.testing.assert_array_equal, best, seen[1])
    again, found, seen = run(tmp_path / "b", [0.0])  # a finished run is read, not trained on
    assert not seen and len(found) == 3
    jax.tree.map(np.testing.assert_array_equal, best, again)
