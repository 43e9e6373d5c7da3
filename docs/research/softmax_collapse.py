"""The share of training samples whose softmax has collapsed, by step and dtype.

L. Prieto, M. Barsbey, P. A. M. Mediano and T. Birdal, Grokking at the edge of numerical stability, arXiv:2501.04697.
Their program: https://github.com/LucasPrietoAl/grokking-at-the-edge-of-numerical-stability.

Run it: ``python docs/research/softmax_collapse.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import altair as alt
import digits
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from published import Claim, Study, panel, show

from logitlab.core.formats import get_format
from logitlab.frameworks.formulas.numpy import log1p_gradient

Array = NDArray[np.float32]
Labels = NDArray[np.int64]
DTYPES = ("bfloat16", "float16", "float32", "float64")
EVERY = 20  # steps between two measurements
RATE = 0.03


@dataclass(frozen=True)
class Loss:
    """A formula of the gradient, computed in a dtype; the model itself is float32."""

    formula: str
    dtype: str

    def gradient(self, logits: Array, labels: Labels) -> Array:
        x = logits.astype(get_format(self.dtype).dtype)
        with np.errstate(under="ignore"):
            return _GRADIENTS[self.formula](x, labels)

    @property
    def name(self) -> str:
        return self.dtype if self.formula == "softmax" else f"{self.formula}, {self.dtype}"


def stablemax_gradient(logits: Array, labels: Labels) -> Array:
    """Return the gradient of the authors' StableMax loss: exp is replaced by 1 + x, and by 1 / (1 - x) below 0."""
    one, rows = logits.dtype.type(1), np.arange(len(logits))
    low, high = np.minimum(logits, 0), np.maximum(logits, 0)
    s = np.where(logits < 0, one / (one - low), one + high)
    slope = np.where(logits < 0, s * s, one)
    d = slope / s.sum(axis=1, keepdims=True)
    d[rows, labels] -= slope[rows, labels] / s[rows, labels]
    return d


_GRADIENTS = {"softmax": digits.softmax_gradient, "log1p": log1p_gradient, "StableMax": stablemax_gradient}
LOSSES = (*(Loss("softmax", d) for d in DTYPES), Loss("log1p", "float16"), Loss("StableMax", "float32"))


def follow(loss: Loss, count: int) -> pd.DataFrame:
    """Train with a loss, and return the shares of collapsed samples and zero gradients every so many steps."""
    with digits.one_thread():
        trained = enumerate(digits.steps(loss.gradient, count + 1, RATE))
        return pd.DataFrame([_line(loss, number, weights) for number, weights in trained if number % EVERY == 0])


def _line(loss: Loss, number: int, weights: tuple[Array, ...]) -> dict[str, object]:
    images, labels = digits.training()
    rows, logits = np.arange(len(labels)), digits.forward(weights, images)[1]
    gradient, collapsed = loss.gradient(logits, labels), _collapsed(logits, loss.dtype)
    target = gradient[rows, labels] == 0
    gaps = logits.astype(np.float64)
    gaps -= gaps.max(axis=1, keepdims=True)
    losses = np.log(np.exp(gaps).sum(axis=1)) - gaps[rows, labels]
    return {
        "loss": loss.name, "step": number, "collapsed": collapsed.mean(),
        "zero_target": target.mean(), "zero_row": (gradient == 0).all(axis=1).mean(),
        "collapsed_not_zero": int((collapsed & ~target & (gaps[rows, labels] == 0)).sum()),
        "accuracy": (logits.argmax(axis=1) == labels).mean(), "mean_loss": losses.mean(), "cosine": _cosine(weights),
    }  # fmt: skip


def _collapsed(logits: Array, dtype: str) -> NDArray[np.bool_]:
    """Return where the sum of exponentials is exactly its largest term, as the authors' program measures it."""
    x = logits.astype(get_format(dtype).dtype)
    with np.errstate(under="ignore"):
        e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e.sum(axis=1) == 1)


def _cosine(weights: tuple[Array, ...]) -> float:
    """Return the cosine between the exact step of gradient descent and the weights: 1 if it only scales them."""
    slopes = digits.slopes(weights, Loss("softmax", "float64").gradient)
    step = -np.concatenate([s.ravel() for s in slopes]).astype(np.float64)
    flat = np.concatenate([w.ravel() for w in weights]).astype(np.float64)
    return float(step @ flat / (np.linalg.norm(step) * np.linalg.norm(flat)))


def measure(count: int = 800) -> Study:
    """Train with each loss for so many steps."""
    table = pd.concat([follow(loss, count) for loss in LOSSES], ignore_index=True)
    shares = {n: [_at(table, d, n, "collapsed") for d in DTYPES] for n in (count // 8, count)}
    last = table[table["step"] == table["step"].max()].set_index("loss")
    softmax = table[table["loss"].isin(DTYPES)]
    fall = {d: _lowest(table, d, count // 2) / _lowest(table, d, count) for d in DTYPES}
    fitted = softmax[(softmax["accuracy"] == 1) & (softmax["loss"] == "float64")]
    claims = (
        Claim(
            "Abstract; `logger.py`",
            "absorption in the sum of the softmax makes the sum exactly 1, and then the target's gradient is exactly 0",
            f"{int(softmax['collapsed_not_zero'].sum())} collapsed samples have a gradient in their target's logit",
            int(softmax["collapsed_not_zero"].sum()) == 0 and softmax["collapsed"].max() > 0,
        ),
        Claim(
            "Figure 2's runs",
            "the collapse comes earlier with fewer bits",
            "; ".join(
                f"collapsed at step {n}: " + ", ".join(f"{v:.0%} ({d})" for d, v in zip(DTYPES, found, strict=True))
                for n, found in shares.items()
            ),
            # Later both low formats have collapsed, and which of them more so depends on the processor.
            all(a > b for a, b in pairwise(shares[count // 8])),
        ),
        Claim(
            "Abstract",
            "after overfitting, the gradient mostly scales the logits: it aligns with the weights",
            f"cosine between gradient step and weights: {_at(table, 'float64', 0, 'cosine'):.2f} at the start, "
            f"{fitted['cosine'].median():.2f} (median) once all training images are right",
            bool(fitted["cosine"].median() > 0.5),
        ),
        Claim(
            "Abstract",
            "the collapse stops learning",
            f"from step {count // 2} to {count} the smallest exact mean loss falls by a factor of "
            + ", ".join(f"{fall[d]:.1f} ({d}, {last.at[d, 'zero_target']:.0%} collapsed)" for d in DTYPES),
            fall["float16"] < 1.2,
        ),
        Claim(
            "Abstract; `utils.py`",
            "StableMax prevents the collapse",
            f"largest share of zero target gradients in float32: "
            f"{_most(table, 'StableMax, float32'):.1%} with StableMax, {_most(table, 'float32'):.0%} with softmax",
            _most(table, "StableMax, float32") == 0,
        ),
    )  # fmt: skip
    numbers = {
        "steps": count, "zero_rows": {d: float(last.at[d, "zero_row"]) for d in DTYPES},
        "log1p": _most(table, "log1p, float16"), "log1p_loss": _lowest(table, "log1p, float16", count),
        "float16_loss": _lowest(table, "float16", count),
    }  # fmt: skip
    return Study(claims, numbers, table, _chart(table), _CAPTION)


def _at(table: pd.DataFrame, loss: str, step: int, column: str) -> float:
    return float(table[(table["loss"] == loss) & (table["step"] == step)][column].iloc[0])


def _lowest(table: pd.DataFrame, loss: str, step: int) -> float:
    return float(table[(table["loss"] == loss) & (table["step"] <= step)]["mean_loss"].min())


def _most(table: pd.DataFrame, loss: str) -> float:
    return float(table[table["loss"] == loss]["zero_target"].max())


_CAPTION = (
    "Left: share of the training images whose gradient in the target's logit is exactly 0, against the step, one line "
    "for each dtype of the loss. Right: the exact mean loss of the same models."
)


def _chart(table: pd.DataFrame) -> alt.TopLevelMixin:
    base = (
        panel(table, "target gradient exactly 0")
        .mark_line()
        .encode(
            x=alt.X("step:Q"),
            color=alt.Color("loss:N", title="gradient").legend(orient="right"),
        )
    )
    left = base.encode(y=alt.Y("zero_target:Q", title="share of samples").axis(format="%"))
    right = base.properties(title="exact mean loss").encode(y=alt.Y("mean_loss:Q", title="loss").scale(type="log"))
    return alt.hconcat(left, right)


if __name__ == "__main__":
    show(measure)
