"""The formats of a check, and where each is printed or written."""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from ....core.location import Location
from .._result import CheckResult, prepare, show, write
from ._badge import badge
from ._github import github
from ._json import json_text
from ._junit import junit
from ._markdown import markdown
from ._sarif import sarif

TEXT, GITHUB = "text", "github"
_STEM = "check"
_PRINTED = (TEXT, GITHUB)  # GitHub reads annotations from the log

_RENDERERS: Mapping[str, tuple[str, Callable[[CheckResult, Location | None], str]]] = {
    TEXT: (".txt", lambda result, _: f"{result}\n"),
    "markdown": (".md", lambda result, _: markdown(result)),
    "json": (".json", json_text),
    "junit": (".xml", junit),
    "sarif": (".sarif", sarif),
    GITHUB: (".github", github),
    "badge": (".svg", lambda result, _: badge(result)),
}
FORMATS = tuple(_RENDERERS)
# These hold one loss: two of them, one after the other, are not a document.
DOCUMENTS = ("json", "junit", "sarif", "badge")


def file_names(formats: Collection[str]) -> list[str]:
    """Return the names of the files that `write_formats` adds to those of a check's report."""
    return [f"{_STEM}{_RENDERERS[name][0]}" for name in formats if name not in _PRINTED]


def write_formats(
    result: CheckResult, formats: Collection[str], place: Location | None = None, out: Path | None = None
) -> Iterator[Path]:
    """Print a result in each format, or write the formats for files to the folder ``out``, and yield the paths.

    Text and annotations are printed in either case. The folder gets the files of `write` too.

    Args:
        result: the result.
        formats: some of `FORMATS`.
        place: the file and line of the loss, for annotations and SARIF.
        out: the folder; None to print every format.

    Raises:
        UsageError: as in `prepare`.
    """
    for name in formats:
        if name == TEXT:
            show(result)
        elif out is None or name in _PRINTED:
            sys.stdout.write(_RENDERERS[name][1](result, place))
    if out is None:
        return
    prepare(out, file_names(formats))
    yield from write(result, out)
    for name in formats:
        if name not in _PRINTED:
            suffix, render = _RENDERERS[name]
            path = out / f"{_STEM}{suffix}"
            path.write_text(render(result, place), encoding="utf-8")
            yield path
