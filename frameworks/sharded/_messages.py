"""The tasks that a process sends to its ranks, and their answers, with arrays of NumPy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Join:
    """Leave the group of ranks, if there is one, and join a new one that meets at a file."""

    path: str


@dataclass(frozen=True)
class Leave:
    """Shut the connections to the other ranks, which may wait in a collective. It has no answer."""


@dataclass(frozen=True)
class Load:
    """Run the lines of Python that define ``loss`` in a folder. They may import slow packages."""

    lines: str
    folder: str


@dataclass(frozen=True, eq=False)
class Forward:
    """Compute the row losses of a batch.

    Attributes:
        number: the number of the call, by which a `Backward` names it.
        loss: the lines that define ``loss(local_logits, targets, group)``; a `Load` comes before.
        logits: (B, C_local), the rank's classes.
        targets: (B,), class indices of the whole.
        layout: the memory layout of the logits, as of a case.
        first: the index of the rank's first class.
        classes: the number of all classes.
        options: keywords of the call; ``weight`` is that of all classes.
        tracked: whether to track the computation, so that a `Backward` may follow.
    """

    number: int
    loss: str
    logits: Array
    targets: Array
    layout: str
    first: int
    classes: int
    options: Mapping[str, Any]
    tracked: bool


@dataclass(frozen=True, eq=False)
class Backward:
    """Compute the gradient of the losses of an earlier call.

    Attributes:
        number: the number of the call.
        upstream: the upstream gradient, of the shape of the losses.
    """

    number: int
    upstream: Array


@dataclass(frozen=True, eq=False)
class Answer:
    """The result of a rank.

    Attributes:
        values: the row losses, or the gradient (B, C_local); None for a `Join` or `Load`.
        logits: the logits after the call, if the loss has changed them.
        targets: the targets after the call, if the loss has changed them.
    """

    values: Array | None = None
    logits: Array | None = None
    targets: Array | None = None


@dataclass(frozen=True)
class Fault:
    """The exception that a rank raised: the name of its type, and its message."""

    kind: str
    message: str


Task = Join | Leave | Load | Forward | Backward
