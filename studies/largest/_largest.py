"""``largest``: the table of the largest known errors, from runs and case files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from ...core import files
from ...core.arguments import Strings, as_dtypes, as_integer, as_paths, as_positive, as_strings
from ...core.errors import UsageError
from ...core.formats import table_rank
from ...core.progress import Progress, reporting
from ...core.vocabulary import QUANTITIES
from ...execution.plan import matches_name
from ...execution.pool import DEFAULT_TIMEOUT
from ...runner import run
from ...storage.querying import Measurements
from ...storage.store import Run
from ._entry import Entry, Recorded
from ._measured import measured_again
from ._recorded import joined, leading, recorded_in
from ._show import FORMATS, written

LIMIT = 20
COLUMNS = (
    "implementation", "dtype", "mode", "device", "quantity", "ulp", "recorded", "differs", "case", "row", "input",
    "target", "options", "entry", "computed", "exact", "version", "source", "remark",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Largest:
    """The largest known finite errors: by dtype and quantity, the largest error first.

    Attributes:
        entries: one entry for each implementation, dtype and quantity.
    """

    entries: tuple[Entry, ...]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The entries as a DataFrame.

        ``ulp`` is the error when measured again, ``recorded`` the error in its ``source``. ``differs`` is true if these
        are different, or if nothing was measured (see ``remark``). ``input`` is the row of logits, each the shortest
        decimal that the dtype rounds to the number, or the size of a wide row. ``entry`` is the entry of the quantity
        with the largest error, with its ``computed`` and ``exact`` value.
        """
        return pd.DataFrame([_line(entry) for entry in self.entries], columns=list(COLUMNS))

    def write(self, path: str | Path, format: str = "markdown") -> None:  # noqa: A002 - the name of the option
        """Write the table to a new file, as ``text``, ``markdown`` or ``json``.

        Raises:
            UsageError: for another format, or if the file exists or cannot be written.
        """
        if format not in FORMATS:
            raise UsageError(f"unknown format {format!r}; choose one of {', '.join(FORMATS)}")
        file = Path(path)
        files.refuse_existing(file)
        with files.explain_os_errors(file, "choose another file"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(written(self.entries, format), encoding="utf-8")


def largest(
    runs: str | Path | Sequence[str | Path] | None = None,
    *,
    case_files: str | Path | Sequence[str | Path] | None = None,
    implementations: Strings = None,
    dtypes: object = None,
    quantities: Strings = None,
    limit: int | None = LIMIT,
    timeout: float = DEFAULT_TIMEOUT,
    progress: Progress | bool | None = None,
) -> Largest:
    """Return the largest known finite error of each implementation, dtype and quantity, each measured again.

    The errors come from the rows of runs, and from the cases of case files, such as the findings of a hunt, which are
    measured in eager mode. A result that is NaN or infinite is a failure, not an error: see its grade. Errors
    within the dtype's smallest normal number, which every grade allows, are left out.

    Args:
        runs: run folders.
        case_files: case files; also needed for the rows of a run that measured them.
        implementations: globs over their names; by default those of the runs.
        dtypes: their names; by default those of the runs.
        quantities: such as ``loss``; by default all.
        limit: how many implementations to list for each dtype and quantity; None for all.
        timeout: time limit of a call in seconds.
        progress: as for `run`.

    Raises:
        UsageError: for neither runs nor case files, for a case file without implementations to measure, or for an
            invalid argument.
    """
    folders, paths = as_paths(runs, "runs", "the folder of a run"), as_paths(case_files, "case_files")
    globs, names = as_strings(implementations, "implementations"), as_dtypes(dtypes)
    wanted, limited = as_strings(quantities, "quantities"), None if limit is None else as_integer(limit, "limit", 1)
    seconds = as_positive(timeout, "timeout", "seconds")
    for quantity in wanted:
        if quantity not in QUANTITIES:
            raise UsageError(f"unknown quantity {quantity!r}; choose one of {', '.join(QUANTITIES)}")
    if not folders and not paths:
        raise UsageError("no source is given; give the folders of runs, or case files")
    of_runs = [each for folder in folders for each in _of_run(folder)]
    of_files = list(
        _of_files(paths, globs or _distinct(of_runs, "implementation"), names or _distinct(of_runs, "dtype"))
    )
    kept = [
        each for each in joined([*of_runs, *of_files])
        if (not wanted or each.quantity in wanted) and (not names or each.dtype in names)
        and matches_name(each.implementation, globs)
    ]  # fmt: skip
    chosen = leading(kept, limited)
    entries: list[Entry] = []
    with reporting(progress) as report:
        for entry in measured_again(chosen, seconds, paths):
            entries.append(entry)
            if report is not None:
                report(len(entries), len(chosen), entry.recorded.implementation)
    return Largest(tuple(sorted(entries, key=_order)))


def _of_run(folder: Path) -> Iterator[Recorded]:
    whole, damaged = Run(folder).whole_parts()
    if damaged:
        raise UsageError(damaged[0])
    yield from recorded_in(Measurements.of_parts([whole]))


def _of_files(paths: Sequence[Path], globs: Sequence[str], dtypes: Sequence[str]) -> Iterator[Recorded]:
    """Measure the cases of each file, and yield the largest errors."""
    if paths and not globs:
        raise UsageError("a case file is given without implementations to measure; give some, such as 'torch/*'")
    for path in paths:
        df = run(case_files=path, implementations=globs, dtypes=dtypes or None, modes=["eager"], progress=False)
        yield from recorded_in(Measurements.of(df), path.name)


def _distinct(recorded: Sequence[Recorded], name: str) -> list[str]:
    return list(dict.fromkeys(str(getattr(each, name)) for each in recorded))


def _order(entry: Entry) -> tuple[object, ...]:
    recorded = entry.recorded
    return table_rank(recorded.dtype), QUANTITIES.index(recorded.quantity), -entry.rank_ulp, recorded.implementation


def _line(entry: Entry) -> tuple[object, ...]:
    r = entry.recorded
    return (
        r.implementation, r.dtype, r.mode, r.device, r.quantity, entry.ulp, r.ulp, entry.differs, r.case, r.row,
        entry.given, entry.target, entry.options, entry.entry, entry.computed, entry.exact, r.version, r.source,
        entry.remark,
    )  # fmt: skip
