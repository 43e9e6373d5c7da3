"""Workflow commands of GitHub Actions: annotations, which a workflow prints and its page shows."""

from ...core.location import Location

MAX_ANNOTATIONS = 10  # GitHub shows no more of a kind and step, https://docs.github.com/actions


def annotation(kind: str, title: str, message: str, place: Location | None = None) -> str:
    """Return a workflow command, a line to print.

    Args:
        kind: ``error``, ``warning`` or ``notice``.
        title: one line.
        message: the text, which may have several lines.
        place: the file and line to annotate, if the file is part of the project.
    """
    named = {"title": title}
    if place is not None and place.relative is not None:
        named = {"file": place.relative, "line": str(place.line), **named}
    properties = ",".join(f"{name}={_property(value)}" for name, value in named.items())
    return f"::{kind} {properties}::{_data(message)}"


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _data(text: str) -> str:
    # Escaped as in GitHub's toolkit, https://github.com/actions/toolkit, packages/core/src/command.ts.
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
