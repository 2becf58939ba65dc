"""Tree of thoughts: the search against brute force on toys whose answer is known, then with models,
then its words.
"""

import functools
import itertools
import math

import jax
import numpy as np
import pytest

from jaxreason import GREEDY, Sampler, load_model
from jaxreason.decoding.logprobs import choice_logprobs, text_logprobs
from jaxreason.decoding.prompts import experts
from jaxreason.errors import InputError
from jaxreason.search.evaluators import (
    likelihood,
    parse_choice,
    parse_value,
    random_scores,
    replies,
    rollouts,
    value_replies,
    value_words,
    votes,
)
from jaxreason.search.game24_rules import (
    GAME24,
    GAME24_BOARD,
    left_prompt,
    moves_oracle,
    moves_prompt,
    moves_solved,
    moves_value_prompt,
    numbers_left,
    puzzle,
    verdict,
)
from jaxreason.search.outcomes import outcomes
from jaxreason.search.proposers import propose_thoughts, sample_thoughts
from jaxreason.search.tree_of_thoughts import (
    Rules,
    State,
    Thought,
    bfs,
    dfs,
    memoize,
)
from jaxreason.search.tree_text import format_tree, outline
from jaxreason.search.word_problems import (
    LINES,
    answer_line,
    calculator,
    lines_oracle,
    lines_prompt,
)
from jaxreason.tasks import arithmetic, game24, game24_puzzles

# ---- a toy: three digits are written one by one; a problem is a table of scores of all prefixes

DEPTH, DIGITS = 3, "0123"
PREFIXES = ["".join(p) for n in range(1, DEPTH + 1) for p in itertools.product(DIGITS, repeat=n)]
TOY = Rules(
    accept=lambda _, thought: thought in DIGITS,
    is_leaf=lambda state: len(state.thoughts) == DEPTH,
    identity=lambda state: state.thoughts,
)


def toy(seed):
    """A problem (hashable) and its table."""
    return f"toy {seed}", dict(
        zip(PREFIXES, np.random.default_rng(seed).random(len(PREFIXES)).round(6), strict=True)
    )


TABLES = dict(toy(seed) for seed in range(6))
ROOTS = [State(name) for name in TABLES]


def every_digit(states):
    return [[Thought(d, -1.0) for d in DIGITS] for _ in states], [7] * len(states)


def look_up(states):
    return [TABLES[s.problem]["".join(s.thoughts)] for s in states], [3] * len(states)


def text(tree, index):
    return "".join(tree.nodes[index].state.thoughts)


def solved_by(*answers):
    """Rules whose solution test knows the answer of each problem."""
    known = dict(zip(TABLES, answers, strict=True))
    return TOY._replace(is_solved=lambda state: "".join(state.thoughts) == known[state.problem])


@pytest.mark.parametrize("beam", [1, 2, 5, 16, 64])
def test_bfs_keeps_the_best_of_every_level(beam):
    for tree in bfs(ROOTS, every_digit, look_up, TOY, beam=beam, max_depth=DEPTH):
        table, kept = TABLES[tree.nodes[0].state.problem], [""]
        expanded = []
        for _ in range(DEPTH):  # by hand
            expanded += kept
            level = [prefix + d for prefix in kept for d in DIGITS]
            kept = sorted(level, key=lambda prefix: -table[prefix])[:beam]
        assert [text(tree, i) for i in tree.expanded] == expanded
        assert text(tree, tree.answer) == kept[0]


def test_outcomes_are_those_of_the_trees():
    rules = solved_by(*["000"] * 3, *["none"] * 3)
    trees = bfs(ROOTS, every_digit, look_up, rules, beam=4**DEPTH, max_depth=DEPTH)
    found, tokens = outcomes(trees)
    assert found.tolist() == [True] * 3 + [False] * 3
    assert tokens.tolist() == [tree.generated + tree.evaluated for tree in trees]
    assert answer_line(trees[0]) == "0" and answer_line(trees[-1]) == ""


def test_a_beam_as_wide_as_the_tree_finds_the_best_leaf():
    for tree in bfs(ROOTS, every_digit, look_up, TOY, beam=4**DEPTH, max_depth=DEPTH):
        table = TABLES[tree.nodes[0].state.problem]
        assert text(tree, tree.answer) == max(
            (p for p in PREFIXES if len(p) == DEPTH), key=table.get
        )
        assert len(tree.nodes) == 1 + len(PREFIXES)


@pytest.mark.parametrize("threshold", [-math.inf, 0.3, 0.6, math.inf])
def test_dfs_visits_in_the_order_of_algorithm_2(threshold):
    """The recursion of the paper, written out, with the leaf of the lowest score as the only
    solution.
    """
    for root in ROOTS:
        table = TABLES[root.problem]
        goal = min((p for p in PREFIXES if len(p) == DEPTH), key=table.get)
        visited = []

        def recurse(prefix, table=table, goal=goal, visited=visited):
            visited.append(prefix)
            children = sorted((prefix + d for d in DIGITS), key=table.get, reverse=True)
            if len(prefix) == DEPTH - 1:
                return goal in children
            return any(table[child] > threshold and recurse(child) for child in children)

        found = recurse("")
        rules = TOY._replace(is_solved=lambda state, goal=goal: "".join(state.thoughts) == goal)
        (tree,) = dfs(
            [root],
            every_digit,
            look_up,
            rules,
            threshold=threshold,
            max_depth=DEPTH,
            max_expansions=99,
        )
        assert [text(tree, i) for i in tree.expanded] == visited
        assert (text(tree, tree.answer) == goal) if found else (tree.answer == -1)


def test_dfs_prunes_and_backtracks():
    """A tempting first digit leads nowhere, another is pruned, the solution is below a third."""
    scores = {"0": 0.9, "1": 0.8, "2": 0.1, "3": 0.0}

    def first_digit(states):
        return [scores[s.thoughts[0]] for s in states], [0] * len(states)

    rules = TOY._replace(is_solved=lambda state: "".join(state.thoughts) in ("123", "222"))
    (tree,) = dfs(
        [State("x")],
        every_digit,
        first_digit,
        rules,
        threshold=0.5,
        max_depth=DEPTH,
        max_expansions=99,
    )
    order = [text(tree, i) for i in tree.expanded]
    assert order == ["", "0", "00", "01", "02", "03", "1", "10", "11", "12"]  # from 03 back up to 1
    assert text(tree, tree.answer) == "123"
    assert not any(prefix.startswith(("2", "3")) for prefix in order)
    (loose,) = dfs(
        [State("x")],
        every_digit,
        first_digit,
        rules._replace(is_solved=lambda s: "".join(s.thoughts) == "222"),
        threshold=0.05,
        max_depth=DEPTH,
        max_expansions=99,
    )
    assert text(loose, loose.answer) == "222"


def test_dfs_stops_at_its_budget_and_at_its_depth():
    rules = solved_by(*["none"] * len(TABLES))
    options = {"threshold": -math.inf, "max_depth": DEPTH}
    for tree in dfs(ROOTS, every_digit, look_up, rules, **options, max_expansions=5):
        assert len(tree.expanded) == 5 and tree.answer == -1
    for tree in dfs(
        ROOTS, every_digit, look_up, rules, **options, max_expansions=99, max_tokens=40
    ):
        assert 40 <= tree.tokens < 40 + 7 + 4 * 3  # at most the last expansion goes beyond
    for tree in dfs(
        ROOTS, every_digit, look_up, rules, threshold=-math.inf, max_depth=1, max_expansions=99
    ):
        assert tree.expanded == [0]


def test_without_a_solution_test_dfs_returns_the_best_leaf_not_the_first():
    for tree in dfs(
        ROOTS, every_digit, look_up, TOY, threshold=-math.inf, max_depth=DEPTH, max_expansions=99
    ):
        table = TABLES[tree.nodes[0].state.problem]
        assert text(tree, tree.answer) == max(
            (p for p in PREFIXES if len(p) == DEPTH), key=table.get
        )


def test_a_finished_path_keeps_its_place_in_the_beam():
    """Leaves at different depths, no solution test: the short one has the best score and must
    survive the levels after.
    """
    rules = Rules(lambda *_: True, lambda s: s.thoughts[-1:] == ("end",), lambda s: s.thoughts)
    scores = {("a",): 0.5, ("end",): 0.9, ("a", "a"): 0.4, ("a", "end"): 0.3}
    (tree,) = bfs(
        [State("x")],
        lambda states: ([[Thought("a"), Thought("end")] for _ in states], [0] * len(states)),
        lambda states: ([scores[s.thoughts] for s in states], [0] * len(states)),
        rules,
        beam=2,
        max_depth=2,
    )
    assert tree.nodes[tree.answer].state.thoughts == ("end",)


def test_a_search_ends_when_a_leaf_passes_the_test():
    for search in (
        functools.partial(bfs, beam=64, max_depth=9),
        functools.partial(dfs, threshold=-math.inf, max_depth=9, max_expansions=999),
    ):
        trees = search(ROOTS, every_digit, look_up, solved_by(*["210"] * len(TABLES)))
        for tree in trees:
            assert text(tree, tree.answer) == "210"
            assert tree.nodes[tree.answer].score == 1.0
            assert (
                tree.expanded[-1] == tree.nodes[tree.answer].parent
                or len(tree.expanded) == 1 + 4 + 16
            )


def test_tokens_add_up():
    """Every expansion costs 7, every score 3, a tested leaf nothing; repeated and refused thoughts
    are paid for too.
    """

    def wasteful(states):
        return [[Thought(d) for d in "00x123"] for _ in states], [7] * len(states)

    (tree,) = bfs(
        ROOTS[:1], wasteful, look_up, solved_by(*["none"] * len(TABLES)), beam=2, max_depth=DEPTH
    )
    assert tree.generated == 7 * len(tree.expanded) == 7 * 5
    assert tree.evaluated == 3 * (4 + 8)
    assert tree.tokens == tree.generated + tree.evaluated
    assert len(tree.nodes) == 1 + 4 + 8 + 8


def test_the_log_probability_of_a_state_is_the_sum_over_its_thoughts():
    (tree,) = bfs(ROOTS[:1], every_digit, likelihood, TOY, beam=1, max_depth=DEPTH)
    assert [node.state.logprob for node in tree.nodes] == [
        -float(len(node.state.thoughts)) for node in tree.nodes
    ]
    assert all(node.score == node.state.logprob for node in tree.nodes[1:])


@pytest.mark.parametrize("seed", [0, 1])
def test_a_batch_of_problems_is_the_problems_one_by_one(seed):
    rules = solved_by(
        *[
            "".join(np.random.default_rng(seed + g).choice(list(DIGITS), DEPTH))
            for g in range(len(TABLES))
        ]
    )
    for search in (
        functools.partial(bfs, beam=3, max_depth=DEPTH),
        functools.partial(dfs, threshold=0.3, max_depth=DEPTH, max_expansions=12),
    ):
        together = search(ROOTS, every_digit, look_up, rules)
        alone = [search([root], every_digit, look_up, rules)[0] for root in ROOTS]
        assert [repr(tree) for tree in together] == [repr(tree) for tree in alone]


def test_each_round_is_one_batch():
    calls = []

    def counted(states):
        calls.append([s.problem for s in states])
        return every_digit(states)

    bfs(ROOTS, counted, look_up, TOY, beam=2, max_depth=DEPTH)
    assert [len(call) for call in calls] == [6, 12, 12]
    calls.clear()
    dfs(ROOTS, counted, look_up, TOY, threshold=-math.inf, max_depth=DEPTH, max_expansions=4)
    assert calls == [list(TABLES)] * 4


@pytest.mark.parametrize(
    "search",
    [
        functools.partial(bfs, beam=0, max_depth=3),
        functools.partial(bfs, beam=3, max_depth=0),
        functools.partial(dfs, threshold=0.0, max_depth=0, max_expansions=9),
        functools.partial(dfs, threshold=0.0, max_depth=3, max_expansions=0),
    ],
)
def test_a_count_below_one_is_one_clear_line(search):
    with pytest.raises(
        InputError, match=r"^(beam|max_depth|max_expansions) is 0: expected at least 1$"
    ):
        search(ROOTS, every_digit, look_up, TOY)


def test_other_bad_input():
    with pytest.raises(InputError, match="roots is 0"):
        bfs([], every_digit, look_up, TOY, beam=1, max_depth=1)
    with pytest.raises(InputError, match="threshold is nan"):
        dfs(ROOTS, every_digit, look_up, TOY, threshold=math.nan, max_depth=1, max_expansions=1)
    with pytest.raises(InputError, match="evaluator gave 1 scores for 24 states"):
        bfs(ROOTS, every_digit, lambda states: ([0.5], [0]), TOY, beam=1, max_depth=1)


# ---- the Game of 24, with exact moves for thoughts


def legal_moves(states):
    return [
        [Thought(game24.format_move(m)[:-1]) for m in game24.moves(numbers_left(s))] for s in states
    ], [0 for _ in states]


def only_losing(states):
    """Every legal first move that throws the game away, then every legal move."""
    thoughts, tokens = legal_moves(states)
    return [
        [t for t in row if s.thoughts or not game24.solvable(game24.parse_line(t.text).left)]
        for s, row in zip(states, thoughts, strict=True)
    ], tokens


PUZZLES = game24_puzzles.puzzles("validation")[:40]


def test_beam_1_with_the_oracle_solves_what_is_solvable_among_the_proposals():
    roots = [puzzle(p) for p in PUZZLES]
    for tree in bfs(roots, legal_moves, moves_oracle, GAME24, beam=1, max_depth=3):
        assert tree.answer >= 0 and verdict(tree).startswith("solved: ")
        expression = verdict(tree).removeprefix("solved: ").split(" = ")[0]
        assert eval(expression.replace("/", "//")) == 24
    assert all(
        tree.answer < 0
        for tree in bfs(roots, only_losing, moves_oracle, GAME24, beam=5, max_depth=3)
    )


def test_dfs_with_the_oracle_never_backtracks_and_at_random_it_does():
    roots = [puzzle(p) for p in PUZZLES]
    options = {"threshold": -1.0, "max_depth": 3, "max_expansions": 200}
    assert {
        len(tree.expanded) for tree in dfs(roots, legal_moves, moves_oracle, GAME24, **options)
    } == {3}
    blind = dfs(roots, legal_moves, random_scores, GAME24, **options)
    assert np.mean([len(tree.expanded) for tree in blind]) > 6


def test_an_unsolvable_puzzle_is_said_to_be_one_after_the_search():
    (tree,) = bfs([puzzle("1 1 1 1")], legal_moves, moves_oracle, GAME24, beam=5, max_depth=3)
    assert tree.answer == -1
    assert verdict(tree).startswith("not solved: 1 1 1 1 cannot make 24 in whole numbers (")
    (gave_up,) = dfs(
        [puzzle("4 6 8 2")],
        legal_moves,
        moves_oracle,
        GAME24,
        threshold=0,
        max_depth=3,
        max_expansions=1,
    )
    assert verdict(gave_up).startswith("not solved, though a solution exists (1 states expanded")


@pytest.mark.parametrize(
    "bad", ["1 2 3", "1 2 3 14", "a b c d", "", (1, 2, 3), "1 2 3 4 5", (1.5, 2, 3, 4)]
)
def test_a_puzzle_that_is_not_four_integers_is_one_clear_line(bad):
    with pytest.raises(InputError, match=r"^puzzle .*: expected four integers in 1..13[^\n]*$"):
        puzzle(bad)


def test_a_wrong_move_is_a_thought_that_the_solution_test_refuses_and_the_board_too():
    root, wrong = puzzle("4 6 8 2"), "4*6=24 left 24"
    assert not GAME24.accept(root, wrong)  # two numbers have vanished
    state = State((2, 4, 6, 8), ("8-6=3 left 2 3 4", "2*3=6 left 4 6", "4*6=24 left 24"))
    assert GAME24.accept(root, state.thoughts[0]) and not GAME24_BOARD.accept(
        root, state.thoughts[0]
    )
    assert GAME24.is_leaf(state) and not GAME24.is_solved(state)
    assert moves_oracle([state, state._replace(thoughts=("6-2=4 left 4 4 8",))])[0].tolist() == [
        0.0,
        1.0,
    ]
    assert not GAME24.accept(root, "#### 24") and not GAME24.accept(root, "")


# ---- with a model


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


def generator(tiny, **options):
    options = {
        "num_samples": 4,
        "num_thoughts": 4,
        "prompt": moves_prompt,
        "sampler": Sampler(1.0),
    } | options
    return functools.partial(propose_thoughts, tiny, jax.random.key(3), **options)


def test_a_model_searches_a_batch_as_it_searches_one_by_one(tiny):
    roots = [puzzle(p) for p in PUZZLES[:2]]
    propose = generator(tiny, least=2)  # alone a state stands beside itself
    value = functools.partial(value_words, tiny, prompt=moves_value_prompt)
    together = bfs(roots, propose, value, GAME24, beam=2, max_depth=3)
    for tree, root in zip(together, roots, strict=True):
        (alone,) = bfs([root], propose, value, GAME24, beam=2, max_depth=3)
        assert [n.state.thoughts for n in tree.nodes] == [n.state.thoughts for n in alone.nodes]
        assert tree.tokens == alone.tokens and tree.answer == alone.answer
        np.testing.assert_allclose(
            [n.score for n in tree.nodes], [n.score for n in alone.nodes], atol=1e-5
        )


def test_the_value_by_rollouts_is_the_share_that_is_solved_whatever_the_batch(tiny):
    states = [State((4, 4, 10)), State((2, 12)), State((24, 0)), State((1, 1))]

    def value(states):
        return rollouts(
            tiny,
            jax.random.key(0),
            states,
            prompt=left_prompt,
            is_solved=moves_solved,
            num_samples=8,
        )

    values, tokens = value(states)
    assert (
        set(values * 8) <= set(range(9)) and values[3] == 0 and values[1] > 0
    )  # 2*12 is seen in training, 1 1 hopeless
    assert all(tokens >= 8)
    alone, cost = value(states[1:2])
    assert alone == values[1] and cost == tokens[1]


def test_samples_are_lines_with_their_log_probability_and_their_tokens(tiny):
    states = [puzzle("4 6 8 2"), State((2, 4, 6, 8), ("8-6=2 left 2 2 4",))]
    thoughts, tokens = sample_thoughts(
        tiny, jax.random.key(0), states, prompt=moves_prompt, num_samples=4
    )
    for state, row, cost in zip(states, thoughts, tokens, strict=True):
        assert len(row) == 4 and not any("\n" in t.text for t in row)
        ids = tiny.tokenizer([t.text + "\n" for t in row], add_special_tokens=False).input_ids
        assert cost == sum(map(len, ids))
        prompt = moves_prompt(state)
        whole = text_logprobs(tiny, [prompt] * 4, [t.text + "\n" for t in row])
        end = text_logprobs(
            tiny, [prompt + t.text + "\n" for t in row], [""] * 4
        )  # that function adds the end of text
        np.testing.assert_allclose([t.logprob for t in row], whole - end, atol=1e-3)


def test_proposals_differ_and_come_most_probable_first(tiny):
    states = [puzzle(p) for p in PUZZLES[:4]]
    samples, cost = sample_thoughts(
        tiny, jax.random.key(3), states, prompt=moves_prompt, num_samples=16
    )
    thoughts, same_cost = generator(tiny, num_samples=16, num_thoughts=5)(states)
    assert cost.tolist() == same_cost.tolist()  # repeats are paid for
    for row, drawn in zip(thoughts, samples, strict=True):
        texts = [t.text for t in row]
        assert len(set(texts)) == len(texts) == min(5, len({t.text for t in drawn}))
        assert [t.logprob for t in row] == sorted((t.logprob for t in row), reverse=True)
        left_out = [t.logprob for t in drawn if t.text not in texts]
        assert not left_out or max(left_out) <= row[-1].logprob + 1e-6
    (greedy,), _ = generator(tiny, sampler=GREEDY)(states[:1])
    assert len(greedy) == 1
    with pytest.raises(InputError, match="num_thoughts is 0"):
        generator(tiny, num_thoughts=0)(states)


def test_value_words_are_the_teacher_forced_probabilities(tiny):
    states = [State(s) for s in ((4, 8, 12), (1, 1, 13), (3, 8), (2, 5))]
    prompts = [moves_value_prompt(s) for s in states]
    assert prompts[0] == "Value: 4 8 12\n"
    words = list(game24.LABELS)
    exact = np.stack([text_logprobs(tiny, prompts, [w] * len(prompts)) for w in words], 1)
    p = np.exp(exact) / np.exp(exact).sum(1, keepdims=True)
    values, tokens = value_words(tiny, states, prompt=moves_value_prompt)
    np.testing.assert_allclose(
        values, p @ [1.0, 0.5, 0.0], atol=1e-2
    )  # the end of text after a word is all but sure
    assert tokens.tolist() == [len(ids) + 1 for ids in tiny.tokenizer(prompts).input_ids]
    other, _ = value_words(
        tiny,
        states,
        prompt=moves_value_prompt,
        values={"impossible": 1.0, "likely": 0.5, "sure": 0.0},
    )
    np.testing.assert_allclose(other, 1 - values, atol=1e-6)
    with pytest.raises(InputError, match="two begin with the same token"):
        choice_logprobs(tiny, prompts, ["sure", "sure thing"])


def test_the_calculator_and_the_oracle_of_word_problems():
    problem = arithmetic.Problem(
        "", 45, (arithmetic.Term(-1, 12), arithmetic.Term(1, 3, 7))
    )  # 45-12+3*7
    states = [
        State(problem, thoughts, -1.0)
        for thoughts in (
            ("45-12=33", "3*7=21", "33+21=54", "#### 54"),
            ("45-12=34",),  # wrong sum
            ("45-21=24",),  # right sum, no term of the problem
            ("45-12=33", "#### 33"),  # ends too early
        )
    ]
    assert calculator(states)[0].tolist() == [-1.0, -math.inf, -1.0, -1.0]
    assert lines_oracle(states)[0].tolist() == [-1.0, -math.inf, -math.inf, -math.inf]


def test_word_problems_are_searched_line_by_line(tiny):
    roots = [State(p) for p in arithmetic.problems("validation", 2, operations=(2,))]
    lines = functools.partial(
        propose_thoughts,
        tiny,
        jax.random.key(0),
        prompt=lines_prompt,
        num_samples=4,
        num_thoughts=4,
        sampler=Sampler(0.7),
        least=4,
    )
    trees = bfs(roots, lines, lines_oracle, LINES, beam=2, max_depth=8)
    answers = [tree.nodes[tree.answer].state.thoughts[-1] for tree in trees]
    assert answers == [f"#### {root.problem.answer}" for root in roots]


# ---- words


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        ("sure", "sure"),
        ("4+8+12 = 24\nsure", "sure"),
        ("I think so.\nLikely.", "likely"),
        ("**impossible**", "impossible"),
        ("unlikely", None),  # the original scores it 0.7, because it contains "likely"
        ("not likely", None),
        ("surely", None),
        ("likely\nno idea", None),  # only the last line counts
        ("", None),
    ],
)
def test_value_words_are_read_exactly(reply, word):
    assert parse_value(reply) == word


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("Let us see.\nThe best choice is 2", 2),
        ("the best choice is **Choice 1**.", 1),
        ("The best choice is 1. No: the best choice is 3", 3),
        ("The best choice is 12", 12),  # a greedy pattern reads 2
        ("The best choice is 13", None),
        ("The best choice is 0", None),
        ("Choice 2 is bad", None),
    ],
)
def test_choices_are_read_exactly(reply, choice):
    assert parse_choice(reply, 12) == choice


def test_votes_are_shares_within_a_problem():
    states = [State("p", ("a",)), State("p", ("b",)), State("q", ("c",))]

    def ask(prompts):
        assert prompts == ["p a b", "q c"]
        return [
            ["the best choice is 2", "the best choice is 2", "The best choice is 1", "?"],
            ["best choice is 1"] * 4,
        ], [40, 4]

    shares, tokens = votes(
        ask,
        states,
        prompt=lambda group: " ".join([group[0].problem, *(s.thoughts[0] for s in group)]),
    )
    assert shares.tolist() == [0.25, 0.5, 1.0]
    assert tokens.tolist() == [40, 0, 4]


def test_value_replies_add_up_the_values_of_the_words():
    def ask(prompts):
        return [["sure", "likely", "unlikely"], ["impossible", "x\nlikely", "sure."]], [9, 8]

    paper = {"sure": 20.0, "likely": 1.0, "impossible": 0.001}
    scores, tokens = value_replies(
        ask, [State("p"), State("q")], prompt=lambda s: s.problem, values=paper
    )
    assert scores.tolist() == [21.0, 21.001] and tokens.tolist() == [9, 8]


def test_replies_do_not_depend_on_the_batch_and_cost_what_is_read_and_written(tiny):
    model, texts = tiny, ["24: 4 6 8 2\n", "24: 10 12 1 1\n", "24: 13 13 13 13\n"]
    ask = functools.partial(
        replies,
        model,
        jax.random.key(0),
        max_new_tokens=64,
        sampler=Sampler(1.0),
        num_samples=2,
        least=4,  # alone a text stands beside itself
    )
    written, tokens = ask(texts)
    for text, row, cost in zip(texts, written, tokens, strict=True):
        ((alone,), (alone_cost,)) = ask([text])
        assert alone == row and alone_cost == cost
        own = [
            len(model.tokenizer(reply).input_ids) + 1 for reply in row
        ]  # and the end of the text
        assert cost == len(model.tokenizer(text).input_ids) + sum(own)
    greedy, _ = replies(model, jax.random.key(1), texts, max_new_tokens=64)
    assert greedy == replies(model, jax.random.key(2), texts, max_new_tokens=64)[0]


def test_experts_prompt_ends_with_the_question():
    assert experts("What is 2+2?").endswith("The question is: What is 2+2?")
    assert experts("What is 2+2?").startswith("Imagine three different experts")


# ---- print


def test_a_tree_is_printed_with_scores_order_and_the_answer_marked():
    (tree,) = bfs(ROOTS[:1], every_digit, look_up, TOY, beam=1, max_depth=2)
    table = TABLES[ROOTS[0].problem]
    first = max(DIGITS, key=table.get)
    lines = format_tree(tree, max_children=2).split("\n")
    assert lines[0] == "  problem  [1]"
    assert lines[1] == f"      {table[first]:.2f}  {first}  [2]"
    assert len(lines) == 1 + 2 + 2  # of each expanded node the two best
    (solved,) = dfs(
        ROOTS[:1],
        every_digit,
        look_up,
        solved_by(*["000"] * 6),
        threshold=-1,
        max_depth=3,
        max_expansions=99,
    )
    starred = [line for line in format_tree(solved).split("\n") if line.startswith("*")]
    assert [line.split()[-1 if "[" not in line else -2] for line in starred] == [
        "problem",
        "0",
        "0",
        "0",
    ]
    assert set(solved.expanded) | set(solved.path(solved.answer)) <= set(
        outline(solved, max_children=0)
    )


def test_a_remembered_function_is_asked_once_for_a_state():
    asked = []

    def evaluate(states):
        asked.extend(states)
        return np.array([float(len(s.thoughts)) for s in states]), np.array([7] * len(states))

    once, states = memoize(evaluate), [State("p"), State("p", ("a",)), State("p")]
    assert once(states) == ([0.0, 1.0, 0.0], [7, 7, 7]) and asked == states[:2]
    assert (
        once([State("p", ("a",)), State("q", ("a", "b"))]) == ([1.0, 2.0], [7, 7])
        and len(asked) == 3
    )
    assert once([]) == ([], [])
