"""The definitions of class weights and of a weighted mean, of which losses document more than one.

With row losses ``l_n`` of logits and a target distribution ``y_n``, class weights ``w`` and ``-log p_nj``:

================== ============================================ ================================================
``Weighting``      ``CLASSES``                                  ``ROWS``
                   ``l_n = sum_j w_j y_nj (-log p_nj)``         ``l_n = (sum_j w_j y_nj) sum_j y_nj (-log p_nj)``
``MeanDivisor``    ``TARGET_WEIGHTS``                           ``ROWS``, ``TARGET_MASS``
                   ``sum w[t_n]`` of class indices ``t_n``      the number of rows; ``sum_n sum_j w_j y_nj``
                   the number of rows of probabilities
================== ============================================ ================================================

Smoothing is part of ``y_n``, and ignored rows are left out of the sums. For class indices without smoothing both
weightings are equal, and ``TARGET_WEIGHTS`` equals ``TARGET_MASS``.
"""

from dataclasses import dataclass
from enum import StrEnum


class MeanDivisor(StrEnum):
    """The divisor of a mean of weighted rows."""

    TARGET_WEIGHTS = "the summed weights of the targets that are class indices, the number of rows of probabilities"
    ROWS = "the number of rows"
    TARGET_MASS = "the summed weights of the targets, each class by its share"


class Weighting(StrEnum):
    """The term that a class weight multiplies."""

    CLASSES = "each class's term of the loss"
    ROWS = "the whole row's loss, by the mean weight of its target"


@dataclass(frozen=True)
class Convention:
    """The definition that a loss documents.

    Attributes:
        mean, weighting: the definition.
        source: package, version and function whose documentation states it. Required unless it is the default.
    """

    mean: MeanDivisor = MeanDivisor.TARGET_WEIGHTS
    weighting: Weighting = Weighting.CLASSES
    source: str = ""

    def __post_init__(self) -> None:
        if self.differs and not self.source:
            raise ValueError(f"source is {self.source!r}; give package, version and function for a special convention")

    @property
    def differs(self) -> bool:
        """Whether the definition differs from the oracle's default."""
        return (self.mean, self.weighting) != (MeanDivisor.TARGET_WEIGHTS, Weighting.CLASSES)

    @property
    def wording(self) -> str:
        """The definition and its source in one sentence."""
        wording = f"a weighted mean is divided by {self.mean}"
        if self.weighting is not Weighting.CLASSES:
            wording += f", and a weight multiplies {self.weighting}"
        return f"{wording} ({self.source})" if self.source else wording


STANDARD = Convention()
