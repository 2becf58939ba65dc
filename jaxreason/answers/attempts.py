"""The attempts of a chain that went back on itself."""

import re
from collections.abc import Sequence


def last_attempt(text: str, continuations: Sequence[str] = ("Wait\n",), end: str = "####") -> str:
    """What a text's answer rests on: the last piece between waits with any reasoning in it, and the
    answer itself.

    Earlier attempts are what the model itself went back on. A wait upon which the model at once
    answers starts no new attempt. Continuation strings count where they begin a line.
    """
    thought, marker, answer = text.partition(end)
    waits = "|".join(map(re.escape, continuations))
    pieces = [piece for piece in re.split(f"(?m)^(?:{waits})", thought) if piece.strip()]
    return (pieces[-1] if pieces else "") + marker + answer
