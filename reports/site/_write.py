"""Render the pages of a site into files."""

from enum import StrEnum
from pathlib import Path

from .._report import Report
from ._environment import environment
from ._site import Site
from .pages import detail_pages, main_pages


class Part(StrEnum):
    """A part of the pages: those of cases and implementations, or all others with pictures and downloads."""

    MAIN = "main"
    DETAIL = "detail"


def write_pages(found: Report, out: Path, part: Part) -> None:
    """Write one part of the pages into a folder that has the site's folders.

    Raises:
        OSError: if a file cannot be written.
    """
    templates, site = environment(found), Site.of(found)
    for page in main_pages(site, out) if part is Part.MAIN else detail_pages(site):
        root = "../" * page.file.count("/")
        text = templates.get_template(page.template).render(page=page, site=site, here=page.file, root=root)
        (out / page.file).write_text(text, encoding="utf-8", errors="replace")
