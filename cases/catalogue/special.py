"""NaN, infinities, the largest and the subnormal numbers, and signed zeros."""

from collections.abc import Iterator

from ...core.formats import FORMATS
from .._case import Case, make

QUICK = "float32_largest"
INF = float("inf")
NAN = float("nan")


def cases() -> Iterator[Case]:
    yield make(
        "special/nan", "A NaN logit off the target: the row is NaN, a finite loss hides it.", [[NAN, 1.0, 2.0]], [1]
    )
    yield make("special/nan_target", "A NaN logit on the target.", [[NAN, 1.0, 2.0]], [0])
    yield make("special/nan_and_mask", "A NaN logit in a row with a masked class.", [[NAN, -INF, 2.0]], [2])
    yield make(
        "special/nan_beside_finite",
        "A NaN row between finite ones: it must stay NaN and must not spread.",
        [[1.0, 2.0, 3.0], [1.0, NAN, 3.0], [3.0, 2.0, 1.0]],
        [0, 0, 2],
    )
    yield make(
        "special/posinf_on_target",
        "One +inf logit, on the target: the limit is a loss of 0; recorded, since no finite format reaches it.",
        [[INF, 1.0, 2.0]],
        [0],
    )
    yield make(
        "special/posinf_off_target",
        "One +inf logit, off the target: the limit is a loss of +inf; recorded, since no finite format reaches it.",
        [[INF, 1.0, 2.0]],
        [1],
    )
    yield make("special/two_posinf", "Two +inf logits have no limit: recorded, never graded.", [[INF, INF, 0.0]], [0])
    for fmt in FORMATS.values():
        big = fmt.largest
        yield make(
            f"special/{fmt.name}_largest",
            f"The largest finite {fmt.name} against its negative: the exact loss lies beyond the format.",
            [[big, 0.0, -big], [big, 0.0, -big]],
            [2, 0],
            tags=("threshold", fmt.name),
        )
        yield make(
            f"special/{fmt.name}_half_largest",
            f"Half the largest {fmt.name} against its negative: the exact loss is the largest number itself.",
            [[big / 2, 0.0, -big / 2], [big / 2, 0.0, -big / 2]],
            [2, 1],
            tags=("threshold", fmt.name),
        )
        yield make(
            f"special/{fmt.name}_subnormal",
            f"Subnormal {fmt.name} logits: as good as zero, and the loss is log 3.",
            [[fmt.smallest_subnormal, -fmt.smallest_subnormal, fmt.smallest_normal / 2]],
            [1],
            tags=("threshold", fmt.name),
        )
    yield make(
        "special/signed_zeros", "Zeros of both signs are one number.", [[0.0, -0.0, 0.0], [-0.0, -0.0, -0.0]], [1, 0]
    )
