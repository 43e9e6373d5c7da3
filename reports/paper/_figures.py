"""All figures that measurements can fill, as SVG, PDF, PNG and the CSV behind them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ...storage.querying import Measurements
from ..charts import bounds
from ..charts.style import Figure, require
from . import _curves, _matrices
from ._latex_escape import tex

FOLDER = "figures"
DOTS = 300  # an inch, of a PNG
MAX_WAITING = 12  # figures before the pages are let out: LaTeX keeps only so many waiting


def figures(measurements: Measurements | pd.DataFrame) -> Iterator[Figure]:
    """The grade matrix, finiteness by family, measured against bound, and error curves."""
    found = Measurements.of(measurements)
    for module in (_matrices, bounds, _curves):
        yield from module.figures(found)


def write_figures(measurements: Measurements | pd.DataFrame, out: Path) -> list[Path]:
    """Writes each figure into ``out/figures``, with its numbers, and returns the paths.

    Raises:
        UsageError: where altair or vl-convert-python is not installed.
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
            "png": vl_convert.svg_to_png(svg, ppi=DOTS),
            "svg": _in_points(svg).encode(),
        }
        for kind, content in files.items():
            path = folder / f"{figure.name}.{kind}"
            path.write_bytes(content)
            written.append(path)
        floats.append(_float(figure) + "\\clearpage\n" * (len(floats) % MAX_WAITING == MAX_WAITING - 1))
    document = folder / "figures.tex"
    document.write_text("\n".join(floats), encoding="utf-8")
    return [*written, document]


def _float(figure: Figure) -> str:
    """A figure as `main.tex` takes it."""
    return (
        "\\begin{figure}[!htbp]\n\\centering\n"
        f"\\includegraphics{{{FOLDER}/{figure.name}.pdf}}\n"
        f"\\caption{{{tex(figure.title, 1000)}}}\n\\label{{fig:{figure.name}}}\n\\end{{figure}}\n"
    )


def _svg(chart: Any) -> str:
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
