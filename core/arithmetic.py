"""The settings of simulated arithmetic, as a variant of a mode names them: ``stochastic-4,seed-7``.

The framework `simulated` computes with them. They are here because a plan checks the names before a worker starts.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product

from .errors import UsageError, short_repr
from .formats import get_format

SEPARATOR = ","
# The most variants that one range may give.
MAX_VARIANTS = 1000
# A fraction is compared with so many random bits at most: float64 holds them beside 24 bits of a number.
MAX_RANDOM_BITS = 24
DEFAULT_TILE = 64


class Rounding(StrEnum):
    """How the result of an elementary operation becomes a number of the format."""

    NEAREST = "nearest"  # ties to even
    TOWARD_ZERO = "toward_zero"
    UP = "up"
    DOWN = "down"
    STOCHASTIC = "stochastic"


class Order(StrEnum):
    """The order in which the terms of a sum are added."""

    SEQUENTIAL = "sequential"
    PAIRWISE = "pairwise"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class Arithmetic:
    """The settings of simulated arithmetic.

    Attributes:
        rounding: the rounding of each elementary operation.
        random_bits: for stochastic rounding, the number of random bits that are added to the discarded fraction.
        seed: for stochastic rounding, the seed of the random bits.
        accumulator: the name of the format in which sums are kept; None for the format of the logits.
        order: the order of a sum's terms.
        tile: the number of classes of a tile of the online softmax, and of a block of a blocked sum.
    """

    rounding: Rounding = Rounding.NEAREST
    random_bits: int = 0
    seed: int = 0
    accumulator: str | None = None
    order: Order = Order.SEQUENTIAL
    tile: int = DEFAULT_TILE

    @property
    def name(self) -> str:
        """The settings that differ from the defaults, in a fixed order; `parse` reads them."""
        words = []
        if self.rounding is Rounding.STOCHASTIC:
            words += [f"stochastic-{self.random_bits}", f"seed-{self.seed}"]
        elif self.rounding is not Rounding.NEAREST:
            words.append(self.rounding.value)
        if self.accumulator is not None:
            words.append(f"accumulate-{self.accumulator}")
        if self.order is not Order.SEQUENTIAL:
            words.append(self.order.value)
        if self.tile != DEFAULT_TILE:
            words.append(f"tile-{self.tile}")
        return SEPARATOR.join(words) or DEFAULT


# The name of the default settings.
DEFAULT = Rounding.NEAREST.value
KNOWN = (
    "nearest, toward_zero, up, down, stochastic-N (N random bits), seed-N, accumulate-FORMAT, sequential, pairwise, "
    "blocked, tile-N"
)


def is_arithmetic(text: str) -> bool:
    """Return whether the first of the settings is known, so that the text names an arithmetic."""
    head = text.split(SEPARATOR, maxsplit=1)[0].partition("-")[0]
    return head in {*_NUMBERS, "accumulate", *_PLAIN}


def parse(text: str) -> Arithmetic:
    """Return the arithmetic that settings describe, such as ``stochastic-4,seed-7`` or ``accumulate-float32,pairwise``.

    Raises:
        UsageError: for an unknown setting, one that is given twice, or one that another makes useless.
    """
    given: dict[str, object] = {}
    for word in text.split(SEPARATOR):
        for field, value in _setting(word).items():
            if field in given:
                raise UsageError(f"{word!r} in {short_repr(text)} sets the {field} again; give it once")
            given[field] = value
    found = replace(Arithmetic(), **given)  # type: ignore[arg-type]
    if "seed" in given and found.rounding is not Rounding.STOCHASTIC:
        raise UsageError(f"{short_repr(text)} has a seed without random bits; add stochastic-N, or leave out the seed")
    if found.accumulator == "float64" and found.rounding is not Rounding.NEAREST:
        raise UsageError(
            f"sums in float64 are rounded to nearest; leave out {found.rounding}, or accumulate in float32"
        )
    return found


def of_mode(mode: str) -> Arithmetic:
    """Return the arithmetic of a mode, such as ``eager+up``; without settings, that of rounding to nearest."""
    settings = mode.partition("+")[2]
    return parse(settings) if settings else Arithmetic()


def expand(text: str) -> tuple[str, ...]:
    """Return the names of the arithmetics that settings with ranges describe: ``stochastic-4,seed-0..99`` names 100.

    Raises:
        UsageError: as for `parse`, and for a range that is empty or too long.
    """
    choices = [_each(word) for word in text.split(SEPARATOR)]
    count = 1
    for words in choices:
        count *= len(words)
    if count > MAX_VARIANTS:
        raise UsageError(f"{text} gives {count} variants; give at most {MAX_VARIANTS}")
    return tuple(dict.fromkeys(parse(SEPARATOR.join(words)).name for words in product(*choices)))


_RANGE = re.compile(r"(.+-)(\d+)\.\.(\d+)")


def _each(word: str) -> list[str]:
    found = _RANGE.fullmatch(word)
    if found is None:
        return [word]
    first, last = int(found[2]), int(found[3])
    if not first <= last < first + MAX_VARIANTS:
        raise UsageError(f"the range {word} is empty or too long; give first..last with at most {MAX_VARIANTS} numbers")
    return [f"{found[1]}{n}" for n in range(first, last + 1)]


def _setting(word: str) -> dict[str, object]:
    """Return the fields that one setting sets."""
    if word in _PLAIN:
        return dict(_PLAIN[word])
    name, _, value = word.partition("-")
    if name == "accumulate" and value:
        return {"accumulator": get_format(value).name}
    if name in _NUMBERS and re.fullmatch(r"\d{1,18}", value):
        lowest, highest, fields = _NUMBERS[name]
        if not lowest <= int(value) <= highest:
            raise UsageError(f"{word} is not possible; give {name}-N with N from {lowest} to {highest}")
        return fields(int(value))
    raise UsageError(f"unknown setting {short_repr(word)} of simulated arithmetic; choose from {KNOWN}")


_PLAIN: dict[str, dict[str, object]] = {
    **{r.value: {"rounding": r} for r in Rounding if r is not Rounding.STOCHASTIC},
    **{o.value: {"order": o} for o in Order},
}
# For a setting with a number: the smallest and the largest number, and the fields that it sets.
_NUMBERS: dict[str, tuple[int, int, Callable[[int], dict[str, object]]]] = {
    "stochastic": (1, MAX_RANDOM_BITS, lambda n: {"rounding": Rounding.STOCHASTIC, "random_bits": n}),
    "seed": (0, 2**32 - 1, lambda n: {"seed": n}),
    "tile": (1, 2**20, lambda n: {"tile": n}),
}
