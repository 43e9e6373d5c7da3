"""All figures that measurements can fill, as SVG, PDF, PNG and the CSV behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..charts.style import Figure, needed
from . import _bounds, _curves, _matrices
from ._latex_escape import tex

if TYPE_CHECKING:
    import altair as alt

FOLDER = "figures"
DOTS = 300  # an inch, of a PNG
WAITING = 12  # figures before the pages are let out: LaTeX keeps only so many waiting


def figures(df: pd.DataFrame) -> Iterator[Figure]:
    """From the measurements: the grade matrix, finiteness by family, measured against bound, and error curves."""
    for module in (_matrices, _bounds, _curves):
        yield from module.figures(df)


def write_figures(df: pd.DataFrame, out: Path) -> list[Path]:
    """Writes each figure into ``out/figures``, with its numbers, and returns the paths.

    Raises:
        UsageError: where altair or vl-convert-python is not installed.
    """
    needed("figures need", "altair", "vl-convert-python", "pylatexenc")
    import vl_convert  # noqa: PLC0415 - an extra

    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    told: list[str] = []
    for figure in figures(df):
        svg = _svg(figure.chart)
        made = {
            "csv": figure.numbers.to_csv(index=False).encode(),
            "pdf": vl_convert.svg_to_pdf(svg),
            "png": vl_convert.svg_to_png(svg, ppi=DOTS),
            "svg": _in_points(svg).encode(),
        }
        for kind, content in made.items():
            path = folder / f"{figure.name}.{kind}"
            path.write_bytes(content)
            written.append(path)
        told.append(_float(figure) + "\\clearpage\n" * (len(told) % WAITING == WAITING - 1))
    floats = folder / "figures.tex"
    floats.write_text("\n".join(told), encoding="utf-8")
    return [*written, floats]


def _float(figure: Figure) -> str:
    """A figure as `main.tex` takes it."""
    return (
        "\\begin{figure}[!htbp]\n\\centering\n"
        f"\\includegraphics{{{FOLDER}/{figure.name}.pdf}}\n"
        f"\\caption{{{tex(figure.title, 1000)}}}\n\\label{{fig:{figure.name}}}\n\\end{{figure}}\n"
    )


def _svg(chart: alt.LayerChart) -> str:
    import altair as alt  # noqa: PLC0415 - an extra
    import vl_convert  # noqa: PLC0415

    spec = _printable(chart.to_dict())
    drawn: str = vl_convert.vegalite_to_svg(spec, vl_version=".".join(alt.SCHEMA_VERSION.split(".")[:2]))
    return drawn


def _printable(spec: Any) -> Any:
    """A chart's words without the characters that are none in XML: one of them ends the process that draws it."""
    if isinstance(spec, dict):
        return {_printable(name): _printable(value) for name, value in spec.items()}
    if isinstance(spec, list):
        return [_printable(value) for value in spec]
    return "".join(c if c.isprintable() or c == "\n" else " " for c in spec) if isinstance(spec, str) else spec


def _in_points(svg: str) -> str:
    """Vega writes bare numbers, which are pixels of 1/96 inch; the PDF of the same numbers is in points of 1/72."""
    return re.sub(r'(<svg\b[^>]*?) width="([\d.]+)" height="([\d.]+)"', r'\1 width="\2pt" height="\3pt"', svg, count=1)
