"""Case files: cases of one's own, or found by a hunt, as JSON that people read and version control compares.

::

    {
     "format": "logitlab cases",
     "version": 1,
     "cases": [
      {
       "name": "mine/first",
       "why": "A masked class beside a large one.",
       "logits": [
        [88.75, "-inf", 0.5]
       ],
       "targets": [2]
      }
     ]
    }

Logits are rows (B, C), a row a line, their numbers the shortest decimals that float64 reads back, with ``"-inf"``,
``"inf"`` and ``"nan"`` for what JSON has no number for. Targets are class indices (B,), or rows of class
probabilities. A case may also have ``source``, ``reported``, ``tags``, ``target_dtype`` (``int64`` or ``int32``),
``reduction``, ``layout`` and ``invalid``, each as `cases.Case` has it, and the loss options by the names that
`options.LossOptions` has.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from ...core import files
from ...core.errors import UsageError
from .. import Case, all_cases, content_hash, get_case
from . import _case_fields as fields
from ._logits_file import FAMILY
from ._readers import InvalidFileError
from ._sweeps import PREFIX

FORMAT = "logitlab cases"
VERSION = 1
# A report reads something into these families.
RESERVED = (FAMILY, "invalid")


@dataclass(frozen=True)
class CaseFile:
    """A case file that has been read.

    Attributes:
        path: as it was given.
        cases: what it holds, in its order.
        digest: of what decides a result, so that a file with other words or another layout is the same.
    """

    path: Path
    cases: tuple[Case, ...]
    digest: str

    @classmethod
    def open(cls, path: str | Path) -> CaseFile:
        """As `read_cases`."""
        given = Path(path)
        try:
            found = tuple(_cases(_document(given)))
        except InvalidFileError as defect:
            raise UsageError(f"{given}: {defect}") from defect
        return cls(given, found, content_hash(found))


def read_cases(path: str | Path) -> tuple[Case, ...]:
    """The cases of a case file, checked.

    Raises:
        UsageError: for a file that is not there or no case file, or a case that is not as it should be: which file,
            case and field, what it holds, and what was expected. A name that the catalogue has, or of a family that
            reports take for something else, is refused too.
    """
    return CaseFile.open(path).cases


def find_case(case_id: str, paths: Iterable[str | Path] = ()) -> Case:
    """The case of this full ``family/name``, from the case files, or else from the catalogue.

    Raises:
        UsageError: if there is none, or a file is not as it should be.
    """
    there = [case for path in paths for case in read_cases(path)]
    mine = [case for case in there if case.id == case_id]
    if not mine and there and not any(c.id == case_id for c in all_cases()):
        held = ", ".join(case.id for case in there)
        raise UsageError(f"no case is named {case_id!r}, neither in the catalogue nor in the case files: {held}")
    return mine[0] if mine else get_case(case_id)


def prepare(path: str | Path) -> None:
    """Checks, before anything is measured, that `write_cases` can write a new file here, and makes its folder.

    Raises:
        UsageError: for a file that is there already, or that cannot be written.
    """
    target = Path(path)
    files.refuse_existing(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror}); choose another file") from error


def write_cases(path: str | Path, cases: Sequence[Case]) -> None:
    """Writes a case file, which `read_cases` reads back number for number; the same cases give the same file.

    Raises:
        UsageError: for a case without rows or classes, which the format has no form for, or a file that cannot be
            written.
    """
    for case in cases:
        if case.logits.size == 0:
            raise UsageError(f"{case.id} has no rows or no classes, and a case file cannot hold it")
    body = ",\n".join(f"  {{\n{_fields(case)}\n  }}" for case in cases)
    text = f'{{\n "format": "{FORMAT}",\n "version": {VERSION},\n "cases": [\n{body}\n ]\n}}\n'
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write(target, text.encode("utf-8"))
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror}); choose another file") from error


# --- reading ----------------------------------------------------------------------------------------------------


def _document(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidFileError("no such file") from None
    except UnicodeDecodeError as error:
        raise InvalidFileError(f"is no text in UTF-8 ({error.reason} at byte {error.start}); expected JSON") from error
    except OSError as error:
        raise InvalidFileError(f"cannot be read ({error.strerror})") from error
    try:
        # NaN and Infinity, which Python would read and nobody else, are left to the fields to refuse.
        return json.loads(text, object_pairs_hook=_once, parse_constant=str)
    except InvalidFileError:
        raise
    except json.JSONDecodeError as error:
        raise InvalidFileError(f"line {error.lineno}, column {error.colno}: is no JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise InvalidFileError(f"is no JSON that can be read ({str(error).splitlines()[0]})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise InvalidFileError(f"a field {doubled!r} is given twice in one object; keep one of them")
    return found


def _cases(document: Any) -> Iterator[Case]:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidFileError(f'is no case file; expected an object with "format": "{FORMAT}"')
    version = document.get("version")
    if type(version) is int and version > VERSION:
        raise InvalidFileError(f"has version {version}, and this LogitLab knows {VERSION}; upgrade")
    if type(version) is not int or version != VERSION:
        raise InvalidFileError(f"version: {fields.told(version)}; expected {VERSION}")
    for field in document:
        if field not in ("format", "version", "cases"):
            raise InvalidFileError(f"unknown field {field!r}; the fields of a file are format, version, cases")
    entries = document.get("cases")
    if not isinstance(entries, list) or not entries:
        raise InvalidFileError(f"cases: {fields.told(entries)}; expected a list of at least one case")
    seen = {case.id: "the catalogue has a case of this name" for case in all_cases()}
    for number, entry in enumerate(entries):
        found = fields.case(entry, f"case {number}")
        if found.family in RESERVED or found.family.startswith(PREFIX):
            taken = f"the family {found.family!r} is not for case files"
        else:
            taken = seen.get(found.id, "")
        if taken:
            raise InvalidFileError(f"case {number} ({found.id}), name: {taken}; choose another")
        seen[found.id] = "an earlier case of the file has this name"
        yield found


# --- writing ----------------------------------------------------------------------------------------------------


def _fields(case: Case) -> str:
    """The fields of a case, those left out that say what goes without saying."""
    given: dict[str, str] = {"name": _json(case.id), "why": _json(case.why)}
    words = {"source": case.source, "reported": case.reported}
    given |= {name: _json(word) for name, word in words.items() if word is not None}
    if case.tags:
        given["tags"] = _json(list(case.tags))
    given["logits"] = _rows(case.logits)
    if case.targets.ndim == 2:
        given["targets"] = _rows(case.targets)
    else:
        given["targets"] = _json(case.targets.tolist())
    if case.targets.dtype == np.int32:
        given["target_dtype"] = _json("int32")
    if case.reduction != "none":
        given["reduction"] = _json(case.reduction)
    given |= {name: _json(value.tolist() if name == "weight" else value) for name, value in case.given.items()}
    if case.layout != "rows":
        given["layout"] = _json(case.layout)
    if case.invalid:
        given["invalid"] = _json(case.invalid)
    return ",\n".join(f"   {_json(name)}: {text}" for name, text in given.items())


def _rows(values: Any) -> str:
    lines = ",\n".join(f"    [{', '.join(map(_number, row))}]" for row in values.tolist())
    return f"[\n{lines}\n   ]"


def _number(value: float) -> str:
    if math.isfinite(value):
        # Python's own is the shortest decimal that reads back.
        return repr(float(value))
    return _json("nan" if math.isnan(value) else "inf" if value > 0 else "-inf")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
