# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 07b Waiting and cutting
#
# **"Wait" helps on puzzles. Does it help where a mistake cannot be seen?**
#
# No. In a word problem a wrong chain looks like a right one. On 500 held-out problems `tiny` is
# right on 90.6% at its natural stop. After one wait it is right on 81.4%, because it goes back on
# answers that were right. `tiny-l`, 14 times larger, has nothing to mend: 100% and 99.6%.
#
# Less thinking costs more. Cut off after 20 tokens, `tiny` is right on 20%.
#
# ![accuracy over tokens of thinking](../docs/results/07b_waiting_and_cutting/cut_off.png)
#
# At the end of this lesson you can
#
# - test whether a trick that helps in one task helps in another;
# - compare two methods on the same problems, and say how sure the difference is;
# - draw accuracy over tokens of thinking, with one limit per chain.
#
# `--model` takes another model that solves word problems. Lesson 07 explains the rule.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options("07b_waiting_and_cutting", problems=500)

# %%
import numpy as np

from jaxreason.answers.verify import grade
from jaxreason.course import lesson
from jaxreason.course.chains import solves_24
from jaxreason.decoding import prompts
from jaxreason.decoding.budget_forcing import complete_within
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.evaluation.intervals import paired_difference
from jaxreason.models.hf import load_model
from jaxreason.tasks import arithmetic, game24, game24_puzzles

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# ## The algorithm in plain code
#
# Lesson 07 wrote the rule in a loop. What is new here is the comparison. Both methods answer the
# same problems, so each problem has a *difference* of -1, 0 or 1. Problems on which both are right,
# or both wrong, say nothing about which is better. The interval comes from drawing the differences
# again, with replacement, many times (the bootstrap, Efron and Tibshirani 1993).

# %%
stopped, waited = np.array([1, 1, 1, 1, 0, 1, 1, 0, 1, 1]), np.array([1, 0, 1, 1, 1, 0, 1, 0, 0, 1])
rng = np.random.default_rng(0)
difference = waited - stopped
print(f"difference of each problem: {difference}, mean {difference.mean():+.2f}")
print(f"right to wrong {(difference < 0).sum()}, wrong to right {(difference > 0).sum()}")
drawn = difference[rng.integers(0, 10, (10_000, 10), np.int32)]  # [10000, 10]
low, high = np.quantile(drawn.mean(1), [0.025, 0.975])
print(f"95% interval {low:+.2f} to {high:+.2f}")
assert paired_difference(waited, stopped)[1:3] == (low, high)

# %% [markdown]
# ## Word problems: the honest null
#
# `tiny` has read `Wait`: part of its training was chains, right and wrong, then `Wait`, then a
# right one. So it solves the problem once more. But it cannot see whether the first time was wrong.
# In training a text had one wait, so the claim is about one. Thinking ends with `####`, or with
# `</think>` in models that think.

# %%
WAIT, END = f"{prompts.WAIT}\n", "####"
ends, answer = [END], f"\n{END} "
if prompts.thinks(run.tokenizer):
    ends = [prompts.END_OF_THOUGHT]
    answer = f"\n{prompts.END_OF_THOUGHT}\n{prompts.THE_ANSWER_IS}"
problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
golds = [p.answer for p in problems]
questions = [prompts.zero_shot_cot(p.question, run.tokenizer) for p in problems]

# %% [markdown]
# The rule is that of lesson 07. Chains are greedy, and kept on disk until the lesson ends.


# %%
def ponder(model=run.model, *, waits=0, string=WAIT, chains=1, **options):
    """`[G, N]` which chains of the word problems are right within a budget, and all they wrote."""
    room = 96 + 72 * (2 if waits else 0) if run.as_measured else run.max_new_tokens
    written = complete_within(
        model,
        run.key,
        questions,
        ends=ends,
        continuations=[string],
        answer=answer,
        waits=waits,
        sampler=GREEDY,
        num_samples=chains,
        max_new_tokens=room,
        rows=run.rows,
        store=run.store,
        **options,
    )
    return grade(written.texts, golds), written


# %% [markdown]
# One wait against none. More waits lead to positions that the models never saw, so two are measured
# for one model alone.

# %%
pondered = {}  # model: number of waits -> [G] which problems are right
models = {run.model.name: (run.model, (0, 1, 2))}
if run.model.name == "tiny" and not run.options.quick:
    models["tiny-l"] = load_model("tiny-l", mesh=run.mesh), (0, 1)
for name, (model, counts) in models.items():
    pondered[name] = {}
    for k in counts:
        hits, written = ponder(model, waits=k, description=f"{name}, {k} waits")
        pondered[name][k] = hits[:, 0]
        run.measure(f"word problems, {name}/{k} waits", hits[:, 0], written.num_tokens.mean())
    stopped, waited = pondered[name][0], pondered[name][1]
    run.claim(
        f"on word problems waiting does not help {name}: "
        "a wait gains at most 2 points over the natural stop",
        paired_difference(waited, stopped),
        at_most=0.02,
        worst=float((stopped | waited).any()),
    )
uncut, waited = (pondered[run.model.name][k] for k in (0, 1))
print(f"problems whose outcome one wait changes: {(waited != uncut).mean():.1%}")

# %% [markdown]
# Does the word matter here? Two other strings, once each:

# %%
by_string = {"Wait": waited}
for name, string in {"an empty line": "\n", "shells": "shells\n"}.items():
    by_string[name] = ponder(waits=1, string=string, description=name)[0][:, 0]
    change = paired_difference(waited, by_string[name])
    run.measure(f"word problems, strings, 1 wait/difference, Wait - {name}", change)
for name, hits in by_string.items():
    run.measure(f"word problems, strings, 1 wait/{name}", hits)
run.bars(
    "strings",
    ["no wait", *by_string],
    {run.model.name: [uncut, *by_string.values()]},
    title="What is written in place of the end:\n"
    + ", ".join(f"{name} {hits.mean():.0%}" for name, hits in by_string.items()),
    xlabel=f"string that is written once (n = {len(problems)} word problems)",
)

# %% [markdown]
# ## Less: the answer is forced
#
# A limit is an array that broadcasts to `[G, N]`, one for each chain. So each problem is solved
# under all limits in one call. A word problem needs all its lines; cut off before, the model can
# only guess.

# %%
LIMITS = np.array([0, 5, 10, 15, 20, 30, 40, 60, 80])
cut, _ = ponder(at_most=LIMITS[None], chains=len(LIMITS), description="cut off")
for limit, hits in zip(LIMITS, cut.T, strict=True):
    run.measure(f"word problems, cut off/{limit} tokens", hits, tokens=limit)
run.claim(
    "a word problem's chain cut off at 20 tokens is worth >= 30 points less than the whole",
    paired_difference(uncut, cut[:, LIMITS.tolist().index(20)]),
    at_least=0.30,
    excludes_zero=True,
)

# %% [markdown]
# A puzzle profits from more. Here the limit cuts the eight waits of lesson 07.

# %%
player, puzzles = load_model("tiny-24-wait", mesh=run.mesh), game24_puzzles.held_out(run.problems)
PUZZLE_LIMITS = np.array([40, 80] if run.options.quick else [40, 80, 160, 240])
written = complete_within(
    player,
    run.key,
    [game24.format_puzzle(p) for p in puzzles],
    ends=[END],
    waits=8,
    at_most=PUZZLE_LIMITS[None],
    sampler=Sampler(1.0),
    num_samples=len(PUZZLE_LIMITS),
    max_new_tokens=int(PUZZLE_LIMITS.max()) + 8,
    description="puzzles, cut off",
    store=run.store,
)
solved = solves_24(puzzles, written.texts)  # [G, L]

# %% [markdown]
# It is the curve of accuracy over thinking tokens of the s1 paper (figure 1).

# %%
for limit, hits in zip(PUZZLE_LIMITS, solved.T, strict=True):
    run.measure(f"puzzles, 8 waits, cut off/{limit} tokens", hits, tokens=limit)
of_words = dict(zip(LIMITS.tolist(), cut.T, strict=True))
of_puzzles = dict(zip(PUZZLE_LIMITS.tolist(), solved.T, strict=True))
x = sorted({*of_words, *of_puzzles})
run.curves(
    "cut_off",
    x,
    {
        "word problems": [of_words.get(v) for v in x],
        "Game of 24, eight waits": [of_puzzles.get(v) for v in x],
    },
    title=f"A word problem needs its lines: {of_words[20].mean():.0%} after 20 tokens, "
    f"{uncut.mean():.0%} uncut;\n"
    f"a puzzle profits from more: {of_puzzles[40].mean():.0%} after 40, "
    f"{solved[:, -1].mean():.0%} after {PUZZLE_LIMITS[-1]}",
    xlabel="tokens of thinking, then the answer is forced",
    ylabel="solved (95% interval)",
)

# %% [markdown]
# ## What surprised us
#
# - Waiting *hurts* `tiny`, by 9 points for the first wait. It was trained on texts in which what
#   follows a `Wait` is right, and it changes its answer where it should not.
# - "shells", which it never read there, does far more harm: 63%. An empty line
#   (83%) cannot be told from "Wait" (81%).
#
# ## When it does not work
#
# Look at these, in this order:
#
# - **problems whose outcome changes**: if nothing changes, the wait was never written.
# - **what changes**: count right to wrong, and wrong to right. A gain of zero may hide both.
# - **the forced answer**: its prefix has to be one that the model knows, up to the last blank.
#
# ## Exercises
#
# They are those of lesson 07: `jaxreason check 07`.

# %%
run.finish()
