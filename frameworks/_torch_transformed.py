"""PyTorch's transformations of a loss: inference mode, autocast, `torch.func`, and second derivatives."""

import warnings

import torch
from torch import Tensor

from ._framework import Loss
from ._transformed import Transformation, Transformed


def _in_inference_mode(loss: Loss, logits: Tensor, targets: Tensor, direction: Tensor) -> dict[str, Tensor]:
    # A tensor made in inference mode, such as the output of a model, cannot be saved for a backward pass.
    with torch.inference_mode():
        return {"loss": loss(logits.clone(), targets.clone())}


def _under_autocast(loss: Loss, logits: Tensor, targets: Tensor, direction: Tensor) -> dict[str, Tensor]:
    logits.requires_grad_()
    with torch.autocast(logits.device.type, torch.bfloat16):
        rows = loss(logits, targets)
    return {"loss": rows, "gradient": torch.autograd.grad(rows, logits, torch.ones_like(rows))[0]}


def _under_vmap(loss: Loss, logits: Tensor, targets: Tensor, direction: Tensor) -> dict[str, Tensor]:
    logits.requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # operations without a batching rule are slower
        # Each row is mapped beside another one: a batching rule may confuse the rows with the mapped axis.
        x, t = torch.stack([logits, logits.detach().roll(1, 0)], 1), torch.stack([targets, targets.roll(1, 0)], 1)
        rows = torch.func.vmap(lambda x, t: loss(x, t)[0])(x, t)
        return {"loss": rows, "gradient": torch.autograd.grad(rows, logits, torch.ones_like(rows))[0]}


def _by_func_grad(loss: Loss, logits: Tensor, targets: Tensor, direction: Tensor) -> dict[str, Tensor]:
    return {"gradient": torch.func.grad(lambda x: loss(x, targets).sum())(logits)}


def _by_func_jvp(loss: Loss, logits: Tensor, targets: Tensor, direction: Tensor) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch compiles its rules by a function that it deprecates itself
        return {"slope": torch.func.jvp(lambda x: loss(x, targets), (logits,), (direction,))[1]}


def _second(loss: Loss, logits: Tensor, targets: Tensor, direction: Tensor) -> dict[str, Tensor]:
    logits.requires_grad_()
    rows = loss(logits, targets)
    # `once_differentiable` raises only if the upstream gradient has a graph, as behind a learned weight, and only in
    # `backward`, since `grad` skips what leads to other tensors.
    upstream = torch.ones_like(rows).requires_grad_()
    (first,) = torch.autograd.grad(rows, logits, upstream, create_graph=True)
    # The other term stands for the rest of a training loss: with it, a gradient without a graph raises nothing.
    total = (first * direction).sum() + 0 * logits.sum()
    total.backward()
    assert logits.grad is not None  # noqa: S101 - for the type checker: the other term has a gradient
    return {"second": logits.grad}


_GRADIENT = "gradient = torch.autograd.grad(rows, x, torch.ones_like(rows))[0]"
TRANSFORMED = {
    Transformation.INFERENCE: Transformed(
        _in_inference_mode, ("with torch.inference_mode():", "    x, t = x.clone(), t.clone()", "    rows = {call}")
    ),
    Transformation.AUTOCAST: Transformed(
        _under_autocast, ("with torch.autocast(x.device.type, torch.bfloat16):", "    rows = {call}", _GRADIENT)
    ),
    Transformation.VMAP: Transformed(
        _under_vmap,
        (
            "y, u = torch.stack([x, x.detach().roll(1, 0)], 1), torch.stack([t, t.roll(1, 0)], 1)",
            "rows = torch.func.vmap(lambda x, t: {call}[0])(y, u)",
            _GRADIENT,
        ),
    ),
    Transformation.GRAD: Transformed(
        _by_func_grad, ("gradient = torch.func.grad(lambda x: {call}.sum())(x.detach())",)
    ),
    Transformation.JVP: Transformed(
        _by_func_jvp, ("slope = torch.func.jvp(lambda x: {call}, (x.detach(),), (v,))[1]",)
    ),
    Transformation.SECOND: Transformed(
        _second,
        (
            "rows = {call}",
            "w = torch.ones_like(rows).requires_grad_()",
            "(first,) = torch.autograd.grad(rows, x, w, create_graph=True)",
            "((first * v).sum() + 0 * x.sum()).backward()",
            "second = x.grad",
        ),
    ),
}  # fmt: skip
