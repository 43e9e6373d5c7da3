"""The adapter of cut cross-entropy, with a stand-in for the package.

Its kernels call functions of libdevice, which Triton's interpreter does not have (triton-lang/triton#8825). With
version 25.1.1 and Triton 3.7 every interpreted call raises, so that the real kernels need a GPU. Liger-Kernel's run in
`test_interpreted.py`.
"""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch program gives it

from logitlab.execution import registry
from logitlab.frameworks import LinearBatch, _torch_losses
from logitlab.frameworks.linear import _cut_cross_entropy, _liger
from logitlab.frameworks.torch import FRAMEWORK

LIGER, FUSED, CUT = _torch_losses.LIGER, _liger.KERNEL, _cut_cross_entropy.KERNEL
TARGETS = np.array([0, 2, 1])
OPTIONS = ({}, {"ignore_index": 2})


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


@pytest.mark.parametrize("implementation", [LIGER, _torch_losses.FLA, FUSED, CUT], ids=lambda i: i.name)
def test_the_kernels_run_eagerly_on_cuda_and_interpreted_on_the_cpu(implementation):
    info = registry._info(implementation, "1")
    assert [(d, m) for m in info.modes for d in ("cpu", "cuda") if info.runs_on(d, m)] == [
        ("cuda", "eager"),
        ("cpu", "interpreted"),
    ]
    assert info.devices_among(["cpu"]) == ("cpu", "cuda")
    assert implementation.reduces == (implementation is not _torch_losses.FLA)
    assert not implementation.soft
    assert implementation.class_axis is None
    assert implementation.name.startswith(f"torch/{implementation.package}.")
