"""Ignored rows without a softmax, and means over nothing: neither is graded, and neither is passed over in silence."""

import numpy as np
import pytest

from logitlab.formats import FORMATS
from logitlab.grading import Conduct, conduct, describe_empty_mean, describe_ignored_row, grade
from logitlab.oracle import reference

NAN, INF = float("nan"), float("inf")
PLAIN = [1.0, 2.0, 3.0]
WITHOUT_SOFTMAX = {"NaN": [NAN, 0.0, 1.0], "all -inf": [-INF] * 3, "+inf": [INF, 0.0, 1.0], "two +inf": [INF, INF, 0.0]}


def graded(quantity, computed, ignored, reduction="none"):
    """Grades a plain row and, after it, an ignored row of these logits."""
    return graded_as(quantity, computed, np.array([PLAIN, ignored], np.float32), np.array([0, -100]), reduction)


def graded_as(quantity, computed, logits, targets, reduction):
    exact, rows = (reference(logits, targets, ignore_index=-100, reduction=r) for r in (reduction, "none"))
    return grade(quantity, computed, logits, FORMATS["float32"], exact, reduction=reduction, row_losses=rows.loss)


def right_gradient(ignored, reduction="none"):
    logits = np.array([PLAIN, ignored], np.float32)
    exact = reference(logits, np.array([0, -100]), ignore_index=-100, reduction=reduction)
    return exact.gradient.hi.astype(np.float32)


@pytest.mark.parametrize("ignored", WITHOUT_SOFTMAX.values(), ids=WITHOUT_SOFTMAX)
@pytest.mark.parametrize(
    ("entry", "verdict", "error"),
    [(0.0, "correct", 0.0), (NAN, "nan", INF), (INF, "overflow", INF), (0.5, "inaccurate", 0.5)],
)
def test_an_ignored_row_without_a_softmax_has_a_verdict_against_0_and_no_grade(ignored, entry, verdict, error):
    gradient = right_gradient(ignored)
    gradient[1, 2] = entry
    of_gradient = graded("gradient", gradient, ignored)
    of_loss = graded("loss", np.array([2.407606, entry], np.float32), ignored)
    for found in (of_gradient, of_loss):
        assert (found.grade[0], found.verdict[0]) == ("A", "correct")
        assert (found.grade[1], found.verdict[1], found.max_abs[1]) == (None, verdict, error)


@pytest.mark.parametrize("ignored", WITHOUT_SOFTMAX.values(), ids=WITHOUT_SOFTMAX)
def test_its_probabilities_stay_undefined(ignored):
    found = graded("probabilities", np.full((2, 3), NAN, np.float32), ignored)
    assert (found.grade[1], found.verdict[1]) == (None, "undefined")


def test_a_row_that_counts_and_has_no_limit_stays_undefined():
    logits = np.array([[-INF] * 3], np.float32)
    exact = reference(logits, np.array([0]))
    assert grade("loss", np.array([NAN], np.float32), logits, FORMATS["float32"], exact).verdict[0] == "undefined"


@pytest.mark.parametrize("value", [0.0, NAN, 7.0])
def test_a_mean_over_nothing_stays_undefined(value):
    batch = np.array([PLAIN, [NAN] * 3], np.float32), np.array([-100, -100]), "mean"
    found = graded_as("loss", np.float32(value), *batch)
    assert (found.grade[0], found.verdict[0]) == (None, "undefined")
    gradient = graded_as("gradient", np.full((2, 3), value, np.float32), *batch)
    assert list(gradient.verdict) == ["undefined", "undefined"]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_nan_that_an_ignored_row_lets_into_the_reduced_loss_is_f(reduction):
    found = graded("loss", np.float32(NAN), [NAN, 0.0, 1.0], reduction)
    assert (found.grade[0], found.verdict[0]) == ("F", "nan")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (0.0, Conduct.ZERO),
        (-0.0, Conduct.ZERO),
        ([0.0, 1e-45], Conduct.NUMBER),
        ([0.0, -INF], Conduct.INFINITY),
        ([INF, NAN], Conduct.NAN),
        ([], Conduct.ZERO),
    ],
)
def test_conduct_is_what_the_values_are(values, expected):
    assert conduct(np.array(values, np.float32)) is expected


def test_every_conduct_has_words_for_a_sentence():
    assert describe_ignored_row(Conduct.ZERO, Conduct.NAN) == (
        "The row is ignored: its loss and its gradient are exactly 0. The loss is 0. The gradient is NaN."
    )
    assert describe_empty_mean(Conduct.NAN, None) == (
        "No row counts: a mean over nothing has no value and no grade. The loss is NaN."
    )
    assert len({each.wording for each in Conduct}) == len(Conduct)
