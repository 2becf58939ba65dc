# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 04b What scores mean
#
# **A reward model gives a step 0.8. Is it right in 80 of 100 cases? And what is a chain worth whose
# steps score 0.9, 0.9 and 0.1?**
#
# The first question is *calibration*. Our PRM's scores are off by 2.9 points on average, over 7,980
# steps that an exact checker judged. The second is *aggregation*: minimum, product, last or mean.
# Here it hardly matters. The best of four chains by the PRM is right on 91% or 92% of 500 problems,
# whichever of them we take. One chain is right on 73%.
#
# ![calibration](../docs/results/04b_what_scores_mean/calibration.png)
#
# At the end of this lesson you can
#
# - read a solution's scores step by step;
# - measure whether a score is calibrated;
# - make one score of many, and choose among chains by it.
#
# The chains and the judges are those of lesson 04. `--chains` sets how many chains of a problem
# there are to choose from.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options("04b_what_scores_mean", problems=500, chains=4, reward_models=("prm", "orm"))

# %%
import numpy as np

from jaxreason.answers.verify import grade
from jaxreason.answers.vote import best_of_n
from jaxreason.course import lesson, viz
from jaxreason.decoding import prompts
from jaxreason.decoding.sampling import Sampler
from jaxreason.evaluation.calibration import CENTRES, calibration_error, reliability
from jaxreason.evaluation.intervals import Interval, auc
from jaxreason.rewards.reward_model import AGGREGATIONS, aggregate, load_reward_model, step_scores
from jaxreason.rewards.step_labels import split_steps
from jaxreason.tasks import arithmetic

run = lesson.start(GIVEN)

# %% [markdown]
# ## The algorithm in plain code
#
# Two chains of different lengths share one array, so NaN fills what is behind the shorter one.
#
# - the *minimum*: a chain is as good as its worst step (Wang et al. 2024);
# - the *product*: the chance that all steps are right (Lightman et al. 2023);
# - the *last* score, which has read everything;
# - the *mean*, where good steps make up for a bad one.


# %%
def plain_aggregate(scores: list[float], how: str) -> float:
    """One score of a chain, from those of its steps; NaN is behind its end."""
    scores = [score for score in scores if not np.isnan(score)]
    if how == "min":
        return min(scores)
    if how == "prod":
        return np.prod(scores)
    return scores[-1] if how == "last" else np.mean(scores)


two = np.array([[0.9, 0.9, 0.1, 0.8], [0.7, 0.7, np.nan, np.nan]])
for how in AGGREGATIONS:
    of_two = [plain_aggregate(chain, how) for chain in two]
    print(f"{how:<5}{of_two[0]:6.2f}{of_two[1]:6.2f}  prefers chain {int(np.argmax(of_two))}")
    assert np.allclose(of_two, aggregate(two, how))

# %% [markdown]
# The *expected calibration error* sorts scores into ten bins. In each bin we compare the mean score
# with the share of cases that are right. The error is the mean of that gap, over all cases (Naeini
# et al. 2015).


# %%
def plain_calibration_error(scores: np.ndarray, right: np.ndarray) -> float:
    """The mean gap between score and truth; both are ``[G]``."""
    error = 0.0
    for low in np.arange(10) / 10:
        inside = (scores >= low) & ((scores < low + 0.1) | (low == 0.9))
        if inside.any():
            gap = abs(scores[inside].mean() - right[inside].mean())
            print(f"{inside.sum()} scores from {low:.1f}: gap {gap:.2f}")
            error += gap * inside.mean()
    return error


sure, truly = np.array([0.05, 0.55, 0.58, 0.95, 0.97, 0.99]), np.array([0, 1, 0, 1, 1, 0])
error = plain_calibration_error(sure, truly)
print(f"calibration error: {error:.3f}")
assert np.isclose(error, calibration_error(sure, truly).value)

# %% [markdown]
# ## The same chains as in lesson 04
#
# The policy writes chains at temperature 1, and both judges score every step. The exact checker has
# a verdict for each line of reasoning, and none for the answer line.

# %%
N = run.chains
problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
texts, golds = [prompts.zero_shot_cot(p.question) for p in problems], [p.answer for p in problems]
chains = run.complete(
    run.key, texts, sampler=Sampler(1.0), num_samples=N, description=f"{N} chains at T=1"
)
correct = grade(chains.texts, golds)  # [G, N]
scores = {}  # judge: [G, N, S]
for name in ("PRM", "ORM"):
    reward = load_reward_model(f"{run.model.name}-{name.lower()}", run.model)
    scores[name] = step_scores(reward, texts, chains.texts, description=name)
truth = np.full(scores["PRM"].shape, np.nan)
for g, n in np.ndindex(correct.shape):
    verdicts = arithmetic.check_steps(problems[g], "".join(split_steps(chains.texts[g][n])))
    truth[g, n, : len(verdicts)] = verdicts

# %% [markdown]
# ## One chain, step by step
#
# This is the first chain of at least four lines whose first line is right and a later one is wrong.

# %%
slips = (truth[..., 0] == 1) & (truth == 0).any(-1) & ((~np.isnan(truth)).sum(-1) >= 4)
g, n = np.argwhere(slips)[0] if slips.any() else (0, 0)
steps = [step.rstrip() for step in split_steps(chains.texts[g][n])]
judges = {"exact": truth[g, n]} | {name: values[g, n] for name, values in scores.items()}
at = int((truth[g, n] == 0).argmax())
print(problems[g].question, "\nright:", ", ".join(arithmetic.solve(problems[g])))
run.figure(
    viz.heat_map(
        steps,
        {name: values[: len(steps)] for name, values in judges.items()},
        title=f"Step {at + 1} is the first wrong one;\n"
        f"the PRM gives it {judges['PRM'][at]:.2f}, the ORM {judges['ORM'][at]:.2f}",
        xlabel="judge (1: right; the answer line is not the exact checker's)",
    ),
    "step_heat_map",
)

# %% [markdown]
# ## Is 0.8 right in 80 of 100 cases?
#
# Ranking is one thing. A threshold, a product of scores, or a search that compares states of
# different problems needs *calibrated* scores. Steps are the PRM's business, whole chains the
# ORM's. The hard label of a right step is a little below 1 on average and of a wrong one a little
# above 0, so do not expect perfection.

# %%
judged = ~np.isnan(truth) & ~np.isnan(scores["PRM"])
of_steps = scores["PRM"][judged], truth[judged]
of_chains = aggregate(scores["ORM"], "last").ravel(), correct.ravel()
error = run.measure("calibration error/PRM, steps", calibration_error(*of_steps))
run.measure("calibration error/ORM, outcomes", calibration_error(*of_chains))
run.curves(
    "calibration",
    CENTRES,
    {
        "PRM, steps": reliability(*of_steps),
        "ORM, whole chains": reliability(*of_chains),
        "calibrated (theory)": [Interval(c, c, c, 1) for c in CENTRES],
    },
    title=f"The PRM's scores are off by {error.value:.1%} on average",
    xlabel="score (bins of 0.1)",
    ylabel="share that is right (95% interval)",
)

# %% [markdown]
# ## From steps to a chain
#
# The *outcome AUC* is the chance that a right chain outscores a wrong one, over all problems. The
# best of N asks for less: a right chain has to outscore the wrong ones of its own problem.

# %%
outcome, chosen = {}, {}
for name, values in scores.items():
    for how in AGGREGATIONS:
        score = aggregate(values, how)  # [G, N]
        outcome[name, how] = auc(score.ravel(), correct.ravel())
        best = np.asarray(best_of_n(score))  # [G]
        chosen[name, how] = correct[np.arange(len(correct)), best]
        run.measure(f"outcome AUC/{name}/{how}", outcome[name, how])
        tokens = chains.num_tokens.sum(1).mean()
        run.measure(f"best of {N}/{name}/{how}", chosen[name, how], tokens)
run.measure("one chain", correct.mean(1), tokens=chains.num_tokens.mean())
run.claim_better(
    f"best of {N} by the PRM (min) beats one sampled chain",
    chosen["PRM", "min"],
    correct.mean(1),
)

# %% [markdown]
# The figure is about single chains of any problem.

# %%
auc_of = {how: outcome["PRM", how].value for how in AGGREGATIONS}
best = max(auc_of, key=auc_of.get)
run.bars(
    "aggregation",
    list(AGGREGATIONS),
    {name: [outcome[name, how] for how in AGGREGATIONS] for name in scores},
    title=f"Right chains outscore wrong ones: PRM, {best}, AUC {auc_of[best]:.2f}; "
    f"ORM, last, {outcome['ORM', 'last'].value:.2f}",
    xlabel=f"how the scores of steps become one (n = {correct.size} chains)",
    ylabel="AUC of the outcome (95% interval)",
)

# %% [markdown]
# ## What surprised us
#
# - The aggregation hardly matters here: outcome AUCs of the PRM lie between 0.978 (mean) and 0.983
#   (last). Its scores stay low after the first error, so the last step knows of the worst.
# - The ORM's last score is as good as anything of the PRM's (AUC 0.987). To find a wrong *line*, or
#   to judge a chain before its end, it is of less use: lessons 04 and 05b.
#
# ## When it does not work
#
# Look at these, in this order:
#
# - **NaN in a chain's score**: the steps behind its end were not masked.
# - **short chains win**: a product falls with every step, even if all steps are right. Take the
#   minimum or the last.
# - **a curve far off the diagonal**: scores of 0.9 that are right in half of the cases. Ranks
#   may still be good. Thresholds and products are not.
# - **a bin with few cases**: its interval says so. Do not read it.
#
# ## Exercises
#
# They are those of lesson 04: `jaxreason check 04`.

# %%
run.finish()
