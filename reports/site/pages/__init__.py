"""The pages of a site, and the values that each template gets."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ....storage.manifest import Manifest
from .._site import Site, WebPage
from .cases import case_pages
from .curves import curves_page
from .data import data_page
from .finiteness import finiteness_page
from .implementations import implementation_pages
from .overview import overview
from .tables import grids_of, tables_pages

NAVIGATION = (
    ("index.html", "Overview"),
    ("grades.html", "Grades"),
    ("cases.html", "Cases"),
    ("finiteness.html", "Finiteness"),
    ("errors.html", "Errors"),
    ("distributions.html", "Distributions"),
    ("curves.html", "Curves"),
    ("modes.html", "Modes"),
    ("devices.html", "Devices"),
    ("bitwise.html", "Bits"),
    ("agreement.html", "Agreement"),
    ("bounds.html", "Bounds"),
    ("faults.html", "Not measured"),
    ("provenance.html", "Provenance"),
    ("data.html", "Data"),
)


@dataclass(frozen=True, kw_only=True)
class ProvenancePage(WebPage):
    """The values of ``provenance.html``."""

    template: ClassVar[str] = "provenance.html"
    manifests: Sequence[tuple[str, dict[str, dict[str, str]]]]


def main_pages(site: Site, out: Path) -> Iterator[WebPage]:
    """Yield all pages but those of `detail_pages`, and write pictures and downloads into ``out``."""
    sections = {s.name: s for s in site.report.sections}
    yield overview(site, out)
    yield from tables_pages(site, sections, out)
    yield finiteness_page(site, grids_of(site, sections.get("finiteness")))
    yield curves_page(site, sections, out)
    yield ProvenancePage(
        file="provenance.html",
        title="Provenance",
        lede="Every number of this report comes from these runs: here are their commands, versions and hardware.",
        manifests=[(m.run, _provenance(m)) for m in site.report.manifests],
    )
    yield data_page(site, out)


def detail_pages(site: Site) -> Iterator[WebPage]:
    """Yield the pages of cases and of implementations."""
    yield from case_pages(site)
    yield from implementation_pages(site)


def _provenance(m: Manifest) -> dict[str, dict[str, str]]:
    """The facts of a run's manifest, below titles."""
    left_out = ", ".join(f"{count} in {dtype}" for dtype, count in m.left_out_by_dtype.items())
    ran = {
        "LogitLab": m.logitlab,
        "command": m.command,
        "started": m.started,
        "finished": m.finished or "not finished",
        "complete": "yes" if m.complete else "no",
        "catalogue": f"{len(m.catalogue['cases']):,} cases, SHA-256 {m.catalogue['hash']}",
        "skipped": f"cases that a dtype cannot hold: {left_out}" if left_out else "none",
    }
    blocks: list[tuple[str, Mapping[str, object]]] = [
        ("The run", ran),
        ("Hardware", m.hardware),
        ("Frameworks", m.packages),
        ("Packages", m.versions),
        *((f"Settings of {name}", settings) for name, settings in m.nonempty_settings.items()),
        ("Devices", {name: ", ".join(devices) for name, devices in m.devices.items()}),
        ("Environment variables", m.environment),
        ("Graded by their own definitions", m.conventions),
        ("Variants", m.variants),
        ("Logits from files", {file["path"]: file["digest"] for file in m.files}),
        ("Not installed", m.missing),
    ]
    return {
        title: {name: value if isinstance(value, str) else json.dumps(value) for name, value in of.items()}
        for title, of in blocks if of
    }  # fmt: skip
