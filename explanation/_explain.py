"""``explain``: one row of a case through one implementation, stage by stage."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .. import worker
from ..arguments import paths, positive, text, whole
from ..cases import WHY_NOT_HELD, Case
from ..errors import UsageError
from ..formats import Format, get_format
from ..frameworks import QUANTITIES, Batch
from ..frameworks._stages import Stage
from ..grading import GRADES, SOUND, Graded, grade
from ..inputs import find_case
from ..oracle import Reference, reference
from ..plan import choose_frameworks
from ..pool import DEFAULT_TIMEOUT, Pools
from ..worker import Description, Offer
from ._exact import ExactValues, short
from ._judge import judged as _judged
from ._judge import rules as _rules
from ._judge import seen_as
from ._rules import Broken, Judged

Array = NDArray[Any]

COLUMNS = ("row", "stage", "pass", "formula", "value", "exact", "finite", "max_ulp", "rule", "mend")
SHOWN = 3  # entries of a row that are written out


@dataclass(frozen=True)
class Failure:
    """A stage that broke a rule of the format; ``mend`` is None where an earlier stage is to blame."""

    stage: str
    direction: str
    rule: str
    mend: str | None


@dataclass(frozen=True, eq=False)
class Explanation:
    """One row of a case, stage by stage.

    Attributes:
        case, implementation, dtype, device, row: what was explained.
        target: the class index, -1 where the targets are probabilities.
        classes: the classes whose entries are written out in ``stages``; a row of few classes has them all.
        width: the number of classes.
        grades: of the quantities of this row, ``loss`` and ``gradient`` among them; None where not graded.
        stages: a DataFrame with the columns `COLUMNS`, one line a stage. ``value`` and ``exact`` are shortened to
            text, ``finite`` is about all entries, ``max_ulp`` the largest error in spacings of the dtype (infinite
            where the value is not finite and should be, NaN where there is no exact value), ``rule`` what broke and
            ``mend`` what would have avoided it, both missing for a sound stage.
    """

    case: str
    implementation: str
    dtype: str
    device: str
    row: int
    target: int
    classes: tuple[int, ...]
    width: int
    grades: dict[str, str | None]
    stages: pd.DataFrame

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        """The stages that broke a rule, in order."""
        kept = self.stages[self.stages["rule"].notna()]
        lines = zip(kept["stage"], kept["pass"], kept["rule"], kept["mend"], strict=True)
        return tuple(Failure(s, d, r, None if pd.isna(m) else m) for s, d, r, m in lines)

    @property
    def first(self) -> Failure | None:
        """Where it first went wrong; None where loss and gradient are right."""
        return self.failures[0] if self.failures else None


def explain(
    case: str,
    implementation: str,
    dtype: object = "float32",
    row: int | None = None,
    device: str = "cpu",
    *,
    timeout: float = DEFAULT_TIMEOUT,
    case_files: str | Path | Sequence[str | Path] | None = None,
) -> Explanation:
    """Follows one row of a case through an implementation, eagerly, in a process of its own.

    The formulas ``naive``, ``lse`` and ``log1p`` are shown with every stage, forward and backward; a built-in with
    what goes in and comes out. Each stage is compared with its exact value: that of the same quantity computed from the
    row's logits without any rounding. The row losses are explained, whatever the case's reduction.

    Args:
        case: the full ``family/name`` of a case of the catalogue, or of the case files.
        implementation: its full name, such as ``torch/naive``.
        dtype: ``float16``, ``bfloat16``, ``float32`` or ``float64``.
        row: counted from 0; by default the row with the worst grade, of those the one that fails at the earliest stage.
        device: one that the framework finds.
        timeout: seconds after which the call is given up.
        case_files: files of cases, as a hunt writes them; see `inputs.read_cases`.

    Raises:
        UsageError: for an argument of another type, a limit that is not above 0, a name that is not known, a case file
            that is not as it should be, a case that the dtype cannot hold or the formula does not take, or where the
            framework does not answer.
    """
    fmt = get_format(dtype)
    limit = positive(timeout, "timeout", "seconds")
    implementation, device = text(implementation, "implementation"), text(device, "device")
    row = None if row is None else whole(row, "row")
    chosen = find_case(text(case, "case"), paths(case_files, "case_files"))
    if fmt.name not in chosen.dtypes:
        raise UsageError(f"{fmt.name} cannot hold {case}: {WHY_NOT_HELD}")
    if chosen.logits.size == 0:
        raise UsageError(f"{case} has no rows or no classes: there is nothing to explain")
    if row is not None and row >= chosen.rows:
        raise UsageError(f"{case} has no row {row}; its rows are 0 to {chosen.rows - 1}")
    owner = implementation.split("/", maxsplit=1)[0]
    choose_frameworks([owner])
    # Before a framework is started: a target that is not a class has no exact answer to compare with.
    exact = reference(chosen.quantized(fmt), chosen.quantized_targets(fmt), **chosen.options(fmt))
    with tempfile.TemporaryDirectory(prefix="logitlab-") as logs, Pools([owner], Path(logs), limit) as pools:
        offer = _offer(pools.describe()[owner], implementation, device)
        batch = _batch(chosen, fmt, offer)
        outcome = pools.answer(owner, worker.follow, (owner, implementation, batch, device))
    if outcome.status != "ok":
        raise UsageError(f"{implementation} gave no answer in {fmt.name} on {device}: {outcome.detail}")
    followed = outcome.stages
    graded = _graded(followed, batch, fmt, exact)
    at = _worst_row(followed, graded) if row is None else row
    formula = seen_as(offer.formula, followed)
    judged = _judged(followed, formula, batch, exact, at)
    rules = _rules(formula, judged, batch, fmt, exact, graded, at)
    return _explanation(chosen, offer, fmt, device, at, batch, judged, rules, graded)


def _offer(description: Description, implementation: str, device: str) -> Offer:
    if description.missing is not None:
        raise UsageError(f"{description.framework} {description.missing}")
    offers = {o.name: o for o in description.offers}
    if implementation not in offers:
        raise UsageError(f"unknown implementation {implementation!r}; there is {', '.join(offers)}")
    if offers[implementation].version is None:
        raise UsageError(f"{implementation} needs {offers[implementation].package}, which is not installed")
    if device not in description.devices:
        raise UsageError(f"{description.framework} has no device {device!r}; there is {', '.join(description.devices)}")
    return offers[implementation]


def _batch(case: Case, fmt: Format, offer: Offer) -> Batch:
    targets, options = case.quantized_targets(fmt), case.options(fmt)
    if offer.formula == "builtin":
        return Batch(case.quantized(fmt), targets, "none", options, case.layout)
    if options or targets.ndim == 2:
        what = ", ".join(options) or "class probabilities"
        raise UsageError(f"{case.id} has {what}; the written formulas take class indices alone: explain a built-in")
    return Batch(case.quantized(fmt), targets.astype(np.int64))


# --- which row --------------------------------------------------------------------------------------------------


def _graded(followed: Sequence[Stage], batch: Batch, fmt: Format, exact: Reference) -> dict[str, Graded]:
    """The row grades of each quantity that the stages end in."""
    arrays = {s.name: s.value for s in followed if s.name in QUANTITIES}
    return {q: grade(q, array, batch.logits, fmt, exact) for q, array in arrays.items()}


def _worst_row(followed: Sequence[Stage], graded: dict[str, Graded]) -> int:
    """The row with the worst grade; of those the first to stop being finite, then the one with the largest error."""
    letters = np.array([[-1 if g is None else GRADES.index(g) for g in q.grade] for q in graded.values()])
    wrong = [any(q.verdict[r] not in SOUND for q in graded.values()) for r in range(len(letters[0]))]
    errors = np.array([np.nan_to_num(q.max_ulp, posinf=np.inf) for q in graded.values()]).max(axis=0)
    stops = [_first_non_finite(followed, r) for r in range(letters.shape[1])]
    ranks = [
        (letter, bad, -stop, error)
        for letter, bad, stop, error in zip(letters.max(axis=0), wrong, stops, errors, strict=True)
    ]
    return max(range(len(ranks)), key=ranks.__getitem__)


def _first_non_finite(followed: Sequence[Stage], row: int) -> int:
    finite = [np.isfinite(s.value[row].astype(np.float64)).all() for s in followed]
    return finite.index(False) if False in finite else len(finite)


# --- the table --------------------------------------------------------------------------------------------------


def _explanation(
    case: Case,
    offer: Offer,
    fmt: Format,
    device: str,
    row: int,
    batch: Batch,
    judged: Sequence[Judged],
    rules: Sequence[Broken | None],
    graded: dict[str, Graded],
) -> Explanation:
    x = batch.logits[row].astype(np.float64)
    target = int(batch.targets[row]) if batch.targets.ndim == 1 else -1
    classes = _shown_classes(x, target, judged)
    shown = list(classes)
    lines = [(row, "logits", "forward", "x", _listed(x[shown]), _listed(x[shown]), bool(np.isfinite(x).all()), 0.0)]
    lines += [
        (row, s.name, s.direction, s.text, _listed(_some(s.values, shown)),
         _texts(s.exact, shown), bool(s.finite.all()), s.max_ulp(fmt))
        for s in judged
    ]  # fmt: skip
    table = pd.DataFrame(lines, columns=list(COLUMNS[:-2]))
    table["rule"] = pd.Series([None, *(None if b is None else b.rule for b in rules)], dtype=object)
    table["mend"] = pd.Series([None, *(None if b is None else b.mend for b in rules)], dtype=object)
    grades = {q: g.grade[row] for q, g in graded.items()}
    return Explanation(case.id, offer.name, fmt.name, device, row, target, tuple(shown), case.classes, grades, table)


def _shown_classes(x: NDArray[np.float64], target: int, judged: Sequence[Judged]) -> tuple[int, ...]:
    """The target, the maximum and the worst entry of the gradient; then the first classes, as far as there is room."""
    errors = [np.nan_to_num(s.error, nan=np.inf, posinf=np.inf) for s in judged if s.values.size == x.size]
    worst = [int(errors[-1].argmax())] if errors else []
    largest = int(np.where(np.isnan(x), np.inf, x).argmax())
    wanted = dict.fromkeys([*([target] if 0 <= target < x.size else []), largest, *worst, *range(min(SHOWN, x.size))])
    return tuple(sorted(list(wanted)[:SHOWN]))


def _some(entries: Array, shown: Sequence[int]) -> Array:
    return entries if entries.size == 1 else entries[list(shown)]


def _texts(exact: ExactValues, shown: Sequence[int]) -> str:
    if not exact.known.any():
        return "no exact value"
    return ", ".join(exact.text(j) for j in (shown if exact.hi.size > 1 else [0]))


def _listed(values: NDArray[np.float64]) -> str:
    return ", ".join(short(v) for v in values.tolist())
