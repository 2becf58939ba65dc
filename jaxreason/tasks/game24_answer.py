"""What a text offers as its solution of the Game of 24.

It may write operators in many ways, and its answer as a number or as an expression. A wrong grade
is worse than none, so what is not plainly four operations on whole numbers is not read at all:
powers, roots, decimals, a sign in front of a number, digits put together, words behind the answer.
"""

import ast
import operator
import re
from collections.abc import Sequence
from fractions import Fraction

_SIGNS = str.maketrans(
    {
        **dict.fromkeys("×✕✖⨯·⋅∙∗＊", "*"),
        **dict.fromkeys("÷∕⁄／", "/"),
        **dict.fromkeys("−–﹣－", "-"),
        **dict.fromkeys("\u00a0\u2009\u202f", " "),
        **{"＋": "+", "＝": "=", "（": "(", "）": ")"},
    }
)
_LATEX = (
    (r"\\(?:times|cdot|ast)(?![a-zA-Z])|\\\*", "*"),
    (r"\\div(?![a-zA-Z])", "/"),
    (r"\\left\(", "("),
    (r"\\right\)", ")"),
    (r"\\[()]|\$", ""),
    (r"(?<=[0-9)])( ?)[xX]( ?)(?=[0-9(])", r"\1*\2"),
)
_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
LONGEST = 100  # characters of an expression

# A line such as `#### 24` or `Answer: (8 - 6) * 12 = 24`.
ANSWER = re.compile(r"^(?:####|[ \t]*(?i:answer):)(.*)", re.MULTILINE)
# The number alone, at most with the end of a sentence: in `24%`, `24 or 25` and `24.5` another
# value is meant, or two.
_NUMBER = re.compile(r"([0-9]+)(?:[.!](?=\s|$)[^0-9]*)?")
_EXPRESSION = re.compile(r"([0-9+\-*/() ]+?) *(?:= *([0-9]+) *)?[.!]?")


def plain(text: str) -> str:
    """The text with + - * / in place of × ÷ −, their LaTeX, and an x between numbers."""
    text = text.translate(_SIGNS)
    for pattern, replacement in _LATEX:
        text = re.sub(pattern, replacement, text)
    return text


def evaluate(expression: str) -> tuple[list[int], Fraction] | None:
    """The numbers of an expression in + - * / and brackets, as written, and its exact value.

    None where it is no expression, such as `7 - / 2`, or has no value, such as `1/0`.
    """
    if len(expression) > LONGEST or not re.fullmatch(r"[0-9+\-*/() ]+", expression):
        return None
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        numbers: list[int] = []
        return numbers, _value(tree, numbers)
    except (SyntaxError, ZeroDivisionError, TypeError):
        return None


def _value(node: ast.expr, numbers: list[int]) -> Fraction:
    """Raises TypeError on what is no number and no operation, such as a sign, a power or a call."""
    if isinstance(node, ast.Constant):
        numbers.append(node.value)
        return Fraction(node.value)
    if not isinstance(node, ast.BinOp) or type(node.op) not in _OPERATIONS:
        raise TypeError(type(node).__name__)
    a, b = _value(node.left, numbers), _value(node.right, numbers)
    return _OPERATIONS[type(node.op)](a, b)


def is_answer(said: str, numbers: Sequence[int], left: tuple[int, ...], target: int) -> bool:
    """Whether an answer is right.

    A number has to be the target, and what the steps leave. An expression needs no steps: it proves
    itself if it takes every number once and its exact value is the target; fractions may occur on
    the way, as in Yao et al. 2023.

    Args:
      said: what stands behind the mark in its line.
      numbers: of the puzzle.
      left: what the steps before the answer leave.
      target: 24.
    """
    said = plain(said).strip()
    number = _NUMBER.fullmatch(said)
    if number:
        return left == (target,) and number[1] == str(target)
    stated = _EXPRESSION.fullmatch(said)
    found = evaluate(stated[1]) if stated else None
    if found is None or stated[2] not in (None, str(target)):
        return False
    used, value = found
    return sorted(used) == sorted(numbers) and value == target
