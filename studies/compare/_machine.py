"""A comparison as programs read it: JSON, JUnit XML, and annotations of a GitHub workflow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import pandas as pd

from ...core import strict_json
from ._changes import Change, Kind
from ._compare import Comparison
from ._lines import CELL
from ._wording import after, case_name, chosen, counts, full_name, headline, of_cells, one_line, origins

SCHEMA = 1
MAX_ANNOTATIONS = 10  # of a kind and step, https://docs.github.com/actions: those beyond are not shown
MAX_LINES = {"junit": 20, "github": 3}
_MAX_DETAIL = 400


def json_text(diff: Comparison) -> str:
    """Strict JSON: an infinite number is the word ``inf``, a missing one null.

    ``changes`` has every change but changed bits, of which there may be hundreds of thousands: ``cells`` counts them.
    """
    listed = diff.changes[diff.changes["change"] != Kind.BITS_CHANGED]
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
    key = [*CELL, "quantity"]
    regressions = dict(tuple(diff.regressions.groupby(key, sort=False)))
    for name, part in cells.groupby("implementation", sort=True):
        failures = str(int((part["regressions"] > 0).sum()))
        suite = ET.SubElement(
            root, "testsuite", name=full_name(name), tests=str(len(part)), failures=failures, errors="0", skipped="0"
        )
        for cell in part[key].itertuples(index=False, name=None):
            where = " ".join(filter(None, cell[1:]))
            test = ET.SubElement(suite, "testcase", classname=full_name(name), name=one_line(where))
            if cell in regressions:
                _failed(test, regressions[cell])
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _failed(test: ET.Element, changes: pd.DataFrame) -> None:
    failure = ET.SubElement(test, "failure", type="regression", message=counts(changes))
    failure.text = "\n".join(_lines(changes, MAX_LINES["junit"]))


def _lines(changes: pd.DataFrame, most: int) -> list[str]:
    """Some changes of each kind, and how many more there are."""
    shown = chosen(changes, most)
    left = len(changes) - len(shown)
    return [*map(_line, Change.each(shown)), *([f"... and {left} more"] if left else [])]


def _line(change: Change) -> str:
    what = "".join(f"{word} " for word in (full_name(change.quantity), case_name(change)) if word)
    moved = " -> ".join(filter(None, (one_line(change.before), after(change, _MAX_DETAIL))))
    return f"{change.change}: {what}{moved}"


def github(diff: Comparison) -> str:
    """Workflow commands: an error for each of the worst cells, and a notice that sums up."""
    return "\n".join(_annotations(diff)) + "\n"


def _annotations(diff: Comparison) -> Iterator[str]:
    cells = list(of_cells(diff.regressions))
    for title, changes in cells[:MAX_ANNOTATIONS]:
        yield _command("error", title, "\n".join([counts(changes), *_lines(changes, MAX_LINES["github"])]))
    beyond = [f"{len(cells) - MAX_ANNOTATIONS} more cells regressed"] if len(cells) > MAX_ANNOTATIONS else []
    yield _command("notice", "logitlab compare", "\n".join([headline(diff), *origins(diff), *beyond]))


def _command(kind: str, title: str, message: str) -> str:
    return f"::{kind} title={_data(title).replace(':', '%3A').replace(',', '%2C')}::{_data(message)}"


def _data(text: str) -> str:
    # As GitHub's own toolkit escapes them, https://github.com/actions/toolkit, packages/core/src/command.ts.
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
