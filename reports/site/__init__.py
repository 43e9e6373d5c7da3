"""The report as a web site: pages that work from disk, without a network or a server."""

from pathlib import Path

from ...core.errors import UsageError
from .._report import Report
from ..charts.style import require
from ._single import PageChart, PageTable, write_single_page

__all__ = ["PageChart", "PageTable", "write_single_page", "write_site"]

FOLDERS = ("assets", "cases", "implementations", "charts", "data")


def write_site(found: Report, out: Path) -> list[Path]:
    """Write the site into a folder, and return the path of its first page.

    Raises:
        UsageError: if a package of the extra ``report`` is not installed, or the folder cannot be written.
    """
    require("the site needs", "jinja2", "altair", "vl-convert-python")
    # These import packages of the extra too.
    from ._environment import copy_assets  # noqa: PLC0415
    from ._second_process import SecondProcess  # noqa: PLC0415
    from ._write import Part, write_pages  # noqa: PLC0415

    try:
        for folder in FOLDERS:
            (out / folder).mkdir(parents=True, exist_ok=True)
        copy_assets(out / "assets")
        with SecondProcess(found, out) as second:
            write_pages(found, out, Part.MAIN)
            if not second.succeeded():
                write_pages(found, out, Part.DETAIL)
    except OSError as error:
        raise UsageError(f"cannot write the site to {out}: {error.strerror}; choose another --out") from error
    return [out / "index.html"]
