"""The defaults that ``[tool.logitlab]`` of the user's pyproject.toml gives to the options of a verb."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from ..core.errors import UsageError
from ..core.files import plain_name

if TYPE_CHECKING:
    from ..core.project_settings import ProjectSettings


class ProjectCommand(TyperCommand):
    """A command whose options have defaults from the project's settings. Options that are given win."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments, with the settings as defaults."""
        # Completion and --help need no settings, and must not fail because of them.
        if not extra.get("resilient_parsing") and "--help" not in args:
            extra["default_map"] = _defaults(_settings(), args)
        return super().make_context(info_name, args, parent, **extra)


def _settings() -> ProjectSettings:
    """Return the project's settings. They import NumPy for the dtypes, which --help does not need."""
    from ..core.project_settings import read_settings

    return read_settings()


def missing(key: str, words: str) -> UsageError:
    """Return the error for a value that neither the command line nor the settings give."""
    return UsageError(f"no value for {key}; give {words}, or set {key} in [tool.logitlab] of pyproject.toml")


def _defaults(settings: ProjectSettings, args: Sequence[str]) -> dict[str, object]:
    """Return the defaults by the name of the parameter."""
    found = {"framework": settings.framework, "dtype": list(settings.dtypes)}
    if "--bitwise" not in args:  # bits have neither a grade nor cases
        found |= {"require": settings.require, "case": list(settings.cases)}
    return {name: value for name, value in found.items() if value}


def project_baseline() -> Path:
    """Return the baseline of the project's settings.

    Raises:
        UsageError: if they name no baseline.
    """
    found = _settings().baseline
    if found is None:
        raise missing("baseline", "BASE and NEW")
    return found


def each_loss(verb: Callable[..., None], given: dict[str, Any]) -> None:
    """Call a verb for each loss of the project's settings.

    Several losses write to a folder each, below ``out``. One that cannot be measured does not stop the others.

    Args:
        verb: a function with the parameters ``loss``, ``format`` and ``out``.
        given: the other arguments.

    Raises:
        UsageError: if the settings name no loss, or several and a format that holds one is to be printed.
        typer.Exit: with the largest exit code of the calls.
    """
    settings = _settings()
    if not settings.losses:
        raise missing("losses", "MODULE:LOSS")
    if str(settings.folder) not in sys.path:
        sys.path.insert(0, str(settings.folder))  # its modules are found in a folder below it too
    if len(settings.losses) == 1:
        verb(**given | {"loss": settings.losses[0]})
        return
    out, codes = given["out"], [0]
    if out is None:
        _refuse_documents(given["format"] or ())
    for loss in settings.losses:
        try:
            verb(**given | {"loss": loss, "out": None if out is None else out / plain_name(loss)})
        except typer.Exit as end:
            codes.append(end.exit_code)
        except UsageError as error:
            print(f"logitlab: {loss}: {error}", file=sys.stderr)
            codes.append(2)
    if any(codes):
        raise typer.Exit(max(codes))


def _refuse_documents(formats: Iterable[str]) -> None:
    from ..studies.check import DOCUMENTS

    if one := [name for name in formats if name in DOCUMENTS]:
        raise UsageError(
            f"[tool.logitlab] names several losses, and a document of {' or '.join(one)} holds one; give --out DIR "
            "for a file each, or MODULE:LOSS for one"
        )
