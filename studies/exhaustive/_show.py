"""The result of a study on a terminal: a line for each result that differs in any bit, and what is proved."""

from collections.abc import Iterator

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ...core.vocabulary import Grade, Status
from ._exhaustive import Exhaustive
from ._wording import Record, alike, number

WIDTH = 110


def show(study: Exhaustive, console: Console | None = None) -> None:
    """Print a table for each dtype, the implementations with the same bits, and what is proved."""
    out = Console(width=WIDTH, highlight=False, markup=False, emoji=False) if console is None else console
    for dtype, lines in study.table.groupby("dtype", sort=False):
        out.print(f"{dtype}: {study.rows[str(dtype)]}", style="bold", soft_wrap=True)
        out.print(_table(lines))
        for line in (*_same(lines), *_faults(lines), *_proofs(lines, study.rows[str(dtype)])):
            out.print(line, soft_wrap=True)
        out.print()
    out.print(f"{study.table['implementation'].nunique()} implementations in {study.seconds:.1f} s")


def _table(lines: pd.DataFrame) -> Table:
    shown = Table(box=SIMPLE_HEAD, header_style="bold", padding=0, pad_edge=False)
    shown.add_column("implementation", overflow="fold", min_width=24)
    for name in ("quantity", "grade"):
        shown.add_column(name, no_wrap=True)
    for name in ("at gap", "computed", "exact", "ulp", "largest ulp", "> 1 ulp", "A lost from"):
        shown.add_column(name, justify="right", no_wrap=True)
    for group in alike(lines[lines["measured"] > 0]):
        shown.add_row(*_cells(group))
    return shown


def _cells(group: list[Record]) -> Iterator[str]:
    line = group[0]
    yield line["implementation"] + (f" +{len(group) - 1}" if group[1:] else "")
    yield line["quantity"]
    yield line["grade"]
    yield from (number(line[f"worst_{name}"]) for name in ("gap", "value", "exact", "ulp"))
    yield number(line["largest_ulp"])
    yield f"{line['beyond_1_ulp']:.1%}"
    yield "" if pd.isna(line["a_lost_at"]) else number(line["a_lost_at"])


def _same(lines: pd.DataFrame) -> Iterator[str]:
    """Yield the implementations behind each ``+N``, once for all quantities in which they agree."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for group in alike(lines[lines["measured"] > 0]):
        names = tuple(line["implementation"] for line in group)
        groups.setdefault(names, []).append(group[0]["quantity"])
    for (first, *others), quantities in groups.items():
        if others:
            yield f"{first}: the same bits in {' and '.join(quantities)} as {', '.join(others)}"


def _faults(lines: pd.DataFrame) -> Iterator[str]:
    faulty = lines[lines["status"] != Status.OK].drop_duplicates(["implementation", "status", "detail"])
    for line in faulty.to_dict("records"):
        kept = f" {line['measured']:,} of {line['rows']:,} rows" if line["measured"] else ""
        yield f"{line['implementation']}: {line['status']}{kept}: {line['detail']}"


def _proofs(lines: pd.DataFrame, rows: str) -> Iterator[str]:
    """Yield what is proved: the implementations with grade A in each quantity."""
    best = lines[(lines["grade"] == Grade.A) & lines["proof"].notna()]
    for quantity, proved in best.groupby("quantity", sort=False):
        yield f"proof: grade A on {rows}, in {quantity}: {', '.join(proved['implementation'])}"
