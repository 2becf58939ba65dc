"""How the students of lesson 09 do on held-out problems, at the end and on the way."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.answers.verify import grade
from jaxreason.course.run import Run
from jaxreason.course.students import Learning
from jaxreason.decoding import prompts
from jaxreason.decoding.completions import complete
from jaxreason.decoding.sampling import GREEDY, Sampler
from jaxreason.evaluation.intervals import Interval
from jaxreason.evaluation.outcomes import over_seeds, share
from jaxreason.models.hf import LanguageModel
from jaxreason.tasks import arithmetic


class Scores(NamedTuple):
    """Students of S seeds on G held-out problems."""

    greedy: np.ndarray  # [S, G] bool
    single: np.ndarray  # [S, G] share of the sampled chains that are right


def _write(
    run: Run,
    model: LanguageModel,
    problems: Sequence[arithmetic.Problem],
    *,
    at_once: bool,
    sampler: Sampler = GREEDY,
    num_samples: int = 1,
) -> tuple[np.ndarray, float]:
    """Right or wrong, bool ``[G, N]``, and the mean tokens of a chain.

    Args:
      run: the lesson.
      model: that writes.
      problems: G held-out ones.
      at_once: whether the answer alone is asked for, and no reasoning.
      sampler, num_samples: of N chains.
    """
    ask = prompts.direct if at_once else prompts.zero_shot_cot
    written = complete(
        model,
        run.key,
        [ask(problem.question) for problem in problems],
        sampler=sampler,
        max_new_tokens=run.max_new_tokens,
        num_samples=num_samples,
        rows=run.rows,
        store=run.store,
    )
    right = grade(written.texts, [problem.answer for problem in problems])
    return right, float(written.num_tokens.mean())


def measure_students(
    run: Run,
    name: str,
    models: Sequence[LanguageModel],
    problems: Sequence[arithmetic.Problem],
    *,
    at_once: bool = False,
) -> Scores:
    """Records how often the students of a method are right, greedily and in one sampled chain.

    Args:
      run, problems, at_once: as for :func:`_write`.
      name: of the method.
      models: its students, one of each seed.
    """
    greedy, single, tokens = [], [], []
    for model in models:
        write = functools.partial(_write, run, model, problems, at_once=at_once)
        right, length = write()
        sampled, sampled_length = write(sampler=Sampler(1.0), num_samples=run.chains or 1)
        greedy.append(right[:, 0])
        single.append(sampled.mean(1))
        tokens.append((length, sampled_length))
    scores = Scores(greedy=np.array(greedy), single=np.array(single))
    of_greedy, of_single = np.mean(tokens, axis=0)
    run.measure(f"greedy/{name}", share(scores.greedy.mean(0)), of_greedy)
    run.measure(f"pass@1/{name}", share(scores.single.mean(0)), of_single)
    if len(models) > 1:
        lowest_and_highest = over_seeds(scores.single.mean(1))
        run.measure(f"pass@1, lowest and highest seed/{name}", lowest_and_highest)
    print(f"{name:<14} greedy {scores.greedy.mean():.3f}, one chain {scores.single.mean():.3f}")
    return scores


def measure_quarters(
    run: Run,
    student: LanguageModel,
    learned: Sequence[Learning],
    problems: Sequence[arithmetic.Problem],
    *,
    at_once: bool = False,
) -> list[Interval]:
    """Greedy accuracy after each of the first three quarters of the budget.

    Args:
      run, problems, at_once: as for :func:`measure_students`.
      student: whose parameters they had.
      learned: the students of a method, one of each seed.
    """
    on_the_way = []
    for quarter in range(3):
        right = []
        for at in learned:
            model = student._replace(params=at.quarters[quarter])
            wrote, _ = _write(run, model, problems, at_once=at_once)
            right.append(wrote[:, 0])
        on_the_way.append(share(np.mean(right, axis=0)))
    return on_the_way
