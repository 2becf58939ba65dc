# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 02 Self-consistency
#
# One sampled chain of thought slips somewhere. Another slips somewhere else. Right chains agree on
# the answer and wrong ones scatter. So we sample $N$ chains and take the most frequent answer (Wang
# et al. 2023), which beats any one of them:
# $$\hat a = \arg\max_a \sum_{n=1}^N w_n \mathbf 1[a_n = a], \qquad w_n = 1.$$
#
# In JAX the $N$ chains are a `vmap` over keys. The prompt is prefilled **once**; every chain reads
# the same cached keys and values, and draws from its own key, so chain 17 is the same whether it is
# sampled alone or among 64.
#
# We measure accuracy against $N$; the vote weighted by the model's own probability; stopping early
# when the vote is settled; temperature; and why "below $p = 0.5$ voting makes things worse" is
# wrong.
#
# `--model`, `--task` and `--chains` choose another model, other problems, and $N$. Claims with
# points in them are about the shipped models. Of any other model the lesson claims only the
# direction.

# %%
from jaxreason.course.options import read_options

# First of all, so that a misspelt option does not wait for the imports below.
GIVEN = read_options(
    "02_self_consistency", problems=500, task="arithmetic:2-6", chains=64, halved=True
)

# %%
import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.answers import vote
from jaxreason.answers.verify import answer_ids, gold_ids, grade, read_answers
from jaxreason.course import lesson, viz
from jaxreason.decoding import prompts
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.evaluation.flops import rollout_flops
from jaxreason.evaluation.intervals import Interval, accuracy, mean_interval, paired_difference
from jaxreason.tasks import load_problems

run = lesson.start(GIVEN, cpu_devices=2)
N, TEMPERATURE = run.chains, 0.7
HALF = N // 2
problems = load_problems(run.task, "test", run.problems, seed=run.options.seed)
texts = [prompts.zero_shot_cot(p.question, run.tokenizer) for p in problems]
golds = [p.gold for p in problems]

# %% [markdown]
# ## One greedy chain, and N sampled ones from one prefill
#
# Temperature 0 gives one chain. At temperature 0.7 every chain draws its own tokens, from a prompt
# that is read once.

# %%
greedy = run.complete(run.key, texts, sampler=GREEDY, description="greedy")
chains = run.complete(
    run.key,
    texts,
    sampler=Sampler(TEMPERATURE),
    num_samples=N,
    description=f"{N} chains at T={TEMPERATURE}",
)

# %% [markdown]
# Grading turns texts into arrays: which chains are right, and which of them say the same.

# %%
greedy_correct = grade(greedy.texts, golds)[:, 0]
correct = grade(chains.texts, golds)  # [G, N]
answers = read_answers(chains.texts, golds)
ids = answer_ids(answers)  # [G, N], equal values share an id, -1 is no answer
gold = gold_ids(ids, correct)  # [G], the id of the right answer

single = correct.mean(1)  # [G]: the chance that one sampled chain is right
run.results.measure("accuracy/greedy", accuracy(greedy_correct), tokens=greedy.num_tokens.mean())
run.results.measure("accuracy/pass@1", mean_interval(single), tokens=chains.num_tokens.mean())
if not run.as_measured:  # the shipped models' chains nearly always end, with an answer
    run.results.measure("finished", mean_interval(chains.finished.mean(1)))
    run.results.measure("answered", mean_interval((ids >= 0).mean(1)))
print(
    f"{chains.finished.mean():.1%} of the chains end, {(ids >= 0).mean():.1%} have an answer, "
    f"{single.mean():.1%} are right"
)
if not run.prompt_fails(chains) and single.mean() < 0.1:
    print(
        "A vote has next to nothing to find here: try an easier task, "
        "such as --task arithmetic:1-2, or a larger model."
    )

# %% [markdown]
# ## The vote on one problem
#
# The share of the winner is the vote's *confidence*. The right answer does not need half of the
# votes. It only needs more than each wrong one. A slip can happen in any line and in many ways, so
# wrong chains share their votes among several answers.

# %%
hard = int(np.abs(single - 0.45).argmin())  # one chain gets it wrong more often than not
values, counts = np.unique([a or "none" for a in answers[hard]], return_counts=True)
top = np.argsort(-counts)[:8]
labels, votes = values[top].tolist(), (counts[top] / N).tolist()

is_right = grade([labels], [golds[hard]])[0]  # [8]
right = int(is_right.argmax()) if is_right.any() else None
wrong_votes = [share for n, share in enumerate(votes) if n != right]
most_frequent_wrong = max(wrong_votes, default=0.0)
print(problems[hard].question)
run.figure(
    viz.shares(
        labels,
        votes,
        right,
        title=f"{single[hard]:.0%} of the chains agree on the right answer,\n"
        f"{most_frequent_wrong:.0%} on the most frequent wrong one",
        xlabel=f"share of {N} chains (green: the right answer)",
    ),
    "one_vote",
)

# %% [markdown]
# ## Accuracy against N
#
# For every n we cut the N chains into N/n disjoint sets. Each set votes, and a problem's score is
# the mean over the sets, so small n are not at the mercy of one draw. Intervals are bootstrapped
# over problems. n = 2 cannot help: with two different answers the vote is a coin toss.
#
# The weighted vote uses $w_n = \exp(\frac1K \sum_k \log p(t_k))$, the length-normalised probability
# of the chain under the model **itself**. The original course takes it from temperature-processed
# scores, and so weighs chains by a distribution that the model does not have.

# %%
SIZES = [2**k for k in range(N.bit_length())]  # 1, 2, 4, ..., N
weights = np.asarray(vote.logprob_weights(chains.logprobs, chains.num_tokens))


def voted(n: int, weights: np.ndarray | None = None) -> np.ndarray:
    """[G] share of the disjoint sets of n chains whose vote is right."""
    blocks = ids.reshape(len(ids), -1, n)
    winners = vote.majority(blocks, None if weights is None else weights.reshape(blocks.shape))
    return (np.asarray(winners) == gold[:, None]).mean(1)


by_n = {n: voted(n) for n in SIZES}
by_n_weighted = {n: voted(n, weights) for n in SIZES}
at_least_one = {n: np.asarray(vote.pass_at_k(correct.sum(1), N, n)) for n in SIZES}
tokens = chains.num_tokens.mean()
for n in SIZES[1:]:
    run.results.measure(f"accuracy/majority@{n}", mean_interval(by_n[n]), tokens=n * tokens)
    run.results.measure(
        f"accuracy/weighted@{n}", mean_interval(by_n_weighted[n]), tokens=n * tokens
    )
    run.results.measure(f"accuracy/pass@{n}", mean_interval(at_least_one[n]), tokens=n * tokens)

# %% [markdown]
# Half of the chains are enough for the claims; the other half is needed below.

# %%
over_sampled = paired_difference(by_n[HALF], single)
over_greedy = paired_difference(by_n[HALF], greedy_correct)
measured = run.as_measured and N == 64  # the sizes of the gains are claimed of these alone
run.claim(
    f"majority@{HALF} beats one sampled chain" + (" by >= 12 points" if measured else ""),
    over_sampled,
    at_least=0.12 if measured else 0.0,
    excludes_zero=True,
)
run.claim(
    f"majority@{HALF} beats the greedy chain" + (" by >= 3 points" if measured else ""),
    over_greedy,
    at_least=0.03 if measured else 0.0,
    excludes_zero=True,
)
difference = paired_difference(by_n_weighted[HALF], by_n[HALF])
run.results.measure(f"difference/weighted@{HALF}-majority@{HALF}", difference)

# %% [markdown]
# The figure adds pass@N, the chance that any of N chains is right, which no vote can exceed.

# %%
greedy_line = accuracy(greedy_correct)
run.figure(
    viz.curves(
        SIZES,
        {
            "majority": [mean_interval(by_n[n]) for n in SIZES],
            "weighted by log-probability": [mean_interval(by_n_weighted[n]) for n in SIZES],
            "any chain right (pass@N)": [mean_interval(at_least_one[n]) for n in SIZES],
            "greedy, one chain": [greedy_line] * len(SIZES),
        },
        title=f"Voting lifts one chain's {single.mean():.0%} "
        f"to {by_n[HALF].mean():.0%} at N = {HALF}",
        xlabel="N, sampled chains per problem (temperature 0.7)",
        ylabel="accuracy (95% interval)",
        log2=True,
    ),
    "accuracy_by_n",
)

# %% [markdown]
# ## Stop when the vote is settled
#
# Adaptive consistency (Aggarwal et al. 2023) draws chains one by one. It stops as soon as the
# leader would stay ahead of the runner-up with probability 0.95 under a Beta posterior. A chain
# does not depend on the others in its batch, so the chains it would have drawn are the first ones
# of those sampled above, and we can count exactly the tokens it saves.

# %%
used = np.asarray(vote.early_stop(ids[:, :HALF], threshold=0.95))  # [G]
drawn = np.arange(HALF) < used[:, None]
stopped = np.asarray(vote.majority(ids[:, :HALF], jnp.asarray(drawn))) == gold
full = np.asarray(vote.majority(ids[:, :HALF])) == gold
stopped_tokens = (chains.num_tokens[:, :HALF] * drawn).sum(1)
full_tokens = chains.num_tokens[:, :HALF].sum(1)
run.results.measure(f"accuracy/early_stop@{HALF}", accuracy(stopped), tokens=stopped_tokens.mean())
run.results.measure(f"accuracy/first_{HALF}", accuracy(full), tokens=full_tokens.mean())
lost = paired_difference(full, stopped)
run.claim("early stopping loses at most 1 point of accuracy", lost, at_most=0.01, worst=full.mean())
saved = mean_interval(1 - stopped_tokens / full_tokens)
if run.as_measured:
    run.claim("early stopping saves at least 40% of the tokens", saved, at_least=0.4)
else:  # where chains never agree, nothing is settled early
    run.claim("early stopping saves tokens", saved, at_least=0.0, excludes_zero=True)

# %% [markdown]
# ## Temperature against diversity
#
# At temperature 0 all chains are equal, and a vote is one chain. Hotter chains differ more, which
# the vote needs. They are also wrong more often, and the vote has to make up for that.

# %%
TEMPERATURES = (0.3, 0.5, 0.7, 1.0, 1.3)
VOTERS = min(8, N)
one, eight = [], []
for temperature in TEMPERATURES:
    if temperature == TEMPERATURE:  # sampled above
        some_texts = [row[:VOTERS] for row in chains.texts]
        hits, num_tokens = correct[:, :VOTERS], chains.num_tokens[:, :VOTERS]
    else:
        some = run.complete(
            jax.random.fold_in(run.key, int(100 * temperature)),
            texts,
            sampler=Sampler(temperature),
            num_samples=VOTERS,
            description=f"T={temperature}",
        )
        some_texts, num_tokens = some.texts, some.num_tokens
        hits = grade(some_texts, golds)
    some_ids = answer_ids(read_answers(some_texts, golds))
    one.append(mean_interval(hits.mean(1)))
    eight.append(accuracy(np.asarray(vote.majority(some_ids)) == gold_ids(some_ids, hits)))
    distinct = mean_interval(some_ids.max(1) + 1.0)
    at = f"temperature={temperature}"
    run.results.measure(f"{at}/pass@1", one[-1], tokens=num_tokens.mean())
    run.results.measure(f"{at}/majority@{VOTERS}", eight[-1])
    run.results.measure(f"{at}/distinct_answers@{VOTERS}", distinct)

# %% [markdown]
# From the coolest to the hottest:

# %%
lost_by_one = 100 * (one[0].value - one[-1].value)
lost_by_vote = 100 * (eight[0].value - eight[-1].value)
run.figure(
    viz.curves(
        TEMPERATURES,
        {f"majority@{VOTERS}": eight, "one chain": one},
        title=f"From T = {TEMPERATURES[0]} to {TEMPERATURES[-1]} one chain loses "
        f"{lost_by_one:.0f} points,\nthe vote of {VOTERS} chains {lost_by_vote:.0f}",
        xlabel="sampling temperature",
        ylabel="accuracy (95% interval)",
    ),
    "temperature",
)

# %% [markdown]
# ## Below p = 0.5 voting can still win
#
# The majority theorem says that with $p < 1/2$ the chance that *more than half* of the chains are
# right goes to zero. A plurality does not need half: the right answer has to be more frequent than
# *each* wrong one. The binomial curve is the worst case, in which all wrong chains agree.
#
# So as not to fool ourselves, we estimate $p$ on the first half of the chains and take the vote
# among the second. We pick problems because their first half looked bad, and judge them by chains
# that had no part in picking them.

# %%
p_first, p_second = correct[:, :HALF].mean(1), correct[:, HALF:].mean(1)
won = np.asarray(vote.majority(ids[:, HALF:])) == gold
in_bin = np.minimum((10 * p_first).astype(int), 9)  # ten bins of p
real, centres = [], []
for b in range(10):
    rows = in_bin == b
    real.append(accuracy(won[rows]) if rows.sum() >= 5 else None)
    centres.append(float(p_first[rows].mean()) if rows.any() else (b + 0.5) / 10)
theory = np.asarray(vote.binomial_majority(jnp.asarray(centres), HALF)).tolist()
bound = [Interval(value, value, value, 1) for value in theory]

# %% [markdown]
# The claim is about the problems whose first half is mostly wrong.

# %%
below = (p_first < 0.5) & (p_first > 0.1)
title = f"{below.sum()} of {len(below)} problems have 0.1 < p < 0.5"
if below.sum() > 1:
    run.results.measure("p<0.5/pass@1", mean_interval(p_second[below]))
    run.results.measure(f"p<0.5/majority@{HALF}", accuracy(won[below]))
    run.claim(
        f"where one chain is right with 0.1 < p < 0.5, majority@{HALF} still beats it",
        paired_difference(won[below], p_second[below]),
        at_least=0.0,
        excludes_zero=True,
    )
    title = (
        f"Where 0.1 < p < 0.5 one chain is right {p_second[below].mean():.0%} of the time,\n"
        f"the vote of {HALF} chains {won[below].mean():.0%}"
    )
run.figure(
    viz.curves(
        centres,
        {f"majority@{HALF}, measured": real, "binomial bound (theory)": bound},
        title=title,
        xlabel=f"p, share of right chains (estimated on {HALF} other chains)",
        ylabel="accuracy of the vote (95% interval)",
    ),
    "plurality",
)

# %% [markdown]
# A model that is nearly always wrong has almost no problems in that range. Voting needs right
# chains that agree more often than any wrong ones do. Where one chain in fifty is right, there is
# nothing for a vote to find, however many chains are drawn.
#
# ## What it costs
#
# Tokens are the honest unit: N chains cost N times the tokens, and only the prompt is shared.

# %%
prompt_ids = run.model.tokenizer(texts, add_special_tokens=False).input_ids
prompt_tokens = np.array([len(ids) for ids in prompt_ids])
for n in (1, HALF):
    written = chains.num_tokens[:, :n]
    mflops = rollout_flops(run.model.cfg, prompt_tokens, written).mean() / 1e6
    print(f"N = {n:>2}: {written.sum(1).mean():7.1f} tokens and {mflops:8.1f} MFLOPs per problem")
print(f"early stopping: {stopped_tokens.mean():7.1f} tokens, {used.mean():.1f} chains on average")

# %%
run.finish()
