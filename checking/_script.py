"""A program of a dozen lines that shows a failure without LogitLab."""

from __future__ import annotations

import inspect
import math
import sys
import textwrap
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._loss import Candidate
from ._rows import AGAIN, BETWEEN, EVERY_OTHER, SHARE, SLICED, SUMMED, TWICE, UNTRACKED, Rows

RUNS_FROM = 8  # equal numbers that are written as a product


def script(candidate: Candidate, rows: Rows, quantity: str) -> str:
    """The source: it prints what the loss gives beside the exact answer, the first row's first."""
    write = _FRAMEWORKS.get(candidate.framework.name, _numpy)
    exact = rows.exact.loss.hi if quantity == "loss" else rows.exact.gradient.hi
    if rows.weights is not None:
        exact = exact * rows.weights.astype(np.float64)[:, None]
    lines = [
        f"# {candidate.name}: wrong {quantity} in {rows.fmt.name}, {rows.how}",
        *write(candidate, rows, _imported(candidate.loss), quantity),
        f"print('exact:', {_numbers(exact)})",
    ]
    return "\n".join(lines) + "\n"


def _imported(loss: Callable[..., Any]) -> str:
    """How a program gets the loss: an import where that can be, else its source."""
    module, name = getattr(loss, "__module__", None), getattr(loss, "__qualname__", "")
    if module and module != "__main__" and name.isidentifier():
        return f"{_path(module)}from {module} import {name} as loss"
    try:
        source = textwrap.dedent(inspect.getsource(loss))
    except (OSError, TypeError):
        return "from ... import ... as loss  # your function"
    name = name.rpartition(".")[2]
    return (
        f"{source}loss = {name}" if name.isidentifier() else f"# your function, which has no name to import: {source}"
    )


def _path(module: str) -> str:
    """What lets a program import a module from the folder it is run in, where it lies there."""
    root = sys.modules.get(module.partition(".")[0])
    file = getattr(root, "__file__", None)
    if file is None:
        return ""
    folder = Path(file).parent.parent if hasattr(root, "__path__") else Path(file).parent
    return "import sys; sys.path.append('.')  # run it here\n" if folder.resolve() == Path.cwd() else ""


def _torch(candidate: Candidate, rows: Rows, imported: str, quantity: str) -> list[str]:
    device = "" if candidate.device == "cpu" else f", device={candidate.device!r}"
    x = f"torch.tensor({_numbers(rows.logits)}, dtype=torch.{rows.fmt.name}{device}, requires_grad=True)"
    call = "torch.compile(loss)" if candidate.mode == "compiled" else "loss"
    weights = None if rows.weights is None else f"torch.tensor({_numbers(rows.weights)}, dtype=x.dtype{device})"
    given = _laid_in_torch(rows)
    lines = ["import torch", imported, f"x = {x}", f"t = torch.tensor({_targets(rows.targets)}{device})"]
    if rows.how == UNTRACKED:
        return [*lines, "with torch.no_grad():", f"    print('loss:', {call}({given}))"]
    lines.append(f"rows = {call}({given})")
    if rows.how == AGAIN:
        return [*lines, f"print('the same bits:', torch.equal(rows, {call}({given})), rows)"]
    if rows.how == BETWEEN:
        lines.append(f"{call}(x.detach().flip(0, 1), {rows.classes - 1} - t)  # another batch, before this one is used")
    if quantity == "loss":
        return [*lines, "print('loss:', rows)"]
    upstream = f"torch.ones(len(x), dtype=x.dtype{device})" if weights is None else weights
    upstream = f"torch.full((), {SHARE}, dtype=x.dtype{device}).expand(len(x))" if rows.how == SUMMED else upstream
    grad = f"torch.autograd.grad(rows, x, {upstream}{', retain_graph=True' if rows.how == TWICE else ''})"
    return [*lines, *([grad] * (rows.how == TWICE)), f"(gradient,) = {grad}", "print('gradient:', gradient)"]


def _laid_in_torch(rows: Rows) -> str:
    """The arguments of the call."""
    if rows.how == SLICED:
        return "torch.nn.functional.pad(x, (3, 2, 1, 0))[1:, 3:-2], t"
    if rows.how == EVERY_OTHER:
        return "x, t.repeat_interleave(2)[::2]"
    laid = {"transposed": "x.t().contiguous().t()", "strided": "x.repeat_interleave(2, 1)[:, ::2]"}
    return laid.get(rows.layout, "x") + ", t"


def _jax(candidate: Candidate, rows: Rows, imported: str, quantity: str) -> list[str]:
    lines = ["import jax", "import jax.numpy as jnp"]
    lines += ["jax.config.update('jax_enable_x64', True)"] * (rows.fmt.name == "float64")
    lines += [imported, f"x = jnp.array({_numbers(rows.logits)}, jnp.{rows.fmt.name})"]
    lines += [f"t = jnp.array({_targets(rows.targets)})"]
    call = "jax.jit(loss)" if candidate.mode == "compiled" else "loss"
    factors = "" if rows.weights is None else f" * jnp.array({_numbers(rows.weights)}, x.dtype)"
    if rows.how == AGAIN:
        return [*lines, f"print('the same bits:', {call}(x, t) == {call}(x, t))"]
    if quantity == "gradient":
        return [*lines, f"print('gradient:', jax.grad(lambda x: ({call}(x, t){factors}).sum())(x))"]
    return [*lines, f"print('loss:', {call}(x, t))"]


def _tensorflow(candidate: Candidate, rows: Rows, imported: str, quantity: str) -> list[str]:
    lines = ["import tensorflow as tf", imported]
    lines += [
        f"x = tf.constant({_numbers(rows.logits)}, tf.{rows.fmt.name})",
        f"t = tf.constant({_targets(rows.targets)})",
    ]
    call = "loss" if candidate.mode == "eager" else f"tf.function(loss, jit_compile={candidate.mode == 'compiled'})"
    factors = "" if rows.weights is None else f" * tf.constant({_numbers(rows.weights)}, x.dtype)"
    if rows.how == AGAIN:
        return [*lines, f"print('the same bits:', {call}(x, t) == {call}(x, t))"]
    if quantity == "gradient":
        lines += ["with tf.GradientTape() as tape:", "    tape.watch(x)", f"    rows = {call}(x, t){factors}"]
        return [*lines, "print('gradient:', tape.gradient(rows, x))"]
    return [*lines, f"print('loss:', {call}(x, t))"]


def _numpy(candidate: Candidate, rows: Rows, imported: str, quantity: str) -> list[str]:
    called = imported if quantity == "loss" or candidate.gradient is None else _imported(candidate.gradient)
    lines = ["import ml_dtypes" if rows.fmt.name == "bfloat16" else "", "import numpy as np", called]
    dtype = "ml_dtypes.bfloat16" if rows.fmt.name == "bfloat16" else f"np.{rows.fmt.name}"
    lines += [f"x = np.array({_numbers(rows.logits)}, {dtype})", f"t = np.array({_targets(rows.targets)})"]
    return [*(line for line in lines if line), f"print('{quantity}:', loss(x, t))"]


_FRAMEWORKS = {"torch": _torch, "jax": _jax, "tensorflow": _tensorflow, "numpy": _numpy}


def _numbers(values: NDArray[Any]) -> str:
    """A literal of nested lists, runs of equal numbers as products."""
    if values.ndim > 1:
        rows = [(written, len(list(same))) for written, same in groupby(map(_numbers, values))]
        if all(count < RUNS_FROM for _, count in rows):
            return f"[{', '.join(written for written, count in rows for _ in range(count))}]"
        return " + ".join(f"[{written}] * {count}" for written, count in rows)
    runs = [(value, len(list(same))) for value, same in groupby(values.astype(np.float64).tolist(), key=_literal)]
    if all(count < RUNS_FROM for _, count in runs):
        return f"[{', '.join(_literal(v) for v in values.astype(np.float64).tolist())}]"
    return " + ".join(f"[{value}] * {count}" for value, count in runs)


def _targets(targets: NDArray[Any]) -> str:
    same = len(targets) >= RUNS_FROM and bool((targets == targets[0]).all())
    return f"[{targets[0]}] * {len(targets)}" if same else str(targets.tolist())


def _literal(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return f"float('{value}')"
