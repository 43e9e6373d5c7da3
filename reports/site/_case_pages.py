"""A page for each case: its logits, the exact answer, and what each implementation gave."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ...core.formats import DTYPES
from ..tables.grade_cells import labels
from ..tables.results import worst_rows
from ..tables.uncounted import MANY_ULP
from ._grids import EXACT, grid, short
from ._site import Site, state

MAX_ROWS = 8  # of a case, of which every row is on its page; of one with more the worst of each cell
THREAD = re.compile(r"([\w.-]+/[\w.-]+)#(\d+)")
GIVEN = ["implementation", "mode", "device", "dtype", "row", "value", "exact", "loss", "loss ulp", "gradient",
         "gradient ulp", "probabilities", "stage", "verdict", "status", "detail"]  # fmt: skip
UNTOLD = (
    "The run does not keep what its cases are: it is of an older LogitLab, or the case is part of a file of logits."
)


def case_pages(site: Site) -> Iterator[tuple[str, dict[str, Any]]]:
    """The file and the contents of each page, in the run's order."""
    names = list(site.cases)
    told = {str(name): lines for name, lines in site.found.cases.groupby("case", sort=False)}
    rows = _given(site.results)
    every = {str(name): part for name, part in rows.groupby("case", sort=False, observed=True)}
    labelled = site.worst.assign(label=labels(site.worst))
    worst = {str(name): part for name, part in labelled.groupby("case", sort=False, observed=True)}
    commands, answers = _commands(site), _answers(rows)
    for i, name in enumerate(names):
        lines = told.get(name, site.found.cases.iloc[:0])
        few = every[name]["row"].nunique() <= MAX_ROWS
        contents = {
            "title": name,
            "name": name,
            "family": name.partition("/")[0],
            "family_state": state("cases", {"family": name.partition("/")[0]}),
            "told": _told(lines),
            "untold": UNTOLD,
            **_rows(lines, answers.get(name, {})),
            **_groups(site, worst[name]),
            "grids": [_grid(site, every[name] if few else _worst_of_many(every[name]), few=few)],
            "command": commands[name],
            "before": _neighbour(site, names[i - 1]) if i else None,
            "after": _neighbour(site, names[i + 1]) if i + 1 < len(names) else None,
        }
        yield f"cases/{site.cases[name]}.html", contents


def _given(rows: pd.DataFrame) -> pd.DataFrame:
    """The lines of results with losses as they are shown: None where none came."""
    value = rows["value"].astype(object).where(rows["given"], None)
    exact = rows["exact"].astype(object).where(rows["given"], None)
    return rows.assign(value=value, exact=exact)


def _told(lines: pd.DataFrame) -> dict[str, Any] | None:
    if lines.empty:
        return None
    first = lines.iloc[0]
    words = {c: first[c] if isinstance(first[c], str) else "" for c in ("why", "source", "reported", "tags", "options")}
    thread = THREAD.fullmatch(words["source"])
    address = f"https://github.com/{thread[1]}/issues/{thread[2]}" if thread else None
    return words | {"rows": int(first["rows"]), "classes": int(first["classes"]), "source_href": address}


def _answers(rows: pd.DataFrame) -> dict[str, dict[int, dict[str, str]]]:
    """The exact loss of each case, row and dtype."""
    known = rows[rows["given"]].drop_duplicates(["case", "row", "dtype"])
    found: dict[str, dict[int, dict[str, str]]] = {}
    for case, row, dtype, value in zip(known["case"], known["row"], known["dtype"], known["exact"], strict=True):
        found.setdefault(str(case), {}).setdefault(int(row), {})[str(dtype)] = number(value)
    return found


def _rows(lines: pd.DataFrame, answers: dict[int, dict[str, str]]) -> dict[str, Any]:
    """The rows of the case, each with what is known of it: logits from the run's cases, the answer from its results."""
    logits = {int(line["row"]): line for line in lines.to_dict("records") if not pd.isna(line["row"])}
    places = sorted({*logits, *answers})
    shown = [p for p in places if p < MAX_ROWS]
    found = [_row(place, logits.get(place), answers.get(place, {})) for place in shown]
    left = len(places) - len(shown)
    whole = next(iter(lines["rows"]), 0) if len(lines) else 0
    left = max(left, int(whole) - sum(p >= 0 for p in shown))
    note = f"{left:,} more rows are not shown." if left > 0 else ""
    return {"rows": found, "rows_note": note}


def _row(place: int, line: Mapping[Any, Any] | None, answers: Mapping[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = {"title": "The reduced loss" if place < 0 else f"Row {place}", "classes": [], "soft": False}
    told["exact"] = [(d, answers[d]) for d in DTYPES if d in answers]
    if line is not None:
        target = None if pd.isna(line["target"]) else int(line["target"])
        shares = line["probabilities"]
        soft = isinstance(shares, (list, np.ndarray)) and len(shares) > 0
        told["soft"] = soft
        told["title"] += f", target {target}" if target is not None else ""
        told["classes"] = [
            {"index": int(j), "logit": number(x), "target": int(j) == target, "probability": number(share)}
            for j, x, share in zip(
                line["shown"], line["logits"], shares if soft else [None] * len(line["shown"]), strict=True
            )
        ]
    return told


def _groups(site: Site, worst: pd.DataFrame) -> dict[str, Any]:
    """Implementations with the same grades in every dtype, mode and device as one line, the worst last."""
    order = list(dict.fromkeys(worst["label"]))
    order.sort(key=lambda label: (label.partition(" ")[2], DTYPES.index(label.partition(" ")[0])))
    grades: dict[str, dict[str, str]] = {}
    said = worst["grade"].astype(object).where(worst["grade"].notna(), worst["status"].astype(object))
    undefined = (worst["grade"].isna() & (worst["status"] == "ok")).to_numpy()
    for name, label, grade, recorded in zip(worst["implementation"], worst["label"], said, undefined, strict=True):
        grades.setdefault(str(name), {})[label] = "recorded, not graded" if recorded else str(grade)
    groups: dict[tuple[str | None, ...], list[str]] = {}
    for name, of_name in grades.items():
        groups.setdefault(tuple(of_name.get(label) for label in order), []).append(name)
    address = site.implementation("../")
    lines: list[dict[str, Any]] = [
        {"grades": key, "names": [{"text": n, "href": address(n)} for n in names]} for key, names in groups.items()
    ]
    lines.sort(key=lambda line: max(_severity(g) for g in line["grades"]), reverse=True)
    return {"labels": order, "groups": lines}


def _severity(grade: str | None) -> int:
    return "ABCDF".find(grade) if grade and len(grade) == 1 else -1


def _worst_of_many(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each cell the worst row, and the reduced loss."""
    reduced = rows["row"] < 0
    return pd.concat([rows[reduced], worst_rows(rows[~reduced])])


def _grid(site: Site, part: pd.DataFrame, *, few: bool) -> Any:
    # A loss that is NaN is something, and a column of such is kept.
    empty = [c for c in GIVEN if (not part["given"].any() if c in EXACT else part[c].isna().all())]
    table = part[GIVEN].drop(columns=empty)
    what = "Every row" if few else "Of each cell its worst row; the downloads have every row"
    note = (
        f"{what}. Value and exact are the loss; errors are in ulp of the dtype. Stage is the first at which a written "
        "formula failed." + " Row -1 is the reduced loss." * bool((table["row"] < 0).any()) + f" {MANY_ULP}"
    )
    return grid("given", table, title="What each implementation gave", note=note, links=site.links("../"))


def _commands(site: Site) -> dict[str, str]:
    """For each case the command that follows it through the first formula that failed on it, or through any."""
    failing_first = site.worst.iloc[np.argsort(site.worst["stage"].isna(), kind="stable")]
    lines = failing_first.drop_duplicates("case")[["case", "implementation", "dtype", "device", "mode"]].astype(str)
    commands = {}
    for case, implementation, dtype, device, mode in lines.itertuples(index=False):
        words = ["logitlab", "explain", case, "--implementation", implementation, "--dtype", dtype]
        words += ["--device", device] * (device != "cpu") + ["--mode", mode] * (mode != "eager")
        commands[case] = short(shlex.join(words))
    return commands


def _neighbour(site: Site, name: str) -> dict[str, str | None]:
    return {"text": name, "href": site.case("../")(name)}


def number(value: Any) -> str:
    """The shortest decimal that reads back as the same float64."""
    if value is None:
        return ""
    x = float(value)
    if not math.isfinite(x):
        return "NaN" if math.isnan(x) else f"{x:g}"
    return repr(x).removesuffix(".0")
