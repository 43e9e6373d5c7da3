"""`check` in the mode `interpreted`: a loss of Triton or Pallas kernels, and the refusals without their interpreter."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from logitlab.core import interpreting
from logitlab.core.errors import UsageError

TESTS = Path(__file__).parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton has wheels for Linux alone")


def test_check_refuses_a_triton_that_compiles(monkeypatch):
    assert "triton.language" in sys.modules, "conftest.py imports it"
    monkeypatch.setenv(interpreting.VARIABLE, "1")  # too late
    with pytest.raises(UsageError, match=r"triton was imported without TRITON_INTERPRET=1.*before the first import"):
        interpreting.interpret_triton()


def test_check_says_how_to_install_triton(monkeypatch):
    monkeypatch.setattr(interpreting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'logitlab\[interpreted\]'"):
        interpreting.interpret_triton()


# Checks losses of a module of the corpus in a new process, since this one's Triton may compile, and calls Liger there.
CHECK_EACH = """
import importlib, json, sys
import logitlab
from logitlab.core import interpreting
framework, module, quick, *names = sys.argv[1:]
if framework == "torch":
    interpreting.interpret_triton()
from logitlab.studies.audit.corpus import planted_in
found = {}
for planted in list(planted_in(importlib.import_module(f"logitlab.studies.audit.corpus.{module}"))):
    if names and planted.name not in names:
        continue
    dtypes = planted.dtypes if quick == "whole" else planted.dtypes[:1]
    # Of the few losses, the wrong ones are tried on the cases that a quick check chooses.
    cases = ["check/width_5", "check/width_129"] if names and planted.wrong is None else None
    result = logitlab.check(
        planted.loss, framework, dtypes, mode="interpreted", quick=quick == "quick", first=planted.wrong is not None,
        cases=cases, shrink=False, progress=False,
    )
    wrong = sorted(set(result.failures["quantity"]))
    found[planted.name] = [planted.wrong, result.passed, wrong, len(result.lines), str(result)]
called = {}
if framework == "torch":  # Liger through the adapter: the caller's logits, the loss and the gradient
    import torch
    from logitlab.frameworks import _torch_losses
    x = torch.tensor([[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0]], requires_grad=True)
    t = torch.tensor([0, 2])
    loss = _torch_losses.liger_cross_entropy(x, t, reduction="sum", z_loss=0.25)
    loss.backward()
    lse = torch.logsumexp(x.detach(), dim=1)
    expected = torch.nn.functional.cross_entropy(x.detach(), t, reduction="sum") + 0.25 * (lse**2).sum()
    called = {"x": x.tolist(), "gradient": x.grad.tolist(), "loss": loss.item(), "expected": expected.item()}
print(json.dumps([found, called]))
"""


@cache
def checked(framework: str, module: str, quick: str, names: tuple[str, ...]) -> tuple[dict[str, list], dict]:
    environment = {k: v for k, v in os.environ.items() if k != interpreting.VARIABLE}
    command = [sys.executable, "-c", CHECK_EACH, framework, module, quick, *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


QUICK = ("torch", "torch_more.triton", "quick", ("online", "unshifted", "upstream_is_one"))


@pytest.mark.parametrize(
    ("framework", "module", "quick", "names"),
    [
        QUICK,
        pytest.param("torch", "torch_more.triton", "quick", (), marks=pytest.mark.full),
        pytest.param("torch", "torch_more.triton", "whole", (), marks=pytest.mark.full),
        pytest.param("jax", "jax.pallas", "quick", (), marks=pytest.mark.full),
        pytest.param("jax", "jax.pallas", "whole", (), marks=pytest.mark.full),
    ],
)
def test_check_passes_a_sound_kernel_and_fails_each_defective_one(framework, module, quick, names):
    found, _ = checked(framework, module, quick, names)
    assert not names or found.keys() == set(names)
    assert sum(wrong is not None for wrong, *_ in found.values()) >= 2
    for name, (wrong, passed, failing, lines, text) in found.items():
        assert lines > (100 if names else 300) or wrong is not None, name
        assert passed == (wrong is None), f"{name}: {text}"
        assert wrong is None or wrong in failing, f"{name}: {failing}"
        assert "interpreted" in text
        assert interpreting.NOTE in " ".join(text.split())


def test_liger_writes_its_gradient_over_a_clone_and_takes_the_z_loss_under_its_own_name():
    _, called = checked(*QUICK)
    assert called["x"] == pytest.approx(np.array([[2.0, 1.0, 0.1], [1000.0, 1.0, -1000.0]]))
    assert np.isfinite(called["gradient"]).all()
    assert called["gradient"] != called["x"]
    assert called["loss"] == pytest.approx(called["expected"], rel=1e-6)
