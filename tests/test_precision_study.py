"""The page "A study in 30 lines": its program runs, and its figure shows what the page says."""

import re
from pathlib import Path

import pandas as pd
import pytest
from in_process import calls_in_this_process

PAGE = Path(__file__).parent.parent / "docs/how-to/precision-study.md"


@pytest.fixture(scope="module")
def program():
    (body,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return body


def test_the_study_has_about_30_lines(program):
    assert len([line for line in program.splitlines() if line.strip()]) <= 30


@pytest.mark.full
def test_the_study_runs_and_draws_its_figure(program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shorter = program.replace("seed-0..4", "seed-0..1").replace("16,64,256,1024", "16,256")
    assert shorter.count("seed-0..1") == shorter.count("classes=16,256") == 1
    names = {"__name__": "__main__"}
    with calls_in_this_process():
        exec(compile(shorter, "study.py", "exec"), names)  # noqa: S102 - the page is ours
    table: pd.DataFrame = names["table"]
    assert set(table["rounding"]) == {"nearest", "toward_zero", "stochastic"}
    assert set(table["tile"]) == {16, 256}
    assert set(table["dtype"]) == {"float8_e4m3fn", "float8_e5m2", "e5m6", "bfloat16", "float16"}
    assert len(table) == 5 * 3 * 2 * 2
    error = table.groupby(["dtype", "rounding"], observed=True)["error"].mean().unstack()
    # More bits, a smaller error; and rounding toward zero errs in one direction.
    assert (error.loc["float8_e5m2"] > error.loc["e5m6"]).all()
    assert (error.loc["e5m6"] > error.loc["float16"]).all()
    assert (error["toward_zero"] > error["nearest"]).all()
    assert "float16" in capsys.readouterr().out
    assert (tmp_path / "study.svg").read_text().startswith("<svg")
