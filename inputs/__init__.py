"""YOUR OWN logits: files that are read piece by piece, and seeded families along an axis."""

from ._file import LogitsFile
from ._selection import Block, Selection, selection
from ._sweeps import AXES, PREFIX, sweep

__all__ = ["AXES", "PREFIX", "Block", "LogitsFile", "Selection", "selection", "sweep"]
