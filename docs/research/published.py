"""The result of measuring a published statement: a verdict on each claim, a table and a figure."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

WIDTH, HEIGHT = 300, 200  # of one panel, in pixels


@dataclass(frozen=True)
class Claim:
    """A statement of a paper, and the measurement that supports or contradicts it.

    Attributes:
        place: the section, theorem or equation; or the part of the paper that could be read.
        statement: the statement in this project's words.
        measured: the numbers measured here.
        holds: whether the numbers agree with the statement.
    """

    place: str
    statement: str
    measured: str
    holds: bool


@dataclass(frozen=True)
class Study:
    """The measurements of one paper.

    Attributes:
        claims: the verdicts, in the order of the page.
        numbers: further numbers for the page's text.
        table: the measurements behind the figure.
        chart: the figure.
        caption: one sentence that explains the marks of the figure.
    """

    claims: tuple[Claim, ...]
    numbers: dict[str, Any]
    table: pd.DataFrame
    chart: alt.TopLevelMixin
    caption: str

    def claims_table(self) -> str:
        """Return the claims as a table in Markdown."""
        lines = [f"| {c.place} | {c.statement} | {c.measured} | {verdict(c)} |" for c in self.claims]
        return "\n".join(["| where | statement | measured here | verdict |", "|---|---|---|---|", *lines])

    def figure(self) -> str:
        """Return the figure as HTML that needs no other file."""
        return figure(self.chart, self.caption)


def figure(chart: Any, caption: str) -> str:
    """Return a chart of Altair as HTML that needs no other file."""
    svg: str = vl_convert.vegalite_to_svg(chart.to_json())
    data = base64.b64encode(svg.encode()).decode()
    text = html.escape(caption)
    return f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def verdict(claim: Claim) -> str:
    """Return the words for a claim that holds or does not."""
    return "holds" if claim.holds else "**does not hold**"


def show(measure: Callable[[], Study]) -> None:
    """Print the claims and the table of a study: the output of its program."""
    study = measure()
    for claim in study.claims:
        print(f"[{'holds' if claim.holds else 'DOES NOT HOLD'}] {claim.place}: {claim.statement}")
        print(f"    measured: {claim.measured}")
    print(study.table.to_string(index=False, max_rows=20))


def panel(data: pd.DataFrame, title: str) -> alt.Chart:
    """Return an empty panel of a figure."""
    return alt.Chart(data, title=title).properties(width=WIDTH, height=HEIGHT)
