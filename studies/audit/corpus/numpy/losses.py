"""NumPy losses and handwritten gradients with one defect each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import wrong_gradient, wrong_loss

Array = NDArray[Any]


def pick(x: Array, t: Array) -> Array:
    return np.take_along_axis(x, t[:, None], axis=1)[:, 0]


def onehot(t: Array, like: Array) -> Array:
    return (np.arange(like.shape[1]) == t[:, None]).astype(like.dtype)


def shift(x: Array) -> Array:
    """Returns C order: in another order NumPy adds one by one, which itself loses digits."""
    wide = np.ascontiguousarray(x.astype(np.promote_types(x.dtype, np.float32)))
    return wide - wide.max(axis=1, keepdims=True)


def shifted(x: Array, t: Array) -> Array:
    """Return the right loss."""
    s = shift(x)
    return (np.log(np.exp(s).sum(axis=1)) - pick(s, t)).astype(x.dtype)


def softmax(x: Array) -> Array:
    e = np.exp(shift(x))
    return e / e.sum(axis=1, keepdims=True)


# --- values -----------------------------------------------------------------------------------------------------


@wrong_loss("float32", writes=True)
def shifts_in_place(x, t):
    """The maximum is subtracted from the caller's array."""
    x -= x.max(axis=1, keepdims=True)
    return shifted(x, t)


@wrong_loss("float32", shown_by="stagnation/float32_2049")
def added_one_by_one(x, t):
    """The sum runs along the first axis of the transposed terms, where NumPy adds one by one."""
    s = shift(x)
    return np.log(np.exp(s).T.copy().sum(axis=0)) - pick(s, t)


@wrong_loss("float32")
def rows_as_they_lie_in_memory(x, t):
    """The logits are flattened in the order of their memory and cut into rows again."""
    return shifted(x.ravel(order="K").reshape(x.shape), t)


@wrong_loss("float32", shown_by="order/ramp_257")
def target_in_a_signed_byte(x, t):
    """Targets as int8: class 128 is the 128th from the end."""
    return shifted(x, t.astype(np.int8))


@wrong_loss("float32", how="called again")
def targets_made_one_based(x, t):
    """Targets are counted from 1 in the caller's array, and back again in a copy."""
    t += 1
    return shifted(x, (t - 1) % x.shape[1])


@wrong_loss("float32", "float16")
def fused_by_a_dot(x, t):
    """The target logit by a product with a one-hot matrix: 0 x -inf."""
    s = shift(x)
    return np.log(np.exp(s).sum(axis=1)) - (onehot(t, s) * s).sum(axis=1)


@wrong_loss("float32")
def nan_by_fmax(x, t):
    """fmax and nansum leave a NaN out."""
    s = x - np.fmax.reduce(x, axis=1, keepdims=True)
    return np.log(np.nansum(np.exp(s), axis=1)) - pick(s, t)


@wrong_loss("float32")
def infinities_are_numbers(x, t):
    """nan_to_num makes large numbers of infinities."""
    return np.nan_to_num(shifted(x, t), nan=np.nan)


@wrong_loss("float32")
def rows_are_sorted(x, t):
    """Losses are returned in the order of their targets."""
    order = np.argsort(t, kind="stable")
    return shifted(x[order], t[order])


_out = np.zeros(1 << 17, np.float32)


@wrong_loss("float32")
def result_is_overwritten_by_the_next_call(x, t):
    """Every call returns the same memory."""
    _out[: len(x)] = shifted(x, t)
    return _out[: len(x)]


@wrong_loss("float64")
def float32_whatever_comes(x, t):
    """The terms are float32, even for float64 logits."""
    s = shift(x)
    return np.log(np.exp(s.astype(np.float32)).sum(axis=1)).astype(x.dtype) - pick(s, t)


@wrong_loss("float32")
def equal_logits_count_once(x, t):
    """The terms are those of the distinct logits."""
    s = np.sort(shift(x), axis=1)
    new = np.diff(s, axis=1, prepend=np.nan) != 0
    return np.log((np.exp(s) * new).sum(axis=1)) - pick(shift(x), t)


# --- gradients --------------------------------------------------------------------------------------------------


@wrong_gradient("float32", of=shifted)
def every_target_in_every_row(x, t):
    """g[:, t] -= 1, which subtracts at all rows' targets in each row."""
    g = softmax(x)
    g[:, t] -= 1
    return g.astype(x.dtype)


@wrong_gradient("float32", of=shifted)
def divided_by_the_batch(x, t):
    """The gradient of the mean."""
    return ((softmax(x) - onehot(t, x)) / max(len(x), 1)).astype(x.dtype)


@wrong_gradient("float32", of=shifted)
def written_row_after_row(x, t):
    """The gradient has the logits' memory order but is filled as if its rows were contiguous."""
    found = np.empty_like(x)
    memory = found.T if found.T.flags.c_contiguous else found
    memory[...] = (softmax(x) - onehot(t, x)).reshape(memory.shape)
    return found


@wrong_gradient("float32", of=shifted)
def exponentials_unshifted(x, t):
    """exp(x) over its sum, without a shift."""
    e = np.exp(x)
    return e / e.sum(axis=1, keepdims=True) - onehot(t, x)


@wrong_gradient("float32", "float64", of=shifted)
def rounded_normalizer(x, t):
    """exp(x - lse), where lse is rounded as the logits are."""
    m = x.max(axis=1, keepdims=True)
    return np.exp(x - (m + np.log(np.exp(x - m).sum(axis=1, keepdims=True)))) - onehot(t, x)


@wrong_gradient("float32", of=shifted)
def probabilities_in_half(x, t):
    """The probabilities go through float16."""
    return (softmax(x).astype(np.float16) - onehot(t, x)).astype(x.dtype)


@wrong_gradient("float32", of=shifted)
def nan_becomes_zero(x, t):
    """The gradient of a NaN row is 0."""
    return np.nan_to_num(softmax(x) - onehot(t, x)).astype(x.dtype)


@wrong_gradient("float32", of=shifted)
def small_entries_are_zero(x, t):
    """Entries below 1e-5 are dropped."""
    g = softmax(x) - onehot(t, x)
    return np.where(np.abs(g) < 1e-5, 0, g).astype(x.dtype)


_kept: dict[tuple[int, ...], Array] = {}


@wrong_gradient("float32", of=shifted)
def probabilities_by_shape(x, t):
    """The probabilities are kept by the logits' shape."""
    return (_kept.setdefault(x.shape, softmax(x)) - onehot(t, x)).astype(x.dtype)


def loss_that_keeps_its_probabilities(x, t):
    """Return the right loss; the gradient below belongs to it."""
    _latest[:] = [softmax(x)]
    return shifted(x, t)


_latest: list[Array] = []


@wrong_gradient("float32", of=loss_that_keeps_its_probabilities, how="another batch in between")
def probabilities_of_the_latest_call(x, t):
    """The gradient uses the probabilities of the latest call of the loss, which may be another batch's."""
    return (_latest[-1] - onehot(t, x)).astype(x.dtype)


@wrong_gradient("float32", of=shifted)
def second_of_two_ties(x, t):
    """The 1 is subtracted at the last class whose logit equals the target's."""
    at = x.shape[1] - 1 - (x[:, ::-1] == pick(x, t)[:, None]).argmax(axis=1)
    return (softmax(x) - onehot(at, x)).astype(x.dtype)
