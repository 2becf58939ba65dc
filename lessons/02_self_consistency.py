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
# **If a model is right in four chains out of five, can it be right more often than that?**
#
# Yes. Sample $N$ chains and take the most frequent answer (Wang et al. 2023):
# $$\hat a = \arg\max_a \sum_{n=1}^N \mathbf 1[a_n = a].$$
# Right chains agree, and wrong ones go wrong in different ways. On 500 problems that no model here
# was trained on, a vote of 32 chains is right 94% of the time. One chain is right 81% of the time.
#
# ![accuracy against the number of chains](../docs/results/02_self_consistency/accuracy_by_n.png)
#
# At the end of this lesson you can
#
# - draw $N$ chains from one prompt with `jax.vmap`, and count their votes;
# - say how many chains are worth their tokens, and stop when the vote is settled;
# - weight a vote by the probability of its chains, and say when that helps.
#
# `--model`, `--task` and `--chains` choose another model, other problems, and $N$. Claims that name
# a number of points are about the shipped models. Of any other model the lesson claims only the
# direction.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options(
    "02_self_consistency", problems=500, task="arithmetic:2-6", chains=64, halved=True
)

# %%
import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.answers import vote
from jaxreason.answers.verify import answer_ids, chosen, gold_ids, grade, read_answers
from jaxreason.course import lesson, viz
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler, sample
from jaxreason.evaluation.intervals import mean_interval, paired_difference
from jaxreason.models.decoder import forward
from jaxreason.tasks import load_problems

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# ## The algorithm in plain code
#
# Lesson 01 wrote a chain token by token in a Python loop. Here is the same loop for JAX. A compiled
# function cannot grow a list, so the chain is an array of fixed length that is filled from left to
# right. A random key is an argument, and `fold_in` makes another key of it for every token.

# %%
toy, sampler, LIMIT = run.toy, Sampler(temperature=0.7), 64


def draw_chain(key: jax.Array, prompt: jax.Array) -> jax.Array:
    """``[P + LIMIT]`` token ids: the prompt and what follows it."""

    def draw_token(t, tokens):
        positions = jnp.arange(len(tokens))[None]
        logits, _ = forward(toy.params, tokens[None], positions, cfg=toy.cfg)
        last = logits[0, len(prompt) + t - 1]  # after the last token that is known
        token = sample(jax.random.fold_in(key, t), last, sampler)
        return tokens.at[len(prompt) + t].set(token)

    return jax.lax.fori_loop(0, LIMIT, draw_token, jnp.pad(prompt, (0, LIMIT)))


# %% [markdown]
# `jax.vmap` turns a function of one key into a function of many: `in_axes=(0, None)` says that
# every chain has its own key and all share the prompt. Nothing else has to change.

# %%
QUESTION, GOLD = (
    "Dan starts with 54 toys. Dan gets 6 boxes with 4 each. He loses 6 packs of 7 toys. "
    "He spends 7 toys. Then Dan earns 10 more. How many toys does Dan have in total?",
    39,
)
prompt = prompts.zero_shot_cot(QUESTION)
prompt_ids = jnp.array(toy.tokenizer(prompt, add_special_tokens=False).input_ids)
keys = jax.random.split(jax.random.fold_in(run.key, 0), 8)
drawn = jax.jit(jax.vmap(draw_chain, in_axes=(0, None)))(keys, prompt_ids)  # [8, P + LIMIT]

ended = toy.tokenizer.eos_token_id
texts = []
for ids in np.asarray(drawn[:, len(prompt_ids) :]).tolist():
    texts.append(toy.tokenizer.decode(ids[: ids.index(ended)] if ended in ids else ids))
print("\n---\n".join(texts[:2]))

# %% [markdown]
# The vote counts equal answers. A chain without an answer casts no vote. If two answers are equally
# frequent, the one that came first wins.


# %%
def plain_vote(answers: list[str | None]) -> str | None:
    counts = {}
    for answer in answers:
        if answer is not None:
            counts[answer] = counts.get(answer, 0) + 1
    print(f"votes: {counts}")
    return max(counts, key=counts.get) if counts else None


(plain_answers,) = read_answers([texts], [GOLD])
winner = plain_vote(plain_answers)
print(f"winner: {winner}")

# %% [markdown]
# The library gives the same, only faster. It reads the prompt once and keeps its keys and values
# for all chains. A finished chain makes room for the next one, and many problems run together. The
# texts are the same because every chain draws from a key of its own: what chain 7 says does not
# depend on what else is in the batch.

# %%
fast = complete(toy, run.key, [prompt], sampler=sampler, max_new_tokens=LIMIT, num_samples=8)
assert fast.texts[0] == texts
ids = answer_ids([plain_answers])  # [1, 8]: equal values such as 0.5 and 1/2 share an id
assert chosen([plain_answers], ids, vote.majority(ids)) == [winner]

# %% [markdown]
# ## The same on held-out problems
#
# Now $N$ chains for every problem, and one greedy chain to compare with.

# %%
N, TEMPERATURE = run.chains, 0.7
HALF = N // 2
problems = load_problems(run.task, "test", run.problems, seed=run.options.seed)
texts = [prompts.zero_shot_cot(p.question, run.tokenizer) for p in problems]
golds = [p.gold for p in problems]

greedy = run.complete(run.key, texts, sampler=GREEDY, description="greedy")
chains = run.complete(
    run.key,
    texts,
    sampler=Sampler(TEMPERATURE),
    num_samples=N,
    description=f"{N} chains at T={TEMPERATURE}",
)

# %% [markdown]
# Grading turns texts into arrays: which chains are right, and which of them give the same answer.

# %%
greedy_correct = grade(greedy.texts, golds)[:, 0]  # [G]
correct = grade(chains.texts, golds)  # [G, N]
answers = read_answers(chains.texts, golds)
ids = answer_ids(answers)  # [G, N], -1 is no answer
gold = gold_ids(ids, correct)  # [G], the id of the right answer

single = correct.mean(1)  # [G]: the chance that one sampled chain is right
run.measure("accuracy/greedy", greedy_correct, tokens=greedy.num_tokens.mean())
run.measure("accuracy/pass@1", single, tokens=chains.num_tokens.mean())
if not run.as_measured:  # the shipped models' chains nearly always end, with an answer
    run.measure("finished", chains.finished.mean(1))
    run.measure("answered", (ids >= 0).mean(1))
run.note_failure(chains, correct)

# %% [markdown]
# ## One vote
#
# Here is a problem that one chain gets wrong more often than not. The right answer does not need
# half of the votes. It only needs more votes than each wrong answer. A chain can slip in any line
# and in many ways, so wrong chains share their votes among several answers.

# %%
hard = int(np.abs(single - 0.45).argmin())
values, counts = np.unique([a or "none" for a in answers[hard]], return_counts=True)
top = np.argsort(-counts)[:8]
is_right = grade([values[top]], [golds[hard]])[0]
print(problems[hard].question)
run.figure(
    viz.shares(
        values[top],
        counts[top] / N,
        is_right,
        title=f"{single[hard]:.0%} of the chains agree on the right answer,\n"
        f"{max(counts[top][~is_right], default=0) / N:.0%} on the most frequent wrong one",
        xlabel=f"share of {N} chains (green: the right answer)",
    ),
    "one_vote",
)

# %% [markdown]
# ## How many chains?
#
# For every n we cut the N chains into N/n disjoint sets. Each set votes. A problem's score is the
# mean over its sets, so that small n do not depend on one lucky draw. Two chains cannot help: if
# they disagree, the vote is a coin toss.
#
# The weighted vote counts a chain by $w_n = \exp(\frac1K \sum_k \log p(t_k))$, the model's own
# probability of it, normalised by its length $K$. The PyTorch course takes this from scores that
# the sampling temperature has changed. It then weighs chains by a distribution that is not the
# model's.

# %%
SIZES = [2**k for k in range(N.bit_length())]  # 1, 2, 4, ..., N
weights = np.asarray(vote.logprob_weights(chains.logprobs, chains.num_tokens))


def voted(n: int, weights: np.ndarray | None = None) -> np.ndarray:
    """`[G]` share of the disjoint sets of n chains whose vote is right."""
    blocks = ids.reshape(len(ids), -1, n)
    winners = vote.majority(blocks, None if weights is None else weights.reshape(blocks.shape))
    return (np.asarray(winners) == gold[:, None]).mean(1)


majority = {n: voted(n) for n in SIZES}
weighted = {n: voted(n, weights) for n in SIZES}
any_right = {n: np.asarray(vote.pass_at_k(correct.sum(1), N, n)) for n in SIZES}

# %% [markdown]
# The claims are about votes of N/2 chains: each half votes, and the score is the mean of both.

# %%
for n in SIZES[1:]:
    tokens = n * chains.num_tokens.mean()
    run.measure(f"accuracy/majority@{n}", majority[n], tokens)
    run.measure(f"accuracy/weighted@{n}", weighted[n], tokens)
    run.measure(f"accuracy/pass@{n}", any_right[n], tokens)
points = (12, 3) if N == 64 else (0, 0)  # measured at this N
run.claim_better(
    f"majority@{HALF} beats one sampled chain", majority[HALF], single, points=points[0]
)
run.claim_better(
    f"majority@{HALF} beats the greedy chain", majority[HALF], greedy_correct, points=points[1]
)
run.measure(
    f"difference/weighted@{HALF}-majority@{HALF}",
    paired_difference(weighted[HALF], majority[HALF]),
)

# %% [markdown]
# The figure adds pass@N, the chance that any of N chains is right. No vote can do better. Tokens
# are the honest unit of cost: N chains cost N times the tokens of one, and only the prompt is
# shared.

# %%
run.curves(
    "accuracy_by_n",
    SIZES,
    {
        "majority": majority.values(),
        "weighted by log-probability": weighted.values(),
        "any chain right (pass@N)": any_right.values(),
        "greedy, one chain": [greedy_correct] * len(SIZES),
    },
    title=f"Voting lifts one chain's {single.mean():.0%} "
    f"to {majority[HALF].mean():.0%} at N = {HALF}",
    xlabel="N, sampled chains per problem (temperature 0.7)",
    log2=True,
)

# %% [markdown]
# ## Stop when the vote is settled
#
# Adaptive consistency (Aggarwal et al. 2023) draws chains one by one. It stops as soon as the
# leader would stay ahead of the runner-up with probability 0.95 under a Beta posterior. Chains do
# not depend on each other, so the chains it would have drawn are the first ones of those above, and
# we can count exactly how many tokens it saves.

# %%
first = ids[:, :HALF]
used = np.asarray(vote.early_stop(first, threshold=0.95))  # [G] chains drawn
drawn = np.arange(HALF) < used[:, None]
stopped = np.asarray(vote.majority(first, jnp.asarray(drawn))) == gold
full = np.asarray(vote.majority(first)) == gold
stopped_tokens = (chains.num_tokens[:, :HALF] * drawn).sum(1)
full_tokens = chains.num_tokens[:, :HALF].sum(1)
saved = mean_interval(1 - stopped_tokens / full_tokens)

run.measure(f"accuracy/early_stop@{HALF}", stopped, stopped_tokens.mean())
run.measure(f"accuracy/first_{HALF}", full, full_tokens.mean())
lost = paired_difference(full, stopped)
run.claim("early stopping loses at most 1 point of accuracy", lost, at_most=0.01, worst=full.mean())
if run.as_measured:
    run.claim("early stopping saves at least 40% of the tokens", saved, at_least=0.4)
else:  # where chains never agree, nothing is settled early
    run.claim("early stopping saves tokens", saved, at_least=0.0, excludes_zero=True)

# %% [markdown]
# ## What surprised us
#
# - Weighting helps small votes and not large ones. It lifts two chains from 80% to 87% and four
#   from 88% to 90%. At 32 chains it changes nothing: 0.0 points [-0.4, +0.4].
# - Early stopping is nearly free. It draws 390 tokens a problem in place of 1,244, and loses
#   nothing.
#
# ## When it does not work
#
# Look at these, in this order:
#
# - **Chains without an answer** cast no vote. If many are cut off, raise `--max-new-tokens`.
# - **pass@N near the accuracy of one chain**: the chains are nearly the same. Raise the
#   temperature.
# - **pass@N near zero**: there is no right answer to find. Try an easier task or a larger model.
# - **A wrong answer with many votes**: the model makes the same mistake again and again. More
#   chains make the vote surer of it. Lessons 04 and 05 judge chains by more than their number.
#
# ## Exercises
#
# `jaxreason check 02` writes `exercises_02.py` for you to fill in, and checks your answers:
#
# 1. `majority`: the vote, from a list of answers.
# 2. `weighted_vote`: the vote weighted by probability, with a mask for tokens behind the end.
# 3. `accuracy_of_votes`: votes of n chains among N, for many problems at once.
# 4. `PLURALITY`: predict how often a vote wins if one chain is right with p = 0.4.
# 5. `WRONG_ANSWERS`: break it. When does voting make things worse?
# 6. `least_sure_group`: how sure a chain is where it is least sure.
# 7. `acceptance`: whether a likelier chain replaces the one before.
#
# Exercises 4 and 5 belong to lesson 02b, 6 to 02c and 7 to 02d.

# %%
run.finish()
