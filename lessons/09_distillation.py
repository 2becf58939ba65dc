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
# We try four ways on one and the same weak student: `tiny-start` of lesson 08, as large as its
# teacher `tiny`, but made of only 2,000 worked problems:
#
# - **answers only** (behaviour cloning): imitate question and answer, no reasoning;
# - **traces**: sample chains of the teacher, keep the right ones, fine-tune on them (DeepSeek-AI
#   2025, section 2.4: this is how the small R1 models were made);
# - **token-level KD**: on the same texts, match the teacher's whole distribution at every token
#   (Hinton et al. 2015),
#   $$L = \alpha T^2\, \mathrm{KL}\big(p^T_{\text{teacher}} \| p^T_{\text{student}}\big) +
#   (1 - \alpha)\,\big(-\log p_{\text{student}}(\text{token})\big);$$
# - **on-policy**: the *student* writes, and the teacher says at each of its tokens what it would
#   have said, $\mathrm{KL}(p_{\text{student}} \| p_{\text{teacher}})$ (Agarwal et al. 2024; Gu et
#   al. 2024; Lu et al. 2025).
#
# The alternative without a teacher is **GRPO** (lesson 08): the student writes, and its answer is
# checked. All methods get the same number of FLOPs, which we count, and we measure all of them on
# the same held-out problems. (The notebook this lesson follows did not mask the prompt, summed its
# KL over the text, filtered the traces after training on them, and never measured its student.)
#
# By default every way is tried once. `--seeds 4` trains four students of each, which see other
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
from collections.abc import Callable
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
vocab_size = distill.shared_vocabulary(student, teacher)  # refuses a teacher with other tokens
tokenizer, cfg = student.tokenizer, student.cfg
print(
    f"teacher {teacher.name}: {teacher.num_params:,} parameters, "
    f"student {student.name}: {student.num_params:,}"
)

problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
golds = [p.answer for p in problems]
asked = {
    "cot": [prompts.zero_shot_cot(p.question) for p in problems],
    "direct": [prompts.direct(p.question) for p in problems],
}

# %% [markdown]
# Every student is measured in the same way, greedily and by sampling.

# %%
BUDGET = 9e9 if run.options.quick else 1.5e12  # FLOPs of each student's training


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
        store=run.kept(f"chains/{name}", BUDGET),
    )
    return grade(written.texts, golds), float(written.num_tokens.mean())


# %% [markdown]
# ## The teacher's traces, filtered before anything is trained on them
#
# The teacher answers training problems at temperature 1, several times each: varied, and a good
# part of it wrong. We choose what to imitate *before* training. Filters remove, in turn: chains
# that never end; a wrong final answer (rejection sampling: the verifier needs answers, no traces);
# chains that are too long; duplicates; and more than two traces of one problem, since easy problems
# have many right ones.

# %%
POOL = 96 if run.options.quick else 4000
MAX_TOKENS = 72  # of a chain; six operations take up to 71
pool = arithmetic.problems("train", POOL, seed=run.options.seed)
pool_texts = [prompts.zero_shot_cot(p.question) for p in pool]
pool_golds = [p.answer for p in pool]
sampled = complete(
    teacher,
    jax.random.fold_in(run.key, 1),
    pool_texts,
    sampler=Sampler(1.0),
    max_new_tokens=MAX_TOKENS,
    num_samples=4,
    rows=run.rows,
    description="teacher's chains",
    store=run.kept("chains/traces"),
)
filtered = distill.filter_traces(pool_texts, sampled, pool_golds, max_tokens=64, max_per_prompt=2)
unfiltered = []
for prompt, chains in zip(pool_texts, sampled.texts, strict=True):
    unfiltered += [distill.Trace(prompt, chain) for chain in chains]
print(f"{len(unfiltered)} chains: {filtered.removed} removed, {len(filtered.traces)} kept")

# %% [markdown]
# How good is what is left? An answer can be right and a step wrong, which no check of answers sees.
# The exact checker of steps does.

# %%
by_text = dict(zip(pool_texts, pool, strict=True))
sound = np.array(
    [all(arithmetic.check_steps(by_text[t.prompt], t.completion)) for t in filtered.traces]
)
before_filtering = grade(sampled.texts, pool_golds).mean(1)
run.results.measure("traces/right answer, before filtering", mean_interval(before_filtering))
run.results.measure("traces/every step right, after filtering", accuracy(sound))

pool_ids = tokenizer(pool_texts, add_special_tokens=False).input_ids
pool_lengths = np.array([len(ids) for ids in pool_ids])
generation = rollout_flops(teacher.cfg, pool_lengths, sampled.num_tokens).sum()
print(
    f"the teacher wrote {sampled.num_tokens.sum():,} tokens, {generation / 1e9:.0f} GFLOPs; "
    f"{1 - sound.mean():.1%} of the kept traces reach the right answer through a wrong step, "
    "which no check of answers sees"
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
documents = {}
for name, traces in examples.items():
    texts, completions = zip(*traces, strict=True)
    documents[name] = sft.encode_pairs(tokenizer, texts, completions, 256)
shown = documents["right traces"][0]
print("masked: ", repr(tokenizer.decode(shown.tokens[shown.weights == 0])))
print("learned:", repr(tokenizer.decode(shown.tokens[shown.weights > 0])))

# %% [markdown]
# ## Equal FLOPs
#
# The budget counts all that happens while the student learns: its forward and backward passes
# (three forward passes in all), the chains it samples for itself, and the teacher's forward passes
# over texts for KD and on-policy distillation. The teacher's *generation* of the traces is listed
# apart, since it happens once and can be shared. It would multiply the bill of the three methods
# that use the traces.
#
# A step *draws* what it learns from, and says what that costs. There are two kinds of draws. The
# first takes the next batch of written examples; for KD the teacher reads them too.

# %%
ROWS, LENGTH = 8, 256


def text_draw(name: str, seed: int, *, scored: bool = False) -> Callable:
    """``(params, step) -> (packed batch of examples, FLOPs of learning from it)``."""
    batch_fn = distill.trace_batches(
        documents[name], ROWS, LENGTH, tokenizer.pad_token_id, seed=seed
    )

    def draw(params, step: int):
        batch = batch_fn(step)
        context = (batch.positions + 1)[batch.segment_ids > 0]  # tokens that each token sees
        flops = training_flops(cfg, context)
        if scored:
            flops = flops + forward_flops(teacher.cfg, context).sum()
        return batch, flops

    return draw


# %% [markdown]
# The second kind lets the student write chains for the next problems. For GRPO a chain's answer is
# rewarded. For on-policy distillation the teacher reads the chains, and they are learned from as
# they were written.

# %%
stop, reward = compile_stop(tokenizer), jax.jit(exact_match(tokenizer))
asks = encode_problems(tokenizer, pool_texts, [f" {gold}" for gold in pool_golds])
OBJECTIVE = dataclasses.replace(grpo.DAPO, advantages="least_variance")  # as in lesson 08


def rewarded(some, rollout) -> grpo_batch.GroupBatch:
    rewards = reward(rollout, some.answer)
    batch, _ = grpo_batch.make_batch(some.prompt, rollout, rewards, None, objective=OBJECTIVE)
    return batch


def as_written(some, rollout) -> distill.Samples:
    return distill.Samples(some.prompt, rollout.tokens, rollout.mask)


def own_draw(
    seed: int, *, groups: int, chains: int, make_batch: Callable, scored: bool = False
) -> Callable:
    """``(params, step) -> (batch of the student's chains, FLOPs of writing and learning)``."""
    order = np.random.default_rng(seed).permutation(len(asks.answer))
    shuffled = jax.tree.map(lambda x: x[order], asks)

    def draw(params, step: int):
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
        prompt_tokens = some.prompt.mask.sum(-1)
        chain_tokens = np.asarray(rollout.mask.sum(-1))
        # Drawn once, learned from at three times the cost.
        flops = 4 * rollout_flops(cfg, prompt_tokens, chain_tokens).sum()
        if scored:
            flops = flops + rollout_flops(teacher.cfg, prompt_tokens, chain_tokens).sum()
        return make_batch(some, rollout), flops

    return draw


# %% [markdown]
# A method is a draw, an update, and a learning rate. All methods get Adam, and each update has the
# loss of its method.

# %%
clipped_adam = optax.inject_hyperparams(
    lambda learning_rate: optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(learning_rate, b2=0.95)
    )
)
optimizer = clipped_adam(learning_rate=0.0)  # each step sets its own
taught = {"cfg": cfg, "teacher_cfg": teacher.cfg, "vocab_size": vocab_size}

sft_loss = functools.partial(sft.sft_loss, cfg=cfg)
kd_loss = functools.partial(distill.kd_loss, temperature=1.0, alpha=0.9, **taught)
on_policy_loss = functools.partial(distill.on_policy_loss, **taught)
grpo_loss = functools.partial(grpo_batch.grpo_loss, cfg=cfg, objective=OBJECTIVE)

fine_tuning = loop.make_update(sft_loss, optimizer, 4)
matching = loop.make_update(kd_loss, optimizer, 4, teacher.params)
reverse = loop.make_update(on_policy_loss, optimizer, 2, teacher.params)
reinforcing = loop.make_update(grpo_loss, optimizer, 4)


class Method(NamedTuple):
    draw: Callable  # seed -> what a step learns from, see text_draw and own_draw
    update: Callable
    peak: float  # learning rate, chosen for a weaker student, not for this one


right_traces = functools.partial(text_draw, "right traces")
groups_of_8 = functools.partial(own_draw, groups=16, chains=8, make_batch=rewarded)
pairs = functools.partial(own_draw, groups=16, chains=2, make_batch=as_written, scored=True)
METHODS = {
    "answers only": Method(functools.partial(text_draw, "answers only"), fine_tuning, 1e-3),
    "GRPO": Method(groups_of_8, reinforcing, 2e-4),
    "all traces": Method(functools.partial(text_draw, "all traces"), fine_tuning, 5e-4),
    "right traces": Method(right_traces, fine_tuning, 5e-4),
    "KD": Method(functools.partial(right_traces, scored=True), matching, 1e-3),
    "on-policy": Method(pairs, reverse, 1e-3),
}

# %% [markdown]
# The learning rate follows the share of the budget that is spent: up within the first twentieth,
# then down to a tenth. At every quarter the student is kept, to be measured; nothing is chosen by
# that.


# %%
class Learning(NamedTuple):
    """A student on its way: all that is needed to go on."""

    state: loop.TrainState
    quarters: tuple  # the parameters after each quarter; those of the start where it is yet to come
    spent: np.ndarray  # [4] FLOPs at each quarter, 0 before
    flops: np.ndarray  # [] so far
    seconds: np.ndarray  # [] so far


def begin() -> Learning:
    params = jax.tree.map(jnp.copy, student.params)  # a copy: updates consume their state
    return Learning(
        state=loop.init_state(params, optimizer),
        quarters=(student.params,) * 4,
        spent=np.zeros(4),
        flops=np.zeros(()),
        seconds=np.zeros(()),
    )


def at_rate(state: loop.TrainState, learning_rate: float) -> loop.TrainState:
    """The state with this learning rate for its next update."""
    rate = {"learning_rate": jnp.float32(learning_rate)}
    return state._replace(opt_state=state.opt_state._replace(hyperparams=rate))


def end_quarter(at: Learning) -> Learning:
    """Keeps a copy of the student, and what it has cost so far."""
    quarter = np.count_nonzero(at.spent)
    quarters, spent = list(at.quarters), at.spent.copy()
    quarters[quarter] = jax.tree.map(jnp.copy, at.state.params)
    spent[quarter] = at.flops
    return at._replace(quarters=tuple(quarters), spent=spent)


# %% [markdown]
# A student learns until its budget is spent. At every quarter, and when Ctrl-C stops it, it is
# saved, and it goes on from there in the next run.


# %%
def learn(name: str, seed: int) -> Learning | None:
    """A student of a method with its whole budget spent; None if it was stopped."""
    method = METHODS[name]
    draw, path = method.draw(seed), run.kept("students", BUDGET) / f"{name}-{seed}.npz"
    at = begin()
    if path.exists():
        at = resume.load(path, at)
        bar.update(min(float(at.flops), BUDGET) / 1e9)
    step, began = int(at.state.step), time.perf_counter() - float(at.seconds)

    while not at.spent[-1]:
        if stopped_by:
            resume.save(path, at._replace(seconds=np.array(time.perf_counter() - began)))
            return None
        left = max(0.0, BUDGET - float(at.flops))
        done = float(at.flops) / BUDGET  # share of the budget
        rate = method.peak * min(0.1 + 20 * done, 1 - 0.9 * done)
        batch, cost = draw(at.state.params, step)
        state, _ = method.update(at_rate(at.state, rate), batch)
        bar.update(min(cost, left) / 1e9)
        at, step = at._replace(state=state, flops=at.flops + cost), step + 1
        if at.flops >= BUDGET * (np.count_nonzero(at.spent) + 1) / 4:
            at = end_quarter(at)._replace(seconds=np.array(time.perf_counter() - began))
            resume.save(path, at)
    return at


# %% [markdown]
# Two students learn at a time: such small matrices keep one core busy each. Ctrl-C lets the
# students in both threads save themselves first.

# %%
students = list(itertools.product(METHODS, SEEDS))
names, seeds = zip(*students, strict=True)
with (
    loop.stopping() as stopped_by,
    tqdm(
        total=len(students) * BUDGET / 1e9,
        desc="students",
        unit="GFLOP",
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}",
    ) as bar,
    ThreadPoolExecutor(2) as two,
):
    learned = dict(zip(students, two.map(learn, names, seeds), strict=True))
if stopped_by:
    raise KeyboardInterrupt(f"stopped; {resume.again(run.unfinished)}")

# %% [markdown]
# ## Held out
#
# *Greedy* is one chain at temperature 0. *One chain* is the mean of several at temperature 1, and
# of several seeds where there are some. The student that learned answers only is asked for the
# answer alone. The base is measured both ways.

# %%
finals = {
    name: [student._replace(params=learned[name, seed].quarters[-1]) for seed in SEEDS]
    for name in METHODS
}
everyone = {"base, at once": [student], "base": [student], **finals, "teacher": [teacher]}
AT_ONCE = ("base, at once", "answers only")
greedy, single = {}, {}  # [S, G] of S seeds
tokens = {}  # of a greedy chain and of a sampled one
with tqdm(total=sum(map(len, everyone.values())), desc="held out", unit="model") as bar:
    for name, models in everyone.items():
        how = "direct" if name in AT_ONCE else "cot"
        greedy_rows, single_rows, lengths = [], [], []
        for i, model in enumerate(models):
            right, length = measure(f"{name}, {i}", model, how)
            sampled_right, sampled_length = measure(
                f"{name}, {i}", model, how, Sampler(1.0), run.chains
            )
            greedy_rows.append(right[:, 0])
            single_rows.append(sampled_right.mean(1))
            lengths.append((length, sampled_length))
            bar.update()
        greedy[name], single[name] = np.array(greedy_rows), np.array(single_rows)
        tokens[name] = np.mean(lengths, axis=0)

# %% [markdown]
# The numbers, with an interval over problems; with several seeds, their range as well.


# %%
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
    run.results.measure(f"greedy/{name}", share(correct), tokens=tokens[name][0])
    run.results.measure(f"pass@1/{name}", share(single[name]), tokens=tokens[name][1])
    if len(correct) > 1:
        run.results.measure(
            f"pass@1, lowest and highest seed/{name}", over_seeds(single[name].mean(1))
        )
    print(f"{name:<14} greedy {correct.mean():.3f}, one chain {single[name].mean():.3f}")
for name in METHODS:
    students_of = [learned[name, seed] for seed in SEEDS]
    spent = np.array([at.spent[-1] / 1e9 for at in students_of])
    seconds = np.array([float(at.seconds) for at in students_of])
    run.results.measure(f"training GFLOPs/{name}", over_seeds(spent))
    print(f"{name:<14} learned for {spent.mean():.0f} GFLOPs, {seconds.mean():.0f} s")
gflops = generation / 1e9
run.results.measure(
    "training GFLOPs/teacher's generation, apart", Interval(gflops, gflops, gflops, 1)
)

# %% [markdown]
# The claims are about one chain at temperature 1.


# %%
def claim(text: str, better: str, worse: str) -> None:
    """Claims that one student is better than another; with several seeds, in their mean."""
    run.claim_better(text, single[better].mean(0), single[worse].mean(0))
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

# %% [markdown]
# Which student is best, and is it better than where it began?

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
# - The student was annealed on its own 2,000 solutions. Every method first costs it some of that
#   (the figure below) before it gains. In a longer run the order may change, since good traces say
#   more per token than one bit per chain.
# - The teacher is wrong in one chain of four at temperature 1, and KD has the student cover all
#   that the teacher might say.

# %% [markdown]
# ## Where the compute goes
#
# Every student was kept at each quarter of its budget. Here they are measured, between the base and
# the end.

# %%
by_quarter = {}
for name in tqdm(METHODS, desc="on the way", unit="method"):
    how, base = ("direct", "base, at once") if name in AT_ONCE else ("cot", "base")
    rows = []  # [S][5][G]
    for seed, end in zip(SEEDS, greedy[name], strict=True):
        row = [greedy[base][0]]
        for i, params in enumerate(learned[name, seed].quarters[:-1], start=1):
            right, _ = measure(f"{name}, {seed}, quarter {i}", student._replace(params=params), how)
            row.append(right[:, 0])
        rows.append([*row, end])
    by_quarter[name] = [share(quarter) for quarter in np.array(rows).swapaxes(0, 1)]

first_steps = [quarters[1].value - quarters[0].value for quarters in by_quarter.values()]
ends = [quarters[-1].value for quarters in by_quarter.values()]
run.figure(
    viz.curves(
        np.linspace(0, BUDGET / 1e9, 5),
        by_quarter,
        title=f"The largest step in the first quarter is {max(first_steps, key=abs):+.0%}, "
        f"the best student ends at {max(ends):.0%}",
        xlabel="training compute, generation of traces apart (GFLOPs)",
        ylabel="greedy accuracy (95% interval)",
    ),
    "accuracy_by_flops",
)

# %%
run.finish()
