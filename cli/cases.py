from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from ._completion import complete_case_names, complete_cases, complete_dtypes
from ._help import example
from ._shared import Dtype, Values, plain_console


class _ListByDefault(TyperGroup):
    """A group whose default command is ``list``: ``cases 'gap/*'`` is ``cases list 'gap/*'``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else ["list", *args])


app = typer.Typer(cls=_ListByDefault, help="List the catalogue, or show one case of it.", rich_markup_mode=None)


@app.command("list", epilog=example("logitlab cases list --tag masks --dtype float16"))
def list_cases(
    pattern: Annotated[
        Values, typer.Argument(help="Globs over family/name, as in --case.", autocompletion=complete_cases)
    ] = None,
    case: Annotated[Values, typer.Option(help="Cases: a glob over family/name.", autocompletion=complete_cases)] = None,
    family: Annotated[Values, typer.Option(help="Families: a name or a glob.")] = None,
    tag: Annotated[Values, typer.Option(help="Tags: a name or a glob. An unknown tag prints all tags.")] = None,
    dtype: Annotated[
        Values, typer.Option(help="Keep the cases that this dtype can hold.", autocompletion=complete_dtypes)
    ] = None,
    source: Annotated[
        Values, typer.Option(help="A part of the source, such as optax or #1020. Upper and lower case are equal.")
    ] = None,
) -> None:
    """List the catalogue. `logitlab cases` without a command does this.

    Every option is repeatable. A case must match every option, and one of the values of each.
    """
    from ..studies.browse import listing

    patterns = [*(pattern or []), *(case or [])] or None
    found = listing.catalogue(patterns, family, tag, dtype, source)
    # The last column takes the rest of a hundred characters: why, then source and tags on their own line.
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("case", "shape", "why"):
        table.add_column(name, no_wrap=name != "why")
    for line in found.fillna({"source": ""}).to_dict("records"):
        labels = "; ".join(text for text in (line["source"], line["tags"]) if text)
        why = f"{line['why']}\n[{labels}]" if labels else line["why"]
        table.add_row(line["case"], f"{line['rows']} x {line['classes']}", why)
    plain_console().print(table)
    cases, families = len(found), found["family"].nunique()
    print(f"{cases} case{'s' * (cases > 1)} in {families} famil{'ies' if families > 1 else 'y'}")


@app.command("show", epilog=example("logitlab cases show seed/article --dtype float16 --row 1"))
def show_case(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The full name of a case, family/name.", autocompletion=complete_case_names
        ),
    ],
    dtype: Dtype = "float32",
    row: Annotated[int | None, typer.Option(help="The row to show, from 0; the first eight by default.")] = None,
) -> None:
    """Show one case: its numbers, the exact answer and nearby thresholds."""
    from ..studies.browse import showing

    showing.show(showing.view(name, dtype, row))
