"""A case of the linear problem: hidden states, the weight and the bias of the last layer, and targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.formats import Format
from ..core.rounding import quantize
from ..core.vocabulary import Problem
from ._case import Case, checked, read_only, why_unrepresentable

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearCase(Case):
    """One batch of hidden states with the last layer of a model; see `Case` for targets and loss options.

    ``logits`` are those of the unrounded inputs in float64: they give the case its shape and show it in a report, and
    nothing is computed with them. Class weights are still ``weight``.

    Attributes:
        hidden: hidden states (B, H) float64, rounded to a dtype before anything is computed with them.
        linear_weight: (C, H) float64, rounded like the hidden states.
        linear_bias: (C,) float64, rounded like the hidden states, or None.
    """

    hidden: Float64
    linear_weight: Float64
    linear_bias: Float64 | None = None

    @property
    def problem(self) -> Problem:
        return Problem.LINEAR

    @property
    def plain(self) -> bool:
        return False  # each case has its own weight, so none shares a call

    @property
    def shapes(self) -> str:
        """The shapes of the inputs, such as ``hidden 8 x 64, weight 40 x 64, bias 40``."""
        rows, features = self.hidden.shape
        bias = "no bias" if self.linear_bias is None else f"bias {self.classes}"
        return f"hidden {rows} x {features}, weight {self.classes} x {features}, {bias}"

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        given = {"hidden": self.hidden, "linear_weight": self.linear_weight, "linear_bias": self.linear_bias}
        return {name: array for name, array in given.items() if array is not None} | {"targets": self.targets}

    def why_unrepresentable(self, fmt: Format) -> str | None:
        probabilities = self.targets if self.targets.ndim == 2 else None
        numbers = why_unrepresentable(
            fmt, hidden_state=self.hidden, weight=self.linear_weight, bias=self.linear_bias,
            target_probability=probabilities,
        )  # fmt: skip
        return numbers or self.why_options_unrepresentable(fmt)

    def quantized_inputs(self, fmt: Format) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
        """Return hidden states, weight and bias rounded to the dtype."""
        bias = None if self.linear_bias is None else quantize(self.linear_bias, fmt)
        return quantize(self.hidden, fmt), quantize(self.linear_weight, fmt), bias


def make_linear(
    case_id: str,
    why: str,
    hidden: ArrayLike,
    weight: ArrayLike,
    targets: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    class_weight: ArrayLike | None = None,
    tags: Sequence[str] = (),
    **others: Any,
) -> LinearCase:
    """Make a case from hidden states (B, H), a weight (C, H), a bias (C,) and targets, and check it, like `make`.

    Raises:
        ValueError: as `make`, and if the shapes of hidden states, weight and bias do not fit.
    """
    h, w = np.array(hidden, np.float64), np.array(weight, np.float64)
    b = None if bias is None else np.array(bias, np.float64)
    if h.ndim != 2 or w.ndim != 2 or h.shape[1] != w.shape[1]:
        raise ValueError(f"{case_id}: hidden {h.shape} and weight {w.shape} are not (B, H) and (C, H)")
    if b is not None and b.shape != w.shape[:1]:
        raise ValueError(f"{case_id}: bias {b.shape} is not one number for each of {len(w)} classes")
    with np.errstate(invalid="ignore", over="ignore"):
        logits = h @ w.T if b is None else h @ w.T + b
    family, name = case_id.split("/")
    given = {"hidden": read_only(h), "linear_weight": read_only(w), "linear_bias": None if b is None else read_only(b)}
    return checked(
        LinearCase, family, name, why, logits, targets, tags=tuple(tags), weight=class_weight, **given, **others
    )  # fmt: skip
