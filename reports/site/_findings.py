"""The findings of a run, computed from its results, with advice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from ...core.counting import count
from ...core.vocabulary import Formula, Grade
from ...storage.querying import Measurements
from .._wording import SAFE
from ..tables.grades import Column, grade_cells, matrix_dtypes, reference_column, worst_grades
from ._results import define_results

MAX_FINDINGS = 3
MAX_NAMED = 3  # safe losses that a finding recommends


class Finding(NamedTuple):
    """A title, the finding in words, advice, the losses that it concerns, and the case that shows it best, if any."""

    title: str
    words: str
    advice: str
    implementations: tuple[str, ...] = ()
    case: str | None = None


def headlines(found: Measurements, matrix: pd.DataFrame) -> list[Finding]:
    """Return at most three findings, the most important first. ``matrix`` is the grade matrix."""
    column = reference_column(found.cells)
    if column is None:
        return []
    define_results(found)
    worst = worst_grades(matrix, column)
    formulas = found.cells.drop_duplicates("implementation").set_index("implementation")["formula"]
    builtin = [n for n in worst.index if formulas[n] == Formula.BUILTIN]
    findings = (
        *_what_breaks(found, worst, builtin, column),
        *_finite_and_wrong(found, worst, builtin, column),
        *_narrower(matrix, worst, column),
        *_compiled(matrix, worst, column),
        *_best(worst, column),
    )
    return list(findings[:MAX_FINDINGS])


def _what_breaks(found: Measurements, worst: pd.Series[str], builtin: list[str], column: Column) -> Iterator[Finding]:
    """The built-ins that are F, and the family that breaks most of them."""
    losses = worst[builtin] if builtin else worst
    broken = found.sql(
        f"""SELECT implementation, family, "case" FROM results
        WHERE grade = 'F' AND {column.condition} ORDER BY number"""
    )
    broken = broken[broken["implementation"].isin(losses.index)]
    if broken.empty:
        return
    by_family = broken.groupby("family", sort=False)["implementation"].nunique()
    family = str(by_family.idxmax())
    of_family = broken[broken["family"] == family]
    case = of_family.groupby("case", sort=False)["implementation"].nunique().idxmax()
    kind = "built-in losses" if builtin else "losses"
    breaking = tuple(losses.index[losses == Grade.F])
    yield Finding(
        f"{len(breaking)} of {len(losses)} {kind} break in {column.dtype}",
        "They return NaN or infinity where the answer is finite, or the reverse. "
        f"The family {family} breaks most of them: {by_family.max()}.",
        _replace(breaking, losses),
        tuple(pd.unique(of_family["implementation"])),
        str(case),
    )


def _replace(breaking: Sequence[str], losses: pd.Series[str]) -> str:
    """Safe losses of the frameworks whose losses break, the shortest names first."""
    frameworks = {name.partition("/")[0] for name in breaking}
    safe = [name for name in losses.index if losses[name] in SAFE]
    own = [name for name in safe if name.partition("/")[0] in frameworks] or safe
    if not own:
        return "No loss of this run is safe: keep the logits small, and check each loss for NaN."
    first = sorted(own, key=len)
    by_framework = {name.partition("/")[0]: name for name in reversed(first)}
    named = sorted(by_framework.values(), key=len)[:MAX_NAMED]
    return f"Replace them with a safe loss, such as {', '.join(named)}."


def _finite_and_wrong(
    found: Measurements, worst: pd.Series[str], builtin: list[str], column: Column
) -> Iterator[Finding]:
    """The largest error of the losses that are never F."""
    never = worst[worst.isin([Grade.C, Grade.D])]
    # Near zero an error of many ulp matters little, so the error is divided by 1 at least.
    off = found.sql(
        f"""SELECT implementation, "case", value, exact, "loss ulp" FROM results
        WHERE loss IN ('C', 'D') AND {column.condition}
        ORDER BY abs(value - exact) / greatest(abs(exact), 1.0) DESC, number"""
    )
    off = off[off["implementation"].isin(never.index)]
    if off.empty:
        return
    # A loss that people call says more than the formula of a tutorial.
    shipped = off[off["implementation"].isin(builtin)]
    line = (shipped if len(shipped) else off).iloc[0]
    others = f" Another {count(len(never) - 1, 'loss')} do the same on other cases." if len(never) > 1 else ""
    yield Finding(
        "Finite is not the same as right",
        f"{line['implementation']} returns {line['value']:.6g} where the answer is {line['exact']:.6g}, "
        f"an error of {line['loss ulp']:.2g} ulp, without a NaN as a warning.{others}",
        "A test for NaN and infinity does not find these. Compare with exact losses: logitlab check MODULE:LOSS.",
        tuple(never.index),
        str(line["case"]),
    )


def _narrower(matrix: pd.DataFrame, wide: pd.Series[str], column: Column) -> Iterator[Finding]:
    """The losses that are safe in the reference dtype but not in the narrowest."""
    narrow = matrix_dtypes(matrix)[0]
    if narrow == column.dtype:
        return
    thin = worst_grades(matrix, column._replace(dtype=narrow))
    safe = [n for n in wide.index if wide[n] in SAFE and n in thin.index]
    lost = tuple(n for n in safe if thin[n] not in SAFE)
    if lost:
        yield Finding(
            f"{len(lost)} of {len(safe)} safe losses are not safe in {narrow}",
            f"They have grade A or B on every case in {column.dtype}, and C or worse on some case in {narrow}.",
            f"Convert the logits to {column.dtype} before the loss.",
            lost,
        )


def _compiled(matrix: pd.DataFrame, eager: pd.Series[str], column: Column) -> Iterator[Finding]:
    """The losses whose grade another mode changes."""
    for mode in pd.unique(grade_cells(matrix)["mode"]):
        other = worst_grades(matrix, column._replace(mode=mode))
        changed = tuple(n for n in other.index if n in eager.index and other[n] != eager[n])
        if changed:
            name = changed[0]
            yield Finding(
                f"{mode} changes {len(changed)} of {len(other)} grades",
                f"{name} has grade {eager[name]} in {column.mode} mode, and {other[name]} in {mode} mode "
                f"({column.dtype}).",
                "Test a loss in the mode that you train in.",
                changed,
            )
            return


def _best(worst: pd.Series[str], column: Column) -> Iterator[Finding]:
    accurate = tuple(worst[worst == Grade.A].index)
    if accurate:
        yield Finding(
            f"{len(accurate)} of {len(worst)} are accurate everywhere",
            f"They have grade A on every case in {column.dtype}: loss, probabilities and gradient.",
            "Use one of them where a loss near 0 matters, such as late in training.",
            accurate,
        )
