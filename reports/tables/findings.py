"""The findings of a run in a sentence each, computed from its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from ...core.vocabulary import GRADES
from .ordering import plain

SAFE = ("A", "B")
HEADLINES = 3
MAX_NAMES = 4


@dataclass(frozen=True)
class Finding:
    """A title, what was found, and what it was found on: implementations, and the case that shows it best, if any."""

    title: str
    words: str
    implementations: tuple[str, ...] = ()
    case: str | None = None


def reference_cell(found: pd.DataFrame) -> dict[str, str]:
    """The dtype, mode and device that stand for a run: float32, eager, and the first device, where it has them."""
    cell = {}
    for column, preferred in (("dtype", "float32"), ("mode", "eager"), ("device", "cpu")):
        there = [str(v) for v in pd.unique(found[found["grade"].notna()][column])]
        if not there:
            return {}
        cell[column] = preferred if preferred in there else there[0]
        found = found[found[column] == cell[column]]
    return cell


def at(found: pd.DataFrame, cell: dict[str, str]) -> pd.DataFrame:
    """The results of one dtype, mode and device, graded ones alone."""
    for column, value in cell.items():
        found = found[found[column] == value]
    return plain(found[found["grade"].notna()])


def worst_grades(found: pd.DataFrame) -> pd.Series[str]:
    """The worst grade of each implementation, those of the best grade first."""
    rank = found["grade"].map(GRADES.index).groupby(found["implementation"], sort=False).max()
    return rank.sort_values(kind="stable").map(GRADES.__getitem__)


def headlines(found: pd.DataFrame) -> list[Finding]:
    """The first three findings that the results of `results` allow; fewer where they allow no more."""
    cell = reference_cell(found)
    if not cell:
        return []
    rows = at(found, cell)
    wanted: Sequence[Callable[[], Iterator[Finding]]] = (
        lambda: _what_breaks(rows, cell),
        lambda: _finite_and_wrong(rows, cell),
        lambda: _narrower(found, cell),
        lambda: _compiled(found, cell),
        lambda: _best(rows, cell),
    )
    return [finding for find in wanted for finding in find()][:HEADLINES]


def _what_breaks(rows: pd.DataFrame, cell: dict[str, str]) -> Iterator[Finding]:
    """The family on which most built-ins are F."""
    losses = rows[rows["formula"] == "builtin"]
    losses = losses if len(losses) else rows
    broken = losses[losses["grade"] == "F"]
    if broken.empty:
        return
    by_family = broken.groupby("family", sort=False)["implementation"].nunique()
    family = str(by_family.idxmax())
    of_family = broken[broken["family"] == family]
    case = of_family.groupby("case", sort=False)["implementation"].nunique().idxmax()
    names = tuple(pd.unique(of_family["implementation"]))
    whole, many = losses["implementation"].nunique(), broken["implementation"].nunique()
    kind = "built-in losses" if (losses["formula"] == "builtin").any() else "implementations"
    yield Finding(
        f"{many} of {whole} {kind} break in {cell['dtype']}",
        f"They give NaN, infinity or a number where the exact answer says otherwise. Most do so on the family "
        f"{family}: {by_family.max()} of them.",
        names,
        str(case),
    )


def _finite_and_wrong(rows: pd.DataFrame, cell: dict[str, str]) -> Iterator[Finding]:
    """Of the losses that are never F the one that is farthest off."""
    worst = worst_grades(rows)
    never = worst[worst.isin(["C", "D"])]
    off = rows[rows["implementation"].isin(never.index) & rows["loss"].isin(["C", "D"])]
    if off.empty:
        return
    # What people call says more than the formula of a tutorial.
    shipped = off[off["formula"] == "builtin"]
    off = shipped if len(shipped) else off
    # Near zero an error is many ulp and matters little: it is measured against 1 at least.
    far = (off["value"] - off["exact"]).abs() / off["exact"].abs().clip(lower=1.0)
    line = off.iloc[int(far.to_numpy().argmax())]
    others = f", and so are {len(never) - 1} more losses on some case" if len(never) > 1 else ""
    yield Finding(
        "Finite is not the same as right",
        f"{line['implementation']} gives {line['value']:.6g} where the answer is {line['exact']:.6g}, "
        f"{line['loss ulp']:.2g} ulp away, without a NaN to warn of it{others}.",
        tuple(never.index),
        str(line["case"]),
    )


def _narrower(found: pd.DataFrame, cell: dict[str, str]) -> Iterator[Finding]:
    """How many losses that are safe in the reference dtype are not in the narrowest."""
    order = ("float16", "bfloat16", "float32", "float64")
    there = [d for d in order if d in pd.unique(found["dtype"])]
    narrow = next((d for d in there if d != cell["dtype"]), None)
    if narrow is None or order.index(narrow) > order.index(cell["dtype"]):
        return
    wide, thin = (worst_grades(at(found, cell | {"dtype": d})) for d in (cell["dtype"], narrow))
    safe = [n for n in wide.index if wide[n] in SAFE and n in thin.index]
    lost = tuple(n for n in safe if thin[n] not in SAFE)
    if lost:
        yield Finding(
            f"{len(lost)} of {len(safe)} safe losses are not safe in {narrow}",
            f"They hold A or B on every case in {cell['dtype']} and fall to C or worse in {narrow}.",
            lost,
        )


def _compiled(found: pd.DataFrame, cell: dict[str, str]) -> Iterator[Finding]:
    """Where another mode changes a grade."""
    modes = [str(m) for m in pd.unique(found["mode"]) if m != cell["mode"]]
    eager = worst_grades(at(found, cell))
    for mode in modes:
        other = worst_grades(at(found, cell | {"mode": mode}))
        changed = tuple(n for n in other.index if n in eager.index and other[n] != eager[n])
        if changed:
            name = changed[0]
            yield Finding(
                f"{mode} changes {len(changed)} of {len(other)} grades",
                f"{name} is {eager[name]} in {cell['mode']} mode and {other[name]} in {mode} mode, in {cell['dtype']}.",
                changed,
            )
            return


def _best(rows: pd.DataFrame, cell: dict[str, str]) -> Iterator[Finding]:
    worst = worst_grades(rows)
    accurate = tuple(worst[worst == "A"].index)
    if accurate:
        yield Finding(
            f"{len(accurate)} of {len(worst)} are accurate everywhere",
            f"Grade A on every case in {cell['dtype']}: loss, probabilities and gradient.",
            accurate,
        )
