"""The adapters of fused kernels, with stand-ins for the packages, which need a GPU."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch program gives it

from logitlab.frameworks import Batch, _torch_losses
from logitlab.frameworks.torch import FRAMEWORK

LIGER, CUT = _torch_losses.FUSED
INF = float("inf")
LOGITS = np.array([[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0], [3.0, 2.0, 1.0]], np.float32)
TARGETS = np.array([0, 2, 1])
OPTIONS = ({}, {"ignore_index": 2})
LIGER_OPTIONS = (
    *OPTIONS,
    {"label_smoothing": 0.1},
    {"weight": np.array([0.5, 2.0, 3.0], np.float32)},
    {"weight": np.array([0.5, 2.0, 3.0], np.float32), "label_smoothing": 0.1, "ignore_index": 2},
)


class _GradientInPlace(torch.autograd.Function):
    """Like Liger's: the forward pass overwrites its input with the gradient, without autograd's knowledge."""

    @staticmethod
    def forward(ctx, x, target, options):
        with torch.enable_grad():
            copy = x.detach().clone().requires_grad_()
            loss = F.cross_entropy(copy, target, **options)
            (gradient,) = torch.autograd.grad(loss.sum(), copy)
        x.data.copy_(gradient)
        ctx.save_for_backward(x.detach())
        return loss.detach()

    @staticmethod
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return gradient * (upstream[:, None] if upstream.ndim else upstream), None, None


@pytest.fixture
def liger(monkeypatch):
    """A stand-in with the signature of liger_kernel 0.8.5 that records its arguments."""
    seen = SimpleNamespace()

    def liger_cross_entropy(
        input,  # noqa: A002 - the package's name for it
        target,
        weight=None,
        size_average=None,
        ignore_index=-100,
        reduce=None,
        reduction="mean",
        label_smoothing=0.0,
        lse_square_scale=0.0,
        softcap=None,
        return_z_loss=False,
        return_token_accuracy=False,
        return_predicted_tokens=False,
    ):
        assert size_average is reduce is softcap is None
        assert return_z_loss == return_token_accuracy == return_predicted_tokens == 0
        seen.lse_square_scale = lse_square_scale
        seen.input, seen.strides = input, input.stride()
        options = {"weight": weight, "ignore_index": ignore_index, "label_smoothing": label_smoothing}
        return _GradientInPlace.apply(input, target, {"reduction": reduction, **options})

    _install(monkeypatch, "liger_kernel.transformers.functional", liger_cross_entropy)
    return seen


@pytest.fixture
def cut(monkeypatch):
    """A stand-in with the signature of cut_cross_entropy 25.1.1 that records its arguments."""
    seen = SimpleNamespace()

    def linear_cross_entropy(
        e, c, targets, ignore_index=-100, softcap=None, reduction="mean", shift=False, filter_eps="high", impl="cce"
    ):
        assert (softcap, shift, filter_eps, impl) == (None, False, "high", "cce")
        seen.e, seen.c = e, c
        return F.cross_entropy((e @ c.T).float(), targets, ignore_index=ignore_index, reduction=reduction)

    _install(monkeypatch, "cut_cross_entropy", linear_cross_entropy)
    return seen


def _install(monkeypatch, name, function):
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
    setattr(sys.modules[name], function.__name__, function)


def evaluated(implementation, logits, targets, reduction="none", **options):
    batch = Batch(logits, targets, reduction, options)
    return dict(FRAMEWORK.evaluate(implementation, batch, "cpu", "eager"))


def expected(logits, targets, reduction, **options):
    x = torch.tensor(logits, requires_grad=True)
    tensors = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    loss = F.cross_entropy(x, torch.tensor(targets), reduction=reduction, **tensors)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    return {"loss": loss.detach().numpy(), "gradient": gradient.numpy()}


def assert_as_in_torch(implementation, reduction, options):
    got = evaluated(implementation, LOGITS, TARGETS, reduction, **options)
    for quantity, values in expected(LOGITS, TARGETS, reduction, **options).items():
        assert got[quantity].shape == values.shape
        np.testing.assert_allclose(got[quantity], values, rtol=1e-6, err_msg=quantity)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("options", LIGER_OPTIONS, ids=" ".join)
def test_liger_is_given_every_option_and_gives_its_loss_and_gradient(liger, options, reduction):
    assert_as_in_torch(LIGER, reduction, options)


def test_liger_takes_the_z_loss_under_its_own_name(liger):
    evaluated(LIGER, LOGITS, TARGETS, "mean", z_loss=0.25)
    assert liger.lse_square_scale == 0.25


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_the_cut_loss_is_given_its_options_and_gives_its_loss_and_gradient(cut, options, reduction):
    assert_as_in_torch(CUT, reduction, options)


def test_liger_writes_its_gradient_over_a_clone_and_not_over_the_callers_logits(liger):
    x = torch.tensor(LOGITS, requires_grad=True)
    _torch_losses.liger_cross_entropy(x, torch.tensor(TARGETS), reduction="sum")
    assert torch.equal(x, torch.tensor(LOGITS))
    np.testing.assert_allclose(liger.input.detach(), expected(LOGITS, TARGETS, "sum")["gradient"], rtol=1e-6)


def test_liger_is_given_logits_by_columns_as_they_lie_in_memory(liger):
    batch = Batch(LOGITS[:2], TARGETS[:2], layout="transposed")
    list(FRAMEWORK.evaluate(LIGER, batch, "cpu", "eager"))
    assert liger.strides == (1, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_classifier_is_the_identity_in_the_logits_dtype_without_a_gradient(cut, dtype):
    x = torch.tensor(LOGITS, dtype=dtype, requires_grad=True)
    _torch_losses.cut_cross_entropy(x, torch.tensor(TARGETS), reduction="none")
    assert cut.e is x
    assert cut.c.dtype == dtype
    assert not cut.c.requires_grad
    assert torch.equal(cut.c, torch.tensor(np.eye(3), dtype=dtype))


def test_an_infinite_logit_makes_its_row_nan_times_the_identity_and_no_other_row(cut):
    logits = np.vstack([LOGITS, np.array([[-INF, 1.0, 2.0]], np.float32)])
    got = evaluated(CUT, logits, np.array([0, 2, 1, 1]))
    assert np.isnan(got["loss"]).tolist() == [False, False, False, True]
    assert np.isnan(got["gradient"]).any(axis=1).tolist() == [False, False, False, True]


@pytest.mark.parametrize("option", ["weight", "label_smoothing"])
def test_the_cut_loss_itself_refuses_an_option_that_it_does_not_take(cut, option):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{option}'"):
        evaluated(CUT, LOGITS, TARGETS, **{option: 0.1})


def test_a_larger_identity_is_refused_before_it_is_made(cut):
    with pytest.raises(NotImplementedError, match=r"50257 classes need an identity .* at most 16384 are taken"):
        evaluated(CUT, np.zeros((1, 50_257), np.float16), np.array([0]))
    assert not hasattr(cut, "c")


def test_an_identity_of_the_largest_size_is_made(cut, monkeypatch):
    monkeypatch.setattr(_torch_losses, "MAX_IDENTITY_CLASSES", 3)
    evaluated(CUT, LOGITS, TARGETS)
    assert cut.c.shape == (3, 3)


@pytest.mark.parametrize("implementation", [LIGER, CUT], ids=lambda i: i.package)
def test_both_run_only_on_cuda_and_eagerly_on_class_indices(implementation):
    assert implementation.devices == ("cuda",)
    assert implementation.modes == ("eager",)
    assert implementation.reduces
    assert not implementation.soft
    assert implementation.class_axis is None
    assert implementation.name.startswith(f"torch/{implementation.package}.")
