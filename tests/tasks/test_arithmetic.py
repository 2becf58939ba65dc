"""Arithmetic: the solver and the step checker agree, wordings say what the expression says,
held-out stays held out.
"""

import re

import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.tasks import arithmetic
from jaxreason.tasks.arithmetic import (
    Problem,
    Term,
    check_steps,
    problems,
    sample_problem,
    solve,
    split_of,
)

EXAMPLE = Problem("", 45, (Term(-1, 12), Term(1, 3, 7)))  # 45-12+3*7
GOOD = ["45-12=33", "3*7=21", "33+21=54"]


def samples(n, seed=0, **options):
    rng = np.random.default_rng(seed)
    return [sample_problem(rng, 1 + i % 6, **options) for i in range(n)]


def evaluate(expression):
    """By another route than the module's: Python's own arithmetic."""
    assert re.fullmatch(r"\d+([-+]\d+(\*\d+)?)+", expression)
    return eval(expression)


def test_the_documented_example():
    assert EXAMPLE.expression == "45-12+3*7"
    assert (EXAMPLE.answer, EXAMPLE.num_operations) == (54, 3)
    assert solve(EXAMPLE) == GOOD
    assert check_steps(EXAMPLE, "\n".join([*GOOD, "#### 54"])) == [True] * 3


def test_expressions_are_what_they_say():
    for problem in samples(1200):
        assert evaluate(problem.expression) == problem.answer
        assert problem.num_operations == sum(problem.expression.count(c) for c in "+-*")
        assert 5 <= problem.start <= 60
        for term in problem.terms:
            assert 2 <= term.a <= 40 if term.b == 1 else (2 <= term.a <= 9 and 2 <= term.b <= 9)
        totals = np.cumsum([problem.start, *(t.sign * t.value for t in problem.terms)])
        assert totals.min() >= 0 and totals.max() <= 199


def test_a_solution_is_accepted_in_any_order():
    rng, orders = np.random.default_rng(1), 0
    for problem in samples(1200):
        for lines in (solve(problem), solve(problem, rng)):
            assert len(lines) == problem.num_operations
            assert check_steps(problem, "\n".join([*lines, f"#### {problem.answer}"])) == [
                True
            ] * len(lines)
            assert lines[-1].endswith(f"={problem.answer}")
            for line in lines:
                left, right = line.split("=")
                assert eval(left) == int(right) and 0 <= int(right) <= 199
        orders += lines != solve(problem)
    assert orders > 500  # random orders do occur


def test_any_wrong_line_is_rejected_with_all_that_follow():
    """One slip a solution, in a random line: a wrong result, a wrong total carried on, or an
    operand changed.
    """
    rng = np.random.default_rng(2)
    for problem in samples(600):
        lines = solve(problem, rng)
        at = int(rng.integers(len(lines)))
        a, op, b, result = re.fullmatch(r"(\d+)([-+*])(\d+)=(\d+)", lines[at]).groups()
        off = int(rng.integers(1, 10))
        wrong = [f"{a}{op}{b}={int(result) + off}"]
        if op != "*":
            moved = int(a) + off
            wrong.append(
                f"{moved}{op}{b}={eval(f'{moved}{op}{b}')}"
            )  # right arithmetic on a wrong total
        other = int(b) + 200  # no term is so big
        wrong.append(f"{a}{op}{other}={eval(f'{a}{op}{other}')}")
        for line in wrong:
            text = "\n".join([*lines[:at], line, *lines[at + 1 :]])
            assert check_steps(problem, text) == [True] * at + [False] * (len(lines) - at), (
                problem.expression,
                text,
            )


@pytest.mark.parametrize(
    "lines, verdicts",
    [
        (["3*7=21", "45+21=66", "66-12=54"], [1, 1, 1]),
        (["45-12=33", "7*3=21", "33+21=54"], [1, 1, 1]),  # a product either way round
        (["45-12=34", "3*7=21", "34+21=55"], [0, 0, 0]),  # wrong arithmetic
        (["45-12=33", "33+21=54"], [1, 0]),  # the product was skipped
        (["45-12=33", "3*7=21", "33-21=12"], [1, 1, 0]),  # the sign of another term
        (["45-12=33", "33-12=21", "3*7=21"], [1, 0, 0]),  # a term used twice
        (["3*7=21", "3*7=21"], [1, 0]),  # a product computed twice
        (["3*7=21", "45+21=66", "66+21=87"], [1, 1, 0]),
        (["45-12=33", "3*7=21", "34+21=55"], [1, 1, 0]),  # a total that was not reached
        (["45-12=33", "3*8=24", "33+24=57"], [1, 0, 0]),  # a misread number
        (["12-45=33"], [0]),
        (["45+12=57"], [0]),
        (["45-12=33", "", "3*7=21"], [1, 0, 0]),  # not a step
        (["so 45-12=33"], [0]),
        (["45 - 12 = 33"], [0]),
        (["45-12=33."], [0]),
        ([" 45-12=33 "], [1]),
        ([*GOOD, "54+0=54"], [1, 1, 1, 0]),  # nothing is left to do
        (
            ["45-12=33", "#### 33"],
            [1],
        ),  # stopping early is no wrong step; the answer is graded apart
        (["#### 54", "45-12=34"], []),  # what follows the answer is no step
    ],
    ids=str,
)
def test_verdicts_by_hand(lines, verdicts):
    assert check_steps(EXAMPLE, "\n".join(lines)) == [bool(v) for v in verdicts]


def test_equal_terms_can_be_used_as_often_as_they_occur():
    problem = Problem("", 10, (Term(1, 6), Term(1, 2, 3), Term(1, 6)))
    assert check_steps(problem, "10+6=16\n16+6=22\n2*3=6\n22+6=28") == [True] * 4
    assert check_steps(problem, "10+6=16\n16+6=22\n22+6=28") == [True, True, False]


def test_the_wording_states_every_number_in_order():
    for problem in samples(1500, seed=3):
        stated = [int(n) for n in re.findall(r"\d+", problem.question)]
        assert stated.pop(0) == problem.start
        for term in problem.terms:
            if term.b == 1:
                assert stated.pop(0) == term.a
            else:  # "5 a day for 3 days" names the second factor first
                assert sorted([stated.pop(0), stated.pop(0)]) == sorted([term.a, term.b])
        assert not stated
        assert "{" not in problem.question and problem.question.endswith(("?", "end?"))
        assert problem.question[0].isupper() and "  " not in problem.question


def test_pronouns_follow_their_person():
    wordings = [p.question for p in samples(1500, seed=4)]
    assert any(re.search(r"\b(He|he|She|she)\b", w) for w in wordings)
    for wording in wordings:
        first = next(
            (
                name
                for name in arithmetic.NAMES
                if re.match(rf"(There are \d+ \w+ in the box of |One day )?{name}\b", wording)
            ),
            None,
        )
        if first:
            other = {"He": "she", "She": "he"}[arithmetic.PRONOUNS[first]]
            assert not re.search(rf"\b{other}\b", wording, re.IGNORECASE)


def test_equations_are_the_bare_expression():
    for problem in samples(100, as_equation=True):
        assert problem.question == f"What is {problem.expression}?"


# ---- splits


def test_splits_are_disjoint_by_expression_and_have_their_shares():
    found = {
        split: {p.expression for p in samples(1500, seed=5, split=split)}
        for split in ("train", "validation", "test")
    }
    for split, expressions in found.items():
        assert {split_of(e) for e in expressions} == {split}
    assert not found["train"] & found["test"] and not found["train"] & found["validation"]
    assert not found["test"] & found["validation"]
    rng = np.random.default_rng(6)
    drawn = [split_of(f"{a}+{b}") for a, b in rng.integers(5, 2000, (10_000, 2))]
    shares = [drawn.count(s) / len(drawn) for s in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.015)


def test_a_split_does_not_depend_on_the_wording():
    problem = problems("test", 1)[0]
    rng = np.random.default_rng(7)
    reworded = {arithmetic.in_words(rng, problem.start, problem.terms) for _ in range(20)}
    assert len(reworded) > 15 and split_of(problem.expression) == "test"


def test_held_out_problems_never_occur_in_the_training_mixture(recipe):
    """Every problem behind 3,000 documents of the recipe, and every expression its texts spell out."""
    used = []

    def spy(*args, **kwargs):
        used.append(sample_problem(*args, **kwargs))
        return used[-1]

    rng = np.random.default_rng([0, 0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe.arithmetic, "sample_problem", spy)

        texts = ["".join(piece.text for piece in recipe.document(rng)) for _ in range(3000)]
    assert len(used) > 2500 and {split_of(p.expression) for p in used} == {"train"}
    spelled = re.findall(r"What is ([-+*\d]+)\?", "\n".join(texts))
    assert len(spelled) > 100 and {split_of(e) for e in spelled} == {"train"}

    held_out = problems("test", 500, operations=(1, 2, 3, 4, 5, 6)) + problems("validation", 500)
    assert not {p.expression for p in held_out} & {p.expression for p in used}
    everything = "\n".join(texts)
    assert not any(p.question in everything for p in held_out)


# ---- problems


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_problems_are_different_balanced_and_reproducible(split):
    found = problems(split, 60)
    assert len({p.expression for p in found}) == 60 and {split_of(p.expression) for p in found} == {
        split
    }
    assert [p.num_operations for p in found] == [2, 3, 4, 5, 6] * 12
    assert found == problems(split, 60)
    assert found[:10] == problems(split, 10)
    assert found != problems(split, 60, seed=1)


def test_operations_can_be_chosen():
    assert {p.num_operations for p in problems("test", 9, operations=(3,))} == {3}
    assert [p.num_operations for p in problems("test", 5, operations=(6, 1))] == [6, 1, 6, 1, 6]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("test", 0), "number of problems is 0"),
        (("test", -3), "number of problems is -3"),
        (("dev", 5), "split 'dev'"),
        (("test", 5, 0, (2, 7)), "7 operations: expected 1 to 6"),
        (("test", 5, 0, (0,)), "0 operations"),
        (("test", 5, -1), "seed is -1"),
        (("test", 5, 0, ()), "no numbers of operations"),
        (("test", 2000, 0, (1,)), "2000 different problems"),  # there are 396 of one operation
    ],
    ids=str,
)
def test_bad_requests_are_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        problems(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "true"),
    [
        ("45-12=33", True),
        ("3*7=21", True),
        ("33+21=54", True),
        ("5-9=-4", True),
        ("#### 63", True),
        ("Wait", True),
        ("45-12=34", False),
        ("3*7=24", False),
        ("33+21=55", False),
    ],
)
def test_a_line_is_false_only_if_its_arithmetic_is(line, true):
    assert arithmetic.is_true(line) == true


def test_scarce_solutions_are_fixed_right_and_of_the_train_split():
    found = arithmetic.solutions(300)
    assert found == arithmetic.solutions(300) != arithmetic.solutions(300, seed=1)
    assert len({problem.expression for problem, _ in found}) == 300
    assert {problem.num_operations for problem, _ in found} == {1, 2, 3, 4, 5, 6}
    for problem, lines in found:
        assert arithmetic.split_of(problem.expression) == "train"
        assert all(arithmetic.check_steps(problem, "\n".join(lines))) and lines[-1].endswith(
            f"={problem.answer}"
        )


def test_where_traces_are_scarce_no_other_word_problem_is_shown(recipe):
    rng = np.random.default_rng(0)
    texts = ["".join(piece.text for piece in recipe.scarce_document(rng, 50)) for _ in range(2000)]
    spelled = [re.match(r"Q: What is ([-+*\d]+)\?", text) for text in texts]
    assert {split_of(found[1]) for found in spelled if found} == {"train"}
    stories = {text for text, found in zip(texts, spelled, strict=True) if not found}
    assert stories == {"".join(piece.text for piece in pieces) for pieces in recipe.traces(50)}


def test_drills_are_true_lines_of_no_held_out_problem():
    rng = np.random.default_rng(0)
    for _ in range(500):
        question, line = arithmetic.drill(rng)
        left, _, right = line.partition("=")
        assert question == f"What is {left}?" and eval(left) == int(right)
        assert 0 <= int(right) <= arithmetic.MAX_TOTAL and arithmetic.split_of(left) == "train"
