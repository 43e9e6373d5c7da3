"""An ulp of an exact value as a function of SQL."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ...core.formats import FORMATS, Float64, ulp
from ...storage.querying import Measurements


def define_spacing(found: Measurements) -> None:
    """Makes ``spacing(exact, dtype)``: an ulp of the dtype at the exact value."""
    found.define("spacing", _arrow_spacing, ["DOUBLE", "VARCHAR"], "DOUBLE")


def _arrow_spacing(exact: pa.ChunkedArray, dtype: pa.ChunkedArray) -> pa.Array:
    return pa.array(_spacing(exact.to_numpy(), dtype.to_numpy()))


def _spacing(exact: Float64, dtypes: NDArray[Any]) -> Float64:
    """An ulp of each row's dtype at its exact loss, (R,)."""
    spacing = np.full(exact.shape, np.nan)
    for name in pd.unique(dtypes):
        of_dtype = dtypes == name
        # Where the exact loss is no number the largest stands for it: there the difference in kind counts.
        at = np.where(np.isfinite(exact[of_dtype]), exact[of_dtype], FORMATS[name].largest)
        spacing[of_dtype] = ulp(at, FORMATS[name])
    return spacing
