"""The call of a loss of hidden states, a weight and perhaps a bias."""

from collections.abc import Iterator

import numpy as np

from ...core.vocabulary import Quantity
from ...frameworks import Framework, Implementation, LinearBatch
from ...frameworks.source import NoSourceError, Value, constant
from ._call import Call, filled
from ._request import ProgramRequest


class LinearCall(Call):
    """The call of a loss of hidden states; the program names its inputs ``hidden``, ``weight``, ``bias`` and ``t``.

    Its gradients come from one backward pass, as they are measured.
    """

    def __init__(
        self, framework: Framework, chosen: Implementation, request: ProgramRequest, batch: LinearBatch
    ) -> None:
        super().__init__(framework, chosen, request)
        self._batch = batch

    @property
    def dtype(self) -> str:
        return self._batch.hidden.dtype.name

    def inputs(self) -> Iterator[str]:
        batch = self._batch
        for name, values in batch.leaves.items():
            yield f"{name} = {self._leaf(self._array(name, values))}"
        yield self._targets(batch.targets)
        for name, value in batch.keywords.items():
            if isinstance(value, np.ndarray):
                yield f"{name} = {self._array(name, value)}"

    def computed(self) -> Iterator[str]:
        is_loss = self._request.quantity == Quantity.LOSS
        names = tuple(self._batch.leaves)
        if self._chosen.gradient is not None and not is_loss:
            found = self._inlined(self._chosen.gradient, **self._given(), reduction=constant(self._batch.reduction))
            yield from found.lines
            yield f"{_gradients(names)} = {found.result}"
            return
        syntax = self._framework.syntax
        template = self._template(syntax.linear_measured)
        words = {"leaves": ", ".join(names), "gradients": _gradients(names)}
        lines, loss = self._loss()
        yield from filled(template, lines, loss=loss, **words)
        if not is_loss and not any("{gradients}" in line for line in template):
            if not syntax.linear_differentiated:
                raise NoSourceError(f"{self._framework.name} does not say how a program differentiates")
            yield from filled(syntax.linear_differentiated, [], **words)

    def _loss(self) -> tuple[list[str], str]:
        """Return the lines before the loss, and its expression."""
        given = self._given()
        if self._chosen.reduces:
            given["reduction"] = constant(self._batch.reduction)
        found = self._inlined(self._chosen.loss, **given)
        return self._reduced(found.lines, found.result, self._batch.reduction)

    def _given(self) -> dict[str, Value]:
        leaves = {name: self._variable(name, values) for name, values in self._batch.leaves.items()}
        targets = self._variable("t", self._batch.targets)
        return {**leaves, "targets": targets, **self._keywords(self._batch.keywords)}


def _gradients(names: tuple[str, ...]) -> str:
    return ", ".join(f"gradient_{name}" for name in names)
