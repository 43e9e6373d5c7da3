"""The findings of a search: rows are reduced to small cases, measured as a run measures them, and described."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cases import Case, make
from ...core.formats import Format
from ...core.version import __version__
from ...core.vocabulary import Grade, Quantity, Status
from ...execution.plan import Cell, Group, PlannedCall, groups
from ...execution.pool import Pools
from ...execution.worker import Outcome
from ._minimize import least_score, minimize, shortest
from ._population import Member, row_kinds
from ._score import NO_ANSWER, NOT_GRADED, score
from ._search import FAULTS, Search

FAMILY = "hunt"
CANDIDATES = 3  # for each finding to keep: some become equal when they are reduced


@dataclass(frozen=True)
class Measurement:
    """The result of a row in one quantity: ``value`` and ``exact`` are of the loss, ``score`` is from `score`."""

    case: str
    row: int
    classes: int
    target: int
    quantity: str
    status: str
    grade: str | None = None
    verdict: str | None = None
    of_bound: float = math.nan
    max_ulp: float = math.nan
    value: float = math.nan
    exact: float = math.nan
    detail: str | None = None
    score: float = NOT_GRADED

    @property
    def wording(self) -> str:
        """The text, such as ``C, 0.42 of its bound, 3.1e+05 ulp``."""
        if self.status != Status.OK:
            return self.status
        if self.grade == Grade.F:
            return f"F, {self.verdict}"
        allowed = "times C's bound" if self.grade == Grade.D else "of its bound"
        return f"{self.grade}, {self.of_bound:.3g} {allowed}, {self.max_ulp:.3g} ulp"


def measure_cases(
    pools: Pools, cell: Cell, cases: Sequence[Case], fmt: Format, quantities: Sequence[str], by: str
) -> list[Measurement]:
    """Measure each row and quantity of cases that all have the same options, in calls of one width."""
    found: list[Measurement] = []
    for call, outcome in pools.evaluate([PlannedCall(cell, group) for group in groups(cases, fmt)]):
        for quantity in quantities:
            found += _measurements(call.group, outcome, quantity, by)
    # Calls may end in any order.
    place = {case.id: i for i, case in enumerate(cases)}
    return sorted(found, key=lambda line: place[line.case])


def _measurements(group: Group, outcome: Outcome, quantity: str, by: str) -> Iterator[Measurement]:
    computed = dict(outcome.values).get(quantity)
    scored = None if computed is None else score(quantity, computed, group.logits, group.fmt, group.exact, by)
    rows = [(case, r) for case in group.cases for r in range(case.rows)]
    for i, (case, r) in enumerate(rows):
        status = outcome.status if scored is None else Status.OK
        line = Measurement(case.id, r, case.classes, int(case.targets[r]), quantity, str(status))
        if scored is None or computed is None:
            yield replace(line, detail=outcome.detail, score=NO_ANSWER if status in FAULTS else NOT_GRADED)
            continue
        line = replace(
            line, grade=scored.graded.grade[i], verdict=str(scored.graded.verdict[i]),
            of_bound=float(scored.of_bound[i]), max_ulp=float(scored.graded.max_ulp[i]), score=float(scored.score[i]),
        )  # fmt: skip
        is_loss = quantity == Quantity.LOSS
        yield replace(line, value=float(computed[i]), exact=float(group.exact.loss.hi[i])) if is_loss else line


def worst(lines: Sequence[Measurement]) -> list[Measurement]:
    """Return the line with the largest score for each quantity that has a score."""
    scored = [line for line in lines if line.score > NOT_GRADED]
    quantities = dict.fromkeys(line.quantity for line in scored)
    return [max((x for x in scored if x.quantity == quantity), key=lambda x: x.score) for quantity in quantities]


def small_cases(search: Search, keep: int) -> list[Case]:
    """Return the worst rows of the search as cases of one row: reduced, and at most one of each kind."""
    found: dict[tuple[int, int], Case] = {}
    for member in _different(search.found())[: keep * CANDIDATES]:
        x, target = member.logits, member.target
        quantity = member.kind.quantity
        if quantity is not None:
            least = least_score(member.score, search.floors[quantity])
            x, target = minimize(x, target, least, search.scores(quantity), search.rng, search.fmt)
        row, targets = x.astype(search.fmt.dtype)[None], np.array([target])
        (kind,) = row_kinds(x[None], targets, search.exact(row, targets))
        found.setdefault((x.size, kind), _case(x, target, search))
    return list(found.values())


def _different(members: Sequence[Member]) -> list[Member]:
    """Return the members reordered: first the worst of each quantity and width, then the others."""
    first = {member.kind[:2]: member for member in reversed(members)}
    leaders = [m for m in members if first[m.kind[:2]] is m]
    return leaders + [m for m in members if first[m.kind[:2]] is not m]


def _case(x: NDArray[np.float64], target: int, search: Search) -> Case:
    # Sorted, so that a permutation of the classes has the same digest.
    set_options = search.loss_options.set_options
    of_options = repr(sorted(set_options.items())).encode() if set_options else b""
    digest = hashlib.sha256(np.sort(x).tobytes() + x[target].tobytes() + of_options).hexdigest()[:8]
    cell, fmt = search.cell, search.fmt
    parts = [cell.implementation.name.replace("/", "_"), fmt.name]
    parts += [part for part, usual in ((cell.device, "cpu"), (cell.mode, "eager")) if part != usual]
    name = "_".join("".join(c for c in part if not c.isspace()) for part in (*parts, digest))
    tags = ("found", fmt.name)
    return make(f"{FAMILY}/{name}", "Found by a hunt.", [shortest(x, fmt)], [target], tags=tags, **set_options)


class Confirmed(NamedTuple):
    """The cases that are worse than the catalogue in a run, worst first; their lines; and the number of other cases."""

    findings: list[Measurement]
    cases: list[Case]
    lost: int


def confirm(search: Search, built: Sequence[Case], keep: int) -> Confirmed:
    """Measure cases as a run does, and keep those that are still worse than the catalogue.

    A run puts cases of one width into one call. There a row's result may differ from the search's call, and it may
    change when another case is removed. So cases are measured until none is removed.
    """
    quantities = [quantity for quantity in search.floors if quantity is not None]

    def worse(cases: Sequence[Case]) -> list[Measurement]:
        lines = measure_cases(search.pools, search.cell, cases, search.fmt, quantities, search.measure)
        return [line for line in lines if line.score > search.floors[line.quantity]]

    scores: dict[str, float] = {}
    for line in worse(built):
        scores[line.case] = max(line.score, scores.get(line.case, NOT_GRADED))
    cases, lost = {case.id: case for case in built}, len(built) - len(scores)
    kept = [cases[name] for name in sorted(scores, key=lambda name: scores[name], reverse=True)[:keep]]
    while True:
        findings = worse(kept)
        still = [case for case in kept if any(line.case == case.id for line in findings)]
        if len(still) == len(kept):
            return Confirmed(findings, kept, lost)
        kept, lost = still, lost + len(kept) - len(still)


def described(case: Case, findings: Sequence[Measurement], cell: Cell, base: Sequence[Measurement]) -> Case:
    """Return the case with a description of its measurement: result, cell and version."""
    before = {line.quantity: line for line in base}
    sentences = [
        f"{line.quantity} {line.wording}, where the catalogue's worst is {before[line.quantity].wording} in "
        f"{before[line.quantity].case}[{before[line.quantity].row}]"
        for line in findings
        if line.case == case.id
    ]
    where = f"{cell.implementation.name} in {cell.dtype} on {cell.device}, {cell.mode}"
    versions = f"{cell.implementation.package} {cell.implementation.version}, LogitLab {__version__}"
    return replace(case, why=f"Found by a hunt in {where} ({versions}): {'; '.join(sentences)}.")
