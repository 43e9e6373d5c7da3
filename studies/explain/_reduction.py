"""What becomes of the row losses where a case reduces them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format
from ...grading.first_failure.exact import ExactValues, short
from ...grading.first_failure.judge import final
from ...grading.first_failure.rules import WIDE_SUM, Broken, Judged, outcome
from ...oracle import Exact
from ._explanation import REDUCED
from ._measurement import Measurement

Float64 = NDArray[np.float64]


def reduced_stages(m: Measurement, row: int) -> Iterator[tuple[Judged, Broken | None]]:
    """The quantities of a reduced loss as stages, with what broke there.

    Probabilities that the row's own stages have are not repeated.
    """
    group, inside = m.call.group, m.rows.formula != "builtin"
    for quantity, graded in m.graded.items():
        at = 0 if quantity == "loss" else row
        if quantity != "loss" and (row == REDUCED or (quantity == "probabilities" and inside)):
            continue
        values = np.atleast_1d(m.values[quantity]) if quantity == "loss" else m.values[quantity][row]
        exact: Exact = getattr(group.exact, quantity)[None if quantity == "loss" else row]
        direction = "backward" if quantity == "gradient" else "forward"
        text = {"loss": f"{group.reduction}(row loss)", "gradient": f"of the {group.reduction}"}.get(quantity, "")
        kind = (direction, quantity, quantity, text, "call", ())
        answer = partial(_answer, exact)
        line = Judged(*kind, values.astype(np.float64), values.dtype.name, answer, all_real=False)
        broken = outcome(line, str(graded.verdict[at]), group.fmt)
        if broken is not None and quantity == "loss" and m.rows.losses is not None:
            broken = _sum_rule(m.rows.losses.astype(np.float64), line, group.fmt) or broken
        # What is accurate is no failure.
        yield line, None if graded.grade[at] == "A" else broken


def _answer(exact: Exact) -> ExactValues:
    nothing = ExactValues.missing(exact.hi.size)
    return nothing if np.isnan(exact.hi).all() else final(lambda: nothing, exact)


def _sum_rule(row_losses: Float64, reduced: Judged, fmt: Format) -> Broken | None:
    """Where the sum of the row losses left the format; None where it did not."""
    value = float(reduced.values[0])
    if np.isfinite(value):
        return None
    if not np.isfinite(row_losses).all():
        first = next(float(v) for v in row_losses if not np.isfinite(v))
        return Broken(f"row losses with {short(first)} give {short(value)}", None)
    total = float(row_losses.sum())
    if total <= fmt.largest:
        return None
    size = row_losses.size
    return Broken(f"the sum of {size} row losses, {total:.4g}, overflows {fmt.name} above {fmt.largest:.4g}", WIDE_SUM)
