"""A comparison as programs read it: JSON, JUnit XML, and annotations of a GitHub workflow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd

from ...core import strict_json
from ._compare import Comparison
from ._lines import CELL
from ._wording import cell_name, chosen, counts, headline, line_name, of_cells, origins, told, whole_name, why

SCHEMA = 1
MAX_ANNOTATIONS = 10  # of a kind and step, https://docs.github.com/actions: those beyond are not shown
MAX_LINES = {"junit": 20, "github": 3}
_MAX_DETAIL = 400


def json_text(diff: Comparison) -> str:
    """Strict JSON: an infinite number is the word ``inf``, a missing one null.

    ``changes`` has every change but changed bits, of which there may be hundreds of thousands: ``cells`` counts them.
    """
    listed = diff.changes[diff.changes["change"] != "bits changed"]
    content = {
        "schema": SCHEMA,
        "notes": list(diff.notes),
        "verdict": "regressed" if diff.regressed else "unchanged" if diff.empty else "not regressed",
        "compared": diff.compared,
        "regressions": len(diff.regressions),
        "improvements": len(diff.improvements),
        "others": len(diff.others),
        "factor": diff.factor,
        "before": {"name": diff.before.name, "facts": dict(diff.before.facts)},
        "after": {"name": diff.after.name, "facts": dict(diff.after.facts)},
        "cells": strict_json.records(diff.cells),
        "changes": strict_json.records(listed),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def junit(diff: Comparison) -> str:
    """A suite for each implementation, a test for each cell and quantity; a regression is a failure."""
    cells = diff.cells
    failed = int((cells["regressions"] > 0).sum())
    root = ET.Element("testsuites", name="logitlab compare", tests=str(len(cells)), failures=str(failed), errors="0")
    regressions = dict(tuple(diff.regressions.groupby([*CELL, "quantity"], sort=False)))
    for name, part in cells.groupby("implementation", sort=True):
        failures = str(int((part["regressions"] > 0).sum()))
        suite = ET.SubElement(
            root, "testsuite", name=whole_name(name), tests=str(len(part)), failures=failures, errors="0", skipped="0"
        )
        cell: Any
        for cell in part.itertuples():
            where = " ".join(w for w in (cell.dtype, cell.device, cell.mode, cell.quantity) if w)
            test = ET.SubElement(suite, "testcase", classname=whole_name(name), name=told(where))
            key = (cell.implementation, cell.dtype, cell.device, cell.mode, cell.quantity)
            if key in regressions:
                _failed(test, regressions[key])
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _failed(test: ET.Element, changes: pd.DataFrame) -> None:
    failure = ET.SubElement(test, "failure", type="regression", message=counts(changes))
    failure.text = "\n".join(_lines(changes, MAX_LINES["junit"]))


def _lines(changes: pd.DataFrame, most: int) -> list[str]:
    """Some changes of each kind, and how many more there are."""
    shown = chosen(changes, most)
    left = len(changes) - len(shown)
    return [*(_line(c) for c in shown.itertuples()), *([f"... and {left} more"] if left else [])]


def _line(change: Any) -> str:
    _, quantity, case = line_name(change)
    what = " ".join(word for word in (quantity, case) if word)
    moved = " -> ".join(told(word) for word in (change.before, change.after) if word)
    return f"{change.change}: {what}{' ' * bool(what)}{moved}{why(change, _MAX_DETAIL)}"


def github(diff: Comparison) -> str:
    """Workflow commands: an error for each of the worst cells, and a notice that sums up."""
    return "\n".join(_annotations(diff)) + "\n"


def _annotations(diff: Comparison) -> Iterator[str]:
    cells = list(of_cells(diff.regressions))
    for _, changes in cells[:MAX_ANNOTATIONS]:
        title = cell_name(next(changes.head(1).itertuples()))
        yield _command("error", title, "\n".join([counts(changes), *_lines(changes, MAX_LINES["github"])]))
    beyond = [f"{len(cells) - MAX_ANNOTATIONS} more cells regressed"] if len(cells) > MAX_ANNOTATIONS else []
    yield _command("notice", "logitlab compare", "\n".join([headline(diff), *origins(diff), *beyond]))


def _command(kind: str, title: str, message: str) -> str:
    return f"::{kind} title={_data(title).replace(':', '%3A').replace(',', '%2C')}::{_data(message)}"


def _data(words: str) -> str:
    # As GitHub's own toolkit escapes them, https://github.com/actions/toolkit, packages/core/src/command.ts.
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
