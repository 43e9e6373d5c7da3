"""Apple's cut cross-entropy, an optional package, which computes logits tile by tile.

E. Wijmans et al., *Cut your losses in large-vocabulary language models*, arXiv 2411.09009.
"""

from collections.abc import Callable
from typing import Any

from ...core.interpreting import INTERPRETED
from ...core.vocabulary import Problem
from .._batch import Implementation

PACKAGE = "cut_cross_entropy"


def _loss(impl: str) -> Callable[..., Any]:
    def loss(
        hidden: Any,
        weight: Any,
        targets: Any,
        *,
        reduction: str,
        ignore_index: int = -100,
        softcap: float | None = None,
    ) -> Any:
        from cut_cross_entropy import linear_cross_entropy  # noqa: PLC0415 - it is optional

        return linear_cross_entropy(
            hidden, weight, targets, ignore_index=ignore_index, softcap=softcap, reduction=reduction, impl=impl
        )

    return loss


# By default the backward pass of the kernels skips each tile whose gradients are all below eps / 32 of the dtype and
# returns 0 there. It raises for other dtypes than float16 and bfloat16; the forward pass takes float32 too.
KERNEL = Implementation(
    f"torch/{PACKAGE}.linear_cross_entropy", "builtin", _loss("cce"), PACKAGE,
    reduces=True, devices=("cuda",), modes=("eager", INTERPRETED), problem=Problem.LINEAR,
)  # fmt: skip
# The path that Inductor compiles runs on any device. Its first call on each shape takes seconds.
COMPILED = Implementation(
    f"torch/{PACKAGE}.linear_cross_entropy[torch_compile]", "builtin", _loss("torch_compile"), PACKAGE,
    reduces=True, problem=Problem.LINEAR,
)  # fmt: skip
