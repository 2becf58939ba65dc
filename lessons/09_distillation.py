# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 09 Distillation
#
# One model reasons well, another does not yet. What can the second learn from the first, and how?
# Four ways, from one and the same weak student: `tiny-start` of lesson 08, as large as its teacher
# `tiny`, but made of only 2,000 worked problems:
#
# - **answers only** (behaviour cloning): imitate question and answer, no reasoning;
# - **traces**: sample chains of the teacher, keep the right ones, fine-tune on them (DeepSeek-AI
#   2025, section 2.4: this is how the small R1 models were made);
# - **token-level KD**: on the same texts, match the teacher's whole distribution at every token
#   (Hinton et al. 2015),
#   $$L = \alpha T^2\, \mathrm{KL}\big(p^T_{\text{teacher}} \| p^T_{\text{student}}\big) + (1 - \alpha)\,\big(-\log p_{\text{student}}(\text{token})\big);$$
# - **on-policy**: the *student* writes, and the teacher says at each of its tokens what it would
#   have said, $\mathrm{KL}(p_{\text{student}} \| p_{\text{teacher}})$ (Agarwal et al. 2024; Gu et
#   al. 2024; Lu et al. 2025).
#
# The alternative without a teacher is **GRPO** (lesson 08): the student writes, and its answer is
# checked. All get the same number of FLOPs, which are counted, and all are measured on the same
# held-out problems. (The notebook this lesson follows did not mask the prompt, summed its KL over
# the text, filtered the traces after training on them, and never measured its student.)
#
# By default every way is tried once; `--seeds 4` trains four students of each, which see other
# examples in another order.

# %%
from jaxreason.course.options import read_options

# First of all, so that a misspelt option does not wait for the imports below.
GIVEN = read_options("09_distillation", problems=250, chains=4, seeds=1, student="tiny-start")

# %%
import dataclasses
import functools
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm.auto import tqdm

from jaxreason import resume
from jaxreason.answers.verify import grade
from jaxreason.course import lesson, viz
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.rollout import generate
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.decoding.stop import compile_stop
from jaxreason.evaluation.flops import forward_flops, rollout_flops, training_flops
from jaxreason.evaluation.intervals import Interval, accuracy, mean_interval, paired_difference
from jaxreason.models.hf import load_model
from jaxreason.tasks import arithmetic
from jaxreason.training import distill, grpo, grpo_batch, loop, sft
from jaxreason.training.grpo_device import encode_problems, take
from jaxreason.training.token_rewards import exact_match

run = lesson.start(GIVEN)
teacher, student = run.model, load_model("tiny-start")
SEEDS = [run.options.seed + i for i in range(run.seeds)]
vocab_size = distill.shared_vocabulary(
    student, teacher
)  # refuses a teacher whose token 17 is another token
tokenizer, cfg = student.tokenizer, student.cfg
print(
    f"teacher {teacher.name}: {teacher.num_params:,} parameters, student {student.name}: {student.num_params:,}"
)

problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
golds = [p.answer for p in problems]
asked = {
    how: [ask(p.question) for p in problems]
    for how, ask in (("cot", prompts.zero_shot_cot), ("direct", prompts.direct))
}


def measure(
    name: str, model, how: str = "cot", sampler: Sampler = GREEDY, num_samples: int = 1
) -> tuple[np.ndarray, float]:
    """Right or wrong ``[G, N]`` on the held-out problems, and the mean number of tokens of a chain;
    ``name`` is the model's alone.
    """
    written = complete(
        model,
        run.key,
        asked[how],
        sampler=sampler,
        max_new_tokens=run.max_new_tokens,
        num_samples=num_samples,
        rows=run.rows,
        folder=run.kept(f"chains/{name}", BUDGET),
    )
    return grade(written.texts, golds), float(written.num_tokens.mean())


# %% [markdown]
# ## The teacher's traces, filtered before anything is trained on them
#
# The teacher answers training problems at temperature 1, several times each: varied, and a good
# part of it wrong. What is imitated is a choice that is made *before* training. Filters, in turn:
# chains that never end; a wrong final answer (rejection sampling: the verifier needs answers, no
# traces); too long; duplicates; more than two traces of one problem, since easy problems have many
# right ones.

# %%
POOL = 96 if run.options.quick else 4000
MAX_TOKENS = 72  # of a chain; six operations take up to 71
pool = arithmetic.problems("train", POOL, seed=run.options.seed)
pool_texts, pool_golds = [prompts.zero_shot_cot(p.question) for p in pool], [p.answer for p in pool]
sampled = complete(
    teacher,
    jax.random.fold_in(run.key, 1),
    pool_texts,
    sampler=Sampler(1.0),
    max_new_tokens=MAX_TOKENS,
    num_samples=4,
    rows=run.rows,
    description="teacher's chains",
    folder=run.kept("chains/traces"),
)
filtered = distill.filter_traces(pool_texts, sampled, pool_golds, max_tokens=64, max_per_prompt=2)
unfiltered = [
    distill.Trace(p, text)
    for p, group in zip(pool_texts, sampled.texts, strict=True)
    for text in group
]
print(f"{len(unfiltered)} chains: {filtered.removed} removed, {len(filtered.traces)} kept")

by_text = dict(zip(pool_texts, pool, strict=True))
sound = np.array(
    [all(arithmetic.check_steps(by_text[t.prompt], t.completion)) for t in filtered.traces]
)
run.results.measure(
    "traces/right answer, before filtering", mean_interval(grade(sampled.texts, pool_golds).mean(1))
)
run.results.measure("traces/every step right, after filtering", accuracy(sound))
pool_lengths = np.array(
    [len(ids) for ids in tokenizer(pool_texts, add_special_tokens=False).input_ids]
)
generation = rollout_flops(teacher.cfg, pool_lengths, sampled.num_tokens).sum()
print(
    f"the teacher wrote {sampled.num_tokens.sum():,} tokens, {generation / 1e9:.0f} GFLOPs; "
    f"{1 - sound.mean():.1%} of the kept traces reach the right answer through a wrong step, which no check of answers sees"
)

# %% [markdown]
# ## What is learned from an example
#
# Prompt tokens have weight 0. With the loss on the prompt as well, most of the gradient would go
# into writing word problems. The end-of-text token has weight 1: without it the student would not
# learn to stop.

# %%
examples = {
    "all traces": unfiltered,
    "right traces": filtered.traces,
    "answers only": distill.answer_traces([p.question for p in pool], pool_golds),
}
documents = {
    name: sft.encode_pairs(tokenizer, *zip(*some, strict=True), 256)
    for name, some in examples.items()
}
shown = documents["right traces"][0]
print("masked: ", repr(tokenizer.decode(shown.tokens[shown.weights == 0])))
print("learned:", repr(tokenizer.decode(shown.tokens[shown.weights > 0])))

# %% [markdown]
# ## Equal FLOPs
#
# The budget counts all that happens while the student learns: its forward and backward passes
# (three forward passes in all), the chains it samples for itself, and the teacher's forward passes
# over texts for KD and on-policy distillation. The teacher's *generation* of the traces is listed
# apart, since it happens once and can be shared: it would multiply the bill of the three methods
# that use the traces.

# %%
BUDGET = 9e9 if run.options.quick else 1.5e12
ROWS, LENGTH = 8, 256
stop, reward = compile_stop(tokenizer), jax.jit(exact_match(tokenizer))
asks = encode_problems(tokenizer, pool_texts, [f" {gold}" for gold in pool_golds])


def texts(name: str, scored: bool = False):
    """What a step of a seed learns from: a packed batch of examples, and what that will cost;
    scored by the teacher, or not.
    """

    def of_seed(seed: int):
        batch_fn = distill.trace_batches(
            documents[name], ROWS, LENGTH, tokenizer.pad_token_id, seed=seed
        )

        def draw(params, step):
            batch = batch_fn(step)
            context = (batch.positions + 1)[batch.segment_ids > 0]
            return batch, training_flops(cfg, context) + scored * forward_flops(
                teacher.cfg, context
            ).sum()

        return draw

    return of_seed


def own_chains(judge, groups: int, chains: int, scored: bool = False):
    """The student's chains for the next problems, and what they and learning from them cost;
    ``judge`` makes them a batch.
    """

    def of_seed(seed: int):
        order = np.random.default_rng(seed).permutation(len(asks.answer))
        shuffled = jax.tree.map(lambda x: x[order], asks)

        def draw(params, step):
            some = take(shuffled, step, groups)
            rollout = generate(
                params,
                jax.random.fold_in(jax.random.key(seed), step),
                some.prompt,
                stop,
                cfg=cfg,
                sampler=Sampler(),
                max_new_tokens=MAX_TOKENS,
                num_samples=chains,
            )
            sizes = some.prompt.mask.sum(-1), np.asarray(rollout.mask.sum(-1))
            # drawn once, learned from at three times the cost
            flops = 4 * rollout_flops(cfg, *sizes).sum()
            return judge(some, rollout), flops + scored * rollout_flops(teacher.cfg, *sizes).sum()

        return draw

    return of_seed


def rewarded(some, rollout):
    return grpo_batch.make_batch(
        some.prompt, rollout, reward(rollout, some.answer), None, objective=OBJECTIVE
    )[0]


def as_written(some, rollout):
    return distill.Samples(some.prompt, rollout.tokens, rollout.mask)


optimizer = optax.inject_hyperparams(
    lambda learning_rate: optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(learning_rate, b2=0.95)
    )
)(learning_rate=0.0)
OBJECTIVE = dataclasses.replace(grpo.DAPO, advantages="least_variance")  # as in lesson 08
taught = {"cfg": cfg, "teacher_cfg": teacher.cfg, "vocab_size": vocab_size}
kd_loss = functools.partial(distill.kd_loss, temperature=1.0, alpha=0.9, **taught)
fine_tuning = loop.make_update(functools.partial(sft.sft_loss, cfg=cfg), optimizer, 4)
matching = loop.make_update(kd_loss, optimizer, 4, teacher.params)
reverse = loop.make_update(
    functools.partial(distill.on_policy_loss, **taught), optimizer, 2, teacher.params
)
reinforcing = loop.make_update(
    functools.partial(grpo_batch.grpo_loss, cfg=cfg, objective=OBJECTIVE), optimizer, 4
)
METHODS = {  # what a step of a seed learns from, the update, and the peak learning rate, chosen for a weaker student, not for this one
    "answers only": (texts("answers only"), fine_tuning, 1e-3),
    "GRPO": (own_chains(rewarded, groups=16, chains=8), reinforcing, 2e-4),
    "all traces": (texts("all traces"), fine_tuning, 5e-4),
    "right traces": (texts("right traces"), fine_tuning, 5e-4),
    "KD": (texts("right traces", scored=True), matching, 1e-3),
    "on-policy": (own_chains(as_written, groups=16, chains=2, scored=True), reverse, 1e-3),
}

# %% [markdown]
# Every method gets Adam. The learning rate follows the share of the budget that is spent: up within
# the first twentieth, then down to a tenth. At every quarter the student is kept, to be measured;
# nothing is chosen by that.


# %%
class Learning(NamedTuple):
    """A student on its way: all that is needed to go on."""

    state: loop.TrainState
    quarters: (
        tuple  # the parameters after each quarter, those of the start where it has not come yet
    )
    spent: np.ndarray  # [4] FLOPs at each quarter, 0 before
    flops: np.ndarray  # [] so far
    seconds: np.ndarray  # []


def begin() -> Learning:
    state = loop.init_state(
        jax.tree.map(jnp.copy, student.params), optimizer
    )  # a copy: updates consume their state
    return Learning(state, (student.params,) * 4, np.zeros(4), np.zeros(()), np.zeros(()))


def learn(name: str, seed: int) -> tuple[dict[float, dict], float] | None:
    """The student after each quarter of the budget: FLOPs spent -> parameters; and the seconds it
    took. None if stopped.

    At every quarter, and when it is stopped, it is saved, and goes on from there in the next run.
    """
    of_seed, update, peak = METHODS[name]
    draw, path = of_seed(seed), run.kept("students", BUDGET) / f"{name}-{seed}.npz"
    at = begin()
    if path.exists():
        at = resume.load(path, at)
        bar.update(min(float(at.flops), BUDGET) / 1e9)
    (state, quarters, spent, flops, seconds), began = at, time.perf_counter()
    step = int(state.step)

    def save() -> None:
        resume.save(
            path, Learning(state, quarters, spent, flops, seconds + time.perf_counter() - began)
        )

    while not spent[-1]:
        if stopped_by:
            save()
            return None
        share = float(flops) / BUDGET
        rate = {"learning_rate": jnp.float32(peak * min(0.1 + 20 * share, 1 - 0.9 * share))}
        batch, cost = draw(state.params, step)
        state, _ = update(
            state._replace(opt_state=state.opt_state._replace(hyperparams=rate)), batch
        )
        bar.update(max(0.0, min(cost, BUDGET - float(flops))) / 1e9)
        flops, step = flops + cost, step + 1
        place = np.count_nonzero(spent)
        if flops >= BUDGET * (place + 1) / 4:
            spent[place] = flops
            kept = jax.tree.map(jnp.copy, state.params)
            quarters = tuple(kept if i == place else params for i, params in enumerate(quarters))
            save()
    after = {0.0: student.params} | dict(zip(spent.tolist(), quarters, strict=True))
    return after, float(seconds) + time.perf_counter() - began


students = list(itertools.product(METHODS, SEEDS))
with (
    # Ctrl-C: the students in the other threads save themselves first
    loop.stopping() as stopped_by,
    tqdm(
        total=len(students) * BUDGET / 1e9,
        desc="students",
        unit="GFLOP",
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}",
    ) as bar,
    ThreadPoolExecutor(2) as two,  # students at a time: such small matrices keep one core busy each
):
    learned = dict(zip(students, two.map(lambda student: learn(*student), students), strict=True))
if stopped_by:
    raise KeyboardInterrupt(f"stopped; {resume.again(run.unfinished)}")

# %% [markdown]
# ## Held out
#
# *Greedy* is one chain at temperature 0, *one chain* the mean of several at temperature 1, and of
# several seeds where there are some. Who learned answers only is asked for the answer alone; the
# base is measured both ways.

# %%
finals = {
    name: [student._replace(params=list(learned[name, seed][0].values())[-1]) for seed in SEEDS]
    for name in METHODS
}
greedy, single, tokens = {}, {}, {}  # [S, G] of S seeds
everyone = {"base, at once": [student], "base": [student], **finals, "teacher": [teacher]}
with tqdm(total=sum(map(len, everyone.values())), desc="held out", unit="model") as bar:
    for name, models in everyone.items():
        how = "direct" if name in ("base, at once", "answers only") else "cot"
        rows = []
        for i, model in enumerate(models):
            correct, length = measure(f"{name}, {i}", model, how)
            sampled_correct, sampled_length = measure(
                f"{name}, {i}", model, how, Sampler(1.0), run.chains
            )
            rows.append((correct[:, 0], sampled_correct.mean(1), length, sampled_length))
            bar.update()
        greedy[name], single[name], *tokens[name] = (np.array(x) for x in zip(*rows, strict=True))


def share(right: np.ndarray) -> Interval:
    """Of problems ``[S, G]``: Wilson's interval of one greedy chain each, else the bootstrap of the
    means of seeds and chains.
    """
    mean = right.mean(0)
    return accuracy(mean) if np.isin(mean, (0, 1)).all() else mean_interval(mean)


def over_seeds(x: np.ndarray) -> Interval:
    """Mean, lowest and highest of ``[S]``."""
    return Interval(float(x.mean()), float(x.min()), float(x.max()), len(x))


for name, correct in greedy.items():
    run.results.measure(f"greedy/{name}", share(correct), tokens=tokens[name][0].mean())
    run.results.measure(f"pass@1/{name}", share(single[name]), tokens=tokens[name][1].mean())
    if len(correct) > 1:
        run.results.measure(
            f"pass@1, lowest and highest seed/{name}", over_seeds(single[name].mean(1))
        )
    print(f"{name:<14} greedy {correct.mean():.3f}, one chain {single[name].mean():.3f}")
for name in METHODS:
    spent = np.array([max(learned[name, seed][0]) / 1e9 for seed in SEEDS])
    seconds = np.array([learned[name, seed][1] for seed in SEEDS])
    run.results.measure(f"training GFLOPs/{name}", over_seeds(spent))
    print(f"{name:<14} learned for {spent.mean():.0f} GFLOPs, {seconds.mean():.0f} s")
run.results.measure(
    "training GFLOPs/teacher's generation, apart", Interval(*[generation / 1e9] * 3, 1)
)


def claim(text: str, better: str, worse: str) -> None:
    run.claim(
        text,
        paired_difference(single[better].mean(0), single[worse].mean(0)),
        at_least=0.0,
        excludes_zero=True,
    )
    if len(SEEDS) > 1:
        of_seeds = single[better].mean(1) - single[worse].mean(1)
        run.results.measure(
            f"difference, lowest and highest seed/{better} - {worse}", over_seeds(of_seeds)
        )


claim("answers alone teach to answer at once", "answers only", "base, at once")
claim("but who answers at once stays behind the base that reasons", "base", "answers only")
claim("GRPO beats its base", "GRPO", "base")
claim("right traces beat their base", "right traces", "base")
claim("on-policy distillation beats its base", "on-policy", "base")
claim("right traces beat GRPO at equal FLOPs", "right traces", "GRPO")
claim("right traces beat all traces", "right traces", "all traces")
claim("KD beats fine-tuning on the same traces at equal FLOPs", "KD", "right traces")
claim(
    "on-policy distillation beats GRPO, on chains of the same kind, at equal FLOPs",
    "on-policy",
    "GRPO",
)
claim("on-policy distillation beats KD on the teacher's texts at equal FLOPs", "on-policy", "KD")

# %%
best = max(finals, key=lambda name: single[name].mean())
gain = paired_difference(single[best].mean(0), single["base"].mean(0))
found = (
    f"takes the student furthest, {100 * gain.value:+.0f} points"
    if gain.low > 0
    else f"is best, and not above the base, {100 * gain.value:+.1f} points"
)
run.figure(
    viz.bars(
        list(greedy),
        {
            "greedy": [share(c) for c in greedy.values()],
            "one chain, T = 1": [share(c) for c in single.values()],
        },
        title=f"With {BUDGET / 1e9:.0f} GFLOPs each,\n{best} {found} in one chain at T = 1",
        xlabel=f"what the student learned from (students of each: {len(SEEDS)})",
        ylabel="accuracy on held-out problems (95% interval)",
    ),
    "methods",
)

# %% [markdown]
# Four students of each (seeds 0 to 3; 500 problems; 1.5 TFLOPs each, less than a tenth of what
# lesson 08 spends on a policy) found another order than the one that is usually told, in one chain
# at temperature 1:
#
# - Answers alone are worth nothing here: five operations do not fit into one forward pass (lesson
#   01), however many answers are shown.
# - GRPO (+6.5 points, 5.7 to 7.2 by seed) and on-policy distillation (+6.2, 3.6 to 7.6) are ahead
#   of the right traces (+2.7), and KD on the teacher's texts loses 1.5. The two that win learn from
#   what the student itself writes. All traces, wrong ones among them, cost 4 points: filtering is
#   worth 7.
# - The student was annealed on its own 2,000 solutions, and every method first costs it some of
#   that (the figure below) before it gains: in a longer run the order may change, since good traces
#   say more per token than one bit per chain.
# - The teacher is wrong in one chain of four at temperature 1, and KD has the student cover all
#   that it might say.

# %% [markdown]
# ## Where the compute goes

# %%
by_quarter = {}
for name in tqdm(METHODS, desc="on the way", unit="method"):
    how, rows = "direct" if name == "answers only" else "cot", []
    for seed, end in zip(SEEDS, greedy[name], strict=True):
        _, *middle, _ = learned[name, seed][0].values()
        on_the_way = [
            measure(f"{name}, {seed}, quarter {i}", student._replace(params=params), how)[0][:, 0]
            for i, params in enumerate(middle, start=1)
        ]
        rows.append([greedy["base, at once" if how == "direct" else "base"][0], *on_the_way, end])
    by_quarter[name] = [share(quarter) for quarter in np.array(rows).swapaxes(0, 1)]
run.figure(
    viz.curves(
        np.linspace(0, BUDGET / 1e9, 5),
        by_quarter,
        title=f"The largest step in the first quarter is {max((q[1].value - q[0].value for q in by_quarter.values()), key=abs):+.0%}, "
        f"the best student ends at {max(q[-1].value for q in by_quarter.values()):.0%}",
        xlabel="training compute, generation of traces apart (GFLOPs)",
        ylabel="greedy accuracy (95% interval)",
    ),
    "accuracy_by_flops",
)

# %%
run.finish()
