"""Measure the grades that README and docs/measured/grades.md state, save them and write both tables.

    python benchmarks/grades.py           measure the whole catalogue in float32 in eager mode, which takes minutes
    python benchmarks/grades.py RUN...    use these runs of the whole catalogue instead

The grade of an implementation is its worst over the catalogue. A case with this grade is saved with it, and a test
measures these cases again. Other modes are measured only at these cases, since compiling takes most of the time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
from kept_grades import KEPT, PAGE, ROOT, Decision, Kept, compact, documents, read, write

from logitlab.cases import quick_cases
from logitlab.execution.request import Request
from logitlab.reports.tables.safety import deciding
from logitlab.storage.store import Run

sys.path.insert(0, str(ROOT / "docs" / "hooks"))
from docs_measurements import kept_run, table

PLAN = Request(
    frameworks=["numpy", "torch", "jax", "tensorflow", "keras-jax", "keras-torch", "onnxruntime"],
    dtypes="float32",
    modes="eager",
    cases="*",
)
# The frameworks that XLA compiles. Inductor's results depend on the processor's vectors: see docs/findings.md.
WITH_MODES = ["jax", "tensorflow", "keras-jax"]


def graded(df: pd.DataFrame) -> pd.DataFrame:
    """Return the results with a grade. Grades become strings, so that the worst is the last in alphabetical order."""
    rows = df[(df["status"] == "ok") & df["grade"].notna()]
    return rows.astype(dict.fromkeys(["implementation", "mode", "case", "quantity", "verdict", "grade"], object))


def decide(eager: pd.DataFrame) -> list[Decision]:
    """Return the grade of each implementation with a deciding result, from as few cases as possible."""
    worst = eager.groupby("implementation")["grade"].max()
    at_worst = eager[eager["grade"] == eager["implementation"].map(worst)]
    decisions = [Decision(name, "A") for name in worst.index[worst == "A"]]
    columns = ["implementation", "grade", "case", "row", "quantity", "verdict"]
    decisions += [Decision(*line) for line in deciding(at_worst)[columns].itertuples(index=False)]
    return sorted(decisions, key=lambda d: (d.grade, d.implementation))


def unlike_quick(eager: pd.DataFrame) -> list[str]:
    """Return the implementations whose worst grade over the cases of a quick run differs from these results."""
    quick = eager[eager["case"].isin([case.id for case in quick_cases()])]
    whole = eager.groupby("implementation")["grade"].max()
    return sorted(whole.index[whole != quick.groupby("implementation")["grade"].max().reindex(whole.index)])


def with_modes(decisions: Iterable[Decision], others: pd.DataFrame) -> tuple[Decision, ...]:
    """Return the decisions with the worst grade of each other mode at the deciding case."""

    def complete(d: Decision) -> Decision:
        rows = others[others["implementation"] == d.implementation]
        worst = (rows[rows["case"] == d.case] if d.case else rows).groupby("mode")["grade"].max().sort_index()
        return replace(d, other_modes=tuple(worst.items()))

    return tuple(complete(d) for d in decisions)


def measure(folders: list[str]) -> Kept:
    """Return the grades of these runs, or of a new run of the whole catalogue."""
    runs = [Run(Path(folder)) for folder in folders] or [kept_run("grades", PLAN)]
    eager = table(runs).query("mode == 'eager' and dtype == 'float32'")
    decisions = decide(graded(eager))
    if unlike := unlike_quick(graded(eager)):
        print(
            f"`logitlab run --quick` gives another grade for {compact(unlike)}; choose other QUICK cases",
            file=sys.stderr,
        )
    deciding = Kept({}, tuple(decisions)).cases
    others = kept_run("grades-modes", replace(PLAN, frameworks=WITH_MODES, modes=["graph", "compiled"], cases=deciding))
    versions = {p: v for run in runs for p, v in run.manifest.packages.items()}
    return Kept(versions, with_modes(decisions, graded(others.read())))


def main(folders: list[str]) -> None:
    kept = measure(folders)
    before = read().decisions if KEPT.exists() else ()
    gone = {d.implementation for d in before} - {d.implementation for d in kept.decisions}
    if gone:
        sys.exit(f"{PAGE} states the grades of {compact(gone)}, which were not measured; install them or delete {KEPT}")
    write(kept)
    for file, text in documents(kept).items():
        file.write_text(text)
        print(f"{file.relative_to(ROOT)} has the grades of {len(kept.decisions)} implementations")


if __name__ == "__main__":
    main(sys.argv[1:])
