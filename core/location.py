"""The file and line that define a function."""

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Location:
    """A line of a source file.

    Attributes:
        file: the absolute path.
        line: the line, from 1.
    """

    file: Path
    line: int

    @property
    def relative(self) -> str | None:
        """The path from the root of the project, with forward slashes; None for a file outside of it.

        The root is ``GITHUB_WORKSPACE``, which GitHub Actions sets, or the current folder.
        """
        root = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd()).resolve()
        return self.file.relative_to(root).as_posix() if self.file.is_relative_to(root) else None


def location_of(function: Callable[..., Any]) -> Location | None:
    """Return where a function, the function of a partial, or the class of an object is defined; None if unknown."""
    found: Any = function
    while isinstance(found, functools.partial):
        found = found.func
    found = inspect.unwrap(found)
    if not (inspect.isroutine(found) or inspect.isclass(found)):
        found = type(found)
    try:
        file, (_, line) = inspect.getsourcefile(found), inspect.getsourcelines(found)
    except (OSError, TypeError):  # compiled code, or a function of a prompt
        return None
    return None if file is None else Location(Path(file).resolve(), max(line, 1))
