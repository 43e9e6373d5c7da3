"""What a framework has to say and do to take part; it rests on nothing else of LogitLab."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

FORMULAS = ("naive", "lse", "log1p", "builtin")
QUANTITIES = ("probabilities", "loss", "gradient")


@dataclass(frozen=True)
class Implementation:
    """One way to compute the loss in one framework. All arrays are the framework's own.

    Attributes:
        name: ``framework/formula``, or ``framework/dotted.name[options]`` for a built-in.
        formula: ``naive``, ``lse``, ``log1p`` or ``builtin``.
        loss: logits (B, C) and integer targets (B,) to the row losses (B,). If ``reduces`` it also takes
            ``reduction="none" | "mean" | "sum"``.
        probabilities: logits (B, C) to the probabilities (B, C), where the implementation forms them.
        gradient: logits and targets to the gradient (B, C) of the summed row losses, where it is written by
            hand; None where the framework differentiates.
        differentiable: False for a loss that has no gradient at all.
        package: the distribution whose version decides the result.
        modes: the ways it can be run, a subset of its framework's.
    """

    name: str
    formula: str
    loss: Callable[..., Any]
    package: str
    probabilities: Callable[..., Any] | None = None
    gradient: Callable[..., Any] | None = None
    differentiable: bool = True
    reduces: bool = False
    modes: tuple[str, ...] = ("eager",)

    @property
    def quantities(self) -> tuple[str, ...]:
        """What it gives, in the order in which `Framework.evaluate` yields it."""
        given = (self.probabilities is not None, True, self.differentiable)
        return tuple(q for q, is_given in zip(QUANTITIES, given, strict=True) if is_given)


@dataclass(frozen=True)
class Batch:
    """The input of one call: logits (B, C) of one of the four NumPy dtypes, targets (B,) int64."""

    logits: NDArray[Any]
    targets: NDArray[Any]
    reduction: str = "none"


class Framework(Protocol):
    """A framework's own words. An instance is named by an entry point in the group ``logitlab.frameworks``."""

    name: str
    implementations: Sequence[Implementation]

    def devices(self) -> Sequence[str]:
        """The devices found now, by the framework's own report: ``cpu``, ``cuda``, ..."""

    def evaluate(
        self, implementation: Implementation, batch: Batch, device: str, mode: str
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """Yields quantity and NumPy array, one by one, so that what came before a fault is kept.

        The arrays have the dtype that the framework answered in.
        """

    def unsupported(self, error: Exception) -> bool:
        """Whether the error is the framework's word that it does not have this, rather than a fault."""
