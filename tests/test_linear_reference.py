"""The exact linear problem, compared with fractions and mpmath, with limits, and with `reference`."""

import math
from fractions import Fraction

import flint
import ml_dtypes
import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

import logitlab
from logitlab.core.errors import UsageError
from logitlab.oracle import LinearReference, _linear_gradients, _products, balls, linear, linear_reference, reference
from logitlab.oracle._products import Factors, bounded_product, dot_products

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
        targets = draw(st.lists(st.lists(share, min_size=classes, max_size=classes), min_size=rows, max_size=rows))
    return matrix(rows, features), matrix(classes, features), targets, options


@pytest.mark.full
@settings(max_examples=examples(600), deadline=None)
@given(problems(ordinary))
def test_ordinary_numbers_agree_with_the_definition(problem):
    hidden, weight, targets, options = problem
    check(hidden, weight, targets, **options)


@settings(max_examples=examples(400, 20), deadline=None)
@given(problems(extreme))
def test_extreme_numbers_agree_with_the_definition(problem):
    hidden, weight, targets, options = problem
    check(hidden, weight, targets, **options)


@settings(max_examples=examples(300, 15), deadline=None)
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


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    st.lists(st.lists(st.floats(-3, 3), min_size=3, max_size=3), min_size=2, max_size=4),
    st.sampled_from([{}, {"softcap": 2.0, "logit_scale": 1.5, "z_loss": 0.1}]),
)
def test_the_gradients_are_the_derivative_of_the_loss_without_a_formula(h, weight, options):
    found = linear_reference([h], weight, [1], **options)
    with mp.workprec(700):
        s, c, z_loss = options.get("logit_scale", 1.0), options.get("softcap"), options.get("z_loss", 0.0)

        def loss(numbers):
            rows = [numbers[3 * i : 3 * i + 3] for i in range(len(weight) + 1)]
            z = [mp.fsum(a * b for a, b in zip(rows[0], w, strict=True)) for w in rows[1:]]
            return row_of(z, [Fraction(int(j == 1)) for j in range(len(z))], c, s, z_loss, mpf(1))[0]

        numbers = [mpf(v) for v in (*h, *(v for w in weight for v in w))]
        by_number = [
            mp.diff(lambda v, i=i: loss([*numbers[:i], v, *numbers[i + 1 :]]), numbers[i]) for i in range(len(numbers))
        ]
        pairs = [found.gradient_hidden, found.gradient_weight]
        values = [mpf(float(a)) + mpf(float(b)) for e in pairs for a, b in zip(e.hi.ravel(), e.lo.ravel(), strict=True)]
        # Numeric differentiation leaves this much of an entry that is 0.
        assert all(abs(a - b) <= PROMISED * abs(b) + mpf(2) ** -300 for a, b in zip(values, by_number, strict=True))


# --- agreement with reference, and large sizes --------------------------------------------------------------------


def halves(exact):
    return exact.hi.tolist(), exact.lo.tolist()


OPTIONS = [
    {},
    {"reduction": "mean", "class_weight": [1.0, 2.0, 0.5, 0.0, 3.0], "label_smoothing": 0.1},
    {"softcap": 3.0, "logit_scale": 0.5, "z_loss": 0.01, "reduction": "sum"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_an_identity_as_weight_is_the_loss_of_the_hidden_states(options):
    z, t = np.random.default_rng(0).normal(size=(6, 5)) * 20, [0, 1, 2, 4, -100, 3]
    of_logits = {"weight" if name == "class_weight" else name: value for name, value in options.items()}
    plain = reference(z, t, ignore_index=-100, **of_logits)
    found = linear_reference(z, np.eye(5), t, ignore_index=-100, **options)
    assert halves(found.loss) == halves(plain.loss)
    assert halves(found.logits) == (z.tolist(), np.zeros_like(z).tolist())
    for name in ("probabilities", "gradient"):
        assert halves(getattr(found.of_logits, name)) == halves(getattr(plain, name))
    for name in ("condition", "defined", "mass", "scale", "sole_target"):
        assert np.array_equal(getattr(found.of_logits, name), getattr(plain, name), equal_nan=True)
    assert np.array_equal(found.gradient_hidden.hi, plain.gradient.hi)
    assert np.allclose(found.gradient_hidden.lo, plain.gradient.lo, rtol=2.0**-45, atol=0)
    assert np.array_equal(found.condition, plain.condition, equal_nan=True)
    assert np.array_equal(found.defined, plain.defined)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_single_hidden_feature_of_one_is_the_loss_of_the_weight(options):
    w, t = np.random.default_rng(1).normal(size=5) * 20, [2]
    of_logits = {"weight" if name == "class_weight" else name: value for name, value in options.items()}
    plain = reference([w], t, **of_logits)
    found = linear_reference([[1.0]], w[:, None], t, **options)
    assert halves(found.loss) == halves(plain.loss)
    assert np.array_equal(found.gradient_weight.hi[:, 0], plain.gradient.hi[0])
    assert np.allclose(found.gradient_weight.lo[:, 0], plain.gradient.lo[0], rtol=2.0**-45, atol=0)


@pytest.mark.parametrize(
    ("rows", "features", "classes"),
    [
        (8, 64, 1000),
        pytest.param(3, 5, 20_000, marks=pytest.mark.full),
        (2, 3000, 50),
        (600, 7, 11),
        pytest.param(4, 4096, 1000, marks=pytest.mark.full),
        pytest.param(3, 5, 300_000, marks=pytest.mark.full),
    ],
)
def test_large_problems_agree_with_float64(rows, features, classes):
    rng = np.random.default_rng(2)
    h, b, t = rng.normal(size=(rows, features)), rng.normal(size=classes), rng.integers(0, classes, rows)
    w = rng.normal(size=(classes, features)) / np.sqrt(features)
    found = linear_reference(h, w, t, bias=b, keep=False)
    z = h @ w.T + b
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    g = p.copy()
    g[np.arange(rows), t] -= 1
    assert np.allclose(found.loss.hi, -np.log(p[np.arange(rows), t]), rtol=1e-12)
    assert np.allclose(found.logits.hi, z, rtol=0, atol=1e-12)
    for exact, computed, size in (
        (found.gradient_hidden, g @ w, np.abs(g) @ np.abs(w)),
        (found.gradient_weight, g.T @ h, np.abs(g).T @ np.abs(h)),
        (found.gradient_bias, g.sum(axis=0), np.abs(g).sum(axis=0)),
    ):
        assert (np.abs(exact.hi - computed) <= 1e-12 * size).all()
        assert (np.abs(exact.lo) <= 2.0**-53 * np.abs(exact.hi)).all()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e-6])
def test_balls_alone_give_the_same_within_the_bound(monkeypatch, options, scale):
    rng = np.random.default_rng(3)
    h, w, t = rng.normal(size=(7, 9)) * scale, rng.normal(size=(5, 9)), rng.integers(0, 5, 7)
    h[1], h[2] = -h[0], h[0] * (1 + 2.0**-50)  # sums of these cancel
    quick = linear_reference(h, w, t, bias=w[:, 0], **options)
    undecided = []

    def nothing_decided(a, x):
        exact, decided = bounded_product(a, x)
        undecided.append(int((~decided).sum()))
        return exact, np.zeros_like(decided)

    monkeypatch.setattr(_linear_gradients, "bounded_product", nothing_decided)
    slow = linear_reference(h, w, t, bias=w[:, 0], **options)
    assert sum(undecided) < 0.2 * (h.size + w.size)  # most were decided by the bound
    for name in ("gradient_hidden", "gradient_weight", "gradient_bias"):
        a, b = getattr(quick, name), getattr(slow, name)
        assert (np.abs((a.hi - b.hi) + (a.lo - b.lo)) <= 2.0**-100 * np.abs(b.hi)).all()
        # Next to half way between two floats, either may be the first half.
        assert ((a.hi == b.hi) | (np.abs(b.lo) > 0.4999 * np.spacing(np.abs(b.hi)))).all()


@pytest.mark.parametrize("name", ["_OUTPUTS", "_INPUTS", "_TERMS"])
def test_small_blocks_give_the_same_bits(monkeypatch, name):
    rng = np.random.default_rng(4)
    h, w, t = rng.normal(size=(30, 20)), rng.normal(size=(40, 20)), rng.integers(0, 40, 30)
    whole = linear_reference(h, w, t)
    monkeypatch.setattr(_products, name, 50)
    parts = linear_reference(h, w, t)
    assert halves(parts.logits) == halves(whole.logits)
    for gradient in ("gradient_hidden", "gradient_weight"):
        a, b = getattr(parts, gradient), getattr(whole, gradient)
        assert np.array_equal(a.hi, b.hi)
        assert (np.abs(a.lo - b.lo) <= 2.0**-103 * np.abs(b.hi)).all()


@pytest.mark.parametrize("scale", [1.0, 1e-270, 1e150])
def test_a_decided_entry_is_good_to_103_bits_even_if_each_number_has_its_largest_error(scale):
    rng = np.random.default_rng(10)
    x, first, second = rng.normal(size=(4, 60)), rng.normal(size=(30, 4)), rng.normal(size=(30, 4)) * 2.0**-55
    # Entries that cancel by 0 to 59 bits: the last number is minus the others' sum, divided by the first column's.
    x[3] = -x[0] * (1 + 2.0 ** -np.arange(60))
    first[:, 1:3], first[:, 3] = first[:, 1:3] * 2.0**-60, first[:, 0]
    second[:, 3] = second[:, 0]
    error = np.abs(first) * 2.0**-140
    third = error * np.where(np.arange(4) == 3, 1.0, -1.0)  # does not cancel
    x *= scale
    factors = Factors(np.stack([first, second, third]), error, np.frexp(first)[1].astype(np.int64) + 1)
    exact, decided = bounded_product(factors, x)
    assert 0.2 < decided.mean() < 0.9
    assert decided[:, :20].all()
    for m, k in np.argwhere(decided).tolist():
        terms = [(Fraction(first[m, n]) + Fraction(second[m, n])) * Fraction(x[n, k]) for n in range(4)]
        value = sum(terms, Fraction(0))
        assert abs(Fraction(exact.hi[m, k]) + Fraction(exact.lo[m, k]) - value) <= abs(value) / 2**103


@pytest.mark.parametrize("spread", [0, 30, 300])
def test_dot_products_are_exact(spread):
    rng = np.random.default_rng(5)
    a, b = (rng.normal(size=shape) * 10.0 ** rng.uniform(-spread, spread, shape) for shape in ((6, 40), (9, 40)))
    found, exponent = dot_products(a, b)
    for i in range(6):
        for j in range(9):
            exact = sum((Fraction(x) * Fraction(y) for x, y in zip(a[i], b[j], strict=True)), Fraction(0))
            assert found[i][j] * Fraction(2) ** exponent == exact


# --- exact zeros --------------------------------------------------------------------------------------------------


def test_hidden_states_of_zeros_leave_the_weight_alone():
    found = linear_reference(np.zeros((2, 3)), [[1.0, 2.0, 0.1], [0.3, -1.0, 7.0]], [0, 1], bias=[0.1, -0.7])
    assert halves(found.gradient_weight) == (np.zeros((2, 3)).tolist(),) * 2
    assert found.gradient_hidden.hi.all()
    assert found.gradient_bias.hi.all()


@pytest.mark.parametrize("options", OPTIONS[:2])
def test_equal_rows_of_the_weight_leave_the_hidden_states_alone(options):
    h, row = np.random.default_rng(6).normal(size=(3, 4)), [0.1, -2.0, 1 / 3, 1e300]
    found = linear_reference(h, [row] * 5, [0, 1, 4], bias=[0.1, 0.2, 0.3, 0.4, 0.5], **options)
    assert halves(found.gradient_hidden) == (np.zeros((3, 4)).tolist(),) * 2
    assert found.gradient_weight.hi.all()


def test_classes_of_equal_logits_whose_weights_cancel_give_an_exact_zero():
    # The logits are (0.1, 0.1, 0.7): the first two classes have weights 1 and -1 in a feature that is 0.
    weight = [[0.1, 1.0], [0.1, -1.0], [0.7, 0.0]]
    found = linear_reference([[1.0, 0.0]], weight, [2])
    assert (found.gradient_hidden.hi[0, 1], found.gradient_hidden.lo[0, 1]) == (0.0, 0.0)
    assert linear_reference([[1.0, 0.0]], weight, [1]).gradient_hidden.hi[0, 1] > 0.5


def test_rows_with_opposite_hidden_states_and_the_same_softmax_cancel():
    h = np.random.default_rng(7).normal(size=4)
    found = linear_reference([h, -h], np.zeros((3, 4)), [1, 1], bias=[0.3, 0.1, -2.0])
    assert halves(found.gradient_weight) == (np.zeros((3, 4)).tolist(),) * 2
    other = linear_reference([h, -h], np.zeros((3, 4)), [1, 2], bias=[0.3, 0.1, -2.0])
    assert not other.gradient_weight.hi[0].any()
    assert other.gradient_weight.hi[1:].all()


def test_uniform_rows_with_other_targets_cancel_at_a_half():
    found = linear_reference([[0.3], [0.3]], [[0.0], [0.0]], [0, 1])
    assert halves(found.gradient_weight) == ([[0.0], [0.0]],) * 2


NEXT = 1.0 + 2.0**-52


@pytest.mark.parametrize(
    ("hidden", "weight", "targets", "bias"),
    [
        ([[0.3, 1.0]], [[1.0, 1.0], [2.0, NEXT], [-1.0, 1.0]], [2], None),
        ([[0.7], [-0.7 * NEXT]], [[0.0]] * 3, [1, 1], [0.3, 0.1, -2.0]),
        ([[0.7], [-0.7 * NEXT]], [[0.0]] * 3, [1, 1], None),
        ([[1e300], [-1e300 * NEXT]], [[0.0]] * 3, [1, 1], None),
    ],
)
def test_a_sum_that_cancels_almost_completely_is_not_taken_for_zero(hidden, weight, targets, bias):
    found = check(hidden, weight, targets, bias=bias)
    assert found.gradient_weight.hi.all()
    assert bias is not None or found.gradient_hidden.hi.any() or not np.any(weight)


@pytest.mark.parametrize("ignored", [False, True])
def test_many_zeros_are_found_without_more_precision(monkeypatch, ignored):
    tried, entries = [], _linear_gradients._entries

    def recorded(*arguments):
        tried.append(flint.ctx.prec)
        return entries(*arguments)

    monkeypatch.setattr(_linear_gradients, "_entries", recorded)
    h = np.random.default_rng(8).normal(size=(2, 20))
    rows, t = ([h[0], -h[0], h[1]], [3, 3, -1]) if ignored else ([h[0], -h[0]], [3, 3])
    found = linear_reference(rows, np.ones((30, 1)) * h[1], t, bias=np.linspace(0, 1, 30), ignore_index=-1)
    assert not found.gradient_weight.hi.any()
    assert not found.gradient_hidden.hi.any()
    assert set(tried) == {balls.START_BITS}


# --- special values -----------------------------------------------------------------------------------------------

H, W, T = [[1.0, 2.0], [0.5, -1.0]], [[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]], [0, 2]


def test_a_nan_in_a_hidden_state_makes_its_row_and_the_gradients_of_the_weight_nan():
    found = linear_reference([[1.0, NAN], H[1]], W, T, bias=[0.0] * 3)
    alone = linear_reference(H[1:], W, T[1:])
    assert np.isnan(found.loss.hi).tolist() == [True, False]
    assert found.defined.tolist() == [True, True]
    assert np.isnan(found.gradient_hidden.hi[0]).all()
    assert found.gradient_hidden.hi[1].tolist() == alone.gradient_hidden.hi[0].tolist()
    assert np.isnan(found.gradient_weight.hi).all()
    assert np.isnan(found.gradient_bias.hi).all()


@pytest.mark.parametrize("where", ["weight", "bias"])
def test_a_nan_in_the_weight_or_bias_makes_every_row_nan(where):
    weight = [*W[:2], [NAN, 0.0]] if where == "weight" else W
    found = linear_reference(H, weight, T, bias=[0.0, NAN, 0.0] if where == "bias" else None)
    assert np.isnan(found.loss.hi).all()
    assert found.defined.all()
    for gradient in (found.gradient_hidden, found.gradient_weight):
        assert np.isnan(gradient.hi).all()


def test_a_bias_of_minus_infinity_masks_a_class():
    found = linear_reference(H, W, [0, 0], bias=[0.1, -INF, 0.2])
    without = linear_reference(H, [W[0], W[2]], [0, 0], bias=[0.1, 0.2])
    assert halves(found.loss) == halves(without.loss)
    assert halves(found.gradient_hidden) == halves(without.gradient_hidden)
    assert halves(found.gradient_weight[[0, 2]]) == halves(without.gradient_weight)
    assert halves(found.gradient_weight[1]) == ([0.0, 0.0],) * 2
    assert found.gradient_bias.hi[1] == found.of_logits.probabilities.hi[0, 1] == 0.0
    assert found.logits.hi[0, 1] == -INF


def test_a_masked_target_has_an_infinite_loss_and_finite_gradients():
    found = linear_reference(H[:1], W, [1], bias=[0.0, -INF, 0.0])
    p = found.of_logits.probabilities.hi[0]
    assert found.loss.hi.tolist() == [INF]
    assert found.gradient_weight.hi[1].tolist() == [-1.0, -2.0]
    assert found.gradient_bias.hi[1] == -1.0
    assert found.gradient_hidden.hi[0] == pytest.approx(p @ np.array(W) - W[1], rel=1e-14)


def test_infinite_weights_have_limits_and_signs():
    # The logits are (-inf, 2, 0): the first class is masked, by an exponential that its weight does not outgrow.
    found = linear_reference(H[:1], [[-INF, 0.0], *W[1:]], [1])
    without = linear_reference(H[:1], W[1:], [0])
    assert found.loss.hi.tolist() == without.loss.hi.tolist()
    assert halves(found.gradient_hidden) == halves(without.gradient_hidden)
    assert found.gradient_weight.hi.tolist() == [[0.0, 0.0], *without.gradient_weight.hi.tolist()]
    # As the target, its gradient of -1 multiplies the infinite weight.
    assert linear_reference(H[:1], [[-INF, 0.0], *W[1:]], [0]).gradient_hidden.hi[0, 0] == INF
    # The logits are (inf, 2, 0): the limit is one-hot, and only a wrong target has a gradient.
    right = linear_reference(H[:1], [[INF, 0.0], *W[1:]], [0])
    assert right.loss.hi.tolist() == [0.0]
    assert not right.gradient_hidden.hi.any()
    assert not right.gradient_weight.hi.any()
    wrong = linear_reference(H[:1], [[INF, 0.0], *W[1:]], [1])
    assert wrong.loss.hi.tolist() == [INF]
    assert wrong.gradient_hidden.hi.tolist() == [[INF, -1.0]]
    assert wrong.gradient_weight.hi.tolist() == [[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]]


def test_an_infinite_hidden_state_has_limits_and_signs():
    # The logits are (inf, -inf): the second class's gradient is the limit 0, times infinity.
    right = linear_reference([[INF]], [[1.0], [-1.0]], [0])
    assert right.loss.hi.tolist() == [0.0]
    assert right.gradient_weight.hi.tolist() == [[0.0], [0.0]]
    wrong = linear_reference([[INF]], [[1.0], [-1.0]], [1])
    assert wrong.gradient_weight.hi.tolist() == [[INF], [-INF]]
    assert wrong.gradient_hidden.hi.tolist() == [[2.0]]
    # By which infinity the second row is wrong, the weights' gradients have the same signs.
    both = linear_reference([[INF], [-INF]], [[1.0], [-1.0]], [1, 1])
    assert both.gradient_weight.hi.tolist() == [[INF], [-INF]]


@pytest.mark.parametrize(
    ("hidden", "weight", "bias"),
    [
        ([[0.0]], [[INF], [1.0]], None),  # 0 times infinity
        ([[1.0]], [[INF], [1.0]], [-INF, 0.0]),  # infinity minus infinity
        ([[INF]], [[1.0], [2.0]], None),  # two infinite logits
        ([[-INF]], [[1.0], [2.0]], None),  # none finite
    ],
)
def test_a_row_without_limit_is_not_defined(hidden, weight, bias):
    found = linear_reference(hidden, weight, [1], bias=bias)
    assert found.defined.tolist() == [False]
    assert np.isnan(found.loss.hi).all()
    assert np.isnan(found.gradient_hidden.hi).all()
    assert np.isnan(found.gradient_weight.hi).all()


@pytest.mark.parametrize("row", [[NAN, 1.0], [INF, INF], [0.3, 1e300], [-INF, 0.0]])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_an_ignored_row_adds_exactly_nothing(row, reduction):
    found = linear_reference([row, H[1]], W, [-1, 2], ignore_index=-1, reduction=reduction, bias=[0.1, 0.0, -INF])
    alone = linear_reference(H[1:], W, [2], reduction=reduction, bias=[0.1, 0.0, -INF])
    assert halves(found.gradient_weight) == halves(alone.gradient_weight)
    assert halves(found.gradient_bias) == halves(alone.gradient_bias)
    assert halves(found.gradient_hidden[0]) == ([0.0, 0.0],) * 2
    assert halves(found.gradient_hidden[1:]) == halves(alone.gradient_hidden)
    if reduction == "none":
        assert found.loss.hi[0] == 0.0


def test_a_mean_over_nothing_has_no_value():
    found = linear_reference(H, W, [-1, -1], ignore_index=-1, reduction="mean")
    assert np.isnan(found.loss.hi)
    assert not found.defined.any()
    assert np.isnan(found.gradient_hidden.hi).all()
    assert np.isnan(found.gradient_weight.hi).all()


def test_a_cap_takes_infinite_logits_and_a_z_loss_grows_with_them():
    capped = linear_reference(H[:1], W, [0], bias=[0.0, INF, -INF], softcap=3.0)
    assert capped.defined.all()
    assert np.isfinite(capped.loss.hi).all()
    assert capped.gradient_weight.hi[1:].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    grown = linear_reference(H[:1], W, [1], bias=[0.0, INF, 0.0], z_loss=0.1)
    assert grown.gradient_weight.hi.tolist() == [[0.0, 0.0], [INF, INF], [0.0, 0.0]]
    assert grown.gradient_bias.hi.tolist() == [0.0, INF, 0.0]


def test_logits_beyond_float64_have_exact_losses():
    h, w = [[1e300, 1e300]], [[1e300, 1.0], [1e300, 1.0 - 2.0**-53]]
    found = linear_reference(h, w, [0])
    assert found.logits.hi.tolist() == [[INF, INF]]
    assert found.loss.hi.tolist() == [0.0]  # the logits differ by 1.1e284
    assert linear_reference(h, w, [1]).loss.hi[0] == pytest.approx(1e300 * 2.0**-53)
    tied = linear_reference(h, [w[0], w[0]], [0])
    assert tied.loss.hi[0] == math.log(2)
    assert tied.gradient_weight.hi[:, 0].tolist() == [-5e299, 5e299]


# --- inputs, errors and the cache ---------------------------------------------------------------------------------


def test_arrays_of_other_dtypes_and_frameworks_are_taken_as_exact_numbers():
    import torch

    found = linear_reference(
        torch.tensor(H, dtype=torch.float16, requires_grad=True),
        np.array(W, ml_dtypes.bfloat16),
        torch.tensor(T),
        bias=np.array([0.1, 0.2, 0.3], np.float32),
    )
    same = linear_reference(H, W, T, bias=np.array([0.1, 0.2, 0.3], np.float32).astype(np.float64))
    assert halves(found.gradient_weight) == halves(same.gradient_weight)
    assert isinstance(found, LinearReference)
    assert logitlab.linear_reference is linear_reference


def test_no_rows_give_empty_losses_and_gradients_of_zero():
    found = linear_reference(np.zeros((0, 2)), W, [], bias=[0.0] * 3)
    assert found.loss.hi.shape == (0,)
    assert found.logits.hi.shape == (0, 3)
    assert found.gradient_hidden.hi.shape == (0, 2)
    assert found.gradient_weight.hi.tolist() == np.zeros((3, 2)).tolist()
    assert found.gradient_bias.hi.tolist() == [0.0] * 3
    mean = linear_reference(np.zeros((0, 2)), W, [], reduction="mean")
    assert np.isnan(mean.loss.hi)
    assert np.isnan(mean.gradient_weight.hi).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden": [1.0, 2.0]}, r"hidden has shape \(2,\); expected \(B, H\) with at least one feature"),
        ({"hidden": [[], []]}, r"hidden has shape \(2, 0\); expected \(B, H\) with at least one feature"),
        ({"hidden": np.ones((2, 2), complex)}, "hidden has dtype complex128; expected one of float16, bfloat16"),
        ({"weight": [1.0]}, r"weight has shape \(1,\); expected \(C, H\) with at least one feature"),
        ({"weight": np.ones((2, 2), bool)}, "weight has dtype bool; expected one of float16, bfloat16"),
        ({"weight": [[1.0]]}, r"weight has shape \(1, 1\); expected \(C, 2\), with at least one class and the hidden"),
        ({"weight": np.ones((0, 2))}, r"weight has shape \(0, 2\); expected \(C, 2\), with at least one class"),
        ({"bias": [1.0]}, r"bias has shape \(1,\); expected \(3,\), one for each class"),
        ({"bias": np.ones(3, bool)}, "bias has dtype bool; expected one of float16, bfloat16"),
        ({"class_weight": [1.0]}, r"class_weight has shape \(1,\); expected \(3,\), one for each class"),
        ({"class_weight": [1.0, -2.0, 1.0]}, "class_weight is -2.0; expected a finite number that is not negative"),
        ({"targets": [0, 3]}, "target 3 in row 1 is out of range; with 3 classes, expected 0 to 2"),
        ({"targets": [0]}, r"integer targets have shape \(1,\); expected \(2,\), one for each row"),
        ({"targets": [[1.0, 0.0]]}, r"target probabilities have shape \(1, 2\); expected that of the logits, \(2, 3\)"),
        ({"label_smoothing": 2.0}, "label_smoothing is 2.0; expected a number from 0 to 1"),
        ({"ignore_index": 0.5}, "ignore_index is 0.5; expected a whole number"),
        ({"softcap": 0.0}, "softcap is 0.0; expected a positive finite number"),
        ({"logit_scale": -1.0}, "logit_scale is -1.0; expected a positive finite number"),
        ({"z_loss": -1.0}, "z_loss is -1.0; expected a finite number that is not negative"),
        ({"reduction": "average"}, "unknown reduction 'average'; choose one of none, mean, sum"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_expected(changed, message):
    with pytest.raises(UsageError, match=message):
        linear_reference(**{"hidden": H, "weight": W, "targets": T} | changed)


@pytest.mark.parametrize("bias", [pytest.param(None, marks=pytest.mark.full), "some"])
def test_a_large_answer_is_cached_and_comes_back_bit_for_bit(monkeypatch, tmp_path, bias):
    monkeypatch.setenv("LOGITLAB_CACHE", str(tmp_path))
    rng = np.random.default_rng(9)
    h, w, t = rng.normal(size=(5, 3)), rng.normal(size=(1000, 3)), rng.integers(0, 1000, 5)
    b, options = None if bias is None else rng.normal(size=1000), {"softcap": 5.0, "reduction": "mean"}
    linear_reference(h, w, t, bias=b, keep=False, **options)
    assert not list(tmp_path.rglob("*.npz"))
    first = linear_reference(h, w, t, bias=b, **options)
    (file,) = tmp_path.rglob("*.npz")
    with monkeypatch.context() as patch:
        patch.setattr(linear, "_compute", lambda *_: pytest.fail("the answer is computed again"))
        again = linear_reference(h, w, t, bias=b, **options)
    for name in ("loss", "logits", "gradient_hidden", "gradient_weight", "gradient_bias"):
        a, c = getattr(first, name), getattr(again, name)
        assert (a is None and c is None) or (halves(a) == halves(c) and a.hi.shape == c.hi.shape)
    assert halves(again.of_logits.gradient) == halves(first.of_logits.gradient)
    file.write_bytes(file.read_bytes()[:-500])
    assert halves(linear_reference(h, w, t, bias=b, **options).gradient_weight) == halves(first.gradient_weight)
    # Other inputs have other files.
    linear_reference(h, w, t, bias=b, softcap=6.0, reduction="mean")
    linear_reference(h, w, t, bias=np.zeros(1000), **options)
    assert len(list(tmp_path.rglob("*.npz"))) == 3
