"""Programs in TensorFlow."""

from ._syntax import Syntax


def _both(decorator: str) -> tuple[str, ...]:
    """Return the lines of a program that computes loss and gradient in one function, as a training step does."""
    return (
        decorator,
        "def loss_and_gradient(x, t):",
        "    with tf.GradientTape() as tape:",
        "        tape.watch(x)",
        "        {statements}",
        "        loss = {loss}",
        "    return loss, tf.convert_to_tensor(tape.gradient(loss, x))",
        "loss, gradient = loss_and_gradient(x, t)",
    )


SYNTAX = Syntax(
    imports=("import tensorflow as tf",),
    imports_by_dtype={},
    array="tf.constant({numbers}, tf.{dtype})",
    targets="tf.constant({numbers}, tf.int64)",
    calls={
        "eager": "loss({x}, {t}{options})",
        "graph": "tf.function(loss, jit_compile=False)({x}, {t}{options})",
        "compiled": "tf.function(loss, jit_compile=True)({x}, {t}{options})",
    },
    tracked=("with tf.GradientTape(persistent=True) as tape:", "    tape.watch(x)", "    rows = {call}"),
    ones="tf.ones_like(rows)",
    weighted="tf.cast({array}, rows.dtype)",
    spread="{number} * tf.ones_like(rows)",
    gradient="tf.convert_to_tensor(tape.gradient(rows, x, output_gradients={upstream}))",
    linear=("with tf.GradientTape(persistent=True) as tape:", "    tape.watch([{leaves}])", "    rows = {call}"),
    linear_calls={
        "graph": "tf.function(lambda {names}: {call}, jit_compile=False)({names})",
        "compiled": "tf.function(lambda {names}: {call}, jit_compile=True)({names})",
    },
    linear_gradients="tape.gradient(rows, [{leaves}], output_gradients={upstream})",
    another_batch="x[{reversed}]",
    int32="tf.cast({t}, tf.int32)",
    numbers="{array}.numpy().tolist()",
    flat="tf.reshape({rows}, [-1])",
    measured={
        "eager": ("with tf.GradientTape() as tape:", "    tape.watch(x)", "    {statements}", "    loss = {loss}"),
        "graph": _both("@tf.function(jit_compile=False)"),
        "compiled": _both("@tf.function(jit_compile=True)"),
    },
    differentiated=("gradient = tf.convert_to_tensor(tape.gradient(loss, x))",),
    linear_measured={
        "eager": (
            "with tf.GradientTape() as tape:",
            "    tape.watch([{leaves}])",
            "    {statements}",
            "    loss = {loss}",
        )
    },
    linear_differentiated=("{gradients} = map(tf.convert_to_tensor, tape.gradient(loss, [{leaves}]))",),
    decorators={"graph": "@tf.function(jit_compile=False)", "compiled": "@tf.function(jit_compile=True)"},
    on_cpu="tf.config.set_visible_devices([], 'GPU')",
)
