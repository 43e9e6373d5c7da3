"""The one exception that means: what was asked for cannot be done as it was asked."""


class UsageError(ValueError):
    """Bad input from the user: what was given, what was expected, what to do, in one line.

    The command line prints the line and exits with code 2.
    """
