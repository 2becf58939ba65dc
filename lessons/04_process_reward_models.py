# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 04 Process reward models
#
# A sampled chain of thought is right or wrong, and nothing in it says which. An *outcome* reward
# model (ORM, Cobbe et al. 2021) learns to tell from the whole solution; a *process* reward model
# (PRM, Lightman et al. 2023) judges every step. Both are a language model with one number instead
# of a vocabulary at the top, $r(s_1 \dots s_i) = \sigma(w^\top h_{e_i} + u^\top m_{e_i} + b)$,
# where $h$ are the hidden states, $e_i$ is the token that ends step $i$, and $m$ is the
# probability, and its logarithm, that the model gave to the least likely token of the chain so far.
#
# Where do labels of steps come from? People are expensive. Math-Shepherd (Wang et al. 2024) asks
# the policy itself: go on from the step several times, and count how often the *final
# answer* comes out right. This takes answers only, and no label of a step.
#
# The course's word problems have an exact step checker. It trains nothing here; it judges what was
# learned.

# %%
from jaxreason.course.options import read_options

# First of all, so that a misspelt option does not wait for the imports below.
GIVEN = read_options(
    "04_process_reward_models", problems=250, chains=4, reward_models=("prm", "orm")
)

# %%
import jax
import numpy as np

from jaxreason.answers.verify import grade
from jaxreason.answers.vote import best_of_n
from jaxreason.course import lesson, viz
from jaxreason.decoding import prompts
from jaxreason.decoding.sampling import Sampler
from jaxreason.evaluation.intervals import Interval, accuracy, auc, mean_interval, paired_difference
from jaxreason.models.tokens import token_bytes
from jaxreason.rewards.reward_model import (
    AGGREGATIONS,
    aggregate,
    first_error,
    from_policy,
    load_reward_model,
    step_scores,
)
from jaxreason.rewards.step_labels import monte_carlo_labels, split_steps, step_ends, step_targets
from jaxreason.tasks import arithmetic

run = lesson.start(GIVEN)
N = run.chains
prm = load_reward_model(f"{run.model.name}-prm", run.model)
orm = load_reward_model(f"{run.model.name}-orm", run.model)

# %% [markdown]
# ## Where a step ends
#
# A step is a line. In token space it ends at the token that *holds* the newline. Looking for the
# lone newline token instead is a mistake that is easy to miss: BPE tokenizers merge the newline
# with the full stop before it, four lines become one step, and the reward model gives one score for
# all. So we search the bytes of every token, whatever the tokenizer.

# %%
lines = "Tom has 45 apples.\n45-12=33\n\n#### 33\n"
ids = run.model.tokenizer(lines, add_special_tokens=False).input_ids
pieces = token_bytes(run.model.tokenizer)
ends = step_ends(ids, pieces)
for i, token in enumerate(ids):
    text = repr(pieces[token].decode(errors="replace"))
    print(text, end="  <- step\n" if i in ends else " ")
print()

# %% [markdown]
# ## Labels without a teacher
#
# $\hat v_i = \frac1K \sum_{k=1}^K \mathbf 1[\text{rollout } k \text{ from after } s_i \text{ is
# right}]$ is the *soft* label, and $\mathbf 1[\hat v_i > 0]$ the *hard* one: a step is good if
# *some* solution goes on from it. All rollouts of all steps are one batch, and prefixes that
# several chains share are labelled once.
#
# How good are they? We compare them with the exact checker, on validation problems. A hard label
# errs in two ways: the policy could not finish from a right step, or it came out right after a
# wrong one, by luck or by a second slip.

# %%
K = 8
few = arithmetic.problems("validation", 8 if run.options.quick else 100, seed=run.options.seed)
few_texts = [prompts.zero_shot_cot(p.question) for p in few]
few_chains = run.complete(run.key, few_texts, sampler=Sampler(1.0), description="chains to label")
labelled, cost = monte_carlo_labels(
    run.model,
    jax.random.fold_in(run.key, 1),
    few_texts,
    few_chains.texts,
    [p.answer for p in few],
    num_rollouts=K,
    sampler=Sampler(0.7),
    max_new_tokens=run.max_new_tokens,
    description="rollouts",
)

# %% [markdown]
# Beside each label we put the verdict of the exact checker.

# %%
soft, exact = [], []
asked = dict(zip(few_texts, few, strict=True))
for chain in labelled:
    verdicts = arithmetic.check_steps(asked[chain.prompt], chain.text)
    soft += chain.success[: len(verdicts)].tolist()
    exact += verdicts
soft, exact = np.array(soft), np.array(exact)
run.results.measure("labels/hard are right", accuracy((soft > 0) == exact))
if 1 < exact.sum() < len(exact) - 1:
    run.results.measure("labels/AUC of soft", auc(soft, exact))
each = cost.tokens / cost.steps
run.results.measure("labels/tokens per step", Interval(each, each, each, cost.steps))
print(
    f"{cost.steps} steps: {cost.rollouts} rollouts from {cost.states} states, "
    f"{cost.tokens} tokens, {each:.0f} a label; "
    f"the answers of the {len(few)} problems are the only supervision"
)

# %% [markdown]
# ## What the loss sees
#
# The loss is binary cross-entropy at the ends of steps. After the first error the steps of a chain
# say little new. The option `mask_after_error` leaves them out, as the annotators of Lightman et
# al. stopped there. The ORM has one label, at the end.

# %%
wrong = [chain for chain in labelled if not chain.correct]
shown = (wrong or labelled)[0]
print(f"{'step':<14}{'soft':>6}{'hard':>6}{'masked':>8}{'ORM':>6}")
targets = [
    step_targets(shown, "prm", soft=True),
    step_targets(shown, "prm"),
    step_targets(shown, "prm", mask_after_error=True),
    step_targets(shown, "orm"),
]
for step, soft_label, hard, masked, outcome in zip(split_steps(shown.text), *targets, strict=True):
    print(f"{step.rstrip():<14}{soft_label:>6.2f}{hard:>6.0f}{masked:>8.0f}{outcome:>6.0f}")

# %% [markdown]
# ## What a verifier has to know
#
# The policy samples its errors from its own distribution: where it errs, it did not know better. A
# verifier that knows no more can tell unlikely steps, and little else. So the two shipped models
# start from the policy with two more blocks on top, trained on as a language model on worked
# solutions. As policies they would be right more often than the one they judge (their cards say by
# how much). So this verifier is stronger than its policy, and one made of the policy's own weights
# should see less. And why $m$? What a network expects of a token is known at its last layer, one
# token too late for any other layer to compare it with what was written.
#
# `python checkpoints/train_rm.py tiny-prm` and `tiny-orm` train both on the same chains for
# training problems, with hard labels, down to the lowest loss on held-out ones; the cards say what
# the labels cost. Beside them stands a judge that was never trained: the policy, whose score is the
# probability of the least likely token so far.
#
# ## Steps, judged by the exact checker
#
# On held-out problems the policy writes chains at temperature 1. A step is *right* if the checker
# accepts it and all before it. The AUC is the chance that a right step outscores a wrong one. The
# first error is found if the first step that scores below 1/2 is the first wrong one. The ORM was
# never asked about a step. We read it there all the same, as if each prefix were the whole
# solution.

# %%
problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
texts, golds = [prompts.zero_shot_cot(p.question) for p in problems], [p.answer for p in problems]
chains = run.complete(
    run.key, texts, sampler=Sampler(1.0), num_samples=N, description=f"{N} chains at T=1"
)
correct = grade(chains.texts, golds)  # [G, N]
scores = {
    "PRM": step_scores(prm, texts, chains.texts, description="PRM"),
    "ORM": step_scores(orm, texts, chains.texts, description="ORM"),
}  # [G, N, S]
itself = from_policy(run.model, "prm")
kernel = itself.params["head"]["kernel"]
itself.params["head"]["kernel"] = kernel.at[-1].set(1.0)  # reads p of the least likely token alone
by_policy = step_scores(itself, texts, chains.texts, description="the policy")

# %% [markdown]
# The truth has a verdict for each line of reasoning, and NaN for the answer line, which the checker
# does not judge.

# %%
truth = np.full(scores["PRM"].shape, np.nan)  # [G, N, S]
for g, problem in enumerate(problems):
    for n, text in enumerate(chains.texts[g]):
        verdicts = arithmetic.check_steps(problem, "".join(split_steps(text)))
        truth[g, n, : len(verdicts)] = verdicts
judged = ~np.isnan(truth) & ~np.isnan(scores["PRM"])
wrong_chain = (truth == 0).any(-1)  # [G, N]
has_error = wrong_chain.any(-1)

# %% [markdown]
# Two measures: the AUC over all steps, and how often the first error of a chain is found.

# %%
found = {}  # [G] share of a problem's wrong chains whose first error is found


def judge_steps(name: str, values: np.ndarray) -> Interval:
    """The step AUC of scores [G, N, S]; keeps how often they find the first error."""
    step_auc = auc(values[judged], truth[judged] == 1)
    run.results.measure(f"step AUC/{name}", step_auc)
    hit = (first_error(values) == first_error(truth)) & wrong_chain
    found[name] = hit.sum(-1)[has_error] / wrong_chain.sum(-1)[has_error]
    run.results.measure(f"first error found/{name}", mean_interval(found[name]))
    return step_auc


# %% [markdown]
# The two reward models, and then the policy's own least likely token:

# %%
of_steps = {name: judge_steps(name, values) for name, values in scores.items()}
run.claim("PRM from Monte Carlo labels alone: step AUC >= 0.95", of_steps["PRM"], at_least=0.95)
run.results.measure(
    "step AUC/the policy's least likely token", auc(by_policy[judged], truth[judged] == 1)
)
run.claim(
    "the PRM finds the first error more often than the ORM, by >= 20 points",
    paired_difference(found["PRM"], found["ORM"]),
    at_least=0.2,
    excludes_zero=True,
)
wrong_share = 1 - truth[judged].mean()
print(f"{judged.sum()} steps of {len(problems)} problems, {wrong_share:.1%} of them wrong")

# %% [markdown]
# ## How many labelled chains does it take?
#
# Both learned from 6,000 chains. An outcome says of a chain of five steps *that* one of them was
# wrong, but not which. From enough of them the ORM works that out. So how many does it take? We
# train the same recipe on fewer chains, and on more:

# %%
for count, suffix in (("1,200", "-1200"), ("12,000", "-12000")):
    for kind in ("PRM", "ORM"):
        other = load_reward_model(f"{run.model.name}-{kind.lower()}{suffix}", run.model)
        name = f"{kind}, {count} chains"
        values = step_scores(other, texts, chains.texts, description=name)
        of_steps[name] = judge_steps(name, values)
run.claim(
    "learned from 1,200 chains, the PRM finds the first error more often than the ORM, "
    "by >= 20 points",
    paired_difference(found["PRM, 1,200 chains"], found["ORM, 1,200 chains"]),
    at_least=0.2,
    excludes_zero=True,
)

# %% [markdown]
# From few chains to many:

# %%
COUNTS = {"1,200": ", 1,200 chains", "6,000": "", "12,000": ", 12,000 chains"}
rates = {
    kind: [mean_interval(found[f"{kind}{part}"]) for part in COUNTS.values()]
    for kind in ("PRM", "ORM")
}
both = [
    f"{prm_rate.value:.0%} and {orm_rate.value:.0%}"
    for prm_rate, orm_rate in zip(rates["PRM"], rates["ORM"], strict=True)
]
run.figure(
    viz.bars(
        list(COUNTS),
        rates,
        title="First errors found by the PRM and the ORM,\n"
        f"from 1,200 chains {both[0]}, from 6,000 {both[1]},\nfrom 12,000 {both[2]}",
        xlabel="labelled chains that they learned from "
        f"(n = {has_error.sum()} problems with a wrong chain)",
        ylabel="first error found (95% interval)",
    ),
    "first_error",
)

# %% [markdown]
# ## One chain, step by step
#
# The first chain with at least four steps whose first step is right and a later one is wrong:

# %%
lengths = (~np.isnan(truth)).sum(-1)
candidates = np.argwhere(wrong_chain & (lengths >= 4) & (first_error(truth) >= 1))
g, n = candidates[0] if len(candidates) else (0, 0)
steps = [step.rstrip() for step in split_steps(chains.texts[g][n])]
print(problems[g].question, "\nright:", ", ".join(arithmetic.solve(problems[g])))
at = int(first_error(truth)[g, n])
judges = {"exact": truth[g, n]} | {name: values[g, n] for name, values in scores.items()}
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
# different problems needs *calibrated* scores. The hard label of a right step is a little below 1
# on average and of a wrong one a little above 0, so do not expect perfection.

# %%
EDGES = np.linspace(0, 1, 11)
centres = (EDGES[:-1] + EDGES[1:]) / 2


def bins_of(values: np.ndarray) -> np.ndarray:
    """Which of ten bins of width 0.1 each score falls into."""
    return np.minimum((values * 10).astype(int), 9)


def reliability(values: np.ndarray, outcome: np.ndarray) -> list[Interval | None]:
    """Share of positive outcomes in each bin of the score; None for a bin with fewer than ten."""
    bins = bins_of(values)
    shares = []
    for b in range(10):
        inside = bins == b
        shares.append(accuracy(outcome[inside] == 1) if inside.sum() >= 10 else None)
    return shares


def calibration_error(values: np.ndarray, outcome: np.ndarray) -> Interval:
    """Expected calibration error (Naeini et al. 2015): the mean over cases of their bin's gap
    between score and outcome, bootstrapped over cases.
    """
    bins, gap = bins_of(values), np.zeros(10)
    for b in np.unique(bins):
        gap[b] = abs(values[bins == b].mean() - outcome[bins == b].mean())
    return mean_interval(gap[bins])


# %% [markdown]
# Steps are the PRM's business, whole chains the ORM's.

# %%
last = aggregate(scores["ORM"], "last").ravel()
ece = calibration_error(scores["PRM"][judged], truth[judged])
run.results.measure("calibration error/PRM, steps", ece)
run.results.measure("calibration error/ORM, outcomes", calibration_error(last, correct.ravel()))
run.figure(
    viz.curves(
        centres,
        {
            "PRM, steps": reliability(scores["PRM"][judged], truth[judged]),
            "ORM, whole chains": reliability(last, correct.ravel()),
            "calibrated (theory)": [Interval(c, c, c, 1) for c in centres],
        },
        title=f"The PRM's scores are off by {ece.value:.1%} on average",
        xlabel="score (bins of 0.1)",
        ylabel="share that is right (95% interval)",
    ),
    "calibration",
)

# %% [markdown]
# ## From steps to a chain
#
# A chain is scored by the minimum, the product, the last or the mean of its steps' scores. The last
# score of a PRM has seen all. Minimum and product distrust a chain that ever looked bad. The mean
# lets good steps make up for a bad one.

# %%
outcome, chosen = {}, {}
for name, values in scores.items():
    for how in AGGREGATIONS:
        score = aggregate(values, how)
        outcome[name, how] = auc(score.ravel(), correct.ravel())
        best = np.asarray(best_of_n(score))  # [G]
        chosen[name, how] = correct[np.arange(len(correct)), best]
        run.results.measure(f"outcome AUC/{name}/{how}", outcome[name, how])
        run.results.measure(
            f"best of {N}/{name}/{how}",
            accuracy(chosen[name, how]),
            tokens=chains.num_tokens.sum(1).mean(),
        )
run.results.measure("one chain", mean_interval(correct.mean(1)), tokens=chains.num_tokens.mean())

# %% [markdown]
# The figure is about single chains, the claim about the best of several.

# %%
auc_of = {how: outcome["PRM", how].value for how in AGGREGATIONS}
best = max(auc_of, key=auc_of.get)
run.figure(
    viz.bars(
        list(AGGREGATIONS),
        {name: [outcome[name, how] for how in AGGREGATIONS] for name in scores},
        title=f"Right chains outscore wrong ones: PRM, {best}, AUC {auc_of[best]:.2f}; "
        f"ORM, last, {outcome['ORM', 'last'].value:.2f}",
        xlabel=f"how the scores of steps become one (n = {correct.size} chains)",
        ylabel="AUC of the outcome (95% interval)",
    ),
    "aggregation",
)
run.claim(
    f"best of {N} by the PRM (min) beats one sampled chain",
    paired_difference(chosen["PRM", "min"], correct.mean(1)),
    at_least=0.0,
    excludes_zero=True,
)

# %%
run.finish()
