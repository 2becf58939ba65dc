"""The models in checkpoints/: their files, their cards, and what they can do."""

import functools
import hashlib
import itertools
import json
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxreason import (
    GREEDY,
    Sampler,
    complete,
    complete_within,
    direct,
    few_shot,
    load_model,
    load_reward_model,
    zero_shot_cot,
)
from jaxreason.answers.extract import last_attempt
from jaxreason.answers.verify import grade
from jaxreason.evaluation.intervals import auc
from jaxreason.models.hf import shipped
from jaxreason.search.evaluators import VALUES, replies, value_replies
from jaxreason.search.game24_rules import moves_value_prompt
from jaxreason.search.tree_of_thoughts import State
from jaxreason.tasks import arithmetic, game24, game24_puzzles
from jaxreason.tasks.game24_value import MAX_TOKENS

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
VALUES_ASKED = ["Value: 4 6\n", "Value: 1 1\n", "Value: 20 4\n"]


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


def write(model, texts, sampler=GREEDY, num_samples=1, stop="\n\n", rows=512):
    return complete(
        model,
        jax.random.key(0),
        texts,
        sampler=sampler,
        max_new_tokens=96,
        num_samples=num_samples,
        stop_strings=(stop,),
        rows=rows,
    ).texts


def fresh_problems():
    """200 validation problems that no card saw."""
    return arithmetic.problems("validation", 200, seed=7)


def prompts_of_tiny() -> dict[str, list[str]]:
    """Of all tests below that ask for greedy chains of `tiny`."""
    three = arithmetic.problems("validation", 20, operations=(3,))
    shown = arithmetic.problems("train", 2, operations=(2,))
    reasoned = [
        (p.question, "\n" + "\n".join([*arithmetic.solve(p), f"#### {p.answer}"])) for p in shown
    ]
    at_once = [(p.question, f" {p.answer}") for p in shown]
    return {
        "fresh": [zero_shot_cot(p.question) for p in fresh_problems()],
        "direct": [direct(p.question) for p in three],
        "cot": [zero_shot_cot(p.question) for p in three],
        "few-shot direct": [few_shot(p.question, at_once) for p in three],
        "few-shot cot": [few_shot(p.question, reasoned) for p in three],
        "wait": [
            zero_shot_cot(p.question) + "\n".join([*arithmetic.solve(p), "Wait", ""])
            for p in arithmetic.problems("validation", 20, operations=(2,))
        ],
        "values": VALUES_ASKED,
    }


@pytest.fixture(scope="module")
def written(tiny):
    """What `tiny` writes to each of them, in one call: one program."""
    prompts = prompts_of_tiny()
    texts = iter(write(tiny, list(itertools.chain(*prompts.values()))))
    return {name: list(itertools.islice(texts, len(asked))) for name, asked in prompts.items()}


def test_both_sizes_ship_and_fit_the_budget():
    assert set(shipped()) >= {"tiny", "tiny-l"}
    assert (
        sum(path.stat().st_size for path in CHECKPOINTS.rglob("*") if path.is_file()) < 40 * 2**20
    )


@pytest.mark.parametrize("name", sorted(shipped()))
def test_the_card_belongs_to_the_weights(name):
    directory = shipped()[name]
    sha256 = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    card = (directory / "README.md").read_text()
    assert sha256 in card
    for key, (value, low, high, n) in json.loads((directory / "results.json").read_text()).items():
        assert f"| {key} | {value:.3f} | {low:.3f} - {high:.3f} | {n} |" in card


@pytest.mark.parametrize(
    "path", sorted(CHECKPOINTS.glob("*/reward_model.json")), ids=lambda path: path.parent.name
)
def test_a_reward_model_belongs_to_its_card_and_to_its_policy(path):
    policy = load_model("tiny")
    reward = load_reward_model(path.parent.name, policy)
    card = (path.parent / "README.md").read_text()
    assert reward.sha256 in card and policy.sha256 in card
    for key, (value, low, high, n) in json.loads(
        (path.parent / "results.json").read_text()
    ).items():
        assert f"| {key} | {value:.3f} | {low:.3f} - {high:.3f} | {n} |" in card


def test_every_seed_lands_where_the_others_expect_it():
    train = runpy.run_path(str(CHECKPOINTS / "train.py"))
    seeds = train["of_seeds"](CHECKPOINTS / "tiny")
    assert len(seeds) >= 8 and all(len(values) == 4 for values in seeds.values())
    for values in seeds.values():
        for i, value in enumerate(values):
            interval = train["new_seed"](values[:i] + values[i + 1 :])
            assert interval.low <= value <= interval.high
    assert (
        train["seeds_section"](CHECKPOINTS / "tiny")
        in (CHECKPOINTS / "tiny" / "README.md").read_text()
    )


def test_the_interval_of_a_new_seed_by_hand():
    """t(2, 97.5%) = 4.3027: 1 +- 4.3027 * 1 * sqrt(4/3) of the values 0, 1, 2."""
    interval = runpy.run_path(str(CHECKPOINTS / "train.py"))["new_seed"]([0.0, 1.0, 2.0])
    assert interval.value == 1 and interval.n == 3
    np.testing.assert_allclose([interval.low, interval.high], [1 - 4.968, 1 + 4.968], atol=1e-3)


def test_batches_drawn_ahead_by_processes_are_those_of_their_steps():
    drawn_ahead = runpy.run_path(str(CHECKPOINTS / "train.py"))["drawn_ahead"]
    with drawn_ahead(hex, 2) as batch_fn:
        assert [batch_fn(step) for step in range(7, 27)] == [hex(step) for step in range(7, 27)]


def test_tiny_is_14_times_smaller_than_tiny_l(tiny):
    assert 300_000 < tiny.num_params < 400_000
    assert 12 < load_model("tiny-l").num_params / tiny.num_params < 16


def test_tiny_on_fresh_problems_agrees_with_its_card(written):
    """200 validation problems the card never saw: within four standard errors of the card's greedy
    accuracy.
    """
    correct = grade(written["fresh"], [p.answer for p in fresh_problems()])
    value, _, _, _ = json.loads((CHECKPOINTS / "tiny" / "results.json").read_text())["cot"]
    assert abs(correct.mean() - value) < 4 * np.sqrt(value * (1 - value) / 200)


def test_the_prompt_decides_the_behaviour_of_the_same_weights(written):
    lines = {"direct": 0, "cot": 3, "few-shot direct": 0, "few-shot cot": 3}
    for prompt, count in lines.items():
        assert np.median([t[0].strip().count("\n") for t in written[prompt]]) == count


def test_tiny_start_leaves_something_to_be_learned_from_rewards():
    """On fresh validation problems a chain at temperature 1 is right about as often as its card
    says, .2 to .6.
    """
    problems, model = fresh_problems(), load_model("tiny-start")
    texts = write(
        model,
        [zero_shot_cot(p.question) for p in problems],
        Sampler(temperature=1.0),
        num_samples=4,
        rows=200,  # short chains are over before a batch of long ones is
    )
    value, _, _, _ = json.loads((CHECKPOINTS / "tiny-start" / "results.json").read_text())[
        "cot, T=1/pass@1"
    ]
    assert 0.2 < value < 0.6
    right = grade(texts, [p.answer for p in problems]).mean(1)
    assert abs(right.mean() - value) < 4 * right.std() / np.sqrt(200)


def test_after_wait_it_starts_again_from_the_problem(written):
    problems = arithmetic.problems("validation", 20, operations=(2,))
    correct = grade(written["wait"], [p.answer for p in problems])
    assert correct.mean() > 0.5


# The first of these reads word problems alone, the other values alone
@pytest.mark.parametrize("name", sorted(set(shipped()) - {"tiny-start", "tiny-24-value"}))
def test_games_of_24_are_written_in_the_format_the_checker_reads(name):
    model, puzzles = load_model(name), game24_puzzles.puzzles("validation")[:10]
    texts = write(
        model,
        [game24.format_puzzle(p) for p in puzzles],
        Sampler(temperature=1.0),
        num_samples=4,
        stop="\n",
    )
    first_moves = [game24.parse_line(text.split("\n")[0]) for group in texts for text in group]
    assert np.mean([move is not None for move in first_moves]) > 0.9


# The other models are trained on no values, as their cards say
@pytest.mark.parametrize("name", ["tiny", "tiny-24", "tiny-l"])
def test_values_are_one_of_three_words(name, written):
    values = written["values"] if name == "tiny" else write(load_model(name), VALUES_ASKED)
    assert {text[0] for text in values} <= {"sure", "likely", "impossible"}


def test_waits_help_on_puzzles():
    """40 validation puzzles: with four waits more of the last attempts are right, and a wait is
    written only where thinking ended.
    """
    model, puzzles = load_model("tiny-24-wait"), game24_puzzles.puzzles("validation")[:40]
    texts = [game24.format_puzzle(p) for p in puzzles]
    solved = {}
    for waits in (0, 4):
        written = complete_within(
            model,
            jax.random.key(0),
            texts,
            waits=waits,
            ends=["####"],
            sampler=Sampler(1.0),
            max_new_tokens=300,
        )
        attempts = [
            last_attempt(row[0]).removeprefix(text)
            for text, row in zip(texts, written.texts, strict=True)
        ]
        solved[waits] = np.mean(
            [game24.is_solved(p, a) for p, a in zip(puzzles, attempts, strict=True)]
        )
        assert [row[0].count("Wait\n") for row in written.texts] == written.rule_state.used[
            :, 0
        ].tolist()
    assert solved[4] > solved[0]


def test_thinking_values_tell_unseen_states_apart():
    """Of all states of three numbers under the validation puzzles that training left out; a glance
    of `tiny-24` is little better than chance.
    """
    states = [
        s
        for s in game24_puzzles.substates(game24_puzzles.puzzles("validation"), 3)
        if game24_puzzles.substate_split(s) == "unseen"
    ]
    ask = functools.partial(
        replies,
        load_model("tiny-24-value"),
        jax.random.key(0),
        max_new_tokens=MAX_TOKENS,
        rows=37,
    )
    scores, _ = value_replies(
        ask, [State(s) for s in states], prompt=moves_value_prompt, values=VALUES
    )
    assert auc(scores, np.array([game24.solvable(s) for s in states])).low > 0.75
