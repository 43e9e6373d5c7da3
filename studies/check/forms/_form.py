"""The form of a loss under check: what it takes, what it returns, and what it may do with its arguments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Returns(StrEnum):
    """The result of a loss: row losses (B,), or one number for the batch."""

    ROWS = "rows"
    MEAN = "mean"
    SUM = "sum"


class Layout(StrEnum):
    """The axes of the logits that a loss takes: batch (b), positions (t) and classes (c)."""

    BC = "bc"
    BTC = "btc"
    BCT = "bct"


class TargetKind(StrEnum):
    """The targets that a loss takes: class indices, one-hot rows, or class probabilities."""

    INDEX = "index"
    ONEHOT = "onehot"
    SOFT = "soft"


class TargetDtype(StrEnum):
    """The dtype of class indices; ``logits`` is the dtype of the logits."""

    INT64 = "int64"
    INT32 = "int32"
    LOGITS = "logits"


@dataclass(frozen=True)
class CallForm:
    """How a loss is called.

    Attributes:
        returns: row losses, their mean or their sum.
        layout: the axes of its logits.
        targets: the kind of its targets.
        target_dtype: the dtype of its class indices.
        output: the index, key or attribute of the loss in what it returns; None if it returns the loss alone.
        negate: whether it returns log-probabilities, whose negative is the loss.
        may_overwrite: whether it may write into its arguments.
        factory: whether it is a class or function that takes the loss options and returns the loss.
        internal: the dtype in which it computes, if not that of its logits.
        targets_first: whether it takes targets before logits; None to decide by the names of its parameters.
        keywords: further keywords of every call.
    """

    returns: Returns = Returns.ROWS
    layout: Layout = Layout.BC
    targets: TargetKind = TargetKind.INDEX
    target_dtype: TargetDtype = TargetDtype.INT64
    output: int | str | None = None
    negate: bool = False
    may_overwrite: bool = False
    factory: bool = False
    internal: str | None = None
    targets_first: bool | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dense(self) -> bool:
        """Whether its targets have an entry for each class."""
        return self.targets is not TargetKind.INDEX

    @property
    def class_axis(self) -> int:
        """The axis of the classes in its logits."""
        return 2 if self.layout is Layout.BTC else 1

    @property
    def arguments(self) -> str:
        """The arguments that it takes, for messages: ``logits (B, C) and targets (B,)``."""
        logits, indices = _SHAPES[self.layout]
        return f"logits {logits} and targets {logits if self.dense else indices}"

    @property
    def rows(self) -> str:
        """The row losses that it returns, for messages."""
        return "row losses (B,)" if self.layout is Layout.BC else "row losses (b, t)"


# The logits and class indices in each layout.
_SHAPES = {
    Layout.BC: ("(B, C)", "(B,)"),
    Layout.BTC: ("(b, t, C)", "(b, t)"),
    Layout.BCT: ("(b, C, t)", "(b, t)"),
}

PLAIN_FORM = CallForm()
