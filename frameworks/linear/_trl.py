"""TRL's loss of hidden states, an optional package, which computes logits tile by tile of the classes."""

from collections.abc import Callable
from typing import Any

from ...core.vocabulary import Problem
from .._batch import Implementation

PACKAGE = "trl"
TRAINERS_CHUNK = 32768  # classes of a tile in TRL's trainers


def _loss(chunk_size: int) -> Callable[..., Any]:
    def loss(
        hidden: Any,
        weight: Any,
        targets: Any,
        *,
        bias: Any = None,
        softcap: float | None = None,
        logit_scale: float = 1.0,
    ) -> Any:
        from trl.kernels import ChunkedLogProbFunction  # noqa: PLC0415 - it is optional

        # Its first result is the log-probabilities of the targets, and the others are not asked for.
        return -ChunkedLogProbFunction.apply(
            hidden, weight, bias, targets, 1.0, chunk_size, softcap, logit_scale, ()
        )[0]  # fmt: skip

    return loss


def _chunked(name: str, chunk_size: int) -> Implementation:
    return Implementation(
        f"torch/{PACKAGE}.kernels.{name}", "builtin", _loss(chunk_size), PACKAGE, problem=Problem.LINEAR,
        on_request=True,
    )  # fmt: skip


# The classes of most cases fit in one tile of the trainers' size, so tiles of 3 classes show how tiles are combined.
KERNELS = (
    _chunked("ChunkedLogProbFunction", TRAINERS_CHUNK),
    _chunked("ChunkedLogProbFunction[chunk_size=3]", 3),
)
