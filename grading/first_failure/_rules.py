"""Find the rule of the format that a stage broke, and what would fix it.

Only rows with a wrong loss or gradient are examined. An exponential that underflows in a sum does no harm. Neither does
a shift of minus infinity, whose exponential is 0 as it should be.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...core.formats import Format
from ...core.vocabulary import SOUND, Formula, Quantity, Verdict
from ...frameworks.stages import Stage
from ._digits import bad_sum, lost_in_gradient, lost_in_loss, underflow
from ._exact import short
from ._non_finite import non_finite
from ._traced import BrokenRule, ComparedStage, TracedBatch, TracedRow


def broken_rules(row: TracedRow) -> list[BrokenRule | None]:
    """Return the rule that each stage broke, None where it broke none."""
    if row.formula == Formula.BUILTIN:
        return [wrong_result(s, row.verdict(s.name), row.fmt) for s in row.stages]
    if not row.wrong:
        return [None] * len(row.stages)
    found = [_joined(_findings(row, s)) for s in row.stages]
    for direction, quantity in (("forward", Quantity.LOSS), ("backward", Quantity.GRADIENT)):
        before = [b for b, s in zip(found, row.stages, strict=True) if s.direction in ("forward", direction)]
        if direction in row.wrong and not any(before):
            last = max(i for i, s in enumerate(row.stages) if s.direction == direction)
            found[last] = wrong_result(row.stages[last], row.verdict(quantity), row.fmt)
    return found


def first_failures(traced: TracedBatch) -> dict[str, list[str | None]]:
    """Return the stage at which each quantity of each row first went wrong, by the rules of ``explain``.

    A quantity fails only at stages that it depends on. A gradient that does not use the logarithm does not fail there,
    even if the loss does.

    Returns:
        For each graded quantity one entry a row. It is the name of a stage, or None where the verdict is correct or
        undefined. It is the quantity's own name where the stages are not visible or none of them broke a rule.
    """
    graded = traced.graded
    found: dict[str, list[str | None]] = {q: [None] * len(g.verdict) for q, g in graded.items()}
    inside = traced.visible_formula != Formula.BUILTIN
    paths = {q: _path(q, traced.stages) for q in graded} if inside else {}
    wrong = {q: set(np.flatnonzero(~np.isin(g.verdict, SOUND)).tolist()) for q, g in graded.items()}
    for row in sorted(set().union(*wrong.values())):
        failed = [q for q, rows in wrong.items() if row in rows]
        first = dict(zip(failed, failed, strict=True))
        if inside:
            first = _first_broken_stages(traced.row(row), {q: paths[q] for q in failed})
        for quantity, stage in first.items():
            found[quantity][row] = stage
    return found


def _path(quantity: str, stages: Sequence[Stage]) -> frozenset[str]:
    """Return the symbols of the stages that a quantity depends on."""
    path: set[str] = set()
    for s in reversed(stages):
        if s.symbol in path or _ends_in(quantity, s, stages):
            path |= {s.symbol, *s.operands}
    return frozenset(path)


def _ends_in(quantity: str, stage: Stage, stages: Sequence[Stage]) -> bool:
    if quantity == Quantity.GRADIENT:
        return stage.direction == "backward"
    if quantity == Quantity.PROBABILITIES:
        # Without a stage p the probabilities are still e / s.
        return stage.symbol in ("p",) if any(s.symbol == "p" for s in stages) else stage.symbol in ("e", "s")
    return stage.name == quantity


def _first_broken_stages(row: TracedRow, paths: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return for each quantity the first broken stage on its path, or the quantity's name if none broke.

    ``paths`` has the symbols that each quantity depends on. Stages after the last needed one are not examined.
    """
    # A loss does not fail for digits that only the gradient has lost.
    of_loss = replace(row, verdicts={**row.verdicts, Quantity.GRADIENT: Verdict.CORRECT})
    first: dict[str, str] = {}
    for stage in row.stages if row.wrong else ():
        for quantity in [q for q, path in paths.items() if q not in first and stage.symbol in path]:
            if any(_findings(of_loss if quantity == Quantity.LOSS else row, stage)):
                first[quantity] = stage.name
    return {q: first.get(q, q) for q in paths}


def wrong_result(stage: ComparedStage, verdict: str, fmt: Format) -> BrokenRule | None:
    """Return the fault of a result, regardless of its stages; None if its verdict is sound."""
    if verdict in SOUND:
        return None
    size = np.nan_to_num(stage.error, nan=np.inf, posinf=np.inf)
    if verdict == Verdict.WRONG_SIGN:
        # The largest entry on the wrong side of zero, which need not have the largest error.
        size = np.where(np.sign(stage.values) * np.sign(stage.exact.hi) < 0, np.abs(stage.values), -1.0)
    j = int(size.argmax())
    got, exact = short(stage.values[j]), stage.exact.text(j)
    if verdict == Verdict.INACCURATE:
        return BrokenRule(f"the error has grown to {stage.max_ulp(fmt):.3g} ulp")
    if verdict == Verdict.LOST:
        return BrokenRule(f"{got} has no digit of the exact value {exact}")
    if verdict == Verdict.WRONG_SIGN:
        return BrokenRule(f"{got} has the wrong sign, the exact value is {exact}")
    return BrokenRule(f"{got} where the exact value is {exact}")


def _findings(row: TracedRow, stage: ComparedStage) -> Iterator[BrokenRule]:
    """Yield the rules that one stage broke. Lost digits are examined only if nothing coarser is found."""
    found = False
    for rule in (non_finite, underflow):
        broke = rule(row, stage)
        if broke is not None:
            found = True
            yield broke
    if found:
        return
    if stage.direction == "forward":
        broke = bad_sum(row, stage)
        if broke is None and "forward" in row.wrong:
            broke = lost_in_loss(row, stage)
        if broke is not None:
            yield broke
    # The exponentials are the only forward stages that the gradient uses.
    if "backward" in row.wrong and (stage.direction == "backward" or stage.operation == "exp"):
        broke = lost_in_gradient(row, stage)
        if broke is not None:
            yield broke


def _joined(findings: Iterator[BrokenRule]) -> BrokenRule | None:
    found = list(findings)
    if not found:
        return None
    fixes = dict.fromkeys(b.fix for b in found if b.fix is not None)
    return BrokenRule("; ".join(b.rule for b in found), "; ".join(fixes) or None)
