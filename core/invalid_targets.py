"""A loss's answer to a target that is not a class: the sentence in the table's ``detail``, and its parser."""

from typing import NamedTuple

from .vocabulary import Conduct

_SIGNS = {
    "gave NaN": Conduct.NAN,
    "gave 0,": Conduct.ZERO,
    "was read from the end": Conduct.WRAPS,
    "gave": Conduct.NUMBER,
}


class InvalidTargetAnswer(NamedTuple):
    """The loss of a row whose target is not a class.

    Attributes:
        target: the target.
        loss: the returned loss.
        of_class: the class that has this loss, or None.
        wraps: whether that class is the target counted from the end.
    """

    target: int
    loss: float
    of_class: int | None = None
    wraps: bool = False

    @property
    def detail(self) -> str:
        """The sentence in the table."""
        if self.wraps:
            return f"target {self.target} was read from the end: the loss of class {self.of_class}"
        if self.loss == 0:
            return f"target {self.target} gave 0, as if the row were ignored"
        if self.of_class is not None:
            return f"target {self.target} gave the loss of class {self.of_class}"
        number = {"nan": "NaN", "inf": "inf", "-inf": "-inf"}.get(str(self.loss))
        return f"target {self.target} gave {number or f'{self.loss:.4g}, the loss of no class'}"


def conduct_of_detail(detail: str) -> Conduct | None:
    """Return the conduct that an `InvalidTargetAnswer.detail` describes, or None for any other sentence."""
    return next((conduct for sign, conduct in _SIGNS.items() if sign in detail), None)
