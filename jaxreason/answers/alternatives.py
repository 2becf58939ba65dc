"""Several answers in a row: "10 or 12", "5 apples and 7", "2 hours and 30 minutes"."""

import re
from typing import NamedTuple

from jaxreason.answers.canonical import NUMBER, canonical
from jaxreason.answers.conjunctions import DOUBT, FOREIGN_OR, JOINT, is_doubt

# A comma, a full stop or a word at which a new clause may begin.
CLAUSE_END = re.compile(
    r",\s|;|(?<![-+*/=^\s])\s\((?![a-z]\s?[-+*/])|[.!?](?:\s(?!=)|$)|"
    r"\s(?:because|since|as|where|when|if|for|and|or|so|with|given|which)\s"
)
OPERATOR = re.compile(  # behind the 3 of 3x+1, 3:1, 3 < x, 3 - 1, 3 000
    r"[A-Za-z(^_\\<>]|:\d|\s:\s\d|\s?[<>]|\s?[-+*/]\s?(?:[\d(\\]|[a-z]\b)|\s\d|\.?\d"
    r"|\s(?:pi|sqrt|dozens?|halves|thirds|tenths|squared|cubed|factorial|remainder|over|by|"
    r"less than)\b"
    r"|\s\\[a-z]|\s\([a-z]\s?[-+*/]"
)

_MEASURE = (
    r"(?:hours?|hrs?|h|minutes?|mins?|seconds?|secs?|s|days?|weeks?|months?|years?|feet|foot|ft|"
    r"inch(?:es)?|in|yards?|miles?|km|m|cm|mm|kg|g|pounds?|lbs?|ounces?|oz|dollars?|cents?|euros?|"
    r"quarts?|pints?|cups?|gallons?)\b\.?"
)
# Between the numbers of 2 hours and 30 minutes.
COMPOUND = re.compile(rf"\s?{_MEASURE},?\s(?:and\s)?(?=\d+\s?{_MEASURE})", re.IGNORECASE)
_ASSIGNED = re.compile(r"(?:[A-Za-z]\s?=\s?)?")  # the second x of "x = 1 or x = 2"
# Up to two words behind a number, such as its unit; not those with which the sentence goes on.
_NO_UNIT = r"(?:and|to|is|so|as|if|but|because|since|for|with|which|than|when|where)\b"
UNITS = re.compile(
    rf"(?:\s?-?(?!{_NO_UNIT}|{DOUBT})"
    rf"(?:(?!{FOREIGN_OR})[^\W\d_])+\.?(?:\s?\^\{{?[23]\}}?)?){{0,2}}",
    re.IGNORECASE,
)
_ENDED = re.compile(rf"[\s*_)\"'}}]*(?:[.,;:!?)\]✓✔✅]|$)|{CLAUSE_END.pattern}")
_AND_A_HALF = re.compile(
    r"(?:\sand|\s?-)?\s(?:an?|one|two|three|four|five)[\s-]"
    r"(?:half|halves|thirds?|quarters?|fourths?|fifths?|tenths?)\b",
    re.IGNORECASE,
)
_NUMBER_WORD = re.compile(
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|"
    r"eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|"
    r"twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)\b",
    re.IGNORECASE,
)


class _Link(NamedTuple):
    """What stands between a number of a row and what may be the next one."""

    end: int  # of the number with its unit
    joined: bool  # whether words or signs join the two
    doubt: bool  # whether one of these words doubts
    position: int  # where the next number has to begin
    following: re.Match | None  # that number


def _link(line: str, last: re.Match) -> _Link:
    end = UNITS.match(line, last.end()).end()
    compound = COMPOUND.match(line, last.end())
    joint = JOINT.match(line, end)
    position = compound.end() if compound else _ASSIGNED.match(line, joint.end()).end()
    return _Link(
        end=end,
        joined=bool(compound or joint[0].strip(" *_")),
        doubt=is_doubt(joint["words"]),
        position=position,
        following=NUMBER.match(line, position),
    )


def read_row(line: str, first: re.Match, doubted: bool = False) -> str | None:
    """The row of answers that the number `first` of a line begins, as one; None where it stands
    alone.

    Args:
      line: in plain notation.
      first: a `NUMBER` match in it.
      doubted: only where the line doubts, "10 or 12"; else commas and "and" join numbers, too.
    """
    half = _AND_A_HALF.match(line, first.end())
    if half:
        return None if doubted else canonical(line[first.start() : half.end()])
    parts, doubts, last = [first[0]], False, first
    while True:
        link = _link(line, last)
        following = link.following
        if following is None:
            word = _NUMBER_WORD.match(line, link.position) if link.doubt else None
            if word:  # "10 or twelve"
                return canonical(line[first.start() : word.end()])
            break
        if not link.joined or (doubted and not link.doubt):
            break
        ending = UNITS.match(line, following.end()).end()
        is_last = _ENDED.match(line, ending) and not OPERATOR.match(line, following.end())
        if not link.doubt and not is_last:
            break
        doubts = doubts or link.doubt
        parts[-1] = line[last.start() : link.end]
        parts.append(line[following.start() : ending])
        last = following
    if len(parts) == 1:
        return None
    return canonical(" or ".join(parts) if doubts else line[first.start() : ending])
