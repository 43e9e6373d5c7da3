"""Public reports about losses that scale or cap their logits, or add a z-loss."""

from collections.abc import Iterator

from .._case import Case
from ._field import field_case

QUICK = "unsloth_11277"


def cases() -> Iterator[Case]:
    for name, softcap, logits in (
        ("strongly_negative", 30.0, [[-80.0, -65.0, -100.0], [-40.0, -35.0, -50.0]]),
        ("softcap_1", 1.0, [[-1.5, 0.5, -0.25], [0.75, -0.5, -2.0]]),
    ):
        yield field_case(
            f"field_scaling/unsloth_10616_{name}",
            f"Classes not far above -{softcap:g} under a softcap of {softcap:g}: a padded lane, capped from -inf to "
            f"-{softcap:g}, has a share beside theirs.",
            logits,
            [1, 0],
            softcap=softcap,
            source="unslothai/unsloth#10616",
            reported="The cross-entropy kernels load lanes beyond the vocabulary as -inf and cap them to -softcap, so "
            "that they have a share of the probability. The part that was read names no version.",
        )
    yield field_case(
        "field_scaling/unsloth_zoo_593",
        "Logits of up to 124 under a softcap of 30: multiplied by their tanh they are not capped.",
        [[124.0, 90.0, -60.0, 30.0, 5.0], [-124.0, 20.0, 31.0, 0.5, -1.0]],
        [2, 1],
        softcap=30.0,
        source="unslothai/unsloth-zoo#593",
        reported="A log-softmax for reinforcement learning multiplied logits by tanh(logits / softcap) in place of "
        "the softcap, so that a log-probability was -125 for -31. The part that was read names no version.",
    )
    yield field_case(
        "field_scaling/primus_1057",
        "Logits of 2000 under a softcap of 30: tanh is 1, and exp(2 x 2000 / 30) overflows float32 on the way to it.",
        [[2000.0, 1.0, -2000.0], [1.0, 2000.0, 1500.0]],
        [1, 1],
        softcap=30.0,
        source="AMD-AGI/Primus#1057",
        reported="A fused softcap kernel makes tanh of exp(2x) and stores NaN for finite logits such as 2000 with a "
        "softcap of 30. The part that was read names no version.",
    )
    yield field_case(
        "field_scaling/trl_5691",
        "A logit scale and a softcap: the scale comes first, inside the tanh.",
        [[100.0, -40.0, 60.0], [20.0, 8.0, -12.0]],
        [2, 1],
        softcap=30.0,
        logit_scale=0.25,
        source="huggingface/trl#5691",
        reported="A review finds the softcap applied to raw logits and the logit scale after it, in the forward and "
        "the backward pass. The part that was read names no version.",
    )
    yield field_case(
        "field_scaling/unsloth_11277",
        "Logits that a model scales by 1/16: a loss that drops the scale is sure where the model is not.",
        [[40.0, 12.0, -8.0], [3.0, 19.0, 5.0]],
        [1, 2],
        logit_scale=0.0625,
        source="unslothai/unsloth#11277",
        reported="The fused loss was not given a model's logit scale and returned 7.898634 for 2.020318. The part "
        "that was read names no version.",
    )
    yield field_case(
        "field_scaling/liger_kernel_239",
        "A z-loss beside label smoothing: its derivative has the softmax, and not the softmax less the smoothed share.",
        [[6.0, -1.0, 2.5, 0.0, 4.0], [-3.0, -9.0, -6.0, -4.0, -5.0]],
        [0, 3],
        label_smoothing=0.1,
        z_loss=0.015625,
        source="linkedin/Liger-Kernel#239",
        reported="The pull request adds a factor times the squared logsumexp to the loss, and derives its gradient as "
        "twice the factor times logsumexp times softmax. The part that was read names no version.",
    )
    yield field_case(
        "field_scaling/jax_38609",
        "Logits of 4e9 over a temperature of 0.7: a fused multiply-add leaves the product's rounding error, up to 256, "
        "where the maximum's own term is 0.",
        [[4e9, 1e9, -3e9, 0.0]],
        [0],
        logit_scale=1 / 0.7,
        source="jax-ml/jax#38609",
        reported="jax.jit of a softmax over scaled products gives NaN on the CPU where eager mode gives finite "
        "numbers. The part that was read names no version.",
    )
