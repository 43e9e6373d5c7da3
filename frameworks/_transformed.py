"""Calls of a loss through a transformation of its framework, such as a vectorized map or a second derivative."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Array = Any
Loss = Callable[..., Array]


class Transformation(StrEnum):
    """A transformation of a loss, or a context in which it is called."""

    INFERENCE = "inference"
    AUTOCAST = "autocast"
    VMAP = "vmap"
    GRAD = "grad"
    JVP = "jvp"
    SECOND = "second"


@dataclass(frozen=True)
class Transformed:
    """A call of a loss through a transformation, and the lines of a program that makes the same call.

    Attributes:
        run: a function of the loss, logits (B, C), targets (B,) and a direction (B, C). It returns some of ``loss``
            (B,), ``gradient`` (B, C), ``slope`` (B,) and ``second`` (B, C). The slope is the derivative of the losses
            along the direction. ``second`` is the gradient of the sum of the gradient times the direction.
        lines: templates for a program that computes ``rows`` and these values from ``x``, ``t`` and ``v``. ``{call}``
            is the call of the loss with ``x`` and ``t``.
    """

    run: Callable[[Loss, Array, Array, Array], dict[str, Array]]
    lines: tuple[str, ...]
