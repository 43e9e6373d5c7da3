"""Which rule of the format a stage broke, and what would fix it.

A stage is looked at only where the row's loss or gradient came out wrong: an exponential that underflows in a sum, or
a shift of minus infinity whose exponential is rightly zero, does no harm and is no failure.
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
    """What broke at each stage, None where nothing did."""
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


def _first_broken_stages(row: TracedRow, paths: Mapping[str, Collection[str]]) -> dict[str, str]:
    """For each quantity the first stage that broke of those on its path, the quantity itself where none did.

    ``paths`` has the symbols that each quantity rests on. No stage is looked at after the last that is needed.
    """
    # What the gradient alone has lost is no failure of the loss.
    of_loss = replace(row, verdicts={**row.verdicts, Quantity.GRADIENT: Verdict.CORRECT})
    first: dict[str, str] = {}
    for stage in row.stages if row.wrong else ():
        for quantity in [q for q, path in paths.items() if q not in first and stage.symbol in path]:
            if any(_findings(of_loss if quantity == Quantity.LOSS else row, stage)):
                first[quantity] = stage.name
    return {q: first.get(q, q) for q in paths}


def wrong_result(stage: ComparedStage, verdict: str, fmt: Format) -> BrokenRule | None:
    """What is wrong with a quantity, whatever happened inside; None where its verdict is sound."""
    if verdict in SOUND:
        return None
    size = np.nan_to_num(stage.error, nan=np.inf, posinf=np.inf)
    if verdict == Verdict.WRONG_SIGN:
        # Not the largest error, but the largest entry on the other side of zero.
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
    """What broke at one stage; digits are looked at where nothing coarser is found."""
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
    # Of the forward stages only the exponentials go on into the gradient and can lose an entry of it.
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
