r"""The answer that a text states: the last one, read as a person would read it.

Reading is bounded: markers are found by plain searches from the end and regular expressions see windows of `SPAN`
characters, so a hostile text of 100 kB costs milliseconds.
"""

import heapq
import itertools
import re
from collections.abc import Iterator

from jaxreason.errors import InputError
from jaxreason.notation import DECIMAL, plain, to_ascii
from jaxreason.values import NUMBER, SPAN, UNIT, WORD, canonical, is_sum, number

_TRIES = 16  # statements tried, from the end
_DIGITS = "0123456789"
MARKERS = ("<answer>", "\\boxed", "\\fbox", "\\framebox", "####", "answer", "option", "choice")  # before an answer

_PHRASE = re.compile(
    r"answers?(?:\s?\([^()\n]{0,40}\))?(?:\s(?:to|for|in|of)\b[^.:=\n]{0,80}?)?[\s*_\"'`]{0,6}(?:(?P<header>[:=])|"
    r"(?:is|are|was|equals|(?:would|will|should|must) be)\b)(?!\s+not\b|n't)",
    re.IGNORECASE,
)
_HEADING = re.compile(r"answer(?P<header>[\s*_:]{0,8}\n|\s(?=[-\d$\\(]))", re.IGNORECASE)  # "Final Answer\n"
_PICK = re.compile(r"(?:option|choice)\s(?:is|must be|would be)\b:?", re.IGNORECASE)  # "the correct option is E"
_PREAMBLE = re.compile(
    r"(?:[\s:=({\"'_*]|(?:about|approximately|roughly|around|exactly|simply|just|only|either|both|between|from|one of|"
    r"therefore|thus|now|equal to|a total of|[A-Za-z]\s?=)(?=[\s\d-]))*",
    re.IGNORECASE,
)
_CHOICE = re.compile(
    r"[\s*_:]*(?i:(?:option|choice)\s)?"
    r"(?:\(([A-Ja-j])\)|([A-J])\s?(?=[).:,*_]|$)|((?i:yes|no|true|false))\b(?!\s(?:or|and)\b))"
)
_MATHS = re.compile(r"\s*(?:\$\$?([^$]+[^$\s])\$\$?(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\])", re.DOTALL)
_CLAUSE = re.compile(r",\s|;|\s\(|[.!?](?:\s|$)|\s(?:because|since|as|where|when|if|for|and|or|so|with|given|which)\s")
_OPERATOR = re.compile(r"[A-Za-z(^:_\\<>]|\s?[<>]|\s?[-+*/]\s?[\d(]|\s\d|\.?\d")  # behind the 3 of 3x+1, 3:1, 3 - 1, 3 000

# Several answers in a row: "10 or 12", "10, maybe 11", "2 hours and 30 minutes", "(A) or (B)".
_DOUBT = r"(?:or|maybe|perhaps|possibly|alternatively|otherwise)"
_JOINT = re.compile(
    rf"[\s*_]*(?:[,;&|]|[.(]\s*(?={_DOUBT}\b))?\s*"
    rf"(?P<words>(?:\b(?:and/or|and|to|also|even|then|is|it|it's|{_DOUBT})\b[,\s]*)*)",
    re.IGNORECASE,
)
_MEASURE = (
    r"(?:hours?|hrs?|h|minutes?|mins?|seconds?|secs?|s|days?|weeks?|months?|years?|feet|foot|ft|inch(?:es)?|in|yards?|"
    r"miles?|km|m|cm|mm|kg|g|pounds?|lbs?|ounces?|oz|dollars?|cents?|euros?|quarts?|pints?|cups?|gallons?)\b\.?"
)
_COMPOUND = re.compile(rf"\s?{_MEASURE},?\s(?:and\s)?(?=\d+\s?{_MEASURE})", re.IGNORECASE)
_ASSIGNED = re.compile(r"(?:[A-Za-z]\s?=\s?)?")  # the second x of "x = 1 or x = 2"
_UNITS = re.compile(
    r"(?:\s?-?(?!(?:and|or|to|is|so|as|if|but|maybe|perhaps|possibly|because|since|for|with|which|than|when|where)\b)"
    r"[^\W\d_]+\.?(?:\s?\^\{?[23]\}?)?){0,2}",
    re.IGNORECASE,
)
_ENDED = re.compile(r"[\s*_)\"'}]*(?:[.,;:!?)\]✓✔✅]|$)|" + _CLAUSE.pattern)
_AND_A_HALF = re.compile(
    r"(?:\sand|\s?-)?\s(?:an?|one|two|three|four|five)[\s-](?:half|halves|thirds?|quarters?|fourths?|fifths?|tenths?)\b",
    re.IGNORECASE,
)
_LETTERS = re.compile(r"\s*\(?[A-J]\)?(?:\s*(?:[,/&]|\bor\b|\band\b)\s*\(?[A-J]\)?(?![A-Za-z]))+")
_DATE = re.compile(
    r"(?:Jan|Febr?|Mar|Apr|May|June?|July?|Aug|Sept?|Oct|Nov|Dec)[a-z]*\.?\s\d{1,2}(?:st|nd|rd|th)?(?:,?\s\d{4})?(?!\S\d)"
)
# A statement that begins behind a doubt, "10 or the answer is 12", and boxes in a row, "\boxed{3} and \boxed{4}".
_DOUBTED = re.compile(rf"\b{_DOUBT}\b[,\s]*(?:(?:{_DOUBT}|the|my|is|it|it's|final|correct|right|$)[,\s]*)*$", re.IGNORECASE)
_BOX_BEFORE = re.compile(r"\\f?boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}[\s$]*(?:,|,?\s*\b(?:and|or)\b)[\s$]*$")
# What is said not to be the answer.
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|nor|rather than|instead of|anything but|other than)|n't|\\neq?(?![A-Za-z])|!=)"
    rf"(?:\s(?:be|equal(?: to)?|necessarily|just|simply|only))*\s*[$(]*\s*-?{DECIMAL}(?:\s?/\s?{DECIMAL})?",
    re.IGNORECASE,
)
_EXPONENT = re.compile(r"\^\s?\{?\s?-?$")
_RUN = re.compile(r"\d[\d.,]*\d", re.ASCII)  # digits, dots and commas, which are one number if they are grouped as one


class Answer(str):
    """An answer that was extracted from a text: it is compared, and not read again ("73!" as a text is 73)."""

    __slots__ = ()


def _last_number(text: str) -> str | None:
    """The last number of a text that is not denied; "10 or 12" where the text is of two minds."""
    denied = {number(found) for found in map(NUMBER.search, _DENIED.findall(text)) if found}
    text = _DENIED.sub(lambda found: " " * len(found[0]), text)
    matches = [m for m in NUMBER.finditer(text) if not _EXPONENT.search(text, 0, m.start())]
    matches = [m for m in matches if not denied or number(m) not in denied]
    if not matches:
        return None
    last = matches[-1]
    for run in _RUN.finditer(text):
        if run.start() <= last.start() < run.end() and not NUMBER.fullmatch(run[0]):
            return canonical(run[0])  # 12,34,567 and 1.2.3 are no numbers of ours
    if len(matches) > 1:
        before = matches[-2]
        between = text[before.end() : last.start()]
        compound = _COMPOUND.match(text, before.end())
        if compound and compound.end() == last.start() or between == " and " and last["bottom"]:
            return canonical(text[before.start() : last.end()] + _UNITS.match(text, last.end())[0])
        if doubt := _several(text, before, doubted=True):
            return doubt
    return number(last)


def _several(line: str, first: re.Match, doubted: bool = False) -> str | None:
    """The row of answers that the number `first` of a line begins, as one; None where it stands alone.

    doubted: only where the line doubts, "10 or 12"; else commas and "and" join, too.
    """
    if half := _AND_A_HALF.match(line, first.end()):
        return None if doubted else canonical(line[first.start() : half.end()])
    parts, doubts, last = [first[0]], False, first
    while True:
        end = _UNITS.match(line, last.end()).end()
        compound = _COMPOUND.match(line, last.end())
        joint = _JOINT.match(line, end)
        doubt = re.search(_DOUBT, joint["words"], re.IGNORECASE)
        position = compound.end() if compound else _ASSIGNED.match(line, joint.end()).end()
        following = NUMBER.match(line, position)
        apart = compound or joint["words"] or joint[0].strip(" *_")
        if following is None or not apart or (doubted and not doubt):
            break
        ending = _UNITS.match(line, following.end()).end()
        if not doubt and (not _ENDED.match(line, ending) or _OPERATOR.match(line, following.end())):
            break
        doubts = doubts or bool(doubt)
        parts[-1] = line[last.start() : end]
        parts.append(line[following.start() : ending])
        last = following
    if len(parts) == 1:
        return None
    return canonical(" or ".join(parts) if doubts else line[first.start() : last.end()] + parts[-1][len(last[0]) :])


def _stated(text: str, header: bool = False) -> tuple[str | None, bool]:
    """The answer that opens `text`, and whether it is sure to be one; after a header ("Answer:") may come the
    whole reasoning, so there a number has to stand alone, with a short unit."""
    text = text.lstrip(" \n\t:=*_\"'`#")
    if (maths := _MATHS.match(text)) and not re.search(r"[A-Za-z]{3,} [a-z]{2,}", maths[0]):
        return _maths_in_a_row(text, maths), True
    text = re.sub(rf"\n\s*(?={_DOUBT}\b)", " ", text, count=1, flags=re.IGNORECASE)
    line = plain(text.partition("\n")[0]).strip()
    clause = _CLAUSE.split(line, maxsplit=1)[0]
    if bracketed := _bracketed(line):
        return canonical(bracketed), True
    if match := NUMBER.match(line, _PREAMBLE.match(line).end()):
        if several := _several(line, match):
            return several, True
        clause = line[: match.start()] + _CLAUSE.split(line[match.start() :], maxsplit=1)[0]
        follows = clause[match.end() :]
        sides = clause[match.start() :].split("=")
        numbers = [list(NUMBER.finditer(side)) for side in sides]
        single = [side[0] for side in numbers if len(side) == 1]
        if header and (len(sides) > 1 or len(follows.split()) > 3):
            return None, False
        if len(sides) > 1 and not all(map(is_sum, sides[:-1])):
            return canonical(clause), True  # 3x + 4y = 0
        if len(sides) > 1 and single:
            return number(single[-1]), True  # 80 - 25 = 55
        if _OPERATOR.match(follows) and not UNIT.match(follows):
            return canonical(clause), True  # an expression is not its first number
        return number(match), True
    if letters := _LETTERS.match(line):
        return canonical(letters[0]), True
    if choice := _CHOICE.match(line):
        return choice[choice.lastindex], True
    if date := _DATE.match(line):
        return canonical(date[0]), True
    if re.search(r"[-+*/^\\<>]", clause) and not WORD.search(clause):
        return canonical(clause), True  # x+1
    return canonical(clause) if len(clause.split()) == 1 else None, False


def _bracketed(line: str) -> str | None:
    r"""The pair, set or union of intervals that opens a line: "(3, 4)", ``[1, 2) \cup (5, \infty)``."""
    depth, end = 0, 0
    for bracket in re.finditer(r"\\?[([{]|\\?[)\]}]|\\(?:cup|cap)(?![A-Za-z])|\bU\b|,|[^\s,]", line):
        if depth == 0 and bracket[0][-1] not in "([{" and bracket[0] not in ("\\cup", "\\cap", "U"):
            break
        depth += (bracket[0][-1] in "([{") - (bracket[0][-1] in ")]}")
        if depth == 0 and bracket[0][-1] in ")]}":
            end = bracket.end()
    inside = line[:end]
    return inside if "," in inside and not WORD.search(inside) else None


def _maths_in_a_row(text: str, maths: re.Match) -> str | None:
    """The formula that opens a text, with those that are joined to it: "$10$ or $12$"."""
    row = [maths[maths.lastindex]]
    while (joint := _JOINT.match(text, maths.end())) and joint[0].strip():
        following = _MATHS.match(text, joint.end()) or NUMBER.match(text, joint.end())
        if following is None or (following.re is NUMBER and not re.search(_DOUBT, joint[0], re.IGNORECASE)):
            break
        maths = following
        row.append(maths[maths.lastindex] if maths.re is _MATHS else maths[0])
    return canonical(row[0] if len(row) == 1 else ", ".join(map(plain, row)))


def _boxed(window: str, before: str) -> str | None:
    r"""What stands in the box that opens a window: `\boxed{...}` with nested braces, or MATH's `\boxed 5`."""
    inner = re.sub(r"^\\(?:boxed|fbox|framebox)\s*", "", window)
    if inner[:1] != "{":
        token = re.match(r"[^\s${}]+", inner)
        return canonical(token[0]) if token else None
    depth = 0
    for brace in re.finditer(r"\\.|[{}]", inner):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            break
    else:
        return None
    content, after = inner[1 : brace.start()], plain(inner[brace.end() :])
    if content.strip() and (another := _BOX_BEFORE.search(before)):
        return canonical(f"{another[1]} , {content}")
    joint = _JOINT.match(after)
    if re.search(_DOUBT, joint["words"], re.IGNORECASE) and (other := NUMBER.match(after, joint.end())):
        return canonical(f"{content} or {other[0]}")
    return canonical(content)


def _phrase(window: str, final: bool) -> tuple[str | None, bool]:
    """The answer behind the "answer" that opens a window; `final` says that "final" stood before it."""
    match = _PHRASE.match(window) or (_HEADING.match(window) if final else None)
    if match is None:
        return None, False
    rest, header = window[match.end() :], match["header"] is not None
    answer, sure = _stated(rest, header)
    if answer is None and not header:  # "the answer is that he has 42 apples"
        return _last_number(re.split(r"[.!?]\s|\n", plain(rest).strip(), maxsplit=1)[0]), True
    return answer, sure


def _pick(window: str) -> tuple[str | None, bool]:
    """The letter behind "the correct option is"."""
    match = _PICK.match(window)
    line = plain(window[match.end() :]).lstrip(" :*_\"'").partition("\n")[0] if match else ""
    choice = _LETTERS.match(line) or _CHOICE.match(line)
    return (canonical(choice[0]), True) if choice and not choice[0].strip().islower() else (None, False)


def _tagged(window: str) -> str | None:
    """What stands between ``<answer>`` and ``</answer>``."""
    content = re.sub(r"^<answer>\s*", "", window).partition("</answer>")[0]
    answer, sure = _stated(content)
    return answer if sure else canonical(content)


def _backwards(text: str, marker: str) -> Iterator[tuple[int, str]]:
    position = text.rfind(marker)
    while position >= 0:
        yield position, marker
        position = text.rfind(marker, 0, position)


_LABEL = re.compile(r"\A\s*(?:(?:A|Ans|Result|Total)\s?[:=]|[-=]+>)\s*", re.IGNORECASE)
_NO_MARKS = re.compile(r"[\s.!✓✔✅☑]+$")


def _whole(text: str) -> str | None:
    """The text itself if it is nothing but an expression or list: "x+1", "(3, 4)", "80 - 25", "5 and 7"."""
    if len(text) > SPAN:
        return None
    if re.fullmatch(r"[\s$]*(?:\\left.)?\s*\\begin\{(\w+)\}.*\\end\{\1\}\s*(?:\\right.)?[\s$.]*", text, re.DOTALL):
        return canonical(text)
    text = _NO_MARKS.sub("", _LABEL.sub("", plain(text), count=1)).strip()
    if date := _DATE.fullmatch(text):
        return canonical(date[0])
    first = NUMBER.match(text)
    if first and (row := _several(text, first)) and row == canonical(text):
        return row
    if re.fullmatch(r"\(?[A-J]\)?", text):
        return canonical(text)
    if not text.isascii() or re.fullmatch(r"[^\d\\]*|.*=", text, re.DOTALL) or NUMBER.fullmatch(text):
        return None
    prose = r"\n|[A-Za-z]{3,}|[A-Za-z]{2}\s|\s[A-Za-z]{2}|[A-Za-z\d]\s+\d|<|^[\d\s.=%]*$"
    if re.search(prose, re.sub(r"\\[A-Za-z]+\s*|\sor\s|\d \d+/\d", r"\\", text), re.ASCII):
        return None
    return canonical(text)


def _extract(text: str) -> str | None:
    lower = text.encode("ascii", "replace").decode().lower()  # as long as text, so positions carry over
    last_digit = max(lower.rfind(digit) for digit in _DIGITS)
    markers = [_backwards(lower, marker) for marker in MARKERS if marker in lower]
    weak, position = None, -1  # weak: "the answer is Paris", which counts if no number follows
    for position, marker in itertools.islice(heapq.merge(*markers, reverse=True), _TRIES):
        window, before = text[position : position + SPAN], text[max(position - 100, 0) : position]
        if position + SPAN < len(text):
            window = window.rstrip(_DIGITS)  # never half a number
        if marker == "answer":
            answer, sure = _phrase(window, before[-6:].lower() == "final ")
        elif marker == "<answer>":
            answer, sure = _tagged(window), True
        elif marker in ("option", "choice"):
            answer, sure = _pick(window)
        elif marker != "####":
            answer, sure = _boxed(window, before), True
        elif re.match(r"####\s*\d{1,2}[.):]\s+[^\n]*\n\s*\S", window):
            continue  # the heading "#### 1. Understand the problem"
        else:
            answer, sure = _stated(window[4:])
        doubted = answer and sure and _DOUBTED.search(before) and not _BOX_BEFORE.search(before)
        if doubted and (other := _last_number(plain(before))):
            return canonical(f"{other} or {answer}")
        if answer and sure:
            return answer
        if answer and position > last_digit and (answer[0].isupper() or last_digit < 0):  # not "is correct"
            weak = weak or answer
    start = max(last_digit + 1 - SPAN, 0)
    tail = text[start : last_digit + 50] if last_digit >= 0 else ""
    whole = _whole(text.strip()) if position < 0 else None
    return weak or whole or _last_number(plain(tail.lstrip(_DIGITS) if start else tail))


def extract_answer(text: str) -> Answer | None:
    """The last answer stated in a text, as a canonical string, or None where nothing is stated.

    The rules are those of `jaxreason.verify`. Canonical numbers keep their notation, without currency, unit, percent
    sign, thousands marks, plus and idle zeros: "1,234.50" -> "1234.5", "-$5" -> "-5", "6/8" -> "3/4", "1 1/2" -> "3/2",
    "50%" -> "50", "1.5e3" -> "1500", "2 million" -> "2000000". Equal values may differ as strings ("0.5", "1/2"):
    compare with `is_correct` or `answer_ids`.

    Raises:
      InputError: `text` is not a string.
    """
    if not isinstance(text, str):
        raise InputError(f"text is {type(text).__name__}: expected a string, decode the tokens first")
    thought, answer = _thought_and_answer(to_ascii(text))
    stated = _extract(answer) or _extract(thought)
    return None if stated is None else Answer(stated)


def _thought_and_answer(text: str) -> tuple[str, str]:
    """What stands before and after the last ``</think>``, the answer cut where another block opens and stays open."""
    thought, _, answer = text.rpartition("</think>")
    return thought, answer.partition("<think>")[0]


def final_text(text: str) -> str | None:
    """The last answer stated in a text word for word, for answers such as lists and grids; None where there is none.

    Of what follows the last ``</think>``, the first rule that finds something:

    1. the last ``<answer>...</answer>``
    2. all that follows the last ``####``
    3. the line, or lines, behind the last "answer is" or "answer:"
    4. the last paragraph or, if that is long and prose, what `extract_answer` reads.

    Where that is a number in words of its own ("$1,692", "7 apples"), the number.
    """
    _, said = _thought_and_answer(text)
    said = said[-20 * SPAN :]
    tags = re.findall(r"<answer>(.*?)</answer>", said, re.DOTALL)
    phrases = list(re.finditer(r"(?i)answer(?: is|:)[ *:]*", said))
    if tags:
        found = tags[-1]
    elif "####" in said:
        found = said.rpartition("####")[2]
    elif phrases:
        found = said[phrases[-1].end() :]
        lines = "\n\n" if found.startswith("\n") else "\n"  # a grid begins on a line of its own
        found = found.strip().partition(lines)[0].rstrip(".*")
    else:
        found = said.strip().rpartition("\n\n")[2]
        if len(found) > 60 and re.search(r"(?:\b[A-Za-z']{2,20} ){4}", found):
            return extract_answer(text)
    found = found.strip()
    number = canonical(found) or ""
    if re.search(r"[A-Za-z$,%]", found) and re.fullmatch(r"-?\d+(?:\.\d+)?", number):
        return number
    return found or None
