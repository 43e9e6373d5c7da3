"""``bulk``: the exact answers of very many plain rows, by `quad` where possible and otherwise by `balls`."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import UsageError
from ..core.vocabulary import Problem
from ._answer import Exact, Reference, merge_rows, take_rows
from ._inputs import class_indices, float_logits
from .reference import reference

# One row in this many is evaluated by balls too. A prime does not coincide with a period in a file.
SAMPLED = 997


def require_quad() -> None:
    """Import numpy-quaddtype.

    Raises:
        UsageError: if it cannot be imported.
    """
    try:
        from . import _quad as quad  # noqa: F401, PLC0415 - optional
    except ImportError as error:
        raise UsageError(
            f"--oracle quad needs numpy-quaddtype, which cannot be imported ({error}); install it with "
            "`pip install 'logitlab[quad]'`"
        ) from error


def bulk(logits: ArrayLike, targets: ArrayLike, first_row: int = 0) -> Reference:
    """Return the exact softmax cross-entropy of rows without loss options, to `quad.BITS` bits.

    Rows with NaN, ``+inf`` or only ``-inf``, and rows with a value too close to a power of two, are evaluated by balls.
    Every `SAMPLED`-th of the others is evaluated both ways. If a result differs, all rows are evaluated by balls, with
    a warning.

    Args:
        logits: (B, C), of one of the four dtypes.
        targets: class indices (B,) of an integer dtype.
        first_row: the number of the first row, if the rows are a part of more.

    Raises:
        UsageError: as `reference`, and if numpy-quaddtype is not installed.
    """
    require_quad()
    from . import _quad as quad  # noqa: PLC0415 - as there

    x = float_logits(logits)
    t = class_indices(np.asarray(targets), x.shape, None)
    ordinary = np.isfinite(x.max(axis=1, initial=-np.inf))  # the largest is neither NaN nor infinite
    found, doubtful = quad.evaluate(x[ordinary], t[ordinary])
    found = take_rows(found, ~doubtful)
    good = ordinary.copy()
    good[ordinary] = ~doubtful
    sampled = good & ((first_row + np.arange(len(x))) % SAMPLED == 0)
    by_balls = ~good | sampled
    proven = reference(x[by_balls], t[by_balls], keep=False)
    if not _agree(take_rows(found, sampled[good]), take_rows(proven, sampled[by_balls]), quad.BITS):
        warnings.warn(f"not good to {quad.BITS} bits: {len(x)} rows are evaluated by balls instead", stacklevel=2)
        return reference(x, t, keep=False)

    return merge_rows(good, found, take_rows(proven, ~sampled[by_balls]))


def _agree(found: Reference, proven: Reference, bits: int) -> bool:
    """Return whether the rows are the same both ways."""
    for name in Problem.LOGITS.quantities:
        a: Exact = getattr(found, name)
        b: Exact = getattr(proven, name)
        with np.errstate(invalid="ignore"):
            apart = np.abs((a.hi - b.hi) + (a.lo - b.lo))
        # lo has fewer bits near float64's smallest numbers.
        allowed = np.ldexp(np.abs(b.hi), -bits) + 2 * np.finfo(np.float64).smallest_subnormal
        if not ((apart <= allowed) | ((a.hi == b.hi) & np.isinf(a.hi))).all():
            return False
    return True
