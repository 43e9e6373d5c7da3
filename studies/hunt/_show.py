"""A hunt on a terminal, in a hundred columns: the catalogue's worst, what is worse, and what to do with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from ...cases import Case
from ._hunt import Hunt
from ._score import told

WIDTH = 100
CLASSES = 6  # of a row that are shown


def show(hunt: Hunt, path: str | Path | None = None, console: Console | None = None) -> None:
    """Prints what was found; ``path`` is the case file that it is written to, if it is."""
    out = Console(width=WIDTH, highlight=False, markup=False, emoji=False) if console is None else console
    # Neither a row nor a command is broken at a margin.
    for line in _lines(hunt):
        out.print(line, soft_wrap=True)
    if hunt.cases and path is not None:
        out.print(f"\nin {path}; go on with")
        for command in _commands(hunt, str(path)):
            out.print(command, soft_wrap=True)


def _lines(hunt: Hunt) -> Iterator[str]:
    yield (
        f"{hunt.implementation} {hunt.dtype} {hunt.device} {hunt.mode} ({hunt.version}): "
        f"{hunt.evaluations:,} rows tried in {hunt.seconds:.1f} s, by {hunt.by}, seed {hunt.seed}"
    )
    yield "\nthe catalogue's worst"
    for line in hunt.catalogue.to_dict("records"):
        yield f"  {line['case']}, row {line['row']}\n    {_measured(line)}"
    many = len(hunt.cases)
    yield f"\n{many} {'row is' if many == 1 else 'rows are'} worse" if many else "\nno row was found that is worse"
    for case in hunt.cases:
        yield f"  {case.id}\n    {_row(case)}"
        for line in hunt.findings[hunt.findings["case"] == case.id].to_dict("records"):
            yield f"    {_measured(line)}"
    if hunt.lost:
        yield f"{hunt.lost} more were worse among the rows that they were tried with, and not in a call of a run"


def _measured(line: Mapping[Any, Any]) -> str:
    """As ``loss: C, 0.42 of its bound, 3.1e+05 ulp; 2.25 instead of 2.1``."""
    words = (
        f"{line['quantity']}: {told(line['grade'], line['verdict'], line['of_bound'], line['max_ulp'], line['status'])}"
    )
    if line["status"] != "ok":
        return f"{words}: {line['detail']}"
    if line["quantity"] == "loss":
        words += f"; {line['value']:.9g} instead of {line['exact']:.9g}"
    return words


def _row(case: Case) -> str:
    """As ``[88.75, -inf, 0.5], target 2``; the largest logits of a long row, and the target's."""
    x, target = case.logits[0], int(case.targets[0])
    if x.size <= CLASSES:
        return f"[{', '.join(map(_number, x))}], target {target}"
    largest = ", ".join(map(_number, sorted(x, reverse=True)[:CLASSES]))
    return f"{x.size} classes, the largest [{largest}, ...], target {target} at {_number(x[target])}"


def _number(value: Any) -> str:
    number = float(value)
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e16 else repr(number)


def _commands(hunt: Hunt, path: str) -> Iterator[str]:
    where = ["--case-file", path, "--implementation", hunt.implementation, "--dtype", hunt.dtype]
    device = [] if hunt.device == "cpu" else ["--device", hunt.device]
    mode = ["--mode", hunt.mode]
    yield shlex.join(["logitlab", "run", *where, *device, *mode])
    yield shlex.join(
        ["logitlab", "explain", hunt.cases[0].id, *where, *device, *(mode if hunt.mode != "eager" else [])]
    )
