"""Trains the models that ship with this repository, from scratch: ``python checkpoints/train.py
tiny``.

One mixture teaches one set of weights every behaviour of the course, so that the *prompt* decides
which is shown; `tiny-24` reads nothing but the Game of 24, and `tiny-start` has seen few chains of
thought. Runs are deterministic and save every 200 steps and on Ctrl-C; the same command goes on
where they stopped, to the same bits.
"""

import contextlib
import functools
import itertools
import json
import multiprocessing
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
import tyro
from scipy import stats
from transformers import PreTrainedTokenizerBase

from jaxreason import resume
from jaxreason.answers.extract import extract_answer
from jaxreason.answers.verify import answer_ids, gold_ids, grade
from jaxreason.answers.vote import majority
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.errors import clean_exit
from jaxreason.evaluation.intervals import Interval, accuracy, auc, mean_interval
from jaxreason.models import decoder
from jaxreason.models.hf import LanguageModel, load_model, save_model
from jaxreason.models.tokens import build_tokenizer
from jaxreason.search.evaluators import value_words
from jaxreason.search.game24_rules import moves_value_prompt
from jaxreason.search.tree_of_thoughts import State
from jaxreason.tasks import arithmetic, arithmetic_words, game24, game24_puzzles, game24_training
from jaxreason.training import loop, sft


class Recipe(NamedTuple):
    """What differs between the shipped models."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_steps: int
    learning_rate: float  # at the peak of one cosine
    rows: int
    muon: bool  # else AdamW
    row_length: int = 256
    microbatches: int = 1
    puzzles_only: bool = False  # the Game of 24 alone, more values among it
    # word problems from a fixed set of so many traces, beside arithmetic without words, alone
    traces: int = 0
    stored_as: str = "float32"  # in the shipped file; in memory always float32

    def config(self, vocab_size: int) -> decoder.DecoderConfig:
        return decoder.DecoderConfig(
            vocab_size=vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            num_key_value_heads=self.num_heads,
            head_dim=self.hidden_size // self.num_heads,
            max_position_embeddings=512,
        )

    def document(self) -> Callable[[np.random.Generator], list["Piece"]]:
        """What draws its documents."""
        if self.traces:
            return functools.partial(scarce_document, num_traces=self.traces)
        return puzzle_document if self.puzzles_only else document

    def optimizer(self) -> optax.GradientTransformation:
        """Muon or AdamW."""
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, self.learning_rate, 100, self.num_steps, end_value=self.learning_rate / 50
        )
        if self.muon:
            return loop.muon(schedule)
        adamw = optax.adamw(
            schedule,
            b2=0.95,
            weight_decay=0.05,
            mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p),
        )
        return optax.chain(optax.clip_by_global_norm(1.0), adamw)


# Muon with small batches makes a better `tiny` of fewer tokens. At the size of `tiny-l` the one run
# tried was far behind AdamW with twice the batch.
RECIPES = {
    "tiny": Recipe(
        96, 256, 3, 2, num_steps=12_000, learning_rate=1e-2, rows=8, muon=True, microbatches=4
    ),
    "tiny-24": Recipe(
        128,
        344,
        4,
        4,
        num_steps=6000,
        learning_rate=1e-2,
        rows=32,
        muon=True,
        row_length=128,
        microbatches=8,
        puzzles_only=True,
    ),
    "tiny-start": Recipe(
        96,
        256,
        3,
        2,
        num_steps=1500,
        learning_rate=1e-2,
        rows=8,
        muon=True,
        microbatches=4,
        traces=2000,
    ),
    "tiny-l": Recipe(  # 20 tokens a parameter
        288,
        768,
        5,
        6,
        num_steps=12_000,
        learning_rate=1.5e-3,
        rows=32,
        muon=False,
        microbatches=16,
        stored_as="float16",
    ),
}

# Share of documents. Direct answers are mostly of one operation, which a forward pass can do, so
# that the lesson's gap is about depth and not about starved training; their few tokens are weighted
# up against the long chains.
SHARES = {
    "cot": 0.38,
    "direct": 0.30,
    "few_shot": 0.07,
    "recheck": 0.04,
    "equation": 0.07,
    "game24": 0.14,
}
DIRECT_WEIGHT = 4.0
# Of a recipe with traces, the rest being drills of one operation. Without the bare expressions such
# a model learns its traces by heart, and is sure of what it gets wrong; with them it has a chain's
# way of going from term to term from elsewhere.
TRACE_SHARE, EXPRESSION_SHARE = 0.3, 0.5
COT_DEPTHS = np.array([1, 2, 2, 3, 3, 3]) / 14  # share of 1..6 operations
DIRECT_DEPTHS = np.array([14, 2, 2, 2, 2, 2]) / 24
SHORT_DEPTHS = np.array([2, 2, 1]) / 5


class Piece(NamedTuple):
    """A stretch of a document's text and the weight of the loss on it."""

    text: str
    weight: float


def chain(rng: np.random.Generator, problem: arithmetic.Problem) -> list[str]:
    """Reasoning lines, in the question's order or in a random one, half each."""
    return arithmetic.solve(problem, rng if rng.random() < 0.5 else None)


def depth(rng: np.random.Generator, shares: np.ndarray) -> int:
    return 1 + int(rng.choice(len(shares), p=shares))


def wrong_chain(rng: np.random.Generator, problem: arithmetic.Problem) -> list[str]:
    """A chain with one slip and all that follows from it: a term dropped, repeated or misread."""
    terms = list(problem.terms)
    i = int(rng.integers(len(terms)))
    slip = rng.integers(3)
    if slip == 0 and len(terms) > 1:
        del terms[i]
    elif slip == 1:
        terms.insert(i, terms[i])
    else:
        terms[i] = terms[i]._replace(a=max(1, terms[i].a + int(rng.choice([-2, -1, 1, 2, 10]))))
    return arithmetic.solve(problem._replace(terms=tuple(terms)))


def puzzle_document(rng: np.random.Generator) -> list[Piece]:
    """One document for the model of the Game of 24: half are values, half of those of states from
    the wide pool.
    """
    example = game24_training.training_example(rng, value_share=0.5, wide_share=0.5)
    return [Piece(example.prompt, 0.0), Piece(example.completion, 1.0)]


@functools.cache
def traces(n: int) -> list[list[Piece]]:
    """The same n documents whatever the seed: where traces are scarce, these are all there are."""
    return [
        [
            Piece(prompts.zero_shot_cot(problem.question), 0.0),
            Piece(prompts.chain(lines, problem.answer), 1.0),
        ]
        for problem, lines in arithmetic.solutions(n)
    ]


def scarce_document(rng: np.random.Generator, num_traces: int) -> list[Piece]:
    """One of the few traces; or arithmetic without a story, of which there is no end: an expression
    step by step, or one line.
    """
    kind = rng.random()
    if kind < TRACE_SHARE:
        return traces(num_traces)[rng.integers(num_traces)]
    if kind < TRACE_SHARE + EXPRESSION_SHARE:
        problem = arithmetic.sample_problem(rng, int(rng.integers(1, 7)), as_equation=True)
        question, lines, answer = problem.question, chain(rng, problem), problem.answer
    else:
        question, line = arithmetic.drill(rng)
        lines, answer = [line], line.split("=")[1]
    return [Piece(prompts.zero_shot_cot(question), 0.0), Piece(prompts.chain(lines, answer), 1.0)]


def document(rng: np.random.Generator) -> list[Piece]:
    """One document of the mixture; only problems of the train split occur."""
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    if kind == "game24":
        example = game24_training.training_example(rng)
        return [Piece(example.prompt, 0.0), Piece(example.completion, 1.0)]

    if kind == "few_shot":
        reasons = rng.random() < 0.6
        pieces = []
        for last in (False, False, True):
            shares = COT_DEPTHS if last and reasons else SHORT_DEPTHS
            problem = arithmetic.sample_problem(rng, depth(rng, shares))
            pieces.append(Piece(f"Q: {problem.question}\nA:", 0.0))
            if reasons:
                pieces.append(Piece(prompts.cot_answer(chain(rng, problem), problem.answer), 1.0))
            else:
                pieces.append(Piece(prompts.direct_answer(problem.answer), DIRECT_WEIGHT))
            if not last:
                pieces.append(Piece("\n\n", 1.0))
        return pieces

    direct = kind == "direct" or (kind == "equation" and rng.random() < 0.5)
    num_operations = depth(rng, DIRECT_DEPTHS if direct else COT_DEPTHS)
    problem = arithmetic.sample_problem(rng, num_operations, as_equation=kind == "equation")
    if direct:
        answer = prompts.direct_answer(problem.answer)
        return [Piece(prompts.direct(problem.question), 0.0), Piece(answer, DIRECT_WEIGHT)]
    prompt = Piece(prompts.zero_shot_cot(problem.question), 0.0)
    answer = Piece(prompts.chain(chain(rng, problem), problem.answer), 1.0)
    if kind == "recheck":  # what is re-checked is not imitated, only what comes after "Wait"
        first = wrong_chain(rng, problem) if rng.random() < 0.6 else chain(rng, problem)
        return [prompt, Piece("\n".join([*first, prompts.WAIT, ""]), 0.0), answer]
    return [prompt, answer]


def words() -> list[str]:
    """Every word the tasks and prompts are made of, sorted."""
    templates = [
        getattr(arithmetic_words, name)
        for name in "START GAIN LOSS GAIN_GROUPS LOSS_GROUPS QUESTION".split()
    ]
    text = " ".join([*itertools.chain(*templates), prompts.STEP_BY_STEP, prompts.WAIT])
    text = (
        re.sub(r"{\w}", " ", text)
        + " Q A Then What is Answer left Value sure likely impossible #### 's"
    )
    found = re.findall(r"'s|[A-Za-z]+|####", text)
    return sorted(
        {*found, *arithmetic_words.NAMES, *arithmetic_words.ITEMS, "He", "She", "he", "she"}
    )


@functools.cache
def make_tokenizer() -> PreTrainedTokenizerBase:
    """Of all models shipped."""
    return build_tokenizer(words())


def documents(tokenizer, draw: Callable[[], list[Piece]]) -> Iterator[sft.Document]:
    """Endless tokenised documents, each closed by the end-of-text token."""
    while True:
        drawn = [
            draw() for _ in range(32)
        ]  # one call of the tokenizer for many is several times as fast
        texts = [
            piece.text for pieces in drawn for piece in [*pieces, Piece(tokenizer.eos_token, 1.0)]
        ]
        ids = iter(tokenizer(texts, add_special_tokens=False).input_ids)
        for pieces in drawn:
            closed = [*pieces, Piece(tokenizer.eos_token, pieces[-1].weight)]
            tokens = [next(ids) for _ in closed]
            weights = np.repeat([p.weight for p in closed], [len(t) for t in tokens]).astype(
                np.float32
            )
            yield sft.Document(np.concatenate(tokens).astype(np.int32), weights)


def draw_batch(name: str, seed: int, step: int) -> sft.Batch:
    """The batch of a step, whoever draws it."""
    recipe, tokenizer = RECIPES[name], make_tokenizer()
    draw = functools.partial(recipe.document(), np.random.default_rng([seed, step]))
    return sft.pack(
        documents(tokenizer, draw), recipe.rows, recipe.row_length, tokenizer.pad_token_id
    )


@contextlib.contextmanager
def drawn_ahead(
    draw: Callable[[int], sft.Batch], workers: int
) -> Iterator[Callable[[int], sft.Batch]]:
    """``draw`` of the steps to come, in so many processes: one makes batches slower than a GPU uses
    them up.

    Ctrl-C is for the trainer, which needs another batch before it saves and stops; the terminal
    sends it to all of them.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)
    ) as pool:
        drawn: dict[int, Future] = {}

        def batch_fn(step: int) -> sft.Batch:
            for ahead in range(step, step + 4 * workers):
                if ahead not in drawn:
                    drawn[ahead] = pool.submit(draw, ahead)
            return drawn.pop(step).result()

        try:
            yield batch_fn
        finally:
            pool.shutdown(cancel_futures=True)


def train_model(
    name: str, seed: int, work: Path, workers: int = 0
) -> tuple[loop.TrainState, decoder.DecoderConfig]:
    """Trains, or goes on where an earlier run stopped."""
    recipe = RECIPES[name]
    cfg = recipe.config(len(make_tokenizer()))
    tx = recipe.optimizer()
    state = loop.init_state(decoder.init(jax.random.key(seed), cfg), tx)
    # Parts that stay in a CPU's cache; a GPU is fastest with all at once.
    microbatches = recipe.microbatches if jax.default_backend() == "cpu" else 1
    update = loop.make_update(functools.partial(sft.sft_loss, cfg=cfg), tx, microbatches)
    draw = functools.partial(draw_batch, name, seed)
    with drawn_ahead(draw, workers) if workers else contextlib.nullcontext(draw) as batch_fn:
        return loop.fit(state, update, batch_fn, recipe.num_steps, work, description=name), cfg


def measure(model: LanguageModel, n: int = 500, chains: int = 32) -> dict[str, Interval]:
    """Held-out results on the test split: the n problems of the lessons (2-6 operations), and 300
    of one.
    """
    results: dict[str, Interval] = {}

    def run(
        name: str, texts: list[str], golds: list[int], sampler: Sampler, num_samples: int = 1
    ) -> np.ndarray:
        written = complete(
            model,
            jax.random.key(0),
            texts,
            sampler=sampler,
            max_new_tokens=96,
            num_samples=num_samples,
            stop_strings=("\n\n",),
            description=name,
        )
        correct = grade(written.texts, golds)
        if num_samples == 1:
            results[name] = accuracy(correct[:, 0])
            return correct[:, 0]
        ids = answer_ids([[extract_answer(text) for text in row] for row in written.texts])
        results[f"{name}/pass@1"] = mean_interval(correct.mean(1))
        results[f"{name}/majority@{num_samples}"] = accuracy(
            np.asarray(majority(ids)) == gold_ids(ids, correct)
        )
        return correct

    problems = arithmetic.problems("test", n)
    golds = [p.answer for p in problems]
    deep = np.array([p.num_operations >= 4 for p in problems])
    cot = [prompts.zero_shot_cot(p.question) for p in problems]
    results["cot/4+ operations"] = accuracy(run("cot", cot, golds, GREEDY)[deep])
    direct = run("direct", [prompts.direct(p.question) for p in problems], golds, GREEDY)
    results["direct/4+ operations"] = accuracy(direct[deep])
    one = arithmetic.problems("test", 300, operations=(1,))
    run(
        "direct/1 operation",
        [prompts.direct(p.question) for p in one],
        [p.answer for p in one],
        GREEDY,
    )
    shown = arithmetic.problems("train", 2, operations=(2, 3))
    examples = [(p.question, prompts.cot_answer(arithmetic.solve(p), p.answer)) for p in shown]
    run("few-shot cot", [prompts.few_shot(p.question, examples) for p in problems], golds, GREEDY)
    run("cot, T=0.7", cot, golds, Sampler(temperature=0.7), chains)
    return results


def measure_scarce(model: LanguageModel, n: int = 500, chains: int = 16) -> dict[str, Interval]:
    """What lesson 08 starts from, on the test split: greedy chains, and chains at temperature 1, by
    number of operations.
    """
    problems = arithmetic.problems("test", n)
    texts, golds = (
        [prompts.zero_shot_cot(p.question) for p in problems],
        [p.answer for p in problems],
    )
    depths = np.array([p.num_operations for p in problems])
    run = functools.partial(complete, model, jax.random.key(0), texts, max_new_tokens=96)
    results = {"cot": accuracy(grade(run(sampler=GREEDY, description="cot").texts, golds)[:, 0])}
    sampled = run(sampler=Sampler(temperature=1.0), num_samples=chains, description="cot, T=1")
    correct = grade(sampled.texts, golds)
    results["cot, T=1/pass@1"] = mean_interval(correct.mean(1))
    for d in np.unique(depths):
        results[f"cot, T=1/pass@1, {d} operations"] = mean_interval(correct[depths == d].mean(1))
    results[f"cot, T=1/pass@{chains}"] = accuracy(correct.any(1))
    return results


def measure_puzzles(model: LanguageModel) -> dict[str, Interval]:
    """The Game of 24 on its 406 held-out puzzles: 16 chains each, and the value on the states that
    lie under them.
    """
    results: dict[str, Interval] = {}
    puzzles = game24_puzzles.held_out(406)
    written = complete(
        model,
        jax.random.key(0),
        [game24.format_puzzle(p) for p in puzzles],
        sampler=Sampler(temperature=1.0),
        max_new_tokens=64,
        num_samples=16,
        description="game of 24",
    )
    solved = np.array(
        [
            [game24.is_solved(p, t) for t in row]
            for p, row in zip(puzzles, written.texts, strict=True)
        ]
    )
    results["game24, T=1/pass@1"] = mean_interval(solved.mean(1))
    results["game24, T=1/pass@16"] = accuracy(solved.any(1))
    for size in (3, 2):
        states = game24_puzzles.substates(puzzles, size)
        scores, _ = value_words(model, [State(s) for s in states], prompt=moves_value_prompt)
        can = np.array([game24.solvable(s) for s in states])
        seen = np.array([game24_puzzles.in_training(s) for s in states])
        unseen = np.array([game24_puzzles.substate_split(s) == "unseen" for s in states])
        results[f"game24, value AUC/{size} numbers, seen"] = auc(scores[seen], can[seen])
        results[f"game24, value AUC/{size} numbers, unseen"] = auc(scores[unseen], can[unseen])
    return results


def result_rows(results: dict[str, Interval]) -> str:
    """Of a card's table."""
    return "\n".join(
        f"| {key} | {i.value:.3f} | {i.low:.3f} - {i.high:.3f} | {i.n} |"
        for key, i in results.items()
    )


def new_seed(values: Sequence[float]) -> Interval:
    """Where the value of one more seed is expected, with 95%, by Student's t: the spread between
    seeds is not one seed's interval.
    """
    n, mean = len(values), float(np.mean(values))
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) * np.sqrt(1 + 1 / n))
    return Interval(mean, mean - half, mean + half, n)


def of_seeds(shipped: Path) -> dict[str, list[float]]:
    """measurement -> its value with the shipped model's seed and with the others that were tried,
    if any.

    ``seeds.json`` has the values in the results.json of ``train.py NAME --seed 1`` and so on, in
    that order.
    """
    path = shipped / "seeds.json"
    if not path.exists():
        return {}
    first = json.loads((shipped / "results.json").read_text())
    return {key: [first[key][0], *others] for key, others in json.loads(path.read_text()).items()}


def seeds_section(shipped: Path) -> str:
    """Of a card: how much of the table is the seed."""
    seeds = of_seeds(shipped)
    if not seeds:
        return ""
    rows = "\n".join(
        f"| {key} | {', '.join(f'{v:.3f}' for v in values)} "
        f"| {max(0, i.low):.3f} - {min(1, i.high):.3f} |"
        for key, values, i in ((key, values, new_seed(values)) for key, values in seeds.items())
    )
    count = len(next(iter(seeds.values())))
    return f"""
Seeds 0 to {count - 1} of the same recipe differ by more than the intervals above, which are about
the problems. One more seed is expected in the last column (95%, Student's t). Each of the {count}
lies in the interval that the others give, and `train.py` compares with it. All but seed 0 were
trained on a GPU, where the same seed gives other bits.

| measurement | seeds 0 to {count - 1} | a new seed |
| --- | --- | --- |
{rows}
"""


def working_folder(name: str, script: Mapping[str, Any]) -> Path:
    """Where a script keeps its training, so that it goes on when it is run again.

    Args:
      name: of what is trained, with its options and what it starts from.
      script: its ``globals()``: with other constants it does not go on with what these ones began.
    """
    return Path("outputs/train") / f"{name}-{resume.digest(resume.constants(script))}"


def training_seconds(work: Path) -> float:
    """What all runs that trained in a folder took together, by their metrics."""
    rows = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    # "seconds" starts anew when a run resumes: a row's share is its distance to the row before, or
    # to that start.
    return sum(
        row["seconds"] - (before["seconds"] if before["seconds"] < row["seconds"] else 0.0)
        for before, row in zip([{"seconds": 0.0}, *rows[:-1]], rows, strict=True)
    )


def write_card(out: Path, text: str, results: dict[str, Interval]) -> None:
    """Puts a card and its numbers beside the weights."""
    for key, i in results.items():
        print(f"{key:<36}{i.value:.3f} [{i.low:.3f}, {i.high:.3f}] n={i.n}")
    (out / "README.md").write_text(text)
    (out / "results.json").write_text(
        json.dumps({key: list(i) for key, i in results.items()}, indent=1) + "\n"
    )
    print(f"written to {out}")


def card(
    name: str,
    seed: int,
    model: LanguageModel,
    results: dict[str, Interval],
    seconds: float,
    example: str,
) -> str:
    """The model card, in Markdown."""
    recipe = RECIPES[name]
    mixture = ", ".join(f"{key} {share:.0%}" for key, share in SHARES.items())
    reads = "small arithmetic word problems and the Game of 24"
    if recipe.puzzles_only:
        mixture, reads = (
            "Game of 24: half values (half of them of the wide pool of states), half traces",
            "the Game of 24",
        )
    if recipe.traces:
        mixture = (
            f"{TRACE_SHARE:.0%} of the documents one of {recipe.traces:,} chains of thought "
            "(1 to 6 operations, drawn once and for all); "
            f"{EXPRESSION_SHARE:.0%} bare expressions, and the rest bare lines, "
            "of which there is no end"
        )
        reads = (
            "small arithmetic word problems, of which it was shown few (lesson 08 starts from it)"
        )
    rows = result_rows(results)
    purpose = "A model that is always right could not show what voting or search add."
    if name == "tiny-l":
        purpose = "It is the large model that search with a small one is compared with."
    machine = "one core of a two-core CPU, shared with other work"
    if jax.default_backend() != "cpu":
        machine = f"one {jax.devices()[0].device_kind}, shared with other trainings"
    return f"""# {name}

A Llama-style decoder with {model.num_params:,} parameters, trained from scratch for this course by

    python checkpoints/train.py {name} --seed {seed}

in {seconds / 60:.0f} minutes of wall time on {machine}. It reads {reads}, and
nothing else. {purpose}

| recipe | |
| --- | --- |
| seed | {seed} |
| architecture | {recipe.num_layers} layers, width {recipe.hidden_size}, {recipe.num_heads} heads, \
SwiGLU {recipe.intermediate_size} |
| optimiser | {"Muon on the layers' matrices, Adam on the rest" if recipe.muon else "AdamW"} \
(b2 0.95, weight decay 0.05) |
| training | {recipe.num_steps} steps of {recipe.rows * recipe.row_length} tokens, one cosine from \
a peak learning rate of {recipe.learning_rate:g} |
| mixture (share of documents) | {mixture} |
| weights | stored as {recipe.stored_as}, sha256 of model.safetensors `{model.sha256}` |

Held-out results (test split, disjoint from training by a hash of the numbers; 95% intervals; greedy
unless a temperature is named; arithmetic problems of 2 to 6 operations unless the row says
otherwise):

| measurement | value | 95% interval | n |
| --- | --- | --- | --- |
{rows}
{seeds_section(Path(__file__).parent / name)}
Data format, one document:

```
{example}
```
"""


def main(
    name: tyro.conf.Positional[Literal["tiny", "tiny-24", "tiny-start", "tiny-l"]],
    seed: int = 0,
    out: Path | None = None,
    workers: int = 0,
) -> None:
    """Train a shipped model, write it with its card, and compare it with the card that is there.

    Args:
      name: which recipe.
      seed: of the initialisation and the data.
      out: model directory; by default checkpoints/NAME for seed 0, and
        outputs/train/NAME-SEED-.../model for others.
      workers: processes that draw batches ahead; worth it beside a GPU.
    """
    work = working_folder(f"{name}-{seed}", globals())
    shipped = Path(__file__).parent / name
    out = out or (shipped if seed == 0 else work / "model")
    state, cfg = train_model(name, seed, work, workers)
    save_model(out, state.params, cfg, make_tokenizer(), dtype=RECIPES[name].stored_as)
    model = load_model(str(out))._replace(name=name)
    kind = RECIPES[name]
    results = (
        measure_puzzles if kind.puzzles_only else measure_scarce if kind.traces else measure
    )(model)

    reference = shipped / "results.json"
    if reference.exists():
        intervals = {key: row[1:3] for key, row in json.loads(reference.read_text()).items()}
        intervals |= {key: new_seed(values)[1:3] for key, values in of_seeds(shipped).items()}
        print(f"{'measurement':<28}{'here':>8}  card's interval")
        for key, (low, high) in intervals.items():
            inside = "" if low <= results[key].value <= high else "  outside"
            print(f"{key:<28}{results[key].value:>8.3f}  [{low:.3f}, {high:.3f}]{inside}")
    seconds = training_seconds(work)
    example = "".join(piece.text for piece in RECIPES[name].document()(np.random.default_rng(3)))
    write_card(out, card(name, seed, model, results, seconds, example), results)


if __name__ == "__main__":
    with clean_exit():
        tyro.cli(main)
