"""The catalogue's cases and the frameworks' implementations, as DataFrames."""

import tempfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ...cases import all_cases, select_cases
from ...core.arguments import Strings, as_dtypes, as_strings
from ...core.errors import UsageError
from ...core.formats import DTYPES
from ...execution import registry
from ...execution.plan import choose_frameworks
from ...execution.pool import Pools
from ...execution.registry import Description

# The packages whose extra has another name.
_EXTRAS = {
    "optax": "jax", "keras": "tensorflow", "sklearn": "scipy", "liger_kernel": "interpreted", "fla": "interpreted",
    "cut_cross_entropy": "gpu", "transformers": "wild", "trl": "wild",
}  # fmt: skip
# Packages that no extra has, because the others exclude their requirements; with the arguments for pip.
_APART = {"torchtune": "torchtune torchao==0.9.0"}


def catalogue(
    patterns: Strings = None,
    families: Strings = None,
    tags: Strings = None,
    dtypes: object = None,
    sources: Strings = None,
) -> pd.DataFrame:
    """Return the cases, one row each: case, family, why, source, tags, rows, classes, reduction, dtypes, problem.

    A case must pass every filter, and match one of the values of each. A filter that is left out keeps all cases.

    Args:
        patterns: globs over ``family/name``.
        families: names of families, or globs over them.
        tags: the tags in `cases/_tags.py`, or globs over them.
        dtypes: keep the cases that one of the dtypes can hold.
        sources: parts of a source, or globs over it, such as ``optax``, ``#1020``, ``pytorch/*``. Upper and lower case
            are equal.

    Raises:
        UsageError: for an empty list, a glob that matches no case, an unknown family, tag or dtype, or filters that
            leave no case.
    """
    globs, held = as_strings(patterns, "patterns"), as_dtypes(dtypes)
    of_families, of_tags = as_strings(families, "families"), as_strings(tags, "tags")
    of_sources = as_strings(sources, "sources")
    every = all_cases()
    kept_families = _matched("family", "families", of_families, {c.family for c in every})
    kept_tags = _matched("tag", "tags", of_tags, {t for c in every for t in c.tags})
    found = [
        c
        for c in select_cases(globs)
        if (not of_families or c.family in kept_families)
        and (not of_tags or kept_tags & set(c.tags))
        and (not of_sources or _is_from(c.source, of_sources))
        and (not held or any(c.is_measured_in(dtype) for dtype in held))
    ]
    if not found:
        filters = {"case": globs, "family": of_families, "tag": of_tags, "dtype": held, "source": of_sources}
        given = ", ".join(f"{name} {' or '.join(values)}" for name, values in filters.items() if values)
        raise UsageError(f"no case passes all filters: {given}; leave one filter out, or give it another value")
    return pd.DataFrame(
        {
            "case": c.id, "family": c.family, "why": c.why, "source": c.source, "tags": ", ".join(c.tags),
            "rows": c.rows, "classes": c.classes, "reduction": c.reduction, "dtypes": ", ".join(c.dtypes),
            "problem": c.problem.value,
        }
        for c in found
    )  # fmt: skip


def _matched(kind: str, plural: str, globs: list[str], names: set[str]) -> set[str]:
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            raise UsageError(f"unknown {kind} {glob!r}; choose from the {plural} {', '.join(sorted(names))}")
    return {name for name in names if any(fnmatchcase(name, glob) for glob in globs)}


def _is_from(source: str | None, parts: list[str]) -> bool:
    return source is not None and any(fnmatchcase(source.lower(), f"*{part.lower()}*") for part in parts)


def how_to_install(name: str, framework: str | None = None) -> str:
    """Return how to install a missing framework, or a package that an implementation of ``framework`` uses."""
    owner = next((e for e in registry.entries() if e.foreign and e.framework == (framework or name)), None)
    if owner is None:
        if name in _APART:
            return f"in a separate environment: pip install {_APART[name]}"
        extra = _EXTRAS.get(name, name)
        return f"pip install 'logitlab[{extra}]'" if extra != "numpy" else "pip install logitlab"
    if name == (framework or name):
        return f"pip install {owner.distribution}"
    # The name of the distribution with this package is unknown here.
    return f"see the documentation of {owner.distribution} {owner.version}, which uses it"


def entry_points() -> pd.DataFrame:
    """Return the entry points of frameworks, without importing any: framework, entry_point, distribution, version."""
    found = [(e.framework, e.value, e.distribution, e.version) for e in registry.entries()]
    return pd.DataFrame(found, columns=["framework", "entry_point", "distribution", "version"])


def third_party_notices(frameworks: Sequence[str] | None = None) -> list[str]:
    """Return a line for each framework of another package, whose code a run imports."""
    return [
        f"{e.framework} comes from {e.distribution} {e.version}, not from LogitLab; LogitLab imports {e.value}"
        for e in registry.entries()
        if e.foreign and (not frameworks or e.framework in frameworks)
    ]


def describe_frameworks(frameworks: Strings = None) -> dict[str, Description]:
    """Return each framework's description, from a separate process for each."""
    names = choose_frameworks(as_strings(frameworks, "frameworks") or registry.names())
    with tempfile.TemporaryDirectory(prefix="logitlab-") as logs, Pools(names, Path(logs)) as pools:
        return pools.describe()


def implementations(frameworks: Strings = None) -> pd.DataFrame:
    """Return the implementations, one row each.

    The columns are framework, implementation, formula, dtypes, devices, modes, version, available, missing and
    problem. Each framework is imported in a separate process. A framework that cannot be imported is a row without an
    implementation; ``missing`` says why.

    Args:
        frameworks: their names; all by default.

    Raises:
        UsageError: for an empty list, or an unknown framework.
    """
    return tabulated(describe_frameworks(frameworks))


class _Line(NamedTuple):
    framework: str
    implementation: str | None = None
    formula: str | None = None
    dtypes: str | None = None
    devices: str | None = None
    modes: str | None = None
    version: str | None = None
    available: bool = False
    missing: str | None = None
    problem: str | None = None


def tabulated(descriptions: Mapping[str, Description]) -> pd.DataFrame:
    """Return descriptions as the table of `implementations`."""
    lines = []
    for name, d in descriptions.items():
        if d.missing is not None:
            lines.append(_Line(name, missing=d.missing))
        for i in d.implementations:
            devices, available = ", ".join(i.devices_among(d.devices)), i.version is not None
            missing = None if available else f"{i.package} is not installed"
            names = (i.name, i.formula, ", ".join(DTYPES), devices, ", ".join(i.modes))
            lines.append(_Line(name, *names, i.version, available, missing, i.problem.value))
    return pd.DataFrame(lines, columns=_Line._fields)
