"""Public reports about large numbers: logits, offsets, losses and sums that leave a format or swallow the answer."""

from collections.abc import Iterator

import numpy as np

from .._case import Case
from ._field import field_case

QUICK = "optax_1792"


def _huge() -> Iterator[Case]:
    yield field_case(
        "field_overflow/pytorch_11752",
        "Two equal logits of 1e8, where float32 is spaced by 8: added to them, log 2 is gone.",
        [[1.0, 1.0], [1e8, 1e8]],
        [1, 1],
        source="pytorch/pytorch#11752",
        reported="nn.CrossEntropyLoss of two equal logits of 1e8 is 0 instead of log 2, in PyTorch 0.4.1 on CPU and "
        "GPU.",
    )
    yield field_case(
        "field_overflow/optax_1792",
        "Three equal logits of 1e8: a loss of 0 claims a perfect prediction where it is a guess.",
        [[1e8, 1e8, 1e8], [-1e8, -1e8, -1e8]],
        [0, 2],
        source="google-deepmind/optax#1792",
        reported="optax's integer-label loss of three float32 logits of 1e8 is 0 instead of log 3, with JAX 0.11.2.",
    )
    yield field_case(
        "field_overflow/mlx_4188",
        "One pair of logits at four offsets: the loss is 0.0486 wherever they lie, unless the offset is rounded in.",
        [[offset + 2.0, offset - 1.0] for offset in (0.0, 1e4, 1e6, 2.0**20 * 100)],
        [0, 0, 0, 0],
        source="ml-explore/mlx#4188",
        reported="MLX's cross_entropy of 2 and -1 falls from 0.0486 to 0.0625 at an offset of 1e6 and to 0 at 1e8. "
        "The part that was read names no version.",
    )
    yield field_case(
        "field_overflow/pytorch_38839",
        "Logits of -1e7 that differ by 1: the log of the sum must be subtracted from the shifted logits.",
        [[-1e7, -1e7, -1e7], [-1e7, -1e7, 1.0 - 1e7], [1.0 - 1e7, 1.0 - 1e7, -1e7]],
        [0, 2, 2],
        source="pytorch/pytorch#38839",
        reported="log_softmax of logits near -1e7 comes out in whole numbers on CUDA and correct on the CPU. No "
        "version given.",
    )
    yield field_case(
        "field_overflow/tensorflow_1513",
        "Logits of -1e11: the loss is their gap, 1e11 as well, and correct.",
        [[-2.875e11, -4.40625e11], [-2.296875e11, -3.53125e11]],
        [1, 1],
        source="tensorflow/tensorflow#1513",
        reported="tf.nn.softmax_cross_entropy_with_logits is 1.5e11 for logits of that size, asked about as a bug "
        "and answered to be right. No version given.",
    )
    yield field_case(
        "field_overflow/tensorflow_21271",
        "Soft labels against logits of 5000 on either side: a small share of a huge log-probability is the loss.",
        [[-4885.5, 4878.0], [-5188.0, 5180.0]],
        [[0.9625, 0.0375], [2.0**-20, 1.0 - 2.0**-20]],
        source="tensorflow/tensorflow#21271",
        reported="In TensorFlow 1.9.0 training with soft labels and logits of about 5000 ended in an infinite loss, "
        "which a softmax and a logarithm written apart did not show.",
    )
    yield field_case(
        "field_overflow/pytorch_100775",
        "Logits of 1e14, scaled far beyond any sense: softmax is one-hot, and the losses are 0 and a gap of 1e9.",
        [[-0.75 * 2.0**47, 2.0**46, 2.0**45], [2.0**46, 2.0**46 - 2.0**30, -(2.0**47)]],
        [1, 1],
        source="pytorch/pytorch#100775",
        reported="Compiled, softmax of scores times -1.7e14 is NaN where the eager one is finite, in PyTorch "
        "2.1.0.dev20230503 on the CPU.",
    )
    yield field_case(
        "field_overflow/pytorch_161150",
        "Scores that were scaled to infinities of both signs: no limit exists, and modes answer differently.",
        [[-np.inf, np.inf, np.inf]],
        [1],
        source="pytorch/pytorch#161150",
        reported="Softmax of scores scaled to infinities is NaN in eager mode and 1 compiled, still so in "
        "2.13.0.dev20260516.",
    )


def _unshifted() -> Iterator[Case]:
    yield field_case(
        "field_overflow/dwave_555",
        "A logit of 800 overflows an unshifted exponential in float64 too.",
        [[800.0, 1.0, 1.0]],
        [0],
        source="dwavesystems/dwave-optimization#555",
        reported="SoftMax of 800, 1 and 1 is NaN, since each exponential is taken as it is. The part that was read "
        "names no version.",
    )
    yield field_case(
        "field_overflow/nnlib_43",
        "Two logits of -10000: a shift by max(0, maximum) shifts nothing, and the sum underflows to 0.",
        [[-10000.0, -10000.0]],
        [0],
        source="FluxML/NNlib.jl#43",
        reported="softmax of two logits of -10000 failed, since the shift was never below 0. No version given.",
    )
    yield field_case(
        "field_overflow/paddle_21165",
        "A row of logits at -200: a maximum clamped to -64 leaves exponentials of -136, which are 0 in float32.",
        [[-200.0, -200.0, -200.0], [-299.0, -298.0, -300.0]],
        [1, 2],
        source="PaddlePaddle/Paddle#21165",
        reported="softmax_with_cross_entropy clamped the maximum to -64, so that rows below -168 had an infinite "
        "loss and training went to NaN. The part that was read names no version.",
    )
    yield field_case(
        "field_overflow/hb_pytorch_61",
        "One class at the edge of float32's exponential: its loss is 0 without computing anything.",
        [[88.72284]],
        [0],
        source="cornell-brg/hb-pytorch#61",
        reported="log_softmax of the single logit 88.72284 is -inf instead of 0 on that backend. No version given.",
    )
    yield field_case(
        "field_overflow/pytorch_63132",
        "Logits of 1000 along a dimension that is not the last, where the shift was left out.",
        [[1000.0, 1000.0, 992.0], [1000.0, 0.0, -1000.0]],
        [0, 0],
        layout="spatial",
        source="pytorch/pytorch#63132",
        reported="For bfloat16 along a dimension that is not the last, softmax on the CPU did not subtract the "
        "maximum, and gave NaN for inputs such as 1000. No version given.",
    )
    for layout in ("rows", "spatial"):
        yield field_case(
            f"field_overflow/pytorch_158310_{layout}",
            "Two logits near -20000 in float16, where a spacing is 16 and exp of each is 0.",
            [[-20000.0, -19984.0], [-20000.0, -20000.0], [-19744.0, -20256.0]],
            [0, 1, 0],
            layout=layout,
            source="pytorch/pytorch#158310",
            reported="float16 LogSoftmax along an inner dimension gives -inf for inputs near -20000 on the CPU and 0 "
            "on CUDA, in PyTorch 2.7.1.",
        )


def _saturated() -> Iterator[Case]:
    yield field_case(
        "field_overflow/keras_17634",
        "A loss of 35.7, which a probability clipped to 1e-7 turns into 16.1.",
        [[14.4, 10.1, 3.5], [14.4, 50.1, 3.5]],
        [0, 0],
        source="keras-team/keras#17634",
        reported="CategoricalCrossentropy from logits and from their softmax agree for logits up to 14 and differ "
        "once they grow to 50. The part that was read names no version.",
    )
    yield field_case(
        "field_overflow/focal_loss_keras_17",
        "The target's probability underflows to 0 and the other's rounds to 1: the logarithm of either is lost.",
        [[-200.0, 0.0], [0.0, 200.0]],
        [0, 0],
        source="mkocabas/focal-loss-keras#17",
        reported="A focal loss that takes the log of predicted probabilities goes to NaN, which an epsilon inside "
        "the log fixes for most. No version given.",
    )


def _sums() -> Iterator[Case]:
    # Every format holds these numbers and the mean; float16 does not hold the sum, 73,728.
    wrong = np.tile([[8192.0, 0.0, -8192.0]], (9, 1))
    yield field_case(
        "field_overflow/pytorch_29429",
        "Nine losses of 8192: their sum is beyond float16 and their mean is not.",
        wrong,
        np.ones(9, np.int64),
        reduction="mean",
        source="pytorch/pytorch#29429",
        reported="NLLLoss over an image batch in float16 on CUDA is NaN with reduction='mean', while the mean of the "
        "single losses is -0.4995, in PyTorch 1.3.1.",
    )
    yield field_case(
        "field_overflow/pytorch_85791",
        "The same mean over positions of one image: the reduction runs in another kernel than that of rows.",
        wrong,
        np.ones(9, np.int64),
        reduction="mean",
        layout="spatial",
        source="pytorch/pytorch#85791",
        reported="float16 CrossEntropyLoss of (batch, class, position) logits is infinite on CUDA, and right once "
        "they are flattened to rows, in PyTorch 1.8.2 and 1.12.1.",
    )
    yield field_case(
        "field_overflow/paddle_74070",
        "The sum of nine losses of 8192 is 73,728: infinite in float16, and finite in the other formats.",
        wrong,
        np.ones(9, np.int64),
        reduction="sum",
        source="PaddlePaddle/Paddle#74070",
        reported="Paddle's float16 cross_entropy added up to infinity before it became NaN, which the reviewers "
        "thought a matter of the format. No version given.",
    )


def cases() -> Iterator[Case]:
    yield from _huge()
    yield from _unshifted()
    yield from _saturated()
    yield from _sums()
