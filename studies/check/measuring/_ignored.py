"""Ignored rows, whose loss and gradient are exactly 0."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ....core.vocabulary import Grade, Verdict
from ....grading import Graded
from ..batches._rows import PresentedRows

# Used as a verdict, without a grade: an ignored row that has no softmax got a gradient that is not 0. Almost every loss
# returns NaN there, since it multiplies 0 by NaN, so this is reported and does not fail.
NOT_ZERO = "not 0"


def graded_as_nothing(rows: PresentedRows, graded: Graded, computed: NDArray[Any]) -> Graded:
    """Return the grades with those of ignored rows by one rule: F for a number that is not 0, else A.

    The gradient of an ignored row with NaN or +inf, or with -inf alone, gets the verdict `NOT_ZERO` instead of F.
    """
    ignored = rows.ignored
    if not ignored.any():
        return graded
    wrong = ignored & (computed.reshape(len(rows), -1) != 0).any(axis=1)
    letters, verdicts = np.array(graded.grade, object), np.array(graded.verdict, object)
    letters[ignored], verdicts[ignored & ~wrong] = Grade.A.value, Verdict.CORRECT.value
    letters[wrong] = Grade.F.value
    excused = wrong & ~rows.has_softmax & (computed.ndim > 1)
    letters[excused], verdicts[excused] = None, NOT_ZERO
    return replace(graded, grade=letters, verdict=verdicts)


def note_of_ignored(lines: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence about ignored rows with NaN or infinities whose gradient is not 0, if there are any."""
    found = lines["verdict"].eq(NOT_ZERO).sum()
    if found:
        yield (
            f"The gradient of {found:,} ignored rows that hold NaN or infinities is not 0. This does not fail, "
            "since most losses multiply 0 by NaN there"
        )
