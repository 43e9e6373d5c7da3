"""Simulated arithmetic: the roundings against exact fractions, operations against NumPy, ml_dtypes and mpmath."""

from bisect import bisect_left
from fractions import Fraction
from functools import cache

import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logitlab.core.arithmetic import Rounding, parse
from logitlab.core.formats import FORMATS, NARROW, get_format
from logitlab.core.rounding import round_to
from logitlab.frameworks.simulated._random import philox, row_keys
from logitlab.frameworks.simulated._rounding import round_exact
from logitlab.frameworks.simulated._unit import Unit

OF_ONES_OWN = ("e5m6", "e5m6fn", "p7_-14_15-flush", "e4m3-saturate", "p24_-500_500", "e3m2-flush-saturate")
NAMES = ("float16", "bfloat16", "float32", *NARROW, *OF_ONES_OWN)
SMALL = (*NARROW, "e3m2-flush-saturate", "e4m2fn", "p3_-3_3-flush")
DIRECTED = ("toward_zero", "up", "down")


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"):
        yield


def unit(name, settings="nearest", rows=1):
    return Unit(get_format(name), parse(settings), np.arange(rows, dtype=np.uint64))


@cache
def numbers(name):
    """Return the non-negative numbers of a small format, from its precision and exponents alone."""
    f = get_format(name)
    places = range(2 ** (f.precision - 1))
    subnormal = [i * 2.0 ** (f.emin - f.precision + 1) for i in places] if f.subnormals else [0.0]
    normal = [(1 + i / len(places)) * 2.0**e for e in range(f.emin, f.emax + 1) for i in places]
    return [v for v in subnormal + normal if v <= f.largest]


def same(a, b):
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)]))


# --- rounding ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_nearest_is_the_rounding_of_the_package(name):
    f, rng = get_format(name), np.random.default_rng(0)
    wide = rng.standard_normal(20_000) * np.exp2(rng.uniform(f.emin - 30, f.emax + 3, 20_000))
    halves = (rng.integers(0, 2**f.precision, 5_000) + 0.5) * 2.0 ** rng.integers(f.emin - 5, f.emax, 5_000)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -5e-324, 1.7e308, f.largest, -f.largest * 1.01]
    values = np.concatenate([wide, halves, special])
    same(round_exact(values, f), round_to(values, f))
    same(round_exact(values, f, lacking=np.zeros_like(values)), round_to(values, f))


def directed(value, f, rounding, sign):
    """Return the neighbour of a Fraction among the format's numbers, which the direction names; beyond: None."""
    listed = numbers(f.name)
    size = abs(value)
    at = bisect_left(listed, size)
    if at < len(listed) and listed[at] == size:
        return float(size) * sign
    away = {"toward_zero": False, "up": sign > 0, "down": sign < 0}[rounding]
    return sign * (listed[at - 1] if not away else listed[at] if at < len(listed) else f.overflow_value)


@given(
    st.sampled_from(SMALL), st.sampled_from(DIRECTED), st.integers(1, 2**30), st.integers(-45, 5),
    st.sampled_from([1, -1]), st.sampled_from([0, 1, -1]),
)  # fmt: skip
def test_a_directed_rounding_gives_the_neighbour_on_its_side(name, rounding, units, exponent, sign, lacking):
    f = get_format(name)
    value = sign * units * 2.0**exponent
    exact = Fraction(value) + lacking * Fraction(abs(value)) / 2**60
    found = round_exact(np.array([value]), f, Rounding(rounding), np.array([float(lacking)]))[0]
    expected = directed(exact, f, rounding, sign)
    assert found == expected or (np.isnan(found) and np.isnan(expected))


@pytest.mark.parametrize("name", ["float16", "e5m6"])
def test_finite_numbers_too_large_stay_finite_where_the_direction_leads_toward_zero(name):
    f = get_format(name)
    values = np.array([1e300, -1e300])
    assert round_exact(values, f, Rounding.TOWARD_ZERO).tolist() == [f.largest, -f.largest]
    assert round_exact(values, f, Rounding.UP).tolist() == [np.inf, -f.largest]
    assert round_exact(values, f, Rounding.DOWN).tolist() == [f.largest, -np.inf]
    infinite = np.array([np.inf, -np.inf])
    assert round_exact(infinite, f, Rounding.TOWARD_ZERO).tolist() == infinite.tolist()


@pytest.mark.parametrize(("name", "bits"), [("e5m6", 4), ("float8_e4m3fn", 2), ("float16", 8), ("p7_-14_15-flush", 3)])
def test_stochastic_rounding_carries_with_the_fraction_cut_to_its_bits(name, bits):
    """With each of the 2^n random numbers once, the number of carries is the fraction in units of 2^-n, cut."""
    f, rng = get_format(name), np.random.default_rng(1)
    random = np.arange(2**bits)
    for value in rng.uniform(f.smallest_normal, f.largest, 50):
        low = round_exact(np.array([value]), f, Rounding.TOWARD_ZERO)[0]
        high = round_exact(np.array([value]), f, Rounding.UP)[0]
        fraction = Fraction(value - low) / Fraction(high - low)
        found = round_exact(np.full(2**bits, -value), f, Rounding.STOCHASTIC, None, random, bits)
        assert (found == -high).sum() == int(fraction * 2**bits)
        assert set(found) <= {-low, -high}


def test_pychop_rounds_alike_between_the_smallest_and_the_largest_number():
    lightchop = pytest.importorskip("pychop.np.lightchop")
    rng = np.random.default_rng(2)
    for exponent, mantissa in ((5, 10), (8, 7), (5, 6), (4, 3)):
        f = get_format(f"e{exponent}m{mantissa}")
        values = rng.standard_normal(2000) * np.exp2(rng.uniform(f.emin - 2, f.emax - 3, 2000))
        values = values[np.abs(values) < f.largest / 2]
        for rmode, rounding in enumerate([Rounding.NEAREST, Rounding.UP, Rounding.DOWN, Rounding.TOWARD_ZERO], 1):
            theirs = lightchop.LightChop_(exp_bits=exponent, sig_bits=mantissa, rmode=rmode)(values)
            np.testing.assert_array_equal(round_exact(values, f, rounding), theirs)


# --- elementary operations --------------------------------------------------------------------------------------


def codes(name):
    f = get_format(name)
    width = 8 if "float8" in name else 6 if "float6" in name else 4
    return np.arange(2**width, dtype=np.uint8).view(f.dtype)


def unlike(found, expected):
    """Return where two arrays differ, NaN being equal to NaN."""
    wide = expected.astype(np.float64)
    return ~((found == wide) | (np.isnan(found) & np.isnan(wide)))


@pytest.mark.parametrize("name", NARROW)
def test_every_operation_on_narrow_numbers_is_that_of_ml_dtypes(name):
    """All pairs, and all numbers; ml_dtypes stores a NaN as 0 in a format that has none."""
    f, c = get_format(name), codes(name)
    v = c.astype(np.float64)
    u = unit(name, rows=len(v))
    a, b, x, y = v[:, None], v[None, :], c[:, None], c[None, :]
    both = np.broadcast_arrays(a, b)
    pairs = [
        (u.add(*both), x + y), (u.add(both[0], -both[1]), x - y), (u.multiply(*both), x * y), (u.divide(*both), x / y),
    ]  # fmt: skip
    single = [(getattr(u, name)(v), getattr(np, name)(c)) for name in ("exp", "log", "log1p")]
    for found, theirs in pairs + single:
        differ = unlike(found, theirs)
        assert not (differ & ~np.isnan(found)).any()
        assert not differ.any() or not f.has_nan
        assert (theirs.astype(np.float64)[differ] == 0).all()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_operations_on_numbers_of_numpy_are_numpys(dtype):
    rng, size = np.random.default_rng(3), 100_000
    bits = np.uint32 if dtype is np.float32 else np.uint16
    x, y = (rng.integers(0, np.iinfo(bits).max, size, bits, endpoint=True).view(dtype) for _ in range(2))
    near = (y.astype(np.float32) * 0 + rng.uniform(0.5, 2, size)).astype(dtype) * x  # of similar size
    u = unit(np.dtype(dtype).name, rows=size)
    for other in (y, near):
        a, b = x.astype(np.float64), other.astype(np.float64)
        assert not unlike(u.add(a, b), x + other).any()
        assert not unlike(u.add(a, -b), x - other).any()
        assert not unlike(u.multiply(a, b), x * other).any()
        assert not unlike(u.divide(a, b), x / other).any()


@pytest.mark.parametrize("function", ["exp", "log", "log1p"])
def test_exponentials_and_logarithms_of_16_bits_are_numpys_but_for_roundings_through_float32(function):
    """NumPy computes them in float32 and rounds again, so a few of the 65,536 are off by one unit in float16."""
    for dtype, allowed in ((ml_dtypes.bfloat16, 0), (np.float16, 8)):
        x = np.arange(2**16, dtype=np.uint32).astype(np.uint16).view(dtype)
        theirs = getattr(np, function)(x)
        found = getattr(unit(np.dtype(dtype).name, rows=x.size), function)(x.astype(np.float64))
        differ = unlike(found, theirs)
        assert differ.sum() <= allowed
        for value, ours, other in zip(x[differ], found[differ], theirs[differ].astype(np.float64), strict=True):
            exact = getattr(mpmath, function)(mpmath.mpf(float(value)))
            assert abs(ours - exact) <= abs(other - exact)


@pytest.mark.parametrize("function", ["exp", "log", "log1p"])
@pytest.mark.parametrize("rounding", ["nearest", *DIRECTED])
def test_exponentials_and_logarithms_are_correctly_rounded(function, rounding):
    """Also next to numbers of the format: exp(x) lies above 1 and log1p(x) below x, where float64 gives 1 and x."""
    rng = np.random.default_rng(4)
    tiny = np.exp2(rng.uniform(-140, -20, 200))
    x = np.concatenate(
        [rng.standard_normal(300) * 20, rng.uniform(-0.9, 0.9, 300), tiny, -tiny, [0.0, 1.0, 89.0, -200.0]]
    )
    x = np.abs(x) if function == "log" else x[x > -1] if function == "log1p" else x
    x = x[x > 0] if function == "log" else x
    x = x.astype(np.float32).astype(np.float64)
    found = getattr(unit("float32", rounding, rows=len(x)), function)(x)
    down, up = (getattr(unit("float32", way, rows=len(x)), function)(x) for way in ("down", "up"))
    with mpmath.workprec(300):
        for value, got, low, high in zip(x, found, down, up, strict=True):
            exact = getattr(mpmath, function)(mpmath.mpf(float(value)))
            assert low <= exact <= high
            assert np.nextafter(np.float32(low), np.float32(np.inf)) >= high
            wanted = {"up": high, "down": low, "toward_zero": low if exact > 0 else high}.get(rounding)
            if wanted is None:
                beyond = FORMATS["float32"].largest + 2.0**103  # the first number that is rounded to infinity
                to_high = exact >= beyond if np.isinf(high) else high - exact < exact - low
                wanted = high if to_high else low
            assert got == wanted


@pytest.mark.parametrize("name", ["float8_e4m3", "e5m6", "float16", "float32"])
@pytest.mark.parametrize("operation", ["add", "multiply", "divide"])
def test_the_results_down_and_up_enclose_the_exact_one_and_are_neighbours(name, operation):
    f, rng = get_format(name), np.random.default_rng(5)
    a, b = (round_to(rng.standard_normal(300) * np.exp2(rng.integers(-6, 3, 300)), f) for _ in range(2))
    b[b == 0] = 1.0
    down, up, zero = (getattr(unit(name, way, rows=300), operation)(a, b) for way in ("down", "up", "toward_zero"))
    for x, y, low, high, cut in zip(map(Fraction, a), map(Fraction, b), down, up, zero, strict=True):
        exact = {"add": x + y, "multiply": x * y, "divide": x / y}[operation]
        assert low <= exact <= high
        assert (low == high) == (exact == low)
        assert cut == (low if exact >= 0 else high)
    between = (down + up) / 2
    assert np.isin(round_to(between, f), [down, up]).all()


# --- sums -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", ["", "pairwise,", "blocked,tile-5,", "accumulate-e5m6,"])
@pytest.mark.parametrize("name", ["float8_e5m2", "bfloat16"])
def test_the_sums_down_and_up_enclose_the_exact_sum(name, settings):
    terms = round_to(np.random.default_rng(6).standard_normal((50, 23)), get_format(name))
    down, up = (unit(name, settings + way, rows=50).total(terms) for way in ("down", "up"))
    for row, low, high in zip(terms, down, up, strict=True):
        assert low <= sum(map(Fraction, row)) <= high
    assert (down < up).any()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_a_sequential_sum_is_numpys_accumulation(dtype):
    terms = np.random.default_rng(7).uniform(0, 1, (40, 60)).astype(dtype)
    expected = terms[:, 0]
    for i in range(1, terms.shape[1]):
        expected = expected + terms[:, i]
    found = unit(np.dtype(dtype).name, rows=40).total(terms.astype(np.float64))
    np.testing.assert_array_equal(found, expected.astype(np.float64))


def test_the_order_and_the_accumulator_of_a_sum_decide_where_it_stagnates():
    """In e4m3fn a sum of ones stays at 16, since 17 is midway between 16 and 18 and 16 is even."""
    ones = np.ones((1, 96))
    expected = {"nearest": 16.0, "pairwise": 96.0, "blocked,tile-8": 96.0, "accumulate-float16": 96.0}
    for settings, total in expected.items():
        assert unit("e4m3fn", settings).total(ones).tolist() == [total], settings
    # Upward each one becomes a spacing, so that the sum grows without bound: 448 and a spacing is NaN.
    assert unit("e4m3fn", "up").total(ones[:, :20]).tolist() == [24.0]
    assert np.isnan(unit("e4m3fn", "up").total(ones)).all()
    # Blocks of 32 ones stagnate at 16 each.
    assert unit("e4m3fn", "blocked,tile-32").total(ones).tolist() == [48.0]
    # A sum of 4,097 ones in float16 is 2,048, and 4,096 to nearest even if float32 holds it.
    many = np.ones((1, 4097))
    assert unit("float16").total(many).tolist() == [2048.0]
    assert unit("float16", "accumulate-float32").total(many).tolist() == [4096.0]


# --- random bits ------------------------------------------------------------------------------------------------


def test_philox_gives_the_known_answers_of_random123():
    for counter, key, expected in (
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ):  # fmt: skip
        assert tuple(map(int, philox(tuple(map(np.uint64, counter)), key))) == expected


def test_row_keys_depend_on_the_row_alone():
    rows = np.random.default_rng(8).standard_normal((5, 3))
    keys = row_keys(rows, np.arange(5))
    assert len(set(keys.tolist())) == 5
    assert row_keys(rows[3:4], np.array([3])).tolist() == keys[3:4].tolist()
    assert row_keys(rows[:0], np.arange(0)).shape == (0,)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "e5m6"])
def test_the_mean_of_stochastic_sums_is_unbiased_within_its_confidence_interval(name):
    """With 24 random bits; rounding to nearest is biased far beyond the interval."""
    terms = round_to(np.random.default_rng(9).uniform(0.1, 0.5, 40), get_format(name))
    exact, draws = terms.sum(), 4000
    sums = unit(name, "stochastic-24,seed-5", rows=draws).total(np.tile(terms, (draws, 1)))
    error = sums.std(ddof=1) / np.sqrt(draws)
    assert abs(sums.mean() - exact) < 3.3 * error  # fails for 1 of 1,000 seeds
    assert sums.std() > 0
    nearest = unit(name).total(terms[None, :])[0]
    assert abs(nearest - exact) > 10 * error


def test_few_random_bits_bias_a_sum_toward_zero_by_what_they_cut():
    """A fraction of 3/8 is 1/4 in 2 bits: each carry comes too seldom by 1/8 of a spacing."""
    draws = 20_000
    a, b = np.full(draws, 16.0), np.full(draws, 0.75)  # e4m3fn has a spacing of 2 there
    for bits, mean in ((2, 16.5), (3, 16.75), (8, 16.75)):
        found = unit("e4m3fn", f"stochastic-{bits},seed-1", rows=draws).add(a, b)
        assert abs(found.mean() - mean) < 3.3 * found.std() / np.sqrt(draws)


def test_seeds_give_other_bits_and_the_same_seed_the_same():
    terms = np.random.default_rng(10).uniform(0, 1, (8, 100)).astype(np.float16).astype(np.float64)
    sums = [unit("float16", f"stochastic-8,seed-{seed}", rows=8).total(terms).tolist() for seed in (0, 1, 0)]
    assert sums[0] == sums[2] != sums[1]


def test_float64_is_no_format_of_results():
    assert "float64" in FORMATS
    assert unit("float32", "accumulate-float64").total(np.full((1, 3), 1e-8)).tolist() == [float(np.float32(3e-8))]


@pytest.mark.parametrize("name", [*NARROW, *OF_ONES_OWN, "bfloat16", "float16"])
def test_a_sum_in_order_is_that_of_single_additions(name):
    """Mixed signs, subnormal sums, cancellation, ties, and sums beyond the largest number."""
    f, rng = get_format(name), np.random.default_rng(11)
    scales = np.exp2(rng.integers(f.emin - f.precision, f.emax + 1, 60))[:, None]
    terms = round_to(rng.standard_normal((60, 40)) * scales * rng.choice([1, 2.0**-f.precision], (60, 40)), f)
    expected = terms[:, 0]
    for i in range(1, terms.shape[1]):
        expected = round_to(expected + terms[:, i], f)
    u = unit(name, rows=60)
    np.testing.assert_array_equal(u.total(terms), expected)
    in_range = [u.total(row[None, :])[0] for row in terms]
    np.testing.assert_array_equal(in_range, expected)
