"""What changed between two runs: better, worse, or other bits; and a small file to commit and compare with."""

from ._compare import Comparison, compare, growth_factor
from ._render import FORMATS, write
from ._source import write_baseline

__all__ = ["FORMATS", "Comparison", "compare", "growth_factor", "write", "write_baseline"]
