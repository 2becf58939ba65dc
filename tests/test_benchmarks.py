"""What the programs under benchmarks/ compute beside times."""

import numpy as np
import pytest

from benchmarks import prompts
from benchmarks.smollm2_grpo import EXAMPLES, in_words, is_right, prompt, split
from jaxreason.decoding.completions import Completions
from jaxreason.decoding.prompts import zero_shot_cot
from jaxreason.errors import InputError
from jaxreason.evaluation.results import Results
from jaxreason.tasks.problem import Problem


def test_numbers_in_words():
    assert [in_words(n) for n in (10, 19, 20, 43, 99)] == [
        "ten",
        "nineteen",
        "twenty",
        "forty-three",
        "ninety-nine",
    ]
    assert len({in_words(n) for n in range(100)}) == 100


def test_held_out_sums_are_neither_trained_on_nor_shown():
    trained, held_out = split(150)
    assert (len(trained), len(held_out)) == (90 * 91 // 2 - len(EXAMPLES) - 150, 150)
    sums = {frozenset(pair) for pair in trained} | {frozenset(pair) for pair in EXAMPLES}
    assert not sums & {frozenset(pair) for pair in held_out}
    assert all(10 <= n <= 99 for pair in trained + held_out for n in pair)
    assert sum(a > b for a, b in trained) > len(trained) / 3  # both orders occur
    assert prompt(43, 20).endswith(
        "\n\nQ: What is forty-three plus twenty?\nA:"
    ) and "43" not in prompt(43, 20)


def test_only_a_whole_line_that_ends_in_the_sum_is_right():
    right = [" 86 + 67 = 153\n", " 153\n", " 86+67=153\n", " 80 + 73 = 153\n"]
    wrong = [
        " 86 + 67 = 153",
        " 86 + 67 = 1153\n",
        " 86 + 67 = 153.\n",
        " 86 + 67 = 15\n",
        " 153 = 86 + 67\n",
        "",
        "\n",
    ]
    assert all(is_right(86, 67, text) for text in right)
    assert not any(is_right(86, 67, text) for text in wrong)


ASKED = ["ccc", "a", "dddd", "bb", "eeeee"]


@pytest.fixture
def batches(monkeypatch):
    """The batches asked of a model that says every prompt twice; the third is interrupted."""
    seen = []

    def complete(model, key, texts, **options):
        seen.append(list(texts))
        if len(seen) == 3:
            raise KeyboardInterrupt
        shape = len(texts), 1
        tokens = np.array([[30 * len(text)] for text in texts])
        return Completions([[2 * text] for text in texts], np.zeros(shape), tokens, tokens < 100)

    monkeypatch.setattr(prompts, "complete", complete)
    return seen


def test_a_stopped_comparison_of_prompts_goes_on_after_its_last_batch(tmp_path, batches):
    path = tmp_path / "words.jsonl"
    with pytest.raises(KeyboardInterrupt):
        prompts.write_chains(None, ASKED, path, rows=2, max_new_tokens=400)
    chains = prompts.write_chains(None, ASKED, path, rows=2, max_new_tokens=400)
    assert batches == [["a", "bb"], ["ccc", "dddd"], ["eeeee"], ["eeeee"]]  # short ones first
    assert [chain["text"] for chain in chains] == [2 * text for text in ASKED]  # as asked
    assert [chain["finished"] for chain in chains] == [True, True, False, True, False]
    assert prompts.write_chains(None, ASKED, path, rows=2, max_new_tokens=400) == chains
    assert len(batches) == 4  # nothing was left to write
    for asked, longest in ((["other"], 400), (ASKED, 399)):
        with pytest.raises(InputError, match="chains of another run"):
            prompts.write_chains(None, asked, path, rows=2, max_new_tokens=longest)


def test_what_a_wording_comes_to():
    model = {"name": "m", "params": 1, "sha256": None}
    results = Results("prompts", model=model, seed=0, problems=4)
    written = (("\\boxed{7}", 19), ("It is 8.", 20), ("\\boxed{9}", 7), ("and so on", 400))
    chains = [{"text": text, "tokens": t, "finished": t < 400} for text, t in written]
    problems = [Problem("?", gold) for gold in (7, 8, 10, 1)]
    row = prompts.measure(results, "step_by_step", chains, problems)
    assert row == (
        "| step_by_step | `Let's think step by step.` | 50.0% | 15.0% to 85.0% | 112 | 50.0% "
        "| 75.0% |\n"
    )
    assert {m["name"]: m["value"] for m in results.measurements} == {
        "accuracy/step_by_step": 0.5,
        "under_20_tokens/step_by_step": 0.5,
        "finished/step_by_step": 0.75,
    }


def test_the_prompt_in_use_is_one_that_is_measured(recipe):
    tokenizer = recipe.build_tokenizer(["Tom"])
    tokenizer.chat_template = "{{ messages[0].content }}{% if add_generation_prompt %}>{% endif %}"
    assert zero_shot_cot("{question}", tokenizer) == prompts.WORDINGS["step_by_step"] + ">"
