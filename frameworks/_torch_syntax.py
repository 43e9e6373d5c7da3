"""Programs in PyTorch."""

from ..core.interpreting import INTERPRETED, VARIABLES
from ._syntax import Syntax

SYNTAX = Syntax(
    imports=("import torch",),
    before_imports={INTERPRETED: tuple(f"import os; os.environ[{k!r}] = {v!r}" for k, v in VARIABLES.items())},
    imports_by_dtype={},
    array="torch.tensor({numbers}, dtype=torch.{dtype}{device})",
    targets="torch.tensor({numbers}{device})",
    device=", device={name!r}",
    calls={"eager": "loss({x}, {t}{options})", "compiled": "torch.compile(loss)({x}, {t}{options})"},
    leaf="{x}.requires_grad_()",
    untracked=("with torch.no_grad():", "    rows = {call}"),
    ones="torch.ones_like(rows)",
    spread="torch.full((), {number}, dtype=rows.dtype{device}).expand(rows.shape)",
    gradient="torch.autograd.grad(rows, x, {upstream}{repeatedly})[0]",
    repeatedly=", retain_graph=True",
    linear=("rows = {call}",),
    linear_calls={"compiled": "torch.compile(lambda {names}: {call})({names})"},
    linear_gradients="torch.autograd.grad(rows, [{leaves}], {upstream}, retain_graph=True)",
    another_batch="x.detach().flip({axes}).requires_grad_()",
    another_call="{call}.sum().backward()",
    numbers="{array}.tolist()",
    transposed="{x}.mT.contiguous().mT",
    strided="torch.nn.functional.pad({x}[..., None], (0, 1)).flatten(-2)[..., ::2]",
    sliced="torch.nn.functional.pad({x}, (3, 2, 1, 0))[..., 1:, 3:-2]",
    every_other="(({t}.repeat_interleave(2, -1) + torch.arange(2 * {size}) % 2) % {classes})[..., ::2]",
    tail="torch.nn.functional.pad({x}, (0, 0, 1, 0))[1:]",
    targets_tail="torch.nn.functional.pad({t}, (1, 0))[1:]",
    int32="{t}.int()",
    apart="torch.nn.functional.pad({array}[:, None], (1, 1))[:, 1]",
    threads="torch.set_num_threads({count})",
    reversed_rows="x.detach().flip(0).requires_grad_(), t.flip(0)",
    measured={
        "eager": ("{statements}", "loss = {loss}"),
        "compiled": (
            "@torch.compile(fullgraph=True, dynamic=False)",
            "def loss_of(x, t):",
            "    {statements}",
            "    return {loss}",
            "loss = loss_of(x, t)",
        ),
    },
    differentiated=("gradient = torch.autograd.grad(loss, x, torch.ones_like(loss))[0]",),
    linear_differentiated=("{gradients} = torch.autograd.grad(loss, [{leaves}], torch.ones_like(loss))",),
    decorators={"compiled": "@torch.compile(fullgraph=True, dynamic=False)"},
    settings={
        "LOGITLAB_FLUSH_SUBNORMALS": "torch.set_flush_denormal(True)",
        "LOGITLAB_MATMUL_PRECISION": "torch.set_float32_matmul_precision({value!r})",
    },
)
