"""Tables for a notebook: grades in colour, numbers in a few digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pandas as pd

from ..core.errors import UsageError
from ..core.errors import short_repr as a_value
from ..core.vocabulary import STATUSES
from .charts.palette import GRADE_COLOURS, INK

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

SHARES = ("finite where it should be", "not finite where it should not")


def style(table: pd.DataFrame) -> Styler:
    """Return a table of measurements, or of results from them, styled for a notebook.

    Grades keep their letters and get colours that any colour vision tells apart. Errors have three digits, shares are
    in percent, and missing values are empty. Words are escaped. The table itself is unchanged: the result is pandas'
    ``Styler``.

    Args:
        table: the result of `logitlab.run`, `logitlab.catalogue`, `logitlab.implementations` or a function of
            `logitlab.reports`, or a part of it.

    Raises:
        UsageError: for anything but a DataFrame, or if jinja2 is not installed, which pandas needs for styles.
    """
    if not isinstance(table, pd.DataFrame):
        raise UsageError(f"the table is {a_value(table)}; expected a pandas.DataFrame")
    if not find_spec("jinja2"):
        raise UsageError("styling a table needs jinja2; install it with `pip install 'logitlab[report]'`")
    # A Styler needs a unique index, which concatenated parts of a table do not have.
    shown = table.reset_index(drop=True)
    styled = shown.style.hide(axis="index")
    styled = styled.format({c: _format(shown[c]) for c in shown.columns}, escape="html", na_rep="")
    graded: list[Hashable] = [c for c in shown.columns if _of_grades(shown[c])]
    styled = styled.map(_colours, subset=graded) if graded else styled
    numbers: list[Hashable] = list(shown.select_dtypes("number").columns)
    return styled.set_properties(subset=numbers, **{"text-align": "right"}) if numbers else styled


def _of_grades(column: pd.Series[str]) -> bool:
    if pd.api.types.is_numeric_dtype(column):
        return False
    words = set(map(str, column.dropna().unique()))
    return bool(words & set(GRADE_COLOURS)) and words <= {*GRADE_COLOURS, *STATUSES}


def _colours(value: object) -> str:
    if value not in GRADE_COLOURS:
        return ""
    return f"background-color: {GRADE_COLOURS[str(value)]}; color: {INK}; font-weight: bold; text-align: center"


def _format(column: pd.Series[float]) -> Callable[..., str] | None:
    if pd.api.types.is_bool_dtype(column):
        return None
    if pd.api.types.is_integer_dtype(column):
        # A digest and a row number are names; a count of rows is a number.
        return None if column.name in ("bits", "row") else "{:,}".format
    if pd.api.types.is_float_dtype(column):
        return "{:.1%}".format if column.name in SHARES else _three_digits
    return None


def _three_digits(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "∞" if value > 0 else "-∞"
