"""A report's tables in reading order, each with a title, a note on how to read it, and its text for a page."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from ...core.bitwise import Property
from ...core.vocabulary import Formula, in_words
from ...storage.querying import Measurements
from . import curves
from ._agreement import against, agreement, identical, losses, pairs
from ._side_by_side import APART_AND_ERRORS, side_by_side
from .bitwise import LARGEST, invariance
from .bounds import against_bounds
from .distributions import by_axis, by_cell, by_family, in_words_of, statistics_of
from .errors import LISTED, errors, finiteness
from .grades import LEGEND, grade_matrix, matrix_dtypes
from .ignored import ignored_rows, in_brief
from .ordering import CELL, by_dtype
from .outcomes import article, faults, invalid_targets
from .uncounted import MEANING, median_and_largest

MAX_SHOWN = 20  # cases on a page; the table has all
MAX_WORDS = 100  # characters of an error's message


@dataclass(frozen=True)
class Section:
    """One table of a report: its title, a note on how to read it, the numbers, and their text for a page."""

    name: str
    title: str
    note: str
    table: pd.DataFrame
    shown: pd.DataFrame


def sections(measurements: Measurements | pd.DataFrame) -> list[Section]:
    """Return all tables that the measurements can fill, in reading order."""
    found = Measurements.of(measurements)
    makers = (
        _overall,
        _errors,
        _distributions,
        _bounds,
        _curves_along_axes,
        _sides,
        _device_pairs,
        _agreement,
        _outcomes,
    )
    return [s for make in makers for s in make(found) if len(s.table)]


def bitwise_sections(lines: pd.DataFrame) -> list[Section]:
    """Return the table of bitwise invariance, if bits were compared; ``lines`` are those of `Run.bitwise`."""
    if lines.empty:
        return []
    table = invariance(lines)
    note = "Whether the bits of a row's loss and gradient stay the same when only its surroundings change: "
    note += "; ".join(f"{p.value} ({p.meaning})" for p in Property)
    note += ". A number of rows have other bits, by at most so many ulp. An empty cell was not measured."
    return [Section("bitwise", "Bitwise invariance", note, table, table.drop(columns=LARGEST))]


def _overall(found: Measurements) -> Iterator[Section]:
    table = grade_matrix(found)
    yield Section(
        "grades",
        "Grades",
        f"The worst grade over all cases, rows and quantities, and the case that decides it: {LEGEND}.",
        table,
        _merged(table),
    )
    table = finiteness(found)
    yield Section(
        "finiteness",
        "Finiteness",
        "Share of graded rows: finite where the exact answer is finite / not finite where it is not.",
        table,
        _across_dtypes(found, table, "{finite where it should be:.1%} / {not finite where it should not:.1%}"),
    )


def _errors(found: Measurements) -> Iterator[Section]:
    ulps = errors(found)
    for quantity in LISTED:
        values = [f"{quantity} {kind}" for kind in ("median", "largest", "uncounted")]
        part = ulps[[*CELL, *values]].dropna(how="all", subset=values)
        words = list(map(median_and_largest, *(part[value] for value in values)))
        yield Section(
            f"errors_{quantity}",
            f"Errors of the {in_words(quantity)}, in ulp of the dtype",
            "Median / largest over all graded rows; inf where a row is not finite but should be, or the reverse. "
            f"Grade B allows many ulp in a number that is small beside the others of its row. {MEANING}",
            part,
            by_dtype(found.cells, part.assign(words=words), {"words": ""}),
        )


def _distributions(found: Measurements) -> Iterator[Section]:
    meaning = "Median / 90th / 99th percentile of the errors in ulp, over graded rows with a finite error."
    files = "The CSV file has the shares of failed rows, of errors beyond 1, 10 and 1,000 ulp and of entries that came "
    files += f"out 0, and the bias of the loss. {MEANING}"
    table = by_cell(found, LISTED)
    for quantity in LISTED:
        part = table.loc[table["quantity"] == quantity, [*CELL, *statistics_of(quantity)]]
        yield Section(
            f"distribution_{quantity}",
            f"Distribution of the errors of the {in_words(quantity)}",
            f"{meaning} {files}",
            part,
            by_dtype(found.cells, part.assign(words=in_words_of(part)), {"words": ""}) if len(part) else part,
        )
    pooled = {"families": ("by family of cases", ["family"], by_family(found, LISTED))}
    for axis in curves.axes(found):
        pooled[f"along_{axis}"] = f"along the {axis}", [axis], by_axis(found, axis)
    for name, (title, keys, table) in pooled.items():
        yield Section(
            f"distribution_{name}",
            f"Distribution of the errors {title}",
            f"{meaning} A column has all implementations of a formula; eager, on the CPU. {files}",
            table,
            _by_formula(table, keys),
        )


def _by_formula(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return a line for each dtype, quantity and ``keys``, eager on the CPU, and a column for each formula."""
    usual = table[(table["mode"] == "eager") & (table["device"] == "cpu")]
    shown = usual.assign(words=in_words_of(usual)).sort_values(
        "quantity", key=lambda quantities: quantities.map(LISTED.index), kind="stable"
    )
    index = ["quantity", "dtype", *keys]
    wide = shown.pivot(index=index, columns="formula", values="words")
    wide = wide.reindex(pd.MultiIndex.from_frame(shown[index].drop_duplicates()))
    return wide[[f.value for f in Formula if f.value in wide]].rename_axis(columns=None).reset_index()


def _bounds(found: Measurements) -> Iterator[Section]:
    against = against_bounds(found)
    for quantity in ("loss", "probabilities"):
        part = against[against["quantity"] == quantity].drop(columns="quantity")
        yield Section(
            f"bounds_{quantity}",
            f"Errors of the {quantity} against their a-priori bounds",
            "Largest error divided by the bound of Blanchard, Higham and Higham: for the unshifted formula / for the "
            "shifted formula. At most 1 where the bound holds. The unshifted bound exists only without overflow and "
            "underflow.",
            part,
            _across_dtypes(found, part, "{unshifted largest:.2g} / {shifted largest:.2g}"),
        )
    loss = against[against["quantity"] == "loss"]
    stability = loss[[*CELL, "stability median", "stability largest"]].dropna()
    yield Section(
        "stability",
        "Stability of the loss",
        "Relative error divided by condition number times unit roundoff, median / largest, over losses with a "
        "condition of at least 1. About 1 if the loss is as accurate as the rounding of the logits allows.",
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
                f"Median / largest; each column is a value of the {axis}. The CSV file has every value. {MEANING}",
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
            f"Rows whose bits differ from {base}, then how many of these have a worse (-) or better (+) grade. "
            "The CSV file has the largest distance and its case.",
            table,
            by_dtype(found.cells, by_quantity, {"words": ""}, ["quantity"]) if len(table) else table,
        )


def _device_pairs(found: Measurements) -> Iterator[Section]:
    table = side_by_side(found)
    yield Section(
        "device_pairs",
        "Device against device, case by case",
        "The worst grade of each case on both devices, how many of its rows differ in bits, how far apart two losses "
        "are, and the largest errors, in ulp. Cases with the same bits are left out. "
        f"The first {MAX_SHOWN}; the CSV file has all.",
        table,
        table.head(MAX_SHOWN).assign(**{name: table[name].map("{:.2g}".format) for name in APART_AND_ERRORS}),
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
        f"The {MAX_SHOWN} cases whose finite losses differ most, in ulp (float32, eager). "
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
        "Groups whose losses have the same bits on every common row; pairs.csv has every pair.",
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
        "Invalid targets",
        "A target outside [0, 3) of three classes, in float32. The call raises, returns NaN, returns 0 as if the row "
        "were ignored, counts from the end (wraps), or returns a plausible number, which is the worst.",
        table,
        table.drop(columns="dtype", errors="ignore").rename(columns=lambda name: name.replace("_", " ")),
    )
    table = ignored_rows(found)
    yield Section(
        "ignored",
        "Ignored rows and means over nothing",
        "Loss / gradient of an ignored row that holds NaN, only -inf, or +inf: always 0 if right. Then a batch with "
        "every row ignored: 0 is right for a sum, and a mean has no value. These rows have no grade.",
        table,
        in_brief(table),
    )
    table = faults(found)
    yield Section(
        "faults",
        "Not measured",
        "Calls that raised, crashed or ran out of time, and the number of cases with an option that the framework "
        "reports as unsupported; faults.csv has the messages.",
        table,
        _faults_in_brief(table),
    )


def _faults_in_brief(bad: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each fault, and one line for all unsupported options of an implementation."""
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
    """The grade matrix with each dtype's grade and case in one column."""
    merged = matrix.copy()
    for dtype in matrix_dtypes(matrix):
        both = zip(merged[dtype], merged.pop(f"{dtype} case"), strict=True)
        merged[dtype] = ["" if pd.isna(grade) else f"{grade} {case}" for grade, case in both]
    return merged


def _across_dtypes(found: Measurements, table: pd.DataFrame, template: str) -> pd.DataFrame:
    """One column for each dtype: the template, filled with the table's line for that dtype."""
    words = [
        template.format_map(line).replace("nan%", "-").replace("100.0%", "100%") for line in table.to_dict("records")
    ]
    return by_dtype(found.cells, table.assign(words=words), {"words": ""})
