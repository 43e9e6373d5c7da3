"""Compute the findings of ``docs/wild.md``; a finding that no longer holds stops the build.

Each runs a program in ``reproducers`` that needs only PyTorch and the library.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from findings import REPRODUCERS, Facts, hold, reproduced

Given = dict[str, list[float]]


def _facts(program: str, given: Given) -> Facts:
    return {"program": (REPRODUCERS / f"{program}.py").read_text(), "given": given}


def _is_off(number: float, exact: float) -> bool:
    return not math.isclose(number, exact, rel_tol=1e-3)


def trl() -> Facts:
    """Return the losses and gradients of TRL's functions at an offset of 1e9 and with a masked tile."""
    given = reproduced("wild_trl")
    loss, of_target, of_other = given["trl"]
    hold((loss, of_target, of_other) == (0, 0, 1), "trl", f"selective_log_softmax gives {given['trl']} at 1e9")
    hold(not _is_off(given["torch"][0], math.log(129)), "trl", f"F.cross_entropy gives {given['torch']} at 1e9")
    hold(math.isnan(given["trl_masked"][0]), "trl", f"the chunked loss of a masked tile is {given['trl_masked']}")
    return _facts("wild_trl", given)


def trl_kernel() -> Facts:
    """Return the losses of TRL's Triton kernel with a masked block, and of logits stored by columns."""
    given = reproduced("wild_trl_kernel")
    name = "trl_kernel"
    hold(math.isnan(given["trl_masked"][0]), name, f"the kernel's loss of a masked block is {given['trl_masked']}")
    rows = zip(given["trl_transposed"], given["torch_transposed"], strict=True)
    hold(all(_is_off(*row) for row in rows), name, f"of transposed logits it is {given['trl_transposed']}")
    return _facts("wild_trl_kernel", given)


def transformers() -> Facts:
    """Return the losses of Transformers in float64, and with options that it does not take."""
    given = reproduced("wild_transformers")
    name = "transformers"
    hold(math.isnan(given["transformers_float64"][0]), name, f"in float64 it is {given['transformers_float64']}")
    plain = given["transformers_options"] == given["torch_no_options"]
    hold(plain, name, f"with label smoothing and a sum it is {given['transformers_options']}")
    return _facts("wild_transformers", given)


def torchmetrics() -> Facts:
    """Return the perplexity of 100 tokens of which one has a loss of 200."""
    given = reproduced("wild_torchmetrics")
    hold(math.isinf(given["torchmetrics"][0]), "torchmetrics", f"the perplexity is {given['torchmetrics']}")
    return _facts("wild_torchmetrics", given)


WILD_FINDINGS: dict[str, Callable[[], Facts]] = {
    "trl": trl, "trl_kernel": trl_kernel, "transformers": transformers, "torchmetrics": torchmetrics,
}  # fmt: skip
