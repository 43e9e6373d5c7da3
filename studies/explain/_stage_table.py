"""The stages of a measured row as a table, and the row losses behind a reduced one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...core.formats import Format
from ...core.vocabulary import Grade, Quantity
from ...grading.first_failure import BrokenRule, ComparedStage, ExactValues, broken_rules, short
from ._explanation import COLUMNS, REDUCED, ROW_LOSSES
from ._measurement import Measurement
from ._reduction import reduced_stages

Array = NDArray[Any]
Float64 = NDArray[np.float64]

SHOWN = 3  # entries of a row that are written out
Line = tuple[ComparedStage, BrokenRule | None]


def stage_table(m: Measurement, row: int) -> tuple[pd.DataFrame, tuple[int, ...]]:
    """The stages of a row, in the columns `COLUMNS`, and the classes whose entries are written out.

    Args:
        m: what was measured.
        row: counted from 0, or -1 for the reduced loss alone.
    """
    lines = list(_of_row(m, row))
    if m.is_reduced:
        lines += reduced_stages(m, row)
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
    """The losses that a reduced one is made of, in the columns `ROW_LOSSES`; None where there are none."""
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
    """The stages before any reduction."""
    if row == REDUCED:
        return
    traced = m.rows.row(row)
    for stage, broken in zip(traced.stages, broken_rules(traced), strict=True):
        graded = m.rows.graded.get(stage.name)
        # What is accurate is no failure, though an earlier stage be one.
        fine = graded is not None and graded.grade[row] == Grade.A
        name = f"row {stage.name}" if m.is_reduced and graded is not None else stage.name
        yield replace(stage, name=name), None if fine else broken


def _table(
    row: int, fmt: Format, lines: Sequence[Line], shown: Sequence[int], logits: Float64 | None = None
) -> pd.DataFrame:
    records = [] if logits is None else [_of_logits(row, logits, shown)]
    records += [
        (row, s.name, s.direction, s.text, _listed(_some(s.values, shown)),
         _texts(s.exact, shown), bool(s.finite.all()), s.max_ulp(fmt),
         None if broken is None else broken.rule, None if broken is None else broken.fix)
        for s, broken in lines
    ]  # fmt: skip
    return pd.DataFrame(records, columns=list(COLUMNS)).astype({"rule": object, "fix": object})


def _of_logits(row: int, x: Float64, shown: Sequence[int]) -> tuple[Any, ...]:
    few = _listed(x[list(shown)])
    return row, "logits", "forward", "x", few, few, bool(np.isfinite(x).all()), 0.0, None, None


def _shown_classes(x: Float64, target: int, stages: Sequence[ComparedStage]) -> list[int]:
    """The target, the maximum and the worst entry of the gradient; then the first classes, as far as there is room."""
    whole = [s for s in stages if s.values.size == x.size]
    worst = [int(np.nan_to_num(whole[-1].error, nan=np.inf, posinf=np.inf).argmax())] if whole else []
    largest = int(np.where(np.isnan(x), np.inf, x).argmax())
    wanted = dict.fromkeys([*([target] if 0 <= target < x.size else []), largest, *worst, *range(min(SHOWN, x.size))])
    return sorted(list(wanted)[:SHOWN])


def _some(entries: Array, shown: Sequence[int]) -> Array:
    return entries if entries.size == 1 else entries[list(shown)]


def _texts(exact: ExactValues, shown: Sequence[int]) -> str:
    if not exact.known.any():
        return "no exact value"
    return ", ".join(exact.text(j) for j in (shown if exact.hi.size > 1 else [0]))


def _listed(values: Float64) -> str:
    return ", ".join(short(v) for v in values.tolist())
