"""A traced computation, its rows, and the stages of a row with their exact values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format, format_of_result
from ...core.rounding import ulp
from ...core.vocabulary import QUANTITIES, SOUND, Formula, Quantity, Verdict
from ...frameworks.stages import Stage
from ...oracle import Exact, Reference
from .. import Graded
from .._bounds import RowSizes, loss_bounds
from . import _exact
from ._exact import ExactValues

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Fix(StrEnum):
    """A change of a formula that avoids a failure."""

    SHIFT = "subtract the row maximum first"
    LOG_OF_SUM = "take the logarithm of the sum instead of the probability"
    LOG1P = "take the maximum's own term out of the sum: log1p(sum of the others)"
    SHIFT_TARGET = "subtract the target logit from the maximum before adding: log(s) + (m - x[target])"
    NO_QUOTIENT = "write the gradient as softmax minus one-hot instead of differentiating the quotient"
    OTHERS = "at the target take minus the share of the others instead of p - 1"
    WIDER = "compute in a wider dtype"
    WIDE_SUM = "hold the sum in float32 or wider"


@dataclass(frozen=True)
class BrokenRule:
    """``rule`` says what the format did; ``fix`` is a change that avoids it, None if an earlier stage caused it."""

    rule: str
    fix: str | None = None


@dataclass(frozen=True, eq=False)
class ComparedStage(Stage):
    """One stage of one row, whose ``value`` has shape (E,).

    ``answer`` returns the exact values, which are computed at their first use. ``all_real`` says that all are real
    numbers, as for a row of finite logits.
    """

    answer: Callable[[], ExactValues]
    fmt: Format
    all_real: bool = False

    @classmethod
    def of(
        cls,
        stage: Stage,
        value: NDArray[Any],
        answer: Callable[[], ExactValues],
        fmt: Format,
        *,
        all_real: bool = False,
    ) -> Self:
        """Return the stage with its value in one row of a case in this format."""
        kind = stage.direction, stage.name, stage.symbol, stage.text, stage.operation, stage.operands
        return cls(*kind, np.atleast_1d(value), answer, format_of_result(value.dtype, fmt), all_real)

    @property
    def dtype(self) -> str:
        return self.fmt.name

    @cached_property
    def values(self) -> Float64:
        values: Float64 = self.value.astype(np.float64)
        return values

    @cached_property
    def exact(self) -> ExactValues:
        return self.answer()

    @cached_property
    def finite(self) -> Mask:
        finite: Mask = np.isfinite(self.values)
        return finite

    @cached_property
    def error(self) -> Float64:
        """The absolute error; infinite unless both values are finite or the same, NaN without an exact value."""
        hi, lo, v = self.exact.hi, self.exact.lo, self.values
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.where(np.isfinite(v) & np.isfinite(hi), np.abs((v - hi) - lo), np.inf)
            same = ~self.exact.real & ((v == hi) | (np.isnan(v) & np.isnan(hi)))
            return np.where(self.exact.known, np.where(same, 0.0, apart), np.nan)

    @cached_property
    def relative(self) -> Float64:
        """The error relative to the exact value; 0 where that is 0 or not finite in float64."""
        size = np.abs(self.exact.hi)
        with np.errstate(invalid="ignore", over="ignore"):
            return np.where((size > 0) & np.isfinite(size), self.error / np.where(size > 0, size, 1.0), 0.0)

    def max_ulp(self, fmt: Format) -> float:
        """Return the largest error in spacings of the format; NaN where there is no exact value."""
        with np.errstate(invalid="ignore", over="ignore"):
            spacing = np.where(np.isfinite(self.exact.hi), ulp(self.exact.hi, fmt, self.exact.lo), 1.0)
            errors: list[float] = (self.error / spacing)[self.exact.known].tolist()
        return max(errors, default=float("nan"))


@dataclass(frozen=True, eq=False)
class TracedRow:
    """One row of a traced computation.

    Attributes:
        formula: the formula of the stages; ``builtin`` if only the quantities are visible.
        target: the class index, -1 if the targets are probabilities.
        logits: (C,) in float64.
        fmt: the case's dtype.
        loss: the exact loss.
        verdicts: the verdicts of the computed quantities, by name.
        stages: in the order of the computation.
    """

    formula: str
    target: int
    logits: Float64
    fmt: Format
    loss: float
    verdicts: Mapping[str, str]
    stages: tuple[ComparedStage, ...]

    def verdict(self, quantity: str) -> str:
        """Return the verdict of a quantity; ``correct`` for one that was not computed."""
        return self.verdicts.get(quantity, Verdict.CORRECT)

    @cached_property
    def wrong(self) -> frozenset[str]:
        """The passes ``forward`` and ``backward`` that ended wrong; ``softmax`` if only the probabilities are wrong."""
        verdicts = {"forward": self.verdict(Quantity.LOSS), "backward": self.verdict(Quantity.GRADIENT)}
        if Verdict.UNDEFINED in verdicts.values():
            return frozenset()
        wrong = frozenset(direction for direction, verdict in verdicts.items() if verdict != Verdict.CORRECT)
        alone = not wrong and self.verdict(Quantity.PROBABILITIES) not in SOUND
        return frozenset({"softmax"}) if alone else wrong

    @cached_property
    def tolerance(self) -> float:
        """Grade B's bound for the loss of a row with one target."""
        size = self.loss if np.isfinite(self.loss) else 0.0
        return float(loss_bounds(np.array([size]), RowSizes.of(self.logits[None, :], np.ones(1)), self.fmt).b[0])

    @cached_property
    def symbols(self) -> dict[str, Float64]:
        """The computed values by symbol; ``x`` has the logits."""
        return {"x": self.logits} | {s.symbol: s.values for s in self.stages}


def shows_inside(stages: Sequence[Stage]) -> bool:
    """Return whether any stage is not a quantity. An external framework may have none for its formulas."""
    return any(s.name not in QUANTITIES for s in stages)


@dataclass(frozen=True, eq=False)
class TracedBatch:
    """A computed batch and its visible intermediate values.

    Attributes:
        formula: the implementation's formula.
        stages: the stages of the whole batch, from `worker.trace_stages`. A built-in, a compiled computation, and a
            case with loss options or a reduction have none.
        batch: the computed batch.
        fmt: the case's dtype.
        exact: the oracle's answer for row losses.
        graded: the grades of the quantities, each with B rows; without stages, with any number of rows.
    """

    formula: str
    stages: Sequence[Stage]
    batch: Any  # a `Batch`; a `LinearBatch` has no stages, and only its targets are read
    fmt: Format
    exact: Reference
    graded: Mapping[str, Graded]

    @property
    def visible_formula(self) -> str:
        """The formula whose stages are visible; ``builtin`` if only the quantities are."""
        return self.formula if shows_inside(self.stages) else Formula.BUILTIN

    def row(self, number: int) -> TracedRow:
        """Return one row. Its exact values are computed when a rule needs them."""
        x, targets, formula = self.batch.logits[number].astype(np.float64), self.batch.targets, self.visible_formula
        target = int(targets[number]) if targets.ndim == 1 else -1
        has_exact_stages = formula != Formula.BUILTIN and bool((x < np.inf).all() and np.isfinite(x).any())
        exact_stages = _exact.stages(formula, x, target) if has_exact_stages else None
        all_real = has_exact_stages and bool(np.isfinite(x).all())
        stages = tuple(
            ComparedStage.of(s, s.value[number], self._answer(s, number, exact_stages), self.fmt, all_real=all_real)
            for s in self.stages
        )
        verdicts = {q: str(g.verdict[number]) for q, g in self.graded.items()}
        loss = float(self.exact.loss.hi[number])
        return TracedRow(formula, target, x, self.fmt, loss, verdicts, stages)

    def _answer(self, stage: Stage, number: int, exact_stages: _exact.Stages | None) -> Callable[[], ExactValues]:
        answer = partial(_of_stage, exact_stages, stage, stage.value[number].size)
        if stage.name not in QUANTITIES:
            return answer
        exact: Exact = getattr(self.exact, stage.name)[number]
        # An ignored row's loss and gradient are exactly 0, even if it has no softmax.
        is_known = self.exact.defined[number] or not np.isnan(exact.hi).any()
        return partial(final_values, answer, exact) if is_known else answer


def _of_stage(exact_stages: _exact.Stages | None, stage: Stage, size: int) -> ExactValues:
    return ExactValues.missing(size) if exact_stages is None else exact_stages[stage.direction, stage.symbol]


def final_values(of_stage: Callable[[], ExactValues], answer: Exact) -> ExactValues:
    """Return the oracle's answer for one quantity of a row: a limit where the formula's stages have no value."""
    hi, lo = np.atleast_1d(answer.hi), np.atleast_1d(answer.lo)
    limit = ExactValues.of(hi, lo)
    real = limit.real if limit.real.all() else limit.real | of_stage().real

    def text_of(j: int) -> str:
        # Beyond float64's range only the stages' balls have digits.
        return (of_stage() if of_stage().real[j] else limit).text_of(j)

    return ExactValues(hi, lo, real, limit.known, text_of)
