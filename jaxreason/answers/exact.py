r"""Sums of numbers, worked out exactly: ``3 1/2 + 1``, ``2(3)``, ``\frac{1}{2^{99}}``,
``\sqrt{16}``, ``0.\overline{3}``.
"""

import ast
import operator
import re
from decimal import Decimal
from fractions import Fraction

MAX_EXPONENT = 400  # covers every float; Fraction("1e999999999") would fill the memory
_BRACKETS = str.maketrans("{}", "()")
_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def evaluate(text: str) -> Fraction | None:
    r"""The exact value of a sum of numbers, as a person reads it; None where it is none, or can be
    read in two ways.

    A number before a bracket multiplies it, ``2(3)``, and a fraction behind a whole number is
    added, ``3 1/2``. ``1/2(3)`` and ``1/2/3`` have two readings, ``007+1`` and ``2024-01-05`` none.
    """
    if not re.fullmatch(r"[\d.+\-*/^(){} ]+", text) or re.search(
        r"/\s?\d+\s?[(/]|\d \d+(?!/|\d)|\.\d*\.", text
    ):
        return None
    text = re.sub(r"(?<![\d.])(\d+) (\d+/\d+)", r"(\1+\2)", text)
    text = re.sub(r"\d*\.\d+", lambda match: f"({Fraction(match[0])})", text.translate(_BRACKETS))
    text = re.sub(r"(?<=[\d)])\s?(?=\()|(?<=\))(?=\d)", "*", text.replace("^", "**"))
    try:
        return _fold(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, MemoryError, RecursionError):
        return None


def _fold(node: ast.expr) -> Fraction:
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
    r"""``\sqrt{2(3)}`` is ``\sqrt{6}``, and ``\sqrt{16}`` 4."""
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
    r"""``0.1\overline{6}`` is (1/6)."""
    whole, start, period = match.groups()
    tail = Fraction(int(period), 10 ** len(start) * (10 ** len(period) - 1))
    return f"({Fraction(f'{whole}.{start}0') + tail})"
