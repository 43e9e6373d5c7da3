"""Browsing the catalogue: the laws of filters, the exact numbers of a case, and the thresholds near it."""

import dataclasses
import itertools
import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from logitlab.cases import all_cases, select_cases
from logitlab.cases._tags import TAGS
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS, overflow, underflow_to_subnormal, underflow_to_zero
from logitlab.core.rounding import ulp
from logitlab.oracle import Exact, linear_reference, reference
from logitlab.studies.browse import _thresholds as thresholds
from logitlab.studies.browse import listing, showing
from logitlab.studies.browse._linear import LinearView


# On first use: building the catalogue takes long, and every worker imports this file.
@cache
def whole() -> pd.DataFrame:
    return listing.catalogue()


def families() -> list[str]:
    return sorted(set(whole()["family"]))


def used() -> list[str]:
    return sorted({tag for c in all_cases() for tag in c.tags})


SOURCES = ["optax", "PYTORCH/pytorch", "#1020", "*/jax#*", "keras"]


# --- filters ----------------------------------------------------------------------------------------------------

some = {
    "patterns": st.lists(st.sampled_from(["*", "gap/*", "field_*/*", "seed/article"]), max_size=2),
    "families": st.lists(st.deferred(lambda: st.sampled_from(families())), max_size=8),
    "tags": st.lists(st.deferred(lambda: st.sampled_from(used())), max_size=3),
    "dtypes": st.lists(st.sampled_from(list(FORMATS)), max_size=2),
    "sources": st.lists(st.sampled_from(SOURCES), max_size=2),
}


def listed(**filters):
    try:
        return set(listing.catalogue(**filters)["case"])
    except UsageError:
        return set()


@settings(max_examples=examples(12))
@given(st.fixed_dictionaries(some))
def test_filters_given_together_keep_the_cases_that_each_keeps(filters):
    alone = [listed(**{name: words}) for name, words in filters.items()]
    assert listed(**filters) == set.intersection(*alone)


@pytest.mark.parametrize("name", some)
def test_words_of_one_filter_are_alternatives(name):
    words = {"patterns": ["gap/*", "seed/*"], "families": families(), "tags": used(), "dtypes": list(FORMATS)}
    for one, other in itertools.pairwise({**words, "sources": SOURCES}[name]):
        assert listed(**{name: [one, other]}) == listed(**{name: one}) | listed(**{name: other})


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({"families": "gap"}, lambda c: c.family == "gap"),
        ({"families": "field_*"}, lambda c: c.family.startswith("field_")),
        ({"tags": "near-zero"}, lambda c: "near-zero" in c.tags),
        ({"tags": ["mask", "nan"]}, lambda c: bool((np.isnan(c.logits) | (c.logits == -np.inf)).any())),
        ({"dtypes": "float16"}, lambda c: "float16" in c.dtypes),
        ({"sources": "pytorch/PYTORCH"}, lambda c: c.source is not None and "pytorch/pytorch" in c.source),
        ({"sources": "#1020"}, lambda c: c.source is not None and "#1020" in c.source),
        ({"sources": "dao-ailab"}, lambda c: c.source is not None and c.source.startswith("Dao-AILab/")),
        ({"sources": "*"}, lambda c: c.source is not None),
        ({}, lambda c: True),
    ],
)
def test_a_filter_keeps_the_cases_that_pass_and_no_others(filters, passes):
    assert listed(**filters) == {c.id for c in all_cases() if passes(c)}


def test_the_list_keeps_the_catalogues_order_and_columns():
    found = listing.catalogue(tags=["field", "seeded"])
    assert list(found.columns) == list(whole().columns)
    assert list(found["case"]) == [c for c in whole()["case"] if c in set(found["case"])]


def test_every_tag_is_explained_and_every_explained_tag_is_used():
    assert set(used()) == set(TAGS)


def test_tags_that_follow_from_the_arrays_are_set():
    for c in all_cases():
        assert ("wide" in c.tags) == (c.classes >= 1000)
        assert ("probabilities" in c.tags) == (c.targets.ndim == 2)
        assert {"mean", "sum"} & set(c.tags) == {c.reduction} - {"none"}
        assert len(set(c.tags)) == len(c.tags)


def test_a_case_tagged_as_near_zero_has_a_small_loss():
    for c in select_cases():
        if "near-zero" in c.tags and c.reduction == "none":
            loss = reference(c.logits, c.targets).loss.hi
            assert (loss < 0.1).any(), c.id


# --- one case ---------------------------------------------------------------------------------------------------


def softmax(logits):
    top = max(logits)
    exps = [mp.exp(x - top) for x in logits]
    others = mp.fsum(e for j, e in enumerate(exps) if j != logits.index(top))
    return [e / mp.fsum(exps) for e in exps], mp.log1p(others) + top


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("name", ["seed/article", "gap/50_high", "certainty/margin_36", "order/ramp_17", "ties/5"])
def test_every_digit_that_is_shown_is_right(name, dtype):
    seen = showing.view(name, dtype)
    (c,) = select_cases(name)
    held = c.quantized(FORMATS[dtype]).astype(np.float64)
    with mp.workdps(1500):
        for r, row in enumerate(seen.rows):
            p, log_sum = softmax([mpf(x) for x in held[r].tolist()])
            target = int(c.targets[r])
            assert row.target == target
            same(row.loss, log_sum - mpf(held[r, target]))
            for e in row.classes():
                j = e.index
                assert (e.logit, e.given, e.target) == (held[r, j], c.logits[r, j], j == target)
                same(e.probability, p[j])
                same(e.gradient, p[j] - (1 if j == target else 0))


def same(shown, exact):
    if shown == showing.BENEATH:
        assert 0 < abs(exact) < 5e-324
    else:
        # Half a unit in the twentieth digit.
        assert abs(mpf(shown) - exact) <= mpf(10) ** (math.floor(mp.log10(abs(exact))) - 19) / 2


@settings(max_examples=examples(60))
@given(st.floats(1e-290, 1e290), st.floats(-0.5, 0.5))
def test_twenty_digits_are_the_sum_of_both_halves_rounded_once(hi, part):
    lo = float(np.spacing(hi)) * part
    with mp.workdps(700):
        shown, exact = showing.digits(Exact(np.float64(hi), np.float64(lo))), mpf(hi) + mpf(lo)
        assert abs(mpf(shown) - exact) <= mpf(10) ** (math.floor(mp.log10(exact)) - 19) / 2


def test_fewer_digits_are_shown_where_float64_holds_fewer():
    assert showing.digits(Exact(np.float64(2.0**-1060), np.float64(0.0))) == "8.09e-320"


def test_the_loss_is_rounded_to_the_dtype_once():
    rows = showing.view("padding/float16_min_beyond", "float16").rows
    assert [row.rounded for row in rows] == [math.inf, 65504.0]
    assert [row.loss for row in rows] == ["65520.000000112535168", "65519.000000305902274"]


def test_a_reduced_case_shows_the_mean_the_row_losses_and_the_gradient_of_the_mean():
    seen = showing.view("seed/article_mean", "float32")
    assert seen.loss == "667.27487866028969614"
    assert [row.loss[:6] for row in seen.rows] == ["0.4170", "2000", "1.4076"]
    (hot,) = (c for c in seen.rows[1].classes() if c.index == 2)
    assert hot.gradient == "-0.33333333333333333333"
    assert showing.view("seed/article").loss is None


@pytest.mark.parametrize(
    ("name", "losses", "note"),
    [
        ("masks/all", ["NaN"], "no limit exists"),
        ("special/nan", ["NaN"], "a NaN logit"),
        ("special/posinf_on_target", ["0"], "one logit of +inf"),
        ("masks/all_but_one", ["inf"], ""),
        ("masks/all_but_target", ["0", "0"], ""),
        ("ignored/all_none", ["0"] * 3, "ignored"),
        ("weights/only_zero_mean", ["0", "0"], "a mean over nothing"),
        ("invalid/far_above", ["none", "1.4076059644443803045"], "target 1000 is not a class"),
        ("gap/2000_high", [showing.BENEATH] * 2, ""),
    ],
)
def test_rows_without_an_ordinary_answer_have_a_note(name, losses, note):
    rows = showing.view(name).rows
    assert [row.loss for row in rows] == losses
    assert rows[0].note.startswith(note)
    assert note or rows[0].note == ""


def test_a_loss_that_float64_cannot_hold_is_not_called_infinite():
    assert showing.view("special/float64_largest", "float64").rows[0].loss == showing.ABOVE


def test_a_large_case_shows_the_target_and_the_extremes():
    for name in ("random/c1000_s10", "reductions/many_rows_mean", "masks/wide_990", "field_options/pytorch_116349"):
        seen = showing.view(name)
        assert len(seen.rows) <= showing.MAX_LINES
        for row in seen.rows:
            held = seen.case.quantized(FORMATS["float32"])[row.row].astype(np.float64)
            finite = held[np.isfinite(held)]
            classes = list(row.classes())
            assert len(classes) <= showing.MAX_LINES
            assert {finite.max(), finite.min()} <= {c.logit for c in classes}
            assert row.target < 0 or row.target in {c.index for c in classes}


def test_a_mean_of_losses_too_small_for_float64_is_not_called_zero():
    """The rows of masks/all_but_target have a loss of exactly 0, those of gap/2000_high of e^-2000."""
    for name, digits in (("masks/all_but_target", "0"), ("gap/2000_high", showing.BENEATH)):
        (c,) = select_cases(name)
        mean = dataclasses.replace(c, reduction="mean")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(showing, "find_case", lambda name, mean=mean: mean)
            assert showing.view(name).loss == digits


def test_one_row_is_shown_alone():
    assert showing.view("reductions/many_rows_mean", "float64", 299).rows[0].row == 299


# --- thresholds -------------------------------------------------------------------------------------------------


def found(view, row, quantity, event):
    of_quantity = (a for a in view.rows[row].thresholds() if a.threshold.quantity == quantity)
    (approach,) = (a for a in of_quantity if event in a.threshold.event)
    return approach


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("side", "steps"), [("below", -1), ("at", 0), ("above", 1)])
def test_overflow_cases_stand_within_an_ulp_of_where_exp_overflows(name, side, steps):
    line = found(showing.view(f"overflow/{name}_{side}", name), 0, "x", "exp(x) overflows")
    assert (line.index, line.ulps, line.near) == (0, steps, True)
    assert line.threshold.limit == overflow(FORMATS[name])
    assert line.past == (line.value > line.threshold.limit)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("event", "limit"), [("subnormal", underflow_to_subnormal), ("zero", underflow_to_zero)])
def test_underflow_cases_stand_within_an_ulp_of_where_exp_underflows(name, event, limit):
    for side, steps in (("below", -1), ("at", 0), ("above", 1)):
        line = found(showing.view(f"underflow/{name}_{event}_{side}", name), 0, "x", f"exp(x) is {event}")
        assert (line.index, line.ulps, line.threshold.limit) == (1, steps, limit(FORMATS[name]))


@pytest.mark.parametrize("name", FORMATS)
def test_a_sum_that_overflows_is_reported_where_no_exponential_does(name):
    seen = showing.view(f"overflow/{name}_sum", name)
    assert found(seen, 0, "sum", "the sum of exp(x) overflows").past == 1
    others = (a for a in seen.rows[0].thresholds() if a.threshold.event == "exp(x) overflows")
    assert not any(a.past for a in others)


def test_a_lost_digit_is_reported_from_the_margin_at_which_it_is_lost():
    """ln 2^-24 is -16.64; the others of a margin of 17 are exp(-17) + exp(-17.5), or -16.53: short of it."""
    for margin, near, past in (("16.5", True, 0), ("17", True, 0), ("25", False, 1)):
        line = found(showing.view(f"certainty/margin_{margin}"), 0, "others", "log(1 + others) is 0")
        assert (line.near, line.past) == (near, past)


def test_a_spacing_larger_than_the_loss_is_reported():
    seen = showing.view("field_overflow/pytorch_11752")
    assert found(seen, 1, "loss", "less than a spacing").value == pytest.approx(math.log(math.log(2)))
    assert found(seen, 1, "max|x|", "no odd numbers").past == 1
    assert seen.rows[0].thresholds() == []


def test_a_loss_that_rounds_to_infinity_is_past_and_one_that_does_not_is_near():
    seen = showing.view("padding/float16_min_beyond", "float16")
    lines = [found(seen, r, "loss", "the loss is beyond float16") for r in (0, 1)]
    assert [(line.near, line.past) for line in lines] == [(True, 1), (True, 0)]


def test_terms_lost_beside_one_are_counted():
    line = found(showing.view("stagnation/float32_2049"), 0, "x - max", "lost when added to 1")
    assert line.past == 2048


@pytest.mark.parametrize("name", FORMATS)
def test_ordinary_logits_are_not_near_a_threshold(name):
    x = np.array([0.5, -1.0, 2.0])
    assert thresholds.near(x, np.array([True, False, False]), 0.5, FORMATS[name]) == []


@pytest.mark.parametrize("row", [[math.nan, 1.0], [math.inf, 1.0], [-math.inf, -math.inf]])
def test_a_row_without_a_finite_softmax_is_not_near_a_threshold(row):
    assert thresholds.near(np.array(row), np.array([True, False]), math.nan, FORMATS["float32"]) == []


@settings(max_examples=examples(60))
@given(st.lists(st.floats(-800, 800, width=16), min_size=1, max_size=6), st.sampled_from(list(FORMATS)))
def test_thresholds_near_or_past_are_those_of_the_logits(logits, name):
    """The counts and the nearest number equal those of a plain loop over the logits."""
    fmt = FORMATS[name]
    lines = thresholds.near(np.array(logits), np.arange(len(logits)) == 0, math.nan, fmt)
    of_x = [line for line in lines if line.threshold.event == "exp(x) overflows"]
    past = sum(x > overflow(fmt) for x in logits)
    distance = min(abs(x - overflow(fmt)) for x in logits)
    near = distance <= max(1.0, float(ulp(overflow(fmt), fmt)))
    assert len(of_x) == bool(past or near)
    for line in of_x:
        assert (line.past, line.near) == (past, near)
        assert logits[line.index] == line.value
        assert not near or abs(line.value - line.threshold.limit) == distance


# --- the command line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cases", "--family", "gaps"], "unknown family 'gaps'; choose from the families certainty, "),
        (["cases", "--tag", "nice"], "unknown tag 'nice'; choose from the tags bfloat16, field, "),
        (["cases", "--dtype", "float8"], "unknown dtype 'float8'; choose one of float16"),
        (["cases", "--source", "nowhere"], "no case passes all filters: source nowhere;"),
        (["cases", "gap/*", "--tag", "field"], "no case passes all filters: case gap/*, tag field;"),
        (["cases", "show", "seed/*"], "no case is named 'seed/*'; give a full family/name"),
        (["cases", "show", "seed/article", "--row", "3"], "seed/article has no row 3; give a row from 0 to 2"),
        (["cases", "show", "reductions/empty_sum", "--row", "0"], "has no row 0; it has no rows; choose another case"),
        (["cases", "show", "seed/article", "--dtype", "int8"], "unknown dtype 'int8'"),
        (["cases", "show", "offset/1e07", "--dtype", "float16"], "float16 cannot hold offset/1e07: a finite logit"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def narrow(text):
    return max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    "arguments",
    [
        ["cases", "gap/5_*"],
        ["cases", "list", "gap/5_*"],
        ["cases", "--case", "gap/5_*"],
        ["cases", "--dtype", "float16", "gap/5_*", "--family", "gap"],
    ],
)
def test_cases_lists_the_cases_that_pass_the_filters(arguments, capsys):
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "gap/5_low " in shown
    assert "[near-zero]" in shown
    assert shown.endswith("2 cases in 1 family\n")


def test_the_whole_list_fits_a_hundred_columns(capsys):
    assert main(["cases"]) == 0
    shown = capsys.readouterr().out
    assert narrow(shown)
    assert [name for name in whole()["case"] if name not in shown] == []


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("family", ["seed", "special", "smoothing", "soft", "ignored", "invalid"])
def test_any_case_can_be_shown_in_a_hundred_columns(family, dtype, capsys):
    for c in select_cases(f"{family}/*"):
        if dtype in c.dtypes:
            assert main(["cases", "show", c.id, "--dtype", dtype]) == 0
            shown = capsys.readouterr().out
            assert narrow(shown)
            assert shown.startswith(f"{c.id} in {dtype}\n")
            assert shown.count("\nrow ") == min(c.rows, showing.MAX_LINES)


def test_a_shown_case_names_its_threshold(capsys):
    assert main(["cases", "show", "overflow/float32_at", "--row", "0"]) == 0
    shown = capsys.readouterr().out
    assert "row 0, target 0: loss 1.0927045546329340653e-38\n" in shown
    assert "near: exp(x) overflows above 88.7228: class 0 at 88.72284, the nearest number to it\n" in shown
    assert "1 of 3 rows are shown" in shown


def test_a_rounded_logit_is_shown_with_the_given_one(capsys):
    assert main(["cases", "show", "seed/article", "--dtype", "bfloat16"]) == 0
    assert "0.10009765625 (0.1)" in capsys.readouterr().out


def test_the_reasons_and_the_source_are_shown(capsys):
    assert main(["cases", "show", "field_masks/optax_896"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    (c,) = select_cases("field_masks/optax_896")
    for words in (c.why, c.reported, f"source: {c.source}", "tags: field, mask", "held by: float16, bfloat16"):
        assert words in shown


def test_a_case_without_rows_shows_no_rows():
    assert showing.view("reductions/empty_none").rows == ()


# --- hidden states ----------------------------------------------------------------------------------------------


def test_tables_name_the_problem():
    assert set(whole()["problem"]) == {"logits", "linear"}
    assert set(whole().loc[whole()["family"].str.startswith("linear_"), "problem"]) == {"linear"}
    found = listing.implementations(["numpy"]).set_index("implementation")["problem"]
    assert (found["numpy/lse"], found["numpy/lse[linear]"]) == ("logits", "linear")


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_a_linear_case_shows_shapes_losses_and_the_largest_entries_of_its_gradients(dtype, capsys):
    view = showing.view("linear_layers/bias_s1", dtype)
    assert isinstance(view, LinearView)
    hidden, weight, bias = view.case.quantized_inputs(FORMATS[dtype])
    exact = linear_reference(hidden, weight, view.case.targets, bias=bias)
    for row in range(8):
        assert float(view.row_loss(row)) == exact.loss.hi[row]
    for name, shape, entry, place in view.gradients():
        values = getattr(exact, name).hi
        index = tuple(int(part.split()[1]) for part in place.split(", "))
        assert shape == " x ".join(map(str, values.shape))
        assert abs(float(entry)) == np.abs(values).max() == abs(values[index])
    assert main(["cases", "show", "linear_layers/bias_s1", "--dtype", dtype]) == 0
    text = capsys.readouterr().out
    assert "hidden 8 x 64, weight 40 x 64, bias 40" in text
    assert "probability" not in text


def test_one_row_of_a_reduced_linear_case():
    view = showing.view("linear_ignored/nan_row_mean", "float32", 1)
    assert (view.note(1), view.row_loss(1)) == ("ignored", "0")
    assert view.loss is not None
    assert 0.8 < float(view.loss) < 0.9
    assert next(view.gradients())[:3] == ("gradient_hidden", "1 x 4", "0")
    assert showing.view("linear_extremes/nan_row").note(2) == "a NaN logit"


def test_every_linear_case_can_be_shown(capsys):
    for case in select_cases(["linear_cancellation/*", "linear_extremes/*", "linear_layers/*"]):
        showing.show(showing.view(case.id, case.dtypes[-1]))
        assert case.why.split()[0] in capsys.readouterr().out
