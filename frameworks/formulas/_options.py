"""The options of language models around a loss of plain logits, for the losses that frameworks write or ship.

With ``z`` the logits as given, the loss is that of ``x``: first ``x = logit_scale * z``, then
``x = softcap * tanh(x / softcap)``. Then ``z_loss * logsumexp(x)^2`` is added to each row. Arrays are the framework's
own, and each step is rounded to their dtype, as in a model that does the same in its last lines.
"""

from collections.abc import Callable
from typing import Any

Array = Any
Function = Callable[..., Array]


def transformed(tanh: Function, logits: Array, softcap: float | None, logit_scale: float | None) -> Array:
    """Return the scaled and capped logits (B, C), with the framework's ``tanh``."""
    x = logits if logit_scale is None else logits * logit_scale
    return x if softcap is None else softcap * tanh(x / softcap)


def squared(y: Array, z_loss: float) -> Array:
    """Return ``z_loss * y^2``; the square of ``y`` alone would overflow sooner."""
    return z_loss * y * y


def with_options(rows: Function, logsumexp: Function, tanh: Function) -> Function:
    """Return the loss with the options of language models as keywords.

    Args:
        rows: logits (B, C) and targets (B,) to the row losses (B,).
        logsumexp: logits (B, C) to (B,), written as in ``rows``.
        tanh: the framework's function.
    """

    def loss(
        logits: Array,
        targets: Array,
        softcap: float | None = None,
        logit_scale: float | None = None,
        z_loss: float = 0.0,
    ) -> Array:
        x = transformed(tanh, logits, softcap, logit_scale)
        losses = rows(x, targets)
        return losses + squared(logsumexp(x), z_loss) if z_loss else losses

    return loss


def of_transformed(probabilities: Function, tanh: Function) -> Function:
    """Return the probabilities with the options that transform logits as keywords."""

    def of_logits(logits: Array, softcap: float | None = None, logit_scale: float | None = None) -> Array:
        return probabilities(transformed(tanh, logits, softcap, logit_scale))

    return of_logits


# --- in the formula log1p ---------------------------------------------------------------------------------------

# The scale is applied to differences of logits, and the softcap to differences of tanh: it is the scale there. So a
# product neither overflows nor leaves a rounding error where the maximum's own term is 0. Differences are halved first,
# since those of finite logits may overflow. If the scale is None, these are the operations without options.


def half_gaps(x: Array, maximum: Array, scale: float | None) -> Array:
    """Return half of the scaled differences (B, C) to the maximum (B, 1)."""
    return (x - maximum) / 2 if scale is None else scale * (x / 2 - maximum / 2)


def gap(maximum: Array, at_target: Array, scale: float | None) -> Array:
    """Return the scaled difference (B,) of the maximum and the target's logit."""
    return maximum - at_target if scale is None else 2 * (scale * (maximum / 2 - at_target / 2))


def log1p_logsumexp(log_total: Array, maximum: Array, scale: float | None) -> Array:
    """Return the logsumexp (B,) of the maximum and ``log_total``, the logarithm of the sum of exponentials."""
    return log_total + (maximum if scale is None else scale * maximum)


def cap_slopes(e: Array, logit_scale: float | None) -> Array:
    """Return the slopes of capped logits (B, C), given ``e = exp(-2 |logit_scale z / softcap|)``.

    They are ``logit_scale sech^2``. The usual ``1 - tanh^2`` loses its digits where tanh is near 1.
    """
    slopes = 4 * e / (1 + e) ** 2
    return slopes if logit_scale is None else logit_scale * slopes
