"""`check --last-failed`: only the dtypes and widths, or cases, in which the last check had a failure."""

from __future__ import annotations

import json
import sys
from functools import partial

import numpy as np
import pytest
from small_check import losses

import logitlab
from logitlab.cli import main
from logitlab.core.cache_limit import cache_entries
from logitlab.execution.bitwise import QUICK_WIDTHS
from logitlab.studies import check as checking
from logitlab.studies.check import keep_failed, last_failed
from logitlab.studies.check.batches._limits import Failed, Limits

# The loss is wrong for rows of as many classes as the file beside it says.
SOURCE = """
import pathlib
import numpy as np

def loss(x, t):
    top = x.max(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        rows = np.log(np.exp(x - top).sum(axis=1)) - (x[np.arange(len(x)), t] - top[:, 0])
    bad = pathlib.Path(__file__).with_name("bad.txt").read_text().split()
    return rows + 1 if f"{x.shape[1]}{x.dtype}" in bad else rows
"""
WIDTH = QUICK_WIDTHS[1]
COMMAND = ["check", "again_losses:loss", "--framework", "numpy", "--case", "check/width_[579]", "--format", "json"]
DTYPES = ["--dtype", "float32", "--dtype", "float64"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "again_losses.py").write_text(SOURCE)
    monkeypatch.delitem(sys.modules, "again_losses", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOGITLAB_CACHE", str(tmp_path / "cache"))
    # The search for the smallest input takes most of the time.
    monkeypatch.setattr(checking, "check", partial(logitlab.check, shrink=False))

    def bad(words):
        (tmp_path / "bad.txt").write_text(words)

    bad("")
    return bad


@pytest.fixture
def check(project, capsys):
    """Return a function that runs the command with the options, and returns its exit code, grades, limits and words."""

    def run(*options, dtypes=DTYPES):
        code = main([*COMMAND, *dtypes, *options])
        captured = capsys.readouterr()
        content = json.loads(captured.out)
        rows = {each["dtype"]: each["rows"] for each in content["requirements"] if each["rule"] == "check/loss-grade"}
        return code, rows, content["limits"], captured.err

    return run


def test_only_the_dtypes_and_widths_that_failed_are_measured_again(project, check):
    project("5float32 7float32")
    code, everything, limits, _ = check()
    assert (code, set(everything), limits) == (1, {"float32", "float64"}, "")
    code, again, limits, words = check("--last-failed")
    assert (code, set(again)) == (1, {"float32"})
    assert 0 < again["float32"] < everything["float32"]
    assert limits == "what failed in the last check (2 widths in float32)"
    assert "no failure" not in words


def test_what_is_repaired_is_forgotten(project, check):
    project("5float32 7float32")
    assert check()[0] == 1
    project("7float32")
    assert check("--last-failed")[0] == 1
    assert check("--last-failed")[2] == "what failed in the last check (1 width in float32)"
    project("")
    assert check("--last-failed")[0] == 0
    code, rows, limits, words = check("--last-failed")
    assert (code, set(rows), limits) == (0, {"float32", "float64"}, "")
    assert "logitlab: no failure of again_losses:loss is stored; everything is checked" in words


def test_another_form_of_the_call_is_another_check(project, check):
    project("5float32")
    assert check()[0] == 1
    assert "no failure" in check("--last-failed", "--may-overwrite")[3]
    assert "no failure" not in check("--last-failed", "--require", "D")[3]
    assert set(check("--last-failed", dtypes=["--dtype", "float64"])[1]) == {"float64"}


@pytest.mark.full
def test_a_failure_that_was_not_measured_again_is_kept(project, check):
    project("5float32 7float64")
    assert check()[0] == 1
    project("7float64")
    assert check("--last-failed", dtypes=DTYPES[:2])[0] == 0
    assert check("--last-failed")[2] == "what failed in the last check (2 widths in float64)"
    project("5float64 7float64")
    check()
    assert check("--last-failed", "--first")[0] == 1
    assert check("--last-failed")[2] == "what failed in the last check (2 widths in float64)"


def test_a_damaged_record_counts_as_none(project):
    result = logitlab.check(naive, "numpy", "float64", cases="check/width_5", shrink=False, progress=False)
    call = {"loss": "naive", "set": ["a=1"]}
    for content in ("", "[]", '{"schema": 2}', '{"schema": 1, "dtypes": 5, "widths": ["x"], "cases": []}', "\0"):
        keep_failed(call, result)
        assert last_failed(call) == Failed(("float64",), (5,))
        assert last_failed(call | {"set": ["a=2"]}) == Failed()
        (entry,) = cache_entries("checks")
        entry.path.write_text(content)
        assert last_failed(call) == Failed()


def test_without_a_cache_everything_is_checked(project, check, monkeypatch):
    project("5float32")
    monkeypatch.setenv("LOGITLAB_CACHE", "")
    for _ in range(2):
        code, rows, _, words = check("--last-failed", "--quick")
        assert (code, set(rows)) == (1, {"float32", "float64"})
        assert "no failure" in words


def test_a_cache_that_cannot_be_written_is_no_error(project, tmp_path):
    (tmp_path / "cache").write_text("a file")
    result = logitlab.check(naive, "numpy", "float64", cases="check/width_5", shrink=False, progress=False)
    assert not result.passed
    keep_failed({"loss": "naive"}, result)
    assert last_failed({"loss": "naive"}) == Failed()


def naive(x, t):
    return losses()["naive"](x, t)


def test_the_batches_of_a_width_stay_as_they_were():
    """A loss that is wrong only beside other rows fails again."""

    def mixes(x, t):
        rows = losses()["sound"](x, t)
        return rows + (np.isnan(x).any() if x.shape[1] == 5 else 0) * np.float64(1)

    cases = ["check/width_[59]"]
    first = logitlab.check(mixes, "numpy", "float64", cases=cases, shrink=False, progress=False)
    again = logitlab.check(mixes, "numpy", "float64", cases=cases, shrink=False, progress=False, retry=first)
    assert Failed.of(first.failures).widths == (5,)
    of_width = first.lines[first.lines["classes"] == 5]
    assert len(again.lines) == len(of_width)
    assert len(again.failures) == len(first.failures) > 0
    passed = logitlab.check(losses()["sound"], "numpy", "float64", cases=cases, shrink=False, progress=False)
    everything = logitlab.check(mixes, "numpy", "float64", cases=cases, shrink=False, progress=False, retry=passed)
    assert len(everything.lines) == len(first.lines)


def test_a_loss_of_hidden_states_is_measured_on_the_cases_that_failed():
    def linear(hidden, weight, targets):
        return losses()["naive" if hidden.shape[1] == 1 else "sound"](hidden @ weight.T, targets)

    options = {"problem": "linear", "cases": ["linear_sizes/h1_c2_s10", "linear_sizes/h16_c10"], "shrink": False}
    first = logitlab.check(linear, "numpy", "float16", progress=False, **options)
    assert set(first.failures["case"]) == {"linear_sizes/h1_c2_s10"}
    again = logitlab.check(linear, "numpy", "float16", progress=False, retry=first, **options)
    assert set(again.lines["case"]) == {"linear_sizes/h1_c2_s10"}
    assert "Limited to what failed in the last check (1 case in float16)" in str(again)


def test_bits_are_compared_in_the_widths_that_differed():
    def alone(x, t):
        return losses()["sound"](x, t) * (1 + np.float64(2.0**-50) * (len(x) > 1 and x.shape[1] == WIDTH))

    options = {"bitwise": True, "quick": True, "max_classes": 2000, "shrink": False, "progress": False}
    first = logitlab.check(alone, "numpy", "float64", **options)
    assert set(first.failures["classes"]) == {WIDTH} < set(first.lines["classes"])
    again = logitlab.check(alone, "numpy", "float64", retry=first, **options)
    assert set(again.lines["classes"]) == {WIDTH}


def test_limits_without_failures_leave_everything_in():
    assert Limits().dtypes(["float16", "float32"]) == ("float16", "float32")
    assert Limits(failed=Failed(("bfloat16",), (3,))).dtypes(["float16"]) == ("float16",)
    assert Limits(max_classes=9).widths([3, 9, 10]) == [3, 9]
    assert Limits(max_classes=9, failed=Failed(("float16",), (9, 10))).widths([3, 9, 10]) == [9]
    assert not Failed()
