"""Training contamination: the step at which a loss that is not finite reaches the gradient and the weights.

A linear and a two-layer classifier are trained on images of digits in each framework, from the same start and on the
same batches, at rising learning rates. What differs is the loss.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._chart import chart, prepare, write
    from ._demo import COLUMNS, DTYPES, RATES, STEPS, train_demo
    from ._show import show

__all__ = ["COLUMNS", "DTYPES", "RATES", "STEPS", "chart", "prepare", "show", "train_demo", "write"]

# Imported when first asked for: the workers import this package and need neither pandas nor a chart.
_HOMES = {
    "COLUMNS": "_demo",
    "DTYPES": "_demo",
    "RATES": "_demo",
    "STEPS": "_demo",
    "train_demo": "_demo",
    "show": "_show",
    "chart": "_chart",
    "prepare": "_chart",
    "write": "_chart",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
