"""The division of the classes among ranks, and the number of ranks of the mode ``sharded``."""

import os

VARIABLE = "LOGITLAB_SHARDS"  # the number of ranks, in the environment of a worker
DEFAULT = 2
LEADING = 3  # parameters of a sharded loss before its options: local logits, targets, and the group or axis


def shards_of_mode() -> int:
    """Return the number of ranks that the mode ``sharded`` has in this process."""
    return int(os.environ.get(VARIABLE, DEFAULT))


def divided(classes: int, shards: int) -> tuple[slice, ...]:
    """Return the classes of each rank, divided as `torch.chunk` and DTensor do.

    Each rank has ``ceil(classes / shards)`` classes, the last ones fewer or none.
    """
    size = -(-classes // shards)
    return tuple(slice(min(rank * size, classes), min((rank + 1) * size, classes)) for rank in range(shards))


def is_even(classes: int, shards: int) -> bool:
    """Return whether all ranks have the same number of classes."""
    return classes % shards == 0


def has_empty(classes: int, shards: int) -> bool:
    """Return whether a rank has no class."""
    last = divided(classes, shards)[-1]
    return last.start == last.stop
