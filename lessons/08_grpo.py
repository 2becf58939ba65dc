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
# writes chains, a verifier says which of them ended in the right number, and what was right becomes
# likelier. Nobody shows it a line of reasoning.
#
# A group of $N$ chains $o_1, \dots, o_N$ of one question gets rewards $r_i \in \{0, 1\}$. Its mean
# is the baseline, so there is no critic (GRPO; Shao et al. 2024):
# $$A_i = \frac{r_i - \mathrm{mean}(r)}{\mathrm{std}(r)}, \qquad \rho_{i,t} = \frac{\pi_\theta(o_{i,t} \mid q, o_{i,<t})}{\pi_{old}(o_{i,t} \mid q, o_{i,<t})},$$
# $$L = -\sum_{i,t} w_{i,t} \min\big(\rho_{i,t} A_i,\ \mathrm{clip}(\rho_{i,t}, 1-\epsilon_{low}, 1+\epsilon_{high})\, A_i\big)
# + \beta \sum_{i,t} w_{i,t}\, \Big(\tfrac{\pi_{ref}}{\pi_\theta} - \log
# \tfrac{\pi_{ref}}{\pi_\theta} - 1\Big).$$
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
# `tiny-start` has seen 2,000 of them, again and again, and no more are to be had; questions with
# known answers, however, are free.
#
# By default one policy is trained, for about five minutes on two cores. `--seeds 4` is the lesson
# as it is reported, and takes several times as long: four policies, the control (more supervised
# training for the same time), and what goes wrong without this or that.

# %%
from jaxreason.course.options import read_options

# First of all, so that a misspelt option does not wait for the imports below.
GIVEN = read_options("08_grpo", problems=250, model="tiny-start", chains=16, seeds=1)

# %%
import dataclasses
import functools
import json

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
        f"--mesh has {parts} devices: expected a number that divides {PROMPTS} questions and {KEEP // 2}"
    )

problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
held_out = arithmetic.problems("validation", 20 if quick else 200)
texts, golds = [prompts.zero_shot_cot(p.question) for p in problems], [p.answer for p in problems]
operations = np.array([p.num_operations for p in problems])

# %% [markdown]
# ## Before
#
# One greedy chain, and 16 at temperature 1, the temperature that training samples at. Between
# pass@1 and pass@16 lies what the policy can do but does not do reliably: GRPO has something to
# reward wherever one of a group is right and another wrong.


# %%
class Measured:
    """A policy on the test problems."""

    def __init__(self, params, name: str):
        model, folder = run.model._replace(params=params), run.kept(f"chains/{name}", params)
        greedy = complete(
            model,
            run.key,
            texts,
            sampler=GREEDY,
            max_new_tokens=MAX_TOKENS,
            description=f"{name}, greedy",
            folder=folder,
        )
        sampled = complete(
            model,
            run.key,
            texts,
            sampler=Sampler(),
            max_new_tokens=MAX_TOKENS,
            num_samples=CHAINS,
            description=f"{name}, {CHAINS} chains",
            folder=folder,
        )
        self.greedy, self.sampled = (
            grade(greedy.texts, golds)[:, 0],
            grade(sampled.texts, golds),
        )  # [G], [G, N]
        self.one = self.sampled.mean(1)
        self.at = {k: np.asarray(vote.pass_at_k(self.sampled.sum(1), CHAINS, k)) for k in SIZES}
        self.texts, self.tokens = sampled.texts, sampled.num_tokens.mean()
        run.results.measure(
            f"{name}/greedy", accuracy(self.greedy), tokens=greedy.num_tokens.mean()
        )
        run.results.measure(f"{name}/pass@1, T=1", mean_interval(self.one), tokens=self.tokens)
        run.results.measure(
            f"{name}/pass@{CHAINS}", mean_interval(self.at[CHAINS]), tokens=CHAINS * self.tokens
        )
        print(
            f"{name}: greedy {self.greedy.mean():.3f}, pass@1 {self.one.mean():.3f}, pass@{CHAINS} {self.at[CHAINS].mean():.3f}"
        )


SIZES = [k for k in (1, 2, 4, 8, 16) if k <= CHAINS]
before = Measured(run.model.params, "before")

# %% [markdown]
# ## Training
#
# A step draws 8 chains for each of 112 training questions, compares the tokens behind `####` with
# the answer's tokens, and updates the weights once, from 64 of the questions: those with right
# *and* wrong chains first (DAPO's dynamic sampling), since a group whose rewards are all equal
# teaches nothing. All of it is one compiled program, on a CPU one on each of two cores, which add
# up their gradients.
#
# Why so many? A chain of forty tokens is paid one bit, and which of its tokens deserved it is
# anybody's guess: the gradients of two batches of 16 questions hardly point the same way (mean
# cosine 0.01 at this start). What is learned is what is left when many of them are averaged, and
# the learning rate falls so that the noise of the last steps does not stay in the weights. So what
# makes a step cheap makes the policy better: questions are sorted by length, and short chains do
# not wait for long ones (`rollout_parts`, `widths`).
#
# For the same reason the baseline is not the group's mean but the one of least variance, in which a
# chain weighs as much as its gradient is long (Greensmith et al. 2004). Wrong chains hesitate,
# their gradients are long, and the mean would push hardest where least is known.
#
# Every 25 steps the policy is measured on 200 *validation* problems, and the best of these policies
# is the one that is then tested: choosing on the test problems would be cheating.
#
# Training can be interrupted with Ctrl-C. The state is saved first, and the same command goes on
# from there, to the same bits: a step's questions and keys are functions of its number, so the
# state knows all that is needed.

# %%
tokenizer, cfg = run.model.tokenizer, run.model.cfg
validation = [prompts.zero_shot_cot(p.question) for p in held_out], [p.answer for p in held_out]
common = dict(
    cfg=cfg,
    stop=compile_stop(tokenizer),
    num_samples=GROUP,
    max_new_tokens=MAX_TOKENS,
    keep=KEEP // parts,
)
if (
    jax.default_backend() == "cpu"
):  # few chains at a time, of similar length, stay in a core's cache
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
    up, down = (
        optax.linear_schedule(0, learning_rate, 10),
        optax.linear_schedule(learning_rate, learning_rate / 10, STEPS),
    )
    schedule = optax.join_schedules([up, down], [10])
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule, b2=0.95))
    return optax.chain(grpo_device.mean_over_devices(), clipped) if mesh else clipped


def validated(params) -> np.ndarray:
    """[G] pass@1 at T=1 of each validation problem, from 4 chains."""
    written = complete(
        run.model._replace(params=params),
        jax.random.key(1),
        validation[0],
        sampler=Sampler(),
        max_new_tokens=MAX_TOKENS,
        num_samples=4,
    )
    return grade(written.texts, validation[1]).mean(1)


def questions(seed: int) -> grpo_device.Problems:
    """Training questions and their answers; no reasoning."""
    asked = arithmetic.problems("train", 64 if quick else 16_384, seed=1000 + seed)
    return grpo_device.encode_problems(
        tokenizer,
        [prompts.zero_shot_cot(p.question) for p in asked],
        [f" {p.answer}" for p in asked],
        max_tokens=96,
    )


class Run:
    """A training run: the policies best on the validation problems and last, and what was seen on
    the way.
    """

    def __init__(
        self,
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
    ):
        folder = run.kept(
            name, seed, num_steps, determined_by, STEPS, EVERY, PROMPTS, GROUP, KEEP, MAX_TOKENS
        )

        def validate(params) -> float:
            path, score = folder / "scores.jsonl", validated(policy(params))
            # the first time, the second, ...
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
        self.scores = [  # [G] for each validation
            resume.load(folder / "validated" / f"{place}.npz", np.zeros(0))
            for place in range(len(fitted.scores))
        ]
        # A killed run may have logged steps that were taken once more.
        logged = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        rows = list({row["step"]: row for row in logged}.values())
        self.at = [step for step, _ in fitted.scores]
        self.params, self.last = policy(fitted.best.params), policy(fitted.last.params)
        self.log = {key: np.array([row[key] for row in rows]) for key in rows[-1]}
        passed = np.diff(self.log["seconds"])  # a clock that starts anew behind every validation
        self.seconds_a_step = float(np.median(passed[passed > 0]))

    def curve(self) -> list[Interval]:
        """pass@1 on the validation problems."""
        return [mean_interval(score) for score in self.scores]


@functools.cache
def compiled(objective: grpo.Objective, rate: float, reward_fn):
    """An optimiser and a step; the runs that differ in their seed alone share one program."""
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
    return Run(
        name,
        step,
        tx,
        run.model.params,
        num_steps,
        seed=seed,
        determined_by=determined_by,
        check=check,
    )


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
run.figure(
    viz.curves(
        runs[0].at,
        {"validation problems": learned},
        title=f"From answers alone, pass@1 goes from {learned[0].value:.0%} to {max(i.value for i in learned):.0%}\n"
        f"in {STEPS} steps, {np.mean(minutes):.1f} minutes a run",
        xlabel=f"steps of {PROMPTS} questions x {GROUP} chains",
        ylabel=f"pass@1 at T = 1 ({of_runs})",
    ),
    "learning",
)

# %% [markdown]
# ## After
#
# On test problems, with the policy that was best on the validation problems.

# %%
after = [Measured(r.params, f"GRPO, seed {seed}") for seed, r in zip(SEEDS, runs, strict=True)]
for seed, policy in zip(SEEDS, after, strict=True):
    gained, gained_greedy = (
        paired_difference(policy.one, before.one),
        paired_difference(policy.greedy, before.greedy),
    )
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

depths = [f"{d} operations" for d in np.unique(operations)]
one_after = np.mean([p.one for p in after], axis=0)
run.figure(
    viz.bars(
        depths,
        {
            "before": [mean_interval(before.one[operations == d]) for d in np.unique(operations)],
            "after GRPO": [
                mean_interval(one_after[operations == d]) for d in np.unique(operations)
            ],
        },
        title=f"GRPO lifts one sampled chain from {before.one.mean():.0%} to {one_after.mean():.0%}, at every depth"
        if all(
            one_after[operations == d].mean() > before.one[operations == d].mean()
            for d in np.unique(operations)
        )
        else f"GRPO lifts one sampled chain from {before.one.mean():.0%} to {one_after.mean():.0%}",
        xlabel="depth of the problem",
        ylabel="pass@1 at T = 1 (95% interval)",
    ),
    "by_depth",
)
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
# which nothing has been learned for 20 steps.

# %%
log = runs[0].log
for key in (
    "solved",
    "zero_variance",
    "truncated",
    "entropy",
    "kl",
    "clip_fraction",
    "grad_norm",
    "length",
):
    first, last = log[key][: max(1, STEPS // 10)].mean(), log[key][-max(1, STEPS // 10) :].mean()
    print(f"{key:<14} {first:8.3f} -> {last:8.3f}")

# %% [markdown]
# ## A reward that can be cheated
#
# A careless verifier looks for the answer *somewhere* in the text, so that 7 is found in 17. Chains
# that are paid for and wrong are then as good as right ones, and optimisation has no reason to tell
# them apart. Here the same training is run with `token_rewards.contains` for a reward, and measured
# with the right one; then with the right one from the start (the run above).

# %%
hacked = train_grpo("substring reward", ABLATION_STEPS, reward_fn=token_rewards.contains)
cheat = Measured(hacked.last, "substring reward")


def substring(policy: Measured) -> np.ndarray:
    """[G, N] what the careless verifier says."""
    return np.array(
        [[str(gold) in text for text in row] for gold, row in zip(golds, policy.texts, strict=True)]
    )


paid, paid_before = substring(cheat), substring(before)
run.results.measure("substring reward/paid, before", mean_interval(paid_before.mean(1)))
run.results.measure("substring reward/paid, after", mean_interval(paid.mean(1)))
run.claim(
    "training on substrings widens the gap between paid and right",
    paired_difference(paid.mean(1) - cheat.one, paid_before.mean(1) - before.one),
    at_least=0.0,
    excludes_zero=True,
)
run.claim(
    "trained on exact matches the policy is right more often",
    paired_difference(one_after, cheat.one),
    at_least=0.0,
    excludes_zero=True,
)
wrong = [(i, n) for i, n in np.argwhere(cheat.sampled == 0) if paid[i, n]]
if wrong:
    i, n = wrong[len(wrong) // 2]
    print(f"paid, and wrong:\n{problems[i].question} ({golds[i]})\n{cheat.texts[i][n]}\n")
earned = [hacked.log["solved"][max(0, step - EVERY) : max(step, 1)] for step in hacked.at]
run.figure(
    viz.curves(
        hacked.at,
        {
            "paid by the substring reward (training questions)": [
                mean_interval(x) if len(x) > 1 else None for x in earned
            ],
            "right, of the same run": hacked.curve(),
            "right, trained on exact matches": runs[0].curve()[: len(hacked.at)],
        },
        title=f"Paid for substrings, the policy earns {paid.mean():.0%} and is right in {cheat.one.mean():.0%};\n"
        f"paid for the answer alone, it is right in {one_after.mean():.0%} (test problems)",
        xlabel="step",
        ylabel="share of chains at T = 1 (95% interval)",
    ),
    "reward_hacking",
)

# %% [markdown]
# ## The control, and what goes wrong without this or that (`--seeds 4`)
#
# The same minutes, spent on more supervised training: the 2,000 solutions, expressions and drills
# that `tiny-start` was made of, its learning rate raised and lowered once more, the best on the
# validation problems kept.

# %%
if ALL:
    seconds = float(np.mean(minutes)) * 60
    solved = arithmetic.solutions(2000)
    shown = sft.encode_pairs(
        tokenizer,
        [prompts.zero_shot_cot(problem.question) for problem, _ in solved],
        [prompts.chain(lines, problem.answer) for problem, lines in solved],
        256,
    )

    def sft_batch(step: int) -> sft.Batch:
        rng = np.random.default_rng([run.options.seed, step])
        expressions = [
            arithmetic.sample_problem(rng, int(rng.integers(1, 7)), as_equation=True)
            for _ in range(40)
        ]
        drills = [arithmetic.drill(rng) for _ in range(16)]
        bare = sft.encode_pairs(
            tokenizer,
            [prompts.zero_shot_cot(e.question) for e in expressions]
            + [prompts.zero_shot_cot(q) for q, _ in drills],
            [prompts.chain(arithmetic.solve(e, rng), e.answer) for e in expressions]
            + [prompts.chain([line], line.split("=")[1]) for _, line in drills],
            256,
        )
        pool = [*bare, *(shown[i] for i in rng.integers(len(shown), size=24))]
        rng.shuffle(pool)
        return sft.pack(pool, 8, 256, tokenizer.pad_token_id)

    def further(name: str, learning_rate: float) -> loop.Fitted:
        def fitted(num_steps: int, every: int, validate) -> tuple[loop.Fitted, float]:
            schedule = optax.warmup_cosine_decay_schedule(
                0.0, learning_rate, num_steps // 10, num_steps, learning_rate / 50
            )
            tx = optax.chain(
                optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.95, weight_decay=0.05)
            )
            update = loop.make_update(functools.partial(sft.sft_loss, cfg=cfg), tx, 4)
            folder = run.kept(name, learning_rate, num_steps, every)
            found = loop.fit_best(
                loop.init_state(jax.tree.map(jnp.copy, run.model.params), tx),
                update,
                sft_batch,
                num_steps,
                folder,
                validate=validate,
                every=every,
                log_every=10,
                description=name,
            )
            rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
            return found, (rows[-1]["seconds"] - rows[0]["seconds"]) / 10

        _, a_step = fitted(20, 20, lambda params: 0.0)
        every = max(10, int(seconds / a_step / 6))
        return fitted(6 * every, every, lambda params: float(validated(params).mean()))[0]

    control = Measured(further("further SFT", 1e-3).best.params, "further SFT")
    run.claim(
        "GRPO beats further SFT of the same minutes at pass@1",
        paired_difference(one_after, control.one),
        at_least=0.0,
        excludes_zero=True,
    )

# %% [markdown]
# One run each: centred advantages (the group's mean for a baseline, and no division by the std), a
# learning rate five times as high without and with the KL term, and PPO, whose critic has to learn
# first what the mean of a group says for nothing.

# %%
if ALL:
    other = "standardised" if OBJECTIVE.advantages == "centred" else "centred"
    changed = functools.partial(train_grpo, num_steps=ABLATION_STEPS)
    hot = functools.partial(changed, rate=HIGH)
    ablations = {
        f"{other} advantages": changed(
            other, objective=dataclasses.replace(OBJECTIVE, advantages=other)
        ),
        "5 x learning rate, no KL": hot("5 x lr, no KL"),
        "5 x learning rate, KL 0.1": hot(
            "5 x lr, KL", objective=dataclasses.replace(OBJECTIVE, kl_coef=0.1)
        ),
    }
    tx = optimizer(LEARNING_RATE)
    step = compile_step(ppo.make_ppo_step, tx, reward_fn=exact)
    ablations["PPO with a critic"] = Run(
        "PPO",
        step,
        tx,
        shard_params(ppo.init_critic(run.model.params), mesh),
        ABLATION_STEPS,
        seed=run.options.seed,
        determined_by=LEARNING_RATE,
        policy=lambda p: p["policy"],
    )
    curves = {
        f"as above ({OBJECTIVE.advantages}, no KL)": runs[0].curve()[: 1 + ABLATION_STEPS // EVERY]
    }
    curves |= {name: r.curve() for name, r in ablations.items()}
    for name, curve in curves.items():
        run.results.measure(f"ablation/{name}, {ABLATION_STEPS} steps", curve[-1])
    hot_run = ablations["5 x learning rate, no KL"]
    run.claim(
        "at five times the learning rate, without KL, the policy ends below its start",
        paired_difference(hot_run.scores[0], hot_run.scores[-1]),
        at_least=0.0,
        excludes_zero=True,
    )
    ends = [curve[-1].value for curve in curves.values()]
    run.figure(
        viz.curves(
            hot_run.at,
            curves,
            title=f"After {ABLATION_STEPS} steps: {ends[0]:.0%}; 5 x the learning rate {ends[2]:.0%},\n"
            f"with KL {ends[3]:.0%}; {other} advantages {ends[1]:.0%}; PPO {ends[4]:.0%}",
            xlabel="step",
            ylabel="pass@1 at T = 1, validation (95% interval)",
        ),
        "ablations",
    )

# %%
run.finish()
