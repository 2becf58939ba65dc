r"""The answer that a text states: the last one, read as a person would read it.

Reading is bounded: markers are found by plain searches from the end and regular expressions see
windows of `SPAN` characters, so a hostile text of 100 kB costs milliseconds.
"""

import heapq
import itertools
import re
from collections.abc import Iterator, Sequence

from jaxreason.answers import choices
from jaxreason.answers.alternatives import read_row
from jaxreason.answers.canonical import NUMBER, SPAN, canonical
from jaxreason.answers.conjunctions import BETWEEN_BOXES, DOUBT_BEFORE, JOINT, is_doubt
from jaxreason.answers.last_number import denied_numbers, last_number
from jaxreason.answers.notation import plain, to_ascii
from jaxreason.answers.statements import DATE, Statement, read_statement
from jaxreason.errors import InputError

_TRIES = 16  # statements tried, from the end
_DIGITS = "0123456789"

_BOXES = ("\\boxed", "\\fbox", "\\framebox")
_CHOICES = ("option", "choice")
MARKERS = ("<answer>", *_BOXES, "####", "answer", *_CHOICES)  # before an answer
_FOREIGN = re.compile(  # "the answer is" elsewhere
    r"答案(?:是|为|為|\s?[:：])|答え(?:は|\s?[:：])|(?:정답|답)(?:은|\s?[:：])|[Оо]твет\s?[:—-]|"
    r"(?:respuesta|réponse|antwort|resposta|risposta)(?:\s(?:final|finale|correcta))?"
    r"(?:\s?:|\s(?:es|est|ist|é|è)\b)",
    re.IGNORECASE,
)
_DISOWNED = re.compile(  # "I don't think the answer is 18"
    r"(?:n't|\bnot)\s(?:think|believe|say|know|mean)\b[\sa-z]{0,25}$", re.IGNORECASE
)

_PHRASE = re.compile(
    r"answers?(?:\s?\([^()\n]{0,40}\))?(?:\s(?:to|for|in|of)\b[^.:=\n]{0,80}?)?[\s*_\"'`]{0,6}"
    r"(?:(?P<header>[:=])|(?:is|are|was|equals|(?:would|will|should|must) be)\b)"
    r"(?!\s+not\b|n't"  # "is not", "is found by adding"
    r"|\s+(?:found|obtained|given|calculated|computed|determined|reached|derived)\s"
    r"(?:by|in|from)\b)",
    re.IGNORECASE,
)
_HEADING = re.compile(  # "Final Answer\n", "Final answer 12"
    r"answer(?P<header>[\s*_:]{0,8}\n|\s(?=[-\d$\\(]))", re.IGNORECASE
)
_STEP_HEADING = re.compile(r"####\s*\d{1,2}[.):]\s+[^\n]*\n\s*\S")  # "#### 1. Add the numbers"
_LAST_BOX = re.compile(  # of a text: what is in it, and what stands behind it
    r"\\(?:fbox|boxed)\s*\{((?:[^{}]|\{[^{}]*\})*)\}([^{}]{0,30}(?:\{[\sa-z,]*\})?[^{}\w]{0,9})$"
)

_LABEL = re.compile(r"\A\s*(?:[-*>•]\s+|(?:A|Ans|Result|Total)\s?[:=]|[-=]+>)\s*", re.IGNORECASE)
_NO_MARKS = re.compile(r"[\s.!✓✔✅☑]+$")
_MATRIX = re.compile(
    r"[\s$]*(?:\\left.)?\s*\\begin\{(\w+)\}.*\\end\{\1\}\s*(?:\\right.)?[\s$.]*", re.DOTALL
)
_TIME = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\.?)?", re.IGNORECASE)
_NO_MATHEMATICS = re.compile(r"[^\d\\]*|.*=", re.DOTALL)
_NOT_PROSE = re.compile(r"\\[A-Za-z]+\s*|\sor\s|\d \d+/\d")
_PROSE = re.compile(
    r"\n|[A-Za-z]{3,}|[A-Za-z]{2}\s|\s[A-Za-z]{2}|[A-Za-z\d]\s+\d|<|^[\d\s.=%]*$", re.ASCII
)
_NAME = re.compile(  # Paris, New York, No solution
    r"[*\s]*(?:[A-Za-z][A-Za-z'-]*|[A-Z][A-Za-z'-]+ [A-Za-z'-]+|[Nn]o [a-z]+)[.*\s]*"
)


class Answer(str):
    """An answer that was extracted from a text: it is compared, and not read again ("73!" as a text
    is 73).
    """

    __slots__ = ()


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
    thought, said = _thought_and_answer(to_ascii(text))
    stated = _stated(said)
    if stated is None:  # what the answer denies is not taken from the thought
        stated = _stated(thought)
        stated = None if stated in denied_numbers(plain(said[-SPAN:])) else stated
    if stated is None and _NAME.fullmatch(text.strip()):
        stated = canonical(text)
    return None if stated is None else Answer(stated)


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


def last_attempt(text: str, continuations: Sequence[str] = ("Wait\n",), end: str = "####") -> str:
    """What a text's answer rests on: the last piece of reasoning between waits, and the answer.

    Earlier attempts are what the model itself went back on. A wait upon which the model at once
    answers starts no new attempt.

    Args:
      text: a chain, such as budget forcing writes.
      continuations: the waits; they count where they begin a line.
      end: what stands before the answer; without it, all of the text is reasoning.
    """
    thought, marker, answer = text.partition(end)
    waits = "|".join(map(re.escape, continuations))
    pieces = [piece for piece in re.split(f"(?m)^(?:{waits})", thought) if piece.strip()]
    return (pieces[-1] if pieces else "") + marker + answer


def _thought_and_answer(text: str) -> tuple[str, str]:
    """What stands before and after the last ``</think>``.

    The answer is cut where another block opens and stays open.
    """
    thought, _, answer = text.rpartition("</think>")
    return thought, answer.partition("<think>")[0]


def _stated(text: str) -> str | None:
    """Rules 2 to 5 of `verify`, on what stands before or after ``</think>``."""
    lower = (
        text.encode("ascii", "replace").decode().lower()
    )  # as long as text: positions carry over
    last_digit = max(lower.rfind(digit) for digit in _DIGITS)
    weak, position = None, None  # weak: "the answer is Paris", which counts if no number follows
    for position, marker in itertools.islice(_markers(text, lower), _TRIES):
        window, before = text[position : position + SPAN], text[max(position - 100, 0) : position]
        if position + SPAN < len(text):
            window = window.rstrip(_DIGITS)  # never half a number
        answer, sure = _marked(marker, window, before)
        if not answer or _DISOWNED.search(before):
            continue
        if sure:
            return answer if marker in _BOXES else _with_doubt(answer, before)
        if position > last_digit and (answer[0].isupper() or last_digit < 0):  # not "is correct"
            weak = weak or answer
    if weak:
        return weak
    whole = _whole(text.strip()) if position is None else None
    return whole or last_number(plain(_tail(text, last_digit)))


def _markers(text: str, lower: str) -> Iterator[tuple[int, str]]:
    """The places of the markers of a text with the markers, from the end."""
    found = [_backwards(lower, marker) for marker in MARKERS if marker in lower]
    start = max(len(text) - 4 * SPAN, 0)
    foreign = [(start + word.start(), word[0]) for word in _FOREIGN.finditer(text[-4 * SPAN :])]
    return heapq.merge(*found, reversed(foreign), reverse=True)


def _backwards(text: str, marker: str) -> Iterator[tuple[int, str]]:
    position = text.rfind(marker)
    while position >= 0:
        yield position, marker
        position = text.rfind(marker, 0, position)


def _marked(marker: str, window: str, before: str) -> Statement:
    """The answer behind the marker that opens a window; `before` is what precedes it."""
    if marker == "answer":
        return _phrase(window, final=before[-6:].lower() == "final ")
    if marker == "<answer>":
        return _tagged(window)
    if marker in _CHOICES:
        return _pick(window)
    if marker in _BOXES:
        return Statement(_boxed(window, before), sure=True)
    if marker == "####":
        is_step = _STEP_HEADING.match(window)
        return Statement(None, sure=False) if is_step else read_statement(window[4:])
    statement = read_statement(window[len(marker) :])  # a foreign phrase
    denied = statement.answer in denied_numbers(plain(window[:100]))
    return statement if statement.sure and not denied else Statement(None, sure=False)


def _with_doubt(answer: str, before: str) -> str | None:
    """The answer of a statement, with the number before it where a doubt opens the statement.

    "10 or the answer is 12" answers 10 or 12.
    """
    other = last_number(plain(before)) if DOUBT_BEFORE.search(before) else None
    return canonical(f"{other} or {answer}") if other else answer


def _phrase(window: str, final: bool) -> Statement:
    """The answer behind the "answer" that opens a window; `final`: "final" stands before it."""
    match = _PHRASE.match(window) or (_HEADING.match(window) if final else None)
    if match is None:
        return Statement(None, sure=False)
    rest, header = window[match.end() :], match["header"] is not None
    statement = read_statement(rest, header)
    if statement.answer is None and not header:  # "the answer is that he has 42 apples"
        sentence = re.split(r"[.!?]\s|\n", plain(rest).strip(), maxsplit=1)[0]
        return Statement(last_number(sentence), sure=True)
    return statement


def _tagged(window: str) -> Statement:
    """What stands between ``<answer>`` and ``</answer>``."""
    content = re.sub(r"^<answer>\s*", "", window).partition("</answer>")[0]
    statement = read_statement(content)
    return Statement(statement.answer if statement.sure else canonical(content), sure=True)


def _pick(window: str) -> Statement:
    """The letter of "the correct option is E" and "option E is correct"."""
    match = choices.PICK.match(window)
    if match is None:
        return Statement(None, sure=True)
    if match["letter"]:
        return Statement(match["letter"], sure=True)
    line = plain(window[match.end() :]).lstrip(" :*_\"'").partition("\n")[0]
    choice = choices.SEVERAL.match(line) or choices.OPENING.match(line)
    if choice is None or choice[0].strip().islower():
        return Statement(None, sure=True)
    return Statement(canonical(choice[0]), sure=True)


def _boxed(window: str, before: str) -> str | None:
    r"""What stands in the box that opens a window, with what is joined to it.

    A box is `\boxed{...}` with nested braces, or MATH's `\boxed 5`.
    """
    inner = re.sub(r"^\\(?:boxed|fbox|framebox)\s*", "", window)
    if inner[:1] != "{":
        token = re.match(r"[^\s${}]+", inner)
        return canonical(token[0]) if token else None
    end = _closing_brace(inner)
    if end is None:
        return None
    content, after = inner[1:end], plain(inner[end + 1 :])
    row = _row_of_boxes(content, before)
    if len(row) > 1:
        return canonical(" , ".join(row))
    joint = JOINT.match(after)
    other = NUMBER.match(after, joint.end()) if is_doubt(joint["words"]) else None
    return canonical(f"{content} or {other[0]}" if other else content)


def _closing_brace(text: str) -> int | None:
    """Where the brace that opens a text is closed."""
    depth = 0
    for brace in re.finditer(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.start()
    return None


def _row_of_boxes(content: str, before: str) -> list[str]:
    r"""The contents of boxes in a row, the last one last: `\boxed{3} and \boxed{4}`."""
    row = [content] if content.strip() else []
    while row:
        another = _LAST_BOX.search(before)
        if another is None or not BETWEEN_BOXES.fullmatch(plain(another[2])):
            break
        row = [another[1]] + [box for box in row if box.strip() != another[1].strip()]
        before = before[: another.start()]
    return row


def _whole(text: str) -> str | None:
    """The text itself if it is nothing but an expression, list, choice, date or time.

    Such as "x+1", "(3, 4)", "80 - 25", "5 and 7".
    """
    if len(text) > SPAN:
        return None
    if _MATRIX.fullmatch(text):
        return canonical(text)
    text = _NO_MARKS.sub("", _LABEL.sub("", plain(text), count=1)).strip()
    first = NUMBER.match(text)
    row = read_row(text, first) if first else None
    if row and row == canonical(text):
        return row
    kinds = (DATE, _TIME, choices.WHOLE, choices.SEVERAL)
    if any(kind.fullmatch(text) for kind in kinds) or _is_expression(text):
        return canonical(text)
    return None


def _is_expression(text: str) -> bool:
    """Whether a text is mathematics, and neither prose nor one number, which rule 5 reads."""
    if not text.isascii() or _NO_MATHEMATICS.fullmatch(text) or NUMBER.fullmatch(text):
        return False
    return not _PROSE.search(_NOT_PROSE.sub(r"\\", text))


def _tail(text: str, last_digit: int) -> str:
    """The window that ends soon after the last digit of a text, which is at `last_digit`."""
    if last_digit < 0:
        return ""
    start = max(last_digit + 1 - SPAN, 0)
    tail = text[start : last_digit + 50]
    return tail.lstrip(_DIGITS) if start else tail  # never half a number
