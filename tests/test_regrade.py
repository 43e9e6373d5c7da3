"""Grades of the catalogue's plain rows compared with a grader that shares no code with LogitLab."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest

from logitlab.cases import select_cases

spec = importlib.util.spec_from_file_location("regrade", Path(__file__).parent / "regrade.py")
regrade = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = regrade  # dataclasses look their module up
spec.loader.exec_module(regrade)


@pytest.mark.sampled
@pytest.mark.parametrize("framework", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", regrade.DTYPES)
def test_an_independent_grader_agrees_with_every_grade(framework, dtype):
    cases = [c for c in select_cases(None) if c.plain and c.classes <= 12]
    found = list(regrade.grades(framework, dtype, cases, every=9))
    assert [line for line in found if line[2] != line[3]] == []
    letters = Counter(letter for *_, letter in found)
    assert letters["A"] > 100
    assert letters["F"] > 10
    assert set(letters) >= {"A", "B", "C", "F"}
