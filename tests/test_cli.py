"""The command line: its output, and one line for bad input."""

import subprocess
import sys

import pandas as pd
import pytest

from logitlab.cli import main
from logitlab.execution import registry
from logitlab.execution.registry import Description, ImplementationInfo
from logitlab.studies.browse import listing

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--case", "nope/*"], "no case matches 'nope/*'"),
        (["run", "--framework", "mxnet"], "unknown framework 'mxnet'; choose one of"),
        (["run", "--dtype", "float8"], "unknown dtype 'float8'; choose one of float16, bfloat16, float32, float64"),
        (["run", "--framework", "numpy", "--implementation", "numpy/x"], "no implementation matches 'numpy/x'"),
        (["run", "--framework", "numpy", "--device", "abacus"], "has the device 'abacus'; choose one of auto, cpu"),
        (["run", "--framework", "numpy", "--mode", "fast"], "has the mode 'fast'; choose one of eager"),
        (["run", "--resume"], "--resume is given without --out"),
        (["run", "--resume", "--framework", "numpy", "--out", "nowhere"], "nowhere is not a run"),
        (["report", "."], "is not a run: it has no manifest.json"),
        (["report", ".", "--format", "papyrus"], "unknown format 'papyrus'; give --format one of text, markdown, csv"),
        (["cases", "nope"], "no case matches 'nope'"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_option_has_exit_code_2(capsys):
    assert main(["run", "--swift"]) == 2
    assert "--swift" in capsys.readouterr().err


def test_a_run_prints_its_folder_and_a_report_reads_it(tmp_path, capsys):
    folder = str(tmp_path / "run")
    asked = ["--case", "seed/article", "--implementation", "numpy/naive", "--dtype", "float32"]
    assert main(["run", *asked, "--out", folder]) == 0
    read = f"for a summary, run `logitlab report {folder}`"
    tables = f"For all tables, run `logitlab report {folder} --all`."
    assert capsys.readouterr().out == f"wrote 9 measurements to {folder}; {read}\n{tables}\n"
    assert main(["report", folder]) == 0
    assert "numpy/naive" in capsys.readouterr().out
    assert main(["report", folder, "--format", "csv", "--out", str(tmp_path / "csv")]) == 0
    assert str(tmp_path / "csv" / "grades.csv") in capsys.readouterr().out


def test_a_run_without_out_is_kept_under_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--case", "seed/article", "--implementation", "numpy/lse", "--dtype", "float32"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"runs/{folder.name}" in capsys.readouterr().out


def test_cases_lists_every_case(capsys):
    assert main(["cases"]) == 0
    whole = listing.catalogue()
    assert f"{len(whole)} cases in {whole['family'].nunique()} families" in capsys.readouterr().out


@pytest.mark.full  # test_installing.py has it list some
def test_frameworks_lists_every_implementation(capsys):
    assert main(["frameworks"]) == 0
    shown = capsys.readouterr().out
    for name in ("numpy/log1p", "torch/naive", "jax/lse", "tensorflow/lse", "eager, compiled"):
        assert name in shown
    assert "torch/F.cross_entropy[probabilities]" in shown


@pytest.mark.parametrize("frameworks", ["numpy", pytest.param(None, marks=pytest.mark.full)], ids=["numpy", "all"])
def test_doctor_finds_the_set_up_sound(frameworks, monkeypatch, capsys):
    describe = listing.describe_frameworks
    monkeypatch.setattr(listing, "describe_frameworks", lambda: describe(frameworks))
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "667.2748786602407" in shown
    assert "broken" not in shown


def test_doctor_shows_how_to_install_missing_packages(monkeypatch, capsys):
    described = {"numpy": registry.describe("numpy")}
    gone = {"torch": Description("torch", missing="cannot be imported: ModuleNotFoundError: No module named 'torch'")}
    monkeypatch.setattr(listing, "describe_frameworks", lambda: described | gone)
    assert main(["doctor"]) == 0
    assert "missing  torch: cannot be imported" in capsys.readouterr().out


def test_the_catalogue_is_a_table():
    table = listing.catalogue()
    assert list(table.columns[:7]) == ["case", "family", "why", "source", "tags", "rows", "classes"]
    assert table["case"].is_unique
    article = table.set_index("case").loc["seed/article"]
    assert (article["rows"], article["classes"], article["dtypes"]) == (3, 3, "float16, bfloat16, float32, float64")


def test_the_implementations_are_a_table():
    table = listing.tabulated({name: registry.describe(name) for name in ("numpy", "torch")})
    wanted = ["framework", "implementation", "formula", "dtypes", "devices", "modes", "version", "available"]
    assert list(table.columns[: len(wanted)]) == wanted
    absent = {"cut_cross_entropy is not installed", "torchtune is not installed"}
    assert set(table[~table["available"]]["missing"]) == absent
    fused = table[table["implementation"].str.match(r"torch/(liger_kernel|fla)\.")]
    assert set(zip(fused["devices"], fused["modes"], strict=True)) == {("cpu, cuda", "eager, interpreted")}
    assert {"torch/F.cross_entropy", "numpy/scipy.special.log_softmax"} <= set(table["implementation"])


def test_a_missing_framework_has_a_line_without_an_implementation():
    gone = {"torch": Description("torch", missing="cannot be imported")}
    (line,) = listing.tabulated(gone).to_dict("records")
    assert (line["framework"], line["available"], line["missing"]) == ("torch", False, "cannot be imported")
    assert pd.isna(line["implementation"])


def test_an_implementation_whose_package_is_missing_is_listed_as_such():
    info = Description("jax", ("cpu",), (ImplementationInfo("jax/optax.x", "builtin", "optax", None, ("eager",)),))
    (line,) = listing.tabulated({"jax": info}).to_dict("records")
    assert (line["implementation"], line["available"], line["missing"]) == (
        "jax/optax.x",
        False,
        "optax is not installed",
    )


def test_help_imports_nothing_heavy():
    code = "import sys; from logitlab.cli import main; main(['--help']); print(*sys.modules)"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = asked.stdout.splitlines()[-1].split()
    assert {"pandas", "numpy", "pyarrow", "duckdb", "flint"} & set(loaded) == set()
