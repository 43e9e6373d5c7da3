"""tinygrad: the formulas written in it, and its built-in losses.

tinygrad translates each call to kernels for its shapes and compiles them: with clang for its device ``CPU``, and with
the driver of OpenCL for its device ``CL``.
"""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

# Set before the import. By default kernels are compiled in other processes, which import tinygrad too.
os.environ.setdefault("PARALLEL", "0")
from tinygrad import Device, Tensor, dtypes, helpers
from tinygrad.device import CompileError

from ..core.cache_folder import program_folder
from ._batch import Batch, Implementation
from ._framework import Autograd, Framework, Loss, Pull
from ._tinygrad_syntax import SYNTAX
from .formulas import of_transformed, with_options
from .formulas.tinygrad import lse, lse_logsumexp, naive, naive_logsumexp, naive_probabilities, tanh

# Compiled kernels are cached with LogitLab's other programs, or nowhere. PoCL, a driver of OpenCL, caches its own.
_folder = program_folder("tinygrad")
if "CACHEDB" not in os.environ:
    if _folder is None:
        helpers.CACHELEVEL.value = 0
    else:
        helpers.CACHEDB = str(_folder / "kernels.db")
        os.environ.setdefault("POCL_CACHE_DIR", str(_folder / "pocl"))

# tinygrad's names of the devices that are tried; to open others, it takes the hardware over from its driver.
DEVICES = ("CPU", "CL", "CUDA", "METAL")


@cache
def _available() -> tuple[str, ...]:
    """Return the devices that can be opened."""
    return tuple(name for name in DEVICES if _opened(name) is not None)


def _opened(name: str) -> Any:
    try:
        return Device[name]
    except Exception:  # a driver may raise anything: a library or a compiler is missing, or there is no such device
        return None


if not _available():
    # As if tinygrad were not installed: what it needs is missing, and nothing failed.
    raise ModuleNotFoundError(
        "tinygrad finds no device: install clang for its device CPU, or a driver of OpenCL (such as Debian's packages "
        "ocl-icd-libopencl1 and pocl-opencl-icd) for CL"
    )


# --- built-in ---------------------------------------------------------------------------------------------------


def sparse_categorical_crossentropy(
    logits: Tensor, targets: Tensor, *, reduction: str, ignore_index: int = -1, label_smoothing: float = 0.0
) -> Tensor:
    return logits.sparse_categorical_crossentropy(targets, ignore_index, label_smoothing, reduction)


def cross_entropy(logits: Tensor, targets: Tensor, *, reduction: str, label_smoothing: float = 0.0) -> Tensor:
    return logits.cross_entropy(targets, reduction, label_smoothing)


MODES = ("compiled",)


def _implementation(name: str, formula: str, loss: Loss, **more: Any) -> Implementation:
    # There is no eager mode: tinygrad collects operations and compiles the kernels that they are fused to.
    return Implementation(f"tinygrad/{name}", formula, loss, "tinygrad", modes=MODES, plain_modes=MODES, **more)


# --- called and differentiated ----------------------------------------------------------------------------------


def ones_like(tensor: Tensor) -> Tensor:
    return Tensor.ones(*tensor.shape, dtype=tensor.dtype, device=tensor.device)


class TinygradAutograd(Autograd):
    """Differentiation by `Tensor.gradient`."""

    def forward(self, loss: Loss, logits: Tensor, targets: Tensor, *, repeatedly: bool) -> tuple[Tensor, Pull]:
        def pull(upstream: Tensor | None) -> Tensor:
            # Not of the rows that were returned: once their numbers are known, they have no way back to the logits, and
            # tinygrad gives a gradient of zeros.
            rows = loss(logits, targets)
            return rows.gradient(logits, gradient=ones_like(rows) if upstream is None else upstream)[0].realize()

        return loss(logits, targets).realize(), pull

    def spread(self, rows: Tensor, number: float) -> Tensor:
        return Tensor.full(rows.shape, number, dtype=rows.dtype, device=rows.device)


@cache
def _refusal(device: str, dtype: str) -> str | None:
    """Return why a device cannot compute in a dtype: its compiler refuses a kernel that adds 1; None if it can."""
    try:
        with helpers.Context(DEV=device):
            (Tensor([1.0], device=device).cast(getattr(dtypes, dtype)).realize() + 1).realize()
    except (CompileError, subprocess.CalledProcessError):
        return f"the compiler of tinygrad's device {device} refuses {dtype} on this machine"
    return None


class TinygradFramework(Framework):
    """tinygrad on the devices that it can open."""

    name = "tinygrad"
    implementations: tuple[Implementation, ...] = (
        _implementation(
            "naive",
            "naive",
            with_options(naive, naive_logsumexp, tanh),
            probabilities=of_transformed(naive_probabilities, tanh),
        ),
        _implementation("lse", "lse", with_options(lse, lse_logsumexp, tanh)),
        _implementation(
            "Tensor.sparse_categorical_crossentropy",
            "builtin",
            sparse_categorical_crossentropy,
            reduces=True,
            class_axis=-1,
        ),
        _implementation("Tensor.cross_entropy", "builtin", cross_entropy, reduces=True, soft=True, class_axis=1),
    )
    autograd = TinygradAutograd()
    strides = False
    syntax = SYNTAX

    def devices(self) -> tuple[str, ...]:
        return tuple(name.lower() for name in _available())

    def settings(self) -> Mapping[str, str]:
        found = {f"compiler of {name}": _compiler(name) for name in _available()}
        emulated = str(helpers.EMULATED_DTYPES.value)
        return found | ({"emulated dtypes": emulated} if emulated else {})

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        refusal = _refusal(device.upper(), batch.logits.dtype.name)
        if refusal is not None:
            raise NotImplementedError(refusal)
        with self.placed(device):
            x, t = self.to_array(batch.in_memory(), device), self.to_array(batch.targets, device)
            options = self.keywords(batch.options, device)
            if implementation.probabilities is not None:
                yield "probabilities", self.to_numpy(implementation.probabilities(x, **batch.logit_options))
            shaped = batch.spatial(x, t, implementation.class_axis)
            if implementation.reduces:
                loss = implementation.loss(*shaped, reduction=batch.reduction, **options)
            else:
                loss = self.reduce(implementation.loss(*shaped, **options).reshape(-1), batch.reduction)
            loss = loss.reshape(-1) if batch.reduction == "none" else loss
            # Made before the loss is computed, which would make it zeros: see `TinygradAutograd`.
            (gradient,) = loss.gradient(x, gradient=ones_like(loss))
            yield "loss", self.to_numpy(loss)
            yield "gradient", self.to_numpy(gradient)

    def fills_up(self, implementation: Implementation, batch: Batch, mode: str) -> bool:
        return batch.reduction == "none"

    def compiles_shapes(self, mode: str) -> bool:
        return True

    def placed(self, device: str) -> AbstractContextManager[Any]:
        context: Callable[..., AbstractContextManager[Any]] = helpers.Context
        return context(DEV=device.upper())

    def to_array(self, values: NDArray[Any], device: str) -> Tensor:
        """Return a NumPy array as a tensor; bfloat16 is passed as uint16, whose bits tinygrad reads as its own."""
        given = np.ascontiguousarray(values)
        if given.dtype == ml_dtypes.bfloat16:
            return Tensor(given.view(np.uint16), device=device.upper()).bitcast(dtypes.bfloat16).realize()
        return Tensor(given, device=device.upper()).realize()

    def to_numpy(self, array: Tensor) -> NDArray[Any]:
        if array.dtype == dtypes.bfloat16:
            bits = array.realize().bitcast(dtypes.uint16).numpy()
            return np.asarray(bits).view(ml_dtypes.bfloat16)
        return np.asarray(array.numpy())


@cache
def _compiler(device: str) -> str:
    """Return the name of what compiles for a device: clang's interface, or the device and driver of OpenCL."""
    opened = Device[device]
    if device == "CL":
        return f"{opened.device_name}, driver {opened.driver_version}"
    return type(opened.renderer).__name__.removesuffix("Renderer").lower()


FRAMEWORK = TinygradFramework()
