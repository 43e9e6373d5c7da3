"""Select the inputs of a run: cases in memory, also from case files, and files read piece by piece."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import UsageError
from ...core.facts import Inputs, LeftOut
from ...core.formats import FORMATS, get_format, in_table_order
from ...core.vocabulary import Problem
from .. import Case, all_cases, content_hash, select_cases
from ._blocks import Blocks
from ._case_file import CaseFile
from ._logits_file import NO_OPTIONS, LogitsFile
from ._options import FileOptions
from ._sweeps import default_sweeps, sweep


@dataclass(frozen=True)
class CaseBlock:
    """Cases that are measured together, and their dtypes."""

    cases: tuple[Case, ...]
    dtypes: tuple[str, ...]

    def rows(self, dtype: str, *, problem: Problem = Problem.LOGITS, plain_only: bool = False) -> int:
        """Return the number of rows of a problem measured in a dtype."""
        taken = (c for c in self.cases if c.problem is problem and c.is_taken(plain_only=plain_only))
        return sum(c.rows for c in taken if c.is_measured_in(dtype)) if dtype in self.dtypes else 0


@dataclass(frozen=True)
class Selection:
    """The cases and files of a run, and the requested dtypes, None for all that fit.

    ``cases`` includes those of ``case_files``. ``held_in`` are the blocks that their logits are held in, and
    ``not_held`` has the reason for each case that the blocks cannot hold.
    """

    cases: tuple[Case, ...]
    files: tuple[LogitsFile, ...] = ()
    requested: tuple[str, ...] | None = None
    case_files: tuple[CaseFile, ...] = ()
    held_in: Blocks | None = None
    not_held: Mapping[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> frozenset[Problem]:
        """The problems of the cases; files hold logits."""
        return frozenset({*(c.problem for c in self.cases), *[Problem.LOGITS] * bool(self.files)})

    @property
    def dtypes(self) -> tuple[str, ...]:
        """All dtypes of the run: the requested ones, or all four for cases and the files' dtypes."""
        own = {f.dtype for f in self.files}
        return self.requested or in_table_order(own | set(FORMATS if self.cases else ()))

    def blocks(self) -> Iterator[CaseBlock]:
        """Yield all cases at once, then the files piece by piece, always in the same order."""
        if self.cases:
            yield CaseBlock(self.cases, self.dtypes)
        for file in self.files:
            for piece in file.pieces():
                yield CaseBlock((piece,), self._dtypes_of(file))

    def rows(self, dtype: str, *, problem: Problem = Problem.LOGITS, plain_only: bool = False) -> int:
        """Return the number of rows of a problem, of all blocks, measured in a dtype."""
        of_files = (f.rows for f in self.files if dtype in self._dtypes_of(f) and (f.plain or not plain_only))
        of_cases = CaseBlock(self.cases, self.dtypes).rows(dtype, problem=problem, plain_only=plain_only)
        return of_cases + (sum(of_files) if problem is Problem.LOGITS else 0)

    def has_case_for(self, dtype: str, *, problem: Problem = Problem.LOGITS, plain_only: bool = False) -> bool:
        """Return whether a case or file of a problem is measured in a dtype, even if it has no rows."""
        taken = (c for c in self.cases if c.problem is problem and c.is_taken(plain_only=plain_only))
        in_memory = dtype in self.dtypes and any(c.is_measured_in(dtype) for c in taken)
        return in_memory or self.rows(dtype, problem=problem, plain_only=plain_only) > 0

    def _dtypes_of(self, file: LogitsFile) -> tuple[str, ...]:
        return tuple(d for d in self._requested_of(file) if file.why_unrepresentable(get_format(d)) is None)

    def _requested_of(self, file: LogitsFile) -> tuple[str, ...]:
        return self.requested or (file.dtype,)

    def facts(self) -> Inputs:
        """Return the inputs' entry in a run's manifest."""
        return {
            "catalogue": {"hash": content_hash(self.cases), "cases": [c.id for c in self.cases]},
            "catalogue_size": len(all_cases()),
            "blocks": "" if self.held_in is None else self.held_in.name,
            "files": [*(f.facts for f in self.files), *(f.facts for f in self.case_files)],
            "left_out": list(self._left_out()),
        }

    def _left_out(self) -> Iterator[LeftOut]:
        """Yield the cases and files that a requested dtype cannot hold, then the cases that the blocks cannot hold."""
        requested: list[tuple[Case | LogitsFile, Sequence[str]]] = [
            (c, [d for d in self.dtypes if c.is_wanted_in(d)]) for c in self.cases
        ]
        requested += [(f, self._requested_of(f)) for f in self.files]
        for one, dtypes in requested:
            for dtype in dtypes:
                if (why := one.why_unrepresentable(get_format(dtype))) is not None:
                    yield LeftOut(case=one.id, dtype=dtype, why=why)
        for case_id, why in self.not_held.items():
            yield from (LeftOut(case=case_id, dtype=dtype, why=why) for dtype in self.dtypes)


def default_cases() -> tuple[Case, ...]:
    """Return the cases of a run that names none: the whole catalogue, then the default sweeps."""
    return (*all_cases(), *default_sweeps())


def select_inputs(
    cases: str | Sequence[str] | None = None,
    logits: Sequence[str | Path] = (),
    sweeps: Sequence[str] = (),
    dtypes: tuple[str, ...] | None = None,
    case_files: Sequence[str | Path] = (),
    options: FileOptions = NO_OPTIONS,
    blocks: Blocks | None = None,
) -> Selection:
    """Select cases by globs, files of logits, sweeps and case files; `default_cases` if nothing is named.

    ``options`` are the loss options of the files of logits. ``blocks`` hold the logits of all cases and files.

    Raises:
        UsageError: for a glob without a case, an invalid sweep or file, options without a file of logits, or blocks
            that can hold no case.
    """
    if options.keywords and not logits:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in options.keywords)
        raise UsageError(f"{flags} is given without a file of logits; add --logits FILE, or leave out {flags}")
    # Checked first, since reading may take minutes.
    for path in (*case_files, *logits):
        if not Path(path).exists():
            raise UsageError(f"{path}: no such file; give the path of an existing file")
    swept = [case for spec in sweeps for case in sweep(spec)]
    anything = cases or logits or sweeps or case_files
    catalogued = select_cases(cases) if cases else () if anything else default_cases()
    read = tuple(CaseFile.open(path) for path in case_files)
    owners: dict[str, CaseFile] = {}
    for owner in read:
        for case in owner.cases:
            if case.id in owners:
                both = f"{owners[case.id].path} and {owner.path} both hold a case {case.id}"
                raise UsageError(f"{both}; rename one case, or give one of the files")
            owners[case.id] = owner
    # The same value of an axis in two sweeps is the same case.
    distinct = {c.id: c for c in (*catalogued, *swept, *(c for file in read for c in file.cases))}
    files = tuple(LogitsFile.open(path, options, blocks) for path in logits)
    names = [f.id for f in files]
    for file in files:
        if names.count(file.id) > 1:
            raise UsageError(f"{file.path}: another file of this run has the same name; rename one of the files")
    chosen = tuple(distinct.values())
    held, not_held = (chosen, {}) if blocks is None else _in_blocks(chosen, blocks)
    if not_held and not held and not files:
        first, why = next(iter(not_held.items()))
        raise UsageError(f"{blocks.name if blocks else ''} blocks can hold no chosen case; {first}: {why}")
    return Selection(held, files, dtypes, read, blocks, not_held)


def _in_blocks(cases: Sequence[Case], blocks: Blocks) -> tuple[tuple[Case, ...], dict[str, str]]:
    """Return the cases as the blocks hold them, and for each other case the reason why they cannot."""
    held, not_held = list[Case](), dict[str, str]()
    for case in cases:
        try:
            held.append(blocks.case(case))
        except ValueError as error:
            not_held[case.id] = str(error)
    return tuple(held), not_held
