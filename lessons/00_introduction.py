# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 00 Introduction
#
# Reasoning models such as o1 and DeepSeek-R1 write before they answer, and they are better for it. This course rebuilds
# what is behind them, from chain of thought to GRPO, in JAX, on models small enough to train and run on a laptop. Every
# lesson **measures** its claim on problems the model has never seen.
#
# | Lesson | Question |
# |---|---|
# | 01 chain of thought | Why does writing steps help, and when does it not? |
# | 02 self-consistency | What do many chains know that one does not? |
# | 03-06 search and verification | tree of thoughts, process reward models, best-of-N, MCTS |
# | 07-09 training | budget forcing, GRPO, distillation |
# | 10 test-time compute | Think longer, or use a larger model? |
#
# First, where are we running?

# %%
import time

import jax
import numpy as np

from jaxreason import lesson, prompts, viz, vote
from jaxreason.evaluate import accuracy, paired_difference
from jaxreason.rollout import complete
from jaxreason.sampling import GREEDY, Sampler
from jaxreason.tasks import arithmetic
from jaxreason.verify import answer_ids, extract_answer, gold_ids, grade

run = lesson.start("00_introduction", problems=500)

# %% [markdown]
# ## One problem, every method
#
# The model sees the same problem each time. Only the prompt, or what is done with its samples, differs.

# %%
CHAINS, MAX_NEW_TOKENS = 16, 96
problem = arithmetic.problems("test", 1, seed=run.options.seed, operations=(5,))[0]
shown = arithmetic.problems("train", 2, seed=run.options.seed, operations=(2, 3))
examples = [(p.question, prompts.cot_answer(arithmetic.solve(p), p.answer)) for p in shown]
METHODS = {  # name: (prompt, sampler, chains)
    "direct answer": (prompts.direct, GREEDY, 1),
    "chain of thought": (prompts.zero_shot_cot, GREEDY, 1),
    "few-shot chain of thought": (lambda q: prompts.few_shot(q, examples), GREEDY, 1),
    f"majority of {CHAINS} chains": (prompts.zero_shot_cot, Sampler(temperature=0.7), CHAINS),
}

print(f"\nQ: {problem.question}\n")
print(f"{'method':<28}{'answer':>8}  {'right':<6}{'tokens':>7}{'seconds':>9}  (with compilation)")
for name, (prompt, sampler, n) in METHODS.items():
    began = time.perf_counter()
    written = complete(
        run.model, [prompt(problem.question)], run.key, sampler=sampler, max_new_tokens=MAX_NEW_TOKENS, num_samples=n,
        stop_strings=("\n\n",),
    )  # fmt: skip
    answers = [extract_answer(text) for text in written.texts[0]]
    winner = int(vote.majority(answer_ids([answers]))[0])
    answer = answers[int(np.flatnonzero(answer_ids([answers])[0] == winner)[0])]
    right = "yes" if grade([[answer or ""]], [problem.answer])[0, 0] else "no"
    seconds = time.perf_counter() - began
    print(f"{name:<28}{answer or '-':>8}  {right:<6}{written.num_tokens.sum():>7}{seconds:>9.1f}")
print(f"\nThe last chain, in full:\n{written.texts[0][-1]}\n\ngold: {problem.answer}")

# %% [markdown]
# ## One problem proves nothing
#
# So the same again on held-out problems of 2 to 6 operations, with 95% intervals. The test problems are disjoint from the
# training problems *by construction*: a hash of the numbers decides the split, whatever the wording.

# %%
problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
golds = [p.answer for p in problems]
correct, intervals = {}, {}
for name, (prompt, sampler, n) in METHODS.items():
    written = complete(
        run.model, [prompt(p.question) for p in problems], jax.random.fold_in(run.key, n), sampler=sampler,
        max_new_tokens=MAX_NEW_TOKENS, num_samples=n, stop_strings=("\n\n",), description=name,
    )  # fmt: skip
    hits = grade(written.texts, golds)
    ids = answer_ids([[extract_answer(text) for text in row] for row in written.texts])
    correct[name] = np.asarray(vote.majority(ids)) == gold_ids(ids, hits)
    intervals[name] = accuracy(correct[name])
    run.results.measure(f"accuracy/{name.replace(' ', '_')}", intervals[name], tokens=written.num_tokens.sum(1).mean())

names = list(METHODS)
run.claim("a chain of thought beats the direct answer", paired_difference(correct[names[1]], correct[names[0]]),
          at_least=0.0, excludes_zero=True)  # fmt: skip
run.figure(
    viz.bars(
        names, {"accuracy": list(intervals.values())},
        title=f"The same weights: {intervals[names[0]].value:.0%} at once, {intervals[names[1]].value:.0%} after thinking, "
        f"{intervals[names[-1]].value:.0%} by vote",
        xlabel=f"method ({run.problems} held-out problems of 2 to 6 operations)", ylabel="accuracy (95% Wilson interval)",
    ),
    "methods",
)  # fmt: skip

# %%
run.finish()
