"""The example package of examples/: installed as a user would install it, and then measured like any framework."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from logitlab.cli import main
from logitlab.execution import registry
from logitlab.storage.store import Run

EXAMPLE = Path(__file__).parent.parent / "examples" / "logitlab-example"


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """Install the example as a user would, in a folder where this process and its workers find it."""
    folder = tmp_path_factory.mktemp("example")
    # Building writes into the sources.
    sources = shutil.copytree(EXAMPLE, folder / "sources")
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "site"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", *install, sources]
    done = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "site"))
        yield folder / "site"
    sys.modules.pop("logitlab_example", None)


@pytest.fixture
def done(capsys, tmp_path, monkeypatch):
    """Return a function that runs a command in an empty folder and returns its output."""
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0):
        ended = main([str(word) for word in words])
        shown = capsys.readouterr()
        assert ended == code, shown.out + shown.err
        return shown.out

    return run


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    cases = [word for glob in ("seed/*", "masks/*", "special/*", "gap/*", "smoothing/*") for word in ("--case", glob)]
    assert main(["run", "--framework", "example", *cases, "--out", str(folder)]) == 0
    return Run(folder).read()


@pytest.mark.full
def test_the_installed_example_is_listed_among_the_frameworks(done, monkeypatch):
    found = registry.names()
    # The others would be imported.
    monkeypatch.setattr(registry, "names", lambda: tuple(name for name in found if name in ("example", "numpy")))
    (line,) = [line for line in done("frameworks").splitlines() if "example/math.fsum" in line]
    assert line.replace("│", " ").split() == ["example/math.fsum", "builtin", "1.0", "cpu", "eager"]


def test_the_example_answers_every_case_it_takes(measured):
    assert set(measured["status"]) == {"ok", "unsupported"}
    smoothed = measured[measured["family"] == "smoothing"]
    assert set(smoothed["status"]) == {"unsupported"}
    assert smoothed["detail"].str.contains("label_smoothing|class probabilities").all()


def test_the_example_gives_the_articles_numbers(measured):
    rows = measured[(measured["case"] == "seed/article") & (measured["dtype"] == "float32")]
    losses = rows[rows["quantity"] == "loss"]["value"]
    assert losses.to_list() == pytest.approx([0.4170, 2000.0, 1.4076], abs=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_example_is_accurate_in_every_dtype_narrower_than_float64(measured, dtype):
    rows = measured[(measured["dtype"] == dtype) & measured["grade"].notna()]
    shown = rows[rows["grade"] != "A"][["case", "row", "quantity", "grade", "max_ulp"]].to_string()
    assert set(rows["grade"]) == {"A"}, shown


# --- the other verbs, by its one file ---------------------------------------------------------------------------

NAIVE = """
import numpy as np

def naive(x, t):
    return -np.log((np.exp(x) / np.exp(x).sum(axis=1, keepdims=True))[np.arange(len(t)), t])
"""


def test_check_measures_a_loss_in_the_examples_arrays(done):
    asked = ["--framework", "example", "--dtype", "float32", "--case", "seed/*", "--case", "masks/first"]
    sound = done("check", "logitlab_example:loss", "--gradient", "logitlab_example:gradient", *asked)
    assert sound.startswith("loss: passed, grade B required (example 1.0, cpu, eager)")


def test_check_prints_a_program_that_shows_a_failure(done, installed, tmp_path):
    (tmp_path / "naive_of_example.py").write_text(NAIVE)
    asked = ["--framework", "example", "--dtype", "float32", "--case", "seed/*", "--out", "found"]
    done("check", "naive_of_example:naive", *asked, code=1)
    (program,) = (tmp_path / "found").glob("*.py")
    path = {"PYTHONPATH": os.pathsep.join([str(installed), str(tmp_path)])}
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", program], env=os.environ | path, capture_output=True, text=True, check=True
    )
    given, exact = (line.partition(": ")[2] for line in shown.stdout.splitlines()[:2])
    assert given != exact


@pytest.mark.usefixtures("in_this_process")
def test_explain_shows_the_input_and_the_output(done):
    shown = done("explain", "seed/article", "--implementation", "example/math.fsum", "--row", 1)
    assert "2000" in shown
    assert "gradient" in shown


@pytest.mark.usefixtures("in_this_process")
def test_hunt_searches_the_examples_loss(done):
    done("hunt", "example/math.fsum", "--evaluations", 50, "--case", "seed/*")


def test_train_demo_trains_with_the_examples_gradient(done):
    asked = ["--dtype", "float32", "--model", "linear", "--rate", 0.5, "--steps", 20]
    shown = done("train-demo", "--framework", "example", *asked)
    assert "linear in float32" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("example/")]
    assert float(line.split()[-1]) > 0.5, shown
