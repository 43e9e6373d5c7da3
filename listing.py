"""What there is to run, as DataFrames: the catalogue's cases and the frameworks' implementations."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from . import cases as _cases
from .formats import FORMATS
from .plan import choose_frameworks
from .pool import Pools
from .worker import Description


def catalogue(patterns: str | Sequence[str] | None = None) -> pd.DataFrame:
    """The cases, one row each: case, family, why, source, tags, rows, classes, reduction, dtypes.

    Raises:
        UsageError: for a glob that matches no case.
    """
    lines = [
        (c.id, c.family, c.why, c.source, ", ".join(c.tags), c.rows, c.classes, c.reduction, ", ".join(c.dtypes))
        for c in _cases.select(patterns)
    ]
    return pd.DataFrame(
        lines, columns=["case", "family", "why", "source", "tags", "rows", "classes", "reduction", "dtypes"]
    )


def describe(frameworks: Sequence[str] | None = None) -> dict[str, Description]:
    """What each framework says of itself, asked in a process of its own."""
    names = choose_frameworks(frameworks)
    with tempfile.TemporaryDirectory(prefix="logitlab-") as logs, Pools(names, Path(logs)) as pools:
        return pools.describe()


def implementations(frameworks: Sequence[str] | None = None) -> pd.DataFrame:
    """The implementations: framework, implementation, formula, dtypes, devices, modes, version, available, missing.

    The frameworks are imported in processes of their own to be asked. One that cannot be is a row without
    implementation, its ``missing`` saying why.
    """
    return tabulated(describe(frameworks))


def tabulated(descriptions: Mapping[str, Description]) -> pd.DataFrame:
    """Descriptions as the table that `implementations` returns."""
    lines: list[tuple[object, ...]] = []
    for name, d in descriptions.items():
        if d.missing is not None:
            lines.append((name, None, None, None, None, None, None, False, d.missing))
        for o in d.offers:
            why = None if o.version is not None else f"{o.package} is not installed"
            words = (", ".join(FORMATS), ", ".join(d.devices), ", ".join(o.modes))
            lines.append((name, o.name, o.formula, *words, o.version, why is None, why))
    columns = [
        "framework",
        "implementation",
        "formula",
        "dtypes",
        "devices",
        "modes",
        "version",
        "available",
        "missing",
    ]
    return pd.DataFrame(lines, columns=columns)
