"""Whether a loss can be measured at all: it is called on a few ordinary batches before anything is graded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...core.errors import UsageError
from ...core.formats import FORMATS, get_format, quantize
from ...execution.worker import Outcome
from ...frameworks import Batch
from ._loss import Candidate

SHAPES = ((3, 5), (2, 2), (128, 1024))  # (B, C): narrow rows, and a batch that a kernel's blocks divide


def must_be_measurable(candidate: Candidate, dtypes: Sequence[str]) -> None:
    """Refuses a loss that gives no row losses for any ordinary batch, in any dtype.

    One that fails on some inputs or in some dtypes is measured, and its failures are reported.

    Raises:
        UsageError: with the error of the first call; or of a gradient written by hand that gives none.
    """
    first: Outcome | None = None
    for outcome in _outcomes(candidate, dict.fromkeys([*dtypes, *FORMATS])):
        first = outcome if first is None else first
        given = [quantity for quantity, _ in outcome.values]
        if set(candidate.quantities if candidate.gradient is not None else ("loss",)) <= set(given):
            return
    what = "the gradient" if first is not None and first.values else "the loss"
    detail = "" if first is None else first.detail
    raise UsageError(
        f"{what} of {candidate.name} cannot be measured: every call fails, the first with {detail}; "
        "expected row losses (B,) of logits (B, C) and targets (B,)"
    )


def _outcomes(candidate: Candidate, dtypes: Sequence[str] | dict[str, None]) -> Iterator[Outcome]:
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        for dtype in dtypes:
            fmt = get_format(dtype)
            logits = quantize(np.round(rng.normal(size=shape) * 16) / 16, fmt)
            yield candidate.call(Batch(logits, rng.integers(shape[1], size=shape[0])))
