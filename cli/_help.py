"""The layout of ``logitlab --help``: verbs in groups, and an example for each group and each verb."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

GROUPS = {
    "Measure": "logitlab run --framework torch --dtype float32 --out runs/torch",
    "Examine": "logitlab explain seed/article --implementation torch/naive",
    "Compare": "logitlab compare runs/before runs/after",
    "Publish": "logitlab report runs/torch --format html --out site",
    "Set up": "logitlab doctor",
}


def example(command: str) -> str:
    """Return the last line of a verb's help: a command to copy."""
    return f"Example: {command}"


class GroupedHelp(TyperGroup):
    """A command group that lists its verbs under the titles of `GROUPS`; a verb's ``rich_help_panel`` is its title."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each group: its verbs with one line of help each, then an example."""
        width = max(map(len, self.commands))
        for title, command in GROUPS.items():
            verbs = {
                name: verb for name, verb in self.commands.items() if getattr(verb, "rich_help_panel", "") == title
            }
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), verb.get_short_help_str(formatter.width)) for name, verb in verbs.items()]
                )
                formatter.write_text(example(command))
