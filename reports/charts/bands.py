"""Bands of errors along the axis of a sweep: from the median to the 99th percentile, and the largest error."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ...storage.querying import Measurements
from ..tables.curves import axes
from ..tables.distributions import by_axis
from ..tables.grades import Column, labels
from .axes import FLOOR, along, errors, top_of
from .style import LINES, Figure, encoded, laid_out, slug

HEIGHT = 190


def figures(found: Measurements, only: Column | None = None) -> Iterator[Figure]:
    """Yield a figure for each axis of a sweep, quantity, dtype, mode and device, or for ``only`` these three."""
    for axis in axes(found):
        table = by_axis(found, axis, "true" if only is None else only.condition)
        for quantity, of_quantity in table.groupby("quantity", sort=False):
            for label, numbers in of_quantity.groupby(labels(of_quantity), sort=False):
                yield Figure(
                    slug(f"band {axis} {quantity} {label}"),
                    f"Errors of the {quantity} in ulp along the {axis}, {label}, over all implementations of a "
                    "formula. The band is from the median to the 99th percentile of the finite errors, and the line is "
                    "the largest error, at the top where a result is not finite.",
                    _drawn(numbers, axis, str(quantity)),
                    numbers.reset_index(drop=True),
                )


def _drawn(numbers: pd.DataFrame, axis: str, quantity: str) -> Any:
    import altair as alt  # noqa: PLC0415 - an extra

    top = top_of(numbers["dtype"].iloc[0])
    shown = _shown(numbers, axis, top)
    marks = encoded([f for f in LINES if f in set(numbers["formula"])], columns=4)
    y = errors("largest", top, f"error of the {quantity} (ulp)")
    base = alt.Chart(shown).encode(x=along(axis, numbers[axis]))
    colour = marks.color
    bands = base.mark_area(opacity=0.25).encode(y=errors("median", top), y2="p99:Q", color=colour)
    lines = base.mark_line(strokeWidth=0.9, opacity=1).encode(y=y, color=colour, strokeDash=marks.dash)
    points = base.mark_point(size=11, strokeWidth=0.8, filled=False, opacity=1)
    return laid_out(alt.layer(bands, lines, points.encode(y=y, color=colour, shape=marks.shape)), HEIGHT)


def _shown(numbers: pd.DataFrame, axis: str, top: float) -> pd.DataFrame:
    """The lines of a distribution within the axis: a failure at its top, and smaller errors at its floor."""
    below = top / np.sqrt(10.0)
    shown = numbers[[axis, "formula", "failed", "median", "p99", "largest"]].copy()
    for name in ("median", "p99", "largest"):
        shown[name] = shown[name].clip(FLOOR, below)
    # Where every error is within the smallest normal number, no error counts.
    shown["largest"] = shown["largest"].fillna(FLOOR).mask(shown["failed"] > 0, top)
    return shown.assign(kind=shown["formula"].map(lambda f: LINES[f].name)).drop(columns=["failed", "formula"])
