"""Runs in narrow and described formats: what a format lacks, who takes it, and grades where it overflows otherwise."""

from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logitlab
from logitlab.cases import make
from logitlab.cases.inputs import find_case
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS, NARROW, Format, get_format, in_table_order
from logitlab.core.rounding import quantize, round_to, ulp
from logitlab.execution import registry
from logitlab.execution.bitwise._distance import ulps_apart
from logitlab.execution.plan import choose_cells, choose_dtypes
from logitlab.execution.worker import evaluated
from logitlab.frameworks import Batch, Framework, Implementation
from logitlab.grading import apriori_bounds, grade
from logitlab.oracle import reference
from logitlab.reports.tables.grades import grade_matrix
from logitlab.storage.querying import Measurements

E4M3, E2M1, E5M2 = (NARROW[f"float{n}"] for n in ("8_e4m3fn", "4_e2m1fn", "8_e5m2"))


def test_dtypes_come_in_the_order_of_tables_and_only_the_four_by_default():
    assert choose_dtypes(None) == tuple(FORMATS)
    asked = ["e5m6", "e4m3fn", "float64", "e5m2", "float8_e4m3fn", "bfloat16", "e3m8"]
    expected = ("bfloat16", "float64", "float8_e5m2", "float8_e4m3fn", "e3m8", "e5m6")
    assert choose_dtypes(asked) == in_table_order(expected[::-1]) == expected


@pytest.mark.parametrize(
    ("logits", "dtype", "why"),
    [
        ([449.0, 0.0], "e4m3fn", None),  # rounds to 448
        ([465.0, 0.0], "e4m3fn", "a finite logit would become NaN"),
        ([7.0, 0.0], "e2m1fn", "a finite logit would be clipped"),
        ([1e5, 0.0], "e5m2", "a finite logit would become infinite"),
        ([-np.inf, 0.0], "e5m2", None),
        ([-np.inf, 0.0], "e4m3fn", "float8_e4m3fn has no infinity for a logit"),
        ([np.nan, 0.0], "e4m3fn", None),
        ([np.nan, 0.0], "e2m1fn", "float4_e2m1fn has no NaN for a logit"),
        ([300.0, 0.0], "e4m6fn-saturate", None),
        ([600.0, 0.0], "e4m6fn-saturate", "a finite logit would be clipped"),
    ],
)
def test_a_case_that_a_format_cannot_hold_says_why(logits, dtype, why):
    case, fmt = make("mine/case", "Why.", [logits], [0]), get_format(dtype)
    assert case.why_unrepresentable(fmt) == why
    assert case.is_measured_in(fmt.name) == (why is None)


def graded(values, loss, fmt):
    """Return the grade of one row loss by the exact loss of two logits that are `loss` apart, for a large loss."""
    logits = np.array([[0.0, -loss]])
    return grade("loss", values, logits, fmt, reference(logits, np.array([1])))


def test_an_overflow_to_nan_is_expected_where_the_format_has_no_infinity():
    """The exact loss is 1000, beyond 448."""
    right = graded(np.array([np.nan]).astype(E4M3.dtype), 1000.0, E4M3)
    assert right.grade[0] == "A"
    assert not right.expected_finite[0]
    assert right.max_ulp[0] == 0
    finite = graded(np.array([448.0]).astype(E4M3.dtype), 1000.0, E4M3)
    assert (finite.grade[0], finite.verdict[0]) == ("F", "swallowed")
    # A wider answer is judged by what its own dtype holds.
    assert graded(np.float32([1000.0]), 1000.0, E4M3).grade[0] == "A"
    assert graded(np.float32([np.nan]), 1000.0, E4M3).grade[0] == "F"


def test_a_saturated_answer_is_right_where_the_format_saturates():
    fmt = get_format("e4m3fn-saturate")
    exact = 5000.0
    right = graded(np.array([fmt.largest]), exact, fmt)
    assert (right.grade[0], right.verdict[0], right.max_ulp[0]) == ("A", "correct", 0)
    assert right.expected_finite[0]
    one_below = graded(np.array([fmt.largest - 32]), exact, fmt)
    assert one_below.max_ulp[0] == 1
    # Float64 arrays of a hosted format hold its numbers; float32 answers are not clipped.
    assert graded(np.float32([exact]), exact, fmt).grade[0] == "A"
    assert graded(np.float32([fmt.largest]), exact, fmt).grade[0] == "D"


@pytest.mark.parametrize("name", NARROW)
def test_bounds_exist_only_where_their_analysis_holds(name):
    fmt = NARROW[name]
    logits = quantize([[1.0, 0.5, -2.0, 0.0]], fmt)
    targets = np.array([1])
    exact = reference(logits, targets)
    for quantity in ("loss", "probabilities"):
        unshifted, shifted = apriori_bounds(quantity, logits, targets, fmt, exact)
        enough = fmt.smallest_normal < fmt.unit_roundoff < 0.25
        assert np.isfinite(shifted[0]) == enough
        assert not unshifted[0] < 0


def test_no_bound_is_claimed_where_a_shift_overflows_to_nan():
    logits = np.array([[400.0, -400.0]])  # -800 is NaN in e4m3fn, and -inf or a number elsewhere
    exact = reference(logits, np.array([0]))
    for dtype, finite in (("e4m3fn", False), ("e5m2", True)):
        _, shifted = apriori_bounds("loss", logits, np.array([0]), get_format(dtype), exact)
        assert np.isfinite(shifted[0]) == finite


@given(st.sampled_from(list(NARROW)), st.integers(0, 255), st.integers(0, 255))
def test_distances_of_narrow_numbers_count_codes(name, one, other):
    """Numbers of six bits have their sign in bit 5; -0 counts as a number in all of them."""
    bits = int(name[5])
    codes = np.array([one % 2**bits, other % 2**bits], np.uint8)
    a, b = codes.view(NARROW[name].dtype)
    between = float(ulps_apart(np.array([a]), np.array([b]))[0])
    if codes[0] == codes[1] or (np.isnan(a) and np.isnan(b)):
        assert between == 0
    elif not (np.isfinite(a) and np.isfinite(b)):
        assert between == np.inf
    else:
        half = 2 ** (bits - 1)
        places = [-1 - int(c - half) if c >= half else int(c) for c in codes]
        assert between == abs(places[0] - places[1])


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("dtype", ["e4m3fn", "e5m2", "e2m1fn"])
def test_numpy_is_measured_in_a_narrow_format(dtype):
    fmt = get_format(dtype)
    found = logitlab.run(frameworks="numpy", implementations="numpy/lse", dtypes=dtype, sweeps="scale=0.5")
    assert set(found["dtype"]) == set(found["out_dtype"]) == {fmt.name}
    rows = found[(found["quantity"] == "loss") & (found["row"] >= 0)]
    assert len(rows)
    for line in rows.itertuples():
        case = find_case(line.case)
        x = case.quantized(fmt)[line.row]
        m = x.max()
        loss = m + np.log(np.exp(x - m).sum(keepdims=True))[0] - x[case.targets[line.row]]
        assert line.value == float(loss)
        exact = reference(x[None], case.targets[[line.row]]).loss.hi
        assert line.max_ulp == pytest.approx(abs(line.value - exact[0]) / ulp(exact, fmt)[0])


class Refusing(Framework):
    """Converts no array, in words of PyTorch's; or fails in another way."""

    name = "refusing"
    implementations = (Implementation("refusing/lse", "lse", lambda x, t: x, "numpy"),)
    words = "can't convert np.ndarray of type ml_dtypes.float8_e4m3fn. The only supported types are: float64"

    def evaluate(self, implementation, batch, device, mode) -> Iterator:
        raise TypeError(self.words)
        yield


@pytest.mark.parametrize(
    ("message", "dtype", "status"),
    [
        (Refusing.words, "e4m3fn", "unsupported"),
        (Refusing.words, "float32", "raised"),
        ("bad shape", "e4m3fn", "raised"),
        ("'x' has DataType float8_e5m2 not in list of allowed values: float16", "e5m2", "unsupported"),
    ],
)
def test_a_dtype_is_unsupported_by_the_framework_s_own_words(monkeypatch, message, dtype, status):
    monkeypatch.setattr(Refusing, "words", message)
    framework = Refusing()
    batch = Batch(quantize([[1.0, 2.0]], get_format(dtype)), np.array([0]))
    outcome = evaluated(framework, framework.implementations[0], batch, "cpu", "eager")
    assert (outcome.status.value, message in outcome.detail) == (status, True)


def test_pytorch_holds_8_bit_numbers_and_refuses_to_compute_with_them():
    torch = pytest.importorskip("torch")
    from logitlab.frameworks.torch import FRAMEWORK

    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e5m2fnuz"):
        values = np.arange(256, dtype=np.uint8).view(getattr(ml_dtypes, name)).reshape(16, 16)
        tensor = FRAMEWORK.to_array(values, "cpu")
        assert tensor.dtype == getattr(torch, name)
        back = FRAMEWORK.to_numpy(tensor)
        assert back.dtype == values.dtype
        assert back.tobytes() == values.tobytes()
    lse = FRAMEWORK.all_implementations["torch/F.cross_entropy"]
    batch = Batch(quantize([[1.0, 2.0]], E4M3), np.array([0]))
    outcome = evaluated(FRAMEWORK, lse, batch, "cpu", "eager")
    assert outcome.status.value == "unsupported"
    assert "Float8_e4m3fn" in outcome.detail


class Tiny(Framework):
    """Computes in float64 and rounds the answer to the format of the batch."""

    name = "tiny"
    implementations = (Implementation("tiny/log1p", "builtin", lambda x, t: x, "numpy", differentiable=False),)

    def takes(self, fmt: Format) -> bool:
        return fmt.is_hosted or fmt.name == "float32"

    def evaluate(self, implementation, batch, device, mode) -> Iterator:
        x = batch.logits.astype(np.float64)
        assert np.array_equal(round_to(x, batch.number_format), x, equal_nan=True)
        m = x.max(axis=1)
        loss = m + np.log(np.exp(x - m[:, None]).sum(axis=1)) - x[np.arange(len(x)), batch.targets]
        yield "loss", quantize(loss, batch.number_format)


@pytest.fixture
def tiny(monkeypatch, in_this_process):
    own = registry.load
    monkeypatch.setattr(registry, "names", lambda: ("numpy", "tiny"))
    monkeypatch.setattr(registry, "load", lambda name: Tiny() if name == "tiny" else own(name))


@pytest.mark.usefixtures("tiny")
def test_a_described_format_is_measured_by_a_framework_that_takes_it(capsys):
    found = logitlab.run(
        frameworks=["numpy", "tiny"], implementations=["numpy/lse", "tiny/*"],
        dtypes=["e5m6", "float32", "e4m3fn"], cases="seed/*",
    )  # fmt: skip
    by_framework = {name: set(of["dtype"]) for name, of in found.groupby("framework", observed=True)}
    assert by_framework == {"numpy": {"float32", "float8_e4m3fn"}, "tiny": {"float32", "e5m6"}}
    own = found[(found["framework"] == "tiny") & (found["dtype"] == "e5m6")]
    assert set(own["out_dtype"].dropna()) == {"e5m6"}
    rows = own[(own["row"] >= 0) & (own["status"] == "ok")]
    assert len(rows)
    fmt = get_format("e5m6")
    expected = round_to(rows["exact"], fmt)
    assert np.isfinite(expected).all()
    # Rounded once from float64, so no loss is off by more than half an ulp.
    assert rows["value"].tolist() == expected.tolist()
    assert (rows["max_ulp"] <= 0.5).all()
    assert (rows["grade"] == "A").all()
    matrix = grade_matrix(Measurements.of(found))
    assert [c for c in matrix.columns if c in {"float32", "float8_e4m3fn", "e5m6"}] == [
        "float32",
        "float8_e4m3fn",
        "e5m6",
    ]


def test_no_program_shows_a_described_format_without_logitlab(tiny):
    message = "NumPy has no dtype for e5m6, so a program needs LogitLab"
    with pytest.raises(UsageError, match=message):
        logitlab.reproduce("seed/mild_mean", implementation="tiny/log1p", dtype="e5m6")


@pytest.mark.usefixtures("tiny")
def test_a_format_that_no_chosen_framework_takes_is_refused():
    with pytest.raises(UsageError, match="no chosen framework takes e5m6; add the framework simulated"):
        logitlab.run(frameworks="numpy", dtypes=["float32", "e5m6"], cases="seed/article")
    with pytest.raises(UsageError, match="no chosen framework takes float16"):
        choose_cells({"tiny": registry.describe("tiny")}, ["float16"])


def test_commands_that_take_the_four_dtypes_say_so(capsys):
    assert main(["check", "operator:add", "--framework", "numpy", "--dtype", "e4m3fn"]) == 2
    assert "check takes float16, bfloat16, float32, float64, not float8_e4m3fn" in capsys.readouterr().err
    assert main(["train-demo", "--framework", "numpy", "--dtype", "e5m6"]) == 2
    assert "train-demo takes float16, bfloat16, float32, float64, not e5m6" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process")
def test_narrow_runs_are_reported_in_every_format(tmp_path, capsys):
    plan = [
        "--implementation",
        "numpy/lse",
        "--implementation",
        "numpy/naive",
        "--case",
        "seed/*",
        "--case",
        "offset/*",
    ]
    out = tmp_path / "run"
    assert main(["run", *plan, "--dtype", "e4m3fn", "--dtype", "e5m2", "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["report", str(out), "--all"]) == 0
    text = capsys.readouterr().out
    assert text.index("float8_e5m2") < text.index("float8_e4m3fn")
    skipped = "Cases skipped because the dtype cannot hold one of their numbers: 10 in float8_e5m2"
    assert skipped in " ".join(text.split())  # lines are as long as the terminal is wide
    formats = [word for name in ("markdown", "latex", "csv", "json") for word in ("--format", name)]
    assert main(["report", str(out), *formats, "--out", str(tmp_path / "report")]) == 0
    assert {"report.md", "main.tex", "report.json"} <= {path.name for path in (tmp_path / "report").iterdir()}
