"""What a report is made of: one run, or several put together, with where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from ..core.arguments import as_paths
from ..core.errors import UsageError
from ..core.formats import DTYPES
from ..storage.manifest import MANIFEST, Manifest
from ..storage.querying import Measurements
from ..storage.schema import CASES
from ..storage.store import Run
from .tables.ignored import describe_nan
from .tables.sections import Section, sections

PARTIAL = "This report is partial"
MAX_DAMAGE = 5  # sentences of what is missing, where they stand above a report


@dataclass(frozen=True, eq=False)
class Report:
    """A report before it is rendered: where its numbers come from, its tables, and the measurements behind them.

    ``preamble`` has the lines above the tables, those of `partial` first. ``source`` answers queries of the
    measurements. ``manifests`` are those of its runs, in their order. ``cases`` has the lines of `store.CASES` that
    the runs keep. ``damage`` tells, a sentence each, what of the runs could not be read or was never measured.
    """

    preamble: list[str]
    sections: list[Section]
    source: Measurements
    manifests: list[Manifest]
    cases: pd.DataFrame
    damage: list[str]


def make_report(runs: Sequence[Run]) -> Report:
    """The report of one run or of several, such as one on a CPU and one kept from a machine with an accelerator.

    What more than one run has measured, a case in a cell, is taken from the first of them, and the page says so.

    Raises:
        UsageError: for a run that has no measurements, or one that is given twice.
    """
    folders = [run.folder.resolve() for run in runs]
    for run, folder in zip(runs, folders, strict=True):
        if folders.count(folder) > 1:
            raise UsageError(f"{run.folder} is given twice; give each run once")
    try:
        return _report(runs)
    except duckdb.Error as error:
        folders = [str(run.folder) for run in runs]
        fix = f"to find the damage, run `logitlab doctor {folders[0]}`"
        raise UsageError(f"cannot read {', '.join(folders)} ({error}); {fix}") from error


def tables(*runs: Path | str | Sequence[Path | str]) -> dict[str, pd.DataFrame]:
    """The tables of a report of runs, by name, made from their parts without loading them.

    Args:
        runs: their folders, or one list of them; what more than one has is taken from the first.

    Returns:
        ``grades``, ``finiteness``, ``errors_loss``, ``errors_gradient``, ``agreement`` and whatever else the runs have
        measurements for: what ``logitlab report --format csv`` writes.

    Raises:
        UsageError: for no folder, one that is not a run, and one that is given twice.
    """
    # A DataFrame is a list of its columns' names.
    lone: Any = runs[0] if len(runs) == 1 else runs
    given = runs if isinstance(lone, pd.DataFrame) else lone
    if given is None or (isinstance(given, (list, tuple)) and not given):
        raise UsageError("no run is given; give the folders of one or more runs")
    folders = as_paths(given, "runs", "the folder of a run")
    return {section.name: section.table for section in make_report([Run(folder) for folder in folders]).sections}


def _report(runs: Sequence[Run]) -> Report:
    checked = [run.whole_parts() for run in runs]
    source = Measurements.of_parts([parts for parts, _ in checked])
    preamble: list[str] = []
    damage: list[str] = []
    cases = [CASES.empty_table().to_pandas()]
    for number, run in enumerate(runs):
        preamble += _provenance(run.manifest)
        if lost := run.manifest.lost:
            damage.append(f"{run.folder / MANIFEST} is damaged: it has no {', no '.join(lost)}")
        damage += checked[number][1]
        try:
            cases.append(run.cases())
        except UsageError as error:
            damage.append(str(error))
        if not run.manifest.complete:
            wanted = len(run.manifest.cells)
            of = f": {source.cells_of(number)} of its {wanted} cells are there" if wanted else ""
            damage.append(f"The run {run.manifest.run} is not complete{of}")
        if source.repeated[number]:
            twice = source.repeated[number]
            preamble.append(f"Left out, since a run above has them too: cases of {twice} cells of this run")
    preamble += describe_nan(source)
    of_runs = pd.concat(cases, ignore_index=True).drop_duplicates(["case", "row"])
    return Report(
        [*partial(damage), *preamble], sections(source), source, [run.manifest for run in runs], of_runs, damage
    )


def partial(damage: Sequence[str]) -> list[str]:
    """The first lines of a report that lacks something: what, and how many other things; none of a whole report."""
    more = len(damage) - MAX_DAMAGE
    rest = [f"{PARTIAL}: {more} more faults; `logitlab doctor RUN` lists those of a run"] if more > 0 else []
    return [*(f"{PARTIAL}: {message}" for message in damage[:MAX_DAMAGE]), *rest]


def _provenance(m: Manifest) -> list[str]:
    lines = [
        f"Run {m.run} of LogitLab {m.logitlab}" + ("" if m.complete else ", NOT COMPLETE"),
        "Measured: " + ", ".join(f"{package} {version}" for package, version in m.packages.items()),
        f"On: {m.machine}",
        f"Catalogue: {len(m.catalogue['cases'])} cases, {m.catalogue['hash'][:12]}",
    ]
    for name, settings in m.nonempty_settings.items():
        lines.append(f"Settings of {name}: {'; '.join(f'{what} {value}' for what, value in settings.items())}")
    if m.left_out:
        counts = ", ".join(f"{m.left_out_by_dtype[d]} in {d}" for d in DTYPES if d in m.left_out_by_dtype)
        lines.append(f"Left out, since the dtype would make a finite number infinite: {counts}")
    if m.plain_only:
        lines.append(f"Run on logits and class indices alone, without loss options: {', '.join(m.plain_only)}")
    lines += [f"{name} is held to its own definition: {definition}" for name, definition in m.conventions.items()]
    return lines + [f"Not installed: {name} ({why})" for name, why in m.missing.items()]
