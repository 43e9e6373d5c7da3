"""The example package of examples/: installed as a user would install it, and then measured like any framework."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from logitlab.storage.store import Run

EXAMPLE = Path(__file__).parent.parent / "examples" / "logitlab-example"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment variables of a user who has installed the example beside LogitLab."""
    folder = tmp_path_factory.mktemp("example")
    # Building writes into the sources.
    sources = shutil.copytree(EXAMPLE, folder / "sources")
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "site"]
    _done(["-m", "pip", "--disable-pip-version-check", *install, sources], os.environ)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])}


def _done(arguments, environment, folder=None, code=0):
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def measured(environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    cases = [word for glob in ("seed/*", "masks/*", "special/*", "gap/*", "smoothing/*") for word in ("--case", glob)]
    _done(["-m", "logitlab", "run", "--framework", "example", *cases, "--out", folder], environment)
    return Run(folder).read()


def test_the_installed_example_is_listed_among_the_frameworks(environment, tmp_path):
    # The others need not be imported for this: they are made missing.
    for name in ("torch", "jax", "tensorflow", "keras", "onnxruntime", "paddle"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not here')\n")
    without_others = environment | {"PYTHONPATH": os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])}
    listed = _done(["-m", "logitlab", "frameworks"], without_others)
    (line,) = [line for line in listed.splitlines() if "example/math.fsum" in line]
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
def test_computed_in_float64_it_is_accurate_in_every_narrower_dtype(measured, dtype):
    rows = measured[(measured["dtype"] == dtype) & measured["grade"].notna()]
    told = rows[rows["grade"] != "A"][["case", "row", "quantity", "grade", "max_ulp"]].to_string()
    assert set(rows["grade"]) == {"A"}, told


# --- the other verbs, by its one file ---------------------------------------------------------------------------

NAIVE = """
import numpy as np

def naive(x, t):
    return -np.log((np.exp(x) / np.exp(x).sum(axis=1, keepdims=True))[np.arange(len(t)), t])
"""


def test_check_measures_a_loss_in_the_examples_arrays(environment, tmp_path):
    asked = ["--framework", "example", "--dtype", "float32", "--case", "seed/*", "--case", "masks/first"]
    gradient = ["--gradient", "logitlab_example:gradient"]
    sound = _done(["-m", "logitlab", "check", "logitlab_example:loss", *gradient, *asked], environment, tmp_path)
    assert sound.startswith("loss: passed, grade B required (example 1.0, cpu, eager)")


def test_check_prints_a_program_that_shows_a_failure(environment, tmp_path):
    (tmp_path / "mine.py").write_text(NAIVE)
    asked = ["--framework", "example", "--dtype", "float32", "--case", "seed/*", "--out", "found"]
    _done(["-m", "logitlab", "check", "mine:naive", *asked], environment, tmp_path, code=1)
    (program,) = (tmp_path / "found").glob("*.py")
    shown = _done(["-W", "ignore", program], environment, tmp_path)
    given, exact = (line.partition(": ")[2] for line in shown.splitlines()[:2])
    assert given != exact


def test_explain_shows_what_goes_in_and_comes_out(environment):
    shown = _done(
        ["-m", "logitlab", "explain", "seed/article", "--implementation", "example/math.fsum", "--row", "1"],
        environment,
    )
    assert "2000" in shown
    assert "gradient" in shown


def test_hunt_searches_the_examples_loss(environment, tmp_path):
    asked = ["--evaluations", "50", "--case", "seed/*"]
    _done(["-m", "logitlab", "hunt", "example/math.fsum", *asked], environment, tmp_path)


def test_train_demo_trains_with_the_examples_gradient(environment, tmp_path):
    asked = ["--dtype", "float32", "--model", "linear", "--rate", "0.5", "--steps", "20"]
    shown = _done(["-m", "logitlab", "train-demo", "--framework", "example", *asked], environment, tmp_path)
    assert "linear in float32" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("example/")]
    assert float(line.split()[-1]) > 0.5, shown
