"""MLX: the formulas written in it, and its built-in loss."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
from mlx import nn
from numpy.typing import NDArray

from ._batch import Batch, Implementation
from ._framework import Framework, Loss
from ._mlx_autograd import TRANSFORMED, MlxAutograd
from ._mlx_syntax import SYNTAX
from .formulas import of_transformed, with_options
from .formulas.mlx import (
    log1p,
    log1p_probabilities,
    lse,
    lse_logsumexp,
    naive,
    naive_logsumexp,
    naive_probabilities,
)

Array = Any


# --- built-in ---------------------------------------------------------------------------------------------------


def cross_entropy(logits: Array, targets: Array, *, reduction: str, label_smoothing: float = 0.0) -> Array:
    # MLX's weights are factors of rows, not of classes, and it ignores no index.
    return nn.losses.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction=reduction)


MODES, PLAIN_MODES = ("eager", "compiled"), ("compiled",)


def _implementation(name: str, formula: str, loss: Loss, **more: Any) -> Implementation:
    return Implementation(f"mlx/{name}", formula, loss, "mlx", modes=MODES, plain_modes=PLAIN_MODES, **more)


# --- called, compiled and differentiated ------------------------------------------------------------------------


def _forward(implementation: Implementation, batch: Batch, logits: Array, targets: Array) -> Array:
    shaped = batch.spatial(logits, targets, implementation.class_axis)
    if implementation.reduces:
        loss = implementation.loss(*shaped, reduction=batch.reduction, **batch.options)
        return loss.reshape(-1) if batch.reduction == "none" else loss
    return MlxFramework.reduce(implementation.loss(*shaped, **batch.options).reshape(-1), batch.reduction)


def _loss_and_gradient(implementation: Implementation, batch: Batch) -> Callable[[Array, Array], tuple[Array, Array]]:
    """Return a function of logits and targets that computes both together, as a training step does."""

    def both(logits: Array, targets: Array) -> tuple[Array, Array]:
        def total(x: Array) -> tuple[Array, Array]:
            loss = _forward(implementation, batch, x, targets)
            return loss.sum(), loss

        (_, loss), gradient = mx.value_and_grad(total)(logits)
        return loss, gradient

    return both


_programs: dict[Hashable, Callable[[Array, Array], tuple[Array, Array]]] = {}


def _compiled(implementation: Implementation, batch: Batch) -> Callable[[Array, Array], tuple[Array, Array]]:
    key = implementation, batch.program_key
    if key not in _programs:
        _programs[key] = mx.compile(_loss_and_gradient(implementation, batch.without_rows()))
    return _programs[key]


def _device_name(device: Any) -> str:
    """Return the table's name of MLX's device: its GPU is Apple's, or NVIDIA's, which PyTorch calls ``cuda``."""
    if device == mx.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


def _memory(values: NDArray[Any]) -> tuple[NDArray[Any], int] | None:
    """Return the numbers in memory that an array's strides lead to, with one axis, and the index of the first.

    None if they are not a NumPy array without gaps; such an array is copied.
    """
    packed = values.transpose(np.argsort([-s for s in values.strides], kind="stable"))
    if packed.flags.c_contiguous:
        return packed.reshape(-1), 0
    owner = values.base
    if not isinstance(owner, np.ndarray) or not owner.flags.c_contiguous or min(values.strides) < 0:
        return None
    return owner.view(values.dtype).reshape(-1), (values.ctypes.data - owner.ctypes.data) // values.itemsize


def _of_memory(values: NDArray[Any]) -> Array:
    """Return a contiguous NumPy array as MLX's; bfloat16 is passed as uint16, whose bits MLX reads as its own."""
    if values.dtype == ml_dtypes.bfloat16:
        return mx.array(values.view(np.uint16)).view(mx.bfloat16)
    # Without a dtype MLX rounds float64 to float32.
    return mx.array(values, mx.float64) if values.dtype == np.float64 else mx.array(values)


class MlxFramework(Framework):
    """MLX on the CPU, and on the GPU that it finds."""

    name = "mlx"
    implementations: tuple[Implementation, ...] = (
        _implementation(
            "naive",
            "naive",
            with_options(naive, naive_logsumexp, mx.tanh),
            probabilities=of_transformed(naive_probabilities, mx.tanh),
        ),
        _implementation("lse", "lse", with_options(lse, lse_logsumexp, mx.tanh)),
        _implementation("log1p", "log1p", log1p, probabilities=log1p_probabilities),
        _implementation("nn.losses.cross_entropy", "builtin", cross_entropy, reduces=True, soft=True, class_axis=-1),
    )
    autograd = MlxAutograd()
    transformed = TRANSFORMED
    syntax = SYNTAX

    def settings(self) -> Mapping[str, str]:
        half = (mx.array(np.finfo(np.float32).tiny) / 2).item()
        return {"subnormals": "kept" if half else "flushed to zero"}

    def devices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(["cpu", _device_name(mx.default_device())]))

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        with self.placed(device):
            x, t = self.to_array(batch.in_memory(), device), self.to_array(batch.targets, device)
            if implementation.probabilities is not None:
                probabilities = self.in_mode(implementation.probabilities, mode)
                yield "probabilities", self.to_numpy(probabilities(x, **batch.logit_options))
            if mode == "compiled":
                loss, gradient = _compiled(implementation, batch)(x, t)
                yield "loss", self.to_numpy(loss)
            else:
                yield "loss", self.to_numpy(_forward(implementation, batch, x, t))
                _, gradient = _loss_and_gradient(implementation, batch)(x, t)
            yield "gradient", self.to_numpy(gradient)

    def unsupported(self, error: Exception) -> bool:
        # "[Primitive::vjp] Not implemented for ...", "float64 is not supported on the GPU".
        words = "Not implemented for", "is not supported on the GPU", "std::bad_cast"  # the last of an unknown dtype
        return isinstance(error, NotImplementedError) or any(w in str(error) for w in words)

    def forget_programs(self) -> None:
        _programs.clear()
        mx.clear_cache()

    def placed(self, device: str) -> AbstractContextManager[Any]:
        return mx.stream(mx.cpu if device == "cpu" else mx.gpu)

    def to_array(self, values: NDArray[Any], device: str) -> Array:
        """Return a NumPy array as MLX's, with its memory layout unless it goes backwards."""
        memory = None if values.flags.c_contiguous else _memory(values)
        if memory is None:
            return _of_memory(np.ascontiguousarray(values))
        numbers, start = memory
        return mx.as_strided(_of_memory(numbers), values.shape, [s // values.itemsize for s in values.strides], start)

    def to_numpy(self, array: Array) -> NDArray[Any]:
        if array.dtype == mx.bfloat16:
            return np.array(array.view(mx.uint16)).view(ml_dtypes.bfloat16)
        return np.array(array)

    def in_mode(self, loss: Loss, mode: str) -> Loss:
        return mx.compile(loss) if mode == "compiled" else loss


FRAMEWORK = MlxFramework()
