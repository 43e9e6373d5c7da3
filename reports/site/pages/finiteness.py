"""Finiteness: how often each loss is NaN or infinite where it should be finite, or the reverse, by family of cases."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import pandas as pd

from ...tables.grades import labels
from ...tables.ordering import CELL
from .._grids import Grid
from .._results import shares_by_family
from .._site import Site, WebPage, state

BINS = {"none": 0.0, "up to 1 %": 0.01, "up to 10 %": 0.1, "up to 50 %": 0.5, "more": 1.0}


class HeatCell(NamedTuple):
    """The share of rows that are F: its place among `BINS`, its text, and the view of the page that it links to."""

    bin: int
    text: str
    state: str


class HeatLine(NamedTuple):
    """An implementation, with a cell for each family; None where nothing was graded."""

    name: str
    cells: Sequence[HeatCell | None]


class Heat(NamedTuple):
    """A heatmap of one dtype, mode and device."""

    label: str
    families: Sequence[str]
    lines: Sequence[HeatLine]


@dataclass(frozen=True, kw_only=True)
class FinitenessPage(WebPage):
    """The values of ``finiteness.html``."""

    template: ClassVar[str] = "finiteness.html"
    heats: Sequence[Heat]
    bins: Sequence[str] = tuple(BINS)


def finiteness_page(site: Site, grids: Sequence[Grid]) -> FinitenessPage:
    """Return the page, with these tables below the heatmaps."""
    return FinitenessPage(
        file="finiteness.html",
        title="Finiteness",
        lede="Percent of the graded rows with grade F: NaN or infinite where the exact answer is finite, or the "
        "reverse. Each row is a loss, each column a family of cases. Click a number for its cases.",
        heats=_heats(site),
        nothing="Nothing could be graded.",
        grids=grids,
    )


def _heats(site: Site) -> list[Heat]:
    """A heatmap for each dtype, mode and device: implementations down, families across, percent of rows that are F."""
    shares = shares_by_family(site.report.source)
    found = []
    for label, part in shares.groupby(labels(shares), sort=False):
        families = [f for f in shares.columns.drop(CELL) if part[f].notna().any()]
        found.append(Heat(str(label), families, [_line(line, families) for _, line in part.iterrows()]))
    return found


def _line(line: pd.Series, families: Sequence[str]) -> HeatLine:
    picked = {c: str(line[c]) for c in ("dtype", "mode", "device")}
    return HeatLine(
        str(line["implementation"]), [_cell(float(line[family]), picked | {"family": family}) for family in families]
    )


def _cell(right: float, picked: dict[str, str]) -> HeatCell | None:
    broken = 1.0 - right
    if math.isnan(broken):
        return None
    place = next(i for i, most in enumerate(BINS.values()) if broken <= most + 1e-12)
    return HeatCell(place, f"{100 * broken:.0f}" if broken >= 0.01 else "<1", state("cases", picked))
