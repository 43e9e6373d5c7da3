"""Exhaustive studies: all rows are there, the exact answers are right, and one wrong row costs the proof."""

import json
import math

import mpmath
import numpy as np
import pandas as pd
import pytest
from in_process import InThisProcess

import logitlab
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS, NARROW, get_format
from logitlab.core.rounding import quantize, ulp
from logitlab.execution import pool, registry
from logitlab.frameworks import Batch, Framework, Implementation
from logitlab.oracle import reference
from logitlab.studies.exhaustive import _exhaustive, _picture, exhaustive, show
from logitlab.studies.exhaustive._curve import SIDE, places
from logitlab.studies.exhaustive._group import PairGroup
from logitlab.studies.exhaustive._rows import Kind, Rows, all_rows, finite_numbers

QUANTITIES = ("probabilities", "loss", "gradient")
ALL = 2 * 63_488  # rows of float16
WRONG = float(np.float16(-2.4375))  # h of the row [h, -h] that the planted loss gets wrong


# --- the rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float16", "bfloat16", *NARROW])
def test_the_numbers_are_those_of_all_codes(name):
    fmt = get_format(name)
    bits = {"float6": 6, "float4": 4}.get(name.partition("_")[0], 8 * fmt.dtype.itemsize)
    codes = np.arange(2**bits).astype(np.uint16 if bits == 16 else np.uint8).view(fmt.dtype)
    with np.errstate(invalid="ignore"):  # signaling NaN
        codes = codes.astype(np.float64)
    finite = np.sort(codes[np.isfinite(codes)])
    found = finite_numbers(fmt)
    np.testing.assert_array_equal(found, finite)
    assert np.signbit(found).sum() == np.signbit(codes[np.isfinite(codes)]).sum()


@pytest.mark.parametrize(
    ("name", "kind", "number"),
    [
        ("float16", Kind.CENTRED, ALL),
        ("bfloat16", Kind.CENTRED, 2 * 65_280),
        ("e4m3fn", Kind.PAIRS, 2 * 254**2),
        ("e5m2", Kind.PAIRS, 2 * 248**2),
        ("e5m6", Kind.CENTRED, 2 * 2 * 31 * 64),
    ],
)
def test_a_study_has_every_row_once_with_each_target(name, kind, number):
    rows = all_rows(get_format(name))
    assert (rows.kind, rows.number) == (kind, number)
    assert f"{number:,}" in rows.wording
    keys = np.stack([rows.logits[:, 0].view(np.int64), rows.logits[:, 1].view(np.int64), rows.targets])
    assert not pd.DataFrame(keys.T).duplicated().any()
    np.testing.assert_array_equal(quantize(rows.logits, rows.fmt).astype(np.float64), rows.logits)
    if kind is Kind.CENTRED:
        np.testing.assert_array_equal(rows.logits[:, 0], -rows.logits[:, 1])
    cases = rows.cases()
    np.testing.assert_array_equal(np.concatenate([c.logits for c in cases]), rows.logits)
    np.testing.assert_array_equal(np.concatenate([c.targets for c in cases]), rows.targets)


def test_a_format_with_too_many_numbers_is_refused():
    with pytest.raises(UsageError, match=r"float32 has 4,278,190,078 numbers, too many to measure each; choose a"):
        all_rows(FORMATS["float32"])


@pytest.mark.parametrize("name", ["float16", "bfloat16", "e3m2fn", "e5m2"])
def test_the_answers_by_gap_are_those_of_the_rows(name):
    rows = all_rows(get_format(name))
    some = np.unique(np.linspace(0, rows.number - 1, 800).astype(int))
    logits, targets = rows.logits[some], rows.targets[some]
    found = PairGroup.of_rows(Rows(rows.fmt, rows.kind, logits, targets)).exact
    each = reference(logits, targets, keep=False)
    for quantity in QUANTITIES:
        for half in ("hi", "lo"):
            given, expected = (getattr(getattr(r, quantity), half) for r in (found, each))
            np.testing.assert_array_equal(given, expected)
    np.testing.assert_allclose(found.condition, each.condition, rtol=1e-14)
    np.testing.assert_array_equal(found.sole_target, each.sole_target)
    assert found.defined.all()


# --- NumPy in float16 -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_process():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_exhaustive, "Pools", InThisProcess)
        yield


FORMULAS = ["numpy/naive", "numpy/lse", "numpy/log1p", "numpy/scipy*"]


@pytest.fixture(scope="module")
def study(in_process):
    return logitlab.exhaustive("float16", "numpy", FORMULAS, progress=False)


def exact_of(gap, quantity, entry, target):
    """Return an exact value of a row of two classes by its gap, at 200 bits."""
    with mpmath.workprec(200):
        other = 1 / (1 + mpmath.exp(mpmath.mpf(gap)))  # the probability of the class that is not the target
        if quantity == "loss":
            return mpmath.log1p(mpmath.exp(-mpmath.mpf(gap)))
        if quantity == "gradient":
            return -other if entry == target else other
        return 1 / (1 + mpmath.exp(-mpmath.mpf(gap))) if entry == target else other


def test_the_worst_rows_are_right_by_mpmath(study):
    lines = study.table[study.table["worst_value"].map(math.isfinite)]
    assert len(lines) >= 8
    for line in lines.to_dict("records"):
        logits, target = (line["worst_first"], line["worst_second"]), int(line["worst_target"])
        assert line["worst_gap"] == logits[target] - logits[1 - target]
        exact = exact_of(line["worst_gap"], line["quantity"], int(line["worst_entry"]), target)
        assert line["worst_exact"] == float(exact)
        spacing = float(ulp(float(exact), FORMATS["float16"]))
        assert line["worst_ulp"] == pytest.approx(float(abs(mpmath.mpf(line["worst_value"]) - exact)) / spacing, 1e-9)


def test_no_row_of_a_sample_is_worse_than_the_worst(study):
    rows = all_rows(FORMATS["float16"])
    some = np.linspace(0, rows.number - 1, 1500).astype(int)
    logits, targets = rows.logits[some].astype(np.float16), rows.targets[some]
    framework = registry.load("numpy")
    for name in ("numpy/lse", "numpy/log1p"):
        found = dict(framework.evaluate(framework.all_implementations[name], Batch(logits, targets), "cpu", "eager"))
        lines = study.table[study.table["implementation"] == name].set_index("quantity")
        losses = found["loss"].astype(np.float64)
        worst = 0.0
        for loss, gap in zip(losses, rows.gap[some], strict=True):
            exact = exact_of(gap, "loss", 0, 0)
            if math.isfinite(loss):
                worst = max(worst, float(abs(mpmath.mpf(loss) - exact)) / float(ulp(float(exact), rows.fmt)))
        assert 0 < worst <= lines.loc["loss", "largest_ulp"] * (1 + 1e-9)


def test_a_line_counts_all_rows_and_its_grades_are_in_order(study):
    assert set(study.table["rows"]) == {ALL}
    assert set(study.table["measured"]) == {ALL}
    for line in study.table.to_dict("records"):
        lost = [line[f"{g}_lost_at"] for g in "abcd"]
        below = [not math.isnan(gap) for gap in lost]
        assert below == [rank < "ABCDF".index(line["grade"]) for rank in range(4)]
        magnitudes = [abs(gap) for gap in lost if not math.isnan(gap)]
        assert magnitudes == sorted(magnitudes)
        assert line["beyond_1_ulp"] >= line["beyond_10_ulp"] >= line["beyond_1000_ulp"]
        assert pd.notna(line["proof"]) == (line["grade"] in "ABC")


def test_each_formula_fails_where_theory_says(study):
    loss = study.table[study.table["quantity"] == "loss"].set_index("implementation")
    assert loss.loc["numpy/log1p", "proof"] == f"grade A on {study.rows['float16']}"
    # naive: half of the smallest number, 2^-25, is exp(-17.33), and a smaller probability is 0.
    naive = loss.loc["numpy/naive"]
    assert (naive["grade"], naive["worst_value"]) == ("F", math.inf)
    assert naive["worst_gap"] == -17.34375
    # lse: from exp(-7.62) on, 1 + exp(-gap) is 1, and the loss of a sure row is 0. A centred row has no offset for a C.
    lse = loss.loc["numpy/lse"]
    assert (lse["grade"], lse["worst_value"], lse["worst_gap"]) == ("B", 0.0, 7.625)
    assert lse["worst_exact"] == pytest.approx(2.0**-11, rel=1e-3)


def test_proved_grades_of_numpy_and_scipy(study):
    proved = study.table[study.table["grade"] == "A"].groupby("quantity")["implementation"].apply(set)
    assert proved["loss"] == proved["gradient"] == {"numpy/log1p"}
    assert proved["probabilities"] == {"numpy/log1p", "numpy/scipy.special.softmax"}


@pytest.mark.pinned
@pytest.mark.full
def test_proved_grades_of_torch_and_jax(monkeypatch):
    monkeypatch.setattr(_exhaustive, "Pools", pool.Pools)
    table = logitlab.exhaustive("float16", ["torch", "jax"], progress=False).table
    assert set(table["status"]) == {"ok"}
    assert set(table["measured"]) == {ALL}
    proved = table[table["grade"] == "A"].groupby("quantity")["implementation"].apply(set)
    accurate = {"torch/log1p", "jax/log1p", "torch/F.cross_entropy[softcap]", "torch/F.cross_entropy[autocast]"}
    assert proved["loss"] == proved["gradient"] == accurate
    lines = table.set_index(["implementation", "quantity"])
    # A sure row's own digits are lost from 1 + exp(-gap) on; 0 times an infinite log-probability is NaN.
    assert lines.loc[("torch/F.cross_entropy", "loss"), "grade"] == "B"
    for name in ("torch/F.cross_entropy[probabilities]", "jax/optax.softmax_cross_entropy"):
        assert lines.loc[(name, "loss"), ["grade", "worst_gap", "worst_verdict"]].to_list() == ["F", 65_536.0, "nan"]


# --- the picture ------------------------------------------------------------------------------------------------


def test_the_curve_has_the_worst_row_of_each_grade(study):
    for line in study.table.to_dict("records"):
        of_line = (study.curve["implementation"] == line["implementation"]) & (
            study.curve["quantity"] == line["quantity"]
        )
        curve = study.curve[of_line]
        worst = curve[curve["grade"] == line["grade"]]
        assert line["worst_ulp"] <= worst["ulp"].max()
        assert ((worst["gap"] == line["worst_gap"]) | np.isinf(worst["ulp"])).any()
        finite = curve["ulp"][np.isfinite(curve["ulp"])]
        assert finite.max() == line["largest_ulp"]
        assert curve.groupby(["column", "grade"]).size().max() == 1
        assert len(curve) <= (2 * SIDE + 1) * 5


def test_the_picture_shows_the_worst_row_of_each_panel(study):
    pytest.importorskip("altair")
    found = {p.name: p.chart.to_dict(validate=False) for p in _picture.pictures(study.table, study.curve, study.rows)}
    assert set(found) == {f"float16-{q}" for q in QUANTITIES}
    (bars,) = (pd.DataFrame(bars) for bars in found["float16-loss"]["datasets"].values())
    lines = study.table[study.table["quantity"] == "loss"].drop_duplicates("bits")
    assert bars["panel"].nunique() == len(lines) == bars["worst"].sum()
    top = 1e6  # of the axis, where a value that is not finite is drawn
    for line in lines.to_dict("records"):
        panel = bars[bars["panel"].str.startswith(f"{line['implementation']}\n")]
        worst = panel[panel["worst"]].iloc[0]
        assert worst["place"] == pytest.approx(places(np.array([line["worst_gap"]]), FORMATS["float16"])[0], abs=1e-5)
        assert worst["left"] <= worst["place"] <= worst["right"]
        assert worst["height"] == pytest.approx(min(line["worst_ulp"], top), rel=5e-3)
        curve = study.curve[
            (study.curve["implementation"] == line["implementation"]) & (study.curve["quantity"] == "loss")
        ]
        assert (panel["right"] - panel["left"]).sum() * SIDE == pytest.approx(len(curve), abs=1e-2)
        for grade, of_grade in curve.groupby("grade"):
            tallest = panel.loc[panel["grade"] == grade, "height"].max()
            assert tallest == pytest.approx(min(of_grade["ulp"].max(), top), rel=5e-3)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "e4m3fn", "e5m6"])
def test_every_gap_has_a_place_on_the_axis_in_order(name):
    rows = all_rows(get_format(name))
    place = places(np.unique(rows.gap), rows.fmt)
    assert (np.diff(place) >= 0).all()
    assert (place[0], place[-1]) == (-place[-1], place[-1])
    assert (np.abs(place) <= 1).all()
    assert (place == 0).sum() == 1


# --- a defect at one gap ----------------------------------------------------------------------------------------


class Planted(Framework):
    """A loss of float16 that is right everywhere, but where ``wrong`` changes it."""

    name = "planted"
    implementations = (Implementation("planted/loss", "builtin", loss=None, package="numpy"),)

    def __init__(self, wrong):
        self.wrong = wrong

    def evaluate(self, implementation, batch, device, mode):
        x, t = batch.logits.astype(np.float64), batch.targets
        rows = np.arange(len(x))
        gap = x[rows, t] - x[rows, 1 - t]
        with np.errstate(over="ignore", under="ignore"):
            loss, other = np.logaddexp(0, -gap), 1 / (1 + np.exp(gap))
            yield "loss", self.wrong(x, t, loss).astype(np.float16)
        gradient = np.stack([other, other], axis=1)
        gradient[rows, t] *= -1
        yield "gradient", gradient.astype(np.float16)


@pytest.fixture
def planted(monkeypatch, in_process):
    def measure(wrong):
        framework = Planted(wrong)
        monkeypatch.setattr(registry, "names", lambda: ("planted",))
        monkeypatch.setattr(registry, "load", lambda name: framework)
        return exhaustive("float16", progress=False)

    return measure


def at_one_row(x, t):
    return (x[:, 0] == WRONG) & (t == 1)


def test_a_sound_loss_is_proved(planted):
    table = planted(lambda x, t, loss: loss).table
    assert set(table["grade"]) == {"A"}
    assert table["proof"].notna().all()
    assert (table["largest_ulp"] <= 0.5 + 1e-6).all()
    assert not table["beyond_1_ulp"].any()


def test_one_wrong_row_of_all_costs_the_proof(planted):
    found = planted(lambda x, t, loss: np.where(at_one_row(x, t), loss * 1.02, loss))
    line = found.table.set_index("quantity").loc["loss"]
    assert line["grade"] == "B"
    assert line["proof"] == line["proof"].replace("grade A", "")
    assert line["a_lost_at"] == line["worst_gap"] == -2 * WRONG
    assert (line["worst_first"], line["worst_second"], line["worst_target"]) == (WRONG, -WRONG, 1)
    assert line["beyond_1_ulp"] == 1 / ALL
    assert line["measured"] == ALL
    assert found.table.set_index("quantity").loc["gradient", "grade"] == "A"
    curve = found.curve[(found.curve["quantity"] == "loss") & (found.curve["grade"] == "B")]
    assert list(curve["gap"]) == [-2 * WRONG]


def test_one_value_that_is_not_finite_is_marked(planted, capsys):
    found = planted(lambda x, t, loss: np.where(at_one_row(x, t), np.nan, loss))
    line = found.table.set_index("quantity").loc["loss"]
    assert (line["grade"], line["not_finite"], line["worst_verdict"]) == ("F", 1, "nan")
    assert line["largest_ulp"] <= 0.5 + 1e-6
    assert pd.isna(line["proof"])
    assert list(found.curve.loc[np.isinf(found.curve["ulp"]), "gap"]) == [-2 * WRONG]
    show(found)
    printed = capsys.readouterr().out
    assert f"proof: grade A on all {ALL:,} rows" in printed
    assert "in gradient: planted/loss" in printed
    assert "in loss" not in printed


def test_the_rows_of_the_other_parts_are_kept_if_one_part_raises(planted):
    def raises(x, t, loss):
        if at_one_row(x, t).any():
            raise ValueError("one row too many")
        return loss

    found = planted(raises)
    for line in found.table.to_dict("records"):
        assert line["status"] == "raised"
        assert "one row too many" in line["detail"]
        assert line["measured"] == ALL - ALL // 32
        assert line["grade"] == "A"
        assert line["proof"] is None


def test_a_loss_that_never_returns_a_result_has_a_line_and_no_picture(planted, capsys):
    def raises(x, t, loss):
        raise ValueError("never")

    found = planted(raises)
    assert set(found.table["status"]) == {"raised"}
    assert not found.table["measured"].any()
    assert found.curve.empty
    assert _picture.pictures(found.table, found.curve, found.rows) == []
    show(found)
    assert "planted/loss: raised: ValueError: never" in capsys.readouterr().out


# --- the verb ---------------------------------------------------------------------------------------------------


def test_the_verb_writes_a_table_and_pictures_once(monkeypatch, tmp_path, capsys):
    pytest.importorskip("altair")
    monkeypatch.setattr(_exhaustive, "Pools", pool.Pools)
    out = tmp_path / "study"
    words = ["exhaustive", "--framework", "numpy", "--implementation", "numpy/log1p", "--out", str(out)]
    assert main(words) == 0
    names = {f"float16-{q}.{kind}" for q in QUANTITIES for kind in ("svg", "png")}
    assert {p.name for p in out.iterdir()} == names | {"exhaustive.json", "exhaustive.csv"}
    printed = capsys.readouterr().out
    assert all(str(path) in printed for path in out.iterdir())
    kept = json.loads((out / "exhaustive.json").read_text())
    assert [line["grade"] for line in kept["table"]] == ["A", "A", "A"]
    assert kept["rows"] == {"float16": f"all {ALL:,} rows [h, -h] of a finite number h, with both targets"}
    assert len(pd.read_csv(out / "exhaustive.csv")) == 3
    assert main(words) == 2
    assert "exhaustive.json already exists" in capsys.readouterr().err
