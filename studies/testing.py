"""Helpers for a user's own tests: an assertion that a loss has a grade, and the cases of the catalogue.

The fixture `logit_case`, which gives the cases one by one, is in `pytest_plugin`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cases import Case, select_cases
from ..core.arguments import Strings, as_choice, as_dtypes, as_strings
from ..core.counting import count
from ..core.errors import UsageError
from ..core.formats import FORMATS, get_format, is_format_name, to_numpy
from ..core.vocabulary import GRADES, SOUND, Quantity, grade_rank
from ..execution.plan import choose_dtypes
from ..frameworks import Batch
from ..grading import Graded, grade
from ..oracle import Reference, reference
from .check import Layout, Returns, TargetKind, check, load_framework

WORST_SHOWN = 5


def assert_conforms(
    loss: Any, framework: str, dtypes: object = None, require: str = "B", *, first: bool = False, **options: Any
) -> None:
    """Assert that a loss passes `logitlab.check`.

    Args:
        loss: a function of logits (B, C) and integer targets (B,), in the framework's arrays, that returns the row
            losses (B,). Options such as ``returns="mean"`` describe other losses.
        framework: ``torch``, ``jax``, ``tensorflow``, ``numpy``, or another that `logitlab frameworks` lists.
        dtypes: the dtypes to check; by default all four, without those that the loss does not support.
        require: the worst grade that passes, ``A`` to ``D``.
        first: stop at the first batch that fails.
        options: all other parameters of `logitlab.check`: ``require_loss``, ``require_gradient``, ``gradient``,
            ``device``, ``mode``, ``cases``, ``name``, ``shrink``. Some describe the loss, such as ``returns``,
            ``layout``, ``targets`` and ``may_overwrite``. The limits are ``min_classes``, ``max_classes``, ``max_rows``
            and ``quick``.

    Raises:
        AssertionError: if the loss fails; its message is the check's report.
        UsageError: as in `logitlab.check`.
    """
    __tracebackhide__ = True  # pytest shows the caller's line, not this one
    result = check(loss, framework, dtypes, require, first=first, **options)
    if not result.passed:
        raise AssertionError(str(result))


@dataclass(frozen=True, eq=False)
class LogitCase:
    """A case of the catalogue in a dtype, with its exact answer.

    Attributes:
        case: the case of the catalogue, with ``why`` and ``source``.
        dtype: ``float16``, ``bfloat16``, ``float32`` or ``float64``.
    """

    case: Case
    dtype: str

    @property
    def name(self) -> str:
        """``family/name``."""
        return self.case.id

    @property
    def why(self) -> str:
        """One sentence that says why the case is hard."""
        return self.case.why

    @property
    def source(self) -> str | None:
        """The paper or public thread of the case, if any."""
        return self.case.source

    @property
    def logits(self) -> NDArray[Any]:
        """Logits (B, C) in the dtype; a new copy each time, since a loss may write into it."""
        return self.case.quantized(get_format(self.dtype)).copy()

    @property
    def targets(self) -> NDArray[np.int64]:
        """Class indices (B,); a new copy each time."""
        return self.case.targets.copy()

    @property
    def onehot(self) -> NDArray[Any]:
        """The targets as one-hot rows (B, C) in the dtype."""
        fmt = get_format(self.dtype)
        rows: NDArray[Any] = np.eye(self.case.classes)[self.case.targets].astype(fmt.dtype)
        return rows

    @cached_property
    def exact(self) -> Reference:
        """The exact loss, probabilities and gradient of the logits as the dtype holds them."""
        return self._exact("none")

    def arrays(
        self, framework: str, device: str = "cpu", *, layout: str = "bc", targets: str = "index"
    ) -> tuple[Any, Any]:
        """Return logits and targets as a framework's arrays.

        Args:
            framework: ``torch``, ``jax``, ``tensorflow``, ``numpy``, or another that `logitlab frameworks` lists.
            device: a device that the framework finds.
            layout: the axes of the logits: ``bc`` for (B, C), or the B rows as the positions of one sequence: ``btc``
                for (1, B, C), ``bct`` for (1, C, B). Targets then are (1, B), or as the logits if they are not indices.
            targets: ``index`` for class indices, ``onehot`` or ``soft`` for one-hot rows.

        Raises:
            UsageError: for a framework that cannot be imported, or another layout or kind of targets.
        """
        adapter, axes = load_framework(framework), as_choice(layout, Layout, "layout")
        indices = as_choice(targets, TargetKind, "targets") is TargetKind.INDEX
        x, t = self.logits, self.targets if indices else self.onehot
        if axes is not Layout.BC:
            # The positions of one sequence are laid out like those of one image.
            one = Batch(x, t, layout="spatial").spatial(x, t, 1 if axes is Layout.BCT else 2)
            x, t = map(np.ascontiguousarray, one)
        with adapter.placed(device):
            return adapter.to_array(x, device), adapter.to_array(t, device)

    def assert_loss(self, computed: Any, require: str = "B", *, returns: str = "rows") -> None:
        """Assert that a loss, an array of NumPy or of a framework, has the grade.

        Args:
            computed: the row losses (B,), or one number: their mean or their sum.
            require: the worst grade that passes, ``A`` to ``D``.
            returns: ``rows``, ``mean`` or ``sum``.
        """
        __tracebackhide__ = True
        self._assert(Quantity.LOSS, computed, require, returns)

    def assert_gradient(self, computed: Any, require: str = "B", *, returns: str = "rows") -> None:
        """Assert that the gradient (B, C) of the summed row losses, or of their mean, has the grade.

        Args:
            computed: an array of NumPy or of a framework.
            require: the worst grade that passes, ``A`` to ``D``.
            returns: ``rows`` or ``sum`` for the gradient of the summed row losses, ``mean`` for that of their mean.
        """
        __tracebackhide__ = True
        self._assert(Quantity.GRADIENT, computed, require, returns)

    def assert_probabilities(self, computed: Any, require: str = "B") -> None:
        """Assert that probabilities (B, C) have the grade."""
        __tracebackhide__ = True
        self._assert(Quantity.PROBABILITIES, computed, require)

    def __repr__(self) -> str:
        return f"<{self.name} in {self.dtype}: {self.case.rows} x {self.case.classes}>"

    def _exact(self, reduction: str) -> Reference:
        return reference(self.logits, self.targets, reduction=reduction)

    def _assert(self, quantity: Quantity, computed: Any, require: str, returns: str = Returns.ROWS) -> None:
        __tracebackhide__ = True
        if require not in GRADES[:-1]:
            raise UsageError(f"cannot require grade {require!r}; choose one of {', '.join(GRADES[:-1])}")
        kind = as_choice(returns, Returns, "returns")
        reduction = "none" if kind is Returns.ROWS else kind.value
        values = to_numpy(computed, quantity)
        losses = () if reduction != "none" else (self.case.rows,)
        expected = losses if quantity is Quantity.LOSS else (self.case.rows, self.case.classes)
        if values.shape != expected:
            raise AssertionError(
                f"{self.name} in {self.dtype}: {quantity} of shape {values.shape}, expected {expected}"
            )
        if not is_format_name(values.dtype.name):
            raise AssertionError(
                f"{self.name} in {self.dtype}: {quantity} of dtype {values.dtype}, expected {', '.join(FORMATS)}"
            )
        exact = self.exact if reduction == "none" else self._exact(reduction)
        graded = grade(
            quantity, values, self.logits, get_format(self.dtype), exact, reduction=reduction,
            row_losses=self.exact.loss,
        )  # fmt: skip
        short = [r for r in range(len(graded.grade)) if _falls_short(graded, r, require)]
        if short:
            wanted: NDArray[np.float64] = getattr(exact, quantity).hi
            raise AssertionError("\n".join(self._message(quantity, values, wanted, graded, short, require)))

    def _message(
        self,
        quantity: Quantity,
        values: NDArray[Any],
        exact: NDArray[np.float64],
        graded: Graded,
        short: Sequence[int],
        require: str,
    ) -> Iterator[str]:
        whole = values.ndim == 0
        where = "" if whole else f" in {len(short)} of {self.case.rows} rows"
        yield f"{self.name} in {self.dtype}: {quantity} below grade {require}{where}"
        yield f"({self.why})"
        worst = sorted(short, key=lambda r: (grade_rank(graded.grade[r]), graded.max_ulp[r]), reverse=True)
        for r in worst[:WORST_SHOWN]:
            how = f"grade {graded.grade[r]}, {graded.verdict[r]}, {graded.max_ulp[r]:.3g} ulp"
            which = f"of {count(self.case.rows, 'row')}" if whole else f"row {r}, target {self.case.targets[r]}"
            yield f"  {which}: {how}"
            given, wanted = (values, exact) if whole else (values[r], exact[r])
            # Of many classes, only the one with the largest error gets a line.
            at = () if quantity is Quantity.LOSS else (_farthest(given, wanted),)
            place = f" at class {at[0]}" if at else ""
            yield f"    given {float(given[at]):.9g}{place}, exact {float(wanted[at]):.17g}"
        if len(short) > WORST_SHOWN:
            yield f"  and {len(short) - WORST_SHOWN} more rows"


def logit_cases(patterns: Strings = None, dtypes: object = None) -> tuple[LogitCase, ...]:
    """Return the cases without loss options, each in each dtype that can hold it.

    Args:
        patterns: globs over ``family/name``; all by default.
        dtypes: float32 by default.

    Raises:
        UsageError: for an unknown dtype, a glob that matches no case, or globs whose cases all have loss options or fit
            none of the dtypes.
    """
    wanted, globs = choose_dtypes(as_dtypes(dtypes) or ["float32"]), as_strings(patterns, "patterns")
    chosen = [c for c in select_cases(globs) if c.plain]
    if not chosen:
        raise UsageError(
            f"no case of {', '.join(globs)} holds logits and class indices alone; choose other cases from "
            "`logitlab cases`"
        )
    held = tuple(LogitCase(case, dtype) for case in chosen for dtype in wanted if case.is_measured_in(dtype))
    if not held:
        why = chosen[0].why_unrepresentable(get_format(wanted[0]))
        # pytest would skip a test without cases, and nothing would be checked.
        raise UsageError(
            f"no case of {', '.join(globs)} fits {', '.join(wanted)}: {why}; choose another from "
            f"`logitlab cases --dtype {wanted[0]}`"
        )
    return held


def _falls_short(graded: Graded, r: int, require: str) -> bool:
    letter = graded.grade[r]
    if letter is None:
        return str(graded.verdict[r]) not in SOUND
    return grade_rank(letter) > grade_rank(require)


def _farthest(values: NDArray[Any], exact: NDArray[np.float64]) -> int:
    with np.errstate(invalid="ignore"):
        off = np.abs(values.astype(np.float64) - exact)
    return int(np.where(np.isnan(off) & ~np.isnan(exact), np.inf, np.nan_to_num(off, nan=0.0)).argmax())
