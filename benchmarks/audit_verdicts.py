"""Measure which faulty losses of the audit's corpus count in which dtypes, and what shows each of them.

`python benchmarks/audit_verdicts.py measure FRAMEWORK DTYPE FILE` adds a line of JSON for each loss to a file.
`python benchmarks/audit_verdicts.py write FILE...` makes `studies/audit/verdicts.csv` from such files.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from logitlab.core.threads import let_idle_threads_sleep

let_idle_threads_sleep()

import logitlab  # noqa: E402 - after the setting of threads
from logitlab.studies.audit import _faults, corpus  # noqa: E402
from logitlab.studies.audit._kinds import Kind, kind_of  # noqa: E402
from logitlab.studies.audit.corpus import Listed, Planted  # noqa: E402
from logitlab.studies.check.batches._presentation import CATALOGUED  # noqa: E402

# JAX compiles each shape, and TensorFlow is slow.
FEW = ("seed/article", "masks/first", "special/nan", "check/width_5")
RICH = ("float32", "bfloat16")  # every call that shows a fault is recorded; in other dtypes the first ones
# The cases that fit a kind best, the first ones first: a fault may be shown by many others too.
ORDINARY = ("random/", "seed/", "check/width_")
PREFERRED = {
    Kind.MASKS: ("masks/",),
    Kind.NON_FINITE: ("special/", "masks/"),
    Kind.OFFSET: ("offset/", "overflow/", "gap/", "underflow/", "order/"),
    Kind.VOCABULARY: ("check/width_", "stagnation/"),
    Kind.TARGETS: ("check/width_",),
    Kind.TIES: ("ties/",),
    Kind.OPTIONS: ("check/",),
}
IN_SOME = ", in some of its calls"
KEPT = 4  # calls a loss and dtype


def measure(framework: str, dtype: str, out: Path) -> None:
    done = {tuple(json.loads(line)[:2]) for line in out.read_text().splitlines()} if out.exists() else set()
    for found in corpus.defects():
        usual = dtype in found.dtypes or dtype == "float32" or framework in ("torch", "numpy")
        if found.framework == framework and usual and (found.name, dtype) not in done:
            shown = _shown(found, found.load(), dtype)
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps([found.name, dtype, framework, found.module, shown]) + "\n")


def _shown(found: Listed, planted: Planted, dtype: str) -> list[list[str]]:
    """Return the calls in which a check shows the fault: case, kind of call, quantity."""
    slow = found.framework in ("jax", "tensorflow")
    ways: list[dict[str, Any]] = [{"cases": planted.shown_by, "repeat": planted.repeat, "first": True}]
    if planted.shown_by is None:
        ways = [{"cases": FEW, "first": True} if slow else {"quick": True, "first": dtype not in RICH}]
    if dtype in found.dtypes:
        ways.append({"first": True})
    for options in ways:
        result = logitlab.check(
            planted.loss, found.framework, dtype, gradient=planted.gradient, shrink=False, progress=False,
            name=found.name, **options,
        )  # fmt: skip
        if not result.passed:
            found = result.failures.astype({"detail": str})
            writes = found["detail"].str.contains("writes into")
            found["quantity"] = found["quantity"].astype(str).mask(writes, _faults.ARGUMENTS)
            return found[["case", "how", "quantity"]].astype(str).drop_duplicates().to_numpy().tolist()
    return []


def write(files: list[Path]) -> None:
    """Write the calls of each loss and dtype: those of the catalogue, and those that show many other losses."""
    measured = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    shown = {
        (framework, name, dtype): {(case, how.removesuffix(IN_SOME), quantity) for case, how, quantity in calls}
        for name, dtype, framework, _, calls in measured
    }
    kinds = {(framework, name): kind_of(module, name) for name, _, framework, module, _ in measured}
    popular = Counter(call for calls in shown.values() for call in calls)

    def rank(call: tuple[str, str, str], kind: Kind) -> tuple[object, ...]:
        case, how, quantity = call
        preferred = PREFERRED.get(kind, ORDINARY)
        of_kind = next((place for place, start in enumerate(preferred) if case.startswith(start)), len(preferred))
        return how != str(CATALOGUED), of_kind, -popular[call], quantity != "loss", call

    path = Path(_faults.__file__).with_name(_faults.FILE)
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(_faults.COLUMNS)
        for key, calls in sorted(shown.items()):
            if calls:
                kind = kinds[key[:2]]
                kept = [_faults.Call(*call) for call in sorted(calls, key=lambda call: rank(call, kind))[:KEPT]]
                lines.writerow([*key, _faults.CALL_SEPARATOR.join(map(str, kept))])


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        measure(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        write([Path(name) for name in sys.argv[2:]])
