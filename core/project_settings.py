"""The table ``[tool.logitlab]`` of a user's pyproject.toml: defaults of ``check``, ``compare`` and pytest."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from . import arguments
from .errors import UsageError
from .vocabulary import GRADES

FILE, TABLE = "pyproject.toml", "[tool.logitlab]"


@dataclass(frozen=True)
class ProjectSettings:
    """The settings of a project; what the file leaves out is empty or None.

    Attributes:
        losses: the losses that ``check`` measures if none is named: ``MODULE:LOSS`` or ``FILE.py:LOSS``.
        framework: the framework of their arrays.
        dtypes: the dtypes that they must support.
        require: the worst grade that passes.
        cases: globs over ``family/name``.
        baseline: the file that ``compare`` reads if only the new run is given.
        folder: the folder of the file; None without a file.
    """

    losses: tuple[str, ...] = ()
    framework: str | None = None
    dtypes: tuple[str, ...] = ()
    require: str | None = None
    cases: tuple[str, ...] = ()
    baseline: Path | None = None
    folder: Path | None = None


KEYS = tuple(field.name for field in fields(ProjectSettings) if field.name != "folder")


def read_settings(start: Path | None = None) -> ProjectSettings:
    """Return the settings of the nearest pyproject.toml with the table, in a folder or above it.

    Paths in the file are relative to its folder. The returned ones are relative to the current folder.

    Args:
        start: the folder; by default the current one.

    Raises:
        UsageError: for a file that is not TOML, an unknown key, or a value of another type. It names the file.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        file = folder / FILE
        if file.is_file():
            try:
                table = _table(file)
                if table is not None:
                    return _settings(table, folder)
            except UsageError as error:
                raise UsageError(f"{file}: {error}") from error
    return ProjectSettings()


def _table(file: Path) -> Mapping[str, object] | None:
    """Return the table of a file, or None if it has none."""
    try:
        tools = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot be read: {error}; fix the file") from error
    table = tools.get("logitlab") if isinstance(tools, dict) else None
    if table is None or isinstance(table, dict):
        return table
    raise UsageError(f"tool.logitlab is not a table; start it with a line {TABLE}")


def _settings(table: Mapping[str, object], folder: Path) -> ProjectSettings:
    if unknown := sorted(table.keys() - set(KEYS)):
        raise UsageError(f"{TABLE} has an unknown key {unknown[0]!r}; the keys are {', '.join(KEYS)}")
    losses = arguments.as_strings(table.get("losses"), "losses")
    framework, baseline = table.get("framework"), table.get("baseline")
    return ProjectSettings(
        losses=tuple(_from_here(folder, loss) if ".py:" in loss else loss for loss in losses),
        framework=None if framework is None else arguments.as_string(framework, "framework"),
        dtypes=tuple(arguments.as_dtypes(table.get("dtypes"))),
        require=_grade(table.get("require")),
        cases=tuple(arguments.as_strings(table.get("cases"), "cases")),
        baseline=None if baseline is None else Path(_from_here(folder, arguments.as_string(baseline, "baseline"))),
        folder=folder,
    )


def _grade(value: object) -> str | None:
    if value is not None and value not in GRADES[:-1]:
        raise UsageError(f"require is {value!r}; choose one of {', '.join(GRADES[:-1])}")
    return None if value is None else str(value)


def _from_here(folder: Path, path: str) -> str:
    """Return a path in the file, relative to the current folder where that is possible."""
    return os.path.relpath(folder / path)
