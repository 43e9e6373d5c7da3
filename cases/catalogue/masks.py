"""Classes masked with ``-inf``, as attention and vocabulary masks do it."""

from collections.abc import Iterator

import numpy as np

from .._case import Case, make

QUICK = "first"
INF = float("inf")
BLOCKS = (4, 8, 16, 32, 64)
KERNEL_BLOCK = 32768  # the widest block of Liger-Kernel's and TransformerEngine's Triton kernels


def _ramp(classes: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.arange(classes, dtype=np.float64) % 7 / 2.0


def cases() -> Iterator[Case]:
    yield make(
        "masks/first",
        "The first class masked: 0 x -inf is NaN in a loss that multiplies a one-hot with log-probabilities.",
        [[-INF, 1.0, 2.0], [-INF, -3.0, 0.0]],
        [1, 2],
        source="google-deepmind/optax#896",
    )
    yield make("masks/last", "The last class masked.", [[1.0, 2.0, -INF], [-3.0, 0.0, -INF]], [1, 0])
    for block in BLOCKS:
        leading, alternating = _ramp(2 * 64), _ramp(2 * 64)
        leading[:block] = -INF
        alternating[(np.arange(2 * 64) // block) % 2 == 0] = -INF
        yield make(
            f"masks/block_{block}",
            f"Blocks of {block} classes masked, the first among them: an online softmax over tiles meets -inf - -inf.",
            [leading, alternating],
            [2 * 64 - 1, block],
            source="Dao-AILab/flash-attention#1930",
            tags=("tiles",),
        )
    vocabulary = _ramp(50257)
    vocabulary[:KERNEL_BLOCK] = -INF
    yield make(
        f"masks/block_{KERNEL_BLOCK}",
        f"The first {KERNEL_BLOCK:,} classes of a vocabulary masked, as many as fused kernels load at once.",
        [vocabulary],
        [50256],
        source="Dao-AILab/flash-attention#1930",
        tags=("tiles",),
    )
    yield make(
        "masks/all_but_target",
        "Only the target is left: the loss and every gradient are exactly 0.",
        [[-INF, 5.0, -INF], [7e2, -INF, -INF]],
        [1, 0],
    )
    yield make(
        "masks/all_but_one",
        "Only one class is left and it is not the target: the loss is +inf, the gradient +1 and -1.",
        [[-INF, 5.0, -INF]],
        [0],
    )
    yield make(
        "masks/on_target",
        "The target is masked among finite logits: the loss is +inf and the gradient softmax - onehot.",
        [[-INF, 1.0, 2.0], [1.0, 2.0, -INF]],
        [0, 2],
    )
    yield make(
        "masks/all",
        "Every class masked: no limit exists, the behaviour is recorded and never graded.",
        [[-INF, -INF, -INF]],
        [0],
    )
    yield make(
        "masks/all_beside_finite",
        "A wholly masked row beside finite ones, which must not suffer from it.",
        [[1.0, 2.0, 3.0], [-INF, -INF, -INF], [3.0, 2.0, 1.0]],
        [0, 1, 2],
    )
    yield make(
        "masks/with_extremes",
        "A mask beside a logit that overflows an unshifted exponential.",
        [[-INF, 1000.0, 999.0], [-INF, -1000.0, -999.0]],
        [2, 1],
    )
    wide = _ramp(1000)
    wide[10:] = -INF
    yield make("masks/wide_990", "990 of 1000 classes masked: a vocabulary cut down to ten words.", [wide], [3])
    yield make(
        "masks/finite_stand_in",
        "Masks written as -1e4, the finite stand-in for -inf that half precision code uses.",
        [[-1e4, 1.0, 2.0], [-1e4, -1e4, 0.0]],
        [1, 0],
        tags=("padding",),
    )
