"""The exact linear problem, compared with fractions and mpmath, with limits, and with `reference`."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import torch
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

import logitlab
from logitlab.core.errors import UsageError
from logitlab.oracle import LinearReference, _linear_gradients, linear_reference, reference
from logitlab.oracle._products import dot_products

INF, NAN = float("inf"), float("nan")
PROMISED = mpf(2) ** -90
SMALLEST = mpf(2) ** -1074
LARGEST = mpf(float(np.finfo(np.float64).max))
# Numbers of 600 decimal exponents cancel up to some 4000 bits, and 1100 remain of the smallest value.
BITS = 6000


def fraction(value):
    with mp.workprec(BITS):
        return mpf(value.numerator) / mpf(value.denominator)


def target_weights(t, classes, smoothing, weight):
    """Return the weights of one row's classes, exactly."""
    y = [Fraction(int(j == t)) for j in range(classes)] if isinstance(t, int) else [Fraction(v) for v in t]
    w = [Fraction(v) for v in weight or [1] * classes]
    s = Fraction(smoothing)
    return [a * ((1 - s) * b + s / classes) for a, b in zip(w, y, strict=True)]


class Expected:
    """The loss and gradients of finite inputs, line by line from the definition."""

    def __init__(
        self, hidden, weight, targets, bias=None, label_smoothing=0.0, class_weight=None, ignore_index=None,
        reduction="none", softcap=None, logit_scale=None, z_loss=0.0,
    ):  # fmt: skip
        classes = len(weight)
        offsets = bias or [0.0] * classes
        z = [
            [sum((Fraction(a) * Fraction(b) for a, b in zip(h, w, strict=True)), Fraction(c)) for w, c in
             zip(weight, offsets, strict=True)]
            for h in hidden
        ]  # fmt: skip
        self.logits = [[fraction(v) for v in row] for row in z]
        counted = [t != ignore_index or ignore_index is None for t in targets]
        q = [
            target_weights(t, classes, label_smoothing, class_weight) if c else [Fraction(0)] * classes
            for t, c in zip(targets, counted, strict=True)
        ]
        divisor = Fraction(1)
        if reduction == "mean":
            indices = all(isinstance(t, int) for t in targets)
            ones = [Fraction(class_weight[t]) if class_weight and indices else Fraction(1) for t, c in
                    zip(targets, counted, strict=True) if c]  # fmt: skip
            divisor = sum(ones, Fraction(0))
        self.over_nothing = divisor == 0
        if self.over_nothing:
            return
        with mp.workprec(BITS):
            rows = [
                row_of(row, of_row, softcap, logit_scale, z_loss if c else 0.0, fraction(1 / divisor))
                for row, of_row, c in zip(self.logits, q, counted, strict=True)
            ]
            self.loss = [loss for loss, _ in rows]
            if reduction != "none":
                self.loss = mp.fsum(self.loss) / fraction(divisor)
            g = [of_row for _, of_row in rows]
            features = range(len(hidden[0]))
            self.gradient_hidden = [
                [mp.fsum(a * mpf(w[k]) for a, w in zip(of_row, weight, strict=True)) for k in features] for of_row in g
            ]
            self.gradient_weight = [
                [mp.fsum(of_row[j] * mpf(h[k]) for of_row, h in zip(g, hidden, strict=True)) for k in features]
                for j in range(classes)
            ]
            self.gradient_bias = [mp.fsum(of_row[j] for of_row in g) for j in range(classes)]


def row_of(z, q, softcap, logit_scale, z_loss, scale):
    """Return the loss of one row, and its gradient by the logits times a factor."""
    s, c = mpf(logit_scale or 1.0), softcap
    x = [s * v for v in z]
    slopes = [s for _ in z]
    if c is not None:
        slopes = [s / mp.cosh(v / c) ** 2 for v in x]
        x = [c * mp.tanh(v / c) for v in x]
    top = max(x)
    e = [mp.exp(v - top) for v in x]
    total = mp.fsum(e)
    lse = top + mp.log(total)
    q = [fraction(v) for v in q]
    loss = mp.fsum(w * (lse - v) for w, v in zip(q, x, strict=True)) + mpf(z_loss) * lse**2
    pull = mp.fsum(q) + 2 * mpf(z_loss) * lse
    return loss, [(pull * a / total - w) * b * scale for a, w, b in zip(e, q, slopes, strict=True)]


def assert_agrees(exact, expected):
    """Assert that a scalar, a vector or a matrix of exact values agrees with mpmath's to 90 bits."""
    for at in np.ndindex(exact.hi.shape):
        value = expected
        for index in at:
            value = value[index]
        hi, lo = float(exact.hi[at]), float(exact.lo[at])
        with mp.workprec(BITS):
            if math.isinf(hi):
                assert abs(value) > LARGEST * (1 - mpf(2) ** -53)
                assert (hi > 0) == (value > 0)
            else:
                found = mpf(hi) + mpf(lo)
                assert abs(found - value) <= PROMISED * abs(value) + SMALLEST, (at, hi, lo, mp.nstr(value, 20))
                assert abs(value - mpf(hi)) <= (mpf(1) / 2 + mpf(2) ** -49) * mpf(math.ulp(hi)) or not value


def check(hidden, weight, targets, **options):
    found = linear_reference(hidden, weight, targets, **options)
    expected = Expected(hidden, weight, targets, **options)
    assert_agrees(found.logits, expected.logits)
    if expected.over_nothing:
        assert np.isnan(found.loss.hi)
        assert np.isnan(found.gradient_weight.hi).all()
        assert np.isnan(found.gradient_hidden.hi).all()
        return found
    assert_agrees(found.loss, expected.loss)
    assert_agrees(found.gradient_hidden, expected.gradient_hidden)
    assert_agrees(found.gradient_weight, expected.gradient_weight)
    if options.get("bias") is None:
        assert found.gradient_bias is None
    else:
        assert_agrees(found.gradient_bias, expected.gradient_bias)
    return found


# --- random and extreme inputs ------------------------------------------------------------------------------------

ordinary = st.floats(-8, 8) | st.integers(-3, 3).map(float)
extreme = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.tuples(st.floats(-9, 9), st.integers(-300, 300)).map(lambda v: v[0] * 10.0 ** v[1]),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1e300, -1e300, 1.0, 1.0 + 2**-52]),
)


@st.composite
def problems(draw, numbers):
    rows, features, classes = (draw(st.integers(1, 4)) for _ in range(3))

    def matrix(n, m):
        drawn = [draw(st.lists(numbers, min_size=m, max_size=m)) for _ in range(n)]
        # Ties: some rows are repeated, or are the negative of another.
        for i in range(1, n):
            sign = draw(st.sampled_from([0, 0, 0, 1, -1]))
            drawn[i] = [sign * v for v in drawn[i - 1]] if sign else drawn[i]
        return drawn

    options = {
        "bias": draw(st.none() | st.lists(numbers, min_size=classes, max_size=classes)),
        "label_smoothing": draw(st.sampled_from([0.0, 0.0, 0.1, 1.0])),
        "class_weight": draw(
            st.none() | st.lists(st.sampled_from([0.0, 1.0, 0.3, 7.0]), min_size=classes, max_size=classes)
        ),
        "reduction": draw(st.sampled_from(["none", "sum", "mean"])),
    }
    if draw(st.integers(0, 3)):
        options["ignore_index"] = draw(st.sampled_from([None, -100]))
        allowed = st.integers(0, classes - 1)
        allowed = allowed if options["ignore_index"] is None else allowed | st.just(-100)
        targets = draw(st.lists(allowed, min_size=rows, max_size=rows))
    else:
        share = st.sampled_from([0.0, 0.25, 0.5, 1.0, 0.1])
        targets = draw(
            st.lists(st.lists(share, min_size=classes, max_size=classes), min_size=rows, max_size=rows)
        )
    return matrix(rows, features), matrix(classes, features), targets, options


@settings(max_examples=examples(600), deadline=None)
@given(problems(ordinary))
def test_ordinary_numbers_agree_with_the_definition(problem):
    hidden, weight, targets, options = problem
    check(hidden, weight, targets, **options)


@settings(max_examples=examples(600), deadline=None)
@given(problems(extreme))
def test_extreme_numbers_agree_with_the_definition(problem):
    hidden, weight, targets, options = problem
    check(hidden, weight, targets, **options)


@settings(max_examples=examples(300), deadline=None)
@given(
    problems(ordinary),
    st.fixed_dictionaries(
        {
            "softcap": st.none() | st.floats(0.5, 100),
            "logit_scale": st.none() | st.floats(0.01, 10),
            "z_loss": st.sampled_from([0.0, 1e-4, 3.0]),
        }
    ),
)
def test_softcap_scale_and_z_loss_agree_with_the_definition(problem, transforming):
    hidden, weight, targets, options = problem
    check(hidden, weight, targets, **options, **transforming)
