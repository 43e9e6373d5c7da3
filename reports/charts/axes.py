"""The axes of figures along a sweep: the swept values, and errors in ulp up to where no digit is right."""

from typing import Any

import numpy as np
import pandas as pd

from ...core.formats import get_format
from .style import ROOM, decades, powers

FLOOR = 0.1  # ulp; smaller errors are drawn here, since a logarithmic axis has no zero
LOST = 100.0  # the end of the axis, as a multiple of 1/u ulp, at which no digit is right
LOGARITHMIC = 50.0  # the ratio of last to first value that makes an axis logarithmic


def top_of(dtype: str) -> float:
    """Return the end of the axis of errors in a dtype, in ulp."""
    return float(10.0 ** np.ceil(np.log10(LOST / get_format(dtype).unit_roundoff)))


def along(axis: str, values: "pd.Series[float]") -> Any:
    """Return Altair's x of a sweep's axis, logarithmic where its values are far apart."""
    import altair as alt  # noqa: PLC0415 - an extra

    x = alt.X(f"{axis}:Q", title=axis)
    low, high = values.min(), values.max()
    if low > 0 and high / low >= LOGARITHMIC:
        return x.scale(type="log", nice=False).axis(**powers(decades(low, high)))
    return x.scale(nice=False, zero=False).axis(format="~g", labelOverlap=True, tickCount=6)


def errors(column: str, top: float, title: str | None = None) -> Any:
    """Return Altair's y of errors in ulp, from `FLOOR` to ``top``, which stands for infinity.

    Without a title it has no ticks either, as beside another layer that has both.
    """
    import altair as alt  # noqa: PLC0415 - an extra

    y = alt.Y(f"{column}:Q").scale(type="log", domain=[FLOOR / ROOM, top], nice=False)
    return y if title is None else y.title(title).axis(**powers([*decades(FLOOR, top / 10), top], last="∞"))
