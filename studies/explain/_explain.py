"""``explain``: follow one row of a case through one implementation, stage by stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.arguments import as_string
from ...core.vocabulary import SOUND, Problem, Quantity
from ...execution.pool import DEFAULT_TIMEOUT
from ...frameworks.stages import Stage
from .._cells import REDUCED, owner_of
from .._measurer import Measurement
from .._session import CellRequest, Session
from ._entries import rank
from ._explanation import Explanation
from ._linear import describe_rounding, linear_table
from ._stage_table import row_losses, stage_table
from ._wording import assessments, given, remarks


def explain(
    case: str,
    implementation: str,
    dtype: object = "float32",
    row: int | None = None,
    device: str = "cpu",
    *,
    mode: str = "eager",
    timeout: float = DEFAULT_TIMEOUT,
    case_files: str | Path | Sequence[str | Path] | None = None,
) -> Explanation:
    """Explain one row of a case in an implementation, measured by the call that `run` makes.

    The case keeps its reduction, loss options and layout, and the grades equal those of the measurements table. The
    formulas ``naive``, ``lse`` and ``log1p`` are shown with every stage, forward and backward, if they run eagerly on
    logits and class indices. Any other call is shown with its input and output. Each stage is compared with its exact
    value: the same quantity computed from the row's logits without rounding. A reduced loss is shown with its row
    losses.

    Args:
        case: the full ``family/name`` of a case of the catalogue, of a sweep, or of the case files.
        implementation: its full name, such as ``torch/naive``.
        dtype: ``float16``, ``bfloat16``, ``float32`` or ``float64``.
        row: the row, from 0, or -1 for a reduced loss alone. By default the row with the worst grade; of several, the
            one that fails at the earliest stage.
        device: a device that the framework finds.
        mode: a mode of the implementation, such as ``eager`` or ``compiled``, or a variant of one, such as
            ``eager+one-thread``.
        timeout: time limit of a call in seconds.
        case_files: case files, as a hunt writes them; see `inputs.read_cases`.

    Raises:
        UsageError: for an argument of the wrong type, a limit that is not above 0, an unknown name, or an invalid case
            file. Also for a case that the dtype cannot hold or the implementation does not take, and for a call without
            a result.
    """
    owner = owner_of(as_string(implementation, "implementation"))
    with Explainer([owner], timeout, case_files) as explainer:
        return explainer.explain(ExplainRequest(case, implementation, dtype, row, device, mode))


@dataclass(frozen=True)
class ExplainRequest(CellRequest):
    """The row of a case to explain, and the cell; the fields are the arguments of `explain`."""


class Explainer(Session):
    """Explains many rows with one set of worker processes, in a ``with`` block.

    Args:
        frameworks: the frameworks of the implementations.
        timeout: time limit of a call in seconds.
        case_files: as for `explain`.

    Raises:
        UsageError: for an unknown framework, or an invalid case file.
    """

    def explain(self, request: ExplainRequest) -> Explanation:
        """Explain a row like the function `explain`."""
        asked = self.prepare(request)
        measurement = asked.measurer.measure(asked.case, asked.cell)
        return _explanation(measurement, _worst_row(measurement) if asked.row is None else asked.row)


# --- which row --------------------------------------------------------------------------------------------------


def _worst_row(m: Measurement) -> int:
    """Return the row with the worst grade; of several, the first to stop being finite, then the largest error.

    With a reduction, rows are compared by their own losses.
    """
    of_rows = {q: g for q, g in m.graded.items() if not Quantity(q).of_batch}
    stages = [s for s in m.rows.stages if s.name not in set(m.graded) - set(of_rows)]
    if m.is_reduced:
        of_rows.pop(Quantity.LOSS, None)
        of_rows |= {f"row {q}": g for q, g in m.rows.graded.items()}
    ranks = []
    for r in range(m.case.rows):
        worst = max((rank(g, r) for g in of_rows.values()), default=-1)
        wrong = any(g.verdict[r] not in SOUND for g in of_rows.values())
        error = max((float(np.nan_to_num(g.max_ulp[r], posinf=np.inf)) for g in of_rows.values()), default=0.0)
        ranks.append((worst, wrong, -_first_non_finite(stages, r), error))
    return max(range(len(ranks)), key=ranks.__getitem__, default=REDUCED)


def _first_non_finite(stages: Sequence[Stage], row: int) -> int:
    finite = [np.isfinite(s.value[row].astype(np.float64)).all() for s in stages]
    return finite.index(False) if False in finite else len(finite)


def _explanation(m: Measurement, row: int) -> Explanation:
    case, cell = m.case, m.cell
    is_linear = m.group.problem is Problem.LINEAR
    stages, classes = (linear_table(m, row), ()) if is_linear else stage_table(m, row)
    target = -1 if row == REDUCED or case.targets.ndim == 2 else int(case.targets[row])
    return Explanation(
        case=case.id,
        problem=m.group.problem,
        implementation=cell.implementation.name,
        dtype=cell.dtype,
        device=cell.device,
        mode=cell.mode,
        row=row,
        target=target,
        given=given(m, row),
        classes=classes,
        width=case.classes,
        assessments=assessments(m, row),
        remarks=(*(describe_rounding(m, row) if is_linear else ()), *remarks(m, row)),
        stages=stages,
        row_losses=row_losses(m),
    )
