"""The written formulas stage by stage: every intermediate value of the loss and of its backward pass.

Each formula is written once, in terms of a framework's operations. So each framework runs it in its own arithmetic, and
exact numbers can run it too. This module imports nothing else of LogitLab. The measured formulas are in the frameworks'
files; a test compares them with these, value by value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Array = Any


@dataclass(frozen=True)
class Operations:
    """The operations of a framework that its formulas are traced with. Arrays are the framework's own.

    Attributes:
        exp, log, log1p, where, zeros_like: as in NumPy.
        max, sum: over the classes, (B, C) to (B, 1).
        max_and_sum: (B, C) to the maximum and the sum of exponentials below it, computed together; None to use the
            operations for each.
        sum_slopes: the sum that a broadcast from (B, 1) to (B, C) becomes in the backward pass.
        argmax: (B, C) to (B,).
        pick, onehot: values (B, C) and classes (B,) to (B,); classes (B,) and an array (B, C) to zeros and ones (B, C).
        at_least_float32: widens float16 and bfloat16 to float32.
        cast: ``(x, like)`` to ``x`` in the dtype of ``like``.
        log_slope: ``(d, x)``, with a number ``d``, to the slope ``d / x`` that ``log(x)`` passes back.
        quotient_slope: ``(d, e, s, p)`` to the slope that ``p = e / s`` passes back to ``s``, before it is summed, in
            the order in which the framework's automatic differentiation multiplies.
        quotient_text: that order as a formula.
        share: ``(d, x, m)`` to the slope ``d`` (B, 1) of the maximum ``m``, shared among the logits equal to it.
        add_slopes: the gradient's three parts, from the shift, the maximum and the target logit, in the framework's
            order.
    """

    exp: Callable[[Array], Array]
    log: Callable[[Array], Array]
    log1p: Callable[[Array], Array]
    where: Callable[[Array, Array, Array], Array]
    zeros_like: Callable[[Array], Array]
    pick: Callable[[Array, Array], Array]
    onehot: Callable[[Array, Array], Array]
    at_least_float32: Callable[[Array], Array]
    quotient_slope: Callable[[Array, Array, Array, Array], Array]
    quotient_text: str
    share: Callable[[Array, Array, Array], Array]
    max: Callable[[Array], Array] = lambda x: x.max(axis=1, keepdims=True)
    sum: Callable[[Array], Array] = lambda x: x.sum(axis=1, keepdims=True)
    max_and_sum: Callable[[Array], tuple[Array, Array]] | None = None
    sum_slopes: Callable[[Array], Array] = lambda x: x.sum(axis=1, keepdims=True)
    argmax: Callable[[Array], Array] = lambda x: x.argmax(axis=1)
    cast: Callable[[Array, Array], Array] = lambda x, like: x.astype(like.dtype)
    log_slope: Callable[[float, Array], Array] = lambda d, x: d / x
    add_slopes: Callable[[Array, Array, Array], Array] = lambda shift, at_max, target: -target + shift + at_max


@dataclass(frozen=True, eq=False)
class Stage:
    """One intermediate value.

    Attributes:
        direction: ``forward`` or ``backward``.
        name: the operation in a word or two.
        symbol: the name of the value in later stages.
        text: the formula, in terms of earlier symbols.
        operation: ``exp``, ``log``, ``/``, ...; it decides which rule of the format can break.
        operands: the symbols or numbers that it is applied to.
        value: (B, C), or (B, 1), or (B,) for the loss.
    """

    direction: str
    name: str
    symbol: str
    text: str
    operation: str
    operands: tuple[str, ...]
    value: Array

    @classmethod
    def of_quantity(cls, quantity: str, value: Array) -> Stage:
        """Return a quantity as a stage, without the stages that lead to it."""
        return Stage(
            "backward" if quantity.startswith("gradient") else "forward", quantity, quantity, "", "call", (), value
        )


Stages = Iterator[Stage]


def naive(o: Operations, x: Array, t: Array) -> Stages:
    """Yield the stages of softmax and log, then of their backward pass."""
    e = o.exp(x)
    yield Stage("forward", "exp", "e", "exp(x)", "exp", ("x",), e)
    s = o.sum(e)
    yield Stage("forward", "sum", "s", "sum(e)", "sum", ("e",), s)
    p = e / s
    yield Stage("forward", "divide", "p", "e / s", "/", ("e", "s"), p)
    q = o.pick(p, t)[:, None]
    yield Stage("forward", "pick", "q", "p[target]", "pick", ("p",), q)
    log_q = o.log(q)
    yield Stage("forward", "log", "l", "log(q)", "log", ("q",), log_q)
    yield Stage("forward", "loss", "loss", "-l", "negate", ("l",), -log_q[:, 0])
    d_q = o.log_slope(-1, q)
    yield Stage("backward", "slope of log", "dq", "-1 / q", "/", ("-1", "q"), d_q)
    # Not a one-hot times the slope: 0 times an infinite slope is NaN, which differentiating a pick does not give.
    d_p = o.where(o.onehot(t, p) == 1, d_q, o.zeros_like(p))
    yield Stage("backward", "unpick", "dp", "dq at target", "pick", ("dq",), d_p)
    d_u = d_p / s
    yield Stage("backward", "slope to e", "du", "dp / s", "/", ("dp", "s"), d_u)
    d_w = o.quotient_slope(d_p, e, s, p)
    yield Stage("backward", "slope to s", "dw", o.quotient_text, "quotient", ("dp", "e", "s", "p"), d_w)
    d_s = o.sum_slopes(d_w)
    yield Stage("backward", "sum slope", "ds", "sum(dw)", "sum", ("dw",), d_s)
    d_e = d_u + d_s
    yield Stage("backward", "add", "de", "du + ds", "+", ("du", "ds"), d_e)
    yield Stage("backward", "gradient", "g", "de * e", "*", ("de", "e"), d_e * e)


def lse(o: Operations, x: Array, t: Array) -> Stages:
    """Yield the stages of: shift by the maximum, add it back, subtract the unshifted target logit."""
    m = o.max(x)
    yield Stage("forward", "max", "m", "max(x)", "max", ("x",), m)
    z = x - m
    yield Stage("forward", "shift", "z", "x - m", "-", ("x", "m"), z)
    e = o.exp(z)
    yield Stage("forward", "exp", "e", "exp(z)", "exp", ("z",), e)
    s = o.sum(e)
    yield Stage("forward", "sum", "s", "sum(e)", "sum", ("e",), s)
    log_s = o.log(s)
    yield Stage("forward", "log", "l", "log(s)", "log", ("s",), log_s)
    a = m + log_s
    yield Stage("forward", "add max", "a", "m + l", "+", ("m", "l"), a)
    y = o.pick(x, t)[:, None]
    yield Stage("forward", "pick", "y", "x[target]", "pick", ("x",), y)
    yield Stage("forward", "loss", "loss", "a - y", "-", ("a", "y"), (a - y)[:, 0])
    d_s = o.log_slope(1, s)
    yield Stage("backward", "slope of log", "ds", "1 / s", "/", ("1", "s"), d_s)
    d_z = d_s * e
    yield Stage("backward", "slope of exp", "dz", "ds * e", "*", ("ds", "e"), d_z)
    n = o.sum_slopes(d_z)
    yield Stage("backward", "sum slope", "n", "sum(dz)", "sum", ("dz",), n)
    d_m = 1 - n
    yield Stage("backward", "slope of max", "dm", "1 - n", "-", ("1", "n"), d_m)
    h = o.share(d_m, x, m)
    yield Stage("backward", "share max", "h", "dm at max", "share", ("dm",), h)
    g = o.add_slopes(d_z, h, o.onehot(t, x))
    yield Stage("backward", "gradient", "g", "dz + h - 1[target]", "+", ("dz", "h"), g)


# Exponentials are computed as 2^64 exp(x - m), the square of 2^32 exp((x - m) / 2). If subnormals are flushed to zero,
# unscaled terms could vanish although their sum is a normal number. The maximum's term is exactly SCALE. The sum
# without it is that of the other classes, or NaN if the row has a NaN.
HALF_SCALE = 2.0**32
SCALE = HALF_SCALE**2


def log1p(o: Operations, logits: Array, t: Array) -> Stages:
    """Yield the stages of log1p of the sum without the maximum's term, with exponentials scaled by 2^64."""
    x = o.at_least_float32(logits)
    i = o.argmax(x)
    m = o.pick(x, i)[:, None]
    yield Stage("forward", "max", "m", "max(x)", "max", ("x",), m)
    z = (x - m) / 2
    yield Stage("forward", "shift", "z", "(x - m) / 2", "-", ("x", "m"), z)
    v = (HALF_SCALE * o.exp(z)) ** 2
    yield Stage("forward", "exp", "v", "(2^32 exp(z))^2", "exp", ("z",), v)
    r = o.sum(v - SCALE * o.onehot(i, x)) / SCALE
    yield Stage("forward", "sum", "r", "sum(v but max) / 2^64", "sum", ("v",), r)
    log_s = o.log1p(r)
    yield Stage("forward", "log1p", "l", "log1p(r)", "log1p", ("r",), log_s)
    y = o.pick(x, t)[:, None]
    yield Stage("forward", "pick", "y", "x[target]", "pick", ("x",), y)
    gap = m - y
    yield Stage("forward", "gap", "d", "m - y", "-", ("m", "y"), gap)
    yield Stage("forward", "loss", "loss", "l + d", "+", ("l", "d"), o.cast(log_s + gap, logits)[:, 0])
    e = v / SCALE
    yield Stage("backward", "unscale", "e", "v / 2^64", "/", ("v", "2^64"), e)
    total = 1 + r
    yield Stage("backward", "total", "s", "1 + r", "+", ("1", "r"), total)
    # At the target p - 1 would cancel. It equals minus the share of the other classes, summed without the target.
    rest = o.where((t == i)[:, None], r, total - o.pick(e, t)[:, None])
    yield Stage("backward", "all but target", "w", "s - e[target]", "-", ("s", "e"), rest)
    g = o.where(o.onehot(t, e) == 1, -(rest / total), e / total)
    yield Stage("backward", "gradient", "g", "e / s, -w / s", "/", ("e", "s"), o.cast(g, logits))


FORMULAS: dict[str, Callable[[Operations, Array, Array], Stages]] = {"naive": naive, "lse": lse, "log1p": log1p}


def log1p_unscaled(o: Operations, x: Array, t: Array) -> Stages:
    """Yield the stages of log1p of the sum without the maximum's term, all of it in the dtype of the logits."""
    i = o.argmax(x)
    m = o.pick(x, i)[:, None]
    yield Stage("forward", "max", "m", "max(x)", "max", ("x",), m)
    z = x - m
    yield Stage("forward", "shift", "z", "x - m", "-", ("x", "m"), z)
    e = o.exp(z)
    yield Stage("forward", "exp", "e", "exp(z)", "exp", ("z",), e)
    r = o.sum(o.where(o.onehot(i, x) == 1, o.zeros_like(e), e))
    yield Stage("forward", "sum", "r", "sum(e but max)", "sum", ("e",), r)
    log_s = o.log1p(r)
    yield Stage("forward", "log1p", "l", "log1p(r)", "log1p", ("r",), log_s)
    y = o.pick(x, t)[:, None]
    yield Stage("forward", "pick", "y", "x[target]", "pick", ("x",), y)
    gap = m - y
    yield Stage("forward", "gap", "d", "m - y", "-", ("m", "y"), gap)
    yield Stage("forward", "loss", "loss", "l + d", "+", ("l", "d"), (log_s + gap)[:, 0])
    total = 1 + r
    yield Stage("backward", "total", "s", "1 + r", "+", ("1", "r"), total)
    p = e / total
    yield Stage("backward", "divide", "p", "e / s", "/", ("e", "s"), p)
    # At the target p - 1 would cancel. It equals minus the share of the other classes, summed without the target.
    rest = o.where((t == i)[:, None], r, total - o.pick(e, t)[:, None])
    yield Stage("backward", "all but target", "w", "s - e[target]", "-", ("s", "e"), rest)
    g = o.where(o.onehot(t, e) == 1, -(rest / total), p)
    yield Stage("backward", "gradient", "g", "p, -w / s", "/", ("e", "s"), g)


def online(o: Operations, x: Array, t: Array) -> Stages:
    """Yield the stages of the online softmax: a running maximum, and a sum that is rescaled when the maximum grows."""
    if o.max_and_sum is None:
        m = o.max(x)
        s = o.sum(o.exp(x - m))
    else:
        m, s = o.max_and_sum(x)
    yield Stage("forward", "max", "m", "max(x)", "max", ("x",), m)
    yield Stage("forward", "sum", "s", "sum(exp(x - m))", "sum", ("x", "m"), s)
    log_s = o.log(s)
    yield Stage("forward", "log", "l", "log(s)", "log", ("s",), log_s)
    a = m + log_s
    yield Stage("forward", "add max", "a", "m + l", "+", ("m", "l"), a)
    y = o.pick(x, t)[:, None]
    yield Stage("forward", "pick", "y", "x[target]", "pick", ("x",), y)
    yield Stage("forward", "loss", "loss", "a - y", "-", ("a", "y"), (a - y)[:, 0])
    z = x - m
    yield Stage("backward", "shift", "z", "x - m", "-", ("x", "m"), z)
    e = o.exp(z)
    yield Stage("backward", "exp", "e", "exp(z)", "exp", ("z",), e)
    p = e / s
    yield Stage("backward", "divide", "p", "e / s", "/", ("e", "s"), p)
    yield Stage("backward", "gradient", "g", "p - 1[target]", "-", ("p", "1"), p - o.onehot(t, x))


# The formulas by the name of their stages. All but the first three are those of simulated arithmetic.
TRACED = {**FORMULAS, "log1p_unscaled": log1p_unscaled, "online": online}
