"""Programs in MLX."""

from ._syntax import Syntax

SYNTAX = Syntax(
    imports=("import mlx.core as mx",),
    imports_by_dtype={},
    array="mx.array({numbers}, mx.{dtype})",
    targets="mx.array({numbers}, mx.int64)",
    calls={"eager": "loss({x}, {t}{options})", "compiled": "mx.compile(lambda x, t: loss(x, t{options}))({x}, {t})"},
    tracked=("def rows_of(x):", "    return {call}", "rows = rows_of(x)"),
    ones="mx.ones_like(rows)",
    weighted="{array}.astype(rows.dtype)",
    spread="mx.broadcast_to(mx.array({number}, rows.dtype), rows.shape)",
    gradient="mx.vjp(rows_of, [x], [{upstream}])[1][0]",
    another_batch="x[{reversed}]",
    another_call="mx.eval({call})",
    numbers="{array}.tolist()",
    transposed="mx.contiguous(mx.swapaxes({x}, -2, -1)).swapaxes(-2, -1)",
    strided="mx.pad({x}[..., None], ({outer}(0, 0), (0, 0), (0, 1))).reshape({lead}, -1)[..., ::2]",
    sliced="mx.pad({x}, ({outer}(1, 0), (3, 2)))[..., 1:, 3:-2]",
    every_other="((mx.repeat({t}, 2, -1) + mx.arange(2 * {size}) % 2) % {classes})[..., ::2]",
    tail="mx.pad({x}, ((1, 0), (0, 0)))[1:]",
    targets_tail="mx.pad({t}, (1, 0))[1:]",
    int32="{t}.astype(mx.int32)",
    apart="mx.pad({array}[:, None], ((0, 0), (1, 1)))[:, 1]",
    measured={
        "eager": (
            "def loss_of(x):",
            "    {statements}",
            "    return {loss}",
            "loss = loss_of(x)",
        ),
        # One program for both, as in a training step.
        "compiled": (
            "def loss_and_gradient(x, t):",
            "    def loss_of(x):",
            "        {statements}",
            "        return {loss}",
            "    def total(x):",
            "        loss = loss_of(x)",
            "        return loss.sum(), loss",
            "    (_, loss), gradient = mx.value_and_grad(total)(x)",
            "    return loss, gradient",
            "loss, gradient = mx.compile(loss_and_gradient)(x, t)",
        ),
    },
    differentiated=("gradient = mx.grad(lambda x: loss_of(x).sum())(x)",),
    decorators={"compiled": "@mx.compile"},
    on_cpu="mx.set_default_device(mx.cpu)",
)
