# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 07 Budget forcing
#
# **A model stops thinking when it likes. What happens if we do not let it?**
#
# *Budget forcing* (Muennighoff et al. 2025, "s1", section 3) takes that decision away. To think
# **more**, the token that ends thinking is suppressed, and `Wait` is written in its place, up to
# $k$ times. To think **less**, the prefix of the answer is written after $m$ tokens.
#
# It helps where failure is *visible*, as in the Game of 24. On 406 held-out puzzles one chain
# solves 16% at its natural stop, and 56% with eight waits. Independent tries with the same tokens
# do better: 62%, or 77% if they stop at a solution.
#
# ![puzzles solved by waits and by tries](../docs/results/07_budget_forcing/waits.png)
#
# At the end of this lesson you can
#
# - write a rule that changes tokens inside a decode loop;
# - compare waiting with trying again, at equal tokens;
# - test whether it must be the word "Wait".
#
# `--model` takes another model that plays the Game of 24. Lesson 07b has word problems.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options("07_budget_forcing", problems=500, model="tiny-24-wait")

# %%
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.answers import vote
from jaxreason.answers.extract import extract_answer
from jaxreason.course import lesson
from jaxreason.course.chains import solves_24
from jaxreason.decoding.budget_forcing import complete_within
from jaxreason.decoding.sampling import Sampler, sample
from jaxreason.evaluation.compute_optimal import within_budget
from jaxreason.evaluation.intervals import mean_interval, paired_difference
from jaxreason.models.decoder import forward
from jaxreason.models.hf import load_model
from jaxreason.models.tokens import token_bytes
from jaxreason.tasks import game24, game24_puzzles

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# ## The algorithm in plain code
#
# Thinking ends with `####`, the mark before an answer, or with the end of the text. First one step
# of the decode loop. `jax.jit` compiles it for the *shapes* of its arguments, so the text stands in
# an array of fixed length, and the same program serves every length.

# %%
toy, SAMPLER, LIMIT = run.toy, Sampler(temperature=1.0), 160
END, WAIT, ANSWER = "####", "Wait\n", "\n#### "
wait_ids, prefix_ids = toy.tokenizer([WAIT, ANSWER], add_special_tokens=False).input_ids
EOS = toy.tokenizer.eos_token_id
ENDS = {i for i, piece in enumerate(token_bytes(toy.tokenizer)) if END.encode() in piece} | {EOS}


@jax.jit
def next_token(key: jax.Array, t: int, ids: jax.Array, length: int) -> jax.Array:
    """Token ``t`` of a chain, drawn behind the first ``length`` ids."""
    logits, _ = forward(toy.params, ids[None], jnp.arange(len(ids))[None], cfg=toy.cfg)
    return sample(jax.random.fold_in(key, t), logits[0, length - 1], SAMPLER)


# %% [markdown]
# Budget forcing stands between drawing a token and writing it. `forced` holds the tokens that are
# still to be written of a `Wait`, or of the prefix of the answer.


# %%
def plain_chain(key: jax.Array, prompt: list[int], waits: int, at_most: int | None) -> list[int]:
    """The tokens of one chain within a budget."""
    ids, forced, thought, thinking = list(prompt), [], 0, True
    for t in range(LIMIT):
        padded = np.zeros(len(prompt) + LIMIT, np.int32)
        padded[: len(ids)] = ids
        token = int(next_token(key, t, padded, len(ids)))
        if thinking and thought == at_most:  # less: the answer is forced
            forced, thinking = list(prefix_ids), False
        elif thinking and token in ENDS and waits and not forced:  # more: the end is suppressed
            print(f"token {t}: {toy.tokenizer.decode(token)!r} drawn, {WAIT!r} written")
            forced, waits = list(wait_ids), waits - 1
        token = forced.pop(0) if forced else token
        thought += thinking
        thinking = thinking and token not in ENDS
        ids.append(token)
        if token == EOS:
            break
    return ids[len(prompt) :]


# %% [markdown]
# One puzzle, three budgets. The same key draws the same chain, up to the place where the budgets
# differ. With two waits it finds $30 - 6 = 24$, and stays with that answer, as it has learned.

# %%
PUZZLE = game24.format_puzzle((4, 5, 6, 10))
prompt = toy.tokenizer(PUZZLE, add_special_tokens=False).input_ids
key = jax.random.split(jax.random.fold_in(run.key, 0), 1)[0]  # of the first chain of prompt 0
BUDGETS, plain = ((0, None), (2, None), (2, 30)), []
for waits, at_most in BUDGETS:
    print(f"--- {waits} waits, at most {at_most} tokens of thinking")
    ids = plain_chain(key, prompt, waits, at_most)
    plain.append(toy.tokenizer.decode(ids, skip_special_tokens=True))
    print(PUZZLE + plain[-1])

# %% [markdown]
# In the library the rule is a pure function, (state, token drawn) to (state, token written), inside
# the compiled loop. Every chain has a budget of its own in the state. It writes the same chains.

# %%
for (waits, at_most), text in zip(BUDGETS, plain, strict=True):
    budget = {"waits": waits, "at_most": at_most, "ends": [END], "continuations": [WAIT]}
    fast = complete_within(
        toy, run.key, [PUZZLE], sampler=SAMPLER, max_new_tokens=LIMIT, answer=ANSWER, **budget
    )
    assert fast.texts == [[text]]

# %% [markdown]
# ## A model that knows what to do after a "Wait"
#
# `tiny-24-wait` learned it from 782 texts, all of them the model's own: failed attempts at training
# puzzles, joined by `Wait`, up to one that succeeded. After a `Wait` it reads the puzzle once more.
# The loss leaves out `Wait` itself, so the model still stops by itself after one attempt. Chains
# are kept on disk until the lesson ends. Interrupted with Ctrl-C, it goes on from there.

# %%
WAITS, N, FOUR = (0, 1, 2, 4, 8), 12, 4
TRY, READING = 64, 14  # tokens that an attempt, and reading the puzzle once more, take at most
puzzles = game24_puzzles.held_out(run.problems)
of_paper = np.array([game24_puzzles.split_of(p) == "paper_test" for p in puzzles])
texts = [game24.format_puzzle(p) for p in puzzles]


def think(model=run.model, *, waits=0, string=WAIT, **options):
    """Chains of all puzzles within a budget."""
    multiple = 8 if run.options.quick else 4  # of waits: every width is a program to compile
    room = TRY + multiple * -(-int(np.max(waits)) // multiple) * (TRY + READING) * 4 // 5
    budget = {"waits": waits, "ends": [END], "continuations": [string], "sampler": SAMPLER}
    budget["max_new_tokens"] = min(room, model.cfg.max_position_embeddings - 32)
    return complete_within(model, run.key, texts, **budget, store=run.store, **options)


# %% [markdown]
# ## More waits, more puzzles
#
# A chain counts by its *last* attempt alone. If a wait made it leave a solution, it has lost that
# solution. Nobody tells it whether it has solved the puzzle. `claims 24, and is wrong` counts
# chains that only say so.

# %%
by_waits = {k: think(waits=k, description=f"{k} waits") for k in WAITS}
right = {k: solves_24(puzzles, written.texts)[:, 0] for k, written in by_waits.items()}  # [G]
tokens = {k: written.num_tokens[:, 0] for k, written in by_waits.items()}
for k in WAITS:
    share = 1.0 * right[k]
    run.measure(f"solved/{k} waits", share, tokens[k].mean())
    run.measure(f"solved/{k} waits/paper", share[of_paper], tokens[k][of_paper].mean())
    says = np.array([extract_answer(text) == "24" for [text] in by_waits[k].texts])
    run.measure(f"claims 24, and is wrong/{k} waits", 1.0 * (says & ~right[k]))
    run.measure(f"waits used/{k} waits", by_waits[k].rule_state.used.mean(1))
for fewer, k in zip(WAITS, WAITS[1:], strict=False):
    run.measure(f"difference/{k} waits - {fewer} waits", paired_difference(right[k], right[fewer]))
run.measure("solved at the natural stop, lost with eight waits", 1.0 * (right[0] & ~right[8]))
gain = paired_difference(right[8], right[0])
text = "eight waits solve >= 15 points more than the natural stop"
run.claim(text, gain, at_least=0.15, excludes_zero=True)
text = "eight waits take at most the tokens of nine tries"
run.claim(text, tokens[8] - 9.0 * tokens[0], at_most=0.0, excludes_zero=True)

# %% [markdown]
# ## Against independent tries
#
# The same tokens buy tries that know nothing of each other. There are two fair comparisons:
#
# - *all written*: as many tries as the tokens of the waits pay for; solved if any is right;
# - *stopped at a solution*: the first try that passes the test is the last. What this saves buys
#   more tries for the puzzles that need them.
#
# The control is `tiny-24`, the model before the fine-tuning.

# %%
untaught = load_model("tiny-24", mesh=run.mesh)
context = run.model.cfg.max_position_embeddings  # as long as the other's: the same program
untaught = untaught._replace(cfg=dataclasses.replace(untaught.cfg, max_position_embeddings=context))
tries = think(num_samples=N, description=f"{N} tries")
of_untaught = think(untaught, num_samples=N, description=f"{N} tries of tiny-24")
tried, tried_untaught = (solves_24(puzzles, some.texts) for some in (tries, of_untaught))  # [G, N]
try_tokens = tries.num_tokens.mean()


def any_of(n: int, of: np.ndarray) -> np.ndarray:
    """`[G]` the chance that any of n tries is right, over all sets of n among those of `[G, N]`."""
    return np.asarray(vote.pass_at_k(of.sum(1), N, n))


for n in (1, 2, 3, 5, 9):
    run.measure(f"solved/any of {n} tries", any_of(n, tried), n * try_tokens)
    before = any_of(n, tried_untaught)
    run.measure(f"solved/any of {n} tries of tiny-24, before the fine-tuning", before)

# %% [markdown]
# How many tries do the tokens of a chain that waits pay for? If *all* are *written*, the number may
# lie between two whole ones, and so does the chance. If they stop, `within_budget` finds one cap
# for all puzzles that spends the same mean.

# %%
last = np.where(tried.any(1), tried.argmax(1), N - 1)  # [G] the first solution, or the last try
to_first = tries.num_tokens.cumsum(1)[np.arange(len(puzzles)), last]
by_tries, by_stopping = {}, {}  # at the tokens of k waits
for k in WAITS:
    budget = tokens[k].mean()
    count = np.clip(budget / try_tokens, 1, N)
    low = int(count)
    chance, one_more = any_of(low, tried), any_of(min(low + 1, N), tried)
    by_tries[k] = chance + (count - low) * (one_more - chance)
    by_stopping[k], _ = within_budget(tried.any(1), to_first, budget)
    if k:
        name = f"tries at the tokens of {k} waits"
        run.measure(f"{name}/all written", by_tries[k], budget)
        run.measure(f"{name}/stopped at a solution", by_stopping[k], budget)
        gain = paired_difference(right[k], by_tries[k])
        run.measure(f"difference/{k} waits - tries all written, equal tokens", gain)
text = "eight waits solve more than independent tries with the same tokens"
run.claim_better(f"{text}, all written", right[8], by_tries[8])
run.claim_better(f"{text}, stopped at a solution", right[8], by_stopping[8])

# %% [markdown]
# Is it the waiting, or did the fine-tuning just improve the model? Here are the same waits for the
# model that never read `Wait` between two attempts.

# %%
naive = {}  # number of waits: [G]
for k in (0, FOUR):
    written = think(untaught, waits=k, description=f"tiny-24, {k} waits")
    naive[k] = 1.0 * solves_24(puzzles, written.texts)[:, 0]
    run.measure(f"solved/{k} waits, without the fine-tuning", naive[k])
text = "the fine-tuning, not the word, makes waiting pay: the gain of four waits with it is larger"
gain, naive_gain = 1.0 * right[FOUR] - right[0], naive[FOUR] - naive[0]
run.claim_better(f"{text} than without", gain, naive_gain)
run.curves(
    "waits",
    [tokens[k].mean() for k in WAITS],
    {
        "one chain, told to wait 0, 1, 2, 4, 8 times": [mean_interval(right[k]) for k in WAITS],
        "independent tries, all written": by_tries.values(),
        "independent tries, stopped at a solution": [None, *list(by_stopping.values())[1:]],
    },
    title=f"Game of 24: eight waits lift one chain from {right[0].mean():.0%} "
    f"to {right[8].mean():.0%};\ntries with the same tokens solve {by_tries[8].mean():.0%}, "
    f"stopped at a solution {by_stopping[8].mean():.0%}",
    xlabel=f"tokens per puzzle (n = {len(puzzles)})",
    ylabel="puzzles solved (95% interval)",
    log2=True,
    ticks=[40, 60, 80, 120, 160, 240],
)

# %% [markdown]
# ## Must it be "Wait"?
#
# The same model gets one of three strings, four times: the original, an empty line, or a word that
# has nothing to do with waiting. All answer the same puzzles with the same keys.

# %%
of_wait = 1.0 * right[FOUR]
run.measure(f"strings, {FOUR} waits/Wait", of_wait)
for name, string in {"an empty line": "\n", "shells": "shells\n"}.items():
    written = think(waits=FOUR, string=string, description=name)
    share = 1.0 * solves_24(puzzles, written.texts, string)[:, 0]
    run.measure(f"strings, {FOUR} waits/{name}", share)
    run.claim_better(f"on puzzles 'Wait' is better than {name}", of_wait, share)

# %% [markdown]
# ## What surprised us
#
# - Which word it is matters little. After "shells" the model solves exactly as many puzzles as
#   after "Wait" (45% of 406), since only another try can follow. An empty line is less of a sign
#   (32%).
# - It tries again, but does not learn from what failed: it is 5 points behind independent tries.
# - Under pressure it lies. With eight waits 10% of its chains claim a 24 that they do not have.
#
# ## When it does not work
#
# Look at these, in this order:
#
# - **waits used**: if it is 0, the end of thinking is not found.
# - **what follows a wait**: an untaught model stops again at once, or repeats itself.
# - **chains cut off**: the waits need room, in `max_new_tokens`.
# - **the last attempt**: if the first one is graded, waits cannot change anything.
#
# ## Exercises
#
# `jaxreason check 07` writes `exercises_07.py` for you to fill in, and checks your answers:
#
# 1. `think`: the rule in a plain loop, with waits and a limit.
# 2. `equal_tokens`: the chance of tries that a number of tokens pays for.
# 3. `allocate`: more chains for problems whose votes disagree (lesson 07c).
# 4. `NINE_TRIES`: predict what nine tries solve.
# 5. `NEXT`: break it. Find a model that one wait sends round in circles.

# %%
run.finish()
