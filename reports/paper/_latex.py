"""LaTeX tables with booktabs and siunitx, and a document that includes them all."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from .._report import PARTIAL, Report
from ..charts.style import require
from ..tables.grades import LEGEND
from ..tables.ordering import CELL, by_dtype
from ..tables.sections import Section
from ..tables.uncounted import MEANING
from ._latex_escape import name, prose, tex

FOLDER = "tables"
MAX_LINES = 40  # of a table on one page; a longer table is a longtable
# Points at the font size of the tables: the width of the text, of a digit, a decimal point, "times ten", a margin.
TEXT, CHARACTER, POINT, TIMES_TEN, BESIDE = 508.0, 4.05, 2.5, 15.0, 5.0
NAME = (64.0, 160.0)  # points: the least and the largest width of the column of names
LANDSCAPE = 730.0  # points: the width of the text on a landscape page
DAGGER = r"{$^\dagger$}"  # in braces, so that siunitx accepts it behind a number
INFINITIES = {math.inf: r"{$\infty$}", -math.inf: r"{$-\infty$}"}
LEAST, LARGEST = 0.01, 1000.0  # numbers between these have no exponent


@dataclass(frozen=True)
class Layout:
    """The layout of a section's table.

    Attributes:
        values: the columns to print for each dtype, with their headings.
        caption: the caption.
        marked: for a column of ``values`` the column that is present where its numbers have the `MARK`.
        unit: a factor of the numbers.
        decimals: digits after the point; None for two or three significant digits.
    """

    values: Mapping[str, str]
    caption: str
    marked: Mapping[str, str] = field(default_factory=dict)
    unit: float = 1.0
    decimals: int | None = None


LAYOUTS = {
    "grades": Layout({}, f"Worst grade over all cases, rows and quantities: {LEGEND}."),
    "finiteness": Layout(
        {"finite where it should be": "finite", "not finite where it should not": "not"},
        "Percent of the graded rows: finite where the exact answer is finite, and not finite where it is not.",
        unit=100.0,
        decimals=1,
    ),
    "errors_loss": Layout(
        {"loss median": "median", "loss largest": "largest"},
        "Errors of the loss in ulp of the dtype; infinite where a row is not finite but should be, or the reverse. "
        f"{MEANING}",
        {"loss largest": "loss uncounted"},
    ),
    "errors_gradient": Layout(
        {"gradient median": "median", "gradient largest": "largest"},
        "Errors of the gradient in ulp of the dtype; infinite where a row is not finite but should be, or the reverse. "
        f"{MEANING}",
        {"gradient largest": "gradient uncounted"},
    ),
    **{
        f"distribution_{quantity}": Layout(
            {"median": "median", "p90": "90%", "p99": "99%"} | bias,
            f"Distribution of the errors of the {quantity} in ulp of the dtype: the median and the percentiles of the "
            f"finite errors{words}. {MEANING}",
        )
        for quantity, bias, words in (
            ("loss", {"bias": "bias"}, ", and the mean signed error of those of at most 1,000 ulp"),
            ("gradient", {}, ""),
        )
    },
    "bounds_loss": Layout(
        {"unshifted largest": "unshifted", "shifted largest": "shifted"},
        "Largest error of the loss divided by its a-priori bound, without and with the shift by the maximum; at most 1 "
        "where the bound holds.",
    ),
    "stability": Layout(
        {"stability median": "median", "stability largest": "largest"},
        "Relative error of the loss divided by condition number times unit roundoff, over losses with a condition of "
        "at least 1.",
    ),
    "article": Layout(
        {}, "The article's batch: the loss of each row, their mean, and whether each gradient is finite."
    ),
}


def write_latex(found: Report, out: Path) -> list[Path]:
    """Write ``out/main.tex``, and each table with its numbers as CSV into ``out/tables``; return the paths.

    Raises:
        UsageError: if jinja2 or pylatexenc is not installed.
    """
    require("LaTeX tables need", "jinja2", "pylatexenc")
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written, names = [], []
    for section in found.sections:
        if section.name not in LAYOUTS:
            continue
        names.append(section.name)
        source, csv = folder / f"{section.name}.tex", folder / f"{section.name}.csv"
        source.write_text(_table(section, LAYOUTS[section.name]), encoding="utf-8")
        section.table.to_csv(csv, index=False)
        written += [source, csv]
    main = out / "main.tex"
    main.write_text(_main(found, names), encoding="utf-8")
    return [main, *written]


def _table(section: Section, layout: Layout) -> str:
    """A section's table as LaTeX: a line for each cell, and for each dtype a column for each value."""
    table = section.table
    if layout.values:
        wide = by_dtype(table, table, {value: f"\n{heading}" for value, heading in layout.values.items()})
    else:
        unwanted = [c for c in table if str(c).endswith(" case") or c == "dtype"]
        wide = table.drop(columns=unwanted).rename(columns=lambda c: c if c in CELL else f"{c}\n")
    return _set(wide.drop(columns="framework"), section.name, layout, _marks(table, layout))


def _marks(table: pd.DataFrame, layout: Layout) -> dict[str, pd.Series[bool]]:
    """For each column of marked numbers, which of them have the mark."""
    if not layout.marked:
        return {}
    there = by_dtype(table, table, {column: f"\n{layout.values[value]}" for value, column in layout.marked.items()})
    return {str(column): there[column].notna() for column in there if "\n" in str(column)}


def _set(table: pd.DataFrame, label: str, layout: Layout, marks: Mapping[str, pd.Series[bool]]) -> str:
    """A table as LaTeX: the columns of `CELL` as words, numbers aligned by siunitx, other columns centred.

    ``marks`` has for a column of numbers which of them have the mark.
    """
    kept = table.drop(columns=[c for c, unsaid in (("mode", "eager"), ("device", "cpu")) if set(table[c]) == {unsaid}])
    columns, formats, headings, width = {}, [], [], 0.0
    for column in kept.columns:
        upper, _, lower = str(column).partition("\n")
        headings.append((tex(upper), tex(lower)) if lower else ("", tex(upper)))
        form, digits = "c", 0.0
        if column in CELL:
            long = max(map(len, kept[column].astype(str)), default=0) * CHARACTER > NAME[0]
            broken = long or column == "implementation"
            columns[column] = kept[column].map(name if broken else tex)
            form, digits = (_paragraph(NAME[0]), NAME[0]) if broken else ("l", 0.0)
        elif pd.api.types.is_numeric_dtype(kept[column]):
            marked = marks.get(column)
            columns[column], form, digits = _numbers(kept[column] * layout.unit, layout.decimals, marked)
        else:
            columns[column] = kept[column].map(lambda v: "--" if pd.isna(v) else tex(v))
        formats.append(form)
        if column != "implementation":
            words = max((len(str(w)) for w in [lower, *([] if digits else columns[column])]), default=0) * CHARACTER
            width += max(digits, words) + BESIDE
    turned = TEXT - width - 2 * BESIDE < NAME[0]
    left = min(max((LANDSCAPE if turned else TEXT) - width - 2 * BESIDE, NAME[0]), NAME[1])
    formats[list(columns).index("implementation")] = _paragraph(left)
    body = pd.DataFrame(columns)
    simple = all(not upper for upper, _ in headings)
    body.columns = pd.Index([lower for _, lower in headings]) if simple else pd.MultiIndex.from_tuples(headings)
    long = len(body) > MAX_LINES
    latex: str = body.style.hide(axis="index").to_latex(
        column_format="".join(formats), hrules=True, siunitx=True, multicol_align="c",
        caption=tex(layout.caption, 1000), label=f"tab:{label}", environment="longtable" if long else "table",
        position=None if long else "!htbp", position_float=None if long else "centering",
    )  # fmt: skip
    return f"\\begin{{landscape}}\n{latex}\\end{{landscape}}\n" if turned else latex


def _paragraph(width: float) -> str:
    """The format of a column of names that break over lines, of this width in points."""
    return rf">{{\raggedright\arraybackslash\hangindent=1em}}p{{{width:.0f}pt}}"


def _numbers(
    values: pd.Series[float], decimals: int | None, marked: pd.Series[bool] | None
) -> tuple[pd.Series[str], str, float]:
    """Numbers for siunitx with words in braces, the column's format, and its width in points."""
    write: Callable[[float], str] = _significant if decimals is None else lambda v: f"{v:.{decimals}f}"
    words = values.map(lambda v: "{--}" if pd.isna(v) else write(v) if math.isfinite(v) else INFINITIES[v])
    numbers = [re.fullmatch(r"(-?)(\d+)(?:\.(\d+))?(?:e(\d+))?", w) for w in words]
    parts = [m.groups(default="") for m in numbers if m is not None]
    sign, whole, fraction, exponent = (max((len(p[i]) for p in parts), default=0) for i in range(4))
    room = f"{'-' * sign}{max(whole, 1)}.{fraction}" + f"e{exponent}" * (exponent > 0)
    width = (2 * sign + max(whole, 1) + fraction + exponent) * CHARACTER + POINT + TIMES_TEN * (exponent > 0)
    if marked is None or not marked.any():
        return words, f"S[table-format={room}]", width
    words = words.where(~marked | values.isna(), words + DAGGER).where(~(marked & values.isna()), DAGGER)
    return words, f"S[table-format={room},table-space-text-post={DAGGER}]", width + CHARACTER


def _significant(value: float) -> str:
    """Two or three significant digits, with an exponent for large numbers."""
    size = abs(value)
    if 0 < size < LEAST:
        return rf"{{$<{LEAST}$}}"
    if size >= LARGEST:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.0f}" if size >= 10 or size == 0 else f"{value:.1f}" if size >= 1 else f"{value:.2f}"


_DOCUMENT = r"""\documentclass[a4paper]{article}
%% Written by LogitLab. Run pdflatex main.tex two or three times, until the widths of the long tables are stable.
\usepackage[margin=1.55cm]{geometry}
\usepackage{array,booktabs,longtable,graphicx,lscape,siunitx}
\sisetup{exponent-product=\cdot}
\setlength{\tabcolsep}{2.5pt}
\setlength{\LTcapwidth}{\textwidth}
\setlength{\belowcaptionskip}{4pt}
\setlength{\emergencystretch}{3em}
\AtBeginEnvironment{longtable}{\scriptsize}
\AtBeginEnvironment{tabular}{\scriptsize}
\begin{document}
\section*{LogitLab report}
{\raggedright\parindent0pt\parskip4pt
%(provenance)s

}
%(tables)s
\InputIfFileExists{figures/figures.tex}{}{}
\end{document}
"""


def _main(found: Report, names: Sequence[str]) -> str:
    lines = ((prose(line), line.startswith(PARTIAL)) for line in found.preamble)
    provenance = "\n\n".join(rf"\textbf{{{words}}}" if bold else words for words, bold in lines)
    return _DOCUMENT % {"provenance": provenance, "tables": "\n".join(rf"\input{{{FOLDER}/{n}}}" for n in names)}
