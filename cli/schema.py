from typing import Annotated

import typer


def schema(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The kind, such as check; omit to list.")] = None,
) -> None:
    """Print the JSON Schema of a kind of file or output, or list the kinds.

    The schemas are JSON Schema, draft 2020-12. Each document of LogitLab has its version at the top.
    """
    from ..core import schemas

    if name is not None:
        print(schemas.read_text(name), end="")
        return
    for each in schemas.NAMES:
        print(f"{each:<12} {schemas.read(each)['description']}")
