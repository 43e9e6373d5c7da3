"""The table of a demo on a terminal, in a hundred columns."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from ...core.vocabulary import Formula

WIDTH = 100
RATES_ACROSS = 6


def show(table: pd.DataFrame, console: Console | None = None) -> None:
    """Print a table of `train_demo`: for each model and dtype, a row for each loss and a column for each rate."""
    out = Console(width=WIDTH, highlight=False, markup=False, emoji=False) if console is None else console
    rates = sorted(table["learning_rate"].unique())
    for (model, dtype), runs in table.groupby(["model", "dtype"], sort=False):
        for first in range(0, len(rates), RATES_ACROSS):
            out.print(f"{model} in {dtype}, by learning rate", style="bold")
            out.print(_across(runs, rates[first : first + RATES_ACROSS]))
            out.print()
    for line in _legend(table):
        out.print(line, style="dim")


def _across(runs: pd.DataFrame, rates: list[float]) -> Table:
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    shown.add_column("loss", no_wrap=True, min_width=20)
    for rate in rates:
        shown.add_column(f"{rate:g}", justify="right", no_wrap=True, min_width=8)
    for (framework, formula), of_one in runs.groupby(["framework", "formula"], sort=False):
        cells = {line["learning_rate"]: _cell(line) for line in of_one.to_dict("records")}
        shown.add_row(f"{framework}/{Formula(str(formula)).label}", *(cells[r] for r in rates))
    return shown


def _cell(run: dict[Any, Any]) -> str:
    if pd.notna(run["fault"]):
        return "fault"
    if pd.notna(run["weights_step"]):
        return f"dies {run['weights_step']}"
    survived = any(pd.notna(run[c]) for c in ("logits_step", "loss_step", "gradient_step"))
    return f"{run['accuracy']:.3f}{'*' if survived else ''}"


def _legend(table: pd.DataFrame) -> Iterator[str]:
    yield "0.950  the final accuracy on held-out images (chance is 0.1)"
    yield "*      a logit, loss or gradient was not finite at some step, but the weights stayed finite"
    yield "dies N a weight was not finite after step N, and the run ended"
    builtins = table.loc[table["formula"] == "builtin", "implementation"].unique()
    if len(builtins):
        yield f"the built-ins: {', '.join(builtins)}"
    faults = table.dropna(subset="fault").drop_duplicates(["implementation", "dtype", "model"])
    for line in faults.to_dict("records"):
        yield f"fault  {line['implementation']}, {line['model']} in {line['dtype']}: {line['fault']}"
