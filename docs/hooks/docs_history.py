"""Write the sections of ``docs/history.md`` from the kept runs of ``docs/measured/history``."""

from __future__ import annotations

import textwrap
from functools import cache
from pathlib import Path

from published import figure

from logitlab.studies.history import History, charts, history, results_table, steps_table

KEPT = Path(__file__).parents[1] / "measured" / "history"


@cache
def kept_history(package: str) -> History:
    """Return the history of a package's kept runs, which nothing has to measure."""
    return history(KEPT / package)


def history_of(package: str) -> str:
    """Return what changed over the versions of a package, with a chart of each loss that changed, and all results."""
    found = kept_history(package)
    pictures = [figure(each.chart, each.title) for each in charts(found)]
    results = textwrap.indent(results_table(found), "    ")
    parts = [found.headline + ".", *found.notes, steps_table(found), *pictures]
    return "\n\n".join([*parts, f'??? note "Results over versions"\n\n{results}'])
