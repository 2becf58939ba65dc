# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 05 Best of N
#
# Sample $N$ chains, let a verifier score them, submit the best (Cobbe et al. 2021):
# $$\hat a = a_{n^*}, \qquad n^* = \arg\max_n r(q, c_n).$$
# A vote needs the right answer to be *frequent*. A verifier needs it only to be *there*, and has to
# recognise it. With a perfect verifier accuracy is the chance that any of $N$ chains is right,
# which hardly has a ceiling. With an imperfect one, more chains are also more chances to find one
# that fools it.
#
# On `tiny`'s usual problems a vote of 32 is right 94% of the time, which leaves little to show. So
# the problems here are the deep ones, 4 to 6 operations, at temperature 1, for every method alike.

# %%
from jaxreason.course.options import read_options

# First of all, so that a misspelt option does not wait for the imports below.
GIVEN = read_options(
    "05_best_of_n", problems=150, chains=64, halved=True, reward_models=("prm", "orm")
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
from jaxreason.decoding import prompts
from jaxreason.decoding.sampling import Sampler
from jaxreason.evaluation.intervals import Interval, accuracy, auc, mean_interval, paired_difference
from jaxreason.rewards.reward_model import aggregate, load_reward_model, step_scores
from jaxreason.search import proposers, word_problems
from jaxreason.search import tree_of_thoughts as tot
from jaxreason.search.evaluators import reward_values
from jaxreason.tasks import arithmetic

run = lesson.start(GIVEN, cpu_devices=2)
QUICK = run.options.quick  # most of a smoke run is compilation, so its batches have few shapes
N = min(8, run.chains) if QUICK else run.chains
TEMPERATURE, OPERATIONS = 1.0, (4, 5, 6)
prm = load_reward_model(f"{run.model.name}-prm", run.model)
orm = load_reward_model(f"{run.model.name}-orm", run.model)
problems = arithmetic.problems("test", run.problems, seed=run.options.seed, operations=OPERATIONS)
texts = [prompts.zero_shot_cot(p.question) for p in problems]
golds = [p.answer for p in problems]


# %% [markdown]
# ## Five verifiers
#
# - *oracle*: knows the answer. It is no method, but the upper bound of all of them.
# - *heuristic*: the share of lines whose own arithmetic holds, and whether there is an answer. It
#   cannot see a wrong term, and most chains get the same score: then the first one is taken.
# - *log-probability*: the policy's mean log-probability of a token, $\frac1K \sum_k \log p(t_k)$.
#   It is free.
# - *ORM*, *PRM*: the models of lesson 04. The PRM's chain score is the minimum over its steps.


# %%
class Chains(NamedTuple):
    """n chains of each of G prompts, and what the verifiers say of them."""

    texts: list[list[str]]  # [G][n]
    correct: np.ndarray  # [G, n] bool
    ids: np.ndarray  # [G, n] int, equal for equal answers, -1 for none
    gold: np.ndarray  # [G] int, the id of the right answer
    tokens: np.ndarray  # [G, n]
    scores: dict[str, np.ndarray]  # [G, n] each


def heuristic(text: str) -> float:
    """The share of lines whose arithmetic holds, and 1 more for an answer."""
    holds = [arithmetic.is_true(line) for line in text.strip().split("\n")]
    return np.mean(holds) + ("####" in text)


def make_chains(texts, correct, tokens, scores) -> Chains:
    """Reads the answers of the texts; the other arguments are as in :class:`Chains`."""
    ids = answer_ids([[extract_answer(text) for text in row] for row in texts])
    gold = gold_ids(ids, correct)
    return Chains(texts=texts, correct=correct, ids=ids, gold=gold, tokens=tokens, scores=scores)


# %% [markdown]
# Every chain is drawn once, graded once, and read once by each verifier.


# %%
def sample(some: list[str], key: jax.Array, n: int) -> Chains:
    """n chains of each of the first problems, scored by all verifiers."""
    written = run.complete(
        key, some, sampler=Sampler(TEMPERATURE), num_samples=n, description=f"{n} chains"
    )
    correct = grade(written.texts, golds[: len(some)])
    by_lines = [[heuristic(text) for text in row] for row in written.texts]
    by_orm = step_scores(orm, some, written.texts, description="ORM")
    by_prm = step_scores(prm, some, written.texts, description="PRM")
    scores = {
        "oracle": correct.astype(np.float32),
        "heuristic": np.array(by_lines, np.float32),
        "log-probability": written.logprobs / np.maximum(written.num_tokens, 1),
        "ORM": aggregate(by_orm, "last"),
        "PRM": aggregate(by_prm, "min"),
    }
    return make_chains(written.texts, correct, written.num_tokens, scores)


first = sample(texts, run.key, N)
one = first.correct.mean(1)  # [G], chance that one chain is right
tokens_each = first.tokens.mean()
run.results.measure("accuracy/pass@1", mean_interval(one), tokens=tokens_each)
for name, score in first.scores.items():
    ties = (score == score.max(1, keepdims=True)).mean(1)
    run.results.measure(f"share of chains that share the best score/{name}", mean_interval(ties))

# %% [markdown]
# ## Accuracy against N
#
# As in lesson 02 we cut the chains of a problem into N/n disjoint sets, and a problem's score is
# the mean over them. Besides the best of n there are two more methods. In the *weighted* vote a
# chain's vote counts its PRM score, so that several good chains support an answer rather than one
# lucky one. The *filtered* vote is held among the better half.

# %%
SIZES = [2**k for k in range(N.bit_length())]


def blocks(x: np.ndarray, n: int) -> np.ndarray:
    """[G, N] -> [G, N / n, n]."""
    return x.reshape(len(x), -1, n)


def best_of(chains: Chains, score: np.ndarray, n: int) -> np.ndarray:
    """[G] share of the sets of n chains whose best-scored chain is right."""
    best = np.asarray(vote.best_of_n(blocks(score, n), blocks(chains.ids, n)))
    chosen = np.take_along_axis(blocks(chains.correct, n), best[..., None], -1)
    return chosen[..., 0].mean(1)


def voted(chains: Chains, n: int, weights: np.ndarray | None = None) -> np.ndarray:
    """[G] share of the sets of n chains whose vote is right."""
    weights = None if weights is None else blocks(weights, n)
    winners = np.asarray(vote.majority(blocks(chains.ids, n), weights))
    return (winners == chains.gold[:, None]).mean(1)


def filtered(chains: Chains, n: int) -> np.ndarray:
    """[G] share of the sets of n chains whose vote among the better half by the PRM is right."""
    score = blocks(chains.scores["PRM"], n)
    winners = vote.filtered_majority(blocks(chains.ids, n), score, keep=max(1, n // 2))
    return (np.asarray(winners) == chains.gold[:, None]).mean(1)


by_n = {name: {n: best_of(first, score, n) for n in SIZES} for name, score in first.scores.items()}
by_n["majority"] = {n: voted(first, n) for n in SIZES}
by_n["PRM-weighted vote"] = {n: voted(first, n, first.scores["PRM"]) for n in SIZES}
by_n["ORM-weighted vote"] = {n: voted(first, n, first.scores["ORM"]) for n in SIZES}
by_n["PRM-filtered vote"] = {n: filtered(first, n) for n in SIZES}
for name, series in by_n.items():
    for n in sorted({4, 16, N} & set(SIZES)):
        share = mean_interval(series[n])
        run.results.measure(f"accuracy/{name}@{n}", share, tokens=n * tokens_each)

# %% [markdown]
# At the largest N, is the best chain by a verifier better than the vote?

# %%
run.claim_better(
    f"best-of-{N} with the PRM beats majority@{N}", by_n["PRM"][N], by_n["majority"][N]
)
run.claim_better(
    f"best-of-{N} with the PRM beats best-of-{N} with the ORM", by_n["PRM"][N], by_n["ORM"][N]
)
run.results.measure(
    f"difference/PRM-weighted vote@{N} - majority@{N}",
    paired_difference(by_n["PRM-weighted vote"][N], by_n["majority"][N]),
)
at_most = {name: series[N].mean() for name, series in by_n.items()}


def plot(names: list[str], title: str, file: str) -> None:
    """Accuracy against N of some of the methods."""
    run.figure(
        viz.curves(
            SIZES,
            {name: [mean_interval(by_n[name][n]) for n in SIZES] for name in names},
            title=title,
            xlabel="N, sampled chains per problem (temperature 1)",
            ylabel="accuracy (95% interval)",
            log2=True,
        ),
        file,
    )


plot(
    ["oracle", "PRM-weighted vote", "PRM", "majority", "ORM", "log-probability"],
    f"At N = {N}: best by the PRM {at_most['PRM']:.0%},\n"
    f"majority {at_most['majority']:.0%}, best by the ORM {at_most['ORM']:.0%}",
    "accuracy_by_n",
)

# %% [markdown]
# ## How many labels?
#
# The ORM and the PRM above learned from 6,000 chains each. An outcome says *that* a chain went
# wrong, the label of a step *where*. A PRM learns several things from a chain of which an ORM
# learns one, so it should be ahead where chains are few. Here are the same two again, from 1,200
# chains and from 12,000 (`python checkpoints/train_rm.py tiny-prm-1200`, and so on).

# %%
BUDGETS = {"12,000": "-12000", "1,200": "-1200"}
by_labels = {f"{name}, 6,000 chains": first.scores[name] for name in ("ORM", "PRM")}
for count, suffix in BUDGETS.items():
    for name, how in (("ORM", "last"), ("PRM", "min")):
        verifier = load_reward_model(f"{run.model.name}-{name.lower()}{suffix}", run.model)
        of_steps = step_scores(
            verifier, texts, first.texts, description=f"{name} of {count} chains"
        )
        by_labels[f"{name}, {count} chains"] = aggregate(of_steps, how)
for name, score in by_labels.items():
    by_n[name] = {n: best_of(first, score, n) for n in SIZES}

# %% [markdown]
# A verifier can rank chains of all problems well because it tells hard problems from easy ones. To
# choose among the chains of *one* problem it has to tell those apart, so we measure both AUCs.

# %%
num_right = first.correct.sum(1)
mixed = (num_right >= 2) & (num_right <= N - 2)  # problems with chains of both kinds
for name, score in by_labels.items():
    anywhere = auc(score.ravel(), first.correct.ravel())
    run.results.measure(f"right above wrong/{name}", anywhere)
    if not mixed.any():
        continue
    pairs = zip(score[mixed], first.correct[mixed], strict=True)
    here = np.array([auc(of_problem, right).value for of_problem, right in pairs])
    run.results.measure(f"right above wrong of the same problem/{name}", mean_interval(here))
    print(
        f"{name:<18} AUC over all chains {anywhere.value:.2f}, "
        f"over those of one problem {here.mean():.2f}"
    )

# %% [markdown]
# And what is the best of N worth, by each of them?

# %%
for count in BUDGETS:
    ours = {name: by_n[f"{name}, {count} chains"][N] for name in ("PRM", "ORM")}
    for name, right in ours.items():
        run.results.measure(
            f"accuracy/{name}@{N}, {count} chains", mean_interval(right), tokens=N * tokens_each
        )
    text = f"learned from {count} chains, best-of-{N} with the PRM beats"
    run.claim_better(f"{text} majority@{N}", ours["PRM"], by_n["majority"][N])
    run.claim_better(f"{text} best-of-{N} with the ORM", ours["PRM"], ours["ORM"])
plotted = [f"{name}, {count} chains" for count in BUDGETS for name in ("PRM", "ORM")] + ["majority"]
at_n = {name: f"{by_n[name][N].mean():.1%}" for name in plotted}
plot(
    plotted,
    f"Best of {N} by a PRM and an ORM: from 1,200 labelled chains\n"
    f"{at_n['PRM, 1,200 chains']} and {at_n['ORM, 1,200 chains']}, "
    f"from 12,000 {at_n['PRM, 12,000 chains']} and {at_n['ORM, 12,000 chains']}; "
    f"the vote {at_n['majority']}",
    "few_labels",
)

# %% [markdown]
# From 1,200 chains the PRM is right on 93.9% of 2,000 problems, 3.0 points ahead of the vote. The
# ORM has learned next to nothing about chains. Over all of them its AUC is 0.69, since it tells
# some hard problems from easy ones. Over the chains of one problem it is 0.54, and 0.50 is chance.
# The few that it likes best are mostly wrong, so its best of 64 is right on 27%, while a chain
# drawn blindly is right on 58%. Both learned from the same chains, with five labels on each instead
# of one. We show one training of each; with a few hundred chains more it is luck whether the ORM
# learns. From 6,000 chains both beat the vote, and there is little left between them: 97.7% and
# 96.9%, from 12,000 98.2% and 97.8%. Where outcomes are plentiful, the ORM has caught up. The PRM
# is still ahead at larger N and before the end of a chain, as shown below.
#
# ## What is there to find: pass@k
#
# The oracle's accuracy is pass@k. Cutting into sets is one unbiased estimate of it; averaging over
# *all* subsets of k is another with less noise, $1 - \binom{n-c}{k} / \binom nk$ with $c$ right
# chains among $n$ (Chen et al. 2021). The two have to agree.
#
# The textbook curve $1-(1-p)^N$ takes the *average* $p$ for the chance of every problem. But
# problems differ: easy ones waste chains, hard ones need many more, and the true curve, the average
# of $1-(1-p_g)^N$, is below (Jensen's inequality).

# %%
at_k = {n: np.asarray(vote.pass_at_k(first.correct.sum(1), N, n)) for n in SIZES}
gaps = [paired_difference(by_n["oracle"][n], at_k[n]) for n in SIZES]
apart = max(gaps, key=lambda gap: abs(gap.value))
run.claim(
    "the oracle's curve equals unbiased pass@k, within a point at every N",
    apart._replace(value=abs(apart.value)),
    at_most=0.01,
    worst=at_k[N].mean(),
)
textbook = [1 - (1 - one.mean()) ** n for n in SIZES]
middle = SIZES[len(SIZES) // 2]
promised = 1 - (1 - one.mean()) ** middle
gap = mean_interval(promised - at_k[middle])
run.claim(
    f"1-(1-p)^N from the average p is too optimistic at N = {middle}",
    gap,
    at_least=0.0,
    excludes_zero=True,
)

# %% [markdown]
# Three curves of the same thing:

# %%
run.figure(
    viz.curves(
        SIZES,
        {
            "oracle, best of n": [mean_interval(by_n["oracle"][n]) for n in SIZES],
            "unbiased pass@k": [mean_interval(at_k[n]) for n in SIZES],
            "1-(1-p)^N, average p (theory)": [Interval(p, p, p, 1) for p in textbook],
        },
        title=f"At N = {middle} the formula of the average problem promises {promised:.1%}, "
        f"measured {at_k[middle].mean():.1%}",
        xlabel="N, sampled chains per problem",
        ylabel="some chain is right (95% interval)",
        log2=True,
    ),
    "pass_at_k",
)

# %% [markdown]
# ## More chains, more chances to be fooled
#
# Best-of-N picks the *maximum* of a noisy score. As N grows it is picked more and more for its
# noise: Goodhart's law. We know the gold reward here, so we can measure over-optimisation (Gao et
# al. 2023) and need not guess it: accuracy against N up to 256, on the first problems, which get
# more chains for it.

# %%
SOME = run.problems if QUICK else min(run.problems, max(12, run.problems // 5))
MANY = 2 * N if QUICK else 4 * N
more = sample(texts[:SOME], jax.random.fold_in(run.key, 1), MANY - N)


def joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The chains drawn first and those drawn now, of the first problems."""
    return np.concatenate([a[:SOME], b], axis=1)


many = make_chains(
    texts=[a + b for a, b in zip(first.texts[:SOME], more.texts, strict=True)],
    correct=joined(first.correct, more.correct),
    tokens=joined(first.tokens, more.tokens),
    scores={name: joined(score, more.scores[name]) for name, score in first.scores.items()},
)
LARGE = [2**k for k in range(MANY.bit_length())]
large = {
    name: {n: best_of(many, many.scores[name], n) for n in LARGE}
    for name in ("PRM", "ORM", "log-probability", "heuristic")
}
large["majority"] = {n: voted(many, n) for n in LARGE}
large["PRM-weighted vote"] = {n: voted(many, n, many.scores["PRM"]) for n in LARGE}

# %% [markdown]
# A method that is over-optimised has its peak before the largest N, and loses from there on.

# %%
peaks = {}
for name, series in large.items():
    mean = {n: series[n].mean() for n in LARGE}
    peak = max(mean, key=mean.get)
    peaks[name] = peak
    at_many, lost = mean_interval(series[MANY]), paired_difference(series[peak], series[MANY])
    tokens = many.tokens.sum(1).mean()
    run.results.measure(f"N={MANY}/accuracy/{name}", at_many, tokens=tokens)
    run.results.measure(f"N={MANY}/lost since the best N/{name}", lost)
    print(f"{name:<18} best at N = {peak:>3}: {mean[peak]:.3f}; at {MANY}: {mean[MANY]:.3f}")
run.claim_better(
    f"best-of-{MANY} with the PRM beats best-of-{MANY} with the ORM",
    large["PRM"][MANY],
    large["ORM"][MANY],
)
fooled = large["PRM"][MANY] == 0
if fooled.sum() > 1:
    run.results.measure(
        f"N={MANY}/PRM score of the best chain where it is wrong",
        mean_interval(many.scores["PRM"].max(1)[fooled]),
    )
run.figure(
    viz.curves(
        LARGE,
        {name: [mean_interval(series[n]) for n in LARGE] for name, series in large.items()},
        title=f"Best of N by the ORM is highest at N = {peaks['ORM']}, "
        f"by log-probability at {peaks['log-probability']}, by the PRM at {peaks['PRM']}",
        xlabel=f"N, sampled chains per problem (n = {SOME} problems)",
        ylabel="accuracy (95% interval)",
        log2=True,
    ),
    "over_optimisation",
)

# %% [markdown]
# ## Guiding the search instead of judging its end
#
# A PRM can judge a chain before it is finished. *Beam search* (Snell et al. 2024) samples lines
# from every state and goes on from the best. *DVTS* (Beeching et al. 2024) splits the beam into
# subtrees that never compete, for diversity. Both submit the leaf that the PRM scores best. We
# compare them with best-of-n and majority at the tokens that each of them generated; the PRM reads
# each token once.

# %%
few = problems[: 12 if QUICK else max(12, run.problems // 4)]
roots = [tot.State(p) for p in few]
# Memoized: both searches share what they ask of a state.
lines = tot.memoize(
    functools.partial(
        proposers.sample_thoughts,
        run.model,
        run.key,
        prompt=word_problems.lines_prompt,
        num_samples=4,
        sampler=Sampler(TEMPERATURE),
        least=64 if QUICK else 1,
    )
)
judge = tot.memoize(functools.partial(reward_values, prm, prompt=word_problems.lines_prompt))
trees = {
    "PRM beam search": tot.bfs(
        roots, lines, judge, word_problems.LINES, beam=4, max_depth=8, description="beam search"
    ),
    "PRM DVTS": tot.dvts(
        roots, lines, judge, word_problems.LINES, subtrees=4, max_depth=8, description="DVTS"
    ),
}

# %% [markdown]
# For each problem the chains may spend what the search spent on it.

# %%
correct, ids, gold = first.correct[: len(few)], first.ids[: len(few)], first.gold[: len(few)]
prm_score, cumulative = first.scores["PRM"][: len(few)], first.tokens[: len(few)].cumsum(1)
bars: dict[str, list[Interval]] = {}
budgets = []
for name, found in trees.items():
    leaves = [
        tree.nodes[tree.answer].state.thoughts if tree.answer >= 0 else ("",) for tree in found
    ]
    right = grade([[thoughts[-1]] for thoughts in leaves], golds[: len(few)])[:, 0]
    spent = np.array([tree.generated for tree in found])
    paid = (cumulative <= spent[:, None]) | (np.arange(N) == 0)  # the first chain always
    best = vote.best_of_n(np.where(paid, prm_score, -1.0), np.where(paid, ids, -1))
    chosen = correct[np.arange(len(few)), np.asarray(best)]
    majority = np.asarray(vote.majority(ids, paid)) == gold

    tokens = spent.mean()
    run.results.measure(f"accuracy/{name}", accuracy(right), tokens=tokens)
    run.results.measure(
        f"accuracy/best of n by the PRM at the tokens of {name}", accuracy(chosen), tokens=tokens
    )
    run.results.measure(
        f"accuracy/majority at the tokens of {name}", accuracy(majority), tokens=tokens
    )
    run.results.measure(
        f"difference/{name} - best of n by the PRM", paired_difference(right, chosen)
    )
    run.claim_better(f"{name} beats the majority at equal tokens", right, majority)
    budgets.append(tokens)
    bars[name] = [accuracy(right), accuracy(chosen), accuracy(majority)]

# %% [markdown]
# In the figure, search stands beside the two ways to use chains.

# %%
found = ", ".join(f"{name} {of_search.value:.0%}" for name, (of_search, _, _) in bars.items())
best_of_n = bars["PRM beam search"][1].value
methods = ("search", "best of n by the PRM", "majority")
run.figure(
    viz.bars(
        list(bars),
        {method: [row[i] for row in bars.values()] for i, method in enumerate(methods)},
        title=f"At equal generated tokens:\n{found}; best of n {best_of_n:.0%}",
        xlabel="search, and chains for the same tokens, "
        f"{budgets[0]:.0f} and {budgets[1]:.0f} (n = {len(few)})",
        ylabel="accuracy (95% interval)",
    ),
    "search",
)

# %%
run.finish()
