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
# Reasoning models such as o1 and DeepSeek-R1 write before they answer, and they answer better for
# it. This course rebuilds the methods behind them, from chain of thought to GRPO, in JAX, on models
# small enough to train and run on a laptop. Every lesson **measures** its claim on problems the
# model has never seen.
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
from jaxreason.course.options import read_options

# First of all, so that a misspelt option does not wait for the imports below.
GIVEN = read_options("00_introduction", problems=500, task="arithmetic:2-6", chains=16)

# %%
import time

import jax
import numpy as np

from jaxreason.answers import vote
from jaxreason.answers.verify import answer_ids, chosen, gold_ids, grade, read_answers
from jaxreason.course import lesson, viz
from jaxreason.decoding import prompts
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.evaluation.intervals import accuracy, paired_difference
from jaxreason.tasks import load_examples, load_problems

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# ## One problem, every method
#
# The model sees the same problem each time. Only the prompt differs, or what we do with the
# samples.

# %%
asked = "arithmetic:5" if run.task.startswith("arithmetic") else run.task  # a deep one
problem = load_problems(asked, "test", 1, seed=run.options.seed)[0]
worked = load_examples(run.task, 2, seed=run.options.seed)
examples = [(p.question, prompts.cot_answer(p.steps, p.answer, run.tokenizer)) for p in worked]


def few_shot_cot(question: str, tokenizer) -> str:
    return prompts.few_shot(question, examples, tokenizer)


SAMPLED = Sampler(temperature=0.7)
METHODS = {  # name: (prompt, sampler, chains)
    "direct answer": (prompts.direct, GREEDY, 1),
    "chain of thought": (prompts.zero_shot_cot, GREEDY, 1),
    "few-shot chain of thought": (few_shot_cot, GREEDY, 1),
    f"majority of {run.chains} chains": (prompts.zero_shot_cot, SAMPLED, run.chains),
}
if not all(p.steps for p in worked):  # a generator of puzzles has no worked solutions
    del METHODS["few-shot chain of thought"]


def ask(name: str, key: jax.Array, questions: list[str], description: str | None = None):
    """The completions of the questions by one of the methods."""
    prompt, sampler, num_samples = METHODS[name]
    return run.complete(
        key,
        [prompt(question, run.tokenizer) for question in questions],
        sampler=sampler,
        num_samples=num_samples,
        at_once=name == "direct answer",
        stop_strings=("\n\n",),
        description=description,
    )


# %% [markdown]
# The majority answer is the one that most chains end in. Here we print it with the tokens and the
# seconds that each method takes.

# %%
print(f"\nQ: {problem.question}\n")
print(f"{'method':<28}{'answer':>8}  {'right':<6}{'tokens':>7}{'seconds':>9}  (with compilation)")
for name in METHODS:
    began = time.perf_counter()
    written = ask(name, run.key, [problem.question])
    answers = read_answers(written.texts, [problem.gold])
    ids = answer_ids(answers)
    [answer] = chosen(answers, ids, vote.majority(ids))
    right = "yes" if grade([[answer or ""]], [problem.gold])[0, 0] else "no"
    seconds = time.perf_counter() - began
    print(f"{name:<28}{answer or '-':>8}  {right:<6}{written.num_tokens.sum():>7}{seconds:>9.1f}")
print(f"\nThe last chain, in full:\n{written.texts[0][-1]}\n\ngold: {problem.answer}")

# %% [markdown]
# ## One problem proves nothing
#
# So we ask again on many held-out problems, and report 95% intervals. The arithmetic problems have
# 2 to 6 operations. None of them is among the training problems, *by construction*: a hash of the
# numbers in a problem decides its split, whatever the wording.

# %%
problems = load_problems(run.task, "test", run.problems, seed=run.options.seed)
golds = [p.gold for p in problems]
correct, intervals = {}, {}
for name, (_, _, num_samples) in METHODS.items():
    key = jax.random.fold_in(run.key, num_samples)
    written = ask(name, key, [p.question for p in problems], description=name)
    hits = grade(written.texts, golds)
    if name == "chain of thought":
        run.note_failure(written, hits)
    ids = answer_ids(read_answers(written.texts, golds))
    correct[name] = np.asarray(vote.majority(ids)) == gold_ids(ids, hits)
    intervals[name] = accuracy(correct[name])
    tokens = written.num_tokens.sum(1).mean()
    run.results.measure(f"accuracy/{name.replace(' ', '_')}", intervals[name], tokens=tokens)

# %% [markdown]
# Both methods answered the same problems, so the claim is about the *paired* difference: for each
# problem, right or wrong with reasoning minus right or wrong at once.

# %%
names = list(METHODS)
at_once, thinking, by_vote = names[0], names[1], names[-1]
run.claim(
    "a chain of thought beats the direct answer",
    paired_difference(correct[thinking], correct[at_once]),
    at_least=0.0,
    excludes_zero=True,
)
run.figure(
    viz.bars(
        names,
        {"accuracy": list(intervals.values())},
        title=f"The same weights: {intervals[at_once].value:.0%} at once, "
        f"{intervals[thinking].value:.0%} after thinking, {intervals[by_vote].value:.0%} by vote",
        xlabel=f"method ({run.problems} held-out problems, {run.task})",
        ylabel="accuracy (95% Wilson interval)",
    ),
    "methods",
)

# %%
run.finish()
