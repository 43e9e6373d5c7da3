"""`audit`: which faulty losses a user's test notices, and which sound losses it rejects."""

from __future__ import annotations

import importlib.util
import inspect
import json
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logitlab
from logitlab.cases import all_cases
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.execution.isolated import Ended
from logitlab.studies import audit as auditing
from logitlab.studies.audit import _audit, _faults, _kinds, corpus
from logitlab.studies.audit._values import parse_shape, parse_values

SCHEMA = Path(logitlab.__file__).parent / "core" / "schemas" / "audit.schema.json"
TESTS = """
import os, time
import numpy as np

def good(loss):
    x = np.array([[1.0, 2.0, 3.0], [0.5, 1000.0, 0.25], [7.0, -np.inf, 7.0]])
    t = np.array([0, 1, 2])
    s = x - x.max(1, keepdims=True)
    p = np.exp(s) / np.exp(s).sum(1, keepdims=True)
    kept = x.copy()
    with np.errstate(all="ignore"):
        found = loss(x, t)
        np.testing.assert_allclose(found, -np.log(p[np.arange(3), t]), rtol=1e-9, atol=1e-300)
        np.testing.assert_allclose(loss.gradient(x.copy(), t), p - np.eye(3)[t], rtol=1e-9, atol=1e-300)
    np.testing.assert_array_equal(x, kept)

def nothing(loss):
    loss(np.zeros((2, 3), np.float32), np.array([0, 1]))

def hangs(loss):
    nothing(loss)
    if "in_place" in loss.__name__:
        time.sleep(60)

def dies(loss):
    nothing(loss)
    if "in_place" in loss.__name__:
        os._exit(3)

def no_call(loss):
    pass

def raises(loss):
    loss(np.zeros((2, 3)), np.array([0, 1]), temperature=2)

def whatever(loss):
    nothing(loss)
    raise AssertionError
"""
FEW = ["shifts_in_place", "fused_by_a_dot", "nan_by_fmax", "probabilities_in_half", "target_shifted_too", "row_by_row"]


@pytest.fixture(scope="module")
def tests(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit") / "audited.py"
    path.write_text(TESTS)
    return path


@pytest.fixture
def without_processes(monkeypatch):
    """Run each test in this process."""

    def here(function, tasks, timeout, preload=()):
        yield from ((number, Ended(function(task))) for number, task in enumerate(tasks))

    monkeypatch.setattr(_audit, "each_isolated", here)


def outcomes(result):
    return dict(zip(result.table["loss"], result.table["outcome"], strict=True))


# --- the corpus -------------------------------------------------------------------------------------------------


def test_each_fault_has_a_kind_and_a_description():
    faults = corpus.defects()
    assert _kinds.named_kinds() <= {fault.name for fault in faults}
    for fault in faults:
        assert isinstance(_kinds.kind_of(fault.module, fault.name), _kinds.Kind)
        assert fault.description.endswith(".")
    assert {_kinds.kind_of(f.module, f.name) for f in faults} == set(_kinds.Kind) == set(_kinds.MEANING)


def test_each_fault_counts_in_the_dtypes_in_which_a_check_must_catch_it():
    measured = _faults.measured()
    installed = {fault.framework for fault in corpus.defects()}
    assert {(f.framework, f.name, d) for f in corpus.defects() for d in f.dtypes} <= measured.keys()
    known = {(f.framework, f.name) for f in corpus.defects()}
    assert {key[:2] for key in measured if key[0] in installed} <= known


def test_the_calls_that_show_a_fault_are_of_the_catalogue_or_of_a_check():
    ids = {case.id for case in all_cases()}
    for calls in _faults.measured().values():
        assert calls
        assert all(call.case in ids or call.case.startswith("check/") for call in calls)
        assert {call.quantity for call in calls} <= {"loss", "gradient", _faults.ARGUMENTS}


SHOWN = sorted((key, calls) for key, calls in _faults.measured().items() if key[0] == "torch")
QUICK_KEYS = {("small_terms_are_skipped", "float32"), ("upstream_is_ignored", "float32"), ("temperature", "float64")}
QUICK = [(key, calls) for key, calls in SHOWN if key[1:] in QUICK_KEYS]


def _shows(key, calls):
    framework, name, dtype = key
    (fault,) = [f for f in corpus.defects() if (f.framework, f.name) == (framework, name)]
    planted = fault.load()
    # A fault that keeps something from call to call needs the cases before the one that shows it.
    before = (planted.shown_by,) if isinstance(planted.shown_by, str) else planted.shown_by or ()
    return any(
        not logitlab.check(
            planted.loss, framework, dtype, gradient=planted.gradient, repeat=planted.repeat, name=name,
            cases=[*before, *(c.case for c in calls)], shrink=False,
        ).passed
        for _ in _seeds()
    )  # fmt: skip


def _seeds():
    """Twenty seeds, one after the other: of the faults of chance the rarest shows itself in a fifth of all checks."""
    import torch

    for seed in range(20):
        torch.manual_seed(seed)
        yield seed


@pytest.mark.parametrize(("key", "calls"), QUICK, ids=lambda value: value[1] if isinstance(value[0], str) else "")
def test_a_check_of_the_recorded_cases_shows_the_fault(key, calls):
    assert _shows(key, calls)


# One in so many faults: all of them take half an hour. `benchmarks/audit_verdicts.py` measures all again.
EVERY = 8


@pytest.mark.full
@pytest.mark.parametrize("key", [key for key, _ in SHOWN[::EVERY]], ids="-".join)
def test_a_check_of_the_recorded_cases_shows_each_fault(key):
    assert _shows(key, dict(SHOWN)[key])


# --- the audit --------------------------------------------------------------------------------------------------


def test_a_good_test_notices_what_it_looks_at_and_accepts_sound_losses(tests, without_processes):
    result = logitlab.audit(f"{tests}:good", "numpy", losses=[*FEW, "second_of_two_ties"])
    found = outcomes(result)
    assert result.dtypes == ("float64",)
    assert {found.pop(name) for name in ("shifts_in_place", "fused_by_a_dot", "probabilities_in_half")} == {"noticed"}
    assert found["second_of_two_ties"] == "missed"
    assert set(result.table.loc[result.table["wrong"].isna(), "outcome"]) == {"accepted"}
    assert not result.passed
    assert list(result.missed["loss"]) == list(result.findings["loss"]) == ["second_of_two_ties"]
    (change,) = result.changes
    assert (change.kind, change.notices) == ("ties", ("second_of_two_ties",))
    assert change.text.endswith("compare the gradients")


def test_the_report_in_each_format(tests, without_processes):
    result = logitlab.audit(zeros_only, "numpy", losses=FEW, name="it")
    text = auditing.written(result, "text")
    assert text.startswith("it notices 0 of ")
    assert "nan_by_fmax: " in text
    assert "The smallest changes that would notice them:" in text
    assert max(map(len, text.splitlines())) <= 100
    assert auditing.written(result, "markdown").startswith("# it notices 0 of ")
    report = json.loads(auditing.written(result, "json"))
    jsonschema.validate(report, json.loads(SCHEMA.read_text()), jsonschema.Draft202012Validator)
    assert report["noticed"] == 0
    assert sorted({name for c in report["changes"] for name in c["notices"]}) == sorted(result.missed["loss"])
    assert str(result) == text.rstrip("\n")


def test_junit_has_a_test_for_each_loss_and_a_failure_for_each_finding(tests, without_processes):
    result = logitlab.audit(zeros_only, "numpy", losses=FEW, name="it")
    root = ElementTree.fromstring(auditing.written(result, "junit"))  # noqa: S314 - our own
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert set(cases) == set(result.table["loss"])
    failed = {name for name, case in cases.items() if case.find("failure") is not None}
    assert failed == set(result.findings["loss"])
    assert root.get("failures") == str(len(failed))
    assert {suite.get("name") for suite in root.iter("testsuite")} >= {"it sound losses", "it masks"}


def test_sarif_has_a_result_for_each_kind_that_slips_through_at_the_line_of_the_test(tests, without_processes):
    result = logitlab.audit(zeros_only, "numpy", losses=FEW, name="it")
    (log,) = json.loads(auditing.written(result, "sarif"))["runs"]
    missed = {f"audit/{_kinds.Kind(kind).name.lower().replace('_', '-')}" for kind in result.missed["kind"]}
    assert {found["ruleId"] for found in log["results"]} == missed
    named = ", ".join(found["message"]["text"].partition(": ")[2] for found in log["results"])
    assert sorted(named.split(", ")) == sorted(result.missed["loss"])
    line = inspect.getsourcelines(zeros_only)[1]
    for found in log["results"]:
        assert found["locations"][0]["physicalLocation"]["region"] == {"startLine": line}


def zeros_only(loss):
    loss(np.zeros((2, 3), np.float32), np.array([0, 1]))


def test_a_test_that_rejects_everything_notices_all_and_fails(tests, without_processes):
    result = logitlab.audit(f"{tests}:whatever", "numpy", losses=FEW)
    assert set(result.faults["outcome"]) == {"noticed"}
    assert len(result.rejected) == (result.table["wrong"].isna()).sum() > 0
    assert not result.passed
    assert set(result.findings["finding"]) == {"sound loss rejected"}


def test_kinds_and_dtypes_can_be_chosen(tests, without_processes):
    result = logitlab.audit(f"{tests}:nothing", "numpy", ["float64", "float32"], kinds="masks")
    assert set(result.faults["kind"]) == {"masks"}
    assert result.dtypes == ("float64", "float32")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_call", "never calls its loss"),
        ("raises", "raises on every sound loss .*must be a function of a loss"),
        ("missing", "has no 'missing'"),
    ],
)
def test_a_test_that_is_none_is_refused(tests, without_processes, name, message):
    with pytest.raises(UsageError, match=message):
        logitlab.audit(f"{tests}:{name}", "numpy", losses=FEW)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"framework": "nothing"}, "no losses of 'nothing' to audit with; choose one of torch"),
        ({"dtypes": "float8_e5m2"}, "an audit has no dtype"),
        ({"kinds": "colours"}, "expected one of masks"),
        ({"losses": "nobody"}, "no loss of the audit is named 'nobody'"),
        ({"returns": "medians"}, "expected one of rows"),
        ({"timeout": 0}, "timeout is 0"),
    ],
)
def test_bad_arguments_are_refused_before_a_process_starts(options, message):
    with pytest.raises(UsageError, match=message):
        logitlab.audit("audited:good", **{"framework": "numpy", **options})


def test_a_test_that_no_process_can_import_is_refused():
    with pytest.raises(UsageError, match="define it at the top of a module"):
        logitlab.audit(lambda loss: None, "numpy")
    with pytest.raises(UsageError, match="give a function of a loss"):
        logitlab.audit(3, "numpy")


def test_a_reduced_loss_is_the_mean_over_the_rows_that_count(without_processes):
    torch = pytest.importorskip("torch")
    losses = ["backward_by_hand", "only_minus_100_is_ignored", "first_weight_for_all"]
    result = logitlab.audit(means, "torch", returns="mean", losses=losses, dtypes="float32")
    # Without another index than the default, and with equal weights, both faults hide.
    assert outcomes(result) == {
        "backward_by_hand": "accepted", "only_minus_100_is_ignored": "missed", "first_weight_for_all": "missed"
    }  # fmt: skip
    assert torch is not None


def means(loss):
    import inspect

    import torch
    from torch.nn.functional import cross_entropy

    x, t = torch.randn(5, 7), torch.tensor([0, 3, -100, 6, 2])
    names = inspect.signature(loss).parameters
    if "ignore_index" not in names:
        x, t = x[t >= 0], t[t >= 0]
    given = {"weight": torch.full((7,), 0.5)} if "weight" in names else {}
    torch.testing.assert_close(loss(x, t, **given), cross_entropy(x, t, **given))


# --- processes --------------------------------------------------------------------------------------------------


def test_a_test_that_dies_notices_and_one_that_hangs_is_reported(tests):
    losses = ["shifts_in_place", "nan_by_fmax"]
    died = logitlab.audit(f"{tests}:dies", "numpy", losses=losses)
    line = died.faults.set_index("loss").loc["shifts_in_place"]
    assert (line["outcome"], line["status"]) == ("noticed", "crashed")
    assert "exit code 3" in line["message"]
    hung = logitlab.audit(f"{tests}:hangs", "numpy", losses=losses, timeout=2.0)
    assert list(hung.unfinished["loss"]) == ["shifts_in_place"]
    assert "no answer within 2 s" in auditing.written(hung, "text")
    assert not hung.passed


def test_the_command_line(tests, tmp_path, capsys):
    out = tmp_path / "report.json"
    options = ["--framework", "numpy", "--loss", "shifts_in_place", "--loss", "fused_by_a_dot"]
    assert main(["audit", f"{tests}:good", *options]) == 0
    assert "good notices 2 of 2 faults and rejects 0 of 1 sound loss" in capsys.readouterr().out
    assert main(["audit", f"{tests}:nothing", *options, "--format", "json", "--out", str(out)]) == 1
    assert json.loads(out.read_text())["passed"] is False
    assert main(["audit", f"{tests}:no_call", *options]) == 2
    assert main(["audit", *options]) == 2
    assert "give MODULE:TEST, or the --shape" in capsys.readouterr().err


# --- a tolerance ------------------------------------------------------------------------------------------------

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: float(f"{x:g}"))


@given(st.sampled_from(["randn", "rand"]), NUMBERS.filter(bool), NUMBERS)
def test_values_are_parsed_as_they_are_written(name, factor, offset):
    values = parse_values(f"{factor!r}*{name}{offset:+}")
    assert (values.name, values.factor, values.offset) == (name, factor, offset)
    assert parse_values(str(values)) == values


@pytest.mark.parametrize(
    "text", ["", "2", "randn()", "__import__('os')", "randn*2", "1e999*randn", "nan*randn", "randn+", "2**randn"]
)
def test_other_values_are_refused(text):
    with pytest.raises(UsageError, match=r"expected NUMBER\*randn"):
        parse_values(text)


def test_a_draw_is_scaled_and_moved():
    drawn = parse_values("2*rand + 100").draw(np.random.default_rng(0), (50, 20))
    assert drawn.shape == (50, 20)
    assert 100 <= drawn.min() < 101 < drawn.max() < 102


def test_a_shape_is_two_positive_numbers():
    assert parse_shape("64, 128") == (64, 128)
    for text in ("64", "0,3", "-1,3", "a,b", "1,2,3"):
        with pytest.raises(UsageError, match="expected ROWS,CLASSES"):
            parse_shape(text)


@pytest.mark.parametrize(
    ("options", "noticed"),
    [
        ({}, {"logits_through_bfloat16", "nothing_at_the_target"}),
        ({"loss_only": True}, {"logits_through_bfloat16"}),
        ({"gradient_atol": 2.0}, {"logits_through_bfloat16"}),
        ({"atol": 10.0, "rtol": 0.0, "gradient_atol": 0.1}, {"nothing_at_the_target"}),
    ],
)
def test_a_tolerance_notices_what_is_beyond_it(without_processes, options, noticed):
    pytest.importorskip("torch")
    test = auditing.tolerance_test("16,20", "randn", "float32", **{"atol": 1e-5, "rtol": 1e-5} | options)
    losses = ["backward_by_hand", "logits_through_bfloat16", "nothing_at_the_target", "nan_is_zero"]
    result = logitlab.audit(test, "torch", "float32", losses=losses)
    assert set(result.faults.loc[result.faults["outcome"].eq("noticed"), "loss"]) == noticed
    assert not len(result.rejected)


def test_a_tolerance_in_numpy_uses_the_gradient_that_a_loss_brings(without_processes):
    test = auditing.tolerance_test((8, 9), "2*randn", "float64", 1e-9, 1e-9, framework="numpy")
    result = logitlab.audit(test, "numpy", "float64", losses=["divided_by_the_batch", "nan_by_fmax"])
    assert outcomes(result)["divided_by_the_batch"] == "noticed"
    assert outcomes(result)["nan_by_fmax"] == "missed"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float8_e5m2"}, "an audit has no dtype"),
        ({"framework": "caffe"}, "no losses of 'caffe'"),
        ({"against": "numpy/nobody"}, "numpy has no implementation 'numpy/nobody'"),
        ({"atol": -1}, "atol is -1"),
    ],
)
def test_a_bad_tolerance_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        auditing.tolerance_test(**{"shape": "4,5", "framework": "numpy", **options})


# --- a check as a test ------------------------------------------------------------------------------------------


def conforms(loss):
    """A check of every dtype that counts, as a test."""
    import torch

    torch.set_num_threads(1)
    assert logitlab.check(loss, "torch", "float32", shrink=False, first=True, progress=False).passed


def conforms_on_few(loss):
    few = ["seed/article", "masks/first", "special/nan", "check/width_5"]
    assert logitlab.check(loss, "torch", "float32", cases=few, shrink=False, first=True, progress=False).passed


def test_a_check_notices_all_faults_that_its_cases_show(without_processes):
    losses = ["backward_by_hand", "nan_is_zero", "upstream_twice", "shifts_in_place", "masks_are_minus_1e9"]
    assert logitlab.audit(conforms_on_few, "torch", "float32", losses=losses).passed


@pytest.mark.full
def test_a_check_notices_all_faults_that_count():
    """Of one in each `EVERY` faults and one sound loss. `logitlab audit` of this file's `conforms` tries all."""
    losses = [fault.name for fault in corpus.defects() if fault.framework == "torch"][::EVERY]
    result = logitlab.audit(conforms, "torch", "float32", losses=losses, timeout=900.0)
    assert len(result.faults) > 20
    assert result.passed, str(result)


def test_the_modules_of_the_corpus_import_no_other_framework():
    for framework, parts in corpus.MODULES.items():
        others = set(corpus.MODULES) - {framework, "numpy"}
        for part in (*parts, "sound"):
            source = Path(importlib.util.find_spec(f"{corpus.__name__}.{framework}.{part}").origin).read_text()
            assert not any(f"import {other}" in source for other in others)
