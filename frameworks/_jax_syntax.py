"""Programs in JAX."""

from ._syntax import Syntax

SYNTAX = Syntax(
    imports=("import jax", "import jax.numpy as jnp"),
    imports_by_dtype={"float64": "jax.config.update('jax_enable_x64', True)"},
    array="jnp.array({numbers}, jnp.{dtype})",
    targets="jnp.array({numbers})",
    calls={"eager": "loss({x}, {t}{options})", "compiled": "jax.jit(lambda x, t: loss(x, t{options}))({x}, {t})"},
    tracked=("rows, pull = jax.vjp(lambda x: {call}, x)",),
    ones="jnp.ones_like(rows)",
    weighted="{array}.astype(rows.dtype)",
    spread="jnp.full_like(rows, {number})",
    gradient="pull({upstream})[0]",
    linear=("rows, pull = jax.vjp(lambda {leaves}: {call}, {leaves})",),
    linear_calls={"compiled": "jax.jit(lambda {names}: {call})({names})"},
    linear_gradients="pull({upstream})",
    another_batch="x[{reversed}]",
    another_call="jax.vjp(lambda y: {call}, y)",
    numbers="{array}.tolist()",
    int32="{t}.astype(jnp.int32)",
    measured={
        "eager": (
            "def loss_of(x):",
            "    {statements}",
            "    return {loss}",
            "loss, pull = jax.vjp(loss_of, x)",
        ),
        # One program for both, as in a training step.
        "compiled": (
            "@jax.jit",
            "def loss_and_gradient(x, t):",
            "    def loss_of(x):",
            "        {statements}",
            "        return {loss}",
            "    loss, pull = jax.vjp(loss_of, x)",
            "    return loss, pull(jnp.ones_like(loss))[0]",
            "loss, gradient = loss_and_gradient(x, t)",
        ),
    },
    differentiated=("gradient = pull(jnp.ones_like(loss))[0]",),
    linear_measured={
        "eager": (
            "def loss_of({leaves}):",
            "    {statements}",
            "    return {loss}",
            "loss, pull = jax.vjp(loss_of, {leaves})",
        ),
        "compiled": (
            "@jax.jit",
            "def loss_and_gradients({leaves}, t):",
            "    def loss_of({leaves}):",
            "        {statements}",
            "        return {loss}",
            "    loss, pull = jax.vjp(loss_of, {leaves})",
            "    return loss, pull(jnp.ones_like(loss))",
            "loss, ({gradients}) = loss_and_gradients({leaves}, t)",
        ),
    },
    linear_differentiated=("{gradients} = pull(jnp.ones_like(loss))",),
    decorators={"compiled": "@jax.jit"},
    prepared=("jax.config.update('jax_enable_x64', True)",),
    on_cpu="jax.config.update('jax_platforms', 'cpu')",
)
