import jax
import jax.numpy as jnp

x = jnp.array([4e9, 1e9, -3e9, 0.0], jnp.float32)


def loss(x):
    """The target has the largest logit by far: loss and gradient are 0."""
    return -jax.nn.log_softmax(x / 0.7)[0]


value_and_grad = jax.value_and_grad(loss)
for mode, function in {"eager": value_and_grad, "compiled": jax.jit(value_and_grad)}.items():
    value, gradient = function(x)
    print(mode, value, *gradient)
