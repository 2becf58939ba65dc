"""The one exception a user's bad input raises, and how a program ends with it."""

import contextlib
import difflib
import sys
from collections.abc import Iterable, Iterator


class InputError(ValueError):
    """Bad input: the message is one line that names the value, what was expected and what to do.

    Command-line programs print it and exit with status 2; library callers catch it as
    ``ValueError``.
    """


def one_line(error: BaseException) -> str:
    """What an error of a library says first, to be quoted in an InputError."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'tiny'?"`` of the known names that are spelt almost alike, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=2)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


@contextlib.contextmanager
def clean_exit() -> Iterator[None]:
    """Ends the program without a traceback: InputError with its one line and status 2, Ctrl-C with
    status 130.
    """
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'interrupted'}", file=sys.stderr)
        raise SystemExit(130) from None
