r"""Sums of numbers, worked out exactly: ``3 1/2 + 1``, ``2(3)``; roots and repeating decimals."""

import ast
import operator
import re
from decimal import Decimal
from fractions import Fraction

MAX_EXPONENT = 400  # covers every float; Fraction("1e999999999") would fill the memory
_BRACKETS = str.maketrans("{}", "()")
_SUM = re.compile(r"[\d.+\-*/^(){} ]+")
_AMBIGUOUS = re.compile(r"/\s?\d+\s?[(/]|\d \d+(?!/|\d)|\.\d*\.")  # 1/2(3), 1/2/3, 1 2, 1.2.3
_MIXED = re.compile(r"(?<![\d.])(\d+) (\d+/\d+)")  # 3 1/2
_DECIMAL = re.compile(r"\d*\.\d+")
_PRODUCT = re.compile(r"(?<=[\d)])\s?(?=\()|(?<=\))(?=\d)")  # between 2 and (3)
_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def evaluate(text: str) -> Fraction | None:
    r"""The exact value of a sum of numbers, as a person reads it.

    A number before a bracket multiplies it, ``2(3)``, and a fraction behind a whole number is
    added, ``3 1/2``. None where there are two readings, ``1/2(3)`` and ``1/2/3``, or none,
    ``007+1`` and ``2024-01-05``.
    """
    if not _SUM.fullmatch(text) or _AMBIGUOUS.search(text):
        return None
    text = _MIXED.sub(r"(\1+\2)", text).translate(_BRACKETS)
    text = _DECIMAL.sub(lambda digits: f"({Fraction(digits[0])})", text)
    text = _PRODUCT.sub("*", text.replace("^", "**"))
    try:
        return _fold(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, MemoryError, RecursionError):
        return None


def _fold(node: ast.expr) -> Fraction:
    """Raises ValueError on what is no number and no sum, and on powers that are too large."""
    match node:
        case ast.Constant(value=int(whole)):
            return Fraction(whole)
        case ast.UnaryOp(op=sign, operand=operand):
            return _OPERATORS[type(sign)](_fold(operand))
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            base, exponent = _fold(base), _fold(exponent)
            if exponent.denominator > 1 or abs(exponent) > MAX_EXPONENT or len(str(base)) > 20:
                raise ValueError("not worked out")
            return base ** int(exponent)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_fold(left), _fold(right))
    raise ValueError("no number")


def root(match: re.Match) -> str:
    r"""``\sqrt{2(3)}`` is ``\sqrt{6}``, and ``\sqrt{16}`` 4; for `re.sub`, group 1 the radicand."""
    radicand = evaluate(match[1])
    if radicand is None or radicand < 0:
        return match[0]
    top, bottom = (_integer_root(part) for part in radicand.as_integer_ratio())
    if top is None or bottom is None:
        return rf"\sqrt{{{radicand}}}"
    before = match.string[: match.start()][-1:]
    return f"({Fraction(top, bottom)})" if before else str(Fraction(top, bottom))


def _integer_root(square: int) -> int | None:
    root = int(Decimal(square).sqrt()) if square < 10**20 else 0
    return root if root * root == square else None


def repeating(match: re.Match) -> str:
    r"""``0.1\overline{6}`` is (1/6); for `re.sub`, groups for 0, 1 and 6."""
    whole, start, period = match.groups()
    tail = Fraction(int(period), 10 ** len(start) * (10 ** len(period) - 1))
    return f"({Fraction(f'{whole}.{start}0') + tail})"
