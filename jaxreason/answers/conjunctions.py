"""The words and signs between two answers: what joins them, and what leaves them in doubt."""

import re

# Between the parts of a list that is one answer: "5 and 7", "x=1 or x=2".
AND_OR = r"(?<![A-Za-z\\])(?:or|and)(?![A-Za-z])"

# The writer is of two minds: "10 or 12", "10, maybe 11". In other scripts no blanks part the words:
# 10或12, 10 または 12.
FOREIGN_OR = r"或者?|还是|또는|혹은|または|あるいは|أو"
DOUBT = (
    r"(?:\b(?:or|maybe|perhaps|possibly|alternatively|otherwise|could|might|oder|ou|o|или)\b"
    rf"|{FOREIGN_OR})"
)
_DOUBT = re.compile(DOUBT, re.IGNORECASE)

# Between two answers of a sentence: ", and", "; or maybe", ". Or it could be".
_JOINING_WORD = r"\b(?:and/or|and|to|but|vs\.?|versus|else|also|even|then|is|be|it|it's)\b"
JOINT = re.compile(
    rf"[\s*_]*(?:[,;&|]|[.(?]\s*(?={DOUBT}))?\s*"
    rf"(?P<words>(?:(?:{_JOINING_WORD}|{DOUBT})[,\s]*)*)",
    re.IGNORECASE,
)

# Between two boxes, \boxed{3} and \boxed{4}, and between two letters, (A) or (B).
BETWEEN_BOXES = re.compile(rf"[\s*$.]*(?:[,;/|&]\s*)?(?:(?:and|{DOUBT})[,\s*$]*)*", re.IGNORECASE)
BETWEEN_LETTERS = r"(?:[,/&]|\b(?:or|and|but|maybe|perhaps|possibly)\b)"

# Before a statement that begins behind a doubt: "10, or maybe the answer is 12".
DOUBT_BEFORE = re.compile(
    rf"{DOUBT}[,\s]*(?:(?:{DOUBT}|the|my|is|it|it's|final|correct|right|$)[,\s]*)*$", re.IGNORECASE
)


def is_doubt(words: str) -> bool:
    """Whether there is a word of doubt among the words."""
    return _DOUBT.search(words) is not None


def doubted_rest(rest: str) -> str:
    """What a doubt adds to a word: " or odd" of "even or odd", else nothing."""
    return re.match(rf"(?:,?\s*{DOUBT}\s[\w\s]+)?", rest, re.IGNORECASE)[0]
