"""``explain``: the stages of the formulas, their exact values, and the name of the broken rule."""

import math
import subprocess
import sys
from contextlib import ExitStack

import mpmath
import numpy as np
import pytest
from in_process import calls_in_this_process

import logitlab
from logitlab.cases import all_cases, select_cases
from logitlab.cli import main
from logitlab.core.formats import FORMATS
from logitlab.execution import registry
from logitlab.frameworks import Batch
from logitlab.frameworks.stages import FORMULAS
from logitlab.grading.first_failure import _exact
from logitlab.oracle import reference
from logitlab.studies import explain as explanation
from logitlab.studies.explain import ExplainRequest

FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")
SHIFT = "subtract the row maximum first"
LOG_OF_SUM = "take the logarithm of the sum instead of the probability"


@pytest.fixture(scope="module")
def explain():
    """Return a function like `logitlab.explain` whose calls are made in this process."""
    with ExitStack() as opened:
        explainers = {}

        def explained(case, implementation, dtype="float32", row=None):
            owner = implementation.partition("/")[0]
            if owner not in explainers:
                explainers[owner] = opened.enter_context(explanation.Explainer([owner]))
            with calls_in_this_process():
                return explainers[owner].explain(ExplainRequest(case, implementation, dtype, row))

        yield explained


def stage(explained, name, direction="forward"):
    """Return the line of one stage."""
    found = explained.stages
    (line,) = found[(found["stage"] == name) & (found["pass"] == direction)].to_dict("records")
    return line


def rules(explained):
    return {f.stage: f.rule for f in explained.failures}


# --- the stages are what the formulas do ------------------------------------------------------------------------


def rows_of_three(dtype):
    """Return the plain rows of three classes in one batch, so that a compiler sees one shape."""
    fmt = FORMATS[dtype]
    cases = [c for c in all_cases() if c.plain and c.classes == 3 and c.rows and dtype in c.dtypes]
    return np.concatenate([c.quantized(fmt) for c in cases]), np.concatenate([c.targets for c in cases])


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("owner", "dtype"),
    [
        pytest.param(owner, dtype, marks=[pytest.mark.full] if owner == "jax" and dtype != "float32" else [])
        for owner in FRAMEWORKS
        for dtype in FORMATS
    ],
)
def test_the_last_stages_equal_the_results_of_evaluate_bit_for_bit(owner, dtype):
    """Eager, on the CPU, over every row of three classes, including NaN and infinities."""
    framework = registry.load(owner)
    x, t = rows_of_three(dtype)
    for formula, trace_stages in FORMULAS.items():
        implementation = framework.all_implementations[f"{owner}/{formula}"]
        wanted = dict(framework.evaluate(implementation, Batch(x, t), "cpu", "eager"))
        with framework.placed("cpu"):
            arrays = framework.to_array(x, "cpu"), framework.to_array(t, "cpu")
            stages = list(trace_stages(framework.operations, *arrays))
            got = {s.name: framework.to_numpy(s.value) for s in stages}
        assert [s.name for s in stages if s.direction == "forward"][-1] == "loss"
        assert stages[-1].name == "gradient"
        for quantity in ("loss", "gradient"):
            assert got[quantity].dtype == wanted[quantity].dtype
            np.testing.assert_array_equal(
                got[quantity].astype(np.float64), wanted[quantity].astype(np.float64), f"{owner}/{formula} {quantity}"
            )


# --- the exact values are exact ---------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("logits", [[2.0, 1.0, 0.125], [1000.0, 1.0, -1000.0], [-745.5, 88.75, 3.0], [1e300, 0.0, 1.0]])
@pytest.mark.parametrize("target", [0, 2])
def test_exact_stages_end_in_the_oracles_answer(formula, logits, target):
    got = _exact.stages(formula, np.array(logits), target)
    exact = reference([logits], [target])
    np.testing.assert_array_equal(got["forward", "loss"].hi, exact.loss.hi)
    np.testing.assert_allclose(got["backward", "g"].hi, exact.gradient.hi[0], rtol=1e-15)


def test_exact_stages_agree_with_mpmath():
    """Expected values by mpmath 1.3 with 400 digits; 1 - p of this row cancels 173 of them."""
    x, t = [400.0, 1.0, -2.5], 0
    with mpmath.workdps(400):
        e = [mpmath.exp(v) for v in x]
        s = mpmath.fsum(e)
        p = [v / s for v in e]
        slope = -1 / p[t]
        d_e = [slope / s * int(j == t) - slope * p[t] / s for j in range(3)]
        expected = {
            ("forward", "e"): e,
            ("forward", "s"): [s],
            ("forward", "p"): p,
            ("forward", "l"): [mpmath.log(p[t])],
            ("backward", "dq"): [slope],
            ("backward", "de"): d_e,
            ("backward", "g"): [a * b for a, b in zip(d_e, e, strict=True)],
        }
        got = _exact.stages("naive", np.array(x), t)
        for key, values in expected.items():
            # As float64 pairs: all of hi and, of lo, what float64's range leaves.
            for hi, lo, value in zip(got[key].hi, got[key].lo, values, strict=True):
                assert abs(mpmath.mpf(hi) + mpmath.mpf(lo) - value) <= abs(value) * mpmath.mpf(2) ** -100 + 5e-324, key


def test_numbers_beyond_float64_are_still_written():
    got = _exact.stages("naive", np.array([1000.0, 1.0, -1000.0]), 2)
    assert tuple(map(got["forward", "e"].text, range(3))) == ("1.970e+434", "2.718", "5.076e-435")
    assert got["forward", "e"].real.all()
    assert _exact.stages("naive", np.array([1e300, 0.0]), 1)["forward", "e"].text(0) == "10^4.34e+299"


def test_a_masked_logit_is_exactly_a_zero():
    got = _exact.stages("lse", np.array([-np.inf, 1.0, 2.0]), 0)
    assert got["forward", "e"].text(0) == "0"
    assert got["forward", "loss"].hi == np.inf
    assert not got["forward", "loss"].real.any()


# --- the article, in every framework ----------------------------------------------------------------------------


@pytest.mark.parametrize("owner", ["numpy", "torch", "jax", pytest.param("tensorflow", marks=pytest.mark.full)])
def test_the_articles_naive_loss_fails_at_exp(explain, owner):
    explained = explain("seed/article", f"{owner}/naive")
    assert (explained.row, explained.target, explained.classes) == (1, 2, (0, 1, 2))
    assert explained.grades["loss"] == explained.grades["gradient"] == "F"
    first = explained.first
    assert (first.stage, first.direction) == ("exp", "forward")
    assert first.rule == (
        "exp(1000) is inf: exp(x) overflows float32 above 88.72; "
        "exp(-1000) is 0: exp(x) is zero in float32 below -103.97"
    )
    assert first.fix == f"{SHIFT}; {LOG_OF_SUM}"
    broken = rules(explained)
    assert broken["divide"].startswith("inf / inf is NaN; e / s is zero in float32")
    assert broken["log"] == "log(0) is -inf"
    assert broken["loss"] == "-(-inf) is inf"
    assert broken["gradient"].endswith("is NaN")
    assert stage(explained, "exp")["value"] == "inf, 2.718, 0"
    assert stage(explained, "divide")["value"] == "NaN, 0, 0"
    assert (stage(explained, "loss")["value"], stage(explained, "loss")["exact"]) == ("inf", "2000")
    assert stage(explained, "gradient", "backward")["exact"] == "1, 1.380e-434, -1"


def test_a_chosen_row_that_is_sound_has_no_failure(explain):
    explained = explain("seed/article", "numpy/naive", "float32", row=0)
    assert explained.first is None
    assert explained.stages["finite"].all()
    assert explained.stages["max_ulp"].max() < 4
    assert explained.stages["rule"].isna().all()
    assert tuple(explained.stages.columns) == explanation.COLUMNS


@pytest.mark.usefixtures("in_this_process")
def test_stages_are_in_the_order_of_the_computation():
    stages = logitlab.explain("seed/article", "numpy/lse", "float32").stages
    forward = ["logits", "max", "shift", "exp", "sum", "log", "add max", "pick", "loss"]
    assert stages["stage"].tolist()[: len(forward)] == forward
    assert stages["stage"].tolist()[len(forward) :][-1] == "gradient"


# --- the rules --------------------------------------------------------------------------------------------------


def test_float16_overflows_above_eleven(explain):
    first = explain("overflow/float16_above", "numpy/naive", "float16").first
    assert first.stage == "exp"
    assert "exp(x) overflows float16 above 11.09" in first.rule
    assert first.fix == SHIFT


@pytest.mark.parametrize("implementation", ["numpy/lse", "torch/lse"])
def test_lse_rounds_to_the_spacing_of_the_maximum(explain, implementation):
    explained = explain("offset/10000", implementation)
    assert explained.grades["loss"] == "C"
    assert explained.first.stage == "add max"
    assert explained.first.rule == f"adding the maximum back rounds to a spacing of {np.spacing(np.float32(1e4)):.4g}"
    assert explained.first.fix.startswith("subtract the target logit from the maximum before adding")


def test_log1p_has_no_failure_on_the_same_offset(explain):
    assert explain("offset/10000", "numpy/log1p").first is None


def test_a_small_exponential_in_a_sum_does_no_harm(explain):
    """exp(-2000) is zero in every format, and the shifted row is still right."""
    explained = explain("seed/article", "numpy/lse", row=1)
    assert "0" in stage(explained, "exp")["value"].split(", ")
    assert explained.first is None


def test_a_target_far_below_the_maximum_needs_the_logarithm_of_the_sum(explain):
    first = explain("underflow/float32_zero_below", "numpy/naive", row=0).first
    assert "exp(x) is zero in float32 below -103.97" in first.rule
    assert first.fix == LOG_OF_SUM


def test_a_row_far_below_zero_needs_the_shift(explain):
    first = explain("underflow/float32_zero_below", "numpy/naive", row=1).first
    assert "exp(x) is zero in float32 below -103.97" in first.rule
    assert first.fix == SHIFT


def test_a_sum_that_overflows_is_named_and_not_its_terms(explain):
    first = explain("overflow/float16_sum", "numpy/naive", "float16").first
    assert first.rule == "the sum of 10 finite e overflows float16 above 6.55e+04"


def test_a_certain_row_loses_its_loss_beside_one(explain):
    first = explain("certainty/margin_12", "numpy/lse", "bfloat16").first
    assert first.stage == "log"
    assert first.rule == "s beside 1 is rounded by up to 0.00391 in bfloat16, and log(1) is 0"
    assert "log1p" in first.fix


def test_a_failure_is_reported_where_a_quantity_is_wrong_and_nowhere_else(explain):
    """Covers plain rows of three classes of few families; the next test those of all."""
    assert_a_failure_where_a_quantity_is_wrong(explain, "naive", "float32", ["seed/*", "masks/*", "certainty/*"])


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("formula", ["naive", "lse", "log1p"])
def test_a_failure_is_reported_where_a_quantity_is_wrong_in_every_family(explain, formula, dtype):
    """Covers every plain row of three classes."""
    cases = ["seed/*", "overflow/*", "underflow/*", "masks/*", "special/*", "certainty/*"]
    assert_a_failure_where_a_quantity_is_wrong(explain, formula, dtype, cases)


def assert_a_failure_where_a_quantity_is_wrong(explain, formula, dtype, cases):
    for case in select_cases(cases):
        if case.classes != 3 or dtype not in case.dtypes or not case.plain:
            continue
        for row in range(case.rows):
            explained = explain(case.id, f"numpy/{formula}", dtype, row)
            verdicts = {a.verdict for a in explained.assessments}
            wrong = "undefined" not in verdicts and verdicts != {"correct"}
            assert bool(explained.failures) == wrong, (case.id, row, verdicts)


# --- rows without a number, built-ins, bad input ----------------------------------------------------------------


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_nan_logit_has_no_exact_stages_and_no_failure(explain, formula):
    explained = explain("special/nan", f"torch/{formula}")
    assert explained.first is None
    assert stage(explained, "exp")["exact"] == "no exact value"
    assert math.isnan(stage(explained, "exp")["max_ulp"])
    assert (stage(explained, "loss")["exact"], stage(explained, "loss")["max_ulp"]) == ("NaN", 0.0)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("case", ["special/two_posinf", "special/posinf_on_target", "masks/all_beside_finite"])
def test_rows_without_a_limit_are_traced_and_have_no_failure(explain, formula, case):
    (found,) = select_cases(case)
    x = found.quantized(FORMATS["float32"])
    row = int(np.flatnonzero((x == np.inf).any(axis=1) | (x == -np.inf).all(axis=1))[0])
    explained = explain(case, f"numpy/{formula}", row=row)
    assert explained.grades["loss"] is None
    assert explained.first is None
    assert stage(explained, "sum")["exact"] == "no exact value"


def test_a_masked_target_has_the_oracles_limit(explain):
    """The loss is infinite, which is right. The gradient has a limit, but the 1 / 0 on the way to it does not."""
    (found,) = select_cases("masks/all_but_one")
    masked = np.flatnonzero(np.isneginf(found.logits[np.arange(found.rows), found.targets]))
    explained = explain("masks/all_but_one", "numpy/naive", row=int(masked[0]))
    assert (explained.grades["loss"], explained.grades["gradient"]) == ("A", "F")
    assert stage(explained, "loss")["exact"] == "inf"
    assert (explained.first.stage, explained.first.rule) == ("slope of log", "-1 / 0 is -inf")
    assert "none" in stage(explained, "slope to e", "backward")["exact"]
    assert "NaN" in stage(explained, "gradient", "backward")["value"]


def test_a_builtin_shows_its_input_and_its_output(explain):
    explained = explain("masks/first", "jax/optax.softmax_cross_entropy")
    assert explained.stages["stage"].tolist() == ["logits", "loss", "gradient"]
    assert explained.first.rule == f"NaN where the exact value is {stage(explained, 'loss')['exact']}"
    sound = explain("seed/article", "torch/F.cross_entropy", row=1)
    assert sound.first is None
    assert (stage(sound, "loss")["value"], stage(sound, "loss")["max_ulp"]) == ("2000", 0.0)


def test_a_builtin_takes_the_loss_options_and_a_written_formula_says_that_it_does_not(explain):
    case = next(c for c in all_cases() if c.weight is not None and set(c.options(FORMATS["float32"])) == {"weight"})
    assert "loss" in explain(case.id, "torch/F.cross_entropy").grades
    with pytest.raises(logitlab.UsageError, match=f"torch/naive returned no result for {case.id} .* takes no weight"):
        explain(case.id, "torch/naive")


def test_a_framework_without_operations_shows_its_input_and_its_output(monkeypatch):
    from logitlab.execution import worker
    from logitlab.frameworks.numpy import NumpyFramework

    class Bare(NumpyFramework):
        operations = None

    monkeypatch.setattr(registry, "load", lambda name: Bare())
    x, t = np.array([[1.0, 2.0]]), np.array([0])
    traced = worker.trace_stages(worker.Evaluation("numpy", "numpy/naive", Batch(x, t)))
    assert [(s.name, s.direction) for s in traced.stages] == [
        ("probabilities", "forward"),
        ("loss", "forward"),
        ("gradient", "backward"),
    ]
    assert traced.status == "ok"


def test_a_fault_is_reported_in_one_line():
    from logitlab.execution import worker

    batch = Batch(np.array([[1.0, 2.0]]), np.array([7]))
    traced = worker.trace_stages(worker.Evaluation("numpy", "numpy/naive", batch))
    assert traced.stages == ()
    assert traced.detail.startswith("IndexError: index 7 is out of bounds")


def test_a_framework_that_is_too_slow_to_import_is_reported_in_one_line(monkeypatch):
    """The time-out is simulated: a short limit and a quick import would race."""
    from concurrent.futures import Future

    from logitlab.execution import outcomes, pool

    late = Future()
    late.set_exception(TimeoutError())
    monkeypatch.setattr(pool.Pools, "describe", lambda self: {"numpy": outcomes.description("numpy", late, 600.0)})
    with pytest.raises(logitlab.UsageError, match="numpy did not finish importing within 600 s"):
        logitlab.explain("seed/article", "numpy/naive")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed/nope", "--implementation", "numpy/naive"], "no case is named 'seed/nope'"),
        (["seed/*", "--implementation", "numpy/naive"], "no case is named 'seed/*'; give a full family/name"),
        (
            ["seed/article", "--implementation", "numpy/n"],
            "unknown implementation 'numpy/n'; choose one from `logitlab frameworks`",
        ),
        (["seed/article", "--implementation", "naive"], "write framework/name, such as torch/naive"),
        (["seed/article", "--implementation", "mx/naive"], "unknown framework 'mx'; choose one of"),
        (["seed/article", "--implementation", "numpy/lse", "--dtype", "f8"], "unknown dtype 'f8'; choose one of"),
        (["seed/article", "--implementation", "numpy/lse", "--row", "3"], "has no row 3; give a row from 0 to 2"),
        (
            ["seed/article", "--implementation", "numpy/lse", "--device", "abacus"],
            "has no device 'abacus'; choose one of cpu",
        ),
        (
            ["special/float64_largest", "--implementation", "numpy/lse", "--dtype", "float32"],
            "float32 cannot hold special/float64_largest",
        ),
    ],
)
@pytest.mark.usefixtures("in_this_process")
def test_bad_input_gets_one_line_and_exit_code_2(arguments, message, capsys):
    assert main(["explain", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.usefixtures("in_this_process")
def test_the_command_fits_a_hundred_columns(capsys):
    assert main(["explain", "seed/article", "--implementation", "numpy/naive", "--dtype", "float32"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("seed/article, row 1, numpy/naive in float32 on cpu\n")
    assert "first failure: exp: exp(1000) is inf: exp(x) overflows float32 above 88.72" in shown
    assert "inf / inf is NaN" in shown
    assert "log(0) is -inf" in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert main(["explain", "offset/10000", "--implementation", "numpy/lse"]) == 0
    assert "classes 0, 1, 3 of 5 are shown" in capsys.readouterr().out


def test_the_main_process_imports_no_framework():
    program = (
        "import sys, logitlab; logitlab.explain('seed/article', 'onnxruntime/SoftmaxCrossEntropyLoss'); "
        "sys.exit(bool({'torch', 'jax', 'tensorflow', 'onnxruntime'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
