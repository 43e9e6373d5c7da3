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
    yield field_case(
        "field_scaling/ml_cross_entropy_48",
        "Logits of up to 70 under a softcap of 30: without the cap the target is 30 further from the maximum.",
        [[70.0, 20.0, -45.0], [-10.0, 55.0, 38.0]],
        [1, 2],
        softcap=30.0,
        source="apple/ml-cross-entropy#48",
        reported="The patch for Gemma 2 never passes the model's softcap to the fused loss. No version given.",
    )
    yield field_case(
        "field_scaling/nanochat_326",
        "Logits of up to three softcaps of 15: a cap in bfloat16 has a spacing of 0.06, and 1 - tanh^2 few digits.",
        [[25.0, 45.0, 35.0], [20.5, 30.0, 26.0]],
        [0, 2],
        softcap=15.0,
        source="karpathy/nanochat#326",
        reported="The softcap was computed in bfloat16 and its result cast to float32 afterwards. No version given.",
    )
    yield field_case(
        "field_scaling/tt_metal_35885",
        "Logits of 3.5 to 6 caps: tanh rounds to 1 in bfloat16, and 1 - tanh^2 is 0 for gradients of 0.001.",
        [[4.0, 3.5, -4.0], [-3.5, 6.0, 5.0]],
        [1, 0],
        softcap=1.0,
        source="tenstorrent/tt-metal#35885",
        reported="The backward pass of tanh squares a saturated bfloat16 tanh and returns 0 where the derivative is "
        "0.0013, as at 4. The part that was read names no version.",
    )
    yield field_case(
        "field_scaling/megatron_bridge_4645",
        "Logits well beyond a softcap of 30: no cap, one cap and two caps give three different losses.",
        [[75.0, 45.0, -60.0], [20.0, 95.0, 50.0]],
        [1, 0],
        softcap=30.0,
        source="NVIDIA-NeMo/Megatron-Bridge#4645",
        reported="Dense models lost the softcap, which the fix applies exactly once, also where an output layer is "
        "inherited. The part that was read names no version.",
    )
    yield field_case(
        "field_scaling/onnx_7865",
        "A mask of -inf before a softcap of 1: the masked class has the logit -1 and a share of the other classes.",
        [[0.5, float("-inf"), 2.0], [float("-inf"), 1.0, -3.0]],
        [0, 1],
        softcap=1.0,
        source="onnx/onnx#7865",
        reported="The specification of an operator caps after the mask is added, so that a mask of -inf becomes a "
        "finite score beside the others. No version given.",
    )
    yield field_case(
        "field_scaling/unsloth_1218",
        "A model that divides its logits by 16: multiplied by 16 they are 256 times as far apart.",
        [[24.0, 8.0, -16.0], [-4.0, 30.0, 20.0]],
        [1, 2],
        logit_scale=0.0625,
        source="unslothai/unsloth#1218",
        reported="A review finds that one model family multiplies logits by its scale of 0.125, and another divides "
        "them by its scale of 16. No version given.",
    )
    yield field_case(
        "field_scaling/olmo_634",
        "A z-loss beside an ignored row: its mean divides by the two rows that count, and not by the batch.",
        [[5.0, -1.0, 2.0], [9.0, 8.0, 7.0], [-3.0, 4.0, 1.0]],
        [1, -100, 2],
        z_loss=0.0625,
        ignore_index=-100,
        reduction="mean",
        source="allenai/OLMo#634",
        reported="The z-loss was averaged over instances where it should be averaged over tokens. No version given.",
    )
    yield field_case(
        "field_scaling/open_lm_92",
        "Rows with a logsumexp of 12 and of -8: the mean of the squares is 104, and the square of the mean 4.",
        [[12.0, 4.0, -3.0], [-9.0, -8.0, -20.0]],
        [0, 1],
        z_loss=0.03125,
        reduction="mean",
        source="mlfoundations/open_lm#92",
        reported="The pull request takes the mean of the squares for the z-loss, where the code took the square of "
        "the mean. No version given.",
    )
    yield field_case(
        "field_scaling/megablocks_133",
        "Logits of 95 and of -120: the logarithm of an unshifted sum of exponentials is infinite for the z-loss too.",
        [[95.0, 93.0, 90.0], [-120.0, -118.0, -121.0]],
        [1, 0],
        z_loss=0.0009765625,
        source="databricks/megablocks#133",
        reported="A review finds a z-loss of log(sum(exp)), which is unstable where logsumexp is not. No version "
        "given.",
    )
    yield field_case(
        "field_scaling/transformerengine_2707",
        "A logsumexp of 20 with a factor of 0.05: the softmax has the factor 3 in the gradient, and the target -1.",
        [[20.0, 18.0, 5.0, -4.0, 0.0], [2.0, 19.0, 19.5, -8.0, 3.0]],
        [1, 0],
        z_loss=0.05,
        source="NVIDIA/TransformerEngine#2707",
        reported="The pull request adds a z-loss whose gradient scales the softmax by 1 + 2 x factor x logsumexp. The "
        "part that was read names no version.",
    )
    yield field_case(
        "field_scaling/liger_kernel_420",
        "Class weights of 4 and 0.25 with a z-loss: the weight of the target multiplies the cross-entropy alone.",
        [[6.0, 2.0, -1.0], [-2.0, 5.0, 4.0]],
        [1, 2],
        weight=[1.0, 4.0, 0.25],
        z_loss=0.0625,
        source="linkedin/Liger-Kernel#420",
        reported="The pull request adds class weights and notes that the z-loss is not weighted. The part that was "
        "read names no version.",
    )
