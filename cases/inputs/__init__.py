"""YOUR OWN logits: files that are read piece by piece, case files, and seeded families along an axis."""

from ._blocks import BLOCKS, Blocks, get_blocks
from ._case_file import CaseFile, find_case, prepare_case_file, read_cases, write_cases
from ._logits_file import LogitsFile
from ._options import FileOptions, file_options
from ._selection import CaseBlock, Selection, default_cases, select_inputs
from ._sweeps import sweep

__all__ = [
    "BLOCKS",
    "Blocks",
    "CaseBlock",
    "CaseFile",
    "FileOptions",
    "LogitsFile",
    "Selection",
    "default_cases",
    "file_options",
    "find_case",
    "get_blocks",
    "prepare_case_file",
    "read_cases",
    "select_inputs",
    "sweep",
    "write_cases",
]
