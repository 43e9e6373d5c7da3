"""The formats of a history, and its files."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...core import files, strict_json
from ...core.errors import UsageError
from ...core.version import __version__
from ...reports.charts.style import require
from ...reports.site import PageTable, write_single_page
from ._chart import charts
from ._history import History
from ._text import markdown, text

SCHEMA = 1
STEM = "history"
_CSV, _FIGURES, _HTML = "csv", "figures", "html"


def write(found: History, formats: Sequence[str], out: str | Path | None = None) -> list[Path]:
    """Print a history in each format, or write it to files of the folder ``out``, and return their paths.

    ``csv`` is two files, ``figures`` one SVG for each cell that changed, and ``html`` a page with its assets. These
    need a folder.

    Raises:
        UsageError: for an unknown format, one that needs a folder without one, or a file that cannot be written.
    """
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}; choose one of {', '.join(FORMATS)}")
        if out is None and name not in _PRINTED:
            raise UsageError(f"the format {name} is written to files; give a folder, such as --out {STEM}")
    written: list[Path] = []
    for name in formats:
        if out is None:
            sys.stdout.write(_PRINTED[name][1](found))
        else:
            written += _written(found, name, Path(out))
    return written


def _written(found: History, name: str, out: Path) -> list[Path]:
    if name == _HTML:
        return _page(found, out)
    if name == _FIGURES:
        return _save(out, _figures(found))
    if name == _CSV:
        return _save(out, {f"{STEM}-{part}.csv": table for part, table in _csv(found).items()})
    suffix, render = _PRINTED[name]
    return _save(out, {f"{STEM}{suffix}": render(found)})


def _save(out: Path, contents: Mapping[str, str]) -> list[Path]:
    with files.explain_os_errors(out, "choose another --out"):
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            files.write(out / name, content.encode("utf-8", "replace"))
    return [out / name for name in contents]


def _csv(found: History) -> dict[str, str]:
    return {"points": found.points.to_csv(index=False), "steps": found.steps.to_csv(index=False)}


def _figures(found: History) -> dict[str, str]:
    require("the figures need", "altair", "vl-convert-python")
    import vl_convert  # noqa: PLC0415 - an extra

    return {f"{each.name}.svg": vl_convert.vegalite_to_svg(each.chart.to_dict()) for each in charts(found)}


def _page(found: History, out: Path) -> list[Path]:
    steps = PageTable("steps", "What changed", "The worst change of each version, with the number of all changes.",
                      found.steps.drop(columns=["device", "factor"]))  # fmt: skip
    points = PageTable("points", "Results over versions", "Errors are in ulp, and largest is the largest finite error. "
                       "Same bits is the share of results with the bits of the version before.",
                       found.points.drop(columns=["device"]))  # fmt: skip
    require("the page needs", "jinja2", "altair", "vl-convert-python")
    numbers = _written(found, "json", out)
    page = write_single_page(
        out, title="History over versions", lede=". ".join([found.headline, *found.notes]) + ".",
        downloads=numbers[0].name, charts=list(charts(found)), tables=[steps, points],
    )  # fmt: skip
    return [*page, *numbers]


def json_text(found: History) -> str:
    """Return a history as strict JSON: an infinite number is the string ``inf``, a missing one null."""
    changes = found.changes
    directed = changes[(changes["regression"] | changes["improvement"]).astype(bool)]
    content = {
        "schema": SCHEMA,
        "logitlab": __version__,
        "result": "regressed" if len(found.regressions) else "not regressed",
        "factor": found.factor,
        "runs": [
            {
                "name": run.name, "started": run.started, "processor": run.processor,
                "packages": dict(sorted(run.packages.items())),
            }
            for run in found.runs
        ],
        "notes": list(found.notes),
        "not_compared": list(found.not_compared),
        "points": strict_json.records(found.points),
        "steps": strict_json.records(found.steps),
        "changes": strict_json.records(directed),
    }  # fmt: skip
    return strict_json.document(content)


_PRINTED: Mapping[str, tuple[str, Callable[[History], str]]] = {
    "text": (".txt", text),
    "markdown": (".md", markdown),
    "json": (".json", json_text),
}
FORMATS = (*_PRINTED, _CSV, _FIGURES, _HTML)
