"""JAX losses with one defect each, in the value or in the gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from .. import wrong_gradient, wrong_loss

INF = float("inf")


def pick(x: Array, t: Array) -> Array:
    return jnp.take_along_axis(x, t[:, None], axis=1)[:, 0]


def onehot(t: Array, like: Array) -> Array:
    return jax.nn.one_hot(t, like.shape[1], dtype=like.dtype)


def wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def shift(x: Array) -> Array:
    return wide(x) - lax.stop_gradient(wide(x).max(axis=1, keepdims=True))


def shifted(x: Array, t: Array) -> Array:
    """Return the right loss."""
    s = shift(x)
    return (jnp.log(jnp.exp(s).sum(axis=1)) - pick(s, t)).astype(x.dtype)


def slope(x: Array, t: Array, p: Array, upstream: Array) -> Array:
    """Return the right gradient."""
    return (p - onehot(t, p)) * upstream[:, None]


def _parts(value: Callable[..., Array], forward: Callable[..., Array], gradient: Callable[..., Array]) -> Any:
    """Return a custom_vjp of a value, the value of its forward rule, and a gradient."""
    loss = jax.custom_vjp(lambda x, t: value(x, t).astype(x.dtype))

    def rule(x: Array, t: Array) -> tuple[Array, tuple[Array, ...]]:
        return forward(x, t).astype(x.dtype), (x, t, jax.nn.softmax(shift(x), axis=1))

    def backward(kept: tuple[Array, ...], upstream: Array) -> tuple[Array, None]:
        return gradient(*kept, wide(upstream)).astype(upstream.dtype), None

    loss.defvjp(rule, backward)
    return loss


def value_alone(value: Callable[..., Array]) -> Callable[..., Array]:
    """Return a loss with these values and the right gradient."""
    return wraps(value)(_parts(value, value, slope))


def gradient_alone(gradient: Callable[..., Array]) -> Callable[..., Array]:
    """Return the right loss with a backward rule of logits, targets, probabilities and upstream (B,)."""
    loss = wraps(gradient)(_parts(shifted, shifted, gradient))
    loss.__wrapped__ = shifted  # it has the same signature
    return loss


# --- values -----------------------------------------------------------------------------------------------------


@wrong_loss("float32", seen="google-deepmind/optax#896", shown_by="masks/first")
def one_hot_times_log_softmax(x, t):
    """0 x -inf at a masked class."""
    return -(onehot(t, x) * jax.nn.log_softmax(x, axis=1)).sum(axis=1)


@wrong_loss("float32", shown_by="seed/article")
@value_alone
def slice_is_moved_back(x, t, block=2):
    """The last tile is cut with dynamic_slice, which moves it back into the row: some classes count twice."""
    s = shift(x)
    size = min(block, x.shape[1])
    parts = [lax.dynamic_slice_in_dim(s, i, size, axis=1) for i in range(0, x.shape[1], size)]
    return jnp.log(sum(jnp.exp(part).sum(axis=1) for part in parts)) - pick(s, t)


@wrong_loss("float32", shown_by="order/ramp_257")
@value_alone
def target_in_a_signed_byte(x, t):
    """Targets as int8: class 128 becomes -128, which silently counts from the end."""
    return shifted(x, t.astype(jnp.int8))


@wrong_loss("float16", "bfloat16", shown_by="stagnation/*_2049")
@value_alone
def sum_stays_in_the_dtype(x, t):
    """The sum is accumulated in the logits' dtype, which jnp.sum would not do."""
    terms = jnp.exp(shift(x)).astype(x.dtype)
    total = lax.fori_loop(0, x.shape[1], lambda j, s: s + terms[:, j], jnp.zeros_like(terms[:, 0]))
    return jnp.log(wide(total)) - pick(shift(x), t)


@wrong_loss("float32", shown_by="offset/10000")
@value_alone
def logits_of_reduced_precision(x, t):
    """The logits are rounded to 10 bits of mantissa, as a matrix unit leaves them."""
    return shifted(lax.reduce_precision(x, exponent_bits=8, mantissa_bits=10), t)


@wrong_loss("float64", shown_by="neighbours/float64_one")
def float32_whatever_comes(x, t):
    """The logits become float32, even from float64."""
    return shifted(x.astype(jnp.float32), t).astype(x.dtype)


@wrong_loss("bfloat16", seen="google-deepmind/optax#1020", shown_by="check/width_5")
def normalizer_in_the_dtype(x, t):
    """The log-sum-exp is rounded to bfloat16 before the target logit is subtracted."""
    return jax.nn.logsumexp(wide(x), axis=1).astype(x.dtype) - pick(x, t)


@wrong_loss("float32", "float64", shown_by="gap/50_low")
@value_alone
def probability_plus_epsilon(x, t):
    """log(p + 1e-12)."""
    return -jnp.log(jnp.exp(-shifted(x, t)) + 1e-12)


@wrong_loss("float32", shown_by="special/nan")
@value_alone
def maximum_without_nan(x, t):
    """NaN is treated as -inf."""
    return shifted(jnp.where(jnp.isnan(x), -INF, x), t)


@wrong_loss("float32", shown_by="gap/12_high")
@value_alone
def small_loss_is_zero(x, t):
    """Losses below 1e-4 are rounded to 0."""
    found = shifted(x, t)
    return jnp.where(found < 1e-4, 0.0, found)


def _primal_is_coarse() -> Any:
    return _parts(lambda x, t: shifted(x.astype(jnp.bfloat16).astype(x.dtype), t), shifted, slope)


@wrong_loss("float32", how="without its gradient", shown_by="check/width_5")
def primal_is_coarse(x, t, loss=_primal_is_coarse()):  # noqa: B008 - made once, as a decorated function is
    """The function computes in bfloat16, its forward rule does not: evaluation is worse than training."""
    return loss(x, t)


# --- gradients --------------------------------------------------------------------------------------------------


@wrong_gradient("float32", shown_by="masks/first")
def slope_behind_a_where(x, t):
    """The logarithm of a masked class's probability is selected away, but not its slope: 0 x inf."""
    p = jax.nn.softmax(x, axis=1)
    # Beyond float32's range of p the value is the right one: only the slope is meant to be wrong.
    chosen = -jnp.where(onehot(t, x) == 1, jnp.log(p), 0.0).sum(axis=1)
    return lax.stop_gradient(shifted(x, t)) + jnp.where(jnp.isfinite(chosen), chosen - lax.stop_gradient(chosen), 0.0)


@wrong_gradient("float32", shown_by="gap/5_low")
def normalizer_is_half_stopped(x, t):
    """The gradient is stopped at the shift and not at the maximum that is added back."""
    m = x.max(axis=1)
    s = x - lax.stop_gradient(m)[:, None]
    return jnp.log(jnp.exp(s).sum(axis=1)) - (pick(s, t) + lax.stop_gradient(m)) + m


@wrong_gradient("float32", shown_by="check/width_4")
@gradient_alone
def upstream_is_ignored(x, t, p, upstream):
    """The gradient ignores the upstream weights, as if each were 1."""
    return p - onehot(t, p)


@wrong_gradient("float32", shown_by="check/width_4")
@gradient_alone
def upstream_is_summed(x, t, p, upstream):
    """All rows use the mean of the upstream gradients."""
    return (p - onehot(t, p)) * upstream.mean()


@wrong_gradient("float32", shown_by="gap/12_high")
@gradient_alone
def residuals_in_bfloat16(x, t, p, upstream):
    """The probabilities are kept in bfloat16 for the backward rule."""
    return (p.astype(jnp.bfloat16).astype(p.dtype) - onehot(t, p)) * upstream[:, None]


@wrong_gradient("float32", "float64", shown_by="offset/10000")
@gradient_alone
def rounded_normalizer(x, t, p, upstream):
    """exp(x - lse), where lse is rounded as the logits are."""
    return (jnp.exp(x - jax.nn.logsumexp(x, axis=1, keepdims=True)) - onehot(t, p)) * upstream[:, None]


@wrong_gradient("float32", shown_by="order/ramp_257")
@gradient_alone
def target_counted_from_the_end(x, t, p, upstream):
    """The 1 is subtracted at an int8 index, which is negative beyond class 127."""
    return p.at[jnp.arange(len(t)), t.astype(jnp.int8).astype(t.dtype)].add(-1.0) * upstream[:, None]


@wrong_gradient("float32", shown_by="masks/on_target")
@gradient_alone
def masked_target_has_no_gradient(x, t, p, upstream):
    """A row of infinite loss gets a gradient of 0."""
    return jnp.where(pick(x, t)[:, None] == -INF, 0.0, slope(x, t, p, upstream))


@wrong_gradient("float32", shown_by="check/width_4")
@gradient_alone
def gradient_is_clipped(x, t, p, upstream):
    """Entries are clipped to a hundred."""
    return jnp.clip(slope(x, t, p, upstream), -100.0, 100.0)


@wrong_gradient("float32", shown_by="special/nan")
@gradient_alone
def nan_becomes_zero(x, t, p, upstream):
    """The gradient of a NaN row is 0."""
    return jnp.nan_to_num(slope(x, t, p, upstream))
