"""The call of a loss of logits."""

import ast
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import cast

import numpy as np

from ...core.vocabulary import Quantity
from ...frameworks import Batch, Framework, Implementation
from ...frameworks.source import NoSourceError, Value, constant
from ._call import Call, filled
from ._request import ProgramRequest

NOT_DIFFERENTIATED = ("{statements}", "loss = {loss}")

# Whether losses have one axis, by implementation, layout, kind of targets and options: JAX would compile each call.
_flat: dict[Hashable, bool] = {}


class LogitsCall(Call):
    """The call of a loss of logits; the program names them ``x`` and the targets ``t``."""

    def __init__(self, framework: Framework, chosen: Implementation, request: ProgramRequest, batch: Batch) -> None:
        if batch.format is not None:
            raise NoSourceError(f"NumPy has no dtype for {batch.format.name}, so a program needs LogitLab")
        super().__init__(framework, chosen, request)
        self._batch = batch

    @property
    def dtype(self) -> str:
        return self._batch.logits.dtype.name

    def inputs(self) -> Iterator[str]:
        syntax, batch = self._syntax, self._batch
        x = self._array("logits", batch.logits)
        size = {"lead": str(len(batch.logits)), "outer": ""}
        if self._framework.strides and batch.layout in ("transposed", "strided"):
            x = getattr(syntax, batch.layout).format(x=x, **size)
        yield f"x = {self._leaf(x)}"
        yield self._targets(batch.targets)
        for name, value in batch.options.items():
            if isinstance(value, np.ndarray):
                yield f"{name} = {self._array(name, value)}"

    def computed(self) -> Iterator[str]:
        quantity = self._request.quantity
        if quantity == Quantity.PROBABILITIES:
            yield from self._probabilities()
        elif quantity == Quantity.GRADIENT and self._chosen.gradient is not None:
            yield from self._by_hand()
        else:
            lines, loss = self._loss()
            # A template of a framework may differentiate too.
            template = self._template(self._syntax.measured) if self._chosen.differentiable else NOT_DIFFERENTIATED
            yield from filled(template, lines, loss=loss)
            if quantity == Quantity.GRADIENT and not any("gradient" in line for line in template):
                if not self._syntax.differentiated:
                    raise NoSourceError(f"{self._framework.name} does not say how a program differentiates")
                yield from self._syntax.differentiated

    def _loss(self) -> tuple[list[str], str]:
        """Return the lines before the loss, and its expression."""
        batch, chosen = self._batch, self._chosen
        x, t = self._variables()
        keywords = self._keywords(batch.options)
        if chosen.reduces:
            keywords["reduction"] = constant(batch.reduction)
        shaped = [x, t]
        if batch.layout == "spatial":
            parts = self._inlined(batch.spatial, x, t, constant(chosen.class_axis)).value.parts
            both = cast(tuple[Value, ...], parts)
            arrays = batch.spatial(x.value, t.value, chosen.class_axis)
            shaped = [Value(v.node, value=a, is_array=True) for v, a in zip(both, arrays, strict=True)]
        found = self._inlined(chosen.loss, *shaped, **keywords)
        lines, result = list(found.lines), found.result
        if batch.reduction == "none" and not self._is_flat(shaped, keywords):
            is_call = isinstance(ast.parse(result, mode="eval").body, ast.Call | ast.Name)
            result = self._syntax.flat.format(rows=result if is_call else f"({result})")
        return self._reduced(lines, result, batch.reduction)

    def _is_flat(self, arguments: Sequence[Value], keywords: Mapping[str, Value]) -> bool:
        """Return whether the losses have one axis; so does a call that raises, as its program shows."""
        batch, given = self._batch, {name: keyword.value for name, keyword in keywords.items()}
        key = (self._chosen.name, batch.layout, batch.soft, tuple(given))
        if key in _flat:
            return _flat[key]
        try:
            with self._framework.placed(self._request.device):
                rows = self._chosen.loss(*(a.value for a in arguments), **given)
        except Exception:  # a framework may raise anything
            return True
        return _flat.setdefault(key, len(rows.shape) == 1)

    def _probabilities(self) -> Iterator[str]:
        x, _ = self._variables()
        found = self._inlined(self._chosen.probabilities, x)
        decorator = self._syntax.decorators.get(self._mode)
        if decorator is None:
            yield from [*found.lines, f"probabilities = {found.result}"]
        else:
            yield from [decorator, "def probabilities_of(x):", *(f"    {line}" for line in found.lines)]
            yield from [f"    return {found.result}", "probabilities = probabilities_of(x)"]

    def _by_hand(self) -> Iterator[str]:
        found = self._inlined(self._chosen.gradient, *self._variables())
        yield from found.lines
        yield f"gradient = {found.result}"
        if self._batch.reduction == "mean":
            yield "gradient = gradient / gradient.dtype.type(len(gradient))"

    def _variables(self) -> tuple[Value, Value]:
        return self._variable("x", self._batch.logits), self._variable("t", self._batch.targets)
