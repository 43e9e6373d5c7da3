"""NumPy: the formulas with their backward passes written out, and the losses of SciPy and scikit-learn.

The backward passes reverse the operations of the forward passes one by one, like automatic differentiation. So an
infinity or NaN of the forward pass spreads in the same way.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._batch import Batch, Implementation
from ._framework import Framework
from ._training import at_least_float32
from .formulas import of_transformed, with_options
from .formulas.numpy import (
    gradient_with_options,
    log1p,
    log1p_gradient,
    log1p_probabilities,
    lse,
    lse_gradient,
    lse_logsumexp,
    lse_logsumexp_gradient,
    naive,
    naive_gradient,
    naive_logsumexp,
    naive_probabilities,
    onehot,
    pick,
)
from .linear import LinearBatch, written
from .linear import numpy as linear
from .stages import Operations

Array = NDArray[Any]


# --- built-in; SciPy and scikit-learn are optional --------------------------------------------------------------


def scipy_log_softmax(logits: Array, targets: Array) -> Array:
    from scipy.special import log_softmax  # noqa: PLC0415

    return -pick(np.asarray(log_softmax(logits, axis=1)), targets)


def scipy_logsumexp(logits: Array, targets: Array) -> Array:
    from scipy.special import logsumexp  # noqa: PLC0415

    return np.asarray(logsumexp(logits, axis=1)) - pick(logits, targets)


def scipy_probabilities(logits: Array) -> Array:
    from scipy.special import softmax  # noqa: PLC0415

    return np.asarray(softmax(logits, axis=1))


def scipy_softmax(logits: Array, targets: Array) -> Array:
    return -np.log(pick(scipy_probabilities(logits), targets))


# log_loss takes probabilities, clips them to [eps, 1 - eps] of their dtype and returns one float64 number, in whatever
# dtype it computes.
def sklearn_log_loss(logits: Array, targets: Array, *, reduction: str) -> Array:
    from sklearn.metrics import log_loss  # noqa: PLC0415

    p, classes = scipy_probabilities(logits), np.arange(logits.shape[1])
    if reduction != "none":
        return np.asarray(log_loss(targets, p, labels=classes, normalize=reduction == "mean"))
    return np.array([log_loss(targets[i : i + 1], p[i : i + 1], labels=classes) for i in range(len(p))])


def _builtin(name: str, loss: Callable[..., Array], **more: Any) -> Implementation:
    package = name.split(".", maxsplit=1)[0]
    return Implementation(f"numpy/{name}", "builtin", loss, package, differentiable=False, **more)


def _reduce(rows: Array, reduction: str) -> Array:
    if reduction == "none":
        return rows
    total = at_least_float32(rows).sum()
    # Not numpy.mean, which warns about an empty batch.
    return np.asarray(total / total.dtype.type(len(rows)) if reduction == "mean" else total).astype(rows.dtype)


class NumpyFramework(Framework):
    """NumPy on the CPU, with bfloat16 from ml_dtypes."""

    name = "numpy"
    implementations = (
        Implementation(
            "numpy/naive",
            "naive",
            with_options(naive, naive_logsumexp, np.tanh),
            "numpy",
            of_transformed(naive_probabilities, np.tanh),
            gradient_with_options(naive_gradient, naive_logsumexp, naive_probabilities),
        ),
        Implementation(
            "numpy/lse",
            "lse",
            with_options(lse, lse_logsumexp, np.tanh),
            "numpy",
            gradient=gradient_with_options(lse_gradient, lse_logsumexp, lse_logsumexp_gradient),
        ),
        Implementation("numpy/log1p", "log1p", log1p, "numpy", log1p_probabilities, log1p_gradient),
        _builtin("scipy.special.log_softmax", scipy_log_softmax),
        _builtin("scipy.special.logsumexp", scipy_logsumexp),
        _builtin("scipy.special.softmax", scipy_softmax, probabilities=scipy_probabilities),
        _builtin(
            "sklearn.metrics.log_loss",
            sklearn_log_loss,
            reduces=True,
            row_by_row=True,
            probabilities=scipy_probabilities,
        ),
    )
    linear_implementations = linear.implementations(
        {name: (i.loss, i.gradient) for name, i in written(implementations).items() if i.gradient is not None}
    )
    # `explain` traces the formulas with these operations, in the order in which the backward pass rounds.
    operations = Operations(
        exp=np.exp,
        log=np.log,
        log1p=np.log1p,
        where=np.where,
        zeros_like=np.zeros_like,
        pick=pick,
        onehot=onehot,
        at_least_float32=at_least_float32,
        quotient_slope=lambda d, e, s, p: -d * p / s,
        quotient_text="-dp * p / s",
        share=lambda d, x, m: d * ((x == m).astype(x.dtype) / (x == m).astype(x.dtype).sum(axis=1, keepdims=True)),
        add_slopes=lambda shift, at_max, target: shift + at_max - target,
    )

    reduce = staticmethod(_reduce)

    def settings(self) -> Mapping[str, str]:
        config = np.show_config(mode="dicts")
        simd, half = config["SIMD Extensions"], np.finfo(np.float32).tiny / np.float32(2)
        return {
            "vector instructions": ", ".join([*simd["baseline"], *simd["found"]]),
            "subnormals": "kept" if half else "flushed to zero",
        }

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, Array]]:
        x = batch.in_memory()
        # A bfloat16 array times a Python float is float32.
        held: dict[str, Any] = {k: x.dtype.type(v) if isinstance(v, float) else v for k, v in batch.options.items()}
        with self.placed(device):
            if implementation.probabilities is not None:
                of_logits = {name: held[name] for name in batch.logit_options}
                yield "probabilities", implementation.probabilities(x, **of_logits)
            if implementation.reduces:
                yield "loss", implementation.loss(x, batch.targets, reduction=batch.reduction, **held)
            else:
                yield "loss", self.reduce(implementation.loss(x, batch.targets, **held), batch.reduction)
            if implementation.gradient is not None:
                gradient = implementation.gradient(x, batch.targets, **held)
                yield "gradient", gradient / gradient.dtype.type(len(gradient) if batch.reduction == "mean" else 1)

    def evaluate_linear(
        self, implementation: Implementation, batch: LinearBatch, device: str, mode: str
    ) -> Iterator[tuple[str, Array]]:
        with self.placed(device):
            yield from linear.evaluate(implementation, batch, self.reduce)

    def unsupported(self, error: Exception) -> bool:
        # NumPy raises the TypeError "ufunc 'xxx' not supported for the input types". scikit-learn requires two classes
        # and a row, and in compiled code arrays without gaps. Its error for a NaN is not listed here: it is a fault of
        # the row with the NaN.
        words = (
            "not supported for the input types",
            "needs to contain at least two labels",
            "Found array with 0 sample(s)",
            "is not C-contiguous",
        )
        return super().unsupported(error) or any(w in str(error) for w in words)


FRAMEWORK = NumpyFramework()
