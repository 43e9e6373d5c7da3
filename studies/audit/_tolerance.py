"""A test made of a tolerance: it compares a loss and its gradient with a framework's own loss on random logits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core import arguments
from ...core.errors import UsageError
from ...core.formats import get_format
from ...core.rounding import quantize
from ...core.vocabulary import Status
from ...execution import worker
from ...frameworks import Batch, Framework
from ..check import Returns, load_framework
from ..check.forms._form import CallForm
from ..check.measuring._loss import Candidate
from ._faults import require_measured
from ._values import Values, parse_shape, parse_values

SEED = 0
# The loss to compare with, if none is named: the framework's own.
USUAL = {
    "torch": "torch/F.cross_entropy",
    "jax": "jax/optax.softmax_cross_entropy_with_integer_labels",
    "tensorflow": "tensorflow/nn.sparse_softmax_cross_entropy_with_logits",
    "numpy": "numpy/log1p",
}


@dataclass(frozen=True)
class Tolerance:
    """``abs(value - expected) <= atol + rtol * abs(expected)`` for each entry; NaN equals NaN."""

    atol: float
    rtol: float

    def require(self, what: str, value: NDArray[Any], expected: NDArray[Any]) -> None:
        """Raise an AssertionError if an entry is beyond the tolerance."""
        value, expected = value.astype(np.float64), expected.astype(np.float64)
        with np.errstate(all="ignore"):
            close = np.isclose(value, expected, rtol=self.rtol, atol=self.atol, equal_nan=True)
            error = np.abs(value - expected)
        if not close.all():
            raise AssertionError(f"{what}: {(~close).sum()} of {close.size} entries differ, by up to {error.max():.3g}")


@dataclass(frozen=True)
class ToleranceTest:
    """A test of a loss on random logits, against a loss of the framework in at least float32 of the same logits.

    Attributes:
        framework: the framework of the loss.
        shape: rows and classes.
        values: the distribution of the logits.
        dtype: the dtype of the logits.
        loss, gradient: the tolerances; no gradient is compared if it is None.
        returns: what the loss returns.
        against: the implementation to compare with, such as ``torch/F.cross_entropy``.
    """

    framework: str
    shape: tuple[int, int]
    values: Values
    dtype: str
    loss: Tolerance
    gradient: Tolerance | None
    returns: Returns
    against: str

    @property
    def title(self) -> str:
        """The test in a few words."""
        rows, classes = self.shape
        tolerance = f"atol {self.loss.atol:g}, rtol {self.loss.rtol:g}"
        return f"The tolerance {tolerance} on {self.values} ({rows:,}, {classes:,}) in {self.dtype}"

    def __call__(self, loss: Any) -> None:
        """Raise an AssertionError if the loss raises or is beyond the tolerance."""
        adapter = load_framework(self.framework)
        rng = np.random.default_rng(SEED)
        logits = quantize(self.values.draw(rng, self.shape), get_format(self.dtype))
        targets = rng.integers(0, self.shape[1], self.shape[0])
        expected = self._expected(adapter, logits, targets)
        name = f"{self.framework}/loss"
        candidate = Candidate(
            name, adapter, loss, getattr(loss, "gradient", None), "cpu", "eager", CallForm(returns=self.returns)
        )
        outcome = candidate.call(Batch(logits.copy(), targets.copy()), candidate.plain_options)
        if outcome.status is not Status.OK:
            raise AssertionError(outcome.detail)
        found = dict(outcome.values)
        self.loss.require("loss", found["loss"], expected["loss"])
        if self.gradient is not None and "gradient" in found:
            self.gradient.require("gradient", found["gradient"], expected["gradient"])

    def _expected(
        self, adapter: Framework, logits: NDArray[Any], targets: NDArray[np.int64]
    ) -> dict[str, NDArray[Any]]:
        wide = logits if self.dtype == "float64" else logits.astype(np.float32)
        reduction = "none" if self.returns is Returns.ROWS else str(self.returns)
        chosen = adapter.all_implementations[self.against]
        outcome = worker.evaluated(adapter, chosen, Batch(wide, targets, reduction), "cpu", "eager")
        if outcome.status is not Status.OK:
            raise UsageError(f"{self.against} cannot be compared with ({outcome.detail}); choose another loss")
        return dict(outcome.values)


def tolerance_test(
    shape: str | tuple[int, int],
    values: str = "randn",
    dtype: object = "float32",
    atol: float = 1e-8,
    rtol: float = 1e-5,
    *,
    gradient_atol: float | None = None,
    gradient_rtol: float | None = None,
    loss_only: bool = False,
    returns: str = "rows",
    framework: str = "torch",
    against: str | None = None,
) -> ToleranceTest:
    """Return the test that a tolerance states, for `audit`.

    It compares the loss, and its gradient by the logits, with those of the framework's own loss in float32 of the same
    logits. Of float64 logits it compares with float64.

    Args:
        shape: the number of rows and classes, such as ``"64,128"`` or ``(64, 128)``.
        values: the distribution of the logits: ``NUMBER*randn`` or ``NUMBER*rand``, and ``+NUMBER``.
        dtype: the dtype of the logits.
        atol: the absolute tolerance of the loss: each entry may differ by ``atol + rtol * abs(expected)``.
        rtol: the relative tolerance of the loss.
        gradient_atol: the absolute tolerance of the gradient; by default that of the loss.
        gradient_rtol: the relative tolerance of the gradient; by default that of the loss.
        loss_only: whether to leave the gradient out.
        returns: ``rows``, ``mean`` or ``sum``.
        framework: ``torch``, ``jax``, ``tensorflow`` or ``numpy``.
        against: the implementation to compare with, as `logitlab frameworks` lists them.

    Raises:
        UsageError: for an argument of another form, or an unknown name.
    """
    name = get_format(dtype).name
    require_measured(framework, [name])
    size = parse_shape(shape if isinstance(shape, str) else ",".join(map(str, shape)))
    compared = USUAL[framework] if against is None else against
    if compared not in load_framework(framework).all_implementations:
        raise UsageError(f"{framework} has no implementation {compared!r}; see `logitlab frameworks`")
    of_loss = Tolerance(arguments.as_number(atol, "atol", 0), arguments.as_number(rtol, "rtol", 0))
    of_gradient = Tolerance(
        of_loss.atol if gradient_atol is None else arguments.as_number(gradient_atol, "gradient_atol", 0),
        of_loss.rtol if gradient_rtol is None else arguments.as_number(gradient_rtol, "gradient_rtol", 0),
    )
    return ToleranceTest(
        framework, size, parse_values(values), name, of_loss, None if loss_only else of_gradient,
        arguments.as_choice(returns, Returns, "returns"), compared,
    )  # fmt: skip
