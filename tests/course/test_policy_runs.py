"""Runs of policies: what is refused, what their logs say, and the batches of their control."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from jaxreason import InputError, load_model
from jaxreason.course import policy_runs, sft_arithmetic
from jaxreason.course.policy_runs import SMOKE, Recipe, check_mesh, read_log
from jaxreason.course.sft_arithmetic import solution_batches


def test_a_mesh_that_does_not_divide_the_questions_is_refused(monkeypatch):
    check_mesh(Recipe(), None)
    for parts, recipe in ((2, Recipe()), (2, SMOKE), (16, Recipe())):
        monkeypatch.setattr(policy_runs, "num_row_parts", lambda mesh, parts=parts: parts)
        check_mesh(recipe, SimpleNamespace())
    monkeypatch.setattr(policy_runs, "num_row_parts", lambda mesh: 3)
    with pytest.raises(InputError, match="--mesh has 3 devices: expected a number that divides"):
        check_mesh(Recipe(), SimpleNamespace())


def test_of_a_step_that_was_taken_twice_the_last_time_counts(tmp_path):
    rows = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}, {"step": 2, "loss": 3.0}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert read_log(tmp_path)["loss"].tolist() == [1.0, 3.0]


def test_a_batch_of_solutions_is_a_function_of_seed_and_step(monkeypatch):
    monkeypatch.setattr(sft_arithmetic, "NUM_SOLUTIONS", 40)
    tokenizer = load_model("tiny-start").tokenizer
    batches = solution_batches(tokenizer, 0)
    first, again = batches(3), solution_batches(tokenizer, 0)(3)
    assert first.tokens.shape == (8, 256)
    assert 0 < first.weights.sum() < (first.segment_ids > 0).sum()  # prompts are masked
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert (first.tokens != batches(4).tokens).any()
