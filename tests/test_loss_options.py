"""Softcap, logit scale and z-loss: the oracle compared with mpmath and with limits."""

import inspect
import json
import math
import re
from dataclasses import fields

import ml_dtypes
import numpy as np
import pytest
import torch
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from logitlab import runner
from logitlab.cases import Case, case_summary_rows, content_hash, make, select_cases
from logitlab.cases._tags import derived_tags
from logitlab.cases.inputs import read_cases, write_cases
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.core.options import LossOptions
from logitlab.core.rounding import quantize
from logitlab.frameworks import Batch, Implementation
from logitlab.grading import apriori_bounds, grade
from logitlab.grading._transformed import OF_CAP, OF_SCALE, Transformed
from logitlab.oracle import PER_ROW, reference
from logitlab.studies.check.batches._again import permuted
from logitlab.studies.check.batches._rows import PresentedRows

INF, NAN = float("inf"), float("nan")
PROMISED = mpf(2) ** -90
SMALLEST = mpf(2) ** -1074
BITS = 700


def mp_logits(z, softcap, logit_scale):
    x = [mpf(v) if logit_scale is None else mpf(logit_scale) * mpf(v) for v in z]
    return x if softcap is None else [mpf(softcap) * mp.tanh(v / mpf(softcap)) for v in x]


def mp_loss(z, q, softcap=None, logit_scale=None, z_loss=0.0):
    """Return the cross-entropy of x with target weights q plus the z-loss, line by line from the definition."""
    x = mp_logits(z, softcap, logit_scale)
    top = max(x)
    lse = top + mp.log(mp.fsum(mp.exp(v - top) for v in x))
    return mp.fsum(mpf(w) * (lse - v) for w, v in zip(q, x, strict=True)) + mpf(z_loss) * lse**2


def mp_gradient(z, q, **options):
    """Return the derivative of the loss by numeric differentiation, without a formula."""
    z = [mpf(v) for v in z]

    def moved(j, v):
        return mp_loss([*z[:j], v, *z[j + 1 :]], q, **options)

    return [mp.diff(lambda v, j=j: moved(j, v), z[j]) for j in range(len(z))]


def pair(exact, index):
    with mp.workprec(2300):
        return mpf(float(exact.hi[index])) + mpf(float(exact.lo[index]))


def agrees(found, expected, size=0.0):
    return abs(found - expected) <= PROMISED * abs(expected) + mpf(size) + SMALLEST


def one_hot(classes, target):
    return [1.0 if j == target else 0.0 for j in range(classes)]


options_of_logits = st.fixed_dictionaries(
    {
        "softcap": st.none() | st.floats(0.1, 100),
        "logit_scale": st.none() | st.floats(0.01, 10),
        "z_loss": st.sampled_from([0.0, 1e-4, 0.1, 3.0]),
    }
)
rows = st.lists(st.floats(-60, 60), min_size=1, max_size=5)


@settings(max_examples=examples(120), deadline=None)
@given(rows, options_of_logits, st.data())
def test_losses_with_options_agree_with_mpmath(z, options, data):
    target = data.draw(st.integers(0, len(z) - 1))
    found = reference([z], [target], **options)
    with mp.workprec(BITS):
        assert agrees(pair(found.loss, 0), mp_loss(z, one_hot(len(z), target), **options))


@settings(max_examples=examples(60), deadline=None)
@given(rows, options_of_logits, st.data())
def test_gradients_with_options_are_the_derivative_of_the_loss_in_mpmath(z, options, data):
    target = data.draw(st.integers(0, len(z) - 1))
    found = reference([z], [target], **options)
    with mp.workprec(BITS):
        expected = mp_gradient(z, one_hot(len(z), target), **options)
        # Numeric differentiation leaves this much of an entry that is 0.
        assert all(agrees(pair(found.gradient, (0, j)), g, mpf(2) ** -500) for j, g in enumerate(expected))


@settings(max_examples=examples(60), deadline=None)
@given(rows, options_of_logits)
def test_probabilities_and_condition_are_those_of_the_transformed_logits(z, options):
    found = reference([z], [0], **options)
    with mp.workprec(BITS):
        x = mp_logits(z, options["softcap"], options["logit_scale"])
        e = [mp.exp(v - max(x)) for v in x]
        p = [v / mp.fsum(e) for v in e]
        assert all(agrees(pair(found.probabilities, (0, j)), v) for j, v in enumerate(p))
        by_x = mp_gradient(x, one_hot(len(z), 0), z_loss=options["z_loss"])
        loss = mp_loss(x, one_hot(len(z), 0), z_loss=options["z_loss"])
        if loss > 0:
            expected = max(map(abs, x)) * mp.fsum(map(abs, by_x)) / loss
            assert found.condition[0] == pytest.approx(float(expected), rel=1e-9, abs=1e-300)


def test_weights_and_smoothing_do_not_change_the_z_loss_of_a_row():
    z, weight = [[0.5, -2.0, 3.0], [1.0, 1.0, 0.0]], [2.0, 0.5, 3.0]
    without = reference(z, [0, 2], weight=weight, label_smoothing=0.1, softcap=4.0)
    found = reference(z, [0, 2], weight=weight, label_smoothing=0.1, softcap=4.0, z_loss=0.5)
    alone = reference(z, [0, 2], softcap=4.0, z_loss=0.5).loss.hi - reference(z, [0, 2], softcap=4.0).loss.hi
    assert found.loss.hi - without.loss.hi == pytest.approx(alone, rel=1e-12)
    assert found.mass.tolist() == without.mass.tolist()


def test_smoothed_weighted_and_soft_targets_have_the_derivative_too():
    z, options = [0.5, -2.0, 3.0, -7.0], {"softcap": 4.0, "logit_scale": 1.5, "z_loss": 0.01}
    weight, s = [2.0, 0.5, 3.0, 1.0], 0.25
    smooth = [w * ((1 - s) * y + s / 4) for w, y in zip(weight, one_hot(4, 2), strict=True)]
    soft = [0.5, 0.25, 0.125, 0.125]
    by_index = reference([z], [2], label_smoothing=s, weight=weight, **options)
    by_share = reference([z], [soft], **options)
    with mp.workprec(BITS):
        for found, q in ((by_index, smooth), (by_share, soft)):
            assert agrees(pair(found.loss, 0), mp_loss(z, q, **options))
            expected = mp_gradient(z, q, **options)
            assert all(agrees(pair(found.gradient, (0, j)), g) for j, g in enumerate(expected))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_reduction_treats_the_z_loss_as_part_of_the_row_loss(reduction):
    z, targets = [[0.5, -2.0], [NAN, 1.0], [3.0, 1.0]], [0, -100, 1]
    given_ = {"weight": [2.0, 3.0], "ignore_index": -100, "z_loss": 0.5, "softcap": 2.0}
    rows = reference(z, targets, **given_)
    whole = reference(z, targets, reduction=reduction, **given_)
    divisor = 5.0 if reduction == "mean" else 1.0
    assert rows.loss.hi[1] == 0.0
    assert not rows.defined[1]
    assert float(whole.loss.hi) == pytest.approx(rows.loss.hi.sum() / divisor, rel=1e-15)
    assert whole.gradient.hi == pytest.approx(rows.gradient.hi / divisor, rel=1e-15)
    assert float(whole.scale) == pytest.approx(1 / divisor)


@pytest.mark.parametrize(("scale", "least"), [(None, 4.0), (3.0, 36.0)])
def test_an_ignored_row_has_no_z_loss(scale, least):
    found = reference([[1.0, 2.0], [1.0, 2.0]], [-100, 0], ignore_index=-100, z_loss=1.0, logit_scale=scale)
    assert found.loss.hi[0] == 0.0
    assert found.gradient.hi[0].tolist() == [0.0, 0.0]
    assert found.loss.hi[1] > least


# --- limits ------------------------------------------------------------------------------------------------------


@settings(max_examples=examples(60), deadline=None)
@given(rows, st.data())
def test_a_softcap_far_beyond_the_logits_changes_nothing_that_float64_holds(z, data):
    target = data.draw(st.integers(0, len(z) - 1))
    capped, plain = reference([z], [target], softcap=1e150), reference([z], [target])
    for of_capped, of_plain in ((capped.loss, plain.loss), (capped.gradient, plain.gradient)):
        assert np.array_equal(of_capped.hi, of_plain.hi)
        assert np.allclose(of_capped.lo, of_plain.lo, rtol=1e-6, atol=5e-324)


@settings(max_examples=examples(60), deadline=None)
@given(rows, st.integers(-30, 30), st.data())
def test_a_power_of_two_as_logit_scale_is_the_loss_of_scaled_logits(z, exponent, data):
    target, scale = data.draw(st.integers(0, len(z) - 1)), 2.0**exponent
    found, scaled = reference([z], [target], logit_scale=scale), reference([scale * np.array(z)], [target])
    assert values(found.loss) == values(scaled.loss)
    assert values(found.probabilities) == values(scaled.probabilities)
    assert found.condition.tolist() == pytest.approx(scaled.condition.tolist(), nan_ok=True)
    normal = np.abs(scaled.gradient.hi) > 1e-250
    assert found.gradient.hi[normal].tolist() == (scale * scaled.gradient.hi[normal]).tolist()


def values(exact):
    return exact.hi.tolist(), exact.lo.tolist()


def test_a_scale_of_one_and_a_z_loss_of_zero_are_the_plain_loss():
    z, t = np.random.default_rng(0).normal(size=(20, 7)) * 30, np.arange(20) % 7
    found, plain = reference(z, t, logit_scale=1.0, z_loss=0.0), reference(z, t)
    assert values(found.gradient) == values(plain.gradient)
    assert found.inner is None


def test_saturated_logits_keep_the_digits_of_their_gradient():
    # 1 - tanh^2(300) is 4 e^-600, and 1 - tanh^2 is 0 in float64 from 19.1 on.
    z, options = [300.0, -250.0, 1.0], {"softcap": 1.0}
    found = reference([z], [1], **options)
    with mp.workprec(3000):
        assert agrees(pair(found.loss, 0), mp_loss(z, one_hot(3, 1), **options))
        expected = mp_gradient(z, one_hot(3, 1), **options)
        for j, g in enumerate(expected):
            assert agrees(pair(found.gradient, (0, j)), g)
    assert 0 < found.gradient.hi[0, 0] < 1e-259


def test_a_gradient_that_float64_cannot_hold_is_zero_and_a_loss_infinite():
    far = reference([[1e300, -1e300], [1e5, 0.0]], [0, 0], softcap=1e4, z_loss=0.0)
    assert far.gradient.hi.tolist() == [[0.0, 0.0], [-0.0, 0.0]]
    beyond = reference([[1e200, 1.0]], [0], z_loss=1.0)
    assert values(beyond.loss) == ([INF], [0.0])
    assert beyond.gradient.hi[0].tolist() == [2e200, 0.0]
    assert beyond.defined.all()


def test_logits_that_a_scale_takes_beyond_float64_have_a_loss():
    found = reference([[1e308, 9.9e307, -1e308]], [0], logit_scale=1e10)
    assert found.loss.hi[0] == 0.0
    assert found.probabilities.hi[0].tolist() == [1.0, 0.0, 0.0]
    assert reference([[0.0, 1e308]], [0], logit_scale=1e10).loss.hi[0] == INF


def test_the_loss_of_a_single_class_is_its_z_loss():
    found = reference([[7.0], [0.0]], [0, 0], softcap=2.0)
    assert values(found.loss) == ([0.0, 0.0], [0.0, 0.0])
    assert not found.gradient.hi.any()
    scaled = reference([[3.0], [0.0]], [0, 0], logit_scale=0.5, z_loss=2.0)
    assert scaled.loss.hi.tolist() == [4.5, 0.0]
    assert scaled.gradient.hi.tolist() == [[3.0], [0.0]]


# --- special values ----------------------------------------------------------------------------------------------


def test_a_softcap_makes_a_masked_class_one_of_minus_softcap():
    found, finite = reference([[1.0, -INF]], [0], softcap=3.0), reference([[3 * math.tanh(1 / 3), -3.0]], [0])
    assert found.loss.hi[0] == pytest.approx(finite.loss.hi[0], rel=1e-15)
    assert found.probabilities.hi[0] == pytest.approx(finite.probabilities.hi[0], rel=1e-14)
    assert found.gradient.hi[0, 1] == 0.0  # tanh is flat there
    assert reference([[1.0, -INF]], [1], softcap=3.0).loss.hi[0] == pytest.approx(3 + 3 * math.tanh(1 / 3), abs=0.2)


def test_under_a_softcap_infinite_rows_have_a_loss():
    found = reference([[-INF, -INF], [INF, INF], [INF, -INF], [INF, 0.0]], [0, 0, 0, 0], softcap=2.0)
    assert found.defined.all()
    assert not found.gradient.hi[:3].any()
    expected = [math.log(2), math.log(2), math.log1p(math.exp(-4)), math.log1p(math.exp(-2))]
    assert found.loss.hi == pytest.approx(expected, rel=1e-15)


def test_without_a_softcap_infinite_logits_keep_their_limits():
    rows_ = [[1.0, -INF], [1.0, -INF], [INF, 1.0], [-INF, -INF], [INF, INF]]
    found = reference(rows_, [0, 1, 0, 0, 0], logit_scale=3.0)
    assert found.loss.hi[:3].tolist() == [0.0, INF, 0.0]
    assert found.gradient.hi[:3].tolist() == [[0.0, 0.0], [3.0, -3.0], [0.0, 0.0]]
    assert found.defined.tolist() == [True, True, True, False, False]
    squared = reference(rows_[:3], [0, 1, 0], z_loss=0.5)
    assert squared.loss.hi.tolist() == [0.5, INF, INF]
    assert squared.gradient.hi.tolist() == [[1.0, 0.0], [2.0, -1.0], [INF, 0.0]]


@pytest.mark.parametrize("options", [{"softcap": 2.0}, {"logit_scale": 2.0}, {"z_loss": 1.0}], ids=str)
def test_nan_makes_a_row_nan_under_any_option(options):
    found = reference([[NAN, 1.0], [0.0, 1.0]], [0, 0], **options)
    assert np.isnan(found.loss.hi[0])
    assert np.isnan(found.gradient.hi[0]).all()
    assert np.isfinite(found.loss.hi[1])


# --- one declaration ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("softcap", 0.0, "a positive finite number"),
        ("softcap", -30.0, "a positive finite number"),
        ("softcap", INF, "a positive finite number"),
        ("softcap", "thirty", "a positive finite number"),
        ("logit_scale", 0.0, "a positive finite number"),
        ("logit_scale", NAN, "a positive finite number"),
        ("logit_scale", -1.0, "a positive finite number"),
        ("z_loss", -1e-4, "a finite number that is not negative"),
        ("z_loss", INF, "a finite number that is not negative"),
        ("z_loss", None, "a finite number that is not negative"),
        ("ignore_index", 0.5, "a whole number"),
    ],
)
def test_an_option_out_of_range_is_refused(option, value, expected):
    with pytest.raises(UsageError, match=f"^{option} is .*; expected {expected}$"):
        reference([[0.0, 1.0]], [0], **{option: value})


def test_large_references_with_options_are_kept_apart_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGITLAB_CACHE", str(tmp_path))
    z, t = np.linspace(-5, 5, 5000).reshape(2, 2500).astype(ml_dtypes.bfloat16), [0, 1]
    given_ = [{}, {"softcap": 30.0}, {"softcap": 15.0}, {"logit_scale": 30.0}, {"z_loss": 30.0}]
    first = [reference(z, t, **options) for options in given_]
    assert len(list(tmp_path.rglob("*.npz"))) == len(given_)
    again = [reference(z, t, **options) for options in given_]
    for one, other in zip(first, again, strict=True):
        assert values(one.loss) == values(other.loss)
        assert one.transform == other.transform
        assert (one.inner is None) == (other.inner is None)
    assert len({one.loss.hi[0] for one in first}) == len(given_)


def test_the_oracle_and_a_case_take_the_declared_options_with_their_defaults():
    of_reference, of_case = inspect.signature(reference).parameters, inspect.signature(Case).parameters
    for option in fields(LossOptions):
        assert of_reference[option.name].default == option.default, option.name
        assert of_case[option.name].default == option.default, option.name


def test_a_case_hands_its_options_on_as_the_dtype_holds_them():
    case = make("mine/a", "why", [[4e9, 1e9, -3e9, 0.0]], [0], logit_scale=1 / 0.7, softcap=30.0, z_loss=1e-4)
    for fmt in FORMATS.values():
        held = case.options(fmt)
        expected = {"softcap": 30.0, "logit_scale": 1 / 0.7, "z_loss": 1e-4}
        assert held == {name: float(quantize(v, fmt)) for name, v in expected.items()}
    assert case.options(FORMATS["bfloat16"])["logit_scale"] == 1.4296875
    assert not case.plain
    assert case.dtypes == ("bfloat16", "float32", "float64")


def test_a_dtype_that_an_option_overflows_or_vanishes_in_does_not_hold_the_case():
    assert make("mine/a", "why", [[1.0]], [0], softcap=1e5).dtypes == ("bfloat16", "float32", "float64")
    assert make("mine/a", "why", [[1.0]], [0], z_loss=1e-8).dtypes == ("bfloat16", "float32", "float64")
    assert make("mine/a", "why", [[1.0]], [0], logit_scale=1e-60).dtypes == ("float64",)
    assert make("mine/a", "why", [[1.0, 2.0]], [0], weight=[0.0, 1.0], ignore_index=0).dtypes == tuple(FORMATS)


@pytest.mark.parametrize("options", [{"softcap": 0.0}, {"logit_scale": INF}, {"z_loss": -1.0}, {"capp": 1.0}], ids=str)
def test_a_case_with_an_option_out_of_range_is_refused_when_it_is_made(options):
    with pytest.raises(ValueError, match=r"^mine/a: "):
        make("mine/a", "why", [[1.0]], [0], **options)


def test_options_decide_the_digest_of_a_case_and_those_left_out_do_not():
    plain, one, other = (make("mine/a", "why", [[1.0]], [0], **o) for o in ({}, {"softcap": 2.0}, {"logit_scale": 2.0}))
    assert len({content_hash([case]) for case in (plain, one, other)}) == 3
    assert content_hash([plain]) == content_hash([make("mine/a", "why", [[1.0]], [0], softcap=None, z_loss=0.0)])


def test_options_are_tags_and_words_of_a_case(tmp_path):
    case = make("mine/a", "why", [[1.0, -INF]], [0], softcap=30.0, logit_scale=0.5, z_loss=1e-4)
    assert {"softcap", "logit-scale", "z-loss", "mask"} <= set(derived_tags(case))
    (line,) = case_summary_rows(case)
    assert "softcap 30; logit scale 0.5; z-loss 0.0001" in line["options"]


def test_case_files_hold_the_options(tmp_path):
    case = make("mine/a", "why", [[1.0, -INF]], [0], softcap=30.0, logit_scale=1 / 0.7, z_loss=1e-4)
    write_cases(tmp_path / "a.json", [case])
    (back,) = read_cases(tmp_path / "a.json")
    assert back.set_options == case.set_options == {"softcap": 30.0, "logit_scale": 1 / 0.7, "z_loss": 1e-4}


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("softcap", 0, "softcap: 0; expected a positive finite number"),
        ("softcap", "inf", 'softcap: "inf"; expected a positive finite number'),
        ("logit_scale", -2, "logit_scale: -2; expected a positive finite number"),
        ("logit_scale", None, "logit_scale: null; expected a number"),
        ("z_loss", [1], "z_loss: [1]; expected a number"),
        ("z_loss", -0.1, "z_loss: -0.1; expected a finite number that is not negative"),
    ],
)
def test_a_case_file_with_an_option_out_of_range_is_refused(tmp_path, option, value, expected):
    entry = {"name": "mine/a", "why": "why", "logits": [[1, 2]], "targets": [0], option: value}
    (tmp_path / "a.json").write_text(json.dumps({"format": "logitlab cases", "version": 1, "cases": [entry]}))
    with pytest.raises(UsageError, match=re.escape(f"case 0 (mine/a), {expected}")):
        read_cases(tmp_path / "a.json")


# --- grades -------------------------------------------------------------------------------------------------------


def graded(loss, case, dtype):
    """Return the worst grades of a loss and its gradient in PyTorch."""
    fmt = FORMATS[dtype]
    logits, options = case.quantized(fmt), case.options(fmt)
    exact = reference(logits, case.targets, **options)
    x = torch.tensor(logits.astype(np.float64)).to(getattr(torch, dtype)).requires_grad_()
    rows = loss(x, torch.tensor(case.targets), **options)
    (gradient,) = torch.autograd.grad(rows.sum(), x)
    found = {"loss": rows, "gradient": gradient}
    back = {name: v.detach().double().numpy().astype(fmt.dtype) for name, v in found.items()}
    return {name: max(grade(name, values_, logits, fmt, exact).grade) for name, values_ in back.items()}


def transformed(z, softcap, logit_scale, inside=True):
    x = z.float() if inside and z.dtype.itemsize == 2 else z
    x = x if logit_scale is None else x * logit_scale
    return x if softcap is None else softcap * torch.tanh(x / softcap)


def finished(x, t, z_loss, dtype):
    rows = -torch.log_softmax(x, 1).gather(1, t[:, None]).squeeze(1)
    return (rows + z_loss * torch.logsumexp(x, 1) ** 2).to(dtype)


def sound(z, t, *, softcap=None, logit_scale=None, z_loss=0.0):
    """Scale and cap the logits in float32, then take a shifted log-softmax."""
    return finished(transformed(z, softcap, logit_scale), t, z_loss, z.dtype)


def in_the_dtype(z, t, *, softcap=None, logit_scale=None, z_loss=0.0):
    """Do the same with each step rounded to the dtype."""
    return finished(transformed(z, softcap, logit_scale, inside=False), t, z_loss, z.dtype)


def padded(z, t, *, softcap=None, logit_scale=None, z_loss=0.0):
    """Lanes that pad the row to a power of two are capped too: unslothai/unsloth#10616."""
    lanes = (1 << (z.shape[1] - 1).bit_length()) - z.shape[1]
    whole = torch.cat([z, torch.full((len(z), lanes), -torch.inf, dtype=z.dtype)], 1)
    return sound(whole, t, softcap=softcap, logit_scale=logit_scale, z_loss=z_loss)


def times_tanh(z, t, *, softcap=None, logit_scale=None, z_loss=0.0):
    """Logits times their tanh: unslothai/unsloth-zoo#593."""
    x = transformed(z, None, logit_scale)
    return finished(x * torch.tanh(x / softcap), t, z_loss, z.dtype)


def tanh_of_exponentials(z, t, *, softcap=None, logit_scale=None, z_loss=0.0):
    """AMD-AGI/Primus#1057."""
    e = torch.exp(2 * transformed(z, None, logit_scale) / softcap)
    return finished(softcap * (e - 1) / (e + 1), t, z_loss, z.dtype)


def scaled_after_the_cap(z, t, *, softcap=None, logit_scale=None, z_loss=0.0):
    """huggingface/trl#5691."""
    return finished(logit_scale * transformed(z, softcap, None), t, z_loss, z.dtype)


def unscaled(z, t, *, softcap=None, logit_scale=None, z_loss=0.0):
    """unslothai/unsloth#11277."""
    return sound(z, t, softcap=softcap, z_loss=z_loss)


def constant_z_loss(z, t, *, softcap=None, logit_scale=None, z_loss=0.0):
    """The z-loss is not differentiated."""
    x = transformed(z, softcap, logit_scale)
    return (finished(x, t, 0.0, x.dtype) + z_loss * torch.logsumexp(x.detach(), 1) ** 2).to(z.dtype)


CAPPED = make("mine/capped", "why", np.linspace(-90, 90, 12).reshape(3, 4), [0, 3, 1], softcap=30.0)
SCALED = make(
    "mine/scaled", "why", [[40.0, 12.0, -8.0], [30.0, 19.0, 5.0], [1.0, 0.5, 88.0]], [1, 2, 2], logit_scale=0.7
)
SQUARED = make("mine/squared", "why", [[6.0, -1.0, 2.5], [-3.0, -9.0, -6.0]], [0, 1], softcap=30.0, z_loss=1e-2)
JAX_ROW = make("mine/far", "why", [[4e9, 1e9, -3e9, 0.0]], [1], logit_scale=1 / 0.7)
# Those whose loss has only these options.
FIELD_CASES = {
    c.name: c for c in select_cases("field_scaling/*") if set(c.set_options) <= {"softcap", "logit_scale", "z_loss"}
}


@pytest.mark.parametrize("case", [CAPPED, SCALED, SQUARED, JAX_ROW, *FIELD_CASES.values()], ids=lambda c: c.name)
def test_a_loss_that_is_float32_inside_is_stable_with_every_option(case):
    for dtype in case.dtypes:
        found = graded(sound, case, dtype)
        assert max(found.values()) <= "B", (dtype, found)


@pytest.mark.parametrize(
    ("loss", "case"),
    [(times_tanh, "unsloth_zoo_593"), (scaled_after_the_cap, "trl_5691"), (unscaled, "unsloth_11277")],
)
def test_a_loss_that_takes_an_option_wrong_is_inaccurate_in_every_dtype(loss, case):
    for dtype in FORMATS:
        found = graded(loss, FIELD_CASES[case], dtype)
        assert set(found.values()) == {"D"}, (dtype, found)


@pytest.mark.parametrize("case", ["unsloth_10616_softcap_1", "unsloth_10616_strongly_negative"])
def test_lanes_that_are_padded_before_the_cap_are_never_stable(case):
    for dtype in FORMATS:
        found = graded(padded, FIELD_CASES[case], dtype)
        # In 16 bits the logits' own rounding, which C allows, weighs about as much as the lanes.
        assert set(found.values()) <= ({"D"} if dtype in ("float32", "float64") else {"C", "D"}), (dtype, found)


def test_a_tanh_of_exponentials_that_overflow_is_not_finite():
    assert graded(tanh_of_exponentials, FIELD_CASES["primus_1057"], "float32") == {"loss": "F", "gradient": "F"}


@pytest.mark.parametrize("dtype", FORMATS)
def test_only_the_gradient_is_wrong_where_a_z_loss_is_not_differentiated(dtype):
    case = make("mine/z", "why", [[6.0, -1.0, 2.5], [-3.0, -9.0, -6.0]], [0, 1], z_loss=0.1)
    found = graded(constant_z_loss, case, dtype)
    assert found["loss"] <= "B"
    assert found["gradient"] == "D"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("options", [{"softcap": 30.0}, {"logit_scale": 1 / 0.7}], ids=str)
def test_logits_rounded_to_the_dtype_after_they_are_scaled_or_capped_are_offset_sensitive(dtype, options):
    logits = np.random.default_rng(0).normal(size=(24, 13)) * 50
    case = make("mine/many", "why", logits, np.argsort(logits, axis=1)[:, -2], **options)
    assert max(graded(sound, case, dtype).values()) <= "B"
    assert max(graded(in_the_dtype, case, dtype).values()) == "C"


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.floats(-90, 90), min_size=2, max_size=6),
    st.sampled_from([{"softcap": 30.0}, {"softcap": 3.0, "logit_scale": 1.5}, {"logit_scale": 1 / 0.7}]),
    st.data(),
)
def test_the_bounds_allow_for_every_rounding_of_the_transformed_logits(z, options, data):
    fmt, target = FORMATS["bfloat16"], data.draw(st.integers(0, len(z) - 1))
    exact = reference([z], [target], **options)
    allowed = Transformed.of(np.array([z]), exact)
    turns = np.array(data.draw(st.lists(st.floats(-1, 1), min_size=len(z), max_size=len(z))))
    roundings = OF_CAP if "softcap" in options else OF_SCALE
    x = exact.transform.logits(np.array([z]))
    near, at = (reference(v, [target]) for v in (x * (1 + roundings * fmt.unit_roundoff * turns), x))
    slack = 1e-13  # of x in float64
    moved = np.abs(near.loss.hi - at.loss.hi)
    assert (moved <= allowed.loss_allowances(fmt)[2] + slack * (1 + at.loss.hi)).all()
    of_p = np.abs(near.probabilities.hi - at.probabilities.hi)
    assert (of_p <= allowed.probability_bounds(fmt)[2] + slack).all()


def test_signs_of_a_gradient_are_known_without_a_z_loss():
    z, t = [[1.0, 2.0], [3.0, 4.0]], [0, 1]
    assert reference(z, t, softcap=2.0, logit_scale=0.5).sole_target.tolist() == [0, 1]
    assert reference(z, t, z_loss=1.0).sole_target.tolist() == [-1, -1]


def test_under_a_softcap_a_row_with_an_infinite_logit_is_graded():
    logits, fmt = np.array([[INF, 1.0], [-INF, 1.0]], np.float32), FORMATS["float32"]
    capped = reference(logits, [0, 0], softcap=2.0)
    assert None not in grade("loss", capped.loss.hi, logits, fmt, capped).grade
    assert grade("loss", np.zeros(2), logits, fmt, reference(logits, [0, 0])).grade[0] is None


def test_only_plain_losses_have_a_priori_bounds():
    logits, fmt = np.array([[1.0, 2.0]], np.float32), FORMATS["float32"]
    for options in ({"softcap": 2.0}, {"logit_scale": 2.0}, {"z_loss": 1.0}):
        exact = reference(logits, [0], **options)
        for quantity in ("loss", "probabilities"):
            assert np.isnan(apriori_bounds(quantity, logits, np.array([0]), fmt, exact)).all()


# --- what implementations do with them ----------------------------------------------------------------------------


@pytest.mark.usefixtures("in_this_process")
def test_an_implementation_without_the_option_is_unsupported():
    cases = [*select_cases("field_scaling/*")]
    names = ["torch/F.cross_entropy", "torch/logsumexp", "numpy/scipy.*"]
    df = runner.run(cases="field_scaling/*", dtypes="float32", modes="eager", implementations=names, devices="cpu")
    assert set(df["case"]) == {c.id for c in cases}
    assert set(df["status"]) == {"unsupported"}, df[df["status"] != "unsupported"][["implementation", "case", "detail"]]
    assert df["detail"].str.len().min() > 0


def test_a_loss_that_takes_the_options_is_given_them():
    case = FIELD_CASES["trl_5691"]
    batch = Batch(case.logits, case.targets, options=case.options(FORMATS["float64"]))
    assert batch.refusal(Implementation("torch/sound", "builtin", sound, "torch")) is None
    taken = Implementation("torch/lacking", "builtin", lambda logits, targets, softcap=None: None, "torch")
    assert batch.refusal(taken) == "takes no logit_scale"


def test_rows_that_are_picked_or_permuted_keep_all_of_their_exact_answer():
    """With another row's answer a sound gradient would have a wrong sign or a wrong bound."""
    fmt, options = FORMATS["float32"], {"softcap": 3.0, "logit_scale": 0.5}
    logits, targets = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32), np.array([0, 1, 2, 3, 4, 0])
    owner = make("mine/a", "why", logits, targets)
    owners = np.array([owner] * 6, object)
    rows = PresentedRows(owners, np.arange(6), logits, targets, reference(logits, targets, **options), fmt)
    order = np.array([3, 0, 4, 1, 2])
    for changed in (rows.take(np.array([4, 0, 0, 5])), permuted(rows, order)):
        again = reference(changed.logits, changed.targets, **options)
        for name in PER_ROW:
            one, other = getattr(changed.exact, name), getattr(again, name)
            assert np.array_equal(getattr(one, "hi", one), getattr(other, "hi", other)), name
