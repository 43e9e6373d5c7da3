"""A run in a file small enough to commit, in which a change is a changed line.

::

    {"schema": 1, "logitlab": "baseline", "facts": {...},
    "exact": {"float32": {
    "seed/article": "3 #5c0e1a"
    }
    },
    "cells": [
    {"implementation": "torch/naive", "dtype": "float32", "device": "cpu", "mode": "eager", "cases": {
    "seed/article": {"gradient": "F inf 1/3 #1f03aa", "loss": "F inf 1/3 #9be001"}
    }}
    ]}

Of a case and quantity: the worst grade of its rows, the largest error in ulp to three digits, how many rows are not
finite and should be, of how many, a digest of the bits of them all, the status where it is not ok, and behind a ``!``
how far its ignored rows are from the 0 they have to be, where they are (see `_lines`). An implementation whose exact
losses are its own, since it documents another mean, has them in its cells' ``exact``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...core import files
from ...core.errors import UsageError
from ...core.vocabulary import GRADES
from ._lines import CASE, CELL, EXACT, KEY, STATUSES, WHOLE, Lines, Source, by_case

SCHEMA = 2
_KIND = "baseline"
_ENTRY = re.compile(r"([A-F-]) (\S+) (\d{1,18})/(\d{1,18}) (?:#([0-9a-f]{6})|-)(?: ([a-z]+))?(?: !(\d{1,18}))?")
_EXACT = re.compile(r"(\d{1,18}) #([0-9a-f]{6})")


def write(of: Source, path: Path) -> None:
    """Writes the baseline of a run, in one step."""
    if of.complete is False:
        raise UsageError(f"{of.name} is not complete; go on with it first: logitlab run --resume --out {of.name}")
    if of.lines.measured.empty:
        raise UsageError(f"{of.name} has no measurements to make a baseline of")
    text = _file(of)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _file(of: Source) -> str:
    found = by_case(of.lines)
    head = {"schema": SCHEMA, "logitlab": _KIND, "facts": dict(sorted(of.facts.items()))}
    shared, own = _exact_by_dtype(found.exact, _with_losses(found.measured))
    exact = [f"{json.dumps(d)}: {{\n{_entries(cases)}\n}}" for d, cases in shared.items()]
    cells = [
        f"{json.dumps(dict(zip(CELL, cell, strict=True)) | own.get(cell[:2], {}))[:-1]}, "
        f'"cases": {{\n{_entries(cases)}\n}}}}'
        for cell, cases in _cases_by_cell(found.measured).items()
    ]
    whole = ['"exact": {', ",\n".join(exact), "},", '"cells": [', ",\n".join(cells), "]}"]
    return "\n".join([f"{json.dumps(head)[:-1]},", *whole]) + "\n"


def _entries(cases: Mapping[str, Any]) -> str:
    return ",\n".join(f"{json.dumps(case)}: {json.dumps(entry)}" for case, entry in cases.items())


def _with_losses(measured: pd.DataFrame) -> set[tuple[str, str, str]]:
    """The implementations, dtypes and cases of which a cell has all losses: a reader gives them the exact ones."""
    whole = measured[(measured["quantity"] == "loss") & (measured["status"] == 0)]
    return set(zip(*(whole[column].astype(str) for column in EXACT), strict=True))


def _exact_by_dtype(
    exact: pd.DataFrame, with_losses: set[tuple[str, str, str]]
) -> tuple[dict[str, dict[str, str]], dict[tuple[str, ...], dict[str, Any]]]:
    """By dtype and case the exact losses that most implementations are held to, and those that stand with a cell.

    These are of an implementation that is held to others, and of one whose losses came in part only.
    """
    found = exact.astype(dict.fromkeys(EXACT, str)).sort_values(["dtype", "case", "implementation"])
    entries = [f"{rows} #{mark:06x}" for rows, mark in zip(found["rows"], found["mark"], strict=True)]
    found["entry"] = entries
    counts = found.groupby(["dtype", "case", "entry"]).size().rename("count").reset_index()
    commonest = counts.sort_values(["dtype", "case", "count", "entry"], ascending=[True, True, False, True])
    usual = commonest.drop_duplicates(["dtype", "case"])
    shared: dict[str, dict[str, str]] = {}
    for dtype, case, entry in zip(usual["dtype"], usual["case"], usual["entry"], strict=True):
        shared.setdefault(dtype, {})[case] = entry
    own: dict[tuple[str, ...], dict[str, Any]] = {}
    for name, dtype, case, entry in zip(*(found[c] for c in (*EXACT, "entry")), strict=True):
        if entry != shared[dtype][case] or (name, dtype, case) not in with_losses:
            own.setdefault((name, dtype), {"exact": {}})["exact"][case] = entry
    return shared, own


def _cases_by_cell(measured: pd.DataFrame) -> dict[tuple[str, ...], dict[str, dict[str, str]]]:
    """For each cell and case the entry of each quantity, in the order of their names."""
    df = measured.astype(dict.fromkeys(CASE, str)).sort_values([*CELL, "case", "quantity"])
    found: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    line: Any
    for line in df.itertuples():
        cell = (line.implementation, line.dtype, line.device, line.mode)
        found.setdefault(cell, {}).setdefault(line.case, {})[line.quantity] = _entry(line)
    return found


def _entry(line: Any) -> str:
    grade = "-" if line.grade < 0 else GRADES[line.grade]
    ulp = "-" if math.isnan(line.ulp) else f"{line.ulp:.3g}"
    digest = f"#{line.bits:06x}" if line.known else "-"
    status = "" if line.status == 0 else f" {STATUSES[line.status]}"
    unsound = f" !{line.unsound}" if line.unsound > 0 else ""
    return f"{grade} {ulp} {line.wrong}/{line.rows} {digest}{status}{unsound}"


def read(path: Path) -> Source:
    """Reads a baseline.

    Raises:
        UsageError: for a file that is not one, is damaged, or comes from a newer LogitLab.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["logitlab"] != _KIND:
            raise ValueError("it is something else")
        schema = int(content["schema"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path} is not a baseline that can be read ({_brief(error)})") from error
    if schema > SCHEMA:
        raise UsageError(f"{path} was written by a newer LogitLab (schema {schema}, this one knows {SCHEMA}); upgrade")
    try:
        exact, measured = _exact_of(content["exact"], content["cells"]), _measured_of(content["cells"], schema)
        facts = {str(name): str(fact) for name, fact in content["facts"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is a damaged baseline ({_brief(error)}); write it again: logitlab baseline"
        ) from error
    return Source(str(path), Lines(measured, exact, by_case=True), facts, {}, complete=True)


def _brief(error: Exception) -> str:
    told = f"no {error}" if isinstance(error, KeyError) else str(error)
    return told if len(told) <= 200 else f"{told[:200]}..."


def _exact_of(shared: dict[str, dict[str, str]], cells: list[dict[str, Any]]) -> pd.DataFrame:
    found: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    for cell in cells:
        name, dtype = cell["implementation"], cell["dtype"]
        usual = shared.get(dtype, {})
        whole = [case for case, entries in cell["cases"].items() if case in usual and _is_ok(entries.get("loss", ""))]
        of_cell = {case: usual[case] for case in whole} | cell.get("exact", {})
        for case, entry in of_cell.items():
            if (parts := _EXACT.fullmatch(entry)) is None:
                raise ValueError(f"{case!r} has {entry!r}")
            found[name, dtype, case] = (WHOLE, int(parts[1]), int(parts[2], 16))
    df = pd.DataFrame([(*key, *value) for key, value in found.items()], columns=[*EXACT, "row", "rows", "mark"])
    return df.astype(dict.fromkeys(EXACT, "category") | {"row": int, "rows": int, "mark": int})


def _is_ok(entry: str) -> bool:
    parts = _ENTRY.fullmatch(entry)
    return parts is not None and parts[6] is None


def _measured_of(content: list[dict[str, Any]], schema: int) -> pd.DataFrame:
    found = []
    for cell in content:
        who = [cell[name] for name in CELL]
        for case, entries in cell["cases"].items():
            for quantity, entry in entries.items():
                found.append((*who, quantity, case, WHOLE, *_decoded(case, entry)))
    names = [*KEY, "rows", "status", "grade", "wrong", "ulp", "known", "bits", "unsound"]
    df = pd.DataFrame(found, columns=names)
    if schema < SCHEMA:
        df["unsound"] = -1  # it was not looked at
    if not all(isinstance(word, str) for column in CELL for word in df[column].unique()):
        raise ValueError("a cell is not named in words")
    if df.duplicated(KEY).any():
        raise ValueError("a cell is there twice")
    kinds = dict.fromkeys(CASE, "category") | {"ulp": "float64", "known": "bool"}
    kinds |= dict.fromkeys(("row", "rows", "status", "grade", "wrong", "bits", "unsound"), "int64")
    return df.astype(kinds).assign(verdict=None, detail=None)


def _decoded(case: str, entry: str) -> tuple[int, int, int, int, float, bool, int, int]:
    parts = _ENTRY.fullmatch(entry)
    status = "" if parts is None else parts[6] or STATUSES[0]
    if parts is None or parts[1] not in (*GRADES, "-") or status not in STATUSES:
        raise ValueError(f"{case!r} has {entry!r}")
    grade = -1 if parts[1] == "-" else GRADES.index(parts[1])
    ulp = np.nan if parts[2] == "-" else float(parts[2])
    bits, unsound = int(parts[5], 16) if parts[5] else 0, int(parts[7] or 0)
    known = parts[5] is not None
    return int(parts[4]), STATUSES.index(status), grade, int(parts[3]), ulp, known, bits, unsound
