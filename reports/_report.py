"""The content of a report: one run, or several put together, with where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from ..core import interpreting
from ..core.arguments import as_paths
from ..core.counting import count
from ..core.errors import UsageError
from ..core.formats import in_table_order
from ..storage.manifest import MANIFEST, Manifest
from ..storage.querying import Measurements
from ..storage.schema import BITWISE, CASES, PROGRAMS
from ..storage.store import Run
from ._summary import Summary, summarize
from .tables.bitwise import describe_bitwise
from .tables.curves import PREFIX
from .tables.ignored import describe_nan
from .tables.sections import Section, bitwise_sections, sections

PARTIAL = "This report is partial"
MAX_DAMAGE = 5  # sentences about missing or damaged parts above a report


@dataclass(frozen=True, eq=False)
class Report:
    """A report before it is rendered.

    Attributes:
        preamble: the lines above the tables, those of `partial` first.
        source: answers queries of the measurements.
        manifests: those of the runs, in their order.
        folders: those of the runs.
        cases: the lines of `store.CASES` that the runs keep.
        bitwise: the bitwise invariance that the runs have measured, in the columns of `schema.BitwiseLine`.
        programs: the programs that the runs keep, in the columns of `schema.ProgramLine`.
        damage: a sentence for each thing that could not be read or was never measured.
    """

    preamble: list[str]
    source: Measurements
    manifests: list[Manifest]
    folders: list[Path]
    cases: pd.DataFrame
    programs: pd.DataFrame
    bitwise: pd.DataFrame
    damage: list[str]

    @cached_property
    def sections(self) -> list[Section]:
        """The tables, computed when a format first asks for them.

        Raises:
            UsageError: for measurements that cannot be read.
        """
        try:
            return [*sections(self.source), *bitwise_sections(self.bitwise)]
        except duckdb.Error as error:
            raise _unreadable(self.folders, error) from error

    @cached_property
    def summary(self) -> Summary | None:
        """Which losses are safe and what breaks the others; None where nothing was graded."""
        return summarize(self.source, _scope(self.manifests))

    @property
    def notes(self) -> list[str]:
        """Sentences about modes whose results could be taken for those of another mode."""
        return _notes_on_modes(self.source)


def make_report(runs: Sequence[Run]) -> Report:
    """Return the report of one run or of several, such as one on a CPU and one from a machine with an accelerator.

    If several runs have the same case of a cell, the report shows the first run's results, with a note.

    Raises:
        UsageError: for a run that cannot be read, or one that is given twice.
    """
    folders = [run.folder.resolve() for run in runs]
    for run, folder in zip(runs, folders, strict=True):
        if folders.count(folder) > 1:
            raise UsageError(f"{run.folder} is given twice; give each run once")
    try:
        return _report(runs)
    except duckdb.Error as error:
        raise _unreadable([run.folder for run in runs], error) from error


def tables(*runs: Path | str | Sequence[Path | str]) -> dict[str, pd.DataFrame]:
    """Return the tables of a report by name, computed from the parts of runs without loading them.

    Args:
        runs: folders of runs, or one list of them. Where several runs have the same case of a cell, the first run's
            results are taken.

    Returns:
        ``grades``, ``finiteness``, ``errors_loss``, ``errors_gradient``, ``agreement`` and each other table that the
        measurements can fill: the tables that ``logitlab report --format csv`` writes.

    Raises:
        UsageError: for no folder, a folder that is not a run, or a folder that is given twice.
    """
    # A DataFrame is a list of its columns' names.
    lone: Any = runs[0] if len(runs) == 1 else runs
    given = runs if isinstance(lone, pd.DataFrame) else lone
    if given is None or (isinstance(given, (list, tuple)) and not given):
        raise UsageError("no run is given; give the folders of one or more runs")
    folders = as_paths(given, "runs", "the folder of a run")
    return {section.name: section.table for section in make_report([Run(folder) for folder in folders]).sections}


def _scope(manifests: Sequence[Manifest]) -> str:
    """Return a warning if the runs have some cases of the catalogue and not all, else an empty string."""
    size = max((m.catalogue_size for m in manifests), default=0)
    own = {case for m in manifests for file in m.files for case in file.get("cases") or ()}
    chosen = {case for m in manifests for case in m.catalogue["cases"] if not case.startswith(PREFIX)} - own
    if not 0 < len(chosen) < size:
        return ""
    were = "was" if len(chosen) == 1 else "were"
    return f"Only {len(chosen):,} of {count(size, 'case')} {were} measured; other cases may give a worse grade."


def _unreadable(folders: Sequence[Path], error: duckdb.Error) -> UsageError:
    fix = f"to find the damage, run `logitlab doctor {folders[0]}`"
    return UsageError(f"cannot read {', '.join(map(str, folders))} ({error}); {fix}")


def _report(runs: Sequence[Run]) -> Report:
    checked = [run.whole_parts() for run in runs]
    source = Measurements.of_parts([parts for parts, _ in checked])
    preamble: list[str] = []
    damage: list[str] = []
    cases, programs = [CASES.empty_table().to_pandas()], [PROGRAMS.empty_table().to_pandas()]
    bits = [BITWISE.empty_table().to_pandas()]
    for number, run in enumerate(runs):
        preamble += _provenance(run.manifest)
        if lost := run.manifest.lost:
            damage.append(f"{run.folder / MANIFEST} is damaged: it has no {', no '.join(lost)}")
        damage += checked[number][1]
        try:
            cases.append(run.cases())
            programs.append(run.programs())
            bits.append(run.bitwise())
        except UsageError as error:
            damage.append(str(error))
        if not run.manifest.complete:
            planned = len(run.manifest.cells)
            measured = f": {source.cells_of(number)} of its {planned} cells are measured" if planned else ""
            damage.append(f"The run {run.manifest.run} is not complete{measured}")
        if source.repeated[number]:
            preamble.append(
                f"Skipped because a run above has the same cases: cases of {source.repeated[number]} cells of this run"
            )
    preamble += _notes_on_modes(source)
    compared = pd.concat(bits, ignore_index=True)
    preamble += [*describe_nan(source), *describe_bitwise(compared)]
    of_runs = pd.concat(cases, ignore_index=True).drop_duplicates(["case", "row"])
    manifests, folders = [run.manifest for run in runs], [run.folder for run in runs]
    kept = pd.concat(programs, ignore_index=True)
    return Report([*partial(damage), *preamble], source, manifests, folders, of_runs, kept, compared, damage)


def _notes_on_modes(source: Measurements) -> list[str]:
    return interpreting.notes(map(str, source.cells["mode"].unique()))


def partial(damage: Sequence[str]) -> list[str]:
    """Return the first lines of a partial report: some of the faults, then the number of others.

    A complete report has no such lines.
    """
    more = len(damage) - MAX_DAMAGE
    rest = [f"{PARTIAL}: {more} more faults; `logitlab doctor RUN` lists those of a run"] if more > 0 else []
    return [*(f"{PARTIAL}: {message}" for message in damage[:MAX_DAMAGE]), *rest]


def _provenance(m: Manifest) -> list[str]:
    lines = [
        f"Run {m.run} of LogitLab {m.logitlab}" + ("" if m.complete else ", NOT COMPLETE"),
        f"Measured: {m.package_versions}",
        f"On: {m.machine}",
        f"Catalogue: {len(m.catalogue['cases'])} cases, {m.catalogue['hash'][:12]}",
    ]
    for name, settings in m.nonempty_settings.items():
        lines.append(f"Settings of {name}: {'; '.join(f'{what} {value}' for what, value in settings.items())}")
    if m.left_out:
        counts = ", ".join(f"{m.left_out_by_dtype[d]} in {d}" for d in in_table_order(m.left_out_by_dtype))
        lines.append(f"Cases skipped because the dtype cannot hold one of their numbers: {counts}")
    if m.plain_only:
        lines.append(f"Run without loss options, except on cases that break compiled code: {', '.join(m.plain_only)}")
    lines += [f"{name} is graded by its own definition: {definition}" for name, definition in m.conventions.items()]
    return lines + [f"Not installed: {name} ({why})" for name, why in m.missing.items()]
