"""The output of a module while it is imported."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


class Prints(io.StringIO):
    """The captured output."""

    @property
    def words(self) -> str:
        """The last line of the output, as the end of a clause; empty if there is none."""
        lines = self.getvalue().strip().splitlines()
        return f" and prints {lines[-1].strip()!r}" if lines else ""


@contextmanager
def captured_prints() -> Iterator[Prints]:
    """Capture what the block prints, and print it to standard error if the block does not raise."""
    found = Prints()
    with redirect_stdout(found), redirect_stderr(found):
        yield found
    sys.stderr.write(found.getvalue())
