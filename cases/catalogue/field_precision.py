"""Public reports about lost digits: losses and gradients near zero, and answers rounded too early."""

import math
from collections.abc import Iterator

import numpy as np

from ...core.formats import FORMATS
from .._case import Case
from ._field import field_case

QUICK = "jax_40384"
NEAR_ZERO = ("near-zero",)


def _near_zero() -> Iterator[Case]:
    yield field_case(
        "field_precision/scipy_18295",
        "Logits 0 and -40: the loss is 4.2e-18, and log(1 + 4.2e-18) is 0 in float64.",
        [[0.0, -40.0]],
        [0],
        source="scipy/scipy#18295",
        reported="scipy.special.logsumexp of 0 and -40 is 0 instead of 4.2e-18. The part that was read names no "
        "version.",
        tags=NEAR_ZERO,
    )
    eps = 2.0**-23
    yield field_case(
        "field_precision/scipy_19521",
        "A lead at which the other class is just lost beside 1 in float32, and one just before it.",
        [[1.0 - math.log(2 * eps), 0.0], [1.0 - math.log(eps), 0.0]],
        [0, 0],
        source="scipy/scipy#19521",
        reported="scipy.special.log_softmax is 0 at the maximum once it leads by about 17 in float32 or 37 in "
        "float64, where a log1p form keeps all digits. The part that was read names no version.",
        tags=NEAR_ZERO,
    )
    yield field_case(
        "field_precision/pytorch_113708",
        "A lead at which the loss is float32's smallest normal number, 2^103 times below what log(sum) resolves.",
        [[1.0 - math.log(FORMATS["float32"].smallest_normal), 0.0]],
        [0],
        source="pytorch/pytorch#113708",
        reported="torch's log_softmax is 0 at the maximum where the answer is as small as the smallest normal "
        "number. The part that was read names no version.",
        tags=NEAR_ZERO,
    )
    yield field_case(
        "field_precision/jax_40384",
        "The target's gradient is -2^-54 in float64, which 1 - p makes 0.",
        [[37.42994775023705, 0.0]],
        [0],
        source="jax-ml/jax#40384",
        reported="One float64 gradient entry of jax.nn.log_softmax is 0 where it is 5.6e-17, so that the entries do "
        "not add up to 0. The part that was read names no version.",
        tags=NEAR_ZERO,
    )
    yield field_case(
        "field_precision/tensorflow_126636",
        "The same gradient from below: the other entry keeps its digits and the target's is 0.",
        [[0.0, -37.42994775023705]],
        [0],
        source="tensorflow/tensorflow#126636",
        reported="tf.nn.sparse_softmax_cross_entropy_with_logits of TensorFlow 2.21.0 gives a float64 gradient of 0 "
        "and 5.6e-17 where the first is -5.6e-17.",
        tags=NEAR_ZERO,
    )
    yield field_case(
        "field_precision/pytorch_101968",
        "Ten classes, the target's lead growing from 0 to 9: losses from log 10 down to 0.0011.",
        np.diag(np.arange(10.0)),
        np.arange(10),
        source="pytorch/pytorch#101968",
        reported="CrossEntropyLoss of these rows differs in the last printed digits between Windows and Linux, in "
        "PyTorch 1.11.0 and 1.13.1 among others.",
    )


def _rounded() -> Iterator[Case]:
    # Distinct numbers of [0, 1) that every format holds.
    fractions = (37 * np.arange(127) % 128) / 128.0
    yield field_case(
        "field_precision/optax_1020",
        "127 logits between 0 and 1: the log of their sum, about 5.4, is rounded before the target is subtracted.",
        [fractions, fractions[::-1]],
        [0, 5],
        source="google-deepmind/optax#1020",
        reported="optax.softmax_cross_entropy_with_integer_labels of bfloat16 logits gives losses in steps of 1/32, "
        "since the log-normalizer is rounded first. The part that was read names no version.",
    )
    yield field_case(
        "field_precision/pytorch_140222",
        "Pairs of ordinary bfloat16 logits, on which two devices round differently.",
        [[-1.6640625, -0.921875], [2.515625, -0.46484375], [1.046875, 1.453125], [-0.2128906, -0.6640625]],
        [0, 0, 1, 1],
        source="pytorch/pytorch#140222",
        reported="log_softmax of pairs of bfloat16 numbers differs between CPU and GPU. The part that was read names "
        "no version.",
    )
    wide = (1103 * np.arange(2049) % 4096) / 512.0 - 4.0
    yield field_case(
        "field_precision/pytorch_112714",
        "2049 ordinary logits: losses of 13.5 and 11.8, where half precision is coarse, from a sum of 2049 terms.",
        [wide, wide[::-1]],
        [0, 1000],
        source="pytorch/pytorch#112714",
        reported="log_softmax over 8192 classes differs between CPU and GPU by 0.8 % on average and by up to 0.0625, "
        "in PyTorch 2.0.1.",
    )
    large = np.zeros(128)
    large[7] = 36.28125
    yield field_case(
        "field_precision/modalities_464",
        "A loss of 36.28, where bfloat16 is spaced by 0.25: the scalar alone is rounded by more than the computation.",
        [large],
        [0],
        source="Modalities/modalities#464",
        reported="With bfloat16 logits the returned loss is rounded to steps of 0.25 at a loss of 36, although the "
        "sums inside are float32. The part that was read names no version.",
    )
    yield field_case(
        "field_precision/executorch_20090",
        "1000 equal logits, and 1000 of two kinds: a bfloat16 sum of ones stands still at 256.",
        [np.full(1000, 3.0), np.where(np.arange(1000) % 2 == 0, 0.0, -1.0)],
        [0, 1],
        source="pytorch/executorch#20090",
        reported="The portable softmax and log_softmax added in bfloat16, so that 512 equal inputs gave "
        "probabilities of 1/256. The part that was read names no version.",
    )
    yield field_case(
        "field_precision/tensorflow_116933",
        "One class in a batch of nine: the probability is exactly 1, also where eight rows are computed at a time.",
        [[1.0], [-2.0], [3.5], [0.0], [100.0], [-0.25], [7.0], [2.0], [5.0]],
        [0] * 9,
        source="tensorflow/tensorflow#116933",
        reported="tf.nn.softmax over an axis of size 1 is an ulp below 1 in batches of 8 and more, in "
        "2.22.0-dev20260421.",
    )


def cases() -> Iterator[Case]:
    yield from _near_zero()
    yield from _rounded()
