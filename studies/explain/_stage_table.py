"""The stages of a measured row as a table, and the row losses of a reduced loss."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.formats import Format
from ...core.vocabulary import Formula, Grade, Quantity
from ...frameworks.stages import Stage
from ...grading.first_failure import (
    BrokenRule,
    ComparedStage,
    ExactValues,
    Fix,
    broken_rules,
    final_values,
    short,
    wrong_result,
)
from ...oracle import Exact
from .._cells import REDUCED
from .._measurer import Measurement
from ._explanation import COLUMNS, ROW_LOSSES

Float64 = NDArray[np.float64]

SHOWN = 3  # shown entries of a row
Line = tuple[ComparedStage, BrokenRule | None]


def stage_table(m: Measurement, row: int) -> tuple[pd.DataFrame, tuple[int, ...]]:
    """Return the stages of a row, in the columns `COLUMNS`, and the classes whose entries are shown.

    Args:
        m: the measurement.
        row: the row, from 0, or -1 for the reduced loss alone.
    """
    lines = list(_of_row(m, row))
    if m.is_reduced:
        lines += _reduced_stages(m, row)
    # Forward first; the sort is stable.
    lines.sort(key=lambda line: line[0].direction == "backward")
    group = m.group
    if row == REDUCED:
        return _table(row, group.fmt, lines, []), ()
    x = group.logits[row].astype(np.float64)
    target = int(group.targets[row]) if group.targets.ndim == 1 else -1
    shown = _shown_classes(x, target, [stage for stage, _ in lines])
    return _table(row, group.fmt, lines, shown, x), tuple(shown)


def row_losses(m: Measurement) -> pd.DataFrame | None:
    """Return the row losses of a reduced loss, in the columns `ROW_LOSSES`, or None without a reduction."""
    losses, targets = m.row_losses, m.rows.batch.targets
    if not m.is_reduced or losses is None:
        return None
    size = len(losses)
    graded = m.rows.graded.get(Quantity.LOSS)
    columns = (
        range(size),
        targets.tolist() if targets.ndim == 1 else [None] * size,
        losses.astype(np.float64),
        m.rows.exact.loss.hi,
        np.full(size, np.nan) if graded is None else graded.max_ulp,
        [None] * size if graded is None else list(graded.grade),
    )
    return pd.DataFrame(dict(zip(ROW_LOSSES, columns, strict=True))).astype({"target": object, "grade": object})


def _of_row(m: Measurement, row: int) -> Iterator[Line]:
    """Return the stages before any reduction."""
    if row == REDUCED:
        return
    traced = m.rows.row(row)
    for stage, broken in zip(traced.stages, broken_rules(traced), strict=True):
        graded = m.rows.graded.get(stage.name)
        # An accurate stage is not a failure, even after a failed one.
        fine = graded is not None and graded.grade[row] == Grade.A
        name = f"row {stage.name}" if m.is_reduced and graded is not None else stage.name
        yield replace(stage, name=name), None if fine else broken


def _reduced_stages(m: Measurement, row: int) -> Iterator[Line]:
    """Return the quantities of a reduced loss as stages, with the rule that each broke.

    Probabilities are left out if they are among the row's own stages.
    """
    group, inside = m.group, m.rows.visible_formula != Formula.BUILTIN
    texts = {Quantity.LOSS: f"{group.reduction}(row loss)", Quantity.GRADIENT: f"of the {group.reduction}"}
    for quantity, graded in m.graded.items():
        is_loss = quantity == Quantity.LOSS
        if not is_loss and (row == REDUCED or (quantity == Quantity.PROBABILITIES and inside)):
            continue
        at = 0 if is_loss else row
        value = m.values[quantity] if is_loss else m.values[quantity][row]
        exact: Exact = getattr(group.exact, quantity)[None if is_loss else row]
        kind = replace(Stage.of_quantity(quantity, value), text=texts.get(Quantity(quantity), ""))
        stage = ComparedStage.of(kind, value, partial(_answer, exact), group.fmt)
        broken = wrong_result(stage, str(graded.verdict[at]), group.fmt)
        if broken is not None and is_loss and m.row_losses is not None:
            broken = _sum_rule(m.row_losses.astype(np.float64), stage, group.fmt) or broken
        # An accurate stage is not a failure.
        yield stage, None if graded.grade[at] == Grade.A else broken


def _answer(exact: Exact) -> ExactValues:
    nothing = ExactValues.missing(exact.hi.size)
    return nothing if np.isnan(exact.hi).all() else final_values(lambda: nothing, exact)


def _sum_rule(row_losses: Float64, reduced: ComparedStage, fmt: Format) -> BrokenRule | None:
    """Return where the sum of the row losses left the format's range, or None."""
    value = float(reduced.values[0])
    if np.isfinite(value):
        return None
    if not np.isfinite(row_losses).all():
        first = next(float(v) for v in row_losses if not np.isfinite(v))
        return BrokenRule(f"row losses with {short(first)} give {short(value)}")
    total = float(row_losses.sum())
    if total <= fmt.largest:
        return None
    size = row_losses.size
    rule = f"the sum of {size} row losses, {total:.4g}, overflows {fmt.name} above {fmt.largest:.4g}"
    return BrokenRule(rule, Fix.WIDE_SUM)


def _table(
    row: int, fmt: Format, lines: Sequence[Line], shown: Sequence[int], logits: Float64 | None = None
) -> pd.DataFrame:
    records: list[tuple[Any, ...]] = []
    if logits is not None:
        few = _listed(logits, shown)
        records = [(row, "logits", "forward", "x", few, few, bool(np.isfinite(logits).all()), 0.0, None, None)]
    records += [
        (row, s.name, s.direction, s.text, _listed(s.values, shown),
         _texts(s.exact, shown), bool(s.finite.all()), s.max_ulp(fmt),
         None if broken is None else broken.rule, None if broken is None else broken.fix)
        for s, broken in lines
    ]  # fmt: skip
    return pd.DataFrame(records, columns=list(COLUMNS)).astype({"rule": object, "fix": object})


def _shown_classes(x: Float64, target: int, stages: Sequence[ComparedStage]) -> list[int]:
    """Return the target, the maximum, the worst entry of the gradient, and then the first classes, up to a limit."""
    whole = [s for s in stages if s.values.size == x.size]
    worst = [int(np.nan_to_num(whole[-1].error, nan=np.inf, posinf=np.inf).argmax())] if whole else []
    largest = int(np.where(np.isnan(x), np.inf, x).argmax())
    wanted = dict.fromkeys([*([target] if 0 <= target < x.size else []), largest, *worst, *range(min(SHOWN, x.size))])
    return sorted(list(wanted)[:SHOWN])


def _texts(exact: ExactValues, shown: Sequence[int]) -> str:
    if not exact.known.any():
        return "no exact value"
    return ", ".join(exact.text(j) for j in (shown if exact.hi.size > 1 else [0]))


def _listed(values: Float64, shown: Sequence[int]) -> str:
    few = values if values.size == 1 else values[list(shown)]
    return ", ".join(short(v) for v in few.tolist())
