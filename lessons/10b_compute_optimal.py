# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 10b Compute-optimal choices
#
# **Should every question get the same compute, or should hard ones get more?**
#
# It pays when compute is scarce. With two greedy chains' worth of FLOPs, a method for each bin of
# difficulty is right 1.8 points more often [0.8, 2.9] than the best single method. With four or
# more, one good method for everybody is as good, and 510 problems show no difference.
#
# ![accuracy against the budget](../docs/results/10b_compute_optimal/compute_optimal.png)
#
# At the end of this lesson you can
#
# - choose a method for every bin of difficulty under a budget;
# - tell hard questions from easy ones without their answers, and say what that costs;
# - choose on one split and judge on another, and say why.
#
# The lesson takes the outcomes that lesson 10 left under the same `--out`, or runs the methods.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options(
    "10b_compute_optimal", problems=510, chains=16, halved=True, reward_models=("prm", "orm")
)

# %%
import itertools
from typing import NamedTuple

import numpy as np

from jaxreason.answers import vote
from jaxreason.course import lesson
from jaxreason.course.methods import OPERATIONS, every_method, make_bench
from jaxreason.evaluation.compute_optimal import compute_optimal
from jaxreason.evaluation.flops import reading_flops, rollout_flops
from jaxreason.evaluation.intervals import auc, mean_interval, paired_difference
from jaxreason.evaluation.outcomes import share

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# ## The choice in plain code
#
# Snell et al. 2024 sort questions into bins of difficulty $b$. Let method $m$ solve a share
# $q_{mb}$ of all problems, those in bin $b$, at a cost $c_{mb}$. Which method should each bin get?
# $$\max_{m(\cdot)} \; \sum_b q_{m(b)\,b} \quad \text{subject to} \quad \sum_b c_{m(b)\,b} \le B.$$
# With three methods and three bins we can try all 27 plans. Numbers are shares of all problems.

# %%
METHODS = ("one chain", "vote of 8", "search")
SOLVED = np.array([[0.33, 0.25, 0.08], [0.33, 0.30, 0.15], [0.33, 0.31, 0.25]])  # [C, B]
COST = np.array([[0.3, 0.35, 0.4], [2.4, 2.8, 3.2], [1.5, 3.0, 6.0]])  # [C, B]


def plain_choice(solved: np.ndarray, cost: np.ndarray, budget: float) -> tuple[int, ...]:
    """The method of each bin: the best affordable plan, the cheapest of equally good ones."""
    num_methods, num_bins = solved.shape
    best, best_worth = (-1,) * num_bins, None
    for plan in itertools.product(range(num_methods), repeat=num_bins):
        right = sum(solved[method, b] for b, method in enumerate(plan))
        price = sum(cost[method, b] for b, method in enumerate(plan))
        if price <= budget and (best_worth is None or (right, -price) > best_worth):
            best, best_worth = plan, (right, -price)
    return best


for budget in (2, 4, 8, 16):
    plan = plain_choice(SOLVED, COST, budget)
    solved = sum(SOLVED[method, b] for b, method in enumerate(plan))
    print(f"budget {budget:>2}: {solved:.2f} by {', '.join(METHODS[m] for m in plan)}")

# %% [markdown]
# The easy bin keeps its one chain, and the hard bin is the first to get the search. But 33 methods
# in 6 bins have 1.3 billion plans. The library adds up the Pareto fronts of the bins one by one,
# which is exact as well.

# %%
BUDGETS = (0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16)
plans = compute_optimal(SOLVED, COST, BUDGETS)  # [len(BUDGETS), B]
assert [tuple(plan) for plan in plans.tolist()] == [plain_choice(SOLVED, COST, b) for b in BUDGETS]

# %% [markdown]
# ## How hard is a question?
#
# To spend more on hard questions we have to recognise them without their answers. Three ways:
#
# - *the length of the question*, in tokens: free;
# - *the vote*: the entropy of the answers of four chains (lesson 07c);
# - *the verifier*: the PRM's score of the greedy chain, at the price of one chain and one reading.
#
# The paper leaves this cost out of its accounts. We include it. The number of operations, which
# nobody tells the model, makes bins for comparison.

# %%
bench = make_bench(run)
spent = every_method(run, bench)
methods, chains, on_test = spent.methods, spent.chains, bench.on_test
asked, operations, cfg = bench.prompt_tokens, bench.operations, run.model.cfg
unit = methods["greedy"].flops[on_test].mean()  # what one greedy chain costs, question included

PROBES = min(4, bench.num_chains // 2)
difficulties = {
    "the length of the question": asked,
    "the vote": np.asarray(vote.entropy(chains.ids[:, :PROBES])),
    "the verifier": 1 - spent.greedy_score,
}
free = np.zeros(len(asked))
greedy_tokens = methods["greedy"].tokens[:, None]
probes = {  # what telling costs [G]
    "the length of the question": free,
    "the vote": rollout_flops(cfg, asked, chains.tokens[:, :PROBES]),
    "the verifier": methods["greedy"].flops + reading_flops(bench.prm.cfg, asked, greedy_tokens),
    "the number of operations": free,
}

# %% [markdown]
# Each way sorts the problems into four bins. The edges come from the validation problems. We judge
# how well it tells hard questions by chains that had no part in it.

# %%
hard = chains.right[:, PROBES:].mean(1) < 0.5
bins = {"the number of operations": operations - 1}
for name, difficulty in difficulties.items():
    edges = np.unique(np.quantile(difficulty[~on_test], (0.25, 0.5, 0.75)))
    bins[name] = np.digitize(difficulty, edges, right=True)
    mflops = mean_interval(probes[name][on_test] / 1e6)
    run.measure(f"MFLOPs to tell the difficulty by {name}", mflops)
    if 1 < hard[on_test].sum() < on_test.sum() - 1:
        told = auc(difficulty[on_test], hard[on_test])
        run.measure(f"AUC of questions on which most chains fail/{name}", told)
        print(f"{name}: AUC {told.value:.3f}, for {probes[name].mean() / unit:.1f} greedy chains")

# %% [markdown]
# ## What a method costs once the bin is told
#
# The question was read already. Where the verifier judged the greedy chain, that chain is there.

# %%
no_chain = np.zeros((len(asked), 1))
read_by_policy = rollout_flops(cfg, asked, no_chain)
read_by_prm = reading_flops(bench.prm.cfg, asked, no_chain)


def cost_of(name: str, told_by: str | None) -> np.ndarray:
    """``[G]`` FLOPs of a method, and of telling the difficulty before it."""
    flops = methods[name].flops.astype(float)
    if told_by is None or probes[told_by] is free:
        return flops
    if told_by == "the verifier" and name == "greedy":
        return probes[told_by]
    if name != "direct":  # its prompt is another
        flops = flops - read_by_policy
    if told_by == "the verifier" and "PRM" in name:
        flops = flops - read_by_prm
    return flops + probes[told_by]


# %% [markdown]
# ## A policy for every budget
#
# We choose on the *validation* problems and judge on the test problems. With a single bin the same
# function finds the best *single* method. Where nothing is cheap enough, there is no policy.

# %%
UNITS = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # budgets, in greedy chains


class Policy(NamedTuple):
    chosen: list[list[str]]  # for each budget the method of every bin, or none
    right: np.ndarray  # [len(UNITS), G], NaN where there is none
    flops: np.ndarray  # [len(UNITS), G]


def policy(told_by: str | None, among: list[str]) -> Policy:
    in_bin = bins[told_by] if told_by else np.zeros(len(asked), int)  # [G]
    solved = np.array([methods[name].right for name in among], float)  # [C, G]
    paid = np.array([cost_of(name, told_by) for name in among])  # [C, G]
    # [G, B]: each bin's share of the validation problems.
    weights = np.eye(in_bin.max() + 1)[in_bin] * ~on_test[:, None] / (~on_test).sum()
    plans = compute_optimal(solved @ weights, paid @ weights, [unit * u for u in UNITS])

    of_problem, everyone = plans[:, in_bin], np.arange(len(asked))  # [len(UNITS), G] methods
    possible = plans.min(1, keepdims=True) >= 0
    return Policy(
        chosen=[[among[m] for m in plan if m >= 0] for plan in plans],
        right=np.where(possible, solved[of_problem, everyone], np.nan),
        flops=np.where(possible, paid[of_problem, everyone], np.nan),
    )


# %% [markdown]
# Two policies need no bins: the best single method, and the best of one chain and best-of-n.

# %%
names, simple = list(methods), ("best by PRM", "greedy", "direct", "cut off")
policies = {f"by {name}": policy(name, names) for name in bins}
policies["best single method"] = policy(None, names)
policies["best of n by the PRM"] = policy(None, [n for n in names if n.startswith(simple)])
CLAIMED = (2, 4, 8, 16)
for name, found in policies.items():
    for k, u in enumerate(UNITS):
        if found.chosen[k]:
            right = share(found.right[k, on_test])
            run.measure(f"policy, {u} greedy chains' worth/{name}", right)
            if u in CLAIMED:
                mflops = mean_interval(found.flops[k, on_test] / 1e6)
                run.measure(f"policy, MFLOPs, {u}/{name}", mflops)

# %% [markdown]
# Which way to tell the difficulty is best? Validation says, over the budgets that all can keep.

# %%
ways = [policies[f"by {name}"] for name in difficulties]
shared = [k for k in range(len(UNITS)) if all(way.chosen[k] for way in ways)]
on_validation = [way.right[shared][:, ~on_test].mean() for way in ways]
told_by = list(difficulties)[int(np.argmax(on_validation))]
ours, single = policies[f"by {told_by}"], policies["best single method"]
by_operations, best_of_n = policies["by the number of operations"], policies["best of n by the PRM"]


def gain(k: int, better: Policy, worse: Policy):
    """On the test problems, at one of the budgets."""
    return paired_difference(better.right[k, on_test], worse.right[k, on_test])


for u in CLAIMED:
    k = UNITS.index(u)
    alone = single.chosen[k][0]
    print(f"{u:>2} chains' worth: {alone} for all, or {', '.join(ours.chosen[k])}")
    run.claim(
        f"with {u} greedy chains' worth of FLOPs, a method for each bin told by {told_by} beats "
        f"the best single one ({alone})",
        gain(k, ours, single),
        at_least=0.0,
        excludes_zero=True,
    )
    run.measure(f"difference/{u}, by operations - best single", gain(k, by_operations, single))
    run.measure(f"difference/{u}, by {told_by} - best of n", gain(k, ours, best_of_n))

# %% [markdown]
# The whole curve over budgets:

# %%
series = {
    f"a method for each bin, told by {told_by}": ours,
    "for each number of operations": by_operations,
    "the best single method": single,
    "best of n by the PRM": best_of_n,
}
middle = UNITS.index(4)
right = [found.right[middle, on_test].mean() for found in (ours, single, best_of_n)]
run.curves(
    "compute_optimal",
    UNITS,
    {
        name: [
            share(x[on_test]) if plan else None for x, plan in zip(p.right, p.chosen, strict=True)
        ]
        for name, p in series.items()
    },
    title=f"4 greedy chains' worth: {right[0]:.1%} with a method for each bin,\n"
    f"{right[1]:.1%} with the best single one, {right[2]:.1%} with best-of-n",
    xlabel=f"mean FLOPs per problem at most, in greedy chains' worth ({unit / 1e6:.0f} MFLOPs)",
    ylabel="accuracy on test problems (95% interval)",
    log2=True,
)

# %% [markdown]
# What does it choose for easy questions, and what for hard ones?

# %%
for k, name in zip(OPERATIONS, by_operations.chosen[middle], strict=True):
    right = share(by_operations.right[middle, on_test & (operations == k)])
    print(f"{k} operations: {name:<24} {right.value:.1%} [{right.low:.1%}, {right.high:.1%}]")

# %% [markdown]
# Is it cheaper? Validation names the first policy that is as good as the largest best-of-n.

# %%
largest = f"best by PRM@{bench.num_chains}"
most, level = methods[largest], methods[largest].right[~on_test].mean()
as_good = [k for k in range(len(UNITS)) if ours.right[k, ~on_test].mean() >= level]
if as_good:
    mean = ours.flops[as_good[0], on_test].mean()
    run.measure(
        f"FLOPs of best-of-{bench.num_chains} over those of the policy that validation finds as "
        "good",
        most.flops[on_test] / mean,
    )
    run.claim(
        f"a method for each bin told by {told_by} is within a point of best-of-{bench.num_chains} "
        f"by the PRM, with {most.flops[on_test].mean() / mean:.1f} times fewer FLOPs",
        paired_difference(ours.right[as_good[0], on_test], most.right[on_test]),
        at_least=-0.01,
        worst=-most.right[on_test].mean(),
    )

# %% [markdown]
# ## What surprised us
#
# - The length of the question, which is free, won on validation. A vote of four chains tells hard
#   questions better (AUC 0.91 against 0.78), and that costs as much as 2.3 greedy chains.
# - The policy that validation found as good as best-of-16 was 3 points worse on the test.
# - The best single method changes with the budget: a greedy chain, then MCTS, then best-of-n.
#
# ## When it does not work
#
# - **Validation promises more than the test gives**: too many methods and bins for the validation
#   problems. Take fewer of both, or more problems.
# - **The bins do not differ**: look at the AUC. At 0.5 the difficulty is not told at all.
# - **Telling eats the gain**: put its cost into the account. Free signals come first.
#
# ## Exercises
#
# `jaxreason check 10` has the exercises of both lessons. Numbers 3 and 5 are about this one.

# %%
run.finish()
