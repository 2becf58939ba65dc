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
# **Training is over. How should you spend compute on a question: on more chains, on a verifier, on
# a search, or on a larger model?**
#
# It depends on whether the small model can do the thing at all. `tiny` is right 93% of the time
# with one greedy chain. With the best of 16 chains by the PRM it reaches 98%, for 13 times the
# FLOPs. `tiny-l`, 14 times as large, is right 100% of the time with one chain, for about as many
# FLOPs. On one and two operations both are level. On five and six the larger model is the better
# buy.
#
# ![accuracy against FLOPs](../docs/results/10_test_time_compute/small_and_large.png)
#
# At the end of this lesson you can
#
# - compute the FLOPs of a prompt, of N chains and of a verifier by hand;
# - draw a Pareto front, and say which methods are worth their price;
# - compare a small model that searches with a large one that answers, at equal FLOPs.
#
# `--problems` and `--chains` choose how much is run. Lesson 10b asks whether every question should
# get the same compute.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options(
    "10_test_time_compute", problems=510, chains=16, halved=True, reward_models=("prm", "orm")
)

# %%
import jax
import numpy as np

from jaxreason.course import lesson
from jaxreason.course.methods import (
    OPERATIONS,
    beams,
    best_of,
    every_method,
    greedy_chain,
    make_bench,
    sample,
    simulations,
    sizes,
)
from jaxreason.evaluation.flops import forward_flops, reading_flops, rollout_flops
from jaxreason.evaluation.intervals import mean_interval, paired_difference
from jaxreason.evaluation.outcomes import share
from jaxreason.models.hf import load_model

run = lesson.start(GIVEN, cpu_devices=2)
bench = make_bench(run)

# %% [markdown]
# ## The FLOPs by hand
#
# Tokens alone are no fair currency. A verifier reads every chain with a model *larger* than the one
# that wrote it, and one token of `tiny-l` costs as much as a dozen of `tiny`. So we count
# floating-point operations.
#
# A token passes through every matrix once. Each weight takes a multiplication and an addition: 2
# FLOPs (Kaplan et al. 2020). In JAX the parameters are a nested dict, and `jax.tree.leaves` lists
# its arrays. The matrices of all layers are stacked: `[L, in, out]`.

# %%
toy, cfg = run.toy, run.toy.cfg
matrices = [x for x in jax.tree.leaves(toy.params) if x.ndim == 3]
in_layers = sum(matrix.size for matrix in matrices)
in_logits = cfg.vocab_size * cfg.hidden_size
print(
    f"{toy.name}: {in_layers:,} weights in {cfg.num_hidden_layers} layers, {in_logits:,} for logits"
)

# %% [markdown]
# Attention comes on top. In each layer every head compares the token with all positions so far, and
# adds up their values: two products of `head_dim` for each position. A verifier needs no logits.


# %%
def plain_token(context: int, logits: bool = True) -> int:
    """FLOPs of one token that sees ``context`` positions, itself included."""
    attention = 4 * cfg.num_hidden_layers * cfg.num_attention_heads * cfg.head_dim * context
    return 2 * in_layers + attention + (2 * in_logits if logits else 0)


def plain_rollout(prompt: int, chains: list[int]) -> int:
    """FLOPs of a prompt of so many tokens, read once, and of its chains of so many tokens."""
    total = 0
    for t in range(1, prompt + 1):
        total += plain_token(t, logits=t == prompt)  # the last gives each chain its first token
    for length in chains:
        for t in range(1, length):
            total += plain_token(prompt + t)
    return total


# %% [markdown]
# What do a prompt of 60 tokens, a chain of 35, and eight such chains cost? The prompt is read once,
# so eight chains cost less than eight times one. Attention is a small part in short texts only.

# %%
for name, chains in (("the prompt", [1]), ("a chain", [35]), ("eight chains", [35] * 8)):
    print(f"{name:<13} {plain_rollout(60, chains) / 1e6:6.1f} MFLOPs")
for context in (61, 2000):
    share_of_attention = 1 - 2 * (in_layers + in_logits) / plain_token(context)
    print(f"a token that sees {context:>4}: {share_of_attention:.0%} of its FLOPs are attention")

# %% [markdown]
# The library does the same sums for thousands of chains at once: a run of tokens costs its number
# times the cost at its mean context.

# %%
assert plain_token(61) == forward_flops(cfg, 61)
for chains in ([1], [35], [35, 20, 7]):
    assert plain_rollout(60, chains) == rollout_flops(cfg, 60, np.array(chains))
read = sum(plain_token(t, logits=False) for t in range(1, 96))  # the prompt, then one chain
assert read == reading_flops(cfg, 60, np.array([35]))

# %% [markdown]
# A PRM that reads costs more than a policy that writes, if it is the larger model:

# %%
large = load_model("tiny-l", mesh=run.mesh)
for name, other in (("tiny-l", large.cfg), (toy.name, cfg), (bench.prm.name, bench.prm.cfg)):
    print(f"a token after 60 others costs {forward_flops(other, 61) / 1e6:6.2f} MFLOPs of {name}")

# %% [markdown]
# ## Every method of the course
#
# `every_method` runs direct answers, cut-off and greedy chains, votes, best-of-n by verifiers, beam
# search, DVTS and MCTS on the same problems. We draw N chains once. For a smaller n we cut
# them into N/n disjoint sets. A verifier reads a chain that came up twice only once. Each method
# ends as an outcome: right, FLOPs and tokens of every problem.

# %%
on_test = bench.on_test
spent = every_method(run, bench)
methods = {name: outcome.of(on_test) for name, outcome in spent.methods.items()}
for name, outcome in methods.items():
    run.measure(f"accuracy/{name}", share(outcome.right), outcome.tokens.mean())
    run.measure(f"MFLOPs/{name}", mean_interval(outcome.flops / 1e6))

# %% [markdown]
# ## Accuracy against compute
#
# A method is on the *Pareto front* if no method that costs as much or less is better.

# %%
unit = methods["greedy"].flops.mean()  # what one greedy chain costs, question included
cost = {name: outcome.flops.mean() for name, outcome in methods.items()}
score = {name: outcome.right.mean() for name, outcome in methods.items()}
for name in sorted(cost, key=cost.get):
    if score[name] == max(score[other] for other in cost if cost[other] <= cost[name]):
        print(f"on the front: {name:<26} {cost[name] / unit:5.1f} greedy chains  {score[name]:.1%}")

# %% [markdown]
# The methods of one kind make a curve. We leave out the direct answers, which lie far below.

# %%
KINDS = {
    "one greedy chain": ["greedy"],
    "majority of n": [f"majority@{n}" for n in sizes(bench)],
    "best of n by the PRM": [f"best by PRM@{n}" for n in sizes(bench)],
    "best of n by the ORM": [f"best by ORM@{n}" for n in sizes(bench)],
    "PRM beam search": [f"PRM beam search {num}x{beam}" for num, beam in beams(run)],
    "PRM MCTS": [f"PRM MCTS@{n}" for n in simulations(run)],
}
points = {
    kind: [(cost[name] / 1e6, share(methods[name].right)) for name in names]
    for kind, names in KINDS.items()
}
best = max(score, key=score.get)
run.points(
    "pareto_above_greedy",
    points,
    title=f"Best: {best}, {score[best]:.1%}\nfor {cost[best] / unit:.0f} greedy chains' worth of "
    f"FLOPs; one chain has {score['greedy']:.1%}",
    log2=True,
    ticks=[64, 128, 256, 512, 1024],
    xlabel=f"MFLOPs per problem, verifier included (n = {on_test.sum()})",
)

# %% [markdown]
# ## A small model that searches, or a large one that answers?
#
# Snell et al. 2024 ask this. `tiny-l` has 14 times the weights of `tiny`. For the FLOPs of its one
# greedy chain, `tiny` can take the best of several. A second small model, `tiny-start` of lesson
# 08, has the size of `tiny` and knows less. It samples at temperature 1, chosen on the validation
# split. Each small model has its greedy chain, and the best of n chains by the PRM.

# %%
tested = np.flatnonzero(on_test).tolist()
start = load_model("tiny-start", mesh=run.mesh)
several = sample(run, bench, start, tested, 1.0, {"PRM": (bench.prm, "min")})
sides = {
    run.model.name: {"greedy": methods["greedy"]},
    "tiny-start": {"greedy": greedy_chain(run, bench, start, tested)},
    "tiny-l": {"greedy": greedy_chain(run, bench, large, tested)},
}
for n in sizes(bench):
    name = f"best by PRM@{n}"
    sides[run.model.name][name] = methods[name]
    sides["tiny-start"][name] = best_of(bench, several, tested, start, n, "best", "PRM")
for side, outcomes in sides.items():
    for name, outcome in outcomes.items():
        run.measure(f"sizes/{side}/{name}", share(outcome.right), outcome.tokens.mean())
        run.measure(f"sizes/MFLOPs/{side}/{name}", mean_interval(outcome.flops / 1e6))

# %% [markdown]
# *Matched* means the most chains that cost no more than the greedy chain of `tiny-l`, reading by
# the PRM included. On one and two operations there is nothing left to gain, so the claim there is
# that `tiny` is not far behind.

# %%
GROUPS = {"1-2": (1, 2), "3-4": (3, 4), "5-6": (5, 6), "1-6": OPERATIONS}
of_group = {name: np.isin(bench.operations[on_test], some) for name, some in GROUPS.items()}
opponent = sides["tiny-l"]["greedy"]
matched = {}
for side in (run.model.name, "tiny-start"):
    prices = {name: outcome.flops.mean() for name, outcome in sides[side].items()}
    affordable = [name for name in prices if prices[name] <= opponent.flops.mean()]
    matched[side] = max(affordable, key=prices.get)

name = matched[run.model.name]
mine, who = sides[run.model.name][name], f"{run.model.name} ({name})"
for group, rows in of_group.items():
    against = f"a greedy chain of tiny-l with no more FLOPs, {group} operations"
    better, worse = mine.right[rows], opponent.right[rows]
    if group == "1-2":
        behind = paired_difference(better, worse)
        text = f"{who} is at most 2 points behind {against}"
        run.claim(text, behind, at_least=-0.02, worst=-worse.mean())
    else:
        run.claim_better(f"{who} beats {against}", better, worse)

# %% [markdown]
# `tiny-start` knows less. We measure its differences, and claim the one on hard problems.

# %%
name = matched["tiny-start"]
theirs = sides["tiny-start"][name].right
for group, rows in of_group.items():
    behind = paired_difference(theirs[rows], opponent.right[rows])
    run.measure(f"difference/tiny-start ({name}) - tiny-l, {group} operations", behind)
rows = of_group["5-6"]
run.claim_better(
    "on 5-6 operations a greedy chain of tiny-l beats tiny-start with as many FLOPs",
    opponent.right[rows],
    theirs[rows],
)

# %% [markdown]
# The *crossover* is the fewest FLOPs with which a small model is as good as the large one.

# %%
for side in matched:
    for group, rows in of_group.items():
        level, prices = opponent.right[rows].mean(), []
        for outcome in sides[side].values():
            if outcome.right[rows].mean() >= level:
                prices.append(outcome.flops[rows] / 1e6)
        if prices:
            cheapest = min(prices, key=np.mean)
            name = f"crossover with tiny-l, MFLOPs/{side}/{group} operations"
            run.measure(name, mean_interval(cheapest))
        at = f"from {cheapest.mean():.0f} MFLOPs on" if prices else "never"
        print(f"{group} operations: {side} is as good as tiny-l ({level:.1%}) {at}")

# %% [markdown]
# Accuracy against FLOPs of the three models:

# %%
shown = {
    f"{side}: greedy" + ", then best of n by the PRM" * (side in matched): side for side in sides
}
total = [f"{side} {sides[side][name].right.mean():.0%}" for side, name in matched.items()]
run.points(
    "small_and_large",
    {
        label: [(o.flops.mean() / 1e6, share(o.right)) for o in sides[side].values()]
        for label, side in shown.items()
    },
    title=f"For the {opponent.flops.mean() / 1e6:.0f} MFLOPs of a greedy chain of tiny-l "
    f"({opponent.right.mean():.0%}),\n{', '.join(total)}, by best-of-n",
    xlabel=f"MFLOPs per problem, verifier included (n = {len(tested)})",
    log2=True,
    ticks=[64, 128, 256, 512, 1024],
)

# %% [markdown]
# ## What surprised us
#
# - A search does not replace what a model never learned. With equal FLOPs `tiny-start` is 2 points
#   behind `tiny-l` on one and two operations, and 58 points behind on five and six.
# - Reading is dear. The best of two chains by the PRM costs 3.5 greedy chains, and is no better
#   than one (91.6% against 92.5%).
# - MCTS with 32 simulations is on the front: 96.1% for 4 greedy chains.
#
# ## When it does not work
#
# - **Two methods with equal tokens, one far dearer**: count what the verifier reads.
# - **The front changes with the seed**: methods one or two points apart need more problems. Claim a
#   difference only with its interval.
# - **Best-of-n stays flat**: look at pass@n first (lesson 05). Where no chain is right, nothing can
#   be chosen.
# - **The small model never crosses over**: it lacks a skill, not tries. Train it first.
#
# ## Exercises
#
# `jaxreason check 10` writes `exercises_10.py` for you to fill in, and checks your answers:
#
# 1. `chain_flops`: what a prompt and its chains cost.
# 2. `pareto_front`: which methods are worth their price.
# 3. `best_plan`: a method for every bin of difficulty (lesson 10b).
# 4. `NUM_CHAINS`: predict how many chains of a small model one chain of a large one pays for.
# 5. `SPLITS`: break it. When is a choice that looks better on validation worse on the test?

# %%
run.finish()
