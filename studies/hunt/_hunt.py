"""``hunt``: inputs worse than any in the catalogue, by guided mutation."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...cases import Case, make, select_cases
from ...cases.inputs import write_cases
from ...core.arguments import Strings, as_integer, as_positive, as_string, as_strings
from ...core.errors import UsageError
from ...core.formats import Format, get_format
from ...core.progress import Progress, reporting
from ...core.version import __version__
from ...core.vocabulary import QUANTITIES
from ...execution.plan import Cell, choose_cells, choose_frameworks
from ...execution.pool import DEFAULT_TIMEOUT, Pools
from ._approximate_reference import nearly
from ._measured import measured, worst
from ._minimize import floor, shortest, smaller
from ._population import Member, Population, kinds
from ._score import MEASURES, NO_ANSWER, told
from ._search import NOBODY, Budget, Search

FAMILY = "hunt"
SECONDS = 60.0
KEPT = 8
HUNTED = ("loss", "gradient")
CANDIDATES = 3  # for each finding that is kept: some become alike when they are made smaller


@dataclass(frozen=True, eq=False)
class Hunt:
    """What a hunt found.

    Attributes:
        implementation, version, dtype, device, mode: the cell.
        seed, by: of the search, and what it climbed, ``bound`` or ``ulp``.
        evaluations, seconds: rows tried, and how long that took, without what came before and after.
        catalogue: the catalogue's worst, one line a quantity: ``case``, ``row``, ``quantity``, ``status``, ``grade``,
            ``verdict``, ``of_bound`` (the error over the largest that the grade allows there, for D over what C
            allows), ``max_ulp``, and for the loss ``value`` and ``exact``.
        findings: the same of what is worse than that, worst first; each ``case`` is one of ``cases``.
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
    catalogue: pd.DataFrame
    findings: pd.DataFrame
    cases: tuple[Case, ...]
    lost: int

    def write(self, path: str | Path) -> None:
        """Writes the cases as a case file, which a run reads with ``case_files``; UsageError if there are none."""
        if not self.cases:
            raise UsageError("the hunt found nothing worse than the catalogue: there are no cases to write")
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
    """Searches for rows of logits on which an implementation is worse than on any of the catalogue.

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
    keep, seed, budget = as_integer(keep, "keep", least=1), as_integer(seed, "seed"), _budget(seconds, evaluations)
    if by not in MEASURES:
        raise UsageError(f"cannot hunt by {by!r}; worse is by {' or '.join(MEASURES)}")
    chosen = [c for c in select_cases(globs) if c.plain and fmt.name in c.dtypes]
    if not chosen:
        raise UsageError(f"no case of {', '.join(globs)} is held by {fmt.name} and free of loss options")
    choose_frameworks([owner])
    with (
        tempfile.TemporaryDirectory(prefix="logitlab-") as logs,
        reporting(progress) as report,
        Pools([owner], Path(logs), limit) as pools,
    ):
        cell = _cell(pools, implementation, fmt, device, mode)
        base = _base(measured(pools, cell, chosen, fmt, wanted, by), implementation, fmt, globs)
        floors = {str(q): float(s) for q, s in zip(base["quantity"], base["score"], strict=True)}
        floors[NOBODY] = max(floors.values()) if max(floors.values()) == NO_ANSWER else NO_ANSWER - 1
        rng = np.random.Generator(np.random.Philox(seed))
        search = Search(pools, cell, fmt, Population.of(chosen, fmt, rng), floors, by, rng)
        search.run(budget, report)
        took = time.monotonic() - search.began
        made = _cases(search, cell, fmt, keep)
        findings, kept, lost = _confirmed(pools, cell, fmt, made, floors, by, keep)
    told_of = tuple(_described(case, findings, cell, base) for case in kept)
    version = f"{cell.implementation.package} {cell.implementation.version}"
    return Hunt(
        implementation, version, fmt.name, cell.device, cell.mode, seed, by, search.answered, took,
        base.drop(columns="score"), findings.drop(columns="score"), told_of, lost,
    )  # fmt: skip


def _budget(seconds: float, evaluations: int | None) -> Budget:
    rows = None if evaluations is None else as_integer(evaluations, "evaluations", least=1)
    return Budget(as_positive(seconds, "seconds", "seconds"), rows)


def _quantities(wanted: Sequence[str]) -> tuple[str, ...]:
    asked = wanted or HUNTED
    for name in asked:
        if name not in QUANTITIES:
            raise UsageError(f"unknown quantity {name!r}; the quantities are {', '.join(QUANTITIES)}")
    return tuple(q for q in QUANTITIES if q in asked)


def _cell(pools: Pools, implementation: str, fmt: Format, device: str, mode: str) -> Cell:
    cells = choose_cells(pools.describe(), [fmt.name], [implementation], [device], [mode])
    names = sorted({cell.implementation.name for cell in cells})
    if names != [implementation]:
        told_of = ", ".join(names)
        raise UsageError(f"a hunt takes one implementation by its full name; {implementation!r} matches {told_of}")
    if len(cells) > 1:
        raise UsageError(f"a hunt takes one device; there is {', '.join(cell.device for cell in cells)}")
    return cells[0]


def _base(lines: pd.DataFrame, implementation: str, fmt: Format, patterns: Sequence[str]) -> pd.DataFrame:
    """The catalogue's worst, one line a quantity."""
    where = ", ".join(patterns) or "the catalogue"
    if not (lines["status"] == "ok").any():
        status, detail = lines.iloc[0]["status"], lines.iloc[0]["detail"]
        raise UsageError(f"{implementation} answers nothing of {where} in {fmt.name}: {status}, {detail}")
    found = worst(lines)
    if found.empty:
        asked = ", ".join(lines["quantity"].unique())
        raise UsageError(f"{implementation} gives nothing that can be graded on {where} in {fmt.name}: no {asked}")
    return found


# --- from rows to cases -----------------------------------------------------------------------------------------


def _cases(search: Search, cell: Cell, fmt: Format, keep: int) -> list[Case]:
    """The worst of what the search found, as cases of one row: different kinds first, each made smaller, one a kind."""
    found: dict[tuple[int, int], Case] = {}
    for member in _different(search.found())[: keep * CANDIDATES]:
        x, target = member.logits, member.target
        quantity = member.kind[0]
        if quantity != NOBODY:
            least = floor(member.score, search.floors[quantity])
            x, target = smaller(x, target, least, search.scores(quantity), search.rng, fmt)
        row, targets = x.astype(fmt.dtype)[None], np.array([target])
        (kind,) = kinds(x[None], targets, nearly(row, targets, fmt))
        found.setdefault((x.size, kind), _case(x, target, cell, fmt))
    return list(found.values())


def _different(members: Sequence[Member]) -> list[Member]:
    """The members in another order: first the worst of each quantity and width, then the others."""
    first = {member.kind[:2]: member for member in reversed(members)}
    leaders = [m for m in members if first[m.kind[:2]] is m]
    return leaders + [m for m in members if first[m.kind[:2]] is not m]


def _case(x: Any, target: int, cell: Cell, fmt: Format) -> Case:
    # The same for the same row with its classes in another order.
    digest = hashlib.sha256(np.sort(x).tobytes() + x[target].tobytes()).hexdigest()[:8]
    words = [cell.implementation.name.replace("/", "_"), fmt.name]
    words += [word for word, usual in ((cell.device, "cpu"), (cell.mode, "eager")) if word != usual]
    name = "_".join("".join(c for c in word if not c.isspace()) for word in (*words, digest))
    return make(f"{FAMILY}/{name}", "Found by a hunt.", [shortest(x, fmt)], [target], tags=("found", fmt.name))


def _confirmed(
    pools: Pools, cell: Cell, fmt: Format, made: Sequence[Case], floors: dict[str, float], by: str, keep: int
) -> tuple[pd.DataFrame, list[Case], int]:
    """The lines of the cases that are worse than the catalogue when a run measures them, worst first, the cases, and
    how many were not.

    A run puts cases of one width into one call, where a row may come out otherwise than in the search's call, and again
    otherwise when another case is left out: they are measured until all that are measured stay.
    """
    quantities = [q for q in floors if q != NOBODY]

    def worse(cases: Sequence[Case]) -> pd.DataFrame:
        lines = measured(pools, cell, cases, fmt, quantities, by)
        return lines[lines["score"] > lines["quantity"].map(floors)].reset_index(drop=True)

    scores = worse(made).groupby("case", sort=False)["score"].max().sort_values(ascending=False, kind="stable")
    cases, lost = {case.id: case for case in made}, len(made) - len(scores)
    kept = [cases[name] for name in scores.index[:keep]]
    while True:
        findings = worse(kept)
        still = [case for case in kept if case.id in set(findings["case"])]
        if len(still) == len(kept):
            return findings, kept, lost
        kept, lost = still, lost + len(kept) - len(still)


def _described(case: Case, findings: pd.DataFrame, cell: Cell, base: pd.DataFrame) -> Case:
    """The case with what was measured on it, where, and by which version."""
    before = base.set_index("quantity")
    told_of = [
        f"{line['quantity']} {_told(line)}, where the catalogue's worst is {_told(before.loc[line['quantity']])} in "
        f"{before.loc[line['quantity'], 'case']}[{before.loc[line['quantity'], 'row']}]"
        for line in findings[findings["case"] == case.id].to_dict("records")
    ]
    where = f"{cell.implementation.name} in {cell.dtype} on {cell.device}, {cell.mode}"
    versions = f"{cell.implementation.package} {cell.implementation.version}, LogitLab {__version__}"
    return replace(case, why=f"Found by a hunt in {where} ({versions}): {'; '.join(told_of)}.")


def _told(line: Any) -> str:
    return told(line["grade"], line["verdict"], line["of_bound"], line["max_ulp"], line["status"])
