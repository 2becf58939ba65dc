# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 06 Monte Carlo tree search
#
# Breadth-first search (lesson 03) decides in advance how much of a tree it looks at: so many
# thoughts from each state, so many states of each level. Monte Carlo tree search (MCTS) decides
# again after every step, from what it has seen so far. One **simulation** is
#
# 1. **select**: walk down from the root, at every node to the child that looks best now, until a
#    child is missing;
# 2. **expand**: add that child;
# 3. **simulate** (evaluate): estimate the return from there, by a value function or by playing on
#    to the end at random (a rollout);
# 4. **back up**: add this return $G$ to the mean of every node on the path,
#    $V \leftarrow V + (G - V)/(N+1)$, $N \leftarrow N + 1$.
#
# What "looks best" means is a compromise between what is good and what is little known:
#
# $$\text{UCT: } \arg\max_a\; Q(s,a) + c\sqrt{\frac{\ln N(s)}{N(s,a)}} \qquad
# \text{PUCT: } \arg\max_a\; Q(s,a) + c\,P(s,a)\frac{\sqrt{N(s)}}{1+N(s,a)}$$
#
# UCT (Kocsis & Szepesvari 2006) treats every node as a bandit: the bonus of an action shrinks as it
# is tried. PUCT (AlphaGo Zero) spends the bonus where a **prior** $P(s, a)$ expects it to pay; for
# language models that is the probability of the step.
#
# We run the search on a toy whose answer is known. Then a language model plays the Game of 24
# inside the search, all puzzles in one compiled program, against BFS and independent chains at
# equal tokens. Last come word problems, where all depends on the value.

# %%
from jaxreason.course.options import read_options

# First of all, so that a misspelt option does not wait for the imports below.
GIVEN = read_options("06_mcts", problems=100, model="tiny-24", reward_models=("prm",))

# %%
import functools
import time

import jax.numpy as jnp
import numpy as np

from jaxreason.answers import vote
from jaxreason.answers.extract import extract_answer
from jaxreason.answers.verify import answer_ids, gold_ids, grade
from jaxreason.course import lesson, viz
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import Sampler
from jaxreason.errors import InputError
from jaxreason.evaluation.compute_optimal import within_budget
from jaxreason.evaluation.intervals import Interval, accuracy, mean_interval, paired_difference
from jaxreason.models.hf import load_model
from jaxreason.rewards.reward_model import aggregate, load_reward_model, step_scores
from jaxreason.search import (
    evaluators,
    game24_rules,
    lm_evaluators,
    lm_mcts,
    lm_tasks,
    mcts,
    proposers,
    toy_mdp,
    tree_text,
    word_problems,
)
from jaxreason.search import tree_of_thoughts as tot
from jaxreason.search.evaluators import reward_values
from jaxreason.tasks import arithmetic, game24, game24_puzzles, game24_tokens

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# A drawing of the toy tree that comes next.


# %%
def draw_toy(tree: mcts.SearchResult, path: list[int], file: str, *, title: str) -> None:
    """All nodes of the first tree of a batch; the root is node 0."""
    parents = tree.parents[0].tolist()
    nodes = [0] + [i for i, parent in enumerate(parents) if i > 0 and parent >= 0]
    place = {index: row for row, index in enumerate(nodes)}
    visits, actions = tree.visits[0], tree.actions[0]
    returns = np.array(tree.rewards[0] + tree.discounts[0] * tree.values[0])
    returns[0] = tree.values[0, 0]  # no step leads to the root
    figure = viz.tree(
        parents=[-1] + [place[parents[i]] for i in nodes[1:]],
        labels=[f"root, N={visits[0]}"]
        + [f"action {actions[i]}, N={visits[i]}" for i in nodes[1:]],
        scores=returns[nodes].tolist(),
        expanded=[not tree.terminal[0, i] for i in nodes],
        path=[place[i] for i in path],
        title=title,
        label="mean return Q",
    )
    run.figure(figure, file)


# %% [markdown]
# ## A tree small enough to read
#
# A binary tree of depth three, with rewards at the end only. We write it as tables: one row for
# each state, one column for each action. States are numbered level by level, so the two children of
# state 0 are 1 and 2, theirs are 3 to 6, and the leaves are 7 to 14.
#
# The same function makes the larger random trees further below. So the leaves come as an array
# `[G, A, ..., A]`: one axis for the trees, and one for the action at each level.


# %%
def full_trees(leaves: np.ndarray, state_values: np.ndarray) -> toy_mdp.TableMDP:
    """G complete trees as tables of S states, the G roots first.

    Args:
      leaves: rewards [G, A, ..., A] of the steps into the leaves, which end the episode.
      state_values: [S], what the search is told of each state.
    """
    num_trees, *levels = leaves.shape
    num_actions = levels[-1]
    # States of each level: the roots, their children, and so on down to the leaves.
    sizes = [num_trees * num_actions**level for level in range(len(levels) + 1)]
    num_states, num_inner = sum(sizes), sum(sizes[:-1])
    num_above = num_inner - sizes[-2]  # states whose children are no leaves

    # Level by level, the next children are always the next numbers.
    next_states = np.zeros((num_states, num_actions), np.int32)
    next_states[:num_inner] = np.arange(num_trees, num_states).reshape(-1, num_actions)

    rewards = np.zeros((num_states, num_actions), np.float32)
    rewards[num_above:num_inner] = leaves.reshape(-1, num_actions)

    discounts = np.zeros((num_states, num_actions), np.float32)
    discounts[:num_above] = 1.0  # the step into a leaf ends the episode

    return toy_mdp.TableMDP(
        next_states=jnp.asarray(next_states),
        rewards=jnp.asarray(rewards),
        discounts=jnp.asarray(discounts),
        prior_logits=jnp.zeros((num_states, num_actions)),  # no action is preferred
        values=jnp.asarray(state_values, jnp.float32),
    )


# %% [markdown]
# The value is wrong on purpose: it likes action 0 everywhere, and the best leaf (reward 1) lies
# after actions 1, 0, 1. Watch the visits: first they follow the value, then the returns.

# %%
leaves = np.array([0.3, 0.2, 0.1, 0.0, 0.2, 1.0, 0.1, 0.0]).reshape(1, 2, 2, 2)
misleading = [0.5] + [0.5, 0.2] + [0.5, 0.5, 0.2, 0.2] + [0.0] * 8  # level by level
toy = full_trees(leaves, np.array(misleading))
for n in (4, 16, 64):
    tree = mcts.search(
        toy,
        run.key,
        toy_mdp.table_root(toy, jnp.array([0])),
        expand_fn=toy_mdp.expand_table,
        num_simulations=n,
        q_range=(0.0, 1.0),
    )
    visits, q = mcts.action_values(tree)
    print(
        f"after {n:2} simulations: N(root, a) = {visits[0].tolist()}, "
        f"Q(root, a) = {np.round(q[0], 2).tolist()}"
    )
print(tree_text.format_search(tree))

path = tree_text.principal_variation(tree)
draw_toy(
    tree,
    path,
    "toy_tree",
    title=f"64 simulations: {tree.visits[0, path[-1]]} of them end at the best leaf, "
    "though the value points elsewhere",
)

# %% [markdown]
# How many simulations does it take? On 256 random trees (4 actions, 4 levels, a noisy value), how
# often is the most visited action the one that dynamic programming says is best? The whole batch is
# one call. In the tests we compare the search with DeepMind's
# [mctx](https://github.com/google-deepmind/mctx): with the same priors and values it visits the
# same nodes (`tests/search/test_mcts.py`, `tests/parity/test_mctx_live.py`), 6 to 38 times as fast
# ([benchmarks](../docs/benchmarks.md)).

# %%
rng = np.random.default_rng(run.options.seed)
leaves = np.zeros((256, 4, 4, 4, 4))
for level in (1, 2, 3, 4):  # every step on the path adds its part to the leaf
    shape = (256, *[4] * level, *[1] * (4 - level))
    leaves += rng.uniform(0, 0.25, size=shape)

# Dynamic programming: a state is worth its best leaf.
by_level = [leaves.max(axis=tuple(range(1 + level, 5))).ravel() for level in range(5)]
truth = np.concatenate(by_level)
noise = np.random.default_rng(0).normal(size=len(truth))
many = full_trees(leaves, truth + 0.2 * noise)
best_action = leaves.max((2, 3, 4)).argmax(-1)

# %% [markdown]
# UCT's constant was the best of a small sweep on these very trees, and PUCT's is its default. So
# this is no contest between the two.

# %%
SIZES = (4, 16, 64, 256)
hits = {}
for rule, c in (("puct", 1.25), ("uct", 0.5)):
    for n in SIZES:
        tree = mcts.search(
            many,
            run.key,
            toy_mdp.table_root(many, jnp.arange(256)),
            expand_fn=toy_mdp.expand_table,
            num_simulations=n,
            rule=rule,
            c=c,
            q_range=(0.0, 1.0),
        )
        hits[rule, n] = np.asarray(mcts.action_values(tree)[0].argmax(-1) == best_action)

# %% [markdown]
# For comparison, the action that the value alone likes best:

# %%
one_step = np.asarray(many.values[many.next_states[:256]].argmax(-1) == best_action)
run.results.measure("toy/best action by the value alone", accuracy(one_step))
for rule in ("puct", "uct"):
    run.results.measure(
        f"toy/best action, {rule}, {SIZES[-1]} simulations", accuracy(hits[rule, SIZES[-1]])
    )
run.claim_better(
    "on random trees the search finds the best action more often than the value it is given",
    hits["puct", SIZES[-1]],
    one_step,
)
by_rule = {rule: hits[rule, SIZES[-1]].mean() for rule in ("puct", "uct")}
run.figure(
    viz.curves(
        SIZES,
        {
            "PUCT, flat prior": [accuracy(hits["puct", n]) for n in SIZES],
            "UCT": [accuracy(hits["uct", n]) for n in SIZES],
            "the value alone": [accuracy(one_step)] * len(SIZES),
        },
        title=f"A noisy value alone picks the best action of {one_step.mean():.0%} of the trees,\n"
        f"{SIZES[-1]} simulations with it of {by_rule['puct']:.0%} (PUCT) "
        f"and {by_rule['uct']:.0%} (UCT)",
        xlabel="simulations",
        ylabel="best action found (95% interval, n = 256)",
        log2=True,
    ),
    "toy_simulations",
)

# %% [markdown]
# ## A language model inside the search
#
# For the Game of 24 a node holds the text so far, and an action appends a line that the model wrote
# there. A model could write lines without end, and each costs tokens, so writing is an action too.
# It adds $K$ lines to a node. A node whose lines all look bad can be written at again (*progressive
# widening*). The prior of a line is its probability. The prior of writing is proportional to $1 -
# \sum p$, the probability that the next line would be a new one. Equal lines count once. Everything
# stays on the device: it samples the lines, reads them as numbers and tests them, and it puts the
# value prompt `Value: 4 8 12` together from the tokens of the text. There are three values:
#
# - *own words*: $V(s) = \sum_w v(w)\,p_\theta(w \mid s)$, read off the logits as in lesson 03;
# - *rollouts*: the model writes one chain to the end; 1 if it reaches 24;
# - *oracle*: the exact solver, also on the device: the upper bound for this generator.
#
# A leaf is worth 1 if it passes the solution test, the same one that BFS stops by.

# %%
LINES, WIDEN, C = 2, 0.3, 1.0  # chosen on the validation split
SIMULATIONS = 24 if run.options.quick else 96
SIZES = [n for n in (6, 12, 24, 48, 96) if n <= SIMULATIONS]
puzzles = game24_puzzles.held_out(run.problems)
of_paper = np.array([game24_puzzles.split_of(p) == "paper_test" for p in puzzles])
roots = [game24_rules.puzzle(p) for p in puzzles]
puzzle_prompts = [game24_rules.moves_prompt(root) for root in roots]
hopeless = game24_rules.puzzle("1 1 1 1")  # searched with the others, counted nowhere
abc = game24_tokens.alphabet(run.model.tokenizer)
task = lm_tasks.game24(abc)
own_words = lm_evaluators.value_words(abc, run.model.cfg)


# %% [markdown]
# One search makes the trees of all puzzles, and cutting them back gives the trees after fewer
# simulations.

# %%
by_size: dict[str, list[list[tot.Tree]]] = {}


def search(evaluate: lm_evaluators.EvaluateFn, name: str) -> list[tot.Tree]:
    """The trees of all puzzles after all simulations, that of the hopeless one last."""
    searcher = lm_mcts.searcher(run.model, task, evaluate, num_lines=LINES, widen=WIDEN)
    result = lm_mcts.search(
        searcher,
        run.key,
        [*puzzle_prompts, game24_rules.moves_prompt(hopeless)],
        num_simulations=SIMULATIONS,
        c=C,
        description=name,
    )
    trees = [
        lm_mcts.to_trees(result, searcher, [*roots, hopeless], game24_rules.GAME24, n)
        for n in SIZES
    ]
    by_size[name] = [sized[:-1] for sized in trees]
    return trees[-1]


def found(trees: list[tot.Tree]) -> np.ndarray:
    return np.array([tree.answer >= 0 for tree in trees])


def tokens_of(trees: list[tot.Tree]) -> np.ndarray:
    return np.array([tree.tokens for tree in trees])


def record(name: str, solved: np.ndarray, tokens: np.ndarray) -> None:
    """The share solved of all puzzles, of the paper's and of the others."""
    run.results.measure(f"solved/{name}", accuracy(solved), tokens=tokens.mean())
    for part, rows in (("paper", of_paper), ("others", ~of_paper)):
        if rows.any():
            run.results.measure(
                f"solved/{name}/{part}", accuracy(solved[rows]), tokens=tokens[rows].mean()
            )


# %% [markdown]
# The same search three times, with the three values.

# %%
started = time.perf_counter()
*trees, given_up = search(own_words, "MCTS, own words")
seconds = time.perf_counter() - started
print(
    f"{len(puzzles)} searches of {SIMULATIONS} simulations in {seconds:.0f} s, "
    f"compilation included: {len(puzzles) / seconds:.1f} searches/s"
)
search(lm_evaluators.rollouts(run.model, task), "MCTS, rollouts")
search(lm_evaluators.oracle(abc), "MCTS, oracle")
for name, sized in by_size.items():
    record(name, found(sized[-1]), tokens_of(sized[-1]))
    for n, at in zip(SIZES, sized, strict=True):
        run.results.measure(
            f"solved by simulations/{name}, {n}", accuracy(found(at)), tokens=tokens_of(at).mean()
        )

first_trees = by_size["MCTS, own words"][1]  # the same trees after fewer simulations
run.claim_better(
    f"more simulations solve more: {SIMULATIONS} against {SIZES[1]}",
    found(trees),
    found(first_trees),
)
by_oracle = found(by_size["MCTS, oracle"][-1]).mean()
run.figure(
    viz.curves(
        SIZES,
        {
            name.removeprefix("MCTS, "): [accuracy(found(at)) for at in sized]
            for name, sized in by_size.items()
        },
        title=f"{SIZES[1]} simulations solve {found(first_trees).mean():.0%}, "
        f"{SIMULATIONS} solve {found(trees).mean():.0%}\n"
        f"with the model's own value, {by_oracle:.0%} with an oracle",
        xlabel=f"simulations (n = {len(puzzles)} puzzles)",
        ylabel="puzzles solved (95% interval)",
        log2=True,
    ),
    "success_by_simulations",
)

# %% [markdown]
# ## Look at a search
#
# Each line shows Q, the text, and in brackets the order in which nodes were written. A star marks
# the solution. The search of a puzzle without a solution ends by saying so. A malformed puzzle, or
# a search without simulations, is refused.

# %%
solved_trees = [tree for tree in trees if tree.answer >= 0] or trees
short = [tree for tree in solved_trees if len(tree.expanded) <= 8] or solved_trees[:1]
shown = max(short, key=lambda tree: len(tree.expanded))
puzzle = " ".join(map(str, shown.nodes[0].state.problem))
print(puzzle, "-", game24_rules.verdict(shown))
print(tree_text.format_tree(shown, max_children=2))
print(game24_rules.verdict(given_up))

one = lm_mcts.searcher(run.model, task, own_words, num_lines=LINES, widen=WIDEN)
try:
    game24_rules.puzzle("4 6 8")
except InputError as error:
    print("refused:", error)
try:
    lm_mcts.search(one, run.key, puzzle_prompts[:1], num_simulations=0)
except InputError as error:
    print("refused:", error)

run.figure(
    viz.thoughts(
        shown,
        max_children=3,
        title=f"MCTS wrote lines at {len(shown.expanded)} nodes and valued {len(shown.nodes) - 1}: "
        "it goes deep where Q is high,\nand comes back when the leaves there fail",
        label="mean return Q",
    ),
    "tree",
)

# %% [markdown]
# ## Against BFS and independent chains, at equal tokens
#
# All methods stop at the first leaf that passes the solution test. Tokens count what was written
# and all that a value read. In a comparison both methods spend the same mean number of tokens. To
# get there, one cap holds for all puzzles, and we choose it to match the other method. MCTS and
# chains can be stopped at any point; BFS needs its tokens before it has seen one leaf. Numbers in
# claims are means a puzzle.
#
# Chains that are tested one after the other are a strong opponent. They spend nothing on values,
# and they stop at once on easy puzzles, so that the hard ones get the tokens. Best-of-n as it is
# mostly run writes all its chains before it looks. We measure it too, since it shows how much of
# that strength is in the stopping. A tree saves the bad moves that it does not play on.

# %%
N = 16 if run.options.quick else 64
chains = complete(
    run.model,
    run.key,
    puzzle_prompts,
    sampler=Sampler(1.0),
    max_new_tokens=64,
    num_samples=N,
    description=f"{N} chains at T=1",
)
chain_solved = np.array(
    [
        [game24.is_solved(puzzle, text) for text in row]
        for puzzle, row in zip(puzzles, chains.texts, strict=True)
    ]
)  # [G, N]
# The last chain that is needed: the first that solves the puzzle, or all of them.
last = np.where(chain_solved.any(1), chain_solved.argmax(1), N - 1)
chain_tokens = chains.num_tokens.cumsum(1)[np.arange(len(puzzles)), last]
any_chain = chain_solved.any(1)
methods = {f"any of {N} chains": (any_chain, chain_tokens)}

# %% [markdown]
# BFS with two numbers of lines. A state's lines are drawn once for all searches that ask for as
# many.

# %%
value = tot.memoize(
    functools.partial(evaluators.value_words, run.model, prompt=game24_rules.moves_value_prompt)
)


@functools.cache
def proposals(samples: int) -> tot.Propose:
    """So many lines of a state, drawn once for all searches that ask for them."""
    return tot.memoize(
        functools.partial(
            proposers.propose_thoughts,
            run.model,
            run.key,
            prompt=game24_rules.moves_prompt,
            num_samples=samples,
            num_thoughts=samples,
            sampler=Sampler(1.0),
            least=512 // samples,
        )
    )


WIDTHS = ((8, 5), (16, 5)) if run.options.quick else ((8, 1), (8, 5), (16, 5))
for samples, beam in WIDTHS:
    name = f"BFS, {samples} lines, beam {beam}"
    wide = tot.bfs(
        roots,
        proposals(samples),
        value,
        game24_rules.GAME24,
        beam=beam,
        max_depth=3,
        description=name,
    )
    methods[name] = found(wide), tokens_of(wide)
for name, (solved, tokens) in methods.items():
    record(name, solved, tokens)

# %% [markdown]
# No method is asked for more tokens than it ran. BFS cannot be cut short.

# %%
our_solved, our_tokens = found(trees), tokens_of(trees)
for name, (solved, tokens) in methods.items():
    budget = min(tokens.mean(), our_tokens.mean())
    mine, spent = within_budget(our_solved, our_tokens, budget)
    theirs, paid = solved, tokens
    if "chains" in name:
        theirs, paid = within_budget(solved, tokens, budget)
    run.claim_better(
        f"MCTS with {spent.mean():.0f} tokens a puzzle beats {name} with {paid.mean():.0f}",
        mine,
        theirs,
    )

each = chains.num_tokens.mean()
n = min(N, int(np.ceil(our_tokens.mean() / each)))  # one more chain rather than one too few
all_written = np.asarray(vote.pass_at_k(chain_solved.sum(1), N, n))
run.results.measure(f"solved/best of {n}, all written", mean_interval(all_written), tokens=n * each)
run.claim_better(
    f"MCTS with {our_tokens.mean():.0f} tokens a puzzle beats best-of-{n}, "
    f"all of them written, with {n * each:.0f}",
    our_solved,
    all_written,
)

# %% [markdown]
# With rollouts for a value, MCTS itself plays chains to their end:

# %%
rolled = by_size["MCTS, rollouts"][-1]
rolled_solved, rolled_tokens = found(rolled), tokens_of(rolled)
budget = min(rolled_tokens.mean(), chain_tokens.mean())
by_rollouts, _ = within_budget(rolled_solved, rolled_tokens, budget)
by_chains, _ = within_budget(any_chain, chain_tokens, budget)
run.claim_better(
    f"MCTS with rollouts beats any of {N} chains at equal tokens ({budget:.0f} a puzzle)",
    by_rollouts,
    by_chains,
)

# %% [markdown]
# MCTS and chains can be capped anywhere, so they are curves. Each BFS is a point.


# %%
def capped(solved: np.ndarray, tokens: np.ndarray) -> list[tuple[float, Interval]]:
    """What a method solves with fewer tokens a puzzle than it spent."""
    caps = [50 * 2**k for k in range(7)]
    points = []
    for cap in caps:
        if cap <= tokens.mean():
            points.append((cap, accuracy(within_budget(solved, tokens, cap)[0])))
    return points


points = {
    "MCTS, own words": [
        *capped(our_solved, our_tokens),
        (our_tokens.mean(), accuracy(our_solved)),
    ],
    "MCTS, rollouts": [
        *capped(rolled_solved, rolled_tokens),
        (rolled_tokens.mean(), accuracy(rolled_solved)),
    ],
    "any of N chains": capped(any_chain, chain_tokens),
    "BFS": [],
}
for name, (solved, tokens) in methods.items():
    if name.startswith("BFS"):
        points["BFS"].append((tokens.mean(), accuracy(solved)))
chains_then, _ = within_budget(any_chain, chain_tokens, our_tokens.mean())
bfs_solved, bfs_tokens = methods["BFS, 16 lines, beam 5"]
run.figure(
    viz.points(
        points,
        log2=True,
        ticks=viz.TOKENS,
        title=f"With {our_tokens.mean():.0f} tokens a puzzle MCTS solves {our_solved.mean():.0%},\n"
        f"chains {chains_then.mean():.0%}; "
        f"BFS with {bfs_tokens.mean():.0f} tokens {bfs_solved.mean():.0%}",
        xlabel="mean tokens per puzzle: lines, and all that the value reads",
        ylabel="puzzles solved (95% interval)",
    ),
    "accuracy_by_tokens",
)

# %% [markdown]
# ## Word problems, valued by likelihood
#
# Here no leaf can be tested. If the only value at hand is the likelihood of the lines so far, the
# answer is the most likely leaf found. Is that better than the vote of lesson 02 with the same
# tokens? 500 problems do not tell: the interval holds 0 (+4 points, -1 to 9). The model of the
# puzzles knows no words, so `tiny` reads these: problems of 4 to 6 operations, at temperature 1,
# for every method alike, as in lesson 05.

# %%
reader = load_model("tiny", mesh=run.mesh) if run.model.name == "tiny-24" else run.model
problems = arithmetic.problems("test", run.problems, seed=run.options.seed, operations=(4, 5, 6))
golds = [p.answer for p in problems]
asked = [prompts.zero_shot_cot(p.question) for p in problems]
word_roots = [tot.State(p) for p in problems]
N = 8 if run.options.quick else 32
sampled = complete(
    reader,
    run.key,
    asked,
    sampler=Sampler(1.0),
    max_new_tokens=96,
    num_samples=N,
    description=f"{N} chains",
)
answers = answer_ids([[extract_answer(t) for t in row] for row in sampled.texts])
right = grade(sampled.texts, golds)  # [G, N]
gold = gold_ids(answers, right)


# %% [markdown]
# A search of word problems ends at the leaf that is worth most.

# %%
WORD_SIZES = (16, 24, 32) if run.options.quick else (16, 24, 32, 48, 64)


def search_words(
    evaluate: lm_evaluators.EvaluateFn,
    name: str,
    num_simulations: int,
    *,
    judged: bool,
    value_params=None,
) -> dict[int, list[tot.Tree]]:
    """The trees by number of simulations; ``judged``: the value reads a finished chain, too."""
    end = lm_tasks.reasoning_lines([reader.tokenizer.eos_token_id], judged=judged)
    searcher = lm_mcts.searcher(reader, end, evaluate, num_lines=LINES, widen=WIDEN, width=192)
    result = lm_mcts.search(
        searcher,
        run.key,
        asked,
        num_simulations=num_simulations,
        c=C,
        value_params=value_params,
        description=name,
    )
    sizes = [n for n in WORD_SIZES if n <= num_simulations]
    return {
        n: lm_mcts.to_trees(result, searcher, word_roots, word_problems.LINES, n) for n in sizes
    }


def answered(trees: list[tot.Tree]) -> np.ndarray:
    """[G] whether the leaf that a search submits is right."""
    leaves = [
        tree.nodes[tree.answer].state.thoughts if tree.answer >= 0 else ("",) for tree in trees
    ]
    return grade([[thoughts[-1]] for thoughts in leaves], golds)[:, 0]


def affordable(tokens: np.ndarray, of_a_token: int) -> np.ndarray:
    """[G, N] the chains that so many tokens pay for; the first one always."""
    return (of_a_token * sampled.num_tokens.cumsum(1) <= tokens[:, None]) | (np.arange(N) == 0)


# %% [markdown]
# The vote of each problem gets the tokens that the search spent on it.

# %%
trees_by_size = search_words(
    lm_evaluators.likelihood, "MCTS, likelihood", WORD_SIZES[2], judged=False
)
by_likelihood = trees_by_size[WORD_SIZES[2]]
search_right, search_tokens = answered(by_likelihood), tokens_of(by_likelihood)
paid = affordable(search_tokens, 1)
voted = np.asarray(vote.majority(answers, paid)) == gold
vote_tokens = (sampled.num_tokens * paid).sum(1)
run.results.measure(
    "word problems/MCTS, likelihood", accuracy(search_right), tokens=search_tokens.mean()
)
run.results.measure(
    "word problems/vote at the same tokens", accuracy(voted), tokens=vote_tokens.mean()
)
run.claim(
    "on word problems MCTS by likelihood is at most 2 points better than the vote "
    "at equal tokens: it does not help here",
    paired_difference(search_right, voted),
    at_most=0.02,
    worst=(right.any(1) | search_right).mean() - voted.mean(),
)

# %% [markdown]
# ## Word problems, valued by a process reward model
#
# The search is the same, but the value is the process reward model of lesson 04: the lowest score
# of the lines so far, and of a finished chain. The search sees a wrong line at once and spends no
# token after it, while best-of-N pays for every chain to its end. A token that the reward model
# reads counts like one that is written, for all methods.
#
# So the search is far ahead of best-of-N. It is not ahead of BFS, which judges every line just as
# well. With few tokens BFS is better, because MCTS spends its first simulations on looking around.
# From about 250 tokens on the two are level, until BFS takes more tokens for what it gains. Judging
# lines is what pays here, not the shape of the tree.

# %%
prm = load_reward_model(f"{reader.name}-prm", reader)
(newline,) = reader.tokenizer("\n", add_special_tokens=False).input_ids
judged = search_words(
    lm_evaluators.process_reward(prm.cfg, newline, prompt_lines=2),
    "MCTS, PRM",
    WORD_SIZES[-1],
    judged=True,
    value_params=prm.params,
)
of_steps = step_scores(prm, asked, sampled.texts, description="PRM of the chains")
scores = aggregate(of_steps, "min")  # [G, N]

# %% [markdown]
# BFS by the same judge, with different numbers of lines and beams.

# %%
judge = tot.memoize(functools.partial(reward_values, prm, prompt=word_problems.lines_prompt))


@functools.cache
def lines(samples: int) -> tot.Propose:
    return tot.memoize(
        functools.partial(
            proposers.sample_thoughts,
            reader,
            run.key,
            prompt=word_problems.lines_prompt,
            num_samples=samples,
            sampler=Sampler(1.0),
            least=512 // samples,
        )
    )


words_bfs = {}
WIDTHS = ((2, 1), (4, 2)) if run.options.quick else ((2, 1), (4, 1), (4, 2), (8, 2))
for samples, beam in WIDTHS:
    name = f"BFS, PRM, {samples} lines, beam {beam}"
    words_bfs[name] = tot.bfs(
        word_roots,
        lines(samples),
        judge,
        word_problems.LINES,
        beam=beam,
        max_depth=12,
        description=name,
    )


# %% [markdown]
# Best-of-N takes the best of the chains that the tokens pay for. A chain's token counts twice:
# written once, read once.


# %%
def best_within(tokens: np.ndarray) -> np.ndarray:
    """[G] whether the best chain by the PRM is right, of those that the tokens pay for."""
    best = np.where(affordable(tokens, 2), scores, -1.0).argmax(1)
    return right[np.arange(len(right)), best]


of_mcts = {f"MCTS, PRM, {n} simulations": trees for n, trees in judged.items()}
for name, trees in (of_mcts | words_bfs).items():
    run.results.measure(
        f"word problems/{name}", accuracy(answered(trees)), tokens=tokens_of(trees).mean()
    )
run.results.measure(
    f"word problems/best of {N}, PRM",
    accuracy(best_within(np.full(len(right), np.inf))),
    tokens=2 * sampled.num_tokens.sum(1).mean(),
)

# %% [markdown]
# The claims: against best-of-N with the same tokens, and against every BFS with the largest search
# that is no dearer.

# %%
largest = judged[WORD_SIZES[-1]]
most = tokens_of(largest).mean()
run.claim_better(
    f"MCTS by the PRM beats best-of-N by the PRM, both with {most:.0f} tokens a problem",
    answered(largest),
    best_within(tokens_of(largest)),
)
for name, trees in words_bfs.items():
    spent = tokens_of(trees).mean()
    cheaper = [n for n in WORD_SIZES if tokens_of(judged[n]).mean() <= spent]
    mine = judged[max(cheaper, default=WORD_SIZES[0])]
    run.claim_better(
        f"MCTS by the PRM with {tokens_of(mine).mean():.0f} tokens a problem "
        f"beats {name} with {spent:.0f}",
        answered(mine),
        answered(trees),
    )

# %% [markdown]
# In the figure, a search is a point for each size, and chains are a curve over n.


# %%
def point(trees: list[tot.Tree]) -> tuple[float, Interval]:
    """A search in the figure: its mean tokens, and its accuracy."""
    return tokens_of(trees).mean(), accuracy(answered(trees))


points = {
    "MCTS, PRM": [point(trees) for trees in judged.values()],
    "best of N, PRM": [],
    "BFS, PRM": [point(trees) for trees in words_bfs.values()],
    "majority of N": [],
}
for n in [2**k for k in range(N.bit_length())]:
    written = sampled.num_tokens[:, :n].sum(1).mean()
    best = right[np.arange(len(right)), scores[:, :n].argmax(1)]
    by_vote = np.asarray(vote.majority(answers[:, :n])) == gold
    points["best of N, PRM"].append((2 * written, accuracy(best)))
    points["majority of N"].append((written, accuracy(by_vote)))
run.figure(
    viz.points(
        points,
        log2=True,
        ticks=viz.TOKENS,
        title=f"With {most:.0f} tokens a problem MCTS by the PRM is right on "
        f"{answered(largest).mean():.0%},\n"
        f"best-of-N by the PRM on {best_within(tokens_of(largest)).mean():.0%}",
        xlabel="mean tokens per problem, written and read by the reward model "
        f"(n = {len(problems)})",
        ylabel="accuracy (95% interval)",
    ),
    "word_problems",
)

# %%
run.finish()
