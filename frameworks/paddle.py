"""PaddlePaddle: the formulas written in it, and its built-in losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import paddle
import paddle.nn.functional as F  # noqa: N812 - the name every PaddlePaddle program gives it
from numpy.typing import NDArray

from ..core.conventions import Convention, MeanDivisor, Weighting
from ._batch import Batch, Implementation
from ._framework import Framework
from ._syntax import Syntax
from .stages import HALF_SCALE, SCALE

Tensor = Any


def pick(values: Tensor, targets: Tensor) -> Tensor:
    return paddle.take_along_axis(values, targets[:, None], axis=1)[:, 0]


def onehot(indices: Tensor, like: Tensor) -> Tensor:
    return (paddle.arange(like.shape[1], dtype=indices.dtype) == indices[:, None]).astype(like.dtype)


# --- naive: softmax, then log -----------------------------------------------------------------------------------


def naive_probabilities(logits: Tensor) -> Tensor:
    e = paddle.exp(logits)
    return e / e.sum(axis=1, keepdim=True)


def naive(logits: Tensor, targets: Tensor) -> Tensor:
    return -paddle.log(pick(naive_probabilities(logits), targets))


# --- lse: shift by the maximum, add it back, subtract the unshifted target logit --------------------------------


def lse(logits: Tensor, targets: Tensor) -> Tensor:
    # Not max: the time of its gradient in PaddlePaddle is quadratic in the classes, a minute for 131,072.
    m = pick(logits, logits.argmax(axis=1))[:, None]
    s = paddle.exp(logits - m).sum(axis=1)
    return m[:, 0] + paddle.log(s) - pick(logits, targets)


# --- log1p: the maximum's own term taken out of the sum ---------------------------------------------------------


def at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == paddle.float64 else logits.astype(paddle.float32)


def _log1p_terms(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    i = x.argmax(axis=1)
    m = pick(x, i)
    scaled = (HALF_SCALE * paddle.exp((x - m[:, None]) / 2)) ** 2
    others = (scaled - SCALE * onehot(i, x)).sum(axis=1)
    return i, m, scaled / SCALE, others / SCALE


class _Log1p(paddle.autograd.PyLayer):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        x = at_least_float32(logits)
        i, m, e, others = _log1p_terms(x)
        ctx.save_for_backward(targets, i, e, others)
        ctx.dtype = logits.dtype
        return (paddle.log1p(others) + (m - pick(x, targets))).astype(logits.dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        targets, i, e, others = ctx.saved_tensor()
        total = 1 + others
        # At the target p - 1 would cancel. It equals minus the share of the other classes, summed without the target.
        rest = paddle.where(targets.astype(i.dtype) == i, others, total - pick(e, targets))
        at_target = onehot(targets, e) == 1
        gradient = paddle.where(at_target, -(rest / total)[:, None], e / total[:, None])
        return (gradient * upstream[:, None].astype(gradient.dtype)).astype(ctx.dtype)


def log1p(logits: Tensor, targets: Tensor) -> Tensor:
    return _Log1p.apply(logits, targets)


def log1p_probabilities(logits: Tensor) -> Tensor:
    _, _, e, others = _log1p_terms(at_least_float32(logits))
    return (e / (1 + others)[:, None]).astype(logits.dtype)


# --- built-in ---------------------------------------------------------------------------------------------------


def cross_entropy(logits: Tensor, targets: Tensor, *, reduction: str, **options: Any) -> Tensor:
    soft = targets.is_floating_point()
    return F.cross_entropy(logits, targets, reduction=reduction, soft_label=soft, **options)


def softmax_with_cross_entropy(logits: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
    if targets.is_floating_point():
        return F.softmax_with_cross_entropy(logits, targets, soft_label=True)
    return F.softmax_with_cross_entropy(logits, targets.unsqueeze(-1), ignore_index=ignore_index)


# For soft labels, and thus for smoothed ones, loss_j is multiplied by sum_i(weight[label_i] label_i), and the mean
# divides by the sum of these factors.
OF_SOFT_LABELS = Convention(
    MeanDivisor.TARGET_MASS,
    Weighting.ROWS,
    "paddlepaddle.org.cn, documentation of paddle.nn.functional.cross_entropy, read in November 2026",
)


def _builtin(name: str, loss: Any, **more: Any) -> Implementation:
    # PaddlePaddle's documentation requires class probabilities to sum to 1.
    return Implementation(
        f"paddle/{name}", "builtin", loss, "paddle", soft=True, normalized=True, class_axis=-1, **more
    )


class PaddleFramework(Framework):
    """PaddlePaddle on the CPU."""

    name = "paddle"
    implementations = (
        Implementation("paddle/naive", "naive", naive, "paddle", probabilities=naive_probabilities),
        Implementation("paddle/lse", "lse", lse, "paddle"),
        Implementation("paddle/log1p", "log1p", log1p, "paddle", probabilities=log1p_probabilities),
        _builtin("nn.functional.cross_entropy", cross_entropy, reduces=True, convention=OF_SOFT_LABELS),
        _builtin("nn.functional.softmax_with_cross_entropy", softmax_with_cross_entropy),
    )
    strides = False
    syntax = Syntax(
        imports=("import paddle",),
        imports_by_dtype={},
        array="paddle.to_tensor({numbers}, '{dtype}')",
        targets="paddle.to_tensor({numbers}, 'int64')",
        numbers="{array}.astype('float64').tolist()",
        int32="{t}.astype('int32')",
        flat="{rows}.reshape([-1])",
        measured={"eager": ("x.stop_gradient = False", "{statements}", "loss = {loss}")},
        differentiated=("gradient = paddle.grad(loss, x, paddle.ones_like(loss))[0]",),
        on_cpu="paddle.set_device('cpu')",
    )

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        paddle.set_device(device)
        x, t = self.to_array(batch.in_memory(), device), self.to_array(batch.targets, device)
        options = self.keywords(batch.options, device)
        if implementation.probabilities is not None:
            yield "probabilities", self.to_numpy(implementation.probabilities(x))
        x.stop_gradient = False
        shaped = batch.spatial(x, t, implementation.class_axis)
        if implementation.reduces:
            loss = implementation.loss(*shaped, reduction=batch.reduction, **options)
        else:
            loss = self.reduce(implementation.loss(*shaped, **options).reshape([-1]), batch.reduction)
        loss = loss.reshape([-1] if batch.reduction == "none" else [])
        yield "loss", self.to_numpy(loss)
        (gradient,) = paddle.grad(loss, x, paddle.ones_like(loss))
        yield "gradient", self.to_numpy(gradient)

    def unsupported(self, error: Exception) -> bool:
        # "The kernel with key (CPU, ..., float16) of kernel `softmax` is not registered."
        return isinstance(error, NotImplementedError) or "is not registered" in str(error)

    def to_array(self, values: NDArray[Any], device: str) -> Tensor:
        """Return a NumPy array as a tensor; bfloat16 is passed as uint16; PaddlePaddle rejects that of ml_dtypes."""
        bits = values.view(np.uint16) if values.dtype == ml_dtypes.bfloat16 else values
        return paddle.to_tensor(bits)

    def flat(self, array: Tensor) -> Tensor:
        return array.reshape([-1])

    def to_numpy(self, array: Tensor) -> NDArray[Any]:
        values: NDArray[Any] = array.numpy()
        return values.view(ml_dtypes.bfloat16) if array.dtype == paddle.bfloat16 else values


FRAMEWORK = PaddleFramework()
