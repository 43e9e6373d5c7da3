from typing import Annotated

import typer
from rich.table import Table

from ..core.cache_folder import CacheKind
from ._help import example
from ._shared import plain_console

app = typer.Typer(
    help="""Show or clear what LogitLab keeps between runs.

    LOGITLAB_CACHE names the folder; the default is the user's cache folder. LOGITLAB_CACHE_LIMIT is the limit in GiB.
    Above the limit, LogitLab removes the entries that were used longest ago.""",
    rich_markup_mode=None,
    invoke_without_command=True,
)


@app.callback()
def show(context: typer.Context) -> None:
    """Print the cache folder, the size of each kind of entry, and the limit."""
    if context.invoked_subcommand is not None:
        return
    from ..core.cache_folder import cache_root
    from ..core.cache_limit import cache_entries, cache_limit, unknown_folders

    root = cache_root()
    if root is None:
        print("the cache is off, because LOGITLAB_CACHE is empty")
        return
    entries, limit = cache_entries(), cache_limit()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("kind", "number", "MiB", "content"):
        table.add_column(name, justify="right" if name in ("number", "MiB") else "left")
    for kind in CacheKind:
        sizes = [entry.size for entry in entries if entry.kind is kind]
        table.add_row(kind, f"{len(sizes):,}", f"{sum(sizes) / 2**20:,.1f}", kind.description)
    print(root)
    plain_console().print(table)
    print(f"{sum(e.size for e in entries) / 2**30:.2f} GiB; the limit is {limit / 2**30:g} GiB")
    for folder in unknown_folders():
        print(f"{folder.name} does not belong to LogitLab; it is neither counted nor cleared")


@app.command(epilog=example("logitlab cache clear references"))
def clear(
    kind: Annotated[list[CacheKind] | None, typer.Argument(help="Kinds to clear; all by default.")] = None,
) -> None:
    """Remove cached entries, all of them or some kinds.

    LogitLab builds an entry again when a run needs it. Do not clear environments while `logitlab matrix` runs: it uses
    them until it ends.
    """
    from ..core.cache_limit import clear_cache

    print(f"freed {clear_cache(*(kind or [])) / 2**20:,.1f} MiB")
