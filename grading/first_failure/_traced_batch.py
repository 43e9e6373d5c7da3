"""A batch that was computed, beside the exact answer, and its rows one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...core.formats import Format
from ...core.vocabulary import QUANTITIES, Formula
from ...frameworks import Batch
from ...frameworks.stages import Stage
from ...oracle import Exact, Reference
from .. import Graded
from . import _exact
from ._compared_stage import ComparedStage
from ._exact import ExactValues
from ._traced_row import TracedRow


def shows_inside(stages: Sequence[Stage]) -> bool:
    """Whether there are stages other than the quantities; a framework from outside may have none for its formulas."""
    return any(s.name not in QUANTITIES for s in stages)


@dataclass(frozen=True, eq=False)
class TracedBatch:
    """A batch that was computed, and its intermediate values as far as they can be seen.

    Attributes:
        formula: of the implementation.
        stages: of the whole batch, as `worker.trace_stages` returns them; none where there are none: of a built-in, of
            a compiled computation, of a case with loss options or a reduction.
        batch: what was computed.
        fmt: the case's dtype.
        exact: the oracle's answer, of row losses.
        graded: the grades of the quantities, each of B rows; without stages, of any number of rows.
    """

    formula: str
    stages: Sequence[Stage]
    batch: Batch
    fmt: Format
    exact: Reference
    graded: Mapping[str, Graded]

    @property
    def visible_formula(self) -> str:
        """The formula whose stages are there; ``builtin`` where only the quantities are."""
        return self.formula if shows_inside(self.stages) else Formula.BUILTIN

    def row(self, number: int) -> TracedRow:
        """One row; its exact values are computed when a rule needs them."""
        x, targets, formula = self.batch.logits[number].astype(np.float64), self.batch.targets, self.visible_formula
        target = int(targets[number]) if targets.ndim == 1 else -1
        has_exact_stages = formula != Formula.BUILTIN and bool((x < np.inf).all() and np.isfinite(x).any())
        exact_stages = _exact.stages(formula, x, target) if has_exact_stages else None
        all_real = has_exact_stages and bool(np.isfinite(x).all())
        stages = tuple(
            ComparedStage.of(s, s.value[number], self._answer(s, number, exact_stages), all_real=all_real)
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
        # An ignored row's loss and gradient are exactly 0, also where it has no softmax.
        is_known = self.exact.defined[number] or not np.isnan(exact.hi).any()
        return partial(final_values, answer, exact) if is_known else answer


def _of_stage(exact_stages: _exact.Stages | None, stage: Stage, size: int) -> ExactValues:
    return ExactValues.missing(size) if exact_stages is None else exact_stages[stage.direction, stage.symbol]


def final_values(of_stage: Callable[[], ExactValues], answer: Exact) -> ExactValues:
    """The oracle's answer for one quantity of a row, which is the limit where the formula's stages have none."""
    hi, lo = np.atleast_1d(answer.hi), np.atleast_1d(answer.lo)
    limit = ExactValues.of(hi, lo)
    real = limit.real if limit.real.all() else limit.real | of_stage().real

    def text_of(j: int) -> str:
        # Beyond the range of float64 only the stages' own balls still have digits.
        return (of_stage() if of_stage().real[j] else limit).text_of(j)

    return ExactValues(hi, lo, real, limit.known, text_of)
