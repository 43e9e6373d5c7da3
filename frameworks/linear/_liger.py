"""Liger-Kernel's fused linear cross-entropy, an optional package, which computes logits chunk by chunk of the batch.

P.-L. Hsu et al., *Liger-Kernel: efficient Triton kernels for LLM training*, arXiv 2410.10989.
"""

from typing import Any

from ...core.interpreting import INTERPRETED
from ...core.vocabulary import Problem
from .._batch import Implementation

PACKAGE = "liger_kernel"


def liger_fused_linear_cross_entropy(
    hidden: Any,
    weight: Any,
    targets: Any,
    *,
    reduction: str,
    bias: Any = None,
    class_weight: Any = None,
    z_loss: float = 0.0,
    **options: Any,
) -> Any:
    from liger_kernel.transformers.functional import (  # noqa: PLC0415 - it is optional
        liger_fused_linear_cross_entropy as fused,
    )

    return fused(
        hidden, weight, targets, bias, ce_weight=class_weight, lse_square_scale=z_loss, reduction=reduction, **options
    )


KERNEL = Implementation(
    f"torch/{PACKAGE}.liger_fused_linear_cross_entropy", "builtin", liger_fused_linear_cross_entropy, PACKAGE,
    reduces=True, devices=("cuda",), modes=("eager", INTERPRETED), problem=Problem.LINEAR,
)  # fmt: skip
