"""Public reports about wide rows: vocabularies whose sums overflow or lose digits."""

from collections.abc import Iterator

import numpy as np

from .._case import Case
from ._field import field_case

QUICK = "transformers_10674"


def cases() -> Iterator[Case]:
    confident = np.zeros(50257)
    confident[3] = 20.0
    yield field_case(
        "field_widths/transformers_10674",
        "Label smoothing over a vocabulary: the log-probabilities add up to a million, their mean is 20.",
        [confident],
        [3],
        label_smoothing=0.1,
        source="huggingface/transformers#10674",
        reported="Evaluation in float16 with label smoothing has a loss of NaN, since the log-probabilities of a "
        "vocabulary add up to 863,637 and more. The part that was read names no version.",
    )
    yield field_case(
        "field_widths/pytorch_111484",
        "Equal logits of 1 with the classes in an inner dimension: every row's loss is log 50257.",
        np.ones((2, 50257)),
        [0, 0],
        layout="spatial",
        source="pytorch/pytorch#111484",
        reported="float16 CrossEntropyLoss(reduction='none') of equal logits on CUDA is 10.82 in the first rows and "
        "0 in others, traced to an index of 32 bits in inputs of more than 2^32 elements. The part that was read "
        "names no version.",
    )
    peaked = np.zeros(131072)
    peaked[65536] = 0.25
    yield field_case(
        "field_widths/jax_40409",
        "131,072 classes and one maximum without ties: the sum and its gradient pass beyond float16.",
        [peaked],
        [65536],
        source="jax-ml/jax#40409",
        reported="The gradient of jax.nn.log_softmax is NaN for float16 arrays of about 2^16 elements and more, "
        "although the value is finite and the gradient small. The part that was read names no version.",
    )
    ramp = (613 * np.arange(1000) % 1024) / 256.0
    yield field_case(
        "field_widths/miopen_3427",
        "1000 classes in half precision: each gradient entry needs a sum of a thousand products.",
        [ramp, -ramp],
        [17, 500],
        source="ROCm/MIOpen#3427",
        reported="The backward pass of the float16 log-softmax added in float16, which cost a digit at a width of "
        "1500 until it added in float32. The part that was read names no version.",
    )
