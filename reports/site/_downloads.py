"""The numbers behind the pages as files: every table as CSV, Parquet and JSON, the measurements as Parquet and CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .._csv import write_csv
from .._report import Page
from ._names import slugs

KINDS = ("csv", "parquet", "json")
MAX_AS_JSON = 20_000  # lines; a longer table is many times larger so than as Parquet


def download_tables(tables: Iterable[tuple[str, str, str, pd.DataFrame]], folder: Path) -> Iterator[dict[str, Any]]:
    """Writes tables, each ``(name, title, note, table)``, and yields what the page about them says."""
    listed = list(tables)
    names = slugs(name for name, *_ in listed)
    for name, title, note, table in listed:
        files = [folder / f"{names[name]}.{kind}" for kind in KINDS]
        files = files if len(table) <= MAX_AS_JSON else files[:2]
        plain = table.rename(columns=str)
        plain.to_csv(files[0], index=False)
        plain.to_parquet(files[1], index=False)
        if len(files) == 3:
            _write_json(plain, files[2])
        yield _told(title, note, len(table), files)


def _write_json(table: pd.DataFrame, path: Path) -> None:
    # JSON has no infinity, and pandas would write null, which stands for nothing.
    named = table.astype(dict.fromkeys(table.select_dtypes("float"), object)).replace({inf: "inf", -inf: "-inf"})
    named.to_json(path, orient="records", double_precision=15, indent=1)


def download_measurements(found: Page, folder: Path) -> dict[str, Any]:
    """The whole table of measurements."""
    parquet, csv = folder / "measurements.parquet", folder / "measurements.csv.gz"
    df = found.measurements
    pq.write_table(pa.Table.from_pandas(df, preserve_index=False), parquet, compression="zstd")
    write_csv(found.source.batches(), csv)
    return _told(
        "Measurements", "One line for each case row, cell and quantity: everything that was measured.", len(df),
        [parquet, csv],
    )  # fmt: skip


def _told(title: str, note: str, lines: int, files: list[Path]) -> dict[str, Any]:
    each = [
        {"name": f.name, "kind": f.name.partition(".")[2].removesuffix(".gz"), "size": _size(f.stat().st_size)}
        for f in files
    ]
    return {"title": title, "note": note, "lines": f"{lines:,}", "files": each}


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{max(count / 2**10, 0.1):.1f} KiB"
