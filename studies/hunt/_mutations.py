"""Mutations: small and large changes of rows of logits, many rows at once.

Each takes a generator, logits (k, C) in float64 and targets (k,), and returns both changed. They aim at the inputs
where formats and formulas break: neighbours, ties, masks, common offsets, and the thresholds of the dtype.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format, overflow, underflow_to_subnormal, underflow_to_zero
from ...core.rounding import round_to, ulp

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]
Rng = np.random.Generator
Changed = tuple[Float64, Index]
Mutation = Callable[[Rng, Float64, Index, Format], Changed]

ROUNDS = (0.5, 0.3, 0.2)  # the shares of children that are mutated once, twice and three times


def mutated(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Return children of rows (k, C), each mutated one to three times and rounded to the dtype."""
    x, t = x.copy(), t.copy()
    rounds = rng.choice(len(ROUNDS), size=len(x), p=ROUNDS) + 1
    for done in range(len(ROUNDS)):
        kinds = np.where(rounds > done, rng.choice(len(MUTATIONS), size=len(x), p=CHANCES), -1)
        for kind in np.unique(kinds[kinds >= 0]):
            rows = np.flatnonzero(kinds == kind)
            # `held` repairs overflow and NaN.
            with np.errstate(over="ignore", invalid="ignore"):
                x[rows], t[rows] = MUTATIONS[kind](rng, x[rows], t[rows], fmt)
        x = held(x, fmt)
    return x, t


def held(x: Float64, fmt: Format) -> Float64:
    """Return rows rounded to the dtype, without NaN or ``+inf``, and with a finite logit in each."""
    x = np.where(np.isnan(x), -np.inf, x)
    rounded = round_to(np.where(np.isfinite(x), np.clip(x, -fmt.largest, fmt.largest), 0.0), fmt)
    rounded = np.where(x == -np.inf, -np.inf, np.where(x == np.inf, fmt.largest, rounded))
    rounded[(rounded == -np.inf).all(axis=1), 0] = 0.0
    return rounded


def fitted(rng: Rng, x: Float64, target: int, classes: int) -> tuple[Float64, int]:
    """Return one row (C,) with classes removed or added; the target and the maximum stay."""
    if x.size == classes:
        return x, target
    if x.size > classes:
        order = rng.random(x.size)
        order[x.argmax()] = -1.0
        order[target] = -2.0
        kept = np.sort(np.argpartition(order, classes - 1)[:classes])
        return x[kept], int(np.searchsorted(kept, target))
    lacking = classes - x.size
    added = rng.choice(x, lacking)
    kind = rng.integers(4)
    if kind == 0:
        added = np.full(lacking, -np.inf)
    elif kind == 1:
        added = x.max() - _log_uniform(rng, lacking, -4.0, 9.0)
    elif kind == 2:
        added = np.full(lacking, x.max() - _log_uniform(rng, 1, -4.0, 9.0))
    return np.concatenate([x, added]), target


def fresh(rng: Rng, rows: int, classes: int) -> Changed:
    """Return normal rows of any scale, some with an offset, and random targets."""
    x = rng.standard_normal((rows, classes)) * _log_uniform(rng, (rows, 1), -8.0, 8.0)
    offset = _signs(rng, (rows, 1)) * _log_uniform(rng, (rows, 1), 0.0, 24.0)
    return x + np.where(rng.random((rows, 1)) < 0.3, offset, 0.0), rng.integers(classes, size=rows)


def _log_uniform(rng: Rng, shape: Any, low: float, high: float) -> Float64:
    drawn: Float64 = 2.0 ** rng.uniform(low, high, shape)
    return drawn


def _signs(rng: Rng, shape: Any) -> Float64:
    signs: Float64 = rng.choice([-1.0, 1.0], shape)
    return signs


def _some(rng: Rng, x: Float64) -> tuple[NDArray[np.intp], Index]:
    """Return an index that selects one class of each row."""
    return np.arange(len(x)), rng.integers(x.shape[1], size=len(x))


def _pick(rng: Rng, x: Float64, t: Index) -> Index:
    """Return a class of each row to change: the largest, the target, or a random one."""
    which = rng.integers(3, size=len(x))
    return np.where(which == 0, x.argmax(axis=1), np.where(which == 1, t, rng.integers(x.shape[1], size=len(x))))


def _largest(x: Float64) -> Float64:
    """Return the row maxima (k,); 0 for a row without one."""
    top = x.max(axis=1)
    return np.where(np.isfinite(top), top, 0.0)


def _steps(rng: Rng, rows: int) -> Float64:
    """Return random numbers of ulps, mostly small, of either sign."""
    return _signs(rng, rows) * np.floor(_log_uniform(rng, rows, 0.0, 6.0))


def _stepped(x: Float64, steps: Float64, fmt: Format) -> Float64:
    return x + steps * np.where(np.isfinite(x), ulp(x, fmt), 0.0)


# --- the mutations ----------------------------------------------------------------------------------------------


def nudge(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Change one logit by some ulps."""
    rows, j = np.arange(len(x)), _pick(rng, x, t)
    x[rows, j] = _stepped(x[rows, j], _steps(rng, len(x)), fmt)
    return x, t


def nudge_many(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Change about a third of the logits by an ulp."""
    return _stepped(x, rng.choice([-1.0, 0.0, 0.0, 0.0, 0.0, 1.0], size=x.shape), fmt), t


def move(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Change one logit by a step of any size."""
    rows, j = np.arange(len(x)), _pick(rng, x, t)
    x[rows, j] += _signs(rng, len(x)) * _log_uniform(rng, len(x), -float(fmt.precision), 8.0)
    return x, t


def scale(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Multiply all logits by a factor, often near 1."""
    spread = np.where(rng.random((len(x), 1)) < 0.5, 0.05, 2.0)
    return x * 2.0 ** (spread * rng.standard_normal((len(x), 1))), t


def shift(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Shift all logits by a constant: a random one, or the one that makes the maximum 0."""
    constant = _signs(rng, len(x)) * _log_uniform(rng, len(x), -4.0, fmt.precision + 8.0)
    return x + np.where(rng.random(len(x)) < 0.3, -_largest(x), constant)[:, None], t


def tie(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Make one logit equal or nearly equal to another."""
    rows, j = np.arange(len(x)), _pick(rng, x, t)
    to = rng.integers(x.shape[1], size=len(x))
    near = np.where(rng.random(len(x)) < 0.3, _steps(rng, len(x)), 0.0)
    x[rows, to] = _stepped(x[rows, j], near, fmt)
    return x, t


def fill(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Make all logits but two equal, at some distance below the maximum."""
    rows, j = np.arange(len(x)), x.argmax(axis=1)
    kept, at_target = x[rows, j], x[rows, t]
    x = np.repeat((_largest(x) - _log_uniform(rng, len(x), -4.0, 10.0))[:, None], x.shape[1], axis=1)
    x[rows, t] = at_target
    x[rows, j] = kept
    return x, t


def gap(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Put one logit at some distance from the maximum."""
    rows, j = _some(rng, x)
    x[rows, j] = _largest(x) - _log_uniform(rng, len(x), -float(fmt.precision), 10.0)
    return x, t


def threshold(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Put one logit, or its distance from the maximum, at or next to a threshold of the dtype."""
    rows, j = np.arange(len(x)), _pick(rng, x, t)
    at = rng.choice(_thresholds(fmt), size=len(x))
    base = np.where(rng.random(len(x)) < 0.5, _largest(x), 0.0)
    value = round_to(np.clip(base + at, -fmt.largest, fmt.largest), fmt)
    x[rows, j] = _stepped(value, np.where(rng.random(len(x)) < 0.5, _steps(rng, len(x)), 0.0), fmt)
    return x, t


def _thresholds(fmt: Format) -> Float64:
    """Return the thresholds: of exp's overflow and underflow, of a term lost beside 1, of odd numbers, and extremes."""
    alone = math.log(fmt.unit_roundoff)
    odd = min(2.0**fmt.precision, fmt.largest)
    exps = [overflow(fmt), underflow_to_subnormal(fmt), underflow_to_zero(fmt), alone, alone / 2, -alone]
    return np.array([*exps, 0.0, 1.0, -1.0, odd, -odd, fmt.largest, -fmt.largest, fmt.smallest_normal])


def mask(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Mask one class or a part of the classes, rarely the target."""
    share = np.where(rng.random((len(x), 1)) < 0.5, 0.0, rng.random((len(x), 1)))
    gone = rng.random(x.shape) < share
    rows, j = _some(rng, x)
    gone[rows, j] = True
    gone[rows, t] &= rng.random(len(x)) < 0.05
    return np.where(gone, -np.inf, x), t


def unmask(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Put the masked classes at some distance from the maximum."""
    value = _largest(x)[:, None] - _log_uniform(rng, x.shape, -4.0, 10.0)
    return np.where(x == -np.inf, value, x), t


def target(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Choose another class as target: the largest, the smallest, or a random one."""
    which = rng.integers(3, size=len(x))
    lowest = np.where(np.isfinite(x), x, np.inf).argmin(axis=1)
    chosen = [x.argmax(axis=1), lowest, rng.integers(x.shape[1], size=len(x))]
    return x, np.choose(which, chosen).astype(np.int64)


def cross(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Take a range of classes from another row."""
    mates = rng.permutation(len(x))
    ends = np.sort(rng.integers(x.shape[1] + 1, size=(len(x), 2)), axis=1)
    inside = (np.arange(x.shape[1]) >= ends[:, :1]) & (np.arange(x.shape[1]) < ends[:, 1:])
    return np.where(inside, x[mates], x), t


def between(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Move each logit half way to that of another row."""
    other = x[rng.permutation(len(x))]
    return x / 2 + other / 2, t


def shuffle(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Permute the classes."""
    order = rng.permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)
    return np.take_along_axis(x, order, axis=1), (order == t[:, None]).argmax(axis=1).astype(np.int64)


def anew(rng: Rng, x: Float64, t: Index, fmt: Format) -> Changed:
    """Replace one logit by a random number of any size."""
    rows, j = _some(rng, x)
    x[rows, j] = _signs(rng, len(x)) * _log_uniform(rng, len(x), -10.0, 10.0)
    return x, t


_WEIGHTED: Sequence[tuple[Mutation, int]] = (
    (nudge, 4), (nudge_many, 2), (move, 4), (scale, 3), (shift, 2), (tie, 3), (fill, 1), (gap, 2), (threshold, 3),
    (mask, 1), (unmask, 1), (target, 2), (cross, 2), (between, 1), (shuffle, 1), (anew, 1),
)  # fmt: skip
MUTATIONS: Sequence[Mutation] = [mutation for mutation, _ in _WEIGHTED]
CHANCES = np.array([w for _, w in _WEIGHTED]) / sum(w for _, w in _WEIGHTED)
