"""Measure which faulty losses of the audit's corpus count in which dtypes, and what shows each of them.

`python benchmarks/audit_verdicts.py measure FRAMEWORK DTYPE FILE` adds a line of JSON for each loss to a file.
`python benchmarks/audit_verdicts.py write FILE...` makes `studies/audit/verdicts.csv` from such files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from logitlab.core.threads import let_idle_threads_sleep

let_idle_threads_sleep()

import logitlab  # noqa: E402 - after the setting of threads
from logitlab.studies.audit import corpus  # noqa: E402
from logitlab.studies.audit.corpus import Listed, Planted  # noqa: E402

# JAX compiles each shape, and TensorFlow is slow.
FEW = ("seed/article", "masks/first", "special/nan", "check/width_5")
RICH = ("float32", "bfloat16")  # every call that shows a fault is recorded; in other dtypes the first ones
CATALOGUED = "as catalogued"
KEPT = 3  # calls a loss and dtype


def measure(framework: str, dtype: str, out: Path) -> None:
    done = {tuple(json.loads(line)[:2]) for line in out.read_text().splitlines()} if out.exists() else set()
    for found in corpus.defects():
        if found.framework == framework and (found.name, dtype) not in done:
            shown = _shown(found, found.load(), dtype)
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps([found.name, dtype, framework, found.module, shown]) + "\n")


def _shown(found: Listed, planted: Planted, dtype: str) -> list[list[str]]:
    """Return the calls in which a check shows the fault: case, kind of call, quantity."""
    slow = found.framework in ("jax", "tensorflow")
    first = slow or dtype not in RICH
    ways: list[dict[str, Any]] = [{"cases": planted.shown_by, "repeat": planted.repeat, "first": first}]
    if planted.shown_by is None:
        ways = [{"cases": FEW, "first": True} if slow else {"quick": True, "first": first}]
    if dtype in found.dtypes:
        ways.append({"first": True})
    for options in ways:
        result = logitlab.check(
            planted.loss, found.framework, dtype, gradient=planted.gradient, shrink=False, progress=False,
            name=found.name, **options,
        )  # fmt: skip
        if not result.passed:
            failures = result.failures[["case", "how", "quantity"]].astype(str).drop_duplicates()
            return failures.to_numpy().tolist()
    return []


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        measure(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
