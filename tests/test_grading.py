"""Grades and verdicts: the bounds computed independently, and an example of each rule."""

import math
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from example_counts import examples
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from logitlab.core.formats import FORMATS
from logitlab.core.rounding import quantize, representable, round_to
from logitlab.core.vocabulary import GRADES, VERDICTS
from logitlab.grading import grade
from logitlab.oracle import Exact, reference

INF, NAN = float("inf"), float("nan")
FLOAT16, FLOAT32 = FORMATS["float16"], FORMATS["float32"]
FORMAT = st.sampled_from(list(FORMATS.values()))


def graded(quantity, computed, logits, targets, fmt=FLOAT32, dtype=None, reduction="none"):
    """Return the grade of values written by hand, in the case's dtype unless another is given."""
    x = quantize(logits, fmt)
    exact = reference(x, targets, reduction=reduction)
    row_losses = None if reduction == "none" else reference(x, targets).loss
    answer = np.array(computed, np.float64).astype(dtype or fmt.dtype)
    return grade(quantity, answer, x, fmt, exact, reduction=reduction, row_losses=row_losses)


def only(result):
    return result.grade.item(), result.verdict.item()


# --- the bounds -------------------------------------------------------------------------------------------------


def size_of(logits):
    """Return the number and the largest magnitude of the finite logits."""
    finite = [abs(v) for v in logits if math.isfinite(v)]
    return len(finite), max(finite)


def sums(n, u):
    return 2 * mp.sqrt(n) * min(u, mpf(2) ** -24)


def loss_bounds(loss, logits, fmt):
    """Return the bounds A, B and C of a row loss, as section 4 of the design defines them."""
    u, t, (n, largest) = mpf(fmt.unit_roundoff), mpf(fmt.smallest_normal), size_of(logits)
    a = sums(n, u)
    stable = u * (4 * loss + 8) + a + t
    return [(8 * u + 2 * u * max(0, -mp.log(loss)) + a) * loss + t, stable, stable + 4 * u * largest]


def entry_bounds(g, p, largest_g, logits, fmt):
    """Return the bounds A, B and C of one entry of a gradient."""
    u, t, (n, largest) = mpf(fmt.unit_roundoff), mpf(fmt.smallest_normal), size_of(logits)
    a = sums(n, u)
    stable = ((8 + 2 * abs(mp.log(p))) * u + a) * p + (8 * u + a) * largest_g + t
    accurate = ((8 + 2 * abs(mp.log(abs(g)))) * u + a) * abs(g) + t
    return [accurate, stable, 2 * stable + min(1, mp.expm1(4 * u * largest))]


def best_grade(error, bounds, *, wrong_sign=False):
    letter = next((letter for letter, bound in zip("ABC", bounds, strict=True) if error <= bound), "D")
    return max(letter, "C") if wrong_sign else letter


def at_bound(exact, bound, side, fmt):
    """Return a float64 with an error just within or beyond a bound; a quarter of it where float64 is graded."""
    slack = 0.25 if fmt.name == "float64" else 1e-6
    value = float(exact + bound * (1 + side * slack))
    error = abs(mpf(value) - exact)
    assert (error > bound) == (side > 0)
    return value, error


def clear_of(error, bounds):
    """Return whether the error is far enough from a bound that the bound's rounding does not decide."""
    return all(abs(error / bound - 1) > 1e-9 for bound in bounds)


LOGITS = st.lists(st.one_of(st.floats(-20, 20), st.floats(-2000, 2000)), min_size=2, max_size=6)
SIDE = st.sampled_from([-1, 1])


def exact_value(exact, index):
    return mpf(float(exact.hi[index])) + mpf(float(exact.lo[index]))


def quantized(logits, fmt):
    x = quantize([logits], fmt)
    return x, x.astype(np.float64)[0].tolist()


@settings(max_examples=examples(300))
@given(LOGITS, FORMAT, st.integers(0, 2), SIDE)
def test_a_loss_gets_the_best_grade_whose_bound_holds(logits, fmt, which, side):
    x, row = quantized(logits, fmt)
    exact = reference(x, [0])
    with mp.workprec(200):
        loss = exact_value(exact.loss, 0)
        assume(loss > 0)
        bounds = loss_bounds(loss, row, fmt)
        value, error = at_bound(loss, bounds[which], side, fmt)
        assume(clear_of(error, bounds))
        expected = best_grade(error, bounds, wrong_sign=value < -fmt.smallest_normal)
    assert grade("loss", np.array([value]), x, fmt, exact).grade.tolist() == [expected]


@settings(max_examples=examples(300))
@given(LOGITS, st.booleans(), FORMAT, st.integers(0, 2), SIDE, st.integers(0, 5))
def test_a_gradient_gets_the_grade_of_its_worst_entry(logits, masked, fmt, which, side, entry):
    x, row = quantized([*logits, -INF] if masked else logits, fmt)
    entry %= len(logits)
    exact = reference(x, [0])
    computed = exact.gradient.hi.copy()
    with mp.workprec(200):
        g, p = exact_value(exact.gradient, (0, entry)), exact_value(exact.probabilities, (0, entry))
        assume(g != 0)
        assume(p != 0)
        bounds = entry_bounds(g, p, max(abs(float(v)) for v in exact.gradient.hi[0]), row, fmt)
        computed[0, entry], error = at_bound(g, bounds[which], side, fmt)
        assume(clear_of(error, bounds))
        upward = -computed[0, entry] if entry == 0 else computed[0, entry]
        expected = best_grade(error, bounds, wrong_sign=upward < -fmt.smallest_normal)
    assert grade("gradient", computed, x, fmt, exact).grade.tolist() == [expected]


@settings(max_examples=examples(200))
@given(LOGITS, FORMAT, st.integers(0, 2), SIDE, st.integers(0, 5))
def test_probabilities_are_held_to_the_gradients_bounds(logits, fmt, which, side, entry):
    x, row = quantized(logits, fmt)
    entry %= len(logits)
    exact = reference(x, [0])
    computed = exact.probabilities.hi.copy()
    with mp.workprec(200):
        p = exact_value(exact.probabilities, (0, entry))
        assume(p != 0)
        bounds = entry_bounds(p, p, float(exact.probabilities.hi.max()), row, fmt)
        computed[0, entry], error = at_bound(p, bounds[which], side, fmt)
        assume(clear_of(error, bounds))
        expected = best_grade(error, bounds)
    assert grade("probabilities", computed, x, fmt, exact).grade.tolist() == [expected]


def test_a_large_loss_within_eight_roundings_of_itself_is_accurate():
    """For a loss of 1000 the bound of A exceeds those of B and C: eight roundings, relative to the loss."""
    value = 1000 * (1 + 8 * FLOAT32.unit_roundoff)
    assert only(graded("loss", [value], [[1000.0, 0.0]], [1])) == ("A", "correct")


def test_an_implementations_rows_are_graded_one_by_one():
    result = graded("loss", [math.log(2), 5.0, NAN], [[0.0, 0.0]] * 3, [0, 0, 0])
    assert result.grade.tolist() == ["A", "D", "F"]


@settings(max_examples=examples(200))
@given(st.lists(st.lists(st.floats(-10, 10), min_size=3, max_size=3), min_size=4, max_size=4), st.integers(-2000, 2000))
def test_a_mean_scales_the_gradients_bounds_with_the_gradient(logits, roundings):
    x, targets = quantize(logits, FLOAT32), [0, 1, 2, 0]
    alone, mean = reference(x, targets), reference(x, targets, reduction="mean")
    computed = alone.gradient.hi * (1 + roundings * FLOAT32.unit_roundoff)
    plain = grade("gradient", computed, x, FLOAT32, alone)
    scaled = grade("gradient", computed / 4, x, FLOAT32, mean, reduction="mean", row_losses=alone.loss)
    assert scaled.grade.tolist() == plain.grade.tolist()


@settings(max_examples=examples(200))
@given(
    st.lists(st.lists(st.floats(-30, 30), min_size=3, max_size=3), min_size=1, max_size=5),
    st.sampled_from(["mean", "sum"]),
    FORMAT,
    st.booleans(),
    st.integers(0, 2),
    SIDE,
)
def test_a_reduced_loss_may_err_as_its_rows_may_and_by_the_roundings_of_a_sum(
    logits, reduction, fmt, exposed, which, side
):
    x, targets = quantize(logits, fmt), [0] * len(logits)
    rows, exact = reference(x, targets), reference(x, targets, reduction=reduction)
    with mp.workprec(200):
        loss = exact_value(exact.loss, ())
        losses = [exact_value(rows.loss, r) for r in range(len(x))]
        bounds = reduced_bounds(losses, x.astype(float).tolist(), fmt, loss / mp.fsum(losses), exposed=exposed)
        value, error = at_bound(loss, bounds[which], side, fmt)
        assume(clear_of(error, bounds))
        expected = best_grade(error, bounds, wrong_sign=value < -fmt.smallest_normal)
    result = grade(
        "loss", np.array(value), x, fmt, exact, reduction=reduction, row_losses=rows.loss, rows_exposed=exposed
    )
    assert result.grade.tolist() == [expected]


def reduced_bounds(losses, logits, fmt, scale, *, exposed):
    """Return A, B and C of a reduced loss; A assumes rows in at least float32 where they are not returned."""
    u, number = mpf(fmt.unit_roundoff), len(losses)
    inside = fmt if exposed or fmt.precision > 24 else FLOAT32
    total = scale * mp.fsum(losses)
    reducing = (sums(number, u) + 4 * min(u, mpf(2) ** -24) + u) * total + fmt.smallest_normal
    a, b, _ = zip(*(loss_bounds(loss, row, inside) for loss, row in zip(losses, logits, strict=True)), strict=True)
    c = [loss_bounds(loss, row, fmt)[2] for loss, row in zip(losses, logits, strict=True)]
    rounded, pairwise = 0 if exposed else u * total, u * math.ceil(math.log2(number)) * total
    bounds = [scale * mp.fsum(each) + reducing for each in (a, b, c)]
    return [bounds[0], bounds[1] + rounded, bounds[2] + pairwise]


# A bfloat16 batch of 65,536 equal rows of two classes.
MANY = 2**16
BFLOAT16 = FORMATS["bfloat16"]
SECOND = -0.546875
EACH = 1.0035119409074615  # log1p(exp(SECOND)) - SECOND


def graded_sum(value, *, second=SECOND, exposed=False):
    """Return the grade of a sum over the rows: 65,536 is a power of two, so the exact sum is a scaled row."""
    row = quantize([[0.0, second]], BFLOAT16)
    one = reference(row, [1])
    assert one.loss.hi.item() == pytest.approx(math.log1p(math.exp(second)) - second, rel=1e-15)
    rows = Exact(np.tile(one.loss.hi, MANY), np.tile(one.loss.lo, MANY))
    total = Exact(one.loss.hi[0] * MANY, one.loss.lo[0] * MANY)
    repeated = {name: np.repeat(getattr(one, name), MANY) for name in ("defined", "mass", "sole_target")}
    exact = replace(one, loss=total, **repeated)
    x, computed = np.tile(row, (MANY, 1)), np.array(value, np.float64)
    return only(grade("loss", computed, x, BFLOAT16, exact, reduction="sum", row_losses=rows, rows_exposed=exposed))


def test_a_bfloat16_sum_over_many_rows_is_not_accurate_one_percent_off():
    for factor in (0.99, 1.01):
        assert graded_sum(factor * MANY * EACH)[0] == "C"
        assert graded_sum(factor * MANY * EACH, exposed=True)[0] == "A"


def test_a_sum_held_in_float32_and_rounded_once_to_bfloat16_is_accurate():
    assert graded_sum(round_to(MANY * EACH, BFLOAT16)) == ("A", "correct")
    assert graded_sum(MANY * EACH * (1 - 1.1 * BFLOAT16.unit_roundoff))[0] == "B"


def test_rows_that_came_out_in_bfloat16_bring_their_roundings_with_them():
    twice_rounded = MANY * EACH * (1 - 2 * BFLOAT16.unit_roundoff)
    assert graded_sum(twice_rounded, exposed=True)[0] == "A"
    assert graded_sum(twice_rounded, exposed=False)[0] == "B"
    assert graded_sum(MANY * EACH * (1 - 2.02 * BFLOAT16.unit_roundoff))[0] == "C"


def test_a_pairwise_sum_in_bfloat16_is_offset_sensitive_and_a_running_total_inaccurate():
    # A pairwise sum of equal numbers only doubles them: the rows' rounding is the only error, so the worst is made up.
    assert graded_sum(MANY * EACH * (1 - 16 * BFLOAT16.unit_roundoff))[0] == "C"
    total, each = 0.0, float(round_to(EACH, BFLOAT16))
    while (grown := float(round_to(total + each, BFLOAT16))) > total:
        total = grown
    assert total < 1000
    assert graded_sum(total) == ("D", "lost")


@pytest.mark.parametrize(("second", "letter"), [(-0.546875, "A"), (-0.375, "C"), (-0.5, "C"), (-1.0, "C")])
def test_pytorch_sums_row_losses_in_bfloat16(second, letter):
    """torch 2.13 on the CPU keeps partial sums of row losses in bfloat16, which costs up to 2 % over 65,536 rows.

    If this fails with a newer PyTorch, its sum has changed: write the new letters here and in the findings.
    """
    torch = pytest.importorskip("torch")
    logits = torch.tensor([[0.0, second]], dtype=torch.bfloat16).repeat(MANY, 1)
    targets = torch.ones(MANY, dtype=torch.int64)
    total = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    assert graded_sum(float(total), second=second)[0] == letter


# --- signs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
def test_a_negative_loss_is_at_best_offset_sensitive(fmt):
    # log p > 0: within B's bound of eight roundings, and no loss.
    value = -2 * fmt.unit_roundoff
    assert only(graded("loss", [value], [[0.0, -40.0]], [0], fmt)) == ("C", "wrong_sign")
    assert only(graded("loss", [-0.0], [[0.0, -40.0]], [0], fmt))[0] in "AB"


def test_a_gradient_that_pushes_a_sure_target_down_is_at_best_offset_sensitive():
    # The exact gradient is -4.5e-5 and 4.5e-5; B's bound alone would allow 8u = 0.03 of the softmax's 1.
    assert only(graded("gradient", [[0.0078125, 4.54e-5]], [[0.0, -10.0]], [0], BFLOAT16)) == ("C", "wrong_sign")
    assert only(graded("gradient", [[0.0, 4.54e-5]], [[0.0, -10.0]], [0], BFLOAT16)) == ("B", "underflow")
    assert only(graded("gradient", [[-4.54e-5, -0.001]], [[0.0, -10.0]], [0], BFLOAT16)) == ("C", "wrong_sign")


def test_a_masked_class_may_not_be_pushed_up():
    exact = [[-0.5, 0.5, 0.0]]
    assert only(graded("gradient", exact, [[0.0, 0.0, -INF]], [0])) == ("A", "correct")
    assert only(graded("gradient", [[-0.5, 0.5, -1e-8]], [[0.0, 0.0, -INF]], [0])) == ("C", "wrong_sign")
    # A class alone has gradient 0, and may not be pushed down.
    assert only(graded("gradient", [[1e-8, 0.0]], [[0.0, -INF]], [0])) == ("C", "wrong_sign")


def test_a_wrong_sign_below_the_smallest_normal_number_is_ignored():
    assert only(graded("gradient", [[-0.5, 0.5, -1e-39]], [[0.0, 0.0, -INF]], [0])) == ("A", "correct")
    assert only(graded("loss", [-1e-39], [[100.0, 0.0]], [0]))[1] != "wrong_sign"


def test_an_error_beyond_offset_stays_inaccurate_whatever_its_sign():
    assert only(graded("loss", [-1.0], [[0.0, 0.0]], [0])) == ("D", "wrong_sign")


def test_signs_are_not_promised_where_several_classes_are_targets():
    x = quantize([[0.0, 0.0]], FLOAT32)
    for exact in (reference(x, [[0.5, 0.5]]), reference(x, [0], label_smoothing=1.0)):
        for value in (-1e-8, 1e-8):
            assert only(grade("gradient", np.array([[value, -value]]), x, FLOAT32, exact)) == ("B", "correct")


def test_a_weighted_or_averaged_gradient_keeps_its_signs():
    x = quantize([[0.0, -10.0], [0.0, 0.0]], BFLOAT16)
    exact = reference(x, [0, 1], weight=[2.0, 1.0], reduction="mean")
    computed = exact.gradient.hi.copy()
    assert grade("gradient", computed, x, BFLOAT16, exact, reduction="mean").verdict.tolist() == ["correct"] * 2
    computed[0, 0] = 0.004
    assert grade("gradient", computed, x, BFLOAT16, exact, reduction="mean").verdict[0] == "wrong_sign"


def test_a_reduced_loss_is_not_negative():
    result = graded("loss", -1e-7, [[20.0, 0.0]] * 3, [0] * 3, reduction="mean")
    assert only(result) == ("C", "wrong_sign")


# --- correctly rounded results ----------------------------------------------------------------------------------

ANY_LOGITS = st.lists(
    st.one_of(st.floats(-30, 30), st.floats(allow_nan=False, allow_infinity=False), st.just(-INF)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=examples(300))
@given(ANY_LOGITS, FORMAT, st.sampled_from(["loss", "gradient", "probabilities"]))
def test_a_correctly_rounded_result_is_accurate_and_within_half_an_ulp(logits, fmt, quantity):
    assume(representable(logits, fmt) and any(v != -INF for v in logits))
    x = quantize([logits], fmt)
    exact = reference(x, [0])
    value = getattr(exact, quantity)
    result = grade(quantity, round_to(value.hi, fmt, value.lo).astype(fmt.dtype), x, fmt, exact)
    assert only(result) == ("A", "correct")
    assert result.max_ulp.item() <= 0.5
    assert result.n_zeroed.item() == 0


@settings(max_examples=examples(100))
@given(st.lists(st.lists(st.floats(-30, 30), min_size=3, max_size=3), min_size=1, max_size=5), FORMAT, st.booleans())
def test_a_correctly_rounded_reduction_is_accurate(logits, fmt, averaged):
    x, targets, reduction = quantize(logits, fmt), [0] * len(logits), "mean" if averaged else "sum"
    rows, exact = reference(x, targets), reference(x, targets, reduction=reduction)
    for quantity in ("loss", "gradient"):
        value = getattr(exact, quantity)
        computed = round_to(value.hi, fmt, value.lo).astype(fmt.dtype)
        result = grade(quantity, computed, x, fmt, exact, reduction=reduction, row_losses=rows.loss)
        assert set(result.grade) == {"A"}
        assert result.max_ulp.max() <= 0.5


def test_a_reduced_loss_is_one_result_for_the_batch():
    result = graded("loss", math.log(2), [[0.0, 0.0]] * 3, [0, 0, 1], reduction="mean")
    assert (result.grade.tolist(), result.max_ulp.shape) == (["A"], (1,))


def test_a_mean_that_was_taken_twice_is_inaccurate():
    result = graded("loss", math.log(2) / 3, [[0.0, 0.0]] * 3, [0, 0, 1], reduction="mean")
    assert only(result) == ("D", "lost")


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
def test_errors_are_measured_from_the_exact_value(fmt):
    step = fmt.unit_roundoff  # the spacing in the binade of ln 2
    rounded = float(round_to(math.log(2), fmt))
    value = rounded + 3 * step
    with mp.workprec(200):
        error = float(mpf(value) - mp.log(2))
    result = graded("loss", [value], [[0.0, 0.0]], [0], fmt)
    assert result.max_abs.item() == pytest.approx(error, rel=1e-9)
    assert result.max_rel.item() == pytest.approx(error / math.log(2), rel=1e-9)
    assert result.max_ulp.item() == pytest.approx(error / step, rel=1e-9)


def test_an_answer_in_a_wider_dtype_is_not_rounded_first():
    value = math.log(2)
    in_float16 = graded("loss", [value], [[0.0, 0.0]], [0], FLOAT16)
    in_float32 = graded("loss", [value], [[0.0, 0.0]], [0], FLOAT16, np.float32)
    assert 0.1 < in_float16.max_ulp.item() <= 0.5
    assert 0 < in_float32.max_ulp.item() < 1e-4


def test_a_relative_error_is_not_taken_of_a_subnormal():
    # The second entry of the gradient is e^-100, which is subnormal in float32.
    result = graded("gradient", [[0.0, 0.0]], [[100.0, 0.0]], [0])
    assert result.max_rel.item() == 0
    assert result.max_abs.item() == pytest.approx(math.exp(-100))


def test_finite_and_infinite_and_nan_entries_are_counted():
    result = graded("gradient", [[NAN, INF, -INF, 0.25], [-0.75, 0.25, 0.25, 0.25]], [[0.0] * 4] * 2, [0, 0])
    assert result.finite.tolist() == [False, True]
    assert result.expected_finite.tolist() == [True, True]
    assert [c.tolist() for c in (result.n_nan, result.n_posinf, result.n_neginf)] == [[1, 0], [1, 0], [1, 0]]


def test_zeros_are_counted_where_the_dtype_has_a_number_for_the_exact_value():
    # p is e^-20 and then e^-200, which is 0 in float32.
    result = graded("probabilities", [[1.0, 0.0, 0.0]], [[0.0, -20.0, -200.0]], [0])
    assert result.n_zeroed.tolist() == [1]


# --- not finite -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "verdict"), [(NAN, "nan"), (INF, "overflow"), (-INF, "overflow")])
@pytest.mark.parametrize("quantity", ["loss", "gradient", "probabilities"])
def test_a_value_that_is_not_finite_where_it_should_be_is_graded_f(quantity, value, verdict):
    computed = [value] if quantity == "loss" else [[value, 0.5]]
    result = graded(quantity, computed, [[0.0, 0.0]], [1])
    assert only(result) == ("F", verdict)
    assert result.max_ulp.item() == result.max_abs.item() == result.max_rel.item() == INF


@pytest.mark.parametrize("value", [0.0, 100.0, INF])
def test_anything_but_nan_for_a_nan_row_is_graded_f(value):
    assert graded("loss", [value], [[NAN, 0.0]], [1]).grade.item() == "F"


def test_a_finite_loss_of_a_nan_row_was_swallowed():
    assert only(graded("loss", [0.5], [[NAN, 0.0]], [1])) == ("F", "swallowed")


@pytest.mark.parametrize("quantity", ["loss", "gradient", "probabilities"])
def test_nan_for_a_nan_row_is_right(quantity):
    result = graded(quantity, [NAN] if quantity == "loss" else [[NAN, NAN]], [[NAN, 0.0]], [1])
    assert only(result) == ("A", "correct")
    assert (result.finite.item(), result.expected_finite.item(), result.max_ulp.item()) == (False, False, 0)


def test_an_infinite_loss_of_a_masked_target_is_right():
    result = graded("loss", [INF], [[-INF, 0.0]], [0])
    assert only(result) == ("A", "correct")
    assert (result.finite.item(), result.expected_finite.item(), result.max_ulp.item()) == (False, False, 0)


@pytest.mark.parametrize(("value", "verdict"), [(100.0, "swallowed"), (-INF, "overflow"), (NAN, "nan")])
def test_any_other_loss_of_a_masked_target_is_graded_f(value, verdict):
    assert only(graded("loss", [value], [[-INF, 0.0]], [0])) == ("F", verdict)


def test_the_gradient_of_a_masked_target_is_finite():
    assert only(graded("gradient", [[-1.0, 1.0]], [[-INF, 0.0]], [0])) == ("A", "correct")
    assert only(graded("gradient", [[NAN, NAN]], [[-INF, 0.0]], [0])) == ("F", "nan")


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (INF, np.float16, ("A", "correct")),
        (65504.0, np.float16, ("F", "swallowed")),
        (120000.0, np.float32, ("A", "correct")),
        (INF, np.float32, ("F", "overflow")),
    ],
)
def test_a_loss_beyond_float16_is_infinite_there_and_finite_in_a_wider_answer(value, dtype, expected):
    assert only(graded("loss", [value], [[60000.0, -60000.0]], [1], FLOAT16, dtype)) == expected


def test_a_narrower_answer_may_not_overflow():
    assert only(graded("loss", [INF], [[1e5, 0.0]], [1], FLOAT32, np.float16)) == ("F", "overflow")


# --- not graded -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [[-INF, -INF], [INF, INF], [INF, 0.0]])
@pytest.mark.parametrize(("quantity", "value"), [("loss", [0.0]), ("loss", [NAN]), ("gradient", [[NAN, 1.0]])])
def test_a_row_without_a_limit_in_the_format_is_recorded_and_not_graded(row, quantity, value):
    result = graded(quantity, value, [row], [0])
    assert only(result) == (None, "undefined")
    assert result.n_nan.item() == np.isnan(value).sum()
    assert result.finite.item() == np.isfinite(value).all()
    assert np.isnan([result.max_abs.item(), result.max_rel.item(), result.max_ulp.item()]).all()


def test_a_row_that_is_not_graded_leaves_its_neighbours_their_grades():
    logits = [[0.0, 0.0], [-INF, -INF], [INF, 0.0], [0.0, 0.0]]
    result = graded("loss", [math.log(2), 7.0, NAN, NAN], logits, [0, 0, 0, 0])
    assert result.grade.tolist() == ["A", None, None, "F"]
    assert result.verdict.tolist() == ["correct", "undefined", "undefined", "nan"]


@pytest.mark.parametrize("row", [[-INF, -INF], [INF, 0.0]])
def test_a_reduced_loss_over_such_a_row_is_not_graded_either(row):
    result = graded("loss", 1.0, [row, [0.0, 0.0]], [0, 0], reduction="mean")
    assert only(result) == (None, "undefined")


# --- verdicts ---------------------------------------------------------------------------------------------------

EXAMPLES = {
    "correct": ("loss", [math.log(2)], [[0.0, 0.0]], [0], "A"),
    # lse adds a maximum of a million back: an error of 0.1 is within four roundings of it.
    "inaccurate": ("loss", [math.log(2) + 0.1], [[1e6, 1e6]], [0], "C"),
    # log(1 + e^-15) with the 1 + rounded to float32's numbers next to 1: 3.06e-7 became 4.77e-7.
    "lost": ("loss", [2.0**-21], [[15.0, 0.0]], [0], "B"),
    # A sure row's target pushed down by one spacing.
    "wrong_sign": ("gradient", [[2.0**-24, 0.0]], [[16.0, 0.0]], [0], "C"),
    "nan": ("gradient", [[NAN, NAN]], [[1000.0, 0.0]], [0], "F"),
    "overflow": ("loss", [INF], [[200.0, 0.0]], [1], "F"),
    "underflow": ("loss", [0.0], [[20.0, 0.0]], [0], "B"),
    "swallowed": ("loss", [100.0], [[-INF, 0.0]], [0], "F"),
    "undefined": ("loss", [NAN], [[-INF, -INF]], [0], None),
}


def test_every_verdict_has_an_example():
    assert set(EXAMPLES) == set(VERDICTS)
    assert {example[-1] for example in EXAMPLES.values()} <= {*GRADES, None}


@pytest.mark.parametrize("verdict", EXAMPLES)
def test_a_verdict_says_what_happened(verdict):
    *example, letter = EXAMPLES[verdict]
    assert only(graded(*example)) == (letter, verdict)


def test_a_zero_within_the_best_bound_is_not_an_underflow():
    # e^-87.4 lies just below the smallest normal number, where a flushed zero is as good as it gets.
    result = graded("probabilities", [[1.0, 0.0]], [[87.4, 0.0]], [0])
    assert only(result) == ("A", "correct")
    assert result.n_zeroed.item() == 1


def test_a_value_that_a_logits_rounding_may_have_halved_is_not_lost():
    # Near 85 bfloat16's numbers are 0.5 apart: one rounding of the logit is up to 0.25, and A allows two.
    result = graded("probabilities", [[1.0, 1.55 * math.exp(-85)]], [[0.0, -85.0]], [0], FORMATS["bfloat16"])
    assert result.max_rel.item() > 0.5
    assert only(result) == ("A", "correct")


def test_bfloat16_answers_are_read_as_numbers():
    result = graded("loss", [math.log(2)], [[0.0, 0.0]], [0], FORMATS["bfloat16"], ml_dtypes.bfloat16)
    assert only(result) == ("A", "correct")
