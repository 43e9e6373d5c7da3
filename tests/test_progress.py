"""Progress of a long call: the default display on a terminal, in a notebook and elsewhere."""

import io
import sys

import pytest

import logitlab
from logitlab.core import progress
from logitlab.core.errors import UsageError

pytestmark = pytest.mark.usefixtures("in_this_process")

SMALL = {"cases": "seed/article", "implementations": "numpy/l*", "frameworks": "numpy", "dtypes": "float32"}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, stream, **given) -> str:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        patch.setenv("TERM", "xterm")
        logitlab.run(**SMALL, **given)
    return stream.getvalue()


def test_a_run_in_a_terminal_shows_a_bar_by_default(monkeypatch):
    written = shown(monkeypatch, Terminal())
    assert "importing the frameworks" in written
    assert shown(monkeypatch, Terminal(), progress=False) == ""


def test_a_run_in_a_program_shows_nothing(monkeypatch):
    assert shown(monkeypatch, io.StringIO()) == ""


def test_a_run_in_a_notebook_rewrites_one_line_and_clears_it(monkeypatch):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    written = shown(monkeypatch, io.StringIO())
    assert "numpy/l" in written
    assert "\n" not in written
    assert written.split("\r")[-2:] == [" " * progress.NOTEBOOK_WIDTH, ""]


def test_a_function_is_called_with_the_done_and_the_total_count(monkeypatch):
    calls = []
    assert shown(monkeypatch, Terminal(), progress=lambda *call: calls.append(call)) == ""
    done, total, label = calls[-1]
    assert (done, total) == (6, 6)
    assert label.startswith("numpy/l")


@pytest.mark.usefixtures("in_this_process")
def test_a_hunt_shows_its_progress_too(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    logitlab.hunt("numpy/lse", evaluations=1, cases="seed/article")
    assert "importing the frameworks" in stream.getvalue()


def test_any_other_progress_is_refused():
    with pytest.raises(UsageError, match="progress is 5; expected a function"), progress.reporting(5):
        pass
