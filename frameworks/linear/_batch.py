"""The input of one call of a loss of hidden states."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.formats import Format, get_format
from ...core.options import OptionValues, as_layer_keywords
from ...core.vocabulary import Quantity
from .._batch import Implementation, WithQuantities, missing_options, options_key


@dataclass(frozen=True)
class LinearBatch:
    """The input of one call; all arrays are of one dtype of NumPy or ml_dtypes, and the targets of class indices int64.

    Attributes:
        hidden: hidden states (B, H).
        weight: the weight (C, H) of the last layer.
        bias: the bias (C,) of the last layer, or None.
        targets: class indices (B,), or class probabilities (B, C).
        reduction: ``none``, ``mean`` or ``sum``.
        options: the options of `options.LossOptions` that are set, rounded to the dtype.
    """

    hidden: NDArray[Any]
    weight: NDArray[Any]
    bias: NDArray[Any] | None
    targets: NDArray[Any]
    reduction: str = "none"
    options: OptionValues = field(default_factory=OptionValues)

    @property
    def rows(self) -> int:
        return len(self.hidden)

    @property
    def soft(self) -> bool:
        """Whether the targets are class probabilities."""
        return self.targets.ndim == 2

    @property
    def number_format(self) -> Format:
        """The format of the inputs."""
        return get_format(self.hidden.dtype)

    @property
    def kind(self) -> tuple[str, int]:
        """The dtype and the number of classes: batches of one kind follow each other in a worker."""
        return self.hidden.dtype.name, len(self.weight)

    @property
    def leaves(self) -> dict[str, NDArray[Any]]:
        """The arrays that the loss is differentiated by, by the names of its arguments."""
        arrays = {"hidden": self.hidden, "weight": self.weight, "bias": self.bias}
        return {name: array for name, array in arrays.items() if array is not None}

    @property
    def keywords(self) -> dict[str, Any]:
        """The options as keywords of a loss; see `as_layer_keywords`."""
        return as_layer_keywords(self.options)

    @property
    def program_key(self) -> Hashable:
        """A key that is equal for batches that can share a compiled program, given equal shapes and dtypes."""
        return self.reduction, options_key(self.options)

    def part(self, rows: slice) -> "LinearBatch":
        """Return the batch of some rows, with the whole weight."""
        return replace(self, hidden=self.hidden[rows], targets=self.targets[rows])

    def quantities(self, implementation: WithQuantities) -> tuple[str, ...]:
        """Return the quantities that an implementation, or its description, returns for the batch."""
        own = {Quantity.LOSS, *(f"gradient_{name}" for name in self.leaves)}
        return tuple(q for q in implementation.quantities if q in own)

    def shape_of(self, quantity: str) -> tuple[int, ...]:
        """Return the shape of a quantity."""
        if quantity == Quantity.LOSS:
            return (self.rows,) if self.reduction == "none" else ()
        return self.leaves[quantity.removeprefix("gradient_")].shape

    def without_arrays(self) -> "LinearBatch":
        """Return the batch without its arrays, which a compiled program can keep."""
        nothing = np.empty((0, 0))
        return replace(self, hidden=nothing, weight=nothing, bias=None, targets=nothing)

    def refusal(self, implementation: Implementation) -> str | None:
        """Return why the implementation's documentation excludes this batch; None if it does not."""
        if self.soft and not implementation.soft:
            return "takes class indices, not class probabilities"
        if self.reduction == "mean" and not implementation.reduces and {"weight", "ignore_index"} & set(self.options):
            return "returns row losses and defines no mean over weighted or ignored rows"
        return missing_options(implementation.loss, [*self.keywords, *["bias"] * (self.bias is not None)])
