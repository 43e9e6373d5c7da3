"""The whole table as CSV, packed: it has up to hundreds of millions of lines, and a tenth of their size so."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.csv


def write_csv(lines: pa.RecordBatchReader, path: Path) -> None:
    """Writes lines, whose words are strings, batch by batch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The time of writing is left out, so that the same run gives the same file.
    with gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) as file, pyarrow.csv.CSVWriter(file, lines.schema) as csv:
        for batch in lines:
            csv.write_batch(batch)
