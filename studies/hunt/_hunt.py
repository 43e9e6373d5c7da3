"""``hunt``: inputs worse than any in the catalogue, by guided mutation; and how they are printed."""

import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from ...cases import Case, select_cases
from ...cases.inputs import write_cases
from ...core.arguments import Strings, as_integer, as_positive, as_string, as_strings
from ...core.errors import UsageError
from ...core.formats import Format, get_format
from ...core.progress import Progress, reporting
from ...core.vocabulary import QUANTITIES, Quantity, Status
from ...execution.plan import Cell, choose_cells, choose_frameworks
from ...execution.pool import DEFAULT_TIMEOUT, Pools
from ._findings import Measurement, confirm, described, measure_cases, small_cases, worst
from ._population import Population
from ._score import MEASURES, NO_ANSWER
from ._search import Budget, Search

SECONDS = 60.0
KEPT = 8
HUNTED = (Quantity.LOSS, Quantity.GRADIENT)
WIDTH = 100
CLASSES = 6  # of a row that are shown


@dataclass(frozen=True, eq=False)
class Hunt:
    """What a hunt found.

    Attributes:
        implementation, version, dtype, device, mode: the cell.
        seed, by: of the search, and what it climbed, ``bound`` or ``ulp``.
        evaluations, seconds: rows tried, and how long that took, without what came before and after.
        before, worse: the lines of `catalogue` and `findings`.
        cases: what was found, one row each.
        lost: how many rows were worse in the search's own calls, and not when they were measured as a run does it.
    """

    implementation: str
    version: str
    dtype: str
    device: str
    mode: str
    seed: int
    by: str
    evaluations: int
    seconds: float
    before: tuple[Measurement, ...]
    worse: tuple[Measurement, ...]
    cases: tuple[Case, ...]
    lost: int

    @cached_property
    def catalogue(self) -> pd.DataFrame:
        """The catalogue's worst, one line a quantity: ``case``, ``row``, ``quantity``, ``status``, ``grade``,
        ``verdict``, ``of_bound`` (the error over the largest that the grade allows there, for D over what C allows),
        ``max_ulp``, and for the loss ``value`` and ``exact``.
        """
        return _table(self.before)

    @cached_property
    def findings(self) -> pd.DataFrame:
        """The same of what is worse than that, worst first; each ``case`` is one of ``cases``."""
        return _table(self.worse)

    def write(self, path: str | Path) -> None:
        """Write the cases as a case file, which a run reads with ``case_files``; UsageError if there are none."""
        if not self.cases:
            raise UsageError("the hunt found no case to write; search longer, with more seconds or evaluations")
        write_cases(path, self.cases)


def hunt(
    implementation: str,
    dtype: object = "float32",
    seconds: float = SECONDS,
    *,
    evaluations: int | None = None,
    quantities: Strings = None,
    by: str = "bound",
    cases: Strings = None,
    keep: int = KEPT,
    seed: int = 0,
    device: str = "cpu",
    mode: str = "eager",
    timeout: float = DEFAULT_TIMEOUT,
    progress: Progress | bool | None = None,
) -> Hunt:
    """Search for rows of logits on which an implementation is worse than on any of the catalogue.

    First the catalogue's rows without loss options are measured. Then mutants of them, and of the worst mutants of many
    kinds, are tried, several hundred a call, in a worker process. What is worse than the catalogue's worst in the same
    quantity is made smaller and rounder, and measured once more as a run of its case file does it: the numbers told
    are those that such a run gives. Ctrl-C ends the search and not the hunt, and so do three rows that kill or hang the
    worker.

    Worse is, by ``bound``: a worse grade, and of one grade an error that takes more of what the grade allows at that
    row. Bounds grow with the row's own difficulty, so that an ill-conditioned row is not worse for that alone. By
    ``ulp``: the largest error in ulp, whatever the row. In both, what is not finite and should be, or the reverse, is
    worse than any number, and a row that raises, crashes or hangs is worse than that.

    Args:
        implementation: its full name, such as ``torch/F.cross_entropy``.
        dtype: ``float16``, ``bfloat16``, ``float32`` or ``float64``.
        seconds: how long to search. The catalogue before, and measuring what was found after, take their own time.
        evaluations: how many rows to try, in place of ``seconds``, in whole calls. The same seed, versions and machine
            then find the same.
        quantities: ``loss``, ``gradient`` or ``probabilities``; loss and gradient by default.
        by: ``bound`` or ``ulp``.
        cases: globs over ``family/name``, the part of the catalogue to start from and to pass; all by default.
        keep: how many findings to keep at most.
        seed: of the mutations.
        device: one that the framework finds.
        mode: ``eager``, ``graph`` or ``compiled``.
        timeout: seconds after which a call is given up, and taken apart to find the row to blame.
        progress: called with what is done, the whole, and words. By default a bar on a terminal, a line in a notebook,
            and nothing elsewhere; False for nothing.

    Raises:
        UsageError: for an argument of another type or out of range, a name that is not known, cases that are none
            without loss options, or an implementation that does not answer on any of them.
    """
    wanted, globs = _quantities(as_strings(quantities, "quantities")), as_strings(cases, "cases")
    fmt, limit = get_format(dtype), as_positive(timeout, "timeout", "seconds")
    owner = as_string(implementation, "implementation").split("/", maxsplit=1)[0]
    device, mode = as_string(device, "device"), as_string(mode, "mode")
    keep, seed = as_integer(keep, "keep", least=1), as_integer(seed, "seed")
    rows = None if evaluations is None else as_integer(evaluations, "evaluations", least=1)
    budget = Budget(as_positive(seconds, "seconds", "seconds"), rows)
    if by not in MEASURES:
        raise UsageError(f"cannot hunt by {by!r}; choose one of {', '.join(MEASURES)}")
    chosen = [c for c in select_cases(globs) if c.plain and fmt.name in c.dtypes]
    if not chosen:
        raise UsageError(
            f"no case of {', '.join(globs)} fits {fmt.name} without loss options; choose another from "
            f"`logitlab cases --dtype {fmt.name}`"
        )
    choose_frameworks([owner])
    with (
        tempfile.TemporaryDirectory(prefix="logitlab-") as logs,
        reporting(progress) as report,
        Pools([owner], Path(logs), limit) as pools,
    ):
        cell = _cell(pools, implementation, fmt, device, mode)
        base = _base(measure_cases(pools, cell, chosen, fmt, wanted, by), implementation, fmt, globs)
        floors: dict[str | None, float] = {line.quantity: line.score for line in base}
        floors[None] = NO_ANSWER if NO_ANSWER in floors.values() else NO_ANSWER - 1
        rng = np.random.Generator(np.random.Philox(seed))
        search = Search(pools, cell, fmt, Population.of(chosen, fmt, rng), floors, by, rng)
        search.run(budget, report)
        took = time.monotonic() - search.began
        found = confirm(search, small_cases(search, keep), keep)
    return Hunt(
        implementation, f"{cell.implementation.package} {cell.implementation.version}",
        fmt.name, cell.device, cell.mode, seed, by, evaluations=search.answered, seconds=took,
        before=tuple(base), worse=tuple(found.findings),
        cases=tuple(described(case, found.findings, cell, base) for case in found.cases), lost=found.lost,
    )  # fmt: skip


def _quantities(wanted: Sequence[str]) -> tuple[str, ...]:
    asked = wanted or HUNTED
    for name in asked:
        if name not in QUANTITIES:
            raise UsageError(f"unknown quantity {name!r}; choose one of {', '.join(QUANTITIES)}")
    return tuple(q for q in QUANTITIES if q in asked)


def _cell(pools: Pools, implementation: str, fmt: Format, device: str, mode: str) -> Cell:
    cells = choose_cells(pools.describe(), [fmt.name], [implementation], [device], [mode])
    names = sorted({cell.implementation.name for cell in cells})
    if names != [implementation]:
        matches = ", ".join(names)
        raise UsageError(f"{implementation!r} matches {matches}; give one full name, listed by `logitlab frameworks`")
    if len(cells) > 1:
        raise UsageError(f"{device!r} is several devices; choose one of {', '.join(cell.device for cell in cells)}")
    return cells[0]


def _base(lines: Sequence[Measurement], implementation: str, fmt: Format, patterns: Sequence[str]) -> list[Measurement]:
    """The catalogue's worst, one line a quantity."""
    where = ", ".join(patterns) or "the catalogue"
    if all(line.status != Status.OK for line in lines):
        first = lines[0]
        raise UsageError(
            f"{implementation} returns no result for {where} in {fmt.name} ({first.status}: {first.detail}); "
            "choose another dtype, mode or case"
        )
    found = worst(lines)
    if not found:
        asked = ", ".join(dict.fromkeys(line.quantity for line in lines))
        raise UsageError(
            f"{implementation} returns no gradable {asked} for {where} in {fmt.name}; choose another quantity or case"
        )
    return found


def _table(lines: Sequence[Measurement]) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=[f.name for f in fields(Measurement)]).drop(columns="score")


def show(hunt: Hunt, path: str | Path | None = None, console: Console | None = None) -> None:
    """Print what was found; ``path`` is the case file that it is written to, if it is."""
    out = Console(width=WIDTH, highlight=False, markup=False, emoji=False) if console is None else console
    # Neither a row nor a command is broken at a margin.
    for line in _lines(hunt):
        out.print(line, soft_wrap=True)
    if hunt.cases and path is not None:
        out.print(f"\nin {path}; go on with")
        for command in _commands(hunt, str(path)):
            out.print(command, soft_wrap=True)


def _lines(hunt: Hunt) -> Iterator[str]:
    yield (
        f"{hunt.implementation} {hunt.dtype} {hunt.device} {hunt.mode} ({hunt.version}): "
        f"{hunt.evaluations:,} rows tried in {hunt.seconds:.1f} s, by {hunt.by}, seed {hunt.seed}"
    )
    yield "\nthe catalogue's worst"
    for line in hunt.before:
        yield f"  {line.case}, row {line.row}\n    {_measured(line)}"
    many = len(hunt.cases)
    yield f"\n{many} {'row is' if many == 1 else 'rows are'} worse" if many else "\nno row was found that is worse"
    for case in hunt.cases:
        yield f"  {case.id}\n    {_row(case)}"
        yield from (f"    {_measured(line)}" for line in hunt.worse if line.case == case.id)
    if hunt.lost:
        yield f"{hunt.lost} more were worse among the rows that they were tried with, and not in a call of a run"


def _measured(line: Measurement) -> str:
    """As ``loss: C, 0.42 of its bound, 3.1e+05 ulp; 2.25 instead of 2.1``."""
    words = f"{line.quantity}: {line.wording}"
    if line.status != Status.OK:
        return f"{words}: {line.detail}"
    return f"{words}; {line.value:.9g} instead of {line.exact:.9g}" if line.quantity == Quantity.LOSS else words


def _row(case: Case) -> str:
    """As ``[88.75, -inf, 0.5], target 2``; the largest logits of a long row, and the target's."""
    x, target = case.logits[0], int(case.targets[0])
    if x.size <= CLASSES:
        return f"[{', '.join(map(_number, x))}], target {target}"
    largest = ", ".join(map(_number, sorted(x, reverse=True)[:CLASSES]))
    return f"{x.size} classes, the largest [{largest}, ...], target {target} at {_number(x[target])}"


def _number(value: float) -> str:
    number = float(value)
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e16 else repr(number)


def _commands(hunt: Hunt, path: str) -> Iterator[str]:
    where = ["--case-file", path, "--implementation", hunt.implementation, "--dtype", hunt.dtype]
    device = [] if hunt.device == "cpu" else ["--device", hunt.device]
    mode = ["--mode", hunt.mode]
    yield shlex.join(["logitlab", "run", *where, *device, *mode])
    yield shlex.join(
        ["logitlab", "explain", hunt.cases[0].id, *where, *device, *(mode if hunt.mode != "eager" else [])]
    )
