"""Which rule of the format a stage broke, and what would fix it.

A stage is looked at only where the row's loss or gradient came out wrong: an exponential that underflows in a sum, or
a shift of minus infinity whose exponential is rightly zero, does no harm and is no failure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ... import grading
from ...core.formats import FORMATS, Format, overflow, ulp, underflow_to_subnormal, underflow_to_zero
from ...core.vocabulary import SOUND
from .. import LOST_FROM
from .exact import ExactValues, short

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

SHIFT = "subtract the row maximum first"
LOG_OF_SUM = "take the logarithm of the sum instead of the probability"
LOG1P = "take the maximum's own term out of the sum: log1p(sum of the others)"
SHIFT_TARGET = "subtract the target logit from the maximum before adding: log(s) + (m - x[target])"
NO_QUOTIENT = "write the gradient as softmax minus one-hot instead of differentiating the quotient"
OTHERS = "at the target take minus the share of the others instead of p - 1"
WIDER = "compute in a wider dtype"
WIDE_SUM = "hold the sum in float32 or wider"


@dataclass(frozen=True)
class Broken:
    """``rule``: what the format did; ``fix``: what would have avoided it, None where an earlier stage is to blame."""

    rule: str
    fix: str | None


@dataclass(frozen=True, eq=False)
class Judged:
    """One stage of one row: computed values (E,) as float64, what they are, and the exact ones.

    The exact values are computed when they are asked for: ``answer`` gives them, and ``all_real`` tells beforehand
    that all are real numbers, as they are of a row of finite logits.
    """

    direction: str
    name: str
    symbol: str
    text: str
    operation: str
    operands: tuple[str, ...]
    values: Float64
    dtype: str
    answer: Callable[[], ExactValues]
    all_real: bool

    @cached_property
    def exact(self) -> ExactValues:
        return self.answer()

    @cached_property
    def finite(self) -> Mask:
        finite: Mask = np.isfinite(self.values)
        return finite

    @cached_property
    def error(self) -> Float64:
        """Absolute; infinite where the value is not of the exact value's kind, NaN where there is no exact value."""
        hi, lo, v = self.exact.hi, self.exact.lo, self.values
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.where(np.isfinite(v) & np.isfinite(hi), np.abs((v - hi) - lo), np.inf)
            same = ~self.exact.real & ((v == hi) | (np.isnan(v) & np.isnan(hi)))
            return np.where(self.exact.known, np.where(same, 0.0, apart), np.nan)

    @cached_property
    def relative(self) -> Float64:
        """The error relative to the exact value; 0 where that is zero or not a number of float64."""
        size = np.abs(self.exact.hi)
        with np.errstate(invalid="ignore", over="ignore"):
            return np.where((size > 0) & np.isfinite(size), self.error / np.where(size > 0, size, 1.0), 0.0)

    def max_ulp(self, fmt: Format) -> float:
        """The largest error in spacings of the format; NaN where there is no exact value."""
        with np.errstate(invalid="ignore", over="ignore"):
            spacing = np.where(np.isfinite(self.exact.hi), ulp(self.exact.hi, fmt, self.exact.lo), 1.0)
            errors: list[float] = (self.error / spacing)[self.exact.known].tolist()
        return max(errors, default=float("nan"))


@dataclass(frozen=True, eq=False)
class Row:
    """What the rules need to know of the row. Verdicts are those of `grading`, ``correct`` for no failure."""

    formula: str
    target: int
    logits: Float64
    fmt: Format
    loss: float
    loss_verdict: str
    gradient_verdict: str
    probabilities_verdict: str = "correct"

    @cached_property
    def wrong(self) -> dict[str, bool]:
        """Which pass ended wrong; the softmax by itself where loss and gradient are right all the same."""
        verdicts = {"forward": self.loss_verdict, "backward": self.gradient_verdict}
        judged = "undefined" not in verdicts.values()
        wrong = {direction: judged and verdict != "correct" for direction, verdict in verdicts.items()}
        alone = not any(wrong.values()) and self.probabilities_verdict not in SOUND
        return wrong | {"softmax": judged and alone}

    @cached_property
    def tolerance(self) -> float:
        """Grade B's bound for the loss, that of a row of one target."""
        size = self.loss if np.isfinite(self.loss) else 0.0
        row = grading.Row.of(self.logits.reshape(1, -1), np.ones(1))
        _, stable, _ = grading.loss_bounds(np.array([size]), row, self.fmt)
        return float(stable[0])


def broken(row: Row, stages: Sequence[Judged]) -> list[Broken | None]:
    """What broke at each stage of a written formula, None where nothing did."""
    if not any(row.wrong.values()):
        return [None] * len(stages)
    values = _values(row, stages)
    found = [_joined(_findings(row, s, stages, values)) for s in stages]
    for direction, verdict in (("forward", row.loss_verdict), ("backward", row.gradient_verdict)):
        told = any(b is not None for b, s in zip(found, stages, strict=True) if s.direction in ("forward", direction))
        if row.wrong[direction] and not told:
            last = max(i for i, s in enumerate(stages) if s.direction == direction)
            found[last] = _outcome(stages[last], verdict, row.fmt)
    return found


def first_broken(row: Row, stages: Sequence[Judged], paths: Mapping[str, Collection[str]]) -> dict[str, str]:
    """For each quantity the first stage that broke of those on its path, the quantity itself where none did.

    ``paths`` has the symbols that each quantity rests on. No stage is looked at after the last that is asked for.
    """
    values = _values(row, stages)
    # What the gradient alone has lost is no failure of the loss.
    of_loss = replace(row, gradient_verdict="correct")
    first: dict[str, str] = {}
    for stage in stages if any(row.wrong.values()) else ():
        for quantity in [q for q, path in paths.items() if q not in first and stage.symbol in path]:
            if any(_findings(of_loss if quantity == "loss" else row, stage, stages, values)):
                first[quantity] = stage.name
    return {q: first.get(q, q) for q in paths}


def _values(row: Row, stages: Sequence[Judged]) -> dict[str, Float64]:
    return {"x": row.logits} | {s.symbol: s.values for s in stages}


def outcome(stage: Judged, verdict: str, fmt: Format) -> Broken | None:
    """What is wrong with a quantity of a built-in, whose inside is not seen."""
    return None if verdict in SOUND else _outcome(stage, verdict, fmt)


def _outcome(stage: Judged, verdict: str, fmt: Format) -> Broken:
    size = np.nan_to_num(stage.error, nan=np.inf, posinf=np.inf)
    if verdict == "wrong_sign":
        # Not the largest error, but the largest entry on the other side of zero.
        size = np.where(np.sign(stage.values) * np.sign(stage.exact.hi) < 0, np.abs(stage.values), -1.0)
    j = int(size.argmax())
    got, exact = short(stage.values[j]), stage.exact.text(j)
    told = {
        "swallowed": f"{got} where the exact value is {exact}",
        "inaccurate": f"the error has grown to {stage.max_ulp(fmt):.3g} ulp",
        "lost": f"{got} has no digit of the exact value {exact}",
        "wrong_sign": f"{got} has the wrong sign, the exact value is {exact}",
    }
    return Broken(told.get(verdict, f"{got} where the exact value is {exact}"), None)


def _findings(row: Row, stage: Judged, stages: Sequence[Judged], values: Mapping[str, Float64]) -> Iterator[Broken]:
    """What broke at one stage; digits are looked at where nothing coarser is found."""
    found = False
    for rule in (_non_finite, _underflow):
        broke = rule(row, stage, values)
        if broke is not None:
            found = True
            yield broke
    if found:
        return
    if stage.direction == "forward":
        broke = _bad_sum(row, stage, stages)
        if broke is None and row.wrong["forward"]:
            broke = _forward_loss(row, stage, values)
        if broke is not None:
            yield broke
    # Of the forward stages only the exponentials go on into the gradient and can lose an entry of it.
    if row.wrong["backward"] and (stage.direction == "backward" or stage.operation == "exp"):
        broke = _gradient_loss(row, stage, stages)
        if broke is not None:
            yield broke


def _joined(found: Iterator[Broken]) -> Broken | None:
    told = list(found)
    if not told:
        return None
    fixes = dict.fromkeys(b.fix for b in told if b.fix is not None)
    return Broken("; ".join(b.rule for b in told), "; ".join(fixes) or None)


# --- infinities and NaN -----------------------------------------------------------------------------------------


def _not_finite(stage: Judged) -> Mask:
    """Entries that are not finite though the real number is, or that have no exact value."""
    if stage.finite.all():
        return ~stage.finite
    harmless = np.zeros_like(stage.finite)
    if stage.symbol == "z":
        # The exponential of so low a shift is zero all the same.
        harmless = (stage.values == -np.inf) & (stage.exact.hi < 2 * underflow_to_zero(FORMATS["float64"]))
    expected = np.ones_like(stage.finite) if stage.all_real else stage.exact.real | ~stage.exact.known
    return ~stage.finite & expected & ~harmless


def _non_finite(row: Row, stage: Judged, values: Mapping[str, Float64]) -> Broken | None:
    entries = _not_finite(stage)
    if not entries.any():
        return None
    size = stage.values.size
    if stage.operation == "sum":
        return _sum_rule(row, stage, values[stage.operands[0]])
    operands = [np.broadcast_to(_operand(o, values, row, size), size) for o in stage.operands]
    # An entry where it is born tells more than one that it has spread to, and NaN more than an infinity.
    spread = np.isnan(np.array(operands)).any(axis=0)
    order = [entries & ~spread & np.isnan(stage.values), entries & ~spread, entries]
    j = int(np.flatnonzero(next(m for m in order if m.any()))[0])
    return _ieee(row, stage, [float(o[j]) for o in operands], float(stage.values[j]))


def _operand(word: str, values: Mapping[str, Float64], row: Row, size: int) -> Float64:
    if word not in values:
        return np.array([2.0**64 if word == "2^64" else float(word)])
    found = values[word]
    return found if found.size in (1, size) else found[row.target : row.target + 1]


def _sum_rule(row: Row, stage: Judged, terms: Float64) -> Broken | None:
    name = stage.operands[0]
    if np.isnan(terms).any():
        return Broken(f"a sum with NaN is {short(stage.values[0])}", None)
    if np.isinf(terms).any():
        both = (terms == np.inf).any() and (terms == -np.inf).any()
        return Broken("inf - inf is NaN" if both else f"a sum with inf is {short(stage.values[0])}", None)
    rule = f"the sum of {terms.size} finite {name} overflows {row.fmt.name} above {row.fmt.largest:.4g}"
    return Broken(rule, _first_mend(row, stage))


def _first_mend(row: Row, stage: Judged) -> str:
    if stage.direction == "forward":
        return SHIFT if row.formula == "naive" else WIDER
    return NO_QUOTIENT if row.formula == "naive" else WIDER


def _ieee(row: Row, stage: Judged, operands: list[float], value: float) -> Broken | None:
    """The rule of IEEE 754 that made ``value`` of the operands at one entry; None for one that only passes it on."""
    if stage.operation in ("pick", "max", "share"):
        return None
    if stage.operation in ("exp", "log", "log1p", "negate"):
        return _function_rule(row, stage, operands[0], value)
    told = f"{_shown(stage, operands)} is {short(value)}"
    if np.isnan(operands).any():
        return Broken(told, None)
    by_zero = stage.operation == "/" and operands[1] == 0
    if np.isfinite(operands).all() and not by_zero:
        limit = FORMATS[stage.dtype].largest
        return Broken(f"{_shown(stage, operands)} overflows {stage.dtype} above {limit:.4g}", _first_mend(row, stage))
    # An infinity that came in is an earlier stage's; NaN is born here.
    return Broken(told, _first_mend(row, stage) if np.isnan(value) or by_zero else None)


def _function_rule(row: Row, stage: Judged, x: float, value: float) -> Broken:
    name = "-" if stage.operation == "negate" else stage.operation
    told = f"{name}({short(x)}) is {short(value)}"
    if stage.operation == "exp" and np.isfinite(x):
        limit = overflow(FORMATS[stage.dtype])
        return Broken(f"{told}: exp(x) overflows {stage.dtype} above {limit:.2f}", _first_mend(row, stage))
    return Broken(told, LOG_OF_SUM if stage.operation == "log" and x == 0 else None)


def _shown(stage: Judged, operands: Sequence[float]) -> str:
    """The operation with the numbers in it: ``inf / inf``."""
    if stage.operation == "quotient":
        known = zip(stage.operands, operands, strict=True)
        return f"{stage.text} with {', '.join(f'{symbol} = {short(o)}' for symbol, o in known)}"
    first, *rest = operands
    return f" {stage.operation} ".join([short(first), *(f"({short(o)})" if o < 0 else short(o) for o in rest)])


# --- underflow of what a logarithm is taken of ------------------------------------------------------------------


def _underflow(row: Row, stage: Judged, values: Mapping[str, Float64]) -> Broken | None:
    if row.formula != "naive" or not row.wrong["forward"] or stage.symbol not in ("e", "p"):
        return None
    j, value = row.target, float(stage.values[row.target])
    relative = max(float(stage.relative[j]), _blur(float(stage.exact.hi[j])))
    # d log(p) = dp / p: a relative error here is the loss's absolute one.
    off = value == 0 or relative > min(row.tolerance, LOST_FROM)
    nothing = not stage.exact.real[j] or stage.exact.text(j) == "0"
    if not off or not np.isfinite(value) or nothing:
        return None
    if not _small(stage, j):
        # The format could hold it: e / s as e * (1 / s), where 1 / s is subnormal and flushed to zero.
        told = f"{stage.text} is {short(value)} where it should be {stage.exact.text(j)}"
        return Broken(told, SHIFT) if relative >= LOST_FROM else None
    if stage.symbol == "e":
        return _exp_underflow(row, stage, j)
    fmt = FORMATS[stage.dtype]
    fate = "is zero" if value == 0 else "is subnormal, with few digits,"
    floor = fmt.smallest_subnormal / 2 if value == 0 else fmt.smallest_normal
    return Broken(f"e / s {fate} in {fmt.name} below {floor:.4g}", LOG_OF_SUM)


def _small(stage: Judged, j: int) -> bool:
    """Whether the exact value lies below the format's normal numbers."""
    return abs(float(stage.exact.hi[j])) < FORMATS[stage.dtype].smallest_normal


def _blur(exact: float) -> float:
    """How far off, relative to itself, an exact value is by being held as float64: much among the subnormals."""
    half_spacing = FORMATS["float64"].smallest_subnormal / (2 * abs(exact)) if exact else np.inf
    return float(half_spacing)


def _exp_underflow(row: Row, stage: Judged, j: int) -> Broken:
    """The exponential of an unshifted logit that is below the format's normal numbers."""
    fmt, value, x = FORMATS[stage.dtype], float(stage.values[j]), float(row.logits[j])
    fate = "is zero" if value == 0 else "is subnormal, with few digits,"
    gone = x < underflow_to_zero(fmt)
    if value == 0 and not gone:
        fate = "is subnormal and flushed to zero"
    limit = underflow_to_zero(fmt) if gone else underflow_to_subnormal(fmt)
    # Shifted up by the maximum the entry may be large enough; if it is far below, no shift keeps its probability.
    far = x - float(np.max(row.logits)) < underflow_to_subnormal(fmt)
    rule = f"exp({short(x)}) is {short(value)}: exp(x) {fate} in {fmt.name} below {limit:.2f}"
    return Broken(rule, LOG_OF_SUM if far else SHIFT)


# --- digits -----------------------------------------------------------------------------------------------------


def _forward_loss(row: Row, stage: Judged, values: Mapping[str, Float64]) -> Broken | None:
    """Digits lost on the way to a wrong loss."""
    # The loss itself only shows what was lost before it, and a shift's rounding is absorbed by its exponential.
    if stage.operation not in ("log", "log1p", "+", "-") or stage.symbol in ("z", "loss") or not stage.exact.real.all():
        return None
    error, relative = float(stage.error[0]), float(stage.relative[0])
    if stage.operation in ("log", "log1p"):
        operand = stage.operands[0]
        u, near = row.fmt.unit_roundoff, float(values[operand][0])
        if relative < LOST_FROM or abs(near - 1) > 8 * u:
            return None
        lost = "log(1) is 0" if near == 1 else "its log keeps no digit"
        return Broken(f"{operand} beside 1 is rounded by up to {u:.3g} in {row.fmt.name}, and {lost}", LOG1P)
    # A rounding as large as the loss itself leaves no digit of it, though it may lie within the tolerance.
    if error <= 0.5 * row.tolerance and not error >= LOST_FROM * row.loss > 0:
        return None
    spacing = float(ulp(stage.exact.hi, row.fmt, stage.exact.lo)[0])
    if stage.symbol == "a":
        return Broken(f"adding the maximum back rounds to a spacing of {spacing:.4g}", SHIFT_TARGET)
    return Broken(f"{stage.text} rounds to a spacing of {spacing:.4g}", WIDER)


def _bad_sum(row: Row, stage: Judged, stages: Sequence[Judged]) -> Broken | None:
    """A sum that is off by as much as the quantity that came out wrong allows, or as it is off itself."""
    if stage.operation != "sum" or not stage.finite.all():
        return None
    relative = float(stage.relative[0])
    # As for a probability: d log(s) = ds / s.
    off = row.wrong["forward"] and relative > row.tolerance
    # Divided by the sum, every probability and every entry of the gradient is off by as much as the sum.
    softmax = {"backward": stages[-1], "softmax": next((s for s in stages if s.symbol == "p"), stages[-1])}
    off |= any(row.wrong[q] and relative >= LOST_FROM * _worst(s, row.fmt) for q, s in softmax.items())
    if not off or relative <= row.fmt.unit_roundoff:
        return None
    told = f"{stage.text} is {short(stage.values[0])} where it should be {stage.exact.text(0)}"
    return Broken(told, WIDE_SUM)


def _worst(stage: Judged, fmt: Format) -> float:
    """The largest relative error of the entries in the format's normal range."""
    counted = np.abs(stage.exact.hi) >= fmt.smallest_normal
    return float(np.where(counted, stage.relative, 0.0).max())


def _gradient_loss(row: Row, stage: Judged, stages: Sequence[Judged]) -> Broken | None:
    """Digits lost on the way to a wrong gradient, in the entries that are wrong."""
    last = stages[-1]
    size = np.abs(last.exact.hi)
    wrong = (last.relative >= LOST_FROM) & (size >= row.fmt.smallest_normal)
    wrong |= (size == 0) & (last.error > row.fmt.unit_roundoff)
    watched = wrong if stage.values.size == wrong.size else np.full(stage.values.size, bool(wrong.any()))
    # What should be zero has no relative error.
    off = (stage.relative >= LOST_FROM) | ((stage.exact.hi == 0) & (stage.error > row.fmt.unit_roundoff))
    lost = watched & off & stage.finite & np.isfinite(stage.exact.hi)
    if not lost.any():
        return None
    j = int(np.flatnonzero(lost)[0])
    value, exact = float(stage.values[j]), stage.exact.text(j)
    if stage.operands == ("x",):
        return _exp_underflow(row, stage, j) if _small(stage, j) else None
    if stage.operation == "exp":
        return Broken(f"exp of the rounded shift is {short(value)} where it should be {exact}", WIDER)
    if stage.operation in ("+", "-"):
        return Broken(f"{stage.text} cancels to {short(value)} where it should be {exact}", OTHERS)
    if value == 0:
        return Broken(f"{stage.text} underflows to zero in {stage.dtype} where it should be {exact}", NO_QUOTIENT)
    return Broken(f"{stage.text} is {short(value)} where it should be {exact}", None)
