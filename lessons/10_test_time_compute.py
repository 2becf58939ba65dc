# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 10 Test-time compute
#
# Nine lessons, a dozen ways to spend compute on a question after training is over. This lesson lays
# them side by side: the same held-out problems, the same model, and one currency. Then it asks the
# two questions of Snell et al. 2024:
#
# 1. Is there one best way to spend a given amount of compute, or does it depend on how hard the
#    question is?
# 2. Should one spend it on a small model that searches, or on a large one that answers?
#
# The currency is FLOPs. A token costs about $2N$ of them, $N$ the weights it passes through (Kaplan
# et al. 2020), plus attention to the tokens before it. Tokens alone would not be fair: a direct
# answer also reads the question, a verifier reads every chain with a model *larger* than the one
# that wrote it, and one token of `tiny-l` costs as much as a dozen of `tiny`.

# %%
from jaxreason.course.options import read_options

# First of all, so that a misspelt option does not wait for the imports below.
GIVEN = read_options(
    "10_test_time_compute", problems=252, chains=16, halved=True, reward_models=("prm", "orm")
)

# %%
import functools
from typing import NamedTuple

import jax
import numpy as np

from jaxreason.answers import vote
from jaxreason.answers.extract import extract_answer
from jaxreason.answers.verify import answer_ids, gold_ids, grade
from jaxreason.course import lesson, viz
from jaxreason.decoding import budget_forcing, prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.evaluation import compute_optimal
from jaxreason.evaluation.flops import forward_flops, reading_flops, rollout_flops, search_flops
from jaxreason.evaluation.intervals import Interval, accuracy, auc, mean_interval, paired_difference
from jaxreason.models.hf import load_model
from jaxreason.rewards.reward_model import aggregate, load_reward_model, step_scores
from jaxreason.search import lm_evaluators, lm_mcts, lm_tasks, proposers, word_problems
from jaxreason.search import tree_of_thoughts as tot
from jaxreason.search.evaluators import reward_values
from jaxreason.tasks import arithmetic

run = lesson.start(GIVEN, cpu_devices=2)
QUICK = run.options.quick
N = min(run.chains, 4) if QUICK else run.chains
TEMPERATURE, OPERATIONS = 0.7, (1, 2, 3, 4, 5, 6)
prm = load_reward_model(f"{run.model.name}-prm", run.model)
orm = load_reward_model(f"{run.model.name}-orm", run.model)

# %% [markdown]
# ## Two splits
#
# Whatever we choose here, a number of chains or a method for a bin, we choose on *validation*
# problems and judge on *test* problems. Both have one to six operations, in equal parts. All
# methods run once, on both at a time.

# %%
validation = arithmetic.problems(
    "validation", max(12, run.problems // 2), run.options.seed, OPERATIONS
)
test = arithmetic.problems("test", run.problems, run.options.seed, OPERATIONS)
problems = [*validation, *test]
on_test = np.arange(len(problems)) >= len(validation)
golds = [p.answer for p in problems]
asked = [prompts.zero_shot_cot(p.question) for p in problems]
operations = np.array([p.num_operations for p in problems])


def count(some: list[str]) -> np.ndarray:
    """Tokens of each text."""
    ids = run.model.tokenizer(some, add_special_tokens=False).input_ids
    return np.array([len(of_text) for of_text in ids])


prompt_tokens = count(asked)
costs = {"tiny-l": load_model("tiny-l").cfg, run.model.name: run.model.cfg, prm.name: prm.cfg}
for name, cfg in costs.items():
    print(f"a token after 60 others costs {forward_flops(cfg, 61) / 1e6:6.2f} MFLOPs of {name}")


# %% [markdown]
# Every method ends as an outcome: what it got right, and what it cost, problem by problem.


# %%
class Outcome(NamedTuple):
    """Of a method, on every problem."""

    right: np.ndarray  # [G] in 0..1: the mean over disjoint sets of chains, where there are several
    flops: np.ndarray  # [G] policy and verifier
    tokens: np.ndarray  # [G] generated


def share(right: np.ndarray) -> Interval:
    """Share of problems that are right: Wilson's interval, or the bootstrap where a problem's score
    is a mean over sets.
    """
    return accuracy(right) if np.isin(right, (0, 1)).all() else mean_interval(right)


def of_problems(outcome: Outcome, rows: np.ndarray) -> Outcome:
    """The outcome on some of the problems."""
    return Outcome(
        right=outcome.right[rows], flops=outcome.flops[rows], tokens=outcome.tokens[rows]
    )


methods: dict[str, Outcome] = {}

# %% [markdown]
# ## One chain, or less
#
# The direct answer, the greedy chain of thought, and the same with less than it wants (lesson 07):
# the answer is forced after so many tokens.

# %%
direct_texts = [prompts.direct(p.question) for p in problems]
direct = run.complete(run.key, direct_texts, sampler=GREEDY, description="direct")
methods["direct"] = Outcome(
    grade(direct.texts, golds)[:, 0],
    rollout_flops(run.model.cfg, count(direct_texts), direct.num_tokens),
    direct.num_tokens[:, 0],
)
greedy = run.complete(run.key, asked, sampler=GREEDY, description="greedy")
methods["greedy"] = Outcome(
    grade(greedy.texts, golds)[:, 0],
    rollout_flops(run.model.cfg, prompt_tokens, greedy.num_tokens),
    greedy.num_tokens[:, 0],
)

# %% [markdown]
# One call cuts every chain off at three limits.

# %%
LIMITS = (10, 20, 30)
cut = budget_forcing.complete_within(
    run.model,
    run.key,
    asked,
    at_most=np.array(LIMITS)[None],
    ends=["####"],
    sampler=GREEDY,
    max_new_tokens=run.max_new_tokens,
    num_samples=len(LIMITS),
    rows=run.rows,
    description="cut off",
)
cut_right = grade(cut.texts, golds)
for i, limit in enumerate(LIMITS):
    flops = rollout_flops(run.model.cfg, prompt_tokens, cut.num_tokens[:, i : i + 1])
    methods[f"cut off at {limit}"] = Outcome(cut_right[:, i], flops, cut.num_tokens[:, i])

# %% [markdown]
# ## Many chains
#
# We sample once, N chains for every problem. For a smaller n we cut them into N/n disjoint sets, as
# in lessons 02 and 05. A verifier reads a chain that came up twice only once, and we count it once.
# A log-probability costs nothing.


# %%
class Chains(NamedTuple):
    """N chains for each of G problems, and what the verifiers say of them."""

    right: np.ndarray  # [G, N] bool
    ids: np.ndarray  # [G, N] answers
    gold: np.ndarray  # [G]
    tokens: np.ndarray  # [G, N]
    same: np.ndarray  # [G, N] int, equal for equal chains
    scores: dict[str, np.ndarray]  # [G, N]


def sample(model, some: list[int], n: int, temperature: float, verifiers: dict) -> Chains:
    """Chains of the problems ``some``."""
    where, answers = [asked[g] for g in some], [golds[g] for g in some]
    written = complete(
        model,
        jax.random.fold_in(run.key, 1),
        where,
        sampler=Sampler(temperature),
        max_new_tokens=run.max_new_tokens,
        num_samples=n,
        rows=run.rows,
        description=f"{n} chains of {model.name}",
    )
    right = grade(written.texts, answers)
    ids = answer_ids([[extract_answer(text) for text in row] for row in written.texts])
    scores = {"log-probability": written.logprobs / np.maximum(written.num_tokens, 1)}
    for name, (reward, how) in verifiers.items():
        scores[name] = aggregate(step_scores(reward, where, written.texts, description=name), how)
    same = np.array([[row.index(text) for text in row] for row in written.texts])
    return Chains(
        right=right,
        ids=ids,
        gold=gold_ids(ids, right),
        tokens=written.num_tokens,
        same=same,
        scores=scores,
    )


# %% [markdown]
# A method chooses one answer from each set, and pays for all chains of the set.


# %%
def choose(
    chains: Chains, some: list[int], cfg, n: int, how: str, verifier: str | None = None
) -> Outcome:
    """The vote, the weighted vote, or the best chain, of each disjoint set of n chains."""

    def sets(x: np.ndarray) -> np.ndarray:
        """[G, N] -> [G, N / n, n]."""
        return x.reshape(len(x), -1, n)

    ids, tokens = sets(chains.ids), sets(chains.tokens)
    gold = chains.gold[:, None]
    score = sets(chains.scores[verifier]) if verifier else None
    if how == "best":
        best = np.asarray(vote.best_of_n(score, ids))[..., None]
        right = np.take_along_axis(sets(chains.right), best, -1)[..., 0]
    elif how == "early stop":
        drawn = np.arange(n) < np.asarray(vote.early_stop(ids))[..., None]
        right = np.asarray(vote.majority(ids, drawn)) == gold
        tokens = tokens * drawn
    else:
        right = np.asarray(vote.majority(ids, score)) == gold

    questions = np.repeat(prompt_tokens[some][:, None], tokens.shape[1], 1)  # [G, N / n]
    flops = rollout_flops(cfg, questions, tokens)
    if verifier in ("PRM", "ORM"):
        same = sets(chains.same)
        repeats = np.tril(same[..., :, None] == same[..., None, :], -1).any(-1)
        flops = flops + reading_flops(prm.cfg, questions, tokens * ~repeats)
    return Outcome(right=right.mean(1), flops=flops.mean(1), tokens=tokens.sum(-1).mean(1))


# %% [markdown]
# Six families of methods, each with several sizes:

# %%
SIZES = [2**k for k in range(1, N.bit_length())]
FAMILIES = {  # name: how, verifier, sizes
    "majority": ("vote", None, SIZES),
    "early stop": ("early stop", None, [n for n in SIZES if n >= 8]),
    "best by log-probability": ("best", "log-probability", SIZES),
    "best by ORM": ("best", "ORM", SIZES),
    "best by PRM": ("best", "PRM", SIZES),
    "PRM-weighted vote": ("vote", "PRM", [n for n in SIZES if n >= 4]),
}
everyone = list(range(len(problems)))
chains = sample(run.model, everyone, N, TEMPERATURE, {"PRM": (prm, "min"), "ORM": (orm, "last")})
for family, (how, verifier, sizes) in FAMILIES.items():
    for n in sizes:
        methods[f"{family}@{n}"] = choose(chains, everyone, run.model.cfg, n, how, verifier)

# %% [markdown]
# ## Search
#
# Beam search and DVTS by the PRM come from lesson 05, MCTS by the PRM from lesson 06. Every token
# of a tree is paid once, as if each node kept its cache; the PRM reads every line once.

# %%
roots = [tot.State(p) for p in problems]
judge = tot.memoize(functools.partial(reward_values, prm, prompt=word_problems.lines_prompt))


def lines(num_samples: int) -> tot.Propose:
    """Proposes so many lines of a state, the same to every search that asks."""
    return tot.memoize(
        functools.partial(
            proposers.sample_thoughts,
            run.model,
            jax.random.fold_in(run.key, 2),
            prompt=word_problems.lines_prompt,
            num_samples=num_samples,
            least=16 if QUICK else 128,
            sampler=Sampler(1.0),
        )
    )


def of_trees(trees: list[tot.Tree]) -> Outcome:
    """What the answers of trees are worth, and what they cost."""
    leaves = [
        tree.nodes[tree.answer].state.thoughts if tree.answer >= 0 else ("",) for tree in trees
    ]
    # The longest text of a tree, in characters, bounds what each of its tokens sees.
    texts = [["\n".join(node.state.thoughts) for node in tree.nodes] for tree in trees]
    longest = np.array([max(map(len, of_tree)) for of_tree in texts])
    written = np.array([tree.generated for tree in trees])
    read = np.array([tree.evaluated for tree in trees])
    writing = search_flops(run.model.cfg, prompt_tokens, written, longest)
    reading = search_flops(prm.cfg, prompt_tokens, read, longest, logits=False)
    right = grade([[thoughts[-1]] for thoughts in leaves], golds)[:, 0]
    return Outcome(right=right, flops=writing + reading, tokens=written)


# %% [markdown]
# Three beam searches and DVTS:

# %%
BEAMS = ((2, 1),) if QUICK else ((2, 1), (4, 1), (4, 2))
proposals = {num: lines(num) for num in (2, 4)}
for num, beam in BEAMS:
    name = f"PRM beam search {num}x{beam}"
    grown = tot.bfs(
        roots, proposals[num], judge, word_problems.LINES, beam=beam, max_depth=8, description=name
    )
    methods[name] = of_trees(grown)
if not QUICK:
    grown = tot.dvts(
        roots, proposals[4], judge, word_problems.LINES, subtrees=2, max_depth=8, description="DVTS"
    )
    methods["PRM DVTS 4x2"] = of_trees(grown)

# %% [markdown]
# MCTS runs once; the trees after fewer simulations are cut from the largest.

# %%
SIMULATIONS = (8,) if QUICK else (16, 24, 32)
(newline,) = run.model.tokenizer("\n", add_special_tokens=False).input_ids
ending = lm_tasks.reasoning_lines([run.model.tokenizer.eos_token_id], judged=True)
searcher = lm_mcts.searcher(
    run.model,
    ending,
    lm_evaluators.process_reward(prm.cfg, newline, prompt_lines=2),
    num_lines=2,
    widen=0.3,
    width=192,
)
found = lm_mcts.search(
    searcher,
    jax.random.fold_in(run.key, 3),
    asked,
    num_simulations=SIMULATIONS[-1],
    c=1.0,
    value_params=prm.params,
    description="MCTS",
)
for n in SIMULATIONS:
    trees = lm_mcts.to_trees(found, searcher, roots, word_problems.LINES, n)
    methods[f"PRM MCTS@{n}"] = of_trees(trees)

# %% [markdown]
# ## Accuracy against compute
#
# On the test problems. A method is on the *Pareto front* if no method that costs as much or less is
# better.

# %%
names = list(methods)
unit = methods["greedy"].flops[on_test].mean()  # what one greedy chain costs, question included
for name in names:
    of_test = of_problems(methods[name], on_test)
    run.results.measure(f"accuracy/{name}", share(of_test.right), tokens=of_test.tokens.mean())
    run.results.measure(f"MFLOPs/{name}", mean_interval(of_test.flops / 1e6))

cost = {name: methods[name].flops[on_test].mean() for name in names}
score = {name: methods[name].right[on_test].mean() for name in names}
front = []
for name in names:
    no_dearer = [other for other in names if cost[other] <= cost[name]]
    if score[name] == max(score[other] for other in no_dearer):
        front.append(name)
front.sort(key=cost.get)
print(
    "on the front:",
    ", ".join(f"{name} ({cost[name] / unit:.1f}: {score[name]:.3f})" for name in front),
)

# %% [markdown]
# The methods of one kind make a curve.

# %%
shown = {
    "one chain: direct, cut off, greedy": [
        "direct",
        *(f"cut off at {n}" for n in LIMITS),
        "greedy",
    ],
    "majority of n": [f"majority@{n}" for n in SIZES],
    "best of n by the PRM": [f"best by PRM@{n}" for n in SIZES],
    "best of n by the ORM": [f"best by ORM@{n}" for n in SIZES],
    "PRM beam search": [f"PRM beam search {a}x{b}" for a, b in BEAMS],
    "PRM MCTS": [f"PRM MCTS@{n}" for n in SIMULATIONS],
}


def plot(shown: dict[str, list[str]], title: str, file: str, ticks: list[int]) -> None:
    """Accuracy against FLOPs of groups of methods."""
    points = {
        label: [(cost[name] / 1e6, share(methods[name].right[on_test])) for name in group]
        for label, group in shown.items()
    }
    run.figure(
        viz.points(
            points,
            title=title,
            log2=True,
            ticks=ticks,
            xlabel=f"MFLOPs per problem, verifier included (n = {on_test.sum()})",
            ylabel="accuracy (95% interval)",
        ),
        file,
    )


# %% [markdown]
# Two figures: all kinds, and then without the direct answers, where the searches differ.

# %%
plot(
    shown,
    f"One chain of thought takes {score['direct']:.0%} to {score['greedy']:.0%};\n"
    "all that comes after is about the rest",
    "pareto",
    [32, 64, 128, 256, 512, 1024],
)
searching = {label: group for label, group in shown.items() if not label.startswith("one chain")}
peak = max(names, key=score.get)
plot(
    {"one greedy chain": ["greedy"]} | searching,
    f"Best: {peak}, {score[peak]:.1%}\nfor {cost[peak] / unit:.0f} greedy chains' worth of FLOPs; "
    f"one chain has {score['greedy']:.1%}",
    "pareto_above_greedy",
    [64, 128, 256, 512, 1024],
)

# %% [markdown]
# ## How hard is a question?
#
# To spend more on hard questions one has to recognise them without their answers (Snell et al.
# 2024, section 3.2). Three ways:
#
# - *the length of the question*, in tokens: free;
# - *the vote*: the entropy of the answers of four chains (lesson 07), which cost something;
# - *the verifier*: the PRM's score of the greedy chain, at the price of one chain and one reading.
#
# The paper leaves the cost of telling out of its accounts. We include it; only the question, once
# read, is not read again. The number of operations, which nobody tells the model, makes bins for
# comparison.

# %%
PROBES = min(4, N // 2)
of_steps = step_scores(prm, asked, greedy.texts, description="PRM of the greedy chains")
greedy_score = aggregate(of_steps, "min")[:, 0]
difficulties = {
    "the length of the question": prompt_tokens,
    "the vote": np.asarray(vote.entropy(chains.ids[:, :PROBES])),
    "the verifier": 1 - greedy_score,
}
free = np.zeros(len(problems))
probes = {  # what telling costs [G]
    "the length of the question": free,
    "the vote": rollout_flops(run.model.cfg, prompt_tokens, chains.tokens[:, :PROBES]),
    "the verifier": methods["greedy"].flops
    + reading_flops(prm.cfg, prompt_tokens, greedy.num_tokens),
    "the number of operations": free,
}

# %% [markdown]
# Each way sorts the problems into four bins, with edges from the validation problems. How well it
# tells hard questions is judged by chains that had no part in it.

# %%
hard = chains.right[:, PROBES:].mean(1) < 0.5
bins = {"the number of operations": operations - 1}
for name, difficulty in difficulties.items():
    edges = np.unique(np.quantile(difficulty[~on_test], (0.25, 0.5, 0.75)))
    bins[name] = np.digitize(difficulty, edges, right=True)
    run.results.measure(
        f"MFLOPs to tell the difficulty by {name}", mean_interval(probes[name][on_test] / 1e6)
    )
    if 1 < hard[on_test].sum() < on_test.sum() - 1:
        told = auc(difficulty[on_test], hard[on_test])
        run.results.measure(f"AUC of questions on which most chains fail/{name}", told)
        price = probes[name].mean() / unit
        print(
            f"{name} tells the questions on which most chains fail with an AUC of "
            f"{told.value:.3f}, for {price:.1f} greedy chains' worth of FLOPs"
        )

# %% [markdown]
# ## The compute-optimal choice
#
# With $q_{mb}$ the share of validation problems in bin $b$ that method $m$ solves, and $c_{mb}$
# what it costs,
# $$\max_{m(\cdot)} \; \sum_b q_{m(b)\,b} \quad \text{subject to} \quad \sum_b c_{m(b)\,b} \le B.$$
# With a single bin it is the best *single* method at compute $B$. Both choose among the same
# methods, and on the same problems.
#
# What a method costs depends on how the bin was told. The question was read once already, and so
# was the greedy chain, where the verifier judged it.

# %%
UNITS = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # greedy chains' worth
CLAIMED = (2, 4, 8, 16)
no_chain = np.zeros((len(problems), 1))
read_by_policy = rollout_flops(run.model.cfg, prompt_tokens, no_chain)
read_by_prm = reading_flops(prm.cfg, prompt_tokens, no_chain)


def method_costs(among: list[str], told_by: str | None) -> np.ndarray:
    """[C, G] FLOPs of each method, and of telling the difficulty before it."""
    rows = []
    for name in among:
        row = methods[name].flops.astype(float)
        if told_by and probes[told_by] is not free:
            if name != "direct":  # the question has been read
                row = row - read_by_policy
            if told_by == "the verifier" and "PRM" in name:
                row = row - read_by_prm
            if told_by == "the verifier" and name == "greedy":  # the chain is there
                row = np.zeros_like(row)
            row = row + probes[told_by]
        rows.append(row)
    return np.array(rows)


# %% [markdown]
# A policy names a method for every bin, at each of the budgets. Where no choice is cheap enough
# for a bin, there is no policy.


# %%
class Policy(NamedTuple):
    chosen: list[list[str]]  # for each of UNITS the method of every bin, or none
    right: np.ndarray  # [len(UNITS), G], NaN where there is none
    flops: np.ndarray  # [len(UNITS), G]


def policy(told_by: str | None, among: list[str]) -> Policy:
    """Chosen on the validation problems, for each budget: a method of ``among`` for every bin, or
    one for all.
    """
    in_bin = bins[told_by] if told_by else np.zeros(len(problems), int)  # [G]
    solved = np.array([methods[name].right for name in among], float)  # [C, G]
    paid = method_costs(among, told_by)  # [C, G]

    # [G, B]: each bin's share of the validation problems.
    weights = np.eye(in_bin.max() + 1)[in_bin] * ~on_test[:, None] / (~on_test).sum()
    budgets = [unit * u for u in UNITS]
    picked = compute_optimal.compute_optimal(solved @ weights, paid @ weights, budgets)

    chosen, right, flops = [], [], []
    for of_bin in picked:  # [B] indices into among, -1 where nothing is cheap enough
        chosen.append([among[i] for i in of_bin if i >= 0])
        method, problem = of_bin[in_bin], np.arange(len(problems))
        possible = of_bin.min() >= 0
        right.append(np.where(possible, solved[method, problem], np.nan))
        flops.append(np.where(possible, paid[method, problem], np.nan))
    return Policy(chosen=chosen, right=np.array(right), flops=np.array(flops))


def on_average(found: Policy, k: int):
    """Accuracy on the test problems at a budget, if there is a choice."""
    return share(found.right[k, on_test]) if found.chosen[k] else None


best_of_n = ("best by PRM", "greedy", "direct", "cut off")
policies = {f"by {name}": policy(name, names) for name in bins}
policies["best single method"] = policy(None, names)
policies["best of n by the PRM"] = policy(
    None, [name for name in names if name.startswith(best_of_n)]
)
for name, found in policies.items():
    for k, u in enumerate(UNITS):
        if not found.chosen[k]:
            continue
        run.results.measure(f"policy, {u} greedy chains' worth/{name}", on_average(found, k))
        if u in CLAIMED:
            mflops = found.flops[k, on_test] / 1e6
            run.results.measure(f"policy, MFLOPs, {u}/{name}", mean_interval(mflops))

# %% [markdown]
# Which way to tell the difficulty is best? Validation says, over the budgets that all of them can
# keep.

# %%
single, simple = policies["best single method"], policies["best of n by the PRM"]
ways = [f"by {name}" for name in difficulties]
shared = [k for k in range(len(UNITS)) if all(policies[way].chosen[k] for way in ways)]
on_validation = {
    name: policies[f"by {name}"].right[shared][:, ~on_test].mean() for name in difficulties
}
told_by = max(on_validation, key=on_validation.get)
ours, by_operations = policies[f"by {told_by}"], policies["by the number of operations"]

for u in CLAIMED:
    k = UNITS.index(u)
    best_single, best_simple = single.chosen[k][0], simple.chosen[k][0]
    print(f"{u:>2} chains' worth: {best_single} for all, or {', '.join(ours.chosen[k])}")
    with_flops = f"with {u} greedy chains' worth of FLOPs, a method for"
    run.claim_better(
        f"{with_flops} each bin told by {told_by} beats the best single one ({best_single})",
        ours.right[k, on_test],
        single.right[k, on_test],
    )
    run.claim_better(
        f"{with_flops} each number of operations beats the best single one ({best_single})",
        by_operations.right[k, on_test],
        single.right[k, on_test],
    )
    run.claim_better(
        f"{with_flops} each bin told by {told_by} beats the best of one chain "
        f"and best-of-n by the PRM ({best_simple})",
        ours.right[k, on_test],
        simple.right[k, on_test],
    )

# %% [markdown]
# How much cheaper is the policy that validation finds as good as the largest best-of-n?

# %%
most = methods[f"best by PRM@{N}"]
level = most.right[~on_test].mean()
as_good = [k for k in range(len(UNITS)) if ours.right[k, ~on_test].mean() >= level]
if as_good:
    k = as_good[0]
    times = most.flops[on_test] / ours.flops[k, on_test].mean()
    run.results.measure(
        f"FLOPs of best-of-{N} over those of the policy that validation finds as good",
        mean_interval(times),
    )
    times = most.flops[on_test].mean() / ours.flops[k, on_test].mean()
    run.claim(
        f"a method for each bin told by {told_by} is within a point of best-of-{N} by the PRM, "
        f"with {times:.1f} times fewer FLOPs",
        paired_difference(ours.right[k, on_test], most.right[on_test]),
        at_least=-0.01,
        worst=-most.right[on_test].mean(),
    )

# %% [markdown]
# The whole curve over budgets:

# %%
series = {
    "a method for each bin, told by " + told_by: ours,
    "for each number of operations": by_operations,
    "the best single method": single,
    "best of n by the PRM": simple,
}
SHOWN_AT = 4
middle = UNITS.index(SHOWN_AT)
by_bin, by_single, by_simple = (
    found.right[middle, on_test].mean() for found in (ours, single, simple)
)
run.figure(
    viz.curves(
        UNITS,
        {name: [on_average(found, k) for k in range(len(UNITS))] for name, found in series.items()},
        title=f"{SHOWN_AT} greedy chains' worth: {by_bin:.1%} with a method for each bin,\n"
        f"{by_single:.1%} with the best single one, {by_simple:.1%} with best-of-n",
        xlabel=f"mean FLOPs per problem at most, in greedy chains' worth ({unit / 1e6:.0f} MFLOPs)",
        ylabel="accuracy on test problems (95% interval)",
        log2=True,
    ),
    "compute_optimal",
)

# %% [markdown]
# ## What it chose
#
# By number of operations, at one budget.

# %%
chosen = by_operations.chosen[middle]  # a method for each number of operations
groups = [f"{k}:\n{name}" for k, name in zip(OPERATIONS, chosen, strict=True)]
of_test = [on_test & (operations == k) for k in OPERATIONS]
compared = ["direct", "greedy", f"majority@{min(8, N)}", f"best by PRM@{min(8, N)}"]
bars = {name: [share(methods[name].right[rows]) for rows in of_test] for name in compared}
bars["the choice"] = [share(by_operations.right[middle, rows]) for rows in of_test]
run.figure(
    viz.bars(
        [group.replace("PRM ", "PRM\n") for group in groups],
        bars,
        title=f"At {SHOWN_AT} greedy chains' worth of FLOPs validation chooses for\n"
        f"one operation {chosen[0]}, for six {chosen[-1]}",
        xlabel=f"number of operations: and the choice (n = {on_test.sum()})",
        ylabel="accuracy on test problems (95% interval)",
    ),
    "by_operations",
)

# %% [markdown]
# ## A small model that searches, or a large one that answers?
#
# `tiny-l` has 14 times the weights of `tiny`, and its tokens cost 13 times as much. For the FLOPs
# of its one greedy chain `tiny` can take the best of several. The second small model, `tiny-start`
# of lesson 08, has the size of `tiny` and was shown 2,000 worked solutions and no more.

# %%
tested = np.flatnonzero(on_test).tolist()
few, few_golds = [asked[g] for g in tested], [golds[g] for g in tested]
large, start = load_model("tiny-l", mesh=run.mesh), load_model("tiny-start", mesh=run.mesh)
own = ("greedy", *(f"best by PRM@{n}" for n in SIZES))
sides: dict[str, dict[str, Outcome]] = {  # by model, by method
    run.model.name: {name: of_problems(methods[name], on_test) for name in own},
    "tiny-start": {},
    "tiny-l": {},
}
for model in (start, large):
    written = complete(
        model,
        run.key,
        few,
        sampler=GREEDY,
        max_new_tokens=run.max_new_tokens,
        rows=run.rows,
        description=model.name,
    )
    sides[model.name]["greedy"] = Outcome(
        right=grade(written.texts, few_golds)[:, 0],
        flops=rollout_flops(model.cfg, prompt_tokens[tested], written.num_tokens),
        tokens=written.num_tokens[:, 0],
    )

# %% [markdown]
# `tiny-start` samples at temperature 1, which was chosen on the validation split, and the PRM takes
# the best of its chains.

# %%
several = sample(start, tested, N, 1.0, {"PRM": (prm, "min")})
for n in SIZES:
    sides["tiny-start"][f"best by PRM@{n}"] = choose(several, tested, start.cfg, n, "best", "PRM")
for side, outcomes in sides.items():
    for name, outcome in outcomes.items():
        run.results.measure(
            f"sizes/{side}/{name}", share(outcome.right), tokens=outcome.tokens.mean()
        )
        run.results.measure(f"sizes/MFLOPs/{side}/{name}", mean_interval(outcome.flops / 1e6))

# %% [markdown]
# *Matched* means the most chains that cost no more than the greedy chain of `tiny-l`, reading by
# the PRM included. The *crossover* is the fewest FLOPs with which the small model is as good.

# %%
opponent = sides["tiny-l"]["greedy"]
GROUPS = {"1-2": (1, 2), "3-4": (3, 4), "5-6": (5, 6), "1-6": OPERATIONS}
of_group = {name: np.isin(operations[on_test], some) for name, some in GROUPS.items()}


def crossover(side: str, group: str) -> None:
    """Measures the fewest FLOPs with which a side is as good as the opponent, if there are any."""
    rows = of_group[group]
    level = opponent.right[rows].mean()
    as_good, prices = [], []
    for outcome in sides[side].values():
        prices.append(outcome.flops[rows].mean())
        if outcome.right[rows].mean() >= level:
            as_good.append(outcome)
    where = f"not up to {max(prices) / 1e6:.0f} MFLOPs"
    if as_good:
        cheapest = min(as_good, key=lambda outcome: outcome.flops[rows].mean())
        mflops = cheapest.flops[rows] / 1e6
        where = f"from {mflops.mean():.0f} MFLOPs on"
        run.results.measure(
            f"crossover with tiny-l, MFLOPs/{side}/{group} operations", mean_interval(mflops)
        )
    price = opponent.flops[rows].mean() / 1e6
    print(
        f"{group} operations: {side} is as good as tiny-l's greedy chain "
        f"({level:.3f}, {price:.0f} MFLOPs) {where}"
    )


# %% [markdown]
# On one and two operations there is nothing left to gain, so the claim there is that the small
# model is not far behind.

# %%
matched = {}
for side in (run.model.name, "tiny-start"):
    prices = {name: outcome.flops.mean() for name, outcome in sides[side].items()}
    affordable = [name for name in prices if prices[name] <= opponent.flops.mean()]
    matched[side] = max(affordable, key=prices.get)
    mine = sides[side][matched[side]]
    who = f"{side} ({matched[side]})"
    for group, rows in of_group.items():
        if group == "1-2":
            run.claim(
                f"{who} is at most 2 points behind a greedy chain of tiny-l "
                "with no more FLOPs, 1-2 operations",
                paired_difference(mine.right[rows], opponent.right[rows]),
                at_least=-0.02,
                worst=-opponent.right[rows].mean(),
            )
        else:
            run.claim_better(
                f"{who} beats a greedy chain of tiny-l with no more FLOPs, {group} operations",
                mine.right[rows],
                opponent.right[rows],
            )
        crossover(side, group)
rows = of_group["5-6"]
run.claim_better(
    "on 5-6 operations a greedy chain of tiny-l beats tiny-start with as many FLOPs",
    opponent.right[rows],
    sides["tiny-start"][matched["tiny-start"]].right[rows],
)

# %% [markdown]
# Accuracy against FLOPs of the three models, and the matched methods by number of operations:

# %%
points = {}
for side, outcomes in sides.items():
    label = f"{side}: greedy, then best of n by the PRM" if side != "tiny-l" else "tiny-l: greedy"
    points[label] = [(o.flops.mean() / 1e6, share(o.right)) for o in outcomes.values()]
contenders = [*matched.items(), ("tiny-l", "greedy")]
total = {side: f"{sides[side][name].right.mean():.0%}" for side, name in contenders}
small = ", ".join(f"{side} {total[side]}" for side in matched)
run.figure(
    viz.points(
        points,
        title=f"For the {opponent.flops.mean() / 1e6:.0f} MFLOPs of a greedy chain of tiny-l "
        f"({total['tiny-l']}),\n{small}, by best-of-n",
        xlabel=f"MFLOPs per problem, verifier included (n = {len(tested)})",
        ylabel="accuracy (95% interval)",
        log2=True,
        ticks=[64, 128, 256, 512, 1024, 2048, 4096],
    ),
    "small_and_large",
)

# %% [markdown]
# The harder the problem, the more the large model is worth:

# %%
by_depth, on_six = {}, []
for side, name in contenders:
    right = sides[side][name].right
    of_depth = [right[operations[on_test] == k] for k in OPERATIONS]
    by_depth[f"{side}, {name}"] = [share(hits) for hits in of_depth]
    on_six.append(f"{side} {of_depth[-1].mean():.0%}")
run.figure(
    viz.bars(
        [str(k) for k in OPERATIONS],
        by_depth,
        title="At equal FLOPs, six operations: " + ", ".join(on_six),
        xlabel=f"number of operations (n = {len(tested)})",
        ylabel="accuracy (95% interval)",
    ),
    "small_and_large_by_operations",
)

# %% [markdown]
# Where a small model can already do a thing now and then, search makes it reliable, for less than
# the large model costs. Where it cannot, more chains find little, and the FLOPs are better spent on
# the larger model. `tiny` needs no search to be level with `tiny-l` on one and two operations, for
# a fourteenth of the FLOPs. With the FLOPs of the large model's one chain, search leaves `tiny`
# half a point behind on three and four operations (an interval that reaches 0) and 4 points on five
# and six. There the crossover is, and the larger model is the better buy. `tiny-start`, which knows
# less, is 2 points behind on the easy problems, 14 in the middle, and 58 on the hard ones. A search
# does not replace what a model never learned.
#
# A method for each bin sends easy questions to one greedy chain and hard ones to a search. With
# plenty for all, one good search for everybody leaves nothing to gain, and 510 problems show no
# difference. A vote or a verifier tells the difficulty better than the length of a question does,
# but costs as much as two more chains, which is why it has to be in the accounts. The claims above
# say which differences were seen.

# %%
run.finish()
