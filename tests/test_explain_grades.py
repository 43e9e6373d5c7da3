"""``explain`` gives the grades of the measurements table in every case and mode, and the reasons in words.

``python tests/test_explain_grades.py torch`` compares every float32 line of the catalogue, in eager mode.
"""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from in_process import InThisProcess, calls_in_this_process

import logitlab
from logitlab.cases import all_cases, select_cases
from logitlab.cli import main
from logitlab.core.formats import FORMATS, get_format
from logitlab.execution import registry
from logitlab.execution.pool import Pools
from logitlab.execution.registry import Description, ImplementationInfo
from logitlab.frameworks.stages import Stage
from logitlab.grading.first_failure import ComparedStage, ExactValues, wrong_result
from logitlab.reports.site.pages.cases import explain_first_failure
from logitlab.studies import _session
from logitlab.studies import explain as explanation
from logitlab.studies.explain import ExplainRequest
from logitlab.studies.hunt import _hunt

MORE = ("numpy/naive", "numpy/*.softmax", "torch/lse", "torch/F.cross_e*")
# The last is the number of cases of the sample from one to the next.
IMPLEMENTATIONS = [
    pytest.param("float32", ("torch/F.cross_entropy",), 8, id="float32-torch/F.cross_entropy, an eighth"),
    pytest.param("bfloat16", ("numpy/lse",), 8, id="bfloat16-numpy/lse, an eighth"),
    pytest.param("float32", MORE, 1, marks=pytest.mark.full, id="float32-more"),
    pytest.param("bfloat16", ("torch/F.cross_entropy", "numpy/lse"), 1, marks=pytest.mark.full, id="bfloat16-two"),
]
FLOAT32 = FORMATS["float32"]


def sample():
    """Return, for each family, the narrowest case of every combination of options; `whole` covers the widest rows."""
    chosen = {}
    for case in sorted((c for c in all_cases() if c.logits.size <= 10_000), key=lambda c: c.logits.size):
        options = tuple(case.options(FORMATS["float64"]))
        kind = (case.family, case.reduction, case.layout, options, case.targets.ndim, str(case.targets.dtype))
        if case.rows or case.reduction != "none":
            chosen.setdefault(kind, case)
    return list(chosen.values())


def disagreements(table, explainer, rows_of=lambda rows: rows):
    """Return the lines of a table whose grade `explain` does not give, and the number of compared lines.

    Args:
        table: the measurements of a run.
        explainer: an open explainer for the frameworks of the run.
        rows_of: returns the rows of a case to explain.
    """
    found, compared = [], 0
    cells = table.groupby(["implementation", "dtype", "device", "mode", "case"], observed=True, sort=False)
    for (implementation, dtype, device, mode, case), cell in cells:
        came = set(cell.loc[cell["status"] == "ok", "quantity"])
        for row in rows_of(sorted(set(cell["row"]))):
            lines = cell[cell["row"] == row]
            grades = dict(zip(lines["quantity"], lines["grade"], strict=True))
            compared += len(grades)
            try:
                given = explainer.explain(ExplainRequest(case, implementation, dtype, int(row), device, mode)).grades
            except logitlab.UsageError:
                given = {}
            wanted = {q: (None if pd.isna(g) else g) for q, g in grades.items() if q in came}
            if {q: g for q, g in given.items() if q in grades} != wanted:
                found.append((implementation, dtype, mode, case, row, wanted, given))
    return found, compared


def ends(rows):
    """Return the reduced loss and the last row."""
    return sorted({rows[0], rows[-1]})


def test_the_sample_has_every_family():
    assert {c.family for c in sample()} == {c.family for c in all_cases()}


@pytest.mark.parametrize(("dtype", "asked", "step"), IMPLEMENTATIONS)
def test_explain_gives_the_grades_of_the_table(dtype, asked, step, explainer):
    cases = [c.id for c in sample()[::step] if dtype in c.dtypes]
    frameworks = sorted({name.partition("/")[0] for name in asked})
    with calls_in_this_process():
        table = logitlab.run(cases=cases, frameworks=frameworks, implementations=asked, dtypes=dtype, modes="eager")
    found, compared = disagreements(table, explainer, ends)
    assert found == []
    assert compared > 200 / step


# --- the case it was given --------------------------------------------------------------------------------------

LOGITS = [[0.5, -1.0, 2.0, 0.1], [1.5, 0.2, -0.7, 0.0], [0.0, 0.0, 1.0, -2.0]]
MASKED = {"logits": [[1.0, 2.0, 3.0], ["-inf", "-inf", "-inf"]], "targets": [0, -100], "ignore_index": -100}
MINE = {
    "weighted_mean": {"logits": LOGITS, "targets": [1, 3, 0], "weight": [1.0, 2.0, 1.0, 0.5], "reduction": "mean"},
    "options": {"logits": LOGITS[:1], "targets": [1], "softcap": 30.0, "z_loss": 0.5},
    "ignored": MASKED,
    "ignored_mean": {**MASKED, "reduction": "mean"},
    "nothing": {"logits": [[0.25, 1.0], [0.5, 0.75]], "targets": [-9, -9], "ignore_index": -9, "reduction": "mean"},
}
BUILTIN = "torch/F.cross_entropy"


@pytest.fixture(scope="module")
def explainer(tmp_path_factory):
    """Return an explainer in NumPy and PyTorch, with the cases above."""
    path = tmp_path_factory.mktemp("cases") / "mine.json"
    cases = [{"name": f"mine/{name}", "why": "One case.", **case} for name, case in MINE.items()]
    path.write_text(json.dumps({"format": "logitlab cases", "version": 1, "cases": cases}))
    with explanation.Explainer(["numpy", "torch"], case_files=path) as opened:
        with calls_in_this_process():  # it starts its workers for its first case
            opened.explain(ExplainRequest("seed/article", "numpy/lse"))
        yield opened


def line(explained, stage):
    (found,) = explained.stages[explained.stages["stage"] == stage].to_dict("records")
    return found


def text(explained, quantity):
    (found,) = [a.text for a in explained.assessments if a.quantity == quantity]
    return found


def test_a_mean_that_overflows_is_f_though_its_row_losses_are_accurate(explainer):
    """Nine losses of 8192 have a float16 mean of 8192, and a sum that float16 cannot hold."""
    explained = explainer.explain(ExplainRequest("field_overflow/pytorch_85791", BUILTIN, "float16"))
    assert (explained.grades["loss"], explained.grades["gradient"]) == ("F", "A")
    assert set(explained.row_losses["grade"]) == {"A"}
    assert text(explained, "loss") == "mean of the losses: F, not finite: inf where 8192 is exact"
    assert explained.first == explanation.Failure(
        "loss",
        "forward",
        "the sum of 9 row losses, 7.373e+04, overflows float16 above 6.55e+04",
        "hold the sum in float32 or wider",
    )


def test_the_reduced_loss_alone_is_row_minus_one(explainer):
    explained = explainer.explain(ExplainRequest("seed/article_mean", "numpy/naive", row=-1))
    assert (explained.row, list(explained.grades), explained.classes) == (-1, ["loss"], ())
    assert explained.stages["stage"].tolist() == ["loss"]
    assert explained.first.rule == "row losses with inf give inf"
    assert explained.row_losses["grade"].tolist() == ["A", "F", "A"]


def test_a_reduced_formula_is_traced_to_the_row_loss_and_then_reduced(explainer):
    explained = explainer.explain(ExplainRequest("seed/article_mean", "numpy/lse", row=0))
    stages = explained.stages["stage"].tolist()
    assert stages.index("add max") < stages.index("row loss") < stages.index("loss") < stages.index("row gradient")
    assert stages[-1] == "gradient"
    assert (line(explained, "row loss")["exact"], line(explained, "loss")["exact"]) == ("0.417", "667.3")
    whole, row = (np.array(line(explained, s)["exact"].split(", "), float) for s in ("gradient", "row gradient"))
    np.testing.assert_allclose(whole, row / 3, rtol=2e-3)


def test_an_option_that_a_loss_does_not_take_is_named(explainer):
    with pytest.raises(logitlab.UsageError, match="keyword argument 'softcap'"):
        explainer.explain(ExplainRequest("mine/options", BUILTIN))


def test_a_weighted_mean_is_divided_by_the_weights(explainer):
    explained = explainer.explain(ExplainRequest("mine/weighted_mean", BUILTIN, row=2))
    assert explained.given == "target 0; reduction mean; weight [1, 2, 1, 0.5]"
    own = explained.row_losses["exact"].sum() / (2.0 + 0.5 + 1.0)
    assert line(explained, "loss")["exact"] == line(explained, "loss")["value"] == f"{own:.4g}"


def recorded(pools, monkeypatch):
    """Let explanations make their calls in these pools, and return the list of the calls."""
    asked = []

    class Recorded(pools):
        """This process describes the frameworks, to start a worker less."""

        def describe(self):
            return {name: registry.describe(name) for name in self._frameworks}

        def evaluate(self, calls):
            asked.extend(calls)
            return super().evaluate(calls)

    monkeypatch.setattr(_session, "Pools", Recorded)
    return asked


@pytest.fixture
def asked(monkeypatch):
    return recorded(InThisProcess, monkeypatch)


@pytest.fixture
def asked_of_workers(monkeypatch):
    return recorded(Pools, monkeypatch)


def test_the_call_is_the_one_that_a_run_of_the_catalogue_makes(asked_of_workers):
    explained = logitlab.explain("gap/5_low", "numpy/lse", row=1)
    (measured, traced) = asked_of_workers
    assert (measured.traced, traced.traced) == (False, True)
    assert measured.group is traced.group
    widths = {c.classes for c in measured.group.cases}
    assert (len(measured.group.cases) > 10, len(widths)) == (True, 1)
    assert explained.case == "gap/5_low"


def test_layout_and_options_reach_the_call(asked):
    logitlab.explain("layout/strided_mean", "numpy/naive")
    batch = asked[0].batch()
    assert (batch.layout, batch.reduction) == ("strided", "mean")


@pytest.mark.full
@pytest.mark.parametrize("mode", ["compiled", "eager+one-thread"])
def test_a_mode_is_measured_in_its_own_process(asked_of_workers, mode):
    """Compiled code cannot be traced; a variant of eager mode can, in the process that has its settings."""
    asked = asked_of_workers
    explained = logitlab.explain("seed/article", "jax/naive", mode=mode)
    assert {call.cell.worker_key for call in asked} == {f"jax-{mode}"}
    assert all(call.cell.variables == asked[0].cell.variables for call in asked)
    quantities = ["logits", "probabilities", "loss", "gradient"]
    assert (explained.stages["stage"].tolist() == quantities) == (mode == "compiled")
    assert (explained.mode, explained.row, set(explained.grades.values())) == (mode, 1, {"F"})


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("graph", "torch/lse has no mode 'graph'; choose one of eager, compiled"),
        ("eager+slow", "unknown variant 'slow'"),
        ("eager+onednn-off", "the variant 'onednn-off' does not change torch/lse in mode eager"),
    ],
)
def test_a_mode_that_the_implementation_lacks_gets_one_line(mode, message, monkeypatch, capsys):
    described = Description(
        "torch", ("cpu",), (ImplementationInfo("torch/lse", "lse", "torch", "2", ("eager", "compiled")),)
    )
    monkeypatch.setattr(Pools, "describe", lambda self: {"torch": described})
    assert main(["explain", "seed/article", "--implementation", "torch/lse", "--mode", mode]) == 2
    assert message in capsys.readouterr().err


def test_the_commands_that_are_printed_explain_the_mode_that_was_measured():
    found = SimpleNamespace(
        implementation="jax/lse", dtype="float32", device="cpu", mode="compiled", cases=select_cases("seed/article")
    )
    worst = pd.DataFrame([{**vars(found), "case": "seed/article", "stage": None}]).drop(columns="cases")
    of_site = explain_first_failure(worst)
    of_hunt = list(_hunt._commands(found, "mine.json"))[-1]
    assert of_site.endswith("--mode compiled")
    assert of_hunt.endswith("--mode compiled")


# --- in words ---------------------------------------------------------------------------------------------------


def shown(explained, capsys):
    explanation.show(explained)
    return " ".join(capsys.readouterr().out.split())


def test_a_grade_is_stated_with_the_bound_that_allows_the_error(explainer, capsys):
    words = shown(explainer.explain(ExplainRequest("certainty/margin_12", BUILTIN, row=0)), capsys)
    assert "loss: B, stable: the error is 2.4e-08 (2.6e+04 ulp), more than A's 2e-11; B allows 6.8e-07" in words
    assert "digits of a loss near zero may be lost" in words
    assert "fail" not in words


def test_a_sum_in_the_dtype_is_the_reason_for_the_c_of_a_reduced_loss(explainer):
    explained = explainer.explain(ExplainRequest("reductions/many_rows_sum", BUILTIN, "bfloat16", -1))
    assert text(explained, "loss").startswith("sum of the losses: C, offset-sensitive: the error is ")
    assert text(explained, "loss").endswith(" in each row, or a sum in the dtype")
    assert explained.first.stage == "loss"


def test_losing_the_digits_that_b_allows_is_not_a_failure(explainer, capsys):
    """A loss of -0: the bound allows it."""
    words = shown(explainer.explain(ExplainRequest("certainty/margin_12", BUILTIN, "bfloat16", 0)), capsys)
    assert "digits are lost first in: loss: -0 where the exact value is 9.871e-06" in words
    assert "fail" not in words


def test_each_accurate_quantity_of_a_row_is_called_accurate(explainer, capsys):
    words = shown(explainer.explain(ExplainRequest("seed/article", "numpy/log1p", row=0)), capsys)
    for quantity in ("probabilities", "loss", "gradient"):
        assert f"{quantity}: A, accurate: " in words
    assert words.endswith("no stage failed")


def test_a_loss_flushed_to_zero_within_t_says_why_that_is_accurate(explainer):
    explained = explainer.explain(ExplainRequest("gap/90_high", BUILTIN, row=0))
    assert explained.grades["loss"] == "A"
    assert text(explained, "loss") == (
        "loss: A, accurate: the error is 8.2e-40 (5.8e+05 ulp), A allows 1.2e-38: the exact value, 8.194e-40, is below "
        "the smallest normal number and may be flushed to zero"
    )


def test_a_wrong_sign_is_named_at_its_entry():
    """The larger error is in another entry."""
    values, exact = np.array([0.25, 1e-3, -0.5]), np.array([0.5, -1e-3, -0.5])
    kind = Stage.of_quantity("gradient", values)
    stage = ComparedStage.of(kind, values, lambda: ExactValues.of(exact, np.zeros(3)), get_format(values.dtype))
    assert wrong_result(stage, "wrong_sign", FLOAT32).rule == "0.001 has the wrong sign, the exact value is -0.001"


FAMILIES = ["offset/*", "gap/*", "certainty/*", "underflow/*", "reductions/*"]


@pytest.mark.parametrize(
    ("implementation", "cases"),
    [
        pytest.param("numpy/scipy.special.softmax", ["offset/1e0*", "gap/*_high", "certainty/*"], id="few cases"),
        *(pytest.param(f"numpy/{name}", FAMILIES, marks=pytest.mark.full, id=f"numpy/{name}")
          for name in ("naive", "lse", "scipy.special.softmax")),
    ],
)  # fmt: skip
def test_grades_c_to_f_always_read_as_failures_and_grade_a_never_does(implementation, cases, explainer):
    for case in select_cases(cases):
        if case.rows == 0 or case.classes > 10 or "float32" not in case.dtypes:
            continue
        explained = explainer.explain(ExplainRequest(case.id, implementation))
        failed = {f.stage for f in explained.failures}
        for a in explained.assessments:
            assert a.quantity not in failed or a.grade != "A", case.id
            if a.grade in ("C", "D", "F"):
                assert failed, case.id
                assert "where" in a.text or "more than" in a.text, a.text


# --- what has no grade ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["mine/ignored", "mine/ignored_mean"])
def test_the_nan_gradient_of_an_ignored_row_is_described(case, explainer):
    explained = explainer.explain(ExplainRequest(case, BUILTIN, row=1))
    assert explained.given.startswith("target -100, ignored by ignore_index")
    assert line(explained, "gradient")["exact"] == "0, 0, 0"
    assert line(explained, "gradient")["value"] == "NaN, NaN, NaN"
    assert explained.grades["gradient"] is None
    assert "the result is NaN, 0 is exact" in text(explained, "gradient")
    assert explained.remarks == (
        "The row is ignored: its loss and its gradient are exactly 0. The loss is 0. The gradient is NaN.",
    )


def test_an_ignored_row_whose_gradient_is_nan_is_the_worst_and_a_failure(explainer, capsys):
    explained = explainer.explain(ExplainRequest("mine/ignored_mean", BUILTIN))
    assert (explained.row, explained.grades) == (1, {"loss": "A", "gradient": None})
    assert shown(explained, capsys).endswith("first failure: gradient: NaN where the exact value is 0")


def test_a_row_names_a_wrong_ignored_row_beside_it(explainer):
    (remark,) = explainer.explain(ExplainRequest("mine/ignored_mean", BUILTIN, row=0)).remarks
    assert remark.startswith("Beside it, row 1: The row is ignored")
    assert remark.endswith("The gradient is NaN.")


def test_a_reduced_loss_that_raises_has_no_stages_and_the_message(explainer, capsys):
    explained = explainer.explain(ExplainRequest("reductions/nan_row_sum", "numpy/sklearn.metrics.log_loss", row=-1))
    assert "no stage failed" not in shown(explained, capsys)
    assert (len(explained.stages), explained.grades) == (0, {})
    assert explained.remarks == ("loss: raised: ValueError: Input contains NaN.",)


def test_a_mean_over_no_rows_shows_the_result_and_has_no_exact_value(explainer):
    explained = explainer.explain(ExplainRequest("mine/nothing", BUILTIN))
    assert (explained.grades["loss"], line(explained, "loss")["value"]) == (None, "NaN")
    assert line(explained, "loss")["exact"] == "no exact value"
    assert (
        text(explained, "loss") == "mean of the losses: not graded: a mean over nothing has no value; the result is NaN"
    )
    assert explained.remarks == (
        "No row counts: a mean over nothing has no value and no grade. The loss is NaN. The gradient is 0.",
    )


def test_an_invalid_target_shows_what_the_implementation_returned(explainer):
    case = next(c for c in select_cases("invalid/*") if (c.targets < 0).any())
    row = int(np.flatnonzero(case.targets < 0)[0])
    explained = explainer.explain(ExplainRequest(case.id, "numpy/naive", row=row))
    assert "not one of the" in explained.given
    assert text(explained, "loss").startswith(f"loss: not graded: target {case.targets[row]} was read from the end")


def whole(framework):
    """Compare every line of a framework's float32 run over the catalogue."""
    table = logitlab.run(frameworks=framework, dtypes="float32", modes="eager")
    with explanation.Explainer([framework]) as explainer:
        found, compared = disagreements(table, explainer)
    print(f"{framework}: {compared} lines, {len(found)} differ", *found, sep="\n")


if __name__ == "__main__":
    for framework in sys.argv[1:]:
        whole(framework)
