"""Log-sum-exp and softmax with every operation rounded, against the bounds of Blanchard, Higham and Higham.

P. Blanchard, D. J. Higham and N. J. Higham, Accurately computing the log-sum-exp and softmax functions, IMA J. Numer.
Anal. 41, 2021, doi:10.1093/imanum/draa038. Their program: https://github.com/higham/logsumexp-softmax-tests.

Run it: ``python docs/research/logsumexp_bounds.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import altair as alt
import digits
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from published import Claim, Study, panel, show

import logitlab
from logitlab.core.formats import get_format
from logitlab.core.rounding import round_to

Array = NDArray[np.float64]
Rounding = Callable[[Array], Array]
DTYPES = ("float16", "bfloat16")
DRAWN = 100  # rows in the figure


@dataclass(frozen=True)
class Computed:
    """Log-sum-exp (B,) and softmax (B, n) by division and by ``exp(x - log-sum-exp)``."""

    lse: Array
    softmax: Array
    divisionless: Array


def unshifted(x: Array, fl: Rounding) -> Computed:
    """Return both functions without a shift, with every operation rounded, as in the authors' ``lse_chop.m``."""
    e = fl(np.exp(x))
    s = np.zeros(len(x))
    for j in range(x.shape[1]):
        s = fl(s + e[:, j])
    y = fl(np.log(s))
    return Computed(y, fl(e / s[:, None]), fl(np.exp(fl(x - y[:, None]))))


def shifted(x: Array, fl: Rounding) -> Computed:
    """Return both with the maximum subtracted, whose own term of 1 enters by ``log1p``, as in ``lse_chopshift.m``."""
    top = x.argmax(axis=1)[:, None]
    largest = np.take_along_axis(x, top, axis=1)
    e = fl(np.exp(fl(x - largest)))
    others = np.where(np.arange(x.shape[1]) == top, 0.0, e)
    s = np.zeros(len(x))
    for j in range(x.shape[1]):
        s = fl(s + others[:, j])
    y = fl(largest[:, 0] + fl(np.log1p(s)))
    return Computed(y, fl(e / fl(1 + s)[:, None]), fl(np.exp(fl(x - y[:, None]))))


def errors(x: Array, dtype: str) -> pd.DataFrame:
    """Return for each row and formula the error in units of the unit roundoff, and the leading term of its bound.

    The error of softmax is that of the whole vector: the largest error over the largest entry.
    """
    fmt = get_format(dtype)

    def fl(values: Array) -> Array:
        return round_to(values, fmt)

    u, n = fmt.unit_roundoff, x.shape[1]
    answer = logitlab.reference(x, np.zeros(len(x), dtype=np.int64))
    y, p = answer.loss.hi + x[:, 0], answer.probabilities.hi
    size, low, far = np.abs(y), x.min(axis=1), np.abs(x - y[:, None]).max(axis=1)
    spread = x.max(axis=1) - low
    with np.errstate(all="ignore"):
        plain, moved = unshifted(x, fl), shifted(x, fl)
        found = {
            ("log-sum-exp", "basic"): (np.abs(plain.lse - y) / size, 1 + (n + 1) / size),
            ("log-sum-exp", "shifted"): (np.abs(moved.lse - y) / size, np.abs(y + n - low) / size),
            ("softmax", "basic"): (_norm(plain.softmax, p), np.full(len(x), n + 3.0)),
            ("softmax", "basic, no division"): (_norm(plain.divisionless, p), size + far + n + 2),
            ("softmax", "shifted"): (_norm(moved.softmax, p), n + 2 + 2 * spread),
            ("softmax", "shifted, no division"): (_norm(moved.divisionless, p), 1 + far + np.abs(y + n - low)),
        }  # fmt: skip
    overflowed = ~np.isfinite(plain.lse)
    sums = {
        "basic": plain.softmax, "basic, no division": plain.divisionless,
        "shifted": moved.softmax, "shifted, no division": moved.divisionless,
    }  # fmt: skip
    return pd.concat(
        [
            pd.DataFrame({
                "dtype": dtype, "function": function, "formula": formula, "row": np.arange(len(x)),
                "error": error / u, "bound": bound,
                "sum": sums[formula].sum(axis=1) if function == "softmax" else np.nan,
                "overflowed": overflowed if formula.startswith("basic") else ~np.isfinite(moved.lse),
            })
            for (function, formula), (error, bound) in found.items()
        ],
        ignore_index=True,
    )  # fmt: skip


def _norm(computed: Array, exact: Array) -> Array:
    return np.asarray(np.abs(computed - exact).max(axis=1) / exact.max(axis=1))


def measure(steps: int = 400) -> Study:
    """Measure both dtypes on the logits of a digits classifier after some steps of training."""
    logits = digits.logits(digits.train(steps))
    table = pd.concat([errors(round_to(logits, get_format(d)), d) for d in DTYPES], ignore_index=True)
    table["usable"] = ~table.groupby(["dtype", "row"])["overflowed"].transform("any")
    used = table[table["usable"]]
    worst = (used["error"] / used["bound"]).groupby([used["dtype"], used["function"], used["formula"]]).max()
    median = used.groupby(["dtype", "function", "formula"])["error"].median()
    top = used.groupby(["dtype", "function", "formula"])["error"].max()
    lost = table[table["overflowed"]].groupby(["dtype", "formula"])["row"].nunique()
    rows = table["row"].nunique()
    ratio = {d: _ratio(used[used["dtype"] == d]) for d in DTYPES}
    away = (used["sum"] - 1).abs().groupby([used["dtype"], used["formula"]]).max()
    whole, parts = ("shifted", "basic"), ("shifted, no division", "basic, no division")
    claims = (
        Claim(
            "Section 1, Table 2",
            "without a shift, fp16 overflows at modest sizes; the shifted formulas do not overflow",
            f"float16: {lost.get(('float16', 'basic'), 0)} of {rows:,} rows overflow unshifted, "
            f"{lost.get(('float16', 'shifted'), 0)} shifted; bfloat16: {lost.get(('bfloat16', 'basic'), 0)}",
            lost.get(("float16", "basic"), 0) > 0 and not any(f.startswith("shifted") for _, f in lost.index),
        ),
        Claim(
            "Theorems 3.2-3.4 and 4.2-4.4",
            "each formula's error is below its bound, to first order",
            "largest error over bound: "
            + ", ".join(f"{d} {worst[d].max():.2f} ({worst[d].idxmax()[0]}, {worst[d].idxmax()[1]})" for d in DTYPES),
            bool((worst <= 1).all()),
        ),
        Claim(
            "Abstract; program, Figure 1",
            "shifted log-sum-exp is as accurate as unshifted",
            "largest errors, unshifted and shifted: "
            + ", ".join(
                f"{d} {top[d, 'log-sum-exp', 'basic']:.2f} u and {top[d, 'log-sum-exp', 'shifted']:.2f} u "
                f"(equal in {ratio[d]:.0%} of the rows)"
                for d in DTYPES
            ),
            all(top[d, "log-sum-exp", "shifted"] <= 2 * top[d, "log-sum-exp", "basic"] for d in DTYPES),
        ),
        Claim(
            "Abstract; program, Figure 6",
            "shifted softmax is as accurate as unshifted",
            "medians, unshifted and shifted: "
            + ", ".join(
                f"{d} {median[d, 'softmax', 'basic']:.2f} u and {median[d, 'softmax', 'shifted']:.2f} u" for d in DTYPES
            ),
            all(median[d, "softmax", "shifted"] <= 2 * median[d, "softmax", "basic"] + 0.5 for d in DTYPES),
        ),
        Claim(
            "Abstract; program, Figures 6 and 9",
            "softmax without a division can lose accuracy",
            "largest errors, with and without division: "
            + ", ".join(
                f"{d} {top[d, 'softmax', 'shifted']:.2f} u and {top[d, 'softmax', parts[0]]:.2f} u" for d in DTYPES
            )
            + "; largest distance of the sum of probabilities from 1: "
            + ", ".join(f"{d} {away[d][list(whole)].max():.1g} and {away[d][list(parts)].max():.1g}" for d in DTYPES),
            all(top[d, "softmax", parts[0]] > 2 * top[d, "softmax", "shifted"] for d in DTYPES),
        ),
    )
    numbers = {"rows": rows, "largest": float(np.abs(logits).max()), "steps": steps}
    return Study(claims, numbers, table, _chart(used), _CAPTION)


def _ratio(used: pd.DataFrame) -> float:
    both = used[used["function"] == "log-sum-exp"].pivot(index="row", columns="formula", values="error")
    return float((both["basic"] == both["shifted"]).mean())


_CAPTION = (
    "Error in units of the unit roundoff against the leading term of the bound, for 100 rows of logits. On the line, "
    "the error is the bound. Left: log-sum-exp; right: softmax."
)


def _chart(used: pd.DataFrame) -> alt.TopLevelMixin:
    points = used[used["row"] < DRAWN].round({"error": 3, "bound": 2})
    colour = alt.Color("formula:N", title=None).legend(orient="top", columns=2)

    def one(function: str, dtype: str) -> alt.LayerChart:
        data = points[(points["function"] == function) & (points["dtype"] == dtype)]
        top = 1.5 * float(data["error"].max())
        line = alt.Chart(pd.DataFrame({"bound": [0.0, top], "error": [0.0, top]})).mark_line(color="#777777")
        y = alt.Y("error:Q", title="error / u").scale(domain=[0, top], nice=False)
        marks = panel(data, f"{function}, {dtype}").mark_point(size=10, opacity=0.5)
        return line.encode(x="bound:Q", y=y) + marks.encode(x=alt.X("bound:Q", title="bound / u"), y=y, color=colour)

    rows = [alt.hconcat(*(one(f, d) for f in ("log-sum-exp", "softmax"))) for d in DTYPES]
    return alt.vconcat(*rows)


if __name__ == "__main__":
    show(measure)
