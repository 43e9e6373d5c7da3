"""The result of a study on a terminal: a line for each result that differs in any bit, and the proofs."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

import pandas as pd
from rich.console import Console

from ...core.vocabulary import Grade, Status
from ._exhaustive import Exhaustive
from ._wording import Record, alike, number

WIDTH = 100
# The columns after quantity and grade: the worst row, the share of rows, and the gap at which A is lost.
HEADINGS = ("at gap", "computed", "exact", "error (ulp)", "> 1 ulp", "A lost from")


def show(study: Exhaustive, console: Console | None = None) -> None:
    """Print a table for each dtype, the implementations with the same bits, and the proofs."""
    out = Console(width=WIDTH, highlight=False, markup=False, emoji=False) if console is None else console
    for dtype, lines in study.table.groupby("dtype", sort=False):
        rows = study.rows[str(dtype)]
        out.print(f"{dtype}: {rows}", style="bold", soft_wrap=True)
        for line in (*_table(lines), *_same(lines), *_faults(lines), *_proofs(lines, rows)):
            out.print(line, soft_wrap=True)
        out.print()
    out.print(f"{study.table['implementation'].nunique()} implementations in {study.seconds:.1f} s")


def _table(lines: pd.DataFrame) -> Iterator[str]:
    yield _spaced("the worst row of each", "", HEADINGS)
    groups = alike(lines[lines["measured"] > 0])
    for name, of_name in groupby(groups, key=_name):
        yield name
        for first, *_ in of_name:
            numbers = [number(first[f"worst_{column}"]) for column in ("gap", "value", "exact", "ulp")]
            a_lost_at = "" if math.isnan(first["a_lost_at"]) else number(first["a_lost_at"])
            cells = (*numbers, f"{first['beyond_1_ulp']:.1%}", a_lost_at)
            yield _spaced(f"  {first['quantity']}", first["grade"], cells)


def _name(group: Sequence[Record]) -> str:
    others = f" and {len(group) - 1} with the same bits" if group[1:] else ""
    return f"{group[0]['implementation']}{others}"


def _spaced(start: str, grade: str, cells: tuple[str, ...]) -> str:
    return f"{start:22}{grade:2}{''.join(f'{cell:>12}' for cell in cells)}".rstrip()


def _same(lines: pd.DataFrame) -> Iterator[str]:
    """Yield the implementations that agree bit for bit, once for all quantities in which they do."""
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
    """Yield the proofs of grade A: the implementations that have it, for each quantity."""
    best = lines[(lines["grade"] == Grade.A) & lines["proof"].notna()]
    for quantity, proved in best.groupby("quantity", sort=False):
        yield f"proof: grade A on {rows}, in {quantity}: {', '.join(proved['implementation'])}"
