"""Exact values in twenty digits."""

import math
from decimal import Context, Decimal

from ...oracle import Exact

DIGITS = 20
# For exact values outside float64's range that are neither zero nor infinite.
BENEATH, ABOVE = "below 5e-324", "above 1.8e308"


def digits(value: Exact, *, positive: bool = False) -> str:
    """Return an exact value in twenty significant digits, correctly rounded; fewer near the end of float64's range.

    Args:
        value: a value of shape ().
        positive: whether a zero stands for a value too small for float64.
    """
    hi, lo = float(value.hi), float(value.lo)
    if not math.isfinite(hi):
        return "NaN" if math.isnan(hi) else f"{hi:g}"
    if hi == 0:
        return BENEATH if positive else "0"
    # The pair of float64 has no digits below 2^-1075.
    known = min(DIGITS, max(1, math.floor(math.log10(abs(hi)) + 323)))
    return f"{Context(prec=known).add(Decimal(hi), Decimal(lo)):g}"
