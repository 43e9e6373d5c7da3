"""The formulas that only simulated arithmetic has: log1p without a wider dtype inside, and the online softmax."""

from collections.abc import Callable

from ..stages import FORMULAS as WRITTEN
from ..stages import Stage, Stages
from ._array import OPERATIONS as O
from ._array import Rounded
from ._online import Classes, online_softmax


def log1p(x: Rounded, t: Classes) -> Stages:
    """Yield the stages of log1p of the sum without the maximum's term.

    The other frameworks compute it in at least float32, with scaled exponentials. Here all of it is in the format.
    """
    i = O.argmax(x)
    m = O.pick(x, i)[:, None]
    yield Stage("forward", "max", "m", "max(x)", "max", ("x",), m)
    z = x - m
    yield Stage("forward", "shift", "z", "x - m", "-", ("x", "m"), z)
    e = O.exp(z)
    yield Stage("forward", "exp", "e", "exp(z)", "exp", ("z",), e)
    r = O.sum(O.where(O.onehot(i, x) == 1, O.zeros_like(e), e))
    yield Stage("forward", "sum", "r", "sum(e but max)", "sum", ("e",), r)
    log_s = O.log1p(r)
    yield Stage("forward", "log1p", "l", "log1p(r)", "log1p", ("r",), log_s)
    gap = m - O.pick(x, t)[:, None]
    yield Stage("forward", "gap", "d", "m - x[target]", "-", ("m", "x"), gap)
    yield Stage("forward", "loss", "loss", "l + d", "+", ("l", "d"), (log_s + gap)[:, 0])
    total = 1 + r
    yield Stage("backward", "total", "s", "1 + r", "+", ("1", "r"), total)
    p = e / total
    yield Stage("backward", "divide", "p", "e / s", "/", ("e", "s"), p)
    # At the target p - 1 would cancel. It equals minus the share of the other classes, summed without the target.
    rest = O.where((t == i)[:, None], r, total - O.pick(e, t)[:, None])
    yield Stage("backward", "all but target", "w", "s - e[target]", "-", ("s", "e"), rest)
    g = O.where(O.onehot(t, e) == 1, -(rest / total), p)
    yield Stage("backward", "gradient", "g", "p, -w / s", "/", ("p", "w", "s"), g)


def online(x: Rounded, t: Classes) -> Stages:
    """Yield the stages of the online softmax: a running maximum, and a sum that is rescaled when it grows."""
    m, s = online_softmax(x)
    yield Stage("forward", "max", "m", "max(x)", "max", ("x",), m)
    yield Stage("forward", "sum", "s", "sum(exp(x - m)) by tiles", "sum", ("x", "m"), s)
    log_s = O.log(s)
    yield Stage("forward", "log", "l", "log(s)", "log", ("s",), log_s)
    a = m + log_s
    yield Stage("forward", "add max", "a", "m + l", "+", ("m", "l"), a)
    yield Stage("forward", "loss", "loss", "a - x[target]", "-", ("a", "x"), (a - O.pick(x, t)[:, None])[:, 0])
    p = O.exp(x - m) / s
    yield Stage("backward", "divide", "p", "exp(x - m) / s", "/", ("x", "m", "s"), p)
    yield Stage("backward", "gradient", "g", "p - 1[target]", "-", ("p",), p - O.onehot(t, x))


def _written(formula: str) -> Callable[[Rounded, Classes], Stages]:
    return lambda x, t: WRITTEN[formula](O, x, t)


FORMULAS: dict[str, Callable[[Rounded, Classes], Stages]] = {
    "naive": _written("naive"), "lse": _written("lse"), "log1p": log1p, "online": online,
}  # fmt: skip
# The formulas whose stages `explain` compares with exact ones; those of the others are not computed exactly.
TRACED = ("naive", "lse")
