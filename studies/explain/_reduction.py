"""What becomes of the row losses where a case reduces them."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format
from ...core.vocabulary import Formula, Grade, Quantity
from ...frameworks.stages import Stage
from ...grading.first_failure import BrokenRule, ComparedStage, ExactValues, Fix, final_values, short, wrong_result
from ...oracle import Exact
from ._explanation import REDUCED
from ._measurement import Measurement

Float64 = NDArray[np.float64]


def reduced_stages(m: Measurement, row: int) -> Iterator[tuple[ComparedStage, BrokenRule | None]]:
    """The quantities of a reduced loss as stages, with what broke there.

    Probabilities that the row's own stages have are not repeated.
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
        stage = ComparedStage.of(kind, value, partial(_answer, exact))
        broken = wrong_result(stage, str(graded.verdict[at]), group.fmt)
        if broken is not None and is_loss and m.row_losses is not None:
            broken = _sum_rule(m.row_losses.astype(np.float64), stage, group.fmt) or broken
        # What is accurate is no failure.
        yield stage, None if graded.grade[at] == Grade.A else broken


def _answer(exact: Exact) -> ExactValues:
    nothing = ExactValues.missing(exact.hi.size)
    return nothing if np.isnan(exact.hi).all() else final_values(lambda: nothing, exact)


def _sum_rule(row_losses: Float64, reduced: ComparedStage, fmt: Format) -> BrokenRule | None:
    """Where the sum of the row losses left the format; None where it did not."""
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
