"""All figures that the measurements can fill, as SVG, PDF and PNG, with their numbers as CSV."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ...storage.querying import Measurements
from ..charts import bands, bounds
from ..charts.style import Figure, require
from . import _curves, _matrices
from ._latex_escape import tex

FOLDER = "figures"
DOTS_PER_INCH = 300  # of a PNG
MAX_FLOATS = 12  # figures before a page break, since LaTeX holds only so many floats


def figures(measurements: Measurements | pd.DataFrame) -> Iterator[Figure]:
    """Yield the grade matrix, finiteness by family, errors against bounds, error curves, and bands of errors."""
    found = Measurements.of(measurements)
    for module in (_matrices, bounds, _curves, bands):
        yield from module.figures(found)


def write_figures(measurements: Measurements | pd.DataFrame, out: Path) -> list[Path]:
    """Write each figure with its numbers into ``out/figures``, and return the paths.

    Raises:
        UsageError: if altair, vl-convert-python or pylatexenc is not installed.
    """
    require("figures need", "altair", "vl-convert-python", "pylatexenc")
    import vl_convert  # noqa: PLC0415 - an extra

    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    floats: list[str] = []
    for figure in figures(measurements):
        svg = _svg(figure.chart)
        files = {
            "csv": figure.numbers.to_csv(index=False).encode(),
            "pdf": vl_convert.svg_to_pdf(svg),
            "png": vl_convert.svg_to_png(svg, ppi=DOTS_PER_INCH),
            "svg": _in_points(svg).encode(),
        }
        for kind, content in files.items():
            path = folder / f"{figure.name}.{kind}"
            path.write_bytes(content)
            written.append(path)
        floats.append(_float(figure) + "\\clearpage\n" * (len(floats) % MAX_FLOATS == MAX_FLOATS - 1))
    document = folder / "figures.tex"
    document.write_text("\n".join(floats), encoding="utf-8")
    return [*written, document]


def _float(figure: Figure) -> str:
    """A figure as LaTeX for `main.tex`."""
    return (
        "\\begin{figure}[!htbp]\n\\centering\n"
        f"\\includegraphics{{{FOLDER}/{figure.name}.pdf}}\n"
        f"\\caption{{{tex(figure.title, 1000)}}}\n\\label{{fig:{figure.name}}}\n\\end{{figure}}\n"
    )


def _svg(chart: Any) -> str:
    import altair as alt  # noqa: PLC0415 - an extra
    import vl_convert  # noqa: PLC0415

    spec = _printable(chart.to_dict(validate=False))  # altair has validated its parts
    drawn: str = vl_convert.vegalite_to_svg(spec, vl_version=".".join(alt.SCHEMA_VERSION.split(".")[:2]))
    return drawn


def _printable(spec: Any) -> Any:
    """A chart without the characters that XML forbids: one of them crashes the process that draws the chart."""
    if isinstance(spec, dict):
        return {_printable(name): _printable(value) for name, value in spec.items()}
    if isinstance(spec, list):
        return [_printable(value) for value in spec]
    return "".join(c if c.isprintable() or c == "\n" else " " for c in spec) if isinstance(spec, str) else spec


def _in_points(svg: str) -> str:
    """The SVG with its size in points, like the PDF; Vega writes bare numbers, which mean pixels of 1/96 inch."""
    return re.sub(r'(<svg\b[^>]*?) width="([\d.]+)" height="([\d.]+)"', r'\1 width="\2pt" height="\3pt"', svg, count=1)
