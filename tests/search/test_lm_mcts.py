"""The search over a model's lines: its parts by hand, then the shipped model's searches; and the
game read from tokens.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_params

from jaxreason import load_model
from jaxreason.errors import InputError
from jaxreason.evaluation.compute_optimal import within_budget
from jaxreason.models.decoder import DecoderConfig
from jaxreason.models.hf import LanguageModel
from jaxreason.models.tokens import build_tokenizer, pad_left
from jaxreason.rewards import reward_model
from jaxreason.search import (
    evaluators,
    game24_rules,
    lm_evaluators,
    lm_mcts,
    lm_tasks,
    tree_of_thoughts,
    word_problems,
)
from jaxreason.search.lm_evaluators import Weights
from jaxreason.search.lm_expand import map_where
from jaxreason.search.lm_tasks import Text, append
from jaxreason.tasks import arithmetic, game24, game24_puzzles
from jaxreason.tasks import game24_tokens as g24


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


@pytest.fixture(scope="module")
def shallow(tiny):
    """Its first layer alone, where the words that the model writes do not matter."""
    first = jax.tree.map(lambda x: x[:1], tiny.params["layers"])
    cfg = dataclasses.replace(tiny.cfg, num_hidden_layers=1)
    return tiny._replace(params={**tiny.params, "layers": first}, cfg=cfg)


@pytest.fixture(scope="module")
def abc(tiny):
    return g24.alphabet(tiny.tokenizer)


def encode(model, texts, width=80):
    ids = model.tokenizer(list(texts), add_special_tokens=False).input_ids
    tokens, mask = pad_left([np.array(row, np.int32) for row in ids], 0, width)
    return Text(tokens, mask, np.zeros(len(ids), np.float32))


class Read(NamedTuple):
    """What the game is told of R texts."""

    moves: jax.Array  # [R] int32
    right: jax.Array  # [R] bool
    left: jax.Array  # [R, 4] int32


@pytest.fixture(scope="module")
def read(tiny, abc):
    """``texts -> Read``, one program."""

    @jax.jit
    def of_text(text):
        trace = g24.read_trace(abc, text.tokens, text.mask)
        return Read(trace.moves, g24.is_right(trace), g24.numbers_left(trace))

    return lambda texts: jax.device_get(of_text(encode(tiny, texts)))


# ---- the game, read from tokens


def test_reading_tokens_agrees_with_reading_text(read):
    """Random traces of random length, most with one character changed, against the checker of
    ``game24``.
    """
    rng = np.random.default_rng(0)
    texts, right, left, moves = [], [], [], []
    for puzzle in game24_puzzles.puzzles("test")[:100] * 4:
        lines = [game24.format_move(m) for m in game24.random_moves(puzzle, rng)[: rng.integers(4)]]
        if lines and rng.random() < 0.7:
            k = int(rng.integers(len(lines)))
            i = rng.choice([i for i, c in enumerate(lines[k]) if c.isdigit() or c in g24.OPERATORS])
            other = "0123456789" if lines[k][i].isdigit() else g24.OPERATORS
            lines[k] = lines[k][:i] + str(rng.choice(list(other))) + lines[k][i + 1 :]
        texts.append(game24.format_puzzle(puzzle) + "".join(lines))
        right.append(all(game24.check_steps(puzzle, "".join(lines))))
        left.append(game24.parse_line(lines[-1]).left if lines else puzzle)
        moves.append(len(lines))
    found = read(texts)
    assert 100 < sum(right) < 300
    np.testing.assert_array_equal(found.moves, moves)
    np.testing.assert_array_equal(found.right, right)
    assert [tuple(n for n in row if n >= 0) for row in found.left.tolist()] == left


@pytest.mark.parametrize(
    "line",
    [
        "4*6=24",
        "left 4",
        "4*6=24 left",
        "4*6=24 left 1 1 1",
        "4*6=24 left 1 1 24 left",
        "1 1",
        "#### 24",
        "4*6*1=24 left 1 24",
    ],
)
def test_what_is_no_move_has_no_layout(read, line):
    moves = 1 if line.endswith("1 1 1") else -1
    assert read([f"24: 1 1 4 6\n{line}\n"]).moves.tolist() == [moves]


@pytest.mark.parametrize(
    "line",
    [
        "7*1=7 left 4 4 6",
        "4-6=2 left 1 1 2",
        "1/4=0 left 0 1 6",
        "6/4=1 left 1 1 1",
        "4*4=16 left 1 1 16",
    ],
)
def test_moves_on_numbers_that_are_not_there_or_not_whole_are_wrong(read, line):
    assert not read([f"24: 1 1 4 6\n{line}\n"]).right[0]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_solvable_agrees_with_the_solver(size):
    rng = np.random.default_rng(size)
    states = np.sort(rng.integers(0, 30 if size == 1 else 14, (400, size)))
    want = [game24.solvable(tuple(state)) for state in states.tolist()]
    assert 0 < sum(want) < 400
    np.testing.assert_array_equal(jax.jit(g24.is_solvable)(states), want)


def test_a_tokenizer_that_splits_the_words_is_refused(tokenizer):
    with pytest.raises(InputError, match="' left' as single tokens"):
        g24.alphabet(tokenizer)


# ---- the parts of the search


def test_append_shifts_to_the_left():
    text = Text(
        np.array([[0, 0, 1, 2], [0, 3, 4, 5]]),
        np.array([[0, 0, 1, 1], [0, 1, 1, 1]], bool),
        np.array([-1.0, 0.0]),
    )
    after = jax.jit(append)(
        text, np.array([[7, 8, 9], [7, 8, 9]]), np.array([0, 2]), np.array([0.0, -2.0])
    )
    np.testing.assert_array_equal(after.tokens, [[0, 0, 1, 2], [4, 5, 7, 8]])
    np.testing.assert_array_equal(after.mask, [[0, 0, 1, 1], [1, 1, 1, 1]])
    np.testing.assert_array_equal(after.logprob, [-1.0, -2.0])


@pytest.mark.parametrize("at_once", [1, 2, 5, 99])
def test_only_those_in_need_are_computed(at_once):
    calls = []

    def fn(x):
        jax.debug.callback(lambda: calls.append(1))
        return x + 1.0

    fill = jax.jit(lambda need, x: map_where(need, fn, (x,), at_once))
    for need in ([0, 0, 0, 0, 0], [1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]):
        calls.clear()
        out = fill(np.array(need, bool), np.arange(5.0))
        jax.effects_barrier()
        np.testing.assert_array_equal(out, np.where(need, np.arange(5.0) + 1, 0.0))
        assert len(calls) == -(-sum(need) // min(at_once, 5))


def test_value_words_are_those_of_the_host(shallow, abc):
    puzzles = game24_puzzles.puzzles("test")[:6]
    states = [
        tree_of_thoughts.State(
            p,
            tuple(
                game24.format_move(m)[:-1]
                for m in game24.random_moves(p, np.random.default_rng(i))[: i % 3]
            ),
        )
        for i, p in enumerate(puzzles)
    ]
    text = encode(shallow, map(game24_rules.moves_prompt, states))
    evaluate = lm_evaluators.value_words(abc, shallow.cfg)
    got = jax.jit(evaluate)(Weights(shallow.params), None, text)
    values, tokens = evaluators.value_words(shallow, states, prompt=game24_rules.moves_value_prompt)
    np.testing.assert_allclose(got.value, values, atol=1e-5)
    np.testing.assert_array_equal(got.cost, tokens)


def test_a_leaf_that_lies_is_worth_nothing_under_the_solution_test(tiny, abc):
    text = encode(
        tiny,
        [
            "24: 1 1 4 6\n4*6=24 left 1 1 24\n1*1=1 left 1 24\n1*24=24 left 24\n",
            "24: 1 1 4 6\n4*5=24 left 1 1 24\n1*1=1 left 1 24\n1*24=24 left 24\n",
            "24: 1 1 4 6\n4*6=24 left 1 1 24\n1*1=1 left 1 24\n1+24=25 left 25\n",
        ],
    )
    checked, said = lm_tasks.game24(abc), lm_tasks.game24(abc, check=False)

    @jax.jit
    def judge(text):
        return checked.is_terminal(text), checked.reward(text), said.reward(text)

    terminal, solved, claimed = judge(text)
    assert terminal.all()
    np.testing.assert_array_equal(solved, [1, 0, 0])
    np.testing.assert_array_equal(claimed, [1, 1, 0])


def test_the_oracle_knows_what_can_still_be_reached(tiny, abc):
    lines = [
        "4*6=24 left 1 1 24",
        "1+1=2 left 2 4 6",
        "4-1=3 left 1 3 6",
        "4+1=24 left 1 1 24",
        "6-4=2 left 1 1 2",
    ]
    got = jax.jit(lm_evaluators.oracle(abc))(
        Weights(None), None, encode(tiny, [f"24: 1 1 4 6\n{line}\n" for line in lines])
    )
    want = [
        all(game24.check_steps((1, 1, 4, 6), ln)) and game24.solvable(game24.parse_line(ln).left)
        for ln in lines
    ]
    assert want[0] and not want[3] and not want[4]
    np.testing.assert_array_equal(got.value, want)


def test_a_rollout_writes_the_end_and_keeps_a_solution(tiny, abc):
    text = encode(
        tiny,
        [
            "24: 1 1 4 6\n1*1=1 left 1 4 6\n1*4=4 left 4 6\n",
            "24: 1 1 1 1\n1*1=1 left 1 1 1\n1*1=1 left 1 1\n",
        ],
    )
    evaluate = lm_evaluators.rollouts(tiny, lm_tasks.game24(abc), num_samples=16, max_new_tokens=24)
    got = jax.jit(evaluate)(Weights(tiny.params), jax.random.split(jax.random.key(0), 2), text)
    assert 0 < float(got.value[0]) <= 1 and float(got.value[1]) == 0 and int(got.length[1]) == 0
    line = tiny.tokenizer.decode(np.asarray(got.rollout[0, : int(got.length[0])]))
    assert game24.is_solved((1, 1, 4, 6), f"1*1=1 left 1 4 6\n1*4=4 left 4 6\n{line}#### 24"), line


def test_a_process_reward_judges_the_lines_behind_the_prompt(shallow):
    rng = np.random.default_rng(0)
    head = {
        "kernel": jnp.asarray(rng.normal(size=shallow.cfg.hidden_size + 2), jnp.float32),
        "bias": jnp.float32(0.1),
    }
    reward = reward_model.from_policy(shallow, "prm")._replace(
        params={"backbone": shallow.params, "head": head}
    )
    problems = arithmetic.problems("validation", 3)
    states = [
        tree_of_thoughts.State(p, tuple(arithmetic.solve(p)[:k])) for p in problems for k in (1, 2)
    ]
    states += [
        tree_of_thoughts.State(p, (*arithmetic.solve(p), f"#### {p.answer}")) for p in problems
    ]
    want, cost = evaluators.reward_values(reward, states, prompt=word_problems.lines_prompt)
    texts = [word_problems.lines_prompt(s) for s in states]
    texts = texts[:-3] + [t.removesuffix("\n") + shallow.tokenizer.eos_token for t in texts[-3:]]
    (newline,) = shallow.tokenizer("\n", add_special_tokens=False).input_ids
    evaluate = lm_evaluators.process_reward(shallow.cfg, newline, prompt_lines=2)
    got = jax.jit(evaluate)(Weights(None, reward.params), None, encode(shallow, texts, 192))
    np.testing.assert_allclose(got.value, want, rtol=2e-5)
    np.testing.assert_array_equal(got.cost, cost)
    assert len(np.unique(want)) > 5


def test_the_budget_is_spent_evenly():
    solved, tokens = np.array([True, True, False, True]), np.array([10, 40, 100, 20])
    for mean in (1, 10, 15, 25, 42.5, 500):
        within, spent = within_budget(solved, tokens, mean)
        assert spent.mean() == pytest.approx(min(mean, tokens.mean()))
        cap = spent.max()
        np.testing.assert_array_equal(spent, np.minimum(tokens, cap))
        np.testing.assert_array_equal(within, solved & (tokens <= cap))
    assert within_budget(solved, tokens, 17.5)[0].tolist() == [
        True,
        False,
        False,
        True,
    ]  # a cap of 20
    with pytest.raises(InputError, match=r"expected \[G\] both"):
        within_budget(solved, tokens[:2], 1)


# ---- whole searches

PUZZLES = [(1, 1, 4, 6), (2, 3, 8, 8), (1, 1, 1, 1)]
ROOTS = [game24_rules.puzzle(p) for p in PUZZLES]
PROMPTS = [game24_rules.moves_prompt(root) for root in ROOTS]
SIMULATIONS = 12


@pytest.fixture(scope="module")
def searcher(tiny, abc):
    return lm_mcts.searcher(
        tiny, lm_tasks.game24(abc), lm_evaluators.value_words(abc, tiny.cfg), num_lines=3, at_once=2
    )


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(3), 3)


@pytest.fixture(scope="module")
def together(searcher, keys):
    return lm_mcts.search(searcher, keys, PROMPTS, num_simulations=SIMULATIONS)


def test_visits_sum_to_the_simulations(together):
    assert (together.visits[:, 0] == SIMULATIONS + 1).all()
    for b in range(3):
        for i in np.flatnonzero(together.visits[b]):
            children = together.children[b, i][together.children[b, i] >= 0]
            if not together.terminal[b, i]:
                assert together.visits[b, i] == 1 + together.visits[b, children].sum()


def test_trees_in_words_are_paid_for_and_say_how_they_ended(tiny, searcher, together):
    trees = lm_mcts.to_trees(together, searcher, ROOTS, game24_rules.GAME24)
    for b, tree in enumerate(trees):
        for node in tree.nodes[1:]:
            parent = tree.nodes[node.parent].state
            assert node.state.thoughts[:-1] == parent.thoughts and parent.problem == PUZZLES[b]
        valued = [
            node.state for node in tree.nodes[1:] if not game24_rules.GAME24.is_leaf(node.state)
        ]
        prompts = [game24_rules.moves_value_prompt(s) for s in valued]
        assert tree.evaluated == sum(
            len(ids) + 1 for ids in tiny.tokenizer(prompts, add_special_tokens=False).input_ids
        )
        kept = [line for node in tree.nodes[1:] for line in (node.state.thoughts[-1] + "\n",)]
        assert tree.generated >= sum(
            map(len, tiny.tokenizer(kept, add_special_tokens=False).input_ids)
        )
    assert game24_rules.verdict(trees[2]).startswith("not solved: 1 1 1 1 cannot make 24")


def test_lines_of_a_text_are_different_and_their_priors_are_their_probabilities(abc, together):
    """Written nodes in a row are one text: no line comes twice, and what is left of the probability
    is for writing.
    """
    e = together.embedding
    for b in range(3):
        for i in np.flatnonzero(e.written[b]):
            chain, node = [], i  # back to the fresh node
            while node >= 0 and e.written[b, node]:
                chain, node = [*chain, node], together.parents[b, node]
            real = np.isfinite(e.logprobs[b, chain])
            left = [
                line[line.tolist().index(abc.left) :].tolist() for line in e.lines[b, chain][real]
            ]  # from " left" on
            assert len({tuple(row) for row in left}) == len(left)
            mass = np.exp(e.logprobs[b, chain][real]).sum()
            assert e.mass[b, i] == pytest.approx(min(mass, 1.0), abs=1e-5)
            weights = np.r_[0.3 * max(1 - mass, 1e-3), np.exp(e.logprobs[b, i])]
            exists = weights > 0
            np.testing.assert_allclose(
                together.priors[b, i][exists], (weights / weights.sum())[exists], rtol=1e-4
            )
            assert (together.priors[b, i][~exists] == -1).all()


def test_an_oracle_solves_a_probe(tiny, abc):
    searcher = lm_mcts.searcher(tiny, lm_tasks.game24(abc), lm_evaluators.oracle(abc), num_lines=4)
    result = lm_mcts.search(searcher, jax.random.key(0), PROMPTS[:1], num_simulations=30)
    (tree,) = lm_mcts.to_trees(result, searcher, ROOTS[:1], game24_rules.GAME24)
    assert tree.answer >= 0 and tree.evaluated == 0
    lines = tree.nodes[tree.answer].state.thoughts
    assert game24.is_solved(PUZZLES[0], "\n".join([*lines, "#### 24"]))
    assert game24_rules.verdict(tree).startswith("solved: ")


def test_lines_of_a_word_problem_end_and_the_likeliest_is_the_answer(tiny):
    searcher = lm_mcts.searcher(
        tiny,
        lm_tasks.reasoning_lines([tiny.tokenizer.eos_token_id]),
        lm_evaluators.likelihood,
        num_lines=3,
        width=96,
    )
    state = tree_of_thoughts.State(
        type(
            "P",
            (),
            {"question": "Tom has 12 apples. Tom buys 5 more. How many apples does Tom have now?"},
        )()
    )
    result = lm_mcts.search(
        searcher, jax.random.key(0), [word_problems.lines_prompt(state)], num_simulations=10
    )
    (tree,) = lm_mcts.to_trees(result, searcher, [state], word_problems.LINES)
    assert tree.nodes[tree.answer].state.thoughts == ("12+5=17", "#### 17")
    assert tree.nodes[tree.answer].score == pytest.approx(
        np.exp(tree.nodes[tree.answer].state.logprob), rel=1e-4
    )


SHORT = ["24: 1", "24: 2 3", "4 5"]


@pytest.fixture(scope="module")
def short_lined():
    """Of a random model that is fond of ending lines and texts; a newline and the indent behind it
    are one token, as with BPE.
    """
    tokenizer = build_tokenizer(["left", "Value", *game24.LABELS])
    tokenizer.add_tokens(["\n  "])
    cfg = DecoderConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=64,
    )
    params = random_params(cfg, seed=5)
    ends = np.array([*tokenizer("\n  ").input_ids, tokenizer.eos_token_id])
    params["embed"]["embedding"] = params["embed"]["embedding"].at[ends].mul(4.0)
    return lm_mcts.searcher(
        LanguageModel(params, cfg, tokenizer, "random", ""),
        lm_tasks.reasoning_lines([tokenizer.eos_token_id]),
        lm_evaluators.value_words(g24.alphabet(tokenizer), cfg),
        num_lines=4,
        widen=1e-6,
        max_line=3,
        width=8,
        at_once=2,
    )


@pytest.fixture(scope="module")
def of_short_lines(short_lined, keys):
    return lm_mcts.search(short_lined, keys, SHORT, num_simulations=SIMULATIONS)


def test_a_batch_is_the_problems_one_by_one(short_lined, keys, of_short_lines):
    together = of_short_lines
    assert len(np.unique(together.visits, axis=0)) == 3
    for b in range(3):
        alone = lm_mcts.search(
            short_lined, keys[b : b + 1], SHORT[b : b + 1], num_simulations=SIMULATIONS
        )
        np.testing.assert_array_equal(alone.visits[0], together.visits[b])
        np.testing.assert_array_equal(
            alone.embedding.text.tokens[0], together.embedding.text.tokens[b]
        )
        np.testing.assert_allclose(alone.values[0], together.values[b], atol=1e-5)


def test_the_first_simulations_are_a_search_of_their_own(short_lined, keys, of_short_lines):
    short = lm_mcts.search(short_lined, keys, SHORT, num_simulations=5)
    np.testing.assert_array_equal(short.parents, of_short_lines.parents[:, :6])
    roots = [tree_of_thoughts.State(prompt) for prompt in SHORT]
    trees = lm_mcts.to_trees(short, short_lined, roots, word_problems.LINES)
    first = lm_mcts.to_trees(of_short_lines, short_lined, roots, word_problems.LINES, 5)
    assert max(len(tree.nodes) for tree in trees) > 2
    for a, b in zip(trees, first, strict=True):
        assert a.tokens == b.tokens and [n.state for n in a.nodes] == [n.state for n in b.nodes]


def test_a_line_ends_at_its_newline_whatever_else_that_token_holds(short_lined, of_short_lines):
    held = short_lined.model.tokenizer("\n  ").input_ids[0]
    assert (np.asarray(of_short_lines.embedding.lines) == held).any((1, 2, 3)).all()
    roots = [tree_of_thoughts.State(prompt) for prompt in SHORT]
    trees = lm_mcts.to_trees(of_short_lines, short_lined, roots, word_problems.LINES)
    lines = [line for tree in trees for node in tree.nodes for line in node.state.thoughts]
    assert len(lines) > 4
    assert not any("\n" in line or line != line.rstrip(" ") for line in lines)


def test_bad_input_is_one_clear_line(searcher, tiny, abc):
    with pytest.raises(InputError, match="num_simulations is 0"):
        lm_mcts.search(searcher, jax.random.key(0), PROMPTS[:1], num_simulations=0)
    with pytest.raises(InputError, match="no prompt"):
        lm_mcts.search(searcher, jax.random.key(0), [], num_simulations=4)
    with pytest.raises(InputError, match="num_lines is 0"):
        lm_mcts.searcher(tiny, lm_tasks.game24(abc), lm_evaluators.likelihood, num_lines=0)
    with pytest.raises(
        InputError, match="width is 500, max_line 24: expected at most 512 together"
    ):
        lm_mcts.searcher(tiny, lm_tasks.game24(abc), lm_evaluators.likelihood, width=500)
    with pytest.raises(InputError, match="no reward of its own"):
        lm_evaluators.rollouts(
            tiny, lm_tasks.reasoning_lines([tiny.tokenizer.eos_token_id], judged=True)
        )
    with pytest.raises(
        InputError, match=r"keys of shape \(2,\): expected one, or one for each of 3 prompts"
    ):
        lm_mcts.search(
            searcher, jax.random.split(jax.random.key(0)), PROMPTS[:3], num_simulations=4
        )
    with pytest.raises(InputError, match="widen is 0"):
        lm_mcts.searcher(tiny, lm_tasks.game24(abc), lm_evaluators.likelihood, widen=0)
    with pytest.raises(InputError, match=r"expected four integers in 1\.\.13"):
        game24_rules.puzzle("4 6 8")
    with pytest.raises(InputError, match="at most 80 fit"):
        lm_mcts.search(searcher, jax.random.key(0), ["24: " + "1 " * 60], num_simulations=4)
