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


def _done(arguments, environment):
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
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
