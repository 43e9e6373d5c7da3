from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ._shared import plain_console

_STYLES = {"broken": "bold red", "missing": "yellow", "note": "yellow", "ok": "green"}


def doctor(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="A run folder to verify instead.")] = None,
) -> None:
    """Check the set-up: core packages, oracle, cache and every framework. Or verify a run folder.

    Exit code 0 if all is well, 1 if something is wrong, 2 if RUN is no run. A run that was stopped and can be gone on
    with is well.
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
