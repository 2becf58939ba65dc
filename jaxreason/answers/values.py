r"""What an answer is worth: its canonical string, and the value by which answers are compared.

`canonical` writes one answer, such as a box's content, in one way. `value` reads that as an exact
number or as a structure of numbers and texts, and `same_value` compares two of them, never as
substrings and never as floats.
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

from jaxreason.answers.exact import MAX_EXPONENT, evaluate, repeating, root
from jaxreason.answers.notation import DECIMAL, plain, to_ascii
from jaxreason.answers.symbolic import same_mathematics

SPAN = 500  # characters of an answer that are read; no real answer is longer

# An exact number, a text without case and blanks, or a tuple: its kind, then its parts.
Value = Fraction | str | tuple

# A minus is a sign unless an operand stands before it: "80-25", "80 - 25", "80 -25" subtract, "is
# -5" not.
_SIGN = r"(?<![\w.)\]}%-])(?<![\d)\]}%]\s)-|(?<==)\s?-\s?|(?<==\s)-\s?"
NUMBER = re.compile(
    rf"(?P<sign>{_SIGN})?+(?:(?P<whole>\d++)\s(?=\d++/\d))?+"
    rf"(?P<top>{DECIMAL})(?:\s?/\s?(?P<bottom>-?{DECIMAL}))?+(?:\s?%)?+",
    re.ASCII,
)
# Words after a number are its unit unless they are mathematics: "5 cm^2", "60 miles per hour",
# "3rd", "73 元".
_POWER = r"(?:\s?\^\s?\{?\s?[23]\}?|[23](?!\d))?"
_NO_UNIT = (
    r"(?!(?:pi|sqrt|sin|cos|tan|log|exp|mod|and|or|times|dozens?|choose|to|by|over|plus|minus|less than|divided|"
    r"halves|thirds|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|hundredths|squared|cubed|factorial|"
    r"remainder)\b)"
)
_SHORT = (  # units that may stand right behind their number
    r"[cmk]m|[km]g|m[lL]|ft|in|lbs?|oz|hrs?|mins?|secs?|[ap]\.?m|[AP]M|[GM]B|st|nd|rd|th|USD|EUR|mph|kmh|[kM]?Hz|kW|"
    r"sq|mi|yd|dollars?|cents?|hours?|minutes?|seconds?|days?|years?|degrees?|units?|percent"
)
UNIT = re.compile(
    rf"(?:(?:\s+-?|-){_NO_UNIT}[A-Za-z]{{3,}}|\s*-?{_NO_UNIT}(?:{_SHORT}))\b"
    rf"{_POWER}(?:[A-Za-z\s./',-]*{_POWER})|\s+[mgLshWNKVJ](?:/[a-z]+)?{_POWER}(?![\w(])"
    r"|L|\s?[^\W\d_a-zA-Z][^\W\d_]*(?:\s[^\W\d_]+)*\s?"
)
_TRAILING_UNIT = re.compile(  # of an expression, 24\pi cm^2
    r"(?<=[a-z})])\s+(?:(?:square|cubic|sq\.?|cu\.?)\s)?(?:[cmk]?m|ft|in|inches|feet|yards|miles|met(?:er|re)s|units?|"
    rf"degrees|radians|dollars|seconds|minutes|hours){_POWER}$"
)
_CANONICAL = re.compile(r"-?\d{1,1000}(?:\.\d{1,1000}|/[1-9]\d{0,999})?", re.ASCII)
WORD = re.compile(
    r"(?<![A-Za-z\\])[A-Za-z]{3,}"
)  # prose: no LaTeX command and no product of variables
JOINED = re.compile(r"[,;]\s|(?<![A-Za-z\\])(?:or|and)(?![A-Za-z])")
_THOUSANDS = re.compile(
    r"(?<![\d,.(\[{])\d{1,3}(?:,\d{3})++(?![\d)\]}]|,\d)"
)  # in a list, not in a pair
_NO_PART = re.compile(  # of the answer: "approximately 18", x \\in (0, 1), (x, y) = (3, 4)
    r"^(?i:(?:approximately|approx\.?|about|roughly|answer:?)\s+(?=[\d-]))|^[A-Za-z]\s?\\in(?![a-z])\s*"
    r"|^\([A-Za-z](?:,\s?[A-Za-z])+\)\s?=\s?(?=\()"
)
_EQUALS = re.compile(r"(?<![<>!\\:])=(?![=>])")
_CHOICE = re.compile(
    r"\(([A-J])\)(?:\s+(?!or\b|and\b)[\w$\\(].*)?|([A-J])[.:)](?:\s.*)?|(?i:option|choice)\s\(?([A-J])\)?"
)
# What is worked out, to the left of an equals sign: x, x_1, f(x), P(A and B), AB, \angle ABC, Area,
# total cost.
_NAME = re.compile(
    r"\s*(?:m?\s?\\(?:angle|triangle)\s?)?"
    r"(?:(?:[A-Za-z]|\\[a-z]+)'*(?:_(?:\w|\{[^{}]*\}))?(?:\^\{?-1\}?)?(?:\s?\([^()=]*\))?|\|[A-Za-z]{1,2}\||[A-Z]{2,4}"
    r"|\\(?:overline|vec|hat|bar)\s?\{[A-Za-z]+\}|(?:(?i:sum|age|max|min|gcd|lcm|ans|area|cost)|[A-Z]?[a-z]{3,}[A-Za-z]+)"
    r"|(?:[A-Za-z']+\s)*[A-Za-z]{4,}(?:\s[A-Za-z']+)*)\s*"
)
_MATRIX = re.compile(
    r"[\s$]*(?:[A-Za-z]\s?=\s?)?(?:\\left\s?)?[(\[]?\s*\\begin\{(?:[pb]?matrix|array)\}(?:\{[clr|\s]*\})?(.*)"
    r"\\end\{(?:[pb]?matrix|array)\}\s*(?:\\right\s?)?[)\]]?[\s$.]*",
    re.DOTALL,
)


def number(match: re.Match) -> str:
    """Canonical string of a `NUMBER` match; as written if it has no sensible value (1/0,
    1e999999999).
    """
    parts = (re.sub(r"[,\s]", "", match[name] or "").lower() for name in ("whole", "top", "bottom"))
    whole, top, bottom = parts
    if any(abs(int(part.partition("e")[2][:9] or 0)) > MAX_EXPONENT for part in (top, bottom)):
        return match[0]
    if bottom and not Fraction(bottom):
        return match[0]
    if bottom:
        quotient = Fraction(top) / Fraction(bottom)
        digits = str(quotient + int(whole) if whole and 0 < quotient < 1 else quotient)
    else:
        digits = format(Decimal(top), "f")
        digits = digits.rstrip("0").rstrip(".") if "." in digits else digits.lstrip("0") or "0"
    return ("-" + digits if match["sign"] and digits != "0" else digits).removeprefix("--")


def canonical(text: str) -> str | None:
    """Canonical string of a text that *as a whole* is one answer, such as a box's content; None if
    it is empty.
    """
    if len(text) > SPAN:
        return text  # too long to be read: kept, and compared, as it stands
    if matrix := _MATRIX.fullmatch(text):
        rows = [[canonical(cell) or "" for cell in row.split("&")] for row in _rows(matrix[1])]
        return r"\begin{pmatrix}" + r"\\".join("&".join(row) for row in rows) + r"\end{pmatrix}"
    text = plain(to_ascii(text)).strip().strip("*_").lstrip(",;:").rstrip(".,;: ✓✔✅").strip()
    text = re.sub(r"^(['\"])(.*)\1$", r"\2", text)
    text = _NO_PART.sub("", text)
    if choice := _CHOICE.fullmatch(text):
        return choice[choice.lastindex]
    if JOINED.search(text):
        text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    else:
        text = _right_hand_side(_exact_side(text))
        text = _TRAILING_UNIT.sub("", text) if "\\" in text else text
    text = re.sub(r"^(?:USD?|EUR|GBP|INR|Rs\.?)\s?(?=[\d-])", "", text)
    text = re.sub(
        r"^\(([a-h]|-?[\d.]+)\)$|^\{(.*)\}$|^(-)\s|^\+\s?", r"\1\2\3", text
    ).strip()  # (b), {x}, - 5
    if (match := NUMBER.match(text)) and (
        match.end() == len(text) or UNIT.fullmatch(text, match.end())
    ):
        return number(match)
    text = " ".join(text.split())
    if not WORD.search(
        text
    ):  # mathematics: x + 1 is x+1, but a blank keeps "1 2" and "\pi r" apart
        text = re.sub(r"([A-Za-z] (?=[A-Za-z])|\d (?=\d))| ", r"\1", text)
    return text or None


def _rows(body: str) -> list[str]:
    return re.split(r"\\\\(?:\[[^\]]*\])?", body.strip().removesuffix("\\\\"))


def _exact_side(text: str) -> str:
    """``1/3 \\approx 0.333`` is 1/3, and ``x \\approx 5`` and ``\\approx 5`` are 5."""
    left, _, right = text.partition(r"\approx")
    return right.strip() if right and (not left.strip() or _NAME.fullmatch(left)) else left.strip()


def _right_hand_side(text: str) -> str:
    """``x = 5`` and ``45 - 12 = 33`` are what stands behind the last equals sign; another equation
    is itself.
    """
    *others, last = _EQUALS.split(text)
    if len(others) == 1 and is_sum(others[0]) and _NAME.fullmatch(last):
        return others[0].strip()  # 5 = x
    if others and last.strip() and all(_NAME.fullmatch(side) or is_sum(side) for side in others):
        return last.strip()
    return text


def is_sum(text: str) -> bool:
    """Whether a side of an equation is made of numbers alone: ``45 apples - 12``, ``\\sqrt{16}``,
    ``$80 - $25``.
    """
    without_words = re.sub(r"\\[A-Za-z]+|(?<![A-Za-z\d\\])[A-Za-z]{3,}", "", text)
    return bool(re.search(r"\d", text)) and not re.search(
        r"[A-Za-z]", re.sub(r"\d[eE][+-]?\d", "", without_words)
    )


# Values


def value(answer: str) -> Value:
    r"""What answers are compared by, from a canonical string (or a text that is one answer as a
    whole).

    - an exact ``Fraction`` of a number, of a sum of numbers (``5+3``, ``2(3)``,
      ``\frac{1}{2^{99}}``) and of a repeating decimal (``0.\overline{3}``)
    - ``("row", "(]", values)`` of a pair or an interval, in order; ``("matrix", rows)``
    - ``("all", values)`` of a list or a set, in any order
    - ``("measures", ((number, unit), ...))`` of numbers with several units
    - else the text without case and blanks, its mathematics in one notation.
    """
    if not _CANONICAL.fullmatch(answer):
        answer = canonical(answer) or ""
    if _CANONICAL.fullmatch(answer):
        return Fraction(answer)
    if len(answer) > SPAN:
        return answer.casefold()
    if matrix := _MATRIX.fullmatch(answer):
        rows = (tuple(map(value, row.split("&"))) for row in _rows(matrix[1]))
        return "matrix", tuple(("row", "", row) for row in rows)
    for opening, closing in ((r"\{", r"\}"), ("(", ")"), ("[", "]"), ("(", "]"), ("[", ")")):
        inner = answer.removeprefix(opening).removesuffix(closing)
        if len(inner) == len(answer) - len(opening) - len(closing) and _balanced(inner):
            parts = _parts(inner)
            if opening == r"\{":
                return "all", _in_any_order(map(value, parts))
            if len(parts) > 1:
                return "row", opening + closing, tuple(map(value, parts))
    if measures := _measures(answer):
        return "measures", measures
    parts = _parts(answer, joined=True)
    if len(parts) > 1 and not any(map(_has_words, parts)):
        values = _named_values(parts)
        restated = "or" in answer and len(set(values)) == 1  # "0.5, or 1/2"
        return values[0] if restated else ("all", _in_any_order(values))
    text = _notation(answer)
    exact = evaluate(text)
    return text.casefold() if exact is None else exact


def _in_any_order(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(sorted(values, key=repr))


def _has_words(part: str) -> bool:
    """Whether there are words beside a number's unit."""
    quantity = NUMBER.match(part.strip())
    with_unit = quantity and UNIT.fullmatch(part.strip(), quantity.end())
    return bool(WORD.search(part)) and not with_unit


def _balanced(text: str) -> bool:
    depth = 0
    for bracket in re.findall(r"[([{)\]}]", text):
        depth += 1 if bracket in "([{" else -1
        if depth < 0:
            return False
    return depth == 0


def _parts(text: str, joined: bool = False) -> list[str]:
    """The parts between the commas outside of all brackets; of a list without brackets "and" and
    "or" part, too.
    """
    depth, parts = 0, [""]
    separator = r"[;,]|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|" if joined else "[;,]|"
    for token in re.findall(rf"{separator}[([{{]|[)\]}}]|.", text, re.DOTALL):
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


_UNIT_NAMES = {
    "hr": "hour",
    "h": "hour",
    "min": "minute",
    "sec": "second",
    "ft": "feet",
    "foot": "feet",
} | {
    "in": "inch",
    "inche": "inch",
    "lb": "pound",
    "oz": "ounce",
    "yd": "yard",
    "yr": "year",
}  # "inche": inches without its s


def _measures(text: str) -> tuple[tuple[str, str], ...] | None:
    """The numbers of "2 hours and 30 minutes" with their units; None where there are not several
    units.
    """
    found, position = [], 0
    while match := NUMBER.match(text, position):
        unit = re.compile(r"\s?([A-Za-z]{2,})\.?(?:\s?(?:,|and)\s?)*\s*").match(text, match.end())
        if unit is None or unit[1] in ("and", "or"):
            return None
        name = unit[1].lower().rstrip("s")
        found.append((number(match), _UNIT_NAMES.get(name, name)))
        position = unit.end()
    several = position == len(text) and len({unit for _, unit in found}) > 1
    return tuple(found) if several else None


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
    """Whether two values are equal: numbers exactly, structures part by part, texts to the letter
    or as mathematics.

    Mathematics is compared where the optional package math-verify is installed, up to 100
    characters and a second.
    """
    if answer == gold:
        return True
    if isinstance(answer, tuple) and isinstance(gold, tuple):
        (*kind, parts), (*gold_kind, gold_parts) = answer, gold
        if kind != gold_kind or len(parts) != len(gold_parts) or kind == ["measures"]:
            return False
        return (
            _matched(parts, gold_parts)
            if kind == ["all"]
            else all(map(same_value, parts, gold_parts))
        )
    if isinstance(answer, tuple) or isinstance(gold, tuple):
        return False
    return _is_comparable(answer, gold) and same_mathematics(str(answer), str(gold))


def _matched(parts: tuple[Value, ...], gold_parts: tuple[Value, ...]) -> bool:
    """Whether each part has a gold part of its own that equals it."""
    left = list(gold_parts)
    for part in parts:
        index = next((i for i, gold in enumerate(left) if same_value(part, gold)), None)
        if index is None:
            return False
        del left[index]
    return True


def _is_comparable(*values: Fraction | str) -> bool:
    """Whether mathematics may make two values equal that are not equal to the letter."""
    exact = [part for part in values if isinstance(part, Fraction)]
    texts = [part for part in values if isinstance(part, str)]
    if any(len(text) > 100 for text in texts):
        return False
    if len(exact) == 2 or any(
        max(abs(part.numerator), part.denominator) > 10**15 for part in exact
    ):
        return False
    if exact and re.search(r"(?<![A-Za-z\\])[A-Za-z]", texts[0]):
        return False  # a constant such as \sqrt{4} may be a number, a variable is none
    if all(re.fullmatch("[a-z]", text) for text in texts):
        return False  # one letter is not another
    # A word is no product of letters (listen, silent), and bases, times and ratios are not
    # arithmetic.
    foreign = (
        r"\d{15}|[$:,;]|_\{?\d|\d_|\d \d|[<>]|\\(?:le|ge|ne|text|begin|cup|cap|in)(?![A-Za-z])"
    )
    return all(t.isprintable() and not WORD.search(t) and not re.search(foreign, t) for t in texts)
