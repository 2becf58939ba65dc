"""The last number of a text that states no answer, and the numbers that a text denies."""

import re

from jaxreason.answers.alternatives import COMPOUND, UNITS, read_row
from jaxreason.answers.canonical import NUMBER, canonical, number
from jaxreason.answers.notation import DECIMAL

_NUMERAL = rf"-?{DECIMAL}(?:\s?/\s?{DECIMAL})?"
_NEGATION = (
    r"(?:\b(?:not|never|cannot|nor|rather than|instead of|"
    r"(?:anything|all|everything) (?:but|except)|other than|unlikely to|"
    r"no es|nicht|pas|não é|non è|не)"
    r"|n't|不是|\\neq?(?![A-Za-z])|!=)"
)
_DENIED = re.compile(  # what is said not to be the answer
    rf"{_NEGATION}"  # "is not 12 or 13"
    r"(?:\s(?:think|believe|say|that|the answer|it|is|be|equal(?: to)?|necessarily|exactly|just|"
    r"simply|only))*"
    rf"\s*[$(]*\s*{_NUMERAL}(?:\s(?:or|nor|and)\s{_NUMERAL})*"
    rf"|{_NUMERAL}\D{{0,3}}(?:ではありません|ではない|아닙니다)"
    rf"|{_NUMERAL}(?:\s[a-z]+)?\s(?:is|was|be)(?:n't|\snot)\s"  # "12 is not the answer"
    r"(?:the|my|a|correct|right|it)\b",
    re.IGNORECASE,
)
_EXPONENT = re.compile(r"\^\s?\{?\s?-?$")
_RUN = re.compile(r"\d[\d.,:]*\d", re.ASCII)  # digits, dots and commas: one number, or none
_STRUCTURE = re.compile(  # a matrix, or a point at the end of its sentence
    r"\\begin\{([pb]?matrix)\}.{1,300}?\\end\{\1\}"
    r"|\((?:-?[\d./]+,\s?)+-?[\d./]+\)(?=\s*(?:[.$]|$))",
    re.DOTALL,
)


def denied_numbers(text: str) -> set[str]:
    """The numbers, as canonical strings, that a text says are not the answer."""
    return {number(found) for denial in _DENIED.findall(text) for found in NUMBER.finditer(denial)}


def last_number(text: str) -> str | None:
    """The last number of a text that is not denied, as a canonical string; None without one.

    Where that number belongs to a pair, a matrix or a row of answers ("10 or 12"), all of it.
    """
    denied = denied_numbers(text)
    text = _DENIED.sub(lambda found: " " * len(found[0]), text)
    numbers = [n for n in NUMBER.finditer(text) if not _EXPONENT.search(text, 0, n.start())]
    if denied:
        numbers = [n for n in numbers if number(n) not in denied]
    if not numbers:
        return None
    last = numbers[-1]
    structure = _structure_around(text, last)
    if structure:
        return canonical(structure)
    row = _row_ending(text, numbers[-2], last) if len(numbers) > 1 else None
    return row or number(last)


def _structure_around(text: str, last: re.Match) -> str | None:
    """What the last number is only a part of."""
    for structure in _STRUCTURE.finditer(text):
        if structure.start() < last.start() < structure.end():
            return structure[0]  # "the point is (3, 4)"
    for run in _RUN.finditer(text):
        if run.start() <= last.start() < run.end() and not NUMBER.fullmatch(run[0]):
            return run[0]  # 12,34,567 and 1.2.3 are no numbers of ours
    return None


def _row_ending(text: str, previous: re.Match, last: re.Match) -> str | None:
    """The row of answers that the last two numbers make, None where they are apart."""
    compound = COMPOUND.match(text, previous.end())
    between = text[previous.end() : last.start()]
    mixed = between == " remainder " or (between == " and " and last["bottom"])  # 3 and 1/2
    if mixed or (compound and compound.end() == last.start()):
        return canonical(text[previous.start() : UNITS.match(text, last.end()).end()])
    return read_row(text, previous, doubted=True)
