"""The adapters of fused kernels, with stand-ins for the packages, which need a GPU."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch program gives it

from logitlab.frameworks import Batch, LinearBatch, _torch_losses
from logitlab.frameworks.linear import _cut_cross_entropy
from logitlab.frameworks.torch import FRAMEWORK

LIGER, CUT = _torch_losses.LIGER, _cut_cross_entropy.KERNEL
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
        assert (shift, filter_eps) == (False, "high")
        seen.e, seen.c, seen.impl = e, c, impl
        logits = e @ c.T if softcap is None else softcap * torch.tanh(e @ c.T / softcap)
        return F.cross_entropy(logits.float(), targets, ignore_index=ignore_index, reduction=reduction)

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


HIDDEN = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.25]], np.float32)
WEIGHT = np.array([[1.0, 0.5], [-1.0, 2.0], [0.25, 0.125]], np.float32)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("options", [*OPTIONS, {"softcap": 2.0}], ids=" ".join)
@pytest.mark.parametrize("implementation", [CUT, _cut_cross_entropy.COMPILED], ids=lambda i: i.name)
def test_the_cut_loss_is_given_its_options_and_gives_its_loss_and_gradients(cut, implementation, options, reduction):
    batch = LinearBatch(HIDDEN, WEIGHT, None, TARGETS, reduction, options)
    got = dict(FRAMEWORK.evaluate_linear(implementation, batch, "cpu", "eager"))
    h, w = (torch.tensor(a, requires_grad=True) for a in (HIDDEN, WEIGHT))
    capped = {k: v for k, v in options.items() if k == "softcap"}
    z = h @ w.T if not capped else 2.0 * torch.tanh(h @ w.T / 2.0)
    others = {k: v for k, v in options.items() if k != "softcap"}
    loss = F.cross_entropy(z, torch.tensor(TARGETS), reduction=reduction, **others)
    by_hidden, by_weight = torch.autograd.grad(loss.sum(), (h, w))
    assert cut.impl == ("cce" if implementation is CUT else "torch_compile")
    for quantity, wanted in {"loss": loss, "gradient_hidden": by_hidden, "gradient_weight": by_weight}.items():
        np.testing.assert_allclose(got[quantity], wanted.detach(), rtol=1e-6, err_msg=quantity)


def test_the_cut_loss_takes_no_bias_and_no_class_weights():
    for more, words in (
        ({"bias": np.zeros(3, np.float32)}, "bias"),
        ({"options": {"weight": WEIGHT[:, 0]}}, "class_weight"),
    ):
        batch = LinearBatch(HIDDEN, WEIGHT, **{"bias": None, "targets": TARGETS} | more)
        assert batch.refusal(CUT) == f"takes no {words}"


def test_liger_writes_its_gradient_over_a_clone_and_not_over_the_callers_logits(liger):
    x = torch.tensor(LOGITS, requires_grad=True)
    _torch_losses.liger_cross_entropy(x, torch.tensor(TARGETS), reduction="sum")
    assert torch.equal(x, torch.tensor(LOGITS))
    np.testing.assert_allclose(liger.input.detach(), expected(LOGITS, TARGETS, "sum")["gradient"], rtol=1e-6)


def test_liger_is_given_logits_by_columns_as_they_lie_in_memory(liger):
    batch = Batch(LOGITS[:2], TARGETS[:2], layout="transposed")
    list(FRAMEWORK.evaluate(LIGER, batch, "cpu", "eager"))
    assert liger.strides == (1, 2)


@pytest.mark.parametrize("implementation", [LIGER, CUT], ids=lambda i: i.package)
def test_both_run_only_on_cuda_and_eagerly_on_class_indices(implementation):
    assert implementation.devices == ("cuda",)
    assert implementation.modes == ("eager",)
    assert implementation.reduces
    assert not implementation.soft
    assert implementation.class_axis is None
    assert implementation.name.startswith(f"torch/{implementation.package}.")
