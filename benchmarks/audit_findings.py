"""Audit what the test files of eight projects state: shape, values, dtype and tolerances, on losses of logits.

`python benchmarks/audit_findings.py NAME...` runs them and prints a line of Markdown for each. The tests below are
written from the numbers in those files; `docs/audit-findings.md` names the files. Loss options are left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from logitlab.studies.audit import Kind, corpus
from logitlab.studies.audit._faults import shown_by
from logitlab.studies.audit._kinds import kind_of


def _compare(
    loss: Any, logits: torch.Tensor, targets: torch.Tensor, atol: float, rtol: float, *,
    reduction: str = "none", gradient: tuple[float, float] | None = None, upstream: str = "ones",
) -> None:  # fmt: skip
    x, reference = (logits.clone().requires_grad_() for _ in range(2))
    found = getattr(loss(x, targets), reduction if reduction != "none" else "clone")()
    expected = F.cross_entropy(reference, targets, reduction=reduction)
    _close(found, expected, atol, rtol)
    if gradient is not None:
        factor = {"ones": torch.ones_like, "randn": torch.randn_like, "square": lambda e: 2 * e}[upstream](expected)
        factor = factor.detach()
        found.backward(factor.to(found.dtype))
        expected.backward(factor)
        _close(x.grad, reference.grad, *gradient)


def _close(found: Any, expected: Any, atol: float, rtol: float) -> None:
    assert torch.allclose(found.double(), expected.double(), atol=atol, rtol=rtol)


def _batch(rows: int, classes: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(rows, classes).to(dtype), torch.randint(0, classes, (rows,))


def liger(loss: Any) -> None:
    x, t = _batch(4, 32000, torch.bfloat16)
    _compare(loss, x, t, 1e-8, 5e-2, gradient=(1e-8, 5e-2))


def liger_fused_sum(loss: Any) -> None:
    x, t = _batch(188, 123, torch.bfloat16)
    _compare(loss, 0.58 * x, t, 5.0, 50.0, reduction="sum", gradient=(5.0, 50.0))


def quack(loss: Any) -> None:
    for rows, classes in ((1, 192), (289, 668), (289, 1128), (4, 32768)):
        x, t = _batch(rows, classes)
        _compare(loss, 0.1 * x, t, 5e-5, 1e-5, gradient=(5e-5, 1e-5), upstream="randn")
    x, t = _batch(8, 512)
    _close(loss(x + 100, t), loss(x, t), 1e-5, 1e-5)
    x, t = 0.1 * _batch(16, 1024)[0], torch.zeros(16, dtype=torch.long)
    for target in (t, t + 1023):
        _compare(loss, x, target, 1e-4, 1e-4)


def transformer_engine(loss: Any) -> None:
    torch.manual_seed(0)
    x, t = torch.rand(4, 64000), torch.randint(0, 64000, (4,))
    _compare(loss, x, t, 1e-5, 1.3e-6, reduction="mean", gradient=(1e-5, 1.3e-6), upstream="square")


def cut_cross_entropy(loss: Any) -> None:
    x, t = _batch(252, 507)
    _compare(loss, x, t, 1e-5, 0.0)
    x, t = _batch(252, 507)
    y = x.clone().requires_grad_()
    loss(x.requires_grad_(), t).mean().backward()
    F.cross_entropy(y, t).backward()
    _close(x.grad, y.grad, 5e-4, 0.0)


def megatron(loss: Any) -> None:
    x, t = torch.arange(8.0).repeat(16, 4), torch.arange(0, 32, 2)
    assert torch.equal(loss(x, t).round(), F.cross_entropy(x, t, reduction="none").round())
    small = torch.tensor([[1.0, 2.0, 3.0], [0.5, -0.5, 1.0]])
    _compare(loss, small, torch.tensor([2, 0]), 1e-5, 1.3e-6)


def torchtitan(loss: Any) -> None:
    x, t = _batch(8, 16)
    _compare(loss, x, t, 1e-5, 1.3e-6, reduction="sum")
    x, t = _batch(24, 17)
    _compare(loss, x, t, 1e-5, 1.3e-6, reduction="sum", gradient=(1e-5, 1.3e-6))


def tokamax(loss: Any) -> None:
    x, t = _batch(64, 2048)
    _compare(loss, 32 * x, t, 0.3, 0.3, gradient=(0.3, 0.3))


def maxtext(loss: Any) -> None:
    torch.manual_seed(0)
    x, t = torch.rand(64, 4096), torch.randint(1, 10, (64,))
    _compare(loss, x, t, 1e-8, 1e-5)


TESTS = (
    liger_fused_sum, quack, maxtext, tokamax, liger, transformer_engine, cut_cross_entropy, megatron, torchtitan,
)  # fmt: skip
# The tests in another dtype than float32.
DTYPES = {liger_fused_sum: "bfloat16", liger: "bfloat16"}


def raises(test: Callable[[Any], None], loss: Any) -> bool:
    """Run a test on a loss in a fork of this process, which has used PyTorch for nothing yet."""
    child = os.fork()
    if not child:
        code = 1
        torch.set_num_threads(1)
        try:
            test(loss)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] != 0


def main(names: list[str]) -> None:
    for test in TESTS:
        if names and test.__name__ not in names:
            continue
        dtype = DTYPES.get(test, "float32")
        kinds: dict[Kind, list[bool]] = {}
        for fault in corpus.defects():
            kind = kind_of(fault.module, fault.name)
            if fault.framework == "torch" and kind is not Kind.OPTIONS and shown_by(fault, dtype):
                kinds.setdefault(kind, []).append(raises(test, fault.load().loss))
        sound = corpus.sound_everywhere("torch")
        rejected = [each.name for each in sound if raises(test, each.load().loss)]
        noticed, count = sum(map(sum, kinds.values())), sum(map(len, kinds.values()))
        each_kind = "; ".join(f"{kind} {sum(kinds[kind])}/{len(kinds[kind])}" for kind in Kind if kind in kinds)
        print(f"| {test.__name__} | {dtype} | {noticed} of {count} | {len(rejected)} of {len(sound)} | {each_kind} |")
        print("  rejected:", *rejected, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
