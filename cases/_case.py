"""A case: one batch of logits with its targets and loss options, and the reason for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import UsageError
from ..core.formats import FORMATS, Format, Overflow, get_format
from ..core.options import LossOptions, check_option
from ..core.rounding import quantize, representable
from ..core.vocabulary import Problem

# The memory layout of the logits that a framework gets. The numbers are the same.
# - rows: (B, C), one row after the other.
# - transposed: the same (B, C) stored column by column.
# - strided: every second number of a wider array.
# - spatial: the rows are the d positions of (1, C, d), or of (1, d, C) if classes come last.
LAYOUTS = ("rows", "transposed", "strided", "spatial")
# The reason why a dtype cannot hold a case or a file; `why_unrepresentable` names the kind of number.
UNREPRESENTABLE = "a finite number would become infinite"

C = TypeVar("C", bound="Case")
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Case(LossOptions):
    """One batch of logits with targets and the loss options of `LossOptions`.

    Class weights and the options that act on logits are rounded like the logits.

    Attributes:
        family, name: together ``family/name``, unique in the catalogue.
        why: one sentence on what the case tests.
        logits: (B, C) float64, rounded to a dtype before anything is computed with them.
        targets: (B,) int64 or int32 class indices, or (B, C) float64 class probabilities, rounded like the logits.
        reduction: ``none``, ``mean`` or ``sum``.
        layout: the memory layout of the logits, one of `LAYOUTS`.
        invalid: whether a target is out of range. The results are recorded and not graded.
        source: the paper or public thread it comes from, if any.
        reported: for a case from a public thread, the reported fault and its version.
        tags: words to filter by, explained in `cases/_tags.py`. The catalogue adds those that follow from the case's
            numbers and options.
        first_row: for a piece of a file, its first row's number in the file; None for a whole case.
        measured_in: the dtypes that a run measures it in, if they can hold it; None for all.
        in_every_mode: whether a run measures it also in modes that otherwise take plain cases only, since compiled
            code breaks on its options. Give such cases the same options and width, so that they share a program.
    """

    family: str
    name: str
    why: str
    logits: NDArray[np.float64]
    targets: NDArray[Any]
    reduction: str = "none"
    layout: str = "rows"
    invalid: bool = False
    source: str | None = None
    reported: str | None = None
    tags: tuple[str, ...] = ()
    first_row: int | None = None
    measured_in: tuple[str, ...] | None = None
    in_every_mode: bool = False

    @property
    def id(self) -> str:
        return f"{self.family}/{self.name}"

    @property
    def problem(self) -> Problem:
        """The kind of numbers that the loss is a function of."""
        return Problem.LOGITS

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The inputs of the loss by name, without its options."""
        return {"logits": self.logits, "targets": self.targets}

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1])

    @property
    def rows(self) -> int:
        return int(self.logits.shape[0])

    @cached_property
    def dtypes(self) -> tuple[str, ...]:
        """Those of the four usual dtypes that the case is measured in; see `is_measured_in`."""
        return tuple(name for name in FORMATS if self.is_measured_in(name))

    def is_measured_in(self, dtype: str) -> bool:
        """Return whether a run measures the case in a dtype.

        A dtype cannot hold it if a finite number would be too large, an option 0, or an infinity or NaN is missing.
        """
        if dtype not in self._held:
            self._held[dtype] = self.why_unrepresentable(get_format(dtype)) is None
        return self._held[dtype] and self.is_wanted_in(dtype)

    @cached_property
    def _held(self) -> dict[str, bool]:
        """Whether a dtype can hold the case, for the dtypes that were asked for."""
        return {}

    def is_wanted_in(self, dtype: str) -> bool:
        """Return whether a run measures the case in a dtype that can hold it."""
        return self.measured_in is None or dtype in self.measured_in

    def why_unrepresentable(self, fmt: Format) -> str | None:
        """Return the reason why the dtype cannot hold the case; None if it can."""
        probabilities = self.targets if self.targets.ndim == 2 else None
        numbers = why_unrepresentable(fmt, logit=self.logits, target_probability=probabilities)
        return numbers or self.why_options_unrepresentable(fmt)

    @cached_property
    def plain(self) -> bool:
        """Whether the case has only logits and class indices, and can share a call with others of its width."""
        bare = not self.set_options and not self.invalid
        return bare and self.reduction == "none" and self.layout == "rows" and self.targets.dtype == np.int64

    def is_taken(self, *, plain_only: bool) -> bool:
        """Return whether a mode measures the case; ``plain_only`` modes take plain cases and those of every mode."""
        return self.plain or self.in_every_mode or not plain_only

    def quantized(self, fmt: Format) -> NDArray[Any]:
        """Return the logits (B, C) rounded to the dtype."""
        return quantize(self.logits, fmt)

    def quantized_targets(self, fmt: Format) -> NDArray[Any]:
        """Return class indices unchanged, or class probabilities rounded to the dtype."""
        return self.targets if self.targets.ndim == 1 else quantize(self.targets, fmt)


def why_unrepresentable(fmt: Format, **numbers: ArrayLike | None) -> str | None:
    """Return the reason why the dtype cannot hold the numbers, which are given by name; None if it can."""
    for name, values in numbers.items():
        if values is not None and not representable(values, fmt):
            return _why_not(np.asarray(values, np.float64), fmt, name.replace("_", " "))
    return None


def _why_not(values: NDArray[np.float64], fmt: Format, name: str) -> str:
    if np.isnan(values).any() and not fmt.has_nan:
        return f"{fmt.name} has no NaN for a {name}"
    if np.isinf(values).any() and not fmt.infinite:
        return f"{fmt.name} has no infinity for a {name}"
    fate = {Overflow.INFINITY: "become infinite", Overflow.NAN: "become NaN", Overflow.SATURATE: "be clipped"}
    return f"a finite {name} would {fate[fmt.overflow]}"


def make(
    case_id: str,
    why: str,
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    tags: Sequence[str] = (),
    weight: ArrayLike | None = None,
    **others: Any,
) -> Case:
    """Make a case from plain lists and check it, so that loading the catalogue reveals mistakes.

    An integer array of targets keeps its dtype. A list of integers becomes int64. Others are probabilities. ``others``
    are further fields of `Case`, by name.

    Raises:
        ValueError: if the shapes do not fit, a target is not a class, an option is out of range, or an invalid case has
            a reduction or class probabilities.
    """
    family, name = case_id.split("/")
    return checked(Case, family, name, why, logits, targets, tags=tuple(tags), weight=weight, **others)


def checked(
    kind: type[C],
    family: str,
    name: str,
    why: str,
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    **others: Any,
) -> C:
    """Build a case of a kind and check it; the arguments and exceptions are those of `make`."""
    case_id = f"{family}/{name}"
    x, t = np.array(logits, np.float64), np.array(targets)
    if t.dtype.kind not in "iu" and t.size:
        t = t.astype(np.float64)
    elif t.dtype != np.int32:
        t = t.astype(np.int64)
    w = None if weight is None else read_only(np.array(weight, np.float64))
    try:
        case = kind(family, name, why, read_only(x), read_only(t), weight=w, **others)
        for option, value in case.set_options.items():
            check_option(option, value)
    except (UsageError, TypeError) as error:
        raise ValueError(f"{case_id}: {error}") from error
    if x.ndim != 2 or t.shape not in (x.shape[:1], x.shape):
        raise ValueError(f"{case_id}: logits {x.shape} and targets {t.shape} are not (B, C) and (B,) or (B, C)")
    counted = t if case.ignore_index is None else t[t != case.ignore_index]
    outside = t.ndim == 1 and bool(((counted < 0) | (counted >= case.classes)).any())
    if outside and not case.invalid:
        raise ValueError(f"{case_id}: a target is not one of its {case.classes} classes, and the case is not invalid")
    if w is not None and w.shape != x.shape[1:]:
        raise ValueError(f"{case_id}: weight {w.shape} is not one factor for each of {case.classes} classes")
    if case.invalid and (case.reduction != "none" or t.ndim == 2):
        what = "class probabilities" if t.ndim == 2 else f"the reduction {case.reduction!r}"
        raise ValueError(
            f"{case_id}: the case is invalid and has {what}; expected class indices without a reduction, since the "
            "results of invalid targets are recorded row by row"
        )
    if case.layout not in LAYOUTS:
        raise ValueError(f"{case_id}: unknown layout {case.layout!r}; the layouts are {', '.join(LAYOUTS)}")
    return case


def read_only(array: NDArray[T]) -> NDArray[T]:
    """Return the array after making it read-only."""
    array.flags.writeable = False
    return array
