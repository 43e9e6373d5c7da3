"""The one exception that means: what was asked for cannot be done as it was asked."""


class UsageError(ValueError):
    """Bad input from the user: what was given, what was expected, what to do, in one line.

    The command line prints the line and exits with code 2.
    """


MAX_SHOWN = 60  # characters
MAX_LINE, MAX_READ = 500, 5000  # characters of an error that are kept, and that are looked at


def short_repr(value: object) -> str:
    """A value as a message shows it, on one short line."""
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return f"{value[:MAX_SHOWN]!r}..."
    written = repr(value)
    return written if len(written) <= MAX_SHOWN and written.isprintable() else f"of type {type(value).__name__}"


def format_error(error: BaseException) -> str:
    """The error's kind and first words on one line, without what a terminal would take for commands."""
    try:
        words = str(error)[:MAX_READ]
    except BaseException as another:  # the words are another package's code too
        words = f"it has no words: {type(another).__name__}"
    printable = "".join(c if c.isprintable() else " " for c in f"{type(error).__name__}: {words}")
    return " ".join(printable.split())[:MAX_LINE]
