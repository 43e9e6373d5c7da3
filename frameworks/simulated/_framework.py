"""The framework `simulated`: formulas in the arithmetic that a variant of the mode describes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.arithmetic import Arithmetic, Rounding, of_mode
from ...core.formats import Format, get_format
from .._batch import Batch, Implementation
from .._framework import Framework
from .._syntax import Syntax
from .._training import Training
from ..stages import Stage, Stages
from ._array import Rounded
from ._formulas import FORMULAS, TRACES
from ._random import row_keys
from ._unit import Unit

Array = NDArray[Any]

# The stages that are the results of a call.
_SYMBOLS = {"probabilities": "p", "loss": "loss", "gradient": "g"}


def _result(formula: str, quantity: str) -> Callable[..., Array]:
    """Return the function of arrays of NumPy for a quantity, rounded to nearest in their dtype."""

    def computed(logits: Array, targets: Array) -> Array:
        unit = _unit(get_format(logits.dtype), Arithmetic(), logits, targets)
        (found,) = (
            s.value for s in FORMULAS[formula](_loaded(logits, unit), targets) if s.symbol == _SYMBOLS[quantity]
        )
        return _stored(found, unit.fmt)

    return computed


def _softmax(formula: str) -> Callable[..., Array]:
    of_targets = _result(formula, "probabilities")
    return lambda logits: of_targets(logits, np.zeros(len(logits), np.int64))


def _implementation(formula: str) -> Implementation:
    return Implementation(
        f"simulated/{formula}",
        formula,
        _result(formula, "loss"),
        "logitlab",
        None if formula == "lse" else _softmax(formula),
        _result(formula, "gradient"),
        traced=TRACES[formula],
    )


def _unit(fmt: Format, arithmetic: Arithmetic, logits: Array, targets: Array) -> Unit:
    """Return the arithmetic unit for a batch.

    Raises:
        NotImplementedError: for float64, in which results are not exact enough to be rounded once.
    """
    if fmt.name == "float64":
        raise NotImplementedError("simulated arithmetic computes in float64, and so rounds to formats of up to 24 bits")
    draws = arithmetic.rounding is Rounding.STOCHASTIC
    keys = row_keys(logits.astype(np.float64), targets) if draws else np.zeros(len(logits), np.uint64)
    return Unit(fmt, arithmetic, keys)


def _loaded(logits: Array, unit: Unit) -> Rounded:
    return Rounded(logits.astype(np.float64), unit)


def _stored(array: Rounded, fmt: Format) -> Array:
    """Return numbers as an array of the format's dtype, which holds each of them."""
    return np.asarray(array.values.astype(fmt.dtype))


class SimulatedFramework(Framework):
    """The formulas in simulated arithmetic, which the settings after the mode describe: ``eager+toward_zero``.

    Without settings each elementary operation is rounded to nearest in the format of the logits.
    """

    name = "simulated"
    implementations = tuple(map(_implementation, FORMULAS))
    # A program without LogitLab cannot compute in an arithmetic that LogitLab simulates.
    syntax = Syntax(measured={})

    def takes(self, fmt: Format) -> bool:
        return True

    @property
    def training(self) -> Training | None:
        return None

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, Array]]:
        wanted = {_SYMBOLS[q]: q for q in implementation.quantities}
        with self.placed(device):
            unit, stages = self._run(implementation, batch, mode)
            found = {wanted[s.symbol]: s.value for s in stages if s.symbol in wanted}
            for quantity in implementation.quantities:
                yield quantity, _stored(_reduced(quantity, found[quantity], batch.reduction), unit.fmt)

    def stages(self, implementation: Implementation, batch: Batch, device: str, mode: str) -> Iterator[Stage] | None:
        return self._run(implementation, batch, mode)[1]

    def to_numpy(self, array: Any) -> Array:
        return _stored(array, array.unit.fmt) if isinstance(array, Rounded) else np.asarray(array)

    def _run(self, implementation: Implementation, batch: Batch, mode: str) -> tuple[Unit, Stages]:
        unit = _unit(batch.number_format, of_mode(mode), batch.logits, batch.targets)
        return unit, FORMULAS[implementation.formula](_loaded(batch.logits, unit), batch.targets)


def _reduced(quantity: str, found: Rounded, reduction: str) -> Rounded:
    """Return a quantity of the reduced loss: row losses (B,) are added like the classes of a row."""
    if reduction == "none" or quantity == "probabilities":
        return found
    rows = len(found.values)
    if quantity == "gradient":
        return found / rows if reduction == "mean" else found
    # The losses become one row, whose key is that of the first.
    total = Rounded(found.values[None, :], found.unit.of_one_row()).sum(axis=1, keepdims=False)
    return (total / rows if reduction == "mean" else total)[0]


FRAMEWORK = SimulatedFramework()
