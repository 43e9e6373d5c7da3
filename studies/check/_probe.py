"""Whether a loss can be measured at all, by its signature and by its answers to a few ordinary batches."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...core.errors import UsageError, short_repr
from ...core.formats import FORMATS, get_format, quantize
from ...execution.worker import Outcome
from ...frameworks import Batch
from ._loss import Candidate
from ._options import PLAIN, keywords, signature_of

SHAPES = ((3, 5), (2, 2), (128, 1024))  # (B, C): narrow rows, and a batch that a kernel's blocks divide


def require_callable(function: Any, what: str, name: str) -> None:
    """Refuses what cannot be called with logits and targets.

    Raises:
        UsageError: for a value that is no function, a class, or a signature that does not take two arguments.
    """
    expected = "expected a function of logits (B, C) and targets (B,)"
    if inspect.isclass(function):
        raise UsageError(f"{what} {name} is a class; {expected}, or an instance that can be called")
    if not callable(function):
        raise UsageError(f"{what} is {short_repr(function)}; {expected}")
    signature = signature_of(function)
    try:
        if signature is not None:
            signature.bind(None, None, **keywords(function, PLAIN))
    except TypeError as error:
        raise UsageError(
            f"{what} {name}{signature} cannot be called with logits and targets ({error}); {expected}"
        ) from error


def require_measurable(candidate: Candidate, dtypes: Sequence[str]) -> None:
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
