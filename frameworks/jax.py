"""JAX: the formulas written in it, its softmax functions and optax's losses."""

import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from importlib.util import find_spec
from typing import Any

# Set before the import. JAX would take three quarters of the accelerator's memory, which other frameworks may need.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from ..core.cache_folder import program_folder
from ._batch import Batch, Implementation
from ._framework import Autograd, Framework, Loss, Pull
from ._jax_lowering import forget_context, share_context
from ._jax_pallas import SOFTMAX
from ._jax_syntax import SYNTAX
from ._jax_transformed import TRANSFORMED
from ._training import Step, Training
from .formulas import of_transformed, with_options
from .formulas.jax import (
    at_least_float32,
    log1p,
    log1p_probabilities,
    lse,
    lse_logsumexp,
    naive,
    naive_logsumexp,
    naive_probabilities,
    onehot,
    pick,
)
from .linear import LinearBatch, written
from .linear import jax as linear
from .sharded.jax import SHARDED, is_indivisible, over_devices
from .stages import Operations

# Compiled programs are cached on disk, since JAX spends nearly all its time on the catalogue compiling small shapes.
_folder = program_folder("jax")
if _folder is not None and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    jax.config.update("jax_compilation_cache_dir", str(_folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


# --- built-in; optax is optional --------------------------------------------------------------------------------


# Users scale and cap the logits themselves, since the function has no such options. XLA fuses this into its loops.
def nn_log_softmax(logits: Array, targets: Array) -> Array:
    return -pick(jax.nn.log_softmax(logits, axis=1), targets)


def _logsumexp(logits: Array) -> Array:
    return jax.nn.logsumexp(logits, axis=1)


def nn_logsumexp(logits: Array, targets: Array) -> Array:
    return _logsumexp(logits) - pick(logits, targets)


def nn_softmax(logits: Array, targets: Array) -> Array:
    return -jnp.log(pick(jax.nn.softmax(logits, axis=1), targets))


def optax_integer_labels(logits: Array, targets: Array) -> Any:
    import optax  # noqa: PLC0415

    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def optax_one_hot(logits: Array, targets: Array, label_smoothing: float = 0.0) -> Any:
    import optax  # noqa: PLC0415

    return optax.softmax_cross_entropy(logits, _optax_labels(logits, targets, label_smoothing))


def optax_safe(logits: Array, targets: Array, label_smoothing: float = 0.0) -> Any:
    import optax  # noqa: PLC0415

    return optax.safe_softmax_cross_entropy(logits, _optax_labels(logits, targets, label_smoothing))


def _optax_labels(logits: Array, targets: Array, label_smoothing: float) -> Array:
    import optax  # noqa: PLC0415

    soft = jnp.issubdtype(targets.dtype, jnp.floating)
    labels = targets if soft else jax.nn.one_hot(targets, logits.shape[-1], dtype=logits.dtype)
    return optax.smooth_labels(labels, label_smoothing) if label_smoothing else labels


MODES = ("eager", "compiled")
ALL_MODES = (*MODES, "sharded")
# Of sharded logits, each device's program is compiled, with the collectives that it needs.
COMPILING = ("compiled", "sharded")


def _builtin(name: str, loss: Callable[..., Any], package: str, **more: Any) -> Implementation:
    axis = -1 if package == "optax" else None
    return Implementation(f"jax/{name}", "builtin", loss, package, class_axis=axis, modes=ALL_MODES, **more)


def _forward(implementation: Implementation, batch: Batch, logits: Array, targets: Array) -> Array:
    shaped = batch.spatial(logits, targets, implementation.class_axis)
    if implementation.reduces:
        value: Array = implementation.loss(*shaped, reduction=batch.reduction, **batch.options)
        # Keras does not reduce the losses of an empty batch; the sum of one number is that number.
        return value.reshape(-1) if batch.reduction == "none" else value.sum()
    rows: Array = implementation.loss(*shaped, **batch.options).reshape(-1)
    if batch.reduction != "none" and batch.filler:
        rows = jax.lax.slice_in_dim(rows, 0, len(rows) - batch.filler)
    return JaxFramework.reduce(rows, batch.reduction)


_programs: dict[Hashable, Callable[..., tuple[Array, Array]]] = {}


def _compiled(implementation: Implementation, batch: Batch) -> Callable[..., tuple[Array, Array]]:
    """Return a cached program that computes loss and gradient together, as a training step does."""
    key = implementation, batch.program_key
    if key not in _programs:
        _programs[key] = _program(implementation, batch.without_rows())
    return _programs[key]


def _program(implementation: Implementation, batch: Batch) -> Callable[..., tuple[Array, Array]]:
    def both(logits: Array, targets: Array) -> tuple[Array, Array]:
        value, pull = jax.vjp(lambda x: _forward(implementation, batch, x, targets), logits)
        (gradient,) = pull(jnp.ones_like(value))
        return value, jnp.asarray(gradient)

    return jax.jit(both)


def _place(device: str) -> Any:
    return next(d for d in [*jax.devices(), *jax.devices("cpu")] if _device_name(d.platform) == device)


def _device_name(platform: str) -> str:
    # JAX calls an NVIDIA device "gpu"; the table uses PyTorch's name for all frameworks.
    return {"gpu": "cuda"}.get(platform, platform)


class JaxAutograd(Autograd):
    """Differentiation by `jax.vjp`."""

    def forward(self, loss: Loss, logits: Array, targets: Array, *, repeatedly: bool) -> tuple[Array, Pull]:
        rows, pull = jax.vjp(lambda x: loss(x, targets), logits)
        return rows, lambda upstream: pull(jnp.ones_like(rows) if upstream is None else upstream)[0]

    def spread(self, rows: Array, number: float) -> Array:
        return jnp.full_like(rows, number)


@partial(jax.jit, static_argnums=0)
def step(implementation: Implementation, weights: tuple[Array, ...], images: Array, labels: Array, rate: Array) -> Step:
    """Return one step of gradient descent, compiled for each loss, model and dtype."""

    def mean_loss(weights: tuple[Array, ...]) -> tuple[Array, Array]:
        *hidden, (last, last_bias) = zip(weights[::2], weights[1::2], strict=True)
        x = images
        for w, b in hidden:
            x = jax.nn.relu(x @ w + b)
        logits = x @ last + last_bias
        return at_least_float32(implementation.loss(logits, labels)).mean().astype(logits.dtype), logits

    (loss, logits), gradient = jax.value_and_grad(mean_loss, has_aux=True)(weights)
    return Step(tuple(w - rate * g for w, g in zip(weights, gradient, strict=True)), loss, gradient, logits)


_TRAINED = "optax.softmax_cross_entropy_with_integer_labels" if find_spec("optax") else "nn.log_softmax"


class JaxFramework(Framework):
    """JAX with float64 enabled, on every platform it finds."""

    name = "jax"
    implementations: tuple[Implementation, ...] = (
        Implementation(
            "jax/naive",
            "naive",
            with_options(naive, naive_logsumexp, jnp.tanh),
            "jax",
            probabilities=of_transformed(naive_probabilities, jnp.tanh),
            modes=ALL_MODES,
        ),
        Implementation("jax/lse", "lse", with_options(lse, lse_logsumexp, jnp.tanh), "jax", modes=ALL_MODES),
        Implementation("jax/log1p", "log1p", log1p, "jax", probabilities=log1p_probabilities, modes=ALL_MODES),
        _builtin("nn.log_softmax", with_options(nn_log_softmax, _logsumexp, jnp.tanh), "jax"),
        _builtin("nn.logsumexp", nn_logsumexp, "jax"),
        _builtin("nn.softmax", nn_softmax, "jax", probabilities=jax.nn.softmax),
        _builtin("optax.softmax_cross_entropy", optax_one_hot, "optax", soft=True),
        _builtin("optax.softmax_cross_entropy_with_integer_labels", optax_integer_labels, "optax"),
        _builtin("optax.safe_softmax_cross_entropy", optax_safe, "optax", soft=True),
        SOFTMAX,
        *SHARDED,
    )
    linear_implementations = linear.implementations(
        {name: (name, "jax", i.loss) for name, i in written(implementations).items()}
        | {
            "nn.log_softmax": ("builtin", "jax", with_options(nn_log_softmax, _logsumexp, jnp.tanh)),
            "optax.softmax_cross_entropy_with_integer_labels": ("builtin", "optax", optax_integer_labels),
        }
    )
    autograd = JaxAutograd()
    linear_autograd = linear.AUTOGRAD
    transformed = TRANSFORMED
    strides = False
    training: Training | None = Training(step, ("jax/naive", "jax/lse", f"jax/{_TRAINED}"), "compiled")
    # `explain` traces the formulas with these operations, in the order in which the backward pass rounds.
    operations = Operations(
        exp=jnp.exp,
        log=jnp.log,
        log1p=jnp.log1p,
        where=jnp.where,
        zeros_like=jnp.zeros_like,
        # Not jnp.sum, which widens float16; the transpose of a broadcast does not widen.
        sum_slopes=lambda x: jax.lax.reduce(x, jnp.zeros((), x.dtype), jax.lax.add, (1,))[:, None],
        pick=pick,
        onehot=onehot,
        at_least_float32=at_least_float32,
        quotient_slope=lambda d, e, s, p: -(d * jax.lax.integer_pow(s, -2) * e),
        quotient_text="-(dp * s^-2 * e)",
        share=lambda d, x, m: d / (x == m).astype(x.dtype).sum(axis=1, keepdims=True) * (x == m),
    )
    syntax = SYNTAX

    def prepare(self) -> None:
        # By default JAX silently converts every float64 to float32.
        jax.config.update("jax_enable_x64", True)
        share_context()

    def fills_up(self, implementation: Implementation, batch: Batch, mode: str) -> bool:
        # In eager mode too, since each operation is a program for its shapes. A compiled reduction is not filled: XLA
        # would fuse it with the slice that drops the filler rows.
        return batch.reduction == "none" or (mode == "eager" and not implementation.reduces)

    def forget_programs(self) -> None:
        _programs.clear()
        linear.forget_programs()
        jax.clear_caches()
        forget_context()

    def as_users_call_it(self, dtype: np.dtype[Any]) -> AbstractContextManager[Any]:
        # 64-bit mode changes the dtype of constants. It is on only for float64, or if the user has enabled it.
        on = jax.config.jax_enable_x64  # type: ignore[attr-defined] # JAX declares its flags when it is imported
        return jax.enable_x64(on or dtype == np.float64)

    def compiles_shapes(self, mode: str) -> bool:
        return True  # in eager mode JAX compiles each operation

    def settings(self) -> Mapping[str, str]:
        half = (jnp.full((), jnp.finfo(jnp.float32).tiny, jnp.float32) / 2).item()
        known = {
            "x64": "on" if jax.config.values["jax_enable_x64"] else "off",
            "float32 matmul precision": jax.config.values["jax_default_matmul_precision"] or "default",
            "subnormals": "kept" if half else "flushed to zero",
        }
        kinds = sorted({d.device_kind for d in jax.devices() if d.platform != "cpu"})
        return known | ({"accelerator": ", ".join(kinds)} if kinds else {})

    def devices(self) -> tuple[str, ...]:
        found = [_device_name(d.platform) for d in jax.devices()]
        return tuple(dict.fromkeys(["cpu", *found]))

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        place = _place(device)
        with jax.default_device(place):
            x, t = jax.device_put((batch.in_memory(), batch.targets), place)
            if mode == "sharded":
                x, t = over_devices(x, t, place)
            if implementation.probabilities is not None:
                probabilities = self.in_mode(implementation.probabilities, mode)
                yield "probabilities", np.asarray(probabilities(x, **batch.logit_options))
            if not implementation.differentiable:
                yield "loss", np.asarray(_forward(implementation, batch, x, t))
                return
            if mode in COMPILING:
                loss, gradient = _compiled(implementation, batch)(x, t)
                yield "loss", np.asarray(loss)
            else:
                loss, pull = jax.vjp(lambda logits: _forward(implementation, batch, logits, t), x)
                yield "loss", np.asarray(loss)
                (gradient,) = pull(jnp.ones_like(loss))
            yield "gradient", np.asarray(gradient)

    def evaluate_linear(
        self, implementation: Implementation, batch: LinearBatch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        with jax.default_device(_place(device)):
            for quantity, array in linear.evaluate(implementation, batch, mode):
                yield quantity, np.asarray(array)

    def placed(self, device: str) -> AbstractContextManager[Any]:
        return jax.default_device(_place(device))

    def to_array(self, values: NDArray[Any], device: str) -> Array:
        return jax.device_put(values, _place(device))

    def in_mode(self, loss: Loss, mode: str) -> Loss:
        return jax.jit(loss) if mode in COMPILING else loss

    def unsupported(self, error: Exception) -> bool:
        return super().unsupported(error) or is_indivisible(error)


FRAMEWORK = JaxFramework()
