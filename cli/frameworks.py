from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ._shared import plain_console

if TYPE_CHECKING:
    import pandas as pd


def frameworks(
    entry_points: Annotated[
        bool, typer.Option("--entry-points", help="Where each comes from, and nothing is imported.")
    ] = False,
) -> None:
    """List the implementations of every framework that is installed, and what is missing."""
    from ..core import extras
    from ..studies.browse import listing

    if entry_points:
        _print(listing.entry_points())
        return
    descriptions = listing.describe_frameworks()
    found = listing.tabulated(descriptions)
    present = found[found["available"]]
    _print(present[["implementation", "formula", "version", "devices", "modes"]])
    count, owners = len(present), present["framework"].nunique()
    print(f"{count} implementations in {owners} frameworks, each tried in {present['dtypes'].iloc[0]}; one that lacks")
    print("a dtype, an option or a mode says so itself, and the table with it: unsupported")
    for name, d in descriptions.items():
        if d.missing is not None:
            left_out = None if d.failed else extras.notice(name)
            print(f"missing: {left_out or f'{name}, {d.missing}; {listing.how_to_install(name)}'}")
        for i in d.implementations:
            if i.version is None:
                install = listing.how_to_install(i.package, name)
                print(f"missing: {i.name}, {i.package} is not installed; {install}")


def _print(table: pd.DataFrame) -> None:
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in table.columns:
        shown.add_column(str(column), overflow="fold")
    for line in table.itertuples(index=False):
        shown.add_row(*map(str, line))
    plain_console().print(shown)
