"""The words of the measurements table, each declared once: formulas, problems, quantities, statuses, grades, verdicts.

Code compares with the enums. The tuples hold the same words as plain strings, in the order of the tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import numpy as np

from .formats import Format


class Formula(StrEnum):
    """The formula of an implementation; ``builtin`` is a loss that the framework ships."""

    NAIVE = "naive"
    LSE = "lse"
    LOG1P = "log1p"
    ONLINE = "online"
    BUILTIN = "builtin"

    @property
    def label(self) -> str:
        """The formula's name in legends and headings."""
        return "built-in" if self is Formula.BUILTIN else self.value


class OracleKind(StrEnum):
    """The arithmetic of exact answers: balls, or quadruple precision for rows of files."""

    BALLS = "balls"
    QUAD = "quad"


class Quantity(StrEnum):
    """A result of a call, in the order in which a framework yields them."""

    PROBABILITIES = "probabilities"
    LOSS = "loss"
    GRADIENT = "gradient"
    GRADIENT_HIDDEN = "gradient_hidden"
    GRADIENT_WEIGHT = "gradient_weight"
    GRADIENT_BIAS = "gradient_bias"

    @property
    def of_batch(self) -> bool:
        """Whether the batch has one such result, as a gradient by the weight, and not each row."""
        return self in (Quantity.GRADIENT_WEIGHT, Quantity.GRADIENT_BIAS)


class Problem(StrEnum):
    """The numbers that a loss is a function of: logits, or hidden states with a weight and perhaps a bias."""

    LOGITS = "logits"
    LINEAR = "linear"

    @property
    def inputs(self) -> str:
        """The numbers that a loss takes, in words."""
        return "logits" if self is Problem.LOGITS else "hidden states and a weight"

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The results of a call, in the order in which a framework yields them."""
        if self is Problem.LOGITS:
            return Quantity.PROBABILITIES, Quantity.LOSS, Quantity.GRADIENT
        return Quantity.LOSS, Quantity.GRADIENT_HIDDEN, Quantity.GRADIENT_WEIGHT, Quantity.GRADIENT_BIAS


class Status(StrEnum):
    """How a call ended."""

    OK = "ok"
    UNSUPPORTED = "unsupported"
    RAISED = "raised"
    CRASHED = "crashed"
    TIMEOUT = "timeout"


class Grade(StrEnum):
    """The size of an error, by the bounds of `grading`."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    F = "F"

    @property
    def meaning(self) -> str:
        """The grade in one or two words."""
        return _MEANINGS[self]


class Verdict(StrEnum):
    """The kind of error in a row of results, or that there is none."""

    CORRECT = "correct"
    INACCURATE = "inaccurate"
    LOST = "lost"
    WRONG_SIGN = "wrong_sign"
    NAN = "nan"
    OVERFLOW = "overflow"
    UNDERFLOW = "underflow"
    SWALLOWED = "swallowed"
    UNDEFINED = "undefined"


class Conduct(StrEnum):
    """The result of a call that is not graded, in one word of the tables."""

    ZERO = "zero"
    NUMBER = "number"
    WRAPS = "wraps"
    FINITE = "finite"
    INFINITY = "infinity"
    NAN = "NaN"
    RAISES = "raises"
    CRASHES = "crashes"
    HANGS = "hangs"

    @property
    def wording(self) -> str:
        """The rest of a sentence that starts with "The loss", such as "is 0"."""
        return _CONDUCT_WORDING[self]

    @classmethod
    def of_status(cls, status: str) -> Conduct | None:
        """Return the conduct of a call without a result; None for ``ok`` and ``unsupported``."""
        return _CONDUCT_OF_STATUS.get(status)


class Reach(StrEnum):
    """The results that the NaN of an ignored row can reach, in the order in which it spreads."""

    LOSS = "its own loss"
    GRADIENT = "its own gradient"
    WEIGHT = "the gradient by the weight"
    OTHER_ROWS = "the gradients of other rows"
    REDUCED_LOSS = "the reduced loss"


FORMULAS = tuple(f.value for f in Formula)
QUANTITIES = tuple(q.value for q in Quantity)
STATUSES = tuple(s.value for s in Status)
GRADES = tuple(g.value for g in Grade)
# Grades of results that should not be relied on: a report lists them, and a run keeps programs that show them.
FAILING = (Grade.D.value, Grade.F.value)
VERDICTS = tuple(v.value for v in Verdict)
SOUND = (Verdict.CORRECT.value, Verdict.UNDEFINED.value)  # the verdicts without an error

_ARGUMENTS = {"hidden": "hidden state"}
_MEANINGS = {
    Grade.A: "accurate",
    Grade.B: "stable",
    Grade.C: "offset-sensitive",
    Grade.D: "inaccurate",
    Grade.F: "not finite",
}
_CONDUCT_WORDING = {
    Conduct.ZERO: "is 0",
    Conduct.NUMBER: "is a finite number other than 0",
    Conduct.WRAPS: "is that of the class counted from the end",
    Conduct.FINITE: "is finite",
    Conduct.INFINITY: "is infinite",
    Conduct.NAN: "is NaN",
    Conduct.RAISES: "raises an error",
    Conduct.CRASHES: "crashes the process",
    Conduct.HANGS: "does not end in time",
}
_CONDUCT_OF_STATUS = {"raised": Conduct.RAISES, "crashed": Conduct.CRASHES, "timeout": Conduct.HANGS}

_GRADE_RANKS = {grade: rank for rank, grade in enumerate(GRADES)}


def grade_rank(grade: Any) -> int:
    """Return the index of a grade in `GRADES`, 0 for A; -1 for any other value, such as None or NaN."""
    return _GRADE_RANKS.get(grade, -1)


def worst_grade(grades: Iterable[Any]) -> str | None:
    """Return the worst grade, ignoring None and NaN; None if no grade is left."""
    rank = max(map(grade_rank, grades), default=-1)
    return None if rank < 0 else GRADES[rank]


# The bound of grade A, relative to a value v, is a sum of roundings: a fixed number, and a number for each unit of
# |ln v|. A sum in at least float32 adds a number of SUM_UNIT times sqrt(classes). `grading` derives them.
A_ROUNDINGS, A_ROUNDINGS_PER_LOG, SUM_ROUNDINGS = 8, 2, 2.0
SUM_UNIT = 2.0**-24


def accurate_ulps(fmt: Format) -> tuple[float, float]:
    """Return ``c`` and ``d``: for normal values, A allows at most ``c + d sqrt(n)`` ulp in a row of n classes.

    The maximum is just below twice the smallest normal number, where ``|ln v|`` is largest among normal values.
    """
    u, value = fmt.unit_roundoff, 2 * fmt.smallest_normal * (1 - fmt.unit_roundoff)
    ulps = value / fmt.smallest_subnormal
    rounding = A_ROUNDINGS * u - A_ROUNDINGS_PER_LOG * u * float(np.log(value))
    return rounding * ulps, SUM_ROUNDINGS * min(u, SUM_UNIT) * ulps


def in_words(quantity: str) -> str:
    """Return a quantity in words, such as "gradient by the hidden state"; a word that is not a `Quantity` as it is."""
    name, by, argument = quantity.partition("_")
    return f"{name} by the {_ARGUMENTS.get(argument, argument)}" if by else quantity
