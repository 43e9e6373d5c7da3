"""One plan in several environments, built without an index, for a framework whose versions give different losses."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import logitlab
from logitlab.cli import main
from logitlab.core.errors import UsageError
from logitlab.storage.store import Run
from logitlab.studies.matrix import _environment, _matrix
from logitlab.studies.matrix._requirements import RequirementSet, parse_sets, scope
from logitlab.studies.matrix._source import LogitLabSource, running_source

# A framework of another package, in NumPy; each version fills in its loss.
MODULE = """
import numpy as np
from logitlab.frameworks import Framework, Implementation

def loss(x, t):
    s = x.astype(np.float64) - x.max(axis=1, keepdims=True).astype(np.float64)
    return (np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(s)), t]).astype(x.dtype){change}

class Tiny(Framework):
    name = "tiny"
    implementations = (Implementation("tiny/loss", "builtin", loss, "tiny", differentiable=False),)

    def evaluate(self, implementation, batch, device, mode):
        with np.errstate(all="ignore"):
            yield "loss", implementation.loss(batch.logits, batch.targets)

    def unsupported(self, error):
        return False

FRAMEWORK = Tiny()
"""
CHANGES = {"1.0": "", "1.1": " * np.float32(1.001)", "1.2": "", "2.0": ""}
NAMES = {"2.0": "tiny/new_loss"}
CASES = "gap/5_*"


def wheel(folder: Path, version: str) -> None:
    """Write a wheel by hand, so that nothing has to be built."""
    info = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as file:
        named = MODULE.replace("tiny/loss", NAMES.get(version, "tiny/loss"))
        file.writestr("tiny.py", named.replace("{change}", CHANGES[version]))
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/entry_points.txt", "[logitlab.frameworks]\ntiny = tiny:FRAMEWORK\n")
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """Set up an index of four versions, and environments that use this one's installed dependencies."""
    index, cache = tmp_path_factory.mktemp("index"), tmp_path_factory.mktemp("cache")
    for version in CHANGES:
        wheel(index, version)
    ours = built_once(tmp_path_factory.mktemp("ours"))

    def with_our_packages(folder, python, uv):
        subprocess.run([python, "-m", "venv", "--clear", "--without-pip", folder], check=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        packages.joinpath("ours.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_environment, "make_environment", with_our_packages)
        patch.setattr(_environment.shutil, "which", lambda name: None)
        patch.setattr(_matrix, "running_source", lambda folder: ours)
        for name, value in {
            "LOGITLAB_CACHE": str(cache), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index),
            "PIP_CONFIG_FILE": os.devnull,
        }.items():  # fmt: skip
            patch.setenv(name, value)
        yield


def built_once(folder: Path) -> LogitLabSource:
    """Build one wheel of this LogitLab from the sources that an environment gets."""
    found = running_source(folder / "source")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", folder, folder / "source"], check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return LogitLabSource(f" @ {made.as_uri()}", found.digest)


def matrix(sets, out, **options):
    messages = []
    options = {"cases": CASES, "frameworks": "tiny", "tell": messages.append} | options
    return logitlab.matrix(sets, out, **options), messages


def built(messages):
    return [line for line in messages if line.startswith("building")]


@pytest.mark.venv
def test_changes_from_each_version_to_the_next_are_reported(offline, tmp_path):
    found, messages = matrix(["tiny==1.0", "tiny==1.1", "tiny==1.2"], tmp_path / "runs")
    assert not found.failed
    assert len(built(messages)) == 3
    assert {name: path.name for name, path in found.runs.items()} == {
        f"tiny=={v}": f"tiny-{v}" for v in ("1.0", "1.1", "1.2")
    }
    worse, better = found.comparisons
    assert worse[:2] == ("tiny==1.0", "tiny==1.1")
    assert len(worse[2].regressions) == 4  # two cases of two rows
    assert worse[2].improvements.empty
    assert better[:2] == ("tiny==1.1", "tiny==1.2")
    assert set(better[2].improvements["implementation"]) == {"tiny/loss"}
    assert better[2].regressions.empty
    assert found.exit_code == 1

    # The second call reuses the environments; in the other direction nothing gets worse.
    found, messages = matrix(["tiny==1.1", "tiny==1.2"], tmp_path / "again")
    assert built(messages) == []
    assert found.exit_code == 0


@pytest.mark.full
@pytest.mark.parametrize(
    "others", [("tiny==1.0",), pytest.param(("tiny==1.0", "tiny==1.2"), marks=pytest.mark.venv)], ids=len
)
def test_a_failed_install_is_reported_and_the_other_sets_are_measured(others, offline, tmp_path, capsys):
    arguments = ["--case", CASES, "--framework", "tiny", "--format", "json", "--out", str(tmp_path / "runs")]
    sets = [others[0], "tiny==7", *others[1:]]
    code = main(["matrix", *(word for one in sets for word in ("--with", one)), *arguments])
    out, err = capsys.readouterr()
    assert code == 2
    assert "did not measure tiny==7: ERROR: " in err
    assert "No matching distribution found for tiny==7" in err
    assert all(Run(tmp_path / "runs" / one.replace("==", "-")).lines() for one in others)
    if len(others) > 1:
        assert "tiny==1.0 -> tiny==1.2" in out
        assert "nothing changed" in out
        assert (tmp_path / "runs" / "tiny-1.0_tiny-1.2" / "compare.json").exists()
    kept = _environment.environments_folder()
    assert not list(kept.glob("building-*")), "nothing half built is left"


@pytest.mark.venv
def test_a_failed_run_is_reported_with_its_message(offline, tmp_path):
    found, _ = matrix(["tiny==1.0", "tiny==1.2"], tmp_path / "runs", implementations="tiny/nothing")
    assert found.exit_code == 2
    assert set(found.failed) == {"tiny==1.0", "tiny==1.2"}
    assert "no implementation matches 'tiny/nothing'" in found.failed["tiny==1.0"]


@pytest.mark.venv
def test_sets_that_share_nothing_keep_their_results(offline, tmp_path, capsys):
    """Version 2.0 names its loss differently, so it shares no result with version 1.2."""
    arguments = ["--case", CASES, "--framework", "tiny", "--out", str(tmp_path / "runs")]
    sets = ["tiny==1.0", "tiny==1.2", "tiny==2.0"]
    assert main(["matrix", *(word for one in sets for word in ("--with", one)), *arguments]) == 2
    out, err = capsys.readouterr()
    assert "tiny==1.0 -> tiny==1.2" in out
    assert "cannot compare tiny==1.2 -> tiny==2.0: " in err
    assert all(Run(tmp_path / "runs" / one.replace("==", "-")).lines() for one in sets)


@pytest.mark.venv
def test_the_environment_holds_this_logitlab_and_not_the_callers_packages_path(offline, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ours = _matrix.running_source(tmp_path)
    python = _environment.environment(
        _environment.environments_folder(), ours, (), ["tiny==1.0"], sys.executable, print, fresh=False
    )
    code = "import logitlab, sys; print(logitlab.__file__, logitlab.__version__, *sys.path, sep='\\n')"
    printed = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, env=_environment.variables(), check=True
    )
    where, version, *path = printed.stdout.split("\n")
    assert Path(where).is_relative_to(_environment.environments_folder())
    assert version == logitlab.__version__
    assert str(tmp_path) not in path


@pytest.mark.venv
def test_an_environment_is_rebuilt_on_request_and_never_used_half_built(offline, tmp_path, monkeypatch):
    root, messages = tmp_path / "environments", []

    def made(**options):
        arguments = (root, _matrix.running_source(tmp_path), (), ["tiny==1.0"], sys.executable, messages.append)
        return _environment.environment(*arguments, **{"fresh": False} | options)

    def dies(folder, requirements, uv):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_environment, "_install", dies)
        with pytest.raises(KeyboardInterrupt):
            made()
    assert list(root.iterdir()) == []
    python = made()
    mark = python.parent / "mark"
    mark.touch()
    assert made() == python
    assert mark.exists()
    assert made(fresh=True) == python
    assert not mark.exists()
    assert len(messages) == 3


def test_another_logitlab_is_another_environment(tmp_path):
    one = running_source(tmp_path / "one")
    assert running_source(tmp_path / "two").digest == one.digest
    assert (tmp_path / "one" / "cases" / "catalogue" / "seed.py").exists()
    assert not (tmp_path / "one" / "tests").exists()
    assert one.requirement(["jax"]).startswith("logitlab[jax] @ file:")
    assert one.requirement([]).startswith("logitlab @ file:")


def test_an_invalid_interpreter_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGITLAB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match="does not run as a Python interpreter"):
        matrix(["tiny==1.0", "tiny==1.2"], tmp_path, python=str(tmp_path / "none"))


# --- sets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["scipy==1.14.1"], "expected at least two sets of requirements, and 1 is given"),
        (["scipy==1.14.1", " "], "the requirements are ' '; give some"),
        (["scipy==1.14.1", "scipy == 1.15"], "'==' is not a requirement"),
        (["scipy==1.14.1", "scipy=1.15"], "'scipy=1.15' is not a requirement"),
        (["scipy==1.14.1 numpy<2.3", "numpy<2.3 scipy==1.14.1"], "are equal up to punctuation"),
    ],
)
def test_invalid_sets_are_reported(given, message):
    with pytest.raises(UsageError) as caught:
        parse_sets(given)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "wanted", "extras", "frameworks"),
    [
        (["scipy==1.14.1"], [], ("scipy",), ("numpy",)),
        (["optax==0.2.3"], [], ("jax",), ("jax",)),
        (["trl==1.16.0"], [], ("wild",), ("torch",)),
        (["torch==2.13.0"], [], ("torch",), ("torch",)),
        (["keras==3.8"], ["keras-jax"], ("keras-jax",), ("keras-jax",)),
        (["numpy<2.3"], ["torch"], ("torch",), ("torch",)),
        (["numpy<2.3"], [], (), ()),
        (["scikit-learn==1.5 SciPy==1.14.1"], [], ("scipy",), ("numpy",)),
    ],
)
def test_a_package_brings_its_extra_and_its_framework(words, wanted, extras, frameworks):
    assert scope([RequirementSet.parse(w) for w in words], wanted) == (extras, frameworks)


def test_a_folder_is_named_after_its_content():
    assert RequirementSet.parse("scipy==1.14.1 numpy<2.3").folder == "numpy-2.3-scipy-1.14.1"
