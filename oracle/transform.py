"""Transform the logits: ``x = logit_scale z``, then ``x = softcap tanh(x / softcap)``, and ``dx / dz``.

``tanh(-inf)`` is -1. Under a cap a class with the logit ``-inf`` has ``x = -softcap``, a share of the probability, and
a gradient of 0. This follows from the definition, if the mask comes before the cap. A loss that masks after the cap
computes another function. In the same way ``+inf`` becomes ``softcap``.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from flint import arb
from numpy.typing import NDArray

from ..core.options import LossOptions

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Transform:
    """The options that transform logits, and ``z_loss``, which uses the ``logsumexp`` of the transformed ones."""

    logit_scale: float = 1.0
    softcap: float | None = None
    z_loss: float = 0.0

    @classmethod
    def of(cls, options: LossOptions) -> Self:
        scale, cap = options.logit_scale, options.softcap
        return cls(1.0 if scale is None else float(scale), None if cap is None else float(cap), float(options.z_loss))

    @property
    def moves_logits(self) -> bool:
        """Whether ``x`` differs from ``z``."""
        return self.logit_scale != 1.0 or self.softcap is not None

    @property
    def plain(self) -> bool:
        """Whether none of the options is set."""
        return not self.moves_logits and self.z_loss == 0.0

    def logits(self, z: Float64) -> Float64:
        """Return ``x`` in float64, in the shape of ``z``; infinite beyond float64."""
        with np.errstate(over="ignore"):
            x = self.logit_scale * z
            return x if self.softcap is None else self.softcap * np.tanh(x / self.softcap)

    def slopes(self, z: Float64) -> Float64:
        """Return ``dx / dz`` in float64, in the shape of ``z``: ``logit_scale sech^2(logit_scale z / softcap)``."""
        if self.softcap is None:
            return np.full(z.shape, self.logit_scale)
        with np.errstate(over="ignore"):
            e = np.exp(-2.0 * np.abs(self.logit_scale * z / self.softcap))
        return self.logit_scale * 4.0 * e / (1.0 + e) ** 2

    def ball(self, z: Any) -> Any:
        """Return ``x`` of one logit, a ball, which may be infinite only under a cap."""
        if self.softcap is None:
            return arb(self.logit_scale) * z
        if not z.is_finite():
            return arb(self.softcap if z > 0 else -self.softcap)
        return arb(self.softcap) * self._ratio(z).tanh()

    def slope_ball(self, z: Any) -> Any:
        """Return ``dx / dz`` at one logit, a ball."""
        if self.softcap is None:
            return arb(self.logit_scale)
        if not z.is_finite():
            return arb(0)
        # 1 - tanh^2 would cancel where tanh is near 1.
        e = (-2 * abs(self._ratio(z))).exp()
        return arb(self.logit_scale) * 4 * e / (1 + e) ** 2

    def _ratio(self, z: Any) -> Any:
        return arb(self.logit_scale) * z / arb(self.softcap)


PLAIN = Transform()
