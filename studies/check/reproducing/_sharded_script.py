"""A program that starts ranks and calls a sharded loss of PyTorch in them, without LogitLab."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ....core.literals import nested_list
from ..batches._again import SHARE
from ..batches._presentation import CallKind
from ..batches._rows import PresentedRows
from ..forms._layout import shaped_targets
from ..forms._options import signature_of
from ..forms._sharding import Sharding
from ..measuring._loss import Candidate

_RANK = """
def run(rank, x, t, file):
    dist.init_process_group("gloo", init_method=f"file://{{file}}", rank=rank, world_size={shards})
    local, group = x.chunk({shards}, dim=1)[rank].clone().requires_grad_(), dist.group.WORLD
    rows = loss(local, t, group{keywords})
{shown}
    dist.destroy_process_group()


if __name__ == "__main__":
    x = {logits}
    t = torch.tensor({targets})
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(run, (x, t, f"{{folder}}/group"), {shards})
    print("exact:", {exact})
"""
# A line is written at once, since the ranks write side by side.
_LOSS = """    print(f"rank {rank}: {rows.tolist()}\\n", end="", flush=True)"""
_WRITTEN = """    before = x.chunk({shards}, dim=1)[rank]
    print(f"rank {rank} before: {before.tolist()} after: {local.tolist()}\\n", end="", flush=True)"""
_GRADIENT = """    (gradient,) = torch.autograd.grad(rows, local, {upstream})
    print(f"rank {{rank}}: {{gradient.tolist()}}\\n", end="", flush=True)"""


def sharded_script(candidate: Candidate, sharding: Sharding, rows: PresentedRows, quantity: str, title: str) -> str:
    """Return the source of a program that prints what each rank returns, and the exact values.

    Args:
        candidate: the loss as a function of whole logits.
        sharding: the shards.
        rows: the rows that fail.
        quantity: ``loss`` or ``gradient``; "" for the logits before and after the call.
        title: the first line, a comment.
    """
    shown = {"loss": _LOSS, "gradient": _GRADIENT}.get(quantity, _WRITTEN.replace("{shards}", str(sharding.shards)))
    exact = rows.exact.gradient.hi if quantity == "gradient" else rows.exact.loss.hi
    weights = _weights(rows)
    if quantity == "gradient" and weights is not None:
        exact = exact * weights.astype(np.float64)[:, None]
    upstream = "torch.ones_like(rows)" if weights is None else f"torch.tensor({nested_list(weights)}, dtype=rows.dtype)"
    body = _RANK.format(
        shards=sharding.shards, keywords=_keywords(candidate, sharding, rows),
        shown=shown.format(upstream=upstream) if quantity == "gradient" else shown,
        logits=_tensor(rows.logits, rows), targets=shaped_targets(rows.labels, rows.logits, candidate.form).tolist(),
        exact=nested_list(exact),
    )  # fmt: skip
    defined = sharding.definition
    first = ["from __future__ import annotations"] if defined.future else []
    imports = ["import tempfile", "", "import torch", "import torch.distributed as dist"]
    lines = [title, *first, *imports, "import torch.multiprocessing as mp", "", *defined.lines, ""]
    return "\n".join(lines) + body


def _weights(rows: PresentedRows) -> Any:
    if rows.how.call is CallKind.SUMMED:
        return np.full(len(rows), SHARE, rows.logits.dtype)
    return rows.weights


def _keywords(candidate: Candidate, sharding: Sharding, rows: PresentedRows) -> str:
    callee = candidate.callee
    given = callee.set_keywords | callee.call_keywords(rows.options)
    texts = [f"{n}={_tensor(v, rows) if isinstance(v, np.ndarray) else repr(v)}" for n, v in given.items()]
    signature = signature_of(sharding.loss)
    named = inspect.Signature().parameters if signature is None else signature.parameters
    sizes = {"classes": "x.shape[1]", "first_class": f"rank * -(-x.shape[1] // {sharding.shards})"}
    texts += [f"{name}={text}" for name, text in sizes.items() if name in named]
    return "".join(f", {text}" for text in texts)


def _tensor(values: Any, rows: PresentedRows) -> str:
    return f"torch.tensor({nested_list(values)}, dtype=torch.{rows.dtype})"
