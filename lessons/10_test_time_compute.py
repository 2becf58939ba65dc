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
# It depends on whether the small model can do the thing at all. `tiny` is right 93% of the time with
# one greedy chain. With the best of 16 chains by the PRM it reaches 98%, for 13 times the FLOPs.
# `tiny-l`, 14 times as large, is right 100% of the time with one chain, for about as many FLOPs.
# On one and two operations both are level. On five and six the larger model is the better buy.
#
# ![accuracy against FLOPs of three models](../docs/results/10_test_time_compute/small_and_large.png)
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
    "10_test_time_compute", problems=252, chains=16, halved=True, reward_models=("prm", "orm")
)

# %%
import jax
import numpy as np

from jaxreason.answers.verify import grade
from jaxreason.course import lesson, viz
from jaxreason.course.methods import LIMITS, OPERATIONS, beams, best_of, every_method, make_bench
from jaxreason.course.methods import sample, simulations, sizes
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY
from jaxreason.evaluation.flops import forward_flops, reading_flops, rollout_flops
from jaxreason.evaluation.intervals import mean_interval, paired_difference
from jaxreason.evaluation.outcomes import Outcome, share
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
print(f"{toy.name}: {in_layers:,} weights in {cfg.num_hidden_layers} layers, {in_logits:,} for logits")

# %% [markdown]
# Attention comes on top. In each layer every head compares the token with all positions so far, and
# adds up their values. These are two products of `head_dim` for each position, and 2 FLOPs each.
# A verifier needs no logits.


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
# What do a prompt of 60 tokens, a chain of 35, and eight such chains cost? The prompt is read once
# and shared, so eight chains cost less than eight times one chain.

# %%
for name, chains in (("the prompt", [1]), ("a chain", [35]), ("eight chains", [35] * 8)):
    print(f"{name:<13} {plain_rollout(60, chains) / 1e6:6.1f} MFLOPs")
only_weights = 2 * (in_layers + in_logits) * (60 + 34)
print(f"2 x weights x tokens is {only_weights / plain_rollout(60, [35]):.0%} of a chain's bill")

# %% [markdown]
# The library does the same sums for thousands of chains at once. FLOPs grow linearly with the
# context, so a run of tokens costs its number times the cost at its mean context.

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
for name, other in (("tiny-l", large.cfg), (run.model.name, cfg), (bench.prm.name, bench.prm.cfg)):
    print(f"a token after 60 others costs {forward_flops(other, 61) / 1e6:6.2f} MFLOPs of {name}")

# %% [markdown]
# ## Every method of the course
#
# `every_method` runs them on the same problems: the direct answer, a chain that is cut off, one
# greedy chain, votes, best-of-n by three verifiers, beam search, DVTS, and MCTS. We draw N chains
# once. For a smaller n we cut them into N/n disjoint sets. A verifier reads a chain that came up
# twice only once. Each method ends as an outcome: right, FLOPs and tokens of every problem.

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
    ticks=[64, 128, 256, 512, 1024],
    xlabel=f"MFLOPs per problem, verifier included (n = {on_test.sum()})",
)
