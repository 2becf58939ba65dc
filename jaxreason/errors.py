"""The one exception a user's bad input raises."""


class InputError(ValueError):
    """Bad input: the message is one line that names the value, what was expected and what to do.

    Command-line programs print it and exit with status 2; library callers catch it as ``ValueError``.
    """


def one_line(error: BaseException) -> str:
    """What an error of a library says first, to be quoted in an InputError."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
