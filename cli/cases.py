from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from ._shared import Dtype, Values, plain_console


class _Listing(TyperGroup):
    """A group that lists unless another of its commands is named: ``cases 'gap/*'`` is ``cases list 'gap/*'``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else ["list", *args])


app = typer.Typer(cls=_Listing, help="List the catalogue, or show one case of it.", rich_markup_mode=None)


@app.command("list")
def list_cases(
    pattern: Annotated[Values, typer.Argument(help="Globs over family/name, as --case takes them.")] = None,
    case: Annotated[Values, typer.Option(help="Cases, a glob over family/name.")] = None,
    family: Annotated[Values, typer.Option(help="Families, by name or glob.")] = None,
    tag: Annotated[
        Values, typer.Option(help="Tags, by name or glob; one that is none is told which there are.")
    ] = None,
    dtype: Annotated[Values, typer.Option(help="Keeps the cases that the dtype can hold.")] = None,
    source: Annotated[Values, typer.Option(help="A part of the source, such as optax or #1020, in any case.")] = None,
) -> None:
    """List the catalogue; what `cases` does where no command is named.

    An option may be repeated, and its words are then alternatives; a case must pass every option that is given.
    """
    from ..studies.browse import listing

    patterns = [*(pattern or []), *(case or [])] or None
    found = listing.catalogue(patterns, family, tag, dtype, source)
    # The last column takes what is left of a hundred characters: why, and beneath it source and tags.
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("case", "shape", "why"):
        shown.add_column(name, no_wrap=name != "why")
    for line in found.fillna({"source": ""}).to_dict("records"):
        beneath = "; ".join(words for words in (line["source"], line["tags"]) if words)
        why = f"{line['why']}\n[{beneath}]" if beneath else line["why"]
        shown.add_row(line["case"], f"{line['rows']} x {line['classes']}", why)
    plain_console().print(shown)
    cases, families = len(found), found["family"].nunique()
    print(f"{cases} case{'s' * (cases > 1)} in {families} famil{'ies' if families > 1 else 'y'}")


@app.command("show")
def show_case(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The full family/name of a case.")],
    dtype: Dtype = "float32",
    row: Annotated[int | None, typer.Option(help="A row, from 0; the first eight by default.")] = None,
) -> None:
    """Show a case in a dtype: its numbers, the exact answer, and the thresholds it stands near."""
    from ..studies.browse import showing

    showing.show(showing.view(name, dtype, row))
