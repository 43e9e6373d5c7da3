"""Rows of files in quadruple precision: they agree with balls to 100 bits, and runs compare a sample with balls."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from logitlab import runner
from logitlab.cases import select_cases
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.oracle import _quad as quad
from logitlab.oracle import bulk, reference

pytestmark = pytest.mark.usefixtures("in_this_process")

QUANTITIES = ("loss", "probabilities", "gradient")


def assert_same(found, exact, bits=quad.BITS):
    for name in QUANTITIES:
        a, b = getattr(found, name), getattr(exact, name)
        np.testing.assert_array_equal(a.hi, b.hi)
        with np.errstate(invalid="ignore"):
            apart = np.abs((a.hi - b.hi) + (a.lo - b.lo))
        allowed = np.ldexp(np.abs(b.hi), -bits) + 2 * np.finfo(np.float64).smallest_subnormal
        assert ((apart <= allowed) | ~np.isfinite(b.hi)).all()
    # Balls give no number if the sum of the other classes lies beyond their exponents.
    known = ~np.isnan(exact.condition)
    np.testing.assert_allclose(found.condition[known], exact.condition[known], rtol=1e-15)
    np.testing.assert_array_equal(found.defined, exact.defined)
    np.testing.assert_array_equal(found.mass, exact.mass)
    assert found.scale == exact.scale


@pytest.mark.parametrize(
    "dtype", ["float32", *(pytest.param(d, marks=pytest.mark.full) for d in ("float16", "bfloat16", "float64"))]
)
def test_the_whole_catalogue_agrees_with_balls(dtype):
    """Starts at row 1: balls certify little and compute only the rows that quadruple precision leaves to them."""
    fmt = FORMATS[dtype]
    for case in select_cases():
        if case.plain and dtype in case.dtypes and case.classes < 100_000:
            x, t = case.quantized(fmt), case.quantized_targets(fmt)
            assert_same(bulk(x, t, first_row=1), reference(x, t), bits=104)


logits = st.one_of(
    st.floats(-100, 100), st.floats(width=32, allow_nan=True, allow_infinity=True), st.floats(), st.just(-np.inf),
    st.sampled_from([0.0, 1000.0, -1000.0, 1e-300, 709.78, -745.2]),
)  # fmt: skip


@given(arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=logits), st.integers(0, 2**32))
def test_any_rows_agree_with_balls(x, seed):
    t = np.random.default_rng(seed).integers(0, x.shape[1], len(x))
    assert_same(bulk(x, t, first_row=1), reference(x, t))


def test_a_batch_without_rows_has_no_answers():
    made = bulk(np.empty((0, 3)), np.empty(0, int))
    assert made.loss.hi.shape == (0,)
    assert made.gradient.hi.shape == (0, 3)


def test_a_sample_is_compared_with_balls_and_a_difference_leaves_all_rows_to_balls(monkeypatch):
    rng = np.random.default_rng(0)
    x, t = rng.normal(0, 10, (5, 4)), np.array([0, 1, 2, 3, 0])
    whole = quad.evaluate

    def off(x, t):
        found, doubtful = whole(x, t)
        found.gradient.lo[0, 2] += 2.0**-99 * found.gradient.hi[0, 2]
        return found, doubtful

    monkeypatch.setattr(quad, "evaluate", off)
    with pytest.warns(UserWarning, match="not good to 100 bits: 5 rows are evaluated by balls"):
        found = bulk(x, t)
    exact = reference(x, t)
    for name in QUANTITIES:
        np.testing.assert_array_equal(getattr(found, name).lo, getattr(exact, name).lo)
    # The first of 997 rows is the sample.
    np.testing.assert_array_equal(bulk(x, t, first_row=1).loss.hi, exact.loss.hi)


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 30, (400, 5)).astype(np.float32)
    x[7, 0], x[8], x[9, 2] = np.nan, -np.inf, np.inf
    np.savez(tmp_path / "x.npz", logits=x, targets=rng.integers(0, 5, 400), allow_pickle=False)
    return tmp_path / "x.npz"


def test_both_oracles_give_a_run_of_a_file_the_same_grades(file, tmp_path, monkeypatch):
    monkeypatch.setattr("logitlab.cases.inputs._logits_file.PIECE_ROWS", 200)
    one, other = (
        runner.run(
            logits=file,
            implementations=["numpy/naive", "numpy/log1p"],
            dtypes="float32",
            oracle=oracle,
            out=tmp_path / oracle,
        )
        for oracle in ("balls", "quad")
    )
    columns = ["case", "row", "quantity", "implementation", "status", "value", "exact", "grade", "verdict", "bits"]
    pd.testing.assert_frame_equal(one[columns], other[columns], check_exact=True)
    pd.testing.assert_frame_equal(one.drop(columns="run"), other.drop(columns="run"), check_exact=False, rtol=1e-13)
    manifests = [json.loads((tmp_path / oracle / "manifest.json").read_text()) for oracle in ("balls", "quad")]
    assert [m["oracle"] for m in manifests] == ["balls", "quad"]
    assert "numpy-quaddtype" in manifests[1]["versions"]


def test_a_run_is_not_resumed_with_another_oracle(file, tmp_path, capsys):
    words = ["run", "--logits", str(file), "--implementation", "numpy/lse", "--out", str(tmp_path / "run")]
    assert main([*words, "--oracle", "quad"]) == 0
    assert main([*words, "--resume"]) == 2
    assert "its versions differ" in capsys.readouterr().err


def test_another_oracle_is_refused():
    with pytest.raises(UsageError, match="unknown oracle 'tarot'; choose one of balls, quad"):
        runner.run(cases="seed/article", oracle="tarot")


def test_without_the_package_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "logitlab.oracle._quad")
    monkeypatch.delattr("logitlab.oracle._quad")
    monkeypatch.setitem(sys.modules, "numpy_quaddtype", None)
    with pytest.raises(UsageError, match=r"pip install 'logitlab\[quad\]'"):
        runner.run(cases="seed/article", oracle="quad")
