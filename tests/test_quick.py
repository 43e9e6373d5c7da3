"""The quick run: its cases, its answer on a terminal, and its agreement with the whole catalogue."""

import io
from contextlib import redirect_stdout
from dataclasses import replace

import kept_grades
import pandas as pd
import pytest
from in_process import calls_in_this_process
from rich.console import Console

import logitlab
from logitlab import reports
from logitlab.cases import LinearCase, all_cases, get_case, quick_cases
from logitlab.cases._catalogue import QUICK
from logitlab.cases.catalogue import gap
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.vocabulary import Problem
from logitlab.execution.request import Request
from logitlab.reports._answer import MEANINGS, answer, outcome
from logitlab.reports.tables.safety import Result
from logitlab.storage.store import Run

FEW = ["numpy", "torch", "onnxruntime"]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Return a quick run of three frameworks from the command line, and its output without a terminal."""
    folder = tmp_path_factory.mktemp("quick") / "run"
    frameworks = [word for name in FEW for word in ("--framework", name)]
    with calls_in_this_process(), pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setenv("COLUMNS", "80")
        assert main(["run", "--quick", *frameworks, "--out", str(folder)]) == 0
    return Run(folder), printed.getvalue()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Return the folder of a run of one loss that is accurate on all its cases."""
    folder = tmp_path_factory.mktemp("sound") / "run"
    with calls_in_this_process():
        logitlab.run(implementations="numpy/log1p", cases="seed/article", dtypes="float32", out=folder)
    return folder


@pytest.fixture(scope="module")
def table(quick):
    """Return the measurements of the quick run."""
    return quick[0].read()


@pytest.fixture(scope="module")
def safest(table):
    """Return the worst grade of each loss of the quick run."""
    return logitlab.safety(table)


def printed(run: Run, width: int = 80, **options) -> str:
    console = Console(width=width, file=io.StringIO(), **options)
    reports.show_answer(run, console)
    return console.file.getvalue()


# --- the cases ---------------------------------------------------------------------------------------------------


def test_each_family_has_one_case_in_a_quick_run():
    families = [case.family for case in quick_cases()]
    assert sorted(families) == sorted({case.family for case in all_cases()})
    assert "seed/article" in [case.id for case in quick_cases()]


def test_the_cases_of_a_quick_run_have_few_shapes():
    """JAX compiles each operation for each shape, and rows of one width share a call."""
    of_logits = [case for case in quick_cases() if case.problem is Problem.LOGITS]
    assert {case.classes for case in of_logits} == {2, 3, 5, 10, 257, 50257}
    assert max(case.rows for case in of_logits if not case.plain) <= 4
    assert sum(case.logits.size for case in of_logits) < 60_000
    linear = [case for case in quick_cases() if isinstance(case, LinearCase)]
    assert len(linear) == 5
    assert sum(case.linear_weight.size for case in linear) < 30_000


def test_the_cases_of_a_quick_run_fit_float32():
    assert all("float32" in case.dtypes for case in quick_cases())


def test_the_cases_of_a_quick_run_can_be_listed_by_their_tag():
    assert set(logitlab.catalogue(tags=QUICK)["case"]) == {case.id for case in quick_cases()}


def test_a_family_that_names_none_of_its_cases_is_refused(monkeypatch):
    monkeypatch.setattr(gap, "QUICK", "20_higher")
    with pytest.raises(ValueError, match="QUICK names no case of its family: gap/20_higher"):
        all_cases.__wrapped__()


def test_a_family_without_a_quick_case_is_left_out(monkeypatch):
    monkeypatch.delattr(gap, "QUICK")
    tagged = [case.family for case in all_cases.__wrapped__() if QUICK in case.tags]
    assert sorted(tagged) == sorted({case.family for case in all_cases()} - {"gap"})


# --- the plan ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", ["--case=seed/*", "--logits=x.npz", "--sweep=gap=1:2:2", "--case-file=x.json", "--dtype=float64",
              "--mode=compiled", "--variant=all"],
)  # fmt: skip
def test_options_that_a_quick_run_sets_are_refused(given, tmp_path, capsys):
    assert main(["run", "--quick", given, "--framework", "numpy", "--out", str(tmp_path / "run")]) == 2
    option = given.partition("=")[0]
    message = f"logitlab: --quick sets cases, dtype and mode, and {option} is given too; leave out one of them\n"
    assert capsys.readouterr().err == message
    assert not (tmp_path / "run").exists()


def test_python_refuses_these_options_too():
    with pytest.raises(UsageError, match="--case, --dtype is given too; leave out one of them"):
        logitlab.run(quick=True, cases="seed/*", dtypes="float64")


def test_the_manifest_has_the_call_that_makes_a_quick_run_again():
    assert Request(quick=True).as_python().words == "logitlab.run(quick=True)"
    assert Request(quick=True, frameworks=["numpy"]).as_python().words == (
        "logitlab.run(frameworks=['numpy'], quick=True)"
    )


def test_a_quick_run_is_a_run_of_these_cases_in_float32_and_eager(quick):
    run, _ = quick
    assert set(run.manifest.catalogue["cases"]) == {case.id for case in quick_cases()}
    assert {(cell.dtype, cell.mode) for cell in run.manifest.cells} == {("float32", "eager")}
    assert run.manifest.complete
    assert run.manifest.command.startswith("logitlab run --quick --framework numpy")


@pytest.mark.usefixtures("in_this_process")
def test_python_returns_the_measurements(table):
    df = logitlab.run(quick=True, implementations="numpy/lse")
    there = table[table["implementation"] == "numpy/lse"]
    assert df["value"].tolist() == pytest.approx(there["value"].tolist(), nan_ok=True, rel=0)
    assert logitlab.safety(df)[["implementation", "grade", "case"]].to_numpy().tolist() == [
        ["numpy/lse", "C", "offset/1e06"]
    ]


# --- the whole catalogue -----------------------------------------------------------------------------------------


def assert_as_kept(safest: pd.DataFrame, frameworks) -> None:
    measured = safest.set_index("implementation")["grade"].to_dict()
    kept = {d.implementation: d.grade for d in kept_grades.read().decisions}
    kept = {name: grade for name, grade in kept.items() if name.partition("/")[0] in frameworks}
    assert measured == kept, "a quick run grades as README does; choose another QUICK case in cases/catalogue/"


@pytest.mark.pinned
def test_a_quick_run_gives_each_loss_the_grade_of_the_whole_catalogue(safest):
    assert_as_kept(safest, FEW)


@pytest.mark.full
@pytest.mark.pinned
def test_a_quick_run_gives_each_loss_that_grade_in_every_framework():
    frameworks = {d.implementation.partition("/")[0] for d in kept_grades.read().decisions}
    assert_as_kept(logitlab.safety(logitlab.run(quick=True, frameworks=sorted(frameworks))), frameworks)


# --- the answer --------------------------------------------------------------------------------------------------


def test_the_answer_names_every_loss_under_its_grade(quick, safest):
    _, text = quick
    sections = {}
    for line in text.splitlines():
        for grade, (word, _) in MEANINGS.items():
            if line.startswith(f"{grade}  {word}:"):
                section = sections[grade] = []
        if sections and line.startswith("      "):
            section += [word.rstrip(",") for word in line.split()]
    for name, grade in safest[["implementation", "grade"]].itertuples(index=False):
        framework, _, loss = name.partition("/")
        assert framework in sections[grade]
        assert loss in sections[grade]
    assert list(sections) == sorted(sections)


def test_the_answer_says_what_breaks_the_naive_loss_and_why(quick):
    _, text = quick
    words = " ".join(text.split())
    assert f"seed/article: the loss is inf where 2000 is exact. {get_case('seed/article').why}" in words
    assert "offset/1e06: the loss is 2.438 where 2.452 is exact." in words
    assert "soft/zero_on_mask (class probabilities): the loss is NaN where 0.8133 is exact." in words


def test_the_answer_fits_a_pipe_of_80_columns(quick):
    _, text = quick
    commands = [line for line in text.splitlines() if line.startswith("  logitlab ")]
    assert len(commands) == 2
    assert all(len(line) <= 80 for line in text.splitlines() if line not in commands)
    assert all(line == line.rstrip() for line in text.splitlines())
    assert text.isprintable() is False  # it has lines
    assert all(line.isprintable() for line in text.splitlines()), "a pipe has no colours"


def test_a_terminal_gets_colours(sound):
    assert "\x1b[" in printed(Run(sound), force_terminal=True, color_system="truecolor", no_color=False)


def test_a_narrow_terminal_folds_names_and_loses_none(quick):
    run, _ = quick
    text = "".join(printed(run, 40).split())
    assert "F.linear_cross_entropy[chunked,accurate]" in text
    assert "scipy.special.log_softmax" in text


@pytest.mark.full
@pytest.mark.usefixtures("in_this_process")
def test_the_commands_that_the_answer_proposes_work(quick, capsys):
    _, text = quick
    explain, report = (line.split()[1:] for line in text.splitlines() if line.startswith("  logitlab "))
    assert explain == ["explain", "seed/article", "--implementation", "torch/naive", "--dtype", "float32"]
    assert main(explain) == 0
    assert main(report) == 0
    assert "first failure: exp" in capsys.readouterr().out


def test_the_answer_warns_that_it_is_a_quick_look(quick):
    _, text = quick
    words = " ".join(text.split())
    assert "A quick look at 38 cases, one of each family: the whole catalogue may find worse." in words
    assert "NaN from an ignored row reaches its own gradient in 9 of these losses." in words


def test_the_answer_names_the_frameworks_that_are_not_measured(sound):
    run = Run(sound)
    lacking = {"jax": "cannot be imported", "paddle": "cannot be imported", "torch/liger": "liger is not installed"}
    run.manifest = replace(run.manifest, missing=lacking)
    words = " ".join(printed(run).split())
    assert "Not measured: jax, paddle, 1 loss whose package is missing; `logitlab doctor` says why" in words


def test_a_run_of_sound_losses_has_nothing_to_explain(sound):
    text = printed(Run(sound))
    assert "A  safe" in text
    assert "explain" not in text


def test_two_dtypes_are_answered_one_after_the_other(small_run):
    lines = str(answer(small_run, 200)).splitlines()
    scopes = [line.partition(". ")[0].partition(" cases in ")[2] for line in lines]
    assert list(filter(None, scopes)) == ["float32, eager, cpu", "float64, eager, cpu"]


@pytest.mark.parametrize(
    ("quantity", "verdict", "row", "value", "exact", "words"),
    [
        ("loss", "overflow", 1, float("inf"), 2000.0, "the loss is inf where 2000 is exact"),
        ("loss", "underflow", 0, -0.0, 2.0611536e-09, "the loss is 0 where 2.061e-09 is exact"),
        ("loss", "inaccurate", 0, 1.00001, 1.00002, "the loss is 1.00001 where 1.00002 is exact"),
        ("loss", "swallowed", -1, 9.25, float("inf"), "the reduced loss is 9.25 where inf is exact"),
        ("loss", "nan", 0, float("nan"), 0.5, "the loss is NaN where 0.5 is exact"),
        ("gradient", "inaccurate", 0, float("nan"), float("nan"), "an entry of the gradient is off by 8,763 ulp"),
        ("probabilities", "nan", 0, float("nan"), float("nan"), "an entry of the probabilities is NaN"),
    ],
)
def test_a_result_is_described_in_words(quantity, verdict, row, value, exact, words):
    assert outcome(Result("seed/article", row, quantity, verdict, value, exact, max_ulp=8763.2)) == words


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("runs/mine", "the measurements are 'runs/mine'; expected the DataFrame of a run"),
        (pd.DataFrame({"grade": ["A"]}), "the table has no column framework, implementation, .*; give the whole table"),
    ],
)
def test_anything_but_a_table_of_measurements_is_refused(given, message):
    with pytest.raises(UsageError, match=message):
        logitlab.safety(given)


@pytest.mark.usefixtures("in_this_process")
def test_measurements_without_a_grade_have_no_safety():
    df = logitlab.run(implementations="numpy/lse", cases="invalid/minus_one", dtypes="float32")
    assert logitlab.safety(df).empty
