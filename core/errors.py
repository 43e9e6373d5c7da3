"""The one exception that means: what was asked for cannot be done as it was asked."""


class UsageError(ValueError):
    """Bad input from the user: what was given, what was expected, what to do, in one line.

    The command line prints the line and exits with code 2.
    """


MAX_SHOWN = 60  # characters


def short_repr(value: object) -> str:
    """A value as a message shows it, on one short line."""
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return f"{value[:MAX_SHOWN]!r}..."
    written = repr(value)
    return written if len(written) <= MAX_SHOWN and written.isprintable() else f"of type {type(value).__name__}"
