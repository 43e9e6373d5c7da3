"""Public reports about masked classes: a logit of ``-inf`` in the row, in the target's place or everywhere."""

from collections.abc import Iterator

import numpy as np

from .._case import Case
from ._field import field_case

QUICK = "pytorch_31829"
INF = float("inf")


def cases() -> Iterator[Case]:
    yield field_case(
        "field_masks/optax_896",
        "A masked class and the target alone: the loss is exactly 0, and 0 x -inf makes it NaN.",
        [[-INF, 0.0]],
        [1],
        source="google-deepmind/optax#896",
        reported="optax.softmax_cross_entropy returns NaN where a logit of -inf has the label 0. The part that was "
        "read names no version.",
    )
    yield field_case(
        "field_masks/optax_896_dense",
        "A masked class and dense labels: their zero meets the -inf of the log-softmax itself.",
        [[-INF, 0.0], [-INF, 3.0]],
        [[0.0, 1.0], [0.0, 1.0]],
        source="google-deepmind/optax#896",
        reported="optax.softmax_cross_entropy returns NaN where a logit of -inf has the label 0. The part that was "
        "read names no version.",
    )
    yield field_case(
        "field_masks/optax_1762",
        "A masked class beside a tie: the derivative of 0 log 0 is a product of 0 and -inf too.",
        [[-INF, 0.0, 0.0]],
        [[0.0, 1.0, 0.0]],
        source="google-deepmind/optax#1762",
        reported="The forward-mode derivative of optax.safe_softmax_cross_entropy is NaN where a logit is -inf, "
        "although its value is finite. No version given.",
    )
    lone = np.full(50257, -INF)
    lone[25000] = 10.0
    yield field_case(
        "field_masks/flash_attention_1930",
        "One class of a vocabulary left, in its middle: every tile before it has a maximum of -inf.",
        [lone],
        [25000],
        source="Dao-AILab/flash-attention#1930",
        reported="The tiled cross_entropy_loss of flash-attn 2.8.3 gives NaN where all but one of 100,000 logits are "
        "-inf and that one is not among the first.",
    )
    scattered = 9.0 + np.arange(17) % 5 / 8.0
    scattered[[1, 6, 7, 11, 16]] = -INF
    yield field_case(
        "field_masks/xla_2553",
        "Masks scattered over a row of nearly equal logits, the target not among them: the loss is near log 12.",
        [scattered],
        [0],
        source="pytorch/xla#2553",
        reported="F.cross_entropy is reported to behave badly on a TPU where a third of the logits are -inf; the "
        "part that was read names no version.",
    )
    yield field_case(
        "field_masks/tensorflow_40606",
        "Logits that are the logs of 0, 1 and 1: the loss is log 2, with a class that cannot happen.",
        [[-INF, 0.0, 0.0]],
        [1],
        source="tensorflow/tensorflow#40606",
        reported="Compiled by XLA, tf.nn.sparse_softmax_cross_entropy_with_logits is NaN where a logit is -inf, in "
        "2.3.0-dev20200618 and not in 2.2.0.",
    )
    yield field_case(
        "field_masks/jax_6811",
        "Every class masked: the loss has no limit, and the report asks for a gradient of 0 instead of NaN.",
        [[-INF, -INF]],
        [0],
        source="jax-ml/jax#6811",
        reported="The gradient of jax.nn.logsumexp is NaN where every entry is -inf. The part that was read names no "
        "version.",
    )
    yield field_case(
        "field_masks/allennlp_890",
        "A wholly masked row below an ordinary one, which must not suffer from it.",
        [[0.375, 0.5, 0.25, 0.3125, 0.25], [-INF] * 5],
        [1, 1],
        source="allenai/allennlp#890",
        reported="masked_log_softmax gives NaN for a row whose mask is all zeros, beside a finite row without a "
        "mask. The part that was read names no version.",
    )
    yield field_case(
        "field_masks/pytorch_31829",
        "A wholly masked row that does not count: 0 times its NaN softmax is NaN in a gradient that is exactly 0.",
        [[-INF, -INF, -INF], [1.0, 2.0, 3.0]],
        [-100, 0],
        ignore_index=-100,
        reduction="sum",
        source="pytorch/pytorch#31829",
        reported="The gradients of logsumexp, softmax and log_softmax are NaN where all inputs are -inf, and 0 is "
        "asked for, since it adds up with finite gradients. The part that was read names no version.",
    )
    yield field_case(
        "field_masks/jax_23842",
        "The class behind the mask has the gradient 0, however large the logit that was there.",
        [[0.0, -INF]],
        [0],
        source="jax-ml/jax#23842",
        reported="In jax 0.4.33 the gradient of logsumexp over 0 and 100 with the second left out by where= is NaN "
        "at the second.",
    )
    yield field_case(
        "field_masks/paddle_69859",
        "The target itself is masked: the loss is +inf, and a clamp inside the softmax makes it finite.",
        [[-1.0, -INF], [-1.0, -INF]],
        [1, 0],
        source="PaddlePaddle/Paddle#69859",
        reported="On the CPU log_softmax of -1 and -inf is 0 and -64, on a GPU 0 and -inf, in Paddle's develop "
        "version.",
    )
    yield field_case(
        "field_masks/modelcenter_14",
        "A padded vocabulary entry with the teacher's probability 0 and the student's log-probability -inf.",
        [[1.0, 2.0, -INF], [3.0, -1.0, -INF]],
        [[0.25, 0.75, 0.0], [0.5, 0.5, 0.0]],
        reduction="mean",
        source="OpenBMB/ModelCenter#14",
        reported="A distillation loss that multiplies softmax with log-softmax is NaN where both models set the last "
        "entry of the vocabulary to -inf. No version given.",
    )
    yield field_case(
        "field_masks/torch_mojo_319",
        "Rows shorter than a block: a lane that saw no logit brings a maximum of -inf into the sum.",
        [[0.5, -1.0, 2.0], [0.5, -INF, 2.0]],
        [0, 0],
        source="gabrieldemarmiesse/torch-mojo-backend#319",
        reported="A fused online log_softmax was NaN in every row narrower than one pass of its block, since idle "
        "lanes subtract -inf from -inf. No version given.",
    )
