"""Tables as data for the table library: columns, and rows of numbers and of indices into lists of words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
import pandas as pd
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from numpy.typing import NDArray

from ...core.formats import is_format_name
from ...core.vocabulary import GRADES, QUANTITIES

DIGITS = 4  # significant ones, of a measured error
LONGEST = 400  # characters of a message; the downloads have the whole message
FILTERS = ("framework", "formula", "mode", "device", "dtype", "family", "quantity", "status", "verdict", "stage")
NAMELESS = "(no name)"
EXACT = ("value", "exact")
MAX_PICKED = 60  # words of a column that can be picked from a list

Address = Callable[[str], str | None]
Order = Sequence[tuple[str, str]]


class GridColumn(TypedDict):
    """A column as the script reads it."""

    title: str
    kind: str
    words: NotRequired[list[str]]
    links: NotRequired[list[str | None]]
    hidden: NotRequired[bool]
    pick: NotRequired[bool]
    beside: NotRequired[bool]


class Grid(NamedTuple):
    """A table of a page: its name, which addresses use, its title and note, its size, and its data for the script."""

    name: str
    title: str
    note: str
    lines: int
    data: Markup


def grid(
    name: str,
    table: pd.DataFrame,
    *,
    title: str = "",
    note: str = "",
    links: Mapping[str, Address] | None = None,
    order: Order = (),
    unpicked: Sequence[str] = (),
) -> Grid:
    """Return a table as a grid.

    Args:
        name: its name in addresses, unique on the page.
        table: words, numbers and flags. A column ``<dtype> case`` becomes the link of the grade in ``<dtype>``.
        title: the heading.
        note: the text below the title.
        links: for a column the address of a word, or None.
        order: columns and ``asc`` or ``desc``.
        unpicked: columns without a list to filter by.
    """
    links = dict(links or {})
    shown = [c for c in table.columns if not (c.endswith(" case") and c.removesuffix(" case") in table)]
    columns, values = [], []
    for column in shown:
        beside = f"{column} case"
        to_case = links.get("case") if beside in table else None
        described, of_column = _column(table[column], links.get(column), beside_name="implementation" in table)
        if column in unpicked:
            described.pop("pick", None)
        if to_case is not None:
            described["beside"] = True
            of_column = [
                [v, to_case(str(c))] if isinstance(c, str) else v for v, c in zip(of_column, table[beside], strict=True)
            ]
        columns.append(described)
        values.append(of_column)
    rows = list(map(list, zip(*values, strict=True)))
    data = {
        "name": name,
        "title": title,
        "columns": columns,
        "rows": rows,
        "order": [[shown.index(c), way] for c, way in order if c in shown],
    }
    return Grid(name, title, note, len(rows), htmlsafe_json_dumps(data, separators=(",", ":")))


def _column(values: pd.Series[Any], link: Address | None, *, beside_name: bool) -> tuple[GridColumn, list[Any]]:
    name = str(values.name)
    if pd.api.types.is_bool_dtype(values.dtype):
        values = values.map({True: "yes", False: "no"})
    if name in EXACT:
        return {"title": name, "kind": "exact"}, [_given(v) for v in values.astype(object)]
    if pd.api.types.is_numeric_dtype(values.dtype):
        return _numbers(name, values)
    codes, words = _coded(values)
    shown = [short(str(w)) or NAMELESS * (link is not None) for w in words]
    described: GridColumn = {"title": name, "kind": _kind(name, shown), "words": shown}
    if link is not None:
        described["links"] = [link(str(w)) for w in words]
    # Hide the framework, which the name starts with, and a column of one usual value; filters still use them.
    if (name == "framework" and beside_name) or (name in ("device", "status") and shown in (["cpu"], ["ok"])):
        described["hidden"] = True
    if (name in FILTERS or described["kind"] == "grade") and len(shown) <= MAX_PICKED:
        described["pick"] = True
    return described, codes.tolist()


def _coded(values: pd.Series[Any]) -> tuple[NDArray[np.int64], Sequence[Any]]:
    """The distinct words, and for each value its index, -1 where it is missing."""
    if not isinstance(values.dtype, pd.CategoricalDtype):
        places, words = pd.factorize(values.astype(object).where(values.notna(), None))
        return places, list(words)
    codes = values.cat.codes.to_numpy(np.int64)
    used = np.unique(codes[codes >= 0])
    place = np.full(len(values.cat.categories) + 1, -1)
    place[used] = np.arange(used.size)
    return place[codes], list(values.cat.categories[used])


def _kind(name: str, words: Sequence[str]) -> str:
    graded = name in ("grade", *QUANTITIES) or name.startswith("grade on ") or is_format_name(name)
    if graded and set(words) & set(GRADES):
        return "grade"
    if name in ("implementation", "case", "one", "other", "lowest", "highest", "first", "worst case"):
        return "name"
    return "text" if any(len(w) > 40 for w in words) else "word"


def _numbers(name: str, values: pd.Series[Any]) -> tuple[GridColumn, list[Any]]:
    if pd.api.types.is_integer_dtype(values.dtype):
        return {"title": name, "kind": "count"}, [None if pd.isna(v) else int(v) for v in values]
    array = values.to_numpy(np.float64, na_value=np.nan)
    kind = "share" if name.startswith(("finite where", "not finite where")) else "number"
    return {"title": name, "kind": kind}, [_measured(v) for v in array.tolist()]


def _given(value: Any) -> float | str | None:
    """A loss: NaN is a result here, and None is missing."""
    if value is None or value is pd.NA:
        return None
    return "NaN" if math.isnan(value) else _number(float(value))


def _measured(value: float) -> float | str | None:
    """An error in a few digits; NaN is missing."""
    return None if math.isnan(value) else _number(value if math.isinf(value) else float(f"{value:.{DIGITS}g}"))


def _number(value: float) -> float | str:
    """A number, or a word for an infinity, which JSON cannot hold."""
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def short(words: str) -> str:
    """Return words on one line of bounded length, without control characters."""
    printable = words if words.isprintable() else "".join(c if c.isprintable() else " " for c in words)
    line = " ".join(printable.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
