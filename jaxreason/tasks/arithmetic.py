"""Word problems over small integers: exact solutions, an exact step checker, disjoint splits.

A problem is a start value and a list of terms, each ``+-n`` or ``+-a*b``; every running total stays
in 0..199. Its *number of operations* counts every sum and product, so ``45-12+3*7`` has three. One
reasoning line is one operation::

    Q: Tom has 45 apples. Ann takes 12 from Tom. Then Tom buys 3 bags of 7. How many apples does
    Tom have now?
    45-12=33
    3*7=21
    33+21=54
    #### 54

Splits are decided by a hash of the expression, never by the wording: the same numbers in another
story are the same problem, so no held-out problem can occur in training in any wording.
"""

import collections
import functools
import hashlib
import re
from typing import NamedTuple

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tasks import arithmetic_words as words

MAX_TOTAL = 199
MAX_OPERATIONS = 6
MAX_REPEATS = 10_000  # draws without a new problem before a split counts as exhausted


class Term(NamedTuple):
    """``sign * a * b``; a plain number has ``b == 1``."""

    sign: int
    a: int
    b: int = 1

    @property
    def value(self) -> int:
        return self.a * self.b

    def __str__(self) -> str:
        sign = "+" if self.sign > 0 else "-"
        return f"{sign}{self.a}*{self.b}" if self.b > 1 else f"{sign}{self.a}"


class Problem(NamedTuple):
    """A question in words and the expression behind it; ``answer`` is exact."""

    question: str
    start: int
    terms: tuple[Term, ...]

    @property
    def expression(self) -> str:
        return f"{self.start}" + "".join(map(str, self.terms))

    @property
    def answer(self) -> int:
        return self.start + sum(t.sign * t.value for t in self.terms)

    @property
    def num_operations(self) -> int:
        return sum(2 if t.b > 1 else 1 for t in self.terms)


@functools.lru_cache(maxsize=1 << 16)
def split_of(expression: str) -> str:
    """``train`` (80%), ``validation`` or ``test`` (10% each), by a hash of the expression alone."""
    bucket = hashlib.sha256(expression.encode()).digest()[0] * 10 // 256
    return {8: "validation", 9: "test"}.get(bucket, "train")


def sample_expression(
    rng: np.random.Generator, num_operations: int
) -> tuple[int, tuple[Term, ...]]:
    """A start value (5-60) and terms (+-2..40, or +-a*b with a, b in 2..9).

    Every running total is in 0..199.
    """
    while True:
        start = total = int(rng.integers(5, 61))
        terms: list[Term] = []
        remaining = num_operations
        while remaining:
            sign = 1 if rng.random() < 0.5 else -1
            if remaining >= 2 and rng.random() < 0.35:
                term = Term(sign, int(rng.integers(2, 10)), int(rng.integers(2, 10)))
                remaining -= 2
            else:
                term = Term(sign, int(rng.integers(2, 41)))
                remaining -= 1
            terms.append(term)
            total += term.sign * term.value
            if not 0 <= total <= MAX_TOTAL:
                break
        else:
            return start, tuple(terms)


def in_words(rng: np.random.Generator, start: int, terms: tuple[Term, ...]) -> str:
    """One of many wordings of the expression: names, items, verbs and the closing question vary."""

    def pick(options: list[str]) -> str:
        return options[int(rng.integers(len(options)))]

    person, other = (words.NAMES[i] for i in rng.choice(len(words.NAMES), size=2, replace=False))
    item, pronoun = pick(words.ITEMS), words.PRONOUNS[person]
    if rng.random() < words.INVENTED_SHARE:
        person, other = words.invent(rng).capitalize(), words.invent(rng).capitalize()
        item = words.invent(rng) + "s"
    blanks = {"p": person, "q": other, "i": item}
    sentences = [pick(words.START).format(n=start, **blanks)]
    for term in terms:
        if term.b > 1:
            template = pick(words.GAIN_GROUPS if term.sign > 0 else words.LOSS_GROUPS)
        else:
            template = pick(words.GAIN if term.sign > 0 else words.LOSS)
        sentence = template.format(n=term.a, a=term.a, b=term.b, **blanks)
        then = rng.random() < 0.2
        if sentence.startswith(person) and rng.random() < 0.3:
            sentence = (pronoun.lower() if then else pronoun) + sentence.removeprefix(person)
        sentences.append(f"Then {sentence}" if then else sentence)
    sentences.append(pick(words.QUESTION).format(**blanks))
    return " ".join(sentences)


def sample_problem(
    rng: np.random.Generator, num_operations: int, split: str = "train", as_equation: bool = False
) -> Problem:
    """A problem of ``split`` with ``num_operations`` operations, in words.

    ``as_equation`` asks for it bare instead, as in ``What is 45-12+3*7?``.
    """
    while True:
        start, terms = sample_expression(rng, num_operations)
        problem = Problem("", start, terms)
        if split_of(problem.expression) == split:
            break
    question = f"What is {problem.expression}?" if as_equation else in_words(rng, start, terms)
    return problem._replace(question=question)


def problems(
    split: str, n: int, seed: int = 0, operations: tuple[int, ...] = (2, 3, 4, 5, 6)
) -> list[Problem]:
    """``n`` different problems of ``split``.

    Args:
      split: train, validation or test.
      n: how many.
      seed: which ones.
      operations: the numbers of operations, taken in turn, so that each is equally frequent.

    Raises:
      InputError: ``n`` is not positive, ``seed`` is negative, the split or an operation count does
        not exist, or there are not ``n`` different problems (of one operation a held-out split has
        about 390).
    """
    if n < 1:
        raise InputError(f"number of problems is {n}: expected at least 1")
    if split not in ("train", "validation", "test"):
        raise InputError(f"split {split!r}: expected 'train', 'validation' or 'test'")
    if seed < 0:
        raise InputError(f"seed is {seed}: expected 0 or more")
    if not operations:
        raise InputError("no numbers of operations: expected at least one, such as (2, 3)")
    for k in operations:
        if not 1 <= k <= MAX_OPERATIONS:
            raise InputError(f"{k} operations: expected 1 to {MAX_OPERATIONS}")
    rng = np.random.default_rng([seed, ["train", "validation", "test"].index(split)])
    found: dict[str, Problem] = {}
    repeats = 0
    while len(found) < n:
        num_operations = operations[len(found) % len(operations)]
        problem = sample_problem(rng, num_operations, split)
        repeats = repeats + 1 if problem.expression in found else 0
        if repeats == MAX_REPEATS:
            raise InputError(
                f"{n} different problems of split {split!r}: only {len(found)} were found before "
                f"those of {num_operations} operation(s) ran out; ask for fewer or for more "
                "operations"
            )
        found.setdefault(problem.expression, problem)
    return list(found.values())


def solve(problem: Problem, rng: np.random.Generator | None = None) -> list[str]:
    """The reasoning lines, in the question's order or, given ``rng``, in a random order of terms.

    Any order is right as long as no running total leaves 0..199; sampled chains that differ in
    order make independent mistakes, which is what voting lives on.
    """
    terms = list(problem.terms)
    if rng is not None:
        for _ in range(8):
            shuffled = [terms[i] for i in rng.permutation(len(terms))]
            totals = np.cumsum([problem.start] + [t.sign * t.value for t in shuffled])
            if 0 <= totals.min() and totals.max() <= MAX_TOTAL:
                terms = shuffled
                break
    lines, total = [], problem.start
    for term in terms:
        if term.b > 1:
            lines.append(f"{term.a}*{term.b}={term.value}")
        new_total = total + term.sign * term.value
        lines.append(f"{total}{'+' if term.sign > 0 else '-'}{term.value}={new_total}")
        total = new_total
    return lines


def solutions(n: int, seed: int = 0) -> list[tuple[Problem, list[str]]]:
    """``n`` different training problems of 1 to 6 operations with their reasoning lines.

    The lines of half of them have the terms in a random order. A model may be shown these where
    worked solutions are scarce.
    """
    rng = np.random.default_rng([seed, n])
    found = problems("train", n, seed, operations=tuple(range(1, MAX_OPERATIONS + 1)))
    return [(problem, solve(problem, rng if rng.random() < 0.5 else None)) for problem in found]


def drill(rng: np.random.Generator) -> tuple[str, str]:
    """A question ``What is 145-38?`` of one operation, and the line that answers it.

    It is never one of the held-out problems.
    """
    while True:
        if rng.random() < 0.15:
            a, b = rng.integers(2, 10, size=2)
            line, result = f"{a}*{b}", a * b
        else:
            total, value = rng.integers(0, MAX_TOTAL + 1), rng.integers(2, 82)
            sign = rng.choice([-1, 1])
            line, result = f"{total}{'+' if sign > 0 else '-'}{value}", total + sign * value
        if 0 <= result <= MAX_TOTAL and split_of(line) == "train":
            return f"What is {line}?", f"{line}={result}"


_LINE = re.compile(r"(\d{1,6})([-+*])(\d{1,6})=(-?\d{1,6})")


def _read_line(line: str) -> tuple[int, str, int, int] | None:
    """``(45, "-", 12, 33)`` of ``45-12=33``, None of any other text."""
    match = _LINE.fullmatch(line.strip())
    return (int(match[1]), match[2], int(match[3]), int(match[4])) if match else None


def check_steps(problem: Problem, text: str) -> list[bool]:
    """One verdict per reasoning line (up to ``####`` or the end): is every line so far a valid
    step?

    A line is valid when its arithmetic is right and it moves the solution on: a product of the
    problem not computed yet, or the running total plus or minus a term not used yet. After the
    first invalid line all are invalid, since they build on it.
    """
    left, valid, verdicts = _Left(problem), True, []
    for line in text.strip().split("\n"):
        if line.startswith("####"):
            break
        valid = valid and left.take(line)
        verdicts.append(valid)
    return verdicts


class _Left:
    """What is left of a problem while the lines of its solution are read."""

    def __init__(self, problem: Problem):
        self.total = problem.start
        self.plain = [t for t in problem.terms if t.b == 1]
        self.products = [t for t in problem.terms if t.b > 1]  # neither added nor taken away yet
        self.computed = collections.Counter()  # lines of those products, by factors

    def take(self, line: str) -> bool:
        """Whether a line is a valid next step; a valid one is taken off what is left."""
        read = _read_line(line)
        if read is None:
            return False
        a, op, b, result = read
        if op == "*":
            return self._multiply(a, b, result)
        return self._add(a, 1 if op == "+" else -1, b, result)

    def _multiply(self, a: int, b: int, result: int) -> bool:
        # +3*7 and -3*7 share the line 3*7=21: which of them it was shows when it is added or taken
        # away.
        factors = _factors(a, b)
        asked = sum(_factors(t.a, t.b) == factors for t in self.products)
        valid = result == a * b and self.computed[factors] < asked
        self.computed[factors] += valid
        return valid

    def _add(self, total: int, sign: int, value: int, result: int) -> bool:
        computed = [t for t in self.products if self.computed[_factors(t.a, t.b)]]
        matching = [t for t in self.plain + computed if (t.sign, t.value) == (sign, value)]
        if not matching or total != self.total or result != total + sign * value:
            return False
        term = matching[0]
        if term.b == 1:
            self.plain.remove(term)
        else:
            self.products.remove(term)
            self.computed[_factors(term.a, term.b)] -= 1
        self.total = result
        return True


def _factors(a: int, b: int) -> tuple[int, int]:
    return min(a, b), max(a, b)


def is_true(line: str) -> bool:
    """Whether the line's own arithmetic holds; ``#### 63`` and other lines without any are true."""
    read = _read_line(line)
    if read is None:
        return True
    a, op, b, result = read
    return result == {"+": a + b, "-": a - b, "*": a * b}[op]
