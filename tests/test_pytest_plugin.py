"""The pytest plugin in a user's project, and the assertions behind it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere
from losses_of_a_user import LOSSES

import logitlab
from logitlab.core.errors import UsageError
from logitlab.studies.testing import logit_cases

pytest_plugins = ["pytester"]


@pytest.fixture
def project(pytester):
    """Write a user's project whose folders have the same names as LogitLab's."""
    for name in ("cases", "reports", "frameworks", "oracle", "grading"):
        pytester.mkpydir(name).joinpath("__init__.py").write_text(f"MINE = {name!r}\n")
    pytester.makepyfile(losses=LOSSES, plan="MINE = 'plan'", store="MINE = 'store'")
    pytester.makepyfile(conftest="import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).parent))")
    return pytester


def outcome(project, *arguments, **expected):
    result = project.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)
    result.assert_outcomes(**expected)
    return result


def test_a_loss_is_held_to_a_grade_in_three_lines(project):
    project.makepyfile(
        """
        from logitlab import assert_conforms
        from losses import shifted

        def test_my_loss():
            assert_conforms(shifted, framework="numpy", dtypes=["float32"], require="B", cases="masks/*")
        """
    )
    outcome(project, passed=1)


def test_a_failure_reads_as_the_checks_own_report_at_the_callers_line(project):
    project.makepyfile(
        """
        from losses import naive

        def test_my_loss(assert_conforms):
            assert_conforms(naive, framework="numpy", dtypes="float32", cases=["seed/*", "overflow/*"])
        """
    )
    result = outcome(project, failed=1)
    result.stdout.fnmatch_lines([
        ">*assert_conforms(naive, framework=*",
        "E*AssertionError: naive: FAILED, grade B required (numpy *, cpu, eager)",
        "E*dtype*loss*gradient*rows*failed",
        "E*float32*F*",
        "E*finite where the answer is*of*",
        "E*A program that reproduces the failure with the smallest input found:",
        "E*import numpy*",
    ])  # fmt: skip
    assert "testing.py" not in result.stdout.str(), "LogitLab's own frames say nothing to the reader"


def test_the_fixture_gives_the_cases_one_by_one(project):
    project.makepyfile(
        """
        import pytest
        from losses import naive, shifted

        @pytest.mark.logit_cases("seed/article", "masks/first", dtypes=["float16", "float32"])
        def test_sound(logit_case):
            logit_case.assert_loss(shifted(logit_case.logits, logit_case.targets))

        @pytest.mark.logit_cases("seed/article")
        def test_naive(logit_case):
            logit_case.assert_loss(naive(logit_case.logits, logit_case.targets), require="D")
        """
    )
    result = outcome(project, "-v", passed=4, failed=1)
    names = ["seed/article-float16", "seed/article-float32", "masks/first-float16", "masks/first-float32"]
    for name in names:
        result.stdout.fnmatch_lines([f"*::test_sound?{name}? PASSED*"])
    result.stdout.fnmatch_lines([
        "E*AssertionError: seed/article in float32: loss below grade D in 1 of 3 rows",
        "E*row 1, target 2: grade F, overflow, inf ulp",
        "E*given inf, exact 2000",
    ])  # fmt: skip
    assert "testing.py" not in result.stdout.str()


def test_a_project_chooses_by_its_configuration_and_the_command_line_goes_first(project):
    project.makepyfile("def test_it(logit_case):\n    assert logit_case.logits.dtype.name == logit_case.dtype\n")
    project.makeini("[pytest]\nlogit_cases = masks/first ties/3\nlogit_dtypes = bfloat16\n")
    result = outcome(project, "-v", passed=2)
    result.stdout.fnmatch_lines(["*test_it?masks/first-bfloat16?*", "*test_it?ties/3-bfloat16?*"])
    result = outcome(project, "-v", "--logit-cases", "gap/5_low", "--logit-dtypes", "float64", passed=1)
    result.stdout.fnmatch_lines(["*test_it?gap/5_low-float64?*"])


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("'maskz/*'", "no case matches 'maskz/[*]'"),
        ("dtypes=['float8']", "*float8*"),
        (
            "'offset/1e30', dtypes='float16'",
            "no case of offset/1e30 fits float16: a finite logit would become infinite",
        ),
        ("'smoothing/*'", "no case of smoothing/[*] holds logits and class indices alone; choose other"),
        ("cases='masks/*'", "the marker logit_cases has unknown arguments cases; give globs"),
    ],
)
def test_a_wrong_value_is_reported_in_one_line_and_the_other_tests_run(project, marker, message):
    project.makepyfile(
        test_wrong=f"""
        import pytest

        @pytest.mark.logit_cases({marker})
        def test_it(logit_case):
            pass
        """,
        test_right="def test_other(): pass",
    )
    result = project.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", "--continue-on-collection-errors")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines([f"*test_wrong.py::test_it: *{message}*"])
    assert "Traceback" not in result.stdout.str()


@pytest.mark.full
def test_workers_collect_the_same(project):
    project.makepyfile(
        "def test_it(logit_case):\n    assert logit_case.exact.loss.hi.shape == logit_case.targets.shape\n"
    )
    result = project.runpytest_subprocess("-p", "no:cacheprovider", "-n", "2", "--logit-cases", "seed/*")
    assert result.ret == 0, result.stdout.str()
    assert "Different tests were collected" not in result.stdout.str()


def test_options_marker_and_fixtures_are_described(project):
    shown = project.runpytest_inprocess("--markers").stdout.str()
    assert "@pytest.mark.logit_cases(*globs, dtypes=...)" in shown
    shown = project.runpytest_inprocess("--help").stdout.str()
    assert "--logit-cases=GLOB" in shown
    shown = project.runpytest_inprocess("--fixtures").stdout.str()
    assert "A case of LogitLab's catalogue in a dtype" in shown


def test_pytest_starts_without_importing_frameworks_that_no_test_uses(project):
    project.makepyfile(
        """
        import sys

        def test_nothing_is_imported():
            heavy = {"numpy", "pandas", "flint", "ml_dtypes", "logitlab.studies.testing", "logitlab.cases"}
            assert not heavy & set(sys.modules)

        def test_these_folders_are_my_own():
            import cases, frameworks, plan, reports, store
            assert [m.MINE for m in (cases, frameworks, plan, reports, store)] == [
                "cases", "frameworks", "plan", "reports", "store"
            ]
        """
    )
    result = project.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(passed=2)


# --- the assertions themselves ----------------------------------------------------------------------------------


def one(name, dtype="float32"):
    (case,) = logit_cases(name, dtype)
    return case


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_frameworks_own_arrays_go_in_and_out(dtype):
    case = one("seed/article", dtype)
    x, t = case.arrays("torch")
    assert str(x.dtype) == f"torch.{dtype}"
    x.requires_grad_()
    rows = F.cross_entropy(x, t, reduction="none")
    rows.sum().backward()
    case.assert_loss(rows, require="C")
    case.assert_gradient(x.grad, require="C")
    case.assert_probabilities(torch.softmax(x, 1), require="C")


def test_the_exact_answer_is_that_of_the_rounded_logits():
    case = one("seed/article", "bfloat16")
    known = logitlab.reference(case.logits, case.targets)
    np.testing.assert_array_equal(case.exact.loss.hi, known.loss.hi)
    case.logits[:] = 0  # a copy: the case stays as it is
    assert case.logits[1, 0] == 1000


def test_the_worst_entry_of_a_gradient_is_shown():
    case = one("seed/article")
    wrong = case.exact.gradient.hi.astype(np.float32)
    wrong[0, 1] += 0.0625
    with pytest.raises(AssertionError, match="gradient below grade B in 1 of 3 rows") as caught:
        case.assert_gradient(wrong)
    assert "row 0, target 0: grade D, inaccurate" in str(caught.value)
    assert f"given {wrong[0, 1]:.9g} at class 1, exact" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.zeros((3, 1), np.float32), "shape (3, 1), expected (3,)"), (np.zeros(3, np.int64), "dtype int64, expected")],
)
def test_anything_but_a_row_of_losses_is_reported(values, message):
    with pytest.raises(AssertionError) as caught:
        one("seed/article").assert_loss(values)
    assert message in str(caught.value)


def test_an_unknown_grade_is_refused():
    with pytest.raises(UsageError, match="cannot require grade 'E'"):
        one("seed/article").assert_loss(np.zeros(3, np.float32), require="E")


def test_a_nan_row_wants_nan():
    case = one("special/nan")
    exact = case.exact.loss.hi.astype(np.float32)
    case.assert_loss(exact)
    with pytest.raises(AssertionError, match="swallowed"):
        case.assert_loss(np.nan_to_num(exact))


def test_assert_conforms_takes_the_arguments_of_check():
    logitlab.assert_conforms(
        torch.nn.CrossEntropyLoss(reduction="none"), "torch", "float32", cases="seed/*", first=True
    )
    with pytest.raises(AssertionError, match="grade A required"):
        logitlab.assert_conforms(
            torch.nn.CrossEntropyLoss(reduction="none"), "torch", "float32", "A", cases="gap/*", shrink=False
        )
