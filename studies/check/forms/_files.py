"""The words of the command line: where a loss is, the keywords of its calls, and which output it is."""

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from ....core.errors import UsageError
from ._factory import literal

# The files that were imported, by the names of their modules.
FILES: dict[str, str] = {}


def split(path: str) -> tuple[str, str]:
    """Return module or file, and the text after the colon, of ``MODULE:LOSS`` or ``FILE.py:LOSS``.

    Raises:
        UsageError: if there is no colon, or nothing before or after it.
    """
    before, suffix, after = path.partition(".py:")
    place, text = (f"{before}.py", after) if suffix else (path.partition(":")[0], path.partition(":")[2])
    if not place or not text:
        raise UsageError(
            f"{path!r} is not MODULE:FUNCTION; give a name such as mypackage.losses:cross_entropy, or "
            "folder/file.py:cross_entropy"
        )
    return place, text


def is_file(place: str) -> bool:
    """Return whether a place is a file and not a module."""
    return place.endswith(".py") or "/" in place


def import_file(path: str) -> ModuleType:
    """Import a file; it may import its neighbours.

    Raises:
        UsageError: if it does not exist.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"{path} is not a file; give a module, or a file that exists")
    name = f"_file_{file.stem}"
    if FILES.get(name) == path:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file; give one whose name ends in .py")
    if str(file.parent.resolve()) not in sys.path:
        sys.path.append(str(file.parent.resolve()))
    module = importlib.util.module_from_spec(spec)
    FILES[name] = path
    sys.modules[name] = module  # before it runs, as for every import: its dataclasses look for their module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name], FILES[name]
        raise
    return module


def assigned(texts: Iterable[str]) -> dict[str, Any]:
    """Return the keywords of ``NAME=LITERAL``.

    Raises:
        UsageError: for any other text.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"{text!r} is not NAME=VALUE; give a keyword of the loss, such as from_logits=True")
        found[name] = literal(value)
    return found


def output_named(text: str | None) -> int | str | None:
    """Return an output as an index if it is a whole number, else as a name."""
    if text is None:
        return None
    return int(text) if text.lstrip("-").isdigit() else text
