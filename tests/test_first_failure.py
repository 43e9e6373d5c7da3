"""``first_failures``: the stage where each wrong row of a batch fails, by the rules of ``explain``."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import calls_in_this_process

from logitlab.cases import select_cases
from logitlab.core.formats import FORMATS
from logitlab.core.rounding import quantize
from logitlab.execution import worker
from logitlab.frameworks import Batch
from logitlab.grading import Graded, grade
from logitlab.grading.first_failure import TracedBatch, _exact, first_failures
from logitlab.oracle import reference
from logitlab.studies import explain as explanation
from logitlab.studies.explain import ExplainRequest

SOUND = {"correct", "undefined"}


def graded_of(implementation, batch, fmt, exact):
    """Return the grades of every quantity of the implementation."""
    values = worker.call(worker.Evaluation(implementation.split("/")[0], implementation, batch)).values
    return {q: grade(q, array, batch.logits, fmt, exact) for q, array in values}


def failures(implementation, logits, targets, dtype="float32"):
    """Return the first failures of a formula, with their grades."""
    fmt = FORMATS[dtype]
    x = quantize(logits, fmt)
    owner, formula = implementation.split("/")
    batch, exact = Batch(x, np.array(targets)), reference(x, targets)
    stages = worker.trace_stages(worker.Evaluation(owner, implementation, batch)).stages
    graded = graded_of(implementation, batch, fmt, exact)
    return first_failures(TracedBatch(formula, stages, batch, fmt, exact, graded)), graded


def of_case(case_id, implementation, dtype="float32"):
    (case,) = select_cases([case_id])
    return failures(implementation, case.logits, case.targets, dtype)[0]


# --- agreement with explain -------------------------------------------------------------------------------------


SMALL = ["seed/*", "overflow/*", "underflow/*", "masks/*", "special/*", "gap/*", "certainty/*", "offset/*", "ties/*"]


# Each formula and framework once at least; the other pairs, and more cases of these, are in `make test-all`.
FEW = [("numpy/naive", "float16"), ("numpy/lse", "bfloat16"), ("torch/naive", "float32")]
PAIRS = [(f"{owner}/{formula}", d) for owner in ("numpy", "torch") for formula in ("naive", "lse") for d in FORMATS]
FEW_CASES = ["seed/*", "overflow/*", "masks/*", "certainty/*"]


@pytest.mark.parametrize(
    ("implementation", "dtype", "cases"),
    [
        *(pytest.param(*pair, FEW_CASES, id="-".join(pair)) for pair in FEW),
        *(pytest.param(*pair, SMALL, marks=pytest.mark.full, id="-".join((*pair, "more"))) for pair in PAIRS),
    ],
)
def test_the_earliest_failure_is_the_one_that_explain_names(implementation, dtype, cases):
    compared = 0
    with calls_in_this_process(), explanation.Explainer([implementation.split("/")[0]]) as explainer:
        for case in select_cases(cases):
            if not case.plain or case.classes > 5 or dtype not in case.dtypes:
                continue
            first, graded = failures(implementation, case.logits, case.targets, dtype)
            wrong = [r for r in range(case.rows) if {graded[q].verdict[r] for q in ("loss", "gradient")} - SOUND]
            # Every fourth case is enough: many cases of a family are alike.
            for row in wrong if compared % 4 == 0 else ():
                explained = explainer.explain(ExplainRequest(case.id, implementation, dtype, row))
                order = explained.stages["stage"].tolist()
                named = [first[q][row] for q in ("loss", "gradient") if first[q][row] is not None]
                assert min(named, key=order.index) == explained.first.stage, (case.id, row)
            compared += bool(wrong)
    assert compared > 3


def test_log1p_has_no_failure_to_name():
    for case in select_cases(SMALL):
        if case.plain and case.classes <= 5 and "float32" in case.dtypes:
            first, _ = failures("numpy/log1p", case.logits, case.targets)
            assert {name for names in first.values() for name in names} <= {None}, case.id


@given(
    st.lists(st.floats(-120, 120, width=16) | st.just(-np.inf), min_size=4, max_size=4),
    st.integers(0, 3),
    st.sampled_from(["naive", "lse", "log1p"]),
)
def test_a_stage_is_named_where_a_verdict_is_wrong_and_nowhere_else(logits, target, formula):
    with np.errstate(all="ignore"):
        first, graded = failures(f"numpy/{formula}", [logits], [target], "float16")
    for quantity, g in graded.items():
        assert (first[quantity][0] is None) == (g.verdict[0] in SOUND)


# --- known failures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", ["numpy", "torch"])
def test_the_articles_second_row_fails_at_exp(owner):
    """exp(1000) overflows; the rows beside it are right."""
    expected = [None, "exp", None]
    first = of_case("seed/article", f"{owner}/naive")
    assert first == {"probabilities": expected, "loss": expected, "gradient": expected}
    assert of_case("seed/article", f"{owner}/lse") == {"loss": [None] * 3, "gradient": [None] * 3}


def test_a_probability_that_underflows_fails_at_exp_and_not_at_the_logarithm_of_zero():
    first = of_case("underflow/float32_zero_below", "numpy/naive")
    assert first["loss"] == ["exp"] * len(first["loss"])


def test_a_quotient_that_underflows_fails_at_divide():
    """exp(-80) is a normal float32, but its share beside exp(80) is not."""
    first, _ = failures("numpy/naive", [[80.0, -80.0]], [1])
    assert (first["loss"], first["gradient"]) == (["divide"], ["divide"])


def test_an_offset_fails_where_the_maximum_is_added_back_and_only_in_the_loss():
    """The gradient uses only the shifted logits: it is right and does not depend on that sum."""
    first = of_case("offset/10000", "numpy/lse")
    assert set(first["loss"]) == {"add max"}
    assert set(first["gradient"]) == {None}


def test_a_gradient_is_not_blamed_on_a_logarithm_that_it_does_not_take():
    """The target is almost certain: the loss is lost in log(1), the gradient where p - 1 cancels."""
    first, _ = failures("numpy/naive", [[20.0, 0.0]], [0])
    assert first == {"probabilities": [None], "loss": ["log"], "gradient": ["add"]}
    assert failures("numpy/lse", [[20.0, 0.0]], [0])[0] == {"loss": ["log"], "gradient": ["gradient"]}


@pytest.mark.parametrize("formula", ["naive", "lse", "log1p"])
def test_rows_without_a_softmax_have_no_failure(formula):
    """Every class masked, and two infinite logits."""
    first, graded = failures(f"numpy/{formula}", [[-np.inf, -np.inf], [np.inf, np.inf]], [0, 1])
    assert set(graded["loss"].verdict) == {"undefined"}
    assert {name for names in first.values() for name in names} == {None}


def test_a_masked_target_fails_at_the_slope_of_the_logarithm():
    """The loss is infinite, which is right; its slope -1 / 0 times the exponential 0 is NaN."""
    first, _ = failures("numpy/naive", [[-np.inf, 1.0, 2.0]], [0])
    assert first == {"probabilities": [None], "loss": [None], "gradient": ["slope of log"]}


def test_an_exponential_that_underflows_beside_the_target_is_the_gradients_first_failure():
    """exp(-108), its probability and its gradient e^-24 are zero in float32. The loss would be log(1) without it."""
    first, graded = failures("numpy/naive", [[-84.0, -108.0]], [0])
    assert graded["probabilities"].verdict[0] == "underflow"
    assert first == {"probabilities": ["exp"], "loss": ["log"], "gradient": ["exp"]}


def test_a_softmax_fails_at_a_sum_that_stagnates():
    """256 terms of 2^-11 added to 1 one at a time in bfloat16 leave it at 1, where 1.125 is right."""
    row = np.append(0.0, np.full(256, -7.625))
    for formula in ("naive", "lse"):
        first, graded = failures(f"numpy/{formula}", [row], [1], "bfloat16")
        assert (graded["loss"].verdict[0], graded["gradient"].verdict[0]) == ("correct", "inaccurate")
        assert first["gradient"] == ["sum"]
        assert first.get("probabilities", ["sum"]) == ["sum"]


def test_a_sum_is_named_where_the_probabilities_alone_are_wrong():
    ramp = np.linspace(-4.0, 4.0, 2049)
    first, graded = failures("numpy/naive", [ramp], [0], "bfloat16")
    assert graded["probabilities"].verdict[0] not in SOUND
    assert (graded["loss"].verdict[0], graded["gradient"].verdict[0]) == ("correct", "correct")
    assert first == {"probabilities": ["sum"], "loss": [None], "gradient": [None]}


def test_float64s_subnormals_hide_no_failure():
    """The exact exp(-745) has no digits in float64 either: the error between two roundings is 0, the loss is off."""
    first, graded = failures("numpy/naive", [[0.0, -745.0]], [1], "float64")
    assert graded["loss"].verdict[0] not in SOUND
    assert first["loss"] == ["exp"]


# --- what is not seen inside ------------------------------------------------------------------------------------


def verdicts(*names):
    """Return grades with these verdicts and nothing else."""
    unknown = dict.fromkeys((f for f in Graded.__dataclass_fields__ if f != "verdict"), np.full(len(names), np.nan))
    return Graded(verdict=np.array(names), **unknown)


def test_a_builtin_fails_at_the_quantity_itself():
    (case,) = select_cases(["masks/first"])
    fmt = FORMATS["float32"]
    x = case.quantized(fmt)
    batch, exact = Batch(x, case.targets), reference(x, case.targets)
    graded = graded_of("torch/F.cross_entropy", batch, fmt, exact) | {"loss": verdicts(*["nan"] * case.rows)}
    stages = worker.trace_stages(worker.Evaluation("torch", "torch/F.cross_entropy", batch)).stages
    for given_stages in ((), stages):
        first = first_failures(TracedBatch("builtin", given_stages, batch, fmt, exact, graded))
        assert first["loss"] == ["loss"] * case.rows
        assert first["gradient"] == [None] * case.rows


def test_without_stages_each_wrong_row_has_the_quantitys_name():
    """A compiled computation, and a reduced loss, which is one row whatever the batch."""
    x, t = np.zeros((3, 2), np.float32), np.zeros(3, np.int64)
    graded = {"loss": verdicts("nan"), "gradient": verdicts("correct", "undefined", "lost")}
    first = first_failures(TracedBatch("naive", (), Batch(x, t), FORMATS["float32"], reference(x, t), graded))
    assert first == {"loss": ["loss"], "gradient": [None, None, "gradient"]}


def test_a_gradient_that_was_not_given_is_not_named():
    (case,) = select_cases(["seed/article"])
    fmt = FORMATS["float32"]
    x = case.quantized(fmt)
    batch, exact = Batch(x, case.targets), reference(x, case.targets)
    stages = worker.trace_stages(worker.Evaluation("numpy", "numpy/naive", batch)).stages
    loss = {"loss": graded_of("numpy/naive", batch, fmt, exact)["loss"]}
    first = first_failures(TracedBatch("naive", stages, batch, fmt, exact, loss))
    assert first == {"loss": [None, "exp", None]}


# --- the exact stages, as far as they are needed ----------------------------------------------------------------


def test_an_overflow_of_finite_logits_is_named_without_exact_numbers(monkeypatch):
    def refuse(stages, key):
        raise AssertionError(f"{key} was computed")

    monkeypatch.setattr(_exact.Stages, "__getitem__", refuse)
    assert of_case("seed/article", "numpy/naive")["loss"] == [None, "exp", None]


@pytest.mark.parametrize("formula", ["naive", "lse", "log1p"])
@pytest.mark.parametrize("target", range(6))
def test_repeated_logits_count_as_often_as_they_are_there(formula, target):
    """The maximum occurs twice and the smallest three times; each is the target once."""
    logits = [0.5, 2.0, -3.0, 2.0, -3.0, -3.0]
    got, exact = _exact.stages(formula, np.array(logits), target), reference([logits], [target])
    with mpmath.workdps(60):
        shift = 0 if formula == "naive" else 2
        terms = [mpmath.exp(mpmath.mpf(v) - shift) for v in logits]
        expected = float(mpmath.fsum(terms) - (formula == "log1p"))
    assert got["forward", "r" if formula == "log1p" else "s"].hi == expected
    np.testing.assert_array_equal(got["forward", "loss"].hi, exact.loss.hi)
    np.testing.assert_allclose(got["backward", "g"].hi, exact.gradient.hi[0], rtol=1e-15)


def test_the_slope_of_the_maximum_is_exactly_zero():
    """1 - n cancels completely: the rest in the balls is noise, not an exact value."""
    slope = _exact.stages("lse", np.array([0.1, 0.7, -0.3]), 0)["backward", "dm"]
    assert (slope.hi, slope.lo, slope.text(0)) == (0.0, 0.0, "0")


def test_the_rows_that_are_remembered_are_bounded(monkeypatch):
    recent = _exact._Recent()
    rows = [np.array([float(i), 0.0]) for i in range(8)]
    one = _exact.Stages("naive", rows[0], 0).weight
    monkeypatch.setattr(_exact, "MAX_KEPT", 3 * one)
    kept = [recent.stages("naive", row, 0) for row in rows]
    assert recent.stages("naive", rows[-1], 0) is kept[-1]
    assert recent.stages("naive", rows[0], 0) is not kept[0]
    assert len(recent._rows) <= 3
    assert recent.stages("lse", rows[-1], 0) is not kept[-1]
