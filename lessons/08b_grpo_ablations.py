# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 08b What GRPO needs, and how it is cheated
#
# **Is it the reward that teaches, and what happens if the reward is careless?**
#
# The policy learns what it is paid for. Paid for a text that contains the right number *somewhere*,
# it earned 55% after 50 steps and was right 9% of the time. Before that training it was right 43%
# of the time. Paid for the exact answer, it is right 70% of the time. And the training time alone
# explains little: as many minutes of supervised training reached 51%.
#
# ![paid and right over the steps](../docs/results/08b_grpo_ablations/reward_hacking.png)
#
# At the end of this lesson you can
#
# - test a reward before you train with it, and see that it is cheated while you train;
# - build a control that costs the same time;
# - say what a high learning rate, the KL term and a critic do to this training.
#
# The lesson takes the policies that lesson 08 left under the same `--out`. If there are none, it
# trains them first, for five minutes each. Control and ablations run with `--seeds 4`. Ctrl-C saves
# the state, and the same command goes on from there.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options(
    "08b_grpo_ablations", problems=500, model="tiny-start", chains=16, seeds=1, trains=True
)

# %%
import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreason.course import lesson, policies, policy_runs, sft_arithmetic
from jaxreason.decoding.rollout import Rollout
from jaxreason.evaluation.intervals import mean_interval
from jaxreason.mesh import shard_params
from jaxreason.tasks import arithmetic
from jaxreason.training import loop, ppo, sft, token_rewards

run = lesson.start(GIVEN, cpu_devices=2)
QUICK = run.options.quick
RECIPE = policy_runs.SMOKE if QUICK else policy_runs.Recipe()
FEW = 2 if QUICK else 50  # steps of an ablation
tokenizer = run.model.tokenizer
exact = token_rewards.exact_match(tokenizer)  # refuses a model that this lesson cannot train
policy_runs.check_mesh(RECIPE, run.mesh)

# %% [markdown]
# ## Two rewards in plain code
#
# A verifier that looks for the answer somewhere in the text is easy to write. It finds 7 in 17. It
# also finds the answer in a step, or behind a wrong `####`.


# %%
def plain_exact(text: str, gold: int) -> float:
    return float(text.rpartition("#### ")[2] == str(gold) and "#### " in text)


def plain_contains(text: str, gold: int) -> float:
    return float(str(gold) in text)


GOLD = 7
TEXTS = ["3+4=7\n#### 7", "3+14=17\n#### 17", "7+0=7\n#### 8", "3+4=8\n#### 8"]
for text in TEXTS:
    print(
        f"exact {plain_exact(text, GOLD):.0f}  contains {plain_contains(text, GOLD):.0f}  {text!r}"
    )

# %% [markdown]
# Training calls the reward for a thousand chains a step. The library reads it off the tokens, on
# the device, inside the compiled step. On our four texts it says the same.

# %%
ids = [tokenizer(t + tokenizer.eos_token, add_special_tokens=False).input_ids for t in TEXTS]
mask = np.arange(max(map(len, ids))) < np.array(list(map(len, ids)))[:, None]
tokens = np.zeros(mask.shape, np.int32)
tokens[mask] = np.concatenate(ids)
answer = np.array([tokenizer(f" {GOLD}", add_special_tokens=False).input_ids])  # [1, A]
written = Rollout(
    tokens=tokens[None],
    mask=mask[None],
    logprobs=np.zeros((1, *mask.shape)),
    finished=np.ones((1, len(TEXTS)), bool),
)
for plain, fast in ((plain_exact, exact), (plain_contains, token_rewards.contains)):
    assert fast(written, answer)[0].tolist() == [plain(text, GOLD) for text in TEXTS]

# %% [markdown]
# ## A reward that is cheated
#
# First the policy before training, and those of lesson 08, which were paid for the exact answer.

# %%
problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
golds = [problem.answer for problem in problems]
SEEDS = [run.options.seed + i for i in range(run.seeds)]
step, tx = policies.compile_grpo(run, RECIPE)
trained = [
    policies.saved_policy(run, RECIPE, seed) or policies.train_grpo(run, RECIPE, step, tx, seed)
    for seed in SEEDS
]
before = policies.measure_policy(run, "before", run.model.params, problems)
after = [
    policies.measure_policy(run, f"GRPO, seed {seed}", t.params, problems)
    for seed, t in zip(SEEDS, trained, strict=True)
]
one_after = np.mean([policy.one for policy in after], axis=0)

# %% [markdown]
# Now the same training from the same start, but paid for substrings. We measure the policy with
# both rewards.


# %%
def ablate(name: str, **options) -> policy_runs.Trained:
    """A short run of GRPO that differs from lesson 08 in its options."""
    step, tx = policies.compile_grpo(run, RECIPE, **options)
    return policy_runs.train_policy(
        *(run.model, RECIPE, step, tx, run.kept(name, RECIPE, FEW)),
        seed=run.options.seed,
        num_steps=FEW,
        description=name,
    )


hacked = ablate("substring reward", reward_fn=token_rewards.contains)
cheat = policies.measure_policy(run, "substring reward", hacked.last, problems)


def paid(policy: policies.Measured) -> np.ndarray:
    """``[G, N]`` what the careless verifier says."""
    rows = zip(golds, policy.texts, strict=True)
    return np.array([[str(gold) in text for text in row] for gold, row in rows])


# %% [markdown]
# A chain that is paid and wrong looks like this. Reading ten of them is the best test of a reward.

# %%
paid_before, paid_after = paid(before), paid(cheat)
wrong = np.argwhere(paid_after & (cheat.sampled == 0))
if len(wrong):
    i, n = wrong[len(wrong) // 2]
    print(f"paid, and wrong:\n{problems[i].question} ({golds[i]})\n{cheat.texts[i][n]}\n")
run.measure("substring reward/paid, before", paid_before.mean(1))
run.measure("substring reward/paid, after", paid_after.mean(1))
run.claim_better(
    "training on substrings widens the gap between paid and right",
    paid_after.mean(1) - cheat.one,
    paid_before.mean(1) - before.one,
)
run.claim_better("trained on exact matches the policy is right more often", one_after, cheat.one)

# %% [markdown]
# The reward rises while accuracy collapses. The reward alone would look like progress.

# %%
log = policy_runs.read_log(run.kept("substring reward", RECIPE, FEW))
at = list(range(0, FEW + 1, RECIPE.every))
ends = [(max(0, step - RECIPE.every), max(step, 1)) for step in at]  # between two validations
earned = [mean_interval(log["solved"][a:b]) if b - a > 1 else None for a, b in ends]
shown = {
    "paid by the substring reward (training questions)": earned,
    "right, of the same run": policies.learning_curve([hacked]),
    "right, trained on exact matches": policies.learning_curve(trained[:1])[: len(at)],
}
money, right, exactly = (f"{x.mean():.0%}" for x in (paid_after, cheat.one, one_after))
run.curves(
    "reward_hacking",
    at,
    shown,
    title=f"Paid for substrings, the policy earns {money} and is right in {right};\n"
    f"paid for the answer alone, it is right in {exactly} (test problems)",
    xlabel="step",
    ylabel="share of chains at T = 1 (95% interval)",
)

# %% [markdown]
# ## The control (`--seeds 4`)
#
# Is it the reward, or only the time? The control spends the same minutes on more supervised
# training. It uses the 2,000 solutions, expressions and drills that `tiny-start` was made of. The
# learning rate rises and falls once more. The best policy on the validation problems is kept.

# %%
RATE = 1e-3
sft_batch = sft_arithmetic.solution_batches(tokenizer, run.options.seed)


def fine_tune(name: str, num_steps: int, every: int, validate) -> tuple[loop.Fitted, float]:
    """The policy after more supervised training, and the seconds that a step took."""
    schedule = optax.warmup_cosine_decay_schedule(0, RATE, num_steps // 10, num_steps, RATE / 50)
    adam = optax.adamw(schedule, b2=0.95, weight_decay=0.05)
    tx = optax.chain(optax.clip_by_global_norm(1.0), adam)
    update = loop.make_update(functools.partial(sft.sft_loss, cfg=run.model.cfg), tx, 4)
    folder = run.kept(name, RATE, num_steps, every)
    state = loop.init_state(jax.tree.map(jnp.copy, run.model.params), tx)
    fitted = loop.fit_best(
        *(state, update, sft_batch, num_steps, folder),
        validate=validate,
        every=every,
        log_every=10,
        description=name,
    )
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    return fitted, (rows[-1]["seconds"] - rows[0]["seconds"]) / 10


# %% [markdown]
# How many steps take the same minutes as GRPO? We time twenty steps first.


# %%
def validation_score(params) -> float:
    return float(policy_runs.validate(run.model._replace(params=params), RECIPE).mean())


if len(SEEDS) > 1:
    _, seconds = fine_tune("further SFT", 20, 20, lambda params: 0.0)
    of_grpo = RECIPE.num_steps * np.mean([t.seconds_a_step for t in trained])
    every = max(10, int(of_grpo / seconds / 6))
    further, _ = fine_tune("further SFT", 6 * every, every, validation_score)
    control = policies.measure_policy(run, "further SFT", further.best.params, problems)
    run.claim_better("GRPO beats further SFT of the same minutes at pass@1", one_after, control.one)

# %% [markdown]
# ## The ablations (`--seeds 4`)
#
# One run each. *Centred* takes the group's mean for a baseline, and does not divide by the std. Two
# runs have a learning rate five times as high, without and with the KL term. The last is PPO, whose
# critic first has to learn what the mean of a group says for nothing.

# %%
HOT, WITH_KL = 5 * policies.LEARNING_RATE, dataclasses.replace(policies.OBJECTIVE, kl_coef=0.1)
CENTRED = dataclasses.replace(policies.OBJECTIVE, advantages="centred")
runs = {}
if len(SEEDS) > 1:
    runs["as above (least_variance, no KL)"] = trained[0]
    runs["centred advantages"] = ablate("centred", objective=CENTRED)
    runs["5 x learning rate, no KL"] = ablate("5 x lr, no KL", learning_rate=HOT)
    runs["5 x learning rate, KL 0.1"] = ablate("5 x lr, KL", learning_rate=HOT, objective=WITH_KL)
    tx = policy_runs.make_optimizer(RECIPE, policies.LEARNING_RATE, run.mesh)
    step = policy_runs.compile_step(ppo.make_ppo_step, run.model, RECIPE, tx, reward_fn=exact)
    runs["PPO with a critic"] = policy_runs.train_policy(
        *(run.model, RECIPE, step, tx, run.kept("PPO", RECIPE, FEW)),
        seed=run.options.seed,
        num_steps=FEW,
        params=shard_params(ppo.init_critic(run.model.params), run.mesh),
        policy=lambda params: params["policy"],
        description="PPO",
    )

# %% [markdown]
# All of them beside the first steps of lesson 08:

# %%
if runs:
    curves = {name: policies.learning_curve([t])[: len(at)] for name, t in runs.items()}
    for name, curve in curves.items():
        run.measure(f"ablation/{name}, {FEW} steps", curve[-1])
    hot = runs["5 x learning rate, no KL"].scores
    run.claim_better(
        "at five times the learning rate, without KL, the policy ends below its start",
        hot[0],
        hot[-1],
    )
    ends = [f"{curve[-1].value:.0%}" for curve in curves.values()]
    run.curves(
        "ablations",
        at,
        curves,
        title=f"After {FEW} steps: {ends[0]}; centred advantages {ends[1]};\n"
        f"5 x the learning rate {ends[2]}, with KL {ends[3]}; PPO {ends[4]}",
        xlabel="step",
        ylabel="pass@1 at T = 1, validation (95% interval)",
    )

# %% [markdown]
# ## What surprised us
#
# - Fifty steps with the careless reward destroyed the policy: from 43% right to 9%. Its reward
#   still rose, from 48% to 55%.
# - At five times the learning rate nothing is left: 0% after 50 steps. The KL term keeps 6.5%.
# - PPO learned nothing in 50 steps (42%, as at the start), while GRPO reached 56%.
#
# ## When it does not work
#
# - **Paid and right drift apart**: keep some problems whose exact answers you trust, and measure
#   both. If only the reward rises, it is cheated.
# - **The control gains as much**: then the time teaches, not the reward.
# - **The policy falls below its start**: lower the learning rate first. A KL term slows the fall
#   and does not stop it.
#
# ## Exercises
#
# Those of lesson 08 are about this lesson too: `jaxreason check 08`. Number 5 asks for a chain
# that cheats.

# %%
run.finish()
