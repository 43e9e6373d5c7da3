"""The lines of a program for the kinds of call that are tried on a few narrow batches."""

from collections.abc import Callable, Sequence

from ....frameworks import Syntax
from ..batches._presentation import CallKind
from ..measuring._threads import ROUNDS, SWITCH_SECONDS

# The results of a call that are not row losses or their gradient.
RESULTS = {CallKind.JVP: "slope", CallKind.SECOND: "second"}
# The program runs once, where a check tries many batches: it calls more often.
MORE_ROUNDS = 4


def in_two_threads(syntax: Syntax, calls: Sequence[str], printed: Callable[[str], str], name: str) -> list[str]:
    """Return the lines that print a result of two threads, one with the rows in reverse order, if it is wrong in one.

    Args:
        syntax: the framework's.
        calls: the lines that compute the result from ``x`` and ``t``.
        printed: returns the code of a result's numbers.
        name: the result, ``rows`` or ``gradient``.
    """
    return [
        "import sys",
        "from threading import Barrier, Thread",
        "def numbers_of(x, t):",
        *map("    {}".format, [*calls, f"return {printed(name)}"]),
        f"sys.setswitchinterval({SWITCH_SECONDS})",
        "start, found, batches = Barrier(2), [], [(x, t, 1), (" + syntax.reversed_rows + ", -1)]",
        "alone = [numbers_of(x, t)[::order] for x, t, order in batches]",
        "def run(i):",
        "    x, t, order = batches[i]",
        f"    for _ in range({ROUNDS * MORE_ROUNDS}):",
        "        start.wait()",
        "        found.append((numbers_of(x, t)[::order], alone[i]))",
        "threads = [Thread(target=run, args=(i,)) for i in (0, 1)]",
        "for thread in threads:",
        "    thread.start()",
        "for thread in threads:",
        "    thread.join()",
        "given = next((numbers for numbers, alone in found if numbers != alone), found[0][0])",
        "print('given:', given)",
    ]
