"""PyTorch's losses of hidden states: the formulas and `F.cross_entropy` on computed logits, and the fused loss."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch program gives it
from torch import Tensor

from ...core.vocabulary import Problem
from .._batch import Implementation, reduce_rows
from . import _cut_cross_entropy, _liger, _trl
from ._autograd import LinearAutograd, Pull
from ._batch import LinearBatch

Loss = Callable[..., Tensor]
# Of optional packages.
KERNELS = (_cut_cross_entropy.KERNEL, _cut_cross_entropy.COMPILED, _liger.KERNEL, *_trl.KERNELS)


def of_logits(loss: Loss) -> Loss:
    """Return the loss of the logits ``hidden @ weight.T + bias``, which are rounded to the dtype."""

    def linear(
        hidden: Tensor, weight: Tensor, targets: Tensor, *,
        bias: Tensor | None = None, class_weight: Tensor | None = None, **options: Any,
    ) -> Tensor:  # fmt: skip
        weights = {} if class_weight is None else {"weight": class_weight}
        return loss(F.linear(hidden, weight, bias), targets, **weights, **options)

    return linear


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, *,
    bias: Tensor | None = None, class_weight: Tensor | None = None, **options: Any,
) -> Tensor:  # fmt: skip
    return F.linear_cross_entropy(hidden, weight, targets, linear_bias=bias, weight=class_weight, **options)


# A chunk of the batch has this many rows, so that batches of the catalogue have several chunks and a short last one.
CHUNK_ROWS = 3
POLICIES: tuple[Literal["accurate", "compact"], ...] = ("accurate", "compact")


def chunked(policy: Literal["accurate", "compact"]) -> Loss:
    """Return the loss over chunks of the batch; the policy chooses the dtype of sums over chunks."""

    def loss(hidden: Tensor, weight: Tensor, targets: Tensor, **options: Any) -> Tensor:
        if "label_smoothing" in options and options["reduction"] == "none":
            raise NotImplementedError("with label smoothing and no reduction it takes the path without chunks")
        chunks = torch.nn.LinearCrossEntropyOptions(
            batch_chunk_size=min(CHUNK_ROWS, max(len(hidden), 1)), acc_policy=policy
        )
        return linear_cross_entropy(hidden, weight, targets, options=chunks, **options)

    return loss


def implementations(formulas: Mapping[str, Loss]) -> tuple[Implementation, ...]:
    """Return the implementations, given the formulas of logits by name."""
    written = tuple(_implementation(f"{name}[linear]", name, of_logits(loss)) for name, loss in formulas.items())
    unfused = _implementation("F.cross_entropy[linear]", "builtin", of_logits(F.cross_entropy), reduces=True, soft=True)
    if not hasattr(F, "linear_cross_entropy"):  # it exists since PyTorch 2.13
        return (*written, unfused, *KERNELS)
    fused = (
        _implementation("F.linear_cross_entropy", "builtin", linear_cross_entropy, reduces=True, soft=True),
        *(
            _implementation(f"F.linear_cross_entropy[chunked,{policy}]", "builtin", chunked(policy), reduces=True)
            for policy in POLICIES
        ),
    )
    return (*written, unfused, *fused, *KERNELS)


def _implementation(name: str, formula: str, loss: Loss, **more: Any) -> Implementation:
    return Implementation(f"torch/{name}", formula, loss, "torch", problem=Problem.LINEAR, **more)


class TorchLinearAutograd(LinearAutograd):
    """Differentiation by `torch.autograd.grad`."""

    def forward(
        self,
        loss: Loss,
        leaves: Mapping[str, Tensor],
        targets: Tensor,
        *,
        by: Collection[str],
        repeatedly: bool = False,
    ) -> tuple[Tensor, Pull]:
        # A detached tensor shares memory and strides with the given one, which stays as it is.
        given = {name: leaf.detach().requires_grad_(name in by) for name, leaf in leaves.items()}
        result = loss(**given, targets=targets)

        def pull(upstream: Tensor | None) -> dict[str, Tensor]:
            grown = torch.ones_like(result) if upstream is None else upstream
            gradients = torch.autograd.grad(result, [given[name] for name in by], grown, retain_graph=repeatedly)
            return dict(zip(by, gradients, strict=True))

        return result, pull

    def untracked(self, loss: Loss, leaves: Mapping[str, Tensor], targets: Tensor) -> Tensor:
        with torch.no_grad():
            return loss(**leaves, targets=targets)


AUTOGRAD = TorchLinearAutograd()


def evaluate(
    implementation: Implementation, batch: LinearBatch, to_array: Callable[[Any], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Yield loss and gradients as tensors; ``to_array`` places a NumPy array on the device."""
    leaves = {name: to_array(array.copy()) for name, array in batch.leaves.items()}
    options: dict[str, Any] = {
        k: to_array(v) if not isinstance(v, int | float) else v for k, v in batch.keywords.items()
    }
    if implementation.reduces:
        options["reduction"] = batch.reduction

    def reduced(**given: Tensor) -> Tensor:
        loss: Tensor = implementation.loss(**given, **options)
        return loss if implementation.reduces else reduce_rows(loss, batch.reduction)

    loss, pull = AUTOGRAD.forward(reduced, leaves, to_array(batch.targets.copy()), by=tuple(leaves))
    yield "loss", loss
    yield from ((f"gradient_{name}", gradient) for name, gradient in pull(None).items())
