"""`check` of losses that return one number for a batch, and of losses that write into their logits."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere

import logitlab
from logitlab.core.errors import UsageError
from logitlab.core.formats import get_format
from logitlab.oracle import reference
from logitlab.studies.check.batches._chosen import chosen_cases
from logitlab.studies.check.batches._reduced import reduced
from logitlab.studies.check.batches._rows import batches
from logitlab.studies.testing import logit_cases

SMALL = ["seed/*", "masks/first", "masks/on_target", "check/width_5", "check/far_16"]
WITH_OPTIONS = ["check/*_5", "check/*_33", "ignored/*", "weights/*"]


def sound(x, t, reduction="mean"):
    return F.cross_entropy(x, t, reduction=reduction)


def sound_mean(x, t):
    return sound(x, t)


def checked(loss, returns="mean", cases=SMALL, **options):
    options = {"shrink": False, "repeat": 0} | options
    return logitlab.check(loss, "torch", "float32", returns=returns, cases=cases, **options)


def broken(result):
    return set(result.properties.loc[~result.properties["held"], "property"])


# --- the exact answer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", ["check/width_3", "check/weight_3", "check/ignore_index_5", "check/options_33"])
def test_the_answer_of_a_batch_that_follows_from_its_rows_is_the_oracle_s(case, reduction):
    options = ("label_smoothing", "weight", "ignore_index")
    for rows in batches(chosen_cases([case], options, few_shapes=False), get_format("float32")):
        finite = rows.take(np.flatnonzero(np.isfinite(rows.exact.loss.hi) & rows.exact.defined))
        found = reduced(finite, reduction).exact
        wanted = reference(finite.logits, finite.targets, reduction=reduction, **finite.options.values)
        for name in ("loss", "gradient"):
            one, other = getattr(found, name), getattr(wanted, name)
            assert np.array_equal(one.hi, other.hi), name
            assert np.allclose(one.lo, other.lo, rtol=0, atol=1e-30 * np.abs(other.hi).max())
        assert found.scale == wanted.scale


# --- sound losses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("returns", ["mean", "sum"])
def test_a_mean_and_a_sum_pass(returns):
    result = checked(lambda x, t: sound(x, t, returns), returns)
    assert result.passed, str(result)
    assert not result.options
    assert {"rows of 5 classes"} < set(result.lines["case"]) | {"rows of 5 classes"}


def test_every_kind_of_call_is_made():
    lines = checked(sound_mean, cases=["check/width_5", "check/width_6"]).lines
    wanted = {
        "as catalogued", "called again", "its losses weighted", "under the upstream gradient 1/2",
        "without its gradient", "differentiated twice", "another batch in between",
        "sliced out of wider rows", "transposed in memory",
        "strided in memory", "classes permuted", "a constant added to each row", "rows in reverse order",
        "in two halves", "alone in its batch", "in a square batch", "in a batch of 1024 rows",
        "beside rows without a finite loss", "with strided targets",
    }  # fmt: skip
    assert wanted <= set(lines["how"])


def test_every_row_s_gradient_is_graded_and_no_infinite_loss_hides_a_batch():
    cases = ["masks/first", "masks/on_target", "check/width_5"]
    lines = checked(sound_mean, cases=cases).lines
    plainly = lines[lines["how"] == "as catalogued"]
    gradients = plainly[plainly["quantity"] == "gradient"]
    rows = checked(partial(F.cross_entropy, reduction="none"), "rows", cases).lines
    assert set(zip(gradients["case"], gradients["row"], strict=True)) == set(
        zip(rows["case"], rows["row"], strict=True)
    )
    losses = plainly[plainly["quantity"] == "loss"]
    assert losses[losses["row"] == -1]["exact"].map(np.isfinite).all()
    assert np.isinf(losses[losses["row"] >= 0]["exact"]).any()


def test_a_mean_with_options_divides_by_the_weights_of_the_rows_that_count():
    def loss(x, t, weight=None, ignore_index=-100, label_smoothing=0.0):
        return F.cross_entropy(x, t, weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing)

    result = checked(loss, cases=["check/*_5"])
    assert result.passed, str(result)
    assert result.options == ("label_smoothing", "weight", "ignore_index")


def test_a_loss_that_names_reduction_gets_the_announced_one():
    seen = set()

    def loss(x, t, reduction="none"):
        seen.add(reduction)
        return F.cross_entropy(x, t, reduction=reduction)

    result = checked(loss, "sum", cases=["seed/*"])
    assert (result.passed, seen, result.options) == (True, {"sum"}, ())


def test_numpy_s_mean_has_a_gradient_written_by_hand():
    def rows(x, t):
        m = x.max(axis=1, keepdims=True)
        return np.log(np.exp(x - m).sum(axis=1)) + m[:, 0] - x[np.arange(len(x)), t]

    def mean(x, t):
        return rows(x, t).mean()

    def gradient(x, t):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return (e / e.sum(axis=1, keepdims=True) - np.eye(x.shape[1], dtype=x.dtype)[t]) / x.dtype.type(len(x))

    def undivided(x, t):
        return gradient(x, t) * x.dtype.type(len(x))

    def of(by_hand):
        return logitlab.check(
            mean, "numpy", "float64", "C", gradient=by_hand, returns="mean", cases=["seed/*"], shrink=False
        )

    assert of(gradient).grades_by_quantity["float64"]["gradient"] in "AB"
    assert of(undivided).grades_by_quantity["float64"]["gradient"] == "D"


# --- wrong losses -----------------------------------------------------------------------------------------------


def total(x, t):
    return sound(x, t, "sum")


def divided_twice(x, t):
    return sound(x, t) / len(x)


def gradient_not_divided(x, t):
    total = sound(x, t, "sum")
    return total + (sound(x, t) - total).detach()


def gradient_divided_twice(x, t):
    mean = sound(x, t)
    return mean / len(x) + (mean - mean / len(x)).detach()


def without_infinity(x, t):
    return torch.nan_to_num(sound(x, t), posinf=1e4)


def skips_nan(x, t):
    return sound(x, t, "none").nanmean()


def polluted(x, t):
    rows = sound(x, t, "none")
    return rows.mean() + 0 * rows.sum().detach() * x.sum()


def leaves_out_the_last_of_many(x, t):
    return sound(x[: len(x) - (len(x) > 1000)], t[: len(x) - (len(x) > 1000)])


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("loss", "returns", "property_"),
    [
        (divided_twice, "mean", "rows independent of each other"),
        (total, "mean", "rows independent of each other"),
        (gradient_not_divided, "mean", "gradient is the loss's derivative"),
        (gradient_divided_twice, "mean", "gradient is the loss's derivative"),
        (without_infinity, "mean", "infinite where the answer is"),
        (skips_nan, "mean", "NaN propagated"),
        (polluted, "mean", "rows independent of each other"),
        (leaves_out_the_last_of_many, "mean", "rows independent of each other"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_wrong_loss_fails_and_breaks_its_property(loss, returns, property_):
    result = checked(loss, returns, ["masks/first", "check/width_5", "check/width_6"])
    assert not result.passed
    assert property_ in broken(result), broken(result)


@pytest.mark.full
def test_the_smallest_input_of_a_wrong_mean_is_small_and_its_program_prints_both_numbers():
    # These cases lead to a batch whose rows are right alone.
    result = checked(divided_twice, cases=["seed/*", "masks/*", "check/width_5", "check/far_16"], shrink=True)
    assert result.smallest.logits.shape[0] == 2
    assert result.smallest.logits.size <= 4
    assert result.script.count("print('exact:', ") == 2, "beside the row alone, where the loss is right"


# --- losses that write into their logits ------------------------------------------------------------------------


class _InPlace(torch.autograd.Function):
    """A kernel that stores the gradient in the logits, as Liger's does."""

    @staticmethod
    def forward(ctx, x, t, reduction):
        losses = F.cross_entropy(x, t, reduction=reduction)
        gradient = torch.softmax(x, 1)
        gradient[torch.arange(len(x)), t] -= 1
        x.copy_(gradient / (len(x) if reduction == "mean" else 1))
        ctx.save_for_backward(x.detach())
        return losses

    @staticmethod
    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        x *= upstream if upstream.ndim == 0 else upstream[:, None]
        return x, None, None


def overwriting(x, t):
    return _InPlace.apply(x, t, "none")


def overwriting_mean(x, t):
    return _InPlace.apply(x, t, "mean")


def writes_beside(x, t):
    """It writes into the row above its logits too, if they are part of a wider array."""
    if x.stride(0) > x.shape[1]:
        x.data.as_strided((1,), (1,), x.shape[1]).fill_(7.0)
    return F.cross_entropy(x, t, reduction="none")


CALLS = []


def wrong_the_second_time(x, t):
    CALLS.append(x.shape)
    return overwriting(x, t) * (1 + 0.01 * (len(CALLS) % 2))


@pytest.mark.parametrize(
    ("loss", "returns"), [pytest.param(overwriting, "rows", marks=pytest.mark.full), (overwriting_mean, "mean")]
)
def test_a_loss_that_may_overwrite_its_logits_passes_in_every_presentation(loss, returns):
    cases = ["masks/first", "check/width_3"]
    assert not checked(loss, returns, ["seed/article"], first=True).passed
    allowed, pure = checked(loss, returns, cases, may_overwrite=True), checked(sound_of(returns), returns, cases)
    assert allowed.passed, str(allowed)
    assert set(allowed.lines["how"]) == set(pure.lines["how"])
    assert "Writes into its logits, as allowed" in str(allowed)
    assert "as allowed" not in str(pure)


def sound_of(returns):
    return sound_mean if returns == "mean" else partial(F.cross_entropy, reduction="none")


@pytest.mark.parametrize(
    ("loss", "property_"),
    [(wrong_the_second_time, "deterministic"), (writes_beside, "arguments left as they are")],
)
def test_a_loss_that_may_overwrite_its_logits_fails_for_any_other_fault(loss, property_):
    result = checked(loss, "rows", ["check/width_5"], may_overwrite=True)
    assert not result.passed
    assert property_ in broken(result)


def test_numpy_s_gradient_gets_logits_that_the_loss_has_not_overwritten():
    def rows(x, t):
        m = x.max(axis=1, keepdims=True)
        losses = np.log(np.exp(x - m).sum(axis=1)) + (m[:, 0] - x[np.arange(len(x)), t])
        x[...] = 7
        return losses

    def gradient(x, t):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True) - np.eye(x.shape[1], dtype=x.dtype)[t]

    result = logitlab.check(rows, "numpy", "float64", gradient=gradient, may_overwrite=True, cases=["seed/*"])
    assert result.passed, str(result)


# --- losses that compute in another dtype than that of their logits ---------------------------------------------


def in_float32(x, t):
    return F.cross_entropy(x.float(), t, reduction="none").to(x.dtype)


def test_a_loss_that_computes_in_float32_is_graded_by_its_bounds():
    def graded(loss, internal, *, first=False):
        options = {"internal": internal, "cases": SMALL, "first": first, "shrink": False, "repeat": 0}
        return logitlab.check(loss, "torch", "float64", **options)

    assert not graded(in_float32, None, first=True).passed
    result = graded(in_float32, "float32")
    assert result.passed, str(result)
    assert set(result.lines["dtype"]) == {"float64"}
    assert "float32, in which it computes" in str(result)
    assert not graded(lambda x, t: in_float32(x.bfloat16(), t).double(), "float32", first=True).passed
    assert graded(partial(F.cross_entropy, reduction="none"), "float32").passed


# --- in pytest --------------------------------------------------------------------------------------------------


def a_case(name="layout/rows"):
    (case,) = logit_cases(name)
    return case


@pytest.mark.parametrize("returns", ["rows", "mean", "sum"])
def test_a_case_asserts_on_a_mean_and_a_sum(returns):
    case = a_case()
    logits, targets = case.arrays("torch")
    loss = sound(logits.requires_grad_(), targets, "none" if returns == "rows" else returns)
    (gradient,) = torch.autograd.grad(loss, logits, torch.ones_like(loss))
    case.assert_loss(loss, returns=returns)
    case.assert_gradient(gradient, returns=returns)
    for wrong in ({"rows", "mean", "sum"} - {returns}) if returns != "rows" else ():
        with pytest.raises(AssertionError, match=r"loss below grade B|loss of shape \(\)"):
            case.assert_loss(loss, returns=wrong)
    other = "sum" if returns == "mean" else "mean"
    with pytest.raises(AssertionError, match="gradient below grade B"):
        case.assert_gradient(gradient, returns=other)


def test_a_case_gives_one_hot_targets_and_positions():
    case = a_case()
    rows, classes = case.logits.shape
    assert np.array_equal(case.onehot.argmax(1), case.targets)
    assert (case.onehot.dtype, case.onehot.sum()) == (case.logits.dtype, rows)
    for layout, shape in {"bc": (rows, classes), "btc": (1, rows, classes), "bct": (1, classes, rows)}.items():
        logits, onehot = case.arrays("torch", layout=layout, targets="onehot")
        assert tuple(logits.shape) == tuple(onehot.shape) == shape
        losses = F.cross_entropy(
            logits if layout != "btc" else logits.mT, onehot if layout != "btc" else onehot.mT, reduction="none"
        )
        case.assert_loss(losses.flatten())
        _, targets = case.arrays("torch", layout=layout)
        assert tuple(targets.shape) == ((rows,) if layout == "bc" else (1, rows))
    with pytest.raises(UsageError, match="layout is 'bt'; expected one of bc, btc, bct"):
        case.arrays("torch", layout="bt")


def test_assert_conforms_takes_the_form_of_a_loss_and_the_limits():
    logitlab.assert_conforms(
        sound_mean, "torch", "float32", returns="mean", cases=["seed/*"], max_rows=2, max_classes=3, quick=True
    )
    with pytest.raises(AssertionError, match=r"Limited to rows of at most 3 classes"):
        logitlab.assert_conforms(
            divided_twice, "torch", "float32", returns="mean", cases=["seed/*"], max_classes=3, shrink=False
        )


# --- what cannot be measured ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "returns", "advice"),
    [
        (F.cross_entropy, "rows", "add --returns mean or --returns sum"),
        (lambda x, t: F.cross_entropy(x, t, reduction="none"), "mean", "leave out --returns mean"),
    ],
    ids=["mean", "rows"],
)
def test_another_result_than_announced_cannot_be_measured(loss, returns, advice):
    def unnamed(x, t):
        return loss(x, t)

    with pytest.raises(UsageError, match=advice):
        checked(unnamed, returns)
