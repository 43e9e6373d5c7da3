from pathlib import Path
from typing import Annotated

import typer


def pack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a complete run.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to create.")],
) -> None:
    """Copy a run into a folder small enough to commit.

    `logitlab report` and `logitlab compare` read the copy as they read the run.
    """
    from ..storage import store

    packed = store.Run(run).pack(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"packed {packed.lines()} measurements into {folder}, {size / 2**20:.1f} MiB")
