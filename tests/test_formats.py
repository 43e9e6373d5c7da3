"""The number formats compared with NumPy, ml_dtypes and exact rational arithmetic."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS, NARROW, Overflow, _described, get_format
from logitlab.core.rounding import overflows, quantize, representable, round_to, rounds_to_zero, ulp

NUMPY = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32, "float64": np.float64}
ALL = st.sampled_from(list(FORMATS.values()))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SHORT = st.floats(width=16, allow_nan=False, allow_infinity=False)
IN_FORMAT_RANGE = st.one_of(FINITE, st.floats(-1e5, 1e5), st.floats(-1e-3, 1e-3), SHORT)


def floor_log2(value):
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    return exponent if value >= Fraction(2) ** exponent else exponent - 1


def spacing(value, info):
    """Return the distance between numbers of a format at an exact rational value."""
    exponent = floor_log2(abs(value)) if value else info.minexp
    return Fraction(2) ** (min(max(exponent, info.minexp), info.maxexp - 1) - info.nmant)


def nearest_even(value, info):
    """Return an exact rational rounded once; Python rounds halves of a Fraction to even."""
    step = spacing(value, info)
    rounded = round(value / step) * step
    return math.copysign(math.inf, value) if abs(rounded) >= Fraction(2) ** int(info.maxexp) else float(rounded)


def same(a, b):
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a), np.signbit(b))


@pytest.mark.parametrize("name", FORMATS)
def test_constants_are_those_of_finfo(name):
    fmt, info = FORMATS[name], ml_dtypes.finfo(NUMPY[name])
    assert fmt.dtype == NUMPY[name]
    assert fmt.unit_roundoff == float(info.eps) / 2
    assert fmt.largest == float(info.max)
    assert fmt.smallest_normal == float(info.smallest_normal)
    assert fmt.smallest_subnormal == float(info.smallest_subnormal)


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_found_by_name_and_by_dtype(name):
    assert get_format(name) is get_format(NUMPY[name]) is get_format(np.dtype(NUMPY[name])) is FORMATS[name]


@pytest.mark.parametrize("dtype", ["float8", "int32", np.int32, "", "Float32"])
def test_unknown_dtype_is_refused_with_the_known_ones(dtype):
    with pytest.raises(UsageError, match=r"unknown dtype .*; choose one of float16, bfloat16, float32, float64"):
        get_format(dtype)


@given(IN_FORMAT_RANGE, st.sampled_from(["float16", "float32"]))
def test_rounding_is_numpys_single_rounding(value, name):
    with np.errstate(over="ignore"):
        expected = np.float64(value).astype(NUMPY[name]).astype(np.float64)
    assert same(round_to(value, FORMATS[name]), expected)


@given(IN_FORMAT_RANGE, ALL)
def test_rounding_is_exact_rational_rounding(value, fmt):
    expected = nearest_even(Fraction(value), ml_dtypes.finfo(fmt.dtype))
    assert round_to(value, fmt) == expected


@given(
    st.sampled_from(["float16", "bfloat16", "float32"]),
    st.integers(0, 2**31 - 1),
    st.booleans(),
    st.sampled_from([0.0, 2.0**-1074, -(2.0**-1074), 1e-30, -1e-30]),
)
def test_the_low_part_decides_at_midpoints(name, bits, negative, lo):
    fmt, info = FORMATS[name], ml_dtypes.finfo(NUMPY[name])
    below = np.array(bits % (2 ** (info.bits - 1) - 2 ** (info.nmant)), f"u{info.bits // 8}").view(fmt.dtype)
    midpoint = float(below) + float(ulp(float(below), fmt)) / 2
    hi = -midpoint if negative else midpoint
    lo = math.ldexp(lo, -60) if abs(hi) < 1e-10 else lo  # a low part is less than half an ulp of the high one
    assert round_to(hi, fmt, lo) == nearest_even(Fraction(hi) + Fraction(lo), info)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_just_below_half_the_smallest_subnormal_either_sign_goes_to_zero(name, sign):
    fmt = FORMATS[name]
    below = sign * np.nextafter(fmt.smallest_subnormal / 2, 0)
    assert round_to(below, fmt) == 0
    assert round_to(below, fmt, below * 2.0**-60) == 0
    assert np.signbit(round_to(below, fmt)) == (sign < 0)


@given(ALL, st.integers(-1022, 1023), st.sampled_from([-1.0, 1.0]), st.sampled_from([-1, 0, 1]))
def test_values_around_powers_of_two_round_and_space_as_rationals_do(fmt, exponent, sign, side):
    info = ml_dtypes.finfo(fmt.dtype)
    hi, lo = math.ldexp(sign, exponent), math.ldexp(side, max(exponent - 70, -1074))
    lo = 0.0 if exponent - 70 < -1074 else lo
    value = Fraction(hi) + Fraction(lo)
    assert round_to(hi, fmt, lo) == nearest_even(value, info)
    assert ulp(hi, fmt, lo) == spacing(value, info)


@pytest.mark.parametrize("name", FORMATS)
def test_just_below_a_power_of_two_the_spacing_is_half(name):
    fmt = FORMATS[name]
    assert ulp(1.0, fmt) == 2 * fmt.unit_roundoff
    assert ulp(1.0, fmt, -1e-30) == fmt.unit_roundoff
    assert ulp(-1.0, fmt, 1e-30) == fmt.unit_roundoff
    assert ulp(1.0, fmt, 1e-30) == 2 * fmt.unit_roundoff


def test_float16_is_not_reached_through_float32():
    # 1 + 2^-11 is the midpoint of two float16 numbers and what float32 makes of a value just above it.
    value = 1 + 2.0**-11 + 2.0**-40
    assert np.float32(value) == 1 + 2.0**-11
    assert round_to(value, FORMATS["float16"]) == 1 + 2.0**-10


def test_bfloat16_is_not_reached_through_float32_as_ml_dtypes_does():
    value = 1 + 2.0**-8 + 2.0**-40
    assert float(np.float64(value).astype(ml_dtypes.bfloat16)) == 1.0
    assert float(quantize(value, FORMATS["bfloat16"])) == 1 + 2.0**-7


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_overflow_begins_half_an_ulp_above_the_largest(name, sign):
    fmt = FORMATS[name]
    boundary = fmt.largest + float(ulp(fmt.largest, fmt)) / 2
    assert round_to(sign * np.nextafter(boundary, 0), fmt) == sign * fmt.largest
    assert round_to(sign * boundary, fmt, -sign * 1e-30) == sign * fmt.largest
    assert round_to(sign * boundary, fmt) == sign * np.inf


@pytest.mark.parametrize("name", FORMATS)
def test_subnormals_keep_their_spacing_down_to_zero(name):
    fmt = FORMATS[name]
    tiny = fmt.smallest_subnormal
    steps = np.arange(5.0)
    assert np.array_equal(round_to(steps * tiny, fmt), steps * tiny)
    assert np.array_equal(ulp(steps * tiny, fmt), np.full(5, tiny))


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_half_the_smallest_subnormal_goes_to_zero_and_anything_more_does_not(name):
    fmt = FORMATS[name]
    half = fmt.smallest_subnormal / 2
    assert round_to(half, fmt) == 0
    assert round_to(half, fmt, 1e-300) == fmt.smallest_subnormal
    assert round_to(3 * half, fmt) == 2 * fmt.smallest_subnormal


@given(ALL, st.data())
def test_what_rounds_to_zero_or_infinity_is_known_without_rounding(fmt, data):
    edges = [fmt.smallest_subnormal / 2, fmt.largest, fmt.largest + 2.0 ** (fmt.emax - fmt.precision)]
    near = st.sampled_from([edge for edge in edges if np.isfinite(edge)])
    size = data.draw(near | near.map(lambda v: np.nextafter(v, 0)) | st.floats(min_value=0))
    hi = np.array([size, -size, 0.0, np.nan, np.inf, -np.inf])
    lo = data.draw(st.sampled_from([0.0, 2.0**-60, -(2.0**-60)])) * np.where(np.isfinite(hi), hi, 0.0)
    rounded = round_to(hi, fmt, lo)
    assert np.array_equal(rounds_to_zero(hi, fmt, lo), rounded == 0)
    assert np.array_equal(overflows(hi, fmt, lo), np.isinf(rounded))


@pytest.mark.parametrize("name", FORMATS)
def test_zero_keeps_its_sign(name):
    values = [0.0, -0.0, 1e-320, -1e-320]
    rounded = round_to(values, FORMATS[name])
    assert np.array_equal(np.signbit(rounded), [False, True, False, True])


@given(st.sampled_from(["float16", "float32", "float64"]), st.data())
def test_ulp_is_numpys_spacing(name, data):
    info = np.finfo(name)
    value = data.draw(st.floats(width=info.bits, allow_nan=False, allow_infinity=False))
    if abs(value) < info.max:
        # NumPy takes the spacing of -1 in float16 towards 0, where the numbers lie closer.
        assert ulp(value, FORMATS[name]) == np.spacing(info.dtype.type(abs(value)))


@pytest.mark.parametrize("name", FORMATS)
def test_above_the_largest_the_ulp_is_that_of_the_last_binade(name):
    fmt = FORMATS[name]
    last = 2.0 ** (fmt.emax - fmt.precision + 1)
    assert ulp(fmt.largest, fmt) == ulp(-fmt.largest, fmt) == last
    assert ulp(np.finfo(np.float64).max, fmt) == last


@pytest.mark.parametrize("name", FORMATS)
def test_nan_and_infinity_have_no_ulp_and_round_to_themselves(name):
    special = np.array([np.nan, np.inf, -np.inf])
    assert np.isnan(ulp(special, FORMATS[name])).all()
    assert np.array_equal(round_to(special, FORMATS[name]), special, equal_nan=True)


@given(st.lists(IN_FORMAT_RANGE, max_size=5), ALL)
def test_quantizing_twice_changes_nothing(values, fmt):
    once = quantize(values, fmt)
    assert once.dtype == fmt.dtype
    assert same(quantize(once.astype(np.float64), fmt).astype(np.float64), once.astype(np.float64))


@given(st.lists(IN_FORMAT_RANGE, max_size=5), ALL)
def test_representable_says_whether_a_number_becomes_infinite(values, fmt):
    assert representable(values, fmt) == all(math.isfinite(float(v)) for v in quantize(values, fmt))


@pytest.mark.parametrize("name", FORMATS)
def test_infinities_and_nan_are_representable_everywhere(name):
    assert representable([np.inf, -np.inf, np.nan, 1.0], FORMATS[name])


# --- narrow and described formats ---------------------------------------------------------------------------------

EVERY_FLOAT16 = np.arange(2**16, dtype=np.uint16).view(np.float16)
# The specifications print the largest number, smallest normal and subnormal, overflow.
SPECIFIED = {
    "float8_e5m2": (57344.0, 2.0**-14, 2.0**-16, Overflow.INFINITY),
    "float8_e5m2fnuz": (57344.0, 2.0**-15, 2.0**-17, Overflow.NAN),
    "float8_e4m3": (240.0, 2.0**-6, 2.0**-9, Overflow.INFINITY),
    "float8_e4m3fn": (448.0, 2.0**-6, 2.0**-9, Overflow.NAN),
    "float8_e4m3fnuz": (240.0, 2.0**-7, 2.0**-10, Overflow.NAN),
    "float8_e4m3b11fnuz": (30.0, 2.0**-10, 2.0**-13, Overflow.NAN),
    "float8_e3m4": (15.5, 2.0**-2, 2.0**-6, Overflow.INFINITY),
    "float6_e3m2fn": (28.0, 2.0**-2, 2.0**-4, Overflow.SATURATE),
    "float6_e2m3fn": (7.5, 1.0, 2.0**-3, Overflow.SATURATE),
    "float4_e2m1fn": (6.0, 1.0, 0.5, Overflow.SATURATE),
}


def test_every_narrow_format_of_ml_dtypes_is_there():
    of_package = {n for n in dir(ml_dtypes) if n.startswith("float") and n != "float8_e8m0fnu"}
    assert set(NARROW) == set(SPECIFIED) == of_package, "a new version of ml_dtypes has other formats: add them"


@pytest.mark.parametrize("name", NARROW)
def test_a_narrow_format_has_the_extremes_of_its_specification(name):
    fmt = NARROW[name]
    assert (fmt.largest, fmt.smallest_normal, fmt.smallest, fmt.overflow) == SPECIFIED[name]


@pytest.mark.parametrize("name", NARROW)
def test_every_float16_number_is_rounded_to_a_narrow_format_as_ml_dtypes_rounds_it(name):
    fmt = NARROW[name]
    values = EVERY_FLOAT16[fmt.has_nan | ~np.isnan(EVERY_FLOAT16)].astype(np.float64)
    with np.errstate(all="ignore"):
        expected = values.astype(np.float32).astype(fmt.dtype).astype(np.float64)
    assert np.array_equal(round_to(values, fmt), expected, equal_nan=True)
    assert np.array_equal(quantize(values, fmt).astype(np.float64), expected, equal_nan=True)


@pytest.mark.parametrize("name", NARROW)
def test_a_narrow_format_rounds_once_where_ml_dtypes_rounds_twice(name):
    fmt = NARROW[name]
    # Just above the midpoint of 1 and the next number, by less than float32 sees.
    midpoint = 1 + fmt.unit_roundoff
    assert round_to(midpoint, fmt) == 1
    assert round_to(np.nextafter(midpoint, 2), fmt) == 1 + 2 * fmt.unit_roundoff
    assert round_to(midpoint, fmt, 1e-30) == 1 + 2 * fmt.unit_roundoff


@pytest.mark.parametrize("name", [*NARROW, "e5m6", "e5m6fn", "e4m7-flush", "p7_-3_5-flush-saturate"])
def test_the_numbers_of_a_format_are_known_to_fit_or_not(name):
    fmt = get_format(name)
    values = EVERY_FLOAT16[np.isfinite(EVERY_FLOAT16)].astype(np.float64)
    rounded = round_to(values, fmt)
    assert np.array_equal(rounded == 0, rounds_to_zero(values, fmt, np.zeros_like(values)))
    beyond = overflows(values, fmt, np.zeros_like(values))
    assert np.array_equal(np.abs(rounded[beyond]), np.full(beyond.sum(), fmt.overflow_value), equal_nan=True)
    assert np.all(np.abs(rounded[~beyond]) <= fmt.largest)
    assert representable(values[~beyond], fmt)
    assert representable([np.inf], fmt) == fmt.infinite
    assert representable([np.nan], fmt) == fmt.has_nan
    for value in values[beyond][:3]:
        assert not representable([value], fmt)


@pytest.mark.parametrize(
    ("described", "same"),
    [
        ("e5m10", "float16"),
        ("e8m7", "bfloat16"),
        ("p8_-126_127", "bfloat16"),
        ("e5m2", "float8_e5m2"),
        ("p4_-6_7", "float8_e4m3"),
        ("p5_-2_3", "float8_e3m4"),
    ],
)
def test_a_description_rounds_as_the_format_that_it_describes(described, same):
    half = EVERY_FLOAT16[~np.isnan(EVERY_FLOAT16)].astype(np.float64)
    values = np.concatenate([half, half * (1 + 2.0**-12), [np.nan]])
    rounded, expected = (round_to(values, get_format(name)) for name in (described, same))
    assert np.array_equal(rounded, expected, equal_nan=True)


def test_e4m3fn_described_apart_has_the_limits_of_the_specification():
    described, fmt = _described("e4m3fn"), NARROW["float8_e4m3fn"]
    assert described is not None
    assert described.is_hosted
    values = EVERY_FLOAT16.astype(np.float64)
    assert np.array_equal(round_to(values, described), round_to(values, fmt), equal_nan=True)


def test_flushed_formats_have_no_subnormal_numbers():
    fmt = get_format("e5m6-flush")
    values = np.ldexp(np.arange(1, 2**10), -24).astype(np.float64)
    rounded = round_to(values, fmt)
    assert np.all((rounded == 0) | (rounded >= fmt.smallest_normal))
    assert rounded[values >= fmt.smallest_normal].all()


def test_a_saturating_format_has_no_overflow():
    fmt = get_format("e4m3fn-saturate")
    assert np.array_equal(round_to([1e9, -1e9, 448.0], fmt), [448.0, -448.0, 448.0])


@pytest.mark.parametrize("name", ["e5", "m3", "e1m2x", "p7", "e5m6-round", "p7_1", ""])
def test_what_describes_no_format_is_refused_with_examples(name):
    with pytest.raises(UsageError, match="e5m6"):
        get_format(name)


@pytest.mark.parametrize("name", ["e5m30", "e12m6", "p1_-3_3", "p5_3_-3", "e0m3"])
def test_a_format_out_of_range_is_refused_with_the_limits(name):
    with pytest.raises(UsageError, match="bits and exponents"):
        get_format(name)


@pytest.mark.parametrize("name", ["e4m3fn", "e5m2", "e2m1fn"])
def test_a_narrow_format_is_found_without_its_width(name):
    fmt = get_format(name)
    assert fmt is NARROW[f"float{8 if name[1] in '45' else 4}_{name}"]
    assert get_format(fmt.dtype) is fmt
