r"""Answer extraction and grading: text -> answer -> right or wrong -> ids for the votes.

The *last* stated answer wins (a chain of thought is full of numbers, so the first match is a mistake), and
answers are compared as exact rationals, never as substrings, never as floats.

Reading is bounded: markers are found by plain searches from the end and regular expressions see windows of
`_SPAN` characters, so a hostile text of 100 kB costs milliseconds.
"""

import heapq
import itertools
import math
import numbers
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np

from jaxreason.errors import InputError
from jaxreason.notation import DECIMAL, plain, to_ascii
from jaxreason.symbolic import same_mathematics

Gold = str | int | float | Callable[[str], bool]  # the right answer, or a judge of any answer

_SPAN = 500  # characters of an answer that are read; no real answer is longer
_TRIES = 16  # statements tried, from the end
_MAX_EXPONENT = 400  # covers every float; Fraction("1e999999999") would fill the memory
_DIGITS = "0123456789"

# Numbers. A minus is a sign unless an operand stands before it: "80-25", "80 - 25", "80 -25" subtract, "is -5" not.
_SIGN = r"(?<![\w.)\]}%-])(?<![\d)\]}%]\s)-|(?<==)\s?-\s?|(?<==\s)-\s?"
_NUMBER = re.compile(
    rf"(?P<sign>{_SIGN})?+(?:(?P<whole>\d++)\s(?=\d++/\d))?+"
    rf"(?P<top>{DECIMAL})(?:\s?/\s?(?P<bottom>-?{DECIMAL}))?+(?:\s?%)?+",
    re.ASCII,
)
# Words after a number are its unit unless they are mathematics: "5 cm^2", "60 miles per hour", "3rd".
_POWER = r"(?:\^?\{?[23]\}?)?"
_UNIT = re.compile(
    r"\s*-?(?!(?:pi|sqrt|sin|cos|tan|log|exp|mod|and|times)\b)"
    r"(?:[A-Za-z]{3,}|[cmk]m|[km]g|m[lL]|ft|in|lb|oz|hr|[ap]\.?m|[GM]B|st|nd|rd|th)\b"
    rf"{_POWER}[A-Za-z\s./',-]*{_POWER}|\s+[mgLsh](?:/[a-z]+)?{_POWER}"
)
_CANONICAL = re.compile(r"-?\d{1,1000}(?:\.\d{1,1000}|/[1-9]\d{0,999})?", re.ASCII)
_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{3,}")  # prose: no LaTeX command and no product of variables


def _number(match: re.Match) -> str:
    """Canonical string of a `_NUMBER` match; as written if it has no sensible value (1/0, 1e999999999)."""
    whole, top, bottom = ((match[name] or "").replace(",", "").lower() for name in ("whole", "top", "bottom"))
    if any(abs(int(part.partition("e")[2][:9] or 0)) > _MAX_EXPONENT for part in (top, bottom)):
        return match[0]
    if bottom and not Fraction(bottom):
        return match[0]
    if bottom:
        value = Fraction(top) / Fraction(bottom)
        digits = str(value + int(whole) if whole and 0 < value < 1 else value)
    else:
        digits = format(Decimal(top), "f")
        digits = digits.rstrip("0").rstrip(".") if "." in digits else digits.lstrip("0") or "0"
    return ("-" + digits if match["sign"] and digits != "0" else digits).removeprefix("--")


def _last_number(text: str) -> str | None:
    matches = list(_NUMBER.finditer(text))
    return _number(matches[-1]) if matches else None


def _canonical(text: str) -> str | None:
    """Canonical string of a text that *as a whole* is one answer, such as a box's content; None if empty."""
    if len(text) > _SPAN:
        return text  # too long to be read: kept, and compared, as it stands
    text = plain(to_ascii(text)).strip().strip("*_\"'").lstrip(",;:").rstrip(".,;: ").strip()
    if not re.search(r"[,;]\s|\b(?:or|and)\b", text):  # x = 5 is 5, 45-12=33 is 33; but not x=1, y=2
        text = re.split(r"(?<![<>!\\])=", text)[-1].strip() or text
    text = re.sub(r"^(?:USD?|EUR|GBP|INR|Rs\.?)\s?(?=[\d-])", "", text)
    text = re.sub(r"^\(([A-Ha-h]|-?[\d.]+)\)$|^\{(.*)\}$|^(-)\s|^\+\s?", r"\1\2\3", text)  # (B), {x}, - 5
    if (match := _NUMBER.match(text)) and (match.end() == len(text) or _UNIT.fullmatch(text, match.end())):
        return _number(match)
    text = " ".join(text.split())
    if not _WORD.search(text):  # mathematics: x + 1 is x+1, but a blank keeps "1 2" and "\pi r" apart
        text = re.sub(r"([A-Za-z] (?=[A-Za-z])|\d (?=\d))| ", r"\1", text)
    return text or None


_PHRASE = re.compile(
    r"answers?(?:\s?\([^()\n]{0,40}\))?(?:\s(?:to|for|in|of)\b[^.:=\n]{0,80}?)?[\s*_\"'`]{0,6}(?:(?P<header>:|=|"
    r"(?<=<answer)>)|(?:is|are|was|equals|(?:would|will|should|must) be)\b)(?!\s+not\b|n't)",
    re.IGNORECASE,
)
_HEADING = re.compile(r"answer(?P<header>[\s*_:]{0,8}\n|\s(?=[-\d$\\(]))", re.IGNORECASE)  # "Final Answer\n"
_HEDGE = re.compile(
    r"(?:[\s:=({\"'_*]|(?:about|approximately|roughly|around|exactly|simply|just|only|"
    r"therefore|thus|now|equal to|a total of|[A-Za-z]\s?=)(?=[\s\d-]))*",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"[\s*_:]*(?:\(([A-Ha-h])\)|([A-H])\s?(?=[).:,*_]|$)|((?i:yes|no|true|false))\b)")
_MATHS = re.compile(r"\s*(?:\$\$?([^$]+[^$\s])\$\$?(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\])", re.DOTALL)
_CLAUSE = re.compile(r",\s|;|\s\(|[.!?](?:\s|$)|\s(?:because|since|as|where|when|if|for|and|or|so|with|given|which)\s")
_OPERATOR = re.compile(r"[A-Za-z(^:_\\]|\s?[-+*/]\s?[\d(]")  # what follows the 3 of 3x+1, 3:1, 3 - 1


def _stated(text: str, header: bool = False) -> tuple[str | None, bool]:
    """The answer that opens `text`, and whether it is sure to be one; after a header ("Answer:") may come the
    whole reasoning, so there a number has to stand alone, with a short unit."""
    if (maths := _MATHS.match(text)) and not re.search(r"[A-Za-z]{3,} [a-z]{2,}", maths[0]):
        return _canonical(maths[maths.lastindex]), True
    line = plain(text.lstrip(" \n\t:=*_\"'`#").partition("\n")[0]).strip()
    clause = _CLAUSE.split(line, maxsplit=1)[0]
    if match := _NUMBER.match(clause, _HEDGE.match(clause).end()):
        follows = clause[match.end() :]
        sides = [list(_NUMBER.finditer(side)) for side in clause[match.start() :].split("=")]
        single = [side[0] for side in sides if len(side) == 1]
        if header and (len(sides) > 1 or len(follows.split()) > 3):
            return None, False
        if len(sides) > 1 and single:
            return _number(single[-1]), True  # 80 - 25 = 55
        if _OPERATOR.match(follows) and not _UNIT.match(follows):
            return _canonical(clause), True  # an expression is not its first number
        return _number(match), True
    if choice := _CHOICE.match(line):
        return choice[choice.lastindex], True
    if re.search(r"[-+*/^\\]", clause) and not _WORD.search(clause):
        return _canonical(clause), True  # x+1
    return _canonical(clause) if len(clause.split()) == 1 else None, False


def _boxed(window: str) -> str | None:
    r"""What stands in the box that opens a window: `\boxed{...}` with nested braces, or MATH's `\boxed 5`."""
    inner = re.sub(r"^\\(?:boxed|fbox)\s*", "", window)
    if inner[:1] != "{":
        token = re.match(r"[^\s${}]+", inner)
        return _canonical(token[0]) if token else None
    depth = 0
    for brace in re.finditer(r"\\.|[{}]", inner):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return _canonical(inner[1 : brace.start()])
    return None


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


def _backwards(text: str, marker: str) -> Iterator[tuple[int, str]]:
    position = text.rfind(marker)
    while position >= 0:
        yield position, marker
        position = text.rfind(marker, 0, position)


def _expression(text: str) -> str | None:
    """The text itself if it is nothing but an expression or list: "x+1", "(3, 4)", not a sum, "80 - 25"."""
    loose = r"\n|[A-Za-z]{3,}|[A-Za-z]{2}\s|\s[A-Za-z]{2}|[A-Za-z\d]\s+\d|^[\d\s.+*/=%$-]*$|^[^\d\\]*$"
    if len(text) > _SPAN or re.search(loose, re.sub(r"\\[A-Za-z]+\s*|\sor\s", r"\\", text), re.ASCII):
        return None
    return _canonical(text)


def _extract(text: str) -> str | None:
    lower = text.encode("ascii", "replace").decode().lower()  # as long as text, so positions carry over
    last_digit = max(text.rfind(digit) for digit in _DIGITS)
    markers = [_backwards(lower, marker) for marker in ("\\boxed", "\\fbox", "####", "answer")]
    weak, position = None, -1  # weak: "the answer is Paris", which counts if no number follows
    for position, marker in itertools.islice(heapq.merge(*markers, reverse=True), _TRIES):
        window = text[position : position + _SPAN]
        if position + _SPAN < len(text):
            window = window.rstrip(_DIGITS)  # never half a number
        if marker == "answer":
            answer, sure = _phrase(window, lower[max(position - 6, 0) : position] == "final ")
        elif marker != "####":
            answer, sure = _boxed(window), True
        elif re.match(r"####\s*\d{1,2}[.):]\s+[^\n]*\n\s*\S", window):
            continue  # the heading "#### 1. Understand the problem"
        else:
            answer, sure = _stated(window[4:].partition("\n")[0])
        if answer and sure:
            return answer
        if answer and position > last_digit and (answer[0].isupper() or last_digit < 0):  # not "is correct"
            weak = weak or answer
    start = max(last_digit + 1 - _SPAN, 0)
    tail = text[start : last_digit + 50] if last_digit >= 0 else ""
    whole = _expression(text.strip()) if position < 0 else None
    return weak or whole or _last_number(plain(tail.lstrip(_DIGITS) if start else tail))


def extract_answer(text: str) -> str | None:
    r"""The last answer stated in a text, as a canonical string, or None where nothing is stated.

    Precedence, the first rule that finds something:

    1. what follows the last ``</think>``; only where no answer is there, what precedes it. A ``<think>`` that is never
       closed is a thought under way: nothing behind it is stated. Within that:
    2. the *last* of ``\boxed{...}``, ``#### x``, "the answer is x" / "answer: x" / "final answer" /
       ``<answer>x</answer>``, whatever its kind; an empty or unclosed one is skipped
    3. "the answer is Paris": a word, where no number follows (nor precedes, if it is in lower case)
    4. the text itself, where it is nothing but one expression or list ("x+1", "(3, 4)"; not a sum, "80 - 25")
    5. the last number of the text.

    Canonical numbers have no currency, unit, percent sign, thousands comma, plus or idle zero, and keep their
    notation: "1,234.50" -> "1234.5", "-$5" -> "-5", "6/8" -> "3/4", "1 1/2" -> "3/2", "50%" -> "50",
    "1.5e3" -> "1500", "2 million" -> "2000000". Equal values may differ as strings ("0.5", "1/2"): compare
    with `is_correct` or `answer_ids`. An equation answers its right-hand side (``x = 5``); a minus after an
    operand subtracts (``80 - 25``). Other answers are text without LaTeX fonts, sizes and blanks
    (``\boxed{x + 1}`` -> "x+1"). Commas group thousands and are never decimal; number words ("five") are not
    read, nor numbers over 500 characters; numbers of no sensible value (1/0, 1e999999999) stay as written.

    Raises `InputError` where `text` is not a string. Sources: GSM8K (Cobbe et al. 2021), ``####``; MATH
    (Hendrycks et al. 2021), ``\boxed``; "The answer is" (Wei et al. 2022, the few-shot prompts).
    """
    if not isinstance(text, str):
        raise InputError(f"text is {type(text).__name__}: expected a string, decode the tokens first")
    thought, answer = _thought_and_answer(to_ascii(text))
    return _extract(answer) or _extract(thought)


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
    said = said[-20 * _SPAN :]
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
    number = _canonical(found) or ""
    if re.search(r"[A-Za-z$,%]", found) and re.fullmatch(r"-?\d+(?:\.\d+)?", number):
        return number
    return found or None


def read_answer(text: str, gold: Gold) -> str | None:
    """The answer a text states: word for word where the gold answer is a judge, else in canonical form."""
    return final_text(text) if callable(gold) else extract_answer(text)


def _value(answer: str) -> Fraction | str:
    """What answers are compared by: the exact rational, else the text without case and blanks."""
    if not _CANONICAL.fullmatch(answer):
        answer = _canonical(answer) or ""
    return Fraction(answer) if _CANONICAL.fullmatch(answer) else "".join(answer.split()).casefold()


def _answer(text: str) -> str | None:
    """The answer in a text, which may be an answer extracted before ("5+3" is not 3) or a word ("Paris")."""
    if len(text) <= _SPAN and text == _canonical(text) and not _WORD.search(text):
        return text
    return extract_answer(text) or _canonical(text)


def is_correct(text_or_answer: str | None, gold: Gold) -> bool:
    r"""Whether a model's text, or an answer already extracted from it, has the gold value.

    Numbers are compared exactly, as rationals: 0.5 == 1/2 == .50, but 0.333 is not 1/3. Anything else is
    compared as normalised text, never by substring, and then, where the optional package math-verify is
    installed, as mathematics: ``\sqrt{8}`` is ``2\sqrt{2}`` (up to 100 characters; after a second, False).

    Percent: the sign is dropped, so "50%" equals a gold of "50" or "50%" and not 0.5. A question that asks
    for a percentage states its gold in percent, as GSM8K does; as 0.5 too, one answer would fit two golds.

    `gold` is a number, an answer, or a whole solution (read by the same rules); or a function that judges the
    answer read by `final_text`, for tasks with many right answers. None is never correct.
    Raises `InputError` where `gold` is empty, not finite, or neither text nor a number.
    """
    if callable(gold):
        answer = final_text(text_or_answer) if text_or_answer else None
        return answer is not None and bool(gold(answer))
    target = None
    if isinstance(gold, str):
        target = _value(stated) if (stated := _answer(gold)) else None
    elif isinstance(gold, numbers.Integral):
        target = Fraction(int(gold))
    elif isinstance(gold, numbers.Real) and math.isfinite(gold):
        target = Fraction(str(gold))  # the decimal as written: 0.1 is 1/10
    if target is None:
        raise InputError(f"gold is {gold!r:.60}: expected an answer or a finite number, drop this problem")
    if not isinstance(text_or_answer, str | None):
        raise InputError(f"answer is {type(text_or_answer).__name__}: expected text or None, pass str(...)")
    answer = _answer(text_or_answer) if text_or_answer else None
    if not answer:
        return False
    value = _value(answer)
    if value == target or isinstance(value, Fraction) and isinstance(target, Fraction):
        return value == target
    if isinstance(target, Fraction):  # a constant such as \sqrt{4} may be a number, a variable is none
        if re.search(r"(?<![A-Za-z\\])[A-Za-z]", answer) or max(abs(target), target.denominator) > 10**15:
            return False
        stated = str(target)
    for text in (answer, stated):  # a word is no product of letters: listen is not silent
        if len(text) > 100 or not text.isprintable() or _WORD.search(text) or re.search(r"\d{15}|\$", text):
            return False
    return same_mathematics(answer, stated)


def read_answers(texts: Sequence[Sequence[str]], golds: Sequence[Gold]) -> list[list[str | None]]:
    """`read_answer` of N texts for each of G problems: what `answer_ids` numbers."""
    return [[read_answer(text, gold) for text in group] for group, gold in zip(texts, golds, strict=True)]


def answer_ids(answers: Sequence[Sequence[str | None]]) -> np.ndarray:
    """Answers as small integers for the votes: equal values ("0.5" and "1/2") share an id within their group.

    answers: G groups of N extracted answers -> int32 [G, N]; ids count from 0 in order of first appearance in
    the group, None is -1. Raises `InputError` where the groups differ in size.
    """
    sizes = {len(group) for group in answers} or {0}
    if len(sizes) > 1:
        raise InputError(f"groups hold {sorted(sizes)[:9]} answers: expected one size, pad with None")
    ids = np.full((len(answers), sizes.pop()), -1, np.int32)
    for row, group in zip(ids, answers, strict=True):
        seen: dict[Fraction | str, int] = {}
        for n, answer in enumerate(group):
            if answer is not None:
                row[n] = seen.setdefault(_value(answer), len(seen))
    return ids


def grade(texts: Sequence[Sequence[str]], golds: Sequence[Gold]) -> np.ndarray:
    """Which of N texts for each of G problems are right: bool [G, N], for one gold answer a problem."""
    return np.array([[is_correct(text, gold) for text in group] for group, gold in zip(texts, golds, strict=True)])


def gold_ids(ids: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """The id of the right answer in each group, from `answer_ids` and `grade`, both [G, N]; -2 where no chain has it.

    A vote is right where its winner is this id.
    """
    first = correct.argmax(axis=1)
    return np.where(correct.any(axis=1), ids[np.arange(len(ids)), first], -2)
