"""A page for each case: its numbers, the exact answer, and the result of each implementation."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd

from ....core.formats import in_table_order, table_rank
from ....core.vocabulary import GRADES, Quantity, Status
from ....storage.querying import quoted
from ..._commands import explain_command
from ...tables.grades import Column, labels
from ...tables.ordering import CELL
from ...tables.uncounted import MANY_ULP
from .._grids import EXACT, Grid, grid, short
from .._programs import ShownProgram, failing_first, has_rows
from .._results import GRADED, results
from .._site import Site, WebPage

AT_ONCE = 25  # cases of a query
MAX_ROWS = 8  # a case with more rows has only the worst row of each cell on its page
THREAD = re.compile(r"([\w.-]+/[\w.-]+)#(\d+)")
GIVEN = ["implementation", "mode", "device", "dtype", "row", "value", "exact", *GRADED, "stage", "verdict", "status",
         "detail"]  # fmt: skip
NOT_KEPT = (
    "The run has no description of this case: an older LogitLab wrote it, or the case is part of a file of logits."
)
NOT_GRADED = "measured, not graded"


class Facts(NamedTuple):
    """The description of a case that the run keeps."""

    why: str
    source: str
    source_href: str | None
    reported: str
    tags: str
    options: str
    rows: int
    classes: int


@dataclass(frozen=True)
class ShownClass:
    """A class of a row: its logit, and its share of the target where the target is a distribution."""

    index: int
    logit: str
    target: bool
    probability: str


class ShownRow(NamedTuple):
    """A row of a case; ``exact`` has its exact loss by dtype."""

    title: str
    classes: Sequence[ShownClass]
    soft: bool
    exact: Sequence[tuple[str, str]]


class Group(NamedTuple):
    """Implementations with the same grades, one for each column; None where nothing was measured."""

    grades: tuple[str | None, ...]
    names: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class CasePage(WebPage):
    """The values of ``case.html``; ``of_hidden`` says that losses of hidden states were measured."""

    template: ClassVar[str] = "case.html"
    facts: Facts | None
    rows: Sequence[ShownRow]
    rows_note: str
    of_hidden: bool
    labels: Sequence[str]
    groups: Sequence[Group]
    command: str
    programs: Sequence[ShownProgram]
    before: str | None
    after: str | None


def case_pages(site: Site) -> Iterator[CasePage]:
    """Yield the pages in the run's order."""
    kept = {str(name): lines for name, lines in site.report.cases.groupby("case", sort=False)}
    nothing = site.report.cases.iloc[:0]
    names = list(site.cases)
    of_cases = _of_each(site, names)
    for before, name, after in zip([None, *names], names, [*names[1:], None], strict=False):
        yield _page(site, name, next(of_cases), kept.get(name, nothing), before, after)


def _of_each(site: Site, names: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield the results of each case."""
    # A query takes longer than the lines of a case, and the lines of all cases too much memory.
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        rows = results(site.report.source, f'"case" IN ({", ".join(map(quoted, some))})')
        of_case = dict(iter(rows.groupby("case", observed=True)))
        yield from (of_case[name].reset_index(drop=True) for name in some)


def _page(
    site: Site, name: str, rows: pd.DataFrame, kept: pd.DataFrame, before: str | None, after: str | None
) -> CasePage:
    worst = rows[rows["rank"] == 1]
    shown, left_out = _rows(kept, rows[rows["given"]])
    order = list(dict.fromkeys(labels(worst)))
    order.sort(key=lambda label: (label.partition(" ")[2], table_rank(label.partition(" ")[0])))
    return CasePage(
        file=f"cases/{site.cases[name]}.html",
        title=name,
        lede=NOT_KEPT,
        grids=[_grid(site, rows)],
        facts=None if kept.empty else case_facts(kept.iloc[0]),
        rows=shown,
        rows_note=f"The case has {left_out:,} more rows." if left_out > 0 else "",
        of_hidden=bool(rows[f"{Quantity.GRADIENT_HIDDEN} ulp"].notna().any()),
        labels=order,
        groups=_groups(worst, order),
        command=explain_first_failure(worst),
        programs=site.programs.shown(failing_first(worst), "implementation") if has_rows(kept) else [],
        before=before,
        after=after,
    )


def case_facts(line: pd.Series) -> Facts:
    """Return the description of a case from a line of `store.CASES`."""
    words = {c: line[c] if isinstance(line[c], str) else "" for c in ("why", "source", "reported", "tags", "options")}
    thread = THREAD.fullmatch(words["source"])
    address = f"https://github.com/{thread[1]}/issues/{thread[2]}" if thread else None
    return Facts(**words, rows=int(line["rows"]), classes=int(line["classes"]), source_href=address)


def _rows(kept: pd.DataFrame, given: pd.DataFrame) -> tuple[list[ShownRow], int]:
    """The first rows of the case, with logits from the run's cases and exact losses; and how many more there are."""
    answers: dict[int, dict[str, str]] = {}
    known = given.drop_duplicates(["row", "dtype"])
    for row, dtype, value in zip(known["row"], known["dtype"], known["exact"], strict=True):
        answers.setdefault(int(row), {})[str(dtype)] = _number(value)
    logits = {int(line["row"]): line for _, line in kept.iterrows() if not pd.isna(line["row"])}
    places = sorted({*logits, *answers})
    shown = [p for p in places if p < MAX_ROWS]
    whole = int(kept["rows"].iloc[0]) if len(kept) else 0
    left_out = max(len(places) - len(shown), whole - sum(p >= 0 for p in shown))
    return [_row(place, logits.get(place), answers.get(place, {})) for place in shown], left_out


def _row(place: int, line: pd.Series | None, answers: Mapping[str, str]) -> ShownRow:
    title = "The reduced loss" if place < 0 else f"Row {place}"
    exact = [(d, answers[d]) for d in in_table_order(answers)]
    if line is None:
        return ShownRow(title, (), soft=False, exact=exact)
    target = None if pd.isna(line["target"]) else int(line["target"])
    shares = line["probabilities"]
    soft = isinstance(shares, (list, np.ndarray)) and len(shares) > 0
    classes = [
        ShownClass(int(j), _number(x), int(j) == target, _number(share))
        for j, x, share in zip(
            line["shown"], line["logits"], shares if soft else [None] * len(line["shown"]), strict=True
        )
    ]
    return ShownRow(title + (f", target {target}" if target is not None else ""), classes, soft, exact)


def _groups(worst: pd.DataFrame, order: Sequence[str]) -> list[Group]:
    """Implementations with the same grades in every dtype, mode and device, as one line; the worst first."""
    grades: dict[str, dict[str, str]] = {}
    graded = zip(worst["implementation"], labels(worst), worst["grade"], worst["status"], strict=True)
    for name, label, grade, status in graded:
        ungraded = NOT_GRADED if status == Status.OK else str(status)
        grades.setdefault(str(name), {})[label] = ungraded if pd.isna(grade) else str(grade)
    groups: dict[tuple[str | None, ...], list[str]] = {}
    for name, of_name in grades.items():
        groups.setdefault(tuple(of_name.get(label) for label in order), []).append(name)
    found = [Group(key, names) for key, names in groups.items()]
    return sorted(found, key=lambda group: max((g for g in group.grades if g in GRADES), default=""), reverse=True)


def _grid(site: Site, rows: pd.DataFrame) -> Grid:
    every_row = rows["row"].nunique() <= MAX_ROWS
    part = rows if every_row else _worst_of_many(rows)
    # NaN is a result: a column of NaN losses stays.
    empty = [c for c in GIVEN if (not part["given"].any() if c in EXACT else part[c].isna().all())]
    part = part.assign(**{c: part[c].astype(object).where(part["given"], None) for c in EXACT})
    table = part[GIVEN].drop(columns=empty)
    what = "Every row" if every_row else "The worst row of each cell; the downloads have every row"
    note = f"{what}. Value is the loss returned, exact the exact loss; errors are in ulp of the dtype. "
    note += "Stage is the first stage of a written formula that failed. "
    whole_batch = "Row -1 is a result of the whole batch: a reduced loss, or a gradient by a weight or bias. "
    note += whole_batch * bool((table["row"] < 0).any()) + MANY_ULP
    return grid("given", table, title="Results of each implementation", note=note, links=site.addresses("../"))


def _worst_of_many(rows: pd.DataFrame) -> pd.DataFrame:
    """The reduced loss of each cell, and the worst of its other rows."""
    reduced = rows["row"] < 0
    worst = rows[~reduced].sort_values("rank", kind="stable").drop_duplicates(CELL).sort_index()
    return pd.concat([rows[reduced], worst])


def explain_first_failure(worst: pd.DataFrame) -> str:
    """Return the command that explains a case by the first formula that failed on it, or by any."""
    failing_first = worst.iloc[np.argsort(worst["stage"].isna(), kind="stable")]
    case, implementation, *column = failing_first[["case", "implementation", *Column._fields]].iloc[0].astype(str)
    return short(explain_command(case, implementation, Column(*column)))


def _number(value: float | None) -> str:
    """The shortest decimal that reads back as the same float64."""
    if value is None:
        return ""
    x = float(value)
    if not math.isfinite(x):
        return "NaN" if math.isnan(x) else f"{x:g}"
    return repr(x).removesuffix(".0")
