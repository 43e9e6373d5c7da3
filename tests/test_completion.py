"""Shell completion: by the variable that a shell's completion sets, without a framework."""

from __future__ import annotations

import subprocess
import sys

import pytest

from logitlab.cli import _completion, main
from logitlab.core.formats import FORMATS
from logitlab.execution import registry

ROOT_HELP = ("--install-completion", "--show-completion")


@pytest.fixture
def completed(monkeypatch, capsys):
    """Return a function that completes the last word of a line as bash asks for it."""

    def complete(line: str) -> list[str]:
        monkeypatch.setenv("_LOGITLAB_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        assert main([]) == 0
        return capsys.readouterr().out.split()

    return complete


def test_frameworks_are_completed(completed):
    assert completed("logitlab check a:b --framework t") == ["tensorflow", "tinygrad", "torch"]
    assert completed("logitlab run --framework ") == sorted(registry.names())


def test_dtypes_are_completed(completed):
    assert completed("logitlab explain seed/article --dtype ") == list(FORMATS)
    assert completed("logitlab run --dtype float8_e5") == ["float8_e5m2", "float8_e5m2fnuz"]


def test_cases_are_completed_by_family_and_then_by_name(completed):
    assert completed("logitlab run --case mas") == ["masks/*"]
    assert completed("logitlab check a:b --case seed/a") == ["seed/article", "seed/article_mean", "seed/article_sum"]
    assert completed("logitlab explain seed/m") == ["seed/mild_mean"]


def test_implementations_are_completed(completed):
    assert completed("logitlab hunt torch/log") == ["torch/log1p", "torch/log1p[linear]", "torch/logsumexp"]
    assert completed("logitlab run --implementation tinygrad/n") == ["tinygrad/naive"]


def test_verbs_and_options_are_completed(completed):
    assert completed("logitlab ca") == ["cases", "cache"]
    assert set(completed("logitlab check --re")) == {
        "--require", "--require-loss", "--require-gradient", "--returns", "--repeat"
    }  # fmt: skip


def test_a_broken_file_of_settings_does_not_stop_completion(completed, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("[tool.logitlab]\nno = 1\n")
    monkeypatch.chdir(tmp_path)
    assert completed("logitlab check a:b --framework nu") == ["numpy"]


def test_completion_imports_no_framework():
    program = (
        "import sys; from logitlab.cli import _completion as c\n"
        "assert c.complete_cases('s') and c.complete_dtypes('f') and c.complete_frameworks('t')\n"
        "assert c.complete_implementations('torch/n')\n"
        "print(*{'torch', 'jax', 'tensorflow', 'pandas', 'duckdb', 'logitlab.execution'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_help_offers_to_install_completion(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ROOT_HELP)


def test_the_listed_implementations_are_numpys_and_the_simulated_ones():
    listed = _completion.complete_implementations("")
    assert registry.names() == tuple(sorted({name.partition("/")[0] for name in listed}))
    names = {i.name for framework in ("numpy", "simulated") for i in registry.describe(framework).implementations}
    found = {name for name in listed if name.startswith(("numpy/", "simulated/"))}
    assert names ^ found == set(), "add or remove these lines of cli/implementations.txt"


@pytest.mark.full
def test_the_listed_implementations_are_those_of_every_installed_framework():
    from logitlab.studies.browse import listing

    found = listing.describe_frameworks()
    there = [name for name, description in found.items() if description.missing is None]
    names = {i.name for name in there for i in found[name].implementations}
    listed = {name for name in _completion.complete_implementations("") if name.partition("/")[0] in there}
    assert names ^ listed == set(), "add or remove these lines of cli/implementations.txt"
