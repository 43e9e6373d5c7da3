"""The loss options, declared once: what cases, case files and the oracle know of each they read from here.

With ``z`` the logits as given, the loss is that of ``x``: first ``x = logit_scale * z``, then
``x = softcap * tanh(x / softcap)``. Then ``z_loss * logsumexp(x)^2`` is added to each row that counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

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
        words: what people call it.
        expected: what a value must be, for messages.
        accepts: whether a number (for class weights: each of them) is such a value.
        rounded: whether a case rounds it to the dtype, as it rounds the logits.
        positive: whether rounding may not make it 0, where it is set.
    """

    words: str
    expected: str
    accepts: Callable[[float], bool]
    rounded: bool = True
    positive: bool = False


def _is(*declared: Any, **more: Any) -> dict[str, LossOption]:
    return {"option": LossOption(*declared, **more)}


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

    OPTIONS: ClassVar[Mapping[str, LossOption]]

    label_smoothing: float = field(
        default=0.0, metadata=_is("label smoothing", "a number from 0 to 1", lambda v: 0.0 <= v <= 1.0, rounded=False)
    )
    weight: Float64 | None = field(
        default=None, metadata=_is("class weights", "a finite number that is not negative", _is_factor)
    )
    ignore_index: int | None = field(
        default=None, metadata=_is("ignored index", "a whole number", lambda v: v == int(v), rounded=False)
    )
    softcap: float | None = field(
        default=None, metadata=_is("softcap", "a positive finite number", _is_positive, positive=True)
    )
    logit_scale: float | None = field(
        default=None, metadata=_is("logit scale", "a positive finite number", _is_positive, positive=True)
    )
    z_loss: float = field(
        default=0.0, metadata=_is("z-loss", "a finite number that is not negative", _is_factor, positive=True)
    )

    @property
    def given(self) -> dict[str, Any]:
        """The options that are set: those that are not their default."""
        values = {f.name: getattr(self, f.name) for f in fields(LossOptions)}
        return {f.name: values[f.name] for f in fields(LossOptions) if _is_set(values[f.name], f.default)}

    def rounded(self, fmt: Format) -> dict[str, Any]:
        """The options that are set, as keywords, each as the dtype holds it."""
        return {name: _rounded(self.OPTIONS[name], value, fmt) for name, value in self.given.items()}

    def why_options_unrepresentable(self, fmt: Format) -> str | None:
        """Why the dtype cannot hold the options: one would become infinite, or 0; None if it can."""
        for name, value in self.given.items():
            option = self.OPTIONS[name]
            if option.rounded and not representable(value, fmt):
                return f"{name} would become infinite"
            if option.rounded and option.positive and _rounded(option, value, fmt) == 0:
                return f"{name} would become 0"
        return None


def texts(options: Mapping[str, Any], most: int) -> list[tuple[str, str]]:
    """What people call each option, and its value; of class weights the first ``most``."""
    return [(LossOptions.OPTIONS[name].words, _text(value, most)) for name, value in options.items()]


def _text(value: Any, most: int) -> str:
    if isinstance(value, int):
        return str(value)
    numbers = np.atleast_1d(np.asarray(value, np.float64)).tolist()
    return ", ".join(f"{v:g}" for v in numbers[:most]) + (", ..." if len(numbers) > most else "")


LossOptions.OPTIONS = {f.name: f.metadata["option"] for f in fields(LossOptions)}


def check_option(name: str, value: Any) -> None:
    """Checks a value that is not None.

    Raises:
        UsageError: for a value that the option may not have.
    """
    option = LossOptions.OPTIONS[name]
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
