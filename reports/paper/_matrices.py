"""Matrices: the grades of every implementation, and its share of wrongly finite rows by family of cases."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ...storage.querying import Measurements
from ..charts.palette import GRADE_COLOURS, INK, MISSING
from ..charts.style import CHARACTER, SMALL, WIDE, WIDTH, Figure, distinct, laid_out, slug
from ..tables.errors import by_family
from ..tables.grades import LEGEND, grade_matrix, grades_across, labels

NONE = "-"  # no grade
CELL = 12  # points, of a grade
ROW = 8.5
MARGIN = 10  # points beside labels and cells
MAX_LABELS = 0.75  # share of the figure's width for labels
MAX_COLUMNS = 8  # of a figure as wide as a column

# Shares of rows, from the lightest to the darkest shade, which lightness alone tells apart.
SHARES = {"0": 0.0, "≤ 1%": 0.01, "≤ 10%": 0.1, "≤ 50%": 0.5, "≤ 100%": 1.0}
_SHADES = ("#f4f4f4", "#cfd8ea", "#8aa5d6", "#3d6ab0", "#0b2a5b")
MAX_NAMES = 0.46  # share of a wide figure's width for names
LONGEST_FAMILY = 30  # characters


def figures(found: Measurements) -> Iterator[Figure]:
    """Yield the grade matrix, and a heatmap for each dtype, mode and device with wrongly finite rows."""
    grades = grades_across(grade_matrix(found))
    if len(grades):
        yield Figure(
            "grades",
            f"Worst grade of each implementation over all cases, rows and quantities: {LEGEND}; - not graded. "
            "Columns without a mode or device are eager and on the CPU.",
            _grades(grades),
            grades,
        )
    graded = by_family(found)
    for label, part in graded.groupby(labels(graded), sort=False):
        shares = part.pivot_table(index="implementation", columns="family", values="broken", sort=False)
        shares = shares.rename_axis(columns=None).reset_index()
        if (shares.iloc[:, 1:] > 0).any(axis=None):
            yield Figure(
                slug(f"finiteness {label}"),
                f"Share of rows that are not finite where they should be, or the reverse ({label}), by loss and family "
                "of cases; - is not measured. Losses and families without such rows are left out.",
                _heatmap(shares),
                shares,
            )


def _grades(grades: pd.DataFrame) -> Any:
    import altair as alt  # noqa: PLC0415 - an extra

    columns = list(grades.columns[2:])
    width = WIDTH if len(columns) <= MAX_COLUMNS else WIDE
    room = min(width - MARGIN - CELL * len(columns), WIDTH * MAX_LABELS)
    names = distinct(list(grades["implementation"]), int(room / (CHARACTER * SMALL)))
    cells = grades.assign(key=names).melt("key", columns, "column", "grade").dropna(subset="grade")
    cells["letter"] = cells["grade"].where(cells["grade"].isin(list(GRADE_COLOURS)), NONE)
    x = alt.X("column:N", sort=columns, title=None).axis(orient="top", labelAngle=-90, ticks=False)
    y = alt.Y("key:N", sort=names, title=None).axis(labelLimit=room + 20, labelFontSize=SMALL, ticks=False)
    colour = alt.Color("letter:N", legend=None).scale(
        domain=[*GRADE_COLOURS, NONE], range=[*GRADE_COLOURS.values(), MISSING]
    )
    base = alt.Chart(cells).encode(x=x, y=y)
    squares = base.mark_rect(stroke="white", strokeWidth=0.5).encode(color=colour)
    letters = base.mark_text(fontSize=SMALL, fontWeight="bold", color=INK).encode(text="letter:N")
    return laid_out(squares + letters, ROW * len(names) + 8 + 5 * max(map(len, columns)), width, framed=False)


def _heatmap(shares: pd.DataFrame) -> Any:
    import altair as alt  # noqa: PLC0415 - an extra

    bad = shares.set_index("implementation")
    bad = bad.loc[(bad > 0).any(axis=1), (bad > 0).any(axis=0)]
    families = distinct(list(bad.columns), LONGEST_FAMILY)
    names = distinct(list(bad.index), int(WIDE * MAX_NAMES / (CHARACTER * SMALL)))
    binned = bad.apply(lambda c: c.map(_bin)).set_axis(names).set_axis(families, axis=1).rename_axis("label")
    cells = binned.reset_index().melt("label", families, "family", "share")
    x = alt.X("family:N", sort=families, title=None).axis(
        labelAngle=-90, labelFontSize=SMALL, labelLimit=200, labelOverlap=False, ticks=False
    )
    y = alt.Y("label:N", sort=names, title=None).axis(
        labelLimit=WIDE * MAX_NAMES + 20, labelFontSize=SMALL, labelOverlap=False, ticks=False
    )
    legend = alt.Legend(
        orient="top", title="rows not finite where they should be, or the reverse", symbolStrokeWidth=0, columns=5,
        symbolSize=40, titleLimit=300,
    )  # fmt: skip
    colour = alt.Color("share:N", legend=legend).scale(domain=list(SHARES), range=list(_SHADES))
    base = alt.Chart(cells).encode(x=x, y=y)
    squares = (
        base.transform_filter("datum.share != null").mark_rect(stroke="white", strokeWidth=0.4).encode(color=colour)
    )
    absent = base.transform_filter("datum.share == null").mark_text(text=NONE, fontSize=SMALL, color="#777777")
    height = ROW * len(names) + 24 + CHARACTER * SMALL * max(map(len, families))
    return laid_out(squares + absent, height, WIDE, framed=False)


def _bin(share: float) -> str | None:
    if np.isnan(share):
        return None
    return next(name for name, most in SHARES.items() if share <= most)
