"""The findings of a run in a sentence each, computed from its results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from ...core.formats import DTYPES
from ...core.vocabulary import Formula, Grade
from ...storage.querying import Measurements
from ..tables.grades import Column, grade_cells, reference_column, worst_grades
from ._results import define_results

SAFE = (Grade.A, Grade.B)
MAX_FINDINGS = 3


class Finding(NamedTuple):
    """A title, what was found, and what it was found on: implementations, and the case that shows it best, if any."""

    title: str
    words: str
    implementations: tuple[str, ...] = ()
    case: str | None = None


def headlines(found: Measurements, matrix: pd.DataFrame) -> list[Finding]:
    """The first three findings that the results allow; fewer where they allow no more. ``matrix`` has the grades."""
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
    """The family on which most built-ins are F."""
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
    kind = "built-in losses" if builtin else "implementations"
    yield Finding(
        f"{(losses == Grade.F).sum()} of {len(losses)} {kind} break in {column.dtype}",
        f"They give NaN, infinity or a number where the exact answer says otherwise. Most do so on the family "
        f"{family}: {by_family.max()} of them.",
        tuple(pd.unique(of_family["implementation"])),
        str(case),
    )


def _finite_and_wrong(
    found: Measurements, worst: pd.Series[str], builtin: list[str], column: Column
) -> Iterator[Finding]:
    """Of the losses that are never F the one that is farthest off."""
    never = worst[worst.isin([Grade.C, Grade.D])]
    # Near zero an error is many ulp and matters little: it is measured against 1 at least.
    off = found.sql(
        f"""SELECT implementation, "case", value, exact, "loss ulp" FROM results
        WHERE loss IN ('C', 'D') AND {column.condition}
        ORDER BY abs(value - exact) / greatest(abs(exact), 1.0) DESC, number"""
    )
    off = off[off["implementation"].isin(never.index)]
    if off.empty:
        return
    # What people call says more than the formula of a tutorial.
    shipped = off[off["implementation"].isin(builtin)]
    line = (shipped if len(shipped) else off).iloc[0]
    others = f", and so are {len(never) - 1} more losses on some case" if len(never) > 1 else ""
    yield Finding(
        "Finite is not the same as right",
        f"{line['implementation']} gives {line['value']:.6g} where the answer is {line['exact']:.6g}, "
        f"{line['loss ulp']:.2g} ulp away, without a NaN to warn of it{others}.",
        tuple(never.index),
        str(line["case"]),
    )


def _narrower(matrix: pd.DataFrame, wide: pd.Series[str], column: Column) -> Iterator[Finding]:
    """How many losses that are safe in the reference dtype are not in the narrowest."""
    narrow = next(d for d in DTYPES if d in matrix)
    if narrow == column.dtype:
        return
    thin = worst_grades(matrix, column._replace(dtype=narrow))
    safe = [n for n in wide.index if wide[n] in SAFE and n in thin.index]
    lost = tuple(n for n in safe if thin[n] not in SAFE)
    if lost:
        yield Finding(
            f"{len(lost)} of {len(safe)} safe losses are not safe in {narrow}",
            f"They hold A or B on every case in {column.dtype} and fall to C or worse in {narrow}.",
            lost,
        )


def _compiled(matrix: pd.DataFrame, eager: pd.Series[str], column: Column) -> Iterator[Finding]:
    """Where another mode changes a grade."""
    for mode in pd.unique(grade_cells(matrix)["mode"]):
        other = worst_grades(matrix, column._replace(mode=mode))
        changed = tuple(n for n in other.index if n in eager.index and other[n] != eager[n])
        if changed:
            name = changed[0]
            yield Finding(
                f"{mode} changes {len(changed)} of {len(other)} grades",
                f"{name} is {eager[name]} in {column.mode} mode and {other[name]} in {mode} mode, in {column.dtype}.",
                changed,
            )
            return


def _best(worst: pd.Series[str], column: Column) -> Iterator[Finding]:
    accurate = tuple(worst[worst == Grade.A].index)
    if accurate:
        yield Finding(
            f"{len(accurate)} of {len(worst)} are accurate everywhere",
            f"Grade A on every case in {column.dtype}: loss, probabilities and gradient.",
            accurate,
        )
