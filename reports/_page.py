"""What a report is made of: one run, or several put together, with where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..errors import UsageError
from ..store import Run, typed
from ._lines import CELL, DTYPES
from ._sections import Section, sections


@dataclass(frozen=True, eq=False)
class Page:
    """A report before it is rendered: where its numbers come from, its tables, and the measurements behind them.

    ``manifests`` are those of its runs, in their order.
    """

    preamble: list[str]
    sections: list[Section]
    measurements: pd.DataFrame
    manifests: list[dict[str, Any]]


def page(runs: Sequence[Run]) -> Page:
    """The report of one run or of several, such as one on a CPU and one kept from a machine with an accelerator.

    What more than one run has measured, a case in a cell, is taken from the first of them, and the page says so.

    Raises:
        UsageError: for a run that has no measurements, or one that is given twice.
    """
    names = [run.manifest["run"] for run in runs]
    for run in runs:
        if names.count(run.manifest["run"]) > 1:
            raise UsageError(f"{run.folder}: the run {run.manifest['run']} is given twice")
    preamble: list[str] = []
    tables: list[pd.DataFrame] = []
    taken: set[tuple[str, ...]] = set()
    for run in runs:
        table = run.read()
        measured = pd.MultiIndex.from_frame(table[[*CELL, "case"]].astype(object))
        repeated = measured.isin(taken) if taken else pd.Series(False, index=table.index).to_numpy()
        preamble += _provenance(run)
        if repeated.any():
            cells = measured[repeated].droplevel("case").nunique()
            preamble.append(f"Left out, since a run above has them too: cases of {cells} cells of this run")
        tables.append(table[~repeated])
        taken |= set(measured.unique())
    whole = tables[0] if len(tables) == 1 else typed(pd.concat([t.astype(object) for t in tables], ignore_index=True))
    return Page(preamble, sections(whole), whole, [run.manifest for run in runs])


def _provenance(run: Run) -> list[str]:
    m = run.manifest
    versions = {p: v for of_framework in m["frameworks"].values() for p, v in of_framework.items()}
    lines = [
        f"Run {m['run']} of LogitLab {m['versions']['logitlab']}" + ("" if m["complete"] else ", NOT COMPLETE"),
        "Measured: " + ", ".join(f"{p} {v}" for p, v in versions.items()),
        f"On: {m['hardware']['processor'] or m['hardware']['machine']}, {m['hardware']['system']}",
        f"Catalogue: {len(m['catalogue']['cases'])} cases, {m['catalogue']['hash'][:12]}",
    ]
    settings = {name: told for name, told in m.get("settings", {}).items() if told}
    if settings:
        each = ("; ".join(f"{what} {told}" for what, told in of.items()) for of in settings.values())
        lines += [f"Settings of {name}: {told}" for name, told in zip(settings, each, strict=True)]
    if m["left_out"]:
        by_dtype = pd.Series([entry["dtype"] for entry in m["left_out"]]).value_counts()
        told = ", ".join(f"{by_dtype[d]} in {d}" for d in DTYPES if d in by_dtype)
        lines.append(f"Left out, since the dtype would make a finite logit infinite: {told}")
    if m.get("plain_only"):
        lines.append(f"Run on logits and class indices alone, without loss options: {', '.join(m['plain_only'])}")
    return lines + [f"Not installed: {name} ({why})" for name, why in m["missing"].items()]
