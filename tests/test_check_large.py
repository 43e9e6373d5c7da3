"""What `check` finds in batches of many wide rows, in one call of more than 2**31 logits, and in ignored rows."""

from __future__ import annotations

import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere

import logitlab
from logitlab.core.formats import get_format
from logitlab.studies.audit.corpus.torch.parts import differentiated_by
from logitlab.studies.check.batches import _again
from logitlab.studies.check.batches._again import REDUCED_TALL, TALL, tall_batches
from logitlab.studies.check.batches._chosen import chosen_cases
from logitlab.studies.check.batches._rows import batches
from logitlab.studies.check.measuring import _huge
from logitlab.studies.check.reproducing._contrast import on_their_own

COMPANY = "rows independent of each other"


def sound(x, t):
    return F.cross_entropy(x, t, reduction="none")


def checked(loss, **options):
    return logitlab.check(loss, "torch", options.pop("dtypes", "float32"), name="loss", shrink=False, **options)


def broken(result):
    held = result.properties.set_index("property")["held"]
    return set(held.index[~held])


def offsets_that_wrap(at):
    """A kernel that finds a target at ``row * classes + target``, in an integer that wraps around."""

    def loss(x, t):
        offset = torch.arange(len(x)) * x.shape[1] + t
        wrapped = torch.logsumexp(x, 1) - x.reshape(-1)[offset % at]
        return torch.where(offset < at, sound(x, t), wrapped)

    return loss


@pytest.mark.parametrize("classes", [8193, pytest.param(65_537, marks=pytest.mark.full)])
def test_an_offset_that_wraps_at_two_to_the_21_is_caught_by_default(classes):
    result = checked(offsets_that_wrap(2**21), cases=f"check/width_{classes}")
    assert COMPANY in broken(result), str(result)
    assert result.failures["how"].eq(f"in a batch of {TALL[classes]} rows").all()


def test_a_block_of_rows_that_is_wrong_for_wide_rows_only_is_caught():
    def loss(x, t):
        rows = sound(x, t)
        return torch.cat([rows[:1024], rows[1024:] * 1.01]) if x.shape[1] > 8000 else rows

    result = checked(loss, cases=["check/width_8193", "check/width_33"])
    assert COMPANY in broken(result), str(result)
    assert set(result.failures["how"]) == {"in a batch of 1025 rows"}


def test_a_row_of_a_tall_batch_has_its_own_answer_alone():
    (rows,) = batches(chosen_cases("check/width_8193", (), few_shapes=False), get_format("float32"))
    (tall,) = tall_batches(rows)
    alone = on_their_own(tall.take([700]))
    assert np.array_equal(alone.exact.gradient.hi, rows.exact.gradient.hi[tall.distinct[[700]]])


@pytest.mark.full
def test_the_report_says_that_only_a_very_large_batch_fails():
    def loss(x, t):
        rows = sound(x, t)
        return torch.cat([rows[:1024], rows[1024:] * 2]) if x.shape[1] > 8000 else rows

    result = logitlab.check(loss, "torch", "float32", name="loss", cases="check/width_8193")
    assert result.script is None
    assert "No smaller batch shows the failure" in str(result)


@pytest.mark.parametrize("few_shapes", [False, True])
def test_some_batch_of_each_dtype_has_more_logits_than_two_to_the_21(few_shapes):
    cases = chosen_cases("check/width_65537", (), few_shapes=few_shapes)
    assert TALL[65_537] * 65_537 > 2**21
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        (rows,) = batches(cases, get_format(dtype), few_shapes=few_shapes)
        sizes = {len(again) * again.classes for again in tall_batches(rows, few_shapes=few_shapes)}
        assert max(sizes) > 2**21


def test_a_sound_loss_passes_in_tall_batches():
    result = checked(sound, cases=["check/width_65537", "check/width_8193"])
    assert result.passed, str(result)
    assert {"in a batch of 129 rows", "in a batch of 1025 rows"} <= set(result.lines["how"])


@pytest.mark.parametrize(
    ("classes", "rows"), [(8193, 129), pytest.param(*REDUCED_TALL, marks=pytest.mark.full)], ids=["smaller", "default"]
)
def test_an_offset_that_wraps_is_caught_in_a_mean(monkeypatch, classes, rows):
    monkeypatch.setattr(_again, "REDUCED_TALL", (classes, rows))
    wrapping = offsets_that_wrap(2 ** int(np.log2(classes * rows)))
    result = checked(lambda x, t: wrapping(x, t).mean(), cases=f"check/width_{classes}", returns="mean")
    assert not result.passed
    assert result.failures["how"].eq(f"in a batch of {rows} rows").all(), str(result)


# --- a huge batch, here a smaller one ------------------------------------------------------------------------------


@pytest.fixture
def smaller(monkeypatch):
    monkeypatch.setattr(_huge, "ROWS", 2_100)
    monkeypatch.setattr(_huge, "CLASSES", 1_025)


@pytest.mark.usefixtures("smaller")
def test_a_huge_batch_is_one_call():
    shapes = set()

    def loss(x, t):
        shapes.add(tuple(x.shape))
        return sound(x, t)

    result = checked(loss, cases="check/width_3", huge=True, dtypes=["float32", "bfloat16"])
    assert result.passed, str(result)
    assert (2_100, 1_025) in shapes
    lines = result.lines[result.lines["how"] == "in a batch of 2100 rows"]
    assert set(lines["quantity"]) == {"loss", "gradient"}
    assert set(lines["dtype"]) == {"bfloat16"}, "the dtype that takes the least memory"
    assert len(lines) == 2 * 22, "a line for each row and quantity, not for each copy"


@pytest.mark.usefixtures("smaller")
def test_an_offset_that_wraps_in_a_huge_batch_is_caught():
    cases = {"cases": "check/width_3"}
    assert checked(offsets_that_wrap(2**21), **cases).passed
    result = checked(offsets_that_wrap(2**21), huge=True, **cases)
    assert COMPANY in broken(result), str(result)


@pytest.mark.usefixtures("smaller")
def test_a_gradient_that_wraps_in_a_huge_batch_is_caught():
    @differentiated_by
    def wrapped(x, t, upstream):
        gradient = torch.softmax(x, 1)
        offset = torch.arange(len(x)) * x.shape[1] + t
        gradient.reshape(-1)[offset % 2**21] -= 1
        return gradient * upstream[:, None]

    result = checked(wrapped, cases="check/width_3", huge=True)
    assert set(result.failures["quantity"]) == {"gradient"}
    assert result.failures["how"].eq("in a batch of 2100 rows").all(), str(result)


def test_a_huge_batch_that_does_not_fit_is_refused_in_one_line(monkeypatch):
    memory = psutil.virtual_memory()._replace(available=3 * 10**9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(logitlab.UsageError, match=r"in float16 needs about 21 GB of memory, but 3 GB are available"):
        checked(sound, huge=True, dtypes=None)
    assert _huge.ROWS * _huge.CLASSES > 2**31


# --- ignored rows ------------------------------------------------------------------------------------------------


IGNORED = "ignored rows have no effect"
CASES = ["check/ignored_*", "ignored/*"]


def plain(x, t, ignore_index=-100, reduction="none"):
    """PyTorch's own loss, whose gradient is NaN in an ignored row with NaN."""
    return F.cross_entropy(x, t, ignore_index=ignore_index, reduction=reduction)


def guarded(x, t, ignore_index=-100, reduction="none"):
    return plain(x.masked_fill((t == ignore_index)[:, None], 0.0), t, ignore_index, reduction)


def into_other_rows(x, t, ignore_index=-100):
    rows = guarded(x, t, ignore_index)
    return rows + 0 * x.sum() * (t != ignore_index)


def smallest_gradient(x, t, ignore_index=-100):
    """A gradient of an ignored row that is tiny instead of 0."""
    return guarded(x, t, ignore_index) + (1e-37 * torch.nan_to_num(x).sum(1)).where(t == ignore_index, 0.0)


@pytest.mark.parametrize(("loss", "noted"), [(guarded, False), (plain, True)])
def test_a_loss_whose_ignored_rows_count_nothing_passes(loss, noted):
    result = checked(loss, cases=CASES)
    assert result.passed, str(result)
    assert result.properties.set_index("property").loc[IGNORED, "rows"] > 300
    assert ("ignored rows that hold NaN or infinities is not 0" in str(result)) == noted


def times_zero(x, t, ignore_index=-100):
    """The loss of an ignored row with NaN is NaN, and the mean of the batch is NaN too."""
    counts = t != ignore_index
    return sound(x, torch.where(counts, t, 0)) * counts


@pytest.mark.parametrize("loss", [into_other_rows, smallest_gradient, times_zero])
def test_an_ignored_row_that_counts_is_caught(loss):
    result = checked(loss, cases=CASES)
    assert IGNORED in broken(result), str(result)


def test_a_loss_that_names_no_ignore_index_has_no_such_property():
    assert IGNORED not in set(checked(sound, cases="check/width_3").properties["property"])
