"""``hunt``: search for inputs worse than any in the catalogue by guided mutation, and print them."""

import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from ...cases import Case, select_cases
from ...cases.inputs import file_options, write_cases
from ...core.arguments import Strings, as_integer, as_positive, as_string, as_strings
from ...core.errors import UsageError
from ...core.formats import Format, get_format
from ...core.options import OptionValues, option_texts
from ...core.progress import Progress, reporting
from ...core.vocabulary import Problem, Quantity, Status
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
CLASSES = 6  # shown classes of a row


@dataclass(frozen=True, eq=False)
class Hunt:
    """The result of a hunt.

    Attributes:
        implementation, version, dtype, device, mode: the cell.
        seed, by: the seed of the search, and its measure, ``bound`` or ``ulp``.
        options: the loss options of all rows.
        evaluations, seconds: the number of rows tried, and the time of the search itself.
        before, worse: the lines of `catalogue` and `findings`.
        cases: the findings, one row each.
        lost: the number of rows that were worse in the search's calls, but not when measured as a run does.
    """

    implementation: str
    version: str
    dtype: str
    device: str
    mode: str
    seed: int
    by: str
    options: OptionValues
    evaluations: int
    seconds: float
    before: tuple[Measurement, ...]
    worse: tuple[Measurement, ...]
    cases: tuple[Case, ...]
    lost: int

    @cached_property
    def catalogue(self) -> pd.DataFrame:
        """The catalogue's worst row in each quantity.

        The columns include ``case``, ``row``, ``quantity``, ``status``, ``grade``, ``verdict``, ``of_bound`` (the error
        over the bound of the grade; for D, of C), ``max_ulp``, and for the loss ``value`` and ``exact``.
        """
        return _table(self.before)

    @cached_property
    def findings(self) -> pd.DataFrame:
        """The findings, worst first, with the same columns; each ``case`` is one of ``cases``."""
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
    softcap: float | None = None,
    logit_scale: float | None = None,
    z_loss: float = 0.0,
    timeout: float = DEFAULT_TIMEOUT,
    progress: Progress | bool | None = None,
) -> Hunt:
    """Search for rows of logits on which an implementation is worse than on the whole catalogue.

    The hunt first measures the catalogue's rows without loss options. Then it tries mutants of these rows and of the
    worst mutants of many kinds, several hundred a call, in a worker process. A row that is worse than the catalogue's
    worst in the same quantity is reduced to fewer classes and rounder numbers. It is then measured again as a run of
    its case file would measure it, so that such a run gives the reported numbers. Ctrl-C, or a third crash or hang,
    stops the search; findings so far are still reported.

    With ``bound``, a row is worse if its grade is worse, or if its error takes a larger share of the same grade's
    bound. Bounds grow with the row's own difficulty, so an ill-conditioned row is not worse for that reason. With
    ``ulp``, a row is worse if its largest error in ulp is larger. In both, an F for finiteness is worse than any
    number, and a row that raises, crashes or hangs is worse than that.

    Args:
        implementation: its full name, such as ``torch/F.cross_entropy``.
        dtype: ``float16``, ``bfloat16``, ``float32`` or ``float64``.
        seconds: how long to search. Measuring the catalogue before and the findings after takes additional time.
        evaluations: how many rows to try, instead of ``seconds``; rounded up to whole calls. The same seed, versions
            and machine then give the same findings.
        quantities: ``loss``, ``gradient`` or ``probabilities``; loss and gradient by default.
        by: ``bound`` or ``ulp``.
        cases: globs over ``family/name``, the part of the catalogue to start from and to exceed; all by default.
        keep: the largest number of findings to keep.
        seed: the seed of the mutations.
        device: a device that the framework finds.
        mode: ``eager``, ``graph`` or ``compiled``.
        softcap: for all rows; see `reference`. With this option, or one of the next two, the oracle itself guides the
            search, so that fewer rows are tried.
        logit_scale: for all rows.
        z_loss: for all rows.
        timeout: time limit of one call in seconds. A call that exceeds it is divided to find the row at fault.
        progress: called with the amount done, the total, and a label. By default a bar on a terminal, a line in a
            notebook, and nothing elsewhere; False for nothing.

    Raises:
        UsageError: for an argument of the wrong type or out of range, an unknown name, or globs that match only cases
            with loss options. Also for an implementation that returns no result for any case.
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
    options = file_options(softcap=softcap, logit_scale=logit_scale, z_loss=z_loss)
    if (why := options.why_options_unrepresentable(fmt)) is not None:
        raise UsageError(f"{fmt.name} cannot hold the options: {why}; choose another value or dtype")
    plain = [c for c in select_cases(globs) if c.plain]
    chosen = [c for c in (replace(c, **options.set_options) for c in plain) if c.is_measured_in(fmt.name)]
    if not chosen:
        raise UsageError(
            f"no case of {', '.join(globs)} has logits that fit {fmt.name}, without loss options; choose another from "
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
        search = Search(pools, cell, fmt, Population.of(chosen, fmt, rng), floors, by, rng, options)
        search.run(budget, report)
        took = time.monotonic() - search.began
        found = confirm(search, small_cases(search, keep), keep)
    return Hunt(
        implementation, f"{cell.implementation.package} {cell.implementation.version}",
        fmt.name, cell.device, cell.mode, seed, by, options.set_options, evaluations=search.answered, seconds=took,
        before=tuple(base), worse=tuple(found.findings),
        cases=tuple(described(case, found.findings, cell, base) for case in found.cases), lost=found.lost,
    )  # fmt: skip


def _quantities(wanted: Sequence[str]) -> tuple[str, ...]:
    asked = wanted or HUNTED
    for name in asked:
        if name not in Problem.LOGITS.quantities:
            raise UsageError(f"unknown quantity {name!r}; choose one of {', '.join(Problem.LOGITS.quantities)}")
    return tuple(q for q in Problem.LOGITS.quantities if q in asked)


def _cell(pools: Pools, implementation: str, fmt: Format, device: str, mode: str) -> Cell:
    cells = choose_cells(pools.describe(), [fmt.name], [implementation], [device], [mode])
    names = sorted({cell.implementation.name for cell in cells})
    if names != [implementation]:
        matches = ", ".join(names)
        raise UsageError(f"{implementation!r} matches {matches}; give one full name, listed by `logitlab frameworks`")
    if cells[0].implementation.problem is not Problem.LOGITS:
        inputs = cells[0].implementation.problem.inputs
        raise UsageError(f"{implementation} is a loss of {inputs}, and a hunt tries logits; choose a loss of logits")
    if len(cells) > 1:
        raise UsageError(f"{device!r} is several devices; choose one of {', '.join(cell.device for cell in cells)}")
    return cells[0]


def _base(lines: Sequence[Measurement], implementation: str, fmt: Format, patterns: Sequence[str]) -> list[Measurement]:
    """Return the catalogue's worst line in each quantity."""
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
    """Print the findings; ``path`` is their case file, if they are written to one."""
    out = Console(width=WIDTH, highlight=False, markup=False, emoji=False) if console is None else console
    # Rows and commands are not wrapped.
    for line in _lines(hunt):
        out.print(line, soft_wrap=True)
    if hunt.cases and path is not None:
        out.print(f"\nwritten to {path}; next, run")
        for command in _commands(hunt, str(path)):
            out.print(command, soft_wrap=True)


def _lines(hunt: Hunt) -> Iterator[str]:
    yield (
        f"{hunt.implementation} {hunt.dtype} {hunt.device} {hunt.mode} ({hunt.version}): "
        f"{hunt.evaluations:,} rows tried in {hunt.seconds:.1f} s, by {hunt.by}, seed {hunt.seed}"
    )
    if hunt.options:
        yield f"with {', '.join(f'{title} {text}' for title, text in option_texts(hunt.options, CLASSES))}"
    yield "\nthe catalogue's worst"
    for line in hunt.before:
        yield f"  {line.case}, row {line.row}\n    {_measured(line)}"
    many = len(hunt.cases)
    yield f"\n{many} {'row is' if many == 1 else 'rows are'} worse" if many else "\nno worse row was found"
    for case in hunt.cases:
        yield f"  {case.id}\n    {_row(case)}"
        yield from (f"    {_measured(line)}" for line in hunt.worse if line.case == case.id)
    if hunt.lost:
        yield f"{hunt.lost} more were worse in the search's calls, but not when measured as a run does"


def _measured(line: Measurement) -> str:
    """Return text such as ``loss: C, 0.42 of its bound, 3.1e+05 ulp; 2.25 instead of 2.1``."""
    text = f"{line.quantity}: {line.wording}"
    if line.status != Status.OK:
        return f"{text}: {line.detail}"
    return f"{text}; {line.value:.9g} instead of {line.exact:.9g}" if line.quantity == Quantity.LOSS else text


def _row(case: Case) -> str:
    """Return text such as ``[88.75, -inf, 0.5], target 2``; of a long row, the largest logits and the target's."""
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
