"""The cases that a check tries: the catalogue's that suit the loss, and seeded rows."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np

from ....cases import Case, select_cases
from ....core import arguments
from ....core.errors import UsageError
from ....core.vocabulary import Problem
from ..forms._form import PLAIN_FORM, CallForm, Returns, TargetKind
from ..forms._options import REDUCTION, set_in
from ._rows import LAID
from ._seeded import FEW_WIDTHS, SEEDED, option_cases, seeded_cases


def chosen_cases(
    patterns: str | Sequence[str] | None, options: Sequence[str], form: CallForm = PLAIN_FORM, *, few_shapes: bool
) -> tuple[Case, ...]:
    """Return the cases that the user's patterns name, or all, which the loss can be given.

    Raises:
        UsageError: if no case is left.
    """
    globs = arguments.as_strings(patterns, "cases")
    every = tuple(case for case in (*seeded_cases(), *option_cases(options)) if _can_be_given(case, options, form))
    if few_shapes and not globs:
        every = tuple(case for case in every if case.classes in FEW_WIDTHS)
    of_its_own = tuple(c for c in every if not globs or any(fnmatchcase(c.id, glob) for glob in globs))
    others = [glob for glob in globs if not glob.startswith(SEEDED)]
    held = tuple(c for c in (select_cases(others) if others or not globs else ()) if _can_be_given(c, options, form))
    if not held and not of_its_own:
        taken = f" with the options {', '.join(options)}" if options else " alone"
        raise UsageError(
            f"no case of {', '.join(globs)} holds logits and class indices{taken}, which is what this loss takes; "
            "choose other cases from `logitlab cases`"
        )
    return (*held, *of_its_own)


def _can_be_given(case: Case, options: Sequence[str], form: CallForm) -> bool:
    given, taken = set(set_in(case)), {*options, *([REDUCTION] if case.reduction == form.returns else [])}
    in_rows = case.problem is Problem.LOGITS and case.layout in LAID and not case.invalid and case.rows > 0
    # Losses of class probabilities divide a weighted mean by the number of rows, or by the weights.
    is_mean = case.reduction == "mean" or form.returns is Returns.MEAN
    one_meaning = not (form.dense and is_mean and "weight" in given)
    return in_rows and one_meaning and given <= taken and _has_targets(case, form)


def _has_targets(case: Case, form: CallForm) -> bool:
    if case.targets.ndim == 2:
        sums = case.targets.sum(axis=1)
        return form.targets is TargetKind.SOFT and bool(np.allclose(sums, 1, rtol=0, atol=2.0**-20))
    return case.targets.dtype == np.int64
