"""The request for a program, and the written program."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.vocabulary import Quantity
from ..worker import Evaluation, Outcome


@dataclass(frozen=True, eq=False)
class ProgramRequest(Evaluation):
    """A call to write as a program.

    Attributes:
        quantity: the result that the program prints.
        index: the part of the result that it prints, such as a row, or a row and a class; all of it if empty.
        exact: the exact values of that part, rounded to float64; None if there are none.
        remarks: comment lines at the top.
        variables: environment variables of the mode's variant.
        data: the name of the file with the arrays that no short expression gives; None if there may be no file.
    """

    quantity: str = Quantity.LOSS.value
    index: tuple[int, ...] = ()
    exact: NDArray[np.float64] | None = None
    remarks: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    data: str | None = None


@dataclass(frozen=True)
class Written(Outcome):
    """A program and the arrays of its file; or why there is no program, and whether only the file lacks."""

    program: str = ""
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    problem: str = ""
    needs_file: bool = False


class NeedsFileError(Exception):
    """An array of the program has no short expression, and there may be no file; the message names the array."""
