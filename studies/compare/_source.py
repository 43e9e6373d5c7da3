"""The inputs of a comparison: a table, a run folder, a Parquet file of such a table, a baseline."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...core import arguments, files
from ...core.errors import UsageError
from ...storage.manifest import Manifest, read_manifest
from ...storage.store import Run
from . import _baseline as baseline
from ._lines import Source, lines

Comparable = pd.DataFrame | Run | str | Path


def require_readable(given: Comparable, name: str) -> None:
    """Raise a UsageError unless the input exists and is `Comparable`, without reading its measurements."""
    if isinstance(given, (pd.DataFrame, Run)):
        return
    path = arguments.as_path(
        given, name, "a run folder, a .parquet file of measurements, a baseline, a DataFrame or a Run"
    )
    if path.is_dir():
        read_manifest(path)
    elif not path.exists():
        raise UsageError(f"{path} does not exist; give a run folder, a .parquet file of measurements, or a baseline")


def read_source(given: Comparable, name: str = "the table") -> Source:
    """Read one side of a comparison; ``name`` is used for a DataFrame, which has no name.

    Raises:
        UsageError: if it cannot be read.
    """
    if isinstance(given, pd.DataFrame):
        return _of_table(given, name)
    if isinstance(given, Run):
        return _of_run(given)
    path = Path(given)
    if path.is_dir():
        return _of_run(Run(path))
    if path.suffix == ".parquet":
        return _of_table(_parquet(path), str(path))
    return baseline.read(path)


def write_baseline(given: Comparable, path: str | Path) -> None:
    """Write the baseline of a run or of a measurements table. Equal results give equal files.

    Raises:
        UsageError: for a run that is incomplete or has no measurements, or a file that exists or cannot be written.
    """
    files.refuse_existing(arguments.as_path(path, "path"))
    require_readable(given, "run")
    baseline.write(read_source(given), Path(path))


def _of_table(table: pd.DataFrame, name: str) -> Source:
    return Source(name, lines(table, name), {}, _versions(table))


def _of_run(run: Run) -> Source:
    table = run.read()
    found = lines(table, str(run.folder))
    return Source(str(run.folder), found, _facts(run.manifest), _versions(table), run.manifest.complete)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        table: pd.DataFrame = pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path} cannot be read as Parquet ({error}); give the run folder instead") from error
    return table


def _versions(table: pd.DataFrame) -> dict[str, str]:
    if "version" not in table:
        return {}
    known = table[["implementation", "version"]].dropna().drop_duplicates().astype(str).sort_values("version")
    return {str(name): ", ".join(of) for name, of in known.groupby("implementation", sort=True)["version"]}


def _facts(manifest: Manifest) -> dict[str, str]:
    """Return the facts that may explain a difference in results."""
    facts = {
        "LogitLab": manifest.versions.get("logitlab"),
        "catalogue": manifest.catalogue["hash"][:12],
        "processor": manifest.hardware["processor"],
        **manifest.packages,
    }
    return {name: str(fact) for name, fact in sorted(facts.items()) if fact}
