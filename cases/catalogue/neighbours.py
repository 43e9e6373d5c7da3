"""Two logits that are neighbouring numbers of a format: one unit in the last place decides the answer."""

from collections.abc import Iterator

from ...core.formats import FORMATS
from .._case import Case, make

QUICK = "float32_spaced_8"
# The spacing of two neighbours, as a power of two, and what it makes of their softmax.
SPACINGS = {"1": 0, "8": 3, "64": 6}


def cases() -> Iterator[Case]:
    for fmt in FORMATS.values():
        above_one = 1.0 + 2 * fmt.unit_roundoff
        yield make(
            f"neighbours/{fmt.name}_one",
            f"1 and the next {fmt.name}: the gradient differs from a tie's in its last bits alone.",
            [[1.0, above_one], [1.0, above_one]],
            [0, 1],
            tags=("threshold", fmt.name),
        )
        for spacing, exponent in SPACINGS.items():
            # In the binade [2^(p-1), 2^p) the numbers of p bits are spaced by 1.
            low = 2.0 ** (fmt.precision - 1 + exponent)
            if low > fmt.largest:
                continue
            yield make(
                f"neighbours/{fmt.name}_spaced_{spacing}",
                f"{low:.8g} and the next {fmt.name}, {spacing} above: "
                "added back to the maximum, the log of the sum is rounded away.",
                [[low, low + 2.0**exponent], [low, low + 2.0**exponent]],
                [0, 1],
                tags=("threshold", fmt.name),
            )
        below_largest = fmt.largest - 2.0 ** (fmt.emax + 1 - fmt.precision)
        yield make(
            f"neighbours/{fmt.name}_largest",
            f"The two largest {fmt.name} numbers, {fmt.largest - below_largest:.4g} apart: "
            "one ulp makes a loss of that size, or one next to zero.",
            [[below_largest, fmt.largest], [below_largest, fmt.largest]],
            [0, 1],
            tags=("threshold", fmt.name),
        )
