"""Every method of the course on the same problems: what lessons 10 and 10b compare.

The model of the run answers at once, writes one chain, many chains, or searches. A PRM and an ORM
judge. :func:`every_method` runs all of it once and keeps the outcomes for both lessons.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason import resume
from jaxreason.answers.extract import extract_answer
from jaxreason.answers.verify import answer_ids, gold_ids, grade
from jaxreason.course.machine import device
from jaxreason.course.run import Run
from jaxreason.decoding import budget_forcing, prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.evaluation.flops import rollout_flops, search_flops
from jaxreason.evaluation.outcomes import Chains, Choice, Outcome, choose
from jaxreason.models.hf import LanguageModel
from jaxreason.rewards.reward_model import RewardModel, aggregate, load_reward_model, step_scores
from jaxreason.search import lm_evaluators, lm_mcts, lm_tasks, proposers, word_problems
from jaxreason.search import tree_of_thoughts as tot
from jaxreason.search.evaluators import reward_values
from jaxreason.tasks import arithmetic

OPERATIONS = (1, 2, 3, 4, 5, 6)
TEMPERATURE = 0.7  # of the chains
LIMITS = (10, 20, 30)  # tokens, of a chain that is cut off
LOGPROB = "log-probability"


class Bench(NamedTuple):
    """What all methods are measured on, and who judges."""

    problems: list[arithmetic.Problem]  # G, those of validation before those of the test
    on_test: np.ndarray  # [G] bool
    asked: list[str]  # G prompts for a chain of thought
    prompt_tokens: np.ndarray  # [G] int
    num_chains: int  # N
    prm: RewardModel
    orm: RewardModel

    @property
    def golds(self) -> list[int]:
        """G answers."""
        return [problem.answer for problem in self.problems]

    @property
    def operations(self) -> np.ndarray:
        """``[G]`` int, how deep each problem is."""
        return np.array([problem.num_operations for problem in self.problems])


class Spent(NamedTuple):
    """What :func:`every_method` found."""

    methods: dict[str, Outcome]
    chains: Chains
    greedy_score: np.ndarray  # [G] the PRM's, of the greedy chain


def make_bench(run: Run) -> Bench:
    """Two splits with one to six operations in equal parts: choose on one, judge on the other."""
    seed = run.options.seed
    validation = arithmetic.problems("validation", max(12, run.problems // 2), seed, OPERATIONS)
    test = arithmetic.problems("test", run.problems, seed, OPERATIONS)
    problems, chains = [*validation, *test], run.chains or 1
    asked = [prompts.zero_shot_cot(problem.question) for problem in problems]
    return Bench(
        problems=problems,
        on_test=np.arange(len(problems)) >= len(validation),
        asked=asked,
        prompt_tokens=count_tokens(run.model, asked),
        num_chains=min(chains, 4) if run.options.quick else chains,
        prm=load_reward_model(f"{run.model.name}-prm", run.model),
        orm=load_reward_model(f"{run.model.name}-orm", run.model),
    )


def count_tokens(model: LanguageModel, texts: list[str]) -> np.ndarray:
    """``[G]`` tokens of each text."""
    return np.array(list(map(len, model.tokenizer(texts, add_special_tokens=False).input_ids)))


# ---- the methods


def sizes(bench: Bench) -> list[int]:
    """Numbers of chains to choose among: 2, 4, ..., N."""
    return [2**k for k in range(1, bench.num_chains.bit_length())]


def families(bench: Bench) -> dict[str, tuple[Choice, str | None, list[int]]]:
    """name -> how to choose, by whose score, among how many chains."""
    n = sizes(bench)
    return {
        "majority": ("vote", None, n),
        "early stop": ("early stop", None, [k for k in n if k >= 8]),
        "best by log-probability": ("best", LOGPROB, n),
        "best by ORM": ("best", "ORM", n),
        "best by PRM": ("best", "PRM", n),
        "PRM-weighted vote": ("vote", "PRM", [k for k in n if k >= 4]),
    }


def beams(run: Run) -> tuple[tuple[int, int], ...]:
    """(lines proposed, beam) of the beam searches."""
    return ((2, 1),) if run.options.quick else ((2, 1), (4, 1), (4, 2))


def simulations(run: Run) -> tuple[int, ...]:
    """Of MCTS."""
    return (8,) if run.options.quick else (16, 24, 32)


def method_names(run: Run, bench: Bench) -> list[str]:
    """All methods, in the order of the lesson."""
    names = ["direct", "greedy", *(f"cut off at {limit}" for limit in LIMITS)]
    names += [f"{name}@{n}" for name, (_, _, some) in families(bench).items() for n in some]
    names += [f"PRM beam search {num}x{beam}" for num, beam in beams(run)]
    names += [] if run.options.quick else ["PRM DVTS 4x2"]
    return names + [f"PRM MCTS@{n}" for n in simulations(run)]


def every_method(run: Run, bench: Bench) -> Spent:
    """Runs all methods, or reads what they did when lesson 10 or 10b ran them with these options.

    Args:
      run: of lesson 10 or 10b.
      bench: from :func:`make_bench`.
    """
    options = dataclasses.replace(run.options, out=Path())
    models = run.model.sha256, bench.prm.sha256, bench.orm.sha256
    made_by = resume.digest(resume.sources(), device(), options, models)
    path = run.options.out / "10_test_time_compute" / "outcomes" / f"{made_by}.npz"
    if path.exists():
        print(f"the methods ran before; to run them again, delete {path}")
    names, none = method_names(run, bench), np.zeros(0)
    like = Spent(
        methods={name: Outcome(none, none, none) for name in names},
        chains=Chains(none, none, none, none, none, {"PRM": none, "ORM": none, LOGPROB: none}),
        greedy_score=none,
    )
    found = resume.once(path, like, lambda: _run_all(run, bench))
    return found._replace(methods={name: found.methods[name] for name in names})


def _run_all(run: Run, bench: Bench) -> Spent:
    model, everyone = run.model, list(range(len(bench.problems)))
    greedy = run.complete(run.key, bench.asked, sampler=GREEDY, description="greedy")
    methods = {
        "direct": _direct(run, bench),
        "greedy": Outcome(
            right=grade(greedy.texts, bench.golds)[:, 0],
            flops=np.asarray(rollout_flops(model.cfg, bench.prompt_tokens, greedy.num_tokens)),
            tokens=greedy.num_tokens[:, 0],
        ),
    }
    methods |= _cut_off(run, bench)
    chains = sample(
        run,
        bench,
        model,
        everyone,
        TEMPERATURE,
        {"PRM": (bench.prm, "min"), "ORM": (bench.orm, "last")},
    )
    for name, (how, judge, some) in families(bench).items():
        for n in some:
            methods[f"{name}@{n}"] = best_of(bench, chains, everyone, model, n, how, judge)
    methods |= _search_lines(run, bench)
    methods |= _search_trees(run, bench)
    of_steps = step_scores(
        bench.prm, bench.asked, greedy.texts, description="PRM of the greedy chains"
    )
    return Spent(methods=methods, chains=chains, greedy_score=aggregate(of_steps, "min")[:, 0])


def _direct(run: Run, bench: Bench) -> Outcome:
    """The answer alone."""
    texts = [prompts.direct(problem.question) for problem in bench.problems]
    said = run.complete(run.key, texts, sampler=GREEDY, description="direct")
    return Outcome(
        right=grade(said.texts, bench.golds)[:, 0],
        flops=np.asarray(
            rollout_flops(run.model.cfg, count_tokens(run.model, texts), said.num_tokens)
        ),
        tokens=said.num_tokens[:, 0],
    )


def _cut_off(run: Run, bench: Bench) -> dict[str, Outcome]:
    """One greedy chain whose answer is forced after so many tokens (lesson 07)."""
    cut = budget_forcing.complete_within(
        run.model,
        run.key,
        bench.asked,
        at_most=np.array(LIMITS)[None],
        ends=["####"],
        sampler=GREEDY,
        max_new_tokens=run.max_new_tokens,
        num_samples=len(LIMITS),
        rows=run.rows,
        description="cut off",
    )
    right, outcomes = grade(cut.texts, bench.golds), {}
    for i, limit in enumerate(LIMITS):
        tokens = cut.num_tokens[:, i]
        flops = np.asarray(rollout_flops(run.model.cfg, bench.prompt_tokens, tokens[:, None]))
        outcomes[f"cut off at {limit}"] = Outcome(right=right[:, i], flops=flops, tokens=tokens)
    return outcomes


def sample(
    run: Run,
    bench: Bench,
    model: LanguageModel,
    some: list[int],
    temperature: float,
    verifiers: dict[str, tuple[RewardModel, str]],
) -> Chains:
    """N chains of a model for some of the problems, graded and judged.

    Args:
      run, bench: the problems and the number of chains.
      model: that writes.
      some: indices of problems.
      temperature: of the chains.
      verifiers: name -> a reward model, and how it sums up its step scores.
    """
    asked, golds = [bench.asked[g] for g in some], [bench.golds[g] for g in some]
    written = complete(
        model,
        jax.random.fold_in(run.key, 1),
        asked,
        sampler=Sampler(temperature),
        max_new_tokens=run.max_new_tokens,
        num_samples=bench.num_chains,
        rows=run.rows,
        description=f"{bench.num_chains} chains of {model.name}",
        store=run.store,
    )
    right = grade(written.texts, golds)
    ids = answer_ids([[extract_answer(text) for text in row] for row in written.texts])
    scores = {LOGPROB: written.logprobs / np.maximum(written.num_tokens, 1)}
    for name, (judge, how) in verifiers.items():
        scores[name] = aggregate(step_scores(judge, asked, written.texts, description=name), how)
    return Chains(
        right=right,
        ids=ids,
        gold=gold_ids(ids, right),
        tokens=written.num_tokens,
        same=np.array([[row.index(text) for text in row] for row in written.texts]),
        scores=scores,
    )


def greedy_chain(run: Run, bench: Bench, model: LanguageModel, some: list[int]) -> Outcome:
    """One greedy chain of a model for some of the problems."""
    written = complete(
        model,
        run.key,
        [bench.asked[g] for g in some],
        sampler=GREEDY,
        max_new_tokens=run.max_new_tokens,
        rows=run.rows,
        description=model.name,
        store=run.store,
    )
    return Outcome(
        right=grade(written.texts, [bench.golds[g] for g in some])[:, 0],
        flops=np.asarray(rollout_flops(model.cfg, bench.prompt_tokens[some], written.num_tokens)),
        tokens=written.num_tokens[:, 0],
    )


def best_of(
    bench: Bench,
    chains: Chains,
    some: list[int],
    model: LanguageModel,
    n: int,
    how: Choice,
    judge: str | None,
) -> Outcome:
    """:func:`jaxreason.evaluation.outcomes.choose` among the chains of a model for some problems.

    A log-probability costs nothing. The PRM and the ORM have the same size.
    """
    return choose(
        chains,
        bench.prompt_tokens[some],
        model.cfg,
        n,
        how,
        scores=chains.scores[judge] if judge else None,
        verifier_cfg=bench.prm.cfg if judge in ("PRM", "ORM") else None,
    )


# ---- searches


def _of_trees(run: Run, bench: Bench, trees: list[tot.Tree]) -> Outcome:
    """Every token of a tree is paid once, as if each node kept its cache; the PRM reads every line
    once.
    """
    said = [tree.nodes[tree.answer].state.thoughts if tree.answer >= 0 else ("",) for tree in trees]
    # The longest text of a tree, in characters, bounds what each of its tokens sees.
    texts = [["\n".join(node.state.thoughts) for node in tree.nodes] for tree in trees]
    longest = np.array([max(map(len, of_tree)) for of_tree in texts])
    written = np.array([tree.generated for tree in trees])
    read = np.array([tree.evaluated for tree in trees])
    writing = search_flops(run.model.cfg, bench.prompt_tokens, written, longest)
    reading = search_flops(bench.prm.cfg, bench.prompt_tokens, read, longest, logits=False)
    right = grade([[thoughts[-1]] for thoughts in said], bench.golds)[:, 0]
    return Outcome(right=right, flops=np.asarray(writing + reading), tokens=written)


def _search_lines(run: Run, bench: Bench) -> dict[str, Outcome]:
    """Beam searches and DVTS by the PRM (lesson 05)."""
    roots = [tot.State(problem) for problem in bench.problems]
    prompt = word_problems.lines_prompt
    judge = tot.memoize(functools.partial(reward_values, bench.prm, prompt=prompt))

    def lines(num_samples: int) -> Callable[[list[tot.State]], Any]:
        """So many lines of a state, the same to every search that asks."""
        propose = functools.partial(
            proposers.sample_thoughts,
            run.model,
            jax.random.fold_in(run.key, 2),
            prompt=prompt,
            num_samples=num_samples,
            least=16 if run.options.quick else 128,
            sampler=Sampler(1.0),
        )
        return tot.memoize(propose)

    def grow(search: Callable, num: int, name: str, **options) -> Outcome:
        grown = search(
            *(roots, proposals[num], judge, word_problems.LINES),
            max_depth=8,
            description=name,
            **options,
        )
        return _of_trees(run, bench, grown)

    proposals, outcomes = {num: lines(num) for num in (2, 4)}, {}
    for num, beam in beams(run):
        name = f"PRM beam search {num}x{beam}"
        outcomes[name] = grow(tot.bfs, num, name, beam=beam)
    if not run.options.quick:
        outcomes["PRM DVTS 4x2"] = grow(tot.dvts, 4, "DVTS", subtrees=2)
    return outcomes


def _search_trees(run: Run, bench: Bench) -> dict[str, Outcome]:
    """MCTS by the PRM (lesson 06): trees after fewer simulations are cut from the largest."""
    (newline,) = run.model.tokenizer("\n", add_special_tokens=False).input_ids
    searcher = lm_mcts.searcher(
        run.model,
        lm_tasks.reasoning_lines([run.model.tokenizer.eos_token_id], judged=True),
        lm_evaluators.process_reward(bench.prm.cfg, newline, prompt_lines=2),
        num_lines=2,
        widen=0.3,
        width=192,
    )
    found = lm_mcts.search(
        searcher,
        jax.random.fold_in(run.key, 3),
        bench.asked,
        num_simulations=simulations(run)[-1],
        c=1.0,
        value_params=bench.prm.params,
        description="MCTS",
    )
    roots = [tot.State(problem) for problem in bench.problems]
    outcomes = {}
    for n in simulations(run):
        trees = lm_mcts.to_trees(found, searcher, roots, word_problems.LINES, n)
        outcomes[f"PRM MCTS@{n}"] = _of_trees(run, bench, trees)
    return outcomes
