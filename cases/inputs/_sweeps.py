"""Seeded families along an axis, for error curves: ``scale=0.1:1e4:40log``, ``classes=10,1000,50257``, ``softcap=30``.

All cases of an axis except ``classes`` use the same normal numbers, so that a curve shows the axis and not the draw.
They have one width, so that compilers see one shape.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UsageError
from ...core.options import OPTIONS
from .. import Case, make

Float64 = NDArray[np.float64]

CLASSES = 128
ROWS = 32
# The most logits of a case: wide cases have fewer rows.
MAX_LOGITS = 2**20
WIDEST = 2**22
PREFIX = "sweep_"
# The sweeps of a run that names no case. The catalogue has the same widths, so that nothing more is compiled.
DEFAULT_SPECS = (
    "offset=1:1e6:13log",
    "scale=0.1:1e4:11log",
    "gap=1:1000:10log",
    "classes=2,3,5,10,17,128,257,1000,2049,50257",
)
DEFAULT_DTYPES = ("float32", "bfloat16")
DEFAULT_ROWS = 4
MAX_DEFAULT_LOGITS = 2**16
SYNTAX = "give AXIS=VALUES, with numbers and ranges START:STOP:COUNT, such as scale=0.1:1e4:40log"


@dataclass(frozen=True)
class Axis:
    """A function of a value and standard normal logits (B, C), and the range of its values."""

    why: str
    logits: Callable[[float, Float64], Float64]
    least: float = 0.0
    most: float = float(np.finfo(np.float64).max)
    whole: bool = False


def _gap(value: float, normal: Float64) -> Float64:
    logits = normal.copy()
    top = logits.argmax(axis=1)
    below = np.sort(logits, axis=1)[:, -2]
    logits[np.arange(len(logits)), top] = below + value
    return logits


def _of_option(name: str) -> Axis:
    """Return the axis of a loss option, whose value the cases set."""
    option = OPTIONS[name]
    why = f"normal logits times 10, with a {option.title} of {{value}}"
    least = 0.0 if option.accepts(0.0) else float(np.finfo(np.float64).tiny)
    return Axis(why, lambda _, normal: 10 * normal, least)


AXES: Mapping[str, Axis] = {
    "scale": Axis("normal logits times {value}", lambda value, normal: value * normal),
    "offset": Axis(
        "normal logits plus {value}", lambda value, normal: normal + value, least=-float(np.finfo(np.float64).max)
    ),
    "gap": Axis("normal logits, the largest {value} above the next", _gap),
    "classes": Axis("normal logits in {value} classes", lambda _, normal: normal, least=1, most=WIDEST, whole=True),
    **{name: _of_option(name) for name in ("softcap", "logit_scale", "z_loss")},
}


def sweep(spec: str) -> tuple[Case, ...]:
    """Return the cases of one axis, ``sweep_scale/0.1`` and so on, in rising order of the value.

    The first half of the rows has the largest logit as target, the others an arbitrary class.

    Raises:
        UsageError: for an unknown axis, or values that are not numbers or out of the axis's range.
    """
    name, equals, text = spec.partition("=")
    if not equals or name not in AXES:
        raise UsageError(f"--sweep {spec!r}: unknown axis {name!r}; choose one of {', '.join(AXES)}")
    values = {v for part in text.split(",") for v in _values(spec, part)}
    if not values:
        raise UsageError(f"--sweep {spec!r} has no value; {SYNTAX}")
    axis = AXES[name]
    for value in values:
        if not axis.least <= value <= axis.most:
            limits = f"{name} goes from {axis.least:g} to {axis.most:g}"
            raise UsageError(f"--sweep {spec!r}: {value:g} is out of range; give a value within it: {limits}")
    if axis.whole:
        values = {float(round(v)) for v in values}
    return tuple(_case(name, axis, v) for v in sorted(values))


@cache
def default_sweeps() -> tuple[Case, ...]:
    """Return the small sweeps of the default plan: the first rows of each case, in a narrow and a wide dtype."""
    return tuple(_beginning(case) for spec in DEFAULT_SPECS for case in sweep(spec))


def _beginning(case: Case) -> Case:
    rows = max(2, min(DEFAULT_ROWS, MAX_DEFAULT_LOGITS // case.classes))
    why = case.why.replace(f"{case.rows} rows", f"{rows} rows")
    return replace(case, why=why, logits=case.logits[:rows], targets=case.targets[:rows], measured_in=DEFAULT_DTYPES)


def find_swept(case_id: str) -> Case | None:
    """Return a sweep's case by its name, such as ``sweep_offset/1000``, with all its rows; None for other names."""
    family, _, value = case_id.partition("/")
    try:
        (case,) = sweep(f"{family.removeprefix(PREFIX)}={value}")
    except (UsageError, ValueError):
        return None
    return case if case.id == case_id else None


def _values(spec: str, part: str) -> list[float]:
    try:
        if ":" not in part:
            return [_named(float(part))]
        start, stop, count = part.split(":")
        log = count.endswith("log")
        spaced = np.geomspace if log else np.linspace
        if log and not float(start) * float(stop) > 0:
            raise UsageError(f"--sweep {spec!r}: a range with log includes 0; give two limits of the same sign")
        return [_named(v) for v in spaced(float(start), float(stop), int(count.removesuffix("log"))).tolist()]
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"--sweep {spec!r}: {part!r} is neither a number nor a range; {SYNTAX}") from error


def _named(value: float) -> float:
    """Round a value to the six digits of the case's name, so that the table shows the measured value."""
    return float(f"{value:.6g}")


def _case(name: str, axis: Axis, value: float) -> Case:
    classes = int(value) if axis.whole else CLASSES
    rows = max(2, min(ROWS, MAX_LOGITS // classes))
    # Philox is the same on every machine.
    generator = np.random.Generator(np.random.Philox(key=[classes, ROWS]))
    logits = axis.logits(value, generator.standard_normal((rows, classes)))
    targets = generator.integers(classes, size=rows)
    targets[: rows // 2] = logits[: rows // 2].argmax(axis=1)
    wording = axis.why.format(value=f"{value:g}")
    options: dict[str, Any] = {name: value} if name in OPTIONS else {}
    why = f"{rows} rows of {wording}."
    return make(f"{PREFIX}{name}/{value:.6g}", why, logits, targets, tags=("seeded", "sweep"), **options)
