"""Matrices: the grades of every implementation, and in which families of cases it is not finite where it should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._lines import plain
from .._matrix import alike, grades_across, labels
from .._palette import GRADE_COLOURS, INK, MISSING
from .._tables import grade_matrix
from ._look import CHARACTER, SMALL, WIDTH, Figure, laid_out, shortened, slug

NONE = "-"  # where there is no grade
CELL = 12  # points, of a grade
ROW = 8.5
BESIDE = 10  # points that are neither labels nor cells
WIDEST = 0.75  # of the figure may be labels

# Shares of rows, from the lightest to the darkest: told apart by lightness alone.
SHARES = {"0": 0.0, "≤ 1%": 0.01, "≤ 10%": 0.1, "≤ 50%": 0.5, "≤ 100%": 1.0}
_SHADES = ("#f4f4f4", "#cfd8ea", "#8aa5d6", "#3d6ab0", "#0b2a5b")
FAMILY = 5.6  # points, of a column
_LABEL = 118  # points


def figures(df: pd.DataFrame) -> Iterator[Figure]:
    """The grade matrix, and a heatmap for each dtype, mode and device in which something is not finite."""
    grades = grades_across(grade_matrix(df))
    if len(grades):
        yield Figure(
            "grades",
            "Worst grade of each implementation over all cases, rows and quantities: A accurate, B stable, "
            "C offset-sensitive, D inaccurate, F not finite where it should be, or the reverse.",
            _grades(grades),
            grades,
        )
    graded = plain(df[df["grade"].notna()])
    for label, part in graded.groupby(labels(graded), sort=False):
        shares = _not_finite(part)
        if (shares.iloc[:, 1:] > 0).any(axis=None):
            yield Figure(
                slug(f"finiteness {label}"),
                f"Share of the rows that are not finite where they should be, or the reverse, by family, {label}. "
                "Losses and families without any are left out, losses alike are one line, white is not measured.",
                _heatmap(shares),
                shares,
            )


def _grades(grades: pd.DataFrame) -> Any:
    import altair as alt  # noqa: PLC0415 - an extra

    columns = list(grades.columns[2:])
    room = min(WIDTH - BESIDE - CELL * len(columns), WIDTH * WIDEST)
    names = [shortened(name, int(room / (CHARACTER * SMALL))) for name in grades["implementation"]]
    # Two long names may have become the same words, and are still two lines.
    keys = [f"{i}\n{name}" for i, name in enumerate(names)]
    cells = grades.assign(key=keys).melt("key", columns, "column", "grade").dropna(subset="grade")
    cells["letter"] = cells["grade"].where(cells["grade"].isin(list(GRADE_COLOURS)), NONE)
    x = alt.X("column:N", sort=columns, title=None).axis(orient="top", labelAngle=-90, ticks=False, domain=False)
    y = alt.Y("key:N", sort=keys, title=None).axis(
        labelExpr="split(datum.label, '\\n')[1]", labelLimit=room + 20, labelFontSize=SMALL, ticks=False, domain=False
    )
    colour = alt.Color("letter:N", legend=None).scale(
        domain=[*GRADE_COLOURS, NONE], range=[*GRADE_COLOURS.values(), MISSING]
    )
    base = alt.Chart(cells).encode(x=x, y=y)
    squares = base.mark_rect(stroke="white", strokeWidth=0.5).encode(color=colour)
    letters = base.mark_text(fontSize=SMALL, fontWeight="bold", color=INK).encode(text="letter:N")
    return laid_out(squares + letters, ROW * len(keys) + 8 + 5 * max(map(len, columns)))


def _not_finite(rows: pd.DataFrame) -> pd.DataFrame:
    """Implementation x family: the share of graded rows that are not finite where they should be, or the reverse."""
    wrong = (rows["grade"] == "F") & (rows["finite"] != rows["expected_finite"])
    shares = rows.assign(wrong=wrong.astype(float)).pivot_table(
        index="implementation", columns="family", values="wrong", sort=False
    )
    shares.columns.name = None
    return shares.reset_index()


def _heatmap(shares: pd.DataFrame) -> Any:
    import altair as alt  # noqa: PLC0415 - an extra

    bad = shares.set_index("implementation")
    bad = bad.loc[(bad > 0).any(axis=1), (bad > 0).any(axis=0)]
    families = list(bad.columns)
    names = list(SHARES)
    binned = bad.apply(lambda c: c.map(_bin)).reset_index()
    groups = alike(binned, families)
    labels = [_label(names, binned["implementation"]) for names in groups.pop("implementations")]
    cells = groups.assign(label=labels).melt("label", families, "family", "share").dropna(subset="share")
    x = alt.X("family:N", sort=families, title=None).axis(
        labelAngle=-90, labelFontSize=SMALL, labelLimit=90, labelOverlap=False, ticks=False, domain=False
    )
    y = alt.Y("label:N", sort=labels, title=None).axis(
        labelLimit=_LABEL + 20, labelFontSize=SMALL, ticks=False, domain=False
    )
    legend = alt.Legend(orient="top", title=None, symbolStrokeWidth=0, columns=3, symbolSize=40)
    colour = alt.Color("share:N", legend=legend).scale(domain=names, range=list(_SHADES))
    drawn = alt.Chart(cells).mark_rect(stroke="white", strokeWidth=0.4).encode(x=x, y=y, color=colour)
    return laid_out(drawn, ROW * len(labels) + 20 + 3.2 * max(map(len, families)))


def _bin(share: float) -> str | None:
    if np.isnan(share):
        return None
    return next(name for name, most in SHARES.items() if share <= most)


def _label(names: Sequence[str], everyone: Iterable[str]) -> str:
    """The first name, or ``*/naive`` for one that all frameworks have alike, and how many there are besides."""
    whole = Counter(map(_end, everyone))
    ends = Counter(map(_end, names))
    told = dict.fromkeys(f"*/{_end(n)}" if ends[_end(n)] == whole[_end(n)] > 1 else n for n in names)
    more = f" +{len(told) - 1}" * (len(told) > 1)
    return shortened(next(iter(told)), int(_LABEL / (CHARACTER * SMALL)) - len(more)) + more


def _end(name: str) -> str:
    return name.partition("/")[2] or name
