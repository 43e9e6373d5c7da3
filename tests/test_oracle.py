"""The oracle compared with mpmath, PyTorch, closed forms and its documented limits."""

import ast
import importlib
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import flint
import ml_dtypes
import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.oracle import reference

INF, NAN = float("inf"), float("nan")
DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
PROMISED = mpf(2) ** -90
DIGITS = 260  # bits of working precision: 78 decimal digits
SMALLEST = mpf(2) ** -1074  # float64's smallest number, below which a low part has no bits to give


def mp_softmax(logits):
    """Return probabilities p, 1 - p and log p, all to the working precision.

    All terms are relative to class k: log p_k = -log(1 + sum of exp(x_j - x_k) over the others). The
    differences are exact and all terms positive, so nothing cancels, however near to 0 or 1 a probability is.
    """
    p, not_p, log_p = [], [], []
    for k, own in enumerate(logits):
        others = [v for j, v in enumerate(logits) if j != k and v != -INF]
        tail = mpf("inf") if own == -INF else mp.fsum(mp.exp(mp.fsub(v, own, exact=True)) for v in others)
        p.append(1 / (1 + tail))
        not_p.append(mpf(1) if tail == INF else tail / (1 + tail))
        log_p.append(-mp.log1p(tail))
    return p, not_p, log_p


def pair(exact, index):
    """Return the exact sum of a pair of float64, at any working precision of mpmath."""
    with mp.workprec(2200):
        return mpf(float(exact.hi[index])) + mpf(float(exact.lo[index]))


def agrees(exact, index, expected):
    if abs(expected) >= mpf(FORMATS["float64"].largest) * (1 + mpf(2) ** -54):
        return exact.hi[index] == mp.sign(expected) * INF and exact.lo[index] == 0
    return abs(pair(exact, index) - expected) <= PROMISED * abs(expected) + SMALLEST


def row_agrees(found, r, logits, target):
    with mp.workprec(DIGITS):
        p, not_p, log_p = mp_softmax(logits)
        g = [-not_p[k] if k == target else p[k] for k in range(len(p))]
        return (
            agrees(found.loss, r, -log_p[target])
            and all(agrees(found.probabilities, (r, k), v) for k, v in enumerate(p))
            and all(agrees(found.gradient, (r, k), v) for k, v in enumerate(g))
        )


def batches(elements, rows=8, classes=(1, 6)):
    widths = st.integers(*classes)
    return widths.flatmap(
        lambda c: st.tuples(
            st.lists(st.lists(elements, min_size=c, max_size=c), min_size=rows, max_size=rows),
            st.lists(st.integers(0, c - 1), min_size=rows, max_size=rows),
        )
    )


def values(exact):
    """Return the high parts, for exact or special values."""
    return exact.hi.tolist()


# --- ordinary, extreme and tiny: thousands of rows --------------------------------------------------------------


@settings(max_examples=examples(250, 10))
@given(batches(st.floats(-50, 50)), st.sampled_from(DTYPES))
def test_ordinary_rows_agree_with_mpmath(batch, dtype):
    logits, targets = np.array(batch[0], dtype), batch[1]
    found = reference(logits, targets)
    assert all(row_agrees(found, r, row, targets[r]) for r, row in enumerate(logits.astype(np.float64).tolist()))


@settings(max_examples=examples(250, 10))
@given(batches(st.floats(allow_nan=False, allow_infinity=False)))
def test_extreme_rows_agree_with_mpmath(batch):
    logits, targets = batch
    found = reference(np.array(logits), targets)
    assert all(row_agrees(found, r, row, targets[r]) for r, row in enumerate(logits))


@settings(max_examples=examples(100))
@given(st.sampled_from(DTYPES), st.data())
def test_the_whole_range_of_every_dtype_agrees_with_mpmath(dtype, data):
    info = ml_dtypes.finfo(dtype)
    raw = data.draw(
        st.lists(st.lists(st.integers(0, 2**info.bits - 1), min_size=3, max_size=3), min_size=8, max_size=8)
    )
    logits = np.array(raw, f"u{info.bits // 8}").view(dtype)
    logits = np.where(np.isfinite(logits.astype(np.float64)), logits, dtype(1))
    found = reference(logits, np.arange(8) % 3)
    assert all(row_agrees(found, r, row, r % 3) for r, row in enumerate(logits.astype(np.float64).tolist()))


@settings(max_examples=examples(250, 10))
@given(st.lists(st.tuples(st.floats(20, 760), st.floats(0, 3), st.floats(-1e3, 1e3)), min_size=8, max_size=8))
def test_tiny_losses_and_target_gradients_agree_with_mpmath(margins):
    logits = [[offset + margin, offset, offset - further] for margin, further, offset in margins]
    found = reference(np.array(logits), [0] * len(logits))
    assert all(row_agrees(found, r, row, 0) for r, row in enumerate(logits))


@settings(max_examples=examples(100))
@given(batches(st.floats(-800, 800)))
def test_the_high_part_is_the_exact_value_rounded_to_float64(batch):
    logits, targets = batch
    found = reference(np.array(logits), targets)
    with mp.workprec(DIGITS):
        for r, row in enumerate(logits):
            p, _, log_p = mp_softmax(row)
            assert is_rounded(found.loss.hi[r], -log_p[targets[r]])
            assert all(map(is_rounded, found.probabilities.hi[r], p))


def is_rounded(hi, value):
    """Return whether x is rounded to nearest, or to either neighbour within 2^-50 of a spacing of the midpoint."""
    away = abs(mpf(float(hi)) - value) / mpf(float(np.spacing(np.abs(hi))))
    return float(hi) == nearest_float64(value) or abs(away - mpf(1) / 2) < mpf(2) ** -50


def nearest_float64(value):
    """Return the value rounded once; mpmath's own conversion rounds subnormals twice."""
    _, mantissa, exponent, _ = value._mpf_
    return float((-1 if value < 0 else 1) * Fraction(int(mantissa)) * Fraction(2) ** exponent)


def test_a_loss_of_e_to_minus_700_keeps_its_digits():
    found = reference([[700.0, 0.0]], [0])
    with mp.workprec(1400):
        loss, gradient = mp.log1p(mp.exp(-700)), mp.exp(-700) / (1 + mp.exp(-700))
        assert abs(pair(found.loss, 0) / loss - 1) < mpf(2) ** -60
        assert abs(-pair(found.gradient, (0, 0)) / gradient - 1) < mpf(2) ** -60


def test_131072_equal_logits_give_the_closed_form():
    classes = 2**17
    found = reference(np.full((1, classes), 3.25, np.float16), [5])
    with mp.workprec(200):
        assert abs(pair(found.loss, 0) / (17 * mp.log(2)) - 1) < PROMISED
    expected = np.full((1, classes), 2.0**-17)
    assert np.array_equal(found.probabilities.hi, expected)
    expected[0, 5] = 2.0**-17 - 1
    assert np.array_equal(found.gradient.hi, expected)
    assert not found.probabilities.lo.any()
    assert not found.gradient.lo.any()


@given(batches(st.floats(-1e3, 1e3), rows=2))
def test_a_gradient_row_sums_to_zero(batch):
    found = reference(np.array(batch[0]), batch[1])
    with mp.workprec(2200):
        for r in range(2):
            entries = [pair(found.gradient, (r, k)) for k in range(found.gradient.hi.shape[1])]
            size = mp.fsum(abs(v) for v in entries)
            assert abs(mp.fsum(entries)) <= PROMISED * size + len(entries) * SMALLEST


@given(batches(st.floats(-1e3, 1e3), rows=3))
def test_condition_is_the_largest_logit_times_the_gradients_size_over_the_loss(batch):
    logits, targets = batch
    found = reference(np.array(logits), targets)
    for r, row in enumerate(logits):
        with mp.workprec(DIGITS):
            p, not_p, log_p = mp_softmax(row)
            if len(row) == 1:
                assert math.isnan(found.condition[r])
                continue
            size = not_p[targets[r]] + mp.fsum(v for k, v in enumerate(p) if k != targets[r])
            expected = float(max(abs(mpf(v)) for v in row) * size / -log_p[targets[r]])
        assert found.condition[r] == pytest.approx(expected, rel=1e-14)


@given(batches(st.floats(-300, 300), rows=4), st.integers(0, 3))
def test_a_row_in_a_batch_is_the_row_alone(batch, r):
    logits, targets = np.array(batch[0]), np.array(batch[1])
    together, alone = reference(logits, targets), reference(logits[r : r + 1], targets[r : r + 1])
    for quantity in ("loss", "probabilities", "gradient"):
        one, all_ = getattr(alone, quantity), getattr(together, quantity)[r : r + 1]
        assert np.array_equal(one.hi, all_.hi)
        assert np.array_equal(one.lo, all_.lo)
    assert np.array_equal(alone.condition, together.condition[r : r + 1], equal_nan=True)


def test_logits_are_taken_as_the_exact_numbers_they_are():
    rounded = np.array([[0.1, 0.2]], np.float16)
    assert reference(rounded, [0]).loss.hi == reference(rounded.astype(np.float64), [0]).loss.hi
    assert reference(rounded, [0]).loss.hi != reference([[0.1, 0.2]], [0]).loss.hi


def test_integer_logits_are_read_as_exact_numbers():
    assert values(reference([[3, 1]], [0]).loss) == values(reference([[3.0, 1.0]], [0]).loss)


def test_a_batch_without_rows_has_empty_answers():
    found = reference(np.zeros((0, 3)), [])
    assert found.loss.hi.shape == (0,)
    assert found.gradient.hi.shape == found.probabilities.lo.shape == (0, 3)


# --- options ----------------------------------------------------------------------------------------------------


def drawn(seed, rows=4, classes=5):
    """Draw a batch with the arguments of every option; target probabilities do not sum to one exactly."""
    generator = np.random.default_rng(seed)
    shares = generator.random((rows, classes))
    return {
        "logits": generator.normal(size=(rows, classes)) * 10.0 ** generator.integers(-2, 2),
        "indices": generator.integers(classes, size=rows),
        "shares": shares / shares.sum(axis=1, keepdims=True),
        "weight": generator.random(classes) + 0.1,
    }


def mp_weights(targets, r, classes, smoothing, weight):
    """Return the target weights of one row, ``w_j ((1 - s) y_j + s / C)``."""
    own = (
        [mpf(float(v)) for v in targets[r]]
        if targets.ndim == 2
        else [mpf(int(j == targets[r])) for j in range(classes)]
    )
    factors = [mpf(1)] * classes if weight is None else [mpf(float(v)) for v in weight]
    return [w * ((1 - mpf(smoothing)) * y + mpf(smoothing) / classes) for w, y in zip(factors, own, strict=True)]


def mp_divisor(targets, weight, counted, reduction):
    if reduction != "mean":
        return mpf(1)
    if targets.ndim == 2 or weight is None:
        return mpf(int(sum(counted)))
    return mp.fsum(mpf(float(weight[t])) for t, c in zip(targets, counted, strict=True) if c)


def mp_batch(logits, targets, *, label_smoothing=0.0, weight=None, ignore_index=None, reduction="none"):
    """Return row losses or the reduced loss, and the gradient, from their definitions."""
    classes = logits.shape[1]
    counted = [targets.ndim == 2 or t != ignore_index for t in targets]
    divisor = mp_divisor(targets, weight, counted, reduction)
    losses, gradient = [], []
    for r, row in enumerate(logits.tolist()):
        p, _, log_p = mp_softmax(row)
        q = mp_weights(targets, r, classes, label_smoothing, weight) if counted[r] else [mpf(0)] * classes
        total = mp.fsum(q)
        losses.append(-mp.fsum(a * b for a, b in zip(q, log_p, strict=True)))
        gradient.append([(total * a - b) / divisor for a, b in zip(p, q, strict=True)])
    return losses if reduction == "none" else mp.fsum(losses) / divisor, gradient


OPTIONS = st.fixed_dictionaries(
    {
        "label_smoothing": st.sampled_from([0.0, 0.1, 0.5, 1.0]),
        "weighted": st.booleans(),
        "probabilities": st.booleans(),
        "ignored": st.booleans(),
        "reduction": st.sampled_from(["none", "mean", "sum"]),
    }
)


def call(seed, options):
    """Draw logits, targets and keyword arguments of one combination."""
    batch = drawn(seed)
    targets = batch["shares"] if options["probabilities"] else batch["indices"]
    keywords = {k: options[k] for k in ("label_smoothing", "reduction")}
    if options["weighted"]:
        keywords["weight"] = batch["weight"]
    # Only class indices can be ignored; one row is made to count, as a mean over none has no value.
    if options["ignored"] and not options["probabilities"]:
        targets[0] = (targets[1] + 1) % 5
        keywords["ignore_index"] = int(targets[1])
    return batch["logits"], targets, keywords


@settings(max_examples=examples(150))
@given(st.integers(0, 2**32), OPTIONS)
def test_every_combination_of_options_agrees_with_mpmath(seed, options):
    logits, targets, keywords = call(seed, options)
    found = reference(logits, targets, **keywords)
    with mp.workprec(400):
        loss, gradient = mp_batch(logits, targets, **keywords)
        losses = loss if keywords["reduction"] == "none" else [loss]
        indices = range(len(logits)) if keywords["reduction"] == "none" else [()]
        assert all(agrees(found.loss, i, v) for i, v in zip(indices, losses, strict=True))
        assert all(agrees(found.gradient, (r, k), v) for r, row in enumerate(gradient) for k, v in enumerate(row))


@settings(max_examples=examples(150))
@given(st.integers(0, 2**32), OPTIONS)
def test_every_combination_of_options_agrees_with_pytorch(seed, options):
    import torch

    logits, targets, keywords = call(seed, options)
    found = reference(logits, targets, **keywords)
    x = torch.tensor(logits, requires_grad=True)
    weight = torch.tensor(keywords.pop("weight")) if "weight" in keywords else None
    loss = torch.nn.functional.cross_entropy(x, torch.tensor(targets), weight, **keywords)
    loss.sum().backward()
    scale = max(1.0, float(np.abs(logits).max()))
    np.testing.assert_allclose(loss.detach().numpy(), found.loss.hi, rtol=1e-12, atol=1e-13 * scale)
    np.testing.assert_allclose(x.grad.numpy(), found.gradient.hi, rtol=1e-11, atol=1e-13 * scale)


@given(st.floats(2.0**-1000, 1.0), st.sampled_from([np.float32, np.float64]))
def test_a_gradient_that_almost_cancels_keeps_its_digits(gap, dtype):
    logits = np.array([[gap, 0.0]], dtype)
    found = reference(logits, [[0.5, 0.5]])
    with mp.workprec(DIGITS):
        expected = mp.tanh(mpf(float(logits[0, 0])) / 2) / 2
        assert agrees(found.gradient, (0, 0), expected)
        assert agrees(found.gradient, (0, 1), -expected)


def test_the_reductions_of_the_articles_batch_are_those_of_mpmath():
    logits, targets = np.array([[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0], [3.0, 2.0, 1.0]]), np.array([0, 2, 1])
    mean, total = (reference(logits, targets, reduction=r) for r in ("mean", "sum"))
    with mp.workprec(DIGITS):
        expected, _ = mp_batch(logits, targets, reduction="sum")
        assert agrees(total.loss, (), expected)
        assert agrees(mean.loss, (), expected / 3)
    assert float(mean.loss.hi) == pytest.approx(667.2749, abs=1e-4)
    np.testing.assert_allclose(mean.gradient.hi, total.gradient.hi / 3, rtol=1e-15)


def test_the_mean_over_no_counted_row_is_nan_as_in_pytorch():
    found = reference([[1.0, 2.0]], [-100], ignore_index=-100, reduction="mean")
    assert math.isnan(found.loss.hi)


def test_an_ignored_row_has_probabilities_and_no_loss_or_gradient():
    found = reference([[0.0, 0.0], [1.0, 2.0]], [-100, 1], ignore_index=-100)
    assert found.loss.hi[0] == 0
    assert values(found.gradient[0]) == [0, 0]
    assert values(found.probabilities[0]) == [0.5, 0.5]
    assert found.defined.all()


@pytest.mark.parametrize("row", [[NAN, 1.0], [-INF, -INF], [INF, INF]])
def test_an_ignored_row_does_not_change_a_mean(row):
    """A padding position, which torch.nn.functional.cross_entropy leaves out of the loss."""
    found = reference([row, [1.0, 2.0]], [-100, 1], ignore_index=-100, reduction="mean")
    assert values(found.loss) == values(reference([[1.0, 2.0]], [1], reduction="mean").loss)


def test_a_zero_or_tiny_gradient_ends_the_search_for_digits():
    """With targets smoothed to one third each, a gradient of 0 was a ball that never became narrow."""
    rows = [[0.0, 0.0, 0.0], [0.0, 0.0, 9e-300]]
    program = (
        "from logitlab.oracle import reference\n"
        f"print([reference([row], [0], label_smoothing=1.0).gradient.hi[0].tolist() for row in {rows}])"
    )
    # In a separate process, since a failure never returns.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    expected = [[0.0, 0.0, 0.0], [-1e-300, -1e-300, 2e-300]]
    np.testing.assert_allclose(ast.literal_eval(done.stdout), expected, rtol=1e-15)


# --- special values: section 3 of the design --------------------------------------------------------------------


def test_a_masked_class_has_probability_and_gradient_zero():
    found = reference([[-INF, 1.0, 1.0]], [1])
    assert values(found.probabilities) == [[0, 0.5, 0.5]]
    assert values(found.gradient) == [[0, -0.5, 0.5]]
    assert row_agrees(found, 0, [-INF, 1.0, 1.0], 1)


@given(batches(st.one_of(st.floats(-1e3, 1e3), st.just(-INF)), rows=4, classes=(2, 5)))
def test_masks_anywhere_off_the_target_agree_with_mpmath(batch):
    logits, targets = batch
    for row, target in zip(logits, targets, strict=True):
        row[target] = max(row[target], -1e3)
    found = reference(np.array(logits), targets)
    assert all(row_agrees(found, r, row, targets[r]) for r, row in enumerate(logits))


def test_a_masked_target_has_an_infinite_loss_and_a_finite_gradient():
    found = reference([[-INF, 1.0, 1.0]], [0])
    assert values(found.loss) == [INF]
    assert values(found.gradient) == [[-1, 0.5, 0.5]]
    assert found.defined.all()
    assert values(found.probabilities) == [[0, 0.5, 0.5]]


def test_a_row_with_only_its_target_left_has_a_loss_of_exactly_zero():
    found = reference([[-INF, 5.0]], [1])
    assert (values(found.loss), values(found.gradient)) == ([0], [[0, 0]])
    assert np.isnan(found.condition).all()


def test_one_infinite_logit_on_the_target_is_the_limit_one_hot():
    found = reference([[1.0, INF, -INF]], [1])
    assert values(found.loss) == [0]
    assert values(found.probabilities) == [[0, 1, 0]]
    assert values(found.gradient) == [[0, 0, 0]]
    assert found.defined.all()


def test_one_infinite_logit_off_the_target_loses_everything():
    found = reference([[1.0, INF, 2.0]], [0])
    assert values(found.loss) == [INF]
    assert values(found.probabilities) == [[0, 1, 0]]
    assert values(found.gradient) == [[-1, 1, 0]]
    assert found.defined.all()


def test_one_infinite_logit_under_a_mean_has_its_share_of_the_gradient():
    found = reference([[INF, 0.0], [0.0, 0.0]], [1, 0], reduction="mean")
    assert values(found.loss) == INF
    assert values(found.gradient) == [[0.5, -0.5], [-0.25, 0.25]]


@pytest.mark.parametrize("row", [[INF, INF, 0.0], [INF, INF, INF], [-INF, -INF, -INF]])
def test_a_row_without_a_limit_is_not_defined(row):
    found = reference([row, [0.0, 0.0, 0.0]], [0, 1])
    assert found.defined.tolist() == [False, True]
    assert np.isnan(found.loss.hi).tolist() == [True, False]
    assert np.isnan(found.probabilities.hi).all(axis=1).tolist() == [True, False]
    assert np.isnan(found.gradient.hi).all(axis=1).tolist() == [True, False]


@pytest.mark.parametrize("row", [[NAN, 1.0, 2.0], [NAN, -INF, 2.0], [NAN, INF, INF], [NAN, -INF, -INF]])
@pytest.mark.parametrize("target", [0, 2])
def test_a_nan_logit_makes_its_own_row_nan_and_no_other(row, target):
    found = reference([row, [0.0, 0.0, 0.0]], [target, 1])
    assert found.defined.all()
    assert np.isnan(found.loss.hi).tolist() == [True, False]
    assert np.isnan(found.gradient.hi).tolist() == [[True] * 3, [False] * 3]
    assert np.isnan(found.condition).tolist() == [True, False]


@pytest.mark.parametrize(("row", "total"), [([-INF, 0.0], INF), ([NAN, 0.0], NAN), ([-INF, -INF], NAN)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_reduction_spreads_values_that_are_not_finite(row, total, reduction):
    found = reference([row, [0.0, 1.0]], [0, 1], reduction=reduction)
    np.testing.assert_equal(float(found.loss.hi), total)


def test_a_loss_beyond_float64_is_infinite():
    largest = np.finfo(np.float64).max
    found = reference([[largest, -largest]], [1])
    assert (found.loss.hi.tolist(), found.loss.lo.tolist()) == ([INF], [0])


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (([1.0, 2.0], [0]), {}, r"logits have shape \(2,\); expected \(B, C\)"),
        ((np.zeros((1, 2, 3)), [0]), {}, r"logits have shape \(1, 2, 3\)"),
        ((np.zeros((2, 0)), [0, 0]), {}, r"logits have shape \(2, 0\).*at least one class"),
        ((np.zeros((1, 2), np.complex128), [0]), {}, "logits have dtype complex128; expected one of float16"),
        ((np.zeros((1, 2), bool), [0]), {}, "logits have dtype bool"),
        ((np.zeros((2, 3)), [0]), {}, r"integer targets have shape \(1,\); expected \(2,\)"),
        ((np.zeros((2, 3)), [[0], [1]]), {}, r"integer targets have shape \(2, 1\)"),
        ((np.zeros((2, 3)), [True, False]), {}, "targets have dtype bool"),
        ((np.zeros((2, 3)), [0.0, 1.0]), {}, r"target probabilities have shape \(2,\); expected .*\(2, 3\)"),
        ((np.zeros((2, 3)), [0, 3]), {}, "target 3 in row 1 is out of range; with 3 classes, expected 0 to 2"),
        ((np.zeros((2, 3)), [-1, 0]), {}, "target -1 in row 0 is out of range; with 3 classes, expected 0 to 2"),
        ((np.zeros((2, 3)), [-100, -1]), {"ignore_index": -100}, "target -1 in row 1 is out of range"),
        ((np.zeros((1, 2)), [[0.5, NAN]]), {}, "a target probability is nan; expected finite numbers"),
        ((np.zeros((1, 2)), [[INF, 0.0]]), {}, "a target probability is inf; expected finite numbers"),
        ((np.zeros((1, 2)), [[1.5, -0.5]]), {}, "a target probability is -0.5; expected finite numbers"),
        ((np.zeros((1, 2)), [0]), {"weight": [1.0]}, r"weight has shape \(1,\); expected \(2,\)"),
        (
            (np.zeros((1, 2)), [0]),
            {"weight": [1.0, -1.0]},
            "weight is -1.0; expected a finite number that",
        ),
        ((np.zeros((1, 2)), [0]), {"weight": [1.0, NAN]}, "weight is nan; expected a finite number"),
        ((np.zeros((1, 2)), [0]), {"label_smoothing": -0.1}, "label_smoothing is -0.1; expected a number from 0 to 1"),
        ((np.zeros((1, 2)), [0]), {"label_smoothing": 1.5}, "label_smoothing is 1.5; expected a number from 0 to 1"),
        ((np.zeros((1, 2)), [0]), {"label_smoothing": NAN}, "label_smoothing is nan"),
        ((np.zeros((1, 2)), [0]), {"reduction": "max"}, "unknown reduction 'max'; choose one of none, mean, sum"),
    ],
)
def test_bad_input_raises_with_a_message(arguments, keywords, message):
    with pytest.raises(UsageError, match=message):
        reference(*arguments, **keywords)


# --- the cache on disk ------------------------------------------------------------------------------------------

LARGE = np.linspace(-30.0, 30.0, 5000).reshape(2, 2500)
TARGETS = [7, 2400]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGITLAB_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def bits(found):
    exacts = (found.loss, found.probabilities, found.gradient)
    return [half.tobytes() for e in exacts for half in (e.hi, e.lo)] + [
        found.condition.tobytes(),
        found.defined.tobytes(),
    ]


def never(*_):
    raise AssertionError("evaluated again")


def test_a_second_call_reads_the_kept_answer(folder, monkeypatch):
    first = reference(LARGE, TARGETS)
    monkeypatch.setattr(importlib.import_module("logitlab.oracle.balls"), "row", never)
    assert bits(reference(LARGE, TARGETS)) == bits(first)


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_kept_arrays_have_the_shapes_of_computed_ones(folder, reduction):
    first, second = (reference(LARGE, TARGETS, reduction=reduction) for _ in range(2))
    assert len(files(folder)) == 1
    assert second.loss.hi.shape == first.loss.hi.shape == ((2,) if reduction == "none" else ())
    assert second.gradient.lo.shape == first.gradient.lo.shape == LARGE.shape


def overwrite(offset, value):
    def damage(raw):
        return raw[:offset] + bytes([value]) + raw[offset + 1 :]

    return damage


def central(raw):
    """Return the offset of the zip file's central directory."""
    return raw.index(b"PK\x01\x02")


DAMAGE = {
    "emptied": lambda raw: b"",
    "cut in half": lambda raw: raw[: len(raw) // 2],
    "one byte short": lambda raw: raw[:-1],
    "text": lambda raw: b"not an archive",
    "a bit of an array flipped": lambda raw: overwrite(len(raw) // 2, raw[len(raw) // 2] ^ 1)(raw),
    "zip version of the future": lambda raw: overwrite(central(raw) + 6, 255)(raw),
    "flagged as encrypted": lambda raw: overwrite(central(raw) + 8, 1)(raw),
    "an array renamed": lambda raw: raw.replace(b"loss.npy", b"last.npy"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_computed_again(folder, damage):
    first = reference(LARGE, TARGETS)
    (path,) = files(folder)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert bits(reference(LARGE, TARGETS)) == bits(first)


def test_different_questions_never_share_a_file(folder):
    one_bit = LARGE.copy()
    one_bit[0, 0] = np.nextafter(one_bit[0, 0], 0)
    shares = np.zeros(LARGE.shape)
    shares[[0, 1], TARGETS] = 1.0
    ones = np.ones(LARGE.shape[1])
    questions = [
        (LARGE, TARGETS, {}),
        (one_bit, TARGETS, {}),
        (LARGE.reshape(1, -1), [7], {}),
        (LARGE, [7, 2401], {}),
        (LARGE, shares, {}),
        (LARGE, TARGETS, {"reduction": "mean"}),
        (LARGE, TARGETS, {"reduction": "sum"}),
        (LARGE, TARGETS, {"label_smoothing": 0.1}),
        (LARGE, TARGETS, {"weight": ones}),
        (LARGE, TARGETS, {"weight": 2 * ones}),
        (LARGE, TARGETS, {"ignore_index": 7}),
        (LARGE, TARGETS, {"ignore_index": -1}),
    ]
    for kept, (logits, targets, keywords) in enumerate(questions, start=1):
        reference(logits, targets, **keywords)
        assert len(files(folder)) == kept


def test_an_empty_variable_switches_the_cache_off(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGITLAB_CACHE", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert np.isfinite(reference(LARGE, TARGETS).loss.hi).all()
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_written_does_not_prevent_a_result(folder, monkeypatch):
    expected = bits(reference(LARGE, TARGETS))
    folder.parent.joinpath("a file").write_text("in the way")
    monkeypatch.setenv("LOGITLAB_CACHE", str(folder.parent / "a file" / "below"))
    assert bits(reference(LARGE, TARGETS)) == expected


def test_a_failed_write_leaves_nothing_behind(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert np.isfinite(reference(LARGE, TARGETS).loss.hi).all()
    assert files(folder) == []


def test_threads_do_not_change_each_others_precision():
    rng = np.random.default_rng(0)
    batches = [rng.normal(0, 30, (40, 50)) for _ in range(12)]
    targets = [rng.integers(0, 50, 40) for _ in batches]
    before, often = flint.ctx.prec, sys.getswitchinterval()
    expected = [bits(reference(x, t)) for x, t in zip(batches, targets, strict=True)]
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert [bits(found) for found in threads.map(reference, batches, targets)] == expected
    finally:
        sys.setswitchinterval(often)
    assert flint.ctx.prec == before
