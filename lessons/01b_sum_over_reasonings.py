# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 01b The sum over reasonings
#
# **How probable is an answer that can be reached in many ways?**
#
# As probable as all the ways together. If $r$ is a chain of thought for the question $q$, then
# $$P(a \mid q) = \sum_r P(a \mid r, q)\,P(r \mid q).$$
# There are far too many chains to add them up. So we draw some of them, and count:
# $$P(a \mid q) \approx \frac1N \sum_{n=1}^{N} \mathbf 1[a_n = a], \qquad r_n \sim P(r \mid q).$$
# On 600 problems, summed over reasonings, `tiny` gives the right answer a probability of 0.78.
# Asked at once, it gives it 0.20.
#
# ![the right answer](../docs/results/01b_sum_over_reasonings/sum_over_reasonings.png)
#
# At the end of this lesson you can
#
# - read the answer out of a chain, whatever form it has;
# - compute the probability of a text under a model;
# - estimate a sum over all texts from samples, and bound it from below.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options("01b_sum_over_reasonings", problems=600, task="arithmetic:1-6", chains=32)

# %%
import jax
import numpy as np

from jaxreason.answers.extract import extract_answer
from jaxreason.answers.verify import grade
from jaxreason.course import lesson
from jaxreason.course.depths import by_depth
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.logprobs import text_logprobs
from jaxreason.decoding.sampling import Sampler
from jaxreason.tasks import load_problems

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# ## Reading the answer out of the text
#
# $P(a \mid r, q)$ is simple here: a chain states its answer, so it is 1 for that answer and 0 for
# all others. But the answer has to be found. The PyTorch course takes the first number after "="
# or "is". That reads 80 out of the first text below, loses the sign of the second and the comma of
# the third. Here the last *stated* answer wins. Answers are compared as values, never as parts of
# texts: "17" does not contain "7".

# %%
for text in (
    "We count 80 chickens. 80 - 25 = 55, then 55 + 40 = 95 chickens.",
    "The answer is -5.",
    "So she pays $1,234 in total.",
    "\\boxed{\\frac{3}{4}}",
    "18+29=47\n9*4=36\n47+36=83\n83-26=57\n#### 57",
):
    print(f"{extract_answer(text)!r:>8}  <-  {text!r}")

# %% [markdown]
# ## The sum in plain code
#
# One problem, and 256 chains at temperature 1. That is the only temperature at which samples follow
# the model's own distribution. Many chains are the same text. We count the texts, and ask the model
# for the probability of each.

# %%
toy = run.toy
QUESTION, GOLD = (
    "There are 18 books in the box of Amy. Amy picks 29. Amy buys 9 bags of 4. Amy loses 26. "
    "How many books are left?",
    "57",
)
asked, key = prompts.zero_shot_cot(QUESTION), jax.random.fold_in(run.key, 2)
drawn = complete(
    toy, key, [asked], sampler=Sampler(temperature=1.0), max_new_tokens=64, num_samples=256
)
texts, counts = np.unique(drawn.texts[0], return_counts=True)
probability = np.exp(text_logprobs(toy, [asked] * len(texts), list(texts)))  # P(r | q)
is_right = np.array([extract_answer(text) == GOLD for text in texts])
print(f"{len(texts)} texts among 256 chains, of probability {probability.sum():.3f} together")

# %% [markdown]
# The five most probable chains. A chain of probability p should be about 256 p of the samples.

# %%
for i in np.argsort(-probability)[:5]:
    line = " ".join(texts[i].split())
    expected = f"expected {256 * probability[i]:5.1f}, drawn {counts[i]:3}"
    print(f"{expected}  {'right' if is_right[i] else 'wrong'}  {line}")

# %% [markdown]
# Now the same sum in two ways. The *estimate* is the share of samples that are right. The *bound*
# adds up the probabilities of the right texts that were seen: it misses those that were not, so it
# is too small. The library's estimate is the mean of `grade`.

# %%
estimate = counts[is_right].sum() / counts.sum()
bound = probability[is_right].sum()
error = np.sqrt(estimate * (1 - estimate) / 256)
print(f"P(57 | q): estimate {estimate:.3f} +- {error:.3f}, at least {bound:.3f}")
print(
    f"P(57 | q) at once: {np.exp(text_logprobs(toy, [prompts.direct(QUESTION)], [' 57']))[0]:.3f}"
)
assert estimate == grade(drawn.texts, [int(GOLD)]).mean()
assert bound < estimate + 4 * error

# %% [markdown]
# ## On held-out problems
#
# With reasoning, we sample chains and grade them. At once, we need no samples: $P(a \mid q)$ is the
# product of the probabilities of the answer's tokens after the direct prompt. Both are
# probabilities of the *gold* answer, so their means are expected accuracies. A real model can word
# one answer in many ways (54, 54 apples, $54). The direct side then counts only the plainest, and
# is a lower bound.

# %%
problems = load_problems(run.task, "test", run.problems, seed=run.options.seed)
num_chains = min(8, run.chains) if run.options.quick else run.chains
sampled = run.complete(
    jax.random.fold_in(run.key, 1),
    [prompts.zero_shot_cot(p.question, run.tokenizer) for p in problems],
    sampler=Sampler(temperature=1.0),
    num_samples=num_chains,
    description=f"{num_chains} chains at T=1",
)
correct = grade(sampled.texts, [p.gold for p in problems])
run.note_failure(sampled, correct)
p_gold, tokens = {"cot": correct.mean(axis=1)}, {"cot": sampled.num_tokens.sum(1).mean()}
if all(p.answer is not None for p in problems):
    wordings = [
        prompts.direct_answer(p.answer, run.tokenizer).removeprefix(prompts.THE_ANSWER_IS)
        for p in problems
    ]
    at_once = [prompts.direct(p.question, run.tokenizer) for p in problems]
    p_gold["direct"] = np.exp(text_logprobs(run.model, at_once, wordings, "P(gold | q)"))
    tokens["direct"] = 0

# %% [markdown]
# The figure draws both sides by depth of the problem.

# %%
depth, groups = by_depth(problems, deepest=6)
unit = "operations" if run.task.startswith("arithmetic") else "depth"
labels = {
    "direct": "at once, " + ("one wording" if run.tokenizer else "exact"),
    "cot": f"summed over reasonings, {num_chains} samples",
}
series = {}
for name in [name for name in ("direct", "cot") if name in p_gold]:
    run.measure(f"probability_of_gold/{name}", p_gold[name], tokens[name])
    series[labels[name]] = [p_gold[name][rows] for rows in groups.values()]
run.curves(
    "sum_over_reasonings",
    list(groups),
    series,
    title="The gold answer has probability\n"
    + "\nand ".join(f"{p_gold[n].mean():#.2g} {labels[n].split(',')[0]}" for n in p_gold),
    xlabel=f"{unit} of the problem",
    ylabel="mean probability of the gold answer",
)

# %% [markdown]
# ## What surprised us
#
# - At temperature 1 a chain is right 78% of the time, and the greedy chain 94% of the time (lesson
#   01). Most errors of a sampled chain are draws that greedy decoding would not make.
# - A handful of texts hold most of the probability: this language is terse. A real model words the
#   same reasoning in so many ways that no text comes twice, and the bound is near 0.
#
# ## When it does not work
#
# - **The direct side is near 0 for a real model**: it words its answer in another way. Look at a
#   greedy direct answer, and compare.
# - **The bound is above the estimate**: texts were counted twice, or the chains were not drawn at
#   temperature 1, with no top-k or top-p.
# - **Both are near 0**: read some chains. Lesson 01 says what to look for.
#
# ## Exercises
#
# The exercises of lesson 01 belong to both halves: see `jaxreason check 01`.

# %%
run.finish()
