"""The signed error of an attention output in bfloat16 where several probabilities are exactly 1.

H. Qiu and Q. Yao, Why low-precision transformer training fails: an analysis on flash attention, arXiv:2510.04212.
Their program: https://github.com/ucker/why-low-precision-training-fails.

Run it: ``python docs/research/biased_rounding.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import altair as alt
import few_random_bits
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from published import Claim, Study, panel, show

from logitlab.core.formats import get_format
from logitlab.core.rounding import round_to, ulp

Array = NDArray[np.float64]
BFLOAT16 = get_format("bfloat16")
TOKENS = 32
GAPS = tuple(6.0 + 0.5 * i for i in range(17))
# The worked example of section 3.3.2: the sum in float32, the result in bfloat16 and its error.
EXAMPLE = (-4.703990459442139, -4.71875, -0.014759540557861328)


@dataclass(frozen=True)
class Setting:
    """A distribution of attention rows.

    Attributes:
        name: the words in the figure.
        maxima: how many scores are equal to the row's maximum.
        gaps: the range of the other scores below the maximum; None makes the other probabilities 0.
        negative: whether all values are negative; otherwise the signs are random.
        beta: the factor of the maximum in the shift; 1 makes the largest probability exactly 1.
        random_bits: of the last rounding; None rounds to nearest.
    """

    name: str
    maxima: int = 2
    gaps: tuple[float, float] | None = (10.0, 14.0)
    negative: bool = True
    beta: float = 1.0
    random_bits: int | None = None


SETTINGS = {
    "two": Setting("two probabilities of 1"),
    "exact": Setting("two, the others 0", gaps=None),
    "signs": Setting("two, values of both signs", negative=False),
    "one": Setting("one probability of 1", maxima=1),
    "four": Setting("four probabilities of 1", maxima=4),
    "eight": Setting("eight probabilities of 1", maxima=8),
    "beta": Setting("two, shifted by twice the maximum", beta=2.0),
    "stochastic": Setting("two, stochastic rounding", random_bits=16),
}


def signed_errors(setting: Setting, rows: int, seed: int = 0) -> Array:
    """Return the signed error of each row's sum of probabilities times values, in ulp of bfloat16.

    As in equation 4 of the paper, probabilities and values are bfloat16, and the sum is rounded once at the end.
    """
    random = np.random.default_rng([seed, setting.maxima])
    top = random.uniform(1.0, 3.0, (rows, 1))
    scores = np.repeat(top, TOKENS, axis=1)
    scores[:, setting.maxima :] -= random.uniform(*(setting.gaps or (0.0, 1.0)), (rows, TOKENS - setting.maxima))
    p = round_to(np.exp(scores - setting.beta * top), BFLOAT16)
    if setting.gaps is None:
        p[:, setting.maxima :] = 0.0
    # Two values of one binade carry when they are added, as in the paper's figure 6.
    v = round_to(-random.uniform(2.0, 4.0, (rows, TOKENS)), BFLOAT16)
    if not setting.negative:
        v *= random.choice([-1.0, 1.0], v.shape)
    # A product of two bfloat16 numbers has 16 bits: float64 holds such sums exactly.
    exact = (p * v).sum(axis=1)
    single = round_to(exact, get_format("float32"))
    if setting.random_bits is None:
        rounded = round_to(single, BFLOAT16)
    else:
        rounded = few_random_bits.stochastic(single, BFLOAT16, setting.random_bits, random)
    return np.asarray((rounded - exact) / ulp(exact, BFLOAT16))


def measure(rows: int = 50_000) -> Study:
    """Draw so many rows for each setting."""
    found = {key: signed_errors(setting, rows) for key, setting in SETTINGS.items()}
    mean = {key: float(e.mean()) for key, e in found.items()}
    spread = {key: float(e.std(ddof=1) / math.sqrt(rows)) for key, e in found.items()}

    def words(key: str) -> str:
        return f"{mean[key]:+.3f} ± {2 * spread[key]:.3f}"

    def unbiased(key: str) -> bool:
        # Two standard errors, and a hundredth of an ulp for the rounding to float32 and the small terms themselves.
        return abs(mean[key]) < 2 * spread[key] + 0.01

    rounded = float(round_to(EXAMPLE[0], BFLOAT16))
    claims = (
        Claim(
            "Section 3.3.2, example",
            f"the float32 sum {EXAMPLE[0]} becomes {EXAMPLE[1]} in bfloat16, an error of {EXAMPLE[2]}",
            f"{rounded}, an error of {rounded - EXAMPLE[0]}",
            rounded == EXAMPLE[1] and rounded - EXAMPLE[0] == EXAMPLE[2],
        ),
        Claim(
            "Section 3.3.2, Figure 6",
            "where two probabilities are exactly 1 and the values are negative, the error is negative on average",
            f"mean error {words('two')} ulp",
            mean["two"] + 4 * spread["two"] < -0.05,
        ),
        Claim(
            "Section 3.3.2",
            "the small terms of other tokens cause the bias: they break the ties",
            f"without the small terms {words('exact')} ulp",
            unbiased("exact"),
        ),
        Claim(
            "Section 3.3.2, Figure 6 (a)",
            "the bias needs values that mostly have one sign",
            f"with random signs {words('signs')} ulp",
            unbiased("signs"),
        ),
        Claim(
            "Sections 3.3.2 (Remark 1) and 4",
            "probabilities below 1 have no such bias, so a shift by more than the maximum removes it",
            f"with twice the maximum {words('beta')} ulp",
            unbiased("beta"),
        ),
        Claim(
            "Su Jianlin's article",
            "the bias becomes smaller with more probabilities of 1, since more bits are rounded away",
            f"one: {words('one')}, two: {words('two')}, four: {words('four')}, eight: {words('eight')} ulp",
            abs(mean["two"]) > abs(mean["four"]) > abs(mean["eight"]),
        ),
        Claim(
            "Su Jianlin's article",
            "stochastic rounding avoids the bias",
            f"with 16 random bits {words('stochastic')} ulp",
            unbiased("stochastic"),
        ),
    )  # fmt: skip
    table = pd.DataFrame([_swept(k, gap, rows // 5) for k in ("two", "four", "eight") for gap in GAPS])
    drawn = pd.concat([_histogram(found[k], SETTINGS[k].name) for k in ("two", "exact", "beta")], ignore_index=True)
    two = table[table["setting"] == SETTINGS["two"].name].sort_values("others")
    reach = two[(two["mean"] < -0.05).cummin()]  # up to the first that is not
    numbers = {"rows": rows, "tokens": TOKENS, "reach": float(reach["others"].max()), "top": float(table["mean"].max())}
    return Study(claims, numbers, table, _chart(table, drawn), _CAPTION)


def _swept(key: str, gap: float, rows: int) -> dict[str, object]:
    """Return the mean signed error where the other scores lie at one distance below the maximum."""
    setting = replace(SETTINGS[key], gaps=(gap, gap + 0.5))
    errors = signed_errors(setting, rows)
    # Values are 3 on average, so the others together are about this many ulp of the sum.
    size = 3 * (TOKENS - setting.maxima) * math.exp(-gap - 0.25)
    return {
        "setting": setting.name, "gap": gap, "others": size / float(ulp(3.0 * setting.maxima, BFLOAT16)),
        "mean": float(errors.mean()), "standard_error": float(errors.std(ddof=1) / math.sqrt(rows)),
    }  # fmt: skip


def _histogram(errors: Array, name: str) -> pd.DataFrame:
    counts, edges = np.histogram(errors, bins=np.linspace(-0.55, 0.55, 45))
    return pd.DataFrame({"setting": name, "error": (edges[:-1] + edges[1:]) / 2, "share": counts / len(errors)})


_CAPTION = (
    "Left: the signed errors of three settings, in ulp of bfloat16. Right: the mean signed error against the size of "
    "the small terms together, for two, four and eight probabilities of 1."
)


def _chart(table: pd.DataFrame, drawn: pd.DataFrame) -> alt.TopLevelMixin:
    legend = {"orient": "top", "columns": 1, "labelLimit": 300}
    left = (
        panel(drawn, "signed errors")
        .mark_line(interpolate="step")
        .encode(
            x=alt.X("error:Q", title="error in ulp"),
            y=alt.Y("share:Q", title="share of rows").axis(format="%"),
            color=alt.Color("setting:N", title=None).legend(**legend),
        )
    )
    right = (
        panel(table, "mean signed error")
        .mark_line(point=True)
        .encode(
            x=alt.X("others:Q", title="small terms together, in ulp").scale(type="log"),
            y=alt.Y("mean:Q", title="ulp"),
            color=alt.Color("setting:N", title=None).legend(**legend),
        )
    )
    return alt.hconcat(left, right).resolve_scale(color="independent")


if __name__ == "__main__":
    show(measure)
