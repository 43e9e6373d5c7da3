"""Sound JAX losses of hidden states, which a check must pass."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .. import sound


@sound("float32", "bfloat16")
def logits_in_float32(hidden, weight, targets, bias=None):
    """Logits in at least float32, then a log-softmax."""
    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    z = jnp.dot(hidden, weight.T, precision="highest", preferred_element_type=wide)
    z = z if bias is None else z + bias.astype(wide)
    rows = -jnp.take_along_axis(jax.nn.log_softmax(z), targets[:, None], axis=1)[:, 0]
    return rows.astype(hidden.dtype)
