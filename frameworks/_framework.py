"""What a framework has to say and do to take part; all but three of its parts have a default."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._batch import Batch, Implementation
from ._syntax import Syntax
from ._training import Training, step_by_hand
from .stages import Operations

Array = Any
Loss = Callable[..., Array]
Pull = Callable[[Array | None], Array]


class Autograd(ABC):
    """How a framework differentiates a loss that `check` calls itself. Arrays are the framework's own."""

    @abstractmethod
    def forward(self, loss: Loss, logits: Array, targets: Array, *, repeatedly: bool) -> tuple[Array, Pull]:
        """The row losses (B,), and what takes an upstream gradient (B,) to the gradient (B, C).

        None stands for an upstream gradient of ones. ``repeatedly`` says that it is called more than once.
        """

    @abstractmethod
    def spread(self, rows: Array, number: float) -> Array:
        """An upstream gradient (B,) of one number for all rows: a single number in memory, as the backward pass of a
        sum has it, where the framework can.
        """

    def untracked(self, loss: Loss, logits: Array, targets: Array) -> Array:
        """The row losses, called where nothing is to be differentiated."""
        return loss(logits, targets)


class Framework(ABC):
    """A framework; an entry point in the group ``logitlab.frameworks`` names an instance.

    A framework must say its name and its implementations, and compute a batch. The defaults of all else are right for
    one whose arrays are NumPy's and whose gradients are written by hand.

    Attributes:
        operations: with them ``explain`` follows the written formulas stage by stage; without, it shows what goes into
            a call and comes out.
        autograd: with it ``check`` also differentiates twice, under upstream gradients of its own, and not at all.
        strides: whether the framework's arrays can lie in memory in all the ways in which those of NumPy can.
        syntax: how a program in the framework is written; ``check`` prints one for a failure.
    """

    operations: Operations | None = None
    autograd: Autograd | None = None
    strides: bool = True
    syntax: Syntax = Syntax()

    @property
    @abstractmethod
    def name(self) -> str:
        """The entry point's name, with which the names of the implementations begin."""

    @property
    @abstractmethod
    def implementations(self) -> Sequence[Implementation]:
        """All of them, those too whose package is not installed."""

    @abstractmethod
    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yields quantity and NumPy array, one by one, so that what came before a fault is kept.

        The arrays have the dtype that the framework answered in.
        """

    # --- the process ------------------------------------------------------------------------------------------------

    def devices(self) -> Sequence[str]:
        """The devices found now, by the framework's own report: ``cpu``, ``cuda``, ..."""
        return ("cpu",)

    def unsupported(self, error: Exception) -> bool:
        """Whether the error is the framework's word that it does not have this, rather than a fault."""
        return isinstance(error, NotImplementedError)

    def settings(self) -> Mapping[str, str]:
        """What the framework computes with in this process that can change a number, set or found by default.

        A run's manifest keeps it. A call that leaves one of them changed is the last that its process makes.
        """
        return {}

    def prepare(self) -> None:  # noqa: B027 - few have anything to set
        """Sets what measuring needs in a worker process, once; the process of ``check`` is its caller's."""

    def as_users_call_it(self, dtype: np.dtype[Any]) -> AbstractContextManager[Any]:
        """What a user's process has set when a loss of logits of this dtype is called, for ``check``."""
        return nullcontext()

    def fills_up(self, implementation: Implementation, batch: Batch, mode: str) -> bool:
        """Whether a worker fills the batch up to its `Batch.common_rows`, since each shape costs a compilation.

        What is filled up and reduced has `Batch.filler` rows that the reduction must leave out.
        """
        return False

    def forget_programs(self) -> None:  # noqa: B027 - few keep any
        """Drops the compiled programs that this process keeps in memory; a worker calls it between shapes."""

    def compiles_shapes(self, mode: str) -> bool:
        """Whether the first call on each shape compiles or traces, and so takes much longer than the next."""
        return mode != "eager"

    # --- arrays -----------------------------------------------------------------------------------------------------

    def placed(self, device: str) -> AbstractContextManager[Any]:
        """A context for making and computing with arrays on a device."""
        return np.errstate(all="ignore")

    def to_array(self, values: NDArray[Any], device: str) -> Array:
        """A NumPy array as one of the framework's own, lying in memory as it does where ``strides`` says so."""
        return values

    def to_numpy(self, array: Array) -> NDArray[Any]:
        """Back to NumPy, in the same dtype."""
        return np.asarray(array)

    def keywords(self, options: Mapping[str, Any], device: str) -> dict[str, Any]:
        """Loss options as a loss is given them, arrays as the framework's own."""
        return {k: self.to_array(v, device) if isinstance(v, np.ndarray) else v for k, v in options.items()}

    # --- check, train-demo ------------------------------------------------------------------------------------------

    def in_mode(self, loss: Loss, mode: str) -> Loss:
        """A function of the framework's arrays as it is run in the mode; eager is the only one by default."""
        return loss

    @property
    def training(self) -> Training | None:
        """How ``train-demo`` trains; by default in NumPy, with each loss whose gradient is written by hand."""
        losses = tuple(i.name for i in self.implementations if i.gradient is not None)
        return Training(step_by_hand, losses) if losses else None
