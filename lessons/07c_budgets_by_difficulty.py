# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # 07c Budgets by difficulty
#
# **Should a hard problem get more thinking than an easy one?**
#
# It sounds obvious, and we could not see it pay. On 500 word problems, chains given by difficulty
# are right on 94.2%, and as many for all on 93.6%. The difference of 0.6 points lies within its
# interval, from -0.8 to 2.2. On 406 puzzles of the Game of 24, waits given by difficulty solve 1.0
# points *less* than four waits for all.
#
# Lesson 02 shows the easier way to save tokens: stop when the vote is settled.
#
# At the end of this lesson you can
#
# - measure how hard a problem is, from a few chains and without the answer;
# - share a budget among problems, and keep its mean;
# - count what it costs to measure the difficulty.
#
# `--model` takes another model that solves word problems.

# %%
from jaxreason.course.options import read_options

# Options come before the slow imports, so a misspelt one is refused at once.
GIVEN = read_options("07c_budgets_by_difficulty", problems=500)

# %%
import numpy as np

from jaxreason.answers import vote
from jaxreason.answers.extract import extract_answer
from jaxreason.answers.verify import answer_ids, gold_ids, grade
from jaxreason.course import lesson
from jaxreason.course.chains import solves_24
from jaxreason.decoding import prompts
from jaxreason.decoding.budget_forcing import complete_within
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import Sampler
from jaxreason.evaluation.compute_optimal import allocate
from jaxreason.evaluation.intervals import paired_difference
from jaxreason.models.hf import load_model
from jaxreason.tasks import arithmetic, game24, game24_puzzles

run = lesson.start(GIVEN, cpu_devices=2)

# %% [markdown]
# ## The algorithm in plain code
#
# A few chains tell how hard a problem is. If they all agree, it is easy. The measure is the entropy
# of their votes, $H = -\sum_a p_a \log p_a$, which is 0 then. Each problem gets `least` chains, and
# more in proportion to $H$, up to `most`. The factor is the largest that the mean allows.


# %%
def plain_entropy(answers: list[str]) -> float:
    shares = [answers.count(answer) / len(answers) for answer in set(answers)]
    return sum(share * np.log(1 / share) for share in shares)


def plain_allocate(difficulty: list[float], mean: float, least: int, most: int) -> list[int]:
    """A number of chains for each problem, whose mean is ``mean`` or just below."""
    for factor in np.arange(100, 0, -0.01):
        given = [min(most, least + int(factor * h)) for h in difficulty]
        if np.mean(given) <= mean:
            return given
    return [least] * len(difficulty)


drawn = [["7"] * 4, ["7", "7", "7", "9"], ["7", "7", "9", "9"], ["1", "2", "3", "4"]]
difficulty = [plain_entropy(answers) for answers in drawn]
given = plain_allocate(difficulty, mean=8, least=4, most=16)
for answers, h, count in zip(drawn, difficulty, given, strict=True):
    print(f"{' '.join(answers)}: entropy {h:.2f}, {count} chains")

# %% [markdown]
# The library computes the entropies of all problems at once, and finds the factor by bisection.

# %%
assert np.allclose(difficulty, vote.entropy(answer_ids(drawn)), atol=1e-6)
assert given == allocate(np.array(difficulty), 8, least=4, most=16).tolist()

# %% [markdown]
# ## Chains for word problems
#
# Four chains for all; then up to 16 in the vote, by entropy, 8 on average. The four that measured
# the difficulty are part of the budget.

# %%
PROBES, MEAN, MOST = 4, 8, 16
problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
golds = [p.answer for p in problems]
questions = [prompts.zero_shot_cot(p.question, run.tokenizer) for p in problems]
chains = complete(
    run.model,
    run.key,
    questions,
    sampler=Sampler(0.7),
    max_new_tokens=run.max_new_tokens,
    num_samples=MOST,
    rows=run.rows,
    description=f"{MOST} chains",
    store=run.store,
)
ids = answer_ids([[extract_answer(text) for text in row] for row in chains.texts])
gold = gold_ids(ids, grade(chains.texts, golds))


def vote_of(counts: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """`[G]` whether the vote of the first ``counts`` chains is right, and its tokens `[G]`."""
    drawn = np.arange(MOST) < np.broadcast_to(counts, len(problems))[:, None]
    return np.asarray(vote.majority(ids, drawn)) == gold, (chains.num_tokens * drawn).sum(1)


# %% [markdown]
# The vote with as many chains for all gets no fewer tokens than the adaptive one.

# %%
difficulty = np.asarray(vote.entropy(ids[:, :PROBES]))
adaptive, spent = vote_of(allocate(difficulty, MEAN, least=PROBES, most=MOST))
for level in range(1, MOST + 1):
    for_all, for_all_spent = vote_of(level)
    if for_all_spent.mean() >= spent.mean():
        break
every, every_spent = vote_of(MOST)
run.measure("adaptive, word problems/by difficulty", adaptive, spent.mean())
run.measure(f"adaptive, word problems/{level} chains for all", for_all, for_all_spent.mean())
run.measure(f"adaptive, word problems/{MOST} chains for all", every, every_spent.mean())
run.claim_better(
    "on word problems chains by measured difficulty beat as many for all", adaptive, for_all
)

# %% [markdown]
# ## Waits for puzzles
#
# Four tries of each puzzle, and the entropy of where they end. A puzzle gets up to 8 waits in
# proportion to it, 4 on average, against 4 for all. A wait wastes little on an easy puzzle: after a
# solution the model has learned to stay with its answer, and a wait costs two tokens.

# %%
TRY, READING, FOUR = 64, 14, 4  # tokens of an attempt, and of reading the puzzle once more, at most
player, puzzles = load_model("tiny-24-wait", mesh=run.mesh), game24_puzzles.held_out(run.problems)


def think(waits: int | np.ndarray, num_samples: int, description: str):
    """Chains of the puzzles at T=1, told to wait."""
    multiple = 8 if run.options.quick else 4  # of waits: every width is a program to compile
    room = TRY + multiple * -(-int(np.max(waits)) // multiple) * (TRY + READING) * 4 // 5
    return complete_within(
        player,
        run.key,
        [game24.format_puzzle(p) for p in puzzles],
        ends=["####"],
        waits=waits,
        sampler=Sampler(1.0),
        num_samples=num_samples,
        max_new_tokens=min(room, player.cfg.max_position_embeddings - 32),
        description=description,
        store=run.store,
    )


# %% [markdown]
# We draw twelve tries, as in lesson 07. The first four of them measure the difficulty.

# %%
tries = think(0, 12, "12 tries")
fates = answer_ids([[extract_answer(text) for text in row[:PROBES]] for row in tries.texts])
given = allocate(np.asarray(vote.entropy(fates)), FOUR, least=0, most=8)  # [G]
adaptive = think(given[:, None], 1, "waits by difficulty")
uniform = think(FOUR, 1, f"{FOUR} waits")
solved = {
    "waits by difficulty": 1.0 * solves_24(puzzles, adaptive.texts)[:, 0],
    f"{FOUR} waits for all": 1.0 * solves_24(puzzles, uniform.texts)[:, 0],
}
for (name, share), written in zip(solved.items(), (adaptive, uniform), strict=True):
    run.measure(f"adaptive, puzzles/{name}", share, written.num_tokens.mean())
probes = tries.num_tokens[:, :PROBES].sum(1)
run.measure("adaptive, puzzles/tokens of the tries that measured it", probes)
lost = paired_difference(*solved.values())
run.measure(f"adaptive, puzzles/difference, by difficulty - {FOUR} for all", lost)

# %% [markdown]
# ## What surprised us
#
# - Chains have little left to give: 9 for all are right on 93.6% of the word problems, 16 on 94.4%.
#   A rule can hardly gain more than the distance between the two.
# - On puzzles the four tries that measure the difficulty cost 181 tokens. That is nearly as much as
#   the four waits that they are to distribute (200).
#
# ## When it does not work
#
# Look at these, in this order:
#
# - **accuracy with the most for all**: it is the ceiling. If it is near the uniform one, stop here.
# - **the difficulties**: if nearly all are 0, the probes agree; if nearly all are equal, they tell
#   nothing apart.
# - **hard or hopeless**: disagreement marks both. More chains help the first kind alone.
# - **the cost of the probes**: they are part of the budget.
#
# ## Exercises
#
# They are those of lesson 07: `jaxreason check 07`.

# %%
run.finish()
