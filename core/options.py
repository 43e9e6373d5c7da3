"""The loss options, declared once for cases, case files and the oracle.

With ``z`` the logits as given, the loss is that of ``x``: first ``x = logit_scale * z``, then
``x = softcap * tanh(x / softcap)``. Then ``z_loss * logsumexp(x)^2`` is added to each row that is not ignored.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypedDict, cast, get_type_hints

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .formats import Format
from .rounding import quantize, representable

Float64 = NDArray[np.float64]

REDUCTIONS = ("none", "mean", "sum")


@dataclass(frozen=True)
class LossOption:
    """The rules of one option. Its name, default and type are those of its field in `LossOptions`.

    Attributes:
        title: its usual name.
        expected: a description of valid values, for messages.
        accepts: returns whether a number is valid; for class weights, it is called for each.
        rounded: whether a case rounds it to the dtype, like the logits.
        positive: whether a set value must not round to 0.
        of_logits: whether it changes the logits, and so the probabilities.
    """

    title: str
    expected: str
    accepts: Callable[[float], bool]
    rounded: bool = True
    positive: bool = False
    of_logits: bool = False


class OptionValues(TypedDict, total=False):
    """The set options of `LossOptions` as keywords; class weights are an array (C,)."""

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
    """The options of one loss; every default leaves the loss unchanged.

    Attributes:
        label_smoothing: in [0, 1]; the target becomes ``(1 - s) target + s / C``.
        weight: (C,) float64, a factor for each class; None for no weights.
        ignore_index: rows with this target are ignored; None to ignore no row.
        softcap: the bound of the capped logits, ``c`` in ``c tanh(x / c)``; None for no cap.
        logit_scale: the first factor of the logits, one over a temperature; None for 1.
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
    softcap: Annotated[
        float | None,
        LossOption("softcap", "a positive finite number", _is_positive, positive=True, of_logits=True),
    ] = None
    logit_scale: Annotated[
        float | None,
        LossOption("logit scale", "a positive finite number", _is_positive, positive=True, of_logits=True),
    ] = None
    z_loss: Annotated[
        float, LossOption("z-loss", "a finite number that is not negative", _is_factor, positive=True)
    ] = 0.0

    @property
    def set_options(self) -> OptionValues:
        """The options that differ from their default."""
        values = {f.name: v for f in fields(LossOptions) if _is_set(v := getattr(self, f.name), f.default)}
        return cast(OptionValues, values)

    def options(self, fmt: Format) -> OptionValues:
        """Return the set options as the dtype holds them: keywords for `oracle.reference` and for a loss."""
        return cast(OptionValues, {name: _rounded(OPTIONS[name], v, fmt) for name, v in self.set_options.items()})

    def why_options_unrepresentable(self, fmt: Format) -> str | None:
        """Return why the dtype cannot hold the options (one would become infinite or 0), or None if it can."""
        for name, rounded in self.options(fmt).items():
            option = OPTIONS[name]
            if option.rounded and not representable(getattr(self, name), fmt):
                return f"{name} would become infinite"
            if option.rounded and option.positive and rounded == 0:
                return f"{name} would become 0"
        return None


def as_layer_keywords(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as keywords of a loss of hidden states: class weights are ``class_weight`` there.

    ``weight`` is the weight of the layer.
    """
    return {"class_weight" if name == "weight" else name: value for name, value in options.items()}


OPTIONS: dict[str, LossOption] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(LossOptions, include_extras=True).items()
}


def option_texts(options: OptionValues, max_classes: int) -> list[tuple[str, str]]:
    """Return each option's usual name and its value as text; of class weights, the first ``max_classes``."""
    return [(OPTIONS[name].title, _text(value, max_classes)) for name, value in options.items()]


def _text(value: Any, max_classes: int) -> str:
    if isinstance(value, int):
        return str(value)
    numbers = np.atleast_1d(np.asarray(value, np.float64)).tolist()
    return ", ".join(f"{v:g}" for v in numbers[:max_classes]) + (", ..." if len(numbers) > max_classes else "")


def check_option(name: str, value: Any, shown_name: str = "") -> None:
    """Raise a UsageError if a value, not None, is invalid for the option, which the message may call otherwise."""
    option = OPTIONS[name]
    for number in np.ravel(np.asarray(value, object)).tolist():
        if not _accepted(option, number):
            raise UsageError(f"{shown_name or name} is {number!r}; expected {option.expected}")


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
