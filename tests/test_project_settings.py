"""``[tool.logitlab]`` in a user's pyproject.toml: how it is read, and what `check`, `compare` and pytest do with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from losses_of_a_user import LOSSES

from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.core.project_settings import KEYS, ProjectSettings, read_settings

pytest_plugins = ["pytester"]

SETTINGS = """
[tool.logitlab]
losses = ["{module}:shifted"]
framework = "numpy"
dtypes = ["float32"]
cases = ["seed/*"]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that writes a project with these settings; the current folder lies two below it."""
    folder = tmp_path / "project"
    inner = folder / "src" / "inner"
    inner.mkdir(parents=True)
    # Each test has another module, since a process imports a module once.
    module = f"losses_{tmp_path.name}"
    (folder / f"{module}.py").write_text(LOSSES)
    monkeypatch.chdir(inner)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text: str = SETTINGS) -> Path:
        (folder / "pyproject.toml").write_text(text.replace("{module}", module))
        return folder

    write.module = module
    return write


def test_the_nearest_file_with_the_table_is_read(project, tmp_path):
    folder = project()
    (folder / "src" / "pyproject.toml").write_text("[project]\nname = 'nested'\n")
    found = read_settings()
    assert found.folder == folder
    assert (found.framework, found.dtypes, found.cases) == ("numpy", ("float32",), ("seed/*",))
    assert (found.require, found.baseline) == (None, None)
    assert read_settings(tmp_path) == ProjectSettings()
    (folder / "src" / "pyproject.toml").write_text("[tool.logitlab]\n")
    assert read_settings() == ProjectSettings(folder=folder / "src")


def test_paths_in_the_file_are_relative_to_its_folder(project):
    project('[tool.logitlab]\nlosses = ["src/one.py:loss", "package.one:loss"]\nbaseline = "kept/base.json"\n')
    found = read_settings()
    assert found.losses == ("../one.py:loss", "package.one:loss")
    assert found.baseline == Path("../../kept/base.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.logitlab]\ndtype = 'float32'", f"unknown key 'dtype'; the keys are {', '.join(KEYS)}"),
        ("[tool.logitlab]\ndtypes = ['float31']", "unknown dtype 'float31'; choose one of float16"),
        ("[tool.logitlab]\ndtypes = []", "dtypes is an empty list; give at least one item"),
        ("[tool.logitlab]\nrequire = 'F'", "require is 'F'; choose one of A, B, C, D"),
        ("[tool.logitlab]\nlosses = [3]", "an item of losses is 3; expected a string"),
        ("[tool.logitlab]\nframework = ['torch']", "framework is ['torch']; expected a string"),
        ("[tool.logitlab]\nbaseline = 1", "baseline is 1; expected a string"),
        ("[tool]\nlogitlab = 1", "tool.logitlab is not a table; start it with a line [tool.logitlab]"),
        ("[tool.logitlab", "cannot be read: "),
    ],
)
def test_a_wrong_file_gets_one_line_that_names_it(project, text, message, capsys):
    folder = project(text)
    with pytest.raises(UsageError) as caught:
        read_settings()
    assert str(caught.value).startswith(f"{folder / 'pyproject.toml'}: ")
    assert message in str(caught.value)
    assert main(["check"]) == 2
    assert capsys.readouterr().err == f"logitlab: {caught.value}\n"
    assert main(["check", "--help"]) == 0


def test_check_takes_the_loss_and_its_options_from_the_file(project, capsys):
    project()
    assert main(["check"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("shifted: passed, grade B required (numpy ")
    assert [line.split()[0] for line in shown[2:3]] == ["float32"]


def test_options_of_the_command_line_win(project, capsys):
    project()
    given = ["--dtype", "float16", "--case", "masks/first", "--require", "A"]
    assert main(["check", f"{project.module}:shifted", *given]) == 2  # a module is found in the current folder only
    assert "set PYTHONPATH" in capsys.readouterr().err
    sys.path.insert(0, "../..")
    assert main(["check", f"{project.module}:shifted", *given]) == 0
    shown = capsys.readouterr().out
    assert "grade A required" in shown
    assert "float16" in shown
    assert "float32" not in shown


def test_every_loss_is_checked_and_the_worst_exit_code_counts(project, tmp_path, capsys):
    project(SETTINGS.replace('shifted"', 'shifted", "{module}:absent", "{module}:naive"'))
    assert main(["check", "--out", str(tmp_path / "found")]) == 2
    shown = capsys.readouterr()
    titles = [line.split(",")[0] for line in shown.out.splitlines() if "grade B required" in line]
    assert titles == ["shifted: passed", "naive: FAILED"]
    assert f"logitlab: {project.module}:absent: {project.module} has no 'absent'" in shown.err
    reports = [path.parent.name for path in (tmp_path / "found").glob("*/report.txt")]
    assert len(reports) == 2
    assert all(name.startswith("losses") for name in reports)
    project(SETTINGS.replace('shifted"', 'shifted", "{module}:naive"'))
    assert main(["check"]) == 1


def test_documents_of_several_losses_are_not_printed_one_after_another(project, capsys):
    project(SETTINGS.replace('shifted"', 'shifted", "{module}:naive"'))
    assert main(["check", "--format", "text", "--format", "json", "--format", "badge"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        "logitlab: [tool.logitlab] names several losses, and a document of json or badge holds one; give --out DIR "
        "for a file each, or MODULE:LOSS for one\n"
    )


def test_bits_have_neither_a_grade_nor_cases(project, capsys):
    """--bitwise does not take require and cases, so those of the file do not count."""
    project(SETTINGS + 'require = "A"\n')
    assert main(["check", "--bitwise", "--quick"]) in (0, 1)
    assert capsys.readouterr().err.count("does not apply") == 0


def test_without_a_loss_anywhere_the_message_names_both_ways(project, capsys):
    project("[tool.logitlab]\nframework = 'numpy'\n")
    assert main(["check"]) == 2
    assert capsys.readouterr().err == (
        "logitlab: no value for losses; give MODULE:LOSS, or set losses in [tool.logitlab] of pyproject.toml\n"
    )


def test_compare_takes_the_baseline_from_the_file(project, small_run, capsys):
    folder = project()
    assert main(["compare", str(small_run.folder)]) == 2
    assert "set baseline in [tool.logitlab] of pyproject.toml" in capsys.readouterr().err
    assert main(["baseline", str(small_run.folder), str(folder / "base.json")]) == 0
    project(SETTINGS + 'baseline = "base.json"\n')
    capsys.readouterr()
    assert main(["compare", str(small_run.folder)]) == 0
    assert "base.json" in capsys.readouterr().out


def test_pytest_takes_cases_dtypes_and_framework_from_the_file(pytester):
    pytester.makepyprojecttoml(
        '[tool.logitlab]\nframework = "numpy"\ndtypes = ["float32"]\ncases = ["seed/article", "masks/first"]\n'
    )
    pytester.makepyfile(losses=LOSSES)
    pytester.makepyfile(
        """
        import pytest
        from losses import naive, shifted

        def test_case(logit_case):
            logit_case.assert_loss(shifted(logit_case.logits, logit_case.targets))

        def test_sound(assert_conforms):
            assert_conforms(shifted)

        def test_narrower(assert_conforms):
            assert_conforms(shifted, "numpy", dtypes="float16", require="A")

        def test_naive(assert_conforms):
            assert_conforms(naive, shrink=False)
        """
    )
    quick = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly"]
    result = pytester.runpytest_inprocess(*quick, "-v")
    result.assert_outcomes(passed=4, failed=1)
    for name in ("seed/article-float32", "masks/first-float32"):
        result.stdout.fnmatch_lines([f"*::test_case?{name}? PASSED*"])
    result.stdout.fnmatch_lines([">*assert_conforms(naive*", "E*naive: FAILED, grade B required (numpy *"])
    result = pytester.runpytest_inprocess(*quick, "-v", "--logit-cases", "gap/5_low", "-k", "test_case")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*::test_case?gap/5_low-float32? PASSED*"])


def test_without_a_framework_the_message_names_both_ways(project, capsys):
    project("[tool.logitlab]\nlosses = ['a:b']\n")
    assert main(["check"]) == 2
    assert capsys.readouterr().err == (
        "logitlab: no value for framework; give --framework, or set framework in [tool.logitlab] of pyproject.toml\n"
    )
