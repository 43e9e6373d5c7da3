"""Build a run of 10^8 measurements, and measure the time, memory and disk space of its reports.

The run is built from a real one. It repeats each row many times, with other row numbers and with errors multiplied by
a seeded factor near 1. A second mode differs from the first in a tenth of the bits, so that modes can be compared. Each
report is written by a separate process.

    logitlab run --framework numpy --mode eager --out runs/real
    python benchmarks/large.py runs/real /tmp/large --lines 1e8 --json docs/measured/large.json
    rm -r /tmp/large
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from logitlab.core.files import digest_of
from logitlab.execution.environment import hardware
from logitlab.storage._parts import Checksums, numbered
from logitlab.storage.store import Run

# On Linux a process inherits the peak memory of its parent, so a small process starts the measured one.
_BETWEEN = """
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], "w").write(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss]))
sys.exit(code)
"""
STRIDE = 1_000_000  # between the row numbers of two copies
LINES_OF_A_PART = 200_000
ERRORS = ("max_abs", "max_rel", "max_ulp", "stability_ratio")
ONCE = ("seed", "invalid")  # not repeated: their tables have a column for each row or case
MODES = ("eager", "compiled")
FORMATS = ("text", "markdown", "latex", "csv")


def make(real: Run, folder: Path, lines: int, seed: int = 0) -> Run:
    """Write a run of about ``lines`` lines, built from a complete run of the first mode; return it."""
    built = Run.create(folder, real.manifest)
    tables = [pq.read_table(path) for path in real.parts()]
    often = [table.filter(_repeatable(table)) for table in tables]
    once, each = (len(MODES) * sum(map(len, of)) for of in (tables, often))
    copies = max(0, round((lines - once) / each))
    together = max(1, LINES_OF_A_PART // max(map(len, often)))
    parts = ((table, range(1)) for table in tables)
    blocks = (range(first, min(first + together, copies + 1)) for first in range(1, copies + 1, together))
    rng = np.random.default_rng(seed)
    number = 0
    for table, block in (*parts, *((table, block) for block in blocks for table in often)):
        for mode in MODES:
            pq.write_table(_copies(table, block, mode, rng), built.part(number), compression="zstd")
            number += 1
    Checksums(folder).rewrite({f"parts/{path.name}": digest_of(path) for path in numbered(folder)})
    return built


def _repeatable(table: pa.Table) -> pa.Array:
    """Return a mask of the lines that can be repeated; a reduced loss has the fixed row number -1."""
    once = pc.is_in(table["family"].cast(pa.string()), pa.array(ONCE))
    return pc.and_(pc.greater_equal(table["row"], 0), pc.invert(once))


def _copies(table: pa.Table, block: Sequence[int], mode: str, rng: np.random.Generator) -> pa.Table:
    shifted = [_set(table, "row", pc.add(table["row"], pa.scalar(STRIDE * copy, pa.int32()))) for copy in block]
    whole = pa.concat_tables(shifted).combine_chunks()
    factor = pa.array(np.exp(0.1 * rng.standard_normal(len(whole))))
    for name in ERRORS:
        whole = _set(whole, name, pc.multiply(whole[name], factor))
    if mode != MODES[0]:
        changed = rng.random(len(whole)) < 0.1
        whole = _set(whole, "mode", pa.array([mode] * len(whole)).dictionary_encode())
        whole = _set(whole, "bits", pc.bit_wise_xor(whole["bits"], pa.array(changed.astype(np.int64))))
        whole = _set(whole, "value", pc.multiply(whole["value"], pa.array(1.0 + changed * 2.0**-20)))
    return whole


def _set(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def measured(words: Sequence[str]) -> dict[str, float]:
    """Run a process and return its time and peak memory; raise SystemExit if it fails."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "usage.json"
        status = subprocess.run([sys.executable, "-S", "-c", _BETWEEN, file, *words], check=False).returncode
        if status:
            raise SystemExit(f"{' '.join(words)} ended with {status}")
        seconds, peak = json.loads(file.read_text(encoding="utf-8"))
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "processor seconds": round(seconds, 1),
        "peak MiB": round(peak / unit),
    }


def reports(run: Path, formats: Sequence[str], out: Path) -> Iterator[tuple[str, dict[str, float]]]:
    for name in formats:
        yield (
            name,
            measured([sys.executable, "-m", "logitlab", "report", str(run), "--format", name, "--out", str(out)]),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a complete run in eager mode only")
    parser.add_argument("folder", type=Path, help="write the large run and its reports to this folder")
    parser.add_argument("--lines", type=float, default=1e8)
    parser.add_argument("--format", action="append", choices=FORMATS, help="all four by default")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    large = given.folder / "run"
    if not large.exists():
        print(f"writing {large}", flush=True)
        make(Run(given.run), large, int(given.lines))
    run = Run(large)
    of_machine = {k: v for k, v in hardware().items() if k in ("processor", "machine", "cores", "memory", "python")}
    figures: dict[str, dict[str, float]] = {}
    found = {
        "lines": run.lines(),
        "parts": len(run.parts()),
        "bytes": sum(path.stat().st_size for path in run.parts()),
        "machine": of_machine,
        "versions": {name: metadata.version(name) for name in ("logitlab", "duckdb", "pyarrow", "pandas")},
        "reports": figures,
    }
    print(json.dumps(found, indent=1), flush=True)
    for name, usage in reports(large, given.format or FORMATS, given.folder / "report"):
        figures[name] = usage
        print(name, usage, flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
