"""A report's tables in reading order, each with its title, how to read it, and the words it has on a page."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from ...core.formats import DTYPES
from ...storage.querying import Measurements
from . import curves
from ._agreement import against, agreement, identical, losses, pairs
from .bounds import against_bounds
from .errors import errors, finiteness
from .grades import LEGEND, grade_matrix
from .ignored import ignored_rows, in_brief
from .ordering import CELL, by_dtype
from .outcomes import article, faults, invalid_targets
from .uncounted import MEANING, median_and_largest

MAX_SHOWN = 20  # cases of a table that has all of them
MAX_WORDS = 100  # characters of an error's message


@dataclass(frozen=True)
class Section:
    """One table of a report: its title, how to read it, the numbers, and the words that stand for them on a page."""

    name: str
    title: str
    note: str
    table: pd.DataFrame
    shown: pd.DataFrame


def sections(measurements: Measurements | pd.DataFrame) -> list[Section]:
    """All tables that the measurements can fill, in reading order; of a DataFrame or of what `Measurements` has."""
    found = Measurements.of(measurements)
    makers = (_overall, _errors, _bounds, _curves_along_axes, _sides, _agreement, _outcomes)
    return [s for made in makers for s in made(found) if len(s.table)]


def _overall(found: Measurements) -> Iterator[Section]:
    table = grade_matrix(found)
    yield Section(
        "grades",
        "Grades",
        f"The worst grade over all cases, rows and quantities, and the case that caused it: {LEGEND}.",
        table,
        _merged(table),
    )
    table = finiteness(found)
    yield Section(
        "finiteness",
        "Finiteness",
        "Share of the graded rows that are finite where the exact answer is / not finite where it is not.",
        table,
        _across_dtypes(found, table, "{finite where it should be:.1%} / {not finite where it should not:.1%}"),
    )


def _errors(found: Measurements) -> Iterator[Section]:
    ulps = errors(found)
    for quantity in ("loss", "gradient"):
        values = [f"{quantity} {kind}" for kind in ("median", "largest", "uncounted")]
        part = ulps[[*CELL, *values]].dropna(how="all", subset=values)
        words = list(map(median_and_largest, *(part[value] for value in values)))
        yield Section(
            f"errors_{quantity}",
            f"Errors of the {quantity}, in ulp of the dtype",
            "Median / largest over all graded rows; inf where a row is not finite and should be, or the reverse. B "
            f"allows many ulp of a number that is small beside others of its row. {MEANING}",
            part,
            by_dtype(found.cells, part.assign(words=words), {"words": ""}),
        )


def _bounds(found: Measurements) -> Iterator[Section]:
    against = against_bounds(found)
    for quantity in ("loss", "probabilities"):
        part = against[against["quantity"] == quantity].drop(columns="quantity")
        yield Section(
            f"bounds_{quantity}",
            f"Errors of the {quantity} against their a-priori bounds",
            "Largest error over the bound of Blanchard, Higham and Higham for the unshifted formula / for the shifted "
            "one; at most 1 where the bound holds. The unshifted has rows only where nothing over- or underflows.",
            part,
            _across_dtypes(found, part, "{unshifted largest:.2g} / {shifted largest:.2g}"),
        )
    loss = against[against["quantity"] == "loss"]
    stability = loss[[*CELL, "stability median", "stability largest"]].dropna()
    yield Section(
        "stability",
        "Stability of the loss",
        "Relative error over condition number times unit roundoff, median / largest, of the losses whose condition "
        "is at least 1: of order 1 if no more is lost than the rounding of the logits could cause.",
        stability,
        _across_dtypes(found, stability, "{stability median:.2g} / {stability largest:.2g}"),
    )


def _curves_along_axes(found: Measurements) -> Iterator[Section]:
    for axis in curves.axes(found):
        for quantity in ("loss", "gradient"):
            table = curves.curve(found, axis, quantity)
            yield Section(
                f"curve_{axis}_{quantity}",
                f"Errors of the {quantity} along the {axis}, in ulp of the dtype",
                f"Median / largest; the column is the {axis}. The CSV file has every value of it. {MEANING}",
                table,
                curves.shown(table, axis),
            )


def _sides(found: Measurements) -> Iterator[Section]:
    words = {"mode": ("eager", "Modes against eager"), "device": ("cpu", "Devices against the CPU")}
    for column, (base, title) in words.items():
        table = against(found, column, base)
        by_quantity = table.assign(
            words=[
                f"{line['different']} of {line['rows']}" + _lost_and_won(line["worse"], line["better"])
                for line in table.to_dict("records")
            ]
        )
        yield Section(
            f"{column}s",
            f"{title}, bit for bit",
            f"Rows whose bits differ from those of {base}; behind them, in how many of those the grade is worse (-) or "
            "better (+). The CSV file has the largest distance, and the case it was found in.",
            table,
            by_dtype(found.cells, by_quantity, {"words": ""}, ["quantity"]) if len(table) else table,
        )


def _lost_and_won(worse: int, better: int) -> str:
    return f" -{worse}" * (worse > 0) + f" +{better}" * (better > 0)


def _agreement(found: Measurements) -> Iterator[Section]:
    of_dtypes = losses(found)
    table = agreement(of_dtypes)
    single = table[table["dtype"] == "float32"].sort_values("apart", ascending=False, kind="stable")
    yield Section(
        "agreement",
        "Where the implementations disagree most",
        f"float32, eager: the {MAX_SHOWN} cases whose finite losses lie farthest apart, in ulp. "
        "The CSV file has every case and dtype.",
        table,
        single.head(MAX_SHOWN)[["case", "row", "implementations", "answers", "apart", "lowest", "highest"]].assign(
            apart=lambda t: t["apart"].map("{:.2g}".format)
        ),
    )
    of_pairs = pairs(of_dtypes)
    yield Section(
        "pairs",
        "Implementations that agree",
        "Groups whose losses are the same on every row that two of them have in common; pairs.csv has every pair.",
        of_pairs,
        identical(of_pairs),
    )


def _outcomes(found: Measurements) -> Iterator[Section]:
    table = article(found, "float32")
    yield Section(
        "article",
        "The article's batch, row by row",
        "float32, logits [[2, 1, 0.1], [1000, 1, -1000], [3, 2, 1]], targets [0, 2, 1].",
        table,
        table.drop(columns="dtype", errors="ignore").map(_four_decimals),
    )
    table = invalid_targets(found, "float32")
    yield Section(
        "invalid",
        "Targets that are no class",
        "float32, a target outside [0, 3) of three classes: refused, NaN, zero as if ignored, read from the end "
        "(wraps), or some other plausible number, the worst.",
        table,
        table.drop(columns="dtype", errors="ignore").rename(columns=lambda name: name.replace("_", " ")),
    )
    table = ignored_rows(found)
    yield Section(
        "ignored",
        "Ignored rows and means over nothing",
        "Loss / gradient of an ignored row with NaN, of nothing but -inf, and with +inf: 0 is right, whatever is in it."
        " Then a batch in which no row counts: 0 is right without a mean, and a mean over nothing has no value. "
        "None of these rows is graded.",
        table,
        in_brief(table),
    )
    table = faults(found)
    yield Section(
        "faults",
        "Not measured",
        "What raised, crashed or ran out of time, and in how many cases an option is not supported, by somebody's "
        "own word; faults.csv has the words.",
        table,
        _in_brief(table),
    )


def _in_brief(bad: pd.DataFrame) -> pd.DataFrame:
    """The faults one by one; what an implementation does not support, which is no fault, as one line."""
    if bad.empty:
        return bad
    refused = bad[bad["status"] == "unsupported"].groupby(["framework", "implementation", "status"], sort=False)
    counted = refused.agg(detail=("detail", "nunique"), cases=("cases", "sum"), dtypes=("dtypes", "max"))
    counted["detail"] = counted["detail"].map("{} reasons".format)
    faults = bad[bad["status"] != "unsupported"].assign(
        detail=lambda t: [textwrap.shorten(words, MAX_WORDS, placeholder=" ...") for words in t["detail"].fillna("")]
    )
    return pd.concat([faults, counted.reset_index()], ignore_index=True)


def _four_decimals(value: object) -> object:
    if not isinstance(value, float):
        return value
    return f"{value:.0f}" if value.is_integer() else f"{value:.4f}"


def _merged(matrix: pd.DataFrame) -> pd.DataFrame:
    """Each dtype's grade and its case in one column."""
    merged = matrix.copy()
    for dtype in DTYPES:
        if dtype in merged:
            both = zip(merged[dtype], merged.pop(f"{dtype} case"), strict=True)
            merged[dtype] = ["" if pd.isna(grade) else f"{grade} {case}" for grade, case in both]
    return merged


def _across_dtypes(found: Measurements, table: pd.DataFrame, template: str) -> pd.DataFrame:
    """One column for each dtype, its cells the template filled from the table's line for that dtype."""
    words = [
        template.format_map(line).replace("nan%", "-").replace("100.0%", "100%") for line in table.to_dict("records")
    ]
    return by_dtype(found.cells, table.assign(words=words), {"words": ""})
