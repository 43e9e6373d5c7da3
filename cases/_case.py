"""A case: one batch of logits with its targets and loss options, and why it is here."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import UsageError
from ..core.formats import FORMATS, Format, quantize, representable
from ..core.options import LossOptions, check_option

# How the logits lie in memory when they are handed to a framework; the numbers are the same.
#   rows: (B, C), one row after the other; transposed: the same (B, C) stored column by column; strided: every second
#   number of a wider array; spatial: the rows are the d positions of (1, C, d), or (1, d, C) where classes come last.
LAYOUTS = ("rows", "transposed", "strided", "spatial")
# Why a dtype cannot hold a case or a file; `why_unrepresentable` says what kind of number it is.
UNREPRESENTABLE = "a finite number would become infinite"


@dataclass(frozen=True, eq=False)
class Case(LossOptions):
    """One batch of logits with targets and, by the names that `LossOptions` has, loss options.

    Class weights and what acts on logits are rounded like the logits.

    Attributes:
        family, name: together ``family/name``, unique in the catalogue.
        why: one sentence, what the case is hard for.
        logits: (B, C) float64, rounded to a dtype before anything is computed with them.
        targets: (B,) int64 or int32 class indices, or (B, C) float64 class probabilities, rounded like the logits.
        reduction: ``none``, ``mean`` or ``sum``.
        layout: how the logits lie in memory, one of `LAYOUTS`.
        invalid: whether a target is none of the classes: what an implementation does is recorded, never graded.
        source: the paper or public thread it comes from, if any.
        reported: for a case from a public thread, one sentence: what was reported, and on which version.
        tags: words to filter by; `cases/_tags.py` says what each means. The catalogue adds those that follow from
            what the case holds.
        first_row: of a piece of a file that is read piece by piece, the file's row that it begins with; None for a
            case that is whole.
        measured_in: the dtypes that a run measures it in, of those that can hold it; None for all.
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

    @property
    def id(self) -> str:
        return f"{self.family}/{self.name}"

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1])

    @property
    def rows(self) -> int:
        return int(self.logits.shape[0])

    @cached_property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes that the case is measured in.

        Those that cannot hold it are left out: in them a finite number would become infinite, or an option 0.
        """
        return tuple(
            name for name, fmt in FORMATS.items() if self.is_wanted_in(name) and self.why_unrepresentable(fmt) is None
        )

    def is_wanted_in(self, dtype: str) -> bool:
        """Whether a run measures the case in a dtype that can hold it."""
        return self.measured_in is None or dtype in self.measured_in

    def why_unrepresentable(self, fmt: Format) -> str | None:
        """Why the dtype cannot hold the case; None if it can."""
        probabilities = self.targets if self.targets.ndim == 2 else None
        numbers = why_unrepresentable(fmt, logit=self.logits, target_probability=probabilities)
        return numbers or self.why_options_unrepresentable(fmt)

    @property
    def plain(self) -> bool:
        """Whether the case is logits and class indices alone, and can share a call with others of its width."""
        bare = not self.set_options and not self.invalid
        return bare and self.reduction == "none" and self.layout == "rows" and self.targets.dtype == np.int64

    def quantized(self, fmt: Format) -> NDArray[Any]:
        """The logits as the dtype holds them, (B, C) of that dtype."""
        return quantize(self.logits, fmt)

    def quantized_targets(self, fmt: Format) -> NDArray[Any]:
        """Class indices as they are, class probabilities as the dtype holds them."""
        return self.targets if self.targets.ndim == 1 else quantize(self.targets, fmt)


def why_unrepresentable(fmt: Format, **numbers: ArrayLike | None) -> str | None:
    """Why the dtype cannot hold the numbers, given by what one of them is called; None if it can."""
    for name, values in numbers.items():
        if values is not None and not representable(values, fmt):
            return f"a finite {name.replace('_', ' ')} would become infinite"
    return None


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
    """A case from plain lists, checked: a mistake in the catalogue shows when it is loaded.

    Targets that are an array keep its integer dtype; lists of integers become int64, anything else probabilities.
    ``others`` are what else a `Case` has, by name.

    Raises:
        ValueError: if the shapes do not fit, a target is not a class, an option is out of range, or an invalid case has
            a reduction or class probabilities.
    """
    x, t = np.array(logits, np.float64), np.array(targets)
    if t.dtype.kind not in "iu" and t.size:
        t = t.astype(np.float64)
    elif t.dtype != np.int32:
        t = t.astype(np.int64)
    w = None if weight is None else np.array(weight, np.float64)
    for array in (x, t, w):
        if array is not None:
            array.flags.writeable = False
    family, name = case_id.split("/")
    try:
        case = Case(family, name, why, x, t, tags=tuple(tags), weight=w, **others)
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
            f"{case_id}: the case is invalid and has {what}; what a target that is no class gives is recorded row by "
            "row, from class indices without a reduction"
        )
    if case.layout not in LAYOUTS:
        raise ValueError(f"{case_id}: unknown layout {case.layout!r}; the layouts are {', '.join(LAYOUTS)}")
    return case
