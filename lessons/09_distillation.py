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
# **One model reasons well, another does not yet. What should the second learn from: the first one's
# texts, its probabilities, or its own attempts?**
#
# Here its own attempts taught most. We gave every way of learning 1.5 TFLOPs and four students. One
# sampled chain of the student was right 42.7% of the time before. GRPO (no teacher) gained 6.5
# points, and on-policy distillation 6.2. Imitating the teacher's right chains gained 2.7. Matching
# its probabilities on these chains lost 1.5. Greedy chains hardly moved (58% to 60%).
#
# ![accuracy by what the student learned from](../docs/results/09_distillation/methods.png)
#
# At the end of this lesson you can
#
# - write the three losses: fine-tuning on traces, token-level KD, on-policy reverse KL;
# - mask the prompt, and filter traces before anything is trained on them;
# - compare ways of learning at equal FLOPs.
#
# The reported results come from `--seeds 4`. `--model` chooses another teacher with
# the same tokens. Ctrl-C saves the students, and the same command goes on from there.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options("09_distillation", problems=500, chains=4, seeds=1, student="tiny-start")

# %%
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.answers.verify import grade
from jaxreason.course import lesson
from jaxreason.course.held_out import measure_quarters, measure_students
from jaxreason.course.policies import OBJECTIVE
from jaxreason.course.students import (
    Method,
    from_own_texts,
    from_rewards,
    from_texts,
    learn_all,
    make_optimizer,
)
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import Sampler
from jaxreason.evaluation.flops import rollout_flops
from jaxreason.evaluation.outcomes import over_seeds, share
from jaxreason.models.decoder import forward
from jaxreason.models.hf import load_model
from jaxreason.models.tokens import pad_left
from jaxreason.tasks import arithmetic
from jaxreason.training import distill, grpo_batch, loop, sft
from jaxreason.training.grpo_device import encode_problems

run = lesson.start(GIVEN)
teacher, student = run.model, load_model("tiny-start")
vocab_size = distill.shared_vocabulary(student, teacher)  # refuses a teacher with other tokens
tokenizer, cfg = student.tokenizer, student.cfg

# %% [markdown]
# ## Three losses in plain code
#
# We take one example: a prompt and a chain. The *weights* say which tokens are learned. The prompt
# has weight 0: otherwise most of the gradient would go into writing word problems. The end-of-text
# token has weight 1: otherwise the student would not learn to stop.

# %%
QUESTION = "Tom has 58 coins. He gives 4 friends 9 each. How many coins are left?"
prompt, chain = prompts.zero_shot_cot(QUESTION), "4*9=36\n58-36=22\n#### 22"
(document,) = sft.encode_pairs(tokenizer, [prompt], [chain], 256)
tokens, weights = document
length, num_prompt = len(tokens), int((weights == 0).sum())
print("masked: ", repr(tokenizer.decode(tokens[:num_prompt])))
print("learned:", repr(tokenizer.decode(tokens[num_prompt:])))


def next_logprobs(params, cfg, temperature: float = 1.0) -> jax.Array:
    """``[T - 1, V]`` log p of what may follow each token but the last."""
    logits, _ = forward(params, tokens[None], jnp.arange(length)[None], cfg=cfg)
    return jax.nn.log_softmax(logits[0, :-1, :vocab_size] / temperature)


# %% [markdown]
# 1. **Fine-tuning on traces** (DeepSeek-AI 2025, section 2.4): make the teacher's token likelier.
# 2. **Token-level KD** (Hinton et al. 2015): match the teacher's whole distribution at every token,
#    $$L = \alpha T^2\, \mathrm{KL}\big(p^T_{\text{teacher}} \| p^T_{\text{student}}\big) +
#    (1 - \alpha)\,\big(-\log p_{\text{student}}(\text{token})\big).$$
#    The temperature $T$ flattens both, and $T^2$ keeps the size of the gradient.
# 3. **On-policy** (Agarwal et al. 2024; Lu et al. 2025): the *student* wrote the chain, and the KL
#    is the reverse one, $\mathrm{KL}(p_{\text{student}} \| p_{\text{teacher}})$.

# %%
TEMPERATURE, ALPHA = 2.0, 0.9
learned = weights[1:]  # the weight of the token that is predicted
s, t = next_logprobs(student.params, cfg), next_logprobs(teacher.params, teacher.cfg)
s_soft = next_logprobs(student.params, cfg, TEMPERATURE)
t_soft = next_logprobs(teacher.params, teacher.cfg, TEMPERATURE)

nll = -s[jnp.arange(length - 1), tokens[1:]]
forward_kl = (jnp.exp(t_soft) * (t_soft - s_soft)).sum(-1)  # must cover what the teacher may say
reverse_kl = (jnp.exp(s) * (s - t)).sum(-1)  # must say nothing that the teacher would not
mean = functools.partial(np.average, weights=learned)
plain_sft = mean(nll)
plain_kd = ALPHA * TEMPERATURE**2 * mean(forward_kl) + (1 - ALPHA) * plain_sft
plain_on_policy = mean(reverse_kl)
for i in range(num_prompt, length):
    row = f"-log p {nll[i - 1]:6.3f}  KL {forward_kl[i - 1]:6.3f}  reverse {reverse_kl[i - 1]:6.3f}"
    print(f"{tokenizer.decode(tokens[i : i + 1])!r:<16} {row}")

# %% [markdown]
# Where both models are sure of one token all three are near 0. The library computes the same for
# packed batches, and forms logits for a few tokens at a time.

# %%
taught = {"cfg": cfg, "teacher_cfg": teacher.cfg, "vocab_size": vocab_size}
batch = sft.pack([document], 1, length, tokenizer.pad_token_id)
written = distill.Samples(
    prompt=pad_left([tokens[:num_prompt]], tokenizer.pad_token_id),
    tokens=tokens[None, None, num_prompt:],
    mask=np.ones((1, 1, length - num_prompt), bool),
)
kd, _ = distill.kd_loss(
    student.params, batch, teacher.params, temperature=TEMPERATURE, alpha=ALPHA, **taught
)
on_policy, _ = distill.on_policy_loss(student.params, written, teacher.params, **taught)
np.testing.assert_allclose(sft.sft_loss(student.params, batch, cfg=cfg)[0], plain_sft, rtol=1e-4)
np.testing.assert_allclose(kd, plain_kd, rtol=1e-4)
np.testing.assert_allclose(on_policy, plain_on_policy, rtol=1e-4)

# %% [markdown]
# ## The teacher's traces, filtered before anything is trained on them
#
# The teacher answers training problems at temperature 1, four times each. Filters remove chains
# without an end, wrong answers, long chains, duplicates, and more than two traces of one problem.

# %%
QUICK, MAX_TOKENS = run.options.quick, 72  # of a chain: six operations take up to 71
pool = arithmetic.problems("train", 96 if QUICK else 4000, seed=run.options.seed)
asked, golds = [prompts.zero_shot_cot(p.question) for p in pool], [p.answer for p in pool]
sampled = complete(
    teacher,
    jax.random.fold_in(run.key, 1),
    asked,
    sampler=Sampler(1.0),
    max_new_tokens=MAX_TOKENS,
    num_samples=4,
    rows=run.rows,
    description="teacher's chains",
    store=run.store,
)
filtered = distill.filter_traces(asked, sampled, golds, max_tokens=64, max_per_prompt=2)
print(f"{sampled.num_tokens.size} chains: {filtered.removed} removed, {len(filtered.traces)} kept")

# %% [markdown]
# An answer can be right and a step wrong: the exact checker of steps sees it. The teacher's
# generation is listed apart, since it happens once and can be shared.

# %%
by_text = dict(zip(asked, pool, strict=True))
sound = [all(arithmetic.check_steps(by_text[t.prompt], t.completion)) for t in filtered.traces]
run.measure("traces/right answer, before filtering", grade(sampled.texts, golds).mean(1))
run.measure("traces/every step right, after filtering", np.array(sound))
asked_tokens = np.array(list(map(len, tokenizer(asked, add_special_tokens=False).input_ids)))
gflops = rollout_flops(teacher.cfg, asked_tokens, sampled.num_tokens).sum() / 1e9
run.measure("training GFLOPs/teacher's generation, apart", over_seeds([gflops]))

# %% [markdown]
# ## Six ways to learn, with equal FLOPs
#
# The budget counts forward and backward passes (three forward passes in all), the chains that a
# student samples for itself, and what the teacher reads meanwhile. A method is a way to draw what a
# step learns from, an update, and a learning rate. `functools.partial` fixes some arguments of a
# loss: a function of the parameters and a batch is left.

# %%
optimizer, partial = make_optimizer(), functools.partial
kd_loss = partial(distill.kd_loss, temperature=1.0, alpha=0.9, **taught)
grpo_loss = partial(grpo_batch.grpo_loss, cfg=cfg, objective=OBJECTIVE)
imitate = loop.make_update(partial(sft.sft_loss, cfg=cfg), optimizer, 4)
match = loop.make_update(kd_loss, optimizer, 4, teacher.params)
reinforce = loop.make_update(grpo_loss, optimizer, 4)
reverse = loop.make_update(partial(distill.on_policy_loss, **taught), optimizer, 2, teacher.params)

right, rows = filtered.traces, zip(asked, sampled.texts, strict=True)
every = [distill.Trace(text, chain) for text, row in rows for chain in row]
bare = distill.answer_traces([p.question for p in pool], golds)
asks = encode_problems(tokenizer, asked, [f" {gold}" for gold in golds])
METHODS = {
    "answers only": Method(from_texts(student, bare), imitate, 1e-3),
    "GRPO": Method(from_rewards(student, asks, OBJECTIVE, MAX_TOKENS), reinforce, 2e-4),
    "all traces": Method(from_texts(student, every), imitate, 5e-4),
    "right traces": Method(from_texts(student, right), imitate, 5e-4),
    "KD": Method(from_texts(student, right, read_by=teacher), match, 1e-3),
    "on-policy": Method(from_own_texts(student, asks, teacher, MAX_TOKENS), reverse, 1e-3),
}

# %% [markdown]
# Every student learns until its budget is spent, two at a time. It is kept at each quarter.

# %%
BUDGET = 9e9 if QUICK else 1.5e12  # FLOPs of each student's training
SEEDS = [run.options.seed + i for i in range(run.seeds)]
students = learn_all(student, METHODS, SEEDS, optimizer, BUDGET, run.kept("students", BUDGET))

# %% [markdown]
# ## Held out
#
# *Greedy* is one chain at temperature 0. *One chain* is the mean of several at temperature 1. The
# student of answers only is asked for the answer alone, and the base is measured both ways.

# %%
problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
AT_ONCE = ("base, at once", "answers only")
everyone = {"base, at once": [student], "base": [student]}
for name in METHODS:
    ends = [students[name, seed].quarters[-1] for seed in SEEDS]
    everyone[name] = [student._replace(params=params) for params in ends]
everyone["teacher"] = [teacher]
scores = {
    name: measure_students(run, name, models, problems, at_once=name in AT_ONCE)
    for name, models in everyone.items()
}
for name in METHODS:
    spent = [students[name, seed].spent[-1] / 1e9 for seed in SEEDS]
    run.measure(f"training GFLOPs/{name}", over_seeds(spent))

# %% [markdown]
# The claims are about one chain at temperature 1, in the mean of the seeds.

# %%
same_kind = "on-policy distillation beats GRPO, on chains of the same kind, at equal FLOPs"
CLAIMS = {
    "answers alone teach to answer at once": ("answers only", "base, at once"),
    "but who answers at once stays behind the base that reasons": ("base", "answers only"),
    "GRPO beats its base": ("GRPO", "base"),
    "right traces beat their base": ("right traces", "base"),
    "on-policy distillation beats its base": ("on-policy", "base"),
    "right traces beat GRPO at equal FLOPs": ("right traces", "GRPO"),
    "right traces beat all traces": ("right traces", "all traces"),
    "KD beats fine-tuning on the same traces at equal FLOPs": ("KD", "right traces"),
    same_kind: ("on-policy", "GRPO"),
    "on-policy distillation beats KD on the teacher's texts at equal FLOPs": ("on-policy", "KD"),
}
for text, (better, worse) in CLAIMS.items():
    higher, lower = scores[better].single, scores[worse].single  # [S, G]
    run.claim_better(text, higher.mean(0), lower.mean(0))
    if len(SEEDS) > 1:
        of_seeds = over_seeds(higher.mean(1) - lower.mean(1))
        run.measure(f"difference, lowest and highest seed/{better} - {worse}", of_seeds)

# %% [markdown]
# All of them beside the base and the teacher:

# %%
best = max(METHODS, key=lambda name: scores[name].single.mean())
run.bars(
    "methods",
    list(scores),
    {
        "greedy": [share(of.greedy.mean(0)) for of in scores.values()],
        "one chain, T = 1": [share(of.single.mean(0)) for of in scores.values()],
    },
    title=f"With {BUDGET / 1e9:.0f} GFLOPs each, the best at T = 1 learned from: {best}",
    xlabel=f"what the student learned from (students of each: {len(SEEDS)})",
)

# %% [markdown]
# ## Where the compute goes
#
# We measure the students at each quarter of their budget.

# %%
by_quarter = {}
for name in METHODS:
    at_once, learned = name in AT_ONCE, [students[name, seed] for seed in SEEDS]
    way = measure_quarters(run, student, learned, problems, at_once=at_once)
    start, end = scores["base, at once" if at_once else "base"], scores[name]
    by_quarter[name] = [share(start.greedy.mean(0)), *way, share(end.greedy.mean(0))]
first = max((quarters[1].value - quarters[0].value for quarters in by_quarter.values()), key=abs)
run.curves(
    "accuracy_by_flops",
    np.linspace(0, BUDGET / 1e9, 5),
    by_quarter,
    title=f"The largest step in the first quarter is {first:+.0%}, the best student ends at "
    f"{max(quarters[-1].value for quarters in by_quarter.values()):.0%}",
    xlabel="training compute, generation of traces apart (GFLOPs)",
    ylabel="greedy accuracy (95% interval)",
)

# %% [markdown]
# ## What surprised us
#
# - At temperature 1 learning from one's own texts wins. Greedy chains gain at most 2 points.
# - KD on right traces lost 1.5 points. The teacher is wrong in one chain of four at temperature 1,
#   and KD has the student cover all that the teacher might say.
# - Filtering is worth 7 points: all traces, wrong ones among them, cost the student 4.
#
# ## When it does not work
#
# - **The loss falls and accuracy does not**: print what is masked and what is learned, as above.
# - **Chains never end**: the end-of-text token needs weight 1.
# - **Every method loses at first**: it undoes how the student was annealed. Spend more.
# - **KD loses**: look at the teacher's own chains at temperature 1.
#
# ## Exercises
#
# `jaxreason check 09` writes `exercises_09.py` for you to fill in, and checks your answers:
#
# 1. `completion_loss`: the loss of fine-tuning, with the prompt masked.
# 2. `kd_loss`: token-level KD with temperature and alpha.
# 3. `keep_traces`: filter before training.
# 4. `PREFERRED`: predict which student each KL prefers.
# 5. `BATCHES`: break it. When is a mean over the batch no mean over tokens?

# %%
run.finish()
