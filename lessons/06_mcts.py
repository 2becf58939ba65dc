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
#   child is missing;
# 2. **expand**: add that child;
# 3. **simulate** (evaluate): estimate the return from there, by a value function or by playing on
#   to the end at random (a rollout);
# 4. **back up**: add this return $G$ to the mean of every node on the path, $V \leftarrow V + (G -
#   V)/(N+1)$, $N \leftarrow N + 1$.
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
# Here: the search on a toy whose answer is known; then a language model that plays the Game of 24
# inside the search, all puzzles in one compiled program, against BFS and independent chains at
# equal tokens; and word problems, where all depends on the value.

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
from jaxreason.evaluation.intervals import accuracy, mean_interval, paired_difference
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
# ## A tree small enough to read
#
# A binary tree of depth three, with rewards at the end only. The value function is wrong on
# purpose: it likes action 0 everywhere, and the best leaf (reward 1) lies behind 1, 0, 1. Watch the
# visits: first they follow the value, then the returns.


# %%
def full_trees(
    leaves: np.ndarray, values: np.ndarray | None = None, noise: float = 0.0, seed: int = 0
) -> toy_mdp.TableMDP:
    """Trees whose steps into the leaves ``[G, A, ..., A]`` pay these rewards and end; the value of
    a node is given, or the truth with noise. States are numbered level by level."""
    best = [
        leaves.max(axis=tuple(range(1 + level, leaves.ndim))) for level in range(leaves.ndim)
    ]  # dynamic programming
    sizes, actions = [b.size for b in best], leaves.shape[-1]
    starts = np.cumsum([0, *sizes])
    children = np.concatenate(
        [
            starts[i + 1] + np.arange(sizes[i + 1]).reshape(-1, actions)
            for i in range(len(sizes) - 1)
        ]
    )
    total, inner = starts[-1], starts[-2]
    next_states, rewards, discounts = np.zeros((3, total, actions))
    next_states[:inner], discounts[: starts[-3]] = children, 1.0
    rewards[starts[-3] : inner] = leaves.reshape(-1, actions)
    truth = np.concatenate([b.ravel() for b in best])
    noisy = (
        truth + noise * np.random.default_rng(seed).normal(size=total) if values is None else values
    )
    flat = np.zeros((total, actions))
    return toy_mdp.TableMDP(
        jnp.asarray(next_states, jnp.int32),
        *(jnp.asarray(x, jnp.float32) for x in (rewards, discounts, flat, noisy)),
    )


leaves = np.array([0.3, 0.2, 0.1, 0.0, 0.2, 1.0, 0.1, 0.0]).reshape(1, 2, 2, 2)
toy = full_trees(leaves, values=np.array([0.5, 0.5, 0.2, 0.5, 0.5, 0.2, 0.2] + [0.0] * 8))
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
        f"after {n:2} simulations: N(root, a) = {visits[0].tolist()}, Q(root, a) = {np.round(q[0], 2).tolist()}"
    )
print(tree_text.format_search(tree))

nodes = [i for i in range(tree.visits.shape[1]) if i == 0 or tree.parents[0, i] >= 0]
path = tree_text.principal_variation(tree)
run.figure(
    viz.tree(
        [nodes.index(int(tree.parents[0, i])) if i else -1 for i in nodes],
        [
            f"action {tree.actions[0, i]}, N={tree.visits[0, i]}"
            if i
            else f"root, N={tree.visits[0, 0]}"
            for i in nodes
        ],
        [
            float(tree.rewards[0, i] + tree.discounts[0, i] * tree.values[0, i])
            if i
            else float(tree.values[0, 0])
            for i in nodes
        ],
        [not bool(tree.terminal[0, i]) for i in nodes],
        [nodes.index(i) for i in path],
        title=f"64 simulations: {tree.visits[0, path[-1]]} of them end at the best leaf, though the value points elsewhere",
        label="mean return Q",
    ),
    "toy_tree",
)

# %% [markdown]
# How many simulations does it take? On 256 random trees (4 actions, 4 levels, a noisy value), how
# often is the most visited action the one that dynamic programming says is best? The whole batch is
# one call. The search is compared with DeepMind's [mctx](https://github.com/google-deepmind/mctx)
# in the tests: with the same priors and values it visits the same nodes
# (`tests/search/test_mcts.py`, `tests/parity/test_mctx_live.py`), 6 to 38 times as fast
# ([benchmarks](../docs/benchmarks.md)).

# %%
rng = np.random.default_rng(run.options.seed)
parts = [
    rng.uniform(0, 0.25, size=(256, *[4] * level, *[1] * (4 - level))) for level in (1, 2, 3, 4)
]
leaves = np.ascontiguousarray(
    np.broadcast_to(sum(parts), (256, 4, 4, 4, 4))
)  # every step on the path adds its part
many, best_action = full_trees(leaves, noise=0.2), leaves.max((2, 3, 4)).argmax(-1)
SIZES = (4, 16, 64, 256)
hits = {}
# UCT's constant was the best of a small sweep on these very trees, PUCT's is its default: this is
# no contest between the two.
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
one_step = np.asarray(many.values[many.next_states[:256]].argmax(-1) == best_action)
run.results.measure("toy/best action by the value alone", accuracy(one_step))
for rule in ("puct", "uct"):
    run.results.measure(
        f"toy/best action, {rule}, {SIZES[-1]} simulations", accuracy(hits[rule, SIZES[-1]])
    )
run.claim(
    "on random trees the search finds the best action more often than the value it is given",
    paired_difference(hits["puct", SIZES[-1]], one_step),
    at_least=0.0,
    excludes_zero=True,
)
run.figure(
    viz.curves(
        SIZES,
        {
            "PUCT, flat prior": [accuracy(hits["puct", n]) for n in SIZES],
            "UCT": [accuracy(hits["uct", n]) for n in SIZES],
            "the value alone": [accuracy(one_step)] * len(SIZES),
        },
        title=f"A noisy value alone picks the best action of {one_step.mean():.0%} of the trees,\n"
        f"{SIZES[-1]} simulations with it of {hits['puct', SIZES[-1]].mean():.0%} (PUCT) and {hits['uct', SIZES[-1]].mean():.0%} (UCT)",
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
# there. There is no end to the lines a model could write, and each costs tokens, so writing is an
# action too: it adds $K$ lines to a node, and a node whose lines all look bad can be written at
# again (*progressive widening*). The prior of a line is its probability; that of writing is
# proportional to $1 - \sum p$, the probability that the next line would be a new one. Equal lines
# count once. Everything stays on the device: the lines are sampled, read as numbers and tested
# there, and the value prompt `Value: 4 8 12` is put together from the tokens of the text. Three
# values:
#
# - *own words*: $V(s) = \sum_w v(w)\,p_\theta(w \mid s)$, read off the logits as in lesson 03;
# - *rollouts*: the model writes one chain to the end; 1 if it reaches 24;
# - *oracle*: the exact solver, also on the device: the upper bound for this generator.
#
# A leaf is worth 1 if it passes the solution test, the same one that BFS stops by.

# %%
LINES, WIDEN, C, SIMULATIONS = (
    2,
    0.3,
    1.0,
    24 if run.options.quick else 96,
)  # chosen on the validation split
SIZES = [n for n in (6, 12, 24, 48, 96) if n <= SIMULATIONS]
puzzles = game24_puzzles.held_out(run.problems)
of_paper = np.array([game24_puzzles.split_of(p) == "paper_test" for p in puzzles])
roots = [game24_rules.puzzle(p) for p in puzzles]
puzzle_prompts = [game24_rules.moves_prompt(root) for root in roots]
hopeless = game24_rules.puzzle("1 1 1 1")  # searched with the others, counted nowhere
abc = game24_tokens.alphabet(run.model.tokenizer)
task = lm_tasks.game24(abc)
own_words = lm_evaluators.value_words(abc, run.model.cfg)


def search(evaluate: lm_evaluators.EvaluateFn, name: str) -> list[tot.Tree]:
    """The trees of all puzzles after all simulations, that of the hopeless one behind them."""
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


by_size: dict[str, list[list[tot.Tree]]] = {}
started = time.perf_counter()
*trees, given_up = search(own_words, "MCTS, own words")
seconds = time.perf_counter() - started
print(
    f"{len(puzzles)} searches of {SIMULATIONS} simulations in {seconds:.0f} s, compilation included: {len(puzzles) / seconds:.1f} searches/s"
)
search(lm_evaluators.rollouts(run.model, task), "MCTS, rollouts")
search(lm_evaluators.oracle(abc), "MCTS, oracle")
for name, sized in by_size.items():
    record(name, found(sized[-1]), tokens_of(sized[-1]))
    for n, at in zip(SIZES, sized, strict=True):
        run.results.measure(
            f"solved by simulations/{name}, {n}", accuracy(found(at)), tokens=tokens_of(at).mean()
        )
run.claim(
    f"more simulations solve more: {SIMULATIONS} against {SIZES[1]}",
    paired_difference(found(by_size["MCTS, own words"][-1]), found(by_size["MCTS, own words"][1])),
    at_least=0.0,
    excludes_zero=True,
)
run.figure(
    viz.curves(
        SIZES,
        {
            name.removeprefix("MCTS, "): [accuracy(found(at)) for at in sized]
            for name, sized in by_size.items()
        },
        title=f"{SIZES[1]} simulations solve {found(trees_at[1]).mean():.0%}, {SIMULATIONS} solve {found(trees).mean():.0%}\n"
        f"with the model's own value, {found(by_size['MCTS, oracle'][-1]).mean():.0%} with an oracle"
        if (trees_at := by_size["MCTS, own words"])
        else "",
        xlabel=f"simulations (n = {len(puzzles)} puzzles)",
        ylabel="puzzles solved (95% interval)",
        log2=True,
    ),
    "success_by_simulations",
)

# %% [markdown]
# ## Look at a search
#
# Printed: Q, the line, and in brackets the order in which nodes were written. A star marks the
# solution. A puzzle without a solution says so after its search; one that is no puzzle, or a search
# without simulations, is refused.

# %%
solved_trees = [tree for tree in trees if tree.answer >= 0] or trees
shown = max(solved_trees, key=lambda tree: (len(tree.expanded) <= 8) * len(tree.expanded))
print(" ".join(map(str, shown.nodes[0].state.problem)), "-", game24_rules.verdict(shown))
print(tree_text.format_tree(shown, max_children=2))
print(game24_rules.verdict(given_up))
one = lm_mcts.searcher(run.model, task, own_words, num_lines=LINES, widen=WIDEN)
for wrong in (
    lambda: game24_rules.puzzle("4 6 8"),
    lambda: lm_mcts.search(one, run.key, puzzle_prompts[:1], num_simulations=0),
):
    try:
        wrong()
    except InputError as error:
        print("refused:", error)
nodes = tree_text.outline(shown, max_children=3)
run.figure(
    viz.tree(
        [nodes.index(shown.nodes[i].parent) if i else -1 for i in nodes],
        [
            shown.nodes[i].state.thoughts[-1]
            if i
            else " ".join(map(str, shown.nodes[0].state.problem))
            for i in nodes
        ],
        [shown.nodes[i].score for i in nodes],
        [i in shown.expanded for i in nodes],
        [nodes.index(i) for i in shown.path(shown.answer)],
        title=f"MCTS wrote lines at {len(shown.expanded)} nodes and valued {len(shown.nodes) - 1}: it goes deep where Q is high,\n"
        "and comes back when the leaves there fail",
        label="mean return Q",
    ),
    "tree",
)

# %% [markdown]
# ## Against BFS and independent chains, at equal tokens
#
# All of them stop at the first leaf that passes the solution test. Tokens count what was written
# and all that a value read. A comparison gives both the same tokens *on average*: every puzzle gets
# the same cap, so high that the mean of what is spent is that of the other. MCTS and chains can be
# stopped at any point; BFS needs its tokens before it has seen one leaf. Numbers in claims are
# means a puzzle. Chains that are tested one after the other are a strong opponent: they spend
# nothing on values, and stop at once on easy puzzles, so that the hard ones get the tokens.
# Best-of-n as it is mostly run writes all its chains before it looks; it is here too, since it
# shows how much of that strength is in the stopping. What a tree saves are the bad moves that are
# not played on.

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
    [[game24.is_solved(p, t) for t in row] for p, row in zip(puzzles, chains.texts, strict=True)]
)
first = np.where(
    chain_solved.any(1), chain_solved.argmax(1), N - 1
)  # the last chain that is needed
chain_tokens = chains.num_tokens.cumsum(1)[np.arange(len(puzzles)), first]
methods = {f"any of {N} chains": (chain_solved.any(1), chain_tokens)}
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


for samples, beam in ((8, 5), (16, 5)) if run.options.quick else ((8, 1), (8, 5), (16, 5)):
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

ours = found(trees), tokens_of(trees)
for name, (solved, tokens) in methods.items():
    budget = min(
        tokens.mean(), ours[1].mean()
    )  # no method is asked for more than it ran; BFS cannot be cut short
    mine, spent = within_budget(*ours, budget)
    theirs, paid = within_budget(solved, tokens, budget) if "chains" in name else (solved, tokens)
    run.claim(
        f"MCTS with {spent.mean():.0f} tokens a puzzle beats {name} with {paid.mean():.0f}",
        paired_difference(mine, theirs),
        at_least=0.0,
        excludes_zero=True,
    )

each = chains.num_tokens.mean()
n = min(N, int(np.ceil(ours[1].mean() / each)))  # one more chain rather than one too few
all_written = np.asarray(vote.pass_at_k(chain_solved.sum(1), N, n))
run.results.measure(f"solved/best of {n}, all written", mean_interval(all_written), tokens=n * each)
run.claim(
    f"MCTS with {ours[1].mean():.0f} tokens a puzzle beats best-of-{n}, all of them written, with {n * each:.0f}",
    paired_difference(ours[0], all_written),
    at_least=0.0,
    excludes_zero=True,
)

rolled = found(by_size["MCTS, rollouts"][-1]), tokens_of(by_size["MCTS, rollouts"][-1])
budget = min(rolled[1].mean(), chain_tokens.mean())
run.claim(
    f"MCTS with rollouts beats any of {N} chains at equal tokens ({budget:.0f} a puzzle)",
    paired_difference(
        within_budget(*rolled, budget)[0],
        within_budget(chain_solved.any(1), chain_tokens, budget)[0],
    ),
    at_least=0.0,
    excludes_zero=True,
)

caps = [50 * 2**k for k in range(7)]
points = {
    "MCTS, own words": [
        (b, accuracy(within_budget(*ours, b)[0])) for b in caps if b <= ours[1].mean()
    ]
    + [(ours[1].mean(), accuracy(ours[0]))],
    "MCTS, rollouts": [
        (b, accuracy(within_budget(*rolled, b)[0])) for b in caps if b <= rolled[1].mean()
    ]
    + [(rolled[1].mean(), accuracy(rolled[0]))],
    "any of N chains": [
        (b, accuracy(within_budget(*methods[f"any of {N} chains"], b)[0]))
        for b in caps
        if b <= chain_tokens.mean()
    ],
}
points["BFS"] = sorted(
    (tokens.mean(), accuracy(solved))
    for name, (solved, tokens) in methods.items()
    if name.startswith("BFS")
)
x = sorted({at for series in points.values() for at, _ in series})
run.figure(
    viz.curves(
        x,
        {name: [dict(series).get(at) for at in x] for name, series in points.items()},
        title=f"With {ours[1].mean():.0f} tokens a puzzle MCTS solves {ours[0].mean():.0%},\n"
        f"chains {within_budget(*methods[f'any of {N} chains'], ours[1].mean())[0].mean():.0%}; BFS with {methods['BFS, 16 lines, beam 5'][1].mean():.0f} tokens {methods['BFS, 16 lines, beam 5'][0].mean():.0%}",
        xlabel="mean tokens per puzzle: lines, and all that the value reads",
        ylabel="puzzles solved (95% interval)",
        log2=True,
        ticks=[50, 100, 200, 400, 800, 1600, 3200],
    ),
    "accuracy_by_tokens",
)

# %% [markdown]
# ## Word problems, valued by likelihood
#
# Here no leaf can be tested. If the only value at hand is the likelihood of the lines so far, the
# answer is the most likely leaf found. Whether that is any better than the vote of lesson 02 with
# the same tokens, 500 problems do not tell: the interval holds 0 (+4 points, -1 to 9). The model of
# the puzzles knows no words, so `tiny` reads these: problems of 4 to 6 operations, at temperature
# 1, for every method alike, as in lesson 05.

# %%
reader = load_model("tiny", mesh=run.mesh) if run.model.name == "tiny-24" else run.model
problems = arithmetic.problems("test", run.problems, seed=run.options.seed, operations=(4, 5, 6))
golds, asked = [p.answer for p in problems], [prompts.zero_shot_cot(p.question) for p in problems]
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


def search_words(
    evaluate: lm_evaluators.EvaluateFn,
    judged: bool,
    name: str,
    num_simulations: int,
    value_params=None,
):
    """The trees by number of simulations; they end at the leaf that is worth most."""
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
    return {
        n: lm_mcts.to_trees(result, searcher, word_roots, word_problems.LINES, n)
        for n in WORD_SIZES
        if n <= num_simulations
    }


def answered(trees: list[tot.Tree]) -> np.ndarray:
    """[G] whether the leaf that a search submits is right."""
    leaves = [
        tree.nodes[tree.answer].state.thoughts[-1] if tree.answer >= 0 else "" for tree in trees
    ]
    return grade([[leaf] for leaf in leaves], golds)[:, 0]


def affordable(tokens: np.ndarray, of_a_token: int) -> np.ndarray:
    """[G, N] the chains that so many tokens pay for; the first one always."""
    return (of_a_token * sampled.num_tokens.cumsum(1) <= tokens[:, None]) | (np.arange(N) == 0)


WORD_SIZES = (16, 24, 32) if run.options.quick else (16, 24, 32, 48, 64)
(*_, by_likelihood) = search_words(
    lm_evaluators.likelihood, False, "MCTS, likelihood", WORD_SIZES[2]
).values()
paid = affordable(tokens_of(by_likelihood), 1)
voted = np.asarray(vote.majority(answers, paid)) == gold
run.results.measure(
    "word problems/MCTS, likelihood",
    accuracy(answered(by_likelihood)),
    tokens=tokens_of(by_likelihood).mean(),
)
run.results.measure(
    "word problems/vote at the same tokens",
    accuracy(voted),
    tokens=(sampled.num_tokens * paid).sum(1).mean(),
)
run.claim(
    "on word problems MCTS by likelihood is at most 2 points better than the vote at equal tokens: it does not help here",
    paired_difference(answered(by_likelihood), voted),
    at_most=0.02,
    worst=(right.any(1) | answered(by_likelihood)).mean() - voted.mean(),
)

# %% [markdown]
# ## Word problems, valued by a process reward model
#
# Same search, but the value is the process reward model of lesson 04: the lowest score of the lines
# so far, and of a finished chain. A wrong line is seen at once, and no token is spent behind it,
# while best-of-N pays for every chain to its end. A token that the reward model reads counts like
# one that is written, for all methods.
#
# So the search is far ahead of best-of-N. It is not ahead of BFS, which judges every line just as
# well: with few tokens BFS is better, for MCTS spends its first simulations on looking around, and
# from about 250 tokens on the two are level, until BFS takes more tokens for what it gains. What
# pays here is judging lines, not the shape of the tree.

# %%
prm = load_reward_model(f"{reader.name}-prm", reader)
(newline,) = reader.tokenizer("\n", add_special_tokens=False).input_ids
judged = search_words(
    lm_evaluators.process_reward(prm.cfg, newline, prompt_lines=2),
    True,
    "MCTS, PRM",
    WORD_SIZES[-1],
    prm.params,
)
scores = aggregate(
    step_scores(prm, asked, sampled.texts, description="PRM of the chains"), "min"
)  # [G, N]
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
for samples, beam in ((2, 1), (4, 2)) if run.options.quick else ((2, 1), (4, 1), (4, 2), (8, 2)):
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


def best_within(tokens: np.ndarray) -> np.ndarray:
    """[G] whether the best chain by the PRM is right, of those that the tokens pay for, reading
    included.
    """
    best = np.where(affordable(tokens, 2), scores, -1.0).argmax(1)
    return right[np.arange(len(right)), best]


largest = judged[WORD_SIZES[-1]]
for name, trees in (
    {f"MCTS, PRM, {n} simulations": trees for n, trees in judged.items()} | words_bfs
).items():
    run.results.measure(
        f"word problems/{name}", accuracy(answered(trees)), tokens=tokens_of(trees).mean()
    )
run.results.measure(
    f"word problems/best of {N}, PRM",
    accuracy(best_within(np.full(len(right), np.inf))),
    tokens=2 * sampled.num_tokens.sum(1).mean(),
)
run.claim(
    f"MCTS by the PRM beats best-of-N by the PRM, both with {tokens_of(largest).mean():.0f} tokens a problem",
    paired_difference(answered(largest), best_within(tokens_of(largest))),
    at_least=0.0,
    excludes_zero=True,
)
for name, trees in words_bfs.items():
    spent = tokens_of(trees).mean()
    cheaper = max(
        (n for n in WORD_SIZES if tokens_of(judged[n]).mean() <= spent), default=WORD_SIZES[0]
    )
    mine = judged[cheaper]
    run.claim(
        f"MCTS by the PRM with {tokens_of(mine).mean():.0f} tokens a problem beats {name} with {spent:.0f}",
        paired_difference(answered(mine), answered(trees)),
        at_least=0.0,
        excludes_zero=True,
    )
COUNTS = [2**k for k in range(N.bit_length())]
points = {
    "MCTS, PRM": [
        (tokens_of(trees).mean(), accuracy(answered(trees))) for trees in judged.values()
    ],
    "best of N, PRM": [
        (
            2 * sampled.num_tokens[:, :n].sum(1).mean(),
            accuracy(right[np.arange(len(right)), scores[:, :n].argmax(1)]),
        )
        for n in COUNTS
    ],
    "BFS, PRM": sorted(
        (tokens_of(trees).mean(), accuracy(answered(trees))) for trees in words_bfs.values()
    ),
    "majority of N": [
        (
            sampled.num_tokens[:, :n].sum(1).mean(),
            accuracy(np.asarray(vote.majority(answers[:, :n])) == gold),
        )
        for n in COUNTS
    ],
}
x = sorted({at for series in points.values() for at, _ in series})
run.figure(
    viz.curves(
        x,
        {name: [dict(series).get(at) for at in x] for name, series in points.items()},
        title=f"With {tokens_of(largest).mean():.0f} tokens a problem MCTS by the PRM is right on {answered(largest).mean():.0%},\n"
        f"best-of-N by the PRM on {best_within(tokens_of(largest)).mean():.0%}",
        xlabel=f"mean tokens per problem, written and read by the reward model (n = {len(problems)})",
        ylabel="accuracy (95% interval)",
        log2=True,
        ticks=[50, 100, 200, 400, 800, 1600, 3200],
    ),
    "word_problems",
)

# %%
run.finish()
