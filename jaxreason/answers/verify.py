r"""Grading: a model's text -> its answer -> right or wrong -> ids for the votes. These are the
rules, all of them.

**What a text answers** (`extract.extract_answer`). The *last* stated answer wins, since a chain of
thought is full of numbers and may correct itself. The first rule that finds something:

1. What follows the last ``</think>``; only where no answer is there, what precedes it. Behind a
   ``<think>`` that is never closed nothing is stated.
2. The last of ``\boxed{...}``, ``#### x``, "the answer is x", "Answer: x", "Final answer",
   ``<answer>x</answer>``, "the correct option is E", and "the answer is" in ten other languages,
   whatever its kind. One that is empty, or never closed, is skipped.
3. "The answer is Paris": a word, where no number follows (nor precedes, if it is in lower case).
4. The text itself, where it is nothing but one expression, list, date or time ("x+1", "80 - 25", "5
  and 7", "June 20").
5. The last number of the text, or the pair or matrix that it ends with. Digits and words may be of
  any script.
6. The text itself, where it is a word or a name.

**What is no answer.** A number that is denied ("is not 12", "anything but 12") is not stated. A
text that offers several ("10 or 12", "either 10 or 12", "10, maybe 12", "10或12", ``\boxed{10} or
\boxed{12}``) answers all of them, which is not 10 and not 12: hedging earns nothing. "10. Wait, the
answer is 12" answers 12, and "10, or 20/2" answers 10.

**What an answer is worth** (`values.value`). Two answers are equal where their values are:

| answer | value | equal | not equal |
|---|---|---|---|
| a number | exact, without currency, unit, percent sign, thousands marks | 0.5, 1/2, .50; $1,234.00, ``1\,234``, 1234; 2 million, 200万 | 0.333 and 1/3; 50% and 0.5 |
| numbers joined by ``+ - * / ^``, brackets, mixed | worked out exactly | ``2(3)``, 6; ``3\frac12 + 1``, 4.5 | ``2(3)``, 5; ``2^{-99}``, ``2^{-98}`` |
| a repeating decimal | exact | ``0.\overline{3}``, 1/3 | 0.333 and 1/3 |
| ``name = value``, or a sum and its result | the right-hand side | ``x = 5``, 5; 45 - 12 = 33, 33 | ``x^2 + y^2 = 25``, 25 |
| exact, then rounded, ``a \approx b`` | the exact side, but of ``x \approx 5`` the value | ``1/3 \approx 0.333``, 1/3 | 0.333 |
| a list, by commas, "and", "or"; a set | its parts, in any order | 5 and 7; 7, 5; ``\{5, 7\}`` | 7; (5, 7) |
| a pair, an interval, a matrix | its parts, in order, and its brackets | (3, 4), ``\left(3,4\right)`` | (4, 3); [3, 4] |
| numbers with several units | numbers and units | 2 hours and 30 minutes, 2 hours 30 min | 2; 150 |
| a letter of a choice | the letter | E, (E), Option E, E: because, ``(E) 12`` | 12 |
| any other text | without case, blanks and LaTeX fonts | ``\text{June 20}``, june 20 | 20; 3:30 and 7:70; ``52_8`` and 52 |

Commas group thousands, and are never decimal. Number words ("five") are not read, nor answers over
500 characters. Numbers of no sensible value (1/0, 1e999999999) and groups that are none (12,34,567)
stay as they are written.

**What a gold is.** A gold is one answer, read as it stands, with its unit dropped: ``12 \text{
cm}^2`` is 12, and "June 20" is not 20. Only a whole solution, of several lines or with a marker of
rule 2, is read by the rules for texts.

**With math-verify**, an optional package, expressions that are not equal by the table are compared
as mathematics, exactly. It can only add to what is right:

| answers | without | with |
|---|---|---|
| ``\sqrt{8}`` and ``2\sqrt{2}``, ``\frac{\sqrt3}{2}`` and ``\frac12\sqrt3`` | not equal | equal |
| ``x+1`` and ``1+x``, ``(x+1)^2`` and ``x^2+2x+1`` | not equal | equal |
| ``2x + 2y = 2`` and ``x + y = 1`` | not equal | equal |
| all of the table above: numbers, words, units, lists of such, ratios, times, bases, inequalities | as above | the same |

Sources: GSM8K (Cobbe et al. 2021), ``####``; MATH (Hendrycks et al. 2021), ``\boxed``; "The answer
is" (Wei et al. 2022).
"""

import math
import numbers
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from jaxreason.answers.extract import MARKERS, Answer, extract_answer, final_text
from jaxreason.answers.values import Value, canonical, same_value, value
from jaxreason.errors import InputError

Gold = str | int | float | Callable[[str], bool]  # the right answer, or a judge of any answer


def read_answer(text: str, gold: Gold) -> str | None:
    """The answer a text states: word for word where the gold answer is a judge, else in canonical
    form.
    """
    return final_text(text) if callable(gold) else extract_answer(text)


def is_correct(text_or_answer: str | None, gold: Gold) -> bool:
    r"""Whether a model's text, or an answer already extracted from it, has the gold value, by the
    rules above.

    `gold` is a number, an answer, or a whole solution; or a function that judges the answer read by
    `final_text`, for tasks with many right answers. None is never correct. A question that asks for
    a percentage states its gold in percent, as GSM8K does: "50%" is 50.

    Raises:
      InputError: `gold` is empty, not finite, or neither text nor a number; or the answer is no
        text.
    """
    if callable(gold):
        answer = final_text(text_or_answer) if text_or_answer else None
        return answer is not None and bool(gold(answer))
    target = _gold_value(gold)
    if not isinstance(text_or_answer, str | None):
        raise InputError(
            f"answer is {type(text_or_answer).__name__}: expected text or None, pass str(...)"
        )
    if not text_or_answer:
        return False
    if isinstance(text_or_answer, Answer):
        return same_value(value(text_or_answer), target)
    answer = extract_answer(text_or_answer)
    return answer is not None and same_value(value(answer), target)


def _gold_value(gold: str | int | float) -> Value:
    if isinstance(gold, numbers.Integral):
        return Fraction(int(gold))
    if isinstance(gold, numbers.Real) and math.isfinite(gold):
        return Fraction(str(gold))  # the decimal as written: 0.1 is 1/10
    if isinstance(gold, str):
        is_solution = "\n" in gold.strip() or any(marker in gold.lower() for marker in MARKERS)
        answer = (extract_answer(gold) if is_solution else None) or canonical(gold)
        if answer:
            return value(answer)
    raise InputError(
        f"gold is {gold!r:.60}: expected an answer or a finite number, drop this problem"
    )


def read_answers(texts: Sequence[Sequence[str]], golds: Sequence[Gold]) -> list[list[str | None]]:
    """`read_answer` of N texts for each of G problems: what `answer_ids` numbers."""
    return [
        [read_answer(text, gold) for text in group]
        for group, gold in zip(texts, golds, strict=True)
    ]


def answer_ids(answers: Sequence[Sequence[str | None]]) -> np.ndarray:
    """Answers as small integers for the votes: equal values ("0.5" and "1/2") share an id within
    their group.

    answers: G groups of N extracted answers -> int32 [G, N]; ids count from 0 in order of first
    appearance in the group, None is -1.

    Raises:
      InputError: the groups differ in size.
    """
    sizes = {len(group) for group in answers} or {0}
    if len(sizes) > 1:
        raise InputError(
            f"groups hold {sorted(sizes)[:9]} answers: expected one size, pad with None"
        )
    ids = np.full((len(answers), sizes.pop()), -1, np.int32)
    for row, group in zip(ids, answers, strict=True):
        seen: dict[Value, int] = {}
        for n, answer in enumerate(group):
            if answer is not None:
                row[n] = seen.setdefault(value(answer), len(seen))
    return ids


def grade(texts: Sequence[Sequence[str]], golds: Sequence[Gold]) -> np.ndarray:
    """Which of N texts for each of G problems are right: bool [G, N], for one gold answer a
    problem.
    """
    return np.array(
        [
            [is_correct(text, gold) for text in group]
            for group, gold in zip(texts, golds, strict=True)
        ]
    )


def gold_ids(ids: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """The id of the right answer in each group, from `answer_ids` and `grade`, both [G, N]; -2
    where no chain has it.

    A vote is right where its winner is this id.
    """
    first = correct.argmax(axis=1)
    return np.where(correct.any(axis=1), ids[np.arange(len(ids)), first], -2)
