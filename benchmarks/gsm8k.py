"""Greedy accuracy of a model on GSM8K's test problems, zero-shot chain of thought: ``python -m
benchmarks.gsm8k --model MODEL``.

Options as in the lessons: ``--task gsm8k:FILE`` where the hub is out of reach, ``--problems``,
``--max-new-tokens``, ``--out``.
"""

import numpy as np

from jaxreason.answers.verify import grade, read_answers
from jaxreason.course import lesson
from jaxreason.course.options import read_options
from jaxreason.decoding import prompts
from jaxreason.decoding.sampling import GREEDY
from jaxreason.evaluation.intervals import accuracy
from jaxreason.tasks import load_problems


def main() -> None:
    run = lesson.start(read_options("gsm8k", problems=200, task="gsm8k"))
    problems = load_problems(run.task, "test", run.problems, seed=run.options.seed)
    golds = [p.gold for p in problems]
    texts = [prompts.zero_shot_cot(p.question, run.tokenizer) for p in problems]
    written = run.complete(run.key, texts, sampler=GREEDY, description="greedy")
    correct = grade(written.texts, golds)[:, 0]
    answered = np.array([row[0] is not None for row in read_answers(written.texts, golds)])
    run.results.measure("accuracy", accuracy(correct), tokens=written.num_tokens.mean())
    run.results.measure("finished", accuracy(written.finished[:, 0]))
    run.results.measure("answered", accuracy(answered))
    for kind, rows in (("right", correct), ("wrong", ~correct)):
        if rows.any():
            shown = int(np.flatnonzero(rows)[0])
            print(
                f"\n--- {kind} (gold: {problems[shown].answer})\n"
                f"{problems[shown].question}\n\n{written.texts[shown][0]}"
            )
    run.finish()


if __name__ == "__main__":
    main()
