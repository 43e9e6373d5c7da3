"""Programs in tinygrad."""

from ._syntax import Syntax

SYNTAX = Syntax(
    imports=("from tinygrad import Tensor, dtypes",),
    imports_by_dtype={},
    # tinygrad computes when it is asked for numbers; the gradient by logits that it has yet to make would be another's.
    array="Tensor({numbers}, dtype=dtypes.{dtype}{device}).realize()",
    targets="Tensor({numbers}, dtype=dtypes.int64{device})",
    device=", device={name!r}",
    # A tensor whose numbers are known has no way back to the logits, so each gradient is that of a new call.
    tracked=("def rows_of(x):", "    return {call}", "rows = rows_of(x)"),
    ones="Tensor.ones(*rows.shape, dtype=rows.dtype, device=rows.device)",
    weighted="{array}.cast(rows.dtype)",
    spread="Tensor.full(rows.shape, {number}, dtype=rows.dtype, device=rows.device)",
    gradient="rows_of(x).gradient(x, gradient={upstream})[0]",
    another_batch="x.flip({axes}).realize()",
    another_call="{call}.realize()",
    numbers="{array}.realize().cast(dtypes.float64).tolist()",
    int32="{t}.cast(dtypes.int32)",
    reversed_rows="x.flip(0).realize(), t.flip(0)",
    measured={
        "compiled": (
            "def loss_of(x):",
            "    {statements}",
            "    return {loss}",
            "loss = loss_of(x)",
        ),
    },
    differentiated=(
        "gradient = loss.gradient(x, gradient=Tensor.ones(*loss.shape, dtype=loss.dtype, device=loss.device))[0]",
    ),
    on_cpu="from tinygrad.helpers import DEV; DEV.value = 'CPU'",
)
