"""The exception for bad input, and how values and other exceptions are shown in a message."""

from collections.abc import Callable


class UsageError(ValueError):
    """Bad input from the user.

    The message is one line: the given value, the expected one, and a way to fix it. If a command helps, it comes last.
    The command line prints the message and exits with code 2.
    """


MAX_SHOWN = 60  # characters of a value
MAX_LINE, MAX_READ = 500, 5000  # characters of an error's message: the longest result, and how many are read


def short_repr(value: object) -> str:
    """Return the value's repr for a message, or its type if the repr is long or has control characters."""
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return f"{value[:MAX_SHOWN]!r}..."
    written = repr(value)
    return written if len(written) <= MAX_SHOWN and written.isprintable() else f"of type {type(value).__name__}"


def format_error(
    error: BaseException, longest: int = MAX_LINE, message_of: Callable[[BaseException], str] = str
) -> str:
    """Return the error's type and the start of its message on one line, without control characters."""
    try:
        message = message_of(error)[:MAX_READ]
    except BaseException as another:  # __str__ is another package's code and may raise
        message = f"no message, {type(another).__name__} in __str__"
    printable = "".join(c if c.isprintable() else " " for c in f"{type(error).__name__}: {message}")
    return " ".join(printable.split())[:longest]
