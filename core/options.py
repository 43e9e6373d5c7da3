"""The loss options, declared once: cases, case files and the oracle read from here what an option is and may be.

With ``z`` the logits as given, the loss is that of ``x``: first ``x = logit_scale * z``, then
``x = softcap * tanh(x / softcap)``. Then ``z_loss * logsumexp(x)^2`` is added to each row that counts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypedDict, cast, get_type_hints

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .formats import Format, quantize, representable

Float64 = NDArray[np.float64]

REDUCTIONS = ("none", "mean", "sum")


@dataclass(frozen=True)
class LossOption:
    """What one option may be, beside its name, default and type, which are those of its field in `LossOptions`.

    Attributes:
        title: what people call it.
        expected: what a value must be, for messages.
        accepts: whether a number (for class weights: each of them) is such a value.
        rounded: whether a case rounds it to the dtype, as it rounds the logits.
        positive: whether rounding may not make it 0, where it is set.
    """

    title: str
    expected: str
    accepts: Callable[[float], bool]
    rounded: bool = True
    positive: bool = False


class OptionValues(TypedDict, total=False):
    """The options of `LossOptions` that are set, as keywords; class weights as an array (C,)."""

    label_smoothing: float
    weight: NDArray[Any]
    ignore_index: int
    softcap: float
    logit_scale: float
    z_loss: float


def _is_positive(value: float) -> bool:
    return 0.0 < value < math.inf


def _is_factor(value: float) -> bool:
    return 0.0 <= value < math.inf


@dataclass(frozen=True, eq=False, kw_only=True)
class LossOptions:
    """The options of one loss; the default of each leaves the loss as it is.

    Attributes:
        label_smoothing: in [0, 1]; the target becomes ``(1 - s) target + s / C``.
        weight: (C,) float64, a factor for each class; None for no weights.
        ignore_index: rows with this target count nothing; None for no such index.
        softcap: the bound of the capped logits, ``c`` in ``c tanh(x / c)``; None for no cap.
        logit_scale: what the logits are multiplied by first, one over a temperature; None for 1.
        z_loss: the factor of ``logsumexp(x)^2``, which is added to the row's loss.
    """

    label_smoothing: Annotated[
        float, LossOption("label smoothing", "a number from 0 to 1", lambda v: 0.0 <= v <= 1.0, rounded=False)
    ] = 0.0
    weight: Annotated[
        Float64 | None, LossOption("class weights", "a finite number that is not negative", _is_factor)
    ] = None
    ignore_index: Annotated[
        int | None, LossOption("ignored index", "a whole number", lambda v: v == int(v), rounded=False)
    ] = None
    softcap: Annotated[float | None, LossOption("softcap", "a positive finite number", _is_positive, positive=True)] = (
        None
    )
    logit_scale: Annotated[
        float | None, LossOption("logit scale", "a positive finite number", _is_positive, positive=True)
    ] = None
    z_loss: Annotated[
        float, LossOption("z-loss", "a finite number that is not negative", _is_factor, positive=True)
    ] = 0.0

    @property
    def set_options(self) -> OptionValues:
        """The options that are set: those that are not their default."""
        values = {f.name: v for f in fields(LossOptions) if _is_set(v := getattr(self, f.name), f.default)}
        return cast(OptionValues, values)

    def options(self, fmt: Format) -> OptionValues:
        """The options that are set, each as the dtype holds it: the keywords of `oracle.reference` and of a loss."""
        return cast(OptionValues, {name: _rounded(OPTIONS[name], v, fmt) for name, v in self.set_options.items()})

    def why_options_unrepresentable(self, fmt: Format) -> str | None:
        """Why the dtype cannot hold the options: one would become infinite, or 0; None if it can."""
        for name, rounded in self.options(fmt).items():
            option = OPTIONS[name]
            if option.rounded and not representable(getattr(self, name), fmt):
                return f"{name} would become infinite"
            if option.rounded and option.positive and rounded == 0:
                return f"{name} would become 0"
        return None


OPTIONS: dict[str, LossOption] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(LossOptions, include_extras=True).items()
}


def option_texts(options: OptionValues, max_classes: int) -> list[tuple[str, str]]:
    """What people call each option, and its value; of class weights the first ``max_classes``."""
    return [(OPTIONS[name].title, _text(value, max_classes)) for name, value in options.items()]


def _text(value: Any, max_classes: int) -> str:
    if isinstance(value, int):
        return str(value)
    numbers = np.atleast_1d(np.asarray(value, np.float64)).tolist()
    return ", ".join(f"{v:g}" for v in numbers[:max_classes]) + (", ..." if len(numbers) > max_classes else "")


def check_option(name: str, value: Any) -> None:
    """Checks a value that is not None.

    Raises:
        UsageError: for a value that the option may not have.
    """
    option = OPTIONS[name]
    for number in np.ravel(np.asarray(value, object)).tolist():
        if not _accepted(option, number):
            raise UsageError(f"{name} is {number!r}; expected {option.expected}")


def _accepted(option: LossOption, number: Any) -> bool:
    try:
        return option.accepts(float(number))
    except (TypeError, ValueError, OverflowError):
        return False


def _is_set(value: Any, default: Any) -> bool:
    return value is not None if default is None else value != default


def _rounded(option: LossOption, value: Any, fmt: Format) -> Any:
    if not option.rounded:
        return value
    held = quantize(value, fmt)
    return held if held.ndim else float(held)
