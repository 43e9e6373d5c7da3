"""Many rows evaluated together: bit for bit the results of balls row by row, within the proven bounds."""

import importlib

import numpy as np
import pytest
from flint import arb
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from logitlab.cases import select_cases
from logitlab.core.formats import FORMATS
from logitlab.oracle import PER_ROW, Exact, reference
from logitlab.oracle import _fixed_point as fp
from logitlab.oracle import _vectorized as vectorized
from logitlab.oracle.balls import precision

module = importlib.import_module("logitlab.oracle.reference")


def bits(value):
    return np.stack([value.hi, value.lo]).view(np.int64) if isinstance(value, Exact) else value


def by_balls(x, t):
    """Return the reference with all rows evaluated by balls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "VECTORIZED_FROM", np.inf)
        return reference(x, t, keep=False)


def decided_rows(x, t):
    """Return which rows are decided, and assert that they equal balls in every bit, including signs of zeros."""
    x, t = np.ascontiguousarray(x, np.float64), np.asarray(t, np.int64)
    found, decided = vectorized.evaluate(x, t)
    expected = by_balls(x, t)
    for name in PER_ROW:
        a, b = bits(getattr(found, name)), bits(getattr(expected, name))
        if a is None:
            assert b is None
            continue
        rows = (slice(None), decided) if a.ndim > 1 or name == "loss" else decided
        np.testing.assert_array_equal(a[rows], b[rows], err_msg=name)
        assert a.dtype == b.dtype
    assert found.scale == expected.scale
    assert found.transform == expected.transform
    return decided


SPECIAL = [0.0, -0.0, 1.0, 88.0, 104.0, 36.7, 709.78, -745.2, -708.4, -1000.0, 1000.0, 1e-300, 5e-324, 1e300, -np.inf]
LOGITS = st.one_of(
    st.floats(-50, 50),
    st.floats(-800, 800),
    st.floats(-750, -700),
    st.integers(-20, 20).map(float),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(SPECIAL),
)


@given(arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 8)), elements=LOGITS), st.integers(0, 2**32))
def test_decided_rows_equal_those_of_balls(x, seed):
    decided_rows(x, np.random.default_rng(seed).integers(0, x.shape[1], len(x)))


@given(st.integers(0, 2**32), st.integers(2, 40), st.sampled_from([1e-3, 1, 10, 20]), st.sampled_from(list(FORMATS)))
def test_ordinary_rows_of_every_dtype_are_decided(seed, classes, size, dtype):
    """Equal logits, and single probabilities next to 1, are left to balls."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(0, size, (20, classes)) + rng.normal(0, 100)).astype(FORMATS[dtype].dtype).astype(np.float64)
    ordinary = (np.ptp(x, axis=1) > 0) & (np.ptp(x, axis=1) < 50)
    decided = decided_rows(x, rng.integers(0, classes, len(x)))
    assert (ordinary & ~decided).sum() <= 1


def test_subnormal_probabilities_are_rounded_once():
    rng = np.random.default_rng(0)
    x = rng.uniform(-750, -640, (400, 4))
    x[200:] = rng.uniform(-712, -707, (200, 4))  # these lose a bit or two: ``lo`` is a signed zero
    x[:, 0] = rng.uniform(-1, 1, 400)
    x[:, 1] = rng.uniform(-3, 1, 400)
    assert decided_rows(x, rng.integers(0, 2, 400)).mean() > 0.5


@pytest.mark.parametrize("classes", [7, 64, 1000])
def test_a_row_wider_than_a_block_is_taken_in_parts(classes, monkeypatch):
    monkeypatch.setattr(vectorized, "_BLOCK", 48)
    rng = np.random.default_rng(classes)
    x = rng.normal(0, 5, (9, classes)).astype(np.float32)
    assert decided_rows(x, rng.integers(0, classes, 9)).sum() > 6


def test_a_wide_row_of_few_different_logits_is_left_to_balls():
    x = np.random.default_rng(0).normal(0, 10, (2, vectorized._WIDE))
    x[1] = np.round(x[1])
    assert vectorized.evaluate(x, np.array([1, 1]))[1].tolist() == [True, False]


def test_a_row_in_a_batch_equals_the_row_alone_in_each_way_of_evaluation():
    rng = np.random.default_rng(1)
    x = rng.normal(0, 30, (200, 10)).astype(np.float32)
    x[3], x[5, 2], x[7, 0], x[9] = np.nan, np.inf, -np.inf, -np.inf
    x[11], x[13, 4] = 2.5, 1e4
    t = rng.integers(0, 10, 200)
    together = reference(x, t)
    for name in PER_ROW:
        rows = [getattr(reference(x[r : r + 1], t[r : r + 1]), name) for r in range(200)]
        whole = getattr(together, name)
        if whole is not None:
            expected = np.concatenate([bits(row) for row in rows], axis=1 if isinstance(whole, Exact) else 0)
            np.testing.assert_array_equal(bits(whole), expected)


def decided_share_of_catalogue(dtype):
    decided = []
    for case in select_cases():
        if case.plain and dtype in case.dtypes and case.classes < 10_000:
            x, t = (f(FORMATS[dtype]) for f in (case.quantized, case.quantized_targets))
            decided.append(decided_rows(x.astype(np.float64), t))
    return np.concatenate(decided).mean()


@pytest.mark.parametrize(
    "dtype", ["float32", *(pytest.param(d, marks=pytest.mark.full) for d in FORMATS if d != "float32")]
)
def test_the_catalogue_agrees_with_balls(dtype):
    assert decided_share_of_catalogue(dtype) > 0.1


@pytest.mark.full
@pytest.mark.parametrize("size", [1.0, 30.0, 300.0])
@pytest.mark.parametrize("classes", [2, 10, 64])
def test_very_many_rows_agree_with_balls(size, classes):
    rng = np.random.default_rng(int(size) + classes)
    rows = 100_000 // classes
    decided_rows(rng.normal(0, size, (rows, classes)).astype(np.float32), rng.integers(0, classes, rows))


# --- fixed-point arithmetic, held to Arb -------------------------------------------------------------------------


def exact(digits, at=0):
    """Return the number as a ball; the precision keeps all of its 150 bits."""
    units = sum(int(d[at]) << (fp.DIGIT_BITS * i) for i, d in enumerate(reversed(digits)))
    return arb(units) / (1 << fp.DIGIT_BITS * len(digits))


def apart(digits, at, expected):
    """Return an upper bound of the difference between the number and the ball."""
    return float(abs(exact(digits, at) - expected).upper())


NUMBERS = st.one_of(
    st.integers(0, 2**150), st.integers(0, 2**151), st.sampled_from([0, 1, 2**150, 2**150 - 1, 2**149, 2**151 - 1])
)


def as_digits(values):
    return tuple(np.array(column) for column in zip(*(fp.digits_of(v) for v in values), strict=True))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8))
def test_products_are_within_their_bound(pairs):
    a, b = (as_digits(column) for column in zip(*pairs, strict=True))
    with precision(400):
        for count, bound in ((5, 2.0**-147.6), (3, 2.0**-88.4)):
            found = fp.multiply(a[:count], b[:count])
            assert all(((d >= 0) & (d < 2**30)).all() for d in found[1:])
            for i in range(len(pairs)):
                product = exact(a[:count], i) * exact(b[:count], i)
                assert apart(found, i, product) <= bound


ARGUMENTS = st.one_of(
    st.floats(fp.LOWEST, 0), st.floats(-1, 0), st.just(0.0), st.just(fp.LOWEST),
    # Next to a multiple of log(2) / 2^20, where the number of steps may be off by one.
    st.tuples(st.integers(-(2**30), 0), st.integers(-3, 3)).map(
        lambda k: min(0.0, k[0] * np.log(2.0) / 2**20 * (1 + k[1] * 2.0**-52))
    ),
)  # fmt: skip


@given(st.lists(st.tuples(ARGUMENTS, st.floats(-1, 1)), min_size=1, max_size=8))
def test_exponentials_are_within_their_bound(pairs):
    high = np.array([h for h, _ in pairs])
    low = np.array([h * share * 2.0**-53 for h, share in pairs])
    m, k = fp.exp(high, low)
    with precision(400):
        for i in range(len(pairs)):
            expected = (arb(high[i]) + arb(low[i])).exp() / arb(2) ** int(k[i])
            assert 1 - 2.0**-40 <= exact(m, i) <= 2 + 2.0**-40
            assert apart(m, i, expected) <= 2.0**-144


@given(st.lists(st.integers(2**150, 2**151 - 1), min_size=1, max_size=8), st.integers(0, 17))
def test_reciprocals_and_logarithms_are_within_their_bounds(values, exponent):
    a = as_digits(values)
    inverse, log = fp.reciprocal(a), fp.log(a, np.full(len(values), exponent))
    with precision(400):
        for i in range(len(values)):
            assert apart(inverse, i, 1 / exact(a, i)) <= 2.0**-146
            assert apart(log, i, (exact(a, i) * 2**exponent).log()) <= 2.0**-143


@given(st.lists(st.integers(1, 2**135), min_size=1, max_size=8))
def test_logarithms_next_to_1_are_within_their_bound(values):
    a = as_digits(values)
    ratio = fp.log1p_ratio(a)
    with precision(400):
        for i in range(len(values)):
            assert apart(ratio, i, exact(a, i).log1p() / exact(a, i)) <= 2.0**-147


@given(st.lists(st.tuples(st.integers(1, 2**151 - 1), st.integers(0, 400)), min_size=1, max_size=8))
def test_shifted_numbers_are_rounded_down(pairs):
    a, bits_ = as_digits([v for v, _ in pairs]), np.array([b for _, b in pairs])
    for count in (5, 6):
        found = fp.shift_right(a, bits_, count)
        for i, (value, b) in enumerate(pairs):
            units = sum(int(d[i]) << (30 * j) for j, d in enumerate(reversed(found)))
            assert units == (value << 30 * (count - 5)) >> b
