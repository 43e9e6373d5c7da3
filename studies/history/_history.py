"""``history``: the results of each implementation over the versions of its packages."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ...core.arguments import Strings, as_dtypes, as_strings
from ...core.counting import count
from ...core.errors import UsageError
from ...execution.plan import matches_name
from ..compare import CELL, Kind, growth_factor
from ._points import points
from ._runs import MeasuredRun, measured_runs
from ._series import Series, all_series
from ._steps import changes, steps

RESULT = [*CELL, "quantity"]  # the columns that name a result


@dataclass(frozen=True, eq=False, repr=False)
class History:
    """The results of each implementation over versions.

    Attributes:
        points: one line for each cell, quantity and version, the oldest version first. ``version`` names the packages
            that differ, such as ``optax 0.2.6``, and ``run`` the run. ``grade`` is the worst, ``largest_ulp`` the
            largest finite error, and ``median_ulp`` the median, in ulp of the dtype. ``finite`` is the share of
            graded rows that are not infinite or NaN by mistake. ``same_bits`` is the share of results with the bits of
            the version before, and missing where these are unknown. ``rows``, ``graded`` and ``failed`` are numbers
            of rows: all, those with a grade, and those whose call did not succeed. ``status`` is the worst status.
        steps: one line for each cell, quantity and version with a change. It has the numbers of
            ``regressions``, ``improvements`` and ``others``, and the worst change: its ``case`` and ``row``, and the
            state ``before`` and ``after``. ``previous`` is the version before.
        changes: every change, in the columns of `Comparison.changes` and with ``version`` and ``previous``.
        runs: the runs in the order given.
        notes: hints for the reader: other processors, incomplete runs.
        not_compared: the reason for each pair of runs that cannot be compared.
        factor: the growth of an error that is still allowed.
    """

    points: pd.DataFrame
    steps: pd.DataFrame
    changes: pd.DataFrame
    runs: tuple[MeasuredRun, ...]
    notes: tuple[str, ...]
    not_compared: tuple[str, ...]
    factor: float

    @property
    def regressions(self) -> pd.DataFrame:
        """The steps with a regression."""
        return self.steps[self.steps["regressions"] > 0].reset_index(drop=True)

    @property
    def improvements(self) -> pd.DataFrame:
        """The steps with an improvement and without a regression."""
        better = (self.steps["improvements"] > 0) & (self.steps["regressions"] == 0)
        return self.steps[better].reset_index(drop=True)

    @property
    def exit_code(self) -> int:
        """2 if two runs cannot be compared, else 1 if a version has a regression, else 0."""
        return 2 if self.not_compared else int(len(self.regressions) > 0)

    @property
    def headline(self) -> str:
        """The result in one sentence."""
        results = self.points[RESULT].drop_duplicates()
        changed = self.steps[self.steps["change"] != Kind.BITS_CHANGED]
        only_bits = len(self.steps) - len(changed)
        return (
            f"{count(len(results), 'result')} over {count(len(self.runs), 'run')}: "
            f"{count(len(self.regressions), 'step')} with a regression, {count(len(self.improvements), 'step')} "
            f"with an improvement, {count(len(changed) - len(self.regressions) - len(self.improvements), 'other step')}"
            f", {count(only_bits, 'step')} in bits only"
        )

    def only_regressions(self) -> "History":
        """Return the history of the cells and quantities with a regression, and only these steps."""
        kept = self.regressions
        regressed = set(kept[RESULT].itertuples(index=False, name=None))
        in_points = [key in regressed for key in self.points[RESULT].itertuples(index=False, name=None)]
        worse = self.changes[self.changes["regression"].astype(bool)]
        return replace(
            self, points=self.points[in_points].reset_index(drop=True), steps=kept,
            changes=worse.reset_index(drop=True),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"History({self.headline})"


def history(
    runs: str | Path | Sequence[str | Path],
    *,
    implementations: Strings = None,
    dtypes: object = None,
    factor: float = 2.0,
) -> History:
    """Return the results of each implementation over the versions of its packages.

    Each run is one version. Its packages come from its manifest: an implementation depends on its framework and on the
    library that its name starts with, so that ``jax/optax.*`` depends on optax and on jax. The order is that of the
    versions, whatever the order of the arguments. Runs of one version are in the order in which they started.

    Args:
        runs: run folders, packed runs, baselines, or folders that hold several of these.
        implementations: globs over their names; by default all of the runs.
        dtypes: their names; by default those of the runs.
        factor: an error grew if it is more than this many times as large, and more than 1 ulp larger.

    Raises:
        UsageError: for a run that cannot be read, or nothing that matches.
    """
    factor = growth_factor(factor)
    globs, names = as_strings(implementations, "implementations"), as_dtypes(dtypes)
    measured = measured_runs(runs)
    series = [
        each for each in all_series(measured)
        if matches_name(each.cell.implementation, globs) and (not names or each.cell.dtype in names)
    ]  # fmt: skip
    if not series:
        raise UsageError("no measurement of the runs matches; leave out implementations or dtypes to see all")
    lines, (changed, failed) = points(series), changes(series, factor)
    return History(
        lines, steps(changed, lines), changed, measured, tuple(_notes(measured, series)), tuple(failed), factor
    )


def _notes(runs: Sequence[MeasuredRun], series: Sequence[Series]) -> list[str]:
    notes = [f"{run.name} is incomplete" for run in runs if run.source.complete is False]
    processors = sorted({run.processor for run in runs if run.processor})
    if len(processors) > 1:
        notes.append(f"The runs have different processors: {', '.join(processors)}")
    alone = sorted({each.cell.implementation for each in series if len(each.points) == 1})
    if alone and len(runs) > 1:
        notes.append(f"Measured by one run only: {', '.join(alone)}")
    return notes
