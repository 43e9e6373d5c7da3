"""The lines of the measurements table that a call gives, and a cell's together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import pandas_dtype

from ..core.vocabulary import SOUND
from ..frameworks.stages import Stage
from ..grading import Graded, stability_ratio, told_of_invalid
from ..grading.first_failure import first_failures
from ..storage.schema import COLUMNS
from .plan import Cell, Group, PlannedCall
from .worker import Outcome

Array = NDArray[Any]
Columns = Mapping[str, Any]  # by name: an array or list of a value for each line, or one value for all of them


@dataclass(frozen=True, eq=False)
class Measured:
    """A call that has been made, and the grades of what it gave."""

    call: PlannedCall
    outcome: Outcome
    graded: Mapping[str, Graded]

    @property
    def needs_trace(self) -> bool:
        """Whether a row went wrong in a formula that can be followed to where it did."""
        wrong = any(not np.isin(g.verdict, SOUND).all() for g in self.graded.values())
        return wrong and self.call.traceable


def measured(call: PlannedCall, outcome: Outcome) -> Measured:
    """The grades of a call."""
    return Measured(call, outcome, call.graded(outcome))


def lines(made: Measured, stages: Sequence[Stage]) -> list[Columns]:
    """The measurements of one call, columns for each quantity; ``stages`` are those of a call that has been followed.

    They become a table in `joined`, once for all of a cell's calls: there are many small calls, and most of a table's
    cost is in its columns.
    """
    group, cell, outcome = made.call.group, made.call.cell, made.outcome
    first = first_failures(
        cell.implementation.formula, stages, group.logits, group.targets, group.fmt, group.exact, made.graded
    )
    # What is told of a quantity that did not come stands there.
    told = replace(outcome, detail="" if outcome.lacking else outcome.detail).message
    quantities = [_present(group, q, array, made.graded[q], first[q], told) for q, array in outcome.values]
    # A process that died told nothing of what it lacks: it is everything.
    lacking = outcome.lacking or (() if outcome.values else cell.implementation.quantities)
    return quantities + [_absent(group, quantity, outcome) for quantity in lacking]


def joined(run_name: str, cell: Cell, parts: Sequence[Columns]) -> pd.DataFrame:
    """The measurements of a cell's calls in one table, with the words that are the cell's own."""
    words: dict[str, Any] = {
        "run": run_name, "framework": cell.framework, "implementation": cell.implementation.name,
        "formula": cell.implementation.formula, "dtype": cell.dtype, "device": cell.device, "mode": cell.mode,
        "version": cell.implementation.version,
    }  # fmt: skip
    sizes = [len(part["row"]) for part in parts]
    columns = {
        name: _column([part.get(name) for part in parts], sizes, kind)
        for name, kind in COLUMNS.items()
        if name not in words
    }
    return pd.DataFrame(columns).assign(**words)


def _column(parts: Sequence[Any], sizes: Sequence[int], kind: str) -> Any:
    """A column from its parts: each an array or a list of its size, one value for all of it, or None for nothing."""
    if kind == "float64":
        empty = float("nan")
        filled = (empty if part is None else part for part in parts)
        wide = [np.broadcast_to(np.asarray(p, np.float64), n) for p, n in zip(filled, sizes, strict=True)]
        return np.concatenate([np.empty(0), *wide])
    values = [value for part, n in zip(parts, sizes, strict=True) for value in _listed(part, n)]
    return values if kind in ("category", "string") else pd.Series(values, dtype=pandas_dtype(kind))


def _listed(part: Any, size: int) -> Sequence[Any]:
    if isinstance(part, np.ndarray):
        return list(part.tolist())
    return part if isinstance(part, list) else [part] * size


def _rows(group: Group, *, reduced: bool) -> dict[str, Any]:
    """Which case and row each line of the table is about; -1 is the row of a reduced loss."""
    ids = [
        (c.id, c.family, -1 if reduced else r + (c.first_row or 0), c.classes)
        for c in group.cases
        for r in range(1 if reduced else c.rows)
    ]
    columns = zip(*ids, strict=True) if ids else ((), (), (), ())  # a batch may be empty
    return dict(zip(("case", "family", "row", "classes"), map(list, columns), strict=True))


def _present(
    group: Group, quantity: str, array: Array, graded: Graded, first_failure: Sequence[str | None], told: str
) -> Columns:
    """The lines of a quantity that came; ``told`` is what there is to say of the call beside."""
    exact, reduced = group.exact, quantity == "loss" and group.reduction != "none"
    known = _rows(group, reduced=reduced) | vars(graded) | _analysed(group, quantity, graded)
    if quantity == "loss":
        known |= {"value": array.astype(np.float64).reshape(-1), "exact": exact.loss.hi.reshape(-1)}
        if group.cases[0].invalid:
            known["detail"] = told_of_invalid(array, group.logits, group.targets)
    if told:
        details = _listed(known.get("detail"), len(known["row"]))
        known["detail"] = ["; ".join(filter(None, (detail, told))) for detail in details]
    known |= {"condition": [float("nan")] if reduced else exact.condition, "first_failure": list(first_failure)}
    return known | {
        "bits": _bits(np.atleast_1d(array)), "quantity": quantity, "out_dtype": array.dtype.name, "status": "ok"
    }  # fmt: skip


def _bits(values: Array) -> list[int]:
    """A digest of each row (R,) or (R, E) of values as they came, the same for the same bits; all NaN are one."""
    same = np.ascontiguousarray(np.where(np.isnan(values), values.dtype.type(np.nan), values))
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in same)
    return [int.from_bytes(digest, "little", signed=True) for digest in digests]


def _analysed(group: Group, quantity: str, graded: Graded) -> dict[str, Any]:
    """What rounding error analysis says of a quantity, where it says something: of the loss without options."""
    known = {}
    if quantity == "loss" and group.reduction == "none":
        known["stability_ratio"] = stability_ratio(
            graded.max_abs, group.exact.loss.hi, group.exact.condition, group.fmt
        )
    if quantity == "probabilities" or not group.options:
        known |= dict(zip(("bound_unshifted", "bound_shifted"), group.apriori(quantity), strict=True))
    return known


def _absent(group: Group, quantity: str, outcome: Outcome) -> Columns:
    rows = _rows(group, reduced=quantity == "loss" and group.reduction != "none")
    return rows | {"quantity": quantity, "status": outcome.status, "detail": outcome.message}
