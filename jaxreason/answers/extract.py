r"""The answer that a text states: the last one, read as a person would read it.

Reading is bounded: markers are found by plain searches from the end and regular expressions see
windows of `SPAN` characters, so a hostile text of 100 kB costs milliseconds.
"""

import heapq
import itertools
import re
from collections.abc import Iterator

from jaxreason.answers.notation import plain, to_ascii
from jaxreason.answers.statements import (
    CHOICE,
    DATE,
    DOUBT,
    JOINT,
    LETTERS,
    Statement,
    denied_numbers,
    last_number,
    read_row,
    read_statement,
)
from jaxreason.answers.values import NUMBER, SPAN, canonical
from jaxreason.errors import InputError

_TRIES = 16  # statements tried, from the end
_DIGITS = "0123456789"
MARKERS = (
    "<answer>",
    "\\boxed",
    "\\fbox",
    "\\framebox",
    "####",
    "answer",
    "option",
    "choice",
)  # before an answer

_PHRASE = re.compile(
    r"answers?(?:\s?\([^()\n]{0,40}\))?(?:\s(?:to|for|in|of)\b[^.:=\n]{0,80}?)?[\s*_\"'`]{0,6}(?:(?P<header>[:=])|"
    r"(?:is|are|was|equals|(?:would|will|should|must) be)\b)"
    r"(?!\s+not\b|n't|\s+(?:found|obtained|given|calculated|computed|determined|reached|derived)\s(?:by|in|from)\b)",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"answer(?P<header>[\s*_:]{0,8}\n|\s(?=[-\d$\\(]))", re.IGNORECASE
)  # "Final Answer\n"
_PICK = re.compile(  # "the correct option is E", "choice: E", "option E is correct"
    r"(?:option|choice)(?:\s(?:is|must be|would be)\b:?|:"
    r"|\s?[*_(]*(?-i:(?P<letter>[A-J]))[*_)]*\sis\s(?:the\s)?(?:correct|right|best|answer)\b)",
    re.IGNORECASE,
)
# A statement that begins behind a doubt, "10 or the answer is 12", and boxes in a row, "\boxed{3}
# and \boxed{4}".
_DOUBTED = re.compile(
    rf"{DOUBT}[,\s]*(?:(?:{DOUBT}|the|my|is|it|it's|final|correct|right|$)[,\s]*)*$", re.IGNORECASE
)
_BOX_BEFORE = re.compile(
    r"\\(?:fbox|boxed)\s*\{((?:[^{}]|\{[^{}]*\})*)\}([^{}]{0,30}(?:\{[\sa-z,]*\})?[^{}\w]{0,9})$"
)
_BOXES_JOINED = re.compile(rf"[\s*$.]*(?:[,;/|&]\s*)?(?:(?:and|{DOUBT})[,\s*$]*)*", re.IGNORECASE)
_DISOWNED = re.compile(  # "I don't think the answer is 18"
    r"(?:n't|\bnot)\s(?:think|believe|say|know|mean)\b[\sa-z]{0,25}$", re.IGNORECASE
)
_FOREIGN = re.compile(  # "the answer is" elsewhere
    r"答案(?:是|为|為|\s?[:：])|答え(?:は|\s?[:：])|(?:정답|답)(?:은|\s?[:：])|[Оо]твет\s?[:—-]|"
    r"(?:respuesta|réponse|antwort|resposta|risposta)(?:\s(?:final|finale|correcta))?(?:\s?:|\s(?:es|est|ist|é|è)\b)",
    re.IGNORECASE,
)


class Answer(str):
    """An answer that was extracted from a text: it is compared, and not read again ("73!" as a text
    is 73).
    """

    __slots__ = ()


def _boxed(window: str, before: str) -> str | None:
    r"""What stands in the box that opens a window: `\boxed{...}` with nested braces, or MATH's
    `\boxed 5`.
    """
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
    row = [content] if content.strip() else []
    while row and (another := _BOX_BEFORE.search(before)):
        if not _BOXES_JOINED.fullmatch(plain(another[2])):
            break
        row = [another[1]] + [box for box in row if box.strip() != another[1].strip()]
        before = before[: another.start()]
    if len(row) > 1:
        return canonical(" , ".join(row))
    joint = JOINT.match(after)
    if re.search(DOUBT, joint["words"], re.IGNORECASE) and (
        other := NUMBER.match(after, joint.end())
    ):
        return canonical(f"{content} or {other[0]}")
    return canonical(content)


def _phrase(window: str, final: bool) -> Statement:
    """The answer behind the "answer" that opens a window; `final` says that "final" stood before
    it.
    """
    match = _PHRASE.match(window) or (_HEADING.match(window) if final else None)
    if match is None:
        return Statement(None, sure=False)
    rest, header = window[match.end() :], match["header"] is not None
    statement = read_statement(rest, header)
    if statement.answer is None and not header:  # "the answer is that he has 42 apples"
        sentence = re.split(r"[.!?]\s|\n", plain(rest).strip(), maxsplit=1)[0]
        return Statement(last_number(sentence), sure=True)
    return statement


def _pick(window: str) -> Statement:
    """The letter behind "the correct option is"."""
    match = _PICK.match(window)
    if match and match["letter"]:
        return Statement(match["letter"], sure=True)
    line = plain(window[match.end() :]).lstrip(" :*_\"'").partition("\n")[0] if match else ""
    choice = LETTERS.match(line) or CHOICE.match(line)
    is_letter = choice is not None and not choice[0].strip().islower()
    return Statement(canonical(choice[0]) if is_letter else None, sure=True)


def _tagged(window: str) -> Statement:
    """What stands between ``<answer>`` and ``</answer>``."""
    content = re.sub(r"^<answer>\s*", "", window).partition("</answer>")[0]
    statement = read_statement(content)
    return Statement(statement.answer if statement.sure else canonical(content), sure=True)


def _backwards(text: str, marker: str) -> Iterator[tuple[int, str]]:
    position = text.rfind(marker)
    while position >= 0:
        yield position, marker
        position = text.rfind(marker, 0, position)


_LABEL = re.compile(r"\A\s*(?:[-*>•]\s+|(?:A|Ans|Result|Total)\s?[:=]|[-=]+>)\s*", re.IGNORECASE)
_WORDS = re.compile(
    r"[*\s]*(?:[A-Za-z][A-Za-z'-]*|[A-Z][A-Za-z'-]+ [A-Za-z'-]+|[Nn]o [a-z]+)[.*\s]*"
)  # Paris, New York
_TIME = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\.?)?", re.IGNORECASE)
_NO_MARKS = re.compile(r"[\s.!✓✔✅☑]+$")


def _whole(text: str) -> str | None:
    """The text itself if it is nothing but an expression or list: "x+1", "(3, 4)", "80 - 25", "5
    and 7".
    """
    if len(text) > SPAN:
        return None
    if re.fullmatch(
        r"[\s$]*(?:\\left.)?\s*\\begin\{(\w+)\}.*\\end\{\1\}\s*(?:\\right.)?[\s$.]*",
        text,
        re.DOTALL,
    ):
        return canonical(text)
    text = _NO_MARKS.sub("", _LABEL.sub("", plain(text), count=1)).strip()
    if date := DATE.fullmatch(text):
        return canonical(date[0])
    first = NUMBER.match(text)
    if first and (row := read_row(text, first)) and row == canonical(text):
        return row
    if (
        re.fullmatch(r"\(?[A-J]\)?|\([A-J]\)\s[^()\n]*", text)
        or LETTERS.fullmatch(text)
        or _TIME.fullmatch(text)
    ):
        return canonical(text)
    if (
        not text.isascii()
        or re.fullmatch(r"[^\d\\]*|.*=", text, re.DOTALL)
        or NUMBER.fullmatch(text)
    ):
        return None
    prose = r"\n|[A-Za-z]{3,}|[A-Za-z]{2}\s|\s[A-Za-z]{2}|[A-Za-z\d]\s+\d|<|^[\d\s.=%]*$"
    if re.search(prose, re.sub(r"\\[A-Za-z]+\s*|\sor\s|\d \d+/\d", r"\\", text), re.ASCII):
        return None
    return canonical(text)


def _marked(marker: str, window: str, before: str) -> Statement:
    """The answer behind the marker that opens a window."""
    if marker == "answer":
        return _phrase(window, final=before[-6:].lower() == "final ")
    if marker == "<answer>":
        return _tagged(window)
    if marker in ("option", "choice"):
        return _pick(window)
    if marker not in MARKERS:
        statement = read_statement(window[len(marker) :])
        denied = statement.answer in denied_numbers(plain(window[:100]))
        return statement if statement.sure and not denied else Statement(None, sure=False)
    if marker != "####":
        return Statement(_boxed(window, before), sure=True)
    if re.match(r"####\s*\d{1,2}[.):]\s+[^\n]*\n\s*\S", window):
        return Statement(None, sure=False)  # the heading "#### 1. Understand the problem"
    return read_statement(window[4:])


def _extract(text: str) -> str | None:
    # as long as text, so positions carry over
    lower = text.encode("ascii", "replace").decode().lower()
    last_digit = max(lower.rfind(digit) for digit in _DIGITS)
    markers = [_backwards(lower, marker) for marker in MARKERS if marker in lower]
    foreign = [(found.start(), found[0]) for found in _FOREIGN.finditer(text[-4 * SPAN :])]
    markers.append((max(len(text) - 4 * SPAN, 0) + at, word) for at, word in reversed(foreign))
    weak, position = None, -1  # weak: "the answer is Paris", which counts if no number follows
    for position, marker in itertools.islice(heapq.merge(*markers, reverse=True), _TRIES):
        window, before = text[position : position + SPAN], text[max(position - 100, 0) : position]
        if position + SPAN < len(text):
            window = window.rstrip(_DIGITS)  # never half a number
        answer, sure = _marked(marker, window, before)
        if not answer or _DISOWNED.search(before):
            continue
        if sure:
            doubted = _DOUBTED.search(before) and "box" not in marker
            other = last_number(plain(before)) if doubted else None
            return canonical(f"{other} or {answer}") if other else answer
        if position > last_digit and (answer[0].isupper() or last_digit < 0):  # not "is correct"
            weak = weak or answer
    start = max(last_digit + 1 - SPAN, 0)
    tail = text[start : last_digit + 50] if last_digit >= 0 else ""
    whole = _whole(text.strip()) if position < 0 else None
    return weak or whole or last_number(plain(tail.lstrip(_DIGITS) if start else tail))


def extract_answer(text: str) -> Answer | None:
    """The last answer stated in a text, as a canonical string, or None where nothing is stated.

    The rules are those of `jaxreason.answers.verify`. Canonical numbers keep their notation,
    without currency, unit, percent sign, thousands marks, plus and idle zeros: "1,234.50" ->
    "1234.5", "-$5" -> "-5", "6/8" -> "3/4", "1 1/2" -> "3/2", "50%" -> "50", "1.5e3" -> "1500", "2
    million" -> "2000000". Equal values may differ as strings ("0.5", "1/2"): compare with
    `is_correct` or `answer_ids`.

    Raises:
      InputError: `text` is not a string.
    """
    if not isinstance(text, str):
        raise InputError(
            f"text is {type(text).__name__}: expected a string, decode the tokens first"
        )
    thought, answer = _thought_and_answer(to_ascii(text))
    stated = _extract(answer)
    if stated is None:  # what the answer denies is not taken from the thought
        stated = _extract(thought)
        stated = None if stated in denied_numbers(plain(answer[-SPAN:])) else stated
    if stated is None and _WORDS.fullmatch(text.strip()):
        stated = canonical(text)
    return None if stated is None else Answer(stated)


def _thought_and_answer(text: str) -> tuple[str, str]:
    """What stands before and after the last ``</think>``, the answer cut where another block opens
    and stays open.
    """
    thought, _, answer = text.rpartition("</think>")
    return thought, answer.partition("<think>")[0]


def final_text(text: str) -> str | None:
    """The last answer stated in a text word for word, for answers such as lists and grids; None
    where there is none.

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
