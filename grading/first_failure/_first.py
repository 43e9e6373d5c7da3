"""``first_failures``: for each row of a batch that came out wrong, the stage where it first went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ...core.formats import Format
from ...core.vocabulary import SOUND
from ...frameworks import Batch
from ...frameworks.stages import Stage
from ...oracle import Reference
from .. import Graded
from .judge import judged, known_of, seen_as
from .rules import first_broken


def first_failures(
    formula: str,
    stages: Sequence[Stage],
    logits: NDArray[Any],
    targets: NDArray[Any],
    fmt: Format,
    exact: Reference,
    graded: Mapping[str, Graded],
    rows: Iterable[int] | None = None,
) -> dict[str, list[str | None]]:
    """The stage at which each quantity of each row first went wrong, by the rules of ``explain``.

    A quantity is blamed on the stages that it rests on and on no others: a gradient that never takes the logarithm
    does not fail there, though the loss beside it does.

    Args:
        formula: ``naive``, ``lse``, ``log1p`` or ``builtin``.
        stages: of the whole batch, as `worker.trace_stages` returns them; none where there are none to be had: of a
            built-in, of a compiled computation, of a case with loss options or a reduction.
        logits: (B, C) as the dtype holds them.
        targets: (B,) class indices; without stages, whatever they are.
        fmt: the case's dtype.
        exact: the oracle's answer, of row losses.
        graded: the grades of the quantities, each of B rows; without stages, of any number of rows.
        rows: those to look at, counted from 0; by default all.

    Returns:
        For each quantity in ``graded`` one entry a row: the name of a stage; the quantity's own name where its inside
        is not seen or no stage on its way broke a rule; None where its verdict is correct or undefined, and in rows
        that were not to be looked at.
    """
    batch = Batch(logits, targets)
    wanted = None if rows is None else set(rows)
    found: dict[str, list[str | None]] = {q: [None] * len(g.verdict) for q, g in graded.items()}
    inside = seen_as(formula, stages) != "builtin"
    paths = {q: _path(q, stages) for q in graded} if inside else {}
    for row in range(max(map(len, found.values()), default=0)):
        failed = [q for q, g in graded.items() if row < len(g.verdict) and g.verdict[row] not in SOUND]
        if not failed or (wanted is not None and row not in wanted):
            continue
        first = dict(zip(failed, failed, strict=True))
        if inside:
            known = known_of(formula, batch, fmt, exact, graded, row)
            first = first_broken(known, judged(stages, formula, batch, exact, row), {q: paths[q] for q in failed})
        for quantity, stage in first.items():
            found[quantity][row] = stage
    return found


def _path(quantity: str, stages: Sequence[Stage]) -> frozenset[str]:
    """The symbols of the stages that a quantity rests on."""
    path: set[str] = set()
    for s in reversed(stages):
        if s.symbol in path or _ends_in(quantity, s, stages):
            path |= {s.symbol, *s.operands}
    return frozenset(path)


def _ends_in(quantity: str, stage: Stage, stages: Sequence[Stage]) -> bool:
    if quantity == "gradient":
        return stage.direction == "backward"
    if quantity == "probabilities":
        # Where they are no stage of their own they are e / s all the same.
        return stage.symbol in ("p",) if any(s.symbol == "p" for s in stages) else stage.symbol in ("e", "s")
    return stage.name == quantity
