r"""What an answer is worth: the value by which answers are compared.

`value` reads a canonical string as an exact number or as a structure of numbers and texts, and
`same_value` compares two of them, never as substrings and never as floats.
"""

import re
from collections.abc import Iterable
from fractions import Fraction

from jaxreason.answers.canonical import (
    NUMBER,
    SPAN,
    WORD,
    canonical,
    matrix_cells,
    number,
    quantity,
)
from jaxreason.answers.conjunctions import AND_OR
from jaxreason.answers.exact import evaluate, repeating, root
from jaxreason.answers.symbolic import same_mathematics

# An exact number, a text without case and blanks, or a tuple: its kind, then its parts.
Value = Fraction | str | tuple

_PLAIN_NUMBER = re.compile(r"-?\d{1,1000}(?:\.\d{1,1000}|/[1-9]\d{0,999})?", re.ASCII)
_SET = (r"\{", r"\}")
_ROWS = [("(", ")"), ("[", "]"), ("(", "]"), ("[", ")")]
_UNIT = re.compile(r"\s?([A-Za-z]{2,})\.?(?:\s?(?:,|and)\s?)*\s*")
_UNIT_NAMES = {
    "hr": "hour",
    "h": "hour",
    "min": "minute",
    "sec": "second",
    "ft": "feet",
    "foot": "feet",
    "in": "inch",
    "inche": "inch",  # inches without its s
    "lb": "pound",
    "oz": "ounce",
    "yd": "yard",
    "yr": "year",
}


def value(answer: str) -> Value:
    r"""What answers are compared by.

    - an exact ``Fraction`` of a number, of a sum of numbers (``5+3``, ``2(3)``,
      ``\frac{1}{2^{99}}``) and of a repeating decimal (``0.\overline{3}``)
    - ``("row", "(]", values)`` of a pair or an interval, in order; ``("matrix", rows)``
    - ``("all", values)`` of a list or a set, in any order
    - ``("measures", ((number, unit), ...))`` of numbers with several units
    - else the text without case and blanks, its mathematics in one notation.

    Args:
      answer: a canonical string, or a text that is one answer as a whole.
    """
    if not _PLAIN_NUMBER.fullmatch(answer):
        answer = canonical(answer) or ""
    if _PLAIN_NUMBER.fullmatch(answer):
        return Fraction(answer)
    if len(answer) > SPAN:
        return answer.casefold()
    for structure in (_matrix, _bracketed, _measures, _list):
        found = structure(answer)
        if found is not None:
            return found
    text = _notation(answer)
    exact = evaluate(text)
    return text.casefold() if exact is None else exact


def _matrix(answer: str) -> Value | None:
    cells = matrix_cells(answer)
    if cells is None:
        return None
    return "matrix", tuple(("row", "", tuple(map(value, row))) for row in cells)


def _bracketed(answer: str) -> Value | None:
    """A set, or a pair or an interval."""
    for opening, closing in [_SET, *_ROWS]:
        inner = answer.removeprefix(opening).removesuffix(closing)
        if len(inner) + len(opening) + len(closing) != len(answer) or not _balanced(inner):
            continue
        parts = _parts(inner)
        if (opening, closing) == _SET:
            return "all", _in_any_order(map(value, parts))
        if len(parts) > 1:
            return "row", opening + closing, tuple(map(value, parts))
    return None


def _measures(answer: str) -> Value | None:
    """Numbers with units, "2 hours and 30 minutes", where there are several units."""
    found, position = [], 0
    while match := NUMBER.match(answer, position):
        unit = _UNIT.match(answer, match.end())
        if unit is None or unit[1] in ("and", "or"):
            return None
        name = unit[1].lower().rstrip("s")
        found.append((number(match), _UNIT_NAMES.get(name, name)))
        position = unit.end()
    several = len({unit for _, unit in found}) > 1
    return ("measures", tuple(found)) if several and position == len(answer) else None


def _list(answer: str) -> Value | None:
    """A list without brackets; what it says twice, "0.5, or 1/2", is no list."""
    parts = _parts(answer, joined=True)
    if len(parts) == 1 or any(map(_has_words, parts)):
        return None
    values = _named_values(parts)
    restated = "or" in answer and len(set(values)) == 1
    return values[0] if restated else ("all", _in_any_order(values))


def _in_any_order(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(sorted(values, key=repr))


def _has_words(part: str) -> bool:
    """Whether there are words beside a number's unit."""
    return WORD.search(part) is not None and quantity(part.strip()) is None


def _balanced(text: str) -> bool:
    depth = 0
    for bracket in re.findall(r"[([{)\]}]", text):
        depth += 1 if bracket in "([{" else -1
        if depth < 0:
            return False
    return depth == 0


def _parts(text: str, joined: bool = False) -> list[str]:
    """The parts between the commas outside of all brackets.

    joined: the text is a list without brackets, whose parts "and" and "or" separate, too.
    """
    depth, parts = 0, [""]
    separator = rf"[;,]|{AND_OR}" if joined else "[;,]"
    for token in re.findall(rf"{separator}|[([{{]|[)\]}}]|.", text, re.DOTALL):
        depth += (token in "([{") - (token in ")]}")
        if depth == 0 and token in (",", ";", "and", "or"):
            parts.append("")
        else:
            parts[-1] += token
    return [part for part in parts if part.strip()] or [""]


def _named_values(parts: list[str]) -> list[Value]:
    """``x = 1, x = 2`` and ``x = 1, 2`` are the list 1, 2; ``x = 1, y = 2`` keeps its names."""
    sides = [part.split("=") for part in parts]
    names = {side[0].strip().casefold() for side in sides if len(side) == 2}
    if len(names) > 1 and all(len(side) == 2 for side in sides):
        return [("named", name.strip().casefold(), (value(stated),)) for name, stated in sides]
    return [value(part) for part in parts]


def _notation(text: str) -> str:
    """One notation of the same mathematics; words keep theirs."""
    text = "".join(text.split()) if not re.search(r"\d \d", text) else text
    if WORD.search(text):
        return "".join(text.split())
    text = re.sub(r"(?<=\d)([ap])\.m\b\.?", r"\1m", text, flags=re.IGNORECASE)  # 3:30 p.m.
    text = re.sub(r"([_^])\{(\w)\}", r"\1\2", text)
    text = re.sub(r"_\{(\w+)\}", r"_\1", text)
    text = re.sub(r"\\sqrt\s?(\d)", r"\\sqrt{\1}", text)
    text = re.sub(r"\\sqrt\{([^{}]*)\}", root, text)
    text = re.sub(r"(\d+)\.(\d*)\\(?:overline|bar)\s?\{(\d+)\}", repeating, text)
    text = re.sub(r"(?<=[\d)])\*(?=[A-Za-z\\(])", "", text)
    return text.replace("<=", r"\le").replace(">=", r"\ge").replace("!=", r"\ne")


def same_value(answer: Value, gold: Value) -> bool:
    """Whether two values are equal.

    Numbers are compared exactly, structures part by part, texts to the letter or as mathematics:
    the latter where the optional package math-verify is installed, up to 100 characters and a
    second.
    """
    if answer == gold:
        return True
    if isinstance(answer, tuple) and isinstance(gold, tuple):
        return _same_structure(answer, gold)
    if isinstance(answer, tuple) or isinstance(gold, tuple):
        return False
    return _is_comparable(answer, gold) and same_mathematics(str(answer), str(gold))


def _same_structure(answer: tuple, gold: tuple) -> bool:
    (*kind, parts), (*gold_kind, gold_parts) = answer, gold
    if kind != gold_kind or len(parts) != len(gold_parts) or kind == ["measures"]:
        return False
    if kind == ["all"]:
        left = list(gold_parts)
        return all(_take(part, left) for part in parts)
    return all(map(same_value, parts, gold_parts))


def _take(part: Value, left: list[Value]) -> bool:
    """Takes the first value that equals the part out of a list; False where there is none."""
    for i, gold in enumerate(left):
        if same_value(part, gold):
            del left[i]
            return True
    return False


# A word is no product of letters (listen, silent), and bases, times and ratios are not arithmetic.
_NO_MATHEMATICS = re.compile(
    rf"{WORD.pattern}"
    r"|\d{15}|[$:,;]|_\{?\d|\d_|\d \d|[<>]"
    r"|\\(?:le|ge|ne|text|begin|cup|cap|in)(?![A-Za-z])"
)


def _is_comparable(*values: Fraction | str) -> bool:
    """Whether mathematics may make two values equal that are not equal to the letter."""
    numbers = [part for part in values if isinstance(part, Fraction)]
    texts = [part for part in values if isinstance(part, str)]
    if not texts or any(len(text) > 100 for text in texts):
        return False
    if any(max(abs(part.numerator), part.denominator) > 10**15 for part in numbers):
        return False
    if numbers and re.search(r"(?<![A-Za-z\\])[A-Za-z]", texts[0]):
        return False  # a constant such as \sqrt{4} may be a number, a variable is none
    if all(re.fullmatch("[a-z]", text) for text in texts):
        return False  # one letter is not another
    return all(text.isprintable() and not _NO_MATHEMATICS.search(text) for text in texts)
