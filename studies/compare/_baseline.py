"""A baseline: a run in a file small enough to commit, with a line for each case and cell.

::

    {"schema": 2, "logitlab": "baseline", "facts": {...},
    "exact": {"float32": {
    "seed/article": "3 #5c0e1a"
    }
    },
    "cells": [
    {"implementation": "torch/naive", "dtype": "float32", "device": "cpu", "mode": "eager", "cases": {
    "seed/article": {"gradient": "F inf 1/3 #1f03aa", "loss": "F inf 1/3 #9be001"}
    }}
    ]}

The entry of a quantity has the worst grade of the case's rows and the largest error in ulp to three digits. ``1/3``
means that 1 of 3 rows is not finite and should be. A digest of all bits follows. A status other than ok follows, and
after a ``!`` the errors of ignored rows (``unsound`` in `_lines`). An implementation that documents another mean has
its own exact losses, in the ``exact`` of its cells.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NotRequired, Self, TypedDict

import pandas as pd

from ...core import files
from ...core.errors import UsageError, format_error
from ...core.vocabulary import GRADES, Quantity, grade_rank
from ...storage.manifest import CellKey
from ._lines import ALL_ROWS, BY_SEVERITY, CASE, CELL, EXACT, OK, Lines, Source, by_case

SCHEMA = 2
_KIND = "baseline"
_ENTRY = re.compile(
    rf"([{''.join(GRADES)}-]) (\S+) (\d{{1,18}})/(\d{{1,18}}) (?:#([0-9a-f]{{6}})|-)"
    rf"(?: ({'|'.join(BY_SEVERITY)}))?(?: !(\d{{1,18}}))?"
)
_EXACT = re.compile(r"(\d{1,18}) #([0-9a-f]{6})")

_ExactKey = tuple[str, str, str]  # the values of `EXACT`
_ByCase = dict[str, str]  # the entry of each case


class _CellContent(TypedDict):
    implementation: str
    dtype: str
    device: str
    mode: str
    exact: NotRequired[_ByCase]
    cases: dict[str, dict[str, str]]


class _Content(TypedDict):
    schema: int
    logitlab: str
    facts: dict[str, str]
    exact: dict[str, _ByCase]
    cells: list[_CellContent]


class _Entry(NamedTuple):
    """The entry of a quantity of a case: columns of `Lines.measured`."""

    rows: int
    status: int
    grade: int
    wrong: int
    ulp: float
    known: bool
    bits: int
    unsound: int

    def __str__(self) -> str:
        grade = "-" if self.grade < 0 else GRADES[self.grade]
        ulp = "-" if math.isnan(self.ulp) else f"{self.ulp:.3g}"
        digest = f"#{self.bits:06x}" if self.known else "-"
        status = "" if self.status == OK else f" {BY_SEVERITY[self.status]}"
        unsound = f" !{self.unsound}" if self.unsound > 0 else ""
        return f"{grade} {ulp} {self.wrong}/{self.rows} {digest}{status}{unsound}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an entry, or raise a ValueError."""
        if (parts := _ENTRY.fullmatch(text)) is None:
            raise ValueError(f"{text!r} is not an entry")
        grade, ulp, wrong, rows, bits, status, unsound = parts.groups()
        return cls(
            rows=int(rows),
            status=BY_SEVERITY.index(status) if status else OK,
            grade=grade_rank(grade),
            wrong=int(wrong),
            ulp=math.nan if ulp == "-" else float(ulp),
            known=bits is not None,
            bits=int(bits, 16) if bits else 0,
            unsound=int(unsound or 0),
        )


def write(of: Source, path: Path) -> None:
    """Write the baseline of a run atomically."""
    if of.complete is False:
        raise UsageError(f"{of.name} is incomplete; to see how to resume, run `logitlab doctor {of.name}`")
    if of.lines.measured.empty:
        raise UsageError(f"{of.name} has no measurements; choose cases with rows, listed by `logitlab cases`")
    text = _file(of)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another file") from error


def _file(of: Source) -> str:
    found = by_case(of.lines)
    head = {"schema": SCHEMA, "logitlab": _KIND, "facts": dict(sorted(of.facts.items()))}
    shared, own = _exact_by_dtype(found.exact, _with_losses(found.measured))
    exact = [f"{json.dumps(d)}: {{\n{_entries(cases)}\n}}" for d, cases in shared.items()]
    cells = []
    for cell, cases in _cases_by_cell(found.measured).items():
        of_cell = own.get((cell.implementation, cell.dtype))
        named = {**cell._asdict(), "exact": of_cell} if of_cell else cell._asdict()
        cells.append(f'{json.dumps(named)[:-1]}, "cases": {{\n{_entries(cases)}\n}}}}')
    whole = ['"exact": {', ",\n".join(exact), "},", '"cells": [', ",\n".join(cells), "]}"]
    return "\n".join([f"{json.dumps(head)[:-1]},", *whole]) + "\n"


def _entries(cases: Mapping[str, str | dict[str, str]]) -> str:
    return ",\n".join(f"{json.dumps(case)}: {json.dumps(entry)}" for case, entry in cases.items())


def _with_losses(measured: pd.DataFrame) -> set[_ExactKey]:
    """Return the implementations, dtypes and cases with all losses in some cell; a reader adds their exact losses."""
    whole = measured[(measured["quantity"] == Quantity.LOSS) & (measured["status"] == OK)]
    return set(whole[EXACT].astype(str).itertuples(index=False, name=None))


def _exact_by_dtype(
    exact: pd.DataFrame, with_losses: set[_ExactKey]
) -> tuple[dict[str, _ByCase], dict[tuple[str, str], _ByCase]]:
    """Return the exact losses that most implementations share, by dtype, and the others by implementation and dtype.

    The others belong to an implementation with its own exact losses, or with only a part of the losses.
    """
    found = exact.astype(dict.fromkeys(EXACT, str)).sort_values(["dtype", "case", "implementation"])
    found["entry"] = [f"{rows} #{mark:06x}" for rows, mark in zip(found["rows"], found["mark"], strict=True)]
    counts = found.groupby(["dtype", "case", "entry"]).size().rename("count").reset_index()
    # The most common one last; of several, the first in the alphabet.
    counts = counts.sort_values(["dtype", "case", "count", "entry"], ascending=[True, True, True, False])
    shared: dict[str, _ByCase] = {}
    for dtype, case, entry in counts[["dtype", "case", "entry"]].itertuples(index=False, name=None):
        shared.setdefault(dtype, {})[case] = entry
    own: dict[tuple[str, str], _ByCase] = {}
    for name, dtype, case, entry in found[[*EXACT, "entry"]].itertuples(index=False, name=None):
        if entry != shared[dtype][case] or (name, dtype, case) not in with_losses:
            own.setdefault((name, dtype), {})[case] = entry
    return shared, own


def _cases_by_cell(measured: pd.DataFrame) -> dict[CellKey, dict[str, dict[str, str]]]:
    """Return the entry of each quantity for each cell and case, in the order of their names."""
    df = measured.astype(dict.fromkeys(CASE, str)).sort_values([*CELL, "case", "quantity"])
    found: dict[CellKey, dict[str, dict[str, str]]] = {}
    keys, entries = (df[list(names)].itertuples(index=False, name=None) for names in (CASE, _Entry._fields))
    for (*cell, quantity, case), entry in zip(keys, map(_Entry._make, entries), strict=True):
        found.setdefault(CellKey._make(cell), {}).setdefault(case, {})[quantity] = str(entry)
    return found


def read(path: Path) -> Source:
    """Read a baseline.

    Raises:
        UsageError: for a file that is not a baseline, is damaged, or is from a newer LogitLab.
    """
    try:
        content: _Content = json.loads(path.read_text(encoding="utf-8"))
        if content["logitlab"] != _KIND:
            raise ValueError('it has no "logitlab": "baseline"')
        schema = int(content["schema"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{path} is not a baseline ({format_error(error)}); write one with `logitlab baseline RUN FILE`"
        ) from error
    if schema != SCHEMA:
        newer = "a newer", "upgrade with `pip install --upgrade logitlab`"
        age, remedy = newer if schema > SCHEMA else ("an older", f"write it again with `logitlab baseline RUN {path}`")
        raise UsageError(f"{path} was written by {age} LogitLab (schema {schema}, this one reads {SCHEMA}); {remedy}")
    try:
        exact, measured = _exact_of(content), _measured_of(content)
        facts = {str(name): str(fact) for name, fact in content["facts"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is a damaged baseline ({format_error(error)}); write it again with `logitlab baseline RUN {path}`"
        ) from error
    return Source(str(path), Lines(measured, exact, by_case=True), facts, {}, complete=True)


def _exact_of(content: _Content) -> pd.DataFrame:
    found: dict[_ExactKey, tuple[int, int]] = {}
    for cell in content["cells"]:
        usual = content["exact"].get(cell["dtype"], {})
        losses = ((c, e[Quantity.LOSS]) for c, e in cell["cases"].items() if c in usual and Quantity.LOSS in e)
        whole = [case for case, loss in losses if _Entry.parse(loss).status == OK]
        of_cell = {case: usual[case] for case in whole} | cell.get("exact", {})
        for case, entry in of_cell.items():
            if (parts := _EXACT.fullmatch(entry)) is None:
                raise ValueError(f"{case!r} has {entry!r}")
            found[cell["implementation"], cell["dtype"], case] = int(parts[1]), int(parts[2], 16)
    df = pd.DataFrame([(*key, *value) for key, value in found.items()], columns=[*EXACT, "rows", "mark"])
    return df.astype(dict.fromkeys(EXACT, "category") | {"rows": int, "mark": int}).assign(row=ALL_ROWS)


def _measured_of(content: _Content) -> pd.DataFrame:
    df = pd.DataFrame(list(_lines_of(content["cells"])), columns=[*CASE, *_Entry._fields])
    if not all(isinstance(word, str) for column in CELL for word in df[column].unique()):
        raise ValueError("the name of a cell is not text")
    if df.duplicated(CASE).any():
        raise ValueError("a cell is repeated")
    kinds = dict.fromkeys(CASE, "category") | dict.fromkeys(_Entry._fields, "int64")
    df = df.astype(kinds | {"ulp": "float64", "known": "bool"})
    return df.assign(row=ALL_ROWS, verdict=None, detail=None)


def _lines_of(cells: list[_CellContent]) -> Iterator[tuple[str | float, ...]]:
    for cell in cells:
        key = CellKey(cell["implementation"], cell["dtype"], cell["device"], cell["mode"])
        for case, entries in cell["cases"].items():
            for quantity, entry in entries.items():
                yield (*key, quantity, case, *_Entry.parse(entry))
