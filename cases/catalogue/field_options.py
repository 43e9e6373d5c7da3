"""Public reports about options: ignored rows, class weights, label smoothing and soft targets, and their means."""

from collections.abc import Iterator

import numpy as np

from .._case import Case
from ._field import field_case

QUICK = "pytext_1698"
INF = float("inf")
NAN = float("nan")


def _ignored() -> Iterator[Case]:
    yield field_case(
        "field_options/pytorch_116349",
        "Every row ignored: the mean is 0 divided by 0, and the single losses are 0.",
        (np.arange(50.0).reshape(5, 10) * 7 % 11) / 4.0,
        [-100] * 5,
        ignore_index=-100,
        reduction="mean",
        source="pytorch/pytorch#116349",
        reported="With every target ignored CrossEntropyLoss is 0 in each row and NaN in the mean, in PyTorch 2.0.1, "
        "which a maintainer calls expected.",
    )
    yield field_case(
        "field_options/pytorch_75181",
        "The only row of a batch ignored: the mean of nothing.",
        [[1.0, 2.0, 3.0]],
        [-1],
        ignore_index=-1,
        reduction="mean",
        source="pytorch/pytorch#75181",
        reported="CrossEntropyLoss of one ignored row is NaN, in PyTorch 1.11.0a0.",
    )
    for reduction in ("none", "mean"):
        yield field_case(
            f"field_options/pytorch_11551_{reduction}",
            "An ignored row whose logits are all -inf: its gradient is 0, and 0 times NaN is not.",
            [[1.0, 2.0, 3.0], [-INF, -INF, -INF]],
            [0, -100],
            ignore_index=-100,
            reduction=reduction,
            source="pytorch/pytorch#11551",
            reported="Rows set to -inf because their targets are ignored make the gradients of CrossEntropyLoss NaN, "
            "and logits of 0 do not, in PyTorch 0.4.1.",
        )
    yield field_case(
        "field_options/openrlhf_583",
        "Every label of a micro-batch ignored, as it falls to one device of a ring: the mean has no value.",
        [[0.2, 1.0, 0.5], [0.1, 0.3, 0.6]],
        [-100, -100],
        ignore_index=-100,
        reduction="mean",
        source="OpenRLHF/OpenRLHF#583",
        reported="nn.CrossEntropyLoss is NaN where all labels of a part of a batch are ignored, and training appends "
        "zeros to avoid it. No version given.",
    )
    yield field_case(
        "field_options/pytorch_63004",
        "An ignored index that is a class: it drops rows, and stays in the softmax of every other row.",
        [[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [-INF, 1.0, 1.0], [1.0, 1.0, 1.0]],
        [1, 2, 1, 0],
        ignore_index=0,
        source="pytorch/pytorch#63004",
        reported="CrossEntropyLoss(ignore_index=0) still depends on the logit of class 0 in rows with other targets, "
        "which is asked about as a bug. The part that was read names no version.",
    )
    yield field_case(
        "field_options/pytorch_15508",
        "An ignored index beyond the classes, as image labels use 255: it may not be looked up.",
        [[0.5, -1.0, 2.0], [1.0, 0.0, 0.25], [3.0, -2.0, 1.0], [0.0, 0.0, 0.0], [1.5, 1.0, -1.0], [-1.0, 2.0, 2.0]],
        [0, 1, 255, 0, 1, 2],
        ignore_index=255,
        source="pytorch/pytorch#15508",
        reported="F.cross_entropy with ignore_index=255 and three classes raised an error with reduction='none' and "
        "not with 'mean'. The part that was read names no version.",
    )
    yield field_case(
        "field_options/pytorch_20406",
        "Seven ignored rows in the middle of a batch: their losses are 0 and none may be left unwritten.",
        np.tile([[-0.75, -0.625], [-0.6875, -0.703125]], (6, 1)),
        [1, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, 0],
        ignore_index=-1,
        source="pytorch/pytorch#20406",
        reported="F.nll_loss(reduction='none') has a NaN in one of several ignored rows. The part that was read "
        "names no version.",
    )
    yield field_case(
        "field_options/tensorflow_8484",
        "A label just beyond the classes, here ignored: read as a class, it lies outside the row.",
        [[0.0, 1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0, 0.0]],
        [5, 2],
        ignore_index=5,
        source="tensorflow/tensorflow#8484",
        reported="A label out of range makes tf.nn.sparse_softmax_cross_entropy_with_logits raise on the CPU and "
        "return NaN on a GPU, in TensorFlow 1.0.0.",
    )
    yield field_case(
        "field_options/tf_keras_734",
        "Half of the targets are the ignored -1, which a gather must not follow.",
        [[0.5, 0.0, -0.5], [0.25, 1.0, 0.0], [0.0, 0.0, 2.0], [1.0, -1.0, 1.0]],
        [1, -1, 2, -1],
        ignore_index=-1,
        reduction="mean",
        source="keras-team/tf-keras#734",
        reported="sparse_categorical_crossentropy(ignore_class=-1) makes the loss NaN in Keras 2 and works in Keras 3.",
    )


def _smoothed() -> Iterator[Case]:
    logits = [[2.0, 0.0, -1.0], [0.5, 1.5, 0.0], [5.0, -5.0, 0.0], [0.0, 1.0, 2.0]]
    for reduction in ("mean", "sum"):
        yield field_case(
            f"field_options/pytorch_73205_{reduction}",
            "Ignored rows under label smoothing: the uniform part must leave them out as well.",
            logits,
            [0, -100, -100, 1],
            label_smoothing=0.2,
            ignore_index=-100,
            reduction=reduction,
            source="pytorch/pytorch#73205",
            reported="With label smoothing the mean and the sum of CrossEntropyLoss count ignored rows in the "
            "uniform part, which a comment finds fixed in PyTorch 1.12.",
        )
    yield field_case(
        "field_options/kospeech_37",
        "A NaN in an ignored row: 0 times the row is NaN, and a row that does not count must not be read.",
        [[NAN, 1.0, 0.0], [2.0, 0.0, -1.0]],
        [-100, 0],
        label_smoothing=0.1,
        ignore_index=-100,
        reduction="mean",
        source="sooftware/kospeech#37",
        reported="A label-smoothed cross-entropy is NaN where NaN logits stand only in ignored rows, and another "
        "implementation is not. The part that was read names no version.",
    )
    yield field_case(
        "field_options/pytext_1698",
        "Label smoothing gives a masked class a share of the target: the loss is +inf, which is right.",
        [[-INF, 1.0, 2.0], [0.0, 1.0, 2.0]],
        [1, 1],
        label_smoothing=0.1,
        source="facebookresearch/pytext#1698",
        reported="The smoothing part of a loss is infinite where any logit is -inf, and a factor of 0 does not help, "
        "so that it had to be left out. No version given.",
    )
    yield field_case(
        "field_options/pytorch_69339",
        "Weights, smoothing and an ignored row together: the ignored index must not be looked up in the weights.",
        [[1.0, 2.0], [3.0, 0.4]],
        [-100, 1],
        label_smoothing=0.1,
        weight=[0.2, 0.3],
        ignore_index=-100,
        reduction="mean",
        source="pytorch/pytorch#69339",
        reported="CrossEntropyLoss with weight, label_smoothing and an ignored target raises that -100 is out of "
        "bounds. The part that was read names no version.",
    )
    yield field_case(
        "field_options/pytorch_72056",
        "A rare class of weight 16 that is not a target: under smoothing it has a share of each row.",
        [[0.1735, 0.2191], [-0.1377, 0.3467], [-0.2162, 0.2021], [-0.4211, 0.342]],
        [0, -1, 0, 0],
        label_smoothing=0.1,
        weight=[1.0, 16.0],
        ignore_index=-1,
        reduction="mean",
        source="pytorch/pytorch#72056",
        reported="Weights of 1 and 16 with label smoothing and an ignored -1 raise that -1 is out of bounds, in "
        "PyTorch 1.10.2.",
    )
    yield field_case(
        "field_options/pytorch_91383",
        "Weights of 1 change nothing: a mean with them and one without must agree.",
        [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
        [0, 1, -100],
        label_smoothing=0.1,
        weight=[1.0, 1.0, 1.0],
        ignore_index=-100,
        reduction="mean",
        source="pytorch/pytorch#91383",
        reported="F.cross_entropy raises out of bounds with weights, label smoothing, an ignored target and "
        "reduction='mean' all together, in PyTorch 1.10.0.",
    )
    yield field_case(
        "field_options/pytorch_104776",
        "Weights and smoothing with a target probability: the wrong class is weighted up, and the minimum moves.",
        [[0.0, 1.0], [1.0, 0.0]],
        [[1.0, 0.0], [1.0, 0.0]],
        label_smoothing=0.1,
        weight=[0.1, 0.9],
        source="pytorch/pytorch#104776",
        reported="In CrossEntropyLoss class weights scale each class's share of the smoothed target, so that a rare "
        "class is predicted too often. The part that was read names no version.",
    )
    yield field_case(
        "field_options/paddle_47813",
        "Two positions of one image with weights and smoothing: the mean divides by the targets' weights.",
        [[0.0, 0.0, 0.0], [1.0, 0.0, 1.0]],
        [0, 1],
        label_smoothing=0.1,
        weight=[1.0, 2.0, 3.0],
        reduction="mean",
        layout="spatial",
        source="PaddlePaddle/Paddle#47813",
        reported="With weights and label smoothing together PyTorch gives 1.599 and Paddle's soft labels 1.5481. No "
        "version given.",
    )


def _weighted() -> Iterator[Case]:
    for reduction in ("none", "mean"):
        yield field_case(
            f"field_options/pytorch_8062_{reduction}",
            "Weights of 20 and 10 on a loss of 200 and one of 0: 4000 and 0, and a mean of 4000 / 30.",
            [[-100.0, 100.0], [-100.0, 100.0]],
            [0, 1],
            weight=[20.0, 10.0],
            reduction=reduction,
            source="pytorch/pytorch#8062",
            reported="CrossEntropyLoss with weights returns 133.33 as the mean of 4000 and 0, reported as a bug; the "
            "part that was read names no version.",
        )
    yield field_case(
        "field_options/pytorch_25571",
        "A weighted mean divides by the weights of the targets, not by the number of rows.",
        [[0.2, 0.3, 0.5], [0.5, 0.2, 0.3]],
        [2, 1],
        weight=[2.0, 4.0, 6.0],
        reduction="mean",
        source="pytorch/pytorch#25571",
        reported="With weights CrossEntropyLoss gives 5.6390 and 4.9593 in the rows and 1.0598 as their mean, "
        "reported as a bug in PyTorch 1.2.0.",
    )
    yield field_case(
        "field_options/iree_24228",
        "Class weights of 0.5 to 2 on four rows: the weights of the targets sum to 5, and dividing by 4 is 25 % off.",
        [
            [0.5, -1.0, 2.0, 0.1, 0.3],
            [1.5, 0.2, -0.7, 0.0, 0.9],
            [0.0, 0.0, 1.0, -2.0, 0.4],
            [2.0, -0.5, 0.3, 0.8, -1.1],
        ],
        [1, 3, 0, 4],
        weight=[1.0, 2.0, 1.0, 0.5, 1.5],
        reduction="mean",
        source="iree-org/iree#24228",
        reported="IREE divides the weighted mean of ONNX's SoftmaxCrossEntropyLoss by the number of rows where the "
        "operator's definition divides by the targets' weights. The part that was read names no version.",
    )
    yield field_case(
        "field_options/pytorch_14289",
        "A weighted mean of one row is that row without its weight.",
        [[-0.0141, -4.2669]],
        [0],
        weight=[2.0, 3.0],
        reduction="mean",
        source="pytorch/pytorch#14289",
        reported="A weight of 2 does not change the mean NLLLoss of a single row, reported as a bug in PyTorch 0.4.1.",
    )
    classes, one_hot = [1, 2], [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    for name, targets in (("indices", classes), ("probabilities", one_hot)):
        yield field_case(
            f"field_options/pytorch_107680_{name}",
            f"The same batch, targets as {name}: the weighted mean divides by the weights or by the rows.",
            [[2.3, 2.1, 4.5], [4.2, 3.2, 5.1]],
            targets,
            weight=[25.0, 25.0, 100.0],
            reduction="mean",
            source="pytorch/pytorch#107680",
            reported="With weights the mean F.cross_entropy is 0.8705 for class indices and 54.4052 for the same "
            "targets as one-hot rows, in PyTorch 2.0.1.",
        )


def _soft() -> Iterator[Case]:
    yield field_case(
        "field_options/tensorflow_2327",
        "A row without a label, all zeros: its loss and gradient are 0, while softmax - labels is not.",
        [[3.0, -1.0], [0.5, 2.0]],
        [[0.0, 0.0], [0.0, 1.0]],
        source="tensorflow/tensorflow#2327",
        reported="Training on rows without a label diverges with tf.nn.softmax_cross_entropy_with_logits and not "
        "with a softmax and a logarithm (the answer: labels must be a distribution). The part that was read names no "
        "version.",
    )
    yield field_case(
        "field_options/tensorflow_1234",
        "Rows of zero labels, one of them confident: the loss is 0 whatever the logits are.",
        [[0.0, 0.0, 0.0], [99.0, 0.0, 0.0]],
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        reduction="sum",
        source="tensorflow/tensorflow#1234",
        reported="tf.nn.softmax_cross_entropy_with_logits gives 0 for labels that are all 0, used to leave rows out "
        "and asked to be documented. The part that was read names no version.",
    )


def cases() -> Iterator[Case]:
    yield from _ignored()
    yield from _smoothed()
    yield from _weighted()
    yield from _soft()
