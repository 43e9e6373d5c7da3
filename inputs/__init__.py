"""YOUR OWN logits: files that are read piece by piece, and seeded families along an axis."""

from ._file import LogitsFile
from ._selection import Block, Selection, selection
from ._sweeps import sweep

__all__ = ["Block", "LogitsFile", "Selection", "selection", "sweep"]
