# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 03c Search on word problems
#
# **A wrong line of a word problem looks like a right one, and no test says which leaf is right.
# Does search over lines still help?**
#
# Not by itself. On 500 held-out problems beam search by likelihood is as good as the vote of lesson
# 02 with as many tokens: 93% and 94%, -1.0 points [-3.0, 1.0]. A calculator that drops wrong
# arithmetic changes little. A checker that knows every wrong line would gain 5 points over the vote
# [3, 7].
#
# ![accuracy by evaluator](../docs/results/03c_search_on_word_problems/word_problems.png)
#
# At the end of this lesson you can
#
# - search over the lines of a chain, where a leaf cannot be tested;
# - compare a search with a vote at equal tokens;
# - tell a slip of arithmetic from a wrong step, and say which of them a search has to see.
#
# `--problems 100` is a shorter run. Intervals of differences are then about twice as wide.

# %%
from jaxreason.course.options import read_options

GIVEN = read_options("03c_search_on_word_problems", problems=500)

# %%
import functools

import numpy as np

from jaxreason.answers import vote
from jaxreason.answers.verify import answer_ids, gold_ids, grade, read_answers
from jaxreason.course import lesson
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.evaluation.compute_optimal import paid_for
from jaxreason.evaluation.intervals import paired_difference
from jaxreason.search import evaluators, proposers, word_problems
from jaxreason.search import tree_of_thoughts as tot
from jaxreason.search.outcomes import outcomes
from jaxreason.tasks import arithmetic

run = lesson.start(GIVEN, cpu_devices=2)
QUICK = run.options.quick  # most of a smoke run is compilation: few batches, of few shapes
problems = arithmetic.problems("test", 12 if QUICK else run.problems, seed=run.options.seed)
golds = [p.answer for p in problems]

# %% [markdown]
# ## The algorithm in plain code
#
# A state is the question and the lines so far; a thought is the next line. The generator samples
# four lines from each state, and keeps the different ones. Their draws depend on the text alone, so
# a state has the same lines in every search.

# %%
LEAST = len(problems) if QUICK else 1  # states that go through the model, some twice if need be
draws = {"num_samples": 4, "num_thoughts": 4, "sampler": Sampler(0.7), "least": LEAST}
draws |= {"rows": 4 * LEAST if QUICK else 512, "store": run.store}
lines_of = functools.partial(proposers.propose_thoughts, run.model, run.key, **draws)
propose = tot.memoize(functools.partial(lines_of, prompt=word_problems.lines_prompt))

# %% [markdown]
# Beam search keeps the likeliest states of each level. A finished chain competes with the others,
# and the likeliest finished chain is the answer.


# %%
is_finished = word_problems.LINES.is_leaf  # the last line is an answer, such as `#### 54`


def plain_beam_search(problem: arithmetic.Problem, beam: int, max_depth: int) -> tot.State:
    level, finished = [tot.State(problem)], []
    for depth in range(1, max_depth + 1):
        candidates = [state for state in level if is_finished(state)]
        for state in [state for state in level if not is_finished(state)]:
            (thoughts,), _ = propose([state])
            for line, logprob in thoughts:
                child = tot.State(problem, (*state.thoughts, line), state.logprob + logprob)
                candidates.append(child)
        finished += [state for state in candidates if is_finished(state)]
        level = sorted(candidates, key=lambda state: -state.logprob)[:beam]
        print(f"level {depth}:", [f"{s.thoughts[-1]} ({s.logprob:.2f})" for s in level])
        if all(map(is_finished, level)):
            break
    return max(finished, key=lambda state: state.logprob)


long = max(problems, key=lambda problem: len(problem.question))
print(long.question)
answer = plain_beam_search(long, beam=2, max_depth=8)
print(f"answer: {answer.thoughts[-1]}, right is {long.answer}")

by_likelihood = evaluators.likelihood, word_problems.LINES
(tree,) = tot.bfs([tot.State(long)], propose, *by_likelihood, beam=2, max_depth=8)
assert tree.nodes[tree.answer].state == answer

# %% [markdown]
# ## What is wrong with a wrong chain?
#
# Sixteen chains of every problem will vote. We look at the first wrong line of each wrong one. Some
# are false, such as `7*8=54`. Others are true, and still no step to the answer.

# %%
texts = [prompts.zero_shot_cot(p.question) for p in problems]
many = {"max_new_tokens": 96, "num_samples": 4 if QUICK else 16, "store": run.store}
chains = complete(run.model, run.key, texts, sampler=Sampler(0.7), **many)
right = grade(chains.texts, golds)  # [G, N]
answers = answer_ids(read_answers(chains.texts, golds))
gold = gold_ids(answers, right)
run.measure("word problems/one chain", right.mean(1), chains.num_tokens.mean())

wrong_lines = []
for g, n in zip(*np.nonzero(~right), strict=True):
    lines = chains.texts[g][n].splitlines()
    steps = arithmetic.check_steps(problems[g], chains.texts[g][n])
    wrong_lines += [line for line, ok in zip(lines, steps, strict=False) if not ok][:1]
true = [line for line in wrong_lines if arithmetic.is_true(line)]
print(f"of {len(wrong_lines)} first wrong lines {len(true)} are true, such as {true[:4]}")

# %% [markdown]
# ## Search against the vote
#
# Four evaluators search the same lines. *Random* scores are the control, and the *likelihood* is
# what the model believes. A *calculator* drops false lines; it needs no solution. An *oracle* drops
# every line that is no step to the answer: the upper bound for any step checker. Each search is
# compared with the vote of the chains that its tokens pay for.

# %%
EVALUATORS = {
    "random": evaluators.random_scores,
    "likelihood": evaluators.likelihood,
    "calculator": word_problems.calculator,
    "oracle": word_problems.lines_oracle,
}
roots = [tot.State(p) for p in problems]
by_search, by_vote = {}, {}
for name, evaluate in EVALUATORS.items():
    shape = {"beam": 3, "max_depth": 8, "description": name}
    trees = tot.bfs(roots, propose, evaluate, word_problems.LINES, **shape)
    tokens = outcomes(trees).tokens
    by_search[name] = grade([[word_problems.answer_line(tree)] for tree in trees], golds)[:, 0]
    voted = vote.majority(answers, paid_for(chains.num_tokens, tokens))
    by_vote[name] = np.asarray(voted) == gold
    run.measure(f"word problems/BFS, {name}", by_search[name], tokens.mean())
    at_its_tokens = f"word problems/vote at the tokens of BFS, {name}"
    run.measure(at_its_tokens, by_vote[name], tokens.mean())

# %% [markdown]
# The figure puts them beside one sampled chain.

# %%
for name in ("likelihood", "calculator", "oracle"):
    difference = paired_difference(by_search[name], by_vote[name])
    run.measure(f"word problems/difference, BFS {name} - vote", difference)
helps = "with an exact step checker, search on word problems beats the vote at equal tokens"
run.claim_better(helps, by_search["oracle"], by_vote["oracle"])

accuracy = {name: correct.mean() for name, correct in by_search.items()}
gain = {name: 100 * (accuracy[name] - accuracy["likelihood"]) for name in accuracy}
run.bars(
    "word_problems",
    ["one chain", *by_search, "the vote"],
    {"accuracy": [right.mean(1), *by_search.values(), by_vote["likelihood"]]},
    title=f"Word problems: search by likelihood {accuracy['likelihood']:.0%}, "
    f"the vote {by_vote['likelihood'].mean():.0%}; a calculator adds\n"
    f"{gain['calculator']:+.1f} points, an exact step checker would add {gain['oracle']:+.1f}",
    xlabel="one chain; BFS with an evaluator, and the vote, "
    f"at {tokens.mean():.0f} tokens a problem (n = {len(problems)})",
)

# %% [markdown]
# ## The prompt-only variant
#
# Hulbert (2023) asks a chat model to play the whole search in one reply. There is no tree, nothing
# is pruned, and nobody checks. With a `--model` that has a chat template we compare it with plain
# step-by-step.

# %%
some = problems[:100]
WORDINGS = {
    "step by step": [f"{p.question} {prompts.STEP_BY_STEP}" for p in some],
    "experts": [prompts.experts(p.question) for p in some],
}
print(WORDINGS["experts"][0])
if run.model.tokenizer.chat_template:
    for name, wordings in WORDINGS.items():
        asked = [prompts.chat(run.model.tokenizer, wording) for wording in wordings]
        long = {"max_new_tokens": 400, "rows": 32, "store": run.store, "description": name}
        told = complete(run.model, run.key, asked, sampler=GREEDY, **long)
        correct = grade(told.texts, golds[:100])[:, 0]
        run.measure(f"chat model/{name}", correct, told.num_tokens.mean())

# %% [markdown]
# ## What surprised us
#
# - A calculator gains only 0.8 points. Of the 309 wrong chains of a default run, 254 go wrong by a
#   line that is true, such as `5-2=3` where the story asks for something else.
# - Random scores solve 72%, fewer than one chain (81%). A search without knowledge is worse than
#   none: it follows lines that the model itself finds improbable.
#
# ## When it does not work
#
# Look at these, in this order:
#
# - **oracle** near the likelihood: the right lines are not among those drawn. Draw more.
# - **calculator** far above the likelihood: the model miscalculates, so let a program calculate.
# - **the vote** above every search: its chains are independent. A beam's offspring share their
#   first lines, and with them their mistakes.
#
# The next lesson trains a checker that sees wrong steps: a process reward model.
#
# ## Exercises
#
# Lessons 03, 03b and 03c share theirs: `jaxreason check 03`.

# %%
run.finish()
