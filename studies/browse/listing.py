"""What there is to run, as DataFrames: the catalogue's cases and the frameworks' implementations."""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ... import cases as _cases
from ...core.arguments import Strings, as_dtypes, as_strings
from ...core.errors import UsageError
from ...core.formats import FORMATS
from ...execution import registry
from ...execution.plan import choose_frameworks
from ...execution.pool import Pools
from ...execution.registry import Description

# The packages whose extra bears another name than they do.
_EXTRAS = {
    "optax": "jax", "keras": "tensorflow", "sklearn": "scipy", "liger_kernel": "gpu", "cut_cross_entropy": "gpu"
}  # fmt: skip


def catalogue(
    patterns: Strings = None,
    families: Strings = None,
    tags: Strings = None,
    dtypes: object = None,
    sources: Strings = None,
) -> pd.DataFrame:
    """The cases, one row each: case, family, why, source, tags, rows, classes, reduction, dtypes.

    What is left out means all. Words of one filter are alternatives, and a case must pass every filter.

    Args:
        patterns: globs over ``family/name``.
        families: names of families, or globs over them.
        tags: those in `cases/_tags.py`, or globs over them.
        dtypes: keeps the cases that one of the dtypes can hold.
        sources: parts of a source, or globs over it, in any case: ``optax``, ``#1020``, ``pytorch/*``.

    Raises:
        UsageError: for an empty list, a glob that matches no case, a family, tag or dtype that is not one, or filters
            that no case passes together.
    """
    globs, asked_families, asked_tags, asked_sources = (
        as_strings(given, name)
        for given, name in ((patterns, "patterns"), (families, "families"), (tags, "tags"), (sources, "sources"))
    )
    held = as_dtypes(dtypes)
    kinds = _matching("family", "families", asked_families, {c.family for c in _cases.all_cases()})
    words = _matching("tag", "tags", asked_tags, {t for c in _cases.all_cases() for t in c.tags})
    found = [
        c
        for c in _cases.select_cases(globs)
        if (not kinds or c.family in kinds)
        and (not words or words & set(c.tags))
        and (not asked_sources or _from(c.source, asked_sources))
        and (not held or set(held) & set(c.dtypes))
    ]
    if not found:
        asked = {"case": globs, "family": asked_families, "tag": asked_tags, "dtype": held, "source": asked_sources}
        told = ", ".join(f"{name} {' or '.join(given)}" for name, given in asked.items() if given)
        raise UsageError(f"no case passes all of these filters: {told}; leave one out, or give it more words")
    lines = [
        (c.id, c.family, c.why, c.source, ", ".join(c.tags), c.rows, c.classes, c.reduction, ", ".join(c.dtypes))
        for c in found
    ]
    return pd.DataFrame(
        lines, columns=["case", "family", "why", "source", "tags", "rows", "classes", "reduction", "dtypes"]
    )


def _matching(kind: str, plural: str, globs: list[str], names: set[str]) -> set[str]:
    for glob in globs:
        if not any(fnmatch.fnmatchcase(name, glob) for name in names):
            raise UsageError(f"unknown {kind} {glob!r}; the {plural} are {', '.join(sorted(names))}")
    return {name for name in names if any(fnmatch.fnmatchcase(name, glob) for glob in globs)}


def _from(source: str | None, parts: list[str]) -> bool:
    return source is not None and any(fnmatch.fnmatchcase(source.lower(), f"*{part.lower()}*") for part in parts)


def how_to_install(name: str, framework: str | None = None) -> str:
    """How to install what is missing: a framework, or a package that an implementation of ``framework`` uses."""
    owner = next((e for e in registry.entries() if e.foreign and e.framework == (framework or name)), None)
    if owner is None:
        extra = _EXTRAS.get(name, name)
        return f"pip install 'logitlab[{extra}]'" if extra != "numpy" else "pip install logitlab"
    if name == (framework or name):
        return f"pip install {owner.distribution}"
    # Which distribution holds a package that is not there, only its user knows.
    return f"{owner.distribution} {owner.version} uses it, and its documentation says how to install it"


def entry_points() -> pd.DataFrame:
    """Where frameworks come from, without importing any: framework, entry_point, distribution, version."""
    found = [(e.framework, e.value, e.distribution, e.version) for e in registry.entries()]
    return pd.DataFrame(found, columns=["framework", "entry_point", "distribution", "version"])


def foreign(frameworks: Sequence[str] | None = None) -> list[str]:
    """A line for each framework of another package than LogitLab, whose code a run imports."""
    return [
        f"{e.framework} is {e.distribution} {e.version}'s, and not LogitLab's: {e.value} is imported"
        for e in registry.entries()
        if e.foreign and (not frameworks or e.framework in frameworks)
    ]


def describe(frameworks: Strings = None) -> dict[str, Description]:
    """What each framework says of itself, asked in a process of its own."""
    names = choose_frameworks(as_strings(frameworks, "frameworks"))
    with tempfile.TemporaryDirectory(prefix="logitlab-") as logs, Pools(names, Path(logs)) as pools:
        return pools.describe()


def implementations(frameworks: Strings = None) -> pd.DataFrame:
    """The implementations: framework, implementation, formula, dtypes, devices, modes, version, available, missing.

    The frameworks are imported in processes of their own to be asked. One that cannot be is a row without
    implementation, its ``missing`` saying why.

    Args:
        frameworks: their names; all by default.

    Raises:
        UsageError: for an empty list, or a name that no installed package offers.
    """
    return tabulated(describe(frameworks))


def tabulated(descriptions: Mapping[str, Description]) -> pd.DataFrame:
    """Descriptions as the table that `implementations` returns."""
    lines: list[tuple[object, ...]] = []
    for name, d in descriptions.items():
        if d.missing is not None:
            lines.append((name, None, None, None, None, None, None, False, d.missing))
        for o in d.implementations:
            why = None if o.version is not None else f"{o.package} is not installed"
            words = (", ".join(FORMATS), ", ".join(o.devices or d.devices), ", ".join(o.modes))
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
