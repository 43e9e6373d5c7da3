"""The program that a check prints: it shows the broken property, by finite numbers where they show it."""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import time

import numpy as np
import pytest

import logitlab
from logitlab.studies.audit import corpus
from logitlab.studies.check.forms._options import OPTIONS
from logitlab.studies.check.judging._properties import PROPERTIES, SOFT
from logitlab.studies.check.reproducing import _shrink

DEFECTS = corpus.defects()
SOME = ("seed/article", "masks/first", "check/width_5", "check/gaps_2")
# Their programs take seconds each: several dtypes, many calls or many classes.
SLOW = (
    "vocabularies_by_a_sample", "scratch_has_the_first_dtype", "last_class_is_no_target", "rows_in_fours",
    "evaluation_takes_another_path",
)  # fmt: skip
STANDING = [found for found in DEFECTS if found.breaks is not None]


def printed(script):
    """Return the lines that a program prints, each as its words and its numbers."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), np.errstate(all="ignore"):
        exec(compile(script, "reproduce.py", "exec"), {"__name__": "__main__"})  # noqa: S102 - the program under test
    lines = (line.partition(": ") for line in out.getvalue().splitlines())
    return [(words, np.array(numbers(text), np.float64)) for words, _, text in lines]


def numbers(text):
    # "nan" and "inf" are not literals of Python.
    return ast.literal_eval(text.replace("nan", "None").replace("inf", "1e999"))


def checked(framework, planted, **options):
    return logitlab.check(
        planted.loss, framework, planted.dtypes[0], gradient=planted.gradient, name=planted.name,
        cases=planted.shown_by or SOME, run_script=False, **options,
    )  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize(
    "found",
    [
        pytest.param(found, id=f"{found.name}-{found.breaks}", marks=[pytest.mark.full] if found.name in SLOW else [])
        for found in STANDING
    ],
)
def test_the_program_shows_the_property_that_is_broken(found):
    planted = found.load()
    result = checked(found.framework, planted)
    smallest = result.smallest
    assert smallest.property == planted.breaks, str(result)
    assert f"broken: {planted.breaks}" in smallest.script
    assert np.isfinite(smallest.logits.astype(float)).all() or planted.breaks in (
        "NaN propagated", "masks", "infinite where the answer is", "ignored rows have no effect",
    )  # fmt: skip
    assert smallest.logits.size <= 10 or planted.breaks == "large vocabularies", smallest.script
    (_, came), (_, expected) = printed(smallest.script)[:2]
    # Several roundings apart.
    assert not np.allclose(came, expected, rtol=5e-7, atol=1e-7, equal_nan=True), smallest.script


def test_every_property_has_a_planted_defect():
    pytest.importorskip("torch")
    # A loss of soft targets is planted in test_check_forms.
    assert set(PROPERTIES) == {found.breaks for found in STANDING} | {SOFT}
    assert {f"with {option}" for option in OPTIONS} <= set(PROPERTIES)


def named(name, framework="torch"):
    return next(f for f in DEFECTS if (f.framework, f.name) == (framework, name)).load()


def test_an_upstream_gradient_that_is_ignored_is_shown_by_a_finite_one():
    pytest.importorskip("torch")
    script = checked("torch", named("upstream_is_ignored")).script
    assert "nan" not in script
    (_, came), (_, exact) = printed(script)
    assert came.shape == exact.shape == (1, 2)


def test_a_loss_that_writes_is_shown_by_its_logits_before_and_after():
    pytest.importorskip("torch")
    shown = printed(checked("torch", named("shifts_in_place")).script)
    assert [words for words, _ in shown] == ["logits before", "logits after"]


@pytest.mark.parametrize("name", ["shifts_in_place", "rows_as_they_lie_in_memory", "probabilities_of_the_latest_call"])
def test_programs_in_numpy_show_memory_and_calls(name):
    (_, came), (_, expected) = printed(checked("numpy", named(name, "numpy")).script)[:2]
    assert not np.allclose(came, expected, rtol=1e-5, atol=1e-7)


def test_findings_do_not_depend_on_a_clock(monkeypatch):
    planted = named("rows_as_they_lie_in_memory", "numpy")
    once = checked("numpy", planted).script
    late = itertools.count(0, 1000)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(late)))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(late)))
    assert checked("numpy", planted).script == once


def test_the_search_for_the_smallest_input_ends_after_a_number_of_calls(monkeypatch):
    monkeypatch.setattr(_shrink, "STEPS", 5.0)
    calls = [0]

    def loss(x, t):
        calls[0] += 1
        return np.full(len(x), 7.0, x.dtype)

    checked_without = logitlab.check(loss, "numpy", "float32", cases="check/width_5", shrink=False)
    before, calls[0] = calls[0], 0
    found = logitlab.check(loss, "numpy", "float32", cases="check/width_5")
    assert found.lines.equals(checked_without.lines)
    assert 0 < calls[0] - before <= 10
    assert found.smallest is not None
