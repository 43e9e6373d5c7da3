"""A short program that reproduces the failure of a loss of hidden states without LogitLab."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....core.literals import nested_list
from ....core.vocabulary import Quantity, Status
from ..forms._import import definition
from ..reproducing._program import ProgramRun, run_once
from ..reproducing._script import targets_text
from ._candidate import LinearCandidate
from ._form import WeightLayout
from ._lines import LinearLine
from ._presentations import UPSTREAM, How, every_other, upstream_in_turn
from ._question import Array, Question


def program(candidate: LinearCandidate, question: Question, how: How, line: LinearLine, *, copied: bool = False) -> str:
    """Return the source of a program that prints the loss's result and the exact values.

    Args:
        candidate: the loss.
        question: the batch that fails.
        how: its presentation.
        line: the failing line.
        copied: whether to copy the source of the loss even if it can be imported.
    """
    if how is How.REVERSED:
        question = question.take(np.arange(len(question.hidden))[::-1])
    if how in (How.EVEN, How.ODD):
        question = every_other(question, int(how is How.ODD))
    return "\n".join(_Lines(candidate, question, how, line, copied).all()) + "\n"


def run_program(
    candidate: LinearCandidate, question: Question, how: How, line: LinearLine, script: str
) -> tuple[str, ProgramRun]:
    """Run a program in a new process; return it, and what it printed.

    If the module of the loss is known to this process alone, the program gets a copy of the loss's source.
    """
    raises = line.status != Status.OK
    run, missing = run_once(script, raises=raises)
    if missing:
        copy = program(candidate, question, how, line, copied=True)
        again, still = run_once(copy, raises=raises)
        if not still:
            script, run = copy, again
    found = definition(candidate.callee.function, candidate.name, "loss")
    return script, ProgramRun(run.shown, run.printed, found.problem)


class _Lines:
    """The lines of one program."""

    def __init__(
        self, candidate: LinearCandidate, question: Question, how: How, line: LinearLine, copied: bool
    ) -> None:
        self._candidate, self._question, self._how, self._line, self._copied = candidate, question, how, line, copied
        self._syntax = candidate.framework.syntax
        self._device = "" if candidate.device == "cpu" else self._syntax.device.format(name=candidate.device)

    def all(self) -> list[str]:
        defined = definition(self._candidate.callee.function, self._candidate.name, "loss", copied=self._copied)
        syntax, dtype = self._syntax, self._question.fmt.name
        imports = [*syntax.imports, *([syntax.imports_by_dtype[dtype]] if dtype in syntax.imports_by_dtype else [])]
        future = ["from __future__ import annotations"] if defined.future else []
        before = syntax.before_imports.get(self._candidate.mode, ())
        what = "an exception" if self._line.status != Status.OK else f"wrong {self._line.quantity}"
        return [
            f"# {self._candidate.name}: {what} in {dtype}, {self._how}",
            *future, *before, *imports, *(line for line in defined.lines if line not in imports),
            *self._arrays(), *self._calls(), *self._exact(),
        ]  # fmt: skip

    @property
    def _quantity(self) -> Quantity:
        return Quantity(self._line.quantity)

    @property
    def _written(self) -> str | None:
        start = "the loss writes into its "
        return self._line.detail.removeprefix(start) if self._line.detail.startswith(start) else None

    @property
    def _leaves(self) -> list[str]:
        """The arguments that require a gradient."""
        alone = {How.HIDDEN_ALONE: ["hidden"], How.WEIGHT_ALONE: ["weight"], How.UNTRACKED: []}
        return alone.get(self._how, list(self._question.leaves))

    def _arrays(self) -> list[str]:
        """Return the lines that create the arguments."""
        lines = []
        for name, array in self._question.leaves.items():
            own = array.T if name == "weight" and self._candidate.form.weight_layout is WeightLayout.HC else array
            x = self._array(own)
            if own.ndim == 2 and self._how is How.TRANSPOSED:
                x = self._syntax.transposed.format(x=x)
            if own.ndim == 2 and self._how is How.STRIDED:
                x = self._syntax.strided.format(x=x, outer="", lead=len(own))
            lines.append(f"{name} = {self._syntax.leaf.format(x=x) if name in self._leaves else x}")
        targets = targets_text(self._question.targets)
        return [*lines, f"targets = {self._syntax.targets.format(numbers=targets, device=self._device)}"]

    def _array(self, values: Array) -> str:
        dtype = self._question.fmt.name
        return self._syntax.array.format(numbers=nested_list(values), dtype=dtype, device=self._device)

    def _call(self, hidden: str = "hidden") -> str:
        """Return the call of the loss."""
        callee = self._candidate.callee
        given = [hidden if name == "hidden" else name for name in callee.order]
        if self._question.bias is not None:
            given.append(f"{callee.bias_name()}=bias")
        given += [f"{name}={self._literal(value)}" for name, value in callee.keywords(self._question.options).items()]
        call = f"loss({', '.join(given)})"
        names = ", ".join([*self._question.leaves, "targets"])
        return self._syntax.linear_calls.get(self._candidate.mode, "{call}").format(call=call, names=names)

    def _literal(self, value: Any) -> str:
        return self._array(value) if isinstance(value, np.ndarray) else repr(value)

    def _calls(self) -> list[str]:
        """Return the lines that call the loss and print its result."""
        syntax, call = self._syntax, self._call()
        if self._written is not None:
            shown = syntax.numbers.format(array=self._written)
            return [f"print('{self._written} before:', {shown})", *self._once(call), f"print('after:', {shown})"]
        if self._how is How.AGAIN:
            body = [*self._once(call), f"print(f'{{turn}} call:', {self._shown()})"]
            return ["for turn in ('first', 'second'):", *(f"    {line}" for line in body)]
        lines = self._once(call)
        if self._how is How.TWICE and self._quantity != Quantity.LOSS:
            lines += [f"print('first:', {self._shown()})", self._gradients()]
        return [*lines, f"print('{self._quantity}:', {self._shown()})"]

    def _once(self, call: str) -> list[str]:
        """Return the lines that compute the loss, and its gradients if they are needed."""
        syntax, leaves = self._syntax, ", ".join(self._leaves)
        if self._how is How.UNTRACKED or not self._candidate.differentiates:
            return [line.format(call=call) for line in syntax.untracked]
        lines = [line.format(call=call, leaves=leaves) for line in syntax.linear]
        if self._how is How.BETWEEN:
            lines.append(f"{self._call('hidden + 1')}  # another batch")
        needed = self._quantity != Quantity.LOSS or self._written is not None or self._line.status != Status.OK
        return [*lines, self._gradients()] if needed else lines

    def _gradients(self) -> str:
        leaves = ", ".join(self._leaves)
        return f"gradients = {self._syntax.linear_gradients.format(leaves=leaves, upstream=self._upstream())}"

    def _upstream(self) -> str:
        if self._how in (How.SCALED, How.TWICE):
            return self._syntax.spread.format(number=UPSTREAM, device=self._device)
        if self._how is How.IN_TURN:
            factors = self._array(upstream_in_turn(len(self._question.hidden)))
            return self._syntax.weighted.format(array=factors)
        return self._syntax.ones

    def _shown(self) -> str:
        """Return the expression of the result as numbers."""
        if self._quantity == Quantity.LOSS:
            return self._syntax.numbers.format(array="rows")
        place = self._leaves.index(self._quantity.removeprefix("gradient_"))
        return self._syntax.numbers.format(array=f"gradients[{place}]")

    def _exact(self) -> list[str]:
        """Return the lines that print the exact values."""
        if self._written is not None or self._line.status != Status.OK:
            return []
        return [f"print('exact:', {nested_list(self._exact_values())})"]

    def _exact_values(self) -> Array:
        quantity, question = self._quantity, self._question
        values: Array = question.exact_of(quantity).hi
        if self._how is How.IN_TURN and quantity != Quantity.LOSS:
            values = self._exact_in_turn(values)
        elif self._how in (How.SCALED, How.TWICE) and quantity != Quantity.LOSS:
            values = values * UPSTREAM
        transposed = quantity == Quantity.GRADIENT_WEIGHT and self._candidate.form.weight_layout is WeightLayout.HC
        return values.T if transposed else values

    def _exact_in_turn(self, values: Array) -> Array:
        of_even: Array = every_other(self._question, 0).exact_of(self._quantity).hi * UPSTREAM
        if self._quantity.of_batch:
            return of_even
        found = np.zeros(values.shape)
        found[::2] = of_even
        return found
