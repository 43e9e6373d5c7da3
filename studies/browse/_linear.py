"""One case of the linear problem in a dtype: its shapes, the exact losses, and the exact gradients' largest entries."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ...cases import LinearCase
from ...core.formats import Format
from ...core.options import as_layer_keywords
from ...oracle import Exact, LinearReference, linear_reference
from ._digits import digits


@dataclass(frozen=True, eq=False)
class LinearView:
    """One case of the linear problem in one dtype.

    Attributes:
        case, fmt: the case and the dtype's format.
        rows: the numbers of the shown rows.
        whole: the exact answer of the case.
        single: the exact answer without its reduction.
    """

    case: LinearCase
    fmt: Format
    rows: tuple[int, ...]
    whole: LinearReference
    single: LinearReference

    @classmethod
    def of(cls, case: LinearCase, fmt: Format, rows: tuple[int, ...]) -> "LinearView":
        """Return a view with the exact answers of the case's numbers as the dtype holds them."""
        hidden, weight, bias = case.quantized_inputs(fmt)
        targets = case.quantized_targets(fmt)
        options = as_layer_keywords(case.options(fmt))
        single = linear_reference(hidden, weight, targets, bias=bias, **options)
        if case.reduction == "none":
            return cls(case, fmt, rows, single, single)
        whole = linear_reference(hidden, weight, targets, bias=bias, reduction=case.reduction, **options)
        return cls(case, fmt, rows, whole, single)

    @property
    def dtype(self) -> str:
        return self.fmt.name

    @cached_property
    def loss(self) -> str | None:
        """The exact reduced loss in twenty digits; None if the case has no reduction."""
        if self.case.reduction == "none":
            return None
        return digits(self.whole.loss, positive=any(self._has_loss(r) for r in range(self.case.rows)))

    def row_loss(self, row: int) -> str:
        """Return the exact loss of a row in twenty digits."""
        return digits(self.single.loss[row], positive=self._has_loss(row))

    def note(self, row: int) -> str:
        """Return why a row has no ordinary loss, or nothing."""
        x, mass = self.single.logits.hi[row], self.single.of_logits.mass[row]
        target = self.case.targets[row]
        if np.ndim(target) == 0 and target == self.case.ignore_index:
            return "ignored"
        if np.isnan(x).any():
            return "ignored" if mass == 0 else "a NaN logit"
        return "" if self.single.defined[row] else "no limit exists"

    def _has_loss(self, row: int) -> bool:
        """Return whether the exact loss of a row is above zero, because several classes have a probability."""
        z = self.single.logits.hi[row]
        several = np.isfinite(z).sum() > 1 and not (z == np.inf).any()
        return bool(several and self.single.of_logits.mass[row] > 0)

    def gradients(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield name, shape, largest entry in twenty digits, and the place of the entry, of each exact gradient.

        The gradient by the hidden states is that of the shown rows, the others are those of the whole batch.
        """
        every, rows = self.whole, list(self.rows)
        yield self._gradient("gradient_hidden", every.gradient_hidden[rows], ("row", "feature"), rows)
        yield self._gradient("gradient_weight", every.gradient_weight, ("class", "feature"))
        if every.gradient_bias is not None:
            yield self._gradient("gradient_bias", every.gradient_bias, ("class",))

    def _gradient(
        self, name: str, exact: Exact, axes: tuple[str, ...], first: list[int] | None = None
    ) -> tuple[str, str, str, str]:
        shape = " x ".join(map(str, exact.hi.shape))
        if not exact.hi.size or np.isnan(exact.hi).all():
            return name, shape, "NaN" if exact.hi.size else "", ""
        place = np.unravel_index(int(np.nanargmax(np.abs(exact.hi))), exact.hi.shape)
        shown = [int(i) if first is None or axis else first[i] for axis, i in enumerate(place)]
        entry = ", ".join(f"{axis} {i}" for axis, i in zip(axes, shown, strict=True))
        missing = int(np.isnan(exact.hi).sum())
        return name, shape, digits(exact[place]), entry + (f"; {missing} entries are NaN" if missing else "")


def tables(view: LinearView) -> Iterator[Table]:
    """Yield the table of rows, with loss and logits, and the table of gradients."""
    rows = _table(("row", "target", "exact loss", "exact logits from", "to", ""))
    for r in view.rows:
        target = view.case.targets[r]
        low, high = _range(view.single.logits.hi[r])
        name = "probabilities" if np.ndim(target) else str(target)
        rows.add_row(str(r), name, view.row_loss(r), low, high, view.note(r))
    yield rows
    gradients = _table(("exact gradient", "shape", "largest entry", "at"))
    for line in view.gradients():
        gradients.add_row(*line)
    yield gradients


def _range(logits: NDArray[np.float64]) -> tuple[str, str]:
    if not logits.size or np.isnan(logits).any():
        return "NaN", "NaN"
    return f"{logits.min():.6g}", f"{logits.max():.6g}"


def _table(columns: tuple[str, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table
