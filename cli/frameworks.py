from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ._shared import plain_console

if TYPE_CHECKING:
    import pandas as pd


def frameworks(
    entry_points: Annotated[
        bool, typer.Option("--entry-points", help="List entry points and packages without importing them.")
    ] = False,
) -> None:
    """List frameworks and their implementations, and the missing ones."""
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
    print(f"{count} implementations in {owners} frameworks, each tried in {present['dtypes'].iloc[0]}")
    print("Tables show a dtype, option or mode that an implementation lacks as unsupported.")
    for name, d in descriptions.items():
        if d.missing is not None:
            no_wheel = None if d.failed else extras.notice(name)
            print(f"missing: {no_wheel or f'{name} {d.missing}; {listing.how_to_install(name)}'}")
        for i in d.implementations:
            if i.version is None:
                install = listing.how_to_install(i.package, name)
                print(f"missing: {i.name}, {i.package} is not installed; {install}")


def _print(lines: pd.DataFrame) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in lines.columns:
        table.add_column(str(column), overflow="fold")
    for line in lines.itertuples(index=False):
        table.add_row(*map(str, line))
    plain_console().print(table)
