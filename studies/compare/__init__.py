"""``logitlab compare`` and ``logitlab baseline``: the changes between two runs, and a small file to compare with."""

from ._compare import Comparison, compare, growth_factor
from ._render import FORMATS, write
from ._source import write_baseline

__all__ = ["FORMATS", "Comparison", "compare", "growth_factor", "write", "write_baseline"]
