"""MX blocks hold the numbers that the specification of their format says; a run names its cases after them."""

from fractions import Fraction
from itertools import pairwise

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logitlab
from logitlab.cases import get_case, make
from logitlab.cases.inputs import BLOCKS, LogitsFile, find_case, select_inputs
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.formats import get_format
from logitlab.reports.tables.curves import axes, curve
from logitlab.storage.store import Run

# The element type and the exponent of its largest binade, written out here.
ELEMENTS = {
    "mxfp8_e4m3": ("float8_e4m3fn", 8),
    "mxfp8_e5m2": ("float8_e5m2", 15),
    "mxfp6_e3m2": ("float6_e3m2fn", 4),
    "mxfp6_e2m3": ("float6_e2m3fn", 2),
    "mxfp4_e2m1": ("float4_e2m1fn", 2),
}


def elements(name):
    """Return all finite magnitudes of an element type with their codes, as exact fractions in order."""
    codes = np.arange(2 ** int(name[5]), dtype=np.uint8).view(getattr(ml_dtypes, name)).astype(np.float64)
    return sorted({(Fraction(float(v)), code) for code, v in enumerate(codes) if np.isfinite(v) and not np.signbit(v)})


ALL = {kind: elements(name) for kind, (name, _) in ELEMENTS.items()}


def held(kind, block):
    """Return the numbers of one block, computed in fractions: the nearest element, the even code of two."""
    numbers = [Fraction(x) for x in block]
    largest = max(map(abs, numbers))
    if largest == 0:
        return [0.0] * len(block)
    exponent = largest.numerator.bit_length() - largest.denominator.bit_length()
    exponent -= Fraction(2) ** exponent > largest
    scale = Fraction(2) ** min(max(exponent - ELEMENTS[kind][1], -127), 127)
    found = []
    for number in numbers:
        size = abs(number) / scale
        nearest, _ = min(ALL[kind], key=lambda element: (abs(element[0] - size), element[1] % 2))
        found.append(float(nearest * scale) * (-1 if number < 0 else 1))
    return found


numbers = st.floats(-1e4, 1e4) | st.floats(-1.0, 1.0) | st.integers(-64, 64).map(lambda i: i / 8)


@given(st.sampled_from(list(ELEMENTS)), st.lists(numbers, min_size=1, max_size=40))
def test_a_block_of_32_numbers_shares_one_power_of_two(kind, row):
    expected = held(kind, row[:32]) + (held(kind, row[32:]) if row[32:] else [])
    assert BLOCKS[kind].held(np.array([row])).tolist() == [expected]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.full] if "fp8" in kind else []) for kind in ELEMENTS]
)
def test_every_tie_and_every_number_between_elements_is_rounded_as_in_fractions(kind):
    values = [float(v) for v, _ in ALL[kind]]
    largest = values[-1]
    between = [(a + b) / 2 for a, b in pairwise(values)]
    for value in [*values, *between, *np.nextafter(between, 0), *np.nextafter(between, 1e9), largest * 1.1]:
        assert BLOCKS[kind].held(np.array([[largest, -value]])).tolist() == [held(kind, [largest, -value])]


def test_a_scale_has_the_exponents_of_e8m0():
    for kind, (_, emax) in ELEMENTS.items():
        blocks = BLOCKS[kind]
        top = np.nextafter(2.0 ** (127 + emax + 1), 0)
        assert blocks.why_not(np.array([[top]])) is None
        assert blocks.held(np.array([[top]]))[0, 0] == float(ALL[kind][-1][0]) * 2.0**127
        assert "too small for a logit" in blocks.why_not(np.array([[2.0 ** (127 + emax + 1)]]))
        tiny = 2.0**-140
        assert blocks.held(np.array([[tiny]])).tolist() == [held(kind, [tiny])]


def test_a_case_in_blocks_is_found_by_its_name_and_keeps_the_rest():
    case, own = find_case("seed/article@mxfp4_e2m1"), get_case("seed/article")
    assert case.id == "seed/article@mxfp4_e2m1"
    # The scale of [2, 1, 0.1] is 1/2, of [1000, 1, -1000] 128 and of [3, 2, 1] 1/2.
    assert case.logits.tolist() == [[2.0, 1.0, 0.0], [768.0, 0.0, -768.0], [3.0, 2.0, 1.0]]
    assert case.targets.tolist() == own.targets.tolist()
    assert own.logits[0, 2] == 0.1
    with pytest.raises(UsageError, match=r"special/nan has no case in mxfp4_e2m1 blocks: .*no NaN"):
        find_case("special/nan@mxfp4_e2m1")
    with pytest.raises(UsageError, match="no case is named 'seed/article@mxfp9'"):
        find_case("seed/article@mxfp9")


def test_a_run_in_blocks_measures_the_numbers_that_they_hold(in_this_process, tmp_path):
    out = tmp_path / "run"
    plan = [
        "--framework",
        "numpy",
        "--implementation",
        "numpy/log1p",
        "--case",
        "seed/article",
        "--case",
        "masks/first",
    ]
    assert main(["run", *plan, "--dtype", "float32", "--blocks", "mxfp8_e4m3", "--out", str(out)]) == 0
    store = Run(out)
    table = store.read()
    assert set(table["case"]) == {"seed/article@mxfp8_e4m3"}
    loss = table[table["quantity"] == "loss"]
    given = np.array([held("mxfp8_e4m3", row) for row in get_case("seed/article").logits.tolist()])
    exact = logitlab.reference(given.astype(np.float32), get_case("seed/article").targets).loss.hi
    assert loss["exact"].tolist() == exact.tolist()
    assert exact[0] != logitlab.reference(np.float32([[2, 1, 0.1]]), [0]).loss.hi[0]
    assert store.manifest.blocks == "mxfp8_e4m3"
    assert store.manifest.left_out == [
        {"case": "masks/first", "dtype": "float32", "why": "mxfp8_e4m3 blocks hold no infinity and no NaN"}
    ]
    # A run in other blocks has another plan.
    again = ["run", *plan, "--dtype", "float32", "--out", str(out), "--resume"]
    assert main([*again, "--blocks", "mxfp4_e2m1"]) == 2
    assert main([*again, "--blocks", "mxfp8_e4m3"]) == 0


def test_a_sweep_in_blocks_keeps_its_axis(in_this_process):
    table = logitlab.run(
        frameworks="numpy", implementations="numpy/lse", sweeps="scale=1,10", dtypes="float32", blocks="mxfp8_e5m2"
    )
    assert list(axes(table)) == ["scale"]
    assert sorted(set(curve(table, "scale", "loss")["scale"])) == [1.0, 10.0]


def test_a_file_in_blocks_is_measured_by_its_largest_number(tmp_path):
    logits, targets = np.float32([[65519.0, 1.0], [3.0, -70.0]]), np.array([0, 1])
    np.savez(tmp_path / "mine.npz", logits=logits, targets=targets)
    blocks = BLOCKS["mxfp8_e5m2"]
    file = LogitsFile.open(tmp_path / "mine.npz", blocks=blocks)
    (piece,) = file.pieces()
    assert file.id == piece.id == "file/mine@mxfp8_e5m2"
    assert piece.logits.tolist() == blocks.held(logits.astype(np.float64)).tolist()
    # 65519 saturates to 57344, which is in the range of e5m2.
    assert file.why_unrepresentable(get_format("float8_e5m2")) is None
    logits[0, 1] = np.inf
    np.savez(tmp_path / "infinite.npz", logits=logits, targets=targets)
    infinite = LogitsFile.open(tmp_path / "infinite.npz")
    assert infinite.why_unrepresentable(get_format("float32")) is None
    assert infinite.why_unrepresentable(get_format("e4m3fn")) == "float8_e4m3fn has no infinity for a logit"
    infinite = LogitsFile.open(tmp_path / "infinite.npz", blocks=blocks)
    assert infinite.why_unrepresentable(get_format("float32")) == "mxfp8_e5m2 blocks hold no infinity and no NaN"


def test_blocks_that_hold_nothing_are_refused():
    with pytest.raises(UsageError, match="mxfp8_e4m3 blocks can hold no chosen case; special/nan: "):
        select_inputs("special/nan", blocks=BLOCKS["mxfp8_e4m3"])
    with pytest.raises(UsageError, match=r"unknown blocks 'mxfp8'; choose one of mxfp8_e4m3, "):
        logitlab.run(cases="seed/article", blocks="mxfp8")
    linear = select_inputs(["linear_sizes/*", "seed/article"], blocks=BLOCKS["mxfp8_e4m3"])
    assert [case.id for case in linear.cases] == ["seed/article@mxfp8_e4m3"]
    assert set(linear.not_held.values()) == {"blocks are for logits, and the case has hidden states"}


def test_other_loss_options_are_kept():
    case = make("mine/soft", "Why.", [[1.0, 2.0], [3.0, 4.3]], [[0.3, 0.7], [1.0, 0.0]], label_smoothing=0.1)
    found = BLOCKS["mxfp4_e2m1"].case(case)
    assert found.label_smoothing == 0.1
    assert found.targets.tolist() == case.targets.tolist()
    assert pd.isna(found.source) or found.source is None
