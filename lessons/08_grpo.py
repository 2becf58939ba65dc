# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 08 Group relative policy optimisation
#
# **Can a model learn to reason if all it is ever told is whether its answer was right?**
#
# Yes. The model writes several chains for each question, and training makes the right ones likelier
# (GRPO; Shao et al. 2024). We took 500 problems that no model here was trained on. One sampled
# chain was right 43% of the time before training, and 70% after 200 steps (four runs, 70% to 71%).
# Nobody showed the model a line of reasoning.
#
# ![accuracy against training steps](../docs/results/08_grpo/learning.png)
#
# At the end of this lesson you can
#
# - compute rewards, advantages and the clipped loss of a group of chains by hand;
# - make one update with `jax.grad`, and say what clip and KL term do in the next one;
# - read the numbers that tell why a policy learns nothing.
#
# By default the lesson trains one policy, for about five minutes on two cores. The reported results
# come from `--seeds 4`. Ctrl-C saves the state, and the same command goes on from there. Lesson 08b
# tests what each part is for, and shows a reward that is cheated. Lesson 08c trains without labels.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options("08_grpo", problems=500, model="tiny-start", chains=16, seeds=1, trains=True)

# %%
import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.course import lesson, policies, policy_runs
from jaxreason.decoding import prompts
from jaxreason.evaluation.intervals import paired_difference
from jaxreason.evaluation.outcomes import over_seeds
from jaxreason.models.decoder import forward
from jaxreason.models.tokens import pad_left
from jaxreason.tasks import arithmetic
from jaxreason.training import grpo, token_rewards
from jaxreason.training.grpo_batch import GroupBatch, grpo_loss

run = lesson.start(GIVEN, cpu_devices=2)
RECIPE = policy_runs.SMOKE if run.options.quick else policy_runs.Recipe()
# What this lesson cannot train or spread is refused before anything is measured.
token_rewards.exact_match(run.model.tokenizer)
policy_runs.check_mesh(RECIPE, run.mesh)

# %% [markdown]
# ## The algorithm in plain code
#
# We take one question and four chains. A model would write the chains; here we write them by hand.
# The reward is 1 if the answer behind `####` is right, else 0.

# %%
QUESTION, GOLD = (
    "Ann has 35 dollars. She gets 14 more. Then she uses 6 of them. How many dollars are left?",
    43,
)
CHAINS = [
    "35+14=49\n49-6=43\n#### 43",
    "35+14=49\n49+6=55\n#### 55",
    "35+14=59\n59-6=53\n#### 53",
    "35-14=21\n21-6=15\n#### 15",
]
rewards = np.array([float(chain.split("#### ")[1] == str(GOLD)) for chain in CHAINS])
advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
print("rewards   ", rewards)
print("advantages", advantages.round(2))

# %% [markdown]
# The *advantage* $A_i = (r_i - \mathrm{mean}(r)) / \mathrm{std}(r)$ says how much better a chain is
# than the others of its group. The group's mean is the baseline, so GRPO needs no critic. If all
# four rewards were equal, all advantages would be 0, and the group would teach nothing.
#
# Next we need the log-probability of every token of the chains. Chains differ in length, so the
# array is padded, and a mask says which tokens are real.

# %%
toy = run.toy
prompt_ids = toy.tokenizer(prompts.zero_shot_cot(QUESTION), add_special_tokens=False).input_ids
ended = [chain + toy.tokenizer.eos_token for chain in CHAINS]
ids = toy.tokenizer(ended, add_special_tokens=False).input_ids
lengths = np.array([len(chain) for chain in ids])
mask = np.arange(lengths.max()) < lengths[:, None]  # [N, T]
tokens = np.zeros(mask.shape, np.int32)
tokens[mask] = np.concatenate(ids)


def logprobs_of(params) -> jax.Array:
    """``[N, T]`` log p of every token, given the prompt and the tokens before it."""
    prompt = np.tile(prompt_ids, (len(tokens), 1))
    whole = jnp.concatenate([prompt, tokens], axis=1)
    positions = jnp.broadcast_to(jnp.arange(whole.shape[1]), whole.shape)
    logits, _ = forward(params, whole, positions, cfg=toy.cfg)
    next_token = jax.nn.log_softmax(logits[:, len(prompt_ids) - 1 : -1])  # before each token
    return jnp.take_along_axis(next_token, tokens[..., None], axis=-1)[..., 0]


# %% [markdown]
# Now the loss. With the ratio $\rho_{i,t} = \pi_\theta(o_{i,t}) / \pi_{old}(o_{i,t})$ it is
# $$L = -\frac1N \sum_i \frac1{|o_i|} \sum_t \Big[ \min\big(\rho_{i,t} A_i,\
# \mathrm{clip}(\rho_{i,t}, 1-\epsilon, 1+\epsilon)\, A_i\big) - \beta D_{i,t} \Big], \quad
# D_{i,t} = \tfrac{\pi_{ref}}{\pi_\theta} - \log \tfrac{\pi_{ref}}{\pi_\theta} - 1.$$
# The clip pays no gain for moving a token further than $\epsilon$ from the policy that wrote it.
# $D$ estimates the KL divergence from a frozen reference, here the policy before training. It is
# never negative, and it holds the policy near the reference.

# %%
EPSILON, BETA = 0.2, 0.04
scored = jax.jit(logprobs_of)
old = reference = scored(toy.params)


def plain_loss(params) -> jax.Array:
    new = logprobs_of(params)
    ratio = jnp.exp(new - old)
    clipped = jnp.clip(ratio, 1 - EPSILON, 1 + EPSILON)
    gain = jnp.minimum(ratio * advantages[:, None], clipped * advantages[:, None])
    kl = jnp.exp(reference - new) - (reference - new) - 1
    per_token = jnp.where(mask, gain - BETA * kl, 0.0)
    return -(per_token.sum(1) / lengths).mean()


# %% [markdown]
# In PyTorch you would call `loss.backward()` and find the gradients in `.grad`. In JAX
# `jax.value_and_grad(plain_loss)` is a new function. It takes the same arguments, and returns the
# loss and its gradient by the first argument. The parameters are a nested dict of arrays, a
# *pytree*. The gradient is a dict of the same shape, and `jax.tree.map` goes through both.

# %%
RATE = 0.01
loss_and_grads = jax.jit(jax.value_and_grad(plain_loss))
loss, grads = loss_and_grads(toy.params)
updated = jax.tree.map(lambda w, g: w - RATE * g, toy.params, grads)

new = scored(updated)
for n, chain in enumerate(CHAINS):
    log_p, log_p_now = old[n][mask[n]].sum(), new[n][mask[n]].sum()
    print(f"A {advantages[n]:+.2f}  log p {log_p:7.2f} -> {log_p_now:7.2f}  {chain!r}")

# %% [markdown]
# The step made the right chain likelier and the wrong chains less likely. At this first update all
# ratios were 1. From the second on, clip and KL matter: some ratios have left $1 \pm \epsilon$.

# %%
ratio = np.exp(new - old)[mask]
outside = np.abs(ratio - 1) > EPSILON
print(f"ratios {ratio.min():.2f} to {ratio.max():.2f}, {outside.sum()} of {len(ratio)} are outside")
second_loss, second_grads = loss_and_grads(updated)
print(f"loss {loss:.4f} -> {second_loss:.4f}")

# %% [markdown]
# The library has the same loss for B groups at once, and reads a prompt once for all of its chains.
# Both updates agree with it, gradient by gradient.

# %%
batch = GroupBatch(
    prompt=pad_left([np.array(prompt_ids)], toy.tokenizer.pad_token_id),
    tokens=tokens[None],
    mask=mask[None],
    logprobs=old[None],
    reference=reference[None],
    advantages=jnp.broadcast_to(grpo.group_advantages(rewards[None])[..., None], (1, *mask.shape)),
    weights=grpo.token_weights(mask[None], "sequence"),
)
library = jax.jit(jax.grad(grpo_loss, has_aux=True), static_argnames=("cfg", "objective"))
for params, plain, plain_grads in ((toy.params, loss, grads), (updated, second_loss, second_grads)):
    its_grads, its_metrics = library(params, batch, cfg=toy.cfg, objective=grpo.GRPO)
    np.testing.assert_allclose(its_metrics["loss"], plain, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), its_grads, plain_grads)

# %% [markdown]
# Everything else is a loop around this. `jaxreason/training/grpo_minimal.py` has the whole loop in
# one file. Read it now: it is the loss above and four numbered steps, from questions to weights.
#
# ## Before training
#
# We measure one greedy chain, and 16 chains at temperature 1, the temperature that training samples
# at. Between pass@1 and pass@16 lies what the policy can do but does not do reliably. GRPO needs
# this gap: it learns only from groups in which one chain is right and another wrong.

# %%
problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
operations = np.array([problem.num_operations for problem in problems])
before = policies.measure_policy(run, "before", run.model.params, problems)

# %% [markdown]
# ## Training
#
# `tiny-start` has seen 2,000 worked solutions, and we suppose that we cannot get more. Questions
# with known answers are free. A step draws 8 chains for each of 112 questions and updates the
# weights once. It learns from the 64 questions with right *and* wrong chains first (dynamic
# sampling, Yu et al. 2025).
#
# Why so many? A chain of forty tokens is paid one bit, and nobody knows which token deserved it.
# The gradients of two batches of 16 questions hardly point the same way: at this start their mean
# cosine is 0.01. The policy learns from what remains when many are averaged.
#
# For the same reason we replace the group's mean by the baseline of least variance: the mean of the
# rewards, each weighted by the squared length of its chain's gradient (Greensmith et al. 2004).
# That is one option of the loss in `training/grpo.py`. Others: Dr. GRPO drops the std and
# $1/|o_i|$, DAPO clips upwards later, RLOO leaves $r_i$ out of its own baseline, GSPO has one ratio
# for a whole chain.
#
# The whole step is one compiled program, from the questions to the new weights. It is jitted with
# `donate_argnums`: the new weights take the memory of the old ones, which are gone afterwards.
#
# Every 25 steps we measure the policy on 200 *validation* problems, and keep the best of these
# policies. Choosing by the test problems would be cheating.

# %%
ALL, SEEDS = run.seeds > 1, [run.options.seed + i for i in range(run.seeds)]
step, tx = policies.compile_grpo(run, RECIPE)
trained = [policies.train_grpo(run, RECIPE, step, tx, seed) for seed in SEEDS]
minutes = [RECIPE.num_steps * float(t.seconds_a_step) / 60 for t in trained]
run.measure("minutes of training", over_seeds(minutes))
learned = policies.learning_curve(trained)
start, best = learned[0].value, max(interval.value for interval in learned)
run.curves(
    "learning",
    range(0, RECIPE.num_steps + 1, RECIPE.every),
    {"validation problems": learned},
    title=f"From answers alone, pass@1 goes from {start:.0%} to {best:.0%}\n"
    f"in {RECIPE.num_steps} steps, {np.mean(minutes):.1f} minutes a run",
    xlabel=f"steps of {RECIPE.num_prompts} questions x {RECIPE.num_samples} chains",
    ylabel="pass@1 at T = 1 " + ("(mean, lowest, highest run)" if ALL else "(95% interval)"),
)

# %% [markdown]
# ## After training
#
# Now the test problems, with the policy that was best on the validation problems. Few of them share
# a depth, so we measure what is lost at each depth (gains are negative) and claim nothing about it.

# %%
after = [
    policies.measure_policy(run, f"GRPO, seed {seed}", t.params, problems)
    for seed, t in zip(SEEDS, trained, strict=True)
]
for seed, policy in zip(SEEDS, after, strict=True):
    of = f", seed {seed}" if ALL else ""
    if run.as_measured and not run.options.quick:
        gained = paired_difference(policy.one, before.one)
        at_once = paired_difference(policy.greedy, before.greedy)
        one, first = f"of pass@1 at T=1{of}", f"of greedy accuracy{of}"
        run.claim(f"GRPO gains >= 25 points {one}", gained, at_least=0.25, excludes_zero=True)
        run.claim(f"GRPO gains >= 15 points {first}", at_once, at_least=0.15, excludes_zero=True)
    else:
        run.claim_better(f"GRPO gains pass@1 at T=1{of}", policy.one, before.one)
    for depth in np.unique(operations):
        at = operations == depth
        lost = paired_difference(before.one[at], policy.one[at])
        run.measure(f"difference/pass@1 at {depth} operations, before-after{of}", lost)

# %% [markdown]
# Is the policy able to do more, or does it do reliably what it could do before? Compare the gain of
# one chain with the gain of the best of many.

# %%
N = run.chains
one_after = np.mean([policy.one for policy in after], axis=0)
any_after = {k: np.mean([policy.any_of[k] for policy in after], axis=0) for k in before.any_of}
gained = paired_difference(any_after[N], before.any_of[N])
of_one = 100 * (one_after - before.one).mean()
run.measure(f"difference/pass@{N}, after-before", gained)
run.curves(
    "pass_at_k",
    list(any_after),
    {"after GRPO": any_after.values(), "before": before.any_of.values()},
    title=f"One chain gains {of_one:.0f} points, the best of {N} gains {100 * gained.value:.0f}",
    xlabel="k, chains sampled at T = 1",
    ylabel="pass@k (95% interval)",
    log2=True,
)

# %% [markdown]
# ## What the policy says about itself
#
# Every step records why it may learn nothing. We print the means of the first and the last tenth of
# the steps. `watch.Watch` ends a run in which nothing has been learned for 20 steps.

# %%
log = policy_runs.read_log(policies.training_folder(run, RECIPE, SEEDS[0]))
tenth = max(1, RECIPE.num_steps // 10)
SIGNS = ("solved", "zero_variance", "truncated", "entropy", "clip_fraction", "grad_norm", "length")
for name in SIGNS:
    print(f"{name:<14} {log[name][:tenth].mean():8.3f} -> {log[name][-tenth:].mean():8.3f}")

# %% [markdown]
# ## What surprised us
#
# - GRPO mostly makes answers likelier that the model could already find: one chain gains 27 points,
#   the best of 16 gains 5.
# - Hard problems gained most. At two operations one chain gained 8 points, at five 41.
#
# ## When it does not work
#
# Look at these, in this order:
#
# - **solved** near 0 or 1, or **zero_variance** near 1: all chains of a question are worth the
#   same, and nothing is learned. Take easier or harder questions, or more chains of each.
# - **truncated** over 0.5: most chains end before their answer. Raise `max_new_tokens`.
# - **the reward**: read ten chains that are paid. Are they right? Lesson 08b shows one that is
#   cheated.
# - **entropy** near 0, **clip_fraction** over 0.3, jumps of **grad_norm**: lower the learning rate.
#
# ## Exercises
#
# `jaxreason check 08` writes `exercises_08.py` for you to fill in, and checks your answers:
#
# 1. `group_advantages`: how much better each chain is than its group.
# 2. `clipped_loss`: the loss of GRPO, with the mask of its tokens.
# 3. `leave_one_out`: improve the baseline, so that a chain is not part of its own (RLOO).
# 4. `CLIPPED_TOKENS`: predict which tokens have no gradient.
# 5. `CHEAT`: break it. Write a wrong chain that a careless reward pays.
# 6. `vote_reward`: the reward of a vote, without labels (lesson 08c).

# %%
run.finish()
