"""Tables as strict JSON, which lacks NaN and infinity: a missing number is null, an infinite one a string."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a dict for each line that `json.dumps` accepts with ``allow_nan=False``."""
    names = [str(c) for c in table.columns]
    columns = [table[c].astype(object).to_list() for c in table.columns]
    return [dict(zip(names, map(_value, line), strict=True)) for line in zip(*columns, strict=True)]


def document(content: Mapping[str, Any]) -> str:
    """Return the text of a document; `records` makes its tables.

    Raises:
        ValueError: if a number is NaN or infinite.
    """
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _value(value: Any) -> Any:
    if value is pd.NA or value is None:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
