"""The numbers behind the pages as files: every table as CSV, Parquet and JSON, the measurements as Parquet and CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import ClassVar, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ....storage.schema import WORDS, typed
from ..._csv import write_csv
from ...tables.sections import Section
from .._results import results
from .._site import Site, WebPage
from .._slugs import slugs

KINDS = ("csv", "parquet", "json")
MAX_AS_JSON = 20_000  # lines; JSON of a longer table is many times larger than Parquet


class Download(NamedTuple):
    """A table to download, in each of its files."""

    title: str
    note: str
    lines: int
    files: Sequence[Path]


@dataclass(frozen=True, kw_only=True)
class DataPage(WebPage):
    """The values of ``data.html``."""

    template: ClassVar[str] = "data.html"
    files: Sequence[Download]


def data_page(site: Site, out: Path) -> DataPage:
    """Return the page, and write the files into ``out/data``."""
    folder = out / "data"
    sections = list(site.report.sections)
    worst = results(site.report.source, "rank = 1").drop(columns=["number", "rank"])
    if len(worst):
        note = "The grades and errors of the worst row of each case and cell."
        sections.append(Section("cases", "Cases", note, worst, worst))
    names = slugs(s.name for s in sections)
    return DataPage(
        file="data.html",
        title="Data",
        lede="The numbers behind every page. LogitLab's documentation explains the columns.",
        files=[
            _measurements(site, folder),
            *(Download(s.title, s.note, len(s.table), _write(s.table, folder / names[s.name])) for s in sections),
        ],
    )


def _write(table: pd.DataFrame, path: Path) -> list[Path]:
    """Write a table as one file for each ending of `KINDS`, named after this path."""
    files = [path.with_name(f"{path.name}.{kind}") for kind in KINDS]
    files = files if len(table) <= MAX_AS_JSON else files[:2]
    named = table.rename(columns=str)
    named.to_csv(files[0], index=False)
    named.to_parquet(files[1], index=False)
    if len(files) == 3:
        # JSON has no infinity, and pandas would write null, which means missing.
        words = named.astype(dict.fromkeys(named.select_dtypes("float"), object)).replace({inf: "inf", -inf: "-inf"})
        words.to_json(files[2], orient="records", double_precision=15, indent=1)
    return files


def _measurements(site: Site, folder: Path) -> Download:
    """The whole table of measurements."""
    found = site.report.source
    files = [folder / "measurements.parquet", folder / "measurements.csv.gz"]
    _write_parquet(found.batches(), files[0])
    write_csv(found.batches(), files[1])
    return Download(
        "Measurements", "Everything that was measured: one line for each case row, cell and quantity.",
        int(found.cells["lines"].sum()), files,
    )  # fmt: skip


def _write_parquet(lines: pa.RecordBatchReader, path: Path) -> None:
    """Write lines batch by batch, so that pandas reads them with the table's types."""
    dictionary = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([f.with_type(dictionary) if f.name in WORDS else f for f in lines.schema])
    metadata = pa.Schema.from_pandas(typed(pd.DataFrame()), preserve_index=False).metadata
    with pq.ParquetWriter(path, schema.with_metadata(metadata), compression="zstd") as file:
        for batch in lines:
            file.write_table(pa.Table.from_batches([batch]).cast(schema))
