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
# So far the weights stayed as they were. Now a model learns to reason from **answers alone**: it
# writes chains, a verifier says which of them ended in the right number, and training makes those
# chains likelier. Nobody shows the model a line of reasoning.
#
# A group of $N$ chains $o_1, \dots, o_N$ of one question gets rewards $r_i \in \{0, 1\}$. Its mean
# is the baseline, so there is no critic (GRPO; Shao et al. 2024):
# $$A_i = \frac{r_i - \mathrm{mean}(r)}{\mathrm{std}(r)}, \qquad
# \rho_{i,t} = \frac{\pi_\theta(o_{i,t} \mid q, o_{i,<t})}
# {\pi_{old}(o_{i,t} \mid q, o_{i,<t})},$$
# $$L = -\sum_{i,t} w_{i,t} \min\big(\rho_{i,t} A_i,\
# \mathrm{clip}(\rho_{i,t}, 1-\epsilon_{low}, 1+\epsilon_{high})\, A_i\big) +
# \beta \sum_{i,t} w_{i,t}\, \Big(\tfrac{\pi_{ref}}{\pi_\theta} -
# \log \tfrac{\pi_{ref}}{\pi_\theta} - 1\Big).$$
#
# At the first update of a rollout $\rho = 1$, and the gradient is that of REINFORCE with a
# baseline. The clip matters from the second on: no gain is paid for moving a token further than
# $\epsilon$ from the policy that wrote it. The last term, an estimate of the KL divergence that is
# never negative (k3), holds the policy near a frozen reference.
#
# The variants are options of this one loss (`jaxreason/training/grpo.py`): Dr. GRPO leaves out the
# std and $1/|o_i|$, DAPO clips upwards later and averages over tokens, RLOO leaves $r_i$ out of its
# own baseline, GSPO has one ratio for a whole chain.
#
# Where does it pay? Not where worked solutions are plentiful: there, learning from them is faster.
# `tiny-start` has seen 2,000 of them, again and again, and we suppose that we cannot get more.
# Questions with known answers, however, are free.
#
# By default the lesson trains one policy, for about five minutes on two cores. The reported results
# come from `--seeds 4`, which takes several times as long: four policies, the control (more
# supervised training for the same time), and ablations that show what each part is for.

# %%
from jaxreason.course.options import read_options

# First of all, so that a misspelt option does not wait for the imports below.
GIVEN = read_options("08_grpo", problems=250, model="tiny-start", chains=16, seeds=1, trains=True)

# %%
import dataclasses
import functools
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreason import resume
from jaxreason.answers import vote
from jaxreason.answers.verify import grade
from jaxreason.course import lesson, viz
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.errors import InputError
from jaxreason.evaluation.intervals import Interval, accuracy, mean_interval, paired_difference
from jaxreason.mesh import num_row_parts, shard_params
from jaxreason.tasks import arithmetic
from jaxreason.training import grpo, grpo_device, loop, ppo, sft, token_rewards, watch

run = lesson.start(GIVEN, cpu_devices=2)
quick = run.options.quick
CHAINS, MAX_TOKENS = run.chains, 64
STEPS, EVERY = (4, 2) if quick else (200, 25)
ABLATION_STEPS = 2 if quick else 50
PROMPTS, GROUP, KEEP = (8, 4, 4) if quick else (112, 8, 64)
LEARNING_RATE, HIGH = 1e-3, 5e-3
OBJECTIVE = dataclasses.replace(grpo.DAPO, advantages="least_variance")
ALL = run.seeds > 1
# What this lesson cannot train or spread is refused before anything is measured.
exact = token_rewards.exact_match(run.model.tokenizer)
mesh = run.mesh
parts = num_row_parts(mesh)
if PROMPTS % parts or KEEP % (2 * parts):
    raise InputError(
        f"--mesh has {parts} devices: expected a number that divides "
        f"{PROMPTS} questions and {KEEP // 2}"
    )

problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
held_out = arithmetic.problems("validation", 20 if quick else 200)
texts = [prompts.zero_shot_cot(p.question) for p in problems]
golds = [p.answer for p in problems]
operations = np.array([p.num_operations for p in problems])

# %% [markdown]
# ## Before
#
# We measure one greedy chain, and 16 at temperature 1, the temperature that training samples at.
# Between pass@1 and pass@16 lies what the policy can do but does not do reliably. GRPO has
# something to reward wherever one chain of a group is right and another wrong.


# %%


class Measured(NamedTuple):
    """A policy on the test problems."""

    greedy: np.ndarray  # [G] bool
    sampled: np.ndarray  # [G, N] bool
    one: np.ndarray  # [G] chance that one sampled chain is right
    at: dict[int, np.ndarray]  # k -> [G] chance that any of k chains is right
    texts: list[list[str]]  # [G][N]


def record(policy: Measured, name: str, greedy_tokens: float, tokens: float) -> None:
    one, any_of = mean_interval(policy.one), mean_interval(policy.at[CHAINS])
    run.results.measure(f"{name}/greedy", accuracy(policy.greedy), tokens=greedy_tokens)
    run.results.measure(f"{name}/pass@1, T=1", one, tokens=tokens)
    run.results.measure(f"{name}/pass@{CHAINS}", any_of, tokens=CHAINS * tokens)
    print(
        f"{name}: greedy {policy.greedy.mean():.3f}, pass@1 {one.value:.3f}, "
        f"pass@{CHAINS} {any_of.value:.3f}"
    )


# %% [markdown]
# Measuring a policy writes its greedy and its sampled chains, and keeps them where an interrupted
# run finds them again.


# %%
def measure(params, name: str) -> Measured:
    """Writes the chains of a policy, records how many are right, and prints it."""
    model, folder = run.model._replace(params=params), run.kept(f"chains/{name}", params)
    greedy = complete(
        model,
        run.key,
        texts,
        sampler=GREEDY,
        max_new_tokens=MAX_TOKENS,
        description=f"{name}, greedy",
        store=folder,
    )
    sampled = complete(
        model,
        run.key,
        texts,
        sampler=Sampler(),
        max_new_tokens=MAX_TOKENS,
        num_samples=CHAINS,
        description=f"{name}, {CHAINS} chains",
        store=folder,
    )
    right = grade(sampled.texts, golds)
    policy = Measured(
        greedy=grade(greedy.texts, golds)[:, 0],
        sampled=right,
        one=right.mean(1),
        at={k: np.asarray(vote.pass_at_k(right.sum(1), CHAINS, k)) for k in SIZES},
        texts=sampled.texts,
    )
    record(policy, name, greedy.num_tokens.mean(), sampled.num_tokens.mean())
    return policy


SIZES = [k for k in (1, 2, 4, 8, 16) if k <= CHAINS]
before = measure(run.model.params, "before")

# %% [markdown]
# ## Training
#
# A step draws 8 chains for each of 112 training questions, compares the tokens after `####` with
# the answer's tokens, and updates the weights once, from 64 of the questions. It takes those with
# right *and* wrong chains first (DAPO's dynamic sampling), since a group whose rewards are all
# equal teaches nothing. All of it is one compiled program. On a CPU each of two cores runs one, and
# they add up their gradients.
#
# Why so many? A chain of forty tokens is paid one bit, and nobody knows which of its tokens
# deserved it: the gradients of two batches of 16 questions hardly point the same way (mean cosine
# 0.01 at this start). The policy learns from what is left when many of them are averaged, and the
# learning rate falls so that the noise of the last steps does not stay in the weights. So what
# makes a step cheap makes the policy better: questions are sorted by length, and short chains do
# not wait for long ones (`rollout_parts`, `widths`).
#
# For the same reason the baseline is not the group's mean but the one of least variance, in which a
# chain weighs as much as its gradient is long (Greensmith et al. 2004). Wrong chains hesitate,
# their gradients are long, and the mean would push hardest where least is known.
#
# Every 25 steps we measure the policy on 200 *validation* problems, and test the best of these
# policies: choosing on the test problems would be cheating.
#
# Training can be interrupted with Ctrl-C. The state is saved first, and the same command goes on
# from there, to the same bits: a step's questions and keys are functions of its number, so the
# state knows all that is needed.

# %%
tokenizer, cfg = run.model.tokenizer, run.model.cfg
validation_texts = [prompts.zero_shot_cot(p.question) for p in held_out]
validation_golds = [p.answer for p in held_out]
common = dict(
    cfg=cfg,
    stop=compile_stop(tokenizer),
    num_samples=GROUP,
    max_new_tokens=MAX_TOKENS,
    keep=KEEP // parts,
)
# On a CPU few chains at a time, of similar length, stay in a core's cache.
if jax.default_backend() == "cpu":
    common |= dict(
        microbatches=KEEP // parts // 2,
        rollout_parts=1 if quick else 7,
        widths=() if quick else ((48, 24), (64, 40), (80, 56)),
    )


def compile_step(make_step, tx, **options):
    """On all devices of the mesh, each with its part of the questions."""
    step = make_step(tx=tx, **common, **options)
    return jax.jit(grpo_device.data_parallel(step, mesh) if mesh else step, donate_argnums=0)


def optimizer(learning_rate: float) -> optax.GradientTransformation:
    up = optax.linear_schedule(0, learning_rate, 10)
    down = optax.linear_schedule(learning_rate, learning_rate / 10, STEPS)
    schedule = optax.join_schedules([up, down], [10])
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.95))
    return optax.chain(grpo_device.mean_over_devices(), clipped) if mesh else clipped


# %% [markdown]
# What a policy is validated on, and the questions that it learns from:


# %%
def validated(params) -> np.ndarray:
    """[G] pass@1 at T=1 of each validation problem, from 4 chains."""
    written = complete(
        run.model._replace(params=params),
        jax.random.key(1),
        validation_texts,
        sampler=Sampler(),
        max_new_tokens=MAX_TOKENS,
        num_samples=4,
    )
    return grade(written.texts, validation_golds).mean(1)


def questions(seed: int) -> grpo_device.Problems:
    """Training questions and their answers; no reasoning."""
    asked = arithmetic.problems("train", 64 if quick else 16_384, seed=1000 + seed)
    return grpo_device.encode_problems(
        tokenizer,
        [prompts.zero_shot_cot(p.question) for p in asked],
        [f" {p.answer}" for p in asked],
        max_tokens=96,
    )


class Run(NamedTuple):
    """A training run: the policies it ended with, and what was seen on the way."""

    params: dict  # of the policy that was best on the validation problems
    last: dict  # of the last one
    at: list[int]  # steps at which it was validated
    scores: list[np.ndarray]  # [G] each, pass@1 of the validation problems then
    log: dict[str, np.ndarray]  # [num_steps] each
    seconds_a_step: float

    def curve(self) -> list[Interval]:
        """pass@1 on the validation problems."""
        return [mean_interval(score) for score in self.scores]


# %% [markdown]
# The log has the metrics of every step. A run that was killed may have logged steps that it took
# once more.


# %%
def read_log(folder: Path) -> dict[str, np.ndarray]:
    """The metrics of each step, the last time it was taken."""
    logged = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    rows = list({row["step"]: row for row in logged}.values())
    return {key: np.array([row[key] for row in rows]) for key in rows[-1]}


# %% [markdown]
# A training run validates as it goes, and keeps the score of every validation problem in a file, so
# that a run that was interrupted has them too.


# %%
def train(
    name: str,
    step,
    tx,
    params,
    num_steps: int,
    *,
    seed: int,
    determined_by,
    policy=lambda params: params,
    check=None,
) -> Run:
    """Trains ``params``, of which ``policy`` is the part that writes."""
    folder = run.kept(
        name, seed, num_steps, determined_by, STEPS, EVERY, PROMPTS, GROUP, KEEP, MAX_TOKENS
    )

    def validate(params) -> float:
        path, score = folder / "scores.jsonl", validated(policy(params))
        # The first time, the second, ...
        place = len(path.read_text().splitlines()) if path.exists() else 0
        resume.save(folder / "validated" / f"{place}.npz", score)
        return float(score.mean())

    fitted = loop.fit_best(
        loop.init_state(jax.tree.map(jnp.copy, params), tx),
        step,
        grpo_device.problem_batches(questions(seed), jax.random.key(seed), PROMPTS),
        num_steps,
        folder,
        validate=validate,
        every=EVERY,
        log_every=1,
        description=name,
        check=check,
    )
    places = range(len(fitted.scores))
    files = [folder / "validated" / f"{place}.npz" for place in places]
    log = read_log(folder)
    passed = np.diff(log["seconds"])  # a clock that starts again after every validation
    return Run(
        params=policy(fitted.best.params),
        last=policy(fitted.last.params),
        at=[step for step, _ in fitted.scores],
        scores=[resume.load(file, np.zeros(0)) for file in files],
        log=log,
        seconds_a_step=float(np.median(passed[passed > 0])),
    )


# %% [markdown]
# Runs that differ in their seed alone share one compiled program.


# %%
@functools.cache
def compiled(objective: grpo.Objective, rate: float, reward_fn):
    """A step, and its optimiser."""
    tx = optimizer(rate)
    reference = jax.device_get(run.model.params)  # on no device, and so on each
    options = dict(reward_fn=reward_fn, objective=objective, reference=reference)
    return compile_step(grpo_device.make_grpo_step, tx, **options), tx


def train_grpo(
    name: str,
    num_steps: int,
    seed: int = run.options.seed,
    objective=OBJECTIVE,
    rate=LEARNING_RATE,
    reward_fn=exact,
    check=None,
) -> Run:
    step, tx = compiled(objective, rate, reward_fn)
    determined_by = objective, rate, reward_fn is exact
    return train(
        name,
        step,
        tx,
        run.model.params,
        num_steps,
        seed=seed,
        determined_by=determined_by,
        check=check,
    )


# %% [markdown]
# Now train, with one seed or several.

# %%
SEEDS = [run.options.seed + i for i in range(run.seeds)]
runs = [train_grpo(f"GRPO, seed {seed}", STEPS, seed, check=watch.Watch()) for seed in SEEDS]

minutes = [STEPS * r.seconds_a_step / 60 for r in runs]
run.results.measure(
    "minutes of training", Interval(np.mean(minutes), min(minutes), max(minutes), len(minutes))
)


def band(rows) -> list[Interval]:
    """Mean, lowest and highest over the runs; of one run, nothing but its values."""
    return [
        Interval(float(np.mean(at)), float(np.min(at)), float(np.max(at)), len(at))
        for at in zip(*rows, strict=True)
    ]


learned = band([[score.mean() for score in r.scores] for r in runs]) if ALL else runs[0].curve()
of_runs = f"mean of {len(runs)} runs, min to max" if ALL else "1 run, 95% interval"
highest = max(interval.value for interval in learned)
run.figure(
    viz.curves(
        runs[0].at,
        {"validation problems": learned},
        title=f"From answers alone, pass@1 goes from {learned[0].value:.0%} to {highest:.0%}\n"
        f"in {STEPS} steps, {np.mean(minutes):.1f} minutes a run",
        xlabel=f"steps of {PROMPTS} questions x {GROUP} chains",
        ylabel=f"pass@1 at T = 1 ({of_runs})",
    ),
    "learning",
)

# %% [markdown]
# ## After
#
# We test the policy that was best on the validation problems.

# %%
after = [measure(r.params, f"GRPO, seed {seed}") for seed, r in zip(SEEDS, runs, strict=True)]
for seed, policy in zip(SEEDS, after, strict=True):
    gained = paired_difference(policy.one, before.one)
    gained_greedy = paired_difference(policy.greedy, before.greedy)
    of = f", seed {seed}" if ALL else ""
    if run.as_measured and not quick:
        run.claim(
            f"GRPO gains >= 25 points of pass@1 at T=1{of}",
            gained,
            at_least=0.25,
            excludes_zero=True,
        )
        run.claim(
            f"GRPO gains >= 15 points of greedy accuracy{of}",
            gained_greedy,
            at_least=0.15,
            excludes_zero=True,
        )
        for d in np.unique(operations):
            at = operations == d
            lost = paired_difference(before.one[at], policy.one[at])
            run.claim(
                f"at {d} operations pass@1 loses at most 3 points{of}",
                lost,
                at_most=0.03,
                worst=before.one[at].mean(),
            )
    else:
        run.claim(f"GRPO gains pass@1 at T=1{of}", gained, at_least=0.0, excludes_zero=True)
difference = paired_difference(np.mean([p.at[CHAINS] for p in after], axis=0), before.at[CHAINS])
run.results.measure(f"difference/pass@{CHAINS}, after-before", difference)


# %% [markdown]
# By depth of the problem, in the mean over the seeds:

# %%
DEPTHS = np.unique(operations)
one_after = np.mean([p.one for p in after], axis=0)


def by_depth(one: np.ndarray) -> list[Interval]:
    return [mean_interval(one[operations == d]) for d in DEPTHS]


pairs = zip(by_depth(one_after), by_depth(before.one), strict=True)
everywhere = all(later.value > earlier.value for later, earlier in pairs)
run.figure(
    viz.bars(
        [f"{d} operations" for d in DEPTHS],
        {"before": by_depth(before.one), "after GRPO": by_depth(one_after)},
        title=f"GRPO lifts one sampled chain from {before.one.mean():.0%} to {one_after.mean():.0%}"
        + (", at every depth" if everywhere else ""),
        xlabel="depth of the problem",
        ylabel="pass@1 at T = 1 (95% interval)",
    ),
    "by_depth",
)

# %% [markdown]
# And by the number of chains: if a vote or a verifier were to choose among more of them, what would
# be there to find?

# %%
mean_at = {k: np.mean([p.at[k] for p in after], axis=0) for k in SIZES}
run.figure(
    viz.curves(
        SIZES,
        {
            "after GRPO": [mean_interval(mean_at[k]) for k in SIZES],
            "before": [mean_interval(before.at[k]) for k in SIZES],
        },
        title=f"One chain gains {100 * (mean_at[1].mean() - before.one.mean()):.0f} points, "
        f"the best of {CHAINS} gains {100 * difference.value:.0f}",
        xlabel="k, chains sampled at T = 1",
        ylabel="pass@k (95% interval)",
        log2=True,
    ),
    "pass_at_k",
)

# %% [markdown]
# ## What the policy says about itself
#
# Every step records why it may learn nothing: groups in which all rewards are equal, chains cut off
# at the limit, clipped tokens, the entropy left. `watch.Watch` warns of them, and ends a run in
# which nothing has been learned for 20 steps. Here is the mean of the first tenth of the steps, and
# of the last.

# %%
log, tenth = runs[0].log, max(1, STEPS // 10)
SIGNS = ("solved", "zero_variance", "truncated", "entropy", "kl", "clip_fraction")
for key in (*SIGNS, "grad_norm", "length"):
    print(f"{key:<14} {log[key][:tenth].mean():8.3f} -> {log[key][-tenth:].mean():8.3f}")

# %% [markdown]
# ## A reward that can be cheated
#
# A careless verifier looks for the answer *somewhere* in the text, and so finds 7 in 17. Chains
# that are paid for and wrong are then as good as right ones, and optimisation has no reason to tell
# them apart. We run the same training with `token_rewards.contains` for a reward, and measure it
# with the right one. The run above, with the right reward from the start, is the comparison.

# %%
hacked = train_grpo("substring reward", ABLATION_STEPS, reward_fn=token_rewards.contains)
cheat = measure(hacked.last, "substring reward")


def substring(policy: Measured) -> np.ndarray:
    """[G, N] what the careless verifier says."""
    rows = zip(golds, policy.texts, strict=True)
    return np.array([[str(gold) in text for text in row] for gold, row in rows])


paid, paid_before = substring(cheat), substring(before)
run.results.measure("substring reward/paid, before", mean_interval(paid_before.mean(1)))
run.results.measure("substring reward/paid, after", mean_interval(paid.mean(1)))
run.claim_better(
    "training on substrings widens the gap between paid and right",
    paid.mean(1) - cheat.one,
    paid_before.mean(1) - before.one,
)
run.claim_better("trained on exact matches the policy is right more often", one_after, cheat.one)

# %% [markdown]
# A chain that is paid and wrong, and what the two rewards do over the steps:

# %%
wrong = np.argwhere(paid & (cheat.sampled == 0))
if len(wrong):
    i, n = wrong[len(wrong) // 2]
    print(f"paid, and wrong:\n{problems[i].question} ({golds[i]})\n{cheat.texts[i][n]}\n")
earned = []  # between two validations, on the training questions
for step in hacked.at:
    solved = hacked.log["solved"][max(0, step - EVERY) : max(step, 1)]
    earned.append(mean_interval(solved) if len(solved) > 1 else None)
run.figure(
    viz.curves(
        hacked.at,
        {
            "paid by the substring reward (training questions)": earned,
            "right, of the same run": hacked.curve(),
            "right, trained on exact matches": runs[0].curve()[: len(hacked.at)],
        },
        title=f"Paid for substrings, the policy earns {paid.mean():.0%} "
        f"and is right in {cheat.one.mean():.0%};\n"
        f"paid for the answer alone, it is right in {one_after.mean():.0%} (test problems)",
        xlabel="step",
        ylabel="share of chains at T = 1 (95% interval)",
    ),
    "reward_hacking",
)

# %% [markdown]
# ## The control, and the ablations (`--seeds 4`)
#
# The control spends the same minutes on more supervised training. It uses the 2,000 solutions,
# expressions and drills that `tiny-start` was made of, raises and lowers the learning rate once
# more, and keeps the best policy on the validation problems.

# %%
if ALL:
    solutions = arithmetic.solutions(2000)
    worked = sft.encode_pairs(
        tokenizer,
        [prompts.zero_shot_cot(problem.question) for problem, _ in solutions],
        [prompts.chain(lines, problem.answer) for problem, lines in solutions],
        256,
    )


def bare_pairs(rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Prompts and completions of 40 expressions of one to six operations, and 16 drills."""
    expressions = []
    for _ in range(40):
        num_operations = int(rng.integers(1, 7))
        expressions.append(arithmetic.sample_problem(rng, num_operations, as_equation=True))
    drills = [arithmetic.drill(rng) for _ in range(16)]
    questions = [e.question for e in expressions] + [question for question, _ in drills]
    solved = [prompts.chain(arithmetic.solve(e, rng), e.answer) for e in expressions]
    drilled = [prompts.chain([line], line.split("=")[1]) for _, line in drills]
    return [prompts.zero_shot_cot(question) for question in questions], solved + drilled


def sft_batch(step: int) -> sft.Batch:
    """Expressions, drills and 24 worked solutions in one packed batch."""
    rng = np.random.default_rng([run.options.seed, step])
    asks, chains = bare_pairs(rng)
    bare = sft.encode_pairs(tokenizer, asks, chains, 256)
    pool = [*bare, *(worked[i] for i in rng.integers(len(worked), size=24))]
    rng.shuffle(pool)
    return sft.pack(pool, 8, 256, tokenizer.pad_token_id)


# %% [markdown]
# How many steps take the same minutes? Twenty steps are timed first.


# %%
def fine_tune(
    name: str, learning_rate: float, num_steps: int, every: int, validate
) -> tuple[loop.Fitted, float]:
    """The policy after more supervised training, and the seconds that a step took."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, num_steps // 10, num_steps, learning_rate / 50
    )
    tx = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.95, weight_decay=0.05)
    )
    folder = run.kept(name, learning_rate, num_steps, every)
    fitted = loop.fit_best(
        loop.init_state(jax.tree.map(jnp.copy, run.model.params), tx),
        loop.make_update(functools.partial(sft.sft_loss, cfg=cfg), tx, 4),
        sft_batch,
        num_steps,
        folder,
        validate=validate,
        every=every,
        log_every=10,
        description=name,
    )
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    return fitted, (rows[-1]["seconds"] - rows[0]["seconds"]) / 10


if ALL:
    name, rate = "further SFT", 1e-3
    _, a_step = fine_tune(name, rate, 20, 20, lambda params: 0.0)
    seconds = 60 * float(np.mean(minutes))
    every = max(10, int(seconds / a_step / 6))
    further, _ = fine_tune(
        name, rate, 6 * every, every, lambda params: float(validated(params).mean())
    )
    control = measure(further.best.params, name)
    run.claim_better("GRPO beats further SFT of the same minutes at pass@1", one_after, control.one)

# %% [markdown]
# The ablations, one run each: centred advantages (the group's mean for a baseline, and no division
# by the std); a learning rate five times as high, without and with the KL term; and PPO. Its critic
# first has to learn what the mean of a group says for nothing.

# %%
if ALL:
    other = "standardised" if OBJECTIVE.advantages == "centred" else "centred"
    other_advantages = dataclasses.replace(OBJECTIVE, advantages=other)
    with_kl = dataclasses.replace(OBJECTIVE, kl_coef=0.1)
    few = ABLATION_STEPS
    ablations = {
        f"{other} advantages": train_grpo(other, few, objective=other_advantages),
        "5 x learning rate, no KL": train_grpo("5 x lr, no KL", few, rate=HIGH),
        "5 x learning rate, KL 0.1": train_grpo("5 x lr, KL", few, rate=HIGH, objective=with_kl),
    }
    tx = optimizer(LEARNING_RATE)
    ablations["PPO with a critic"] = train(
        "PPO",
        compile_step(ppo.make_ppo_step, tx, reward_fn=exact),
        tx,
        shard_params(ppo.init_critic(run.model.params), mesh),
        few,
        seed=run.options.seed,
        determined_by=LEARNING_RATE,
        policy=lambda params: params["policy"],
    )

# %% [markdown]
# All of them beside the first steps of the run above:

# %%
if ALL:
    as_above = f"as above ({OBJECTIVE.advantages}, no KL)"
    curves = {as_above: runs[0].curve()[: 1 + ABLATION_STEPS // EVERY]}
    for name, ablation in ablations.items():
        curves[name] = ablation.curve()
    for name, curve in curves.items():
        run.results.measure(f"ablation/{name}, {ABLATION_STEPS} steps", curve[-1])
    hot = ablations["5 x learning rate, no KL"]
    run.claim_better(
        "at five times the learning rate, without KL, the policy ends below its start",
        hot.scores[0],
        hot.scores[-1],
    )
    ends = [f"{curve[-1].value:.0%}" for curve in curves.values()]
    run.figure(
        viz.curves(
            hot.at,
            curves,
            title=f"After {ABLATION_STEPS} steps: {ends[0]}; 5 x the learning rate {ends[2]},\n"
            f"with KL {ends[3]}; {other} advantages {ends[1]}; PPO {ends[4]}",
            xlabel="step",
            ylabel="pass@1 at T = 1, validation (95% interval)",
        ),
        "ablations",
    )

# %%
run.finish()
