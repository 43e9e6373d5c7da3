"""The whole table as compressed CSV, a tenth of the size: it may have hundreds of millions of lines."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.csv


def write_csv(lines: pa.RecordBatchReader, path: Path) -> None:
    """Write lines, whose words are strings, batch by batch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the time of writing, the same run gives the same file.
    with gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) as file, pyarrow.csv.CSVWriter(file, lines.schema) as csv:
        for batch in lines:
            csv.write_batch(batch)
