"""A program of a dozen lines that shows a failure without LogitLab."""

from __future__ import annotations

import inspect
import math
import sys
import textwrap
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._contrast import Contrast
from ._loss import Candidate
from ._options import keywords
from ._presentation import Argument, Arrangement, CallKind
from ._rows import SHARE, Rows

RUNS_FROM = 8  # equal numbers that are written as a product


def script(
    candidate: Candidate,
    rows: Rows,
    quantity: str,
    other: Contrast | None,
    property_: str | None,
    written: Argument | None,
) -> str:
    """The source: it prints what the loss gives beside what is exact, and beside what it gives where it is right.

    Args:
        candidate: the loss.
        rows: those that fail.
        quantity: ``loss`` or ``gradient``.
        other: another way of calling the loss, in which it does not fail.
        property_: what is broken.
        written: the argument that the loss writes into.
    """
    write = _FRAMEWORKS.get(candidate.framework.name, _Numpy)(candidate, quantity)
    broken = f"; broken: {property_}" if property_ else ""
    lines = [f"# {candidate.name}: wrong {quantity} in {rows.fmt.name}, {rows.how}{broken}", *write.imports(rows)]
    if written is not None:
        return "\n".join([*lines, *write.arrays(rows), *write.before_and_after(rows, written)]) + "\n"
    lines += [*write.arrays(rows), *write.given(rows)]
    if rows.how.call not in (CallKind.AGAIN, CallKind.TWICE):
        lines.append(f"print('exact:', {_exact(rows, quantity)})")
    if other is not None and _adds(rows, other):
        lines += [f"# {other.wording}", *write.arrays(other.rows), *write.given(other.rows)]
        lines.append(f"print('exact:', {_exact(other.rows, quantity)})")
    return "\n".join(lines) + "\n"


def _adds(rows: Rows, other: Contrast) -> bool:
    """Whether the way in which the loss is right is worth the lines: not where the exact answer says enough."""
    return rows.how.call not in (CallKind.WEIGHTED, CallKind.SUMMED)


def _exact(rows: Rows, quantity: str) -> str:
    exact = rows.exact.loss.hi if quantity == "loss" else rows.exact.gradient.hi
    if rows.weights is None or quantity == "loss":
        return _numbers(exact)
    return _numbers(exact * rows.weights.astype(np.float64)[:, None])


def _imported(loss: Callable[..., Any], called: str) -> str:
    """How a program gets the loss: an import where that can be, else its source."""
    module, name = getattr(loss, "__module__", None), getattr(loss, "__qualname__", "")
    if not name:  # an object that can be called: where it is kept under the name that it is checked by
        module, name = next((m for m, v in list(sys.modules.items()) if vars(v).get(called) is loss), None), called
    if module and module != "__main__" and name.isidentifier():
        return f"{_path(module)}from {module} import {name} as loss"
    try:
        source = textwrap.dedent(inspect.getsource(loss))
    except (OSError, TypeError):
        return "from ... import ... as loss  # your function"
    name = name.rpartition(".")[2]
    return (
        f"{source}loss = {name}" if name.isidentifier() else f"# your function, which has no name to import: {source}"
    )


def _path(module: str) -> str:
    """What lets a program import a module from the folder it is run in, where it lies there."""
    root = sys.modules.get(module.partition(".")[0])
    file = getattr(root, "__file__", None)
    if file is None:
        return ""
    folder = Path(file).parent.parent if hasattr(root, "__path__") else Path(file).parent
    return "import sys; sys.path.append('.')  # run it here\n" if folder.resolve() == Path.cwd() else ""


class _Program:
    """The lines of a program in a framework."""

    def __init__(self, candidate: Candidate, quantity: str) -> None:
        self._candidate, self._quantity = candidate, quantity

    def _keywords(self, rows: Rows) -> str:
        """The loss options as they are written in the call."""
        given = keywords(self._candidate.loss, rows.options)
        return "".join(f", {name}={self._option(value, rows)}" for name, value in given.items())

    def _option(self, value: Any, rows: Rows) -> str:
        return self._array(_numbers(value), rows) if isinstance(value, np.ndarray) else repr(value)

    def _array(self, numbers: str, rows: Rows) -> str:
        raise NotImplementedError

    def arrays(self, rows: Rows) -> list[str]:
        """``x`` and ``t``."""
        raise NotImplementedError

    def imports(self, rows: Rows) -> list[str]:
        """Everything that is imported, the loss as ``loss``."""
        raise NotImplementedError

    def _calls(self, rows: Rows) -> list[str]:
        """From ``x`` and ``t`` to ``rows``, and where it is asked for ``gradient``."""
        raise NotImplementedError

    def _printed(self, name: str) -> str:
        return f"{name}.tolist()"

    def given(self, rows: Rows) -> list[str]:
        """What the loss gives, printed; twice where two calls are to be compared."""
        calls, name = self._calls(rows), "rows" if self._quantity == "loss" else "gradient"
        if rows.how.call is CallKind.AGAIN:
            shown = f"print(f'{{turn}} call:', {self._printed(name)})"
            return [
                "for turn in ('first', 'second'):  # the same bits are expected",
                *map("    {}".format, [*calls, shown]),
            ]
        return [*calls, f"print('given:', {self._printed(name)})"]

    def before_and_after(self, rows: Rows, written: Argument) -> list[str]:
        """The argument that the loss writes into, printed before the call and after it."""
        name = "t" if written is Argument.TARGETS else "x"
        before = [f"print('{written} before:', {self._printed(name)})"]
        return [*before, *self._calls(rows), before[0].replace("before", "after")]

    def _called(self, loss: str = "loss") -> str:
        """The loss as it is run in the mode."""
        return loss


class _Torch(_Program):
    def imports(self, rows: Rows) -> list[str]:
        return ["import torch", _imported(self._candidate.loss, self._candidate.name)]

    def _array(self, numbers: str, rows: Rows) -> str:
        return f"torch.tensor({numbers}, dtype=torch.{rows.fmt.name}{self._device})"

    @property
    def _device(self) -> str:
        return "" if self._candidate.device == "cpu" else f", device={self._candidate.device!r}"

    def arrays(self, rows: Rows) -> list[str]:
        x, t = self._array(_numbers(rows.logits), rows), f"torch.tensor({_targets(rows.targets)}{self._device})"
        if rows.how.arrangement is Arrangement.SLICED:
            x = f"torch.nn.functional.pad({x}, (3, 2, 1, 0))[1:, 3:-2]"
        if rows.how.arrangement is Arrangement.EVERY_OTHER:
            t = f"((a := {t}.repeat_interleave(2)) + torch.arange(len(a)) % 2) % {rows.classes}"
            t = f"({t})[::2]"
        if rows.layout == "strided":
            x = f"torch.nn.functional.pad({x}[..., None], (0, 1)).flatten(1)[:, ::2]"
        x += ".t().contiguous().t()" if rows.layout == "transposed" else ""
        # What is called without its gradient is given logits that need none.
        return [f"x = {x}{'' if rows.how.call is CallKind.UNTRACKED else '.requires_grad_()'}", f"t = {t}"]

    def _calls(self, rows: Rows) -> list[str]:
        call = "torch.compile(loss)" if self._candidate.mode == "compiled" else "loss"
        more = self._keywords(rows)
        if rows.how.call is CallKind.UNTRACKED:
            return ["with torch.no_grad():", f"    rows = {call}(x, t{more})"]
        lines = [f"rows = {call}(x, t{more})"]
        if rows.how.call is CallKind.BETWEEN:
            lines.append("y = x.detach().flip(0, 1).requires_grad_()  # another batch, before this one is used")
            lines.append(f"{call}(y, {rows.classes - 1} - t).sum().backward()")
        if self._quantity == "loss":
            return lines
        upstream = "torch.ones_like(rows)" if rows.weights is None else self._array(_numbers(rows.weights), rows)
        if rows.how.call is CallKind.SUMMED:
            upstream = f"torch.full((), {SHARE}, dtype=rows.dtype{self._device}).expand(rows.shape)"
        twice = rows.how.call is CallKind.TWICE
        pull = f"torch.autograd.grad(rows, x, {upstream}{', retain_graph=True' if twice else ''})[0]"
        again = [f"print('first gradient:', {pull}.tolist())  # the same is expected again"] if twice else []
        return [*lines, *again, f"gradient = {pull}"]


class _Jax(_Program):
    def imports(self, rows: Rows) -> list[str]:
        wide = ["jax.config.update('jax_enable_x64', True)"] * (rows.fmt.name == "float64")
        return ["import jax", "import jax.numpy as jnp", *wide, _imported(self._candidate.loss, self._candidate.name)]

    def _array(self, numbers: str, rows: Rows) -> str:
        return f"jnp.array({numbers}, jnp.{rows.fmt.name})"

    def arrays(self, rows: Rows) -> list[str]:
        return [f"x = {self._array(_numbers(rows.logits), rows)}", f"t = jnp.array({_targets(rows.targets)})"]

    def _calls(self, rows: Rows) -> list[str]:
        more = self._keywords(rows)
        call = f"jax.jit(lambda x, t: loss(x, t{more}))" if self._candidate.mode == "compiled" else "loss"
        more = "" if self._candidate.mode == "compiled" else more
        if rows.how.call is CallKind.UNTRACKED:
            return [f"rows = {call}(x, t{more})"]
        lines = [f"rows, pull = jax.vjp(lambda x: {call}(x, t{more}), x)"]
        if rows.how.call is CallKind.BETWEEN:
            lines.append(f"jax.vjp(lambda x: {call}(x, {rows.classes - 1} - t), x[::-1, ::-1])  # another batch")
        upstream = "jnp.ones_like(rows)" if rows.weights is None else self._array(_numbers(rows.weights), rows)
        upstream = (
            f"jnp.full_like(rows, {SHARE})" if rows.how.call is CallKind.SUMMED else f"{upstream}.astype(rows.dtype)"
        )
        pull = f"pull({upstream})[0]"
        again = [f"print('first gradient:', {pull}.tolist())  # the same is expected again"]
        again = again if rows.how.call is CallKind.TWICE else []
        return lines if self._quantity == "loss" else [*lines, *again, f"gradient = {pull}"]


class _Tensorflow(_Program):
    def imports(self, rows: Rows) -> list[str]:
        return ["import tensorflow as tf", _imported(self._candidate.loss, self._candidate.name)]

    def _array(self, numbers: str, rows: Rows) -> str:
        return f"tf.constant({numbers}, tf.{rows.fmt.name})"

    def _printed(self, name: str) -> str:
        return f"{name}.numpy().tolist()"

    def arrays(self, rows: Rows) -> list[str]:
        t = f"tf.constant({_targets(rows.targets)}, tf.int64)"
        return [f"x = {self._array(_numbers(rows.logits), rows)}", f"t = {t}"]

    def _calls(self, rows: Rows) -> list[str]:
        compiled, more = self._candidate.mode == "compiled", self._keywords(rows)
        call = "loss" if self._candidate.mode == "eager" else f"tf.function(loss, jit_compile={compiled})"
        if rows.how.call is CallKind.UNTRACKED:
            return [f"rows = {call}(x, t{more})"]
        lines = [
            "with tf.GradientTape(persistent=True) as tape:",
            "    tape.watch(x)",
            f"    rows = {call}(x, t{more})",
        ]
        if rows.how.call is CallKind.BETWEEN:
            lines.append(f"{call}(x[::-1, ::-1], {rows.classes - 1} - t)  # another batch, before this one is used")
        upstream = "tf.ones_like(rows)" if rows.weights is None else self._array(_numbers(rows.weights), rows)
        upstream = (
            f"{SHARE} * tf.ones_like(rows)" if rows.how.call is CallKind.SUMMED else f"tf.cast({upstream}, rows.dtype)"
        )
        pull = f"tf.convert_to_tensor(tape.gradient(rows, x, output_gradients={upstream}))"
        again = [f"print('first gradient:', {pull}.numpy().tolist())  # the same is expected again"]
        again = again if rows.how.call is CallKind.TWICE else []
        return lines if self._quantity == "loss" else [*lines, *again, f"gradient = {pull}"]


class _Numpy(_Program):
    def imports(self, rows: Rows) -> list[str]:
        imported = [_imported(self._candidate.loss, self._candidate.name)]
        if self._by_hand is not None:
            imported.append(_imported(self._by_hand, "").removesuffix(" as loss") + " as gradient_of")
        return [*["import ml_dtypes"] * (rows.fmt.name == "bfloat16"), "import numpy as np", *imported]

    @property
    def _by_hand(self) -> Callable[..., Any] | None:
        return self._candidate.gradient if self._quantity == "gradient" else None

    def _array(self, numbers: str, rows: Rows) -> str:
        return f"np.array({numbers}, {'ml_dtypes.bfloat16' if rows.fmt.name == 'bfloat16' else f'np.{rows.fmt.name}'})"

    def _printed(self, name: str) -> str:
        return f"np.asarray({name}).astype(float).tolist()"

    def arrays(self, rows: Rows) -> list[str]:
        x, t = self._array(_numbers(rows.logits), rows), f"np.array({_targets(rows.targets)})"
        if rows.how.arrangement is Arrangement.SLICED:
            x = f"np.pad({x}, ((1, 0), (3, 2)))[1:, 3:-2]"
        if rows.how.arrangement is Arrangement.EVERY_OTHER:
            t = f"((np.repeat({t}, 2) + np.arange({2 * len(rows)}) % 2) % {rows.classes})[::2]"
        if rows.layout == "strided":
            x = f"np.pad({x}[..., None], ((0, 0), (0, 0), (0, 1))).reshape({len(rows)}, -1)[:, ::2]"
        x = f"np.asfortranarray({x})" if rows.layout == "transposed" else x
        return [f"x = {x}", f"t = {t}"]

    def _calls(self, rows: Rows) -> list[str]:
        more = self._keywords(rows)
        lines = [f"rows = loss(x, t{more})"]
        called = ["loss", *([] if self._by_hand is None else ["gradient_of"])]
        if rows.how.call is CallKind.BETWEEN:
            lines.append(f"y, u = x[::-1, ::-1].copy(), {rows.classes - 1} - t  # another batch")
            lines += [f"{name}(y, u)" for name in called]
        return lines if self._by_hand is None else [*lines, f"gradient = gradient_of(x, t{more})"]


_FRAMEWORKS: dict[str, type[_Program]] = {"torch": _Torch, "jax": _Jax, "tensorflow": _Tensorflow}


def _numbers(values: NDArray[Any]) -> str:
    """A literal of nested lists, runs of equal numbers as products."""
    if values.ndim == 0:
        return _literal(float(values))
    if values.ndim > 1:
        rows = [(written, len(list(same))) for written, same in groupby(map(_numbers, values))]
        if all(count < RUNS_FROM for _, count in rows):
            return f"[{', '.join(written for written, count in rows for _ in range(count))}]"
        return " + ".join(f"[{written}] * {count}" for written, count in rows)
    runs = [(value, len(list(same))) for value, same in groupby(values.astype(np.float64).tolist(), key=_literal)]
    if all(count < RUNS_FROM for _, count in runs):
        return f"[{', '.join(_literal(v) for v in values.astype(np.float64).tolist())}]"
    return " + ".join(f"[{value}] * {count}" for value, count in runs)


def _targets(targets: NDArray[Any]) -> str:
    same = len(targets) >= RUNS_FROM and bool((targets == targets[0]).all())
    return f"[{targets[0]}] * {len(targets)}" if same else str(targets.tolist())


def _literal(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return f"float('{value}')"
