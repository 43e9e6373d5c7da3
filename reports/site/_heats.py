"""Finiteness: in which families of cases which loss is not finite where it should be, or the reverse."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..tables.grade_cells import labels
from ..tables.ordering import CELL
from ..tables.results import by_family
from ._site import Site, state

BINS = {"none": 0.0, "up to 1 %": 0.01, "up to 10 %": 0.1, "up to 50 %": 0.5, "more": 1.0}


def heats(site: Site) -> list[dict[str, Any]]:
    """A heatmap for each dtype, mode and device: implementations down, families across, percent of rows that are F."""
    shares = by_family(site.results)
    found = []
    for label, part in shares.groupby(labels(shares), sort=False):
        families = [f for f in shares.columns.drop(CELL) if part[f].notna().any()]
        lines = [_line(site, line, families) for line in part.to_dict("records")]
        found.append({"label": label, "id": str(label).replace(" ", "-"), "families": families, "lines": lines})
    return found


def _line(site: Site, line: dict[Any, Any], families: list[str]) -> dict[str, Any]:
    name = str(line["implementation"])
    picked = {c: str(line[c]) for c in ("dtype", "mode", "device")}
    cells: list[dict[str, Any] | None] = []
    for family in families:
        if pd.isna(line[family]):
            cells.append(None)
            continue
        broken = 1.0 - float(line[family])
        place = next(i for i, most in enumerate(BINS.values()) if broken <= most + 1e-12)
        text = f"{100 * broken:.0f}" if broken >= 0.01 else "<1"
        cells.append({"bin": place, "text": text, "state": state("cases", picked | {"family": family})})
    return {"name": name, "href": site.implementation("")(name), "cells": cells}
