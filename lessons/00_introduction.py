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
# **Why do language models fail at sums that they can do step by step?**
#
# Because an instant answer leaves no room to work. A transformer spends the same few layers on
# every token, and then it has to commit itself. If it writes its steps down, every step gets layers
# of its own. Reasoning models such as o1 and DeepSeek-R1 are built on this.
#
# `tiny`, a model of 377,280 parameters that ships with this course, shows it. On 500 word problems
# it is right 7% of the time at once, and 91% of the time if it may think first. The weights are the
# same. If 16 chains of thought vote, it is right 93% of the time.
#
# ![accuracy of four methods](../docs/results/00_introduction/methods.png)
#
# At the end of this lesson you can
#
# - ask one model the same question in four ways, and say what each of them costs;
# - say why one solved problem proves nothing, and what an interval adds;
# - find your way through the course.
#
# You know PyTorch and no JAX? Read `00b_jax_primer` next: eleven idioms of JAX, each in a few
# lines.
#
# ## The road
#
# Each lesson shows its algorithm in plain code. It then **measures** it on problems that the model
# has never seen, and ends with exercises.
#
# | Lesson | Question |
# |---|---|
# | 01 chain of thought | Why does writing steps help, and when does it not? |
# | 02 self-consistency | What do many chains know that one does not? |
# | 03 tree of thoughts | Is it better to search for the next line than to write on? |
# | 04 process reward models | Can a model tell which line is wrong? |
# | 05 best-of-N | Which of N chains should we believe? |
# | 06 Monte Carlo tree search | Where should the next token be spent? |
# | 07 budget forcing | Does a model get better if it has to think longer? |
# | 08 GRPO | Can it learn to reason from nothing but right and wrong? |
# | 09 distillation | Or is it better to copy a teacher? |
# | 10 test-time compute | Think longer, or use a larger model? |
#
# First, where are we running? The next two cells read the options and print the model and the
# device. `jaxreason lesson 00 --help` lists all options, such as `--model` and `--problems`.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options("00_introduction", problems=500, task="arithmetic:2-6", chains=16)

# %% [markdown]
# Importing JAX takes a few seconds. It uses a GPU or TPU if it finds one, and the CPU otherwise.

# %%
import time
from collections import Counter

import jax
import numpy as np

from jaxreason.answers import vote
from jaxreason.answers.verify import answer_ids, chosen, gold_ids, grade, read_answers
from jaxreason.course import lesson
from jaxreason.decoding import prompts
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.tasks import load_examples, load_problems

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# ## Four ways to ask
#
# A method is a prompt, a way to choose each token, and a number of chains. *Greedy* always takes
# the most probable token. *Sampling* draws tokens by their probabilities, so that chains differ.

# %%
worked = load_examples(run.task, 2, seed=run.options.seed)
examples = [(p.question, prompts.cot_answer(p.steps, p.answer, run.tokenizer)) for p in worked]


def few_shot_cot(question: str, tokenizer) -> str:
    return prompts.few_shot(question, examples, tokenizer)


METHODS = {  # name: (prompt, sampler, chains)
    "direct answer": (prompts.direct, GREEDY, 1),
    "chain of thought": (prompts.zero_shot_cot, GREEDY, 1),
    "few-shot chain of thought": (few_shot_cot, GREEDY, 1),
    f"majority of {run.chains} chains": (
        prompts.zero_shot_cot,
        Sampler(temperature=0.7),
        run.chains,
    ),
}
if not all(p.steps for p in worked):  # a generator of puzzles has no worked solutions
    del METHODS["few-shot chain of thought"]

# %% [markdown]
# Here are the prompts as the model sees them. What comes behind them is up to the model.

# %%
asked = "arithmetic:5" if run.task.startswith("arithmetic") else run.task  # a deep one
problem = load_problems(asked, "test", 1, seed=run.options.seed)[0]
for name, (prompt, _, _) in METHODS.items():
    print(f"--- {name}\n{prompt(problem.question, run.tokenizer)}\n")

# %% [markdown]
# `run.complete` is the library's decoder with the options of this lesson: texts in, texts out.
# Lesson 01 writes that loop by hand.


# %%
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
# ## One problem, every method
#
# The majority answer is the one that most chains end in. In plain code it is a count of the answers
# that can be read in the chains. The seconds include compilation: JAX compiles a program the first
# time it runs, so the first lines look slow.


# %%
def most_frequent(answers: list[str | None]) -> str | None:
    """The answer of most chains; a chain with no answer casts no vote."""
    counts = Counter(answer for answer in answers if answer is not None)
    return counts.most_common(1)[0][0] if counts else None


print(f"Q: {problem.question}\n")
print(f"{'method':<28}{'answer':>8}  {'right':<6}{'tokens':>7}{'seconds':>9}")
for name in METHODS:
    began = time.perf_counter()
    written = ask(name, run.key, [problem.question])
    [answers] = read_answers(written.texts, [problem.gold])
    answer = most_frequent(answers)
    right = "yes" if grade([[answer or ""]], [problem.gold])[0, 0] else "no"
    seconds = time.perf_counter() - began
    print(f"{name:<28}{answer or '-':>8}  {right:<6}{written.num_tokens.sum():>7}{seconds:>9.1f}")

# %% [markdown]
# The last line was a vote. Here are its answers with their counts, and one of its chains. The
# library votes on arrays of numbers, where equal values share a number, and finds the same winner.

# %%
print(f"votes: {Counter(answers).most_common()}, gold: {problem.answer}")
print(f"the last chain, in full:\n{written.texts[0][-1]}")

ids = answer_ids([answers])  # [1, N]: one number for each distinct answer, -1 for none
assert chosen([answers], ids, vote.majority(ids)) == [answer]

# %% [markdown]
# ## One problem proves nothing
#
# So we ask again on many held-out problems, and report 95% intervals. The arithmetic problems have
# 2 to 6 operations. None of them is among the training problems, *by construction*: a hash of the
# numbers in a problem decides its split, whatever the wording.

# %%
problems = load_problems(run.task, "test", run.problems, seed=run.options.seed)
golds = [p.gold for p in problems]
correct = {}  # name: [G] bool
for name, (_, _, num_samples) in METHODS.items():
    key = jax.random.fold_in(run.key, num_samples)
    written = ask(name, key, [p.question for p in problems], description=name)
    hits = grade(written.texts, golds)
    if name == "chain of thought":
        run.note_failure(written, hits)
    ids = answer_ids(read_answers(written.texts, golds))
    correct[name] = np.asarray(vote.majority(ids)) == gold_ids(ids, hits)
    tokens = written.num_tokens.sum(1).mean()
    run.measure(f"accuracy/{name.replace(' ', '_')}", correct[name], tokens)

# %% [markdown]
# All methods answered the same problems, so the claim is about the *paired* difference. For each
# problem we subtract: right with reasoning (1 or 0) minus right at once (1 or 0). The mean of these
# differences has a narrower interval than two separate sets of problems would give.

# %%
at_once, thinking, by_vote = (list(METHODS)[i] for i in (0, 1, -1))
text = "a chain of thought beats the direct answer"
run.claim_better(text, correct[thinking], correct[at_once])
run.bars(
    "methods",
    list(METHODS),
    {"accuracy": list(correct.values())},
    title=f"The same weights: {correct[at_once].mean():.0%} at once, "
    f"{correct[thinking].mean():.0%} after thinking, {correct[by_vote].mean():.0%} by vote",
    xlabel=f"method ({run.problems} held-out problems, {run.task})",
)

# %% [markdown]
# ## What surprised us
#
# - Examples in the prompt make `tiny` worse: 82% with two worked examples, 91% without. Only 7% of
#   its training texts had examples.
# - The vote costs 16 times the tokens of one chain (623 against 39) and gains less than three
#   points. Lesson 02 asks when that is worth it.
#
# ## When it does not work
#
# - **An option is refused**: the message says what was expected. `--help` lists all options.
# - **It is slow**: the bar says `(compiling)` while JAX compiles. The next run finds the compiled
#   programs in `~/.cache/jaxreason`.
# - **Another model is hardly ever right**: read the chain that is printed above. A chat model
#   needs its chat template; lesson 01 says how to tell a weak model from a weak prompt.
# - **Memory runs out**: `--rows 8` decodes fewer chains at a time.
#
# ## Exercises
#
# `jaxreason check 00` writes `exercises_00.py` for you to fill in, and checks your answers. They
# are about JAX: read `00b_jax_primer` first.
#
# 1. `set_token`: change an array that cannot be changed.
# 2. `draw_uniforms`: random numbers that do not depend on how many there are.
# 3. `count_params`: the number of parameters of a nested dict.
# 4. `discounted_returns`: a loop that is compiled once, by `jax.lax.scan`.

# %%
run.finish()
