"""Game of 24: the solver against brute force, the step checker, the splits, the training text."""

import re
from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement, permutations

import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.tasks import game24, game24_puzzles, game24_training
from jaxreason.tasks.game24 import Move

MULTISETS = list(combinations_with_replacement(range(1, 14), 4))
EXAMPLES = 5000


@cache
def brute_force(state: tuple[Fraction, ...], whole: bool) -> bool:
    """An independent solver: exact fractions, every ordered pair; `whole` keeps results in 0..999
    only.
    """
    if len(state) == 1:
        return state[0] == 24
    for i, j in permutations(range(len(state)), 2):
        a, b = state[i], state[j]
        rest = [state[k] for k in range(len(state)) if k not in (i, j)]
        results = [a - b, *([a / b] if b else []), *([a + b, a * b] if i < j else [])]
        for r in results:
            if whole and (r.denominator != 1 or not 0 <= r <= 999):
                continue
            if brute_force(tuple(sorted([*rest, r])), whole):
                return True
    return False


def fractions(state):
    return tuple(Fraction(n) for n in state)


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    return [game24_training.training_example(rng) for _ in range(EXAMPLES)]


def states_of(example):
    """Every state in the text of an example, the prompt's own first."""
    head, numbers = example.prompt.strip().split(": ")
    states = [tuple(sorted(map(int, numbers.split())))]
    if head == "24":
        lines = example.completion.split("\n")[:-1]
        states += [tuple(map(int, line.split(" left ")[1].split())) for line in lines]
    return states


# ---- the solver


def test_solver_agrees_with_brute_force_on_every_puzzle():
    assert len(MULTISETS) == 1820
    solved = {p for p in MULTISETS if game24.solvable(p)}
    assert solved == {p for p in MULTISETS if brute_force(fractions(p), True)}
    assert len(solved) == 1346


def test_fractions_solve_1362_puzzles_and_all_of_the_papers():
    assert sum(brute_force(fractions(p), False) for p in MULTISETS) == 1362
    assert all(brute_force(fractions(p), False) for p in game24_puzzles.PAPER_TEST)


@pytest.mark.parametrize(
    "puzzle, expected",
    [
        ((1, 1, 1, 1), False),
        ((2, 4, 6, 8), True),
        ((4, 4, 10, 10), True),  # 10*10=100, 100-4=96, 96/4=24
        ((3, 3, 8, 8), False),  # 8/(3-8/3)
        ((1, 5, 5, 5), False),  # 5*(5-1/5)
    ],
)
def test_known_puzzles(puzzle, expected):
    assert game24.solvable(puzzle) is expected
    assert (game24.solve(puzzle) is not None) is expected
    assert (game24.num_solutions(puzzle) > 0) is expected


def test_moves_by_hand():
    assert game24.moves((2, 8)) == (
        Move(2, "+", 8, 10, (10,)),
        Move(8, "-", 2, 6, (6,)),
        Move(2, "*", 8, 16, (16,)),
        Move(8, "/", 2, 4, (4,)),
    )
    assert {(m.a, m.op, m.b) for m in game24.moves((0, 7))} == {
        (0, "+", 7),
        (7, "-", 0),
        (0, "*", 7),
        (0, "/", 7),
    }
    assert "*" not in {m.op for m in game24.moves((40, 50))}  # 2000 > 999
    assert len(game24.moves((3, 3, 3))) == 4  # equal numbers repeat no move


def test_num_solutions_by_hand():
    # 1 4 6: 4*6 then 1*24 or 24/1; 1*4 or 4/1 then 4*6; 1*6 or 6/1 then 4*6
    assert game24.num_solutions((4, 6)) == 1
    assert game24.num_solutions((1, 4, 6)) == 6


def test_the_label_depends_on_the_share_of_winning_moves():
    for state in {m.left for p in MULTISETS[::11] for m in game24.moves(p)}:
        share = len(game24.winning_moves(state)) / len(game24.moves(state))
        label = "impossible" if share == 0 else "sure" if share >= 0.15 else "likely"
        assert game24.value_label(state) == label
        assert (label != "impossible") is brute_force(fractions(state), True)


def test_winning_moves_keep_24_and_the_others_lose_it():
    for puzzle in MULTISETS[::37]:
        winning = set(game24.winning_moves(puzzle))
        for move in game24.moves(puzzle):
            assert brute_force(fractions(move.left), True) is (move in winning)


def test_solutions_are_24_as_expressions_of_the_numbers():
    rng = np.random.default_rng(1)
    for puzzle in game24_puzzles.puzzles("test"):
        for solution in (game24.solve(puzzle), game24.solve(puzzle, rng)):
            text = game24.expression(puzzle, solution)
            assert sorted(map(int, re.findall(r"\d+", text))) == list(puzzle)
            assert eval(re.sub(r"(\d+)", r"Fraction(\1)", text), {"Fraction": Fraction}) == 24


def test_expression_by_hand():
    steps = [
        Move(8, "-", 6, 2, (2, 2, 10)),
        Move(2, "+", 10, 12, (2, 12)),
        Move(2, "*", 12, 24, (24,)),
    ]
    assert game24.expression((8, 6, 2, 10), steps) == "(8-6)*(2+10)"
    assert game24.expression((24,), []) == "24"
    with pytest.raises(InputError, match="expected 3"):
        game24.expression((8, 6, 2, 10), steps[:2])
    with pytest.raises(InputError, match="8-6=2 left 2 2 10"):
        game24.expression((8, 5, 2, 10), steps)
    with pytest.raises(InputError, match="2-4=-2"):
        game24.expression((2, 4), [Move(2, "-", 4, -2, (-2,))])
    with pytest.raises(InputError, match="8-6=3"):
        game24.expression((8, 6, 2, 10), [Move(8, "-", 6, 3, (2, 3, 10)), *steps[1:]])


def test_random_solutions_vary():
    rng = np.random.default_rng(2)
    found = {tuple(game24.solve((2, 4, 6, 8), rng)) for _ in range(200)}
    assert 20 < len(found) <= game24.num_solutions((2, 4, 6, 8))


def test_value_labels():
    assert game24.value_label((24,)) == "sure"
    assert game24.value_label((23,)) == "impossible"
    assert game24.value_label((4, 6)) == "sure"  # 1 of 3 moves
    assert game24.value_label((1, 1, 1)) == "impossible"
    assert (len(game24.winning_moves((2, 4, 10))), len(game24.moves((2, 4, 10)))) == (1, 11)
    assert game24.value_label((2, 4, 10)) == "likely"  # only 2*10, then 4+20


# ---- text and the step checker

PUZZLE = (4, 6, 8, 2)
SOLVED = "4-2=2 left 2 6 8\n6/2=3 left 3 8\n3*8=24 left 24\n#### 24"
FAILED = "8-6=2 left 2 2 4\n2*2=4 left 4 4\n4+4=8 left 8\n#### 8"


def test_formats():
    assert game24.format_puzzle(PUZZLE) == "24: 4 6 8 2\n"
    assert game24.format_value((12, 4, 8)) == "Value: 4 8 12\n"
    assert game24.format_move(Move(8, "-", 6, 2, (2, 2, 4))) == "8-6=2 left 2 2 4\n"
    trace = [game24.parse_line(line) for line in SOLVED.split("\n")[:-1]]
    assert game24.format_trace(trace) == SOLVED


def test_parse_line_inverts_format_move():
    for puzzle in MULTISETS[::50]:
        for move in game24.moves(puzzle):
            assert game24.parse_line(game24.format_move(move)) == move


def test_parse_line_takes_wrong_steps_the_papers_spelling_and_no_prose():
    assert game24.parse_line("8-6=3 left 9") == Move(8, "-", 6, 3, (9,))
    assert game24.parse_line("8 - 6 = 2 (left: 4 2 2)") == Move(8, "-", 6, 2, (2, 2, 4))
    for line in (
        "",
        "Wait",
        "8-6=2",
        "8-6=2 left",
        "8-6=-2 left 2",
        "8-6=2 left 2 2 4 ok",
        "1" * 5000,
        "#### 8",
    ):
        assert game24.parse_line(line) is None


def test_right_steps():
    assert game24.check_steps(PUZZLE, SOLVED) == [True] * 3
    assert game24.is_solved(PUZZLE, SOLVED)
    assert game24.check_steps(PUZZLE, FAILED) == [True] * 3
    assert not game24.is_solved(PUZZLE, FAILED)
    assert game24.is_solved((24,), "#### 24")


@pytest.mark.parametrize(
    "old, new, steps",
    [
        ("6/2=3 left 3 8", "6/2=4 left 4 8", [True, False, False]),  # arithmetic
        ("6/2=3 left 3 8", "6/2=3 left 3 9", [True, False, False]),  # left
        ("6/2=3 left 3 8", "6/2=3 left 3", [True, False, False]),  # a number lost
        ("4-2=2 left 2 6 8", "5-3=2 left 2 6 8", [False] * 3),  # numbers that are not there
        ("4-2=2 left 2 6 8", "4-4=0 left 0 2 6 8", [False] * 3),  # a number used twice
        ("4-2=2 left 2 6 8", "2-4=2 left 2 6 8", [False] * 3),  # negative
        ("6/2=3 left 3 8", "8/6=1 left 1 2", [True, False, False]),  # a remainder
        ("4-2=2 left 2 6 8", "Let me think.", [False] * 3),  # prose
        ("#### 24", "24/24=1 left 1\n#### 24", [True] * 3 + [False]),  # a step too many
    ],
)
def test_wrong_steps(old, new, steps):
    text = SOLVED.replace(old, new)
    assert text != SOLVED
    assert game24.check_steps(PUZZLE, text) == steps
    assert not game24.is_solved(PUZZLE, text)


def test_no_step_is_right_after_the_first_error():
    text = "4-2=3 left 3 6 8\n" + SOLVED  # the later lines are right where the first began
    assert game24.check_steps(PUZZLE, text) == [False] * 4
    assert not game24.is_solved(PUZZLE, text)


@pytest.mark.parametrize(
    "end", ["", "#### 8", "#### 240", "#### 24.5", "#### 24/5", "#### ", "24", "#### 13\n#### 24"]
)
def test_the_stated_answer_counts(end):
    text = SOLVED.replace("#### 24", end)
    assert not game24.is_solved(PUZZLE, text)


def test_either_order_of_a_sum_or_product_and_trailing_text_are_fine():
    text = "4-2=2 left 2 6 8\r\n\n6/2=3 left 8 3\n8*3=24 left 24\n#### 24. Done!\n1+1=3 left \x00"
    assert game24.check_steps(PUZZLE, text) == [True] * 3
    assert game24.is_solved(PUZZLE, text)


def test_a_solution_needs_all_its_steps():
    assert game24.check_steps(PUZZLE, "#### 24") == []
    assert not game24.is_solved(PUZZLE, "#### 24")
    assert not game24.is_solved((4, 6, 1, 1), "4*6=24 left 1 1 24\n#### 24")


STEPS = "10 - 6 = 4 (left: 4 4 5)\n5 * 4 = 20 (left: 4 20)\n20 + 4 = 24 (left: 24)\n"


@pytest.mark.parametrize(
    "line",
    [
        "10 − 6 = 4 (left: 4 4 5)",
        "10 – 6 = 4 left: 4, 4, 5",
        "10-6=4 left 4,4,5",
        "10 - 6 = 4, left: 4, 4, 5",
        "10\u00a0−\u00a06 = 4 (left: 5, 4, 4)",
        "$10 - 6 = 4$ (left: 4 4 5)",
    ],
)
def test_moves_are_read_as_people_write_them(line):
    assert game24.parse_line(line) == Move(10, "-", 6, 4, (4, 4, 5))
    assert game24.check_steps((4, 5, 6, 10), line) == [True]


@pytest.mark.parametrize("sign", ["×", "·", "⋅", "∗", "x", "X", r"\times", r"\cdot", r"\*", "＊"])
def test_signs_of_multiplication(sign):
    assert game24.parse_line(f"5 {sign} 4 = 20 left: 4, 20") == Move(5, "*", 4, 20, (4, 20))
    assert game24.is_solved((4, 5, 6, 10), f"Answer: (5 {sign} 4) + (10 - 6) = 24")


@pytest.mark.parametrize("sign", ["÷", "∕", r"\div", "／"])
def test_signs_of_division(sign):
    assert game24.parse_line(f"8 {sign} 4 = 2 (left: 2 3 4)") == Move(8, "/", 4, 2, (2, 3, 4))
    assert not game24.is_solved((4, 8, 3, 4), f"Answer: 8 {sign} 4 * 3 + 4 = 24")
    assert game24.is_solved((4, 8, 3, 4), f"Answer: 8 {sign} 4 * 3 * 4 = 24")


@pytest.mark.parametrize(
    "line",
    [
        "10 ± 6 = 4 left: 4 4 5",
        "10 - 6 = −4 left: 4 4 5",
        "10 - 6 = 4.0 left: 4 4 5",
        "10 ** 6 = 4 left: 4 4 5",
        "10 - 6 = 4 left: 4; 4; 5",
        "10 - 6 = 4 left: 4 4 5 or 6",
        "10 - 6 = 4 left: 4,, 4 5",
        "١٠ - 6 = 4 left: 4 4 5",
        "10 xx 6 = 60 left: 4 5 60",
    ],
)
def test_what_is_no_move_is_none(line):
    assert game24.parse_line(line) is None


@pytest.mark.parametrize(
    "answer",
    [
        "Answer: (5 * 4) + (10 - 6) = 24",  # as Yao et al. 2023 have it
        "Answer: (5 × 4) + (10 − 6) = 24",
        "answer: 5*4+10-6=24.",
        "Answer: 5*4+10-6",
        "#### (5 * 4) + (10 - 6) = 24",
        r"Answer: $\left(5 \times 4\right) + (10 - 6) = 24$",
        "Answer: ((5) * (4)) - (6 - 10) = 24",  # below 0 on the way
    ],
)
def test_an_expression_proves_itself(answer):
    for numbers in ((4, 5, 6, 10), (10, 6, 5, 4)):
        assert game24.is_solved(numbers, answer)
        assert game24.is_solved(numbers, f"Steps:\n{STEPS}{answer}\nInput: 1 1 1 1\nAnswer: 1 = 1")
    assert not game24.is_solved((4, 5, 6, 11), answer)
    assert not game24.is_solved((4, 5, 6), answer)
    assert not game24.is_solved((4, 5, 6, 10), STEPS.replace("= 20", "= 21") + answer)
    assert not game24.is_solved((4, 5, 6, 10), f"I think so.\n{answer}")


@pytest.mark.parametrize(
    ("numbers", "answer"),
    [
        ((4, 5, 6, 10), "(5 * 4) + (10 - 6) = 25"),
        ((4, 5, 6, 10), "(5 * 4) + (10 - 5) = 24"),
        ((4, 5, 6, 10), "(5 * 4) + 4 = 24"),  # a number of its own
        ((4, 5, 6, 10), "(5 * 4) + (10 - 6) + 0 = 24"),
        ((4, 5, 6, 10), "(5 * 4) + (10 - 6) = 24 or 25"),
        ((4, 5, 6, 10), "(5 * 4) + (10 - 6) = 24%"),
        ((4, 5, 6, 10), "(5 * 4) + (10 - 6) = 2 * 12 = 24"),
        ((4, 5, 6, 10), "-6 + 10 + 5 * 4 = 24"),  # a sign is no operation
        ((4, 5, 6, 10), "(5)(4) + 10 - 6 = 24"),
        ((4, 5, 6, 10), "24 = (5 * 4) + (10 - 6) = 24"),
        ((4, 5, 6, 10), "(5 * 4 + (10 - 6) = 24"),
        ((4, 5, 6, 10), "24"),  # without steps it proves nothing
        ((2, 3, 3, 8), "3 ** 2 + 3 * 8 - 9 = 24"),
        ((2, 3, 3, 3), "3 ** 3 - 3 = 24"),
        ((1, 2, 4, 4), "12 * 4 / 2 = 24"),
        ((2, 4, 9, 12), "24 + 9 - 9 = 24"),
        ((1, 1, 2, 4), "24 * 1 * 1 = 24"),  # digits put together
        ((3, 4, 5, 9), "4! = 24"),
        ((1, 1, 4, 6), "4 * 6 / (1 - 1) = 24"),
        ((5, 5, 5, 1), "5 * (5 - 0.2) = 24"),
        ((8, 3, 1, 1), "8_3 - 59 = 24"),
        ((4, 6), "__import__('os') = 24"),
        ((4, 6), "(" * 60 + "4*6" + ")" * 60),
    ],
)
def test_what_is_no_expression_of_the_numbers_is_no_solution(numbers, answer):
    assert not game24.is_solved(numbers, f"Answer: {answer}")


def test_an_expression_may_go_through_fractions():
    assert game24.is_solved((3, 3, 8, 8), "Answer: 8 / (3 - 8 / 3) = 24")
    assert not game24.is_solved((3, 3, 8, 8), "Answer: 8 / (3 - 3 / 8) = 24")


@pytest.mark.parametrize(
    "said", ["24", " 24", " 24 ", " 24.", " 24!", " 24. That is all.", " $24$"]
)
@pytest.mark.parametrize("mark", ["####", "Answer:"])
def test_24_alone_is_an_answer_of_the_steps(mark, said):
    assert game24.is_solved((4, 5, 6, 10), f"{STEPS}{mark}{said}")
    assert not game24.is_solved(
        (4, 5, 6, 10), f"{STEPS.replace('4 + 20', '4 * 20')[:-40]}{mark}{said}"
    )


@pytest.mark.parametrize(
    "said",
    [
        "24%",
        "24 %",
        "24°",
        "24^2",
        "24/2",
        "24 * 2",
        "24 or 25",
        "24, 25",
        "24 and 12",
        "-24",
        "−24",
        "24e1",
        "24k",
        "24!!",
        "24!5",
        "24 000",
        "24,000",
        "24.0.1",
        "24 = 25",
        "24. No, 25",
        "0x18",
        "2 4",
        "twenty-four",
    ],
)
def test_24_and_something_is_another_answer(said):
    assert not game24.is_solved((4, 5, 6, 10), f"{STEPS}#### {said}")
    assert not game24.is_solved((4, 5, 6, 10), f"{STEPS}Answer: {said}")


def test_parse_numbers():
    assert game24.parse_numbers("4 6 8 2") == (4, 6, 8, 2)
    assert game24.parse_numbers(" 13, 1,1 1\n") == (13, 1, 1, 1)
    assert game24.parse_numbers("3 8", min_count=2) == (3, 8)
    for text in (
        "",
        "4 6 8",
        "4 6 8 2 1",
        "4 6 8 14",
        "0 4 6 8",
        "-4 6 8 2",
        "4 6 8 x",
        "4.0 6 8 2",
    ):
        with pytest.raises(InputError, match=re.escape(repr(text))):
            game24.parse_numbers(text)
    with pytest.raises(InputError, match="2 to 4"):
        game24.parse_numbers("3", min_count=2)


# ---- splits


def test_paper_test_is_a_hundred_puzzles_and_in_no_other_split():
    assert len(set(game24_puzzles.PAPER_TEST)) == 100
    assert (game24_puzzles.PAPER_TEST[0], game24_puzzles.PAPER_TEST[-1]) == (
        (4, 5, 6, 10),
        (4, 9, 10, 13),
    )
    assert game24_puzzles.puzzles("paper_test") == list(game24_puzzles.PAPER_TEST)
    for puzzle in game24_puzzles.PAPER_TEST:
        assert {game24_puzzles.split_of(order) for order in permutations(puzzle)} == {"paper_test"}


def test_splits_divide_the_solvable_puzzles():
    splits = {split: game24_puzzles.puzzles(split) for split in game24_puzzles.SPLITS}
    together = [p for puzzles in splits.values() for p in puzzles]
    assert sorted(together) == [p for p in MULTISETS if brute_force(fractions(p), True)]
    # tiny-24 and tiny-24-wait were trained on these: a split that moves makes their test set a
    # training set
    assert {s: len(p) for s, p in splits.items()} == dict(
        train=803, validation=137, test=306, paper_test=100
    )
    assert splits["test"][:2] == [(1, 5, 7, 9), (3, 4, 4, 5)]
    assert all(
        game24_puzzles.split_of(p) == split for split, puzzles in splits.items() for p in puzzles
    )
    assert splits["train"] != sorted(splits["train"])


def test_splits_reject_what_is_no_puzzle():
    for numbers in ((1, 2, 3), (0, 1, 2, 3), (1, 2, 3, 14)):
        with pytest.raises(InputError, match=" ".join(map(str, numbers))):
            game24_puzzles.split_of(numbers)
    with pytest.raises(InputError, match="dev"):
        game24_puzzles.puzzles("dev")
    with pytest.raises(InputError, match="1 2 3 4"):
        game24_puzzles.substate_split((1, 2, 3, 4))


def test_substates_are_unseen_about_one_time_in_seven():
    states = list(combinations_with_replacement(range(1, 27), 3))
    unseen = [s for s in states if game24_puzzles.substate_split(s) == "unseen"]
    assert 0.13 < len(unseen) / len(states) < 0.17
    assert all(
        game24_puzzles.substate_split(order) == "unseen"
        for s in unseen[:50]
        for order in permutations(s)
    )


def test_load_ranked(tmp_path):
    path = tmp_path / "ranked.csv"
    path.write_text("Rank,Puzzles,AMT (s)\n2,1 1 11 11,4.41\n1,1 1 4 6,4.4\n")
    assert game24_puzzles.load_ranked(path) == [(1, 1, 4, 6), (1, 1, 11, 11)]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "Rank and Puzzles"),
        (b"Rank,Numbers\n1,1 1 4 6\n", "Rank and Puzzles"),
        (b"Rank,Puzzles\n1,1 1 4 6\n2,1 1 4 60\n", "row 3: .*1 1 4 60"),
        (b"Rank,Puzzles\n1\n", "row 2"),
        (b"Rank,Puzzles\nfirst,1 1 4 6\n", "row 2: .*first"),
        (b"\xff\xfe\x00", "not a readable csv"),
        (None, "not a readable csv"),
    ],
)
def test_load_ranked_says_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "ranked.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        game24_puzzles.load_ranked(path)


# ---- training text


def test_training_puzzles_are_of_the_train_split(examples):
    puzzles = {s for e in examples for s in states_of(e) if len(s) == 4}
    assert len(puzzles) > 900
    assert {game24_puzzles.split_of(p) for p in puzzles} == {"train"}
    assert not puzzles & set(game24_puzzles.PAPER_TEST)


def test_training_shows_no_unseen_state(examples):
    three = {s for e in examples for s in states_of(e) if len(s) == 3}
    valued = {
        s for e in examples if e.prompt.startswith("Value") for s in states_of(e) if len(s) == 2
    }
    assert len(three) > 1000 and len(valued) > 100
    assert {game24_puzzles.substate_split(s) for s in three | valued} == {"seen"}


def test_training_text_is_exact(examples):
    for prompt, completion in examples:
        head, numbers = prompt.split(": ")
        state = tuple(map(int, numbers.split()))
        if head == "Value":
            assert prompt == game24.format_value(state)
            assert completion in game24.LABELS
            assert completion == game24.value_label(state)
            assert (completion != "impossible") is brute_force(fractions(state), True)
        else:
            assert prompt == game24.format_puzzle(state)
            assert game24.check_steps(state, completion) == [True] * (len(state) - 1)
            last = re.search(r" left (\d+)\n#### (\d+)$", completion)
            assert last[1] == last[2]
            assert game24.is_solved(state, completion) is (last[1] == "24")


def test_training_mixture(examples):
    values = Counter(e.completion for e in examples if e.prompt.startswith("Value"))
    traces = [e for e in examples if e.prompt.startswith("24")]
    assert values.total() / EXAMPLES == pytest.approx(0.35, abs=0.02)
    assert all(
        count / values.total() == pytest.approx(1 / 3, abs=0.04) for count in values.values()
    )
    sizes = Counter(len(states_of(e)[0]) for e in traces)
    assert (
        sizes[4] / len(traces) == pytest.approx(0.8, abs=0.03) and sizes[3] > 300 and sizes[2] > 50
    )
    solved = sum(e.completion.endswith("#### 24") for e in traces) / len(traces)
    assert 0.38 < solved < 0.46  # 40% solutions, and what random moves happen to solve
    shuffled = [e for e in traces if tuple(map(int, e.prompt[4:].split())) != states_of(e)[0]]
    assert len(shuffled) > len(traces) / 2


def test_the_same_seed_gives_the_same_examples(examples):
    rng = np.random.default_rng(0)
    assert [game24_training.training_example(rng) for _ in range(100)] == examples[:100]


def test_substates_are_what_moves_reach_and_training_shows_no_unseen_one():
    for size in (3, 2):
        reached = game24_puzzles.substates(game24_puzzles.puzzles("validation"), size)
        assert reached == sorted(set(reached)) and {len(s) for s in reached} == {size}
        assert not any(
            game24_puzzles.in_training(s)
            for s in reached
            if game24_puzzles.substate_split(s) == "unseen"
        )
        assert any(game24_puzzles.in_training(s) for s in reached)
    by_hand = {m.left for p in game24_puzzles.puzzles("validation") for m in game24.moves(p)}
    assert set(game24_puzzles.substates(game24_puzzles.puzzles("validation"), 3)) == by_hand
    assert set(game24_puzzles.substates(game24_puzzles.puzzles("validation"), 2)) == {
        m.left for s in by_hand for m in game24.moves(s)
    }


def test_a_state_that_training_draws_is_in_training():
    rng = np.random.default_rng(5)
    values = [
        e
        for e in (game24_training.training_example(rng) for _ in range(400))
        if e.prompt.startswith("Value")
    ]
    states = [tuple(map(int, e.prompt.split(":")[1].split())) for e in values]
    assert states and all(game24_puzzles.in_training(s) for s in states)


def test_the_wide_pool_shows_states_that_no_puzzle_leads_to_and_no_unseen_one():
    rng = np.random.default_rng(6)
    examples = [
        game24_training.training_example(rng, value_share=1.0, wide_share=1.0) for _ in range(400)
    ]
    states = [tuple(map(int, e.prompt.split(":")[1].split())) for e in examples]
    small = [s for s in states if len(s) < 4]
    assert all(
        game24_puzzles.substate_split(s) == "seen" and max(s) <= game24_training.WIDE_NUMBERS
        for s in small
    )
    assert sum(not game24_puzzles.in_training(s) for s in small) > len(small) / 4
    assert all(e.completion == game24.value_label(s) for e, s in zip(examples, states, strict=True))
