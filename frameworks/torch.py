"""PyTorch: the formulas written in it, and calling, compiling, differentiating and training."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.cache_folder import program_folder
from ..core.interpreting import INTERPRETED, interpret_triton
from ._batch import Batch, Implementation
from ._framework import Array, Autograd, Framework, Loss, Pull
from ._torch_arrays import to_numpy, to_tensor
from ._torch_losses import BUILTINS, MODES, PLAIN_MODES, pick
from ._torch_syntax import SYNTAX
from ._torch_transformed import TRANSFORMED
from ._torch_wild import WILD
from ._training import Step, Training
from .formulas import of_transformed, with_options
from .formulas.torch import (
    at_least_float32,
    log1p,
    log1p_probabilities,
    lse,
    lse_logsumexp,
    naive,
    naive_logsumexp,
    naive_probabilities,
    onehot,
)
from .linear import LinearBatch, written
from .linear import torch as linear
from .sharded.torch import SHARDED
from .stages import Operations

# Variants set these variables in a worker before it imports this module.
if "LOGITLAB_FLUSH_SUBNORMALS" in os.environ:
    torch.set_flush_denormal(True)
if "LOGITLAB_MATMUL_PRECISION" in os.environ:
    torch.set_float32_matmul_precision(os.environ["LOGITLAB_MATMUL_PRECISION"])


def _formula(name: str, loss: Loss, probabilities: Loss | None) -> Implementation:
    return Implementation(f"torch/{name}", name, loss, "torch", probabilities, modes=MODES, plain_modes=PLAIN_MODES)


# --- compiled with Inductor: a program for each shape, cached on disk --------------------------------------------


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, compiled separately for each shape, dtype and set of options.

    Calls of the function raise Inductor's errors, such as a missing C++ compiler.
    """
    _set_up_compiler()
    # Not dynamic: a program for symbolic shapes may depend on the first shapes and so on the order of calls. A full
    # graph, since code that cannot be compiled would otherwise silently run eagerly.
    program: Callable[..., Any] = torch.compile(function, fullgraph=True, dynamic=False)
    return program


@cache
def _set_up_compiler() -> None:
    folder = program_folder("torch")
    if folder is not None:
        # Set before the imports, which otherwise set it to another folder.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    # These imports take seconds, and eager calls do not need them.
    import torch._dynamo.config as dynamo  # noqa: PLC0415
    import torch._inductor.config as inductor  # noqa: PLC0415

    # By default Dynamo gives up after 8 shapes.
    dynamo.cache_size_limit = dynamo.accumulated_cache_size_limit = 2**20
    # Programs are compiled one by one, so a pool of compiler processes would only wait.
    inductor.compile_threads = 1
    if folder is None:
        inductor.force_disable_caches = True


@cache
def _program(implementation: Implementation, reduction: str, mode: str) -> Callable[..., Tensor]:
    """Return a function of logits, targets and options that computes loss and reduction together, as training does."""

    def forward(logits: Tensor, targets: Tensor, options: Mapping[str, Any]) -> Tensor:
        if implementation.reduces:
            loss = implementation.loss(logits, targets, reduction=reduction, **options)
        else:
            loss = TorchFramework.reduce(implementation.loss(logits, targets, **options), reduction)
        return loss.reshape(-1) if reduction == "none" else loss

    return compiled(forward) if mode == "compiled" else forward


# --- differentiated and trained ---------------------------------------------------------------------------------


class TorchAutograd(Autograd):
    """Differentiation by `torch.autograd.grad`."""

    def forward(self, loss: Loss, logits: Array, targets: Array, *, repeatedly: bool) -> tuple[Array, Pull]:
        logits.requires_grad_()
        rows = loss(logits, targets)

        def pull(upstream: Array | None) -> Array:
            given = torch.ones_like(rows) if upstream is None else upstream
            return torch.autograd.grad(rows, logits, given, retain_graph=repeatedly)[0]

        return rows, pull

    def spread(self, rows: Array, number: float) -> Array:
        return torch.full((), number, dtype=rows.dtype, device=rows.device).expand(rows.shape)

    def untracked(self, loss: Loss, logits: Array, targets: Array) -> Array:
        with torch.no_grad():
            return loss(logits, targets)


def step(
    implementation: Implementation, weights: tuple[Tensor, ...], images: Tensor, labels: Tensor, rate: Tensor
) -> Step:
    """Return one step of gradient descent in eager mode."""
    leaves = tuple(w.detach().requires_grad_() for w in weights)
    *hidden, (last, last_bias) = zip(leaves[::2], leaves[1::2], strict=True)
    x = images
    for w, b in hidden:
        x = torch.relu(x @ w + b)
    logits = x @ last + last_bias
    if implementation.reduces:
        loss: Tensor = implementation.loss(logits, labels, reduction="mean")
    else:
        loss = at_least_float32(implementation.loss(logits, labels)).mean().to(logits.dtype)
    gradient = torch.autograd.grad(loss, leaves)
    new = tuple(w - rate * g for w, g in zip(weights, gradient, strict=True))
    return Step(new, loss.detach(), gradient, logits.detach())


class TorchFramework(Framework):
    """PyTorch, on the CPU and the accelerator it finds."""

    name = "torch"
    implementations: tuple[Implementation, ...] = (
        _formula(
            "naive",
            with_options(naive, naive_logsumexp, torch.tanh),
            of_transformed(naive_probabilities, torch.tanh),
        ),
        _formula("lse", with_options(lse, lse_logsumexp, torch.tanh), None),
        _formula("log1p", log1p, log1p_probabilities),
        *BUILTINS,
        *SHARDED,
        *WILD,
    )
    linear_implementations = linear.implementations({name: i.loss for name, i in written(implementations).items()})
    autograd = TorchAutograd()
    linear_autograd = linear.AUTOGRAD
    transformed = TRANSFORMED
    # With one thread sums have the same order on any number of cores, and matrices this small need no second thread.
    training: Training | None = Training(
        step, ("torch/naive", "torch/lse", "torch/F.cross_entropy"), prepare=lambda: torch.set_num_threads(1)
    )
    # `explain` traces the formulas with these operations, in the order in which the backward pass rounds.
    operations = Operations(
        exp=torch.exp,
        log=torch.log,
        log1p=torch.log1p,
        where=torch.where,
        zeros_like=torch.zeros_like,
        max=lambda x: x.amax(dim=1, keepdim=True),
        sum=lambda x: x.sum(dim=1, keepdim=True),
        sum_slopes=lambda x: x.sum(dim=1, keepdim=True),
        argmax=lambda x: x.argmax(dim=1),
        pick=pick,
        onehot=onehot,
        at_least_float32=at_least_float32,
        cast=lambda x, like: x.to(like.dtype),
        quotient_slope=lambda d, e, s, p: -d * (p / s),
        quotient_text="-dp * (p / s)",
        share=lambda d, x, m: d * (x == m) / (x == m).sum(dim=1, keepdim=True),
    )
    syntax = SYNTAX

    def settings(self) -> Mapping[str, str]:
        onednn = torch.backends.mkldnn
        known = {
            "threads": str(torch.get_num_threads()),
            "vector instructions": torch.backends.cpu.get_cpu_capability(),
            "oneDNN": "on" if onednn.is_available() and onednn.enabled else "off",
            "default dtype": str(torch.get_default_dtype()).removeprefix("torch."),
            "float32 matmul precision": torch.get_float32_matmul_precision(),
            "subnormals": "kept" if (torch.tensor(torch.finfo(torch.float32).tiny) / 2).item() else "flushed to zero",
        }
        if torch.cuda.is_available():
            known["accelerator"] = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
        return known

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def devices(self) -> tuple[str, ...]:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return ("cpu",) if accelerator is None else ("cpu", accelerator.type)

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        x = self.to_array(batch.in_memory(), device)
        t = self.to_array(batch.targets.copy(), device)
        options = self.keywords(batch.options, device)
        if implementation.probabilities is not None:
            probabilities = self.in_mode(implementation.probabilities, mode)
            yield "probabilities", self.to_numpy(probabilities(x, **batch.logit_options))
        x.requires_grad_()
        if mode == "compiled":
            # An eager call on an empty batch raises PyTorch's own message for unsupported input; Dynamo would wrap it.
            none = batch.spatial(x[:0], t[:0], implementation.class_axis)
            _program(implementation, batch.reduction, "eager")(*none, options)
        shaped = batch.spatial(x, t, implementation.class_axis)
        loss = _program(implementation, batch.reduction, mode)(*shaped, options)
        yield "loss", self.to_numpy(loss)
        if implementation.differentiable:
            (gradient,) = torch.autograd.grad(loss, x, torch.ones_like(loss))
            yield "gradient", self.to_numpy(gradient)

    def evaluate_linear(
        self, implementation: Implementation, batch: LinearBatch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        for quantity, tensor in linear.evaluate(implementation, batch, lambda array: self.to_array(array, device)):
            yield quantity, self.to_numpy(tensor)

    def unsupported(self, error: Exception) -> bool:
        # PyTorch raises '"log_softmax" not implemented for ...' as a NotImplementedError or a RuntimeError. For int32
        # targets its message says that it expected Long.
        words = (
            "not implemented for",
            "expected target dtype",
            "expected scalar type Long",
            "Expected dtype int64",
            "Backwards requires embeddings",
        )
        return isinstance(error, NotImplementedError) or any(w in str(error) for w in words)

    def enter_mode(self, mode: str) -> None:
        if mode == INTERPRETED:
            interpret_triton()

    def in_mode(self, loss: Loss, mode: str) -> Loss:
        return compiled(loss) if mode == "compiled" else loss

    def to_array(self, values: NDArray[Any], device: str) -> Tensor:
        return to_tensor(values, device)

    def to_numpy(self, array: Tensor) -> NDArray[Any]:
        return to_numpy(array)


FRAMEWORK = TorchFramework()
