from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ._shared import plain_console

_STYLES = {"broken": "bold red", "missing": "yellow", "note": "yellow", "ok": "green"}


def doctor(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="A run folder to verify.")] = None,
) -> None:
    """Check the installation, or verify a run folder.

    Without RUN, check the core packages, the oracle, the cache and every framework. The exit code is 0 if everything
    works, 1 if something is broken, and 2 if RUN is not a run. A stopped run that can be resumed is not broken.
    """
    from ..storage.verification import verify
    from ..studies.doctor import examine

    broken = False
    for finding in examine() if run is None else verify(run).findings:
        state = (f"{finding.state:8s}", _STYLES[finding.state])
        plain_console().print(Text.assemble(state, f" {finding.subject}: {finding.message}"), soft_wrap=True)
        broken |= finding.state == "broken"
    if broken:
        raise typer.Exit(1)
