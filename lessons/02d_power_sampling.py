# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 02d Can sampling alone make a model reason better?
#
# **A likely chain is more often right than an unlikely one. Can we draw likely chains, without any
# training?**
#
# Yes, but here it does not help. Karan & Du (2025) sample chains with a probability proportional to
# $p^\alpha$, where $p$ is the model's own probability of the whole chain. On 500 problems, one such
# chain of our weak model `tiny-start` is right 56% of the time. Simply lowering the temperature
# gives 56% too, with a seventh of the tokens. The policy that GRPO trains from this model in lesson
# 08 is right 70% of the time.
#
# ![accuracy against tokens](../docs/results/02d_power_sampling/tiny-start.png)
#
# At the end of this lesson you can
#
# - say why a low temperature does not sample from $p^\alpha$;
# - sample from $p^\alpha$ with Metropolis-Hastings, for many texts in one compiled program.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options("02d_power_sampling", problems=500, task="arithmetic:2-6", chains=16)

# %%
import dataclasses
import json

import jax
import numpy as np

from jaxreason.answers import vote
from jaxreason.answers.verify import answer_ids, gold_ids, grade, read_answers
from jaxreason.course import lesson, viz
from jaxreason.course.run import Run
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import Completions
from jaxreason.decoding.power_texts import PowerTexts, complete_power
from jaxreason.decoding.sampling import GREEDY, Sampler, sample
from jaxreason.evaluation.compute_optimal import paid_for
from jaxreason.evaluation.intervals import Interval
from jaxreason.models.decoder import forward
from jaxreason.models.hf import load_model
from jaxreason.tasks import load_problems

run = lesson.start(GIVEN, cpu_devices=2)
ALPHA, BLOCK = 4.0, run.max_new_tokens // 3  # the power of the paper, and tokens of a block

# %% [markdown]
# ## A low temperature is something else
#
# A temperature of $1/\alpha$ raises the probability of every *token* to the power $\alpha$, and
# makes the sum one again at each of them. Is that the same as $p^\alpha$ of the whole text? Take
# texts of two letters. After `a` the next letter is certain, after `b` it is not.

# %%
p = np.array([[0.0, 0.4], [0.3, 0.3]])  # of aa, ab, ba, bb
power = p**ALPHA / (p**ALPHA).sum()

first = p.sum(1) ** ALPHA / (p.sum(1) ** ALPHA).sum()  # [2] the first letter, at 1 / ALPHA
then = (p / p.sum(1, keepdims=True)) ** ALPHA  # [2, 2] the second one, given the first
cold = first[:, None] * then / then.sum(1, keepdims=True)
for text, *shares in zip(("aa", "ab", "ba", "bb"), p.flat, power.flat, cold.flat, strict=True):
    print("{}: p {:.2f}, p^4 {:.2f}, T = 1/4 {:.2f}".format(text, *shares))

# %% [markdown]
# The likeliest text is `ab`, and $p^4$ draws it most often. The low temperature begins with `b`
# five times out of six: `b` is the likelier letter. It does not see that both texts behind `b` are
# less likely than `ab`.
#
# ## Metropolis-Hastings in plain code
#
# We cannot list all texts of a language model, so we cannot normalise $p^\alpha$. A walk from text
# to text needs no sum (*Metropolis-Hastings*). At a text $x$ it draws a candidate $x'$ from a
# proposal $q$, and goes there with probability
# $$A = \min\Big(1, \frac{p(x')^\alpha\, q(x \mid x')}{p(x)^\alpha\, q(x' \mid x)}\Big),$$
# else it stays. In the long run it visits every text in proportion to its $p^\alpha$. Our proposal
# keeps the letters up to a random place, and draws the others at the low temperature.

# %%
rng, visits = np.random.default_rng(0), np.zeros((2, 2))


def redraw(kept: tuple[int, ...]) -> tuple[int, int]:
    """A text with these first letters, the others from the low temperature."""
    letter = kept[0] if kept else rng.choice(2, p=first)
    return letter, rng.choice(2, p=cold[letter] / cold[letter].sum())


x = redraw(())
for _ in range(20_000):
    place = rng.integers(2)
    new = redraw(x[:place])
    # What is kept has the same probability in both, so it cancels in the ratio.
    ratio = p[new] ** ALPHA / p[x] ** ALPHA * cold[x] / cold[new]
    if rng.random() < ratio:
        x = new
    visits[x] += 1
print("visits", (visits / visits.sum()).round(3).tolist(), "p^4", power.round(3).tolist())
np.testing.assert_allclose(visits / visits.sum(), power, atol=0.03)

# %% [markdown]
# ## The same with a language model
#
# Draw a chain at temperature $1/\alpha$. Then, again and again, choose a token, draw everything
# from there on anew, and accept or reject. We need the logits of the next token, and the logarithm
# of $p^\alpha / q$ of a whole chain.

# %%
start, LIMIT, proposal = load_model("tiny-start", mesh=run.mesh), 64, Sampler(1 / ALPHA)
QUESTION = "Dan starts with 54 toys. Dan gets 6 boxes with 4 each. He loses 6 packs of 7 toys."
prompt = prompts.zero_shot_cot(QUESTION + " How many toys does Dan have in total?")
head = start.tokenizer(prompt, add_special_tokens=False).input_ids
logits_of = jax.jit(lambda *args: forward(*args, cfg=start.cfg)[0])


def logits(chain: list[int]) -> np.ndarray:
    """``[T + 1, V]`` before each token of the chain, and behind the last."""
    ids = np.pad(np.int32(head + chain), (0, LIMIT - len(chain)))[None]  # one shape: one program
    found = logits_of(start.params, ids, np.arange(ids.shape[1])[None])
    return np.asarray(found[0, len(head) - 1 : len(head) + len(chain)])


def finish(key: jax.Array, chain: list[int]) -> list[int]:
    """The chain with an end drawn from the proposal."""
    while len(chain) < LIMIT and start.tokenizer.eos_token_id not in chain:
        token = sample(jax.random.fold_in(key, len(chain)), logits(chain)[-1], proposal)
        chain = [*chain, int(token)]
    return chain


def log_weight(chain: list[int]) -> float:
    """log of p^alpha / q."""
    before, places = logits(chain)[:-1], np.arange(len(chain))
    log_p = jax.nn.log_softmax(before)[places, np.array(chain)]
    log_q = jax.nn.log_softmax(ALPHA * before)[places, np.array(chain)]
    return float(ALPHA * log_p.sum() - log_q.sum())


# %% [markdown]
# The new chain may be longer or shorter. The token to begin at was one of $|x|$, and on the way
# back it would be one of $|x'|$. So the ratio has a factor $|x| / |x'|$. The paper's chains all
# have the same length and need none.

# %%
block_key = jax.random.fold_in(jax.random.fold_in(run.key, 0), 0)  # prompt 0, block 0
chain = finish(jax.random.fold_in(block_key, 0), [])
for n in range(1, 9):
    draws, place, luck = jax.random.split(jax.random.fold_in(block_key, n), 3)
    at = int(jax.random.randint(place, (), 0, len(chain)))
    new = finish(draws, chain[:at])
    ratio = np.exp(log_weight(new) - log_weight(chain)) * len(chain) / len(new)
    accepted = jax.random.uniform(luck) < ratio
    end = start.tokenizer.decode(new[at:], skip_special_tokens=True)
    print(f"from token {at:>2}: ratio {ratio:8.3f}, {'yes' if accepted else 'no ':<3} {end!r}")
    chain = new if accepted else chain

# %% [markdown]
# The right answer is 36, and the walk ends at 54. A chain that computes `6*4` twice is likelier for
# this model than the right one. Where it is sure of every token, the ratio is 1: there $p^\alpha$
# and the low temperature agree.
#
# The library takes the same steps with many chains at once. In PyTorch you would slice each chain.
# A compiled program has fixed shapes, so here the places are an array, and
# `jnp.where(t < start, kept, drawn)` writes the kept tokens again. Long chains grow by blocks, and
# take some steps at each length (Algorithm 1 of the paper). This chain fits into one block.

# %%
limits = {"block": LIMIT, "num_steps": 8, "max_new_tokens": LIMIT}
found = complete_power(start, run.key, [prompt], alpha=ALPHA, **limits)
assert found.texts[0] == start.tokenizer.decode(chain, skip_special_tokens=True)
print(f"drawn {found.num_drawn[0]} tokens for a chain of {found.num_tokens[0]}")

# %% [markdown]
# ## On held-out problems
#
# We take `tiny` and `tiny-start`, a weak model from which GRPO starts in lesson 08. Power sampling
# writes *one* chain, and pays for all the tokens that it drew.

# %%
STEPS = (1,) if run.options.quick else (1, 2, 4)  # at each length
POWER, VOTE, LIKELIEST = METHODS = "power sampling", "vote of n chains", "likeliest of n chains"
problems = load_problems(run.task, "test", run.problems, seed=run.options.seed)
texts = [prompts.zero_shot_cot(p.question, run.tokenizer) for p in problems]
golds = [p.gold for p in problems]
runs = {run.model.name: run}
if run.model.name == "tiny":
    runs["tiny-start"] = dataclasses.replace(run, model=start)


def power_sample(of: Run, steps: int) -> PowerTexts:
    return complete_power(
        of.model,
        run.key,
        texts,
        alpha=ALPHA,
        block=BLOCK,
        num_steps=steps,
        max_new_tokens=run.max_new_tokens,
        stop_strings=() if run.tokenizer else ("\nQ:",),
        rows=512 if run.as_measured else run.rows,  # one large batch of a small model is faster
        description=f"{of.model.name}, {steps} steps",
    )


# %% [markdown]
# What else could be done with the tokens of each problem? We draw ordinary chains until they are
# spent, and take the *vote* of lesson 02, or simply the *likeliest* of them.


# %%
def at_equal_tokens(found: PowerTexts, chains: Completions) -> dict[str, np.ndarray]:
    """Which problems each method gets right, bool ``[G]``."""
    correct, paid = grade(chains.texts, golds), paid_for(chains.num_tokens, found.num_drawn)
    ids = answer_ids(read_answers(chains.texts, golds))
    likeliest = np.where(paid, chains.logprobs, -np.inf).argmax(1)
    return {
        POWER: grade([[text] for text in found.texts], golds)[:, 0],
        VOTE: np.asarray(vote.majority(ids, paid)) == gold_ids(ids, correct),
        LIKELIEST: correct[np.arange(len(golds)), likeliest],
    }


# %% [markdown]
# Are the chains likelier than those at the temperature $1/\alpha$, and are they more often right?

# %%
right, spent = {}, {}  # model, method and steps -> [G] right; model and steps -> mean tokens
for name, of in runs.items():
    for sampler, n in ((GREEDY, 1), (Sampler(1 / ALPHA), 4), (Sampler(0.7), run.chains)):
        kind = f"T = {sampler.temperature:g}"
        chains = of.complete(
            run.key, texts, sampler=sampler, num_samples=n, description=f"{name}, {kind}"
        )
        right[name, kind] = grade(chains.texts, golds).mean(1)
        run.measure(f"{name}/{kind}", right[name, kind], chains.num_tokens.mean())
        run.measure(f"{name}/log p/{kind}", chains.logprobs.mean(1))
    for steps in STEPS:
        found = power_sample(of, steps)
        spent[name, steps] = found.num_drawn.mean()
        for method, is_right in at_equal_tokens(found, chains).items():
            right[name, method, steps] = is_right
            run.measure(f"{name}/{method}, {steps} steps", is_right, spent[name, steps])
        run.measure(f"{name}/accepted, {steps} steps", found.accepted)
        run.measure(f"{name}/log p/{POWER}, {steps} steps", found.logprobs)

# %% [markdown]
# Does power sampling beat the others? We ask this of the most steps.

# %%
MOST, COLD = STEPS[-1], f"T = {1 / ALPHA:g}"
for name in runs:
    for other, worse in (
        ("the greedy chain", right[name, "T = 0"]),
        (f"a chain at T = 1/{ALPHA:g}", right[name, COLD]),
        ("the vote at equal tokens", right[name, VOTE, MOST]),
        ("the likeliest chain at equal tokens", right[name, LIKELIEST, MOST]),
    ):
        run.claim_better(f"{name}: power sampling beats {other}", right[name, POWER, MOST], worse)

# %% [markdown]
# ## Against GRPO
#
# The paper asks whether training is needed at all. Lesson 08 trains `tiny-start` on right and wrong
# answers, and measures one chain at temperature 1 on these same problems. Its policies are not
# shipped, so the intervals are not paired. If it has run with the same `--out`, the figure shows
# the first of them.

# %%
file = run.options.out / "08_grpo" / "results.json"
known = json.loads(file.read_text())["measurements"] if file.exists() and run.as_measured else []
policy = [row for row in known if row["name"] == "GRPO, seed 0/pass@1, T=1"]
for name in runs:
    lines = {method: [right[name, method, steps] for steps in STEPS] for method in METHODS}
    lines["one chain, low temperature"] = [right[name, COLD]] * len(STEPS)
    if name == "tiny-start" and policy and policy[0]["n"] == len(problems):
        bounds = {part: policy[0][part] for part in ("value", "low", "high", "n")}
        lines["one chain of GRPO (lesson 08)"] = [Interval(**bounds)] * len(STEPS)
    best = [f"{right[name, method, MOST].mean():.0%}" for method in METHODS]
    run.curves(
        name,
        [spent[name, steps] for steps in STEPS],
        lines,
        title=f"{name}, {spent[name, MOST]:.0f} tokens a problem:\n"
        "power sampling {}, vote {}, likeliest chain {}".format(*best),
        xlabel=f"tokens drawn per problem (n = {len(problems)})",
        log2=True,
        ticks=viz.TOKENS[:5],
    )

# %% [markdown]
# ## What surprised us
#
# - Nothing was gained over the low temperature: +0.6 points [-1.6, +2.8] on `tiny-start`, +0.8
#   [-1.1, +2.8] on `tiny`. At $\alpha = 4$ 94% and 97% of the candidates are accepted: these models
#   are sure of nearly all tokens, and then $p^\alpha$ and the low temperature nearly agree.
# - More steps make likelier chains, and not better ones: on `tiny-start` the mean log p rises from
#   -1.96 to -1.84 with four steps, where the greedy chain is.
# - There is a cheaper way to a likely chain: the likeliest of n ordinary ones is right on 60%, 3.2
#   points [0.4, 6.0] more often at equal tokens.
# - The paper saw more. Of MATH500 Qwen2.5-Math-7B solves 49.6% at temperature 1, 69.0% at 1/4,
#   74.8% by power sampling, and 78.5% after GRPO (table 1). There too, most of the gain comes from
#   the low temperature. The paper has no votes to compare with.
#
# ## When it does not work
#
# - **accepted near 0**: the proposal hardly ever draws what the target wants. Raise its temperature
#   towards 1, lower $\alpha$, or grow by shorter blocks.
# - **accepted near 1, and log p as at the low temperature**: the model is sure of nearly all
#   tokens. $p^\alpha$ and the low temperature are then nearly the same.
# - **log p rises and accuracy does not**: the likely chains are not the right ones. Measure the AUC
#   of log p within problems, as lesson 02c does. If it is near 0.5, no sharpening helps.
#
# ## Exercises
#
# `jaxreason check 02`: exercise 7, `acceptance`, is about this lesson.

# %%
run.finish()
