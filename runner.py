"""who x what: plan, execute in isolated workers, grade, collect.

``run`` is the library's main call; this file is also the command line: ``python runner.py`` does what
``logitlab run`` does.
"""

from __future__ import annotations

if __name__ == "__main__":
    # A file run by its path is no part of its package; the package's own entry point takes over.
    import sys

    sys.path.pop(0)  # this folder, whose modules would shadow others of their names
    from logitlab.cli import main

    sys.exit(main(["run", *sys.argv[1:]]))

import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import environment
from .cases import Case, content_hash, select
from .errors import UsageError
from .formats import FORMATS
from .grading import grade, told_of_invalid
from .plan import Cell, Group, PlannedCall, choose_cells, choose_dtypes, choose_frameworks, groups, left_out
from .pool import DEFAULT_TIMEOUT, Pools
from .store import Run
from .worker import Description, Outcome

Progress = Callable[[int, int, str], None]


def run(
    *,
    cases: str | Sequence[str] | None = None,
    frameworks: str | Sequence[str] | None = None,
    implementations: str | Sequence[str] | None = None,
    dtypes: str | Sequence[str] | None = None,
    devices: str | Sequence[str] | None = None,
    modes: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Runs implementations on cases and returns the measurements, one row per case row, cell and quantity.

    A lone string stands for a list of one.

    Args:
        cases: globs over ``family/name``; all cases by default.
        frameworks: their names; all that are installed by default. One that cannot be imported is left out, and the
            manifest says so.
        implementations: globs over their names.
        dtypes: ``float16``, ``bfloat16``, ``float32``, ``float64``.
        devices: ``cpu``, ``cuda``, ...; all that the frameworks find by default.
        modes: ``eager``, ``compiled``.
        out: the run folder to keep; by default the run is kept nowhere.
        resume: go on with the run in ``out``, which must have the same plan and the same versions.
        timeout: seconds after which one call is given up.
        progress: called with the calls done, the calls in all and the cell at hand.

    Raises:
        UsageError: for a name that is not known, or a folder that cannot be used.
    """
    # Checked before anything is started: a typing error costs no import of a framework.
    chosen = select(cases)
    names = choose_frameworks(_listed(frameworks))
    kinds = choose_dtypes(_listed(dtypes))
    if resume and out is None:
        raise UsageError("resume needs the folder of the run: give out=")
    with tempfile.TemporaryDirectory(prefix="logitlab-") as temporary:
        folder = Path(temporary) / run_name() if out is None else Path(out)
        if not resume and (folder / "manifest.json").exists():
            raise UsageError(f"{folder} already holds a run; use --resume to go on with it, or another --out")
        with Pools(names, Path(temporary) / "logs", timeout) as pools:
            descriptions = pools.describe()
            cells = choose_cells(descriptions, kinds, *map(_listed, (implementations, devices, modes)))
            manifest = _manifest(chosen, kinds, cells, descriptions)
            store = _reopen(folder, manifest) if resume else Run.create(folder, manifest)
            _measure(pools, store, chosen, cells, progress)
        store.keep_logs(Path(temporary) / "logs")
        store.finish(finished=_now())
        return store.read()


def _listed(words: str | Sequence[str] | None) -> Sequence[str] | None:
    return [words] if isinstance(words, str) else words


def _measure(pools: Pools, store: Run, cases: Sequence[Case], cells: Sequence[Cell], progress: Progress | None) -> None:
    """Makes every call that the store does not hold yet; a cell is written as soon as its last call has ended."""
    order = {c.id: i for i, c in enumerate(cases)}
    todo = [(i, cell) for i, cell in enumerate(cells) if not store.has(i)]
    grouped = {d: groups(cases, FORMATS[d]) for d in {cell.dtype for _, cell in todo}}
    calls = [PlannedCall(cell, group) for _, cell in todo for group in grouped[cell.dtype]]
    index = {cell: i for i, cell in todo}
    missing = {cell: sum(len(g.cases) for g in grouped[cell.dtype]) for _, cell in todo}
    tables: dict[Cell, list[pd.DataFrame]] = {cell: [] for _, cell in todo}
    run_name = store.manifest["run"]
    total, done = sum(missing.values()), 0
    for call, outcome in pools.evaluate(calls):
        cell = call.cell
        tables[cell].append(_table(run_name, call, outcome))
        missing[cell] -= len(call.group.cases)
        done += len(call.group.cases)
        if missing[cell] == 0:
            # Calls end in any order and in any division; the table does not show it.
            whole = pd.concat(tables.pop(cell)).sort_values("case", key=lambda ids: ids.map(order), kind="stable")
            store.write(index[cell], whole)
        if progress is not None:
            progress(done, total, cell.label)


def _table(run_name: str, call: PlannedCall, outcome: Outcome) -> pd.DataFrame:
    """The measurements of one call."""
    group, cell = call.group, call.cell
    quantities = [_measured(group, quantity, array) for quantity, array in outcome.values]
    # A process that died told nothing of what it lacks: it is everything.
    lacking = outcome.lacking or (() if outcome.values else cell.offer.quantities)
    quantities += [_absent(group, quantity, outcome) for quantity in lacking]
    table = pd.concat(quantities, ignore_index=True)
    words: dict[str, Any] = {
        "run": run_name, "framework": cell.framework, "implementation": cell.offer.name,
        "formula": cell.offer.formula, "dtype": cell.dtype, "device": cell.device, "mode": cell.mode,
        "version": cell.offer.version,
    }  # fmt: skip
    return table.assign(**words)


def _rows(group: Group, *, reduced: bool) -> dict[str, Any]:
    """Which case and row each line of the table is about; -1 is the row of a reduced loss."""
    ids = [
        (c.id, c.family, -1 if reduced else r, c.classes) for c in group.cases for r in range(1 if reduced else c.rows)
    ]
    columns = zip(*ids, strict=True) if ids else ((), (), (), ())  # a batch may be empty
    return dict(zip(("case", "family", "row", "classes"), map(list, columns), strict=True))


def _measured(group: Group, quantity: str, array: np.ndarray[Any, Any]) -> pd.DataFrame:
    exact, reduced = group.exact, quantity == "loss" and group.reduction != "none"
    graded = grade(
        quantity, array, group.logits, group.fmt, exact, reduction=group.reduction, row_losses=group.row_losses
    )
    known = _rows(group, reduced=reduced) | vars(graded)
    if quantity == "loss":
        known |= {"value": array.astype(np.float64).reshape(-1), "exact": exact.loss.hi.reshape(-1)}
        if group.cases[0].invalid:
            known["detail"] = told_of_invalid(array, group.logits, group.targets)
    condition = [float("nan")] if reduced else exact.condition
    return pd.DataFrame(known).assign(condition=condition, quantity=quantity, out_dtype=array.dtype.name, status="ok")


def _absent(group: Group, quantity: str, outcome: Outcome) -> pd.DataFrame:
    rows = _rows(group, reduced=quantity == "loss" and group.reduction != "none")
    return pd.DataFrame(rows).assign(quantity=quantity, status=outcome.status, detail=outcome.detail)


def _manifest(
    cases: Sequence[Case], dtypes: Sequence[str], cells: Sequence[Cell], descriptions: dict[str, Description]
) -> dict[str, Any]:
    present = {n: d for n, d in descriptions.items() if d.missing is None}
    return {
        "run": run_name(),
        "started": _now(),
        "complete": False,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "versions": environment.own_versions(),
        "frameworks": {n: dict(d.versions) for n, d in present.items()},
        "missing": {n: d.missing for n, d in descriptions.items() if d.missing is not None}
        | {o.name: f"{o.package} is not installed" for d in present.values() for o in d.offers if o.version is None},
        "hardware": environment.hardware(),
        "devices": {n: list(d.devices) for n, d in present.items()},
        "environment": environment.numeric_variables(),
        "catalogue": {"hash": content_hash(cases), "cases": [c.id for c in cases]},
        "left_out": left_out(cases, dtypes),
        "cells": [[c.offer.name, c.dtype, c.device, c.mode, c.offer.version] for c in cells],
    }


def _reopen(folder: Path, manifest: dict[str, Any]) -> Run:
    """The run in the folder, if what it measured so far is what would be measured now."""
    store = Run(folder)
    for fact in ("catalogue", "cells", "versions", "frameworks", "environment"):
        if store.manifest[fact] != manifest[fact]:
            raise UsageError(f"cannot resume {folder}: its {fact} differ from those of this run; start a new one")
    return store


def run_name() -> str:
    """A name for a run started now."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
