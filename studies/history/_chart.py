"""Charts of errors over versions: one for each cell whose results changed, a panel for each quantity."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from ...core.formats import get_format
from ...core.vocabulary import GRADES, QUANTITIES, in_words
from ...reports.charts.palette import GRADE_COLOURS, INK
from ...reports.charts.style import decades, distinct, powers, slug
from ...reports.site import PageChart
from ..compare import CELL, Kind
from ._history import History

FLOOR = 0.05  # ulp; smaller errors are drawn here, since a logarithmic axis has no zero
LOST = 10.0  # the end of the axis of errors in 1/u ulp, at which no digit is right
WIDTH_OF_VERSION, HEIGHT = 46, 170  # pixels
MAX_LABEL = 26  # characters of a version
_LARGEST, _MEDIAN = "largest", "median"


def charts(found: History) -> Iterator[PageChart]:
    """Yield the chart of each cell in which more than bits changed."""
    steps = found.steps
    changed = set(steps.loc[steps["change"] != Kind.BITS_CHANGED, CELL].itertuples(index=False, name=None))
    for cell, points in found.points.groupby(CELL, sort=False):
        if cell in changed:
            name = " ".join(map(str, cell))
            title = (
                f"{name}: the largest finite error (line) and the median error (dashes) of each version. The letter "
                "and the colour of a point are the worst grade, so that F is a result that is not finite."
            )
            yield PageChart(slug(f"history {name}"), title, chart(points))


def chart(points: pd.DataFrame) -> Any:
    """Return the chart of one cell: errors in ulp over its versions, on a logarithmic axis."""
    import altair as alt  # noqa: PLC0415 - an extra

    top = 10.0 ** math.ceil(math.log10(LOST / get_format(points["dtype"].iloc[0]).unit_roundoff))
    versions = list(dict.fromkeys(points["version"]))
    names = dict(zip(versions, distinct(versions, MAX_LABEL), strict=True))
    quantities = [q for q in QUANTITIES if q in set(points["quantity"])]
    x = alt.X("version:N", sort=list(names.values()), title=None, axis=alt.Axis(labelAngle=-40, labelLimit=160))
    y = alt.Y("ulp:Q", title="error (ulp)", axis=alt.Axis(**powers(decades(FLOOR, top, most=7))))
    y = y.scale(type="log", domain=[FLOOR, top], nice=False)
    colour = alt.Color("grade:N", title="grade").scale(domain=list(GRADES), range=list(GRADE_COLOURS.values()))
    base = alt.Chart().encode(x=x, y=y)
    of_largest, of_median = (base.transform_filter(f"datum.kind == '{kind}'") for kind in (_LARGEST, _MEDIAN))
    drawn = alt.layer(
        of_median.mark_line(color="#777777", strokeDash=[4, 3], strokeWidth=1.2),
        of_largest.mark_line(color="#777777", strokeWidth=1.2),
        of_largest.mark_point(filled=True, size=190, opacity=1).encode(color=colour),
        of_largest.mark_text(fontSize=9, fontWeight="bold", color=INK).encode(text="grade:N"),
        data=_drawable(points, top, names),
    )
    header = alt.Header(title=None, labelFontSize=12, labelFontWeight="bold")
    panels = drawn.properties(width=max(130, WIDTH_OF_VERSION * len(versions)), height=HEIGHT).facet(
        column=alt.Column("panel:N", sort=list(map(in_words, quantities)), header=header), spacing=14
    )
    # The site's style; `dressed` is that of pages, which this chart is on.
    return panels.configure_view(stroke="#cccccc").configure_axis(gridOpacity=0.4, labelFontSize=11)


def _drawable(points: pd.DataFrame, top: float, names: dict[str, str]) -> pd.DataFrame:
    """Return the points of both lines within the axis; a version without a graded result has none."""
    graded = points[points["grade"].notna()]
    # If every result is not finite, there is no finite error: the point is at the end of the axis.
    largest = graded.assign(kind=_LARGEST, ulp=graded["largest_ulp"].fillna(top))
    both = pd.concat([largest, graded.assign(kind=_MEDIAN, ulp=graded["median_ulp"])], ignore_index=True)
    return pd.DataFrame(
        {
            "version": both["version"].map(names),
            "panel": both["quantity"].map(in_words),
            "kind": both["kind"],
            "grade": both["grade"],
            "ulp": both["ulp"].clip(FLOOR, top).astype(float),
        }
    )
