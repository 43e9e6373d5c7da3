"""Measure the wall time of the default plan, over the time of framework calls and imports divided by the cores.

The time of calls and imports is the processor time of the workers, which otherwise only wait and pass arrays.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from usage import cores, of_command

GOAL = 1.2


def table(frameworks: Sequence[str]) -> pd.DataFrame:
    """Return a line for each of two runs of the plan; the first fills empty caches."""
    return pd.DataFrame([_line(frameworks, name) for name in ("first", "again")])


def _line(frameworks: Sequence[str], name: str) -> dict[str, object]:
    chosen = [word for f in frameworks for word in ("--framework", f)]
    with tempfile.TemporaryDirectory() as folder:
        used = of_command(["run", *chosen, "--out", str(Path(folder) / "run")])
    ideal = used.children / cores()
    return {
        "run": name,
        "frameworks": ", ".join(frameworks) or "all installed",
        "cores": cores(),
        "wall s": round(used.wall, 1),
        "calls and imports s": round(used.children, 1),
        "LogitLab s": round(used.own, 1),
        "wall / (calls and imports / cores)": round(used.wall / ideal, 2),
        "goal": GOAL,
    }
