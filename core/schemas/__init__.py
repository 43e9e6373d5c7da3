"""JSON Schemas of the files and formats that LogitLab writes: draft 2020-12, a file for each kind.

The number ``schema`` at the top of a document is the version of its kind. It is 1 unless the file says otherwise, and
grows when a reader of the earlier version would no longer understand the document.
"""

import json
from importlib.resources import files
from typing import Any

from ..errors import UsageError

_SUFFIX = ".schema.json"
NAMES = tuple(sorted(f.name.removesuffix(_SUFFIX) for f in files(__name__).iterdir() if f.name.endswith(_SUFFIX)))


def read_text(name: str) -> str:
    """Return the text of the schema of this kind, such as ``check`` or ``manifest``.

    Raises:
        UsageError: for an unknown name.
    """
    if name not in NAMES:
        raise UsageError(f"unknown schema {name!r}; choose one of {', '.join(NAMES)}")
    return (files(__name__) / f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    """Return the schema of this kind, such as ``check`` or ``manifest``.

    Raises:
        UsageError: for an unknown name.
    """
    schema: dict[str, Any] = json.loads(read_text(name))
    return schema
