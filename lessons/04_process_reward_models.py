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
# **Which line of a wrong solution is the wrong one, if all we know is the right answer?**
#
# Ask the model itself. Let it go on from behind each line, several times, and count how often it
# reaches the right answer (Math-Shepherd, Wang et al. 2024). Behind a wrong line it hardly ever
# does. A *process* reward model (PRM, Lightman et al. 2023) learns from these counts to judge every
# line. An *outcome* reward model (ORM, Cobbe et al. 2021) gets one label per solution.
#
# We measured both on 267 problems with a wrong solution. Taught by 6,000 solutions, the PRM finds
# the first wrong line in 83% of the wrong ones and the ORM in 71%. Taught by 1,200, they find it in
# 73% and 23%.
#
# ![first errors found by both](../docs/results/04_process_reward_models/first_error.png)
#
# At the end of this lesson you can
#
# - label the steps of a solution without a teacher;
# - write the loss of a reward model, with a mask for steps that have no label;
# - judge a judge of steps, by its AUC and by how often it finds the first error.
#
# `--chains` sets the solutions per problem that the judges see. The word problems have an exact
# step checker. It trains nothing here; it only tells us who is right.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options(
    "04_process_reward_models", problems=500, chains=4, reward_models=("prm", "orm")
)

# %%
import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.answers.verify import grade, is_correct
from jaxreason.course import lesson
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import Sampler
from jaxreason.evaluation.intervals import Interval, auc, paired_difference
from jaxreason.rewards import reward_model as rm
from jaxreason.rewards.step_labels import monte_carlo_labels, split_steps
from jaxreason.tasks import arithmetic
from jaxreason.training.reward_training import examples, pack_examples, reward_loss

run = lesson.start(GIVEN)

# %% [markdown]
# ## The algorithm in plain code: labels
#
# Here is a problem and a wrong solution of it. A step is a line. The fourth line is wrong:
# $130-56$ is 74.

# %%
QUESTION, GOLD = (
    "Ben has 58 coins. Ben gets 9 boxes with 8 each. He loses 7 packs of 8 coins. "
    "He spends 37 coins. Then Ben earns 26 more. How many coins does Ben have in total?",
    63,
)
CHAIN = "9*8=72\n58+72=130\n7*8=56\n130-56=84\n84-37=47\n47+26=73\n#### 73\n"
toy, prompt, steps = run.toy, prompts.zero_shot_cot(QUESTION), split_steps(CHAIN)

# %% [markdown]
# From behind every step we sample $K$ continuations, or *rollouts*. The label of step $i$ is
# $\hat v_i = \frac1K \sum_{k=1}^K \mathbf 1[\text{rollout } k \text{ is right}]$. The last step
# needs no rollout, because the chain itself is one.
#
# JAX has no global random state. `fold_in(key, i)` makes a key of its own for every step, and the
# same key always gives the same rollouts.

# %%
K, so_far, success = 8, "", []
options = {"sampler": Sampler(temperature=1.0), "max_new_tokens": 64, "rows": K}
for i, step in enumerate(steps[:-1]):
    so_far += step
    keys = jax.random.fold_in(run.key, i)[None]  # one key for each prompt: here one
    asked = [prompt + so_far]  # all padded to 128 tokens, so that one program is compiled
    written = complete(toy, keys, asked, num_samples=K, multiple=128, **options)
    right = [is_correct(so_far + rollout, GOLD) for rollout in written.texts[0]]
    success.append(np.mean(right))
    print(f"behind {step.strip():<9} {sum(right)} of {K} rollouts reach {GOLD}")
success.append(float(is_correct(CHAIN, GOLD)))

# %% [markdown]
# The library gives the same labels. It writes the rollouts of all steps of all chains in one batch,
# and labels a beginning that several chains share only once.

# %%
of_one = [prompt], [[CHAIN]], [GOLD]
[labelled], _ = monte_carlo_labels(toy, run.key, *of_one, num_rollouts=K, **options)
assert labelled.success.tolist() == success

# %% [markdown]
# ## The algorithm in plain code: the loss
#
# Both judges are the language model with one number at the top in place of a vocabulary. At the
# token that ends step $i$ they say $p_i = \sigma(z_i)$, the probability that all is right so far.
# The loss is the cross-entropy with the labels $y_i$. We use *hard* labels: 1 if any rollout was
# right. NaN means "no label here". Steps after the first error say little new, so we mask them;
# the annotators of Lightman et al. stopped there. The ORM has one label, at the last step.


# %%
def plain_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean cross-entropy ``[]`` of steps ``[S]``, in nats."""
    counts = ~jnp.isnan(labels)
    y = jnp.where(counts, labels, 0.0)  # NaN times 0 is NaN, in the gradient too
    p = jax.nn.sigmoid(logits)
    each = -y * jnp.log(p) - (1 - y) * jnp.log(1 - p)
    return jnp.where(counts, each, 0.0).sum() / counts.sum()


hard = np.float32(np.array(success) > 0)
behind_error = np.arange(len(hard)) > hard.argmin()  # argmin: the first 0
labels = np.where(behind_error, np.nan, hard)

# %% [markdown]
# There is no `loss.backward()` in JAX. `jax.value_and_grad` turns a function into one that also
# returns its gradient. The gradient pulls $z_i$ by $(p_i - y_i)$ over the number of labels, and
# steps without a label by nothing.

# %%
judge = rm.load_reward_model(f"{toy.name}-prm", toy)
p = rm.step_scores(judge, [prompt], [[CHAIN]])[0, 0]
loss, gradient = jax.value_and_grad(plain_loss)(np.log(p / (1 - p)), labels)
print(f"{'step':<12}{'soft':>6}{'hard':>6}{'label':>7}{'p':>8}{'gradient':>10}")
for step, *row in zip(steps, success, hard, labels, p, gradient, strict=True):
    print(f"{step.strip():<12}{row[0]:6.2f}{row[1]:6.0f}{row[2]:7.0f}{row[3]:8.3f}{row[4]:10.3f}")
print(f"loss: {loss:.4f} nats")

# %% [markdown]
# The library's loss reads many chains packed into rows of tokens, with a label at each token that
# ends a step. That token is found by its *bytes*. Many tokenizers merge a newline with the full
# stop before it, and code that looks for a lone newline token sees one step where there are four.

# %%
example = examples(toy.tokenizer, [labelled], "prm", mask_after_error=True)
batch = pack_examples(example, rows=1, length=128, pad_id=toy.tokenizer.pad_token_id)
library_loss, _ = jax.jit(reward_loss, static_argnames="cfg")(judge.params, batch, cfg=judge.cfg)
assert np.isclose(loss, library_loss, rtol=1e-3)
assert np.allclose(gradient, np.where(behind_error, 0, p - hard) / (~behind_error).sum(), atol=1e-5)

# %% [markdown]
# ## How good are labels without a teacher?
#
# We label chains for validation problems and compare with the exact checker. A hard label errs in
# two ways. The policy may fail to finish from a right step. Or it comes out right after a wrong
# one, by luck or by a second slip.

# %%
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
    sampler=Sampler(temperature=0.7),
    max_new_tokens=run.max_new_tokens,
    description="rollouts",
)

# %% [markdown]
# The checker judges the same steps. What the labels cost is counted, too.

# %%
soft, exact = [], []
asked = dict(zip(few_texts, few, strict=True))
for chain in labelled:
    verdicts = arithmetic.check_steps(asked[chain.prompt], chain.text)
    soft += chain.success[: len(verdicts)].tolist()
    exact += verdicts
soft, exact = np.array(soft), np.array(exact)
run.measure("labels/hard are right", (soft > 0) == exact)
if 1 < exact.sum() < len(exact) - 1:
    run.measure("labels/AUC of soft", auc(soft, exact))
each = cost.tokens / cost.steps
run.measure("labels/tokens per step", Interval(each, each, each, cost.steps))
print(f"{cost.steps} labels: {cost.rollouts} rollouts, {cost.tokens} tokens, {each:.0f} a label")

# %% [markdown]
# ## Who finds the first error?
#
# A policy errs where it knows no better, so a judge made of its own weights can tell little more
# than unlikely steps. Our judges start from the policy with two more blocks, trained on as a
# language model on worked solutions. Their last input is the probability of the least likely token
# so far. `python checkpoints/train_rm.py tiny-prm` trains them; their cards have the recipe.
#
# The policy writes chains for held-out problems at temperature 1. All judges score every step. The
# ORM was never asked about a step; we read it as if each beginning were the whole solution. One
# more judge was never trained: its score is the probability of the least likely token so far.

# %%
N = run.chains
problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
texts, golds = [prompts.zero_shot_cot(p.question) for p in problems], [p.answer for p in problems]
chains = run.complete(
    run.key, texts, sampler=Sampler(1.0), num_samples=N, description=f"{N} chains at T=1"
)
correct = grade(chains.texts, golds)  # [G, N]


def scores_of(name: str) -> np.ndarray:
    """`[G, N, S]` what the shipped reward model says of each step, such as "prm-1200"."""
    reward = rm.load_reward_model(f"{run.model.name}-{name}", run.model)
    return rm.step_scores(reward, texts, chains.texts, description=name.upper())


scores = {"PRM": scores_of("prm"), "ORM": scores_of("orm")}
itself = rm.from_policy(run.model, "prm")
kernel = itself.params["head"]["kernel"]  # its last input is p of the least likely token
itself.params["head"]["kernel"] = kernel.at[-1].set(1.0)
by_policy = rm.step_scores(itself, texts, chains.texts, description="the policy")

# %% [markdown]
# JAX arrays cannot be changed in place. `kernel.at[-1].set(1.0)` returns a changed copy.
#
# The truth comes from the checker: a step is right if it and all before it are. The checker does
# not judge the answer line, so that is NaN.

# %%
truth = np.full(scores["PRM"].shape, np.nan)  # [G, N, S]
for g, n in np.ndindex(correct.shape):
    verdicts = arithmetic.check_steps(problems[g], "".join(split_steps(chains.texts[g][n])))
    truth[g, n, : len(verdicts)] = verdicts
judged = ~np.isnan(truth) & ~np.isnan(scores["PRM"])
wrong_chain = (truth == 0).any(-1)  # [G, N]
has_error = wrong_chain.any(-1)  # [G]
found = {}  # judge: [G'] share of a problem's wrong chains whose first error is found


def judge_steps(name: str, values: np.ndarray) -> None:
    """Measures how scores `[G, N, S]` rank steps, and how often they find the first error."""
    run.measure(f"step AUC/{name}", auc(values[judged], truth[judged] == 1))
    hit = (rm.first_error(values) == rm.first_error(truth)) & wrong_chain
    found[name] = hit.sum(-1)[has_error] / wrong_chain.sum(-1)[has_error]
    run.measure(f"first error found/{name}", found[name])


# %% [markdown]
# The *step AUC* is the chance that a right step outscores a wrong one. The first error is *found*
# if the first step below 1/2 is the first wrong one. The recipe is the same for fewer chains and
# for more:

# %%
for name, values in scores.items():
    judge_steps(name, values)
for count, suffix in (("1,200", "1200"), ("12,000", "12000")):
    for kind in ("PRM", "ORM"):
        judge_steps(f"{kind}, {count} chains", scores_of(f"{kind.lower()}-{suffix}"))
of_policy = auc(by_policy[judged], truth[judged] == 1)
run.measure("step AUC/the policy's least likely token", of_policy)
of_prm = auc(scores["PRM"][judged], truth[judged] == 1)
run.claim("PRM from Monte Carlo labels alone: step AUC >= 0.95", of_prm, at_least=0.95)
for learned, of_count in (("", ""), ("learned from 1,200 chains, ", ", 1,200 chains")):
    run.claim(
        f"{learned}the PRM finds the first error more often than the ORM, by >= 20 points",
        paired_difference(found[f"PRM{of_count}"], found[f"ORM{of_count}"]),
        at_least=0.2,
        excludes_zero=True,
    )

# %% [markdown]
# From few solutions to many:

# %%
COUNTS = {"1,200": ", 1,200 chains", "6,000": "", "12,000": ", 12,000 chains"}
rates = {kind: [found[kind + of_count] for of_count in COUNTS.values()] for kind in ("PRM", "ORM")}
both = [f"{a.mean():.0%} and {b.mean():.0%}" for a, b in zip(*rates.values(), strict=True)]
run.bars(
    "first_error",
    list(COUNTS),
    rates,
    title="First errors found by the PRM and the ORM,\n"
    f"from 1,200 chains {both[0]}, from 6,000 {both[1]},\nfrom 12,000 {both[2]}",
    xlabel="labelled chains that they learned from "
    f"(n = {has_error.sum()} problems with a wrong chain)",
    ylabel="first error found (95% interval)",
)

# %% [markdown]
# ## What surprised us
#
# - An outcome says *that* one of five steps was wrong, and not which. From 12,000 outcomes the ORM
#   works it out all the same: it finds 85% of the first errors, and the PRM 89%.
# - From 1,200 it learns nothing about steps: its AUC is 0.49, and 0.5 is chance.
# - Hard labels of eight rollouts agree with the exact checker on 399 of 400 steps. They are not
#   cheap: 128 tokens a label, where a whole chain has 39.
#
# ## When it does not work
#
# Look at these, in this order:
#
# - **the number of scores per chain**: one score for four lines means that step ends are not found.
# - **the share of labels that are 0**: if it is near 0 or 1, the problems are too easy or too hard
#   for this policy, and there is nothing to learn.
# - **right steps with label 0**: the policy could not finish. Use more rollouts.
# - **loss near $\ln 2 = 0.69$**: the judge has learned nothing yet. A loss of exactly 0 means that
#   all labels are equal, or that the mask hides them.
#
# ## Exercises
#
# `jaxreason check 04` writes `exercises_04.py` for you to fill in, and checks your answers:
#
# 1. `labels`: soft and hard labels from rollouts.
# 2. `loss`: the masked cross-entropy, safe for large logits.
# 3. `first_error`: where a chain goes wrong, by its scores.
# 4. `MISSED`: predict how often a right step gets the hard label 0.
# 5. `LUCKY`: break it. Write a wrong solution that no answer gives away.
#
# Lesson 04b asks what the scores mean, and how those of the steps become one of the chain.

# %%
run.finish()
