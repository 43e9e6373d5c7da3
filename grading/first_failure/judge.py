"""One row of a computation that was followed, beside its exact stages, as the rules look at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format
from ...core.vocabulary import QUANTITIES
from ...frameworks import Batch
from ...frameworks.stages import Stage
from ...oracle import Exact, Reference
from .. import Graded
from . import exact as _exact
from .exact import ExactValues
from .rules import Broken, Judged, Row, broken, outcome

Answer = Callable[[], ExactValues]


def seen_as(formula: str, followed: Sequence[Stage]) -> str:
    """The formula whose stages are seen; ``builtin`` where only the quantities are."""
    # A framework from outside may not say how its formulas are followed: then they are seen as built-ins are.
    return formula if any(s.name not in QUANTITIES for s in followed) else "builtin"


def judged(followed: Sequence[Stage], formula: str, batch: Batch, exact: Reference, row: int) -> list[Judged]:
    """The stages of one row, each with its exact values, which are computed when a rule asks for them.

    Args:
        followed: the stages of the whole batch.
        formula: as `seen_as` tells it.
        batch: the logits (B, C) and targets (B,) that were followed.
        exact: the oracle's answer for the batch, of row losses.
        row: which row.
    """
    x = batch.logits[row].astype(np.float64)
    inside = formula != "builtin" and _followable(x)
    known = _exact.stages(formula, x, int(batch.targets[row])) if inside else None
    all_real = inside and bool(np.isfinite(x).all())
    lines = []
    for s in followed:
        values = np.atleast_1d(s.value[row]).astype(np.float64)
        answer = partial(_answer, known, s, values.size)
        # An ignored row's loss and gradient are exactly 0, also where it has no softmax.
        if s.name in QUANTITIES and (exact.defined[row] or not np.isnan(getattr(exact, s.name)[row].hi).any()):
            answer = partial(final, answer, getattr(exact, s.name)[row])
        kind = (s.direction, s.name, s.symbol, s.text, s.operation, s.operands)
        lines.append(Judged(*kind, values, s.value.dtype.name, answer, all_real))
    return lines


def rules(
    formula: str,
    lines: list[Judged],
    batch: Batch,
    fmt: Format,
    exact: Reference,
    graded: Mapping[str, Graded],
    row: int,
) -> list[Broken | None]:
    """What broke at each stage of a row; ``graded`` has the verdicts of loss and gradient, those that there are."""
    if formula == "builtin":
        return [outcome(s, str(graded[s.name].verdict[row]), fmt) for s in lines]
    return broken(known_of(formula, batch, fmt, exact, graded, row), lines)


def known_of(formula: str, batch: Batch, fmt: Format, exact: Reference, graded: Mapping[str, Graded], row: int) -> Row:
    """What the rules need to know of a row beside its stages."""
    loss, gradient, probabilities = (
        str(graded[q].verdict[row]) if q in graded else "correct" for q in ("loss", "gradient", "probabilities")
    )
    x, target = batch.logits[row].astype(np.float64), int(batch.targets[row])
    return Row(formula, target, x, fmt, float(exact.loss.hi[row]), loss, gradient, probabilities)


def _followable(x: NDArray[np.float64]) -> bool:
    return bool((x < np.inf).all() and np.isfinite(x).any())


def _answer(known: _exact.Stages | None, stage: Stage, size: int) -> ExactValues:
    return ExactValues.missing(size) if known is None else known[stage.direction, stage.symbol]


def final(value: Answer, answer: Exact) -> ExactValues:
    """The oracle's answer for one quantity of a row, which is the limit where the formula's stages have none."""
    hi, lo = np.atleast_1d(answer.hi), np.atleast_1d(answer.lo)
    limit = ExactValues.of(hi, lo)
    real = limit.real if limit.real.all() else limit.real | value().real

    def tell(j: int) -> str:
        # Beyond the range of float64 only the stages' own balls still have digits.
        return (value() if value().real[j] else limit).tell(j)

    return ExactValues(hi, lo, real, limit.known, tell)
