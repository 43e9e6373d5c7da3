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
from ._model_options import (
    cap_slopes,
    gap,
    half_gaps,
    log1p_logsumexp,
    of_transformed,
    squared,
    transformed,
    with_options,
)
from ._training import at_least_float32
from .linear import LinearBatch, written
from .linear import numpy as linear
from .stages import HALF_SCALE, SCALE, Operations

Array = NDArray[Any]


def pick(values: Array, targets: Array) -> Array:
    return np.take_along_axis(values, targets[:, None], axis=1)[:, 0]


def onehot(indices: Array, like: Array) -> Array:
    return (np.arange(like.shape[1]) == indices[:, None]).astype(like.dtype)


# --- naive: softmax, then log -----------------------------------------------------------------------------------


def naive_probabilities(logits: Array) -> Array:
    e = np.exp(logits)
    return e / e.sum(axis=1, keepdims=True)


def naive(logits: Array, targets: Array) -> Array:
    return -np.log(pick(naive_probabilities(logits), targets))


def naive_logsumexp(logits: Array) -> Array:
    return np.log(np.exp(logits).sum(axis=1))


def naive_gradient(logits: Array, targets: Array) -> Array:
    e = np.exp(logits)
    s = e.sum(axis=1, keepdims=True)
    p = e / s
    # Not a one-hot times the slope: 0 times an infinite slope is NaN, which differentiating a pick does not give.
    d_p = np.where(onehot(targets, p) == 1, (-1 / pick(p, targets))[:, None], p.dtype.type(0))
    d_s = (-d_p * p / s).sum(axis=1, keepdims=True)
    d_e = d_p / s + d_s
    return d_e * e


# --- lse: shift by the maximum, add it back, subtract the unshifted target logit --------------------------------


def lse(logits: Array, targets: Array) -> Array:
    m = logits.max(axis=1, keepdims=True)
    s = np.exp(logits - m).sum(axis=1)
    return m[:, 0] + np.log(s) - pick(logits, targets)


def lse_logsumexp(logits: Array) -> Array:
    m = logits.max(axis=1, keepdims=True)
    return m[:, 0] + np.log(np.exp(logits - m).sum(axis=1))


def lse_logsumexp_gradient(logits: Array) -> Array:
    m = logits.max(axis=1, keepdims=True)
    e = np.exp(logits - m)
    s = e.sum(axis=1, keepdims=True)
    d_shifted = e * (1 / s)
    d_m = 1 - d_shifted.sum(axis=1, keepdims=True)
    is_max = (logits == m).astype(logits.dtype)
    return d_shifted + d_m * (is_max / is_max.sum(axis=1, keepdims=True))


def lse_gradient(logits: Array, targets: Array) -> Array:
    return lse_logsumexp_gradient(logits) - onehot(targets, logits)


# --- the options of language models around naive and lse --------------------------------------------------------


def gradient_with_options(
    gradient: Callable[..., Array], logsumexp: Callable[..., Array], logsumexp_gradient: Callable[..., Array]
) -> Callable[..., Array]:
    """Return the gradient with the options as keywords: the operations of `with_options`, reversed one by one."""

    def with_respect_to_logits(
        logits: Array,
        targets: Array,
        softcap: float | None = None,
        logit_scale: float | None = None,
        z_loss: float = 0.0,
    ) -> Array:
        x = transformed(np.tanh, logits, softcap, logit_scale)
        d = gradient(x, targets)
        if z_loss:
            d = d + (z_loss * (2 * logsumexp(x)))[:, None] * logsumexp_gradient(x)
        if softcap is not None:
            t = np.tanh(transformed(np.tanh, logits, None, logit_scale) / softcap)
            d = d * softcap * (1 - t * t) / softcap
        return d if logit_scale is None else d * logit_scale

    return with_respect_to_logits


# --- log1p: the maximum's own term taken out of the sum ---------------------------------------------------------


def _log1p_terms(x: Array, scale: float | None) -> tuple[Array, Array, Array, Array]:
    i = x.argmax(axis=1)
    m = pick(x, i)
    scaled = (HALF_SCALE * np.exp(half_gaps(x, m[:, None], scale))) ** 2
    others = (scaled - SCALE * onehot(i, x)).sum(axis=1)
    return i, m, scaled / SCALE, others / SCALE


def _capped(logits: Array, softcap: float | None, logit_scale: float | None) -> tuple[Array, float | None, Any]:
    """Return what a scale is to be applied to, in at least float32; the scale; and the slopes of the logits."""
    z = at_least_float32(logits)
    if softcap is None:
        return z, logit_scale, logit_scale
    r = transformed(np.tanh, z, None, logit_scale) / softcap
    return np.tanh(r), softcap, cap_slopes(np.exp(-2 * np.abs(r)), logit_scale)


def log1p(
    logits: Array, targets: Array, softcap: float | None = None, logit_scale: float | None = None, z_loss: float = 0.0
) -> Array:
    x, scale, _ = _capped(logits, softcap, logit_scale)
    _, m, _, others = _log1p_terms(x, scale)
    rows = np.log1p(others) + gap(m, pick(x, targets), scale)
    if z_loss:
        rows = rows + squared(log1p_logsumexp(np.log1p(others), m, scale), z_loss)
    return rows.astype(logits.dtype)


def log1p_probabilities(logits: Array, softcap: float | None = None, logit_scale: float | None = None) -> Array:
    x, scale, _ = _capped(logits, softcap, logit_scale)
    _, _, e, others = _log1p_terms(x, scale)
    return (e / (1 + others)[:, None]).astype(logits.dtype)


def log1p_gradient(
    logits: Array, targets: Array, softcap: float | None = None, logit_scale: float | None = None, z_loss: float = 0.0
) -> Array:
    x, scale, slopes = _capped(logits, softcap, logit_scale)
    i, m, e, others = _log1p_terms(x, scale)
    total = 1 + others
    # At the target p - 1 would cancel. It equals minus the share of the other classes, summed without the target.
    rest = np.where(targets == i, others, total - pick(e, targets))
    at_target = onehot(targets, e) == 1
    gradient = np.where(at_target, -(rest / total)[:, None], e / total[:, None])
    if z_loss:
        pull = 2 * z_loss * log1p_logsumexp(np.log1p(others), m, scale)
        gradient = gradient + (pull / total)[:, None] * e
    return (gradient if slopes is None else gradient * slopes).astype(logits.dtype)


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
        _builtin("sklearn.metrics.log_loss", sklearn_log_loss, reduces=True, probabilities=scipy_probabilities),
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
