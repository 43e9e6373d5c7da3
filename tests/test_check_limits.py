"""The limits of `check`: fewest and most classes, most rows of a batch, and a quick check."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere

import logitlab
from logitlab.cli import main
from logitlab.core.errors import UsageError

FEW = ["seed/article", "masks/first", "check/width_[3-8]"]


@pytest.fixture
def calls():
    return []


def noted(calls, loss):
    def noting(x, t):
        calls.append(tuple(x.shape))
        return loss(x, t)

    return noting


def sound(x, t):
    return F.cross_entropy(x, t, reduction="none")


def checked(loss, **limits):
    return logitlab.check(loss, "torch", "float32", repeat=0, **limits)


def test_no_call_has_fewer_or_more_classes_even_of_a_failing_row(calls):
    limits = {"min_classes": 4, "max_classes": 7}
    result = checked(noted(calls, lambda x, t: sound(x, t) * 1.01), cases=FEW, run_script=False, **limits)
    assert not result.passed
    assert {classes for _, classes in calls} == {4, 5, 6, 7}
    assert result.smallest.logits.shape[1] == 4
    assert "Limited to rows of 4 to 7 classes\n" in str(result)


@pytest.mark.parametrize(
    ("most", "returns"),
    [
        (1, "rows"),
        (7, "mean"),
        pytest.param(7, "rows", marks=pytest.mark.full),
        pytest.param(1, "mean", marks=pytest.mark.full),
    ],
)
def test_no_call_has_more_rows_and_every_row_is_tried(calls, most, returns):
    loss = sound if returns == "rows" else F.cross_entropy
    options = {"cases": ["check/width_5", "masks/first"], "returns": returns}
    plain = checked(noted([], loss), **options)
    result = checked(noted(calls, loss), max_rows=most, **options)
    assert result.passed, str(result)
    assert max(rows for rows, _ in calls) == most
    gradients = [r.lines[r.lines["quantity"] == "gradient"] for r in (plain, result)]
    one, other = (set(zip(g["case"], g["row"], strict=True)) for g in gradients)
    assert one == other
    assert {"called again", "sliced out of wider rows", "classes permuted"} <= set(result.lines["how"])
    assert f"batches of at most {most} row" in str(result)


def test_a_loss_that_fails_with_more_rows_passes_within_the_limit():
    def many_wrong(x, t):
        return sound(x, t) * (1.5 if len(x) > 64 else 1)

    cases = ["check/width_5"]
    assert not checked(many_wrong, cases=cases, shrink=False, first=True).passed
    result = checked(many_wrong, cases=cases, max_rows=64)
    assert result.passed, str(result)
    assert "in a batch of 64 rows" in set(result.lines["how"])


def test_a_case_with_a_reduction_has_no_more_rows(calls):
    def loss(x, t, reduction="none"):
        calls.append(tuple(x.shape))
        return F.cross_entropy(x, t, reduction=reduction)

    result = checked(loss, cases=["check/mean_*", "reductions/many_rows_sum"], max_rows=4)
    assert result.passed, str(result)
    assert max(rows for rows, _ in calls) == 4


def naive(x, t):
    return -torch.log(torch.softmax(x, 1).gather(1, t[:, None])[:, 0])


def without_maximum(x, t):
    return torch.log(torch.exp(x).sum(1)) - x.gather(1, t[:, None])[:, 0]


def mean_of_batch(x, t):
    return sound(x, t) / len(x)


def last_class_left_out(x, t):
    return torch.where(t == x.shape[1] - 1, sound(x[:, :-1], t.clamp(max=max(x.shape[1] - 2, 0))), sound(x, t))


def wrong_upstream(x, t):
    rows = sound(x, t)
    return rows + (rows.sum() - rows.sum().detach()) / 3


@pytest.mark.parametrize("loss", [naive, without_maximum, mean_of_batch, last_class_left_out, wrong_upstream])
def test_a_quick_check_finds_plain_defects(loss):
    result = checked(loss, quick=True, shrink=False, first=True)
    assert not result.passed


@pytest.mark.parametrize("returns", ["rows", "mean"])
def test_a_sound_loss_passes_a_quick_check(calls, returns):
    result = checked(noted(calls, sound if returns == "rows" else F.cross_entropy), quick=True, returns=returns)
    assert result.passed, str(result)
    assert len(calls) < 400
    assert "Limited to a few widths and calls (quick)" in str(result)


def test_limits_are_checked_before_any_call(capsys):
    for limits, words in {
        ("min_classes", 9, "max_classes", 5): "min_classes is 9 and max_classes is 5",
        ("min_classes", 0): "min_classes is 0; expected a whole number of at least 1",
        ("max_rows", 0): "max_rows is 0; expected a whole number of at least 1",
        ("max_classes", 2.5): "max_classes is 2.5; expected a whole number of at least 1",
        ("min_classes", 10**7): "no case has rows of at least 10,000,000 classes; choose other limits",
    }.items():
        with pytest.raises(UsageError, match="^" + words):
            checked(sound, **dict(zip(limits[::2], limits[1::2], strict=True)))
    arguments = ["check", "torch.nn.functional:cross_entropy", "--framework", "torch", "--max-rows", "0"]
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
