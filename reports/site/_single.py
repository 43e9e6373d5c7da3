"""A page alone, in the style of the site: charts, and tables that filter and sort."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ...core.errors import UsageError
from ..charts.style import require


class PageTable(NamedTuple):
    """A table of the page. ``name`` is its name in addresses."""

    name: str
    title: str
    note: str
    table: pd.DataFrame


class PageChart(NamedTuple):
    """A chart of the page, the name of its file without an ending, and the title that explains it."""

    name: str
    title: str
    chart: Any


def write_single_page(
    out: Path, *, title: str, lede: str, downloads: str, charts: Sequence[PageChart], tables: Sequence[PageTable]
) -> list[Path]:
    """Write ``index.html`` with its charts and assets into a folder, and return its path.

    Args:
        out: the folder.
        title: the heading.
        lede: the sentences below it.
        downloads: the address of the numbers behind the tables.
        charts: charts of Altair, which come before the tables.
        tables: the tables.

    Raises:
        UsageError: if a package of the extra ``report`` is not installed, or the folder cannot be written.
    """
    require("the page needs", "jinja2", "altair", "vl-convert-python")
    # These import packages of the extra too.
    from ._charts import write_svg  # noqa: PLC0415
    from ._environment import copy_assets, environment_of  # noqa: PLC0415
    from ._grids import grid  # noqa: PLC0415
    from .pages.tables import Picture, TablesPage  # noqa: PLC0415

    page = TablesPage(
        file="index.html",
        title=title,
        lede=lede,
        downloads=downloads,
        pictures=[Picture(f"{chart.name}.svg", chart.title) for chart in charts],
        grids=[grid(each.name, each.table, title=each.title, note=each.note) for each in tables],
        with_legend=True,
    )
    text = environment_of((), (), ()).get_template(page.template).render(page=page, here=page.file, root="")
    try:
        for folder in ("assets", "charts"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        copy_assets(out / "assets")
        for chart in charts:
            write_svg(chart.chart, out, f"{chart.name}.svg")
        (out / page.file).write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"cannot write the page to {out}: {error.strerror}; choose another --out") from error
    return [out / page.file]
