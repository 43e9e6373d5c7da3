"""The interface of a framework; all but three of its members have a default."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.formats import Format
from ..core.interpreting import INTERPRETED
from ._batch import Batch, Implementation, reduce_rows
from ._syntax import Syntax
from ._training import Training, step_by_hand
from ._transformed import Transformation, Transformed
from .linear import LinearAutograd, LinearBatch
from .stages import FORMULAS, Operations, Stage

Array = Any
Loss = Callable[..., Array]
Pull = Callable[[Array | None], Array]


class Autograd(ABC):
    """Differentiation of a loss that `check` calls itself. Arrays are the framework's own."""

    @abstractmethod
    def forward(self, loss: Loss, logits: Array, targets: Array, *, repeatedly: bool) -> tuple[Array, Pull]:
        """Return the row losses (B,) and a function from an upstream gradient (B,) to the gradient (B, C).

        None stands for an upstream gradient of ones. ``repeatedly`` means that the function is called more than once.
        """

    @abstractmethod
    def spread(self, rows: Array, number: float) -> Array:
        """Return an upstream gradient (B,) with one number for all rows.

        If the framework supports it, memory holds the number once, as in the backward pass of a sum.
        """

    def untracked(self, loss: Loss, logits: Array, targets: Array) -> Array:
        """Return the row losses, computed without tracking for differentiation."""
        return loss(logits, targets)


class Framework(ABC):
    """A framework; an entry point in the group ``logitlab.frameworks`` names an instance.

    Define `name`, `implementations` and `evaluate`. All other defaults suit a framework that uses NumPy arrays and
    gradients written by hand.

    Attributes:
        linear_implementations: the implementations of the linear problem, which take hidden states; see
            `evaluate_linear`.
        operations: lets ``explain`` trace the written formulas stage by stage; without it, ``explain`` shows only the
            input and output of a call.
        autograd: lets ``check`` also differentiate twice, use other upstream gradients, and call without a gradient.
        linear_autograd: lets ``check`` differentiate a loss of hidden states.
        transformed: the framework's transformations of a loss that ``check`` tries, such as a vectorized map.
        strides: whether the framework's arrays support all memory layouts of NumPy arrays.
        syntax: templates for a program in the framework; ``check`` prints such a program for a failure, and
            ``reproduce`` for any measurement.
        reduce: row losses (B,) and ``none``, ``mean`` or ``sum`` to the loss, for losses that do not reduce themselves.
    """

    linear_implementations: Sequence[Implementation] = ()
    operations: Operations | None = None
    autograd: Autograd | None = None
    linear_autograd: LinearAutograd | None = None
    transformed: Mapping[Transformation, Transformed] = MappingProxyType({})
    strides: bool = True
    syntax: Syntax = Syntax()
    reduce: Callable[[Array, str], Array] = staticmethod(reduce_rows)

    @property
    @abstractmethod
    def name(self) -> str:
        """The entry point's name, and the first part of the implementations' names."""

    @property
    @abstractmethod
    def implementations(self) -> Sequence[Implementation]:
        """All implementations, including those whose package is not installed."""

    @abstractmethod
    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield pairs of quantity and NumPy array one by one, so that those before a fault are kept.

        The arrays keep the dtype that the framework returned.
        """

    def stages(self, implementation: Implementation, batch: Batch, device: str, mode: str) -> Iterator[Stage] | None:
        """Return the stages of a written formula, computed with `operations`; None where none can be shown."""
        if self.operations is None or implementation.formula not in FORMULAS:
            return None
        x, t = self.to_array(batch.logits, device), self.to_array(batch.targets, device)
        return FORMULAS[implementation.formula](self.operations, x, t)

    def evaluate_linear(
        self, implementation: Implementation, batch: LinearBatch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yield the quantities of a loss of hidden states, like `evaluate`; for implementations of that problem."""
        raise NotImplementedError(f"{self.name} has no loss of hidden states")

    @property
    def all_implementations(self) -> dict[str, Implementation]:
        """The implementations of both problems, by name."""
        return {i.name: i for i in (*self.implementations, *self.linear_implementations)}

    # --- the process ------------------------------------------------------------------------------------------------

    def devices(self) -> Sequence[str]:
        """Return the devices that the framework finds now: ``cpu``, ``cuda``, ..."""
        return ("cpu",)

    def takes(self, fmt: Format) -> bool:
        """Return whether a run plans cells of this format for the framework; by default all with a dtype of NumPy's.

        A framework that takes a hosted format gets its numbers in float64, and `Batch.format` names the format.
        """
        return not fmt.is_hosted

    def unsupported(self, error: Exception) -> bool:
        """Return whether the error means that the framework does not support the call, rather than a fault."""
        return isinstance(error, NotImplementedError)

    def message(self, error: BaseException) -> str:
        """Return the error's message, without call stacks and names that differ from run to run."""
        return str(error)

    def settings(self) -> Mapping[str, str]:
        """Return the framework's settings in this process that can change a number, by name.

        The manifest of a run records them. A process ends after a call that changes one.
        """
        return {}

    def prepare(self) -> None:  # noqa: B027 - few have anything to set
        """Set up a worker process for measuring, once. ``check`` runs in its caller's process and does not call it."""

    def enter_mode(self, mode: str) -> None:  # noqa: B027 - few modes need it
        """Prepare this process for a mode, for ``check``, before the user's loss is imported.

        Raises:
            UsageError: if this process cannot run the mode.
        """

    def as_users_call_it(self, dtype: np.dtype[Any]) -> AbstractContextManager[Any]:
        """Return a context with the settings that a user's process has for logits of this dtype, for ``check``."""
        return nullcontext()

    def fills_up(self, implementation: Implementation, batch: Batch, mode: str) -> bool:
        """Return whether a worker fills the batch up to its `Batch.common_rows`, since each shape costs a compilation.

        A reduction must leave out the `Batch.filler` rows.
        """
        return False

    def threads(self, count: int) -> AbstractContextManager[Any] | None:
        """Return a context in which this process computes with so many threads; None if a process cannot change it."""
        return None

    def forget_programs(self) -> None:  # noqa: B027 - few keep any
        """Drop the compiled programs that this process keeps in memory; a worker calls it between shapes."""

    def compiles_shapes(self, mode: str) -> bool:
        """Return whether the first call on each shape compiles or traces and thus takes much longer than the next."""
        return mode not in ("eager", INTERPRETED)

    # --- arrays -----------------------------------------------------------------------------------------------------

    def placed(self, device: str) -> AbstractContextManager[Any]:
        """Return a context that creates arrays and computes on a device."""
        return np.errstate(all="ignore")

    def to_array(self, values: NDArray[Any], device: str) -> Array:
        """Return a NumPy array as the framework's array, with the same memory layout if ``strides`` is True."""
        return values

    def to_numpy(self, array: Array) -> NDArray[Any]:
        """Return the framework's array as a NumPy array of the same dtype."""
        return np.asarray(array)

    def flat(self, array: Array) -> Array:
        """Return the framework's array, such as the losses of all positions, with one axis."""
        return array.reshape(-1)

    def keywords(self, options: Mapping[str, Any], device: str) -> dict[str, Any]:
        """Return loss options as keyword arguments of a loss, with arrays as the framework's own."""
        return {k: self.to_array(v, device) if isinstance(v, np.ndarray) else v for k, v in options.items()}

    # --- check, train-demo ------------------------------------------------------------------------------------------

    def in_mode(self, loss: Loss, mode: str) -> Loss:
        """Return a function of the framework's arrays as it runs in the mode, such as compiled."""
        return loss

    @property
    def training(self) -> Training | None:
        """The training of ``train-demo``; by default in NumPy, with each loss whose gradient is written by hand."""
        losses = tuple(i.name for i in self.implementations if i.gradient is not None)
        return Training(step_by_hand, losses) if losses else None
