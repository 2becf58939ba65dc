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
# Nine lessons, a dozen ways to spend compute on a question after training is over. This one lays them side by side: the same held-out
# problems, the same model, and one currency. Then it asks the two questions of Snell et al. 2024:
#
# 1. Is there one best way to spend a given amount of compute, or does it depend on how hard the question is?
# 2. Should one spend it on a small model that searches, or on a large one that answers?
#
# The currency is FLOPs. A token costs about $2N$ of them, $N$ the weights it passes through (Kaplan et al. 2020), plus attention to the
# tokens before it. Tokens alone would not be fair: a direct answer also reads the question, a verifier reads every chain with a model
# *larger* than the one that wrote it, and one token of `tiny-l` costs as much as a dozen of `tiny`.

# %%
import functools
from typing import NamedTuple

import jax
import numpy as np

from jaxreason import budget, lesson, lm_mcts, prompts, texts, viz, vote
from jaxreason import thoughts as th
from jaxreason import tree_of_thoughts as tot
from jaxreason.evaluate import (
    forward_flops,
    mean_interval,
    reading_flops,
    rollout_flops,
    search_flops,
)
from jaxreason.models.hf import load_model
from jaxreason.reward_model import aggregate, load_reward_model, reward_values, step_scores
from jaxreason.rollout import complete
from jaxreason.sampling import GREEDY, Sampler
from jaxreason.tasks import arithmetic
from jaxreason.verify import answer_ids, extract_answer, gold_ids, grade

run = lesson.start("10_test_time_compute", problems=510, chains=32)
QUICK, N, TEMPERATURE, OPERATIONS = run.options.quick, run.chains, 0.7, (1, 2, 3, 4, 5, 6)
if N < 4 or N & (N - 1):
    raise lesson.InputError(f"--chains is {N}: expected 4, 8, 16, ..., since they are halved again and again")
N = min(N, 8) if QUICK else N
prm, orm = (load_reward_model(f"{run.model.name}-{kind}", run.model) for kind in ("prm", "orm"))

# %% [markdown]
# ## Two splits
#
# Whatever is chosen here, a number of chains, a method for a bin, is chosen on *validation* problems, and judged on *test* problems. Both have
# one to six operations, in equal parts. All methods run once, on both at a time.

# %%
validation = arithmetic.problems("validation", max(12, run.problems // 2), run.options.seed, OPERATIONS)
test = arithmetic.problems("test", run.problems, run.options.seed, OPERATIONS)
problems = [*validation, *test]
on_test = np.arange(len(problems)) >= len(validation)
golds, asked = [p.answer for p in problems], [prompts.zero_shot_cot(p.question) for p in problems]
operations = np.array([p.num_operations for p in problems])


def count(some: list[str]) -> np.ndarray:
    """Tokens of each text."""
    return np.array([len(ids) for ids in run.model.tokenizer(some, add_special_tokens=False).input_ids])


prompt_tokens = count(asked)
costs = {"tiny-l": load_model("tiny-l").cfg, run.model.name: run.model.cfg, prm.name: prm.cfg}
for name, cfg in costs.items():
    print(f"a token behind 60 others costs {forward_flops(cfg, 61) / 1e6:6.2f} MFLOPs of {name}")


class Outcome(NamedTuple):
    """Of a method, on every problem."""

    right: np.ndarray  # [G] in 0..1: the mean over disjoint sets of chains, where there are several
    flops: np.ndarray  # [G] policy and verifier
    tokens: np.ndarray  # [G] generated


methods: dict[str, Outcome] = {}

# %% [markdown]
# ## One chain, or less
#
# The direct answer, the greedy chain of thought, and the same with less than it wants (lesson 07): the answer is forced after so many
# tokens.

# %%
direct_texts = [prompts.direct(p.question) for p in problems]
direct = run.complete(direct_texts, run.key, sampler=GREEDY, description="direct")
methods["direct"] = Outcome(
    grade(direct.texts, golds)[:, 0],
    rollout_flops(run.model.cfg, count(direct_texts), direct.num_tokens),
    direct.num_tokens[:, 0],
)
greedy = run.complete(asked, run.key, sampler=GREEDY, description="greedy")
methods["greedy"] = Outcome(
    grade(greedy.texts, golds)[:, 0],
    rollout_flops(run.model.cfg, prompt_tokens, greedy.num_tokens),
    greedy.num_tokens[:, 0],
)
LIMITS = (10, 20, 30)
cut = budget.complete_within(
    run.model, asked, run.key, at_most=np.array(LIMITS)[None], ends=["####"], sampler=GREEDY,
    max_new_tokens=run.max_new_tokens, num_samples=len(LIMITS), rows=run.rows, description="cut off",
)  # fmt: skip
cut_right = grade(cut.texts, golds)
for i, limit in enumerate(LIMITS):
    flops = rollout_flops(run.model.cfg, prompt_tokens, cut.num_tokens[:, i : i + 1])
    methods[f"cut off at {limit}"] = Outcome(cut_right[:, i], flops, cut.num_tokens[:, i])

# %% [markdown]
# ## Many chains
#
# Sampled once, N for every problem. For a smaller n they are cut into N/n disjoint sets, as in lessons 02 and 05. A verifier reads a
# chain that came up twice only once, and that is what is counted. A log-probability costs nothing.


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
        model, where, jax.random.fold_in(run.key, 1), sampler=Sampler(temperature), max_new_tokens=run.max_new_tokens,
        num_samples=n, rows=run.rows, description=f"{n} chains of {model.name}",
    )  # fmt: skip
    right = grade(written.texts, answers)
    ids = answer_ids([[extract_answer(text) for text in row] for row in written.texts])
    scores = {"log-probability": written.logprobs / np.maximum(written.num_tokens, 1)}
    for name, (reward, how) in verifiers.items():
        scores[name] = aggregate(step_scores(reward, where, written.texts, description=name), how)
    same = np.array([[row.index(text) for text in row] for row in written.texts])
    return Chains(right, ids, gold_ids(ids, right), written.num_tokens, same, scores)


def choose(chains: Chains, some: list[int], cfg, n: int, how: str, verifier: str | None = None) -> Outcome:
    """What becomes of every disjoint set of n chains: the vote, the weighted vote, or the best one."""

    def sets(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1, n)

    ids, tokens = sets(chains.ids), sets(chains.tokens)
    score = sets(chains.scores[verifier]) if verifier else None
    if how == "best":
        best = np.asarray(vote.best_of_n(score, ids))[..., None]
        right = np.take_along_axis(sets(chains.right), best, -1)[..., 0]
    elif how == "early stop":
        drawn = np.arange(n) < np.asarray(vote.early_stop(ids))[..., None]
        right, tokens = np.asarray(vote.majority(ids, drawn)) == chains.gold[:, None], tokens * drawn
    else:
        right = np.asarray(vote.majority(ids, score)) == chains.gold[:, None]
    flops = rollout_flops(cfg, np.repeat(prompt_tokens[some][:, None], tokens.shape[1], 1), tokens)
    if verifier in ("PRM", "ORM"):
        same = sets(chains.same)
        first = ~np.tril(same[..., :, None] == same[..., None, :], -1).any(-1)
        flops = flops + reading_flops(
            prm.cfg, np.repeat(prompt_tokens[some][:, None], tokens.shape[1], 1), tokens * first
        )
    return Outcome(right.mean(1), flops.mean(1), tokens.sum(-1).mean(1))


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
# Beam search by the policy's likelihood (lesson 03) and by the PRM, DVTS (lesson 05), and MCTS by the PRM (lesson 06). Every token of a tree is
# paid once, as if each node kept its cache; every line is read once by the PRM.

# %%
roots = [th.State(p) for p in problems]
judge = functools.partial(reward_values, prm, prompt=th.lines_prompt)


def lines(num: int):
    """A generator of ``num`` lines."""
    return functools.partial(
        th.sample_thoughts, run.model, jax.random.fold_in(run.key, 2), prompt=th.lines_prompt, num_samples=num,
        sampler=Sampler(1.0),
    )  # fmt: skip


def of_trees(trees: list[tot.Tree], judged: bool) -> Outcome:
    """What the answers of trees are worth, and what they cost."""
    ends = [tree.nodes[tree.answer].state.thoughts[-1] if tree.answer >= 0 else "" for tree in trees]
    longest = np.array(
        [max(len("\n".join(node.state.thoughts)) for node in tree.nodes) for tree in trees]
    )  # characters
    written = np.array([tree.generated for tree in trees])
    flops = search_flops(run.model.cfg, prompt_tokens, written, longest)
    if judged:
        flops = flops + search_flops(
            prm.cfg, prompt_tokens, np.array([tree.evaluated for tree in trees]), longest, logits=False
        )
    return Outcome(grade([[end] for end in ends], golds)[:, 0], flops, written)


BEAMS = ((2, 1),) if QUICK else ((2, 1), (4, 1), (4, 2))
for num, beam in BEAMS:
    name = f"PRM beam search {num}x{beam}"
    grown = tot.bfs(roots, lines(num), judge, tot.LINES, beam=beam, max_depth=8, description=name)
    methods[name] = of_trees(grown, True)
if not QUICK:
    grown = tot.dvts(roots, lines(4), judge, tot.LINES, subtrees=2, max_depth=8, description="DVTS")
    methods["PRM DVTS 4x2"] = of_trees(grown, True)
grown = tot.bfs(roots, lines(2), th.likelihood, tot.LINES, beam=2, max_depth=8, description="likelihood beam search")
methods["likelihood beam search 2x2"] = of_trees(grown, False)

SIMULATIONS = (16,) if QUICK else (16, 24, 32)
(newline,) = run.model.tokenizer("\n", add_special_tokens=False).input_ids
ending = texts.reasoning_lines([run.model.tokenizer.eos_token_id], judged=True)
searcher = lm_mcts.searcher(
    run.model, ending, texts.process_reward(prm.cfg, newline, prompt_lines=2), num_lines=2, widen=0.3, width=192
)
found = lm_mcts.search(
    searcher, jax.random.fold_in(run.key, 3), asked, num_simulations=SIMULATIONS[-1], c=1.0, value_params=prm.params,
    description="MCTS",
)  # fmt: skip
for n in SIMULATIONS:
    methods[f"PRM MCTS, {n} simulations"] = of_trees(lm_mcts.to_trees(found, searcher, roots, tot.LINES, n), True)

# %% [markdown]
# ## Accuracy against compute
#
# On the test problems. A method is on the *Pareto front* if none that costs less or as much is better.

# %%
names = list(methods)
right = np.array([methods[name].right for name in names], float)  # [C, G]
flops = np.array([methods[name].flops for name in names], float)
unit = methods["greedy"].flops[on_test].mean()  # what one greedy chain costs, question included
for name in names:
    of_test = Outcome(*(x[on_test] for x in methods[name]))
    run.results.measure(f"accuracy/{name}", mean_interval(of_test.right.astype(float)), tokens=of_test.tokens.mean())
    run.results.measure(f"MFLOPs/{name}", mean_interval(of_test.flops / 1e6))
means = {name: (flops[i, on_test].mean(), right[i, on_test].mean()) for i, name in enumerate(names)}
front = [name for name in names if not any(f <= means[name][0] and r > means[name][1] for f, r in means.values())]
front.sort(key=lambda name: means[name][0])
print("on the front:", ", ".join(f"{name} ({means[name][0] / unit:.1f}: {means[name][1]:.3f})" for name in front))
shown = {
    "one chain: direct, cut off, greedy": ["direct", *(f"cut off at {n}" for n in LIMITS), "greedy"],
    "majority of n": [f"majority@{n}" for n in SIZES],
    "best of n by the PRM": [f"best by PRM@{n}" for n in SIZES],
    "best of n by the ORM": [f"best by ORM@{n}" for n in SIZES],
    "PRM beam search": [f"PRM beam search {a}x{b}" for a, b in BEAMS],
    "PRM MCTS": [f"PRM MCTS, {n} simulations" for n in SIMULATIONS],
}
at = sorted({means[name][0] / 1e6 for group in shown.values() for name in group})


def plotted(group: list[str]) -> list:
    """The intervals of a group of methods, None at the costs of others."""
    points = {means[name][0] / 1e6: mean_interval(right[names.index(name), on_test]) for name in group}
    return [points.get(x) for x in at]


run.figure(
    viz.curves(
        at, {label: plotted(group) for label, group in shown.items()},
        title=f"{front[-1]} is best, {means[front[-1]][1]:.0%} for {means[front[-1]][0] / unit:.0f} greedy chains' worth of FLOPs;\n"
        f"the greedy chain has {means['greedy'][1]:.0%}",
        xlabel=f"MFLOPs per problem, verifier included (n = {on_test.sum()})", ylabel="accuracy (95% interval)", log2=True,
        ticks=[32, 64, 128, 256, 512, 1024, 2048],
    ),
    "pareto",
)  # fmt: skip

# %%
run.finish()
