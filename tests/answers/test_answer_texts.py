"""The grader on texts whose answer is known: nothing wrong passes, hardly anything right fails."""

import importlib.util
import random

import pytest

from tests.answers.answer_texts import FAULTS, KINDS, examples, generate, measure

has_math_verify = importlib.util.find_spec("math_verify") is not None


@pytest.mark.parametrize(
    "cases, math_verify",
    [
        pytest.param(4000, False, id="without math-verify"),
        pytest.param(
            400,
            True,
            id="with math-verify",
            marks=pytest.mark.skipif(not has_math_verify, reason="math-verify is optional"),
        ),
    ],
)
def test_generated_texts_are_graded_as_they_were_meant(cases, math_verify):
    report = measure(cases, seed=7, installed=math_verify)
    found = {fault: report.count(fault) for fault in FAULTS}
    unread = max(found.pop("missed"), found.pop("votes split"))
    assert not any(found.values()) and unread <= 0.005 * cases, examples(report, most=1)


def test_the_generator_draws_every_kind_and_both_verdicts():
    rng = random.Random(0)
    cases = [generate(rng) for _ in range(2000)]
    assert {case.kind for case in cases} == set(KINDS)
    assert len({case.text for case in cases}) > 1900
    share = sum(case.right is True for case in cases) / len(cases)
    assert 0.35 < share < 0.6
    assert [generate(random.Random(3)) for _ in range(2)] == [generate(random.Random(3))] * 2
