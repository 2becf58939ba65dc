r"""The letters of a multiple choice, A to J, in all the ways that texts write them."""

import re

from jaxreason.answers.conjunctions import BETWEEN_LETTERS

# One answer as a whole, such as a box's content: "(E)", "(E) 12", "E: because", "Option (E)".
NAMED = re.compile(
    r"\(([A-J])\)(?:\s+(?!or\b|and\b)[\w$\\(].*)?"
    r"|([A-J])[.:)](?:\s.*)?"
    r"|(?i:option|choice)\s\(?([A-J])\)?"
)

# The begin of a statement: "the option (e)", "E.", "**E**"; and the choice between yes and no.
OPENING = re.compile(
    r"[\s*_:]*(?i:(?:therefore|thus|clearly|the)\s)*(?i:(?:option|choice|letter)\s+)?"
    r"(?:\(([A-Ja-j])\)"
    r"|([A-J])\s*(?=[).:,*_]|$)"
    r"|((?i:yes|no|true|false))\b(?=\s*(?:[.,;:!*]|$)))"
)

# "The correct option is E": the letter stands behind; "option E is correct": it is in the phrase.
PICK = re.compile(
    r"(?:option|choice)"
    r"(?:\s(?:is|must be|would be)\b:?"
    r"|:"
    r"|\s?[*_(]*(?-i:(?P<letter>[A-J]))[*_)]*\sis\s(?:the\s)?(?:correct|right|best|answer)\b)",
    re.IGNORECASE,
)

# Several: "(A) or (B)". The word I is no letter of a choice.
_LETTER = r"(?:\([A-J]\)|[A-HJ]\b|I(?=[\s.]*$))"
SEVERAL = re.compile(rf"\s*{_LETTER}(?:\s*[(]?{BETWEEN_LETTERS}\s*)+{_LETTER}")

# A text that is nothing but a choice: "E", "(E)", "(E) 12".
WHOLE = re.compile(r"\(?[A-J]\)?|\([A-J]\)\s[^()\n]*")


def letter(match: re.Match) -> str:
    """The letter, or the word, of a match of `NAMED` or `OPENING`."""
    return match[match.lastindex]
