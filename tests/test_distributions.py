"""Distributions of errors: DuckDB's tables equal pandas', quantiles keep their laws, and signs are right."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from distributions_by_pandas import distribution
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import logitlab
from logitlab import reports
from logitlab.cases import get_case
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.core.rounding import ulp
from logitlab.reports.charts import bands
from logitlab.reports.tables.medians import Quantile, quantiles
from logitlab.storage.querying import Measurements
from logitlab.storage.schema import typed

KEYS = ["implementation", "dtype", "quantity"]
STATISTICS = ["median", "p90", "p99", "largest"]
SHARES = ["failed", "uncounted", "beyond 1", "beyond 10", "beyond 1000", "too large", "too small", "zeroed"]


@pytest.fixture(scope="module")
def df(small_run):
    return small_run.read()


# --- the same numbers as pandas ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "by",
    [
        KEYS,
        pytest.param(["dtype", "family", "quantity"], marks=pytest.mark.full),
        ["formula", "dtype", "axis", "along", "quantity"],
        pytest.param(["case", "row", "quantity", "dtype"], marks=pytest.mark.full),
        ["grade"],
    ],
    ids="/".join,
)
def test_distributions_of_a_run_equal_those_of_pandas(small_run, df, by):
    expected = distribution(df, by)
    assert len(expected) > 1
    for source in (df, small_run.folder, str(small_run.folder)):
        found = logitlab.distributions(source, by)
        pd.testing.assert_frame_equal(
            found, expected[found.columns], check_dtype=False, rtol=1e-12, check_column_type=False
        )
        exact = ["rows", "counted", *STATISTICS]
        assert found[exact].astype(float).equals(expected[exact].astype(float))


@settings(max_examples=examples(20))
@given(
    st.lists(st.lists(st.floats(0, 1e300) | st.sampled_from([0.5, 1.0, 1e9]), min_size=1), min_size=1, max_size=3),
    st.lists(st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0]), min_size=1, max_size=4, unique=True),
)  # fmt: skip
def test_quantiles_of_any_numbers_equal_those_of_duckdb_and_pandas(groups, shares):
    lines = [(f"x/{i}", x) for i, numbers in enumerate(groups) for x in numbers]
    df = pd.DataFrame(lines, columns=["implementation", "max_ulp"])
    measurements = Measurements.of(df)
    wanted = {str(share): Quantile("max_ulp", share) for share in shares}
    found = quantiles(measurements, ["implementation"], wanted, "SELECT * FROM measurements").set_index(
        "implementation"
    )
    sql = "SELECT implementation, quantile_cont(max_ulp, {}) AS found FROM measurements GROUP BY ALL ORDER BY ALL"
    by_duckdb = measurements.sql(sql.format(shares))
    of_groups = df.groupby("implementation")["max_ulp"]
    for i, share in enumerate(shares):
        assert found[str(share)].to_list() == of_groups.quantile(share).to_list()
        np.testing.assert_allclose(found[str(share)], [group[i] for group in by_duckdb["found"]], rtol=1e-14)


# --- laws -------------------------------------------------------------------------------------------------------

ROW = st.tuples(
    st.sampled_from(["A", "B", "D", "F", None]),
    st.sampled_from([0.0, 0.5, 1.0, 1.5, 10.5, 999.0, 1001.0, 1e9, np.inf, np.nan]) | st.floats(0, 1e12),
    st.sampled_from([-1, 1]),
    st.sampled_from(["loss", "gradient"]),
    st.integers(0, 1),
    st.sampled_from(["x/a", "x/b"]),
)


def table(rows):
    """Return measurements with these grades, errors, signs, quantities, zeroed entries and implementations."""
    df = pd.DataFrame(rows, columns=["grade", "max_ulp", "sign", "quantity", "n_zeroed", "implementation"])
    df["signed_ulp"] = (df.pop("sign") * df["max_ulp"]).where(df["quantity"] == "loss")
    df["max_abs"] = df["max_rel"] = df["max_ulp"] * 2.0**-24
    number = np.arange(len(df))
    return typed(df.assign(row=number, classes=3, dtype="float32", family="f", case="f/a", status="ok"))


@settings(max_examples=examples(20))
@given(st.lists(ROW, min_size=1, max_size=30))
def test_shares_and_quantiles_are_in_order(rows):
    found = logitlab.distributions(table(rows), KEYS)
    shares = found[SHARES].astype(float)
    assert ((shares.isna()) | ((shares >= 0) & (shares <= 1))).all(axis=None)
    some = found[found["counted"] > 0]
    for larger, smaller in (("beyond 1", "beyond 10"), ("beyond 10", "beyond 1000")):
        assert (some[larger] >= some[smaller]).all()
    for less, more in pairwise(STATISTICS):
        assert (some[less] <= some[more]).all()
    assert (some["median"] >= 0).all()
    assert np.isfinite(some["largest"].astype(float)).all()
    assert found.loc[found["counted"] == 0, STATISTICS].isna().all(axis=None)
    bias = found["bias"].dropna().astype(float)
    assert (bias.abs() <= 1000).all()
    left = found["rows"] * (1 - found["failed"].astype(float) - found["uncounted"].astype(float))
    np.testing.assert_allclose(left, found["counted"].astype(float), atol=1e-9)


@settings(max_examples=examples(20))
@given(st.lists(ROW, min_size=1, max_size=30))
def test_groups_add_up_to_their_union(rows):
    df = table(rows)
    parts = logitlab.distributions(df, KEYS)
    whole = logitlab.distributions(df, ["dtype", "quantity"]).set_index("quantity")
    for quantity, group in parts.groupby("quantity"):
        one = whole.loc[quantity]
        for name in ("rows", "counted"):
            assert group[name].sum() == one[name]
        for share, weight in (("failed", "rows"), ("uncounted", "rows"), ("beyond 10", "counted")):
            total = (group[share] * group[weight]).sum()
            np.testing.assert_allclose(total, 0 if pd.isna(one[share]) else one[share] * one[weight], atol=1e-9)
        known = group.dropna(subset="median")
        if len(known):
            assert known["largest"].max() == one["largest"]
            assert known["median"].min() <= one["median"] <= known["median"].max()


def test_failures_and_errors_that_no_grade_counts_are_in_no_quantile():
    rows = [("A", 0.5, 1, "loss", 0, "x/a"), ("B", 2.5, -1, "loss", 1, "x/a"), ("F", np.inf, 1, "loss", 0, "x/a")]
    df = table([*rows, ("A", 8e6, -1, "loss", 1, "x/a")])
    df["max_rel"] = 0.0  # the errors are those of subnormal numbers
    (line,) = logitlab.distributions(df, KEYS).to_dict("records")
    assert [line[name] for name in ("rows", "failed", "uncounted", "counted")] == [4, 0.25, 0.25, 2]
    assert (line["median"], line["largest"], line["beyond 1"]) == (1.5, 2.5, 0.5)
    assert (line["bias"], line["too large"], line["too small"]) == (-1.0, 0.5, 0.5)
    assert line["zeroed"] == 0.5  # two of four losses


# --- signed errors ----------------------------------------------------------------------------------------------


def test_the_signed_error_is_that_of_exact_fractions(df):
    losses = df[(df["quantity"] == "loss") & (df["status"] == "ok") & (df["row"] >= 0)]
    plain = losses[losses["case"].isin(["masks/first", "masks/on_target", "seed/article"])]
    signs = set()
    for line in plain.to_dict("records"):
        fmt, case = FORMATS[line["dtype"]], get_case(line["case"])
        exact = logitlab.reference(case.quantized(fmt), case.targets).loss
        hi, lo = exact.hi[line["row"]], exact.lo[line["row"]]
        if np.isnan(line["value"]):
            assert np.isnan(line["signed_ulp"])
        elif np.isfinite(line["value"]) and np.isfinite(hi):
            difference = Fraction(line["value"]) - Fraction(float(hi)) - Fraction(float(lo))
            in_ulp = difference / Fraction(float(ulp(hi, fmt, lo)))
            assert line["signed_ulp"] == pytest.approx(float(in_ulp), rel=1e-12)
            signs.add(np.sign(line["signed_ulp"]))
        else:
            assert line["signed_ulp"] == (0.0 if line["value"] == hi else np.sign(line["value"] - hi) * np.inf)
    assert signs >= {-1.0, 1.0}
    assert df.loc[df["quantity"] != "loss", "signed_ulp"].isna().all()
    same = losses["signed_ulp"].abs().fillna(losses["max_ulp"])
    assert same.equals(losses["max_ulp"])


# --- for users --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "nothing"), "cannot group by 'nothing'; choose from run, case"),
        ((pd.DataFrame({"grade": ["A"]}),), "has no column case, family"),
        ((Path("no run"),), "no run"),
        ((3,), "measurements is 3"),
    ],
)
def test_what_cannot_be_grouped_is_reported(arguments, message):
    with pytest.raises(UsageError, match=message):
        logitlab.distributions(*arguments)


def test_a_report_has_the_tables_and_their_text(small_run):
    found = {s.name: s for s in reports.make_report([small_run]).sections}
    loss, families = found["distribution_loss"], found["distribution_families"]
    assert "bias" in loss.table
    assert "bias" not in found["distribution_gradient"].table
    line = loss.table[(loss.table["implementation"] == "numpy/lse") & (loss.table["dtype"] == "float32")].iloc[0]
    words = loss.shown.set_index("implementation").loc["numpy/lse", "float32"]
    assert words == f"{line['median']:.2g} / {line['p90']:.2g} / {line['p99']:.2g}"
    assert {"naive", "lse", "log1p"} <= set(families.shown)
    along = found["distribution_along_offset"].table
    assert sorted(along["offset"].unique()) == [1.0, 100.0, 10000.0]


def test_a_band_has_its_numbers_in_order(small_run):
    measurements = reports.make_report([small_run]).source
    figures = list(bands.figures(measurements))
    assert {f.name for f in figures} == {
        f"band-offset-{q}-{d}" for q in ("loss", "gradient") for d in ("float32", "float64")
    }
    for figure in figures:
        (shown,) = figure.chart.to_dict()["datasets"].values()
        assert {row["kind"] for row in shown} >= {"naive", "lse", "log1p"}
        for row in shown:
            if row["median"] is not None:
                assert bands.FLOOR <= row["median"] <= row["p99"] <= row["largest"]


@pytest.mark.full
def test_the_site_has_a_page_of_distributions(small_site):
    page = (small_site / "distributions.html").read_text()
    assert "distribution_loss" in page
    assert "distribution_families" in page
    assert (small_site / "charts" / "band-offset-loss-float32.svg").exists()
    assert 'href="distributions.html"' in (small_site / "index.html").read_text()
