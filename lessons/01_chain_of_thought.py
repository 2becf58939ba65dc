# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 01 Chain of thought
#
# A transformer spends the same computation on every token: a model of three layers makes three
# steps in a row, and then it has to answer. A question that needs five sums, each of the result of
# the one before, asks for more. Written reasoning lifts the limit, because the model reads again
# every line it writes: the text is its working memory, and the number of serial steps grows with
# the number of tokens.
#
# This lesson asks **one set of weights** the same held-out questions in four ways and measures
#
# 1. how accuracy falls with the number of operations when the model answers at once, and when it
#   reasons first;
# 2. that the *prompt* decides which of the two happens, even when only its examples differ;
# 3. both sides of $P(a \mid q) = \sum_r P(a \mid r, q)\,P(r \mid q)$;
# 4. where reasoning does not help, and what it costs.
#
# By default the model is `tiny`, on word problems made here. `--model` takes a real model and
# `--task` a published set of problems: `--task gsm8k` (Cobbe et al. 2021), `math500` or any family
# of reasoning-gym such as `gym:chain_sum`. Claims with numbers in them are about the shipped
# models. Of any other model the lesson claims only the direction.

# %%
from jaxreason.course.options import read_options

# First of all, so that a misspelt option does not wait for the imports below.
GIVEN = read_options("01_chain_of_thought", problems=600, task="arithmetic:1-6", chains=32)

# %%
import jax
import numpy as np

from jaxreason.answers.extract import extract_answer
from jaxreason.answers.verify import grade, read_answers
from jaxreason.course import lesson, viz
from jaxreason.course.chains import REASONED_TOKENS
from jaxreason.decoding import prompts
from jaxreason.decoding.logprobs import text_logprobs
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.errors import InputError
from jaxreason.evaluation.intervals import accuracy, mean_interval, paired_difference
from jaxreason.tasks import load_examples, load_problems

run = lesson.start(GIVEN, cpu_devices=2)
problems = load_problems(run.task, "test", run.problems, seed=run.options.seed)
questions, golds = [p.question for p in problems], [p.gold for p in problems]

# %% [markdown]
# A problem's *depth* is the number of steps that follow from one another: operations, lines of the
# worked solution (GSM8K) or, for want of better, the level of difficulty (MATH-500). Where a task
# gives no depth, all problems form one group.

# %%
DEEPEST = 6  # or deeper
depth = np.array([min(p.depth or 0, DEEPEST) for p in problems])
counts = {k: int((depth == k).sum()) for k in sorted(set(depth.tolist()))}
DEPTHS = [k for k, count in counts.items() if count > 1]  # one problem has no interval
if not DEPTHS:
    raise InputError(f"--problems is {run.problems}: too few, no depth occurs twice")
FROM = min(4, DEPTHS[-1])  # the deep problems begin here
shallow, deep = depth == DEPTHS[0], depth >= FROM
unit = "operations" if run.task.startswith("arithmetic") else "depth"
at_deep = f" at {FROM}+" if len(DEPTHS) > 1 else ""

# %% [markdown]
# ## Four prompts for the same weights
#
# - **direct**: `Answer:` after the question;
# - **zero-shot CoT**: "Let's think step by step." (Kojima et al. 2022);
# - **few-shot**: two worked examples and no instruction (Brown et al. 2020). If the examples answer
#   at once, so should the model; if they reason (Wei et al. 2022), so should it.
#
# A chat model gets the same four through its chat template: the examples are earlier turns of the
# conversation. An instruct model likes to explain whatever it is told, so we begin its direct
# answer for it: `The answer is`.
#
# The 8-shot results of Wei et al. are often credited to the sentence "Let's think step by step".
# They are two different prompts from two different papers; we run both here.

# %%
examples = load_examples(run.task, 2, seed=run.options.seed)
direct_examples = [(p.question, prompts.direct_answer(p.answer, run.tokenizer)) for p in examples]
cot_examples = [
    (p.question, prompts.cot_answer(p.steps, p.answer, run.tokenizer)) for p in examples
]

PROMPTS = {
    "direct": [prompts.direct(q, run.tokenizer) for q in questions],
    "cot": [prompts.zero_shot_cot(q, run.tokenizer) for q in questions],
}
if all(p.answer is not None for p in examples):
    PROMPTS["few_shot_direct"] = [
        prompts.few_shot(q, direct_examples, run.tokenizer) for q in questions
    ]
if all(p.steps for p in examples):  # a generator of puzzles has answers and no worked solutions
    PROMPTS["few_shot_cot"] = [prompts.few_shot(q, cot_examples, run.tokenizer) for q in questions]
print(list(PROMPTS.values())[-1][0])

# %% [markdown]
# That is one of the prompts as the model sees it. All four are decoded greedily, from the same
# weights.

# %%
completions = {
    name: run.complete(
        run.key,
        texts,
        sampler=GREEDY,
        at_once=name.endswith("direct"),
        stop_strings=("\n\n",),
        description=name,
    )
    for name, texts in PROMPTS.items()
}
correct = {name: grade(c.texts, golds)[:, 0] for name, c in completions.items()}
run.note_failure(completions["cot"], correct["cot"])

shown = int(np.abs(depth - 5).argmin())
print(f"\n{questions[shown]}  (gold: {problems[shown].answer})")
for name, c in completions.items():
    print(f"\n--- {name}\n{c.texts[shown][0].strip()}")

# %% [markdown]
# ## Reading the answer out of the text
#
# The grader has to find *the* answer. The original course takes the first number after "=" or "is".
# That reads 80 out of the first text below, loses the sign of the second and the comma of the
# third. Here the last *stated* answer wins, and equality is equality of values, never of
# substrings: "17" is not "7".

# %%
for text in (
    "We count 80 chickens. 80 - 25 = 55, then 55 + 40 = 95 chickens.",
    "The answer is -5.",
    "So she pays $1,234 in total.",
    "\\boxed{\\frac{3}{4}}",
    completions["cot"].texts[shown][0],
):
    print(f"{extract_answer(text)!r:>8}  <-  {text!r}")

# %% [markdown]
# ## Accuracy by depth

# %%
by_depth = {name: [accuracy(c[depth == k]) for k in DEPTHS] for name, c in correct.items()}
for name, c in correct.items():
    run.results.measure(f"accuracy/{name}", accuracy(c), tokens=completions[name].num_tokens.mean())
    for k, interval in zip(DEPTHS, by_depth[name], strict=True):
        run.results.measure(
            f"accuracy/{name}/{unit}={k}",
            interval,
            tokens=completions[name].num_tokens[depth == k].mean(),
        )

# %% [markdown]
# The claims compare the same problems with and without reasoning: the shallow ones, and the deep
# ones.

# %%
gap = {
    "shallow": paired_difference(correct["cot"][shallow], correct["direct"][shallow]),
    "deep": paired_difference(correct["cot"][deep], correct["direct"][deep]),
}
if run.as_measured:
    run.claim(
        "direct answers are right on >= 75% of one-operation problems",
        accuracy(correct["direct"][shallow]),
        at_least=0.75,
    )
    run.claim(
        "direct answers are right on <= 25% of problems of 4+",
        accuracy(correct["direct"][deep]),
        at_most=0.25,
    )
    run.claim(
        "CoT is right on >= 80% of problems of 4+ operations",
        accuracy(correct["cot"][deep]),
        at_least=0.80,
    )
    run.claim(
        "CoT beats direct by >= 50 points at 4+ operations",
        gap["deep"],
        at_least=0.5,
        excludes_zero=True,
    )
else:
    run.claim(f"CoT beats direct answers{at_deep}", gap["deep"], at_least=0.0, excludes_zero=True)
if "few_shot_cot" in correct:
    run.claim(
        "with the same weights, examples that reason make it reason: "
        f"few-shot CoT beats few-shot direct{at_deep}",
        paired_difference(correct["few_shot_cot"][deep], correct["few_shot_direct"][deep]),
        at_least=0.0,
        excludes_zero=True,
    )

# %% [markdown]
# The figure shows the same by depth.

# %%
if run.as_measured:
    direct_falls = [by_depth["direct"][i].value for i in (0, -1)]
    title = (
        f"Thinking is serial computation: without it accuracy falls\nfrom {direct_falls[0]:.0%} "
        f"to {direct_falls[1]:.0%} in 6 operations, with it to {by_depth['cot'][-1].value:.0%}"
    )
else:
    at_once, reasoned = accuracy(correct["direct"]).value, accuracy(correct["cot"]).value
    title = f"{run.model.name}: {at_once:.0%} right at once, {reasoned:.0%} after reasoning"

run.figure(
    viz.bars(
        [f"{k} (n={(depth == k).sum()})" for k in DEPTHS],
        {name.replace("_", " "): values for name, values in by_depth.items()},
        title=title,
        xlabel=f"{unit} of the problem, at most {DEEPEST} (greedy)",
        ylabel="accuracy (95% Wilson interval)",
    ),
    f"accuracy_by_{unit}",
)

# %% [markdown]
# ## Finished, answered, right
#
# Accuracy lumps three things together: whether a chain came to its end, whether an answer can be
# read in it, and whether that answer is right. The shipped models nearly always finish. A real
# model of a hundred million parameters writes fluent steps, loses the thread or repeats itself, and
# the numbers it ends with are seldom right on GSM8K. Prompts do not mend that; size and training
# do. Where accuracy is near zero, the claims above cannot be seen, and the lesson says so instead
# of hiding them.
#
# The number of tokens tells a weak model from a weak prompt. A chain of fewer than 20 tokens has
# not reasoned: the prompt made the model answer at once. This lesson once told chat models: "Let's
# think step by step. At the end, write "The answer is" and the answer." Qwen2.5-Coder-0.5B then
# wrote the last sentence alone: 29 tokens a problem, 3% of GSM8K right. Without that demand it
# writes 274 tokens and gets 28% right (docs/results_qwen/prompts).

# %%
print(f"{'prompt':<18}{'finished':>9}{'answered':>10}{'right':>9}{'tokens':>9}")
for name, c in completions.items():
    answered = np.array([row[0] is not None for row in read_answers(c.texts, golds)])
    ended, right = c.finished[:, 0], correct[name]
    shares = f"{ended.mean():>9.1%}{answered.mean():>10.1%}{right.mean():>9.1%}"
    print(f"{name:<18}{shares}{c.num_tokens.mean():>9.1f}")
    if not run.as_measured:
        run.results.measure(f"finished/{name}", accuracy(ended))
        run.results.measure(f"answered/{name}", accuracy(answered))
        short = c.num_tokens[:, 0] < REASONED_TOKENS
        run.results.measure(f"under_{REASONED_TOKENS}_tokens/{name}", accuracy(short))

# %% [markdown]
# ## The sum over reasonings
#
# Chain of thought makes the answer's probability a sum over reasonings,
# $$P_\text{CoT}(a \mid q) = \sum_r P(a \mid r, q)\,P(r \mid q)
# \approx \frac1N \sum_{n=1}^{N} \mathbf 1[a_n = a], \qquad r_n \sim P(r \mid q).$$
# We estimate it by sampling chains **at temperature 1**, the only temperature at which samples
# follow the model's own distribution. The direct side needs no sampling: $P(a \mid q)$ is the
# product of the answer's token probabilities after the direct prompt. Both are probabilities of the
# *gold* answer, so their means are expected accuracies. A real model can word the same answer in
# many ways (54, 54 apples, $54). The direct side then counts only the plainest, and is a lower
# bound.

# %%
num_chains = min(8, run.chains) if run.options.quick else run.chains
sampled = run.complete(
    jax.random.fold_in(run.key, 1),
    PROMPTS["cot"],
    sampler=Sampler(temperature=1.0),
    num_samples=num_chains,
    description=f"{num_chains} chains at T=1",
)
p_gold = {"cot": grade(sampled.texts, golds).mean(axis=1)}
if all(p.answer is not None for p in problems):
    wordings = [
        prompts.direct_answer(p.answer, run.tokenizer).removeprefix(prompts.THE_ANSWER_IS)
        for p in problems
    ]
    at_once = np.exp(text_logprobs(run.model, PROMPTS["direct"], wordings, "P(gold | q)"))
    p_gold = {"direct": at_once, **p_gold}
tokens = {"direct": 0, "cot": sampled.num_tokens.sum(1).mean()}
for name, p in p_gold.items():
    run.results.measure(f"probability_of_gold/{name}", mean_interval(p), tokens=tokens[name])

# %% [markdown]
# The figure draws both sides by depth.

# %%
exact = "one wording" if run.tokenizer else "exact"
legend = {"direct": f"P(gold | q), {exact}", "cot": f"sum over reasonings, {num_chains} samples"}
how = {"direct": "at once", "cot": "summed over reasonings"}
series, found = {}, []
for name, p in p_gold.items():
    series[legend[name]] = [mean_interval(p[depth == k]) for k in DEPTHS]
    found.append(f"{p[deep].mean():.2g} {how[name]}")
which = f" ({unit}: {FROM} or more)" if len(DEPTHS) > 1 else ""
run.figure(
    viz.curves(
        DEPTHS,
        series,
        title="The gold answer has probability " + "\nand ".join(found) + which,
        xlabel=f"{unit} of the problem",
        ylabel="mean probability of the gold answer",
    ),
    "sum_over_reasonings",
)

# %% [markdown]
# ## Where it does not help
#
# At one operation there is nothing serial to do: the direct answer is already right most of the
# time, and the chain says the same with more tokens. The claim below is about the *size* of what
# reasoning buys there, compared with 4+ operations.

# %%
gain = gap["shallow"]
cot_tokens, direct_tokens = (completions[name].num_tokens for name in ("cot", "direct"))
extra_tokens = cot_tokens[shallow].mean() / direct_tokens[shallow].mean()
print(
    f"{unit} {DEPTHS[0]}: CoT - direct = {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] "
    f"for {extra_tokens:.1f} times the tokens"
)
names = ("one_operation", "four_or_more") if run.as_measured else ("shallow", "deep")
for name, depths, rows in zip(names, gap, (shallow, deep), strict=True):
    run.results.measure(f"gain/{name}", gap[depths], tokens=cot_tokens[rows].mean())
if run.as_measured:
    run.claim("at one operation CoT buys at most 25 points", gap["shallow"], at_most=0.25)

# %%
run.finish()
