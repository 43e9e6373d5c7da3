"""The shards of a loss under check: how many, and the loss as a function of whole logits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ....cases import Case
from ....core.arguments import as_integer
from ....core.errors import UsageError
from ....frameworks.sharded import has_empty, is_even
from ._factory import Factory, name_of
from ._import import Definition, definition
from ._named import load_framework
from ._options import signature_of

Loss = Callable[..., Any]

THIRD = {"torch": "the process group", "jax": "the name of the axis"}
# The widths of a usual check: even and uneven for 2 to 8 ranks, one class a rank, a vector and more, a vocabulary.
WIDTHS = (2, 3, 4, 5, 8, 10, 17, 33, 64, 129, 257, 1000, 1024, 4097, 50257)


@dataclass(frozen=True, eq=False)
class Sharding:
    """The shards of a loss.

    Attributes:
        loss: the user's loss, of local logits (B, C_local), targets (B,) and a group or axis.
        whole: the same loss as a function of whole logits (B, C) and targets (B,).
        shards: the number of ranks.
        even: whether all ranks have the same number of classes.
        definition: the lines that define the user's loss in another process.
    """

    loss: Loss
    whole: Loss
    shards: int
    even: bool
    definition: Definition

    @classmethod
    def of(cls, loss: Loss, called: str, framework: str, shards: object, *, even: bool) -> Sharding:
        """Return the shards of a loss that was given under a name.

        Raises:
            UsageError: for fewer than two shards, a framework without ranks, a loss that cannot be called with local
                logits, targets and a group, or one that another process cannot import.
        """
        number = as_integer(shards, "shards", 2)
        if framework not in THIRD:
            raise UsageError(f"{framework} has no sharded losses here; give a loss of {' or '.join(THIRD)}")
        load_framework(framework)
        signature = _signature(loss, framework)
        defined = definition(loss, called, "loss")
        if framework == "jax":
            return cls(loss, _of_devices(loss, signature, number), number, even=True, definition=defined)
        if not defined.known:
            raise UsageError(f"the ranks cannot get the loss: {defined.problem}")
        return cls(loss, _of_ranks(loss, defined, signature, number), number, even, defined)

    def fitting(self, cases: Sequence[Case], *, named: bool) -> tuple[Case, ...]:
        """Return the cases that give each rank a class; without named cases, those of a few widths.

        Raises:
            UsageError: if no case is left.
        """
        fit = tuple(case for case in cases if self._fits(case.classes) and (named or case.classes in WIDTHS))
        if not fit:
            evenly = " evenly" if self.even else ""
            raise UsageError(f"no case has a number of classes that {self.shards} shards divide{evenly}; choose others")
        return fit

    def divisible(self, classes: int) -> int:
        """Return the next number of classes that the shards divide evenly."""
        return -(-classes // self.shards) * self.shards

    def _fits(self, classes: int) -> bool:
        return not has_empty(classes, self.shards) and (is_even(classes, self.shards) or not self.even)

    def __str__(self) -> str:
        return f"{self.shards} shards"


def mapped(sharding: Sharding, name: str) -> Definition:
    """Return the lines of a JAX program that define ``name`` as the loss of whole logits, on devices of the CPU."""
    found = sharding.definition
    return replace(
        found,
        lines=(
            f"jax.config.update('jax_num_cpu_devices', {sharding.shards})",
            *found.lines,
            f"mesh = jax.sharding.Mesh(jax.devices()[:{sharding.shards}], ('classes',))",
            "P = jax.sharding.PartitionSpec",
            "local_loss = loss",
            f"def {name}(x, t, **options):",
            "    local = lambda x, t: local_loss(x, t, 'classes', **options)",
            "    return jax.shard_map(local, mesh=mesh, in_specs=(P(None, 'classes'), P()), out_specs=P())(x, t)",
        ),
    )


def _signature(loss: Loss, framework: str) -> inspect.Signature:
    third = THIRD[framework]
    expected = f"expected a function of local logits (B, C_local), targets (B,) and {third}"
    if isinstance(loss, Factory) or inspect.isclass(loss) or not callable(loss):
        raise UsageError(f"the sharded loss is {type(loss).__name__}; {expected}")
    signature = signature_of(loss)
    if signature is None:
        raise UsageError(f"the sharded loss {name_of(loss)} has no readable signature; {expected}")
    try:
        signature.bind_partial(None, None, None)
    except TypeError as error:
        raise UsageError(f"the sharded loss {name_of(loss)}{signature} does not take {third}; {expected}") from error
    return signature


def _of_ranks(loss: Loss, defined: Definition, signature: inspect.Signature, shards: int) -> Loss:
    from ....frameworks.sharded.torch import ShardedLoss, ranks_of  # noqa: PLC0415 - imports the framework

    with suppress(TypeError, OSError):  # an object without a file
        ranks_of(shards).renew(since=Path(inspect.getfile(loss)).stat().st_mtime)
    return ShardedLoss(defined.text, signature, shards)


def _of_devices(loss: Loss, signature: inspect.Signature, shards: int) -> Loss:
    from ....frameworks.sharded.jax import ShardedLoss, provide_devices  # noqa: PLC0415 - imports the framework

    problem = provide_devices(shards)
    if problem is not None:
        raise UsageError(problem)
    return ShardedLoss(loss, signature, shards)
