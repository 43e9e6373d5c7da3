"""`explain` for hidden states: the logits' rounding, the entry that decides each grade, and its reason."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from in_process import calls_in_this_process
from rich.console import Console

from logitlab import linear_reference, runner
from logitlab.cases import LinearCase, get_case, make_linear, select_cases
from logitlab.core.errors import UsageError
from logitlab.core.formats import FORMATS
from logitlab.core.rounding import ulp
from logitlab.studies import _session
from logitlab.studies.explain import COLUMNS, Explainer, ExplainRequest, Explanation, show

FUSED, UNFUSED = "torch/F.linear_cross_entropy", "torch/F.cross_entropy[linear]"
GRADIENTS = ["gradient_hidden", "gradient_weight", "gradient_bias"]


@pytest.fixture(scope="module")
def explainer():
    with calls_in_this_process(), Explainer(["torch", "numpy", "jax"]) as opened:
        yield opened


def shown(explanation: Explanation) -> str:
    console = Console(width=1000, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        show(explanation, console)
    return capture.get()


def line(explanation: Explanation, stage: str) -> pd.Series:
    (found,) = [row for _, row in explanation.stages.iterrows() if row["stage"] == stage]
    return found


def test_each_quantity_has_a_line_with_its_deciding_entry_and_a_reason(explainer):
    found = explainer.explain(ExplainRequest("linear_layers/bias_s1", UNFUSED, "bfloat16", -1))
    assert tuple(found.stages.columns) == COLUMNS
    assert list(found.stages["stage"]) == ["logits", "loss", *GRADIENTS]
    assert list(found.stages["pass"]) == ["forward", "forward", "backward", "backward", "backward"]
    assert line(found, "loss")["formula"] == "hidden @ weight.T + bias, then F.cross_entropy"
    assert line(found, "gradient_weight")["formula"] == "g.T @ hidden"
    by_quantity = {a.quantity: a for a in found.assessments}
    assert list(by_quantity) == ["loss", *GRADIENTS]
    weight = by_quantity["gradient_weight"]
    assert weight.grade == "C"
    assert "each logit may be rounded to the dtype" in weight.text
    assert line(found, "gradient_weight")["value"].partition(":")[0] in weight.text
    assert "the whole batch" in shown(found)


def test_the_shown_entries_are_the_results_of_the_call_and_the_oracle(explainer):
    case = get_case("linear_layers/bias_s1")
    assert isinstance(case, LinearCase)
    found = explainer.explain(ExplainRequest(case.id, UNFUSED, "bfloat16", -1))
    fmt = FORMATS["bfloat16"]
    hidden, weight, bias = case.quantized_inputs(fmt)
    exact = linear_reference(hidden, weight, case.targets, bias=bias)
    place, value = line(found, "gradient_weight")["value"].split(": ")
    index = tuple(int(word.split()[1]) for word in place.split(", "))
    assert line(found, "gradient_weight")["exact"] == f"{exact.gradient_weight.hi[index]:.4g}"
    error = abs(float(value) - exact.gradient_weight.hi[index])
    spacing = float(ulp(exact.gradient_weight.hi[index], fmt))
    assert line(found, "gradient_weight")["max_ulp"] == pytest.approx(error / spacing, abs=0.3)
    # The logits' line has the largest rounding of the batch.
    rounded = exact.logits.hi.astype(np.float32).astype(hidden.dtype).astype(np.float64)
    row, of_class = np.unravel_index(np.abs(rounded - exact.logits.hi).argmax(), rounded.shape)
    assert line(found, "logits")["value"].startswith(f"row {row}, class {of_class}: {rounded[row, of_class]:.6g}")
    largest = fmt.unit_roundoff * np.abs(exact.logits.hi).max()
    assert f"at most {largest:.2g}" in next(text for text in found.remarks if text.startswith("logits"))


def test_a_row_selects_loss_and_hidden_state_and_the_weight_stays_the_batch_s(explainer):
    one, whole = (
        explainer.explain(ExplainRequest("linear_layers/bias_s1", UNFUSED, "bfloat16", row)) for row in (3, -1)
    )
    for stage in ("logits", "loss", "gradient_hidden"):
        assert line(one, stage)["value"].startswith("row 3")
    assert line(one, "gradient_weight")["value"] == line(whole, "gradient_weight")["value"]
    assert (one.target, whole.target) == (15, -1)


def test_grades_are_those_of_a_run(explainer):
    cases = ["linear_layers/outlier_channel", "linear_layers/smoothing", "linear_extremes/masked_by_bias"]
    with calls_in_this_process():
        df = runner.run(cases=cases, implementations=[FUSED, UNFUSED], dtypes=["bfloat16", "float32"])
    assert len(df)
    for (case, name, dtype), rows in df.groupby(["case", "implementation", "dtype"], observed=True):
        found = explainer.explain(ExplainRequest(case, name, dtype, -1))
        assert found.grades == {q: max(g) for q, g in rows.groupby("quantity", observed=True)["grade"]}


def test_float32_inside_is_a_and_says_what_a_means(explainer):
    found = explainer.explain(ExplainRequest("linear_layers/bias_s1", UNFUSED, "float32"))
    assert set(found.grades.values()) == {"A"}
    assert "sums in at least float32" in found.assessments[-1].text
    assert "no stage failed" in shown(found)


@pytest.mark.parametrize("row", [None, 2, 0, -1])
def test_an_ignored_row_of_nan_is_described(explainer, row):
    found = explainer.explain(ExplainRequest("linear_ignored/nan_row_mean", FUSED, "float32", row))
    text = shown(found)
    assert found.grades["gradient_weight"] is None
    assert "an ignored row holds NaN" in text
    assert found.row_losses is not None
    if row in (None, 2):
        assert "The row is ignored" in text


def test_a_row_of_nan_is_expected_to_give_nan(explainer):
    found = explainer.explain(ExplainRequest("linear_extremes/nan_row", UNFUSED, "float32", 1))
    nan = np.isnan(get_case("linear_extremes/nan_row").hidden).any(axis=1)  # type: ignore[attr-defined]
    row = int(nan.argmax())
    found = explainer.explain(ExplainRequest("linear_extremes/nan_row", UNFUSED, "float32", row))
    assert line(found, "logits")["exact"] == "none is finite"
    assert line(found, "loss")["value"] == f"row {row}: NaN"
    assert found.grades["loss"] == "A"


def test_a_mean_over_nothing_has_no_grade(explainer, monkeypatch):
    given = {"hidden": [[1.0, 2.0], [0.5, 1.0]], "weight": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], "targets": [-1, -1]}
    case = make_linear("mine/nothing", "No row counts.", **given, ignore_index=-1, reduction="mean")
    monkeypatch.setattr(_session, "find_case", lambda name, paths: case)
    for row in (None, -1, 1):
        found = explainer.explain(ExplainRequest(case.id, UNFUSED, "float32", row))
        assert set(found.grades.values()) == {None}
        assert "a mean over nothing has no value" in shown(found)


@pytest.mark.full
def test_every_linear_case_can_be_explained(explainer):
    cases = [c for c in select_cases(["linear_*/*"]) if isinstance(c, LinearCase) and c.logits.size <= 4000]
    assert len(cases) > 30
    for case in cases:
        dtype = "float32" if "float32" in case.dtypes else case.dtypes[0]
        name = (
            "torch/lse[linear]" if {"softcap", "logit_scale", "z_loss"} & set(case.options(FORMATS[dtype])) else UNFUSED
        )
        for row in (None, -1):
            assert shown(explainer.explain(ExplainRequest(case.id, name, dtype, row)))


def test_problems_do_not_mix(explainer):
    for case, name in (("seed/article", FUSED), ("linear_layers/bias_s1", "torch/naive")):
        with pytest.raises(UsageError, match="choose another implementation"):
            explainer.explain(ExplainRequest(case, name))
    with pytest.raises(UsageError, match="or -1 for the whole batch"):
        explainer.explain(ExplainRequest("linear_layers/bias_s1", FUSED, "float32", 8))


def test_an_option_that_the_loss_lacks_is_one_line(explainer):
    with pytest.raises(UsageError, match="returned no result for linear_layers/softcap"):
        explainer.explain(ExplainRequest("linear_layers/softcap", FUSED))


def test_the_explanation_names_the_problem(explainer):
    found = explainer.explain(ExplainRequest("linear_layers/bias_s1", FUSED))
    assert dataclasses.asdict(dataclasses.replace(found, stages=None, row_losses=None))["problem"] == "linear"
    assert found.given.startswith("hidden 8 x 64, weight 40 x 64, bias 40; target")
