"""A short program that reproduces a failure without LogitLab."""

import inspect
import sys
import textwrap
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._again import SHARE
from ._contrast import Contrast
from ._loss import Candidate
from ._options import keywords
from ._presentation import Argument, Arrangement, CallKind
from ._rows import PresentedRows

RUNS_FROM = 8  # at least this many equal numbers are written as a product


def script(
    candidate: Candidate,
    rows: PresentedRows,
    quantity: str,
    other: Contrast | None,
    property_: str | None,
    written: Argument | None,
) -> str:
    """Return the source of a program that prints the loss's result, the exact values, and a correct presentation.

    Args:
        candidate: the loss.
        rows: the rows that fail.
        quantity: ``loss`` or ``gradient``.
        other: another presentation, in which the loss does not fail.
        property_: the broken property.
        written: the argument that the loss writes into.
    """
    write = _Program(candidate, quantity)
    broken = f"; broken: {property_}" if property_ else ""
    lines = [f"# {candidate.name}: wrong {quantity} in {rows.fmt.name}, {rows.how}{broken}", *write.imports(rows)]
    if written is not None:
        return "\n".join([*lines, *write.arrays(rows), *write.before_and_after(rows, written)]) + "\n"
    lines += [*write.arrays(rows), *write.given(rows)]
    if rows.how.call not in (CallKind.AGAIN, CallKind.TWICE):
        lines.append(f"print('exact:', {_exact(rows, quantity)})")
    # For weighted losses the exact values are enough.
    if other is not None and rows.how.call not in (CallKind.WEIGHTED, CallKind.SUMMED):
        lines += [f"# {other.wording}", *write.arrays(other.rows), *write.given(other.rows)]
        lines.append(f"print('exact:', {_exact(other.rows, quantity)})")
    return "\n".join(lines) + "\n"


def _exact(rows: PresentedRows, quantity: str) -> str:
    exact = rows.exact.loss.hi if quantity == "loss" else rows.exact.gradient.hi
    if rows.weights is None or quantity == "loss":
        return _numbers(exact)
    return _numbers(exact * rows.weights.astype(np.float64)[:, None])


def _imported(loss: Callable[..., Any], called: str, as_name: str) -> str:
    """Return code that imports a function, or else its source."""
    module, name = getattr(loss, "__module__", None), getattr(loss, "__qualname__", "")
    if not name:  # a callable object: search for the module that has it under the checked name
        module, name = next((m for m, v in list(sys.modules.items()) if vars(v).get(called) is loss), None), called
    if module and module != "__main__" and name.isidentifier():
        return f"{_path(module)}from {module} import {name} as {as_name}"
    try:
        source = textwrap.dedent(inspect.getsource(loss))
    except (OSError, TypeError):
        return f"from ... import ... as {as_name}  # your function"
    name = name.rpartition(".")[2]
    return (
        f"{source}{as_name} = {name}"
        if name.isidentifier()
        else f"# your function, which has no name to import: {source}"
    )


def _path(module: str) -> str:
    """Return code that adds the current folder to the import path, if the module is in it."""
    root = sys.modules.get(module.partition(".")[0])
    file = getattr(root, "__file__", None)
    if file is None:
        return ""
    folder = Path(file).parent.parent if hasattr(root, "__path__") else Path(file).parent
    return "import sys; sys.path.append('.')  # run it here\n" if folder.resolve() == Path.cwd() else ""


class _Program:
    """The lines of a program in the loss's framework."""

    def __init__(self, candidate: Candidate, quantity: str) -> None:
        self._candidate, self._quantity, self._syntax = candidate, quantity, candidate.framework.syntax
        self._device = "" if candidate.device == "cpu" else self._syntax.device.format(name=candidate.device)
        self._by_hand = candidate.gradient if quantity == "gradient" else None

    def imports(self, rows: PresentedRows) -> list[str]:
        """Return the imports, with the loss as ``loss`` and the user's gradient function as ``gradient_of``."""
        by_dtype = self._syntax.imports_by_dtype.get(rows.fmt.name)
        lines = [*self._syntax.imports, *([by_dtype] if by_dtype else [])]
        lines.append(_imported(self._candidate.loss, self._candidate.name, "loss"))
        return [*lines, *([_imported(self._by_hand, "", "gradient_of")] if self._by_hand is not None else [])]

    def arrays(self, rows: PresentedRows) -> list[str]:
        """Return the lines that create ``x`` and ``t``."""
        syntax, size = self._syntax, {"size": len(rows), "classes": rows.classes}
        x = self._array(rows.logits, rows)
        t = syntax.targets.format(numbers=_targets(rows.targets), device=self._device)
        if rows.how.arrangement is Arrangement.SLICED:
            x = syntax.sliced.format(x=x, **size)
        if rows.how.arrangement is Arrangement.EVERY_OTHER:
            t = syntax.every_other.format(t=t, **size)
        if rows.layout == "strided":
            x = syntax.strided.format(x=x, **size)
        x = syntax.transposed.format(x=x) if rows.layout == "transposed" else x
        # Calls without a gradient take logits that require none.
        return [f"x = {x if rows.how.call is CallKind.UNTRACKED else syntax.leaf.format(x=x)}", f"t = {t}"]

    def given(self, rows: PresentedRows) -> list[str]:
        """Return the lines that print the result; of two calls if they are compared."""
        calls, name = self._calls(rows), "rows" if self._quantity == "loss" else "gradient"
        if rows.how.call is CallKind.AGAIN:
            shown = f"print(f'{{turn}} call:', {self._printed(name)})"
            return [
                "for turn in ('first', 'second'):  # the same bits are expected",
                *map("    {}".format, [*calls, shown]),
            ]
        return [*calls, f"print('given:', {self._printed(name)})"]

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
        lines = [line.format(call=call) for line in syntax.tracked]
        if rows.how.call is CallKind.BETWEEN:
            lines.append(f"y, u = {syntax.another_batch}, {rows.classes - 1} - t  # another batch")
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
        return calls.get(self._candidate.mode, calls["eager"]).format(
            x=x, t=t, options=self._options(self._candidate.loss, rows)
        )

    def _options(self, function: Callable[..., Any], rows: PresentedRows) -> str:
        """Return the loss options as keywords in a call of the function."""
        given = keywords(function, rows.options)
        written = {k: self._array(v, rows) if isinstance(v, np.ndarray) else repr(v) for k, v in given.items()}
        return "".join(f", {name}={value}" for name, value in written.items())

    def _upstream(self, rows: PresentedRows) -> str:
        if rows.how.call is CallKind.SUMMED:
            return self._syntax.spread.format(number=SHARE, device=self._device)
        if rows.weights is None:
            return self._syntax.ones
        return self._syntax.weighted.format(array=self._array(rows.weights, rows))

    def _array(self, values: NDArray[Any], rows: PresentedRows) -> str:
        return self._syntax.array.format(numbers=_numbers(values), dtype=rows.fmt.name, device=self._device)

    def _printed(self, name: str) -> str:
        return self._syntax.numbers.format(array=name)


def _numbers(values: NDArray[Any]) -> str:
    """Return a literal of nested lists, with runs of equal numbers as products."""
    if values.ndim == 0:
        return repr(float(values)) if np.isfinite(values) else f"float('{float(values)}')"
    runs = [(value, len(list(same))) for value, same in groupby(map(_numbers, values.astype(np.float64)))]
    if all(count < RUNS_FROM for _, count in runs):
        return f"[{', '.join(value for value, count in runs for _ in range(count))}]"
    return " + ".join(f"[{value}] * {count}" for value, count in runs)


def _targets(targets: NDArray[Any]) -> str:
    same = len(targets) >= RUNS_FROM and bool((targets == targets[0]).all())
    return f"[{targets[0]}] * {len(targets)}" if same else str(targets.tolist())
