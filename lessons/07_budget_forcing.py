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
# A reasoning model decides for itself when it has thought enough: it writes the end of thinking,
# and then its answer. Budget forcing (Muennighoff et al. 2025, "s1", section 3) takes that decision
# away from the model while it writes:
#
# - **more**: when the model would end its thinking, that token is suppressed and a continuation
#   string such as `Wait` is written in its place, up to $k$ times. The model reads its own "Wait",
#   and goes on;
# - **less**: after $m$ tokens of thinking the prefix of the answer is written, and the model has to
#   answer with what it has.
#
# Formally it is a rule between sampling and writing. With $y_t \sim p_\theta(\cdot \mid x, z_{<t})$
# and $w$ waits so far,
# $$z_t = \begin{cases}
# \text{next token of the string being written} & \text{if one is}\\
# \text{first token of the answer's prefix} & t = m\\
# \text{first token of `Wait'} & y_t \text{ ends the thinking and } w < k \\
# y_t & \text{else.}
# \end{cases}$$
# The rule is applied inside the compiled loop, to all chains of a batch at once, each with its own
# $k$ and $m$.
#
# Does it help? A second look helps where checking is easier than solving. In the **Game of 24** a
# failed attempt is *visible*: what is left is not 24. In a **word problem** a wrong chain looks
# like a right one. We measure both. We also ask whether it must be the word "Wait", what a cut-off
# costs, and whether budgets that follow the measured difficulty of a problem beat the same budget
# for all.

# %%
from jaxreason.course.options import read_options

# First of all, so that a misspelt option does not wait for the imports below.
GIVEN = read_options("07_budget_forcing", problems=250, model="tiny-24-wait")

# %%
import dataclasses
from pathlib import Path

import numpy as np

from jaxreason.answers import vote
from jaxreason.answers.extract import extract_answer, last_attempt
from jaxreason.answers.verify import answer_ids, gold_ids, grade
from jaxreason.course import lesson, viz
from jaxreason.decoding import budget_forcing, prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.evaluation import compute_optimal
from jaxreason.evaluation.compute_optimal import within_budget
from jaxreason.evaluation.intervals import accuracy, mean_interval, paired_difference
from jaxreason.models.hf import load_model
from jaxreason.tasks import arithmetic, game24, game24_puzzles

run = lesson.start(GIVEN, cpu_devices=2)
WAITS, CHAINS = (0, 1, 2, 4, 8), 1
TRY, READING = 64, 14  # tokens that an attempt, and reading the puzzle once more, take at most
END, WAIT = "####", f"{prompts.WAIT}\n"


# %% [markdown]
# ## A model that knows what to do after a "Wait"
#
# `tiny-24` never read the word between two attempts. Like s1, `tiny-24-wait` learned it from about
# 1,000 texts, and all of them are the model's own: attempts at training puzzles that failed, joined
# by `Wait`, up to one that succeeded (a search written into one text, Gandhi et al. 2024). After a
# `Wait` the model reads the puzzle once more. The loss leaves `Wait` itself out, so the model still
# stops after one attempt: its **natural stop**. The budget does everything beyond that.
#
# First we show one puzzle, with no, two and eight waits. It is the same chain up to the place where
# the shorter one ends, because the same key draws it.

# %%
puzzles = game24_puzzles.held_out(run.problems)
of_paper = np.array([game24_puzzles.split_of(p) == "paper_test" for p in puzzles])
texts = [game24.format_puzzle(p) for p in puzzles]
print(f"{len(puzzles)} held-out puzzles, {of_paper.sum()} of them from the paper (Yao et al. 2023)")


def kept(model) -> Path:
    """Where a model's chains are kept: interrupted with Ctrl-C, the lesson goes on from there when
    it is run again.
    """
    return run.kept(f"chains/{model.name}", model.sha256)


# %% [markdown]
# A chain at T=1 may have a number of waits of its own, or a limit on its thinking.


# %%
def room_for(waits) -> int:
    """Tokens for an attempt and its waits. Waits are rounded up to a multiple of 4, or of 8, as
    every width is a program to compile; and not all attempts are of the longest.
    """
    multiple = 8 if run.options.quick else 4
    most = multiple * -(-int(np.max(waits)) // multiple)
    return TRY + most * (TRY + READING) * 4 // 5


def think(
    model=run.model,
    *,
    chains=CHAINS,
    waits=0,
    continuations=(WAIT,),
    at_most=None,
    description=None,
):
    """Chains of the puzzles at T=1 within a budget."""
    room = room_for(waits)
    if at_most is not None:
        room = min(room, int(np.max(at_most)) + 8)  # the answer's prefix and the answer
    return budget_forcing.complete_within(
        model,
        run.key,
        texts,
        ends=[END],
        at_most=at_most,
        continuations=continuations,
        sampler=Sampler(1.0),
        waits=waits,
        num_samples=chains,
        max_new_tokens=min(room, model.cfg.max_position_embeddings - 32),
        description=description,
        store=kept(model),
    )


# %% [markdown]
# A chain's answer rests on its last attempt, which begins by reading the puzzle once more.


# %%
def is_solved(puzzle, asked: str, text: str, continuations) -> bool:
    """Whether the last attempt of a chain is a right way to 24."""
    attempt = last_attempt(text, continuations).removeprefix(asked)
    return game24.is_solved(puzzle, attempt)


def solved(written, continuations=(WAIT,)) -> np.ndarray:
    """[G, N] whether each chain solves its puzzle."""
    rows = zip(puzzles, texts, written.texts, strict=True)
    return np.array(
        [
            [is_solved(puzzle, asked, text, continuations) for text in row]
            for puzzle, asked, row in rows
        ]
    )


by_waits = {k: think(waits=k, description=f"{k} waits") for k in WAITS}
right = {k: solved(written) for k, written in by_waits.items()}
shown = int(np.argmax(right[8][:, 0] & ~right[2][:, 0]))  # a puzzle that more than two waits solve
for k in (0, 2, 8):
    verdict = "solved" if right[k][shown, 0] else "not solved"
    print(f"--- {k} waits, {verdict}\n{texts[shown]}{by_waits[k].texts[shown][0]}")

# %% [markdown]
# ## More waits, more puzzles
#
# A chain counts by its *last* attempt alone: if a wait made it leave a solution, it has lost that
# solution. Nobody tells the chain whether it has solved the puzzle, and it is told to wait all the
# same. After a solution it has learned to stay with its answer.

# %%
tokens = {k: written.num_tokens.mean(1) for k, written in by_waits.items()}
for k in WAITS:
    share = right[k].mean(1)
    run.results.measure(f"solved/{k} waits", mean_interval(share), tokens=tokens[k].mean())
    run.results.measure(
        f"solved/{k} waits/paper", mean_interval(share[of_paper]), tokens=tokens[k][of_paper].mean()
    )
    says = np.array([[extract_answer(text) == "24" for text in row] for row in by_waits[k].texts])
    run.results.measure(
        f"claims 24, and is wrong/{k} waits", mean_interval((says & ~right[k]).mean(1))
    )
    run.results.measure(f"waits used/{k} waits", mean_interval(by_waits[k].rule_state.used.mean(1)))
run.results.measure(
    "solved at the natural stop, lost with eight waits",
    mean_interval((right[0] & ~right[8]).mean(1)),
)

# %% [markdown]
# Each step from fewer to more waits is a claim, and so is the whole way from none to eight.

# %%
steps = {
    (a, b): paired_difference(right[b].mean(1), right[a].mean(1))
    for a, b in zip(WAITS[:-1], WAITS[1:], strict=True)
}
for (a, b), difference in steps.items():
    run.claim(
        f"more waits solve more: {b} against {a}", difference, at_least=0.0, excludes_zero=True
    )
gain = paired_difference(right[8].mean(1), right[0].mean(1))
run.claim(
    "eight waits solve >= 15 points more than the natural stop",
    gain,
    at_least=0.15,
    excludes_zero=True,
)
run.claim(
    "eight waits take at most the tokens of nine tries",
    mean_interval(tokens[8] - 9 * tokens[0]),
    at_most=0.0,
    excludes_zero=True,
)

# %% [markdown]
# ## Against independent tries
#
# The same tokens buy tries that know nothing of each other. Here too a solution is visible, so
# whoever tries can stop at the first one that passes the test, as in lessons 03 and 06. The chains
# above are not told. So there are two fair comparisons at equal tokens:
#
# - *tries, all written*: as many as the tokens of the waits pay for; solved if any of them is
#   right;
# - *tries, stopped at a solution*: the test is used, and what it saves buys more tries for the
#   puzzles that need them.
#
# The chain looks at what it tried, so it could do better than tries that do not know of each other:
# it need not repeat itself.
#
# And here is the control. Is it the waiting, or did the fine-tuning just improve the model? We give
# the same waits to `tiny-24`, the model before it.

# %%
N = 12
untaught = load_model("tiny-24", mesh=run.mesh)
context = run.model.cfg.max_position_embeddings  # as long as the other's: it is the same program
untaught = untaught._replace(cfg=dataclasses.replace(untaught.cfg, max_position_embeddings=context))
tries = think(chains=N, description=f"{N} tries")
old_tries = solved(think(untaught, chains=N, description=f"{N} tries of tiny-24"))
tried = solved(tries)  # [G, N]


def any_of(n: int, of: np.ndarray) -> np.ndarray:
    """[G] the chance that any of n tries is right, over all subsets of n among those of [G, N]."""
    return np.asarray(vote.pass_at_k(of.sum(1), N, n))


try_tokens = tries.num_tokens.mean()
for n in (1, 2, 3, 5, 9):
    run.results.measure(
        f"solved/any of {n} tries", mean_interval(any_of(n, tried)), tokens=n * try_tokens
    )
    run.results.measure(
        f"solved/any of {n} tries of tiny-24, before the fine-tuning",
        mean_interval(any_of(n, old_tries)),
    )

# %% [markdown]
# What do tries cost that stop at the first solution, and how many tries can the tokens of a chain
# that waits pay for?

# %%
last = np.where(tried.any(1), tried.argmax(1), N - 1)  # [G] the first solution, or the last try
to_first = tries.num_tokens.cumsum(1)[np.arange(len(puzzles)), last]


def all_written(mean_tokens: float) -> np.ndarray:
    """[G] chance that any of the affordable tries is right, between two whole numbers of tries."""
    count = np.clip(mean_tokens / try_tokens, 1, N)
    low = int(count)
    chance, with_one_more = any_of(low, tried), any_of(min(low + 1, N), tried)
    return chance + (count - low) * (with_one_more - chance)


equal_written, equal_stopped = {}, {}  # the two comparisons, at the tokens of k waits
for k in WAITS:
    budget = tokens[k].mean()
    equal_written[k] = all_written(budget)
    equal_stopped[k], _ = within_budget(tried.any(1), to_first, budget)

# %% [markdown]
# With both in hand, the chain that waits is compared at every number of waits, and judged at eight.

# %%
for k in WAITS[1:]:
    run.results.measure(
        f"tries at the tokens of {k} waits/all written",
        mean_interval(equal_written[k]),
        tokens=tokens[k].mean(),
    )
    run.results.measure(
        f"tries at the tokens of {k} waits/stopped at a solution",
        accuracy(equal_stopped[k]),
        tokens=tokens[k].mean(),
    )
    run.results.measure(
        f"difference/{k} waits - tries all written, equal tokens",
        paired_difference(right[k].mean(1), equal_written[k]),
    )
run.claim_better(
    "eight waits solve more than independent tries with the same tokens, all written",
    right[8].mean(1),
    equal_written[8],
)
run.claim_better(
    "eight waits solve more than independent tries with the same tokens, stopped at a solution",
    right[8].mean(1),
    equal_stopped[8],
)

# %% [markdown]
# The control: the same waits for the model that was never fine-tuned.

# %%
naive = {k: solved(think(untaught, waits=k, description=f"tiny-24, {k} waits")) for k in (0, 4)}
for k, hits in naive.items():
    run.results.measure(f"solved/{k} waits, without the fine-tuning", mean_interval(hits.mean(1)))
run.claim_better(
    "the fine-tuning, not the word, makes waiting pay: "
    "the gain of four waits with it is larger than without",
    right[4].mean(1) - right[0].mean(1),
    naive[4].mean(1) - naive[0].mean(1),
)

# %% [markdown]
# The figure compares the three ways to spend the same tokens.

# %%
waiting = [mean_interval(right[k].mean(1)) for k in WAITS]
stopped = [None] + [accuracy(equal_stopped[k]) for k in WAITS[1:]]
run.figure(
    viz.curves(
        [tokens[k].mean() for k in WAITS],
        {
            "one chain, told to wait 0, 1, 2, 4, 8 times": waiting,
            "independent tries, all written": [mean_interval(equal_written[k]) for k in WAITS],
            "independent tries, stopped at a solution": stopped,
        },
        title="Game of 24: eight waits lift one chain "
        f"from {right[0].mean():.0%} to {right[8].mean():.0%};\n"
        f"tries with the same tokens solve {equal_written[8].mean():.0%}, "
        f"stopped at a solution {equal_stopped[8].mean():.0%}",
        xlabel=f"tokens per puzzle (n = {len(puzzles)})",
        ylabel="puzzles solved (95% interval)",
        log2=True,
        ticks=[40, 60, 80, 120, 160, 240],
    ),
    "waits",
)

# %% [markdown]
# One chain that waits is worth a little less than the independent tries that its tokens buy (5
# points at eight waits, on 406 puzzles). It has learned to try again, but not to learn from what
# failed. Whoever can *test* a solution had better stop at the first one, and spend the rest on
# other puzzles.
#
# ## Must it be "Wait"?
#
# The same model gets one of three strings, four times: the original, an empty line, or a word that
# has nothing to do with waiting. The differences are paired, since all of them answer the same
# puzzles with the same keys.

# %%
STRINGS = {"Wait": WAIT, "an empty line": "\n", "shells": "shells\n"}
FOUR = 4
by_string = {}
for name, string in STRINGS.items():
    if string == WAIT:  # written above
        by_string[name] = right[FOUR].mean(1)
    else:
        written = think(waits=FOUR, continuations=(string,), description=name)
        by_string[name] = solved(written, (string,)).mean(1)
for name, share in by_string.items():
    run.results.measure(f"strings, {FOUR} waits/{name}", mean_interval(share))
    if name != "Wait":
        run.claim_better(f"on puzzles 'Wait' is better than {name}", by_string["Wait"], share)

# %% [markdown]
# The word itself does nothing here. A word that has nothing to do with waiting, and that this model
# never read between attempts, makes it try again just as well, since only another try can follow
# it. An empty line is less of a sign.
#
# ## Word problems: the honest null
#
# `tiny` has read `Wait` too: part of its training was chains, right and wrong, then `Wait`, then a
# right one. So it knows what to do, and does it: it solves the problem once more. But it cannot see
# whether the first time was wrong. `tiny-l` is 14 times larger, and right so often that a wait has
# nothing to mend and something to break. In training a text had one wait. More waits lead to
# positions that the models never saw, which is a second reason to fail, so the claim is about one
# wait.

# %%
sizes = ("tiny",) if run.options.quick else ("tiny", "tiny-l")
if run.as_measured:
    words = {name: load_model(name, mesh=run.mesh) for name in sizes}
else:
    words = {run.model.name: run.model}
plain = next(iter(words.values()))
if prompts.thinks(run.tokenizer):
    ends = [prompts.END_OF_THOUGHT]
    answer = f"\n{prompts.END_OF_THOUGHT}\n{prompts.THE_ANSWER_IS}"
else:
    ends, answer = [END], f"\n{END} "
problems = arithmetic.problems("test", run.problems, seed=run.options.seed)
golds = [p.answer for p in problems]
questions = [prompts.zero_shot_cot(p.question, run.tokenizer) for p in problems]


# %% [markdown]
# The rule is the same as for the puzzles; only the prompts and the answers differ.


# %%
def ponder(
    model, *, waits=0, continuations=(WAIT,), sampler=GREEDY, chains=1, description=None, **limits
):
    """Chains of word problems within a budget, and which of them are right [G, N]."""
    room = 96 + 72 * (2 if waits else 0) if run.as_measured else run.max_new_tokens
    written = budget_forcing.complete_within(
        model,
        run.key,
        questions,
        ends=ends,
        continuations=continuations,
        answer=answer,
        sampler=sampler,
        waits=waits,
        max_new_tokens=room,
        num_samples=chains,
        rows=run.rows,
        description=description,
        store=kept(model),
        **limits,
    )
    return written, grade(written.texts, golds)


# %% [markdown]
# The claim compares one wait with none; two waits are measured for the small model alone.

# %%
WORD_WAITS = {"tiny": (0, 1, 2), "tiny-l": (0, 1)}
pondered = {}  # by model: number of waits -> which problems are right [G]
for name, model in words.items():
    pondered[name] = {}
    for k in WORD_WAITS.get(name, (0, 1, 2)):
        written, hits = ponder(model, waits=k, description=f"{name}, {k} waits")
        pondered[name][k] = hits[:, 0]
        run.results.measure(
            f"word problems, {name}/{k} waits",
            accuracy(hits[:, 0]),
            tokens=written.num_tokens.mean(),
        )
for name, by_k in pondered.items():
    stopped, waited = by_k[0], by_k[1]
    run.claim(
        f"on word problems waiting does not help {name}: "
        "a wait gains at most 2 points over the natural stop",
        paired_difference(waited, stopped),
        at_most=0.02,
        worst=float((stopped | waited).any()),
    )
main = next(iter(pondered.values()))
for k, hits in main.items():
    if k:
        print(f"problems whose outcome {k} waits change: {(hits != main[0]).mean():.1%}")

# %% [markdown]
# Does the word matter here? The same three strings, once each.

# %%
word_strings = {}
for name, string in STRINGS.items():
    if string == WAIT:
        word_strings[name] = main[1]
    else:
        _, hits = ponder(plain, waits=1, continuations=(string,), description=name)
        word_strings[name] = hits[:, 0]
for name, hits in word_strings.items():
    run.results.measure(f"word problems, strings, 1 wait/{name}", accuracy(hits))
    if name != "Wait":
        run.results.measure(
            f"word problems, strings, 1 wait/difference, Wait - {name}",
            paired_difference(word_strings["Wait"], hits),
        )

# %% [markdown]
# Puzzles and word problems in one figure, and then the strings:

# %%
by_task = {"Game of 24 (tiny-24-wait)": waiting}
for name, by_k in pondered.items():
    by_task[f"word problems ({name})"] = [accuracy(by_k[k]) if k in by_k else None for k in WAITS]
first_wait = 100 * (main[1].mean() - main[0].mean())
run.figure(
    viz.curves(
        WAITS,
        by_task,
        title="Waiting helps where failure is visible: "
        f"{100 * gain.value:+.0f} points on puzzles,\n"
        f"{first_wait:+.0f} for the first wait on word problems",
        xlabel="waits beyond the natural stop",
        ylabel="solved (95% interval)",
    ),
    "puzzles_and_words",
)
run.figure(
    viz.bars(
        list(STRINGS),
        {
            f"Game of 24, {FOUR} waits": [mean_interval(share) for share in by_string.values()],
            "word problems, 1 wait": [accuracy(hits) for hits in word_strings.values()],
        },
        title="What is written in place of the end: puzzles solved\n"
        + ", ".join(f"{name} {share.mean():.0%}" for name, share in by_string.items()),
        xlabel=f"continuation string (n = {len(puzzles)} puzzles, {len(problems)} word problems)",
        ylabel="solved (95% interval)",
    ),
    "strings",
)

# %% [markdown]
# ## Less: the answer is forced
#
# Every chain of a batch has its own limit, so the whole curve is one call. In a word problem the
# answer needs all the lines. Cut off before, the model can only guess. On puzzles the limit cuts
# the eight waits, so the figure shows the curve of accuracy over thinking tokens of the s1 paper
# (figure 1).

# %%
LIMITS = np.array([0, 5, 10, 15, 20, 30, 40, 60, 80])
_, cut = ponder(plain, at_most=LIMITS[None], chains=len(LIMITS), description="cut off")
for i, limit in enumerate(LIMITS):
    run.results.measure(f"word problems, cut off/{limit} tokens", accuracy(cut[:, i]), tokens=limit)
run.claim(
    "a word problem's chain cut off at 20 tokens is worth >= 30 points less than the whole",
    paired_difference(main[0], cut[:, LIMITS.tolist().index(20)]),
    at_least=0.30,
    excludes_zero=True,
)

# %% [markdown]
# The same on puzzles, with eight waits.

# %%
PUZZLE_LIMITS = np.array([40, 80] if run.options.quick else [40, 80, 160, 240])
truncated = solved(
    think(
        waits=8,
        at_most=PUZZLE_LIMITS[None],
        chains=len(PUZZLE_LIMITS),
        description="puzzles, cut off",
    )
)
for i, limit in enumerate(PUZZLE_LIMITS):
    run.results.measure(
        f"puzzles, 8 waits, cut off/{limit} tokens", accuracy(truncated[:, i]), tokens=limit
    )
of_words = {v: accuracy(cut[:, i]) for i, v in enumerate(LIMITS.tolist())}
of_puzzles = {v: accuracy(truncated[:, i]) for i, v in enumerate(PUZZLE_LIMITS.tolist())}
x = sorted({*of_words, *of_puzzles})
run.figure(
    viz.curves(
        x,
        {
            "word problems": [of_words.get(v) for v in x],
            "Game of 24, eight waits": [of_puzzles.get(v) for v in x],
        },
        title=f"A word problem needs its lines: {of_words[20].value:.0%} after 20 tokens, "
        f"{main[0].mean():.0%} uncut;\n"
        f"a puzzle profits from more: {of_puzzles[40].value:.0%} after 40, "
        f"{truncated[:, -1].mean():.0%} after {PUZZLE_LIMITS[-1]}",
        xlabel="tokens of thinking, then the answer is forced",
        ylabel="solved (95% interval)",
    ),
    "cut_off",
)

# %% [markdown]
# ## Budgets that follow the difficulty
#
# A few short chains tell how hard a problem is: the entropy of their votes,
# $H = -\sum_a p_a \log p_a$, is 0 where they all agree. The original course computes such a
# number, and then never uses it. Here it decides what a problem gets. The mean is fixed, and the
# chains that measured the difficulty are part of it.
#
# - *Word problems*: 4 chains for all; then up to 16 in the vote, in proportion to the entropy, 8 on
#   average, against as many for all.
# - *Puzzles*: 4 tries, and up to 8 waits in proportion to the entropy of where they end, 4 on
#   average, against 4 for all. A wait wastes little on an easy puzzle: after a solution it costs
#   two tokens.

# %%
PROBES, MEAN, MOST = 4, 8, 16
chains = complete(
    plain,
    run.key,
    questions,
    sampler=Sampler(0.7),
    max_new_tokens=run.max_new_tokens,
    num_samples=MOST,
    rows=run.rows,
    description=f"{MOST} chains",
    store=kept(plain),
)
hits = grade(chains.texts, golds)
ids = answer_ids([[extract_answer(t) for t in row] for row in chains.texts])
gold = gold_ids(ids, hits)


def vote_of(counts: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Whether the vote of the first ``counts [G]`` chains of each problem is right, and its tokens
    [G].
    """
    drawn = np.arange(MOST) < np.broadcast_to(counts, len(problems))[:, None]
    return np.asarray(vote.majority(ids, drawn)) == gold, (chains.num_tokens * drawn).sum(1)


# %% [markdown]
# The uniform vote never gets fewer tokens than the adaptive one.

# %%
difficulty = np.asarray(vote.entropy(ids[:, :PROBES]))
given = compute_optimal.allocate(difficulty, MEAN, least=PROBES, most=MOST)
adaptive, spent = vote_of(given)
for level in range(1, MOST + 1):
    if vote_of(level)[1].mean() >= spent.mean():
        break
uniform, uniform_spent = vote_of(level)
run.results.measure(
    "adaptive, word problems/by difficulty", accuracy(adaptive), tokens=spent.mean()
)
run.results.measure(
    f"adaptive, word problems/{level} chains for all",
    accuracy(uniform),
    tokens=uniform_spent.mean(),
)
every, every_spent = vote_of(MOST)
run.results.measure(
    f"adaptive, word problems/{MOST} chains for all", accuracy(every), tokens=every_spent.mean()
)
run.claim_better(
    "on word problems chains by measured difficulty beat as many for all", adaptive, uniform
)
least, most = (given == PROBES).mean(), (given == MOST).mean()
print(f"{least:.0%} of the problems get {PROBES} chains, {most:.0%} get {MOST}")

# %% [markdown]
# On puzzles, the first tries of each puzzle say how many waits it gets.

# %%
fates = answer_ids([[extract_answer(t) for t in row[:PROBES]] for row in tries.texts])
given_waits = compute_optimal.allocate(np.asarray(vote.entropy(fates)), FOUR, least=0, most=8)
waited = think(waits=given_waits[:, None], description="waits by difficulty")
by_difficulty, waited_tokens = solved(waited).mean(1), waited.num_tokens.mean(1)
probe_tokens = tries.num_tokens[:, :PROBES].sum(1)
run.results.measure(
    "adaptive, puzzles/waits by difficulty",
    mean_interval(by_difficulty),
    tokens=waited_tokens.mean(),
)
run.results.measure(
    "adaptive, puzzles/tokens of the tries that measured it", mean_interval(probe_tokens)
)
run.results.measure(
    f"adaptive, puzzles/{FOUR} waits for all",
    mean_interval(right[FOUR].mean(1)),
    tokens=tokens[FOUR].mean(),
)
run.results.measure(
    f"adaptive, puzzles/difference, by difficulty - {FOUR} for all",
    paired_difference(by_difficulty, right[FOUR].mean(1)),
)

# %%
run.finish()
