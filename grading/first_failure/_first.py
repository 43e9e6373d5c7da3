"""``first_failures``: for each row of a batch that came out wrong, the stage where it first went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.vocabulary import SOUND, Formula, Quantity
from ...frameworks.stages import Stage
from ._rules import first_broken_stages
from ._traced_batch import TracedBatch


def first_failures(traced: TracedBatch) -> dict[str, list[str | None]]:
    """The stage at which each quantity of each row first went wrong, by the rules of ``explain``.

    A quantity is blamed on the stages that it rests on and on no others: a gradient that never takes the logarithm
    does not fail there, though the loss beside it does.

    Returns:
        For each quantity that was graded one entry a row: the name of a stage; the quantity's own name where its inside
        is not seen or no stage on its way broke a rule; None where its verdict is correct or undefined.
    """
    graded = traced.graded
    found: dict[str, list[str | None]] = {q: [None] * len(g.verdict) for q, g in graded.items()}
    inside = traced.visible_formula != Formula.BUILTIN
    paths = {q: _path(q, traced.stages) for q in graded} if inside else {}
    for row in range(max(map(len, found.values()), default=0)):
        failed = [q for q, g in graded.items() if row < len(g.verdict) and g.verdict[row] not in SOUND]
        if not failed:
            continue
        first = dict(zip(failed, failed, strict=True))
        if inside:
            first = first_broken_stages(traced.row(row), {q: paths[q] for q in failed})
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
    if quantity == Quantity.GRADIENT:
        return stage.direction == "backward"
    if quantity == Quantity.PROBABILITIES:
        # Where they are no stage of their own they are e / s all the same.
        return stage.symbol in ("p",) if any(s.symbol == "p" for s in stages) else stage.symbol in ("e", "s")
    return stage.name == quantity
