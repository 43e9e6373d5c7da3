"""The thresholds of a dtype that a row of logits is near or past.

All values are compared on the scale of logarithms: ``x`` and ``x - max``, and the logarithm of a sum, a probability or
a loss. A value is *near* a threshold within one unit of it, or within one spacing of the dtype if that is larger. It is
*past* on the side where the event happens: an exponential overflows, or a sum loses its digits.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format, overflow, underflow_to_subnormal, underflow_to_zero
from ...core.rounding import round_to, ulp

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

LOGITS = ("x", "x - max")
COUNTED = 16  # a distance of at most this many spacings is shown in ulp


@dataclass(frozen=True)
class Threshold:
    """An ``event`` that happens to ``quantity`` above or below a limit; below ``floor`` the next event happens instead.

    ``quantity`` is ``x``, ``x - max``, ``p[target]``, ``sum`` (of the exponentials of x), ``others`` (the shifted sum
    without the maximum's term 1), ``loss`` or ``max|x|``. The limit is a logarithm.
    """

    quantity: str
    event: str
    limit: float
    above: bool
    floor: float = -math.inf


@dataclass(frozen=True)
class Approach:
    """How close a row comes to a threshold.

    Attributes:
        index: the class of the nearest value; None for a value of the whole row.
        value: the nearest value, as a logarithm; if none is near, the nearest of those past.
        near: whether that value is near.
        past: the number of the row's values past the threshold.
        ulps: for a logit ``x``, its distance in spacings from the dtype's number nearest to the limit; else NaN.
    """

    threshold: Threshold
    index: int | None
    value: float
    near: bool
    past: int
    ulps: float

    @property
    def wording(self) -> str:
        """The text, such as ``exp(x) overflows above 88.7228: class 0 at 88.72284, 1 ulp past; 2 classes past``."""
        t = self.threshold
        side = "above" if t.above else "below"
        limit = f"{t.limit:.6g}" if self._of_logit else exponential(t.limit)
        number = f"{self.value:.7g}" if self._of_logit else exponential(self.value)
        owner = t.quantity if self.index is None else f"class {self.index}"
        more = f"; {self.past} classes past" if self.past > 1 else ""
        return f"{t.event} {side} {limit}: {owner} at {number}, {self._distance}{more}"

    @property
    def _of_logit(self) -> bool:
        return self.threshold.quantity in LOGITS

    @property
    def _distance(self) -> str:
        if self.ulps == 0:
            return "the nearest number to it"
        off = self.value - self.threshold.limit
        where = "past" if (off > 0 if self.threshold.above else off < 0) else "short of it"
        if abs(self.ulps) <= COUNTED:
            return f"{abs(self.ulps):g} ulp {where}"
        return f"{abs(off):.4g} {where}" if self._of_logit else f"a factor of {exponential(abs(off))} {where}"


def near(logits: Float64, targets: Mask, log_loss: float, fmt: Format) -> list[Approach]:
    """Return the thresholds that a row is near or past.

    If the maximum is 0, ``x - max`` equals the logits, and its thresholds are returned once.

    Args:
        logits: (C,), as the dtype holds them. A row with NaN or ``+inf``, or without a finite logit, has no threshold.
        targets: (C,), the classes with a share of the target.
        log_loss: the logarithm of the row's exact loss; NaN without one.
        fmt: the dtype's format.
    """
    finite = np.isfinite(logits)
    if not finite.any() or not (finite | (logits == -np.inf)).all():
        return []
    numbers = _numbers(np.where(finite, logits, np.nan), targets, log_loss)
    approaches = (_approach(t, numbers[t.quantity], fmt) for t in _thresholds(numbers, fmt))
    return [found for found in approaches if found is not None]


def _numbers(x: Float64, targets: Mask, log_loss: float) -> dict[str, Float64]:
    """Return the values of each quantity that are compared with thresholds: arrays (C,) or (1,), with NaN for none."""
    top = int(np.nanargmax(x))
    # Halved, so that the difference of the largest numbers does not overflow before it is clipped.
    shifted = 2.0 * np.maximum(x / 2 - x[top] / 2, -np.finfo(np.float64).max / 2)
    rest = np.delete(shifted, top)
    others = float(np.logaddexp.reduce(rest[~np.isnan(rest)], initial=-np.inf))  # log(sum(exp(rest))), -inf for none
    log_total = float(np.logaddexp(0.0, others))
    return {
        "x": x,
        "x - max": shifted,
        "p[target]": np.where(targets, shifted - log_total, np.nan),
        "sum": np.array([x[top] + log_total]),
        "others": np.array([others]),
        "loss": np.array([log_loss]),
        "max|x|": np.array([_log(float(np.nanmax(np.abs(x))))]),
    }


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _thresholds(numbers: dict[str, Float64], fmt: Format) -> Iterator[Threshold]:
    high, low, zero = overflow(fmt), underflow_to_subnormal(fmt), underflow_to_zero(fmt)
    name = fmt.name
    yield Threshold("x", "exp(x) overflows", high, above=True)
    top = float(np.nanmax(numbers["x"]))
    shifted = (("x - max", "exp(x - max)"),) if top else ()
    for quantity, shown in (("x", "exp(x)"), *shifted, ("p[target]", "p[target]")):
        yield Threshold(quantity, f"{shown} is subnormal", low, above=False, floor=zero)
        yield Threshold(quantity, f"{shown} is zero", zero, above=False)
    alone = math.log(fmt.unit_roundoff)
    yield Threshold("x - max", "exp(x - max) is lost when added to 1", alone, above=False, floor=zero)
    if top <= high:
        yield Threshold("sum", "the sum of exp(x) overflows", high, above=True)
    if np.isfinite(numbers["others"]).all():
        yield Threshold("others", "log(1 + others) is 0", alone, above=False)
    if np.isfinite(numbers["loss"]).all():
        # A loss rounds to infinity half a spacing above the largest number.
        rounds_up = high + math.log1p(float(ulp(fmt.largest, fmt)) / 2 / fmt.largest)
        yield Threshold("loss", f"the loss is beyond {name}", rounds_up, above=True)
        yield Threshold("loss", "the loss is subnormal", low, above=False, floor=zero)
        yield Threshold("loss", "the loss is zero", zero, above=False)
        spacing = float(ulp(np.nanmax(np.abs(numbers["x"])), fmt))
        yield Threshold("loss", "the loss is less than a spacing at max|x|,", _log(spacing), above=False)
    yield Threshold("max|x|", f"{name} has no odd numbers", fmt.precision * math.log(2.0), above=True)


def _approach(threshold: Threshold, values: Float64, fmt: Format) -> Approach | None:
    """Return how close the row's values come to a threshold; None if they are neither near nor past it."""
    limit = threshold.limit
    with np.errstate(invalid="ignore", over="ignore"):
        beyond = values > limit if threshold.above else values < limit
        beyond &= values >= threshold.floor
        distance = np.where(values >= threshold.floor, np.abs(values - limit), np.nan)
    reach = max(1.0, float(ulp(limit, fmt))) if threshold.quantity in LOGITS else 1.0
    close = bool((distance <= reach).any())
    past = int(beyond.sum())
    if not past and not close:
        return None
    j = int(np.nanargmin(distance if close else np.where(beyond, distance, np.nan)))
    value = float(values[j])
    nearest = float(round_to(limit, fmt))
    ulps = (value - nearest) / float(ulp(nearest, fmt)) if threshold.quantity == "x" else math.nan
    return Approach(threshold, j if threshold.quantity in (*LOGITS, "p[target]") else None, value, close, past, ulps)


def exponential(exponent: float) -> str:
    """Return ``exp(exponent)`` in six digits, or as a power of e if it exceeds float64."""
    return f"{math.exp(exponent):.6g}" if abs(exponent) < 700 else f"e^{exponent:.6g}"
