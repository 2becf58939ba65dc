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
# A vote needs the right answer to be *frequent*. A verifier needs it only to be *there*, and to be
# recognised: with a perfect verifier accuracy is the chance that any of $N$ chains is right, which
# hardly has a ceiling. With an imperfect one, more chains are also more chances to find one that
# fools it.
#
# On `tiny`'s usual problems a vote of 32 is right 94% of the time and little is left to show. The
# problems here are the deep ones, 4 to 6 operations, at temperature 1, for every method alike.

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
N, TEMPERATURE, OPERATIONS = (min(8, run.chains) if QUICK else run.chains), 1.0, (4, 5, 6)
prm = load_reward_model(f"{run.model.name}-prm", run.model)
orm = load_reward_model(f"{run.model.name}-orm", run.model)
problems = arithmetic.problems("test", run.problems, seed=run.options.seed, operations=OPERATIONS)
texts, golds = [prompts.zero_shot_cot(p.question) for p in problems], [p.answer for p in problems]

# %% [markdown]
# ## Five verifiers
#
# - *oracle*: knows the answer. Not a method: the upper bound of all of them.
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
    tokens: np.ndarray  # [G, n]
    scores: dict[str, np.ndarray]  # [G, n] each


def sample(some: list[str], key: jax.Array, n: int) -> Chains:
    chains = run.complete(
        key, some, sampler=Sampler(TEMPERATURE), num_samples=n, description=f"{n} chains"
    )
    correct = grade(chains.texts, golds[: len(some)])
    checked = [
        [
            np.mean([arithmetic.is_true(line) for line in text.strip().split("\n")])
            + ("####" in text)
            for text in row
        ]
        for row in chains.texts
    ]
    scores = {
        "oracle": correct.astype(np.float32),
        "heuristic": np.array(checked, np.float32),
        "log-probability": chains.logprobs / np.maximum(chains.num_tokens, 1),
        "ORM": aggregate(step_scores(orm, some, chains.texts, description="ORM"), "last"),
        "PRM": aggregate(step_scores(prm, some, chains.texts, description="PRM"), "min"),
    }
    return Chains(chains.texts, correct, chains.num_tokens, scores)


def answers(chains: Chains) -> tuple[np.ndarray, np.ndarray]:
    """[G, n] the ids of the answers, equal ones alike, and [G] that of the right one."""
    ids = answer_ids([[extract_answer(text) for text in row] for row in chains.texts])
    return ids, gold_ids(ids, chains.correct)


first = sample(texts, run.key, N)
first_answers = answers(first)
(ids, gold), correct, tokens, scores = first_answers, first.correct, first.tokens, first.scores
one = correct.mean(1)  # [G], chance that one chain is right
run.results.measure("accuracy/pass@1", mean_interval(one), tokens=tokens.mean())
for name, score in scores.items():
    ties = (score == score.max(1, keepdims=True)).mean(1)
    run.results.measure(f"share of chains that share the best score/{name}", mean_interval(ties))

# %% [markdown]
# ## Accuracy against N
#
# As in lesson 02 the chains of a problem are cut into N/n disjoint sets and a problem's score is
# the mean over them. Besides the best of n: the *weighted* vote, in which a chain's vote counts its
# PRM score, so that answers are supported by several good chains rather than by one lucky one; and
# the *filtered* vote among the better half.

# %%
SIZES = [2**k for k in range(N.bit_length())]


def blocks(x: np.ndarray, n: int) -> np.ndarray:
    """[G, N] -> [G, N / n, n]."""
    return x.reshape(len(x), -1, n)


def best_of(name: str, n: int) -> np.ndarray:
    """[G] share of the sets of n chains whose best-scored chain is right."""
    best = np.asarray(vote.best_of_n(blocks(scores[name], n), blocks(ids, n)))
    return np.take_along_axis(blocks(correct, n), best[..., None], -1)[..., 0].mean(1)


def voted(n: int, weights: np.ndarray | None = None) -> np.ndarray:
    """[G] share of the sets of n chains whose vote is right."""
    winners = vote.majority(blocks(ids, n), None if weights is None else blocks(weights, n))
    return (np.asarray(winners) == gold[:, None]).mean(1)


def filtered(n: int) -> np.ndarray:
    """[G] the same of the vote among the better half by the PRM."""
    winners = vote.filtered_majority(blocks(ids, n), blocks(scores["PRM"], n), keep=max(1, n // 2))
    return (np.asarray(winners) == gold[:, None]).mean(1)


by_n = {name: {n: best_of(name, n) for n in SIZES} for name in scores}
by_n["majority"] = {n: voted(n) for n in SIZES}
by_n["PRM-weighted vote"] = {n: voted(n, scores["PRM"]) for n in SIZES}
by_n["ORM-weighted vote"] = {n: voted(n, scores["ORM"]) for n in SIZES}
by_n["PRM-filtered vote"] = {n: filtered(n) for n in SIZES}
for name, series in by_n.items():
    for n in sorted({4, 16, N} & set(SIZES)):
        run.results.measure(
            f"accuracy/{name}@{n}", mean_interval(series[n]), tokens=n * tokens.mean()
        )

run.claim(
    f"best-of-{N} with the PRM beats majority@{N}",
    paired_difference(by_n["PRM"][N], by_n["majority"][N]),
    at_least=0.0,
    excludes_zero=True,
)
run.claim(
    f"best-of-{N} with the PRM beats best-of-{N} with the ORM",
    paired_difference(by_n["PRM"][N], by_n["ORM"][N]),
    at_least=0.0,
    excludes_zero=True,
)
run.results.measure(
    f"difference/PRM-weighted vote@{N} - majority@{N}",
    paired_difference(by_n["PRM-weighted vote"][N], by_n["majority"][N]),
)
plotted = ["oracle", "PRM-weighted vote", "PRM", "majority", "ORM", "log-probability"]
run.figure(
    viz.curves(
        SIZES,
        {name: [mean_interval(by_n[name][n]) for n in SIZES] for name in plotted},
        title=f"At N = {N}: best by the PRM {by_n['PRM'][N].mean():.0%},\nmajority {by_n['majority'][N].mean():.0%}, "
        f"best by the ORM {by_n['ORM'][N].mean():.0%}",
        xlabel="N, sampled chains per problem (temperature 1)",
        ylabel="accuracy (95% interval)",
        log2=True,
    ),
    "accuracy_by_n",
)

# %% [markdown]
# ## How many labels?
#
# The ORM and the PRM above learned from 6,000 chains each. An outcome says *that* a chain went
# wrong, the label of a step *where*: a PRM learns several things from a chain of which an ORM
# learns one, so it should be ahead where chains are few. The same two again, from 1,200 chains and
# from 12,000 (`python checkpoints/train_rm.py tiny-prm-1200`, and so on).

# %%
BUDGETS = {"12,000": "-12000", "1,200": "-1200"}
scores = {f"{name}, 6,000 chains": first.scores[name] for name in ("ORM", "PRM")} | {
    f"{name}, {count} chains": aggregate(
        step_scores(
            load_reward_model(f"{run.model.name}-{name.lower()}{suffix}", run.model),
            texts,
            first.texts,
            description=f"{name} of {count} chains",
        ),
        how,
    )
    for count, suffix in BUDGETS.items()
    for name, how in (("ORM", "last"), ("PRM", "min"))
}
mixed = (correct.sum(1) >= 2) & (correct.sum(1) <= N - 2)  # problems with chains of both kinds
for name, score in scores.items():
    by_n[name] = {n: best_of(name, n) for n in SIZES}
    anywhere = auc(
        score.ravel(), correct.ravel()
    )  # the chance that a right chain outscores a wrong one
    run.results.measure(f"right above wrong/{name}", anywhere)
    if mixed.any():
        here = [
            auc(row, right).value for row, right in zip(score[mixed], correct[mixed], strict=True)
        ]
        run.results.measure(
            f"right above wrong of the same problem/{name}", mean_interval(np.array(here))
        )
        print(
            f"{name:<18} AUC over all chains {anywhere.value:.2f}, over those of one problem {np.mean(here):.2f}"
        )
for count in BUDGETS:
    ours = {name: by_n[f"{name}, {count} chains"][N] for name in ("PRM", "ORM")}
    for name, right in ours.items():
        run.results.measure(
            f"accuracy/{name}@{N}, {count} chains", mean_interval(right), tokens=N * tokens.mean()
        )
    for rival, right in (
        (f"majority@{N}", by_n["majority"][N]),
        (f"best-of-{N} with the ORM", ours["ORM"]),
    ):
        run.claim(
            f"learned from {count} chains, best-of-{N} with the PRM beats {rival}",
            paired_difference(ours["PRM"], right),
            at_least=0.0,
            excludes_zero=True,
        )
plotted = [f"{name}, {count} chains" for count in BUDGETS for name in ("PRM", "ORM")] + ["majority"]
at_n = {name: f"{by_n[name][N].mean():.1%}" for name in plotted}
run.figure(
    viz.curves(
        SIZES,
        {name: [mean_interval(by_n[name][n]) for n in SIZES] for name in plotted},
        title=f"Best of {N} by a PRM and an ORM: from 1,200 labelled chains\n"
        f"{at_n['PRM, 1,200 chains']} and {at_n['ORM, 1,200 chains']}, from 12,000 {at_n['PRM, 12,000 chains']} and {at_n['ORM, 12,000 chains']}; the vote {at_n['majority']}",
        xlabel="N, sampled chains per problem (temperature 1)",
        ylabel="accuracy (95% interval)",
        log2=True,
    ),
    "few_labels",
)

# %% [markdown]
# From 1,200 chains the PRM is right on 93.9% of 2,000 problems and 3.0 points ahead of the vote.
# The ORM has learned next to nothing of chains: over all of them its AUC is 0.69, since it tells
# some hard problems from easy ones, but over the chains of one problem 0.54, and 0.50 is chance.
# The few that it likes best are mostly wrong, so its best of 64 is right on 27%, while a chain
# drawn blindly is on 58%. They are the same chains, with five labels on each instead of one. One
# training of each is shown, and with a few hundred chains more it is luck whether the ORM learns.
# From 6,000 both beat the vote, and there is little left between them: 97.7% and 96.9%, from 12,000
# 98.2% and 97.8%. Where outcomes are plentiful the ORM has caught up; what is left to the PRM is
# below, at larger N and before the end.
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
at_k = {n: np.asarray(vote.pass_at_k(correct.sum(1), N, n)) for n in SIZES}
apart = max(
    (paired_difference(by_n["oracle"][n], at_k[n]) for n in SIZES), key=lambda i: abs(i.value)
)
run.claim(
    "the oracle's curve equals unbiased pass@k, within a point at every N",
    apart._replace(value=abs(apart.value)),
    at_most=0.01,
    worst=at_k[N].mean(),
)
textbook = [1 - (1 - one.mean()) ** n for n in SIZES]
middle = SIZES[len(SIZES) // 2]
gap = mean_interval((1 - (1 - one.mean()) ** middle) - at_k[middle])
run.claim(
    f"1-(1-p)^N from the average p is too optimistic at N = {middle}",
    gap,
    at_least=0.0,
    excludes_zero=True,
)
run.figure(
    viz.curves(
        SIZES,
        {
            "oracle, best of n": [mean_interval(by_n["oracle"][n]) for n in SIZES],
            "unbiased pass@k": [mean_interval(at_k[n]) for n in SIZES],
            "1-(1-p)^N, average p (theory)": [Interval(p, p, p, 1) for p in textbook],
        },
        title=f"At N = {middle} the formula of the average problem promises {textbook[len(SIZES) // 2]:.1%}, measured {at_k[middle].mean():.1%}",
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
# noise: Goodhart's law. The gold reward is known here, so over-optimisation (Gao et al. 2023) is
# measured and not guessed: accuracy against N up to 256, on the first problems, which get more
# chains for it.

# %%
SOME, MANY = (
    (run.problems, 2 * N) if QUICK else (min(run.problems, max(12, run.problems // 5)), 4 * N)
)
more = sample(texts[:SOME], jax.random.fold_in(run.key, 1), MANY - N)
many = Chains(
    [a + b for a, b in zip(first.texts, more.texts, strict=False)],
    *(
        np.concatenate([a[:SOME], b], 1)
        for a, b in ((first.correct, more.correct), (first.tokens, more.tokens))
    ),
    {
        name: np.concatenate([score[:SOME], more.scores[name]], 1)
        for name, score in first.scores.items()
    },
)
(ids, gold), correct, scores, many_tokens = answers(many), many.correct, many.scores, many.tokens
LARGE = [2**k for k in range(MANY.bit_length())]
names = ["PRM", "ORM", "log-probability", "heuristic"]
large = {name: {n: best_of(name, n) for n in LARGE} for name in names}
large["majority"] = {n: voted(n) for n in LARGE}
large["PRM-weighted vote"] = {n: voted(n, scores["PRM"]) for n in LARGE}
peaks = {}
for name, series in large.items():
    peaks[name] = max(LARGE, key=lambda n, series=series: series[n].mean())
    lost = paired_difference(series[peaks[name]], series[MANY])
    run.results.measure(
        f"N={MANY}/accuracy/{name}", mean_interval(series[MANY]), tokens=many_tokens.sum(1).mean()
    )
    run.results.measure(f"N={MANY}/lost since the best N/{name}", lost)
    print(
        f"{name:<18} best at N = {peaks[name]:>3}: {series[peaks[name]].mean():.3f}; at {MANY}: {series[MANY].mean():.3f}"
    )
run.claim(
    f"best-of-{MANY} with the PRM beats best-of-{MANY} with the ORM",
    paired_difference(large["PRM"][MANY], large["ORM"][MANY]),
    at_least=0.0,
    excludes_zero=True,
)
fooled = large["PRM"][MANY] == 0
if fooled.sum() > 1:
    run.results.measure(
        f"N={MANY}/PRM score of the best chain where it is wrong",
        mean_interval(scores["PRM"].max(1)[fooled]),
    )
run.figure(
    viz.curves(
        LARGE,
        {name: [mean_interval(series[n]) for n in LARGE] for name, series in large.items()},
        title=f"Best of N by the ORM is highest at N = {peaks['ORM']}, by log-probability at {peaks['log-probability']}, by the PRM at {peaks['PRM']}",
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
# from every state and goes on from the best; *DVTS* (Beeching et al. 2024) splits the beam into
# subtrees that never compete, for diversity. Both submit the leaf that the PRM scores best. They
# are compared with best-of-n and majority at the tokens each of them generated; the PRM reads each
# once.

# %%
few = problems[: 12 if QUICK else max(12, run.problems // 4)]
roots = [tot.State(p) for p in few]
lines = tot.memoize(
    functools.partial(  # both searches share what they ask of a state
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
correct, ids, gold, tokens = (x[: len(few)] for x in (first.correct, *first_answers, first.tokens))
scores = {name: score[: len(few)] for name, score in first.scores.items()}
cumulative = tokens.cumsum(1)
bars: dict[str, list[Interval]] = {}
budgets = []
for name, found in trees.items():
    ends = [
        tree.nodes[tree.answer].state.thoughts[-1] if tree.answer >= 0 else "" for tree in found
    ]
    right = grade([[end] for end in ends], golds[: len(few)])[:, 0]
    spent = np.array([tree.generated for tree in found])
    paid = (cumulative <= spent[:, None]) | (
        np.arange(tokens.shape[1]) == 0
    )  # the chains that these tokens pay for
    pick = np.asarray(vote.best_of_n(np.where(paid, scores["PRM"], -1.0), np.where(paid, ids, -1)))
    chosen = np.take_along_axis(correct, pick[:, None], 1)[:, 0]
    majority = np.asarray(vote.majority(ids, paid)) == gold
    run.results.measure(f"accuracy/{name}", accuracy(right), tokens=spent.mean())
    run.results.measure(
        f"accuracy/best of n by the PRM at the tokens of {name}",
        accuracy(chosen),
        tokens=spent.mean(),
    )
    run.results.measure(
        f"accuracy/majority at the tokens of {name}", accuracy(majority), tokens=spent.mean()
    )
    run.results.measure(
        f"difference/{name} - best of n by the PRM", paired_difference(right, chosen)
    )
    run.claim(
        f"{name} beats the majority at equal tokens",
        paired_difference(right, majority),
        at_least=0.0,
        excludes_zero=True,
    )
    budgets.append(spent.mean())
    bars[name] = [accuracy(right), accuracy(chosen), accuracy(majority)]
run.figure(
    viz.bars(
        list(bars),
        {
            label: [row[i] for row in bars.values()]
            for i, label in enumerate(["search", "best of n by the PRM", "majority"])
        },
        title="At equal generated tokens:\n"
        + ", ".join(f"{name} {row[0].value:.0%}" for name, row in bars.items())
        + f"; best of n {next(iter(bars.values()))[1].value:.0%}",
        xlabel=f"search, and chains for the same tokens, {budgets[0]:.0f} and {budgets[1]:.0f} (n = {len(few)})",
        ylabel="accuracy (95% interval)",
    ),
    "search",
)

# %%
run.finish()
