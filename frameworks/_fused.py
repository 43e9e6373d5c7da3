"""Fused Triton kernels for PyTorch on a GPU: Liger-Kernel's cross-entropy and Apple's cut cross-entropy.

Their packages are optional, and imported where they are called.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._protocol import Implementation

# The identity of 2^14 classes takes 512 MiB in 16 bits and 1 GiB in 32; that of GPT-2's 50,257 would take 5 to 10 GB.
MAX_IDENTITY_CLASSES = 2**14


def liger_cross_entropy(logits: Tensor, targets: Tensor, *, reduction: str, **options: Any) -> Tensor:
    from liger_kernel.transformers.functional import liger_cross_entropy as fused  # noqa: PLC0415 - it is optional

    # Its forward kernel writes the gradient over the logits. The clone lies in memory as they do, on purpose: logits by
    # columns it copies once more, the copy asks for no gradient, and version 0.8.5 gives the logits for the gradient.
    loss: Tensor = fused(logits.clone(), targets, reduction=reduction, **options)
    return loss


def cut_cross_entropy(logits: Tensor, targets: Tensor, *, reduction: str, **options: Any) -> Tensor:
    from cut_cross_entropy import linear_cross_entropy  # noqa: PLC0415 - it is optional

    classes = logits.shape[1]
    if classes > MAX_IDENTITY_CLASSES:
        raise NotImplementedError(
            f"{classes} classes need an identity of {classes} x {classes}; at most {MAX_IDENTITY_CLASSES} are taken"
        )
    # The loss multiplies embeddings with a classifier to make its logits, tile by tile. With the identity a logit is
    # itself plus zeros, as long as all are finite: an infinite one makes its row NaN, for 0 x inf is NaN.
    # By default the backward pass leaves out each tile whose gradients are all below eps / 32 of the dtype, and they
    # come out 0. It takes float16 and bfloat16 alone, and says so; the forward pass takes float32 too.
    identity = torch.eye(classes, dtype=logits.dtype, device=logits.device)
    loss: Tensor = linear_cross_entropy(logits, identity, targets, reduction=reduction, **options)
    return loss


IMPLEMENTATIONS = (
    Implementation(
        "torch/liger_kernel.liger_cross_entropy",
        "builtin",
        liger_cross_entropy,
        "liger_kernel",
        reduces=True,
        devices=("cuda",),
    ),
    Implementation(
        "torch/cut_cross_entropy.linear_cross_entropy[identity]",
        "builtin",
        cut_cross_entropy,
        "cut_cross_entropy",
        reduces=True,
        devices=("cuda",),
    ),
)
