"""Compute the findings of the documentation from a run; a finding that no longer holds stops the build.

Every function takes the measurements table and returns the numbers that ``docs/findings.md`` shows.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from logitlab.core.vocabulary import GRADES

Facts = dict[str, Any]
REPRODUCERS = Path(__file__).parent / "reproducers"


class FindingGoneError(Exception):
    """The run does not show the finding that the page states."""


def hold(true: bool, name: str, message: str) -> None:
    """Raise FindingGoneError, which stops the build, unless the finding is true."""
    if not true:
        raise FindingGoneError(
            f"the finding {name!r} no longer holds: {message}. If a new version fixed or broke something, change "
            f"docs/findings.md, its test and the CHANGELOG, and run `make grades`; if not, find out which one is right"
        )


def measured(df: pd.DataFrame, name: str, **wanted: Any) -> pd.DataFrame:
    """Return the rows that a finding needs; raise FindingGoneError if the run has no such rows."""
    found = df[df["status"] == "ok"]
    for column, value in wanted.items():
        found = found[found[column].isin([value] if isinstance(value, str | int) else list(value))]
    if found.empty:
        raise FindingGoneError(f"the finding {name!r} needs measurements of {wanted}, which the run does not have")
    return found


def worst(rows: pd.DataFrame) -> pd.Series:
    """Return the worst grade of each implementation."""
    graded = rows[rows["grade"].notna()]
    return graded["grade"].astype(str).groupby(graded["implementation"], observed=True).max()  # letters in order


def _loss(df: pd.DataFrame, name: str, case: str, row: int, implementation: str, mode: str = "eager") -> pd.Series:
    asked = {"case": case, "row": row, "implementation": implementation, "mode": mode}
    return measured(df, name, dtype="float32", quantity="loss", **asked).iloc[0]


def matrix(df: pd.DataFrame) -> Facts:
    """Return the worst float32 grade of every implementation in eager mode."""
    grades = worst(measured(df, "matrix", dtype="float32", mode="eager"))
    return {"table": {g: sorted(grades[grades == g].index) for g in GRADES}, "count": len(grades)}


def log1p(df: pd.DataFrame) -> Facts:
    name = "log1p"
    rows = measured(df, name, formula="log1p", mode="eager")
    graded = rows[rows["grade"].notna()]
    below = graded[graded["grade"] != "A"]
    hold(
        below.empty,
        name,
        f"{len(below)} results of the log1p formula are below A, such as {below['case'].head(1).tolist()}",
    )
    others = worst(measured(df, name, dtype="float32", mode="eager").query("formula != 'log1p'"))
    hold("A" not in set(others), name, f"graded A too: {others[others == 'A'].index.tolist()}")
    # Below the smallest normal number, hardware may flush to zero, and an error in ulp is meaningless.
    errors = graded[(graded["quantity"] == "loss") & (graded["dtype"] == "float32") & (graded["exact"] > 2.0**-126)][
        "max_ulp"
    ]
    return {
        "graded": len(graded), "frameworks": sorted(graded["framework"].unique()), "others": len(others),
        "dtypes": sorted(graded["dtype"].unique()), "median": errors.median(), "largest": errors.max(),
    }  # fmt: skip


def naive(df: pd.DataFrame) -> Facts:
    name = "naive"
    rows = measured(df, name, implementation="torch/naive", dtype="float32", mode="eager")
    rows = rows[rows["grade"].notna() & (rows["quantity"] == "loss")]
    failed = rows[rows["grade"] == "F"]
    hold(len(failed) > 0, name, "torch/naive is finite everywhere")
    article = _loss(df, name, "seed/article", 1, "torch/naive")
    hold(math.isinf(article["value"]), name, f"the article's second row gives {article['value']}")
    saved = _loss(df, name, "seed/article", 1, "torch/lse")
    return {
        "rows": len(rows), "failed": len(failed), "share": len(failed) / len(rows), "exact": article["exact"],
        "saved": saved["value"], "stages": failed["first_failure"].value_counts().head(3).to_dict(),
    }  # fmt: skip


def offset(df: pd.DataFrame) -> Facts:
    name, case = "offset", "offset/1e06"
    lse, sound = (_loss(df, name, case, 1, i) for i in ("torch/lse", "torch/F.cross_entropy"))
    hold(lse["value"] == 0 < lse["exact"], name, f"torch/lse gives {lse['value']} at {case}")
    hold(sound["grade"] in ("A", "B"), name, f"F.cross_entropy is graded {sound['grade']} at {case}")
    integer = "jax/optax.softmax_cross_entropy_with_integer_labels"
    grades = worst(measured(df, name, dtype="float32", mode="eager"))
    hold(grades[integer] == "C", name, f"{integer} is graded {grades[integer]}")
    return {
        "lse": lse, "sound": sound, "accurate": _loss(df, name, case, 1, "torch/log1p"),
        "first": _loss(df, name, case, 0, "torch/lse"), "graded_c": sorted(grades[grades == "C"].index),
    }  # fmt: skip


def sweep(df: pd.DataFrame) -> Facts:
    """Return the largest error of the loss in ulp along the offset, for three implementations."""
    rows = measured(
        df, "sweep", family="sweep_offset", quantity="loss", dtype="float32", mode="eager", framework="torch"
    )
    rows = rows[rows["implementation"].isin(["torch/lse", "torch/F.cross_entropy", "torch/log1p"])]
    rows = rows.assign(offset=rows["case"].str.rsplit("/", n=1).str[-1].astype(float))
    lines = rows.pivot_table(index="offset", columns="implementation", values="max_ulp", aggfunc="max", observed=True)
    growth = lines["torch/lse"].iloc[-1] / lines["torch/lse"].iloc[0]
    hold(growth > 1e3, "sweep", f"the error of torch/lse grows only {growth:.3g} times along the offset")
    return {"lines": lines, "growth": growth}


def masks(df: pd.DataFrame) -> Facts:
    name = "masks"
    rows = measured(df, name, case="masks/first", dtype="float32", quantity="loss", row=0)
    eager = rows[rows["mode"] == "eager"]
    broken = sorted(eager[eager["verdict"] == "nan"]["implementation"])
    must = {"jax/optax.softmax_cross_entropy", "tensorflow/nn.softmax_cross_entropy_with_logits"}
    hold(must <= set(broken), name, f"no longer NaN for a masked class: {sorted(must - set(broken))}")
    compiled = rows[(rows["mode"] == "compiled") & rows["implementation"].isin(must)]
    hold(set(compiled["implementation"]) == must, name, f"the run lacks one of {sorted(must)} in compiled mode")
    hold((compiled["verdict"] == "correct").all(), name, "XLA no longer fixes the masked class")
    return {
        "broken": broken,
        "sound": len(eager) - len(broken),
        "exact": eager["exact"].iloc[0],
        "fixed": sorted(must),
    }


def clipped(df: pd.DataFrame) -> Facts:
    name, keras = "clipped", "tensorflow/keras.losses.sparse_categorical_crossentropy"
    low = _loss(df, name, "gap/500_low", 0, keras)
    hold(low["value"] < low["exact"] / 2, name, f"Keras from probabilities gives {low['value']} for {low['exact']}")
    masked = _loss(df, name, "masks/on_target", 0, keras)
    hold(math.isinf(masked["exact"]) and math.isfinite(masked["value"]), name, "Keras returns an infinite loss")
    return {
        "low": low, "masked": masked, "sklearn": _loss(df, name, "gap/500_low", 0, "numpy/sklearn.metrics.log_loss"),
        "from_logits": _loss(df, name, "gap/500_low", 0, keras + "[from_logits]"),
    }  # fmt: skip


def near_zero(df: pd.DataFrame) -> Facts:
    name = "near zero"
    rows = measured(df, name, implementation="torch/F.cross_entropy", dtype="float32", quantity="loss", mode="eager")
    rows = rows[rows["grade"].notna()]
    lost = rows[(rows["value"] == 0) & (rows["exact"] > 0) & (rows["verdict"] == "underflow")]
    hold(len(lost) > 0, name, "F.cross_entropy gives no loss of 0 that is not 0")
    case = "gap/20_high"
    return {
        "lost": len(lost), "rows": len(rows), "largest": lost["exact"].max(), "case": case,
        "zero": _loss(df, name, case, 0, "torch/F.cross_entropy"), "kept": _loss(df, name, case, 0, "torch/log1p"),
        "stability": _loss(df, name, case, 0, "torch/F.cross_entropy")["stability_ratio"],
    }  # fmt: skip


def smoothing(df: pd.DataFrame) -> Facts:
    name, implementation = "smoothing", "torch/F.cross_entropy[label_smoothing]"
    rows = measured(df, name, implementation=implementation, dtype="float32", quantity="gradient", mode="eager")
    bad = rows[rows["grade"] == "D"].sort_values("max_rel", ascending=False)
    hold(len(bad) > 0, name, f"no gradient of {implementation} is graded D")
    row = bad.iloc[0]
    return {"row": row, "digits": int(-math.log10(row["max_rel"])), "classes": int(row["classes"])}


def half(df: pd.DataFrame) -> Facts:
    name = "half"
    rows = measured(df, name, case="ties/131072", dtype="float16", quantity="loss", mode="eager")
    torch = rows[rows["implementation"] == "torch/F.cross_entropy"]
    hold(len(torch) == 1 and math.isinf(torch["value"].iloc[0]), name, "F.cross_entropy is finite over 131,072 ties")
    broken = sorted(rows[rows["verdict"] == "overflow"]["implementation"])
    sound = sorted(rows[rows["verdict"] == "correct"]["implementation"])
    return {"broken": broken, "sound": sound, "exact": torch["exact"].iloc[0]}


def inductor(df: pd.DataFrame) -> Facts:
    """Return the wrong gradients that Inductor computes; they may depend on the processor's vectors and be absent."""
    rows = measured(df, "inductor", implementation="torch/lse", mode="compiled", dtype="float32", quantity="gradient")
    five = rows[(rows["classes"] == 5) & rows["grade"].notna()]
    wrong = five[five["grade"] == "D"]
    losses = measured(df, "inductor", implementation="torch/lse", mode="compiled", dtype="float32", quantity="loss")
    bad = losses[(losses["classes"] == 5) & losses["grade"].isin(["D", "F"])]
    hold(bad.empty, "inductor", f"the compiled loss is wrong too, in {len(bad)} rows")
    return {
        "rows": len(five), "wrong": len(wrong), "error": wrong["max_abs"].max(), "version": rows["version"].iloc[0],
        "other": int(((rows["classes"] != 5) & (rows["grade"] == "D")).sum()),
    }  # fmt: skip


def targets(df: pd.DataFrame) -> Facts:
    """Return how often each implementation raises, returns NaN or a number for a target that is not a class."""
    rows = df[(df["family"] == "invalid") & (df["quantity"] == "loss") & (df["dtype"] == "float32")]
    rows = rows[(rows["mode"] == "eager") & (rows["status"] != "unsupported")]
    if rows.empty:
        raise FindingGoneError("the finding 'targets' needs the family invalid, which the run does not have")
    answers = rows.assign(answer=rows["status"].astype(object).where(rows["status"] != "ok", "nan"))
    finite = (rows["status"] == "ok") & rows["finite"].fillna(False)
    answers.loc[finite, "answer"] = "number"
    counts = answers.groupby(["implementation", "answer"], observed=True).size().unstack(fill_value=0)
    silent = sorted(counts[counts.get("number", 0) > 0].index)
    hold(len(silent) > 0, "targets", "every implementation raises or returns NaN for a target that is not a class")
    return {"silent": silent, "all": len(counts), "counts": counts}


def bounds(df: pd.DataFrame) -> Facts:
    name = "bounds"
    rows = measured(df, name, dtype="float32", mode="eager", formula=["naive", "lse", "log1p"])
    share = {}
    for formula, bound in (("naive", "bound_unshifted"), ("lse", "bound_shifted"), ("log1p", "bound_shifted")):
        of = rows[(rows["formula"] == formula) & rows[bound].notna() & rows["max_abs"].notna()]
        share[formula] = (of["max_abs"] / of[bound]).groupby(of["implementation"], observed=True).max()
    flat = pd.concat(share.values()).sort_values(ascending=False)
    beyond = sorted(flat[flat > 1].index)
    hold(beyond in ([], ["jax/naive"]), name, f"beyond their bounds: {beyond}")
    return {"shares": flat, "beyond": beyond, "largest": flat[flat <= 1].max()}


def reproduced(name: str, **environment: str) -> dict[str, list[float]]:
    """Run a program in ``reproducers``; return the loss and the entries of the gradient for each mode."""
    asked = [sys.executable, REPRODUCERS / f"{name}.py"]
    ran = subprocess.run(asked, env=os.environ | environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise FindingGoneError(
            f"benchmarks/reproducers/{name}.py no longer runs: {ran.stderr.strip().splitlines()[-1:]}"
        )
    lines = [line.split() for line in ran.stdout.splitlines()]
    return {mode: [float(number) for number in numbers] for mode, *numbers in lines}


def contraction(_: pd.DataFrame | None = None) -> Facts:
    """Return the losses and gradients of scaled logits that XLA compiles, measured by separate programs."""
    name = "contraction"
    no_fusion = reproduced("scaled_jax", XLA_FLAGS="--xla_disable_hlo_passes=fusion")
    hold(no_fusion["compiled"] == no_fusion["eager"], name, f"without fusion, jax.jit gives {no_fusion['compiled']}")
    compiled = {framework: compiled_scaled(framework) for framework in ("jax", "tensorflow")}
    torch = reproduced("scaled_torch")
    hold(not any(torch["compiled"]), name, f"Inductor gives {torch['compiled']}")
    return {"program": (REPRODUCERS / "scaled_jax.py").read_text(), **compiled}


def compiled_scaled(framework: str) -> list[float]:
    """Check the finding for one framework; return XLA's loss and gradient of scaled logits."""
    given = reproduced(f"scaled_{framework}")
    hold(not any(given["eager"]), "contraction", f"{framework} gives {given['eager']} in eager mode, and 0 is exact")
    hold(
        not any(math.isfinite(number) for number in given["compiled"]),
        "contraction",
        f"compiled by XLA, {framework} gives the loss and gradient {given['compiled']}. A processor without fused "
        f"multiply-add gives 0 too",
    )
    return given["compiled"]


def summed(_: pd.DataFrame | None = None) -> Facts:
    """Return the error of bfloat16 sums, measured by a separate program with more rows than the catalogue has."""
    errors = []
    for exact, narrow, wide in reproduced("summed_torch").values():
        hold(abs(wide / exact - 1) < 2.0**-20, "summed", f"a float32 sum gives {wide} for {exact}")
        errors.append(abs(narrow / exact - 1))
    hold(max(errors) > 0.01, "summed", f"bfloat16 sums err by {max(errors):.2g} at most, relative to the sum")
    return {"program": (REPRODUCERS / "summed_torch.py").read_text(), "largest": max(errors)}


UNFUSED, FUSED = "torch/F.cross_entropy[linear]", "torch/F.linear_cross_entropy"
CHUNKED = tuple(f"{FUSED}[chunked,{policy}]" for policy in ("accurate", "compact"))


def linear(df: pd.DataFrame) -> Facts:
    """Return the grades of PyTorch's losses of hidden states, fused and not, in three dtypes."""
    name, asked = "linear", {"implementation": [UNFUSED, FUSED, *CHUNKED], "mode": "eager", "device": "cpu"}
    rows = measured(df, name, **asked, dtype=["float16", "bfloat16", "float32"])
    rows = rows[rows["family"].astype(str).str.startswith("linear")]
    key = ["case", "row", "dtype", "quantity"]
    bits = [rows[rows["implementation"] == i].set_index(key)["bits"] for i in (UNFUSED, FUSED)]
    same = bits[0].eq(bits[1].reindex(bits[0].index))
    hold(bool(same.all()), name, f"{(~same).sum()} results of {FUSED} have other bits than {UNFUSED}")
    graded = rows[rows["grade"].notna()]
    counts = graded.groupby(["implementation", "dtype", "quantity"], observed=True)["grade"].value_counts()
    cells = counts.unstack(fill_value=0).reindex(columns=list(GRADES), fill_value=0)
    words = cells.apply(lambda line: ", ".join(f"{n} {grade}" for grade, n in line.items() if n), axis=1)
    table = words.unstack("quantity").reindex([UNFUSED, FUSED, *CHUNKED], level=0)
    spoiled = rows[(rows["case"] == "linear_ignored/nan_row_mean") & (rows["quantity"] == "loss")]
    lost = spoiled[spoiled["value"].isna()]
    hold(
        set(lost["implementation"]) == set(CHUNKED),
        name,
        f"NaN of an ignored row reaches {set(lost['implementation'])}",
    )
    given = reproduced("ignored_chunked_torch")
    hold(math.isnan(given["chunked"][0]) and not math.isnan(given["plain"][0]), name, f"the program gives {given}")
    return {"table": table, "rows": len(graded), "program": (REPRODUCERS / "ignored_chunked_torch.py").read_text()}


FINDINGS: dict[str, Callable[[pd.DataFrame], Facts]] = {
    "matrix": matrix, "log1p": log1p, "naive": naive, "offset": offset, "sweep": sweep, "masks": masks,
    "clipped": clipped, "near_zero": near_zero, "smoothing": smoothing, "half": half, "inductor": inductor,
    "targets": targets, "bounds": bounds, "contraction": contraction, "summed": summed, "linear": linear,
}  # fmt: skip
