"""A short program that reproduces a failure without LogitLab."""

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....core.literals import RUNS_FROM, nested_list
from ..batches._again import SHARE
from ..batches._possible import TRANSFORMATIONS
from ..batches._presentation import STRIDED_LOGITS, TARGETS_TAIL, Argument, Arrangement, CallKind
from ..batches._rows import PresentedRows
from ..forms._callee import Callee
from ..forms._factory import Factory
from ..forms._form import Layout, TargetDtype
from ..forms._import import Definition, definition
from ..forms._layout import shaped_logits, shaped_targets
from ..forms._sharding import mapped
from ..forms._wrapper import needs_wrapper, wrapper
from ..measuring._loss import Candidate
from ..measuring._measure_calls import direction, exact_derivative
from ._contrast import Contrast
from ._script_calls import RESULTS, in_two_threads
from ._sharded_script import sharded_script

PATIENCE = 20  # the program repeats a call that differs rarely this many times as often as the search did
NONE = Definition(())


@dataclass(frozen=True)
class Constant:
    """A batch of equal logits, all with target 0."""

    dtype: str
    size: int
    classes: int
    number: float = 0.0


@dataclass(frozen=True)
class Earlier:
    """Calls before the one that fails: with other batches, and ``repeats`` times with the same one."""

    batches: tuple[Constant, ...] = ()
    repeats: int = 0


NOTHING = Earlier()


def script(
    candidate: Candidate,
    rows: PresentedRows,
    quantity: str,
    other: Contrast | None,
    property_: str | None,
    written: Argument | None,
    *,
    raised: bool = False,
    earlier: Earlier = NOTHING,
    copied: bool = False,
) -> str:
    """Return the source of a program that prints the loss's result, the exact values, and a correct presentation.

    Args:
        candidate: the loss.
        rows: the rows that fail.
        quantity: ``loss`` or ``gradient``.
        other: another presentation, in which the loss does not fail.
        property_: the broken property.
        written: the argument that the loss writes into.
        raised: whether the call raises an exception.
        earlier: calls that the program makes first.
        copied: whether to copy the source of the loss even if it can be imported.
    """
    write = _Program(candidate, quantity, copied=copied)
    broken = f"; broken: {property_}" if property_ else ""
    wrong = "an exception" if raised else f"wrong {quantity}"
    title = f"# {candidate.name}: {wrong} in {rows.dtype}, {rows.how}{broken}"
    if candidate.sharding is not None and candidate.framework.name == "torch":
        shown = "" if written is not None else quantity
        return sharded_script(candidate, candidate.sharding, rows, shown, title)
    lines = [
        title,
        *write.imports(rows, earlier),
    ]
    lines += [*write.other_shapes(rows, earlier), *write.arrays(rows), *write.repeated(rows, earlier)]
    if written is not None:
        return "\n".join([*lines, *write.before_and_after(rows, written)]) + "\n"
    lines += write.given(rows)
    if rows.how.call not in (CallKind.AGAIN, CallKind.TWICE, CallKind.REPEATED):
        lines.append(f"print('exact:', {write.exact(rows)})")
    # For weighted losses and other derivatives the exact values are enough.
    if other is not None and rows.how.call not in (CallKind.WEIGHTED, CallKind.SUMMED, CallKind.APART, *RESULTS):
        lines += [f"# {other.wording}", *write.arrays(other.rows), *write.given(other.rows)]
        lines.append(f"print('exact:', {write.exact(other.rows)})")
    return "\n".join(lines) + "\n"


# Logits of `size` positions and `classes` classes that are all `number`, and one-hot targets of the first class.
_OF_SIZE = {
    Layout.BC: "[[number] * classes] * size",
    Layout.BTC: "[[[number] * classes] * size]",
    Layout.BCT: "[[[number] * size] * classes]",
}
_ONEHOT_OF_SIZE = {
    Layout.BC: "[[1.0] + [0.0] * (classes - 1)] * size",
    Layout.BTC: "[[[1.0] + [0.0] * (classes - 1)] * size]",
    Layout.BCT: "[[[1.0] * size] + [[0.0] * size] * (classes - 1)]",
}


class _Program:
    """The lines of a program in the loss's framework."""

    def __init__(self, candidate: Candidate, quantity: str, *, copied: bool) -> None:
        self._candidate, self._quantity, self._syntax = candidate, quantity, candidate.framework.syntax
        self._device = "" if candidate.device == "cpu" else self._syntax.device.format(name=candidate.device)
        self._form, self._loss = candidate.form, candidate.callee
        self._by_hand = candidate.gradient_callee if quantity == "gradient" else None
        self._copied = copied

    def imports(self, rows: PresentedRows, earlier: Earlier) -> list[str]:
        """Return the imports, with the loss as ``loss`` and the user's gradient function as ``gradient_of``."""
        dtypes = dict.fromkeys([rows.dtype, *(batch.dtype for batch in earlier.batches)])
        by_dtype = self._syntax.imports_by_dtype
        lines = [*self._syntax.imports, *(by_dtype[dtype] for dtype in dtypes if dtype in by_dtype)]
        loss = self._defined(self._loss, rows, "loss", self._candidate.name)
        by_hand = NONE if self._by_hand is None else self._defined(self._by_hand, rows, "gradient_of", "")
        first = ["from __future__ import annotations"] if loss.future or by_hand.future else []
        own = [line for line in (*loss.lines, *by_hand.lines) if line not in lines]
        before = self._syntax.before_imports.get(self._candidate.mode, ())
        return [*first, *before, *lines, *own]

    def _defined(self, callee: Callee, rows: PresentedRows, name: str, called: str) -> Definition:
        """Return the lines that define a function of the user under a name."""
        sharding = self._candidate.sharding
        if sharding is not None:
            return mapped(sharding, name)
        function = callee.function
        source = function.make if isinstance(function, Factory) else function
        if not needs_wrapper(callee):
            return definition(source, called, name, copied=self._copied)
        imported = "make" if isinstance(function, Factory) else "function"
        imported = imported if name == "loss" else f"{name}_{imported}"
        found = definition(source, called.partition("(")[0], imported, copied=self._copied)
        written = wrapper(
            callee, rows.options, rows.classes, lambda value: self._literal(value, rows), self._syntax.flat,
            name=name, imported=imported,
        )  # fmt: skip
        return replace(found, lines=(*found.lines, *written))

    def exact(self, rows: PresentedRows) -> str:
        """Return the exact values, in the shape of the loss's result."""
        if rows.how.call is CallKind.EMPTY:
            return "[0]" if self._quantity == "loss" else f"[0, {rows.classes}]"
        if rows.how.call in RESULTS:
            return nested_list(exact_derivative(rows))
        if self._quantity == "loss":
            return nested_list(rows.exact.loss.hi)
        exact = rows.exact.gradient.hi
        exact = exact if rows.weights is None else exact * rows.weights.astype(np.float64)[:, None]
        return nested_list(shaped_logits(exact, self._form))

    def other_shapes(self, rows: PresentedRows, earlier: Earlier) -> list[str]:
        """Return the lines that call the loss with batches of other shapes or numbers."""
        lines = []
        for dtype, batches in groupby(earlier.batches, key=lambda batch: batch.dtype):
            each = [(batch.size, batch.classes, batch.number) for batch in batches]
            y = self._syntax.array.format(numbers=_OF_SIZE[self._form.layout], dtype=dtype, device=self._device)
            u = self._first_class(dtype)
            lines += [
                f"for size, classes, number in {_literal(each)}:  # earlier calls",
                f"    y, u = {self._syntax.leaf.format(x=y)}, {u}",
                f"    {self._syntax.another_call.format(call=self._call(rows, 'y', 'u'))}",
            ]
        return lines

    def repeated(self, rows: PresentedRows, earlier: Earlier) -> list[str]:
        """Return the lines that call the loss with the same batch some times before."""
        if not earlier.repeats:
            return []
        loop = f"for _ in range({earlier.repeats}):  # earlier calls"
        return [loop, f"    {self._call(rows, 'x', 't')}"]

    def _first_class(self, dtype: str) -> str:
        """Return ``size`` targets of the first class."""
        form, array = self._form, self._syntax.array
        if form.dense:
            return array.format(numbers=_ONEHOT_OF_SIZE[form.layout], dtype=dtype, device=self._device)
        numbers = "[0] * size" if form.layout is Layout.BC else "[[0] * size]"
        if form.target_dtype is TargetDtype.INT64:
            return self._syntax.targets.format(numbers=numbers, device=self._device)
        kind = "int32" if form.target_dtype is TargetDtype.INT32 else dtype
        return array.format(numbers=numbers, dtype=kind, device=self._device)

    def arrays(self, rows: PresentedRows) -> list[str]:
        """Return the lines that create ``x`` and ``t``."""
        syntax, logits = self._syntax, shaped_logits(rows.logits, self._form)
        outer = "(0, 0), " * (logits.ndim - 2)
        lead = ", ".join(map(str, logits.shape[:-1]))
        size = {"size": len(rows), "classes": rows.classes, "lead": lead, "outer": outer}
        x = self._array(logits, rows)
        t = self._targets(shaped_targets(rows.labels, rows.logits, self._form), rows)
        if rows.how.arrangement is Arrangement.SLICED:
            x = syntax.sliced.format(x=x, **size)
        if rows.how.arrangement in (Arrangement.EVERY_OTHER, Arrangement.BOTH_STRIDED):
            last = len(rows) if logits.ndim == 2 else logits.shape[self._other_axis]
            t = syntax.every_other.format(t=t, **(size | {"size": last}))
        if rows.how.arrangement is Arrangement.TAIL:
            x = syntax.tail.format(x=x)
        if rows.how.arrangement in TARGETS_TAIL:
            t = syntax.targets_tail.format(t=t)
        if rows.how.call is CallKind.INT32:
            t = syntax.int32.format(t=t)
        if rows.how.call is CallKind.EMPTY:
            x, t = f"{x}[:0]", f"{t}[:0]"
        if rows.layout == "strided" or rows.how.arrangement in STRIDED_LOGITS:
            x = syntax.strided.format(x=x, **size)
        x = syntax.transposed.format(x=x) if rows.layout == "transposed" else x
        # Calls without a gradient take logits that require none.
        untracked = rows.how.call in (CallKind.UNTRACKED, CallKind.INFERENCE)
        return [f"x = {x if untracked else syntax.leaf.format(x=x)}", f"t = {t}"]

    @property
    def _other_axis(self) -> int:
        """The axis of the positions in logits of three axes."""
        return 3 - self._form.class_axis

    def _targets(self, targets: NDArray[Any], rows: PresentedRows) -> str:
        if targets.dtype == np.int64:
            return self._syntax.targets.format(numbers=targets_text(targets), device=self._device)
        numbers = targets_text(targets) if targets.dtype == np.int32 else nested_list(targets)
        return self._syntax.array.format(numbers=numbers, dtype=targets.dtype.name, device=self._device)

    def given(self, rows: PresentedRows) -> list[str]:
        """Return the lines that print the result; of two calls if they are compared."""
        calls = self._calls(rows)
        name = RESULTS.get(rows.how.call, "rows" if self._quantity == "loss" else "gradient")
        if rows.how.call is CallKind.AGAIN:
            shown = f"print(f'{{turn}} call:', {self._printed(name)})"
            return [
                "for turn in ('first', 'second'):  # the same bits are expected",
                *map("    {}".format, [*calls, shown]),
            ]
        if rows.how.call is CallKind.REPEATED:
            return _until_it_differs(calls, self._printed(name), PATIENCE * rows.how.times)
        if rows.how.call is CallKind.THREADS:
            return in_two_threads(self._syntax, calls, self._printed, name)
        shown = f"list({name}.shape)" if rows.how.call is CallKind.EMPTY else self._printed(name)
        return [*calls, f"print('given:', {shown})"]

    def before_and_after(self, rows: PresentedRows, written: Argument) -> list[str]:
        """Return the lines that print, before and after the call, the argument that the loss writes into."""
        name = "t" if written is Argument.TARGETS else "x"
        before = [f"print('{written} before:', {self._printed(name)})"]
        return [*before, *self._calls(rows), before[0].replace("before", "after")]

    def _calls(self, rows: PresentedRows) -> list[str]:
        """Return the lines that compute ``rows`` from ``x`` and ``t``, and ``gradient`` if it is needed."""
        syntax, call = self._syntax, self._call(rows, "x", "t")
        if rows.how.call is CallKind.UNTRACKED:
            return [line.format(call=call) for line in syntax.untracked]
        transformation = TRANSFORMATIONS.get(rows.how.call)
        if transformation is not None:
            along = [f"v = {self._array(direction(rows), rows)}"] if rows.how.call in RESULTS else []
            transformed = self._candidate.framework.transformed[transformation]
            return [*along, *(line.format(call=call) for line in transformed.lines)]
        lines = [line.format(call=call) for line in syntax.tracked]
        if rows.how.call is CallKind.BETWEEN:
            axes = 2 if self._form.layout is Layout.BC else 3
            y = syntax.another_batch.format(axes=", ".join(map(str, range(axes))), reversed=", ".join(["::-1"] * axes))
            lines.append(f"y, u = {y}, {self._other_targets(rows)}  # another batch")
            lines.append(syntax.another_call.format(call=self._call(rows, "y", "u")))
            lines += [] if self._by_hand is None else [f"gradient_of(y, u{self._options(self._by_hand, rows)})"]
        if self._quantity == "loss":
            return lines
        if self._by_hand is not None:
            return [*lines, f"gradient = gradient_of(x, t{self._options(self._by_hand, rows)})"]
        twice = rows.how.call is CallKind.TWICE
        pull = syntax.gradient.format(upstream=self._upstream(rows), repeatedly=syntax.repeatedly if twice else "")
        again = [f"print('first gradient:', {self._printed(pull)})  # the same is expected again"] if twice else []
        return [*lines, *again, f"gradient = {pull}"]

    def _call(self, rows: PresentedRows, x: str, t: str) -> str:
        calls = self._syntax.calls
        return calls.get(self._candidate.mode, calls["eager"]).format(x=x, t=t, options=self._options(self._loss, rows))

    def _other_targets(self, rows: PresentedRows) -> str:
        """Return the targets of another batch."""
        if not self._form.dense and self._form.target_dtype is not TargetDtype.LOGITS:
            return f"{rows.classes - 1} - t"
        others = rows.classes - 1 - rows.targets if rows.shares is None else rows.shares[::-1, ::-1]
        return self._targets(shaped_targets(others, rows.logits, self._form), rows)

    def _options(self, callee: Callee, rows: PresentedRows) -> str:
        """Return the loss options as keywords in a call of the function; none if its definition has them."""
        if needs_wrapper(callee):
            return ""
        given = callee.call_keywords(rows.options)
        return "".join(f", {name}={self._literal(value, rows)}" for name, value in given.items())

    def _literal(self, value: Any, rows: PresentedRows) -> str:
        return self._array(value, rows) if isinstance(value, np.ndarray) else repr(value)

    def _upstream(self, rows: PresentedRows) -> str:
        if rows.how.call is CallKind.SUMMED:
            return self._syntax.spread.format(number=SHARE, device=self._device)
        if rows.weights is None:
            return self._syntax.ones
        weighted = self._syntax.weighted.format(array=self._array(rows.weights, rows))
        return self._syntax.apart.format(array=weighted) if rows.how.call is CallKind.APART else weighted

    def _array(self, values: NDArray[Any], rows: PresentedRows) -> str:
        return self._syntax.array.format(numbers=nested_list(values), dtype=rows.dtype, device=self._device)

    def _printed(self, name: str) -> str:
        return self._syntax.numbers.format(array=name)


def _literal(batches: list[tuple[int, int, float]]) -> str:
    """Return a literal of sizes, classes and numbers, which may be infinite or NaN."""
    each = (f"({size}, {classes}, {nested_list(np.array(number))})" for size, classes, number in batches)
    return f"[{', '.join(each)}]"


def _until_it_differs(calls: list[str], result: str, times: int) -> list[str]:
    """Return a loop that repeats the calls until their result has other bits."""
    return [
        f"for turn in range(1, {times + 1}):  # the same bits are expected in each call",
        *map("    {}".format, calls),
        f"    given = {result}",
        "    first = given if turn == 1 else first",
        "    if str(given) != str(first):",
        "        print('call 1:', first)",
        "        print(f'call {turn}:', given)",
        "        break",
        "else:",
        "    print('no call gave other bits')",
    ]


def targets_text(targets: NDArray[Any]) -> str:
    same = targets.ndim == 1 and len(targets) >= RUNS_FROM and bool((targets == targets[0]).all())
    return f"[{targets[0]}] * {len(targets)}" if same else str(targets.tolist())
