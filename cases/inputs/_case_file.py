"""Case files: your cases, or those that a hunt found, as readable JSON.

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

Logits are rows (B, C), one a line. Numbers are the shortest decimals that float64 reads back. ``"-inf"``, ``"inf"`` and
``"nan"`` are strings, since JSON has no such numbers. Targets are class indices (B,), or rows of class probabilities.
A case of hidden states has ``hidden`` (B, H), ``linear_weight`` (C, H) and perhaps ``linear_bias`` (C,) instead of
``logits``; ``weight`` still are class weights. Optional fields of a case are ``source``, ``reported``, ``tags``,
``target_dtype`` (``int64`` or ``int32``),
``reduction``, ``layout`` and ``invalid``, as in `cases.Case`, and the loss options of `options.LossOptions`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

import numpy as np

from ...core import files
from ...core.errors import UsageError
from ...core.facts import InputFile
from .. import Case, LinearCase, all_cases, content_hash, get_case
from ._blocks import split_name
from ._case_fields import read_case, short_json
from ._logits_file import FAMILY
from ._readers import InvalidFileError
from ._sweeps import PREFIX, find_swept

T = TypeVar("T")

FORMAT = "logitlab cases"
VERSION = 1
# Reports treat the cases of these families differently.
RESERVED = (FAMILY, "invalid")


@dataclass(frozen=True)
class CaseFile:
    """A case file that has been read.

    Attributes:
        path: the given path.
        cases: its cases, in order.
        digest: a digest of the numbers and options. Texts and formatting do not change it.
    """

    path: Path
    cases: tuple[Case, ...]
    digest: str

    @classmethod
    def open(cls, path: str | Path) -> CaseFile:
        """Read a case file, with the errors of `read_cases`."""
        try:
            cases = tuple(_cases(_document(Path(path))))
        except InvalidFileError as error:
            raise UsageError(f"{path}: {error}") from error
        return cls(Path(path), cases, content_hash(cases))

    @property
    def facts(self) -> InputFile:
        """The file's entry in a run's manifest."""
        return {"path": str(self.path), "cases": [c.id for c in self.cases], "digest": self.digest}


def read_cases(path: str | Path) -> tuple[Case, ...]:
    """Read and check the cases of a case file.

    Raises:
        UsageError: for an unreadable file or an invalid case. The message names the file, case, field, value and
            expectation. A name of the catalogue, or a family that reports treat differently, is invalid too.
    """
    return CaseFile.open(path).cases


def find_case(case_id: str, paths: Iterable[str | Path] = ()) -> Case:
    """Return the case of this full ``family/name``, from the case files, the catalogue or a sweep.

    A name such as ``seed/article@mxfp8_e4m3`` is that of a case whose logits are held in blocks.

    Raises:
        UsageError: if there is none, or a file is invalid.
    """
    own = [case for path in paths for case in read_cases(path)]
    for case in own:
        if case.id == case_id:
            return case
    base, blocks = split_name(case_id)
    if blocks is not None:
        try:
            return blocks.case(find_case(base, paths))
        except ValueError as error:
            raise UsageError(f"{base} has no case in {blocks.name} blocks: {error}; choose another case") from error
    if (swept := find_swept(case_id)) is not None:
        return swept
    if own and not any(case.id == case_id for case in all_cases()):
        names = ", ".join(case.id for case in own)
        raise UsageError(
            f"no case is named {case_id!r}; the case files hold {names}; list the catalogue with `logitlab cases`"
        )
    return get_case(case_id)


def prepare_case_file(path: str | Path) -> None:
    """Check, before measuring, that `write_cases` can write a new file here, and make its folder.

    Raises:
        UsageError: if the file exists or cannot be written.
    """
    target = Path(path)
    files.refuse_existing(target)
    with _writing(target), TemporaryFile(dir=target.parent):
        pass


def write_cases(path: str | Path, cases: Sequence[Case]) -> None:
    """Write a case file that `read_cases` reads back exactly. The same cases give the same file.

    Raises:
        UsageError: for a case without rows or classes, which the format cannot hold, or if the file cannot be written.
    """
    for case in cases:
        if case.logits.size == 0:
            raise UsageError(f"{case.id} has logits of shape {case.logits.shape}; give a case with rows and classes")
    body = ",\n".join(f"  {{\n{_fields(case)}\n  }}" for case in cases)
    text = f'{{\n "format": "{FORMAT}",\n "version": {VERSION},\n "cases": [\n{body}\n ]\n}}\n'
    target = Path(path)
    with _writing(target):
        files.write(target, text.encode("utf-8"))


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror}); choose another file") from error


def _document(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidFileError("no such file; give the path of an existing case file") from None
    except UnicodeDecodeError as error:
        raise InvalidFileError(f"is not text in UTF-8 ({error.reason} at byte {error.start}); expected JSON") from error
    except OSError as error:
        raise InvalidFileError(f"cannot be read ({error.strerror}); make it readable, or give another file") from error
    try:
        # The fields reject NaN and Infinity, which only Python reads as JSON.
        return json.loads(text, object_pairs_hook=_unique_fields, parse_constant=str)
    except InvalidFileError:
        raise
    except json.JSONDecodeError as error:
        raise InvalidFileError(
            f"line {error.lineno}, column {error.colno}: is not JSON ({error.msg}); fix the file there"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidFileError(
            f"cannot be read as JSON ({str(error).splitlines()[0]}); expected a case file"
        ) from error


def _unique_fields(pairs: list[tuple[str, T]]) -> dict[str, T]:
    fields: dict[str, T] = {}
    for name, value in pairs:
        if name in fields:
            raise InvalidFileError(f"a field {name!r} is given twice in one object; keep one of them")
        fields[name] = value
    return fields


def _cases(document: Any) -> Iterator[Case]:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidFileError(f'is not a case file; expected an object with "format": "{FORMAT}"')
    version = document.get("version")
    if type(version) is int and version > VERSION:
        raise InvalidFileError(
            f"has version {version}, and this LogitLab reads {VERSION}; upgrade with `pip install --upgrade logitlab`"
        )
    if type(version) is not int or version != VERSION:
        raise InvalidFileError(f"version: {short_json(version)}; expected {VERSION}")
    for field in document:
        if field not in ("format", "version", "cases"):
            raise InvalidFileError(f"unknown field {field!r}; choose from format, version, cases")
    entries = document.get("cases")
    if not isinstance(entries, list) or not entries:
        raise InvalidFileError(f"cases: {short_json(entries)}; expected a list of at least one case")
    seen = {case.id: "the catalogue has a case of this name" for case in all_cases()}
    for number, entry in enumerate(entries):
        case = read_case(entry, f"case {number}")
        reserved = case.family in RESERVED or case.family.startswith(PREFIX)
        taken = f"the family {case.family!r} is not for case files" if reserved else seen.get(case.id)
        if taken:
            raise InvalidFileError(f"case {number} ({case.id}), name: {taken}; choose another")
        seen[case.id] = "an earlier case of the file has this name"
        yield case


def _fields(case: Case) -> str:
    """Format the fields of a case that differ from their defaults."""
    values = {
        "name": case.id,
        "why": case.why,
        "source": case.source,
        "reported": case.reported,
        "tags": list(case.tags) or None,
        **_inputs(case),
        "targets": case.targets,
        "target_dtype": "int32" if case.targets.dtype == np.int32 else None,
        "reduction": None if case.reduction == "none" else case.reduction,
        **case.set_options,
        "layout": None if case.layout == "rows" else case.layout,
        "invalid": case.invalid or None,
    }
    return ",\n".join(f"   {_json(name)}: {_json(value)}" for name, value in values.items() if value is not None)


def _inputs(case: Case) -> dict[str, Any]:
    if not isinstance(case, LinearCase):
        return {"logits": case.logits}
    return {"hidden": case.hidden, "linear_weight": case.linear_weight, "linear_bias": case.linear_bias}


def _json(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.ndim == 2:
        lines = ",\n".join(f"    [{', '.join(map(_number, row))}]" for row in value.tolist())
        return f"[\n{lines}\n   ]"
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return f"[{', '.join(map(_number, value.tolist()))}]"
    return json.dumps(value.tolist() if isinstance(value, np.ndarray) else value, ensure_ascii=False)


def _number(value: float) -> str:
    if math.isfinite(value):
        # Python writes the shortest decimal that reads back.
        return repr(float(value))
    return _json("nan" if math.isnan(value) else "inf" if value > 0 else "-inf")
