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
# **A chain that starts with a bad move still runs to its end. Can a model look at where it stands,
# drop what cannot work, and try something else?**
#
# Yes. In the Game of 24 (make 24 from four numbers) one chain solves 17% of 406 held-out puzzles. A
# search over lines of the same model solves 81% to 88%. Chains that stop at the first solution are
# a strong opponent, though. With equal tokens depth-first search solves 6 points more than they do
# [2, 10], and breadth-first search with a beam of 5 solves 7 points fewer [-10, -4].
#
# ![puzzles solved against tokens](../docs/results/03_tree_of_thoughts/accuracy_by_tokens.png)
#
# At the end of this lesson you can
#
# - write breadth-first search with a beam, and depth-first search with pruning and backtracking;
# - make a language model the generator and the evaluator of a search;
# - compare a search with independent chains at equal tokens.
#
# The lesson plays all 406 held-out puzzles, 100 of which are the test puzzles of Yao et al. (2023).

# %%
from jaxreason.course.options import read_options

GIVEN = read_options("03_tree_of_thoughts", problems=500, model="tiny-24")

# %%
import functools

import numpy as np

from jaxreason.answers import vote
from jaxreason.course import lesson, viz
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.evaluation.compute_optimal import paid_for
from jaxreason.evaluation.intervals import mean_interval
from jaxreason.search import evaluators, game24_rules, proposers
from jaxreason.search import tree_of_thoughts as tot
from jaxreason.search.outcomes import outcomes
from jaxreason.tasks import game24, game24_puzzles
from jaxreason.tasks.game24_value import MAX_TOKENS

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# ## The algorithm in plain code
#
# A **thought** is a line, such as `7-4=3 left 3 3 4`. A **state** is the puzzle and the lines so
# far; here it comes down to the numbers left. A **generator** says which lines may come next, and
# an **evaluator** says how promising a state is. A language model will be both. First we write them
# by hand: all legal moves, and the share of the numbers left that divide 24.

# %%
Numbers = tuple[int, ...]  # ascending
PUZZLE = (3, 4, 4, 7)


def next_states(left: Numbers) -> dict[Numbers, str]:
    """The states that one line leads to, with that line; of two ways to a state the first."""
    states = {}
    for move in game24.moves(left):
        states.setdefault(move.left, game24.format_move(move).rstrip())
    return states


def promise(left: Numbers) -> float:
    return sum(n > 0 and 24 % n == 0 for n in left) / len(left)


for state, line in next_states(PUZZLE).items():
    print(f"{promise(state):.2f}  {line}")

# %% [markdown]
# **Breadth-first search** (Algorithm 1 of the paper) expands all states of a level, and keeps the
# `beam` most promising children. It stops at a child that is 24.


# %%
def plain_bfs(puzzle: Numbers, beam: int) -> tuple[tuple[str, ...] | None, list[Numbers]]:
    """The lines of a solution, and the states in the order of their expansion."""
    level, expanded = {puzzle: ()}, []
    for depth in range(1, len(puzzle)):
        children = {}  # state -> the lines to it
        for left, lines in level.items():
            expanded.append(left)
            for child, line in next_states(left).items():
                children.setdefault(child, (*lines, line))
        if (24,) in children:
            return children[24,], expanded
        kept = sorted(children, key=promise, reverse=True)[:beam]
        print(f"level {depth}: {len(children)} children, keeps {kept}")
        level = {left: children[left] for left in kept}
    return None, expanded


for beam in (2, 3):
    by_breadth, breadth_order = plain_bfs(PUZZLE, beam)
    print(f"beam {beam}: {by_breadth or 'no solution'}\n")

# %% [markdown]
# With a beam of 2 the search drops the state `4 6`, which it needed, and cannot come back.
# **Depth-first search** (Algorithm 2) can. It goes down from the most promising child, and prunes
# children that score at or below a threshold. From a dead end it backtracks to the next best child
# above. A state that was seen before is not searched again.


# %%
def plain_dfs(
    left: Numbers, threshold: float, seen: set[Numbers], expanded: list[Numbers], lines=()
) -> tuple[str, ...] | None:
    expanded.append(left)
    children = {child: line for child, line in next_states(left).items() if child not in seen}
    seen.update(children)
    if (24,) in children:
        print(f"{'    ' * len(lines)}{children[24,]}  solved")
        return (*lines, children[24,])
    for child in sorted(children, key=promise, reverse=True):
        pruned = promise(child) <= threshold
        print(f"{'    ' * len(lines)}{children[child]}  {'pruned' if pruned else promise(child)}")
        if not pruned and len(child) > 1:
            solution = plain_dfs(child, threshold, seen, expanded, (*lines, children[child]))
            if solution:
                return solution
    print(f"{'    ' * len(lines)}back")
    return None


depth_order = []
by_depth = plain_dfs(PUZZLE, 0.5, {PUZZLE}, depth_order)

# %% [markdown]
# The library's searches take the same two functions, for lists of states and with the tokens that
# each state cost. They call them once for all states of all puzzles. That is their only trick: the
# search is Python, but a model is fast only where it reads many states at once.


# %%
def generate(states: list[tot.State]) -> tuple[list, list[int]]:
    lefts = map(game24_rules.numbers_left, states)
    thoughts = [[tot.Thought(line) for line in next_states(left).values()] for left in lefts]
    return thoughts, [0] * len(states)


def evaluate(states: list[tot.State]) -> tuple[list[float], list[int]]:
    return [promise(game24_rules.numbers_left(state)) for state in states], [0] * len(states)


search = [tot.State(PUZZLE)], generate, evaluate, game24_rules.GAME24
(wide,) = tot.bfs(*search, beam=3, max_depth=3)
(deep,) = tot.dfs(*search, threshold=0.5, max_depth=3, max_expansions=99)
for tree, lines, order in ((wide, by_breadth, breadth_order), (deep, by_depth, depth_order)):
    assert tree.nodes[tree.answer].state.thoughts == lines
    assert [game24_rules.numbers_left(tree.nodes[i].state) for i in tree.expanded] == order

# %% [markdown]
# ## Single chains, and many of them
#
# Now the model. A chain that fails shows it: its last number is not 24. The *vote* of $N$ chains
# submits the most frequent one. *Any* stops at the first chain that passes the solution test. The
# searches use the same test, so *any* is the baseline that they have to beat.

# %%
QUICK = run.options.quick  # most of a smoke run is compilation: few batches, of few shapes
puzzles = game24_puzzles.held_out(12 if QUICK else run.problems)
of_paper = np.array([game24_puzzles.split_of(p) == "paper_test" for p in puzzles])
N = 8 if QUICK else 72  # enough for the tokens of the searches below
ROWS = N * len(puzzles) if QUICK else 512  # chains at a time

texts = [game24.format_puzzle(p) for p in puzzles]
greedy = complete(run.model, run.key, texts, sampler=GREEDY, max_new_tokens=MAX_TOKENS)
many = {"max_new_tokens": 64, "num_samples": N, "rows": ROWS, "store": run.store}
chains = complete(run.model, run.key, texts, sampler=Sampler(1.0), description="chains", **many)

# %% [markdown]
# The solution test replays the moves. We measure all puzzles, the paper's, and the others.


# %%
def record(name: str, solved: np.ndarray, tokens: np.ndarray) -> None:
    for part, rows in {"": of_paper | True, "/paper": of_paper, "/others": ~of_paper}.items():
        if rows.any():
            run.measure(f"solved/{name}{part}", solved[rows], tokens[rows].mean())


pairs = zip(puzzles, chains.texts, strict=True)
solved = np.array([[game24.is_solved(p, text) for text in row] for p, row in pairs])  # [G, N]
first = [game24.is_solved(p, row[0]) for p, row in zip(puzzles, greedy.texts, strict=True)]
ids = [[row.index(text) for text in row] for row in chains.texts]  # equal texts, equal ids
most_frequent = np.asarray(vote.majority(ids))
mean_tokens = np.broadcast_to(chains.num_tokens.mean(), len(puzzles))
spent = chains.num_tokens.sum(1)
record("greedy chain", np.array(first), greedy.num_tokens[:, 0])
record("one chain", solved.mean(1), mean_tokens)
record(f"vote of {N} chains", solved[np.arange(len(puzzles)), most_frequent], spent)
record(f"any of {N} chains", solved.any(1), spent)
rare = "a single chain solves under 30% of the paper's puzzles"
run.claim(rare, solved[of_paper].mean(1), at_most=0.30)

# %% [markdown]
# ## The model as generator and evaluator
#
# The generator samples 16 lines from each state. A repeated line is paid for, but kept once. It may
# be wrong, such as `8-6=3`: as in the paper, spotting that is the evaluator's work. The evaluator
# asks `Value: 4 8 12`, and reads the probabilities of *sure*, *likely* and *impossible* off the
# logits (lesson 03b). With `memoize`, searches that meet in a state share its answer.

# %%
SAMPLES = N if QUICK else 16
LEAST = len(puzzles) if QUICK else 1  # states that go through the model, some twice if need be
lines_of = functools.partial(proposers.propose_thoughts, run.model, run.key, store=run.store)
drawn = {"num_samples": SAMPLES, "num_thoughts": SAMPLES, "sampler": Sampler(1.0)}
drawn |= {"least": LEAST, "rows": ROWS}
propose = tot.memoize(functools.partial(lines_of, prompt=game24_rules.moves_prompt, **drawn))

ask = {"prompt": game24_rules.moves_value_prompt, "batch_size": 64 if QUICK else 512}
value = tot.memoize(functools.partial(evaluators.value_words, run.model, **ask))

# %% [markdown]
# ## Breadth first and depth first
#
# Four beams, and a depth-first search that may spend what the beam of 5 spends on average. Tokens
# count what the generator wrote *and* all that the evaluator read. The threshold and the number of
# lines were chosen on the validation split.

# %%
BEAMS = (1, 2, 5, 8)
search = [game24_rules.puzzle(p) for p in puzzles], propose, value, game24_rules.GAME24
searches = {}
for b in BEAMS:
    name = f"BFS, beam {b}"
    searches[name] = tot.bfs(*search, beam=b, max_depth=3, description=name)
budget = float(outcomes(searches["BFS, beam 5"]).tokens.mean())
limits = {"threshold": 0.1, "max_tokens": budget, "max_expansions": 15 if QUICK else 60}
searches["DFS"] = tot.dfs(*search, max_depth=3, **limits, description="DFS")

# %% [markdown]
# Each search is compared with chains that get exactly the tokens it spent on the same puzzle.

# %%
found, equal = {}, {}
for name, trees in searches.items():
    found[name] = outcomes(trees)
    equal[name] = (solved & paid_for(chains.num_tokens, found[name].tokens)).any(1)
    record(name, *found[name])
    run.measure(f"states expanded/{name}", np.array([len(tree.expanded) for tree in trees]))
    run.measure(f"evaluator's tokens/{name}", np.array([tree.evaluated for tree in trees]))
    run.measure(f"chains at the tokens of {name}", equal[name], found[name].tokens.mean())

for name in ("BFS, beam 5", "DFS"):
    run.claim_better(f"{name} beats chains at equal tokens", found[name].found, equal[name])
run.claim(
    "BFS, beam 8 solves >= 74% of the paper's 100 puzzles, "
    "as GPT-4 did with a tree of thoughts (Yao et al. 2023, table 2)",
    found["BFS, beam 8"].found[of_paper],
    at_least=0.74,
)

# %% [markdown]
# ## Accuracy against tokens
#
# Each beam is a point. Chains and DFS can be stopped anywhere, so they are curves.

# %%
counts = [2**k for k in range(7) if 2**k <= N]
any_of = {k: np.asarray(vote.pass_at_k(solved.sum(1), N, k)) for k in counts}
beams, deep = [found[f"BFS, beam {b}"] for b in BEAMS], found["DFS"]
caps = [budget / 2**k for k in range(4, -1, -1)]
run.points(
    "accuracy_by_tokens",
    {
        "any of N chains": [(k * mean_tokens[0], mean_interval(any_of[k])) for k in counts],
        "BFS, beam 1 to 8": [(ended.tokens.mean(), ended.found) for ended in beams],
        "DFS": [(cap, deep.found & (deep.tokens <= cap)) for cap in caps],
    },
    title=f"At {budget:.0f} tokens a puzzle BFS solves {found['BFS, beam 5'].found.mean():.0%},\n"
    f"chains {equal['BFS, beam 5'].mean():.0%}",
    xlabel="tokens per puzzle: thoughts, and all that the evaluator reads",
    ylabel="puzzles solved (95% interval)",
    log2=True,
    ticks=viz.TOKENS,
)

# %% [markdown]
# In the tree, filled nodes were expanded, and the thick path is the solution.

# %%
solved_trees = [tree for tree in searches["BFS, beam 5"] if tree.answer >= 0]
tree = (solved_trees or searches["BFS, beam 5"])[0]
print(game24_rules.verdict(tree))
title = f"BFS with a beam of 5: {len(tree.nodes) - 1} thoughts, {len(tree.expanded)} expanded"
run.figure(viz.thoughts(tree, max_children=2, title=title), "tree")

# %% [markdown]
# ## What surprised us
#
# - Width buys little. A beam of 8 solves no more than one of 5 (87.4% and 87.7%), and it spends
#   half as many tokens again.
# - DFS expands three states on average. It solves 85% with 790 tokens; BFS needs 1,250 for 86%.
# - A chain costs 45 tokens. The tokens of a beam of 5 buy 59; in 95% of the puzzles one is right.
#
# ## When it does not work
#
# Look at these, in this order:
#
# - **any of N chains** near zero: the model makes no right moves, and a search has none to find.
# - **the scores in the drawn tree**: if good and bad moves score alike, the search is blind (03b).
# - **states expanded**: a DFS that expands one state has pruned everything. Lower its threshold.
#
# ## Exercises
#
# `jaxreason check 03` writes `exercises_03.py` for you to fill in, and checks your answers:
#
# 1. `next_level`: the states that a beam keeps.
# 2. `depth_first`: search with pruning and backtracking.
# 3. `chains_within`: what chains solve with the tokens of a search.
# 4. `EXPANDED`: predict how many states each search expands.
# 5. `MISLEADING`: break it. Choose values that make a beam fail where depth first does not.

# %%
run.finish()
