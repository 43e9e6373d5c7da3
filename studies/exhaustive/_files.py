"""The files of a study: the table as JSON and CSV, and the pictures."""

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...core import files
from ...core.arguments import as_path
from ...core.errors import UsageError
from ...core.strict_json import records
from ...core.version import __version__
from ...reports.charts.style import require
from . import _picture

STEM = "exhaustive"
SCHEMA = 1  # of the JSON file
PIXELS_PER_INCH = 160.0
KEY = ["implementation", "dtype", "quantity"]


def prepare(out: str | Path) -> Path:
    """Check before a study that it can be written to a folder, and return the folder.

    Raises:
        UsageError: if altair or vl-convert-python is not installed, ``out`` is a file, or it has a study.
    """
    folder = as_path(out, "out")
    require("the pictures need", "altair", "vl-convert-python")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder as --out")
    files.refuse_links(folder)
    for kind in ("json", "csv"):
        files.refuse_existing(folder / f"{STEM}.{kind}", "folder")
    return folder


def write(
    out: str | Path, table: pd.DataFrame, curve: pd.DataFrame, rows: Mapping[str, str], seconds: float
) -> list[Path]:
    """Write the parts of an `Exhaustive` to files, and return their paths; `Exhaustive.write` describes them."""
    folder = prepare(out)
    # A missing number is null, an infinite one a string.
    parts: dict[str, Any] = {
        "schema": SCHEMA, "logitlab": __version__, "seconds": round(seconds, 1), "rows": dict(rows),
        "table": records(table),
        "curves": [_lists(key, points) for key, points in curve.groupby(KEY, sort=False)],
    }  # fmt: skip
    contents = {
        f"{STEM}.json": json.dumps(parts, allow_nan=False).encode(),
        f"{STEM}.csv": table.to_csv(index=False).encode(),
        **_drawn(_picture.pictures(table, curve, rows)),
    }
    with files.explain_os_errors(folder, "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            files.write(folder / name, content)
    return [folder / name for name in contents]


def _lists(key: Sequence[Hashable], points: pd.DataFrame) -> dict[str, Any]:
    """Return a curve with a list for each column, in the order of the gap."""
    listed = records(points.sort_values("gap"))
    values = {name: [point[name] for point in listed] for name in ("gap", "grade", "ulp")}
    return {**dict(zip(KEY, map(str, key), strict=True)), **values}


def _drawn(pictures: Sequence[_picture.Picture]) -> dict[str, bytes]:
    import altair as alt  # noqa: PLC0415 - an extra
    import vl_convert  # noqa: PLC0415

    drawn: dict[str, bytes] = {}
    for picture in pictures:
        svg: str = vl_convert.vegalite_to_svg(
            picture.chart.to_dict(), vl_version=".".join(alt.SCHEMA_VERSION.split(".")[:2])
        )
        drawn[f"{picture.name}.svg"] = svg.encode()
        drawn[f"{picture.name}.png"] = vl_convert.svg_to_png(svg, ppi=PIXELS_PER_INCH)
    return drawn
