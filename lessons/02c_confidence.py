# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 02c Should sure chains have more votes?
#
# **A model is more sure of some chains than of others. Does a vote get better if it listens?**
#
# DeepConf (Fu et al. 2025) says yes: let only the most confident chains vote, and stop a chain as
# soon as the model becomes unsure. Others found no gain. For our small model the answer is no. The
# most confident tenth of 64 chains is right 83% of the time, and the plain vote of all of them 95%.
# A much older score, the probability of the chain, knows far better which chains are right.
#
# ![accuracy of the votes](../docs/results/02c_confidence/accuracy_by_n.png)
#
# At the end of this lesson you can
#
# - compute a chain's confidence: the mean over its tokens, its least sure stretch, its tail;
# - tell a score that knows which chains are right from one that only seems to;
# - stop unsure chains early, and count what that saves and what it costs.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options("02c_confidence", problems=500, task="arithmetic:2-6", chains=64, halved=True)

# %%
import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.answers import confidence, vote
from jaxreason.answers.verify import answer_ids, gold_ids, grade, read_answers
from jaxreason.course import lesson
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.confidence import text_confidence
from jaxreason.decoding.sampling import Sampler
from jaxreason.evaluation.intervals import auc, paired_difference
from jaxreason.models.decoder import forward
from jaxreason.tasks import load_problems

run = lesson.start(GIVEN)
WINDOW = 8  # tokens of a group, about one line of these chains; the paper takes 2,048

# %% [markdown]
# ## Confidence in plain code
#
# At every token the model has a distribution over what comes next. DeepConf calls it confident if
# the runners-up are improbable: $C_t = -\frac1k \sum_{j \le k} \log P_t(j)$, over the $k$ likeliest
# tokens. If one token has nearly all of the probability, the others have very negative logarithms,
# and $C_t$ is large.

# %%
toy, K = run.toy, 20
QUESTION = "Dan starts with 54 toys. Dan gets 6 boxes with 4 each. He loses 6 packs of 7 toys."
prompt = prompts.zero_shot_cot(QUESTION + " How many toys does Dan have in total?")
drawn = complete(
    toy, jax.random.key(1), [prompt], sampler=Sampler(1.0), max_new_tokens=64, num_samples=1
)
text = drawn.texts[0][0]
head = toy.tokenizer(prompt, add_special_tokens=False).input_ids
chain = toy.tokenizer(text + toy.tokenizer.eos_token, add_special_tokens=False).input_ids
ids = jnp.array([head + chain])
logits, _ = forward(toy.params, ids, jnp.arange(ids.shape[1])[None], cfg=toy.cfg)
logprobs = np.asarray(jax.nn.log_softmax(logits[0, len(head) - 1 : -1]))  # [T, V]
plain = -np.sort(logprobs)[:, -K:].mean(1)  # [T], the confidence of each token

# %% [markdown]
# A *group* is the mean of the last tokens. The chain's score is its least sure group: one slip is
# enough to spoil a chain, and a mean over all tokens would hide it.

# %%
groups = [plain[max(0, t - WINDOW + 1) : t + 1].mean() for t in range(len(plain))]
for t in range(0, len(chain), 4):
    words = toy.tokenizer.decode(chain[t : t + 4])
    group = groups[min(t + 3, len(chain) - 1)]  # the one that ends here
    print(f"{words!r:<14} confidence {plain[t : t + 4].mean():5.2f}, group {group:5.2f}")
lowest = min(groups[WINDOW - 1 :])
print(f"least sure group: {lowest:.2f}, mean: {plain.mean():.2f}")

# %% [markdown]
# The library reads many texts in one compiled pass, and says the same of this one.

# %%
found = text_confidence(toy, [prompt], [[text]], k=K)
np.testing.assert_allclose(found.top_k[0, 0][found.mask[0, 0]], plain, atol=1e-3)
assert np.isclose(confidence.lowest_group(found.top_k, found.mask, WINDOW)[0, 0], lowest, atol=1e-3)

# %% [markdown]
# ## Which score knows what is right?
#
# We draw chains of held-out problems and score each one in five ways. The AUC is the chance that a
# right chain has a higher score than a wrong one. At 0.5 a score knows nothing.

# %%
N = run.chains
problems = load_problems(run.task, "test", run.problems, seed=run.options.seed)
texts = [prompts.zero_shot_cot(p.question, run.tokenizer) for p in problems]
golds = [p.gold for p in problems]
chains = run.complete(
    run.key, texts, sampler=Sampler(0.7), num_samples=N, description=f"{N} chains"
)
correct = grade(chains.texts, golds)  # [G, N]
ids = answer_ids(read_answers(chains.texts, golds))  # [G, N], equal ids are equal answers
gold = gold_ids(ids, correct)  # [G]
run.note_failure(chains, correct)
sure = text_confidence(run.model, texts, chains.texts, k=K, description="confidence")

# %%
scores = {
    "lowest group": confidence.lowest_group(sure.top_k, sure.mask, WINDOW),
    "tail": confidence.tail_confidence(sure.top_k, sure.mask, WINDOW),
    "mean": confidence.mean_confidence(sure.top_k, sure.mask),
    "self-certainty": confidence.mean_confidence(sure.self_certainty, sure.mask),
}
scores = {name: np.asarray(score) for name, score in scores.items()}
scores["log-probability"] = chains.logprobs / np.maximum(chains.num_tokens, 1)  # of lesson 02
several = 0 < correct.mean() < 1  # else there is nothing to tell apart
for name, score in scores.items():
    if several:
        run.measure(f"auc/{name}", auc(score.reshape(-1), correct.reshape(-1)))

# %% [markdown]
# This AUC compares chains of different problems, and hard problems have unsure chains. A vote is
# among chains of *one* problem. So we also ask how often a right chain outscores a wrong one of the
# same problem.

# %%
mixed = correct.any(1) & ~correct.all(1)
for name, score in scores.items():
    wins = [
        (score[g][correct[g]][:, None] > score[g][~correct[g]]).mean()
        for g in np.flatnonzero(mixed)
    ]
    if len(wins) > 1:
        run.measure(f"auc within a problem/{name}", np.array(wins))

# %% [markdown]
# ## The vote
#
# Six votes of the same n chains: the plain one; the top 10% and the top 90% by their least sure
# group, weighted by it (DeepConf); a vote by rank of self-certainty (Kang et al. 2025); and two by
# the probability of the chain, as in lesson 02: all chains weighted by it, or its top 10% alone. As
# in lesson 02, a problem's score is the mean over disjoint sets of n chains.


# %%
def voted(n: int, weigh, score: np.ndarray) -> np.ndarray:
    """`[G]` share of the disjoint sets of n chains whose weighted vote is right."""
    blocks, of_blocks = (x.reshape(len(ids), -1, n) for x in (ids, score))
    winners = vote.majority(blocks, weigh(of_blocks))
    return (np.asarray(winners) == gold[:, None]).mean(1)


METHODS = {
    "majority": (lambda s: jnp.ones(s.shape), "lowest group"),
    "DeepConf, top 10%": (lambda s: confidence.confident_weights(s, 0.1), "lowest group"),
    "DeepConf, top 90%": (lambda s: confidence.confident_weights(s, 0.9), "lowest group"),
    "weighted by probability": (jnp.exp, "log-probability"),
    "top 10% by probability": (
        lambda s: confidence.confident_weights(jnp.exp(s), 0.1),
        "log-probability",
    ),
    "by rank of self-certainty": (lambda s: confidence.borda_weights(s, 0.5), "self-certainty"),
}
SIZES = [n for n in (8, 16, 32, 64) if n <= N]
accuracies = {
    name: [voted(n, weigh, scores[score]) for n in SIZES]
    for name, (weigh, score) in METHODS.items()
}

# %%
for name, values in accuracies.items():
    for n, right in zip(SIZES, values, strict=True):
        run.measure(f"accuracy/{name}@{n}", right, n * chains.num_tokens.mean())
best = {name: values[-1] for name, values in accuracies.items()}
for name in list(METHODS)[1:]:
    run.claim_better(f"{name} beats the plain vote of {SIZES[-1]}", best[name], best["majority"])
run.curves(
    "accuracy_by_n",
    SIZES,
    accuracies,
    title=f"{SIZES[-1]} chains: the plain vote {best['majority'].mean():.1%}, the most confident "
    f"tenth {best['DeepConf, top 10%'].mean():.1%}",
    xlabel="n, chains per problem (temperature 0.7)",
    log2=True,
)

# %% [markdown]
# ## Stop unsure chains
#
# DeepConf can also save tokens. The first 16 chains run to their end and set a threshold: what the
# top 90% of them pass. Every later chain stops at its first group below it, and has no vote. Chains
# do not depend on each other, so we can count exactly which tokens would not have been drawn.

# %%
warmup = min(16, N // 2)
kept_share = 0.9
online = confidence.stop_unsure(sure.top_k, sure.mask, WINDOW, warmup, kept_share)
weights = jnp.where(online.kept, scores["lowest group"], 0.0)
stopped = np.asarray(vote.majority(ids, weights)) == gold
full = np.asarray(vote.majority(ids)) == gold
stopped_tokens, full_tokens = np.asarray(online.num_tokens).sum(1), sure.mask.sum((1, 2))
saved = 1 - stopped_tokens / full_tokens

# %% [markdown]
# Adaptive consistency of lesson 02 saves tokens too: it draws no more chains once the vote is
# settled.

# %%
used = np.asarray(vote.early_stop(ids, threshold=0.95))
early = jnp.arange(N) < used[:, None]
settled = np.asarray(vote.majority(ids, early)) == gold
settled_tokens = (sure.mask.sum(2) * np.asarray(early)).sum(1)
for name, right, tokens in (
    ("all chains", full, full_tokens),
    ("unsure chains stopped", stopped, stopped_tokens),
    ("vote settled", settled, settled_tokens),
):
    run.measure(f"accuracy/{name}@{N}", right, tokens.mean())
run.measure("saved/unsure chains stopped", saved)
run.measure("saved/vote settled", 1 - settled_tokens / full_tokens)
lost = paired_difference(full, stopped)
run.claim(
    "stopping unsure chains loses at most 1 point", lost, at_most=0.01, worst=float(full.mean())
)
run.claim(
    "stopping when the vote is settled saves more tokens than stopping unsure chains",
    paired_difference(stopped_tokens / full_tokens, settled_tokens / full_tokens),
    at_least=0.0,
    excludes_zero=True,
)

# %% [markdown]
# ## What surprised us
#
# - Over all problems the least sure group seems to know what is right: its AUC is 0.76. Within one
#   problem it is 0.52, next to nothing. It knows which *problems* are hard.
# - The mean log-probability of the drawn tokens has an AUC of 0.88 within a problem. A slip of this
#   model is a token that it gave a low probability. Confidence looks at the whole distribution, and
#   not at the token that was drawn from it.
# - Even so, its top 10% do not beat the plain vote of 64 chains: -1.2 points [-3.2, 0.6]. Counting
#   many chains is worth more than knowing a few.
# - Stopping unsure chains saves 4% of the tokens. Stopping when the vote is settled saves 83%.
#
# The paper measured models more than ten thousand times larger, on chains of thousands of tokens. A
# stretch of unsure tokens may well be what a wrong turn looks like there. Before you use a score,
# measure its AUC *within* problems.
#
# ## When it does not work
#
# - **AUC within a problem near 0.5**: the score cannot choose among chains. Try another one.
# - **A filtered vote below the plain one**: the filter keeps too few chains. Ten percent of 16
#   chains are two, and two chains cannot outvote anything.
# - **Nothing is saved**: the window is longer than the chains, or all of them are equally sure.
#
# ## Exercises
#
# `jaxreason check 02`: exercise 6, `least_sure_group`, is about this lesson.

# %%
run.finish()
