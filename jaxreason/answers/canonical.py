r"""The canonical string of an answer: of the many ways to write it, one.

`canonical` reads a text that as a whole is one answer, such as a box's content. What the string is
worth, and which strings are equal, is for `values`.
"""

import re
from decimal import Decimal
from fractions import Fraction

from jaxreason.answers import choices
from jaxreason.answers.conjunctions import AND_OR
from jaxreason.answers.exact import MAX_EXPONENT
from jaxreason.answers.notation import DECIMAL, plain, to_ascii

SPAN = 500  # characters of an answer that are read; no real answer is longer

# A minus is a sign unless an operand stands before it: "80-25", "80 - 25", "80 -25" subtract, "is
# -5" not.
_SIGN = r"(?<![\w.)\]}%-])(?<![\d)\]}%]\s)-|(?<==)\s?-\s?|(?<==\s)-\s?"
NUMBER = re.compile(
    rf"(?P<sign>{_SIGN})?+(?:(?P<whole>\d++)\s(?=\d++/\d))?+"  # the 1 of 1 1/2
    rf"(?P<top>{DECIMAL})(?:\s?/\s?(?P<bottom>-?{DECIMAL}))?+(?:\s?%)?+",
    re.ASCII,
)

# Words after a number are its unit unless they are mathematics: "5 cm^2", "60 miles per hour",
# "3rd", "73 元".
_POWER = r"(?:\s?\^\s?\{?\s?[23]\}?|[23](?!\d))?"
_NO_UNIT = (
    r"(?!(?:pi|sqrt|sin|cos|tan|log|exp|mod|and|or|times|dozens?|choose|to|by|over|plus|minus|"
    r"less than|divided|halves|thirds|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|"
    r"hundredths|squared|cubed|factorial|remainder)\b)"
)
_SHORT = (  # units that may stand right behind their number
    r"[cmk]m|[km]g|m[lL]|ft|in|lbs?|oz|hrs?|mins?|secs?|[ap]\.?m|[AP]M|[GM]B|st|nd|rd|th|"
    r"USD|EUR|mph|kmh|[kM]?Hz|kW|sq|mi|yd|dollars?|cents?|hours?|minutes?|seconds?|days?|years?|"
    r"degrees?|units?|percent"
)
UNIT = re.compile(
    rf"(?:(?:\s+-?|-){_NO_UNIT}[A-Za-z]{{3,}}|\s*-?{_NO_UNIT}(?:{_SHORT}))\b"  # 5 apples, 5kg
    rf"{_POWER}(?:[A-Za-z\s./',-]*{_POWER})"  # 5 miles per hour
    rf"|\s+[mgLshWNKVJ](?:/[a-z]+)?{_POWER}(?![\w(])|L"  # 5 m/s
    r"|\s?[^\W\d_a-zA-Z][^\W\d_]*(?:\s[^\W\d_]+)*\s?"  # 5元
)
_TRAILING_UNIT = re.compile(  # of an expression, 24\pi cm^2
    r"(?<=[a-z})])\s+(?:(?:square|cubic|sq\.?|cu\.?)\s)?"
    r"(?:[cmk]?m|ft|in|inches|feet|yards|miles|met(?:er|re)s|units?|"
    rf"degrees|radians|dollars|seconds|minutes|hours){_POWER}$"
)

# A word of prose: no LaTeX command and no product of variables.
WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{3,}")
_LIST = re.compile(rf"[,;]\s|{AND_OR}")
_THOUSANDS = re.compile(r"(?<![\d,.(\[{])\d{1,3}(?:,\d{3})++(?![\d)\]}]|,\d)")  # not in a pair
_NO_PART = re.compile(  # of the answer: "approximately 18", x \\in (0, 1), (x, y) = (3, 4)
    r"^(?i:(?:approximately|approx\.?|about|roughly|answer:?)\s+(?=[\d-]))"
    r"|^[A-Za-z]\s?\\in(?![a-z])\s*"
    r"|^\([A-Za-z](?:,\s?[A-Za-z])+\)\s?=\s?(?=\()"
)
_CURRENCY = re.compile(r"^(?:USD?|EUR|GBP|INR|Rs\.?)\s?(?=[\d-])")
_WRAPPED = re.compile(r"^\(([a-h]|-?[\d.]+)\)$|^\{(.*)\}$|^(-)\s|^\+\s?")  # (b), {x}, - 5, + 5
_SPACE = re.compile(r"([A-Za-z] (?=[A-Za-z])|\d (?=\d))| ")  # the first one tells parts apart

_EQUALS = re.compile(r"(?<![<>!\\:])=(?![=>])")
# What is worked out, to the left of an equals sign.
_NAME = re.compile(
    r"\s*(?:m?\s?\\(?:angle|triangle)\s?)?"  # \angle ABC, m\angle ABC
    r"(?:(?:[A-Za-z]|\\[a-z]+)'*(?:_(?:\w|\{[^{}]*\}))?(?:\^\{?-1\}?)?"  # x, x_1, f^{-1}
    r"(?:\s?\([^()=]*\))?"  # f(x), P(A and B)
    r"|\|[A-Za-z]{1,2}\||[A-Z]{2,4}"  # |x|, AB
    r"|\\(?:overline|vec|hat|bar)\s?\{[A-Za-z]+\}"
    r"|(?:(?i:sum|age|max|min|gcd|lcm|ans|area|cost)|[A-Z]?[a-z]{3,}[A-Za-z]+)"
    r"|(?:[A-Za-z']+\s)*[A-Za-z]{4,}(?:\s[A-Za-z']+)*)\s*"  # total cost
)
_MATRIX = re.compile(
    r"[\s$]*(?:[A-Za-z]\s?=\s?)?(?:\\left\s?)?[(\[]?\s*"
    r"\\begin\{(?:[pb]?matrix|array)\}(?:\{[clr|\s]*\})?(.*)\\end\{(?:[pb]?matrix|array)\}"
    r"\s*(?:\\right\s?)?[)\]]?[\s$.]*",
    re.DOTALL,
)


def number(match: re.Match) -> str:
    """Canonical string of a `NUMBER` match.

    It is as written if it has no sensible value (1/0, 1e999999999).
    """
    whole, top, bottom = (
        re.sub(r"[,\s]", "", match[part] or "").lower() for part in ("whole", "top", "bottom")
    )
    if not (_is_small(top) and _is_small(bottom)) or (bottom and not Fraction(bottom)):
        return match[0]
    digits = _quotient(whole, top, bottom) if bottom else _decimal(top)
    if match["sign"] and digits != "0":
        digits = "-" + digits
    return digits.removeprefix("--")


def _is_small(part: str) -> bool:
    exponent = part.partition("e")[2][:9] or "0"
    return abs(int(exponent)) <= MAX_EXPONENT


def _quotient(whole: str, top: str, bottom: str) -> str:
    """``7/2`` of 7/2 and of 3 1/2; a whole number before an improper fraction is dropped."""
    quotient = Fraction(top) / Fraction(bottom)
    return str(quotient + int(whole) if whole and 0 < quotient < 1 else quotient)


def _decimal(top: str) -> str:
    """Without an exponent and without idle zeros."""
    digits = format(Decimal(top), "f")
    if "." in digits:
        return digits.rstrip("0").rstrip(".")
    return digits.lstrip("0") or "0"


def canonical(text: str) -> str | None:
    """Canonical string of a text that *as a whole* is one answer; None if it is empty.

    A text of more than `SPAN` characters is too long to be read, and stays as it stands.
    """
    if len(text) > SPAN:
        return text
    cells = matrix_cells(text)
    if cells is not None:
        rows = ("&".join(canonical(cell) or "" for cell in row) for row in cells)
        return r"\begin{pmatrix}" + r"\\".join(rows) + r"\end{pmatrix}"
    text = _bare(text)
    choice = choices.NAMED.fullmatch(text)
    if choice:
        return choices.letter(choice)
    if _LIST.search(text):
        text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    else:
        text = _right_hand_side(_exact_side(text))
        text = _TRAILING_UNIT.sub("", text) if "\\" in text else text
    text = _WRAPPED.sub(r"\1\2\3", _CURRENCY.sub("", text)).strip()
    single = quantity(text)
    if single:
        return number(single)
    text = " ".join(text.split())
    if not WORD.search(text):  # mathematics: x + 1 is x+1, but "1 2" and "\pi r" keep their blanks
        text = _SPACE.sub(r"\1", text)
    return text or None


def quantity(text: str) -> re.Match | None:
    """The `NUMBER` match of a text that is one number, at most with its unit."""
    found = NUMBER.match(text)
    if found and (found.end() == len(text) or UNIT.fullmatch(text, found.end())):
        return found
    return None


def matrix_cells(text: str) -> list[list[str]] | None:
    """The cells of a matrix by rows, as they are written; None of any other text."""
    matrix = _MATRIX.fullmatch(text)
    if matrix is None:
        return None
    rows = re.split(r"\\\\(?:\[[^\]]*\])?", matrix[1].strip().removesuffix("\\\\"))
    return [row.split("&") for row in rows]


def _bare(text: str) -> str:
    """Without LaTeX, fonts, quotes, punctuation at the ends, and words that are no part of it."""
    text = plain(to_ascii(text)).strip().strip("*_").lstrip(",;:").rstrip(".,;: ✓✔✅").strip()
    text = re.sub(r"^(['\"])(.*)\1$", r"\2", text)
    return _NO_PART.sub("", text)


def _exact_side(text: str) -> str:
    r"""``1/3 \approx 0.333`` is 1/3, and ``x \approx 5`` and ``\approx 5`` are 5."""
    left, _, right = text.partition(r"\approx")
    rounded_only = not left.strip() or _NAME.fullmatch(left)
    return (right if right and rounded_only else left).strip()


def _right_hand_side(text: str) -> str:
    """``x = 5`` and ``45 - 12 = 33`` are what stands behind the last equals sign.

    Another equation is itself.
    """
    *others, last = _EQUALS.split(text)
    if len(others) == 1 and is_sum(others[0]) and _NAME.fullmatch(last):
        return others[0].strip()  # 5 = x
    if others and last.strip() and all(_NAME.fullmatch(side) or is_sum(side) for side in others):
        return last.strip()
    return text


def is_sum(text: str) -> bool:
    r"""Whether a side of an equation is made of numbers alone.

    Such are ``45 apples - 12``, ``\sqrt{16}``, ``$80 - $25``.
    """
    without_words = re.sub(r"\\[A-Za-z]+|(?<![A-Za-z\d\\])[A-Za-z]{3,}", "", text)
    without_exponents = re.sub(r"\d[eE][+-]?\d", "", without_words)
    return bool(re.search(r"\d", text)) and not re.search("[A-Za-z]", without_exponents)
