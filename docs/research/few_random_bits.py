"""Sums with stochastic rounding from few random bits, as in the denominator of a softmax.

E.-M. El Arar, M. Fasi, S.-I. Filip and M. Mikaitis, Limited-precision stochastic rounding, arXiv:2603.06060, and the
same authors' Probabilistic error analysis of limited-precision stochastic rounding, arXiv:2408.03069.

Run it: ``python docs/research/few_random_bits.py``.
"""

from __future__ import annotations

import math

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from published import Claim, Study, panel, show

from logitlab.core.arithmetic import Rounding
from logitlab.core.formats import Format, get_format
from logitlab.core.rounding import round_to
from logitlab.frameworks import Batch
from logitlab.frameworks.simulated import FRAMEWORK
from logitlab.frameworks.simulated._rounding import round_exact

Array = NDArray[np.float64]
BITS = (1, 2, 4, 6, 8, 16)
NEAREST = "nearest"
BFLOAT16 = get_format("bfloat16")


def _name(bits: int) -> str:
    return "1 bit" if bits == 1 else f"{bits} bits"


def stochastic(values: Array, fmt: Format, bits: int, random: np.random.Generator) -> Array:
    """Round to a format with so many random bits, as ``SR_{p,r}``: truncate to ``p + r`` bits, then round by chance.

    This is the rounding of the framework `simulated`, such as in ``eager+stochastic-4``.
    """
    drawn = random.integers(0, 2**bits, values.shape)
    return round_exact(values, fmt, Rounding.STOCHASTIC, random=drawn, random_bits=bits)


def sums(terms: Array, fmt: Format, tries: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Return recursive sums rounded after each addition, with the running sum after each term.

    Returns:
        The sums rounded to nearest (terms,), and those with each number of random bits (terms, bits, tries).
    """
    nearest, chance = np.empty(len(terms)), np.empty((len(terms), len(BITS), tries))
    nearest[0] = chance[0] = terms[0]
    for i in range(1, len(terms)):
        nearest[i] = round_to(nearest[i - 1] + terms[i], fmt)
        for k, bits in enumerate(BITS):
            chance[i, k] = stochastic(chance[i - 1, k] + terms[i], fmt, bits, random)
    return nearest, chance


def losses(classes: int = 1000, rows: int = 16) -> pd.DataFrame:
    """Return the loss of equal logits in bfloat16, whose exact value is ``ln(classes)``, by rounding.

    The framework `simulated` computes it with every operation rounded. Its random bits are a function of the row, so
    rows with different targets have different ones.
    """
    batch = Batch(np.zeros((rows, classes), BFLOAT16.dtype), np.arange(rows))
    (lse,) = [i for i in FRAMEWORK.implementations if i.name == "simulated/lse"]
    lines = []
    for bits in (None, 1, 2, 16):
        mode = "eager" if bits is None else f"eager+stochastic-{bits}"
        found = dict(FRAMEWORK.evaluate(lse, batch, "cpu", mode))["loss"].astype(np.float64)
        name = NEAREST if bits is None else _name(bits)
        lines.append({"rounding": name, "mean": found.mean(), "least": found.min(), "most": found.max(), "rows": rows})
    return pd.DataFrame(lines).assign(exact=math.log(classes))


def measure(classes: int = 4096, tries: int = 64) -> Study:
    """Sum the exponentials of normal logits, shifted by their maximum and rounded to bfloat16.

    Args:
        classes: the largest number of terms; a power of two.
        tries: the number of sums with different random bits.
    """
    fmt = BFLOAT16
    random = np.random.default_rng(20260606)
    logits = random.standard_normal(classes)
    terms = round_to(np.exp(logits - logits.max()), fmt)
    exact = np.array([math.fsum(terms[: n + 1]) for n in range(classes)])
    counts = 2 ** np.arange(4, int(math.log2(classes)) + 1)
    nearest, chance = sums(terms, fmt, tries, random)
    lines = []
    for n in counts:
        off = nearest[n - 1] / exact[n - 1] - 1
        lines.append({"rounding": NEAREST, "bits": 0, "n": int(n), "rms": abs(off), "mean": off, "standard_error": 0.0})
        for bits, relative in zip(BITS, chance[n - 1] / exact[n - 1] - 1, strict=True):
            lines.append({
                "rounding": _name(bits), "bits": bits, "n": int(n), "rms": float(np.sqrt((relative**2).mean())),
                "mean": float(relative.mean()), "standard_error": float(relative.std(ddof=1) / math.sqrt(tries)),
                "bias_bound": (1 + 2.0 ** (1 - fmt.precision - bits)) ** (int(n) - 1) - 1,
            })  # fmt: skip
    table = pd.DataFrame(lines)
    return Study(
        _claims(table, classes),
        {"classes": classes, "tries": tries, "losses": losses().to_dict("records")},
        table,
        _chart(table),
        _CAPTION,
    )


def _claims(table: pd.DataFrame, classes: int) -> tuple[Claim, ...]:
    last = table[table["n"] == classes].set_index("rounding")
    nearest, most = last.loc[NEAREST], last.loc[_name(BITS[-1])]
    slopes = {name: _slope(rows) for name, rows in table.groupby("rounding")}
    random = table[table["bits"] > 0]
    beyond = random[random["mean"].abs() > random["bias_bound"] + 4 * random["standard_error"]]
    rule = math.ceil(math.log2(classes) / 2)
    enough = last.loc[_name(min(b for b in BITS if b >= rule))]
    rms = [float(last.at[_name(b), "rms"]) for b in BITS]
    return (
        Claim(
            "2603.06060, abstract",
            "rounded to nearest, the error of a sum of n terms can grow as n; stochastically, as the root of n",
            f"relative error at n = {classes:,}: {nearest['rms']:.2g} to nearest, {most['rms']:.2g} with {BITS[-1]} "
            f"random bits; it grows as n to the power {slopes[NEAREST]:.2f} and {slopes[_name(BITS[-1])]:.2f}",
            bool(nearest["rms"] > 10 * most["rms"] and slopes[_name(BITS[-1])] < 0.75),
        ),
        Claim(
            "2603.06060, abstract",
            "stochastic rounding alleviates stagnation",
            f"computed over exact sum at n = {classes:,}: {1 + nearest['mean']:.2f} to nearest, "
            f"{1 + most['mean']:.3f} with {BITS[-1]} random bits",
            bool(abs(most["mean"]) < 0.1 * abs(nearest["mean"])),
        ),
        Claim(
            "2408.03069, Theorem 4.1",
            "the relative bias of a sum of positive terms is at most (1 + u)^(n-1) - 1 with u = 2^(1-p-r)",
            f"{len(beyond)} of {len(random)} mean errors are beyond the bound and 4 standard errors",
            beyond.empty,
        ),
        Claim(
            "2408.03069, abstract",
            "few bits are biased, and the bias vanishes as bits are added",
            f"mean relative error at n = {classes:,}: "
            + ", ".join(f"{last.at[_name(b), 'mean']:.2g} ({b})" for b in BITS),
            bool(
                all(abs(last.at[_name(b), "mean"]) > 4 * last.at[_name(b), "standard_error"] for b in BITS[:2])
                and abs(most["mean"]) < 4 * most["standard_error"]
            ),
        ),
        Claim(
            "2408.03069, summary",
            "about half of log2(n) random bits make the sum much more accurate",
            f"for n = {classes:,} the rule gives {rule}; root mean square errors: {nearest['rms']:.2g} to nearest, "
            + ", ".join(f"{value:.2g} ({b})" for b, value in zip(BITS, rms, strict=True)),
            bool(enough["rms"] < nearest["rms"] / 3),
        ),
    )  # fmt: skip


def _slope(rows: pd.DataFrame) -> float:
    """Return the exponent of n in the growth of the error, fitted over the upper half of the sizes."""
    upper = rows.sort_values("n").tail(len(rows) // 2 + 1)
    return float(np.polyfit(np.log(upper["n"]), np.log(upper["rms"].clip(lower=1e-12)), 1)[0])


_CAPTION = (
    "Sums in bfloat16 of n exponentials, rounded after each addition. Left: root mean square of the relative error. "
    "Right: mean of the relative error, its bias."
)


def _chart(table: pd.DataFrame) -> alt.TopLevelMixin:
    order = [NEAREST, *(_name(b) for b in BITS)]
    base = (
        panel(table, "root mean square error")
        .mark_line(point=True)
        .encode(
            x=alt.X("n:Q").scale(type="log", base=2),
            color=alt.Color("rounding:N", sort=order, title="rounding"),
        )
    )
    left = base.encode(y=alt.Y("rms:Q", title="relative error").scale(type="log"))
    right = base.properties(title="bias").encode(y=alt.Y("mean:Q", title="mean relative error"))
    return alt.hconcat(left, right)


if __name__ == "__main__":
    show(measure)
