"""Word problems over small integers, with exact solutions, an exact step checker and disjoint
splits.

A problem is a start value and a list of terms, each ``+-n`` or ``+-a*b``; every running total stays
in 0..199. Its *number of operations* counts every sum and product, so ``45-12+3*7`` has three. One
reasoning line is one operation::

    Q: Tom has 45 apples. Tom gives 12 to Ann. Then Tom buys 3 bags of 7. How many apples does Tom
    have now? 45-12=33 3*7=21 33+21=54
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

MAX_TOTAL = 199
MAX_OPERATIONS = 6
MAX_REPEATS = 10_000  # draws without a new problem before a split counts as exhausted

PRONOUNS = {
    name: pronoun
    for pronoun, names in {
        "He": "Tom Ben Sam Leo Max Dan Raj Omar John",
        "She": "Ann Mia Eva Zoe Amy Kim Lin Ida Mary",
    }.items()
    for name in names.split()
}
NAMES = list(PRONOUNS)
ITEMS = "apples books coins cards pens eggs stamps shells cups balls marbles dollars plums beads keys toys".split()
# of problems whose names and items are made up, so that a reader's own words work too
INVENTED_SHARE = 0.1

# {p} person, {q} another person, {i} items, {n} number, {a} groups of {b}.
START = [
    "{p} has {n} {i}.",
    "{p} starts with {n} {i}.",
    "There are {n} {i} in the box of {p}.",
    "One day {p} counts {n} {i}.",
]
GAIN = [
    "{p} buys {n} more.",
    "{p} finds {n} more {i}.",
    "{p} gets {n} from {q}.",
    "{q} gives {n} to {p}.",
    "{p} wins {n} {i}.",
    "{p} picks {n}.",
    "{p} earns {n} more.",
    "{p} adds {n}.",
]
# "{p} gives {n} to {q}" is left out: only the order of two names would tell it from a gain, and
# models of this size read it as one in every chain, an error that no vote can correct and that is
# no matter of reasoning.
LOSS = [
    "{p} loses {n}.",
    "{p} sells {n} {i}.",
    "{q} takes {n} from {p}.",
    "{p} uses {n} of them.",
    "{p} eats {n}.",
    "{p} spends {n} {i}.",
    "{p} breaks {n} of them.",
]
GAIN_GROUPS = [
    "{p} buys {a} bags of {b}.",
    "{p} gets {a} boxes with {b} each.",
    "{a} friends give {b} each to {p}.",
    "{p} finds {a} packs of {b} {i}.",
    "{p} earns {b} a day for {a} days.",
]
LOSS_GROUPS = [
    "{p} sells {a} bags of {b}.",
    "{p} gives {a} friends {b} each.",
    "{p} loses {a} packs of {b} {i}.",
    "{q} takes {a} boxes with {b} each.",
    "{p} uses {b} a day for {a} days.",
]
QUESTION = [
    "How many {i} does {p} have now?",
    "How many {i} are left?",
    "How many {i} does {p} have in total?",
    "What is the number of {i} that {p} has at the end?",
]


class Term(NamedTuple):
    """``sign * a * b``; a plain number has ``b == 1``."""

    sign: int
    a: int
    b: int = 1

    @property
    def value(self) -> int:
        return self.a * self.b

    def __str__(self) -> str:
        return ("+" if self.sign > 0 else "-") + (
            f"{self.a}*{self.b}" if self.b > 1 else f"{self.a}"
        )


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
    """``train`` (80%), ``validation`` (10%) or ``test`` (10%), by a hash of the expression alone.
    """
    bucket = hashlib.sha256(expression.encode()).digest()[0] * 10 // 256
    return {8: "validation", 9: "test"}.get(bucket, "train")


def sample_expression(
    rng: np.random.Generator, num_operations: int
) -> tuple[int, tuple[Term, ...]]:
    """A start value (5-60) and terms (+-2..40, or +-a*b with a, b in 2..9) with every running total
    in 0..199.
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

    person, other = (NAMES[i] for i in rng.choice(len(NAMES), size=2, replace=False))
    item, pronoun = pick(ITEMS), PRONOUNS[person]
    if rng.random() < INVENTED_SHARE:
        person, other, item = (
            _invent(rng).capitalize(),
            _invent(rng).capitalize(),
            _invent(rng) + "s",
        )
    words = {"p": person, "q": other, "i": item}
    sentences = [pick(START).format(n=start, **words)]
    for term in terms:
        if term.b > 1:
            sentence = pick(GAIN_GROUPS if term.sign > 0 else LOSS_GROUPS).format(
                a=term.a, b=term.b, **words
            )
        else:
            sentence = pick(GAIN if term.sign > 0 else LOSS).format(n=term.a, **words)
        then = rng.random() < 0.2
        if sentence.startswith(person) and rng.random() < 0.3:
            sentence = (pronoun.lower() if then else pronoun) + sentence.removeprefix(person)
        sentences.append(f"Then {sentence}" if then else sentence)
    sentences.append(pick(QUESTION).format(**words))
    return " ".join(sentences)


def _invent(rng: np.random.Generator) -> str:
    """A pronounceable word of two or three syllables."""
    pairs = rng.integers((15, 5), size=(int(rng.integers(2, 4)), 2))
    return "".join("bcdfgklmnprstvz"[c] + "aeiou"[v] for c, v in pairs)


def sample_problem(
    rng: np.random.Generator, num_operations: int, split: str = "train", as_equation: bool = False
) -> Problem:
    """A problem of ``split`` with ``num_operations`` operations, worded, or bare as in ``What is
    45-12+3*7?``.
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
    """``n`` different problems of ``split``, the numbers of operations in turn, so that each is
    equally frequent.

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
                f"{n} different problems of split {split!r}: only {len(found)} were found before those of "
                f"{num_operations} operation(s) ran out; ask for fewer or for more operations"
            )
        found.setdefault(problem.expression, problem)
    return list(found.values())


def solve(problem: Problem, rng: np.random.Generator | None = None) -> list[str]:
    """The reasoning lines, in the question's order, or in a random order of the terms if ``rng`` is
    given.

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
    """n different training problems of 1 to 6 operations with their reasoning lines, half of them
    in a random order of the terms.

    What a model may be shown where worked solutions are scarce.
    """
    rng = np.random.default_rng([seed, n])
    found = problems("train", n, seed, operations=tuple(range(1, MAX_OPERATIONS + 1)))
    return [(problem, solve(problem, rng if rng.random() < 0.5 else None)) for problem in found]


def drill(rng: np.random.Generator) -> tuple[str, str]:
    """A question ``What is 145-38?`` of one operation, and the line that answers it; never one of
    the held-out problems.
    """
    while True:
        if rng.random() < 0.15:
            a, b = rng.integers(2, 10, size=2)
            line, result = f"{a}*{b}", a * b
        else:
            total, value, sign = (
                rng.integers(0, MAX_TOTAL + 1),
                rng.integers(2, 82),
                rng.choice([-1, 1]),
            )
            line, result = f"{total}{'+' if sign > 0 else '-'}{value}", total + sign * value
        if 0 <= result <= MAX_TOTAL and split_of(line) == "train":
            return f"What is {line}?", f"{line}={result}"


def _factors(term: Term) -> tuple[int, ...]:
    return tuple(sorted((term.a, term.b)))


_LINE = re.compile(r"(\d{1,6})([-+*])(\d{1,6})=(-?\d{1,6})")


def check_steps(problem: Problem, text: str) -> list[bool]:
    """One verdict per reasoning line (up to ``####`` or the end): is every line so far a valid
    step?

    A line is valid when its arithmetic is right and it moves the solution on: a product of the
    problem not computed yet, or the running total plus or minus a term not used yet. After the
    first invalid line all are invalid, since they build on it.
    """
    products = [t for t in problem.terms if t.b > 1]  # neither added nor taken away yet
    computed = collections.Counter()  # of their lines, by factors
    plain = [t for t in problem.terms if t.b == 1]
    total, valid, verdicts = problem.start, True, []
    for line in text.strip().split("\n"):
        if line.startswith("####"):
            break
        match = _LINE.fullmatch(line.strip())
        valid = valid and match is not None
        if valid:
            a, op, b, result = int(match[1]), match[2], int(match[3]), int(match[4])
            if op == "*":
                # +3*7 and -3*7 share the line 3*7=21: which of them it was shows when it is added
                # or taken away.
                factors = _factors(Term(1, a, b))
                valid = result == a * b and computed[factors] < sum(
                    _factors(t) == factors for t in products
                )
                computed[factors] += valid
            else:
                sign = 1 if op == "+" else -1
                ready = plain + [t for t in products if computed[_factors(t)]]
                term = next((t for t in ready if (t.sign, t.value) == (sign, b)), None)
                valid = term is not None and a == total and result == a + sign * b
                if valid:
                    (plain if term.b == 1 else products).remove(term)
                    computed[_factors(term)] -= term.b > 1
                    total = result
        verdicts.append(valid)
    return verdicts


def is_true(line: str) -> bool:
    """Whether the line's own arithmetic holds; a line that states none, such as ``#### 63``, states
    nothing false.
    """
    match = _LINE.fullmatch(line.strip())
    if not match:
        return True
    a, op, b, result = int(match[1]), match[2], int(match[3]), int(match[4])
    return result == (a * b if op == "*" else a + b if op == "+" else a - b)
