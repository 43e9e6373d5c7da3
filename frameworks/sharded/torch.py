"""A sharded loss of PyTorch as a function of whole logits: ranks compute it and its gradient."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from .._batch import Implementation
from .._torch_arrays import to_numpy, to_tensor
from ._division import LEADING, divided, shards_of_mode
from ._messages import Answer, Backward, Forward
from ._ranks import Ranks

SIZES = ("classes", "first_class")  # keywords that a rank gives a loss that names them
_numbers = count()


class DisagreementError(RuntimeError):
    """The ranks returned different row losses."""


@cache
def ranks_of(shards: int) -> Ranks:
    """Return the ranks of this process; their number is that of the shards."""
    return Ranks(shards)


class ShardedLoss:
    """A function of whole logits (B, C) and targets (B,) that returns the row losses of a sharded loss.

    Each rank calls ``loss(local_logits, targets, group)`` with its classes and differentiates it; the gradients of the
    local logits together are the gradient (B, C). If a rank writes into its arguments, the call writes into these too.

    Args:
        lines: lines of Python that define ``loss`` in a rank.
        signature: that of ``loss``.
        shards: the number of ranks; None for that of the mode.

    Calls raise DisagreementError if the ranks return different bits, and the exception of a rank that raises.
    """

    def __init__(self, lines: str, signature: inspect.Signature, shards: int | None = None) -> None:
        self._lines, self._shards = lines, shards
        parameters = list(signature.parameters.values())
        kept = [p for i, p in enumerate(parameters) if i != LEADING - 1 and p.name not in SIZES]
        self.__signature__ = signature.replace(parameters=kept)

    def __call__(self, logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
        ranks = ranks_of(self._shards or shards_of_mode())
        given = {k: to_numpy(v) if isinstance(v, Tensor) else v for k, v in options.items()}
        call = _Call(ranks, self._lines, logits, targets, given)
        if not call.tracked:
            return to_tensor(call.forward(), logits.device.type)
        rows: Tensor = _Sharded.apply(logits, call)
        return rows


@dataclass(eq=False)
class _Call:
    """One call of the ranks."""

    ranks: Ranks
    lines: str
    logits: Tensor
    targets: Tensor
    options: dict[str, Any]

    def __post_init__(self) -> None:
        self.number = next(_numbers)
        self.tracked = torch.is_grad_enabled() and self.logits.requires_grad
        self.parts = divided(self.logits.shape[1], self.ranks.shards)

    def forward(self) -> NDArray[Any]:
        """Return the row losses, on which the ranks agree."""
        x, targets, layout = to_numpy(self.logits), to_numpy(self.targets), _layout(self.logits)
        answers = self.ranks.ask(
            [
                Forward(
                    self.number, self.lines, np.ascontiguousarray(x[:, part]), targets, layout, part.start, x.shape[1],
                    self.options, self.tracked,
                )
                for part in self.parts
            ],
            self.lines,
        )  # fmt: skip
        self._write(answers)
        each = [_values(answer) for answer in answers]
        _require_equal(each)
        return each[0]

    def backward(self, upstream: Tensor) -> NDArray[Any]:
        """Return the gradient (B, C) of the row losses under an upstream gradient."""
        answers = self.ranks.ask([Backward(self.number, to_numpy(upstream))] * self.ranks.shards, self.lines)
        self._write(answers)
        return np.concatenate([_values(answer) for answer in answers], axis=1)

    def _write(self, answers: Sequence[Answer]) -> None:
        for part, answer in zip(self.parts, answers, strict=True):
            if answer.logits is not None:
                self.logits.data[:, part] = to_tensor(answer.logits, "cpu")
            if answer.targets is not None:
                self.targets.data[...] = to_tensor(answer.targets, "cpu")


class _Sharded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: _Call) -> Tensor:
        ctx.call = call
        return to_tensor(call.forward(), logits.device.type)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        return to_tensor(ctx.call.backward(upstream[0]), upstream[0].device.type), None


def _values(answer: Answer) -> NDArray[Any]:
    assert answer.values is not None  # noqa: S101 - for the type checker: only a Join is answered without values
    return answer.values


def _layout(logits: Tensor) -> str:
    """Return the memory layout of logits (B, C), in which each rank gets its classes."""
    rows, classes = logits.shape
    if rows < 2 or classes < 2 or logits.stride(1) == 1:
        return "rows"
    return "transposed" if logits.stride(0) == 1 else "strided"


def _require_equal(each: Sequence[NDArray[Any]]) -> None:
    """Raise a DisagreementError if the ranks returned losses of other shapes, dtypes or bits."""
    first = each[0]
    for rank, other in enumerate(each):
        if (other.shape, other.dtype) != (first.shape, first.dtype):
            kinds = f"{first.dtype}{first.shape} on rank 0 and {other.dtype}{other.shape} on rank {rank}"
            raise DisagreementError(f"the ranks disagree about the loss: it is {kinds}")
        unequal = np.flatnonzero(~((first == other) | (np.isnan(first) & np.isnan(other))))
        if unequal.size:
            row = int(unequal[0])
            where = f"row {row} is" if first.ndim else "it is"
            one, two = float(first.reshape(-1)[row]), float(other.reshape(-1)[row])
            raise DisagreementError(
                f"the ranks disagree about the loss: {where} {one!r} on rank 0 and {two!r} on rank {rank}"
            )


# --- losses of PyTorch and of packages around it ------------------------------------------------------------------


def _of_ranks(module: str, name: str, signature: Callable[..., Any]) -> ShardedLoss:
    """Return a loss of a module that only the ranks import, whose parameters are those of ``signature``."""
    lines = f"from logitlab.frameworks.sharded.{module} import {name} as loss"
    return ShardedLoss(lines, inspect.signature(signature))


def _any_option(logits: Tensor, targets: Tensor, group: Any, *, reduction: str, **options: Any) -> None: ...


def _smoothed(logits: Tensor, targets: Tensor, group: Any, *, label_smoothing: float = 0.0) -> None: ...


def _plain(logits: Tensor, targets: Tensor, group: Any) -> None: ...


def _implementation(name: str, formula: str, loss: ShardedLoss, package: str = "torch", **more: Any) -> Implementation:
    return Implementation(f"torch/{name}", formula, loss, package, modes=("sharded",), devices=("cpu",), **more)


MEGATRON = "megatron.core.tensor_parallel.vocab_parallel_cross_entropy"
SHARDED = (
    _implementation("lse[all_reduce]", "lse", _of_ranks("torch_losses", "lse", _smoothed)),
    _implementation(
        "F.cross_entropy[loss_parallel]", "builtin", _of_ranks("dtensor_losses", "loss_parallel", _any_option),
        reduces=True,
    ),
    _implementation(MEGATRON, "builtin", _of_ranks("megatron_losses", "plain", _plain), "megatron"),
    _implementation(
        f"{MEGATRON}[label_smoothing]", "builtin", _of_ranks("megatron_losses", "smoothed", _smoothed), "megatron"
    ),
)  # fmt: skip
