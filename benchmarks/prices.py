"""Measure the price of accuracy: time and peak memory of each implementation, against its framework's built-in loss.

The measured call is that of a run: it converts NumPy arrays, computes all quantities of the implementation, and
converts them back. Each implementation runs in a separate process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from logitlab.execution.registry import Description

ONE = Path(__file__).with_name("one_call.py")
BUILTIN = {
    "numpy": "numpy/scipy.special.log_softmax",
    "torch": "torch/F.cross_entropy",
    "jax": "jax/nn.log_softmax",
    "tensorflow": "tensorflow/nn.sparse_softmax_cross_entropy_with_logits",
}


def table(descriptions: Sequence[Description], modes: Sequence[str]) -> pd.DataFrame:
    """Return a line for each implementation and mode that returns a float32 loss on the CPU."""
    lines = [
        {"implementation": info.name, "mode": mode, "gives": ", ".join(info.quantities)} | cost
        for d in descriptions
        if d.missing is None and d.framework in BUILTIN
        for info in d.implementations
        if info.version is not None and not info.on_request
        for mode in info.modes
        if mode in modes and (cost := _cost(d.framework, info.name, mode))
    ]
    found = pd.DataFrame(lines)
    for column in ("ms", "peak MiB"):
        of_each = zip(found["implementation"], found["mode"], found[column], strict=True)
        found[f"{column}, over built-in"] = [_over(found, name, mode, column, value) for name, mode, value in of_each]
    return found


def _over(found: pd.DataFrame, implementation: str, mode: str, column: str, value: float) -> float:
    framework = implementation.partition("/")[0]
    base = found[(found["implementation"] == BUILTIN[framework]) & (found["mode"] == mode)][column]
    return round(value / base.iloc[0], 2) if len(base) and base.iloc[0] >= 1 else float("nan")


def _cost(framework: str, implementation: str, mode: str) -> dict[str, float]:
    """Return the time and memory of an implementation; empty if it does not take such a batch."""
    words = [sys.executable, str(ONE), framework, implementation, mode]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"left out: {implementation} {mode}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        return {}
    cost: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return cost
