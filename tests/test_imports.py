"""Frameworks of other packages whose import exits, dies, fails or is slow: only these are missing."""

import sys
import textwrap

import pytest

from logitlab import runner
from logitlab.cli import main
from logitlab.execution import pool, registry, worker
from logitlab.storage.store import Run
from logitlab.studies import doctor
from logitlab.studies.browse import listing

SOUND = """
import numpy as np
from logitlab.frameworks import Framework, Implementation

def loss(x, t):
    if HANGS and (x == 0).any():
        time.sleep(3600)
    s = x.astype(np.float64) - x.max(axis=1, keepdims=True).astype(np.float64)
    return (np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(s)), t]).astype(x.dtype)

class Sound(Framework):
    name = __name__
    implementations = (
        Implementation(f"{__name__}/loss", "builtin", loss, "numpy", differentiable=False),
        Implementation(f"{__name__}/lacking", "builtin", loss, "a_package_that_nobody_has", differentiable=False),
    )

    def evaluate(self, implementation, batch, device, mode):
        yield "loss", implementation.loss(batch.logits, batch.targets)

    def unsupported(self, error):
        return False

FRAMEWORK = Sound()
"""
# For each import: its effect, and the message about it.
FAULTS = {
    "exits": ("import sys; sys.exit(0)", "failed when it was imported: SystemExit: 0"),
    "exits_without_code": ("raise SystemExit", "failed when it was imported: SystemExit:"),
    "interrupts": ("raise KeyboardInterrupt", "failed when it was imported: KeyboardInterrupt:"),
    "dies": ("import os; os._exit(0)", "its process died when it was imported"),
    "fails": ("import numpy; numpy.nothing_of_this_name", "failed when it was imported: AttributeError"),
    "breaks": ("from numpy import nothing_of_this_name", "cannot be imported: ImportError"),
}
PLAN = {"cases": ["seed/article", "gap/5_low"], "dtypes": "float32", "modes": "eager"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory, distribution):
    """Write a package whose frameworks fail at import, and one with a slow import that works."""
    site = tmp_path_factory.mktemp("site")
    for name, (line, _) in FAULTS.items():
        (site / f"{name}.py").write_text(f"{line}\n")
    (site / "absent.py").write_text("import a_package_that_nobody_has\n")
    for name, hangs in {"slow": False, "hanging": True}.items():
        (site / f"{name}.py").write_text(f"import time\nHANGS = {hangs}\ntime.sleep(1.5)\n{textwrap.dedent(SOUND)}")
    names = (*FAULTS, "absent", "slow", "hanging")
    distribution(site, "Strange-Losses", "\n".join(f"{name} = {name}:FRAMEWORK" for name in names), "3.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield site


@pytest.mark.parametrize("faults", [["exits", "dies"], pytest.param([*FAULTS], marks=pytest.mark.full)])
def test_an_import_that_exits_dies_or_fails_makes_its_framework_missing_and_the_others_are_measured(
    installed, tmp_path, capsys, faults
):
    asked = [option for name in (*faults, "absent", "numpy") for option in ("--framework", name)]
    options = ["--case=seed/article", "--dtype=float32", "--mode=eager", f"--out={tmp_path / 'run'}"]
    assert main(["run", *asked, *options, "--implementation=*/lse"]) == 0
    run = Run(tmp_path / "run")
    assert set(run.read()["framework"]) == {"numpy"}
    shown = capsys.readouterr().err
    for name in faults:
        message = FAULTS[name][1]
        assert run.manifest.missing[name].startswith(message)
        assert f"{name} is not measured: {message}" in shown
    assert "absent is not measured: cannot be imported: ModuleNotFoundError" in shown


@pytest.mark.usefixtures("in_this_process")  # the test above has the workers
def test_a_run_whose_only_import_exits_has_exit_code_2(installed, tmp_path, capsys):
    assert main(["run", "--case", "seed/article", "--framework", "exits", "--out", str(tmp_path / "run")]) == 2
    assert (
        "no chosen framework is installed: exits failed when it was imported: SystemExit: 0" in capsys.readouterr().err
    )


@pytest.mark.usefixtures("in_this_process")
def test_a_failed_import_is_reported_unasked_and_an_absent_package_is_not(installed, monkeypatch, capsys):
    monkeypatch.setattr(registry, "names", lambda: ("absent", "exits", "numpy"))
    with pytest.warns(UserWarning, match="exits is not measured: failed when it was imported") as warned:
        runner.run(**PLAN, implementations="*/lse")
    assert len(warned) == 1


def test_the_time_limit_of_calls_does_not_limit_imports(installed):
    df = runner.run(**PLAN, frameworks=["slow"], timeout=1.0)
    assert set(df["status"]) == {"ok"}


@pytest.mark.full
def test_an_import_after_a_timed_out_call_has_the_limit_of_imports_too(installed):
    df = runner.run(**PLAN, frameworks=["hanging"], timeout=1.0)
    status = df.groupby("case", observed=True)["status"].agg(lambda s: "/".join(sorted(set(s))))
    assert status.to_dict() == {"gap/5_low": "timeout", "seed/article": "ok"}


def test_an_import_has_a_time_limit(installed, monkeypatch, tmp_path, evaluate):
    monkeypatch.setattr(pool, "IMPORT_TIMEOUT", 0.5)
    with pool.Pools(["slow"], tmp_path) as pools:
        assert pools.describe()["slow"].missing == "did not finish importing within 0.5 s"
        (outcome,) = evaluate(pools, "slow", worker.call, [None])
    assert (outcome.status, outcome.detail) == ("timeout", "slow did not finish importing within 0.5 s")


def test_an_import_that_fails_in_the_process_of_a_mode_fails_each_of_its_calls(installed, tmp_path, evaluate):
    with pool.Pools(["dies"], tmp_path) as pools:
        outcomes = evaluate(pools, "dies", worker.call, [None, None])
    assert {o.status for o in outcomes} == {"crashed"}
    assert all(o.detail.startswith("the worker process died when it imported dies") for o in outcomes)
    assert "dies" not in sys.modules


def test_the_advice_for_a_framework_of_another_package_names_that_package(installed, monkeypatch, capsys):
    described = listing.describe_frameworks(["exits", "slow"])
    monkeypatch.setattr(listing, "describe_frameworks", lambda names=None: described)
    messages = [f.message for f in doctor.examine() if f.state == "missing" and f.subject in ("exits", "slow")]
    assert messages == [
        "failed when it was imported: SystemExit: 0; pip install Strange-Losses",
        "a_package_that_nobody_has is not installed; see the documentation of Strange-Losses 3.1, which uses it",
    ]
    assert main(["frameworks"]) == 0
    shown = capsys.readouterr().out
    assert "missing: exits failed when it was imported: SystemExit: 0; pip install Strange-Losses" in shown
    assert "logitlab[exits]" not in shown
