"""The logits of a tolerance audit, from a short expression such as ``0.1*randn`` or ``2*randn+100``."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.errors import UsageError, short_repr

_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?"
_EXPRESSION = re.compile(rf"(?:(?P<factor>-?(?:{_NUMBER}))\*)?(?P<name>randn|rand)(?P<offset>[+-](?:{_NUMBER}))?", re.I)


@dataclass(frozen=True)
class Values:
    """``factor * numbers + offset``, where the numbers are normal (``randn``) or uniform on [0, 1) (``rand``)."""

    name: str
    factor: float = 1.0
    offset: float = 0.0

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Return numbers of this shape."""
        numbers = rng.standard_normal(shape) if self.name == "randn" else rng.random(shape)
        return numbers * self.factor + self.offset

    def __str__(self) -> str:
        factor = "" if self.factor == 1 else f"{self.factor:g}*"
        return f"{factor}{self.name}{f'{self.offset:+g}' if self.offset else ''}"


def parse_values(text: str) -> Values:
    """Return the values that an expression describes: ``randn`` or ``rand``, times a number, plus a number.

    Raises:
        UsageError: for anything else, or a number that is not finite.
    """
    found = _EXPRESSION.fullmatch(text.replace(" ", "")) if isinstance(text, str) else None
    if found is not None:
        values = Values(found["name"].lower(), float(found["factor"] or 1), float(found["offset"] or 0))
        if np.isfinite([values.factor, values.offset]).all():
            return values
    raise UsageError(f"values is {short_repr(text)}; expected NUMBER*randn or NUMBER*rand, and +NUMBER if needed")


def parse_shape(text: str) -> tuple[int, int]:
    """Return rows and classes of ``ROWS,CLASSES``.

    Raises:
        UsageError: for anything but two positive whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 2 and all(part.isdecimal() and part.isascii() and int(part) > 0 for part in parts):
        return int(parts[0]), int(parts[1])
    raise UsageError(f"shape is {short_repr(text)}; expected ROWS,CLASSES, such as 64,128")
