from typing import Annotated

import typer
from rich.table import Table

from ..core.cache_folder import CacheKind
from ._shared import plain_console

app = typer.Typer(
    help="""Show what LogitLab keeps between runs, or clear it.

    It lies in the folder of LOGITLAB_CACHE, or else in the user's cache folder. LOGITLAB_CACHE_LIMIT is its limit, in
    GiB: what was used longest ago goes first.""",
    rich_markup_mode=None,
    invoke_without_command=True,
)


@app.callback()
def show(context: typer.Context) -> None:
    """Show where the cache lies, how much there is of each kind, and the limit."""
    if context.invoked_subcommand is not None:
        return
    from ..core.cache_folder import cache_root
    from ..core.cache_limit import cache_entries, cache_limit, unknown_folders

    root = cache_root()
    if root is None:
        print("the cache is switched off: LOGITLAB_CACHE is empty")
        return
    entries, limit = cache_entries(), cache_limit()
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("kind", "number", "MiB", "what"):
        shown.add_column(name, justify="right" if name in ("number", "MiB") else "left")
    for kind in CacheKind:
        sizes = [entry.size for entry in entries if entry.kind is kind]
        shown.add_row(kind, f"{len(sizes):,}", f"{sum(sizes) / 2**20:,.1f}", kind.description)
    print(root)
    plain_console().print(shown)
    print(f"{sum(e.size for e in entries) / 2**30:.2f} GiB; the limit is {limit / 2**30:g} GiB")
    for folder in unknown_folders():
        print(f"{folder.name} is not LogitLab's, and is neither counted nor cleared")


@app.command()
def clear(
    kind: Annotated[list[CacheKind] | None, typer.Argument(help="What to clear; everything by default.")] = None,
) -> None:
    """Remove what LogitLab keeps between runs, all of it or some kinds. It is made again when it is needed.

    Environments are used for as long as their run goes on: do not clear them while `logitlab matrix` runs.
    """
    from ..core.cache_limit import clear_cache

    print(f"{clear_cache(*(kind or [])) / 2**20:,.1f} MiB freed")
