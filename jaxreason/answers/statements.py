r"""The answer that a statement begins with: what stands behind "The answer is", in a sentence or a
line.

A statement may hold a number, several answers ("10 or 12", "2 hours and 30 minutes"), a formula, a
pair, a letter of a choice or a word. `extract` finds the statements of a text.
"""

import re
from typing import NamedTuple

from jaxreason.answers import choices
from jaxreason.answers.alternatives import CLAUSE_END, OPERATOR, read_row
from jaxreason.answers.canonical import NUMBER, UNIT, WORD, canonical, is_sum, number
from jaxreason.answers.conjunctions import DOUBT, JOINT, doubted_rest, is_doubt
from jaxreason.answers.exact import evaluate
from jaxreason.answers.notation import plain

_PREAMBLE = re.compile(
    r"(?:[\s:=({\"'_*]|(?:about|approximately|roughly|around|exactly|simply|just|only|either|both|"
    r"between|from|one of|therefore|thus|now|equal to|a total of|[A-Za-z]\s?=)(?=[\s\d-]))*",
    re.IGNORECASE,
)
_WORDS_BEFORE = re.compile(
    r"(?:(?:about|approximately|exactly|simply|therefore|thus|now)\s)*", re.IGNORECASE
)
DATE = re.compile(
    r"(?:Jan|Febr?|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec)[a-z]*\.?"
    r"\s\d{1,2}(?!\d)(?:st|nd|rd|th)?(?:,?\s\d{4})?(?!\S\d)"
)
_MATHS = re.compile(r"\s*(?:\$\$?([^$]+[^$\s])\$\$?(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\])", re.DOTALL)
_SENTENCE = re.compile(r"[A-Za-z]{3,} [a-z]{2,}")


class Statement(NamedTuple):
    answer: str | None  # canonical
    sure: bool  # whether it is an answer, and not perhaps the beginning of a sentence


def read_statement(text: str, header: bool = False) -> Statement:
    """The answer that opens a text.

    Args:
      text: what stands behind the words that announce an answer.
      header: these were a header, "Answer:". There the whole reasoning may follow, so a number has
        to stand alone, with a short unit.
    """
    text = re.sub(r"^\s*\n[-•>]\s+", "", text).lstrip(" \n\t:=*_\"'`#")
    maths = _MATHS.match(text)
    if maths and not _SENTENCE.search(maths[0]):
        return Statement(_formulas(text, maths), sure=True)
    text = re.sub(rf"\n\s*(?={DOUBT})", " ", text, count=1, flags=re.IGNORECASE)
    line = plain(text.partition("\n")[0]).strip()
    structure = _bracketed(line) or _bracketed_sum(line[_WORDS_BEFORE.match(line).end() :])
    if structure:
        return Statement(canonical(structure), sure=True)
    first = NUMBER.match(line, _PREAMBLE.match(line).end())
    if first:
        answer = read_row(line, first) or _number_or_sum(line, first, header)
        return Statement(answer, sure=answer is not None)
    return _read_words(line)


def _read_words(line: str) -> Statement:
    """The answer that opens a line without a number: letters, a date, a formula or a word."""
    for pattern in (choices.SEVERAL, DATE):
        match = pattern.match(line)
        if match:
            return Statement(canonical(match[0] + doubted_rest(line[match.end() :])), sure=True)
    choice = choices.OPENING.match(line)
    if choice:
        return Statement(choices.letter(choice), sure=True)
    clause = CLAUSE_END.split(line, maxsplit=1)[0]
    if re.search(r"[-+*/^\\<>]", clause) and not WORD.search(clause):
        return Statement(canonical(clause), sure=True)  # x+1
    if len(clause.split()) != 1:
        return Statement(None, sure=False)
    return Statement(canonical(clause + doubted_rest(line[len(clause) :])), sure=False)


def _bracketed(line: str) -> str | None:
    r"""The pair, set or union of intervals that opens a line: "(3, 4)", ``[1, 2) \cup (5,
    \infty)``.
    """
    depth, end = 0, 0
    for token in re.finditer(r"\\?[([{]|\\?[)\]}]|\\(?:cup|cap)(?![A-Za-z])|\bU\b|,|[^\s,]", line):
        opens, closes = token[0][-1] in "([{", token[0][-1] in ")]}"
        if depth == 0 and not opens and token[0] not in (r"\cup", r"\cap", "U"):
            break
        depth += opens - closes
        if depth == 0 and closes:
            end = token.end()
    inside = line[:end]
    return inside if "," in inside and not WORD.search(inside) else None


def _bracketed_sum(line: str) -> str | None:
    """The sum with brackets that opens a line, with its result.

    Such as "(5 * 4) + (10 - 6) = 24" and "5 + (3 * 2)".
    """
    terms = re.match(r"[\d\s.+\-*/^()=]*", line)[0]
    goes_on = re.match(r"[A-Za-z\\]", line[len(terms) :]) and not terms[-1:].isspace()
    terms = terms.rstrip(" .=+-*/(")
    is_aside = re.search(r"\d\s+\(", terms)  # 12 (10 + 2)
    has_brackets = re.search(r"\(.*[-+*/^].*\)", terms)
    if goes_on or is_aside or not has_brackets:
        return None
    sides = terms.split("=")
    return terms if all(evaluate(side.strip()) is not None for side in sides) else None


def _number_or_sum(line: str, first: re.Match, header: bool) -> str | None:
    """What the number `first` begins: itself, the result of a sum, an expression or an equation."""
    clause = line[: first.start()] + CLAUSE_END.split(line[first.start() :], maxsplit=1)[0]
    follows = clause[first.end() :]
    sides = clause[first.start() :].split("=")
    if header and (len(sides) > 1 or len(follows.split()) > 3):
        return None
    if len(sides) > 1 and not all(map(is_sum, sides[:-1])):
        return canonical(clause)  # 3x + 4y = 0
    numbers = [list(NUMBER.finditer(side)) for side in sides]
    single = [side[0] for side in numbers if len(side) == 1]
    if len(sides) > 1 and single:
        return number(single[-1])  # 80 - 25 = 55
    if OPERATOR.match(follows) and not UNIT.match(follows):
        return canonical(clause)  # an expression is not its first number
    return number(first)


def _formulas(text: str, first: re.Match) -> str | None:
    """The formula that opens a text, with those that are joined to it: "$10$ or $12$"."""
    row, last = [first[first.lastindex]], first
    while True:
        joint = JOINT.match(text, last.end())
        if not joint[0].strip():
            break
        formula = _MATHS.match(text, joint.end())
        if formula:
            row.append(formula[formula.lastindex])
            last = formula
            continue
        last = NUMBER.match(text, joint.end()) if is_doubt(joint[0]) else None
        if last is None:
            break
        row.append(last[0])
    return canonical(row[0] if len(row) == 1 else ", ".join(map(plain, row)))
