"""The batches that suit a loss: of the catalogue, and seeded ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from ....cases import LinearCase, all_cases, quick_cases, select_cases
from ....core.errors import UsageError
from ....core.options import REDUCTIONS
from ..forms._form import Returns
from ..forms._options import REDUCTION
from ._callee import LinearCallee
from ._seeded import FEW_SIZES, MORE_SIZES, PREFIX, bias_cases, option_cases, seeded_cases, shaped_cases

MAX_WEIGHT = 2**17  # numbers of a weight; the catalogue's larger ones, which take long, are tried if they are named
QUICK_SIZES = (*FEW_SIZES, (7, 64, 129), (65, 2, 31))


def chosen(callee: LinearCallee, globs: Sequence[str], *, quick: bool, few_shapes: bool) -> tuple[LinearCase, ...]:
    """Return the cases to try, small ones first.

    Args:
        callee: the loss.
        globs: over ``family/name``; none for the default cases.
        quick: whether to return a few cases.
        few_shapes: whether each shape is compiled.

    Raises:
        UsageError: if a glob matches nothing, or no case suits the loss.
    """
    every = tuple(case for case in _own(callee) if _suits(callee, case))
    if globs:
        own = [case for case in every if any(fnmatchcase(case.id, glob) for glob in globs)]
        others = [glob for glob in globs if not glob.startswith(PREFIX)]
        held = [c for c in (select_cases(others) if others else ()) if isinstance(c, LinearCase) and _suits(callee, c)]
        found = [*held, *own]
    elif few_shapes and quick:
        found = [case for case in _of_shapes(every, FEW_SIZES) if len(case.hidden) <= 7]
    elif few_shapes:
        shaped = {case.id for case in shaped_cases()}
        some = _of_shapes(every, (*FEW_SIZES, *MORE_SIZES))
        found = [*some, *(case for case in every if case.id in shaped and case not in some)]
    elif quick:
        held = [case for case in quick_cases() if isinstance(case, LinearCase) and _suits(callee, case)]
        found = [*held, *_of_shapes(every, QUICK_SIZES)]
    else:
        held = [c for c in all_cases() if isinstance(c, LinearCase) and _suits(callee, c)]
        found = [*(case for case in held if case.linear_weight.size <= MAX_WEIGHT), *every]
    if not found:
        taken = ", ".join(callee.options) or "no options"
        raise UsageError(
            f"no case of {', '.join(globs)} suits the loss, which takes {taken}{' and a bias' * callee.takes_bias}; "
            "choose cases of `logitlab cases 'linear_*'`, or check/linear_*"
        )
    return tuple(sorted(found, key=lambda case: case.linear_weight.size + case.hidden.size))


def _of_shapes(cases: Sequence[LinearCase], shapes: Sequence[tuple[int, int, int]]) -> list[LinearCase]:
    """Return the cases of these rows, features and classes, and all with a reduction or an option."""
    return [
        case
        for case in cases
        if (*case.hidden.shape, len(case.linear_weight)) in shapes or case.reduction != "none" or case.set_options
    ]


def _own(callee: LinearCallee) -> Iterator[LinearCase]:
    yield from seeded_cases()
    yield from bias_cases()
    # A case without a reduction takes the one that the loss always has.
    reductions = REDUCTIONS if REDUCTION in callee.options else ("none",)
    yield from option_cases(callee.options, bias=callee.takes_bias, reductions=reductions)


def _suits(callee: LinearCallee, case: LinearCase) -> bool:
    """Return whether the loss takes the case's bias and options."""
    if (case.linear_bias is not None and not callee.takes_bias) or (case.linear_bias is None and callee.requires_bias):
        return False
    if case.targets.ndim == 2:  # class probabilities
        return False
    if case.reduction != "none" and callee.form.returns is Returns.ROWS and REDUCTION not in callee.options:
        return False
    return set(case.set_options) <= set(callee.options)
