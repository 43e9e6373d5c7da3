"""The calls that a loss refuses in words."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..measuring._lines import REFUSED
from ._failures import Failures
from ._properties import ARGUMENTS, PROPERTIES


def refusals(lines: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Yield for each property and dtype the message with which the loss refused a call, if it did."""
    refused = lines[lines["verdict"].eq(REFUSED)]
    if refused.empty:  # usual
        return
    found = Failures(refused, np.ones(len(refused), bool))
    for name, property_ in PROPERTIES.items():
        # Every call tests whether the arguments are left as they are.
        tried = refused[property_.tries(found) & (name != ARGUMENTS)]
        for dtype, some in tried.groupby("dtype", sort=False):
            yield name, str(dtype), str(some["detail"].iloc[0])


def notes(lines: pd.DataFrame) -> Iterator[str]:
    """Yield one line for each property with refused calls: ``int32 targets: refused (TypeError: ...)``."""
    every = list(pd.unique(lines["dtype"]))
    found: dict[tuple[str, str], list[str]] = {}
    for name, dtype, message in refusals(lines):
        found.setdefault((name, message), []).append(dtype)
    for (name, message), dtypes in found.items():
        where = "" if dtypes == every else f" in {', '.join(dtypes)}"
        yield f"{name}: refused{where} ({message})"
