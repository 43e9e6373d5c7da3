"""Print four tables of LogitLab's own speed, measured on this machine.

- a: wall time of the default plan, over the time inside framework calls and imports divided by the cores
- b: exact references per second, against mpmath and gmpy2
- c: measurements per second and peak memory, for more and more rows
- d: time and memory of each formula and built-in, against the framework's built-in

    make bench                          # all four; a and d take minutes
    make bench BENCH="--table b"
    make bench BENCH="--keep docs/measured"
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import one_call
import oracle_speed
import pandas as pd
import plan_time
import prices
import scaling
from usage import cores

from logitlab.execution import environment
from logitlab.execution.pool import Pools
from logitlab.execution.registry import Description, names

TITLES = {
    "a": "The default plan",
    "b": "Exact references",
    "c": f"Measurements of {scaling.IMPLEMENTATION}, rows of {scaling.CLASSES} classes",
    "d": f"The price of accuracy: float32, {one_call.ROWS} rows of {one_call.CLASSES} classes",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="append", choices=list(TITLES), help="all four by default")
    parser.add_argument("--framework", action="append", help="for tables a and d; all installed ones by default")
    parser.add_argument("--mode", action="append", help="for table d; eager by default, since others compile")
    parser.add_argument("--keep", type=Path, help="also write bench.json and bench.md to this folder")
    given = parser.parse_args()
    makers: dict[str, Callable[[], pd.DataFrame]] = {
        "a": lambda: plan_time.table(given.framework or []),
        "b": oracle_speed.table,
        "c": scaling.table,
        "d": lambda: prices.table(_descriptions(given.framework), given.mode or ["eager"]),
    }
    print(_machine(), flush=True)
    tables = {}
    for letter in given.table or TITLES:
        tables[letter] = makers[letter]()
        print(f"\n{letter}. {TITLES[letter]}\n\n{tables[letter].to_string(index=False, na_rep='')}", flush=True)
    if given.keep is not None:
        _keep(given.keep, tables)


def _descriptions(frameworks: list[str] | None) -> list[Description]:
    with tempfile.TemporaryDirectory() as logs, Pools(frameworks or list(names()), Path(logs)) as pools:
        return list(pools.describe().values())


def _machine() -> str:
    hardware = environment.hardware()
    facts = {**hardware, "cores used": cores(), **environment.own_versions()}
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _keep(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Write the tables to the folder; other tables of an earlier bench.json are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "bench.json"
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    now = {"machine": _machine(), "when": datetime.now(UTC).date().isoformat()}
    whole = before | {letter: {**now, "lines": json.loads(t.to_json(orient="records"))} for letter, t in tables.items()}
    kept.write_text(json.dumps(dict(sorted(whole.items())), indent=1) + "\n", encoding="utf-8")
    pages = [
        f"## {letter}. {TITLES[letter]}\n\n{found['when']}, `{found['machine']}`\n\n"
        + pd.DataFrame(found["lines"]).to_markdown(index=False, floatfmt="g")
        for letter, found in sorted(whole.items())
    ]
    (folder / "bench.md").write_text("\n\n".join(["# make bench", *pages]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
