r"""The answer that a statement begins with: what stands behind "The answer is", in a sentence or a
line.

A statement may hold a number, several answers ("10 or 12", "2 hours and 30 minutes"), a formula, a
pair, a letter of a choice or a word. `extract` finds the statements of a text.
"""

import re
from typing import NamedTuple

from jaxreason.answers.exact import evaluate
from jaxreason.answers.notation import DECIMAL, plain
from jaxreason.answers.values import NUMBER, UNIT, WORD, canonical, is_sum, number

_PREAMBLE = re.compile(
    r"(?:[\s:=({\"'_*]|(?:about|approximately|roughly|around|exactly|simply|just|only|either|both|"
    r"between|from|one of|therefore|thus|now|equal to|a total of|[A-Za-z]\s?=)(?=[\s\d-]))*",
    re.IGNORECASE,
)
_WORDS_BEFORE = re.compile(
    r"(?:(?:about|approximately|exactly|simply|therefore|thus|now)\s)*", re.IGNORECASE
)
CHOICE = re.compile(
    r"[\s*_:]*(?i:(?:therefore|thus|clearly|the)\s)*(?i:(?:option|choice|letter)\s+)?"
    r"(?:\(([A-Ja-j])\)|([A-J])\s*(?=[).:,*_]|$)|((?i:yes|no|true|false))\b(?=\s*(?:[.,;:!*]|$)))"
)
_LETTER = r"(?:\([A-J]\)|[A-HJ]\b|I(?=[\s.]*$))"
LETTERS = re.compile(  # (A) or (B)
    rf"\s*{_LETTER}(?:\s*[(]?(?:[,/&]|\b(?:or|and|but|maybe|perhaps|possibly)\b)\s*)+{_LETTER}"
)
DATE = re.compile(
    r"(?:Jan|Febr?|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec)[a-z]*\.?"
    r"\s\d{1,2}(?!\d)(?:st|nd|rd|th)?(?:,?\s\d{4})?(?!\S\d)"
)
_MATHS = re.compile(r"\s*(?:\$\$?([^$]+[^$\s])\$\$?(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\])", re.DOTALL)
_CLAUSE = re.compile(
    r",\s|;|(?<![-+*/=^\s])\s\((?![a-z]\s?[-+*/])|[.!?](?:\s(?!=)|$)|"
    r"\s(?:because|since|as|where|when|if|for|and|or|so|with|given|which)\s"
)
_OPERATOR = re.compile(  # behind the 3 of 3x+1, 3:1, 3 < x, 3 - 1, 3 000
    r"[A-Za-z(^_\\<>]|:\d|\s:\s\d|\s?[<>]|\s?[-+*/]\s?(?:[\d(\\]|[a-z]\b)|\s\d|\.?\d"
    r"|\s(?:pi|sqrt|dozens?|halves|thirds|tenths|squared|cubed|factorial|remainder|over|by|less than)\b"
    r"|\s\\[a-z]|\s\([a-z]\s?[-+*/]"
)

# Several answers in a row: "10 or 12", "10, maybe 11", "5 apples and 7", "2 hours and 30 minutes".
# In other scripts no blanks part the words: 10或12, 10 или 12.
_FOREIGN_OR = r"或者?|还是|또는|혹은|または|あるいは|أو"
DOUBT = (
    r"(?:\b(?:or|maybe|perhaps|possibly|alternatively|otherwise|could|might|oder|ou|o|или)\b"
    rf"|{_FOREIGN_OR})"
)
JOINT = re.compile(
    rf"[\s*_]*(?:[,;&|]|[.(?]\s*(?={DOUBT}))?\s*"
    rf"(?P<words>(?:(?:\b(?:and/or|and|to|but|vs\.?|versus|else|also|even|then|is|be|it|it's)\b|{DOUBT})[,\s]*)*)",
    re.IGNORECASE,
)
_MEASURE = (
    r"(?:hours?|hrs?|h|minutes?|mins?|seconds?|secs?|s|days?|weeks?|months?|years?|feet|foot|ft|"
    r"inch(?:es)?|in|yards?|miles?|km|m|cm|mm|kg|g|pounds?|lbs?|ounces?|oz|dollars?|cents?|euros?|"
    r"quarts?|pints?|cups?|gallons?)\b\.?"
)
_COMPOUND = re.compile(rf"\s?{_MEASURE},?\s(?:and\s)?(?=\d+\s?{_MEASURE})", re.IGNORECASE)
_ASSIGNED = re.compile(r"(?:[A-Za-z]\s?=\s?)?")  # the second x of "x = 1 or x = 2"
_UNITS = re.compile(
    rf"(?:\s?-?(?!(?:and|to|is|so|as|if|but|because|since|for|with|which|than|when|where)\b|{DOUBT})"
    rf"(?:(?!{_FOREIGN_OR})[^\W\d_])+\.?(?:\s?\^\{{?[23]\}}?)?){{0,2}}",
    re.IGNORECASE,
)
_ENDED = re.compile(rf"[\s*_)\"'}}]*(?:[.,;:!?)\]✓✔✅]|$)|{_CLAUSE.pattern}")
_AND_A_HALF = re.compile(
    r"(?:\sand|\s?-)?\s(?:an?|one|two|three|four|five)[\s-]"
    r"(?:half|halves|thirds?|quarters?|fourths?|fifths?|tenths?)\b",
    re.IGNORECASE,
)

_NUMERAL = rf"-?{DECIMAL}(?:\s?/\s?{DECIMAL})?"
_DENIED = re.compile(  # what is said not to be the answer: "is not 12", "12 is not the answer"
    r"(?:\b(?:not|never|cannot|nor|rather than|instead of|(?:anything|all|everything) (?:but|except)|"
    r"other than|unlikely to|no es|nicht|pas|não é|non è|не)|n't|不是|\\neq?(?![A-Za-z])|!=)"
    r"(?:\s(?:think|believe|say|that|the answer|it|is|be|equal(?: to)?|necessarily|exactly|just|simply|only))*"
    rf"\s*[$(]*\s*{_NUMERAL}(?:\s(?:or|nor|and)\s{_NUMERAL})*"
    rf"|{_NUMERAL}\D{{0,3}}(?:ではありません|ではない|아닙니다)"
    rf"|{_NUMERAL}(?:\s[a-z]+)?\s(?:is|was|be)(?:n't|\snot)\s(?:the|my|a|correct|right|it)\b",
    re.IGNORECASE,
)
_EXPONENT = re.compile(r"\^\s?\{?\s?-?$")
_RUN = re.compile(r"\d[\d.,:]*\d", re.ASCII)  # digits, dots and commas: one number, or none
_NUMBER_WORD = re.compile(
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|"
    r"sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)\b",
    re.IGNORECASE,
)


_STRUCTURE = re.compile(
    r"\\begin\{([pb]?matrix)\}.{1,300}?\\end\{\1\}|\((?:-?[\d./]+,\s?)+-?[\d./]+\)(?=\s*(?:[.$]|$))",
    re.DOTALL,
)


class Statement(NamedTuple):
    answer: str | None  # canonical
    sure: bool  # whether it is an answer, and not perhaps the beginning of a sentence


def read_statement(text: str, header: bool = False) -> Statement:
    """The answer that opens a text.

    header: the text stands behind a header, "Answer:". There the whole reasoning may follow, so a
    number has to stand alone, with a short unit.
    """
    text = re.sub(r"^\s*\n[-•>]\s+", "", text).lstrip(" \n\t:=*_\"'`#")
    if (maths := _MATHS.match(text)) and not re.search(r"[A-Za-z]{3,} [a-z]{2,}", maths[0]):
        return Statement(_formulas(text, maths), sure=True)
    text = re.sub(rf"\n\s*(?={DOUBT})", " ", text, count=1, flags=re.IGNORECASE)
    line = plain(text.partition("\n")[0]).strip()
    if bracketed := _bracketed(line):
        return Statement(canonical(bracketed), sure=True)
    if in_brackets := _bracketed_sum(line[_WORDS_BEFORE.match(line).end() :]):
        return Statement(canonical(in_brackets), sure=True)
    if first := NUMBER.match(line, _PREAMBLE.match(line).end()):
        answer = read_row(line, first) or _number_or_sum(line, first, header)
        return Statement(answer, sure=answer is not None)
    clause = _CLAUSE.split(line, maxsplit=1)[0]
    for pattern in (LETTERS, DATE):
        if match := pattern.match(line):
            return Statement(canonical(match[0] + _doubted_rest(line[match.end() :])), sure=True)
    if choice := CHOICE.match(line):
        return Statement(choice[choice.lastindex], sure=True)
    if re.search(r"[-+*/^\\<>]", clause) and not WORD.search(clause):
        return Statement(canonical(clause), sure=True)  # x+1
    if len(clause.split()) != 1:
        return Statement(None, sure=False)
    return Statement(canonical(clause + _doubted_rest(line[len(clause) :])), sure=False)


def _doubted_rest(rest: str) -> str:
    """What a doubt adds to a word: " or odd" of "even or odd"."""
    return re.match(rf"(?:,?\s*{DOUBT}\s[\w\s]+)?", rest, re.IGNORECASE)[0]


def _bracketed_sum(line: str) -> str | None:
    """The sum with brackets that opens a line, with its result: "(5 * 4) + (10 - 6) = 24", "5 + (3
    * 2)".
    """
    terms = re.match(r"[\d\s.+\-*/^()=]*", line)[0]
    is_whole = not re.match(r"[A-Za-z\\]", line[len(terms) :]) or terms[-1:].isspace()
    terms = terms.rstrip(" .=+-*/(")
    sides = terms.split("=")
    sums = all(evaluate(side.strip()) is not None for side in sides)
    is_aside = re.search(r"\d\s+\(", terms)  # 12 (10 + 2)
    return (
        terms
        if is_whole and sums and not is_aside and re.search(r"\(.*[-+*/^].*\)", terms)
        else None
    )


def _number_or_sum(line: str, first: re.Match, header: bool) -> str | None:
    """What the number `first` begins: itself, the result of a sum, an expression or an equation."""
    clause = line[: first.start()] + _CLAUSE.split(line[first.start() :], maxsplit=1)[0]
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
    if _OPERATOR.match(follows) and not UNIT.match(follows):
        return canonical(clause)  # an expression is not its first number
    return number(first)


def read_row(line: str, first: re.Match, doubted: bool = False) -> str | None:
    """The row of answers that the number `first` of a line begins, as one; None where it stands
    alone.

    doubted: only where the line doubts, "10 or 12"; else commas and "and" join numbers, too.
    """
    if half := _AND_A_HALF.match(line, first.end()):
        return None if doubted else canonical(line[first.start() : half.end()])
    parts, doubts, last = [first[0]], False, first
    while True:
        end = _UNITS.match(line, last.end()).end()
        compound = _COMPOUND.match(line, last.end())
        joint = JOINT.match(line, end)
        doubt = re.search(DOUBT, joint["words"], re.IGNORECASE)
        position = compound.end() if compound else _ASSIGNED.match(line, joint.end()).end()
        following = NUMBER.match(line, position)
        if following is None and doubt and (word := _NUMBER_WORD.match(line, position)):
            return canonical(line[first.start() : word.end()])
        if following is None or not (compound or joint[0].strip(" *_")) or (doubted and not doubt):
            break
        ending = _UNITS.match(line, following.end()).end()
        is_last = _ENDED.match(line, ending) and not _OPERATOR.match(line, following.end())
        if not doubt and not is_last:
            break
        doubts = doubts or bool(doubt)
        parts[-1] = line[last.start() : end]
        parts.append(line[following.start() : ending])
        last = following
    if len(parts) == 1:
        return None
    return canonical(" or ".join(parts) if doubts else line[first.start() : ending])


def denied_numbers(text: str) -> set[str]:
    """The numbers that a text says are not the answer."""
    return {number(found) for denial in _DENIED.findall(text) for found in NUMBER.finditer(denial)}


def last_number(text: str) -> str | None:
    """The last number of a text that is not denied; the row, where the text is of two minds."""
    denied = denied_numbers(text)
    text = _DENIED.sub(lambda found: " " * len(found[0]), text)
    numbers = [n for n in NUMBER.finditer(text) if not _EXPONENT.search(text, 0, n.start())]
    numbers = [n for n in numbers if not denied or number(n) not in denied]
    if not numbers:
        return None
    last = numbers[-1]
    for structure in _STRUCTURE.finditer(text):
        if structure.start() < last.start() < structure.end():
            return canonical(structure[0])  # "the point is (3, 4)"
    for run in _RUN.finditer(text):
        if run.start() <= last.start() < run.end() and not NUMBER.fullmatch(run[0]):
            return canonical(run[0])  # 12,34,567 and 1.2.3 are no numbers of ours
    if len(numbers) > 1:
        previous = numbers[-2]
        compound = _COMPOUND.match(text, previous.end())
        between = text[previous.end() : last.start()]
        mixed = between == " remainder " or (between == " and " and last["bottom"])  # 3 and 1/2
        if mixed or (compound and compound.end() == last.start()):
            return canonical(text[previous.start() : _UNITS.match(text, last.end()).end()])
        if row := read_row(text, previous, doubted=True):
            return row
    return number(last)


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


def _formulas(text: str, first: re.Match) -> str | None:
    """The formula that opens a text, with those that are joined to it: "$10$ or $12$"."""
    row, last = [first[first.lastindex]], first
    while (joint := JOINT.match(text, last.end())) and joint[0].strip():
        formula = _MATHS.match(text, joint.end())
        doubt = re.search(DOUBT, joint[0], re.IGNORECASE)
        last = formula or (NUMBER.match(text, joint.end()) if doubt else None)
        if last is None:
            break
        row.append(formula[formula.lastindex] if formula else last[0])
    return canonical(row[0] if len(row) == 1 else ", ".join(map(plain, row)))
