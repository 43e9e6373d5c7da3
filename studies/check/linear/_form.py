"""The form of a loss of hidden states: what it returns, and the axes of its weight."""

from dataclasses import dataclass
from enum import StrEnum

from ..forms._form import Returns
from ..forms._options import PLAIN, CallOptions


class WeightLayout(StrEnum):
    """The axes of the weight that a loss takes: classes (c) and features (h)."""

    CH = "ch"
    HC = "hc"


@dataclass(frozen=True)
class LinearForm:
    """How a loss of hidden states is called.

    Attributes:
        returns: row losses, their mean or their sum.
        weight_layout: the axes of its weight, and of the gradient by it.
    """

    returns: Returns = Returns.ROWS
    weight_layout: WeightLayout = WeightLayout.CH

    @property
    def plain_options(self) -> CallOptions:
        """The options of a call without loss options: the reduction that the loss always has, if any."""
        return PLAIN if self.returns is Returns.ROWS else CallOptions(reduction=self.returns.value, announced=True)

    @property
    def arguments(self) -> str:
        """The arguments that it takes, for messages."""
        weight = "(C, H)" if self.weight_layout is WeightLayout.CH else "(H, C)"
        return f"hidden (B, H), weight {weight} and targets (B,)"
