# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 03 Tree of thoughts
#
# Self-consistency samples whole chains, and each one starts from nothing. In the Game of 24 (make
# 24 from four numbers) that is wasteful: after one bad move a chain is lost, and yet it writes on
# to its end. A person looks at what is left, drops what cannot work, and tries another move from
# there. Tree of thoughts (Yao et al. 2023) does this with a language model:
#
# - a **thought** is a line, and a **state** $s = [x, z_1, \dots, z_i]$ is the problem with the
#   lines so far;
# - a **generator** writes next thoughts, $z \sim p_\theta(z \mid s)$;
# - an **evaluator** says how promising a state is, here by the model's own words,
#   $V(s) = \sum_w v(w)\,p_\theta(w \mid s)$;
# - a **search** decides what to expand: breadth first with a beam, or depth first with pruning and
#   backtracking.
#
# We measure, on held-out puzzles and at equal tokens: single chains and votes over them, BFS, and
# DFS; the same search with an evaluator that knows nothing and with one that knows all; how good
# the model's own value is on states it has never seen; and whether any of this helps on word
# problems.

# %%
from jaxreason.course.options import read_options

# First of all, so that a misspelt option does not wait for the imports below.
GIVEN = read_options("03_tree_of_thoughts", problems=100, model="tiny-24")

# %%
import functools

import numpy as np

from jaxreason.answers import vote
from jaxreason.answers.extract import extract_answer
from jaxreason.answers.verify import answer_ids, gold_ids, grade
from jaxreason.course import lesson, viz
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.evaluation.intervals import Interval, accuracy, auc, mean_interval, paired_difference
from jaxreason.models.hf import load_model
from jaxreason.search import evaluators, game24_rules, proposers, tree_text, word_problems
from jaxreason.search import tree_of_thoughts as tot
from jaxreason.tasks import arithmetic, game24, game24_puzzles
from jaxreason.tasks.game24_value import MAX_TOKENS

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# ## The puzzles
#
# We use the 100 test puzzles of the paper (ranks 901-1000 by human solving time), and the test
# split of the other solvable ones (306). All of them are held out. Moves are in whole numbers, so
# that every state is a few integers. By default the lesson plays the paper's puzzles alone, and 100
# word problems. `--problems 500` plays all puzzles; the committed results were made with it.

# %%
# Most of a smoke run is compilation, so its batches are few and have few shapes
QUICK = run.options.quick
NUM_PROBLEMS = 12 if QUICK else run.problems
puzzles = game24_puzzles.held_out(NUM_PROBLEMS)
of_paper = np.array([game24_puzzles.split_of(p) == "paper_test" for p in puzzles])
print(f"{len(puzzles)} puzzles, {of_paper.sum()} of them from the paper")
print(game24.format_puzzle(puzzles[0]) + game24.format_trace(game24.solve(puzzles[0])))

# %% [markdown]
# ## Single chains, and many of them
#
# A chain that fails says so itself: its last number is not 24. So there are two ways to use $N$
# chains. The *vote* (CoT-SC) submits the most frequent one. *Any* stops at the first chain that
# passes the solution test, which is free here. The searches below use the same test, so *any* is
# the baseline that they have to beat.

# %%
N = 8 if QUICK else 72  # enough for the tokens of the searches below
ROWS = N * NUM_PROBLEMS if QUICK else 512  # chains at a time
texts = [game24.format_puzzle(p) for p in puzzles]
greedy = complete(
    run.model, run.key, texts, sampler=GREEDY, max_new_tokens=MAX_TOKENS, description="greedy"
)
chains = complete(
    run.model,
    run.key,
    texts,
    sampler=Sampler(1.0),
    max_new_tokens=64,
    num_samples=N,
    rows=ROWS,
    description=f"{N} chains at T=1",
)

# %% [markdown]
# The solution test is exact: it replays the moves. Equal texts share an id, the position of the
# first of them, so that the vote is a vote over texts.


# %%
def passes(written) -> np.ndarray:
    """[G, N] whether each chain solves its puzzle."""
    return np.array(
        [
            [game24.is_solved(puzzle, text) for text in row]
            for puzzle, row in zip(puzzles, written.texts, strict=True)
        ]
    )


greedy_solved, solved = passes(greedy)[:, 0], passes(chains)  # [G], [G, N]
chain_tokens = chains.num_tokens.mean()
spent = chains.num_tokens.cumsum(1)  # [G, N]

ids = np.array([[row.index(text) for text in row] for row in chains.texts])
most_frequent = np.asarray(vote.majority(ids))
voted = solved[np.arange(len(puzzles)), most_frequent]


# %% [markdown]
# Every method is measured on all puzzles, on the paper's and on the others.


# %%
def record(name: str, correct: np.ndarray, tokens: np.ndarray | float) -> None:
    """The share solved of all puzzles, of the paper's and of the others."""
    interval = mean_interval if correct.dtype.kind == "f" else accuracy
    tokens = np.broadcast_to(tokens, len(puzzles))
    run.results.measure(f"solved/{name}", interval(correct), tokens=tokens.mean())
    for part, rows in (("paper", of_paper), ("others", ~of_paper)):
        if rows.any():
            run.results.measure(
                f"solved/{name}/{part}", interval(correct[rows]), tokens=tokens[rows].mean()
            )


record("greedy chain", greedy_solved, greedy.num_tokens[:, 0])
record("one chain", solved.mean(1), chain_tokens)
record(f"vote of {N} chains", voted, spent[:, -1])
record(f"any of {N} chains", solved.any(1), spent[:, -1])
run.claim(
    "a single chain solves under 30% of the paper's puzzles",
    mean_interval(solved[of_paper].mean(1)),
    at_most=0.30,
)

# %% [markdown]
# ## A generator and an evaluator
#
# The generator draws 16 lines from each state. Every state is prefilled once, and all states of a
# level, of *all* puzzles, are one batch. A repeated line is paid for, but kept once.
#
# The evaluator asks the model `Value: 4 8 12` and reads the probabilities of `sure`, `likely` and
# `impossible` off the logits, in one forward pass for all states. Sampled words have to be read
# exactly: the original course looks for "likely" anywhere in the reply, and so gives 0.7 to
# "unlikely".
#
# A model may also think before it gives a value. `tiny-24-value` is the same model, taught to
# search from both ends in writing: for each number what would be needed beside it, then what the
# other two make, up to the first match (`python checkpoints/train_value.py`).
#
# We memoize all three functions: an answer depends on the state alone, so searches that meet in a
# state share it, and each of them is charged for it.

# %%
# Chosen on the validation split.
SAMPLES, TEMPERATURE = N if QUICK else 16, 1.0
BEAM, WIDE, THRESHOLD = 5, 8, 0.1
LEAST = len(puzzles) if QUICK else 1  # states that go through the model, some twice if need be
propose = tot.memoize(
    functools.partial(
        proposers.propose_thoughts,
        run.model,
        run.key,
        prompt=game24_rules.moves_prompt,
        num_samples=SAMPLES,
        num_thoughts=SAMPLES,
        sampler=Sampler(TEMPERATURE),
        least=LEAST,
        rows=ROWS,
    )
)
value = tot.memoize(
    functools.partial(
        evaluators.value_words,
        run.model,
        prompt=game24_rules.moves_value_prompt,
        batch_size=64 if QUICK else 512,
    )
)

# %% [markdown]
# The thinking evaluator writes its reply greedily, and we read the word at its end.

# %%
critic = load_model("tiny-24-value", mesh=run.mesh) if run.model.name == "tiny-24" else run.model
write_out = functools.partial(
    evaluators.replies,
    critic,
    run.key,
    max_new_tokens=MAX_TOKENS,
    least=LEAST,
    rows=LEAST if QUICK else 512,
)
think = tot.memoize(
    functools.partial(
        evaluators.value_replies,
        write_out,
        prompt=game24_rules.moves_value_prompt,
        values=evaluators.VALUES,
    )
)

# %% [markdown]
# The first thoughts on one puzzle, best first, beside what the exact solver says of each state; how
# replies are read; and one thought that is written out.

# %%
root = game24_rules.puzzle(puzzles[0])
(proposals,), _ = propose([root])
legal = [t.text for t in proposals if game24_rules.GAME24.accept(root, t.text)]
states = [tot.State(root.problem, (text,)) for text in legal]
scores, _ = value(states)
for i in np.argsort(-np.array(scores), kind="stable")[:6]:
    exact = game24.value_label(game24_rules.numbers_left(states[i]))
    print(f"{scores[i]:.2f}  {states[i].thoughts[0]:<24} {exact}")

for reply in ("Sure.", "2*12=24\nlikely", "unlikely", "not likely"):
    print(f"{reply!r} is worth {evaluators.parse_value(reply)}")
asked = game24.format_value((4, 8, 12))
print(asked + write_out([asked])[0][0][0])

# %% [markdown]
# ## How good is the value?
#
# We value every state of two or three numbers that legal moves reach from the test puzzles. Most of
# these also occur under *training* puzzles, so the model may simply remember them. *Unseen* states
# are left out of training by a hash. The AUC is the chance that a solvable state gets a higher
# value than an unsolvable one.
#
# A word is judged at a glance, in one forward pass, and lesson 01 showed what that is worth. There
# are two other ways to value a state:
#
# - to *try*: let the model play on from it 16 times, and count how often 24 comes out;
# - to *think*: one chain that ends in the word.

# %%
TRIES = N if QUICK else 16
tries = functools.partial(
    evaluators.rollouts,
    run.model,
    run.key,
    prompt=game24_rules.left_prompt,
    is_solved=game24_rules.moves_solved,
    num_samples=TRIES,
    least=LEAST,
    rows=ROWS,
)
WAYS = {"a word at a glance": value, "a thought before the word": think, f"{TRIES} tries": tries}
glance, thought, by_trying = WAYS
auc_of, costs_of = {}, {}


def rank(way: str, size: int, part: str, states: list[tuple], can: np.ndarray) -> None:
    """Measures how well a way to value states tells those that can reach 24 from the others."""
    scores, costs = WAYS[way]([tot.State(state) for state in states])
    costs_of[way, size] = np.mean(costs)
    auc_of[way, size, part] = auc(np.array(scores), can)
    run.results.measure(
        f"value AUC/{size} numbers, {part}, {way}",
        auc_of[way, size, part],
        tokens=costs_of[way, size],
    )


# %% [markdown]
# Tries are dear, so only the unseen states get them.

# %%
for size in (3, 2):
    held_out = game24_puzzles.substates(puzzles[: 12 if QUICK else None], size)
    can = np.array([game24.solvable(s) for s in held_out])
    seen = np.array([game24_puzzles.in_training(s) for s in held_out])
    unseen = np.array([game24_puzzles.substate_split(s) == "unseen" for s in held_out])
    for way in WAYS:
        for part, rows in (("seen", seen), ("unseen", unseen)):
            if part == "unseen" or way != by_trying:
                chosen = [held_out[i] for i in np.flatnonzero(rows)]
                rank(way, size, part, chosen, can[rows])

# %% [markdown]
# If a glance computed anything, it would rank unseen states as well as seen ones.

# %%
run.claim(
    f"by {glance}, states of 3 numbers that training showed are ranked with an AUC >= 0.95",
    auc_of[glance, 3, "seen"],
    at_least=0.95,
)
for way in WAYS:
    for size in (3, 2):
        run.claim(
            f"by {way}, unseen states of {size} numbers are ranked with an AUC >= 0.85",
            auc_of[way, size, "unseen"],
            at_least=0.85,
        )
bars = {}
for way, name in zip(WAYS, ("glance", "thought", f"{TRIES} tries"), strict=True):
    for part in ("seen", "unseen"):
        if (way, 3, part) in auc_of:
            bars[f"{name}, {part}"] = [auc_of[way, size, part] for size in (3, 2)]
unseen = {way: auc_of[way, 3, "unseen"].value for way in WAYS}
run.figure(
    viz.bars(
        ["3 numbers left", "2 numbers left"],
        bars,
        title=f"A glance remembers: AUC {auc_of[glance, 3, 'seen'].value:.2f} "
        f"if seen in training, {unseen[glance]:.2f} if not.\n"
        f"A thought computes: {unseen[thought]:.2f} with {costs_of[thought, 3]:.0f} tokens; "
        f"{TRIES} tries {unseen[by_trying]:.2f} with {costs_of[by_trying, 3]:.0f}",
        xlabel="states under the test puzzles (0.5 is chance)",
        ylabel="AUC (95% interval)",
    ),
    "value_auc",
)

# %% [markdown]
# ## Breadth first and depth first
#
# **BFS** (Algorithm 1) keeps the $b$ best states of a level over all their parents. **DFS**
# (Algorithm 2) follows the best thought to the end, prunes what scores at or below a threshold, and
# backtracks. Both stop at the first leaf that passes the solution test. They do not check moves
# before that: a wrong line such as `8-6=3` is the evaluator's problem, as in the paper.
#
# Tokens count what the generator wrote *and* all that the evaluator read and wrote. We compare each
# search with chains that get exactly the tokens it spent on the same puzzle.

# %%
roots = [game24_rules.puzzle(p) for p in puzzles]


def breadth(
    evaluate: tot.Evaluate,
    beam: int = BEAM,
    rules: tot.Rules = game24_rules.GAME24,
    name: str = "value",
) -> list[tot.Tree]:
    return tot.bfs(
        roots,
        propose,
        evaluate,
        rules,
        beam=beam,
        max_depth=3,
        description=f"BFS, beam {beam}, {name}",
    )


def found(trees: list[tot.Tree]) -> np.ndarray:
    return np.array([tree.answer >= 0 for tree in trees])


def tokens_of(trees: list[tot.Tree]) -> np.ndarray:
    return np.array([tree.tokens for tree in trees])


def chains_within(tokens: np.ndarray) -> np.ndarray:
    """Whether chains solve a puzzle within its tokens [G]; the first chain is always paid for."""
    affordable = (spent <= tokens[:, None]) | (np.arange(N) == 0)
    return (solved & affordable).any(1)


# %% [markdown]
# Four beams by a glance, three by thought, and DFS with the mean budget of the beam of 5.

# %%
searches = {f"BFS, beam {b}": breadth(value, b) for b in (1, 2, BEAM, WIDE)}
searches |= {f"BFS, beam {b}, thinking": breadth(think, b, name="thinking") for b in (1, 2, BEAM)}
wide, deliberate = searches[f"BFS, beam {BEAM}"], searches[f"BFS, beam {BEAM}, thinking"]
budget = float(tokens_of(wide).mean())
searches["DFS"] = tot.dfs(
    roots,
    propose,
    value,
    game24_rules.GAME24,
    threshold=THRESHOLD,
    max_depth=3,
    max_expansions=15 if QUICK else 60,
    max_tokens=budget,
    description="DFS",
)
for name, trees in searches.items():
    record(name, found(trees), tokens_of(trees))
    expanded = np.array([float(len(tree.expanded)) for tree in trees])
    evaluated = np.array([float(tree.evaluated) for tree in trees])
    run.results.measure(f"states expanded/{name}", mean_interval(expanded))
    run.results.measure(f"evaluator's tokens/{name}", mean_interval(evaluated))
    run.results.measure(
        f"chains at the tokens of {name}",
        accuracy(chains_within(tokens_of(trees))),
        tokens=tokens_of(trees).mean(),
    )

# %% [markdown]
# The claims compare search with chains, with GPT-4 in the paper, and thought with a glance.

# %%
for name in (f"BFS, beam {BEAM}", "DFS"):
    trees = searches[name]
    run.claim_better(
        f"{name} beats chains at equal tokens", found(trees), chains_within(tokens_of(trees))
    )
for name in (f"BFS, beam {WIDE}", f"BFS, beam {BEAM}, thinking"):
    run.claim(
        f"{name} solves >= 74% of the paper's 100 puzzles, "
        "as GPT-4 did with a tree of thoughts (Yao et al. 2023, table 2)",
        accuracy(found(searches[name])[of_paper]),
        at_least=0.74,
    )
run.claim_better(
    f"with a beam of {BEAM}, BFS solves more by values that are thought through than by a glance",
    found(deliberate),
    found(wide),
)

# %% [markdown]
# ## Look at a tree
#
# Each line shows the score, the thought, and in brackets the order of expansion. A star marks the
# solution. We print the DFS that backtracked most within nine expansions, and then a puzzle that
# has no solution.

# %%
solved_dfs = [tree for tree in searches["DFS"] if tree.answer >= 0] or searches["DFS"]
short = [tree for tree in solved_dfs if len(tree.expanded) <= 9] or solved_dfs[:1]
backtracked = max(short, key=lambda tree: len(tree.expanded))
puzzle = " ".join(map(str, backtracked.nodes[0].state.problem))
print(puzzle, "-", game24_rules.verdict(backtracked))
print(tree_text.format_tree(backtracked, max_children=1))

hopeless = game24_rules.puzzle("1 1 1 1")
(given_up,) = tot.bfs([hopeless], propose, value, game24_rules.GAME24, beam=BEAM, max_depth=3)
print(game24_rules.verdict(given_up))

solved_wide = [tree for tree in wide if tree.answer >= 0] or wide
drawn = solved_wide[0]
run.figure(
    viz.thoughts(
        drawn,
        max_children=2,
        title=f"BFS with a beam of {BEAM}: {len(drawn.nodes) - 1} thoughts, "
        f"{len(drawn.expanded)} states expanded (of the others the two best are shown)",
    ),
    "tree",
)

# %% [markdown]
# ## Is it the value, or is it the tree?
#
# We run the same search with other evaluators: random scores; the likelihood of the thoughts, which
# makes it beam search over lines; and an oracle that knows which states are solvable, the upper
# bound for this generator. We run it once more on a *board* that refuses wrong moves.

# %%
CONTROLS = {
    "random": evaluators.random_scores,
    "likelihood": evaluators.likelihood,
    "oracle": game24_rules.moves_oracle,
}
controls = {name: breadth(evaluate, name=name) for name, evaluate in CONTROLS.items()}
for name, trees in controls.items():
    record(f"BFS, beam {BEAM}, {name}", found(trees), tokens_of(trees))
board = breadth(value, rules=game24_rules.GAME24_BOARD, name="on a board")
record(f"BFS, beam {BEAM}, on a board", found(board), tokens_of(board))
run.claim_better(
    "the model's own value beats random scores in the same search",
    found(wide),
    found(controls["random"]),
)

# %% [markdown]
# All evaluators side by side, from the one that knows nothing to the one that knows all:

# %%
everyone = {
    "random": controls["random"],
    "likelihood": controls["likelihood"],
    "a glance": wide,
    "a glance, on a board": board,
    "thinking": deliberate,
    "oracle": controls["oracle"],
}
shares = {name: found(trees).mean() for name, trees in everyone.items()}
run.figure(
    viz.bars(
        list(everyone),
        {"solved": [accuracy(found(trees)) for trees in everyone.values()]},
        title="The evaluator decides: the same search solves "
        f"{shares['random']:.0%} with random scores,\n"
        f"{shares['a glance']:.0%} with values at a glance, {shares['thinking']:.0%} with thought, "
        f"{shares['oracle']:.0%} with an oracle",
        xlabel=f"evaluator of BFS with a beam of {BEAM} (n = {len(puzzles)})",
        ylabel="puzzles solved (95% interval)",
    ),
    "evaluators",
)

# %% [markdown]
# ## Accuracy against tokens
#
# Each search is one point for each beam. Chains and DFS can be stopped at any number of tokens, so
# they are curves.


# %%
def point(trees: list[tot.Tree]) -> tuple[float, Interval]:
    """A search in the figure: its mean tokens, and what it solves."""
    return tokens_of(trees).mean(), accuracy(found(trees))


def any_of(k: int) -> tuple[float, Interval]:
    """k chains in the figure: the mean over all subsets of k."""
    return k * chain_tokens, mean_interval(np.asarray(vote.pass_at_k(solved.sum(1), N, k)))


COUNTS = [2**k for k in range(7) if 2**k <= N]
BUDGETS = [budget / 2**k for k in range(4, -1, -1)]
depth_first = searches["DFS"]
in_time = {b: found(depth_first) & (tokens_of(depth_first) <= b) for b in BUDGETS}
run.figure(
    viz.points(
        {
            "any of N chains": [any_of(k) for k in COUNTS],
            "BFS, beam 1 to 8": [point(searches[f"BFS, beam {b}"]) for b in (1, 2, BEAM, WIDE)],
            "BFS, thinking, beam 1 to 5": [
                point(searches[f"BFS, beam {b}, thinking"]) for b in (1, 2, BEAM)
            ],
            "DFS": [(b, accuracy(solved_by_then)) for b, solved_by_then in in_time.items()],
        },
        log2=True,
        ticks=viz.TOKENS,
        title=f"At {budget:.0f} tokens a puzzle BFS solves {found(wide).mean():.0%},\n"
        f"chains {chains_within(tokens_of(wide)).mean():.0%}",
        xlabel="tokens per puzzle: thoughts, and all that the evaluator reads",
        ylabel="puzzles solved (95% interval)",
    ),
    "accuracy_by_tokens",
)

# %% [markdown]
# ## Word problems
#
# Here a chain is not visibly wrong, and there is no solution test: search submits its best-scored
# leaf. We run beam search over lines with four evaluators, against the vote of lesson 02 at the
# same number of tokens:
#
# - *likelihood*: the model's own probability, which costs nothing;
# - *calculator*: the same, but a line whose arithmetic is wrong is dropped. This checks steps
#   without knowing the solution;
# - *random*: the control;
# - *oracle*: lines that are no step towards the answer are dropped: an upper bound for every step
#   checker.

# %%
# tiny-24 has read nothing but puzzles
words = load_model("tiny", mesh=run.mesh) if run.model.name == "tiny-24" else run.model
problems = arithmetic.problems("test", NUM_PROBLEMS, seed=run.options.seed)
golds = [p.answer for p in problems]
NUM_CHAINS = 4 if QUICK else 16
sampled = complete(
    words,
    run.key,
    [prompts.zero_shot_cot(p.question) for p in problems],
    sampler=Sampler(0.7),
    max_new_tokens=96,
    num_samples=NUM_CHAINS,
    description=f"{NUM_CHAINS} chains",
)
right = grade(sampled.texts, golds)
answers = answer_ids([[extract_answer(t) for t in row] for row in sampled.texts])
gold = gold_ids(answers, right)
cumulative = sampled.num_tokens.cumsum(1)


def vote_within(tokens: np.ndarray) -> np.ndarray:
    """Whether the vote of the chains that a problem's tokens pay for is right [G]."""
    affordable = (cumulative <= tokens[:, None]) | (np.arange(NUM_CHAINS) == 0)
    return np.asarray(vote.majority(answers, affordable)) == gold


# %% [markdown]
# The same generator and the same search as for the puzzles, on lines of a worked solution.

# %%
lines = tot.memoize(
    functools.partial(
        proposers.propose_thoughts,
        words,
        run.key,
        prompt=word_problems.lines_prompt,
        num_samples=4,
        num_thoughts=4,
        sampler=Sampler(0.7),
        least=LEAST,
        rows=4 * LEAST if QUICK else 512,
    )
)
word_evaluators = {
    "random": evaluators.random_scores,
    "likelihood": evaluators.likelihood,
    "calculator": word_problems.calculator,
    "oracle": word_problems.lines_oracle,
}
word_right, word_tokens = {}, {}
for name, evaluate in word_evaluators.items():
    trees = tot.bfs(
        [tot.State(p) for p in problems],
        lines,
        evaluate,
        word_problems.LINES,
        beam=3,
        max_depth=8,
        description=f"word problems, {name}",
    )
    leaves = [
        tree.nodes[tree.answer].state.thoughts if tree.answer >= 0 else ("",) for tree in trees
    ]
    word_right[name] = grade([[thoughts[-1]] for thoughts in leaves], golds)[:, 0]
    word_tokens[name] = tokens_of(trees)

# %% [markdown]
# Each search is compared with the vote at its own tokens.

# %%
equal_vote = {name: vote_within(tokens) for name, tokens in word_tokens.items()}
for name in word_evaluators:
    tokens = word_tokens[name].mean()
    run.results.measure(f"word problems/BFS, {name}", accuracy(word_right[name]), tokens=tokens)
    run.results.measure(
        f"word problems/vote at the tokens of BFS, {name}",
        accuracy(equal_vote[name]),
        tokens=tokens,
    )
run.results.measure(
    "word problems/one chain", mean_interval(right.mean(1)), tokens=sampled.num_tokens.mean()
)
for name in ("likelihood", "calculator", "oracle"):
    run.results.measure(
        f"word problems/difference, BFS {name} - vote",
        paired_difference(word_right[name], equal_vote[name]),
    )
run.claim_better(
    "with an exact step checker, search on word problems beats the vote at equal tokens",
    word_right["oracle"],
    equal_vote["oracle"],
)

# %% [markdown]
# The figure puts them beside one sampled chain.

# %%
one_chain, the_vote = mean_interval(right.mean(1)), accuracy(equal_vote["likelihood"])
by_search = {name: accuracy(hits) for name, hits in word_right.items()}
calculator, oracle = (
    100 * (word_right[name].mean() - word_right["likelihood"].mean())
    for name in ("calculator", "oracle")
)
run.figure(
    viz.bars(
        ["one chain", *by_search, "the vote"],
        {"accuracy": [one_chain, *by_search.values(), the_vote]},
        title=f"Word problems: search by likelihood {by_search['likelihood'].value:.0%}, "
        f"the vote {the_vote.value:.0%}; a calculator adds\n{calculator:+.1f} points, "
        f"an exact step checker would add {oracle:+.1f}",
        xlabel="one chain; BFS with an evaluator, and the vote, "
        f"at {word_tokens['likelihood'].mean():.0f} tokens a problem (n = {len(problems)})",
        ylabel="accuracy (95% interval)",
    ),
    "word_problems",
)

# %% [markdown]
# ## The prompt-only variant
#
# Hulbert (2023) asks a chat model to play the whole search in one reply. There is no tree, nothing
# is pruned, and nobody checks. It needs a model that follows instructions (`--model` with a chat
# template). With such a model we compare it with plain step-by-step.

# %%
print(prompts.experts(problems[0].question))
if run.model.tokenizer.chat_template:
    some = problems[:100]
    WORDINGS = {
        "step by step": [f"{p.question} {prompts.STEP_BY_STEP}" for p in some],
        "experts": [prompts.experts(p.question) for p in some],
    }
    for name, wordings in WORDINGS.items():
        replies = complete(
            run.model,
            run.key,
            [prompts.chat(run.model.tokenizer, wording) for wording in wordings],
            sampler=GREEDY,
            max_new_tokens=400,
            rows=32,
            description=name,
        )
        run.results.measure(
            f"chat model/{name}",
            accuracy(grade(replies.texts, golds[:100])[:, 0]),
            tokens=replies.num_tokens.mean(),
        )

# %%
run.finish()
