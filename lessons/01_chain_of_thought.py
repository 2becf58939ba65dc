# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 01 Chain of thought
#
# **Why does a model that writes its steps get right what it gets wrong at once?**
#
# Because the text is its working memory. A model of three layers makes three steps in a row for
# every token, and a sum of five numbers needs more. What it writes down it can read again, so the
# number of serial steps grows with the number of tokens.
#
# We asked **one set of weights** the same 600 problems in four ways. On problems of four to six
# operations `tiny` is right 4% of the time at once, and 87% of the time after reasoning.
#
# ![accuracy by operations](../docs/results/01_chain_of_thought/accuracy_by_operations.png)
#
# At the end of this lesson you can
#
# - write the loop that makes a language model write, greedy and sampled;
# - choose a prompt that makes a model reason;
# - say what reasoning costs, and when it does not pay.
#
# `--model` takes a real model and `--task` a published set of problems: `gsm8k` (Cobbe et al.
# 2021), `math500` or a family of reasoning-gym such as `gym:chain_sum`.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options("01_chain_of_thought", problems=600, task="arithmetic:1-6")

# %%
import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.answers.verify import grade, read_answers
from jaxreason.course import lesson
from jaxreason.course.chains import REASONED_TOKENS
from jaxreason.course.depths import by_depth
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.evaluation.intervals import paired_difference
from jaxreason.models.decoder import forward
from jaxreason.tasks import load_examples, load_problems

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# ## The algorithm in plain code
#
# A language model maps a text to the probabilities of the next token. Writing is a loop: ask for
# these probabilities, choose a token, append it, ask again.
#
# The function below reads the whole text for every new token, which is slow and simple. Compiled
# JAX functions have fixed shapes, so the tokens are padded to a fixed width. Attention looks back
# only: what stands behind the last token changes nothing.

# %%
toy, WIDTH, LIMIT = run.toy, 128, 64


@jax.jit
def read(params, tokens: jax.Array) -> jax.Array:
    """Tokens ``[WIDTH]`` -> logits ``[WIDTH, V]``: row t is about the token after token t."""
    logits, _ = forward(params, tokens[None], jnp.arange(WIDTH)[None], cfg=toy.cfg)
    return logits[0]


def next_logits(ids: list[int]) -> np.ndarray:
    """``[V]`` logits of the token after these."""
    tokens = np.pad(ids, (0, WIDTH - len(ids)))
    return np.asarray(read(toy.params, tokens))[len(ids) - 1]


# %% [markdown]
# Logits become probabilities by the softmax. A *temperature* divides the logits first. Below 1 it
# makes likely tokens likelier, above 1 it evens them out.


# %%
def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    scaled = (logits - logits.max()) / temperature  # the largest is 0, so exp cannot overflow
    return np.exp(scaled) / np.exp(scaled).sum()


def print_top(logits: np.ndarray, chosen: int) -> None:
    probabilities = softmax(logits)
    top = np.argsort(-probabilities)[:4]
    shown = [f"{toy.tokenizer.decode([i])!r} {probabilities[i]:.3f}" for i in top]
    print(f"{toy.tokenizer.decode([chosen])!r:>6}  of  {',  '.join(shown)}")


# %% [markdown]
# *Greedy* choice takes the most probable token. *Sampling* lays the probabilities side by side from
# 0 to 1, and takes the token on which a uniform number u falls. In JAX random numbers come from a
# key, and the same key gives the same numbers. `fold_in` makes a key of its own for token t.


# %%
def greedy(logits: np.ndarray, t: int) -> int:
    return int(logits.argmax())


def sampled(key: jax.Array, temperature: float):
    def choose(logits: np.ndarray, t: int) -> int:
        ends = np.cumsum(softmax(logits, temperature))  # where each token's part ends
        u = jax.random.uniform(jax.random.fold_in(key, t)) * ends[-1]
        return int(np.searchsorted(ends, u, side="right"))

    return choose


def write(prompt: str, choose, show: int = 0) -> str:
    """The text that follows the prompt, up to the end of the text or ``LIMIT`` tokens."""
    ids = toy.tokenizer(prompt, add_special_tokens=False).input_ids
    start = len(ids)
    for t in range(LIMIT):
        logits = next_logits(ids)
        ids.append(choose(logits, t))
        if t < show:
            print_top(logits, ids[-1])
        if ids[-1] == toy.tokenizer.eos_token_id:
            break
    return toy.tokenizer.decode(ids[start:], skip_special_tokens=True)


# %% [markdown]
# One problem, asked in two ways. The answer is 57. At once, the model knows about how large it is,
# and guesses the last digit. In the chain nearly every digit is certain, because each line asks for
# one small step. Only *which* step comes next is open: 18 + 29 or 9 * 4?

# %%
QUESTION = """There are 18 books in the box of Amy. Amy picks 29. Amy buys 9 bags of 4. \
Amy loses 26. How many books are left?"""
at_once, step_by_step = prompts.direct(QUESTION), prompts.zero_shot_cot(QUESTION)
print("the token chosen, of the four most probable, at once:")
direct_text = write(at_once, greedy, show=3)
print("step by step:")
chain_text = write(step_by_step, greedy, show=12)
print(f"...\n\nat once:{direct_text}\nstep by step:\n{chain_text}")

# %% [markdown]
# The same prompt, sampled three times at temperature 1. Chains part where two tokens are likely.

# %%
# As in the library: chain n of prompt g draws from split(fold_in(key, g), N)[n].
chain_keys = jax.random.split(jax.random.fold_in(run.key, 0), 3)
chains = [write(step_by_step, sampled(key, temperature=1.0)) for key in chain_keys]
print("\n---\n".join(chains))

# %% [markdown]
# The library's `complete` writes the same texts, only faster. It reads no token twice, because it
# keeps the keys and values of all tokens. Many chains are decoded in one compiled loop.

# %%
options = {"max_new_tokens": LIMIT}
both = complete(toy, run.key, [at_once, step_by_step], sampler=GREEDY, **options)
assert both.texts == [[direct_text], [chain_text]]
three = complete(toy, run.key, [step_by_step], sampler=Sampler(1.0), num_samples=3, **options)
assert three.texts == [chains]

# %% [markdown]
# ## Four prompts for the same weights
#
# - **direct**: `Answer:` after the question;
# - **cot**, zero-shot: "Let's think step by step." (Kojima et al. 2022);
# - **few-shot**: two worked examples and no instruction (Brown et al. 2020). If the examples answer
#   at once, so should the model. If they reason (Wei et al. 2022), so should it.
#
# The 8-shot results of Wei et al. are often credited to "Let's think step by step", which is
# another prompt, from another paper. A chat model gets all four through its chat template. It likes
# to explain, so we begin its direct answer for it: `The answer is`.

# %%
problems = load_problems(run.task, "test", run.problems, seed=run.options.seed)
questions, golds = [p.question for p in problems], [p.gold for p in problems]
worked = load_examples(run.task, 2, seed=run.options.seed)


def few_shot(answer_texts: list[str]) -> list[str]:
    """Prompts with two examples that answer as these texts do."""
    examples = [(p.question, text) for p, text in zip(worked, answer_texts, strict=True)]
    return [prompts.few_shot(q, examples, run.tokenizer) for q in questions]


PROMPTS = {
    "direct": [prompts.direct(q, run.tokenizer) for q in questions],
    "cot": [prompts.zero_shot_cot(q, run.tokenizer) for q in questions],
}
if all(p.answer is not None for p in worked):
    texts = [prompts.direct_answer(p.answer, run.tokenizer) for p in worked]
    PROMPTS["few_shot_direct"] = few_shot(texts)
if all(p.steps for p in worked):  # a generator of puzzles has answers and no worked solutions
    texts = [prompts.cot_answer(p.steps, p.answer, run.tokenizer) for p in worked]
    PROMPTS["few_shot_cot"] = few_shot(texts)
print(list(PROMPTS.values())[-1][0])

# %% [markdown]
# That was one of the prompts as the model sees it. All four are decoded greedily.

# %%
completions = {
    name: run.complete(
        run.key,
        texts,
        sampler=GREEDY,
        at_once=name.endswith("direct"),
        stop_strings=("\n\n",),
        description=name,
    )
    for name, texts in PROMPTS.items()
}
correct = {name: grade(c.texts, golds)[:, 0] for name, c in completions.items()}  # [G] bool
run.note_failure(completions["cot"], correct["cot"])

# %% [markdown]
# ## Accuracy by depth
#
# A problem's *depth* is the number of steps that follow from one another. We count operations, in
# GSM8K the lines of the worked solution. MATH-500 has only a level of difficulty.
#
# Accuracy lumps three things together: the chain came to its end, an answer can be read in it, and
# that answer is right. Chains of the shipped models nearly always end.

# %%
DEEPEST = 6  # or deeper
depth, groups = by_depth(problems, DEEPEST)  # groups: {depth: [G] bool}
unit = "operations" if run.task.startswith("arithmetic") else "depth"
tokens = {name: c.num_tokens[:, 0] for name, c in completions.items()}
for name, c in correct.items():
    run.measure(f"accuracy/{name}", c, tokens[name].mean())
    for k, rows in groups.items():
        run.measure(f"accuracy/{name}/{unit}={k}", c[rows], tokens[name][rows].mean())
    if not run.as_measured:
        answers = read_answers(completions[name].texts, golds)
        run.measure(f"finished/{name}", completions[name].finished[:, 0])
        run.measure(f"answered/{name}", np.array([row[0] is not None for row in answers]))
        run.measure(f"under_{REASONED_TOKENS}_tokens/{name}", tokens[name] < REASONED_TOKENS)

# %% [markdown]
# What does reasoning gain, on the same problems? We look at the shallow ones, where there is
# nothing serial to do, and at the deep ones. The cost is a number of tokens.

# %%
FROM = min(4, max(groups))  # the deep problems begin here
shallow, deep = groups[min(groups)], depth >= FROM
at_deep = f" at {FROM}+" if len(groups) > 1 else ""
direct, cot = correct["direct"], correct["cot"]
gains = [paired_difference(cot[rows], direct[rows]) for rows in (shallow, deep)]
names = ("one_operation", "four_or_more") if run.as_measured else ("shallow", "deep")
for name, rows, gain in zip(names, (shallow, deep), gains, strict=True):
    run.measure(f"gain/{name}", gain, tokens["cot"][rows].mean())
    times = tokens["cot"][rows].mean() / tokens["direct"][rows].mean()
    print(f"{name}: {100 * gain.value:+.0f} points for {times:.1f} times the tokens")

# %% [markdown]
# Claims that name a size are about the shipped models. The last one is about the prompt: examples
# that reason make the model reason, with no instruction.

# %%
if run.as_measured:
    run.claim("direct answers are right on <= 25% of problems of 4+", direct[deep], at_most=0.25)
    text = "CoT beats direct by >= 50 points at 4+ operations"
    run.claim(text, gains[1], at_least=0.5, excludes_zero=True)
    run.claim("at one operation CoT buys at most 25 points", gains[0], at_most=0.25)
else:
    run.claim_better(f"CoT beats direct answers{at_deep}", cot[deep], direct[deep])
if "few_shot_cot" in correct:
    run.claim_better(
        "with the same weights, examples that reason make it reason: "
        f"few-shot CoT beats few-shot direct{at_deep}",
        correct["few_shot_cot"][deep],
        correct["few_shot_direct"][deep],
    )

# %% [markdown]
# The figure shows all four prompts by depth.

# %%
deepest = groups[max(groups)]
run.bars(
    f"accuracy_by_{unit}",
    [f"{k} (n={rows.sum()})" for k, rows in groups.items()],
    {name.replace("_", " "): [c[rows] for rows in groups.values()] for name, c in correct.items()},
    title="Thinking is serial computation: on the deepest problems\nthe model is right "
    f"{direct[deepest].mean():.0%} of the time at once, {cot[deepest].mean():.0%} after reasoning",
    xlabel=f"{unit} of the problem, at most {DEEPEST} (greedy)",
)

# %% [markdown]
# ## What surprised us
#
# - Accuracy at once does not fall slowly. It drops from 96% to 17% as soon as there are two
#   operations instead of one.
# - Examples that reason work less well than the one sentence: 86% against 94% of all problems.
# - A harmless demand can stop a model from reasoning. Told to end with "The answer is" and the
#   answer, Qwen2.5-Coder-0.5B wrote that sentence alone: 29 tokens a problem, 3% of GSM8K right.
#   Without the demand it writes 274 tokens and gets 28% right (docs/results_qwen/prompts).
#
# ## When it does not work
#
# - **tokens**: a chain of fewer than 20 tokens has not reasoned. Try another wording.
# - **finished**: chains that are cut off have no answer. Raise `--max-new-tokens`.
# - **answered**: read some texts in which no answer was found.
# - only **accuracy** is low: the model is too weak for the task. Prompts do not mend that.
#
# ## Exercises
#
# `jaxreason check 01` writes `exercises_01.py` for you to fill in, and checks your answers:
#
# 1. `last_answer`: the number that a text states last.
# 2. `tempered_softmax`: probabilities at a temperature, for a batch.
# 3. `top_p`: keep the most probable tokens only.
# 4. `completion_logprob`: the log-probability of a completion, with a mask (for lesson 01b).
# 5. `TWELVE_OPERATIONS`: predict the accuracy of longer chains.

# %%
run.finish()
