"""A scale other than a power of two, before a compiled log-softmax: its product is contracted with the subtraction.

A compiler that computes the product again where it subtracts the maximum leaves the product's rounding error in the
place of the maximum's own 0. All cases have one scale and one shape, so that they share a program in each framework.
They are measured in every mode.
"""

from collections.abc import Iterator

from .._case import Case, make

QUICK = "residue_up"
SCALE = 1 / 0.7  # a temperature of 0.7


def cases() -> Iterator[Case]:
    for name, why, logits, targets in (
        (
            "residue_up",
            "Products that are rounded down by more than 88: exp of the rest overflows, where the maximum has 1.",
            [[5e9, 1e9, -3e9], [-1e9, 2e9, 5e9]],
            [0, 2],
        ),
        (
            "residue_down",
            "Products that are rounded up by more than 88: all exponentials vanish, and the log of their sum is -inf.",
            [[4e9, 1e9, -3e9], [-1e9, 4e9, 2e9]],
            [0, 1],
        ),
        (
            "off_by_units",
            "Products that are rounded by a few units: a loss of 0 becomes a few units, and nothing is infinite.",
            [[2e8, 1e8, -3e8], [-1e8, 1.9e8, 1.5e8]],
            [0, 1],
        ),
        (
            "low_target",
            "A target far below the maximum: the loss is 5.7e9, and its gradient is that of the maximum's own term.",
            [[4e9, 0.0, 1e9], [5e9, 1e9, 0.0]],
            [1, 2],
        ),
        (
            "ordinary",
            "Logits of ordinary size: the rounding error of the product is small beside 1, contracted or not.",
            [[12.0, 3.0, -7.0], [-1.0, 0.5, 0.25]],
            [0, 1],
        ),
    ):
        yield make(f"contraction/{name}", why, logits, targets, logit_scale=SCALE, in_every_mode=True)
