"""Measures the grades that README states, keeps them and prints them into README.

    python benchmarks/grades.py           measure the whole catalogue in float32 in eager mode, which takes minutes
    python benchmarks/grades.py RUN...    take these runs of the whole catalogue instead

An implementation's grade is its worst over the catalogue. A case that has this grade is kept beside it, and a test
measures these cases again. The other modes are measured at these cases alone, since compiling takes most of the time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
from docs_measurements import kept_run, table
from kept_grades import KEPT, README, ROOT, Decision, Kept, compact, in_readme, read, write

from logitlab.core.vocabulary import GRADES
from logitlab.storage.store import Run

PLAN: dict[str, str | list[str]] = {
    "frameworks": ["numpy", "torch", "jax", "tensorflow", "keras-jax", "keras-torch", "onnxruntime"],
    "dtypes": "float32",
    "modes": "eager",
    "cases": "*",
}
# Those that XLA compiles. What Inductor gives depends on the processor's vectors: docs/findings.md tells it.
WITH_MODES = ["jax", "tensorflow", "keras-jax"]
# The cases that the documentation speaks of decide a grade wherever they can.
KNOWN = ("seed/article", "masks/first", "masks/on_target", "offset/1e06", "gap/20_high")


def graded(df: pd.DataFrame) -> pd.DataFrame:
    """The results that have a grade, as a string: the worst is the last in the order of the alphabet."""
    rows = df[(df["status"] == "ok") & df["grade"].notna()]
    return rows.astype(dict.fromkeys(["implementation", "mode", "case", "quantity", "verdict", "grade"], object))


def decide(eager: pd.DataFrame) -> list[Decision]:
    """The grade of each implementation; few cases decide all grades."""
    worst = eager.groupby("implementation")["grade"].max()
    decisions = [Decision(name, "A") for name in worst.index[worst == "A"]]
    at_worst = eager[eager["grade"] == eager["implementation"].map(worst)]
    for grade in GRADES[1:]:
        left = at_worst[at_worst["grade"] == grade]
        while not left.empty:
            case, quantity, verdict = _widest(left)
            there = left[(left["case"] == case) & (left["quantity"] == quantity) & (left["verdict"] == verdict)]
            first = there.groupby("implementation")["row"].min()
            decisions += [Decision(n, grade, case, int(row), quantity, verdict) for n, row in first.items()]
            left = left[~left["implementation"].isin(first.index)]
    return sorted(decisions, key=lambda d: (d.grade, d.implementation))


def _widest(left: pd.DataFrame) -> tuple[str, str, str]:
    """The case, quantity and verdict that most implementations share; known cases first, then narrow ones."""
    keys = ["case", "quantity", "verdict"]
    shared = left.groupby(keys).agg(count=("implementation", "nunique"), classes=("classes", "first")).reset_index()
    places = {case: place for place, case in enumerate(KNOWN)}
    shared["known"] = [places.get(case, len(KNOWN)) for case in shared["case"]]
    shared["is_correct"] = shared["verdict"] == "correct"
    order = {"is_correct": True, "known": True, "count": False, "classes": True, "case": True, "quantity": True}
    first = shared.sort_values(list(order), ascending=list(order.values())).iloc[0]
    return first["case"], first["quantity"], first["verdict"]


def with_modes(decisions: Iterable[Decision], others: pd.DataFrame) -> tuple[Decision, ...]:
    """The decisions with the worst grade of each other mode at the deciding case."""

    def complete(d: Decision) -> Decision:
        rows = others[others["implementation"] == d.implementation]
        worst = (rows[rows["case"] == d.case] if d.case else rows).groupby("mode")["grade"].max().sort_index()
        return replace(d, other_modes=tuple(worst.items()))

    return tuple(complete(d) for d in decisions)


def measure(folders: list[str]) -> Kept:
    """The grades of these runs, or of a run of the whole catalogue made now."""
    runs = [Run(Path(folder)) for folder in folders] or [kept_run("grades", PLAN)]
    eager = table(runs).query("mode == 'eager' and dtype == 'float32'")
    decisions = decide(graded(eager))
    deciding = Kept({}, tuple(decisions)).cases
    others = kept_run(
        "grades-modes", PLAN | {"frameworks": WITH_MODES, "modes": ["graph", "compiled"], "cases": deciding}
    )
    versions = {p: v for run in runs for p, v in run.manifest.packages.items()}
    return Kept(versions, with_modes(decisions, graded(others.read())))


def main(folders: list[str]) -> None:
    kept = measure(folders)
    gone = {d.implementation for d in read().decisions} - {d.implementation for d in kept.decisions}
    if gone:
        sys.exit(f"README states the grades of {compact(gone)}, which were not measured; install them or delete {KEPT}")
    write(kept)
    README.write_text(in_readme(README.read_text(), kept))
    print(f"{KEPT.relative_to(ROOT)} and README.md have the grades of {len(kept.decisions)} implementations")


if __name__ == "__main__":
    main(sys.argv[1:])
