"""The studies of published work in ``docs/research``, each measured once for a build."""

from __future__ import annotations

import importlib
import sys
from functools import cache

from published import Study


@cache
def study(name: str) -> Study:
    """Return the measurements of a program in ``docs/research``."""
    print(f"measuring for the documentation: {name}", file=sys.stderr, flush=True)
    measured: Study = importlib.import_module(name).measure()
    return measured
